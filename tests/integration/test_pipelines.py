"""Triggers to their final statuses: the pipelines service with a real NATS server and the engines' protocols."""

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from nats.aio.client import Client
from nats.js.api import RetentionPolicy, StreamConfig
from nats.js.errors import NotFoundError

from bridges.generated.messages.v1 import messages_pb2
from bridges.pipelines import intake as pipeline_intake
from bridges.pipelines import replica_group
from bridges.pipelines.replica import PipelineReplica
from bridges.subjects import PIPELINE_STATUS, PIPELINE_TRIGGER, subject_for
from deployments.call import Call
from deployments.settings.orchestration import NatsSettings
from deployments.settings.pipelines import PipelinesSettings
from deployments.values.pipelines import PipelineTrigger
from tests.nats_client import nats_connected
from tests.servers import ROOT, RestartableServer, free_port, nats_server
from tests.workflow_engines.argo import ArgoServer
from tests.workflow_engines.engine_server import Fault, serving
from tests.workflow_engines.follower import Followed, eventually, follow
from tests.workflow_engines.kubeflow import KubeflowServer

TABLE = {
    "document-ingestion": {"engine": "argo", "parameters": {"source": {}, "collection": {"default": "knowledge_base"}}},
    "quick": {"engine": "argo", "target": "document-ingestion", "deadline_s": 1.5},
    "rag-query": {"engine": "kubeflow", "parameters": {"query": {}, "top_k": {"type": "integer"}}},
}


