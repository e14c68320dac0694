"""What the pipelines service needs around it: engines that run workflows, a store that keeps runs, other replicas."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from deployments.errors import BackEnd, UnavailableError, UpstreamFailedError
from deployments.values.pipelines import PipelineReport, Run, RunState, RunStatus


class EngineUnavailableError(UnavailableError):
    """An engine cannot be reached, or asks to be left alone for now: the same request may be sent again.

    Attributes:
        may_have_acted: Whether it may have done what it was asked for, and could not say so.
    """

    def __init__(
        self,
        reason: str,
        *,
        retry_after_s: float | None = None,
        back_end: BackEnd | None = None,
        may_have_acted: bool = False,
    ) -> None:
        super().__init__(reason, retry_after_s=retry_after_s, back_end=back_end)
        self.may_have_acted = may_have_acted


class EngineNotFoundError(UpstreamFailedError):
    """An engine has nothing of the name that it was asked for.

    The names are Hearth's own and those of the pipeline table, so that no client is at fault.
    """

    retryable = False


class WorkflowEngine(Protocol):
    """Runs workflows."""

    @property
    def description(self) -> str:
        """Its kind and address, for people."""
        ...

    @property
    def failure(self) -> str:
        """What went wrong when it was last asked for something; empty where nothing did."""
        ...

    async def submit(self, run: Run) -> str:
        """Start a run, unless it was started before; return the engine's name of it.

        Raises:
            EngineUnavailableError: It is not known whether it was started; to be called again.
            HearthError: The engine refuses it.
        """
        ...

    async def find(self, run: Run) -> str:
        """Return the engine's name of the run that a request has started, empty where it has started none.

        Raises:
            HearthError: The engine does not tell.
        """
        ...

    def follow(self, run: Run, last: RunStatus) -> AsyncGenerator[RunState]:
        """Yield how a run is, now and after each change, until its end.

        An engine that cannot be reached, or refuses to tell, is asked again without end: the run goes on all the same.

        Args:
            run: That was submitted.
            last: What was reported of it last: an engine that keeps the history of its runs tells what came after.
        """
        ...

    async def stop(self, run: Run) -> None:
        """Stop a run; one that has ended stays as it is.

        Raises:
            HearthError: It could not be stopped.
        """
        ...

    async def close(self) -> None:
        """Close what is open."""
        ...


class StaleRunError(Exception):
    """What is kept of a run was changed by another replica since it was read."""


@dataclass(frozen=True, slots=True)
class KeptRun:
    """A run as the store has it.

    Attributes:
        run: The run.
        revision: Of the run, to write on.
        report: The last one of this run; None before the first.
        report_revision: Of what is kept under the run's request id, to write on; 0 where nothing is.
        is_new: Whether it was not kept before.
    """

    run: Run
    revision: int
    report: PipelineReport | None
    report_revision: int
    is_new: bool = False


class RunStore(Protocol):
    """Keeps unfinished runs, and the last report of every run, apart from the replicas that look after them.

    Every method raises `UnavailableError` while the store cannot be reached.
    """

    async def accept(self, run: Run) -> KeptRun:
        """Keep a new run, or return what is known of an earlier one of the same request id."""
        ...

    async def rewrite(self, kept: KeptRun, run: Run) -> KeptRun:
        """Keep what changed of a run.

        Raises:
            StaleRunError: Somebody else has changed it.
        """
        ...

    async def publish(self, kept: KeptRun, report: PipelineReport) -> KeptRun:
        """Keep a report and tell it to the client, the one with the other: it is told once or not at all.

        Raises:
            StaleRunError: Somebody else has reported.
        """
        ...

    async def read(self, request_id: str) -> KeptRun | None:
        """Return an unfinished run, None where there is none."""
        ...

    async def forget(self, kept: KeptRun) -> None:
        """Keep a finished run no longer; its last report stays."""
        ...

    async def unfinished(self) -> Sequence[Run]:
        """Return all unfinished runs, whoever looks after them."""
        ...

    async def tell(self, run: Run, report: PipelineReport) -> None:
        """Tell a report to the reply subject of a run, where it has one."""
        ...


class ReplicaGroup(Protocol):
    """The replicas that look after runs, as one of them knows the others."""

    @property
    def name(self) -> str:
        """This one's."""
        ...

    @property
    def changed(self) -> asyncio.Event:
        """Set when another one has gone."""
        ...

    def is_alive(self, name: str) -> bool:
        """Say whether a replica is this one or was heard lately."""
        ...

    async def join(self) -> None:
        """Say that this one is here; return when the others have had time to answer."""
        ...

    async def leave(self) -> None:
        """Say that this one goes."""
        ...
