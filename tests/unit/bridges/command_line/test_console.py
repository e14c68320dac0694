"""What comes from outside is shown at a terminal and never obeyed, whichever command prints it."""

import ast
import json
import re
import wave
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.msg import Msg

from bridges.command_line import console as console_module
from bridges.command_line import main as main_module
from bridges.command_line.client import HearthClient
from bridges.command_line.commands import (
    document_commands,
    pipeline_commands,
    speech_commands,
    voice_commands,
)
from bridges.command_line.commands.chatting import MarkdownWriter
from bridges.command_line.console import as_json, assembled, console, styled, visible
from bridges.command_line.local import doctor
from bridges.command_line.local.logs import StackLogs
from bridges.command_line.main import cli, main
from bridges.command_line.sound.talk_printer import TalkPrinter
from bridges.command_line.sound.transcripts import TranscriptPrinter
from bridges.generated.hearth.v1 import conversation_pb2, documents_pb2, pipelines_pb2, status_pb2
from bridges.generated.messages.v1 import messages_pb2
from bridges.sessions.turn_log import record_as_dict
from deployments.errors import UnavailableError

COMMAND_LINE = Path(console_module.__file__).parent
HOSTILE = "\x1b]0;title\x07\x1b[31mred\x9b2J\x7f\x08\r\u202edetrever\u2066\u061c\u200e\u200f\u2028\u2029\x1b]8;;http://else.where\x1b\\here"
SHOWN = r"\x1b]0;title\x07\x1b[31mred\x9b2J\x7f\x08\x0d\u202edetrever\u2066\u061c\u200e\u200f\u2028\u2029\x1b]8;;http://else.where\x1b\here"
OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
OWN_CODES = re.compile(r"\x1b\[[\d;?]*[A-Za-z]|\r")
"""What the console itself writes: colours, and where the cursor goes."""


def filled(message: Message, **fields: Any) -> Message:
    """Return a message whose every text is hostile, but for the fields given."""
    for field in message.DESCRIPTOR.fields:
        if field.name in fields:
            continue
        if field.message_type and field.message_type.GetOptions().map_entry:
            getattr(message, field.name)[HOSTILE] = HOSTILE
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            value = getattr(message, field.name)
            filled(value.add() if field.is_repeated else value)
        elif field.type == FieldDescriptor.TYPE_STRING:
            if field.is_repeated:
                getattr(message, field.name).extend([HOSTILE, HOSTILE])
            else:
                setattr(message, field.name, HOSTILE)
    for name, value in fields.items():
        setattr(message, name, value)
    return message


class HostileConnection:
    """A connection to a graph that answers every request, with texts that speak to the terminal."""

    max_payload = 1 << 20
    offers_jetstream = False

    def __init__(self) -> None:
        self._taking: dict[str, Callable[[Msg], Any]] = {}

    def new_inbox(self) -> str:
        return "_INBOX.one"

    async def subscribe(self, subject: str, *, cb: Callable[[Msg], Any]) -> "HostileConnection":
        self._taking[subject] = cb
        return self

    async def unsubscribe(self) -> None: ...

    async def request(self, subject: str, payload: bytes, timeout: float) -> Msg:  # noqa: ASYNC109 - as nats-py has it
        answers = {
            "hearth.documents.list": filled(documents_pb2.ListDocumentsResponse(), error="", exists=True),
            "hearth.documents.delete": filled(documents_pb2.DeleteResponse(), error_type="not_found"),
            "hearth.documents.ingest": filled(documents_pb2.IngestResponse(), error_type="invalid_request"),
            "hearth.status": filled(status_pb2.StatusResponse(), ready=True),
            "hearth.pipelines.list": filled(pipelines_pb2.PipelineListResponse(), error=""),
            "ai.voice.tts.voices.list": filled(messages_pb2.TTSVoiceListResponse()),
        }
        return self._message(subject, answers[subject])

    async def publish(self, subject: str, payload: bytes, reply: str = "") -> None:
        if subject == "ai.pipeline.trigger":
            request = messages_pb2.PipelineTrigger.FromString(payload)
            await self._tell(
                f"ai.pipeline.status.{request.request_id}", messages_pb2.PipelineStatus(), status="submitted"
            )
            await self._tell(f"ai.pipeline.status.{request.request_id}", messages_pb2.PipelineStatus(), status="failed")
        elif subject == "ai.voice.request":
            request = messages_pb2.VoiceRequest.FromString(payload)
            await self._tell(f"ai.voice.response.{request.request_id}", messages_pb2.VoiceResponse())
        else:
            request = messages_pb2.ChatRequest.FromString(payload)
            if request.enable_streaming:
                await self._tell(f"ai.chat.response.stream.{request.request_id}", messages_pb2.ChatStreamChunk())
            await self._tell(
                f"ai.chat.response.{request.request_id}", messages_pb2.ChatResponse(), success=True, used_rag=True
            )

    async def _tell(self, subject: str, message: Message, **fields: Any) -> None:
        await self._taking[subject](self._message(subject, filled(message, **fields)))

    def _message(self, subject: str, message: Message) -> Msg:
        return Msg(_client=None, subject=subject, data=message.SerializeToString())  # pyright: ignore[reportArgumentType]


