"""Whether amounts, dates, times, numbers, units and addresses are heard as they are meant.

Each sentence of `spoken_forms.tsv` is spoken twice by the shipped voice: in the words of the table, which are those
that Hearth puts it into, and as it is written, so that the voice's own rules say it. A Whisper that knows nothing of
either listens. A sentence is heard where its transcript says the same; numbers count the same in digits and in words.
"""

import asyncio
import csv
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import soxr

from deployments.call import Call
from deployments.engines.hearing.whisper import WhisperEngine
from deployments.engines.speaking.hibari_speech import HibariSpeech
from deployments.models.store import ModelStore
from deployments.text.spoken_forms import spoken_words
from deployments.values.sound import SPEECH_RATE, samples_of
from deployments.values.speech import SpeechText, TranscriptQuality
from tests.benchmarks import shipped
from tests.benchmarks.benchmark import Benchmark, Need, option
from tests.benchmarks.figures import Figure, at_least, share
from tests.benchmarks.site import Site
from tests.speaking import spoken_by

_TABLE = Path(__file__).with_suffix(".tsv")
_CALL_S = 60.0
_SAME = {
    "oh": "zero",
    "o": "zero",
    "metres": "meters",
    "litres": "liters",
    "litre": "liter",
    "dr": "doctor",
    "vs": "versus",
}
_LEFT_OUT = frozenset(["and", "a", "an", "the", "of", "o'clock", "point"])


@dataclass(frozen=True, slots=True)
class SpokenForm:
    """A row of the table."""

    kind: str
    written: str
    spoken: str


@dataclass(frozen=True)
class Options:
    sentences: int = option(1000, 2, "how many of the table at most")


def table() -> list[SpokenForm]:
    """Return all rows."""
    with _TABLE.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [SpokenForm(row["kind"], row["written"], row["spoken"]) for row in rows]


def words_of(text: str) -> list[str]:
    """Return the words that count, numbers written out: what is meant, and not how it is spelled."""
    said = " ".join(word.spoken for word in spoken_words(text, "en")).lower()
    words = re.sub(r"[^a-z0-9' ]", " ", said).split()
    return [_SAME.get(word, word) for word in words if word not in _LEFT_OUT]


def is_heard(said: str, heard: str) -> bool:
    """Say whether the words of one are those of the other, however they are joined."""
    return "".join(words_of(said)) == "".join(words_of(heard))


async def measure(rows: Sequence[SpokenForm]) -> list[Figure]:
    engine = shipped.whisper(ModelStore.from_environment(), partial=False)
    voice = HibariSpeech()
    as_words = 0
    as_written = 0
    for row in rows:
        heard, heard_of_written = [await _heard(engine, voice, text) for text in (row.spoken, row.written)]
        as_words += is_heard(row.spoken, heard)
        as_written += is_heard(row.spoken, heard_of_written)
        if not is_heard(row.spoken, heard):
            print(
                f"{row.kind:<12} {row.spoken!r}\n    heard {heard!r}\n    as written {heard_of_written!r}",
                file=sys.stderr,
            )
    await voice.close()
    await engine.close()
    return [
        share("sentences heard, in the words that Hearth puts them into", as_words, len(rows), at_least(80)),
        share("sentences heard, as they are written", as_written, len(rows)),
    ]


async def _heard(engine: WhisperEngine, voice: HibariSpeech, text: str) -> str:
    spoken = await spoken_by(voice, SpeechText(text))
    samples = soxr.resample(samples_of(spoken.pcm), spoken.rate, SPEECH_RATE)
    return (await engine.transcribe(Call.within(_CALL_S), samples, "en", TranscriptQuality.FINAL)).text


def run(options: Options, site: Site) -> list[Figure]:
    del site
    return asyncio.run(measure(table()[: options.sentences]))


BENCHMARK = Benchmark("spoken_forms", __doc__, takes="three minutes", needs=(Need.MODELS,), options=Options, run=run)

if __name__ == "__main__":
    BENCHMARK.main()
