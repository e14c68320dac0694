"""Pipelines through NATS, as their clients meet them: the shipped graph on real Ray, and servers that speak as Argo's
and Kubeflow's do."""

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from nats.aio.client import Client

from bridges.command_line.client import HearthClient
from bridges.generated.messages.v1 import messages_pb2
from bridges.subjects import PIPELINE_STATUS, PIPELINE_TRIGGER, subject_for
from tests.end_to_end.command import hearth, running_hearth
from tests.end_to_end.conftest import Graph
from tests.end_to_end.raw_client import RawClient, decode, encode_request
from tests.servers import wait_until
from tests.workflow_engines.argo import ArgoServer
from tests.workflow_engines.follower import Followed, follow
from tests.workflow_engines.kubeflow import KubeflowServer

SHIPPED = ["batch-inference", "document-ingestion", "model-evaluation", "rag-query", "voice-pipeline"]
IN_FLIGHT = 50


async def trigger(
    connection: Client, pipeline: str = "document-ingestion", reply: str = "", **parameters: str
) -> tuple[str, Followed]:
    request_id = uuid4().hex
    followed = await follow(connection, subject_for(PIPELINE_STATUS, request_id=request_id))
    request = messages_pb2.PipelineTrigger(request_id=request_id, pipeline=pipeline, parameters=parameters)
    await connection.publish(PIPELINE_TRIGGER.pattern, request.SerializeToString(), reply)
    return request_id, followed


async def process_of(client: HearthClient, name: str) -> int:
    """Return the process of a deployment, once it has one."""
    async with asyncio.timeout(60):
        while True:
            parts = {part.name: part.process_id for part in (await client.status(10)).components}
            if parts.get(name):
                return parts[name]


def test_a_client_that_knows_the_wire_alone_follows_a_run_to_its_end(graph: Graph, argo_server: ArgoServer) -> None:
    with RawClient(graph.nats_url) as raw:
        raw.subscribe("ai.pipeline.status.raw-1")
        payload = encode_request(
            "PipelineTrigger", request_id="raw-1", pipeline="document-ingestion", parameters={"source": "s3://a/b.pdf"}
        )
        raw.publish("ai.pipeline.trigger", payload)
        subject, status = raw.next()
        submitted = decode("PipelineStatus", status)
        assert subject == "ai.pipeline.status.raw-1"
        assert (submitted["status"], submitted["engine"], submitted["pipeline"]) == (
            "submitted",
            "argo",
            "document-ingestion",
        )
        name = str(submitted["run_id"])
        assert name.startswith("document-ingestion-")
        assert decode("PipelineStatus", raw.next()[1])["status"] == "pending"
        argo_server.set_phase(name, "Running")
        assert decode("PipelineStatus", raw.next()[1])["status"] == "running"
        argo_server.set_phase(name, "Succeeded")
        last = decode("PipelineStatus", raw.next()[1])
        assert (last["status"], last["run_id"], last["submitted_at"]) == ("succeeded", name, submitted["submitted_at"])
        assert "error" not in last


async def test_a_kubeflow_pipeline_runs_to_its_end(
    connection: Client, kubeflow_server: KubeflowServer, graph: Graph
) -> None:
    request_id, followed = await trigger(connection, "rag-query", query="What does E-17 mean?", top_k="3")
    await followed.until_word("submitted")
    run = kubeflow_server.run_of(request_id)
    assert run["runtime_config"]["parameters"] == {"query": "What does E-17 mean?", "top_k": 3}
    kubeflow_server.set_state(run["run_id"], "FAILED", "a step failed")
    failed = await followed.until_word("failed")
    assert (failed.error, failed.engine) == ("a step failed", "kubeflow")


