"""Spans at the door: which there are, what they are called, whom they belong to."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from deployments.call import Call
from deployments.errors import NotFoundError
from deployments.graph.door import Door, in_process_door
from deployments.graph.tracing import exporter_names, resource_of, trace_of

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PARENT = (("traceparent", f"00-{TRACE_ID}-b7ad6b7169203331-01"),)


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    """Record the spans of this process, whose provider can be set only once."""
    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def recorded(exporter: InMemorySpanExporter) -> InMemorySpanExporter:
    exporter.clear()
    return exporter


class Inner:
    """What a span's work passes its trace on to."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    async def embed(self, call: Call) -> str:
        self.calls.append(call)
        return "embedded"

    async def fail(self, call: Call) -> None:
        raise NotFoundError("collection 'x' does not exist")

    async def generate(self, call: Call) -> AsyncGenerator[str]:
        self.calls.append(call)
        for token in ("a", "b"):
            yield token


class Outer:
    """Calls another service through its door."""

    def __init__(self, inner: Door) -> None:
        self._inner = inner

    async def retrieve(self, call: Call) -> str:
        return await self._inner.call(call, "embed")


def traced() -> Call:
    return Call.within(10, "r1", PARENT)


def identity(span: ReadableSpan) -> tuple[str, str]:
    assert span.context
    return f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"


async def test_a_call_of_no_trace_has_no_span(recorded: InMemorySpanExporter) -> None:
    inner = Inner()
    await in_process_door(inner, "Embeddings").call(Call.within(10, "r1"), "embed")
    assert inner.calls[0].trace == ()
    assert recorded.get_finished_spans() == ()


async def test_calls_of_a_trace_are_spans_below_each_other(recorded: InMemorySpanExporter) -> None:
    inner = Inner()
    await in_process_door(Outer(in_process_door(inner, "Embeddings")), "Retrieval").call(traced(), "retrieve")
    embed, retrieve = recorded.get_finished_spans()
    assert (retrieve.name, embed.name) == ("Retrieval/retrieve", "Embeddings/embed")
    assert {identity(span)[0] for span in (embed, retrieve)} == {TRACE_ID}
    assert retrieve.parent
    assert f"{retrieve.parent.span_id:016x}" == "b7ad6b7169203331"
    assert embed.parent
    assert f"{embed.parent.span_id:016x}" == identity(retrieve)[1]
    assert dict(inner.calls[0].trace)["traceparent"] == f"00-{TRACE_ID}-{identity(embed)[1]}-01"
    assert dict(embed.attributes or {}) == {
        "rpc.system.name": "ray_serve",
        "rpc.method": "Embeddings/embed",
        "gen_ai.operation.name": "embeddings",
    }


async def test_a_failed_call_names_the_kind_of_its_error_and_no_text(recorded: InMemorySpanExporter) -> None:
    with pytest.raises(NotFoundError):
        await in_process_door(Inner(), "Retrieval").call(traced(), "fail")
    (span,) = recorded.get_finished_spans()
    assert (span.attributes or {})["error.type"] == "not_found"
    assert span.status.description == "not_found"


async def test_a_stream_is_one_span_with_the_time_to_its_first_item(recorded: InMemorySpanExporter) -> None:
    async with aclosing(in_process_door(Inner(), "LanguageModel").stream(traced(), "generate")) as tokens:
        assert [token async for token in tokens] == ["a", "b"]
    (span,) = recorded.get_finished_spans()
    attributes = dict(span.attributes or {})
    assert attributes["gen_ai.operation.name"] == "chat"
    assert attributes["gen_ai.response.time_to_first_chunk"] >= 0  # type: ignore[operator]
    assert "error.type" not in attributes


async def test_a_stream_that_is_left_is_a_span_that_says_so(recorded: InMemorySpanExporter) -> None:
    stream = in_process_door(Inner(), "LanguageModel").stream(traced(), "generate")
    assert await anext(stream) == "a"
    await stream.aclose()
    (span,) = recorded.get_finished_spans()
    assert (span.attributes or {})["error.type"] == "cancelled"


async def test_a_call_that_is_cancelled_is_a_span_that_says_so(recorded: InMemorySpanExporter) -> None:
    class Slow:
        async def embed(self, call: Call) -> None:
            del call
            await asyncio.Event().wait()

    waiting = asyncio.create_task(in_process_door(Slow(), "Embeddings").call(traced(), "embed"))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    (span,) = recorded.get_finished_spans()
    assert (span.attributes or {})["error.type"] == "cancelled"


@pytest.mark.parametrize(
    ("headers", "trace_"),
    [
        (None, ()),
        ({}, ()),
        ({"other": "x"}, ()),
        ({"traceparent": "p"}, (("traceparent", "p"),)),
        ({"Tracestate": "s", "Traceparent": "p"}, (("traceparent", "p"), ("tracestate", "s"))),
    ],
)
def test_the_trace_is_in_the_headers_whatever_their_case(
    headers: dict[str, str] | None, trace_: tuple[tuple[str, str], ...]
) -> None:
    assert trace_of(headers) == trace_


@pytest.mark.parametrize(
    ("environment", "names"),
    [
        ({}, []),
        ({"OTEL_TRACES_EXPORTER": "none"}, []),
        ({"OTEL_TRACES_EXPORTER": "console"}, ["console"]),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, ["otlp_proto_http"]),
        ({"OTEL_TRACES_EXPORTER": "otlp, console"}, ["otlp_proto_http", "console"]),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, ["otlp_proto_grpc"]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, ["otlp_proto_http"]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_TRACES_EXPORTER": "none"}, []),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_SDK_DISABLED": "true"}, []),
    ],
)
def test_the_standard_variables_choose_the_exporter(environment: dict[str, str], names: list[str]) -> None:
    assert exporter_names(environment) == names


@pytest.mark.parametrize(
    ("variables", "name", "version_given"),
    [
        ({}, "hearth", False),
        ({"OTEL_SERVICE_NAME": "homelab"}, "homelab", False),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=homelab,service.version=7"}, "homelab", True),
    ],
)
def test_the_standard_variables_say_what_the_process_is_called(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], name: str, version_given: bool
) -> None:
    for variable in ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    attributes = resource_of("Chat").attributes
    assert attributes["service.name"] == name
    assert attributes["hearth.deployment"] == "Chat"
    assert (attributes["service.version"] == "7") == version_given


async def test_a_trace_that_cannot_be_read_is_no_trace(recorded: InMemorySpanExporter) -> None:
    call = Call.within(10, "r1", (("traceparent", "00-zz-not-a-trace"), ("tracestate", "\x00")))
    assert await in_process_door(Inner(), "Embeddings").call(call, "embed") == "embedded"
    (span,) = recorded.get_finished_spans()
    assert span.parent is None
