"""The logs of what `hearth up` started: servers from their files, replicas of the graph by way of Ray's dashboard."""

import time
from collections import deque
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, cast

import httpx

from bridges.command_line.local.local_stack import LocalStack
from bridges.command_line.local.state import LocalState
from deployments.errors import NotFoundError, UnavailableError, UpstreamFailedError

SERVERS = ("nats", "milvus", "ray")
_POLL_S = 0.3
_STREAM_TIMEOUT = httpx.Timeout(30.0, read=None)


class StackLogs:
    """The logs of one stack.

    Args:
        stack: Where its processes are.
        state: As they were started.
    """

    def __init__(self, stack: LocalStack, state: LocalState) -> None:
        self._stack = stack
        self._state = state

    def names(self) -> list[str]:
        """Return what has a log: servers first, then the deployments of the graph.

        Raises:
            UnavailableError: Ray's dashboard cannot be reached.
        """
        return [*SERVERS, *sorted(self._replicas())]

    def read(self, name: str, lines: int, *, follow: bool) -> Generator[str]:
        """Yield the last lines of a log and, if it is followed, those that come, without end.

        Of a deployment with several replicas, that of the first.

        Raises:
            NotFoundError: Nothing of this name has a log; the message says what has.
            UnavailableError: Ray's dashboard cannot be reached.
        """
        if name in SERVERS:
            yield from _read_file(self._stack.folder / "logs" / f"{name}.log", lines, follow=follow)
            return
        replicas = {replica.lower(): found for replica, found in self._replicas().items()}
        if name.lower() not in replicas:
            raise NotFoundError(f"{name!r} has no log here; there are {', '.join(self.names())}")
        yield from self._read_replica(replicas[name.lower()], lines, follow=follow)

    def _replicas(self) -> dict[str, dict[str, Any]]:
        """Return the first replica of each deployment."""
        with self._stack.dashboard(self._state) as client:
            details = _json(client, "/api/serve/applications/")
        deployments = (
            (name, deployment)
            for application in cast("dict[str, Any]", details.get("applications", {})).values()
            for name, deployment in application.get("deployments", {}).items()
        )
        # One that is just starting has neither a node nor a log.
        logged = ((name, [one for one in found["replicas"] if one.get("log_file_path")]) for name, found in deployments)
        return {name: replicas[0] for name, replicas in logged if replicas}

    def _read_replica(self, replica: dict[str, Any], lines: int, *, follow: bool) -> Generator[str]:
        parameters = {
            "node_id": str(replica["node_id"]),
            "filename": str(replica["log_file_path"]).lstrip("/"),
            "lines": str(lines),
            "format": "text",
        }
        path = "/api/v0/logs/stream" if follow else "/api/v0/logs/file"
        with (
            self._stack.dashboard(self._state) as client,
            client.stream("GET", path, params=parameters, timeout=_STREAM_TIMEOUT) as response,
        ):
            if not response.is_success:
                response.read()
                raise UpstreamFailedError(f"Ray's dashboard gives no log: {response.text.strip()[:300]}")
            yield from response.iter_lines()


def _json(client: httpx.Client, path: str) -> dict[str, Any]:
    try:
        return client.get(path).raise_for_status().json()
    except httpx.HTTPError as error:
        raise UnavailableError(f"Ray's dashboard cannot be reached: {error}; see `hearth logs ray`") from error


def _read_file(file: Path, lines: int, *, follow: bool) -> Iterator[str]:
    if not file.exists():
        raise NotFoundError(f"there is no log at {file}")
    with file.open(encoding="utf-8", errors="replace") as log:
        last = deque(log, maxlen=lines)
        # A line that is just being written has no end yet.
        begun = last.pop() if follow and last and not last[-1].endswith("\n") else ""
        yield from (line.rstrip("\n") for line in last)
        while follow:
            begun += log.readline()
            if begun.endswith("\n"):
                yield begun.rstrip("\n")
                begun = ""
            else:
                time.sleep(_POLL_S)
