"""What the graph says of itself, on the wire and at the terminal."""

import pytest

from bridges.command_line.local.status_report import show_status, status_as_json
from bridges.generated.hearth.v1 import status_pb2
from bridges.handlers.status import StatusHandler
from bridges.nats.reply import Reply
from bridges.nats.sender import Sender
from bridges.operations.activity import Activity
from deployments.call import Call
from deployments.values.status import DeploymentState
from tests.conversation.scene import Wire


def test_the_last_errors_are_kept_newest_first_and_bounded() -> None:
    activity = Activity()
    for number in range(30):
        activity.failed(f"subject.{number}", "not_found")
    assert [error.subject for error in activity.last_errors()] == [f"subject.{number}" for number in range(29, 19, -1)]


async def test_nobody_is_told_what_others_were_told() -> None:
    activity, connection = Activity(), Wire()
    activity.failed("ai.chat.request", "not_found")
    handler = StatusHandler([], activity, no_deployments)
    reply = Reply(Sender(connection), "hearth.status", {}, "_INBOX.x.1")
    await handler.handle(Call.within(5.0), status_pb2.StatusRequest(), reply)
    (sent,) = connection.on("_INBOX.x.1")
    (error,) = sent.read(status_pb2.StatusResponse).last_errors
    assert (error.subject, error.error_type) == ("ai.chat.request", "not_found")
    assert b"payroll" not in sent.data


async def no_deployments() -> tuple[DeploymentState, ...]:
    return ()


STATUS = status_pb2.StatusResponse(
    ready=False,
    version="1.2.3",
    components=[
        status_pb2.ComponentStatus(name="Chat", ready=True, detail="answers", process_id=7, resident_bytes=2_000_000),
        status_pb2.ComponentStatus(name="LanguageModel", required=True, detail="[no] model"),
    ],
    deployments=[
        status_pb2.DeploymentState(application="o", name="Chat", status="HEALTHY", running=2, starting=1),
        status_pb2.DeploymentState(
            application="l", name="LanguageModel", status="UNHEALTHY", message="the file is not there"
        ),
        status_pb2.DeploymentState(application="o", name="AudioIngress", status="HEALTHY", running=1),
    ],
    in_flight=3,
    waiting=4,
    last_errors=[status_pb2.RequestError(at=1.0, subject="ai.chat.request", error_type="overloaded", error="[full]")],
)


def test_a_person_is_shown_replicas_what_waits_and_what_went_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    show_status(STATUS)
    shown = capsys.readouterr().out
    lines = {line.split()[1]: line for line in shown.splitlines() if line.strip()[:1] in {"✓", "✗"}}
    assert "2 + 1" in lines["Chat"]
    assert lines["LanguageModel"].lstrip().startswith("✗")
    assert "[no] model" in lines["LanguageModel"], "what stands in brackets is text"
    assert "healthy" in lines["AudioIngress"]
    assert "LanguageModel: the file is not there" in shown
    assert "2 being answered, 4 waiting" in shown, "the request that asks is not counted"
    assert "ai.chat.request  overloaded: [full]" in shown
    assert shown.splitlines()[-1] == "not ready  Hearth 1.2.3"


def test_a_script_is_told_the_same() -> None:
    told = status_as_json(STATUS)
    assert told["deployments"][0]["running"] == 2
    assert (told["in_flight"], told["waiting"]) == (3, 4)
    assert told["last_errors"][0]["error"] == "[full]"


def test_a_narrow_terminal_has_no_room_for_processes_and_no_name_is_cut_off(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    show_status(STATUS)
    printed = capsys.readouterr().out
    assert "Memory" not in printed
    assert all(name in printed for name in ("LanguageModel", "AudioIngress", "[no] model"))
