"""The command line without a server behind it: help, errors, and what it does by itself."""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bridges.command_line.commands import speech_commands
from bridges.command_line.console import print_line
from bridges.command_line.files.extraction import READERS
from bridges.command_line.files.finding import find_files
from bridges.command_line.files.ingesting import text_parts
from bridges.command_line.local.state import StartedProcess, load_state, nats_url
from bridges.command_line.main import SAMPLES, cli, main
from bridges.command_line.sound.transcripts import TranscriptPrinter
from bridges.generated.messages.v1 import messages_pb2
from deployments.errors import InvalidRequestError, OverloadedError, UnavailableError
from tests.servers import free_port


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the words of each command, those of groups too."""
    yield " ".join(path)
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


@pytest.mark.parametrize("command", list(commands(cli)))
def test_help_says_what_each_command_and_option_does(command: str) -> None:
    result = run(*command.split(), "--help")
    assert result.exit_code == 0
    assert re.search(r"\n  [A-Z][^\n]*\w", result.output), "a sentence on what it does"
    options = re.findall(r"^  (?:-\w, )?--[\w-]+.*(?:\n {6,}.*)?", result.output, re.MULTILINE)
    assert all(re.search(r"\s{2,}\S", option.strip()) for option in options), "every option is explained"


@pytest.mark.parametrize("group", ["", "models", "pipeline"])
def test_a_list_of_commands_says_of_each_what_it_does_in_one_line_of_a_terminal(group: str) -> None:
    result = CliRunner().invoke(cli, [*group.split(), "--help"], terminal_width=80)
    listed = result.output.partition("Commands:\n")[2].splitlines()
    assert listed
    assert all(re.fullmatch(r"  [a-z]+ +[A-Z].*[^.]\.", line) for line in listed), result.output


@pytest.mark.parametrize(
    ("terminal", "printed"), [(True, "a line of\nseveral words\n"), (False, "a line of several words\n")]
)
def test_a_line_is_broken_between_words_at_a_terminal_and_whole_in_a_pipe(terminal: bool, printed: str) -> None:
    file = io.StringIO()
    print_line(
        "a line of", " several words", to=Console(file=file, force_terminal=terminal, width=14, color_system=None)
    )
    assert re.sub(r" +\n", "\n", file.getvalue()) == printed


@pytest.mark.parametrize(
    "arguments",
    [["chat", "Hi"], ["status"], ["ingest", str(SAMPLES)], ["say", "Hi", "--out", "never.wav"], ["voices"]],
    ids=lambda arguments: arguments[0],
)
def test_without_a_server_the_error_names_it_and_what_helps(arguments: list[str]) -> None:
    url = f"nats://127.0.0.1:{free_port()}"
    result = run(*arguments, "--nats", url)
    assert isinstance(result.exception, UnavailableError)
    assert result.exception.message == (
        f"no NATS server at {url}: start everything with `hearth up`, or name one with --nats or NATS_URL"
    )


def test_credentials_in_the_server_s_url_are_not_shown() -> None:
    result = run("status", "--nats", f"nats://ada:secret@127.0.0.1:{free_port()},nats://token@127.0.0.1:1")
    assert isinstance(result.exception, UnavailableError)
    assert "no NATS server at nats://127.0.0.1:1: " in result.exception.message
    assert not any(word in result.exception.message for word in ("ada", "secret", "token"))


def test_an_error_says_when_to_try_again(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OverloadedError("too many requests wait", retry_after_s=3.0)

    monkeypatch.setattr("bridges.command_line.main.cli", fail)
    with pytest.raises(SystemExit):
        main()
    assert "Error: too many requests wait; try again in 3 s" in capsys.readouterr().err


def test_errors_are_one_line_and_no_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["hearth", "models", "verify", "huge"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    message = capsys.readouterr().err
    assert message.startswith("Error: unknown model 'huge'; known are ")
    assert message.count("\n") == 1


def test_a_wrong_option_is_named_with_what_was_expected() -> None:
    result = run("chat", "Hi", "--top-k", "many")
    assert result.exit_code == 2
    assert "'--top-k': 'many' is not a valid integer" in result.output


def test_the_models_are_listed_with_their_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARTH_MODELS", str(tmp_path))
    models = {model["name"]: model for model in json.loads(run("models", "list", "--json").output)}
    assert models["smollm2-135m-instruct"] == {
        "name": "smollm2-135m-instruct",
        "role": "language-model",
        "licence": "Apache-2.0",
        "bytes": 98362432,
        "default": True,
        "state": "missing",
        "package": "",
    }
    assert "all-minilm-l6-v2 *" in run("models", "list").output


def test_missing_models_are_told_with_the_command_that_fetches_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEARTH_MODELS", str(tmp_path))
    result = run("models", "verify", "all-minilm-l6-v2")
    assert result.exit_code == 1
    assert "run `hearth models fetch all-minilm-l6-v2`" in result.output
    assert f"embeddings: {tmp_path}/all-minilm-l6-v2/model.onnx is missing" in capsys.readouterr().err + result.output


def test_what_was_verified_is_told_to_scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARTH_MODELS", str(tmp_path))
    altered = tmp_path / "all-minilm-l6-v2" / "model.onnx"
    altered.parent.mkdir()
    altered.write_bytes(b"not it")
    result = run("models", "verify", "all-minilm-l6-v2", "--json")
    assert result.exit_code == 1
    states = {Path(file["path"]).name: file["state"] for file in json.loads(result.stdout.splitlines()[0])}
    assert states["model.onnx"] == "altered"
    assert set(states.values()) == {"altered", "missing"}


def test_nothing_was_started_so_nothing_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARTH_STATE", str(tmp_path))
    assert load_state() is None
    assert run("down").output == "Nothing was running.\n"


def test_the_server_is_the_one_given_else_the_environment_s_else_the_usual(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEARTH_STATE", str(tmp_path))
    monkeypatch.delenv("NATS_URL", raising=False)
    assert nats_url(None) == "nats://127.0.0.1:4222"
    monkeypatch.setenv("NATS_URL", "nats://env:1")
    assert nats_url(None) == "nats://env:1"
    assert nats_url("nats://given:1") == "nats://given:1"


def test_a_process_id_that_was_given_to_another_is_not_taken_for_ours() -> None:
    ours = StartedProcess.of(1)
    assert ours.find() is not None
    assert StartedProcess(1, ours.created - 100).find() is None
    assert StartedProcess(2**22 + 1, 0.0).find() is None


def test_files_are_found_below_folders(tmp_path: Path) -> None:
    for name in ("b.md", "a.txt", "sub/c.MD", ".hidden/d.md", "e.zip"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    found = find_files([tmp_path, tmp_path / "a.txt"], READERS).files
    assert [path.relative_to(tmp_path).as_posix() for path in found] == ["a.txt", "b.md", "sub/c.MD"]


@pytest.mark.parametrize(("name", "reason"), [("e.zip", "expected one of .md"), ("missing.md", "does not exist")])
def test_a_file_that_cannot_be_ingested_is_named_before_anything_is_sent(
    tmp_path: Path, name: str, reason: str
) -> None:
    (tmp_path / "e.zip").touch()
    result = run("ingest", str(tmp_path / name))
    assert result.exit_code == 1
    assert reason in result.output


@given(st.text(max_size=2000), st.integers(16, 400))
def test_a_document_is_sent_whole_in_parts_that_fit(text: str, limit: int) -> None:
    parts = list(text_parts(text, limit))
    assert "".join(parts) == text
    assert all(len(part.encode()) <= limit for part in parts)


def test_parts_end_between_paragraphs_and_outside_code() -> None:
    code = "```\na\n\nb\n```\n\n"
    text = "# One\n\nfirst\n\n" + code + "last\n"
    assert list(text_parts(text, len(code))) == ["# One\n\nfirst\n\n", code, "last\n"]


def test_without_a_loudspeaker_say_asks_for_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech_commands, "has_loudspeaker", lambda: False)
    result = run("say", "Hello")
    assert result.exit_code == 1
    assert "--out FILE" in result.output


@pytest.mark.parametrize(
    ("name", "content"), [("text.wav", b"not a recording"), ("empty.wav", b""), ("gone.wav", None)]
)
def test_what_is_no_recording_cannot_be_listened_to(tmp_path: Path, name: str, content: bytes | None) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    result = run("listen", str(file))
    assert isinstance(result.exception, InvalidRequestError)
    assert str(file) in result.exception.message


def transcript(text: str, stable: int = 0, *, final: bool = False) -> messages_pb2.STTTranscription:
    return messages_pb2.STTTranscription(
        transcript=text, stable_characters=stable, is_final=final, is_partial=not final, session_id="s"
    )


def test_in_a_pipe_only_what_was_heard_for_good_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with TranscriptPrinter(as_json=False) as printer:
        printer.show(transcript("How lo"))
        printer.show(transcript("How long?", final=True))
        printer.show(transcript("", final=True))
    assert capsys.readouterr().out == "  How long?\n"


def test_as_json_every_transcript_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with TranscriptPrinter(as_json=True) as printer:
        printer.show(transcript("How long", 3))
        printer.show(transcript("How long?", final=True))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["transcript"], line["final"]) for line in lines] == [("How long", False), ("How long?", True)]
    assert lines[0]["stable_characters"] == 3


def test_the_doctor_names_what_is_missing_and_what_mends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARTH_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HEARTH_STATE", str(tmp_path / "state"))
    result = run("doctor", "--json", "--nats", f"nats://127.0.0.1:{free_port()}")
    findings = {finding["name"]: finding for finding in json.loads(result.output)}
    assert result.exit_code == 1
    assert (findings["Models"]["verdict"], findings["Models"]["mend"]) == ("broken", "hearth models fetch")
    assert "missing: smollm2-135m-instruct" in findings["Models"]["detail"]
    assert (findings["NATS"]["verdict"], findings["NATS"]["mend"]) == ("broken", "hearth up")
    assert (findings["Started here"]["verdict"], findings["Started here"]["mend"]) == ("missed", "hearth up")
    assert findings["Python"]["verdict"] == "well"


def test_logs_are_of_what_was_started_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARTH_STATE", str(tmp_path))
    result = run("logs", "nats")
    assert result.exit_code == 1
    assert "run `hearth up`" in result.output
