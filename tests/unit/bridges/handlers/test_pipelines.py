"""PipelineTrigger to a run, what cannot be run to PipelineStatus: which bytes go to which subject."""

from dataclasses import dataclass, field

import pytest

from bridges.generated.hearth.v1 import pipelines_pb2
from bridges.generated.messages.v1 import messages_pb2
from bridges.handlers.pipelines import PipelineHandler, PipelineListHandler
from bridges.nats.allowances import EVERY_NAME, AllowedNames
from bridges.nats.demands import NameKind
from bridges.nats.reply import Reply
from bridges.nats.sender import Sender
from deployments.call import Call
from deployments.errors import HearthError, InvalidRequestError, UnavailableError
from deployments.values.pipelines import (
    ParameterDescription,
    PipelineDescription,
    PipelineReport,
    PipelineTrigger,
    RunStatus,
    TriggerReceipt,
)
from deployments.values.status import ComponentStatus

INBOX = "_INBOX.reply"
RUNNING = PipelineReport("r1", RunStatus.RUNNING, "documents", "argo", "documents-1", "2026-01-01T00:00:00Z")
REFUSAL = PipelineReport("r1", RunStatus.ERROR, "document", error="no such pipeline", available_pipelines=("a", "b"))


@dataclass
class Connection:
    """Keeps what is published."""

    max_payload: int = 1 << 20
    published: list[tuple[str, messages_pb2.PipelineStatus]] = field(
        default_factory=list[tuple[str, messages_pb2.PipelineStatus]]
    )

    async def publish(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        del reply, headers
        self.published.append((subject, messages_pb2.PipelineStatus.FromString(payload)))


@dataclass
class Pipelines:
    """Takes triggers as it was told to."""

    receipt: TriggerReceipt = field(default_factory=TriggerReceipt)
    errors: list[HearthError] = field(default_factory=list[HearthError])
    taken: list[PipelineTrigger] = field(default_factory=list[PipelineTrigger])

    async def trigger(self, call: Call, trigger: PipelineTrigger) -> TriggerReceipt:
        del call
        self.taken.append(trigger)
        if self.errors:
            raise self.errors.pop(0)
        return self.receipt

    async def describe(self, call: Call) -> tuple[PipelineDescription, ...]:
        del call
        parameters = (ParameterDescription("a", "x*", None, True), ParameterDescription("b", ".", "", False))
        return (PipelineDescription("documents", "argo", "ingest", 60.0, parameters),)

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        raise AssertionError("nobody asks")


@dataclass
class Refusals:
    """Keeps refusals, of ids that have no run."""

    has_run: bool = False
    error: HearthError | None = None
    kept: list[PipelineReport] = field(default_factory=list[PipelineReport])

    async def refuse(self, report: PipelineReport) -> bool:
        if self.error:
            raise self.error
        if not self.has_run:
            self.kept.append(report)
        return not self.has_run


@dataclass
class Scene:
    pipelines: Pipelines | None = field(default_factory=Pipelines)
    refusals: Refusals = field(default_factory=Refusals)
    connection: Connection = field(default_factory=Connection)
    names: AllowedNames = EVERY_NAME

    def reply_to(self, reply: str) -> Reply:
        return Reply(Sender(self.connection), "ai.pipeline.trigger", {}, reply, names=self.names)

    async def send(self, request: messages_pb2.PipelineTrigger, reply: str = INBOX, seconds: float = 5) -> str:
        """Handle a request as the ingress does; return the kind of error in its log."""
        handler = PipelineHandler(self.pipelines, self.refusals)
        try:
            return (await handler.handle(Call.within(seconds), request, self.reply_to(reply))).error_kind
        except HearthError as error:
            await handler.fail(request, error, self.reply_to(reply))
            return error.kind

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(subject, message.status) for subject, message in self.connection.published]


def trigger(request_id: str = "r1", pipeline: str = "documents") -> messages_pb2.PipelineTrigger:
    return messages_pb2.PipelineTrigger(request_id=request_id, pipeline=pipeline, parameters={"a": "b"})


async def test_what_is_taken_is_reported_by_the_service_and_not_here() -> None:
    scene = Scene()
    assert await scene.send(trigger()) == ""
    assert scene.pipelines
    assert scene.pipelines.taken == [PipelineTrigger("r1", "documents", {"a": "b"}, INBOX)]
    assert scene.told == []


@pytest.mark.parametrize("is_news", [True, False])
async def test_what_may_be_started_is_told_only_as_far_as_its_asker_may_name_it(is_news: bool) -> None:
    report = PipelineReport("r1", RunStatus.ERROR, "docs", error="no such pipeline", available_pipelines=("docs", "x"))
    receipt = TriggerReceipt(report, is_news=is_news, error_kind="not_found")
    scene = Scene(Pipelines(receipt), names=AllowedNames({NameKind.PIPELINE: ("d*",)}))
    await scene.send(trigger())
    told = scene.connection.published[-1][1]
    assert list(told.available_pipelines) == ["docs"]
    assert [kept.available_pipelines for kept in scene.refusals.kept] == ([("docs",)] if is_news else [])


async def test_a_trigger_without_an_id_is_given_one() -> None:
    scene = Scene()
    await scene.send(trigger(""))
    await scene.send(trigger(""))
    assert scene.pipelines
    ids = [taken.request_id for taken in scene.pipelines.taken]
    assert len({*ids}) == 2
    assert all(len(request_id) == 32 for request_id in ids)


