"""What live transcription gets wrong, invents and costs, against transcribing the whole recording.

Real recordings (`tests/benchmarks/recordings.py`), or without them a sentence of a synthetic voice, are transcribed
twice with the shipped models: whole, as audio files, and live, as a microphone at real pace with voice activity,
partial transcripts and turns. The audio ingress and the services behind it run in this process, so that what is
measured is theirs and the models'.

* Words wrong: substituted, left out or put in, of those said, numbers written out.
* Words invented in silence, noise, hum, tones and music, live and whole.
* Final transcript: from the end of the turn to the final transcript, against decoding the same utterances once they
  have ended, with the 30 s window that Whisper is made for and with the shorter one that is used here.
"""

import asyncio
import re
import sys
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soxr

from bridges.generated.messages.v1 import messages_pb2
from bridges.live.ingress import AudioIngress
from bridges.sessions.epochs import SessionWork
from deployments.call import Call
from deployments.engines.audio_file import decode
from deployments.engines.hearing.silero import SileroVoiceActivity
from deployments.engines.hearing.whisper import WhisperEngine
from deployments.engines.speaking.hibari_speech import HibariSpeech
from deployments.inference.speech_to_text import SpeechToText
from deployments.listening.transcription import Transcription
from deployments.models.store import ModelStore
from deployments.settings.audio import AudioSettings
from deployments.values.sound import SPEECH_RATE, Samples, pcm_of, samples_of, wav_file
from deployments.values.speech import Recording, SpeechText, TranscriptQuality, TurnEnding, Utterance
from tests.benchmarks import shipped
from tests.benchmarks.archives import fetch
from tests.benchmarks.benchmark import Benchmark, Need, option
from tests.benchmarks.figures import Figure, at_most, milliseconds, percentile, plain, share
from tests.benchmarks.recordings import TABLE, SpokenText, default_folder, recordings
from tests.benchmarks.site import Site
from tests.conversation.scene import Wire
from tests.speaking import spoken_by

CHUNK_S = 0.1
NUMBERS = "zero one two three four five six seven eight nine ten".split()
WINDOW_S = 30
"""What Whisper is made for."""
SYNTHETIC = "The first ferry leaves the mainland in the morning."
NONE = at_most(0)
_CALL_S = 600.0


@dataclass(frozen=True)
class Options:
    recordings: bool = option(True, False, "whether real recordings are fetched; else one synthetic sentence is heard")
    folder: str = option("", "", "of the recordings; empty: one in the cache of this user")
    wordless_s: float = option(600.0, 3.0, "seconds of sound in which nobody speaks")
    pace: float = option(1.0, 8.0, "at which recordings are heard live, 1 as they are")


@dataclass
class Finals:
    """Notes how long final transcripts took."""

    seconds: list[float] = field(default_factory=list[float])

    def sessions(self, count: int) -> None: ...

    def tasks(self, count: int) -> None: ...

    def utterance_ended(self, outcome: str, seconds_to_final: float) -> None:
        self.seconds.append(seconds_to_final)

    def interrupted(self) -> None: ...


class KeepingTranscription(Transcription):
    """Keeps the utterances that were concluded."""

    def __init__(self, speech_to_text: SpeechToText) -> None:
        super().__init__(speech_to_text)
        self.concluded: list[bytes] = []

    async def conclude(self, call: Call, utterance: Utterance, judge_turn: bool) -> TurnEnding:
        conclusion = await super().conclude(call, utterance, judge_turn)
        self.concluded.append(utterance.pcm)
        return conclusion


@dataclass
class Words:
    """Words of a set: how many were said, and how many are wrong in each way of transcribing."""

    said: int = 0
    whole: int = 0
    live: int = 0


def words_of(text: str) -> list[str]:
    """Return the words of a text as they are compared: small letters, no marks, numbers written out."""
    spelled = re.sub(r"\d", lambda digit: f" {NUMBERS[int(digit[0])]} ", text.lower().replace("10", " ten "))
    return re.sub(r"[^a-z' ]", " ", spelled).replace("'", "").replace("mister", "mr").split()


def wrong_words(said: Sequence[str], heard: Sequence[str]) -> int:
    """Return the least number of words to change, leave out and put in that turn one into the other."""
    row = list(range(len(heard) + 1))
    for at, word in enumerate(said, 1):
        before, row[0] = row[0], at
        for column, other in enumerate(heard, 1):
            before, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, before + (word != other))
    return row[-1]


