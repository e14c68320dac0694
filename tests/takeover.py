"""What becomes of live sessions when their replica is killed, stands still for some seconds, or is told to leave.

    uv run python -m tests.takeover
    uv run python -m tests.takeover --rounds 2 --sessions 6 --how killed
    uv run python -m tests.takeover --spoken --sessions 3 --how killed

Three processes share the sessions over a real NATS server. In each round somebody speaks three sentences into every
session, each at another moment, and one process is killed meanwhile. Its sessions count: whether each sentence was
transcribed whole and once, and when the first transcript came after the kill. The words are square waves that are read
without a model, so what is missing or doubled is the work of the replicas, and not of a recogniser. With `--spoken` a
synthetic voice says them, and the shipped models listen.
"""

import argparse
import asyncio
import re
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import soxr
from nats.aio.client import Client
from nats.aio.msg import Msg

from bridges.generated.hearth.v1 import audio_pb2
from bridges.generated.messages.v1 import messages_pb2
from deployments.engines.speaking.hibari_speech import HibariSpeech
from deployments.values.sound import SPEECH_RATE, pcm_of, samples_of
from deployments.values.speech import SpeechText
from tests.conversation.scene import square_voice, words_said
from tests.nats_client import nats_connected
from tests.servers import nats_server
from tests.speaking import spoken_by

SENTENCES = ("good morning to you all", "the remote site keeps every snapshot", "that is all for now")
REPLICAS = 3
CHUNK_S = 0.02
CHUNK_BYTES = int(32_000 * CHUNK_S)
PAUSE_S = 1.6
STAGGER_S = 2.0
PAUSED_S = 4.5
HOWS = ("killed", "stopped for 4.5 s", "told to leave")
_READY_S = 30.0
_DECIDED_S = 3.0
_ENDS_WITHIN_S = 20.0


@dataclass(frozen=True)
class Outcome:
    """What became of one session whose replica was killed.

    Attributes:
        how: What was done to its replica.
        said_s: Seconds since the beginning of its sound when that was done.
        taken_over_s: Seconds until another replica told that it has the session; None for never.
        goes_on_s: Seconds until the first transcript; None for never.
        is_whole: Whether each sentence has a final transcript with all of its words.
        doubled: Final transcripts that were published twice, and sequence numbers that were.
        finals: The final transcripts.
    """

    how: str
    said_s: float
    taken_over_s: float | None
    goes_on_s: float | None
    is_whole: bool
    doubled: int
    finals: tuple[str, ...]


@dataclass
class Observed:
    """What was published of sessions, and when.

    Attributes:
        owners: By session, who told last that it has it, and when that changed.
        transcripts: By session.
    """

    owners: dict[str, list[tuple[float, str]]] = field(default_factory=dict[str, list[tuple[float, str]]])
    transcripts: dict[str, list[tuple[float, messages_pb2.STTTranscription]]] = field(
        default_factory=dict[str, list[tuple[float, messages_pb2.STTTranscription]]]
    )

    async def heard_replica(self, message: Msg) -> None:
        told = audio_pb2.AudioReplica.FromString(message.data)
        for session in (*told.changed, *told.all.sessions):
            known = self.owners.setdefault(session.session_id, [])
            if not known or known[-1][1] != told.replica:
                known.append((now(), told.replica))

    async def heard_transcript(self, message: Msg) -> None:
        transcript = messages_pb2.STTTranscription.FromString(message.data)
        self.transcripts.setdefault(transcript.session_id, []).append((now(), transcript))

    def finals(self, session_id: str) -> list[str]:
        return [one.transcript for _, one in self.transcripts.get(session_id, []) if one.is_final and one.transcript]

    def outcome(self, session_id: str, how: str, done_at: float, began_at: float) -> Outcome:
        """Return what became of a session whose replica was done something to."""
        transcripts = self.transcripts.get(session_id, [])
        finals = self.finals(session_id)
        numbers = [one.sequence for _, one in transcripts]
        return Outcome(
            how,
            done_at - began_at,
            next((at - done_at for at, _ in self.owners[session_id] if at > done_at), None),
            next((at - done_at for at, _ in transcripts if at > done_at), None),
            _words(SENTENCES) == _words(finals) and len(finals) == len(SENTENCES),
            sum(after <= before for before, after in pairwise(numbers)) + len(finals) - len(set(finals)),
            tuple(finals),
        )