@pytest.fixture(autouse=True)
def short_acquaintance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less for other replicas: here they are in this process, and answer a new one at once."""
    monkeypatch.setattr(replica_group, "_ACQUAINTANCE_S", 0.2)


@pytest.fixture
def argo() -> Generator[ArgoServer]:
    with serving(ArgoServer("document-ingestion")) as server:
        yield server


@pytest.fixture
def kubeflow() -> Generator[KubeflowServer]:
    with serving(KubeflowServer("rag-query")) as server:
        yield server


@pytest.fixture
async def connection(nats_url: str) -> AsyncGenerator[Client]:
    async with await nats_connected(nats_url) as connection:
        yield connection


def settings(argo: ArgoServer, kubeflow: KubeflowServer, bucket: str, **changes: Any) -> PipelinesSettings:
    return PipelinesSettings.model_validate(
        {
            "argo": {"kind": "argo-server", "url": argo.url, "watch_idle_s": 5},
            "kubeflow": {"url": kubeflow.url, "poll_s": 0.1},
            "table": TABLE,
            "bucket": bucket,
            # The server is shared with other tests, whose triggers are not to be taken up here.
            "stream": "",
            "retry_s": 0.05,
            "max_retry_s": 0.2,
            "submit_timeout_s": 2,
            **changes,
        }
    )


@asynccontextmanager
async def running(settings: PipelinesSettings, nats_url: str, **nats: Any) -> AsyncGenerator[PipelineReplica]:
    """Run a replica; the way out is that of a replica that is shut down."""
    replica = PipelineReplica(settings, NatsSettings(url=nats_url, **nats))
    task = asyncio.create_task(replica.run())
    try:
        yield replica
    finally:
        replica.stop()
        async with asyncio.timeout(20):
            await task


@dataclass
class Scene:
    """A replica with its engines, and a client."""

    replica: PipelineReplica
    connection: Client
    argo: ArgoServer
    kubeflow: KubeflowServer
    settings: PipelinesSettings

    async def trigger(
        self, pipeline: str = "document-ingestion", request_id: str = "", reply: str = "", **parameters: str
    ) -> tuple[str, Followed]:
        """Trigger a run as a client that follows it; return its request id and what it hears."""
        request_id = request_id or uuid4().hex
        followed = await follow(self.connection, subject_for(PIPELINE_STATUS, request_id=request_id))
        await self.send(pipeline, request_id, reply, **parameters)
        return request_id, followed

    async def send(self, pipeline: str, request_id: str, reply: str = "", **parameters: str) -> Any:
        async with asyncio.timeout(10):
            while True:
                try:
                    trigger = PipelineTrigger(request_id, pipeline, parameters, reply)
                    return await self.replica.service.trigger(Call.within(5), trigger)
                except Exception as error:
                    if getattr(error, "kind", "") != "unavailable":
                        raise
                    await asyncio.sleep(0.05)


@pytest.fixture
async def scene(nats_url: str, connection: Client, argo: ArgoServer, kubeflow: KubeflowServer) -> AsyncGenerator[Scene]:
    chosen = settings(argo, kubeflow, f"pipelines_{uuid4().hex}")
    async with running(chosen, nats_url) as replica:
        yield Scene(replica, connection, argo, kubeflow, chosen)


async def test_a_run_is_reported_from_its_submission_to_its_end(scene: Scene) -> None:
    request_id, followed = await scene.trigger(source="s3://notes/roof.pdf")
    submitted = await followed.until_word("submitted")
    (name,) = scene.argo.names
    assert (submitted.run_id, submitted.engine, submitted.pipeline) == (name, "argo", "document-ingestion")
    assert time.strptime(submitted.submitted_at, "%Y-%m-%dT%H:%M:%SZ")
    await followed.until_word("pending")
    scene.argo.set_phase(name, "Running")
    await followed.until_word("running")
    scene.argo.set_phase(name, "Succeeded")
    await followed.until_word("succeeded")
    assert followed.words == ["submitted", "pending", "running", "succeeded"]
    assert {status.request_id for status in followed.statuses} == {request_id}
    (workflow,) = scene.argo.workflows.by_name.values()
    given = {parameter["name"]: parameter["value"] for parameter in workflow["spec"]["arguments"]["parameters"]}
    assert given == {"source": "s3://notes/roof.pdf", "collection": "knowledge_base"}


async def test_a_kubeflow_run_is_polled_and_its_history_tells_what_was_missed(scene: Scene) -> None:
    request_id, followed = await scene.trigger("rag-query", query="What does E-17 mean?", top_k="3")
    await followed.until_word("submitted")
    run = scene.kubeflow.run_of(request_id)
    assert run["runtime_config"] == {"parameters": {"query": "What does E-17 mean?", "top_k": 3}}
    scene.kubeflow.change(
        lambda: [scene.kubeflow._set_state(run["run_id"], state) for state in ("RUNNING", "SUCCEEDED")]
    )
    await followed.until_word("succeeded")
    assert followed.words == ["submitted", "pending", "running", "succeeded"]


async def test_a_reply_subject_gets_the_first_word_and_the_last(scene: Scene) -> None:
    inbox = scene.connection.new_inbox()
    asked = await follow(scene.connection, inbox)
    _, followed = await scene.trigger(reply=inbox)
    await followed.until_word("pending")
    scene.argo.set_phase(scene.argo.names[0], "Failed", "exit code 1")
    await followed.until_word("failed")
    await asked.until_word("failed")
    assert asked.words == ["submitted", "failed"]
    assert asked.statuses[-1] == followed.statuses[-1]


async def test_an_engine_that_is_down_is_an_error_in_time_and_the_other_one_goes_on(scene: Scene) -> None:
    await asyncio.to_thread(scene.argo.stop)
    down = [await scene.trigger() for _ in range(20)]
    up = [await scene.trigger("rag-query", query="?") for _ in range(5)]
    for _, followed in up:
        await followed.until_word("submitted")
    assert all(followed.words == [] for _, followed in down), "it is still tried"
    for _, followed in down:
        error = await followed.until_word("error")
        assert "argo cannot be reached" in error.error
        assert scene.argo.url not in error.error
        assert followed.words == ["error"]


async def test_an_engine_that_comes_back_in_time_takes_the_runs(scene: Scene) -> None:
    await asyncio.to_thread(scene.argo.stop)
    waiting = [await scene.trigger() for _ in range(10)]
    await asyncio.to_thread(scene.argo.start)
    for _, followed in waiting:
        await followed.until_word("submitted")
    assert len(scene.argo.names) == 10


async def test_an_unknown_template_is_an_error_of_its_run(scene: Scene) -> None:
    scene.argo.change(scene.argo.workflows.templates.clear)
    _, followed = await scene.trigger()
    error = await followed.until_word("error")
    assert "argo has no WorkflowTemplate 'document-ingestion'" in error.error
    assert followed.words == ["error"]


async def test_a_run_past_its_deadline_is_stopped_and_reported(scene: Scene) -> None:
    _, followed = await scene.trigger("quick")
    await followed.until_word("pending")
    failed = await followed.until_word("failed")
    assert failed.error == "it was not finished within 1.5 s and was stopped"
    (workflow,) = scene.argo.workflows.by_name.values()
    assert workflow["spec"]["shutdown"] == "Stop"
    assert len(followed.finals) == 1


async def test_a_replica_that_leaves_hands_its_runs_over(scene: Scene, nats_url: str) -> None:
    runs = [await scene.trigger() for _ in range(10)]
    for _, followed in runs:
        await followed.until_word("pending")
    async with running(scene.settings, nats_url) as other:
        scene.replica.stop()
        await other.service.components(Call.within(1))
        names = list(scene.argo.names)
        for name in names:
            scene.argo.set_phase(name, "Succeeded")
        for _, followed in runs:
            await followed.until_word("succeeded")
            assert followed.words == ["submitted", "pending", "succeeded"]
    assert len(scene.argo.asked("POST")) == len(scene.argo.names) == 10


async def test_a_nats_server_that_restarts_loses_no_run(
    tmp_path: Path, argo: ArgoServer, kubeflow: KubeflowServer
) -> None:
    port = str(free_port())
    server = RestartableServer(lambda: nats_server(tmp_path, "-p", port, "-js", "-sd", str(tmp_path / "store")))
    server.start()
    try:
        async with running(settings(argo, kubeflow, "runs"), server.url) as replica:
            async with await nats_connected(server.url) as connection:
                scene = Scene(replica, connection, argo, kubeflow, settings(argo, kubeflow, "runs"))
                request_id, followed = await scene.trigger()
                await followed.until_word("pending")
            await asyncio.to_thread(server.stop)
            argo.set_phase(argo.names[0], "Running")
            await asyncio.to_thread(server.start)
            async with await nats_connected(server.url) as connection:
                followed = await follow(connection, subject_for(PIPELINE_STATUS, request_id=request_id))
                argo.set_phase(argo.names[0], "Succeeded")
                await followed.until_word("succeeded")
                assert len(followed.finals) == 1
    finally:
        server.stop()


class KilledProcess:
    """`pipeline_process`, which is killed and started again."""

    def __init__(self, nats_url: str, settings: PipelinesSettings, log: Path) -> None:
        self._command = [
            sys.executable,
            "-m",
            "tests.integration.pipeline_process",
            nats_url,
            settings.model_dump_json(),
        ]
        self._log = log.open("wb")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, cwd=ROOT, stdout=self._log, stderr=subprocess.STDOUT)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        self.kill()
        self._log.close()


@dataclass
class Torture:
    """A process that is killed, on a NATS server of its own."""

    process: KilledProcess
    connection: Client
    log: Path

    async def trigger(self, pipeline: str, request_id: str = "", **parameters: str) -> tuple[str, Followed]:
        request_id = request_id or uuid4().hex
        followed = await follow(self.connection, subject_for(PIPELINE_STATUS, request_id=request_id))
        request = messages_pb2.PipelineTrigger(request_id=request_id, pipeline=pipeline, parameters=parameters)
        await self.connection.publish(PIPELINE_TRIGGER.pattern, request.SerializeToString())
        await self.connection.flush()
        return request_id, followed


@pytest.fixture
async def torture(tmp_path: Path, argo: ArgoServer, kubeflow: KubeflowServer) -> AsyncGenerator[Torture]:
    with nats_server(tmp_path / "nats", "-js", "-sd", str(tmp_path / "store")) as url:
        chosen = settings(argo, kubeflow, "runs", stream="HEARTH_PIPELINES")
        process = KilledProcess(url, chosen, tmp_path / "log")
        async with await nats_connected(url) as connection:
            process.start()
            await eventually("the stream", lambda: has_stream(connection))
            try:
                yield Torture(process, connection, tmp_path / "log")
            finally:
                process.close()


async def has_stream(connection: Client) -> bool:
    try:
        await connection.jetstream().stream_info("HEARTH_PIPELINES")
    except NotFoundError:
        return False
    return True


async def has_consumer(connection: Client) -> bool:
    try:
        await connection.jetstream().consumer_info("HEARTH_PIPELINES", "hearth")
    except NotFoundError:
        return False
    return True


async def all_finished(runs: list[Followed], argo: ArgoServer, kubeflow: KubeflowServer) -> bool:
    """Have the engines finish what they have, and say whether every client has heard of its end."""

    def finish() -> None:
        for name, workflow in argo.workflows.by_name.items():
            if workflow["status"].get("phase") != "Succeeded":
                argo.workflows.set_phase(name, "Succeeded")

    argo.change(finish)
    for run_id, run in list(kubeflow.runs.items()):
        if run["state"] == "PENDING":
            kubeflow.set_state(run_id, "SUCCEEDED")
    return all(followed.finals for followed in runs)


async def test_fifty_runs_survive_that_their_process_is_killed_again_and_again(
    torture: Torture, argo: ArgoServer, kubeflow: KubeflowServer
) -> None:
    """No trigger is sent twice, and the engines are slow and break connections, so that kills come at any moment."""
    chance = random.Random(7)
    argo.faults = [
        Fault(method="POST", delay_s=0.05, times=20),
        Fault(method="POST", cut=True, done_first=True, times=3),
    ]
    kubeflow.faults = [Fault(method="POST", delay_s=0.05, times=20)]
    runs: list[tuple[str, Followed]] = []
    for number in range(50):
        runs.append(await torture.trigger("rag-query" if number % 2 else "document-ingestion"))
        if number % 17 == 5:
            await asyncio.sleep(chance.uniform(0, 0.2))
            torture.process.kill()
            torture.process.start()
    for _ in range(3):
        # A process is up after about a second: it is killed while it starts, takes runs up, submits and follows them.
        await asyncio.sleep(chance.uniform(0.7, 2.0))
        torture.process.kill()
        torture.process.start()

    followers = [followed for _, followed in runs]
    await eventually("the ends", lambda: all_finished(followers, argo, kubeflow), 90)
    for _, followed in runs:
        assert [final.status for final in followed.finals] == ["succeeded"], followed.words
        assert followed.words.count("submitted") == 1
    assert len(argo.names) == len(kubeflow.runs) == 25
    assert len({run["display_name"] for run in kubeflow.runs.values()}) == 25


async def test_a_trigger_that_was_sent_while_nobody_was_there_is_run(torture: Torture, argo: ArgoServer) -> None:
    torture.process.kill()
    _, followed = await torture.trigger("document-ingestion")
    _, refused = await torture.trigger("documents")
    torture.process.start()
    submitted = await followed.until_word("submitted")
    await refused.until_word("error")
    argo.set_phase(submitted.run_id, "Succeeded")
    await followed.until_word("succeeded")
    assert (len(followed.finals), refused.words) == (1, ["error"])


async def test_what_was_taken_leaves_the_stream_and_nothing_is_told_twice(torture: Torture) -> None:
    triggers = [await torture.trigger(name) for name in ("document-ingestion", "documents") for _ in range(5)]
    for _, followed in triggers:
        await followed.until(lambda followed: followed.words)
    await torture.connection.publish(PIPELINE_TRIGGER.pattern, b"\xff")
    await torture.connection.publish(
        PIPELINE_TRIGGER.pattern, messages_pb2.PipelineTrigger(request_id="a b").SerializeToString()
    )

    async def is_empty() -> bool:
        info = await torture.connection.jetstream().stream_info("HEARTH_PIPELINES")
        return not info.state.messages

    await eventually("an empty stream", is_empty)
    for _, followed in triggers:
        assert followed.words in (["submitted", "pending"], ["error"])


async def test_a_stream_in_which_nothing_is_found_is_looked_into_again(
    tmp_path: Path, argo: ArgoServer, kubeflow: KubeflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An idle service lives: the server and the client may both be the first to find that nothing came."""
    monkeypatch.setattr(pipeline_intake, "_FETCH_S", 0.02)
    monkeypatch.setattr(pipeline_intake, "_GRACE_S", 0.0)
    with nats_server(tmp_path, "-js", "-sd", str(tmp_path / "store")) as url:
        chosen = settings(argo, kubeflow, "runs", stream="HEARTH_PIPELINES")
        async with await nats_connected(url) as connection:
            # Of an earlier start, under other settings.
            earlier = StreamConfig(
                name="HEARTH_PIPELINES",
                subjects=[PIPELINE_TRIGGER.pattern],
                retention=RetentionPolicy.WORK_QUEUE,
                max_age=60,
                no_ack=True,
            )
            await connection.jetstream().add_stream(earlier)
        async with await nats_connected(url) as connection, running(chosen, url):
            stream = connection.jetstream()
            await eventually("the consumer", lambda: has_consumer(connection))
            assert (await stream.stream_info("HEARTH_PIPELINES")).config.max_age == chosen.stream_max_age_s

            async def was_looked_into_often() -> bool:
                info = await stream.consumer_info("HEARTH_PIPELINES", "hearth")
                looks.append(info.num_waiting or 0)
                return len(looks) > 60

            looks: list[int] = []
            await eventually("many looks", was_looked_into_often)
            followed = await follow(connection, subject_for(PIPELINE_STATUS, request_id="late"))
            request = messages_pb2.PipelineTrigger(request_id="late", pipeline="document-ingestion")
            await connection.publish(PIPELINE_TRIGGER.pattern, request.SerializeToString())
            await followed.until_word("submitted")


