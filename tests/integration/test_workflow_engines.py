"""The engines' adapters against servers that speak their protocols, over real HTTP."""

import asyncio
import base64
import logging
import os
import ssl
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import trustme

from bridges.workflows import patience
from bridges.workflows.argo_server import ArgoServer
from bridges.workflows.kubeflow import Kubeflow
from bridges.workflows.kubernetes import KubernetesWorkflows
from bridges.workflows.naming import REQUEST, run_name
from deployments.errors import BackEnd, HearthError, UpstreamFailedError
from deployments.pipelines.ports import EngineUnavailableError, WorkflowEngine
from deployments.settings.pipelines import ArgoServerSettings, KubeflowSettings, KubernetesSettings, PipelineSettings
from deployments.values.pipelines import Run, RunState, RunStatus
from tests.certificates import Certificates
from tests.refusals import refused
from tests.workflow_engines import argo as argo_servers
from tests.workflow_engines.engine_server import EngineServer, Fault, serving
from tests.workflow_engines.kubeflow import KubeflowServer

TEMPLATE = "document-ingestion"
RUN = Run("r1", TEMPLATE, "argo", TEMPLATE, {"source": "s3://a=b c", "note": "ü\n"}, "", "me", 0.0, 1e12)
NAME = run_name(TEMPLATE, "r1")
QUERY = Run("q1", "rag-query", "kubeflow", "rag-query", {"query": "E-17?", "top_k": "3"}, "", "me", 0.0, 1e12)


@dataclass
class Argo:
    """One of the two ways to Argo Workflows."""

    engine: WorkflowEngine
    server: argo_servers.ArgoServer | argo_servers.KubernetesApi

    async def submitted(self) -> Run:
        return replace(RUN, run_id=await self.engine.submit(RUN))