@asynccontextmanager
async def hostile_graph(*_: Any) -> AsyncGenerator[HearthClient]:
    yield HearthClient(HostileConnection(), HOSTILE)  # pyright: ignore[reportArgumentType]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Return what runs a command that reaches the graph."""
    for module in (main_module, document_commands, pipeline_commands, speech_commands, voice_commands, doctor):
        monkeypatch.setattr(module, "connected", hostile_graph)
    return lambda *arguments: CliRunner().invoke(cli, list(arguments))


@pytest.fixture
def recording(tmp_path: Path) -> str:
    with wave.open(str(tmp_path / "question.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(3200))
    return str(tmp_path / "question.wav")


@pytest.fixture
def turns(tmp_path: Path) -> str:
    record = filled(conversation_pb2.TurnRecord(), outcome="interrupted")
    assert isinstance(record, conversation_pb2.TurnRecord)
    file = tmp_path / "turns.jsonl"
    file.write_text(json.dumps(record_as_dict(record)) + "\n")
    return str(file)


COMMANDS = {
    "chat": ["chat", "Hi"],
    "documents": ["documents"],
    "delete": ["delete", "notes.md"],
    "status": ["status"],
    "voices": ["voices"],
    "ask": ["ask", "RECORDING"],
    "turn": ["turn", "--file", "TURNS"],
    "pipeline list": ["pipeline", "list"],
    "pipeline run": ["pipeline", "run", "nightly"],
    "ingest": ["ingest", "NOTE"],
    "doctor": ["doctor"],
}


@pytest.fixture
def arguments(request: pytest.FixtureRequest, tmp_path: Path, recording: str, turns: str) -> list[str]:
    (tmp_path / "note.md").write_text("A note.")
    places = {"RECORDING": recording, "TURNS": turns, "NOTE": str(tmp_path / "note.md")}
    return [places.get(word, word) for word in COMMANDS[request.param]]


@pytest.mark.parametrize("arguments", list(COMMANDS), indirect=True)
def test_a_command_shows_what_it_was_told(arguments: list[str], asked: Callable[..., Result]) -> None:
    output = asked(*arguments).output
    assert not OBEYED.search(output), output
    assert r"\x1b]0;title\x07" in output


@pytest.mark.parametrize("arguments", list(COMMANDS), indirect=True)
def test_at_a_terminal_only_the_command_s_own_codes_are_written(
    arguments: list[str], asked: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    for shown in (console_module.console, console_module.errors):
        monkeypatch.setattr(shown, "_force_terminal", True)
        monkeypatch.setattr(shown, "_color_system", None)
    output = asked(*arguments).output
    assert "\x1b[31mred" not in output
    assert not OBEYED.search(OWN_CODES.sub("", output)), output


@pytest.mark.parametrize("arguments", list(COMMANDS), indirect=True)
def test_json_escapes_it_and_still_says_the_same(arguments: list[str], asked: Callable[..., Result]) -> None:
    output = asked(*arguments, "--json").stdout
    assert not OBEYED.search(output), output
    lines = output.splitlines() if "run" in arguments else [output]
    assert any(HOSTILE in text for line in lines for text in strings(json.loads(line)))


def strings(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for key, inner in value.items():  # pyright: ignore[reportUnknownVariableType]
                yield from (*strings(key), *strings(inner))
        case list():
            for inner in value:  # pyright: ignore[reportUnknownVariableType]
                yield from strings(inner)
        case _:
            return


@pytest.mark.parametrize("json_wanted", [False, True], ids=["text", "json"])
def test_transcripts_and_conversations_are_shown(json_wanted: bool, capsys: pytest.CaptureFixture[str]) -> None:
    with TranscriptPrinter(as_json=json_wanted) as transcripts:
        transcripts.show(filled(messages_pb2.STTTranscription()))  # pyright: ignore[reportArgumentType]
    with TalkPrinter(as_json=json_wanted) as talk:
        talk.transcribed(filled(messages_pb2.STTTranscription(), is_final=True))  # pyright: ignore[reportArgumentType]
        talk.wrote(filled(messages_pb2.ChatStreamChunk(), turn=1, done=True))  # pyright: ignore[reportArgumentType]
        talk.turn_over(filled(conversation_pb2.TurnRecord(), outcome="interrupted"))  # pyright: ignore[reportArgumentType]
    printed = capsys.readouterr()
    assert "detrever" in printed.out
    assert not OBEYED.search(printed.out + printed.err)


def test_logs_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(_: StackLogs, name: str, lines: int, *, follow: bool) -> Iterator[str]:
        yield HOSTILE

    monkeypatch.setattr(StackLogs, "read", read)
    monkeypatch.setattr(StackLogs, "names", lambda _: [HOSTILE])  # pyright: ignore[reportUnknownLambdaType]
    monkeypatch.setattr(main_module.state, "load_state", object)
    for arguments in (["logs", "nats"], ["logs"]):
        assert CliRunner().invoke(cli, arguments).output == f"{SHOWN}\n"


@pytest.mark.parametrize("error", [UnavailableError(HOSTILE), click.ClickException(HOSTILE), click.UsageError(HOSTILE)])
def test_errors_are_shown(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(main_module, "_run", fail)
    monkeypatch.setattr(main_module, "_status", lambda *_: None)
    with pytest.raises(SystemExit):
        main(["status"])
    assert SHOWN in capsys.readouterr().err.replace("\n", "")


def test_a_link_in_an_answer_shows_where_it_leads(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "_force_terminal", True)
    with MarkdownWriter() as writer:
        writer.write("[our bank](http://else.where) and \x9b2J\n\nmore\x1b]52;c;Zm9v\x07\n")
    printed = capsys.readouterr().out
    assert "http://else.where" in printed
    assert not OBEYED.search(OWN_CODES.sub("", printed))


def test_a_name_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    console.print("[red]a[/red][/b]:smile:", styled("[bold]b"), assembled("[c]", ("[d]", "dim")))
    assert capsys.readouterr().out == "[red]a[/red][/b]:smile: [bold]b [c][d]\n"


@given(st.text())
def test_text_loses_nothing_but_its_power(text: str) -> None:
    shown = visible(text)
    assert not OBEYED.search(shown)
    if not OBEYED.search(text) and not any("\ud800" <= one <= "\udfff" for one in text):
        assert shown == text
    assert visible(shown) == shown


@given(st.text())
def test_json_says_the_same_and_is_printable(text: str) -> None:
    printed = as_json({text: [text]})
    assert json.loads(printed) == {text: [text]}
    assert not OBEYED.search(printed)
    printed.encode()


def test_everything_is_printed_through_the_console() -> None:
    """Whatever prints by itself, or makes a styled text by itself, would let through what it is given."""
    past = [
        f"{file.relative_to(COMMAND_LINE)}:{node.lineno}"
        for file in sorted(COMMAND_LINE.rglob("*.py"))
        if file.name != "console.py"
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in PRINTS_BY_ITSELF
    ]
    assert past == []


PRINTS_BY_ITSELF = {
    *("print", "click.echo", "click.secho", "sys.stdout.write", "sys.stderr.write", "sys.stdout.buffer.write"),
    *("Console", "Text", "Text.assemble", "Markdown"),
}
