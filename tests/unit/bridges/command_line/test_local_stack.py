"""Starting and stopping processes on one machine. The programs are scripts that wait: nothing of Ray is started."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from bridges.command_line.local import local_stack
from bridges.command_line.local.installation import code_version
from bridges.command_line.local.local_stack import LocalStack, interrupted_afterwards, without
from bridges.command_line.local.state import LocalState, StartedProcess, load_state, save_state
from deployments.errors import UnavailableError

# The processes outlive the objects that started them, as they do in use.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStack:
    program = tmp_path / "program"
    program.write_text(f"#!{sys.executable}\nimport signal\nsignal.pause()\n")
    program.chmod(0o700)
    monkeypatch.setenv("HEARTH_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(local_stack, "find_program", lambda _: str(program))
    monkeypatch.setattr(LocalStack, "_ray_command", lambda *_: [str(program)])
    return LocalStack()


def running(processes: list[StartedProcess]) -> list[psutil.Process]:
    return [found for process in processes if (found := process.find())]


@pytest.mark.parametrize("interrupted", [1, 2, 3])
def test_a_ctrl_c_while_a_process_is_started_ends_that_process_too(
    stack: LocalStack, monkeypatch: pytest.MonkeyPatch, interrupted: int
) -> None:
    begun: list[StartedProcess] = []
    of = StartedProcess.of

    def interrupting(pid: int) -> StartedProcess:
        begun.append(of(pid))
        if len(begun) == interrupted:
            signal.raise_signal(signal.SIGINT)
        return begun[-1]

    monkeypatch.setattr(StartedProcess, "of", interrupting)
    with pytest.raises(KeyboardInterrupt):
        stack.start(lambda _: None)
    assert len(begun) == interrupted
    assert running(begun) == []
    assert load_state() is None


def test_what_a_killed_start_leaves_behind_is_known_to_the_command_that_stops_it(stack: LocalStack) -> None:
    class KilledError(BaseException):
        """Stands for a death that nothing can catch."""

    known: list[StartedProcess] = []

    def report(step: str) -> None:
        if step == "Starting Ray":
            state = load_state()
            assert state is not None
            known.extend(state.processes.values())
            raise KilledError

    with pytest.raises(KilledError):
        stack.start(report)
    assert len(known) == 2
    assert running(known) == []


def test_a_ctrl_c_is_put_off_to_the_end_of_a_block_and_then_works_as_before() -> None:
    done: list[str] = []

    def work() -> None:
        with interrupted_afterwards():
            signal.raise_signal(signal.SIGINT)
            done.append("all of the block")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["all of the block"]
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_a_configuration_without_some_applications_keeps_all_else() -> None:
    config = {"http_options": {}, "applications": [{"name": "chat", "args": {}}, {"name": "speech"}, "no application"]}
    assert without(config, {"speech", "elsewhere"}) == {
        "http_options": {},
        "applications": [{"name": "chat", "args": {}}, "no application"],
    }


@pytest.mark.parametrize("config", [None, "text", [1], {}, {"applications": "none"}])
def test_what_is_no_configuration_stays_for_serve_to_refuse(config: object) -> None:
    assert without(config, {"speech"}) == config


def test_processes_that_do_not_end_when_asked_are_ended(stack: LocalStack) -> None:
    stubborn = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); signal.pause()",
        ],
        stdout=subprocess.PIPE,
    )
    assert stubborn.stdout
    assert stubborn.stdout.readline() == b"1\n"
    save_state(LocalState("", "", "http://127.0.0.1:9", {"ray": StartedProcess.of(stubborn.pid)}))
    assert stack.stop(lambda _: None)
    assert stubborn.wait(10) == -signal.SIGKILL
    assert load_state() is None


def test_what_is_done_while_all_starts_ends_what_was_started_if_it_fails(
    stack: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[StartedProcess] = []
    of = StartedProcess.of
    monkeypatch.setattr(StartedProcess, "of", lambda pid: begun.append(of(pid)) or begun[-1])

    def fail() -> None:
        assert len(running(begun)) == 3
        raise LookupError

    with pytest.raises(LookupError):
        stack.start(lambda _: None, fail)
    assert running(begun) == []
    assert load_state() is None


def test_a_graph_that_runs_older_code_is_not_gone_on_with(stack: LocalStack) -> None:
    waiting = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    known = {"ray": StartedProcess.of(waiting.pid)}
    save_state(LocalState("", "", "http://127.0.0.1:9", known, code="older"))
    with pytest.raises(UnavailableError, match="run `hearth down` first"):
        stack.start(lambda _: None)
    assert running(list(known.values()))
    save_state(LocalState("", "", "http://127.0.0.1:9", known, code=code_version()))
    assert stack.start(lambda _: None).processes == known
    assert stack.stop(lambda _: None)
    waiting.wait(10)