async def test_a_trigger_that_its_ingress_lost_starts_only_what_its_user_may_name(
    tmp_path: Path, argo: ArgoServer, kubeflow: KubeflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline_intake, "_GRACE_S", 0.0)
    monkeypatch.setattr(pipeline_intake, "_FETCH_S", 0.1)
    users = {"*": {"pipelines": []}, "ann": {"pipelines": ["document-*"]}}
    with nats_server(tmp_path, "-js", "-sd", str(tmp_path / "store")) as url:
        chosen = settings(argo, kubeflow, "runs", stream="HEARTH_PIPELINES")
        async with (
            await nats_connected(url) as connection,
            running(chosen, url, users=users, user_header="Hearth-User"),
        ):
            await eventually("the consumer", lambda: has_consumer(connection))

            async def trigger(request_id: str, **headers: str) -> Followed:
                followed = await follow(connection, subject_for(PIPELINE_STATUS, request_id=request_id))
                request = messages_pb2.PipelineTrigger(request_id=request_id, pipeline="document-ingestion")
                await connection.publish(PIPELINE_TRIGGER.pattern, request.SerializeToString(), headers=headers)
                return followed

            anybody, ann = await trigger("r1"), await trigger("r2", **{"Hearth-User": "ann"})
            assert "is not one that you may name" in (await anybody.until_word("error")).error
            await ann.until_word("submitted")
            assert len(argo.names) == 1


async def test_another_stream_over_the_subject_costs_that_and_nothing_else(
    tmp_path: Path, argo: ArgoServer, kubeflow: KubeflowServer, caplog: pytest.LogCaptureFixture
) -> None:
    with nats_server(tmp_path, "-js", "-sd", str(tmp_path / "store")) as url:
        async with await nats_connected(url) as connection:
            await connection.jetstream().add_stream(name="THEIRS", subjects=["ai.pipeline.>"], no_ack=True)
            chosen = settings(argo, kubeflow, "runs", stream="HEARTH_PIPELINES")
            async with running(chosen, url) as replica:
                scene = Scene(replica, connection, argo, kubeflow, chosen)
                _, followed = await scene.trigger()
                await followed.until_word("submitted")
                argo.set_phase(argo.names[0], "Succeeded")
                await followed.until_word("succeeded")
    assert "another stream than 'HEARTH_PIPELINES' has the subject" in caplog.text
