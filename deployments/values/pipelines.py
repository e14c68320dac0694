"""What the pipelines service and those around it say to each other."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class RunStatus(StrEnum):
    """How a run is, in the words of the wire."""

    SUBMITTED = "submitted"
    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ERROR = "error"

    @property
    def is_final(self) -> bool:
        """Whether nothing comes after it."""
        return self in {RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.ERROR}


@dataclass(frozen=True, slots=True)
class PipelineTrigger:
    """Asks for a run of a pipeline.

    Attributes:
        request_id: Names the run for its client; one id never starts two runs.
        pipeline: A name in the pipeline table.
        parameters: By name, as the client sent them.
        reply: Where the client waits for an answer besides the subject of its request id; empty for nowhere.
    """

    request_id: str
    pipeline: str
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])
    reply: str = ""


@dataclass(frozen=True, slots=True)
class PipelineReport:
    """What a client is told of its run.

    Attributes:
        request_id: Of the trigger.
        status: How the run is.
        pipeline: Its name.
        engine: "argo" or "kubeflow"; empty where no pipeline was found.
        run_id: The engine's own name of the run; empty where there is none.
        submitted_at: When the engine had taken it, in RFC 3339, UTC; empty where it has not.
        error: Why it did not succeed; empty where nothing is wrong.
        available_pipelines: The names in the table, where what was asked for does not fit it.
    """

    request_id: str
    status: RunStatus
    pipeline: str
    engine: str = ""
    run_id: str = ""
    submitted_at: str = ""
    error: str = ""
    available_pipelines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TriggerReceipt:
    """What became of a trigger at once.

    Attributes:
        report: What is to be answered now; None for a new run, which is reported from here on.
        is_news: Whether those who follow the request id are to hear it: they are not where the id belongs to an
            earlier trigger, whose reports they have had.
        error_kind: The kind of error of a refusal; empty where there is none.
    """

    report: PipelineReport | None = None
    is_news: bool = False
    error_kind: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """A run that was asked for, as it is kept until its end.

    Attributes:
        request_id: Of its trigger.
        pipeline: Its name in the table.
        engine: That it runs on.
        target: The template, or the pipeline's name there.
        parameters: What the engine is given, by name.
        reply: Where its client waits besides; empty for nowhere.
        owner: The replica that looks after it; empty for none.
        accepted_at: Unix seconds at which it was asked for.
        deadline_at: Unix seconds at which it is stopped.
        run_id: The engine's own name of it; empty until it was submitted.
        submitted_at: When it was submitted, in RFC 3339, UTC; empty until then.
        reported_before: The revision of the last report of an earlier trigger with the same request id, one that
            started nothing; 0 where there was none.
    """

    request_id: str
    pipeline: str
    engine: str
    target: str
    parameters: Mapping[str, str]
    reply: str
    owner: str
    accepted_at: float
    deadline_at: float
    run_id: str = ""
    submitted_at: str = ""
    reported_before: int = 0


@dataclass(frozen=True, slots=True)
class RunState:
    """How the engine says a run is.

    Attributes:
        status: In the words of the wire.
        message: The engine's own words; empty where it has none.
    """

    status: RunStatus
    message: str = ""


@dataclass(frozen=True, slots=True)
class ParameterDescription:
    """A parameter that a pipeline takes.

    Attributes:
        name: Of the parameter.
        pattern: A regular expression that the whole value matches.
        default: Given to the engine where the trigger leaves it out; None for nothing.
        required: Whether the trigger has to give it.
    """

    name: str
    pattern: str
    default: str | None
    required: bool


@dataclass(frozen=True, slots=True)
class PipelineDescription:
    """A row of the pipeline table.

    Attributes:
        name: What clients call it.
        engine: "argo" or "kubeflow".
        target: The template, or the pipeline's name there.
        deadline_s: Seconds after which a run of it is stopped.
        parameters: That it takes.
    """

    name: str
    engine: str
    target: str
    deadline_s: float
    parameters: tuple[ParameterDescription, ...]
