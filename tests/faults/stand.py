"""What faults are tried on: Hearth with all that it runs on, each part of which can be broken."""

import json
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from tests import servers
from tests.faults.asked import Kind
from tests.faults.background import BackgroundLoop
from tests.faults.killable import Broker, kill
from tests.faults.network import Network

SMALL_DISK_MB = 256
"""Room for all that a thousand requests leave, answers that are heard among them."""


class Mode(StrEnum):
    """How requests are taken: kept in JetStream until they are answered, or from core NATS alone."""

    DURABLE = "durable"
    CORE = "core"


class Part(StrEnum):
    """A part of Hearth that has processes of its own."""

    INGRESS = "NatsIngress"
    CHAT = "Chat"
    RETRIEVAL = "Retrieval"
    LANGUAGE_MODEL = "LanguageModel"
    EMBEDDINGS = "Embeddings"
    RERANKER = "Reranker"
    SPEECH_TO_TEXT = "SpeechToText"
    TEXT_TO_SPEECH = "TextToSpeech"
    CONTROLLER = "Serve's controller"
    RAYLET = "raylet of the second node"
    NODE = "second node"
    MILVUS = "Milvus"


class Stand(Protocol):
    """Hearth, with a NATS server of its own and a network to it."""

    @property
    def broker(self) -> Broker:
        """The NATS server."""
        ...

    @property
    def network(self) -> Network:
        """What lies between Hearth, but not its clients, and the NATS server."""
        ...

    @property
    def loop(self) -> BackgroundLoop:
        """Where the network runs."""
        ...

    @property
    def kinds(self) -> Sequence[Kind]:
        """The requests that it answers."""
        ...

    def kill(self, part: Part) -> None:
        """End a process of a part with SIGKILL."""
        ...

    def mend(self, part: Part) -> None:
        """Start again what was killed, where nothing in Hearth or Ray does so by itself."""
        ...

    def missing(self) -> str:
        """Return what does not run that is to run, in words; empty for nothing."""
        ...


@contextmanager
def broker_and_network(folder: Path, loop: BackgroundLoop, store: Path | None) -> Generator[tuple[Broker, Network]]:
    """Run a NATS server, and a network to it."""
    broker = Broker(folder / "nats", store)
    broker.start()
    network = Network(broker.port)
    try:
        loop.run(network.open())
        yield broker, network
        loop.run(network.cut())
    finally:
        broker.stop()


def url_through(network: Network) -> str:
    """Return where Hearth finds the NATS server, behind the network."""
    return f"nats://{servers.LOOPBACK}:{network.port}"


PROCESSES = 2


@dataclass
class ProcessStand:
    """Two ingresses, each a process, with a graph of a few lines; no Ray. See `tests.integration.durable_process`.

    A process that was killed is started again by `mend`, as Ray or Kubernetes would.
    """

    broker: Broker
    network: Network
    loop: BackgroundLoop
    folder: Path
    mode: Mode
    kinds: Sequence[Kind] = (Kind.STREAMED, Kind.STREAMED, Kind.GREETING)
    take_over_s: float = 1.0

    def __post_init__(self) -> None:
        self._running = ExitStack()
        self._pids: list[int] = []
        self._starts = 0

    def start(self) -> None:
        """Start the ingresses."""
        for _ in range(PROCESSES):
            self.mend(Part.INGRESS)

    def stop(self) -> None:
        """End them."""
        self._running.close()

    def kill(self, part: Part) -> None:
        """See `Stand.kill`."""
        assert part is Part.INGRESS
        kill(self._pids.pop(0))

    def mend(self, part: Part) -> None:
        """See `Stand.mend`."""
        assert part is Part.INGRESS
        self._starts += 1
        command = [sys.executable, "-m", "tests.integration.durable_process", url_through(self.network)]
        log = self.folder / f"ingress-{self._starts}.log"
        process = self._running.enter_context(servers.running([*command, json.dumps(self._durable())], log))
        self._pids.append(process.pid)

    def missing(self) -> str:
        """See `Stand.missing`: a process that does not answer yet shows itself in the answers."""
        return ""

    def _durable(self) -> Mapping[str, Any]:
        rows = ["chat-message", "chat-request", "greeting"] if self.mode is Mode.DURABLE else []
        return {"rows": rows, "take_over_s": self.take_over_s}


@contextmanager
def process_stand(folder: Path, loop: BackgroundLoop, mode: Mode, store: Path | None = None) -> Generator[ProcessStand]:
    """Run ingresses without Ray."""
    with broker_and_network(folder, loop, store) as (broker, network):
        stand = ProcessStand(broker, network, loop, folder, mode)
        try:
            stand.start()
            yield stand
        finally:
            stand.stop()
