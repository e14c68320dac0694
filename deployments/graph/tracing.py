"""Traces by OpenTelemetry: which span a call belongs to, and what spans are called.

A trace travels with its call as the headers of W3C Trace Context, from the NATS message to the engine and back to the
answer. Names and attributes are those of the semantic conventions 1.44 for messaging, RPC and generative AI; no id and
no text of a user is in a name.

Tracing is off until the standard variables name an exporter. A call that belongs to no trace has no span and costs
nothing; what a client sends as its own trace is passed on and comes back with the answer all the same.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import entry_points, version
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from deployments.call import Call, Trace
from deployments.errors import HearthError, InternalError, RequestEndedError, UnavailableError

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

logger = logging.getLogger(__name__)

_VERSION = version("hearth")
_TRACER = trace.get_tracer("hearth", _VERSION)
"""Asks the provider that is set later, if one is."""
_W3C = TraceContextTextMapPropagator()
_EXPORTERS = "opentelemetry_traces_exporter"
_PROTOCOLS = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}
GENERATIVE_OPERATIONS = {
    "LanguageModel/generate": "chat",
    "Embeddings/embed": "embeddings",
    "Retrieval/retrieve": "retrieval",
}
"""What the conventions for generative AI call a method, by deployment and method."""


@dataclass(frozen=True, slots=True)
class TracedSpan:
    """A span that work runs under.

    Attributes:
        span: For attributes; records nothing where tracing is off.
        trace: What to send along with the work and its answers, so that they belong to the span.
        trace_id: 32 hexadecimal digits; empty where there is no trace.
    """

    span: Span
    trace: Trace
    trace_id: str

    def set(self, name: str, value: AttributeValue) -> None:
        """Set an attribute."""
        self.span.set_attribute(name, value)

    def failed(self, kind: str) -> None:
        """Say that the work ended with an error of this kind."""
        self.span.set_attribute("error.type", kind)
        self.span.set_status(Status(StatusCode.ERROR, kind))


_NO_SPAN = TracedSpan(trace.INVALID_SPAN, (), "")


def start_tracing(deployment: str, environment: Mapping[str, str]) -> None:
    """Export spans from this process, where the standard variables ask for it.

    `OTEL_TRACES_EXPORTER` names the exporter, `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`
    alone choose OTLP; `OTEL_SDK_DISABLED` turns it off. Sampler, batches, limits and resource follow their variables.

    Raises:
        UnavailableError: The exporter is not installed; the message says how to get it.
    """
    names = exporter_names(environment)
    if not names:
        return
    # Loaded only where tracing is on.
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    provider = TracerProvider(resource=resource_of(deployment))
    for name in names:
        found = list(entry_points(group=_EXPORTERS, name=name))
        if not found:
            raise UnavailableError(
                f"no traces exporter {name!r} is installed: `pip install hearth[otlp]` brings OTLP's"
            )
        provider.add_span_processor(BatchSpanProcessor(found[0].load()()))
    trace.set_tracer_provider(provider)
    logger.info("spans are exported by %s", ", ".join(names))


def resource_of(deployment: str) -> "Resource":
    """Return what spans say of the process they come from; what the standard variables say goes over it."""
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - loaded only where tracing is on

    given = Resource.create()
    own = {"service.version": _VERSION, "hearth.deployment": deployment}
    missing = {name: value for name, value in own.items() if name not in given.attributes}
    if str(given.attributes["service.name"]).startswith("unknown_service"):
        missing["service.name"] = "hearth"
    return given.merge(Resource(missing))


def exporter_names(environment: Mapping[str, str]) -> list[str]:
    """Return the exporters that the standard variables ask for, by their entry points; none where tracing is off."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return []
    asked = environment.get("OTEL_TRACES_EXPORTER", "")
    endpoints = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    if not asked and any(environment.get(variable) for variable in endpoints):
        asked = "otlp"
    protocol = environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environment.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    otlp = _PROTOCOLS.get(protocol or "http/protobuf", "otlp_proto_http")
    names = [name.strip() for name in asked.split(",")]
    return [otlp if name == "otlp" else name for name in names if name not in {"", "none"}]


def trace_of(headers: Mapping[str, str] | None) -> Trace:
    """Return the trace that a message's headers name. Some clients write header names in their own case."""
    if not headers:
        return ()
    lower = {name.lower(): value for name, value in headers.items()}
    return tuple((name, lower[name]) for name in ("traceparent", "tracestate") if name in lower)


@contextmanager
def span(
    name: str, kind: SpanKind, parent: Trace, attributes: Mapping[str, AttributeValue], start_ns: int | None = None
) -> Generator[TracedSpan]:
    """Run work under a span; what it raises is noted in the span.

    Args:
        name: By the conventions, without ids.
        kind: By the conventions.
        parent: The trace that the work belongs to; a new one is begun where it is empty.
        attributes: By the conventions.
        start_ns: Unix time at which the work began, where that was earlier.
    """
    if not parent and isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        # Tracing is off and nobody traces this: what follows would come to the same, for 20 µs.
        yield _NO_SPAN
        return
    context = _W3C.extract(dict(parent))
    started = _TRACER.start_span(name, context, kind, attributes, start_time=start_ns)
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, trace.set_span_in_context(started))
    identity = started.get_span_context()
    traced = TracedSpan(started, tuple(carrier.items()), f"{identity.trace_id:032x}" if identity.is_valid else "")
    try:
        yield traced
    except HearthError as error:
        traced.failed(error.kind)
        raise
    except (GeneratorExit, asyncio.CancelledError):
        traced.set("error.type", RequestEndedError.kind)
        raise
    except Exception:
        traced.failed(InternalError.kind)
        raise
    finally:
        started.end()


@contextmanager
def call_span(call: Call, deployment: str, method: str) -> Generator[Call]:
    """Run a call between services under a span of its own; give the call to pass on.

    A call that belongs to no trace gets no span.
    """
    if not call.trace:
        yield call
        return
    name, attributes = _rpc(deployment, method)
    with span(name, SpanKind.CLIENT, call.trace, attributes) as traced:
        yield replace(call, trace=traced.trace)


def stream_span(
    call: Call, deployment: str, method: str, run: Callable[[Call], AsyncGenerator[Any]]
) -> AsyncGenerator[Any]:
    """Return the stream that `run` makes, under a span of its own where the call belongs to a trace."""
    return _traced_stream(call, deployment, method, run) if call.trace else run(call)


async def _traced_stream(
    call: Call, deployment: str, method: str, run: Callable[[Call], AsyncGenerator[Any]]
) -> AsyncGenerator[Any]:
    name, attributes = _rpc(deployment, method)
    started, first = time.monotonic(), True
    with span(name, SpanKind.CLIENT, call.trace, attributes) as traced:
        async with aclosing(run(replace(call, trace=traced.trace))) as items:
            async for item in items:
                if first:
                    traced.set("gen_ai.response.time_to_first_chunk", time.monotonic() - started)
                    first = False
                yield item


def _rpc(deployment: str, method: str) -> tuple[str, dict[str, AttributeValue]]:
    name = f"{deployment}/{method}"
    attributes: dict[str, AttributeValue] = {"rpc.system.name": "ray_serve", "rpc.method": name}
    if operation := GENERATIVE_OPERATIONS.get(name):
        attributes["gen_ai.operation.name"] = operation
    return name, attributes