@pytest.mark.parametrize(
    ("pipeline", "parameters", "error", "known"),
    [
        ("documents", {}, "there is no pipeline 'documents'", SHIPPED),
        ("", {}, "there is no pipeline ''", SHIPPED),
        ("document-ingestion", {"sauce": "x"}, "has no parameter 'sauce'; it takes collection, source", SHIPPED),
        ("document-ingestion", {"collection": "no; such"}, "'collection' is 'no; such'", SHIPPED),
        ("rag-query", {"query": "x" * 8193}, "'query' has 8193 characters: at most 8192", SHIPPED),
    ],
)
async def test_what_cannot_be_started_is_told_and_nothing_is_submitted(
    connection: Client,
    argo_server: ArgoServer,
    kubeflow_server: KubeflowServer,
    pipeline: str,
    parameters: dict[str, str],
    error: str,
    known: list[str],
) -> None:
    before = len(argo_server.asked("POST")) + len(kubeflow_server.asked("POST"))
    inbox = connection.new_inbox()
    replied = await follow(connection, inbox)
    request_id, followed = await trigger(connection, pipeline, inbox, **parameters)
    status = await followed.until_word("error")
    assert error in status.error
    assert (status.request_id, status.pipeline, list(status.available_pipelines)) == (request_id, pipeline, known)
    await replied.until_word("error")
    assert replied.statuses == followed.statuses == [status]
    assert len(argo_server.asked("POST")) + len(kubeflow_server.asked("POST")) == before


async def test_a_requester_is_answered_when_its_run_was_submitted(connection: Client, graph: Graph) -> None:
    request = messages_pb2.PipelineTrigger(request_id=uuid4().hex, pipeline="document-ingestion")
    answer = await connection.request(PIPELINE_TRIGGER.pattern, request.SerializeToString(), timeout=10)
    status = messages_pb2.PipelineStatus.FromString(answer.data)
    assert (status.status, status.request_id) == ("submitted", request.request_id)


async def test_a_trigger_without_an_id_is_given_one(connection: Client, graph: Graph) -> None:
    request = messages_pb2.PipelineTrigger(pipeline="document-ingestion")
    answer = await connection.request(PIPELINE_TRIGGER.pattern, request.SerializeToString(), timeout=10)
    status = messages_pb2.PipelineStatus.FromString(answer.data)
    assert status.status == "submitted"
    assert len(status.request_id) == 32


@pytest.mark.parametrize("request_id", ["a b", "a.*", "x" * 2000, "a\x00b"])
async def test_an_id_that_no_subject_can_hold_is_told_on_the_reply_subject(
    connection: Client, graph: Graph, request_id: str
) -> None:
    request = messages_pb2.PipelineTrigger(request_id=request_id, pipeline="document-ingestion")
    answer = await connection.request(PIPELINE_TRIGGER.pattern, request.SerializeToString(), timeout=10)
    status = messages_pb2.PipelineStatus.FromString(answer.data)
    assert status.status == "error"
    assert "cannot stand in a subject" in status.error


async def test_what_cannot_be_read_is_answered_and_the_next_is_taken(connection: Client, graph: Graph) -> None:
    answer = await connection.request(PIPELINE_TRIGGER.pattern, b"\xff\xff\xff", timeout=10)
    error = messages_pb2.ErrorResponse.FromString(answer.data)
    assert (error.error, error.type) == (True, "invalid_request")
    _, followed = await trigger(connection)
    await followed.until_word("submitted")


async def test_the_same_request_sent_twice_starts_one_run(connection: Client, argo_server: ArgoServer) -> None:
    request_id, followed = await trigger(connection)
    request = messages_pb2.PipelineTrigger(request_id=request_id, pipeline="document-ingestion")
    for _ in range(3):
        await connection.publish(PIPELINE_TRIGGER.pattern, request.SerializeToString())
    submitted = await followed.until_word("submitted")
    argo_server.set_phase(submitted.run_id, "Succeeded")
    await followed.until_word("succeeded")
    answer = await connection.request(PIPELINE_TRIGGER.pattern, request.SerializeToString(), timeout=10)
    assert messages_pb2.PipelineStatus.FromString(answer.data) == followed.statuses[-1]
    assert len(followed.finals) == 1
    submissions = [asked for asked in argo_server.asked("POST") if submitted.run_id in json.dumps(asked.body)]
    assert len(submissions) == 1


