"""A conversation at a prompt: questions, commands, and what Ctrl-C and Ctrl-D do."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest
from click.testing import CliRunner

from bridges.command_line.commands.asking import Asked
from bridges.command_line.commands.chatting import ChatPrompt, whole_blocks
from bridges.command_line.main import cli
from bridges.generated.messages.v1 import messages_pb2
from deployments.errors import UnavailableError


@dataclass
class Service:
    """Answers, or fails, as it was told to."""

    outcomes: list[str | BaseException]
    asked: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    def ask(self, question: str, user_id: str, write: Callable[[str], None]) -> Asked:
        self.asked.append((question, user_id))
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, BaseException):
            write("half an ans")
            raise outcome
        write(outcome + "\n")
        response = messages_pb2.ChatResponse(response=outcome, success=True, used_rag=True, rag_sources=["roof.md"])
        return Asked(response, 0.1, 0.2, 3, wanted_documents=True)


def lines(*given: str | type[BaseException]) -> Callable[[str], str]:
    waiting: Iterator[str | type[BaseException]] = iter((*given, EOFError))

    def read(prompt: str) -> str:
        del prompt
        line = next(waiting)
        if isinstance(line, str):
            return line
        raise line

    return read


def converse(service: Service, *given: str | type[BaseException]) -> ChatPrompt:
    conversation = ChatPrompt(service.ask, lines(*given), "u1")
    conversation.run()
    return conversation


def test_questions_are_asked_of_one_user_so_that_they_lean_on_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    service = Service(["At nine.", "At noon."])
    converse(service, "When does it open?", "", "  and on Sundays?  ")
    assert service.asked == [("When does it open?", "u1"), ("and on Sundays?", "u1")]
    assert "At nine.\nAt noon.\n" in capsys.readouterr().out


def test_ctrl_c_stops_an_answer_and_not_the_conversation(capsys: pytest.CaptureFixture[str]) -> None:
    service = Service([KeyboardInterrupt(), "At noon."])
    converse(service, "When does it open?", "And on Sundays?")
    out = capsys.readouterr().out
    assert "half an ans" in out
    assert "stopped" in out
    assert "At noon." in out


def test_ctrl_c_at_the_prompt_says_how_to_end_it(capsys: pytest.CaptureFixture[str]) -> None:
    service = Service(["At nine."])
    converse(service, KeyboardInterrupt, "When?")
    assert "/quit or Ctrl-D ends it" in capsys.readouterr().out
    assert len(service.asked) == 1


@pytest.mark.parametrize("end", [EOFError, "/quit", "/exit"])
def test_the_conversation_ends(end: str | type[BaseException]) -> None:
    service = Service([])
    converse(service, end, "never asked")
    assert service.asked == []


def test_an_error_is_told_and_the_next_question_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    converse(Service([UnavailableError("nobody takes requests"), "At noon."]), "When?", "When?")
    captured = capsys.readouterr()
    assert "Error: nobody takes requests" in captured.err
    assert "At noon." in captured.out


def test_sources_are_shown_on_demand(capsys: pytest.CaptureFixture[str]) -> None:
    converse(Service(["At nine."]), "/sources", "When?", "/sources")
    out = capsys.readouterr().out
    assert out.index("nothing was answered yet") < out.index("At nine.") < out.index("roof.md")


def test_a_new_conversation_leans_on_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    service = Service(["At nine.", "At noon."])
    converse(service, "When?", "/new", "When?")
    (_, first), (_, second) = service.asked
    assert first != second


@pytest.mark.parametrize("line", ["/help", "/unknown"])
def test_commands_are_explained(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    converse(Service([]), line)
    assert "/sources" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("One.", ""),
        ("One.\n", ""),
        ("One.\n\nTw", "One.\n\n"),
        ("- a\n- b\n\n```\nx\n\ny", "- a\n- b\n\n"),
        ("```\nx\n\ny\n```\n\nz", "```\nx\n\ny\n```\n\n"),
    ],
)
def test_blocks_are_whole_at_a_blank_line_outside_of_code(text: str, whole: str) -> None:
    assert whole_blocks(text) == (whole, text[len(whole) :])


def test_scripts_have_to_name_their_question() -> None:
    result = CliRunner().invoke(cli, ["chat", "--json"])
    assert result.exit_code == 2
    assert "--json needs a QUESTION" in result.output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands(shell: str) -> None:
    script = CliRunner().invoke(cli, ["completion", shell]).output
    assert "_HEARTH_COMPLETE" in script


def test_completion_knows_the_commands() -> None:
    def complete(*words: str) -> Sequence[str]:
        environment = {
            "_HEARTH_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(("hearth", *words)),
            "COMP_CWORD": str(len(words)),
        }
        out = CliRunner().invoke(cli, [], env=environment, prog_name="hearth").output
        return [line.split(",")[-1] for line in out.split()]

    assert complete("pipe") == ["pipeline"]
    assert complete("pipeline", "r") == ["run"]
