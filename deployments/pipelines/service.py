"""Pipelines: starts runs on workflow engines and reports every change until their end.

A trigger is checked against the table and kept before anything is started; from there on it is reported, whatever
happens to this replica: another one, or the next of its name, takes the run up where it was left. A run is started
under a name that follows from its request id, and a report is told in the moment in which it is kept, so that nothing
is started or told twice.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from typing import ClassVar, TypeVar

from deployments.backoff import Backoff, retry
from deployments.call import Call
from deployments.component_status import replica_status
from deployments.ending import end
from deployments.errors import HearthError, InternalError, Limit, OverloadedError, UnavailableError
from deployments.pipelines.ports import (
    EngineUnavailableError,
    KeptRun,
    ReplicaGroup,
    RunStore,
    StaleRunError,
    WorkflowEngine,
)
from deployments.pipelines.table import PipelineTable
from deployments.settings.pipelines import PipelinesSettings
from deployments.values.pipelines import (
    PipelineDescription,
    PipelineReport,
    PipelineTrigger,
    Run,
    RunState,
    RunStatus,
    TriggerReceipt,
)
from deployments.values.status import ComponentStatus

logger = logging.getLogger(__name__)

T = TypeVar("T")

_LOOK_AGAIN_S = 10.0
"""How often runs that nobody looks after are looked for, besides when a replica goes."""
_STOP_TIMEOUT_S = 15.0
_UNDO_S = 600.0
_RELEASE_S = 5.0
_REUSED = "request_id {!r} belongs to another trigger, of pipeline {!r}"


class Pipelines:
    """Starts runs and looks after them.

    `deployments.services.PipelinesService` says what its methods do.

    Args:
        settings: The table, and how patient to be.
        engines: By the names that the table gives them.
        runs: Keeps the runs.
        replicas: The other replicas.
        fault: Says what is wrong with what runs are kept in; empty where nothing is.
        now: The time in Unix seconds.
    """

    name: ClassVar[str] = "Pipelines"

    def __init__(
        self,
        settings: PipelinesSettings,
        engines: Mapping[str, WorkflowEngine],
        runs: RunStore,
        replicas: ReplicaGroup,
        fault: Callable[[], str] = lambda: "",
        now: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._table = PipelineTable(settings.table)
        self._engines = engines
        self._runs = runs
        self._replicas = replicas
        self._fault = fault
        self._now = now
        self._slots = {name: asyncio.Semaphore(settings.max_submissions) for name in engines}
        self._followed: dict[str, asyncio.Task[None]] = {}
        self._accepting: set[str] = set()
        self._stopping = asyncio.Event()

    async def trigger(self, call: Call, trigger: PipelineTrigger) -> TriggerReceipt:
        del call
        if self._stopping.is_set():
            raise UnavailableError("this replica takes no more runs")
        try:
            parameters = self._table.checked(trigger.pipeline, trigger.parameters)
            if len(self._followed) + len(self._accepting) >= self._settings.max_runs:
                most = self._settings.max_runs
                raise OverloadedError(
                    f"{most} runs are unfinished already", limit=Limit("pipelines.max_runs", most, most + 1)
                )
        except HearthError as error:
            return self._refusal(trigger, error)
        run = self._new_run(trigger, parameters)
        self._accepting.add(run.request_id)
        try:
            kept = await self._runs.accept(run)
            if kept.is_new:
                self._look_after(kept)
                return TriggerReceipt()
        finally:
            self._accepting.discard(run.request_id)
        self._replicas.changed.set()
        return _known(trigger, kept)

    async def describe(self, call: Call) -> tuple[PipelineDescription, ...]:
        del call
        return self._table.describe()

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        del call
        detail = f"{len(self._table.names)} pipelines, {len(self._followed)} unfinished runs"
        fault = self._fault()
        error = UnavailableError(fault) if fault else None
        return (
            replica_status(self.name, detail, error, required=False),
            *(
                ComponentStatus(
                    name.capitalize(),
                    ready=not engine.failure,
                    detail=engine.failure or engine.description,
                    required=False,
                )
                for name, engine in self._engines.items()
            ),
        )

    async def run(self) -> None:
        """Look after runs until `stop`; then leave them to the other replicas, or to the next."""
        await self._replicas.join()
        try:
            while not self._stopping.is_set():
                await self._take_up_abandoned()
                await self._until_something_changes()
        finally:
            await self._release()

    def stop(self) -> None:
        """Have `run` return."""
        self._stopping.set()
        self._replicas.changed.set()

    async def _until_something_changes(self) -> None:
        try:
            async with asyncio.timeout(_LOOK_AGAIN_S):
                await self._replicas.changed.wait()
        except TimeoutError:
            return
        self._replicas.changed.clear()

    async def _take_up_abandoned(self) -> None:
        """Look after every run that no living replica looks after."""
        try:
            for run in await self._runs.unfinished():
                await self._take_up_if_abandoned(run)
        except UnavailableError as error:
            logger.warning("unfinished runs cannot be looked for: %s", error.message)
        except Exception:
            # Of whatever kind: the runs that are looked after go on.
            logger.exception("unfinished runs cannot be looked for")

    async def _take_up_if_abandoned(self, run: Run) -> None:
        """Look after a run that nobody looks after; a fault that lies in the run itself keeps no other from it.

        Raises:
            UnavailableError: The store cannot be reached.
        """
        try:
            if self._is_abandoned(run) and (kept := await self._runs.read(run.request_id)):
                await self._take_up(kept)
        except UnavailableError:
            raise
        except Exception:
            logger.exception("run %s cannot be taken up", run.request_id)

    def _is_abandoned(self, run: Run) -> bool:
        if run.request_id in self._followed or run.request_id in self._accepting:
            return False
        return run.owner == self._replicas.name or not self._replicas.is_alive(run.owner)

    async def _take_up(self, kept: KeptRun) -> None:
        if not self._is_abandoned(kept.run):
            return
        try:
            claimed = await self._runs.rewrite(kept, replace(kept.run, owner=self._replicas.name))
        except StaleRunError:
            return
        logger.info("taking up run %s of %s", kept.run.request_id, kept.run.pipeline)
        self._look_after(claimed)

    async def _release(self) -> None:
        """Stop looking after runs, and let others do it at once."""
        await end(self._followed.values())
        try:
            async with asyncio.timeout(_RELEASE_S):
                for run in await self._runs.unfinished():
                    if run.owner == self._replicas.name and (kept := await self._runs.read(run.request_id)):
                        await self._give_up(kept)
                await self._replicas.leave()
        except (UnavailableError, TimeoutError) as error:
            logger.warning("runs are left without a word: %s", error or type(error).__name__)
        for engine in self._engines.values():
            await engine.close()

    async def _give_up(self, kept: KeptRun) -> None:
        try:
            await self._runs.rewrite(kept, replace(kept.run, owner=""))
        except StaleRunError:
            # Another replica has it already.
            return

    def _look_after(self, kept: KeptRun) -> None:
        request_id = kept.run.request_id
        task = asyncio.create_task(self._to_its_end(kept), name=f"run {request_id}")
        self._followed[request_id] = task
        task.add_done_callback(lambda _: self._followed.pop(request_id, None))

    async def _to_its_end(self, kept: KeptRun) -> None:
        """Submit a run that was not, report it to its end, forget it."""
        try:
            try:
                if kept.report is None or not kept.report.status.is_final:
                    kept = await self._submitted(kept)
                    kept = await self._followed_to_its_end(kept)
                elif not kept.run.run_id:
                    # Its replica died after it had told of an error, and before it knew that nothing was started.
                    await self._undo(kept.run)
            except HearthError as error:
                kept = await self._report(kept, RunStatus.ERROR, error.message)
                if isinstance(error, EngineUnavailableError) and error.may_have_acted:
                    await self._undo(kept.run)
            except StaleRunError:
                raise
            except Exception:
                logger.exception("run %s failed inside Hearth", kept.run.request_id)
                kept = await self._report(
                    kept, RunStatus.ERROR, InternalError("the run was lost inside Hearth").message
                )
            await self._with_retries(lambda: self._runs.forget(kept))
            logger.info("run %s of %s: %s", kept.run.request_id, kept.run.pipeline, kept.report and kept.report.status)
        except StaleRunError:
            logger.info("run %s is looked after by another replica", kept.run.request_id)

    async def _undo(self, run: Run) -> None:
        """Stop what an engine may have started and could not say so, before its client was told of an error."""
        engine = self._engines[run.engine]

        async def undo() -> None:
            if run_id := await engine.find(run):
                await engine.stop(replace(run, run_id=run_id))
                logger.warning("run %s was started and not acknowledged: stopped", run.request_id)

        try:
            async with asyncio.timeout(_UNDO_S):
                await retry(undo, self._backoff(), on=EngineUnavailableError)
        except (HearthError, TimeoutError) as error:
            reason = error.message if isinstance(error, HearthError) else f"no answer within {_UNDO_S:g} s"
            logger.error("run %s may run on %s without being followed: %s", run.request_id, run.engine, reason)  # noqa: TRY400

    async def _submitted(self, kept: KeptRun) -> KeptRun:
        """Have the engine take a run, and report that; one that it took before is reported where it was not."""
        if not kept.run.run_id:
            run_id = await self._submit(kept.run)
            submitted = replace(kept.run, run_id=run_id, submitted_at=_rfc3339(self._now()))
            kept = await self._with_retries(lambda: self._rewritten(kept, submitted))
        if kept.report is None:
            kept = await self._report(kept, RunStatus.SUBMITTED)
        return kept

    async def _rewritten(self, kept: KeptRun, run: Run) -> KeptRun:
        """Keep what changed of a run; a write whose acknowledgement was lost is found to have been made."""
        try:
            return await self._runs.rewrite(kept, run)
        except StaleRunError:
            found = await self._runs.read(run.request_id)
            if found is None or found.run != run:
                raise
            return found

    async def _submit(self, run: Run) -> str:
        """Return the engine's name of a run, tried until the engine has had its time.

        Raises:
            HearthError: The engine refuses it, or could not be reached.
        """
        engine = self._engines[run.engine]
        loop = asyncio.get_running_loop()
        until = loop.time() + min(self._settings.submit_timeout_s, max(0.0, run.deadline_at - self._now()))
        errors: list[EngineUnavailableError] = []

        async def submit() -> str:
            try:
                async with self._slots[run.engine]:
                    return await engine.submit(run)
            except EngineUnavailableError as error:
                errors.append(error)
                raise

        try:
            async with asyncio.timeout_at(until):
                return await retry(submit, self._backoff(), on=EngineUnavailableError)
        except TimeoutError:
            raise self._not_taken(run.engine, errors) from None

    def _not_taken(self, engine: str, errors: Sequence[EngineUnavailableError]) -> EngineUnavailableError:
        """Return the error of a run that an engine did not take in its time, after what went wrong each time."""
        if not errors:
            within = f"within {self._settings.submit_timeout_s:g} s"
            return EngineUnavailableError(f"{engine} did not take the run {within}", may_have_acted=True)
        last = errors[-1]
        return EngineUnavailableError(
            last.reason,
            retry_after_s=last.retry_after_s,
            back_end=last.back_end,
            may_have_acted=any(error.may_have_acted for error in errors),
        )

    async def _followed_to_its_end(self, kept: KeptRun) -> KeptRun:
        """Report a run's changes until its last, or until its deadline, when it is stopped."""
        engine = self._engines[kept.run.engine]
        last = kept.report.status if kept.report else RunStatus.SUBMITTED
        deadline = asyncio.timeout(max(0.0, kept.run.deadline_at - self._now()))
        try:
            async with deadline, aclosing(engine.follow(kept.run, last)) as states:
                async for state in states:
                    kept = await self._changed(kept, state)
                    if state.status.is_final:
                        return kept
        except TimeoutError:
            if not deadline.expired():
                raise
            return await self._stopped(kept)
        raise UnavailableError(f"{kept.run.engine} tells nothing more of the run")

    async def _changed(self, kept: KeptRun, state: RunState) -> KeptRun:
        if kept.report and kept.report.status is state.status:
            return kept
        # What is not a bad end has no error, whatever the engine remarks on it.
        is_bad = state.status in {RunStatus.FAILED, RunStatus.ERROR}
        error = state.message or f"{kept.run.engine} gives no reason"
        return await self._report(kept, state.status, error if is_bad else "")

    async def _stopped(self, kept: KeptRun) -> KeptRun:
        """Stop a run whose time is over, and report it."""
        seconds = kept.run.deadline_at - kept.run.accepted_at
        text = f"it was not finished within {seconds:g} s and was stopped"
        try:
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await self._stop(kept.run)
        except (HearthError, TimeoutError) as error:
            reason = error.message if isinstance(error, HearthError) else "the engine does not answer"
            text = f"it was not finished within {seconds:g} s and could not be stopped: {reason}"
        return await self._report(kept, RunStatus.FAILED, text)

    async def _stop(self, run: Run) -> None:
        engine = self._engines[run.engine]
        await retry(lambda: engine.stop(run), self._backoff(), on=EngineUnavailableError)

    async def _report(self, kept: KeptRun, status: RunStatus, error: str = "") -> KeptRun:
        """Tell the client how its run is.

        Raises:
            StaleRunError: Another replica looks after the run.
        """
        run = kept.run
        report = PipelineReport(run.request_id, status, run.pipeline, run.engine, run.run_id, run.submitted_at, error)
        return await self._with_retries(lambda: self._published(kept, report))

    async def _published(self, kept: KeptRun, report: PipelineReport) -> KeptRun:
        """Publish a report, once: one whose acknowledgement was lost is found to have been told."""
        try:
            published = await self._runs.publish(kept, report)
        except StaleRunError:
            found = await self._runs.read(kept.run.request_id)
            if found is None or found.run.owner != kept.run.owner or found.report is None:
                raise
            if found.report != report and not found.report.status.is_final:
                # A report that this replica gave up on after it had left.
                return await self._published(found, report)
            published = found
        if published.report and (published.report.status.is_final or published.report.status is RunStatus.SUBMITTED):
            await self._runs.tell(published.run, published.report)
        return published

    async def _with_retries(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do something with the store, again and again while it cannot be reached."""

        def failed(error: HearthError) -> None:
            logger.warning("the store of runs: %s", error.message)

        return await retry(work, self._backoff(), failed=failed)

    def _backoff(self) -> Backoff:
        return Backoff(self._settings.retry_s, self._settings.max_retry_s)

    def _new_run(self, trigger: PipelineTrigger, parameters: Mapping[str, str]) -> Run:
        row = self._table.row(trigger.pipeline)
        now = self._now()
        return Run(
            request_id=trigger.request_id,
            pipeline=trigger.pipeline,
            engine=row.engine,
            target=self._table.target(trigger.pipeline),
            parameters=parameters,
            reply=trigger.reply,
            owner=self._replicas.name,
            accepted_at=now,
            deadline_at=now + row.deadline_s,
        )

    def _refusal(self, trigger: PipelineTrigger, error: HearthError) -> TriggerReceipt:
        row = self._settings.table.get(trigger.pipeline)
        report = PipelineReport(
            trigger.request_id,
            RunStatus.ERROR,
            trigger.pipeline,
            engine=row.engine if row else "",
            error=error.message,
            available_pipelines=() if error.retryable else self._table.names,
        )
        return TriggerReceipt(report, is_news=True, error_kind=error.kind)


def _known(trigger: PipelineTrigger, kept: KeptRun) -> TriggerReceipt:
    """Answer a trigger whose request id was seen before."""
    run = kept.run
    if run.pipeline != trigger.pipeline:
        text = _REUSED.format(trigger.request_id, run.pipeline)
        report = PipelineReport(trigger.request_id, RunStatus.ERROR, trigger.pipeline, error=text)
        return TriggerReceipt(report, error_kind="invalid_request")
    # Kept, and not submitted yet.
    waiting = PipelineReport(run.request_id, RunStatus.PENDING, run.pipeline, run.engine)
    return TriggerReceipt(kept.report or waiting)


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