@dataclass(frozen=True)
class Bench:
    """The shipped models and the services around them."""

    engine: WhisperEngine
    activity: SileroVoiceActivity
    service: SpeechToText
    transcription: KeepingTranscription
    finals: Finals = field(default_factory=Finals)

    async def whole(self, samples: Samples) -> str:
        recording = Recording(wav_file(pcm_of(samples), SPEECH_RATE))
        return (await self.service.transcribe_recording(Call.within(_CALL_S), recording)).text

    async def live(self, samples: Samples, pace: float) -> tuple[str, list[str]]:
        """Return the final transcripts, joined, and the partial ones."""
        wire = Wire()
        settings = AudioSettings(max_backlog_s=_CALL_S * 2)
        ingress = AudioIngress(settings, self.transcription, self.activity, SessionWork(), self.finals)
        running = asyncio.create_task(ingress.run())
        await ingress.connect(wire)
        began = time.monotonic()
        pcm = pcm_of(np.concatenate([samples, np.zeros(2 * SPEECH_RATE, np.float32)]))
        size = 2 * int(CHUNK_S * SPEECH_RATE)
        for at in range(0, len(pcm), size):
            chunk = messages_pb2.STTStreamMessage(type="chunk", audio=pcm[at : at + size])
            await wire.publish("ai.voice.stream.s", chunk.SerializeToString())
            wait = began + (at + size) / 2 / SPEECH_RATE / pace - time.monotonic() if pace else 0.0
            await asyncio.sleep(max(0.0, wait))
        ended = asyncio.Event()

        async def over(_: object) -> None:
            ended.set()

        await wire.subscribe("_INBOX.end", cb=over)
        end = messages_pb2.STTStreamMessage(type="end").SerializeToString()
        await wire.publish("ai.voice.stream.s", end, "_INBOX.end")
        await asyncio.wait_for(ended.wait(), _CALL_S)
        ingress.stop()
        await running
        heard = [sent.read(messages_pb2.STTTranscription) for sent in wire.on("ai.voice.transcription.s")]
        said = " ".join(one.transcript for one in heard if one.is_final)
        return said, [one.transcript for one in heard if one.is_partial]

    async def decode_at_end(self, pcm: bytes, window_s: int = 0) -> float:
        """Return how long decoding an utterance takes once it has ended, in a window of its length or a longer one."""
        samples = samples_of(pcm)
        if window_s:
            samples = np.concatenate([samples, np.zeros(window_s * SPEECH_RATE - len(samples), np.float32)])
        began = time.monotonic()
        await self.engine.transcribe(Call.within(_CALL_S), samples, "", TranscriptQuality.FINAL)
        return time.monotonic() - began


@asynccontextmanager
async def bench() -> AsyncGenerator[Bench]:
    """Load the models, for as long as the block lasts."""
    store = ModelStore.from_environment()
    engine, turn = shipped.whisper(store, partial=True), shipped.end_of_turn(store)
    activity = shipped.voice_activity(store)
    service = SpeechToText(engine, activity, turn, decode, _CALL_S * 2)
    try:
        yield Bench(engine, activity, service, KeepingTranscription(service))
    finally:
        await engine.close()
        await turn.close()