async def test_a_refusal_is_kept_where_it_is_told_from_and_told_to_the_reply() -> None:
    scene = Scene(Pipelines(TriggerReceipt(REFUSAL, is_news=True, error_kind="not_found")))
    assert await scene.send(trigger()) == "not_found"
    assert scene.refusals.kept == [REFUSAL]
    assert scene.told == [(INBOX, "error")]
    assert list(scene.connection.published[0][1].available_pipelines) == ["a", "b"]


async def test_without_a_reply_subject_the_status_subject_is_all() -> None:
    scene = Scene(Pipelines(TriggerReceipt(REFUSAL, is_news=True, error_kind="not_found")))
    await scene.send(trigger(), reply="")
    assert scene.refusals.kept == [REFUSAL]
    assert scene.told == []


async def test_what_is_no_news_is_told_to_its_sender_alone() -> None:
    scene = Scene(Pipelines(TriggerReceipt(RUNNING)))
    await scene.send(trigger())
    await scene.send(trigger(), reply="")
    assert (scene.told, scene.refusals.kept) == ([(INBOX, "running")], [])


async def test_a_service_that_is_away_for_a_moment_is_asked_again() -> None:
    scene = Scene(Pipelines(errors=[UnavailableError("restarting")]))
    assert await scene.send(trigger()) == ""
    assert scene.pipelines
    assert [taken.request_id for taken in scene.pipelines.taken] == ["r1", "r1"]


async def test_one_that_stays_away_is_told_once_and_kept() -> None:
    scene = Scene(Pipelines(errors=[UnavailableError("gone")]))
    assert await scene.send(trigger(), seconds=0.1) == "unavailable"
    assert [(kept.request_id, kept.status, kept.error) for kept in scene.refusals.kept] == [
        ("r1", RunStatus.ERROR, "gone")
    ]
    assert scene.told == [(INBOX, "error")]


async def test_a_run_that_was_kept_before_its_service_died_is_not_told_to_have_failed() -> None:
    scene = Scene(Pipelines(errors=[UnavailableError("gone")]), Refusals(has_run=True))
    await scene.send(trigger(), reply="", seconds=0.1)
    assert (scene.told, scene.refusals.kept) == ([], [])


async def test_where_nothing_can_be_kept_the_client_is_told_all_the_same() -> None:
    scene = Scene(
        Pipelines(errors=[UnavailableError("no JetStream")]), Refusals(error=UnavailableError("no JetStream"))
    )
    await scene.send(trigger(), seconds=0.1)
    assert scene.told == [("ai.pipeline.status.r1", "error"), (INBOX, "error")]


@pytest.mark.parametrize("request_id", ["a b", "*", "x" * 5000])
async def test_an_id_that_no_subject_can_hold_is_told_to_the_reply(request_id: str) -> None:
    scene = Scene()
    assert await scene.send(trigger(request_id)) == "invalid_request"
    assert (scene.told, scene.refusals.kept) == ([(INBOX, "error")], [])


async def test_a_name_of_a_megabyte_is_cut() -> None:
    long = PipelineReport("r1", RunStatus.ERROR, "x" * 1_000_000, error="no such pipeline")
    scene = Scene(Pipelines(TriggerReceipt(long, is_news=True, error_kind="not_found")))
    await scene.send(trigger(pipeline="x" * 1_000_000))
    assert scene.connection.published[0][1].pipeline == scene.refusals.kept[0].pipeline == "x" * 1024


async def test_where_there_are_no_pipelines_that_is_said() -> None:
    scene = Scene(pipelines=None)
    assert await scene.send(trigger()) == "unavailable"
    assert scene.connection.published[0][1].error == "there are no pipelines: `pipelines.table` is empty"


async def test_the_table_is_listed() -> None:
    sent: list[bytes] = []

    class Answers(Connection):
        async def publish(
            self, subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, str] | None = None
        ) -> None:
            sent.append(payload)

    def reply() -> Reply:
        return Reply(Sender(Answers()), "hearth.pipelines.list", {}, INBOX)

    await PipelineListHandler(Pipelines()).handle(Call.within(1), pipelines_pb2.PipelineListRequest(), reply())
    (row,) = pipelines_pb2.PipelineListResponse.FromString(sent[0]).pipelines
    assert (row.name, row.engine, row.target, row.deadline_s) == ("documents", "argo", "ingest", 60.0)
    assert [(one.name, one.required, one.has_default) for one in row.parameters] == [
        ("a", True, False),
        ("b", False, True),
    ]
    await PipelineListHandler(None).fail(pipelines_pb2.PipelineListRequest(), InvalidRequestError("off"), reply())
    assert pipelines_pb2.PipelineListResponse.FromString(sent[1]).error == "off"
    hidden = Reply(
        Sender(Answers()), "hearth.pipelines.list", {}, INBOX, names=AllowedNames({NameKind.PIPELINE: ("rag-*",)})
    )
    await PipelineListHandler(Pipelines()).handle(Call.within(1), pipelines_pb2.PipelineListRequest(), hidden)
    assert not pipelines_pb2.PipelineListResponse.FromString(sent[2]).pipelines