def now() -> float:
    return asyncio.get_running_loop().time()


class Processes:
    """The processes that listen.

    Args:
        url: Of the NATS server.
        running: Ends those that are left.
        spoken: Whether they listen with the shipped models.
    """

    def __init__(self, url: str, running: AsyncExitStack, *, spoken: bool) -> None:
        self._url = url
        self._spoken = spoken
        self._running = running
        self._started = 0
        self.by_name: dict[str, asyncio.subprocess.Process] = {}

    async def fill(self) -> None:
        """Start as many as are missing, and return when they share the work."""
        missing = REPLICAS - len(self.by_name)
        await asyncio.gather(*(self._start() for _ in range(missing)))
        if missing:
            # Until one of them is the dispatcher of the others, and no longer everyone hears everything.
            await asyncio.sleep(_DECIDED_S)

    async def do(self, how: str, name: str) -> None:
        """Do something to a process. One that ends is forgotten."""
        process = self.by_name[name]
        if how == HOWS[1]:
            process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(PAUSED_S)
            process.send_signal(signal.SIGCONT)
            return
        del self.by_name[name]
        process.send_signal(signal.SIGTERM if how == HOWS[2] else signal.SIGKILL)
        await asyncio.wait_for(process.wait(), _ENDS_WITHIN_S)

    async def _start(self) -> None:
        self._started += 1
        name = f"replica-{self._started}"
        # Its words are known from then on.
        square_waves()
        process = await self._running.enter_async_context(
            _process(self._url, name, "" if self._spoken else words_said())
        )
        self.by_name[name] = process


@asynccontextmanager
async def _process(url: str, name: str, words: str) -> AsyncGenerator[asyncio.subprocess.Process]:
    command = (sys.executable, "-m", "tests.integration.audio_process", url, name, words)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(_READY_S):
            assert await process.stdout.readline() == b"ready\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def square_waves() -> bytes:
    """Return the three sentences with their pauses, as PCM."""
    pause = bytes(2 * int(16_000 * PAUSE_S))
    return b"".join(square_voice(sentence) + pause for sentence in SENTENCES)


async def voice() -> bytes:
    """Return the same as a synthetic voice says it."""
    speech, pieces = HibariSpeech(), list[bytes]()
    for sentence in SENTENCES:
        said = await spoken_by(speech, SpeechText(f"{sentence.capitalize()}."))
        pieces += [
            pcm_of(soxr.resample(samples_of(said.pcm), said.rate, SPEECH_RATE)),
            bytes(2 * int(16_000 * PAUSE_S)),
        ]
    return b"".join(pieces)


async def speak(client: Client, session_id: str, pcm: bytes, after_s: float) -> float:
    """Speak into a session at the pace of speech; return when that began, on the loop's clock."""
    await asyncio.sleep(after_s)
    subject, began = f"ai.voice.stream.{session_id}", now()
    await client.publish(subject, messages_pb2.STTStreamMessage(type="start").SerializeToString())
    for number, at in enumerate(range(0, len(pcm), CHUNK_BYTES)):
        await asyncio.sleep(max(0.0, began + number * CHUNK_S - now()))
        chunk = messages_pb2.STTStreamMessage(type="chunk", audio=pcm[at : at + CHUNK_BYTES])
        await client.publish(subject, chunk.SerializeToString())
    await client.publish(subject, messages_pb2.STTStreamMessage(type="end").SerializeToString())
    return began