def wordless(seconds_in_all: float) -> dict[str, Samples]:
    """Return sound of six kinds in which nobody speaks, so many seconds in all."""
    seconds = seconds_in_all / 6
    length = int(seconds * SPEECH_RATE)
    noise = np.random.default_rng(5)
    at = np.arange(length) / SPEECH_RATE
    white = noise.normal(0, 0.1, length)
    brown = np.cumsum(noise.normal(0, 1, length))
    brown -= np.convolve(brown, np.ones(1600) / 1600, "same")
    notes = 110 * 2 ** (np.array([0, 3, 7, 10, 12, 15, 19, 12]) / 12)
    melody = np.repeat(np.resize(notes, int(seconds * 4) + 1), SPEECH_RATE // 4)[:length]
    phase = 2 * np.pi * np.cumsum(melody) / SPEECH_RATE
    envelope = np.exp(-4 * (at * 4 % 1))
    music = envelope * sum(np.sin(phase * harmonic) / harmonic for harmonic in range(1, 8))
    music += noise.normal(0, 0.3, length) * np.exp(-30 * (at * 2 % 1))
    kinds = {
        "silence": np.zeros(length),
        "white noise": white,
        "rumble": brown / np.abs(brown).max() * 0.5,
        "hum": 0.2 * np.sign(np.sin(2 * np.pi * 50 * at)) + 0.01 * white,
        "tones": 0.3 * np.sin(2 * np.pi * 440 * at) * (at % 2 < 1),
        "music": music / np.abs(music).max() * 0.7,
    }
    return {name: sound.astype(np.float32) for name, sound in kinds.items()}


async def texts_of(options: Options) -> Iterable[SpokenText]:
    """Return what is to be heard."""
    if not options.recordings:
        engine = HibariSpeech()
        spoken = await spoken_by(engine, SpeechText(SYNTHETIC))
        await engine.close()
        samples = soxr.resample(samples_of(spoken.pcm), spoken.rate, SPEECH_RATE)
        return [SpokenText("synthetic", "hibari", samples, SYNTHETIC)]
    folder = Path(options.folder) if options.folder else default_folder()
    for fault in await asyncio.to_thread(fetch, TABLE, folder):
        print(f"left out: {fault}", file=sys.stderr)
    return recordings(folder)


async def measure(options: Options) -> list[Figure]:
    async with bench() as models:
        invented: dict[str, tuple[str, str]] = {}
        for name, sound in wordless(options.wordless_s).items():
            live, partials = await models.live(sound, pace=0)
            invented[name] = (" ".join((live, *partials)).strip(), await models.whole(sound))
            print(f"  {name}: {invented[name]}", file=sys.stderr)
        models.transcription.concluded.clear()
        models.finals.seconds.clear()
        sets: dict[str, Words] = defaultdict(Words)
        for spoken in await texts_of(options):
            await _transcribe(models, spoken, sets[spoken.set], options.pace)
        utterances = models.transcription.concluded
        at_end = [await models.decode_at_end(pcm) for pcm in utterances]
        in_window = [await models.decode_at_end(pcm, WINDOW_S) for pcm in utterances]
        return [*of_words(sets, list(invented.values())), *of_times(models.finals.seconds, in_window, at_end)]


async def _transcribe(models: Bench, spoken: SpokenText, words: Words, pace: float) -> None:
    said = words_of(spoken.text)
    whole = await models.whole(spoken.samples)
    live, _ = await models.live(spoken.samples, pace)
    words.said += len(said)
    words.whole += wrong_words(said, words_of(whole))
    words.live += wrong_words(said, words_of(live))
    print(f"  {spoken.name}\n    whole: {whole}\n    live:  {live}", file=sys.stderr)


def of_words(sets: Mapping[str, Words], invented: Sequence[tuple[str, str]]) -> list[Figure]:
    """Return how many words are wrong, by set and in all, and how many are invented."""
    total = Words()
    for words in sets.values():
        total = Words(total.said + words.said, total.whole + words.whole, total.live + words.live)
    found: list[Figure] = []
    for name, words in (*sets.items(), ("all", total)):
        found.append(share(f"{name}: words wrong in files", words.whole, words.said))
        found.append(share(f"{name}: words wrong live", words.live, words.said))
    lost = 100 * (total.live - total.whole) / max(1, total.said)
    return [
        *found,
        plain("live loses, points", lost, "%", at_most(2)),
        *(
            plain(
                f"words invented where nobody speaks, {way}", sum(len(words_of(one[at])) for one in invented), "", NONE
            )
            for at, way in enumerate(("live", "in files"))
        ),
    ]


def of_times(finals: Sequence[float], in_window: Sequence[float], at_end: Sequence[float]) -> list[Figure]:
    """Return how soon final transcripts are there, against decoding once the utterances have ended."""
    found = [milliseconds("final transcript after the end of the turn", finals)]
    for title, seconds in (("the 30 s window", in_window), ("the shorter window", at_end)):
        found.append(milliseconds(f"decoding at the end of the turn with {title}", seconds))
        ours, theirs = percentile(finals, 50), percentile(seconds, 50)
        if ours is not None and theirs:
            found.append(plain(f"the former to decoding with {title}, medians", ours / theirs, "", at_most(0.5)))
    return found


def run(options: Options, site: Site) -> list[Figure]:
    del site
    return asyncio.run(measure(options))


BENCHMARK = Benchmark(
    "recognition", __doc__, takes="ten minutes", needs=(Need.MODELS, Need.RECORDINGS), options=Options, run=run
)

if __name__ == "__main__":
    BENCHMARK.main()
