"""What the ingresses of a node and `hearth drain` agree on: where they meet, and what is said there.

Each ingress listens on a Unix socket in a folder of its user. So the command needs no port and no address, finds every
ingress of its node, and reaches none of another node.
"""

import os
import socket
import stat
import tempfile
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from deployments.errors import UnavailableError

DRAIN_PATH = "/drain"
"""What is posted to. The answer is a line of JSON (a `DrainProgress`) at once, one for each change, and a last one."""

UNNAMED_SUFFIX = ".made"
"""Of a socket that is not listened on yet."""

_SUFFIX = ".sock"
_LONGEST_PATH = 107
"""Bytes of a Unix socket's path: `unix(7)`."""
_LONGEST_NAME = len("AudioIngress-4194304") + len(_SUFFIX)
"""Of a socket, with the highest process id that Linux gives."""
_OTHERS_MAY = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class DrainProgress:
    """How far an ingress is.

    Attributes:
        name: Of its deployment.
        process_id: Of its replica.
        held: How many requests or sessions it still has, by the subject's pattern. None is 0.
        is_over: Whether this is the last that it says. What it holds then is lost.
    """

    name: str
    process_id: int
    held: Mapping[str, int]
    is_over: bool

    def line(self) -> bytes:
        """Return it as a line of JSON."""
        return _PROGRESS.dump_json(self) + b"\n"

    @classmethod
    def from_line(cls, line: str) -> "DrainProgress":
        """Read it.

        Raises:
            UnavailableError: It is none.
        """
        try:
            return _PROGRESS.validate_json(line)
        except ValidationError as error:
            raise UnavailableError(f"no ingress says {line[:100]!r}") from error


_PROGRESS = TypeAdapter(DrainProgress)


def drain_folder() -> Path:
    """Return the folder of the sockets: in `HEARTH_RUNTIME`, else in the temporary folder. It is one for each user."""
    return Path(os.environ.get("HEARTH_RUNTIME") or tempfile.gettempdir()) / f"hearth-{os.getuid()}"


def socket_path(folder: Path, name: str) -> Path:
    """Return where the ingress of this process listens.

    Args:
        folder: Of the sockets.
        name: Of its deployment.
    """
    return folder / f"{name}-{os.getpid()}{_SUFFIX}"


def process_of(path: Path) -> int:
    """Return the process id of the ingress that listens at a socket; 0 where its name has none."""
    process_id = path.stem.rpartition("-")[2]
    return int(process_id) if process_id.isdecimal() else 0


def make_folder(folder: Path) -> None:
    """Make the folder of the sockets, where it is not there yet.

    Raises:
        OSError: It cannot be made, or others than this user may change it.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    _check_private(folder)


def find_sockets(folder: Path) -> list[Path]:
    """Return the sockets of this node's ingresses; those too that were left by processes that are gone.

    Args:
        folder: Of the sockets; one that is not there has none.

    Raises:
        OSError: It cannot be read, or others than this user may change it; or it is not there and cannot be made, or
            its path is too long, so that no ingress can be found in it.
    """
    if (longest := _LONGEST_PATH - _LONGEST_NAME - 1) < len(os.fsencode(folder)):
        raise OSError(f"'{folder}' is too long for a folder of sockets: at most {longest} bytes")
    if not folder.exists():
        if not os.access(folder.parent, os.W_OK | os.X_OK):
            raise PermissionError(f"'{folder.parent}' is not there, or this user may not write in it")
        return []
    _check_private(folder)
    return sorted(path for path in folder.iterdir() if path.suffix == _SUFFIX)


def remove_left_sockets(folder: Path) -> None:
    """Remove the sockets of processes that are gone."""
    unnamed = [path for path in folder.iterdir() if path.suffix == UNNAMED_SUFFIX and not _is_alive(path)]
    left = [path for path in find_sockets(folder) if not _is_listened_on(path)]
    for path in (*unnamed, *left):
        path.unlink(missing_ok=True)


def other_folders() -> list[Path]:
    """Return the folders that ingresses of other users of this node have beside this user's."""
    own = drain_folder()
    return sorted(path for path in own.parent.glob("hearth-*") if path != own and path.name[7:].isdigit())


def _check_private(folder: Path) -> None:
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & _OTHERS_MAY:
        raise PermissionError(f"'{folder}' is no folder that only this user may use")


def _is_alive(path: Path) -> bool:
    """Whether the process runs whose socket this is."""
    try:
        os.kill(int(path.stem.rpartition("-")[2]), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, ValueError):
        return True
    return True


def _is_listened_on(path: Path) -> bool:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except BlockingIOError:
            # So many wait there that this one has to wait, too.
            return True
        except (ConnectionRefusedError, FileNotFoundError):
            return False
    return True