async def takeovers(
    url: str, how: str = HOWS[0], rounds: int = 10, sessions: int = 12, *, spoken: bool = False
) -> list[Outcome]:
    """Do something to one of three replicas in each round, and return what became of its sessions.

    Args:
        url: Of a NATS server that nobody else uses for live sessions.
        how: One of `HOWS`.
        rounds: How often.
        sessions: That are spoken into in each round; about a third of them are those of the replica.
        spoken: Whether a synthetic voice speaks, and the shipped models listen.
    """
    pcm = await voice() if spoken else square_waves()
    outcomes: list[Outcome] = []
    async with AsyncExitStack() as running:
        client = await running.enter_async_context(await nats_connected(url))
        processes = Processes(url, running, spoken=spoken)
        for number in range(rounds):
            await processes.fill()
            # Spread over the second sentence, and a moment of either side of it.
            after_s = 2.0 + STAGGER_S + 3.0 * number / rounds
            outcomes += await _round(client, processes, pcm, how, number, sessions, after_s)
    return outcomes


async def _round(
    client: Client, processes: Processes, pcm: bytes, how: str, number: int, sessions: int, after_s: float
) -> list[Outcome]:
    observed = Observed()
    heard = [
        await client.subscribe("hearth.audio.replicas", cb=observed.heard_replica),
        await client.subscribe("ai.voice.transcription.*", cb=observed.heard_transcript),
    ]
    names = [f"{how.replace(' ', '-').replace('.', '-')}-{number}-{one}" for one in range(sessions)]
    speaking = [
        asyncio.create_task(speak(client, name, pcm, STAGGER_S * at / sessions)) for at, name in enumerate(names)
    ]
    await asyncio.sleep(after_s)
    owners = {name: observed.owners[name][-1][1] for name in names}
    # The one with the most sessions, in turn with the others as names change.
    victim = max(processes.by_name, key=lambda name: sum(owner == name for owner in owners.values()))
    done_at = now()
    await processes.do(how, victim)
    began = await asyncio.gather(*speaking)
    await _until_all_is_told(observed, names)
    for subscription in heard:
        await subscription.unsubscribe()
    return [
        observed.outcome(name, how, done_at, began_at)
        for name, began_at in zip(names, began, strict=True)
        if owners[name] == victim
    ]


async def _until_all_is_told(observed: Observed, names: Sequence[str]) -> None:
    """Return once the last sentence of each session is there, and a moment later; after 4 s at the latest."""
    until = now() + 4.0
    while now() < until and any(len(observed.finals(name)) < len(SENTENCES) for name in names):  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0.05)
    await asyncio.sleep(1.0)


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the outcomes in words, a line for each way in which a replica ended."""
    lines: list[str] = []
    for how in HOWS:
        found = [one for one in outcomes if one.how == how]
        if not found:
            continue
        whole = sum(one.is_whole for one in found)
        lines.append(
            f"{how}: {len(found)} sessions, {whole} whole ({whole / len(found):.0%}), "
            f"{sum(one.doubled for one in found)} doubled messages, "
            f"taken over after {_seconds([one.taken_over_s for one in found])}, "
            f"first transcript after {_seconds([one.goes_on_s for one in found])}"
        )
        lines += [f"  after {one.said_s:.2f} s of sound: {list(one.finals)}" for one in found if not one.is_whole]
    return "\n".join(lines)


def _words(texts: Sequence[str]) -> list[str]:
    return re.findall(r"[\w-]+", " ".join(texts).lower())


def _seconds(found: Sequence[float | None]) -> str:
    there = sorted(one for one in found if one is not None)
    if not there:
        return "no time"
    missing = f", never in {len(found) - len(there)}" if len(there) < len(found) else ""
    return f"{there[len(there) // 2]:.2f} s (median; at most {there[-1]:.2f} s{missing})"


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10, help="how often a replica is killed; 10 unless given")
    parser.add_argument("--sessions", type=int, default=12, help="in each round; 12 unless given")
    parser.add_argument("--how", choices=HOWS, action="append", help="what is done to it; all unless given")
    parser.add_argument("--spoken", action="store_true", help="a synthetic voice, and the shipped models")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, nats_server(Path(folder)) as url:
        for how in arguments.how or HOWS:
            outcomes = await takeovers(url, how, arguments.rounds, arguments.sessions, spoken=arguments.spoken)
            print(table(outcomes), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
