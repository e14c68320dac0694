"""The pipelines service: what is started, what is told, and what happens when a replica or an engine dies."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from deployments.call import Call
from deployments.errors import HearthError, NotFoundError, UnavailableError, UpstreamFailedError
from deployments.pipelines.ports import EngineUnavailableError, KeptRun, StaleRunError
from deployments.pipelines.service import Pipelines
from deployments.settings.pipelines import PipelinesSettings
from deployments.values.pipelines import PipelineReport, PipelineTrigger, Run, RunState, RunStatus, TriggerReceipt

AWAY = EngineUnavailableError("argo is away")


@dataclass
class Engine:
    """Runs what it was told to.

    Attributes:
        answers: To submissions, in order; an error is raised. Without any, runs are taken.
        started: What it has started without saying so.
    """

    answers: list[HearthError | str] = field(default_factory=list[HearthError | str])
    stop_error: HearthError | None = None
    started: dict[str, str] = field(default_factory=dict[str, str])
    description: str = "scripted"
    failure: str = ""
    submitted: list[str] = field(default_factory=list[str])
    stopped: list[str] = field(default_factory=list[str])
    states: dict[str, asyncio.Queue[RunState]] = field(default_factory=dict[str, asyncio.Queue[RunState]])

    async def submit(self, run: Run) -> str:
        self.submitted.append(run.request_id)
        answer = self.answers.pop(0) if self.answers else f"{run.target}-{run.request_id}"
        if isinstance(answer, HearthError):
            raise answer
        return answer

    async def find(self, run: Run) -> str:
        return self.started.get(run.request_id, "")

    async def follow(self, run: Run, last: RunStatus) -> AsyncGenerator[RunState]:
        del last
        while True:
            yield await self.of(run.request_id).get()

    def of(self, request_id: str) -> asyncio.Queue[RunState]:
        return self.states.setdefault(request_id, asyncio.Queue())

    def tell(self, request_id: str, *states: RunStatus, message: str = "") -> None:
        for state in states:
            self.of(request_id).put_nowait(RunState(state, message))

    async def stop(self, run: Run) -> None:
        self.stopped.append(run.request_id)
        if self.stop_error:
            raise self.stop_error

    async def close(self) -> None: ...


@dataclass
class Store:
    """Keeps runs in memory, by revisions as a bucket does.

    Attributes:
        told: The statuses that clients were told, by request id.
        away: Raised by the next uses.
        lost_acknowledgements: Uses that do what they are asked for, and then raise.
    """

    runs: dict[str, tuple[Run, int]] = field(default_factory=dict[str, tuple[Run, int]])
    reports: dict[str, tuple[PipelineReport, int]] = field(default_factory=dict[str, tuple[PipelineReport, int]])
    told: list[PipelineReport] = field(default_factory=list[PipelineReport])
    replies: list[tuple[str, RunStatus]] = field(default_factory=list[tuple[str, RunStatus]])
    away: int = 0
    lost_acknowledgements: int = 0
    revision: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def words(self, request_id: str = "r1") -> list[str]:
        return [report.status.value for report in self.told if report.request_id == request_id]

    async def until(self, happened: Callable[[], Any]) -> None:
        async with asyncio.timeout(5):
            while not happened():
                self.changed.clear()
                await self.changed.wait()

    def _use(self) -> None:
        if self.away:
            self.away -= 1
            raise UnavailableError("the bucket is away")

    def _acknowledge(self) -> None:
        self.changed.set()
        if self.lost_acknowledgements:
            self.lost_acknowledgements -= 1
            raise UnavailableError("no acknowledgement")

    async def accept(self, run: Run) -> KeptRun:
        self._use()
        report, revision = self.reports.get(run.request_id, (None, 0))
        if report and report.status.is_final and report.run_id:
            return KeptRun(replace(run, pipeline=report.pipeline), 0, report, revision)
        if run.request_id in self.runs:
            kept, kept_revision = self.runs[run.request_id]
            return KeptRun(kept, kept_revision, report, revision)
        self.revision += 1
        run = replace(run, reported_before=revision)
        self.runs[run.request_id] = (run, self.revision)
        self._acknowledge()
        return KeptRun(run, self.revision, None, revision, is_new=True)

    async def rewrite(self, kept: KeptRun, run: Run) -> KeptRun:
        self._use()
        if self.runs.get(run.request_id, (None, -1))[1] != kept.revision:
            raise StaleRunError(run.request_id)
        self.revision += 1
        self.runs[run.request_id] = (run, self.revision)
        self._acknowledge()
        return replace(kept, run=run, revision=self.revision)

    async def publish(self, kept: KeptRun, report: PipelineReport) -> KeptRun:
        self._use()
        if self.reports.get(report.request_id, (None, 0))[1] != kept.report_revision:
            raise StaleRunError(report.request_id)
        self.revision += 1
        self.reports[report.request_id] = (report, self.revision)
        self.told.append(report)
        self._acknowledge()
        return replace(kept, report=report, report_revision=self.revision)

    async def read(self, request_id: str) -> KeptRun | None:
        self._use()
        if request_id not in self.runs:
            return None
        run, revision = self.runs[request_id]
        report, report_revision = self.reports.get(request_id, (None, 0))
        return KeptRun(run, revision, report if report_revision > run.reported_before else None, report_revision)

    async def forget(self, kept: KeptRun) -> None:
        self._use()
        del self.runs[kept.run.request_id]
        self._acknowledge()

    async def unfinished(self) -> Sequence[Run]:
        self._use()
        return [run for run, _ in self.runs.values()]

    async def tell(self, run: Run, report: PipelineReport) -> None:
        if run.reply:
            self.replies.append((run.reply, report.status))


@dataclass
class Group:
    """Replicas, of which some are there."""

    name: str = "one"
    alive: set[str] = field(default_factory=lambda: {"one"})
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    has_left: bool = False

    def is_alive(self, name: str) -> bool:
        return name in self.alive

    async def join(self) -> None: ...

    async def leave(self) -> None:
        self.has_left = True


TABLE = {
    "documents": {"engine": "argo", "target": "ingest", "parameters": {"source": {}}},
    "short": {"engine": "argo", "deadline_s": 0.05},
    "query": {"engine": "kubeflow"},
}


@dataclass
class Scene:
    service: Pipelines
    argo: Engine
    kubeflow: Engine
    store: Store
    group: Group

    async def trigger(self, pipeline: str = "documents", request_id: str = "r1", **parameters: str) -> TriggerReceipt:
        trigger = PipelineTrigger(request_id, pipeline, parameters, reply=f"_INBOX.{request_id}")
        return await self.service.trigger(Call.within(5), trigger)


@asynccontextmanager
async def running(
    store: Store | None = None, alive: str = "one", started: dict[str, str] | None = None, **settings: Any
) -> AsyncGenerator[Scene]:
    chosen = PipelinesSettings.model_validate(
        {"table": TABLE, "retry_s": 0.001, "max_retry_s": 0.01, "submit_timeout_s": 0.5, **settings}
    )
    scene_store, argo, kubeflow, group = (
        store or Store(),
        Engine(started=started or {}),
        Engine(),
        Group(alive={"one", alive}),
    )
    service = Pipelines(chosen, {"argo": argo, "kubeflow": kubeflow}, scene_store, group)
    task = asyncio.create_task(service.run())
    await asyncio.sleep(0)
    try:
        yield Scene(service, argo, kubeflow, scene_store, group)
    finally:
        service.stop()
        async with asyncio.timeout(5):
            await task


def left_by(owner: str, request_id: str = "r1", *, run_id: str = "", seconds: float = 60) -> Run:
    """Return a run that another replica looked after."""
    now = time.time()
    return Run(
        request_id, "documents", "argo", "ingest", {}, "", owner, now, now + seconds, run_id, "2026-01-01T00:00:00Z"
    )


async def test_a_run_is_told_from_its_submission_to_its_end_and_then_forgotten() -> None:
    async with running() as scene:
        receipt = await scene.trigger(source="a")
        assert (receipt.report, receipt.error_kind) == (None, "")
        scene.argo.tell(
            "r1", RunStatus.PENDING, RunStatus.PENDING, RunStatus.RUNNING, RunStatus.RUNNING, RunStatus.SUCCEEDED
        )
        await scene.store.until(lambda: not scene.store.runs)
        assert scene.store.words() == ["submitted", "pending", "running", "succeeded"]
        assert scene.store.replies == [("_INBOX.r1", RunStatus.SUBMITTED), ("_INBOX.r1", RunStatus.SUCCEEDED)]
        last = scene.store.told[-1]
        assert (last.run_id, last.engine, last.pipeline, last.error) == ("ingest-r1", "argo", "documents", "")


@pytest.mark.parametrize(
    ("status", "message", "error"),
    [
        (RunStatus.SUCCEEDED, "3 of 3 steps", ""),
        (RunStatus.FAILED, "step 2: exit code 1", "step 2: exit code 1"),
        (RunStatus.FAILED, "", "argo gives no reason"),
        (RunStatus.ERROR, "no such image", "no such image"),
    ],
)
async def test_a_bad_end_says_why_and_a_good_one_has_no_error(status: RunStatus, message: str, error: str) -> None:
    async with running() as scene:
        await scene.trigger()
        scene.argo.tell("r1", RunStatus.RUNNING, message="waiting for a lock")
        scene.argo.tell("r1", status, message=message)
        await scene.store.until(lambda: not scene.store.runs)
        assert [report.error for report in scene.store.told] == ["", "", error]


async def test_a_trigger_is_taken_before_its_engine_has_taken_it() -> None:
    async with running(submit_timeout_s=30, retry_s=5, max_retry_s=5) as scene:
        scene.argo.answers = [AWAY] * 3
        receipt = await scene.trigger()
        assert receipt.report is None
        assert scene.store.told == []


@pytest.mark.parametrize(
    ("pipeline", "parameters", "kind", "known"),
    [
        ("document", {}, "not_found", ("documents", "query", "short")),
        ("documents", {"sauce": "x"}, "invalid_request", ("documents", "query", "short")),
    ],
)
async def test_what_cannot_be_started_is_refused_and_nothing_is_kept(
    pipeline: str, parameters: dict[str, str], kind: str, known: tuple[str, ...]
) -> None:
    async with running() as scene:
        receipt = await scene.trigger(pipeline, **parameters)
        assert receipt.report
        assert (receipt.report.status, receipt.error_kind, receipt.is_news) == (RunStatus.ERROR, kind, True)
        assert receipt.report.available_pipelines == known
        assert receipt.report.error
        assert (scene.store.runs, scene.store.told, scene.argo.submitted) == ({}, [], [])


async def test_more_runs_than_are_looked_after_are_refused() -> None:
    async with running(max_runs=2) as scene:
        for number in range(2):
            assert (await scene.trigger(request_id=f"r{number}")).report is None
        receipt = await scene.trigger(request_id="r2")
        assert receipt.report
        assert (receipt.error_kind, receipt.report.error) == ("overloaded", "2 runs are unfinished already")


async def test_the_same_request_starts_one_run_and_its_followers_hear_nothing_twice() -> None:
    async with running() as scene:
        first, second = await asyncio.gather(scene.trigger(), scene.trigger())
        assert first.report is None
        assert second.report
        assert not second.is_news
        await scene.store.until(lambda: scene.store.words() == ["submitted"])
        again = await scene.trigger()
        assert again.report
        assert (again.report.status, again.report.run_id, again.is_news) == (RunStatus.SUBMITTED, "ingest-r1", False)
        scene.argo.tell("r1", RunStatus.SUCCEEDED)
        await scene.store.until(lambda: not scene.store.runs)
        late = await scene.trigger()
        assert late.report
        assert late.report.status is RunStatus.SUCCEEDED
        assert scene.argo.submitted == ["r1"]
        assert scene.store.words() == ["submitted", "succeeded"]


async def test_the_request_id_of_another_pipeline_s_run_is_refused_to_its_sender_alone() -> None:
    async with running() as scene:
        await scene.trigger()
        receipt = await scene.trigger("query")
        assert receipt.report
        assert (receipt.error_kind, receipt.is_news) == ("invalid_request", False)
        assert "'r1' belongs to another trigger, of pipeline 'documents'" in receipt.report.error
        assert scene.kubeflow.submitted == []


async def test_a_request_that_started_nothing_may_be_sent_again() -> None:
    async with running() as scene:
        scene.argo.answers = [NotFoundError("no such template")]
        await scene.trigger()
        await scene.store.until(lambda: not scene.store.runs)
        assert [(report.status.value, report.error) for report in scene.store.told] == [("error", "no such template")]
        assert (await scene.trigger()).report is None
        scene.argo.tell("r1", RunStatus.FAILED, message="step 2: exit code 1")
        await scene.store.until(lambda: not scene.store.runs)
        assert scene.store.words() == ["error", "submitted", "failed"]
        assert scene.store.told[-1].error == "step 2: exit code 1"


async def test_an_engine_that_is_away_is_tried_again() -> None:
    async with running() as scene:
        scene.argo.answers = [AWAY, AWAY, AWAY]
        await scene.trigger()
        await scene.store.until(lambda: scene.store.words() == ["submitted"])
        assert scene.argo.submitted == ["r1"] * 4


async def test_one_that_stays_away_is_an_error_in_time_and_the_other_engine_goes_on() -> None:
    async with running(submit_timeout_s=0.1) as scene:
        scene.argo.answers = [AWAY] * 10_000
        for number in range(5):
            await scene.trigger(request_id=f"r{number}")
        await scene.trigger("query", "q")
        await scene.store.until(lambda: scene.store.words("q") == ["submitted"])
        await scene.store.until(lambda: all(scene.store.words(f"r{number}") for number in range(5)))
        assert scene.store.words("r1") == ["error"]
        assert next(report.error for report in scene.store.told if report.request_id == "r1") == "argo is away"


@pytest.mark.parametrize("may_have_acted", [True, False])
async def test_what_was_started_and_told_to_be_an_error_is_stopped(may_have_acted: bool) -> None:
    async with running(submit_timeout_s=0.05) as scene:
        scene.argo.answers = [EngineUnavailableError("no answer", may_have_acted=may_have_acted), *[AWAY] * 10_000]
        scene.argo.started = {"r1": "ingest-r1"} if may_have_acted else {}
        await scene.trigger()
        await scene.store.until(lambda: not scene.store.runs)
        assert scene.store.words() == ["error"]
        assert scene.argo.stopped == (["r1"] if may_have_acted else [])


async def test_what_the_engine_refuses_is_not_tried_again() -> None:
    async with running() as scene:
        scene.argo.answers = [UpstreamFailedError("argo answered 403: not for you")]
        await scene.trigger()
        await scene.store.until(lambda: not scene.store.runs)
        assert scene.argo.submitted == ["r1"]
        assert scene.store.told[-1].error == "argo answered 403: not for you"


async def test_a_run_that_takes_too_long_is_stopped() -> None:
    async with running() as scene:
        await scene.trigger("short")
        scene.argo.tell("r1", RunStatus.RUNNING)
        await scene.store.until(lambda: not scene.store.runs)
        assert scene.argo.stopped == ["r1"]
        assert scene.store.words() == ["submitted", "running", "failed"]
        assert scene.store.told[-1].error == "it was not finished within 0.05 s and was stopped"


async def test_one_that_cannot_be_stopped_is_told_with_the_reason() -> None:
    async with running() as scene:
        scene.argo.stop_error = UpstreamFailedError("argo answered 403: no")
        await scene.trigger("short")
        await scene.store.until(lambda: not scene.store.runs)
        assert scene.store.words() == ["submitted", "failed"]
        assert "could not be stopped: argo answered 403: no" in scene.store.told[-1].error


async def test_a_run_of_a_replica_that_died_is_followed_on_and_not_submitted_again() -> None:
    store = Store()
    run = left_by("dead", run_id="ingest-r1")
    store.runs["r1"] = (run, 7)
    store.reports["r1"] = (PipelineReport("r1", RunStatus.RUNNING, "documents", "argo", "ingest-r1"), 8)
    store.revision = 8
    async with running(store) as scene:
        scene.argo.tell("r1", RunStatus.RUNNING, RunStatus.SUCCEEDED)
        await store.until(lambda: not store.runs)
        assert scene.argo.submitted == []
        assert store.words() == ["succeeded"]
        assert store.told[-1].submitted_at == "2026-01-01T00:00:00Z"


async def test_one_that_it_had_not_submitted_is_submitted() -> None:
    store = Store(runs={"r1": (left_by("dead"), 1)}, revision=1)
    async with running(store) as scene:
        await store.until(lambda: store.words() == ["submitted"])
        assert scene.argo.submitted == ["r1"]


async def test_one_whose_end_was_told_is_only_forgotten() -> None:
    store = Store(runs={"r1": (left_by("dead"), 1)}, revision=2)
    store.reports["r1"] = (PipelineReport("r1", RunStatus.ERROR, "documents", "argo", error="argo is away"), 2)
    async with running(store) as scene:
        await store.until(lambda: not store.runs)
        assert (scene.argo.submitted, store.told) == ([], [])


async def test_one_that_was_started_after_all_is_stopped_by_who_takes_it_up() -> None:
    store = Store(runs={"r1": (left_by("dead"), 1)}, revision=2)
    store.reports["r1"] = (PipelineReport("r1", RunStatus.ERROR, "documents", "argo", error="argo is away"), 2)
    async with running(store, started={"r1": "ingest-r1"}) as scene:
        await store.until(lambda: not store.runs)
        assert (scene.argo.stopped, scene.argo.submitted, store.told) == (["r1"], [], [])


async def test_one_that_was_sent_again_after_an_error_is_not_taken_for_told() -> None:
    run = replace(left_by("dead"), reported_before=2)
    store = Store(runs={"r1": (run, 3)}, revision=3)
    store.reports["r1"] = (PipelineReport("r1", RunStatus.ERROR, "documents", "argo", error="argo is away"), 2)
    async with running(store) as scene:
        await store.until(lambda: store.words() == ["submitted"])
        assert scene.argo.submitted == ["r1"]


async def test_the_runs_of_a_living_replica_are_left_alone_until_it_is_heard_no_more() -> None:
    store = Store(runs={"r1": (left_by("two"), 1)}, revision=1)
    async with running(store, "two") as scene:
        for _ in range(20):
            await asyncio.sleep(0)
        assert scene.argo.submitted == []
        scene.group.alive.remove("two")
        scene.group.changed.set()
        await store.until(lambda: store.words() == ["submitted"])


async def test_what_cannot_be_told_now_is_told_when_it_can() -> None:
    async with running() as scene:
        await scene.trigger()
        await scene.store.until(lambda: scene.store.words() == ["submitted"])
        scene.store.away = 5
        scene.argo.tell("r1", RunStatus.SUCCEEDED)
        await scene.store.until(lambda: not scene.store.runs)
        assert scene.store.words() == ["submitted", "succeeded"]


async def test_a_report_whose_acknowledgement_was_lost_is_told_once() -> None:
    async with running() as scene:
        await scene.trigger()
        await scene.store.until(lambda: scene.store.words() == ["submitted"])
        scene.store.lost_acknowledgements = 1
        scene.argo.tell("r1", RunStatus.RUNNING, RunStatus.SUCCEEDED)
        await scene.store.until(lambda: not scene.store.runs)
        assert scene.store.words() == ["submitted", "running", "succeeded"]


async def test_a_trigger_whose_acknowledgement_was_lost_is_looked_after() -> None:
    async with running() as scene:
        scene.store.lost_acknowledgements = 1
        with pytest.raises(UnavailableError):
            await scene.trigger()
        # Its sender, or the ingress, sends it again.
        receipt = await scene.trigger()
        assert receipt.report
        assert receipt.report.status is RunStatus.PENDING
        await scene.store.until(lambda: scene.store.words() == ["submitted"])
        assert scene.argo.submitted == ["r1"]


async def test_a_run_that_another_replica_has_taken_is_left_to_it() -> None:
    async with running() as scene:
        await scene.trigger()
        await scene.store.until(lambda: scene.store.words() == ["submitted"])
        run, _ = scene.store.runs["r1"]
        taken = PipelineReport("r1", RunStatus.RUNNING, "documents", "argo", "ingest-r1")
        scene.store.runs["r1"] = (replace(run, owner="two"), 90)
        scene.store.reports["r1"] = (taken, 91)
        scene.group.alive.add("two")
        scene.argo.tell("r1", RunStatus.RUNNING)
        for _ in range(50):
            await asyncio.sleep(0)
        assert scene.store.words() == ["submitted"]
        assert scene.store.runs["r1"] == (replace(run, owner="two"), 90)


async def test_a_replica_that_leaves_leaves_its_runs_to_others() -> None:
    store = Store()
    async with running(store) as scene:
        await scene.trigger()
        await store.until(lambda: store.words() == ["submitted"])
        scene.service.stop()
        with pytest.raises(UnavailableError):
            await scene.trigger(request_id="r2")
    assert scene.group.has_left
    assert store.runs["r1"][0].owner == ""
    assert store.words() == ["submitted"]


async def test_a_fault_of_hearth_itself_ends_one_run_and_no_other() -> None:
    async with running() as scene:
        await scene.trigger()
        await scene.store.until(lambda: scene.store.words() == ["submitted"])
        scene.argo.of("r1").put_nowait("no state")  # type: ignore[arg-type]
        await scene.store.until(lambda: not scene.store.runs)
        assert scene.store.words() == ["submitted", "error"]
        await scene.trigger(request_id="r2")
        await scene.store.until(lambda: scene.store.words("r2") == ["submitted"])


class DamagedStore(Store):
    """Fails over one of its runs as over a fault of its own, and over all of them at the first look."""

    looks: int = 0

    async def unfinished(self) -> Sequence[Run]:
        self.looks += 1
        if self.looks == 1:
            raise RecursionError("nested too deeply")
        return await super().unfinished()

    async def read(self, request_id: str) -> KeptRun | None:
        if request_id == "damaged":
            raise AttributeError("not a run")
        return await super().read(request_id)


async def test_a_kept_run_that_cannot_be_taken_up_keeps_no_other_from_it() -> None:
    runs = {name: (left_by("gone", name), number) for number, name in enumerate(("damaged", "r1"), 1)}
    store = DamagedStore(runs=runs, revision=2)
    async with running(store) as scene:
        scene.group.changed.set()
        await store.until(lambda: store.words("r1"))
        assert store.words("r1") == ["submitted"]


async def test_the_status_names_the_engine_that_is_away() -> None:
    async with running() as scene:
        scene.argo.failure = "argo at http://argo:2746 cannot be reached"
        service, argo, kubeflow = await scene.service.components(Call.within(1))
        assert (service.name, service.ready, service.detail) == ("Pipelines", True, "3 pipelines, 0 unfinished runs")
        assert (argo.name, argo.ready, argo.required) == ("Argo", False, False)
        assert "cannot be reached" in argo.detail
        assert (kubeflow.name, kubeflow.ready) == ("Kubeflow", True)