async def test_a_replica_killed_with_runs_in_flight_costs_none_of_them(
    client: HearthClient, connection: Client, argo_server: ArgoServer, kubeflow_server: KubeflowServer
) -> None:
    process = await process_of(client, "Pipelines")
    runs = [
        (
            pipeline,
            *await trigger(connection, pipeline),
        )
        for _ in range(IN_FLIGHT // 2)
        for pipeline in ("document-ingestion", "rag-query")
    ]
    # Some are submitted by now, some are on their way.
    await runs[0][2].until_word("submitted")
    os.kill(process, signal.SIGKILL)
    for _, _, followed in runs:
        await followed.until(lambda followed: followed.words, 60)
    states = {"document-ingestion": ("Running", "Succeeded"), "rag-query": ("RUNNING", "SUCCEEDED")}
    for state in (0, 1):
        for pipeline, request_id, followed in runs:
            submitted = await followed.until_word("submitted")
            if pipeline == "rag-query":
                kubeflow_server.set_state(kubeflow_server.run_of(request_id)["run_id"], states[pipeline][state])
            else:
                argo_server.set_phase(submitted.run_id, states[pipeline][state])
    for _, _, followed in runs:
        await followed.until(lambda followed: "succeeded" in followed.words, 60)
    assert await process_of(client, "Pipelines") != process
    for _, request_id, followed in runs:
        assert [final.status for final in followed.finals] == ["succeeded"], followed.words
        assert followed.words[0] == "submitted"
        assert followed.words.count("submitted") == 1
        assert {status.request_id for status in followed.statuses} == {request_id}
    started = [run["display_name"] for run in kubeflow_server.runs.values()]
    assert len(started) == len(set(started))
    names = {followed.statuses[0].run_id for _, _, followed in runs}
    assert len(names) == IN_FLIGHT
    assert {name for name in names if name.startswith("document")} <= set(argo_server.names)


async def test_runs_that_end_while_nobody_looks_are_reported(
    client: HearthClient, connection: Client, argo_server: ArgoServer, kubeflow_server: KubeflowServer
) -> None:
    process = await process_of(client, "Pipelines")
    _, argo = await trigger(connection)
    request_id, kubeflow = await trigger(connection, "rag-query")
    submitted = await argo.until_word("pending")
    await kubeflow.until_word("pending")
    os.kill(process, signal.SIGKILL)
    argo_server.set_phase(submitted.run_id, "Failed", "exit code 1")
    run_id = kubeflow_server.run_of(request_id)["run_id"]
    kubeflow_server.set_state(run_id, "RUNNING")
    kubeflow_server.set_state(run_id, "SUCCEEDED")
    await argo.until(lambda followed: followed.finals, 60)
    await kubeflow.until(lambda followed: followed.finals, 60)
    assert argo.words == ["submitted", "pending", "failed"]
    assert argo.statuses[-1].error == "exit code 1"
    assert kubeflow.words == ["submitted", "pending", "running", "succeeded"]


async def test_the_status_shows_the_service_and_its_engines(client: HearthClient, argo_server: ArgoServer) -> None:
    await process_of(client, "Pipelines")
    parts = {part.name: part for part in (await client.status(10)).components}
    assert parts["Pipelines"].detail.startswith("5 pipelines, ")
    assert not parts["Pipelines"].required
    assert (parts["Argo"].ready, parts["Argo"].detail) == (True, f"Argo Server at {argo_server.url}, namespace ai-ml")
    assert parts["Kubeflow"].ready


def test_the_command_line_lists_what_may_be_started(graph: Graph) -> None:
    shown = hearth(graph.environment, "pipeline", "list")
    assert shown.returncode == 0
    assert all(name in shown.stdout for name in SHIPPED)
    assert "collection=knowledge_base" in shown.stdout
    listed: list[dict[str, Any]] = json.loads(hearth(graph.environment, "pipeline", "list", "--json").stdout)
    assert [row["name"] for row in listed] == SHIPPED
    assert listed[1]["parameters"][0]["default"] == "knowledge_base"


@dataclass
class Command:
    """`hearth pipeline run`, while it runs."""

    process: subprocess.Popen[str]

    def line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline()

    def end(self) -> tuple[int, str, str]:
        out, errors = self.process.communicate(timeout=30)
        return self.process.returncode, out, errors


@contextmanager
def pipeline_run(graph: Graph, *arguments: str) -> Generator[Command]:
    with running_hearth(graph.environment, "pipeline", "run", *arguments) as process:
        yield Command(process)


@pytest.mark.parametrize(("phase", "status"), [("Succeeded", 0), ("Failed", 1), ("Error", 1)])
def test_the_command_line_follows_a_run_to_its_end(
    graph: Graph, argo_server: ArgoServer, phase: str, status: int
) -> None:
    with pipeline_run(graph, "document-ingestion", "-p", "source=s3://a=b", "--json") as command:
        submitted = json.loads(command.line())
        assert (submitted["status"], submitted["engine"]) == ("submitted", "argo")
        argo_server.set_phase(submitted["run_id"], phase, "so it ended")
        code, out, errors = command.end()
    last = json.loads(out.splitlines()[-1])
    assert (code, last["status"], errors) == (status, phase.lower(), "")
    assert last["error"] == ("" if phase == "Succeeded" else "so it ended")


def test_a_person_sees_what_happened_and_why(graph: Graph, argo_server: ArgoServer) -> None:
    with pipeline_run(graph, "document-ingestion") as command:
        line = command.line().split()
        assert (line[0], line[2], line[4:]) == ("submitted", "s", ["on", "argo"])
        argo_server.set_phase(line[3], "Failed", "step 2: exit code 1")
        code, out, errors = command.end()
    assert code == 1
    assert out.split()[-3] == "failed"
    assert errors == "Error: step 2: exit code 1\n"


def test_ctrl_c_leaves_the_run_running_and_says_how_to_follow_it(graph: Graph, argo_server: ArgoServer) -> None:
    with pipeline_run(graph, "document-ingestion", "--request-id", "held-1") as command:
        name = command.line().split()[3]
        command.process.send_signal(signal.SIGINT)
        code, _, errors = command.end()
    assert code == 130
    assert "The run goes on" in errors
    assert "hearth pipeline run document-ingestion --request-id held-1" in errors
    assert "shutdown" not in argo_server.workflows.by_name[name]["spec"]
    with pipeline_run(graph, "document-ingestion", "--request-id", "held-1", "--json") as again:
        assert json.loads(again.line())["run_id"] == name
        argo_server.set_phase(name, "Succeeded")
        assert again.end()[0] == 0
    finished = hearth(graph.environment, "pipeline", "run", "document-ingestion", "--request-id", "held-1")
    assert (finished.returncode, finished.stdout.split()[0]) == (0, "succeeded")
    wait_until("the watch's end", lambda: argo_server.workflows.by_name[name]["status"]["phase"] == "Succeeded", 5)


def test_detached_the_command_line_returns_with_the_submission(graph: Graph) -> None:
    done = hearth(graph.environment, "pipeline", "run", "document-ingestion", "--detach", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["status"] == "submitted"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["documents"], 1, "no pipeline 'documents': batch-inference, document-ingestion"),
        (["document-ingestion", "-p", "sauce=x"], 1, "it takes collection, source"),
        (["document-ingestion", "-p", "source"], 2, "'source' is not KEY=VALUE"),
        (["document-ingestion", "-p", "source=a", "-p", "source=b"], 2, "'source' is given twice"),
        (["model-evaluation"], 1, "argo has no WorkflowTemplate 'model-evaluation'"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(graph: Graph, arguments: list[str], code: int, message: str) -> None:
    done = hearth(graph.environment, "pipeline", "run", *arguments)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
