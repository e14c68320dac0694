"""What an operator sees of a request: its trace, its numbers beside Ray's, its line in the replica's log."""

import json
import re
from typing import Any
from uuid import uuid4

import pytest
from nats.aio.client import Client

from bridges.generated.messages.v1 import messages_pb2
from tests.collector import Collector, attributes
from tests.end_to_end.conftest import Graph
from tests.servers import wait_until

SECRET = "What would a heron say to a badger?"


@pytest.fixture
async def trace_id(connection: Client) -> str:
    """Ask a question that belongs to a client's trace; return the trace's id."""
    identity = uuid4().hex
    request = messages_pb2.ChatRequest(request_id="traced", message=SECRET, enable_rag=True, enable_reranker=True)
    headers = {"Traceparent": f"00-{identity}-00f067aa0ba902b7-01"}
    reply = await connection.request("ai.chat.request", request.SerializeToString(), timeout=60, headers=headers)
    assert messages_pb2.ChatResponse.FromString(reply.data).success
    assert reply.headers
    assert re.fullmatch(rf"00-{identity}-[0-9a-f]{{16}}-01", reply.headers["traceparent"])
    assert "00f067aa0ba902b7" not in reply.headers["traceparent"]
    return identity


def test_a_client_s_trace_goes_down_to_the_models(collector: Collector, trace_id: str) -> None:
    def whole() -> bool:
        return "process ai.chat.request" in {span.name for span in collector.spans.get(trace_id, [])}

    wait_until("the request's span", whole, 30)
    spans = {span.name: span for span in collector.spans[trace_id]}
    above = {
        "Chat/answer": "process ai.chat.request",
        "Retrieval/retrieve": "Chat/answer",
        "Embeddings/embed": "Retrieval/retrieve",
        "LanguageModel/generate": "Chat/answer",
    }
    for name, parent in above.items():
        wait_until(name, lambda name=name: name in {span.name for span in collector.spans[trace_id]}, 30)
        spans = {span.name: span for span in collector.spans[trace_id]}
        assert spans[name].parent_span_id == spans[parent].span_id
    ingress = spans["process ai.chat.request"]
    assert ingress.parent_span_id.hex() == "00f067aa0ba902b7"
    found = attributes(ingress)
    assert found["messaging.system"] == "nats"
    assert found["messaging.destination.template"] == "ai.chat.request"
    assert found["messaging.consumer.group.name"] == "hearth"
    assert found["messaging.message.conversation_id"] == "traced"
    assert "heron" not in str(collector.spans[trace_id])


def test_requests_are_counted_beside_ray_s_own_metrics(graph: Graph, trace_id: str) -> None:
    del trace_id
    wanted = (
        r'ray_hearth_requests_total\{.*outcome="ok".*subject="ai\.chat\.request".*\} [1-9]',
        r'ray_hearth_request_duration_seconds_bucket\{.*subject="ai\.chat\.request".*\} [1-9]',
        r"ray_hearth_time_to_first_token_seconds_count\{.*\} [1-9]",
        r"ray_hearth_tokens_per_second_count\{.*\} [1-9]",
        r"ray_hearth_retrieval_seconds_count\{.*\} [1-9]",
        r"ray_hearth_requests_in_flight\{.*\} \d",
        r"ray_hearth_requests_waiting\{.*\} \d",
        r"ray_serve_deployment_request_counter_total\{",
    )

    def exported() -> bool:
        text = graph.metrics()
        return all(re.search(pattern, text) for pattern in wanted)

    wait_until("the metrics", exported, 60)


def test_the_dashboard_shows_a_line_for_the_request(graph: Graph, trace_id: str) -> None:
    with graph.dashboard() as dashboard:
        nodes = dashboard.get("/api/v0/nodes").json()["data"]["result"]["result"]
        node = {"node_id": nodes[0]["node_id"]}
        applications = dashboard.get("/api/serve/applications/").json()["applications"]
        replica = applications["orchestration"]["deployments"]["NatsIngress"]["replicas"][0]
        file = {"filename": replica["log_file_path"].lstrip("/"), "lines": 1000}

        def line() -> dict[str, Any] | None:
            log = dashboard.get("/api/v0/logs/file", params={**node, **file}).text
            found = [text[text.index("{") :] for text in log.splitlines() if trace_id in text]
            return json.loads(found[0]) if found else None

        wait_until("the request's line", lambda: line() is not None, 30)
        found = line()
        assert found
        assert (found["event"], found["subject"], found["outcome"]) == ("request", "ai.chat.request", "ok")
        assert found["request_id"] == "traced"
        assert found["retrieve_s"] > 0
        assert "heron" not in dashboard.get("/api/v0/logs/file", params={**node, **file}).text