def adapter(server: EngineServer, **changes: Any) -> WorkflowEngine:
    if isinstance(server, argo_servers.ArgoServer):
        return ArgoServer(ArgoServerSettings.model_validate({"kind": "argo-server", "url": server.url, **changes}))
    no_pod = {"token_file": ""} if "tls" in changes else {"token_file": "", "ca_file": ""}
    settings = {"kind": "kubernetes", "url": server.url, **no_pod, **changes}
    return KubernetesWorkflows(KubernetesSettings.model_validate(settings))


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask again sooner than an engine would like. How pauses grow is tested with `Backoff` itself."""
    monkeypatch.setattr(patience, "_PAUSE_S", 0.02)


@pytest.fixture(params=[argo_servers.ArgoServer, argo_servers.KubernetesApi], ids=["argo-server", "kubernetes"])
async def argo(request: pytest.FixtureRequest) -> AsyncGenerator[Argo]:
    with serving(request.param(TEMPLATE)) as server:
        engine = adapter(server, timeout_s=1, watch_idle_s=1)
        yield Argo(engine, server)
        await engine.close()


@pytest.fixture
def kubernetes() -> Generator[argo_servers.KubernetesApi]:
    with serving(argo_servers.KubernetesApi(TEMPLATE)) as server:
        yield server


@pytest.fixture
def kubeflow() -> Generator[KubeflowServer]:
    with serving(KubeflowServer("rag-query")) as server:
        yield server


def kubeflow_adapter(server: KubeflowServer, **changes: Any) -> Kubeflow:
    table = {
        "rag-query": PipelineSettings.model_validate(
            {"engine": "kubeflow", "parameters": {"top_k": {"type": "integer"}}}
        )
    }
    return Kubeflow(
        KubeflowSettings.model_validate({"url": server.url, "poll_s": 0.02, "timeout_s": 1, **changes}), table
    )


class Following:
    """Follows a run, collecting what changed."""

    def __init__(self, engine: WorkflowEngine, run: Run, last: RunStatus = RunStatus.SUBMITTED) -> None:
        self.states: list[RunState] = []
        self._news = asyncio.Event()
        self._task = asyncio.create_task(self._follow(engine, run, last))

    async def _follow(self, engine: WorkflowEngine, run: Run, last: RunStatus) -> None:
        async with aclosing(engine.follow(run, last)) as states:
            async for state in states:
                if not self.states or self.states[-1] != state:
                    self.states.append(state)
                    self._news.set()
                if state.status.is_final:
                    return

    async def until(self, status: RunStatus) -> RunState:
        async with asyncio.timeout(10):
            while not self.states or self.states[-1].status is not status:
                self._news.clear()
                waiting = asyncio.ensure_future(self._news.wait())
                await asyncio.wait((waiting, self._task), return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                if self._task.done() and not self._news.is_set():
                    await self._task
                    raise AssertionError(f"ended with {self.states}")
        return self.states[-1]

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    @property
    def words(self) -> list[str]:
        return [state.status.value for state in self.states]


async def watched(argo: Argo) -> None:
    """Return once the server has a watch."""
    await asyncio.to_thread(argo.server.wait_for, "a watch", lambda: argo.server.watches > 0)


async def test_a_run_is_named_after_its_template_and_its_request(argo: Argo) -> None:
    assert await argo.engine.submit(RUN) == NAME
    workflow = argo.server.workflows.by_name[NAME]
    assert NAME.startswith(f"{TEMPLATE}-")
    assert workflow["spec"]["workflowTemplateRef"] == {"name": TEMPLATE}
    given = {parameter["name"]: parameter["value"] for parameter in workflow["spec"]["arguments"]["parameters"]}
    assert given == RUN.parameters
    assert workflow["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "hearth"


async def test_nothing_is_said_of_an_engine_before_it_was_asked_for_something(argo: Argo) -> None:
    assert argo.engine.description.endswith("namespace ai-ml: not asked for anything yet")
    await argo.engine.submit(RUN)
    assert argo.engine.description.endswith(f"{argo.server.url}, namespace ai-ml")


async def test_the_same_request_starts_one_run(argo: Argo) -> None:
    assert [await argo.engine.submit(RUN) for _ in range(3)] == [NAME] * 3
    assert argo.server.names == [NAME]


async def test_a_run_whose_acceptance_was_not_heard_is_found_again(argo: Argo) -> None:
    argo.server.faults = [Fault(method="POST", cut=True, done_first=True)]
    assert await argo.engine.find(RUN) == ""
    with refused(EngineUnavailableError, may_have_acted=True, back_end=BackEnd("argo")) as caught:
        await argo.engine.submit(RUN)
    assert argo.server.url not in caught.value.message
    assert await argo.engine.find(RUN) == NAME
    assert await argo.engine.submit(RUN) == NAME
    assert argo.server.names == [NAME]


async def test_a_workflow_of_that_name_that_is_not_ours_is_not_taken_for_ours(argo: Argo) -> None:
    await argo.engine.submit(RUN)
    argo.server.workflows.by_name[NAME]["metadata"]["labels"][REQUEST] = "another"
    with pytest.raises(UpstreamFailedError):
        await argo.engine.submit(RUN)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(500),
        Fault(503, headers={"Retry-After": "7"}),
        Fault(429, headers={"Retry-After": "7"}),
        Fault(429, headers={"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}),
        Fault(delay_s=3),
        Fault(cut=True),
    ],
    ids=["500", "503", "429", "429 with a date", "slow", "cut"],
)
async def test_what_may_pass_is_to_be_tried_again(argo: Argo, fault: Fault) -> None:
    argo.server.faults = [replace(fault)]
    with pytest.raises(EngineUnavailableError) as caught:
        await argo.engine.submit(RUN)
    assert caught.value.retry_after_s == (7.0 if fault.headers.get("Retry-After") == "7" else None)
    assert argo.engine.failure == caught.value.reason
    assert await argo.engine.submit(RUN) == NAME
    assert argo.engine.failure == ""


@pytest.mark.parametrize("status", [400, 401, 403, 422])
async def test_what_will_not_pass_is_the_operator_s_to_mend(
    argo: Argo, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    argo.server.faults = [Fault(status)]
    with refused(UpstreamFailedError, retryable=False, back_end=BackEnd("argo", status)) as raised:
        await argo.engine.submit(RUN)
    assert "as the test asks for" not in raised.value.message
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert "as the test asks for" in line
    assert "look at pipelines.argo" in line


async def test_an_unknown_template_is_named() -> None:
    with serving(argo_servers.ArgoServer()) as server:
        engine = adapter(server)
        with refused(UpstreamFailedError, retryable=False, back_end=BackEnd("argo", 404)) as raised:
            await engine.submit(RUN)
        assert "document-ingestion" in raised.value.message
        await engine.close()


async def test_every_change_is_told_to_the_end(argo: Argo) -> None:
    run = await argo.submitted()
    following = Following(argo.engine, run)
    await following.until(RunStatus.PENDING)
    await watched(argo)
    argo.server.set_phase(NAME, "Running")
    await following.until(RunStatus.RUNNING)
    argo.server.set_phase(NAME, "Failed", "step 2: exit code 1")
    assert await following.until(RunStatus.FAILED) == RunState(RunStatus.FAILED, "step 2: exit code 1")
    assert following.words == ["pending", "running", "failed"]
    assert len(argo.server.asked("GET", NAME)) <= 3, "it is watched, not polled"


@pytest.mark.parametrize(("phase", "status"), [("Succeeded", "succeeded"), ("Failed", "failed"), ("Error", "error")])
async def test_each_end_has_its_word(argo: Argo, phase: str, status: str) -> None:
    run = await argo.submitted()
    argo.server.set_phase(NAME, phase)
    following = Following(argo.engine, run)
    await following.until(RunStatus(status))
    assert following.words == [status]


async def test_a_phase_that_nobody_knows_is_waited_out(argo: Argo, caplog: pytest.LogCaptureFixture) -> None:
    run = await argo.submitted()
    argo.server.set_phase(NAME, "Dreaming")
    with caplog.at_level("INFO"):
        following = Following(argo.engine, run)
        await asyncio.to_thread(argo.server.wait_for, "a second look", lambda: len(argo.server.asked("GET", NAME)) > 1)
    argo.server.set_phase(NAME, "Succeeded")
    await following.until(RunStatus.SUCCEEDED)
    assert "'Dreaming', which is not a known phase" in caplog.text


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_an_engine_that_does_not_tell_for_a_moment_ends_no_run(argo: Argo, status: int) -> None:
    run = await argo.submitted()
    argo.server.faults = [Fault(status, times=2)]
    following = Following(argo.engine, run)
    await following.until(RunStatus.PENDING)
    argo.server.set_phase(NAME, "Succeeded")
    await following.until(RunStatus.SUCCEEDED)
    assert following.words == ["pending", "succeeded"]


async def test_a_watch_that_is_cut_misses_nothing(argo: Argo) -> None:
    run = await argo.submitted()
    following = Following(argo.engine, run)
    await following.until(RunStatus.PENDING)
    for _ in range(3):
        await watched(argo)
        assert await asyncio.to_thread(argo.server.cut_watches) == 1
    argo.server.set_phase(NAME, "Running")
    await following.until(RunStatus.RUNNING)
    await asyncio.to_thread(argo.server.cut_watches)
    argo.server.set_phase(NAME, "Succeeded")
    await following.until(RunStatus.SUCCEEDED)
    assert following.words == ["pending", "running", "succeeded"]


async def test_a_server_that_goes_and_comes_is_found_again(argo: Argo) -> None:
    run = await argo.submitted()
    following = Following(argo.engine, run)
    await following.until(RunStatus.PENDING)
    await asyncio.to_thread(argo.server.stop)
    await asyncio.to_thread(argo.server.wait_for, "the failure", lambda: bool(argo.engine.failure))
    await asyncio.to_thread(argo.server.start)
    argo.server.set_phase(NAME, "Succeeded")
    await following.until(RunStatus.SUCCEEDED)


async def test_a_watch_that_says_nothing_is_not_trusted_for_ever(argo: Argo) -> None:
    run = await argo.submitted()
    following = Following(argo.engine, run)
    await watched(argo)
    # As if the connection were dead without a word: the state changes, and no event comes.
    argo.server.workflows.by_name[NAME]["status"] = {"phase": "Succeeded"}
    await following.until(RunStatus.SUCCEEDED)


async def test_a_run_that_is_deleted_ends_as_an_error(argo: Argo) -> None:
    run = await argo.submitted()
    following = Following(argo.engine, run)
    await following.until(RunStatus.PENDING)
    await watched(argo)
    argo.server.delete(NAME)
    assert "deleted before its end was seen" in (await following.until(RunStatus.ERROR)).message


async def test_a_run_that_is_gone_when_it_is_taken_up_ends_as_an_error(argo: Argo) -> None:
    following = Following(argo.engine, replace(RUN, run_id=NAME))
    assert "deleted" in (await following.until(RunStatus.ERROR)).message


async def test_a_finished_run_that_is_tidied_away_has_finished(argo: Argo) -> None:
    run = await argo.submitted()
    following = Following(argo.engine, run)
    await following.until(RunStatus.PENDING)
    await watched(argo)

    def finish_and_delete() -> None:
        argo.server.workflows.set_phase(NAME, "Succeeded")
        argo.server.workflows.delete(NAME)

    argo.server.change(finish_and_delete)
    await following.until(RunStatus.SUCCEEDED)


async def test_a_run_is_stopped(argo: Argo) -> None:
    run = await argo.submitted()
    following = Following(argo.engine, run)
    await argo.engine.stop(run)
    assert "Stopped" in (await following.until(RunStatus.FAILED)).message
    await argo.engine.stop(run)


async def test_nothing_is_left_open_when_a_run_is_followed_no_more(argo: Argo) -> None:
    run = await argo.submitted()
    following = Following(argo.engine, run)
    await watched(argo)
    await following.close()
    await asyncio.to_thread(argo.server.wait_for, "the watch's end", lambda: not argo.server.watches)


async def test_the_service_account_is_asked_for(kubernetes: argo_servers.KubernetesApi) -> None:
    engine = adapter(kubernetes, service_account="pipelines")
    await engine.submit(RUN)
    assert kubernetes.workflows.by_name[NAME]["spec"]["serviceAccountName"] == "pipelines"
    await engine.close()
    with serving(argo_servers.ArgoServer(TEMPLATE)) as server:
        engine = adapter(server, service_account="pipelines")
        await engine.submit(RUN)
        (submit,) = server.asked("POST")
        assert submit.body["submitOptions"]["serviceAccount"] == "pipelines"
        await engine.close()


async def test_a_version_that_is_too_old_to_watch_from_is_looked_at_anew(argo: Argo) -> None:
    following = Following(argo.engine, await argo.submitted())
    await watched(argo)
    argo.server.expire()
    await asyncio.to_thread(argo.server.cut_watches)
    await asyncio.to_thread(argo.server.wait_for, "a second look", lambda: len(argo.server.asked("GET", NAME)) > 2)
    argo.server.set_phase(NAME, "Running")
    await following.until(RunStatus.RUNNING)
    # Or so, by the status of the answer.
    argo.server.faults = [Fault(410, path="/workflow")]
    await asyncio.to_thread(argo.server.cut_watches)
    argo.server.set_phase(NAME, "Succeeded")
    await following.until(RunStatus.SUCCEEDED)
    assert following.words == ["pending", "running", "succeeded"]


async def test_a_watch_goes_on_from_the_version_that_was_looked_at(argo: Argo) -> None:
    following = Following(argo.engine, await argo.submitted())
    await watched(argo)
    option = "listOptions." if isinstance(argo.server, argo_servers.ArgoServer) else ""
    (watch,) = [request for request in argo.server.requests if f"{option}fieldSelector" in request.query]
    assert watch.query[f"{option}fieldSelector"] == f"metadata.name={NAME}"
    version = argo.server.workflows.by_name[NAME]["metadata"]["resourceVersion"]
    assert watch.query[f"{option}resourceVersion"] == version
    await following.close()


async def test_what_a_watch_repeats_of_the_past_is_not_news(argo: Argo) -> None:
    run = await argo.submitted()
    argo.server.set_phase(NAME, "Pending")
    argo.server.set_phase(NAME, "Running")
    argo.server.replays = True
    following = Following(argo.engine, run)
    await watched(argo)
    argo.server.set_phase(NAME, "Succeeded")
    await following.until(RunStatus.SUCCEEDED)
    assert following.words == ["running", "succeeded"]


async def test_a_change_between_the_look_and_the_watch_is_not_missed(argo: Argo) -> None:
    run = await argo.submitted()
    argo.server.faults = [
        Fault(delay_s=0.3, method="GET", path="events"),
        Fault(delay_s=0.3, method="GET", path="/workflows"),
    ]
    following = Following(argo.engine, run)
    await asyncio.to_thread(argo.server.wait_for, "a look", lambda: len(argo.server.asked("GET")) > 1)
    argo.server.set_phase(NAME, "Running")
    await following.until(RunStatus.RUNNING)
    await following.close()


async def test_an_error_among_argo_server_s_events_ends_the_watch_and_not_the_run() -> None:
    with serving(argo_servers.ArgoServer(TEMPLATE)) as server:
        argo = Argo(adapter(server), server)
        following = Following(argo.engine, await argo.submitted())
        await watched(argo)
        server.broken_lines = [
            'data: {"error": {"grpc_code": 14, "http_code": 503, "message": "watch ended"}}\n\n',
            "data: {\n\n",
        ]
        server.change(lambda: None)
        await asyncio.to_thread(server.wait_for, "another watch", lambda: len(server.asked("GET", "events")) > 1)
        server.set_phase(NAME, "Succeeded")
        await following.until(RunStatus.SUCCEEDED)
        await argo.engine.close()


async def test_kubeflow_runs_the_latest_version_with_typed_parameters(kubeflow: KubeflowServer) -> None:
    engine = kubeflow_adapter(kubeflow)
    run_id = await engine.submit(QUERY)
    run = kubeflow.runs[run_id]
    assert run["pipeline_version_reference"] == {"pipeline_id": kubeflow.pipelines["rag-query"]}
    assert run["runtime_config"] == {"parameters": {"query": "E-17?", "top_k": 3}}
    assert "q1" in run["display_name"]
    await engine.close()


@pytest.mark.parametrize("request_id", ["q1", "q" * 500, "ü", "a'b\"c"])
async def test_kubeflow_starts_one_run_for_a_request(kubeflow: KubeflowServer, request_id: str) -> None:
    engine = kubeflow_adapter(kubeflow)
    run = replace(QUERY, request_id=request_id)
    kubeflow.faults = [Fault(method="POST", cut=True, done_first=True)]
    with pytest.raises(EngineUnavailableError):
        await engine.submit(run)
    assert await engine.submit(run) == await engine.submit(run) == next(iter(kubeflow.runs))
    assert len(kubeflow.runs) == 1
    await engine.close()


async def test_kubeflow_with_several_users_is_told_which_one_it_is(kubeflow: KubeflowServer) -> None:
    engine = kubeflow_adapter(kubeflow, user="ada@example.org", namespace="team-a", experiment_id="e1")
    await engine.submit(QUERY)
    assert {request.headers.get("kubeflow-userid") for request in kubeflow.requests} == {"ada@example.org"}
    assert {request.query.get("namespace") for request in kubeflow.asked("GET")} == {"team-a"}
    assert next(iter(kubeflow.runs.values()))["experiment_id"] == "e1"
    await engine.close()


async def test_a_pipeline_that_kubeflow_does_not_have_is_named(kubeflow: KubeflowServer) -> None:
    engine = kubeflow_adapter(kubeflow)
    with refused(UpstreamFailedError, retryable=False, back_end=BackEnd("kubeflow", 404)) as raised:
        await engine.submit(replace(QUERY, target="other"))
    assert "'other'" in raised.value.message
    await engine.close()


@pytest.mark.parametrize(
    ("states", "words"),
    [
        (["RUNNING", "SUCCEEDED"], ["pending", "running", "succeeded"]),
        (["RUNNING", "PAUSED", "RUNNING", "FAILED"], ["pending", "running", "failed"]),
        (["SKIPPED"], ["pending", "succeeded"]),
        (["RUNNING", "CANCELING", "CANCELED"], ["pending", "running", "failed"]),
    ],
)
async def test_kubeflow_s_states_have_their_words(
    kubeflow: KubeflowServer, states: list[str], words: list[str]
) -> None:
    engine = kubeflow_adapter(kubeflow)
    run = replace(QUERY, run_id=await engine.submit(QUERY))
    following = Following(engine, run)
    await following.until(RunStatus.PENDING)
    for state in states:
        kubeflow.set_state(run.run_id, state, "a step failed" if state == "FAILED" else "")
    last = await following.until(RunStatus(words[-1]))
    assert following.words == words
    assert last.message == {"FAILED": "a step failed", "CANCELED": "the run was cancelled"}.get(states[-1], "")
    await engine.close()


async def test_what_happened_while_nobody_looked_is_told_from_where_it_was_left(kubeflow: KubeflowServer) -> None:
    engine = kubeflow_adapter(kubeflow)
    run = replace(QUERY, run_id=await engine.submit(QUERY))
    for state in ("RUNNING", "SUCCEEDED"):
        kubeflow.set_state(run.run_id, state)
    following = Following(engine, run, RunStatus.PENDING)
    await following.until(RunStatus.SUCCEEDED)
    assert following.words == ["running", "succeeded"]
    await engine.close()


async def test_kubeflow_that_is_away_is_asked_again_and_a_deleted_run_is_an_error(kubeflow: KubeflowServer) -> None:
    engine = kubeflow_adapter(kubeflow)
    run = replace(QUERY, run_id=await engine.submit(QUERY))
    kubeflow.faults = [Fault(503, times=2), Fault(cut=True)]
    following = Following(engine, run)
    await following.until(RunStatus.PENDING)
    assert not kubeflow.faults
    kubeflow.change(kubeflow.runs.clear)
    assert "deleted" in (await following.until(RunStatus.ERROR)).message
    await engine.close()


async def test_a_kubeflow_run_is_stopped(kubeflow: KubeflowServer) -> None:
    engine = kubeflow_adapter(kubeflow)
    run = replace(QUERY, run_id=await engine.submit(QUERY))
    await engine.stop(run)
    assert kubeflow.runs[run.run_id]["state"] == "CANCELED"
    await engine.close()


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    engine = ArgoServer(ArgoServerSettings.model_validate({"kind": "argo-server", "url": "http://127.0.0.1:1"}))
    with refused(EngineUnavailableError, may_have_acted=False, back_end=BackEnd("argo")) as caught:
        await engine.submit(RUN)
    assert "127.0.0.1" not in caught.value.message + engine.failure
    await engine.close()


async def test_a_page_in_place_of_an_answer_is_told(kubeflow: KubeflowServer) -> None:
    kubeflow.page = "<html>log in</html>"
    engine = kubeflow_adapter(kubeflow)
    with refused(UpstreamFailedError, back_end=BackEnd("kubeflow", 200)) as raised:
        await engine.submit(QUERY)
    assert "log in" not in raised.value.message
    await engine.close()


async def test_a_token_may_be_in_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(argo_servers.KubernetesApi(TEMPLATE)) as server:
        server.token = "first"
        engine = adapter(server, token_variable="ENGINE_TOKEN")
        with refused(EngineUnavailableError, may_have_acted=False) as raised:
            await engine.submit(RUN)
        assert "token_variable" in raised.value.message
        monkeypatch.setenv("ENGINE_TOKEN", "first")
        await engine.submit(RUN)
        await engine.close()


async def test_a_token_is_read_again_when_it_was_renewed(tmp_path: Path) -> None:
    token = tmp_path / "token"
    with serving(argo_servers.KubernetesApi(TEMPLATE)) as server:
        engine = adapter(server, token_file=str(token))
        with refused(EngineUnavailableError, may_have_acted=False) as raised:
            await engine.submit(RUN)
        assert "token_file" in raised.value.message
        assert str(tmp_path) not in raised.value.message
        server.token = "first"
        token.write_text("first\n")
        await engine.submit(RUN)
        server.token = "second"
        with refused(UpstreamFailedError, retryable=False, back_end=BackEnd("argo", 401)):
            await engine.submit(RUN)
        assert "401" in engine.failure
        token.write_text("second")
        await engine.submit(RUN)
        assert engine.failure == ""
        await engine.close()


def certificate(authority: trustme.CA, file: Path, *names: str) -> str:
    authority.issue_cert(*names).private_key_and_cert_chain_pem.write_to_path(str(file))
    return str(file)


async def test_certificates_are_checked_both_ways_and_read_again_when_they_were_renewed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    ca_file, client_file = tmp_path / "ca.pem", tmp_path / "client.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    certificate(stranger, client_file, "hearth@example.org")
    server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(ca_file))
    server_tls.load_cert_chain(certificate(authority, tmp_path / "server.pem", "127.0.0.1"))
    server_tls.verify_mode = ssl.CERT_REQUIRED
    with serving(argo_servers.KubernetesApi(TEMPLATE, tls=server_tls)) as server:
        unchecked = adapter(server)
        with refused(EngineUnavailableError, may_have_acted=False):
            await unchecked.submit(RUN)
        assert "CERTIFICATE_VERIFY_FAILED" in caplog.text
        await unchecked.close()
        engine = adapter(server, ca_file=str(ca_file), certificate_file=str(client_file))
        with pytest.raises(EngineUnavailableError):
            await engine.submit(RUN)
        certificate(authority, client_file, "hearth@example.org")
        os.utime(client_file, ns=(1, 1))
        assert await engine.submit(RUN) == NAME
        ca_file.unlink()
        with refused(EngineUnavailableError, may_have_acted=False) as raised:
            await engine.submit(RUN)
        assert str(tmp_path) not in raised.value.message
        assert "ca.pem" in caplog.text
        await engine.close()
        careless = adapter(server, verify=False, certificate_file=str(client_file))
        assert await careless.submit(RUN) == NAME
        await careless.close()


@pytest.mark.parametrize("wrong", ["", "another name", "no certificate", "expired"])
async def test_an_engine_is_known_by_name_and_knows_us_by_a_certificate(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, wrong: str
) -> None:
    certificates = Certificates.of(tmp_path)
    certificate, key = certificates.issue("hearth.test", expired=wrong == "expired")
    tls = {"ca_file": certificates.ca_file, "certificate_file": certificate, "key_file": key}
    tls = {name: file for name, file in tls.items() if wrong != "no certificate" or name == "ca_file"}
    tls["server_name"] = "other.test" if wrong == "another name" else "engine.test"
    with serving(
        argo_servers.KubernetesApi(TEMPLATE, tls=certificates.of_server("engine.test", asks_clients=True))
    ) as it:
        engine = adapter(it, tls=tls)
        if wrong:
            with pytest.raises(EngineUnavailableError):
                await engine.submit(RUN)
            assert "look at pipelines.argo.tls" in engine.failure
            assert "look at pipelines.argo.tls" in caplog.text
        else:
            assert await engine.submit(RUN) == NAME
        await engine.close()


async def test_the_secrets_of_an_engine_are_shown_nowhere(
    kubeflow: KubeflowServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("ENGINE_TOKEN", "t0k3n-w0rd")
    kubeflow.token = "another"
    of_a_url = {"url": kubeflow.url.replace("://", "://ada:p4ss-w0rd@")}
    for changes in ({"token_variable": "ENGINE_TOKEN"}, of_a_url):
        engine = kubeflow_adapter(kubeflow, **changes)
        with refused(UpstreamFailedError, retryable=False) as raised:
            await engine.submit(QUERY)
        assert "look at pipelines.kubeflow.token_" in engine.failure
        shown = f"{caplog.text}{raised.value!r}{engine.failure}"
        assert "w0rd" not in shown
        await engine.close()
    assert "w0rd" not in repr(KubeflowSettings.model_validate(of_a_url))
    assert base64.b64encode(b"ada:p4ss-w0rd").decode() in kubeflow.requests[-1].headers["Authorization"]


def test_errors_of_engines_belong_to_the_family() -> None:
    assert issubclass(EngineUnavailableError, HearthError)
    assert EngineUnavailableError("x").kind == "unavailable"
