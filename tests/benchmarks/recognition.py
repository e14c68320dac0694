"""What live transcription gets wrong, invents and costs, against transcribing the whole recording.

    uv run python -m tests.benchmarks.recognition

Real recordings (`tests/benchmarks/recordings.py`) are transcribed twice with the shipped models: whole, as audio files,
and live, as a microphone at real pace with voice activity, partial transcripts and turns. The audio ingress and the
services behind it run in this process, so that what is measured is theirs and the models'.

* Words wrong: substituted, left out or put in, of those said, numbers written out.
* Words invented in ten minutes of silence, noise, hum, tones and music, live and whole.
* Final transcript: from the end of the turn to the final transcript, against decoding the same utterances once they
  have ended, with the 30 s window that Whisper is made for and with the shorter one that is used here.
"""

import argparse
import asyncio
import json
import re
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bridges.generated.messages.v1 import messages_pb2
from bridges.live.ingress import AudioIngress
from bridges.sessions.epochs import SessionWork
from deployments.call import Call
from deployments.engines.audio_file import decode
from deployments.engines.hearing.silero import SileroVoiceActivity
from deployments.engines.hearing.smart_turn import SmartTurn
from deployments.engines.hearing.whisper import WhisperEngine
from deployments.inference.speech_to_text import SpeechToText
from deployments.listening.transcription import Transcription
from deployments.models.store import ModelStore
from deployments.settings.audio import AudioSettings
from deployments.values.sound import SPEECH_RATE, Samples, pcm_of, samples_of, wav_file
from deployments.values.speech import Recording, TranscriptQuality, TurnEnding, Utterance
from tests.benchmarks.archives import fetch
from tests.benchmarks.recordings import TABLE, SpokenText, default_folder, recordings
from tests.conversation.scene import Wire

CHUNK_S = 0.1
NUMBERS = "zero one two three four five six seven eight nine ten".split()
SILENCE_MINUTES = 10
_CALL_S = 600.0


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


class Bench:
    """The shipped models and the services around them."""

    def __init__(self) -> None:
        store = ModelStore.from_environment()
        self.engine = WhisperEngine(
            store.locate("whisper-base", "speech-to-text"), store.locate("whisper-tiny.en", "speech-to-text-partial")
        )
        self.activity = SileroVoiceActivity(store.locate_file("silero-vad", "voice-activity", "model.onnx"))
        turn = SmartTurn(store.locate_file("smart-turn-v3.2", "end-of-turn", "model.onnx"))
        self.service = SpeechToText(self.engine, self.activity, turn, decode, _CALL_S * 2)
        self.transcription = KeepingTranscription(self.service)
        self.finals = Finals()

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
        finals = " ".join(one.transcript for one in heard if one.is_final)
        return finals, [one.transcript for one in heard if one.is_partial]

    async def decode_at_end(self, pcm: bytes, window_s: int | None) -> float:
        """Return how long decoding an utterance takes once it has ended."""
        samples = samples_of(pcm)
        if window_s:
            samples = np.concatenate([samples, np.zeros(window_s * SPEECH_RATE - len(samples), np.float32)])
        began = time.monotonic()
        await self.engine.transcribe(Call.within(_CALL_S), samples, "", TranscriptQuality.FINAL)
        return time.monotonic() - began


def wordless(minutes: int) -> dict[str, Samples]:
    """Return sound of many kinds in which nobody speaks."""
    seconds = minutes * 60 / 6
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


async def measure(folder: Path, minutes: int) -> dict[str, Any]:
    bench = Bench()
    invented: dict[str, tuple[str, str]] = {}
    for name, sound in wordless(minutes).items():
        live, partials = await bench.live(sound, pace=0)
        invented[name] = (" ".join((live, *partials)).strip(), await bench.whole(sound))
        print(f"  {name}: {invented[name]}", file=sys.stderr)
    bench.transcription.concluded.clear()
    bench.finals.seconds.clear()
    sets: dict[str, Words] = defaultdict(Words)
    for spoken in recordings(folder):
        await _transcribe(bench, spoken, sets[spoken.set])
    utterances = bench.transcription.concluded
    at_end = {window: [await bench.decode_at_end(pcm, window) for pcm in utterances] for window in (30, None)}
    return {
        "sets": {name: vars(words) for name, words in sets.items()},
        "invented": invented,
        "final_s": bench.finals.seconds,
        "at_end_30_s": at_end[30],
        "at_end_s": at_end[None],
    }


async def _transcribe(bench: Bench, spoken: SpokenText, words: Words) -> None:
    said = words_of(spoken.text)
    whole = await bench.whole(spoken.samples)
    live, _ = await bench.live(spoken.samples, pace=1.0)
    words.said += len(said)
    words.whole += wrong_words(said, words_of(whole))
    words.live += wrong_words(said, words_of(live))
    print(f"  {spoken.name}\n    whole: {whole}\n    live:  {live}", file=sys.stderr)


def show(found: dict[str, Any]) -> None:
    total = Words()
    print(f"{'words wrong, %':<24}{'said':>6}{'whole':>8}{'live':>8}")
    for name, counts in [*found["sets"].items(), ("all", None)]:
        words = Words(**counts) if counts else total
        if counts:
            total = Words(total.said + words.said, total.whole + words.whole, total.live + words.live)
        shares = [100 * wrong / max(1, words.said) for wrong in (words.whole, words.live)]
        print(f"{name:<24}{words.said:>6}{shares[0]:>8.1f}{shares[1]:>8.1f}")
    lost = 100 * (total.live - total.whole) / max(1, total.said)
    print(f"live loses {lost:.1f} points (at most 2)")
    counts = [sum(len(words_of(texts[way])) for texts in found["invented"].values()) for way in (0, 1)]
    print(f"words invented where nobody speaks: {counts[0]} live, {counts[1]} whole (at most 0)")
    ours = statistics.median(found["final_s"])
    for title, key in (("the 30 s window", "at_end_30_s"), ("the shorter window", "at_end_s")):
        other = statistics.median(found[key])
        print(
            f"final transcript after the end of the turn: median {ours * 1000:.0f} ms, decoding it then with {title} "
            f"{other * 1000:.0f} ms, ratio {ours / other:.2f} (at most 0.5)"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=default_folder(), help="of recordings; default: %(default)s")
    parser.add_argument("--minutes", type=int, default=SILENCE_MINUTES, help="of sound in which nobody speaks")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args()
    for fault in fetch(TABLE, options.folder):
        print(f"left out: {fault}", file=sys.stderr)
    found = asyncio.run(measure(options.folder, options.minutes))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))
    show(found)


if __name__ == "__main__":
    main()
