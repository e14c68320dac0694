"""What `hearth up` started on this machine, kept in the state folder."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from bridges.command_line.local.installation import THIS

DEFAULT_NATS_URL = "nats://127.0.0.1:4222"


@dataclass(frozen=True, slots=True)
class StartedProcess:
    """A process that was started, recognisable after its id was given to another.

    Attributes:
        pid: Its process id.
        created: When it was created, in Unix seconds.
    """

    pid: int
    created: float

    @classmethod
    def of(cls, pid: int) -> "StartedProcess":
        """Return the process that has this id now."""
        return cls(pid, psutil.Process(pid).create_time())

    def find(self) -> psutil.Process | None:
        """Return the process if it still runs."""
        try:
            process = psutil.Process(self.pid)
            if process.create_time() != self.created or process.status() == psutil.STATUS_ZOMBIE:
                return None
        except psutil.NoSuchProcess:
            return None
        return process


@dataclass(frozen=True, slots=True)
class LocalState:
    """What was started.

    Attributes:
        nats_url: Where NATS listens.
        milvus_uri: Where Milvus does.
        dashboard_url: Where Ray's dashboard does.
        processes: By name: "nats", "milvus", "ray".
        code: The version of Hearth's code that it runs; see `code_version`.
    """

    nats_url: str
    milvus_uri: str
    dashboard_url: str
    processes: dict[str, StartedProcess]
    code: str = ""


def state_folder() -> Path:
    """Return where the local stack keeps its data and logs: see `Installation.state_folder`."""
    return THIS.state_folder


def turns_file() -> Path:
    """Return where the local stack keeps the records of spoken turns."""
    return state_folder() / "turns.jsonl"


def load_state() -> LocalState | None:
    """Return what was started and not taken down, None where nothing was."""
    path = state_folder() / "state.json"
    if not path.exists():
        return None
    data = json.loads(path.read_text(encoding="utf-8"))
    data["processes"] = {name: StartedProcess(**process) for name, process in data["processes"].items()}
    return LocalState(**data)


def save_state(state: LocalState) -> None:
    """Remember what was started."""
    path = state_folder() / "state.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(asdict(state), indent=2), encoding="utf-8")
    part.replace(path)


def forget_state() -> None:
    """Remember that nothing is started."""
    (state_folder() / "state.json").unlink(missing_ok=True)


def nats_url(given: str | None) -> str:
    """Return the NATS server to talk to: what was given, `NATS_URL`, the local stack's, the usual port."""
    if given:
        return given
    if url := os.environ.get("NATS_URL"):
        return url
    state = load_state()
    return state.nats_url if state else DEFAULT_NATS_URL
