"""The faults: how each is made, and what it breaks."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.killable import may_mount
from tests.faults.stand import Part, Stand

AWAY_S = 2.0
"""How long a server is away before it is started again."""
SLOW_S, SLOW_BYTES_PER_S = 0.3, 50_000.0


@dataclass(frozen=True)
class Fault:
    """A fault.

    Attributes:
        name: What the command line calls it.
        about: What happens, in words.
        make: Makes it, and mends what nothing else mends. What is not killed is broken for the seconds that are given.
        nodes: How many Ray nodes it takes; 0 where it takes no Ray.
        cuts_clients: Whether clients lose their connection, too. They then ask again what has a request id, so
            greetings, which have none, are not asked.
        small_disk: Whether the store of NATS is on a small disk of its own.
        why_not: Returns why it cannot be made on this machine; empty where it can.
    """

    name: str
    about: str
    make: Callable[[Stand, float], None]
    nodes: int = 1
    cuts_clients: bool = False
    small_disk: bool = False
    why_not: Callable[[], str] = lambda: ""


def _killed(part: Part) -> Callable[[Stand, float], None]:
    def make(stand: Stand, seconds: float) -> None:
        del seconds
        stand.kill(part)
        time.sleep(AWAY_S)
        stand.mend(part)

    return make


def _ingress_killed(stand: Stand, seconds: float) -> None:
    del seconds
    stand.kill(Part.INGRESS)
    stand.mend(Part.INGRESS)


def _nats_killed(stand: Stand, seconds: float) -> None:
    del seconds
    stand.broker.kill()
    time.sleep(AWAY_S)
    stand.broker.start()


def _nats_store_lost(stand: Stand, seconds: float) -> None:
    del seconds
    stand.broker.kill()
    stand.broker.lose_store()
    time.sleep(AWAY_S)
    stand.broker.start()


def _network_slow(stand: Stand, seconds: float) -> None:
    stand.loop.run(stand.network.slow(SLOW_S, SLOW_BYTES_PER_S))
    try:
        time.sleep(seconds)
    finally:
        stand.loop.run(stand.network.slow(0.0, 0.0))


def _network_cut(stand: Stand, seconds: float) -> None:
    stand.loop.run(stand.network.cut())
    try:
        time.sleep(seconds)
    finally:
        stand.loop.run(stand.network.open())


def _network_silent(stand: Stand, seconds: float) -> None:
    stand.loop.run(stand.network.silence())
    try:
        time.sleep(seconds)
    finally:
        stand.loop.run(stand.network.speak())


def _disk_full(stand: Stand, seconds: float) -> None:
    filler = stand.broker.fill_disk()
    try:
        time.sleep(seconds)
    finally:
        filler.unlink()
    # NATS turns JetStream off over a full disk, and on again with its next start.
    stand.broker.stop()
    stand.broker.start()


def _no_mount() -> str:
    return "" if may_mount() else "it takes the right to mount a small file system, which this user has not"


FAULTS: tuple[Fault, ...] = (
    Fault("ingress", "SIGKILL of an ingress's process; another one runs", _ingress_killed, nodes=0),
    Fault("chat", "SIGKILL of the only Chat replica", _killed(Part.CHAT)),
    Fault("retrieval", "SIGKILL of the only Retrieval replica", _killed(Part.RETRIEVAL)),
    Fault("language-model", "SIGKILL of the only replica of the language model", _killed(Part.LANGUAGE_MODEL)),
    Fault("embeddings", "SIGKILL of the only replica of the embeddings", _killed(Part.EMBEDDINGS)),
    Fault("reranker", "SIGKILL of the only replica of the reranker", _killed(Part.RERANKER)),
    Fault("speech-to-text", "SIGKILL of the only replica of speech to text", _killed(Part.SPEECH_TO_TEXT)),
    Fault("text-to-speech", "SIGKILL of the only replica of text to speech", _killed(Part.TEXT_TO_SPEECH)),
    Fault("controller", "SIGKILL of Serve's controller", _killed(Part.CONTROLLER)),
    Fault("raylet", "SIGKILL of the second node's raylet; the first node stays", _killed(Part.RAYLET), nodes=2),
    Fault("node", "SIGKILL of everything on the second node; the first stays", _killed(Part.NODE), nodes=2),
    Fault("nats", f"SIGKILL of the NATS server, away for {AWAY_S:g} s", _nats_killed, nodes=0, cuts_clients=True),
    Fault("nats-store", "the same, and its store is gone", _nats_store_lost, nodes=0, cuts_clients=True),
    Fault("milvus", f"SIGKILL of Milvus, away for {AWAY_S:g} s", _killed(Part.MILVUS)),
    Fault(
        "slow",
        f"the network to NATS delays by {SLOW_S:g} s and takes {SLOW_BYTES_PER_S / 1000:g} kB/s for a while",
        _network_slow,
        nodes=0,
    ),
    Fault("cut", "Hearth's connections to NATS are cut and refused for a while", _network_cut, nodes=0),
    Fault("silent", "Hearth's connections to NATS pass nothing on for a while", _network_silent, nodes=0),
    Fault(
        "disk-full",
        "the disk of the NATS store is full for a while; then NATS is started anew",
        _disk_full,
        nodes=0,
        cuts_clients=True,
        small_disk=True,
        why_not=_no_mount,
    ),
)
