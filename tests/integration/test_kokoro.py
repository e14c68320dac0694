"""Kokoro with its real model, whose only voices here are Japanese, made to speak English."""

import asyncio
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr

from bridges.command_line.local.model_download import ModelFetcher
from deployments.call import Call
from deployments.engines.hearing.whisper import WhisperEngine
from deployments.engines.speaking.kokoro_speech import KokoroSpeech
from deployments.engines.speech_engines import text_to_speech_engine
from deployments.errors import UnavailableError
from deployments.graph.foreign import ForeignDeployment
from deployments.models.manifest import Manifest
from deployments.models.store import ModelStore
from deployments.settings.speech_models import TextToSpeechSettings
from deployments.values.sound import SPEECH_RATE, level_of, samples_of
from deployments.values.speech import SpeechText, TranscriptQuality
from tests.refusals import refused
from tests.speaking import spoken_by


@pytest.fixture(scope="module")
def folder(models: ModelStore) -> Path:
    manifest = Manifest.load()
    ModelFetcher(manifest, models).fetch(manifest.model("kokoro"), lambda _: None)
    return models.folder / "kokoro"


@pytest.fixture(scope="module")
def kokoro(folder: Path) -> Generator[KokoroSpeech]:
    engine = KokoroSpeech(folder, voices=("jm_kumo", "jf_alpha"), language="en-us", threads=2)
    yield engine
    asyncio.run(engine.close())


async def test_what_it_says_is_heard_as_it_is_written(kokoro: KokoroSpeech, models: ModelStore) -> None:
    text = "When you have opened the door, turn the key twice to the left."
    spoken = await spoken_by(kokoro, SpeechText(text, voice="jf_alpha"))
    assert (spoken.rate, spoken.text) == (24_000, text)
    assert [word.word for word in spoken.words] == text.split()
    whisper = WhisperEngine(models.locate("whisper-base", "speech-to-text"), None)
    samples = soxr.resample(samples_of(spoken.pcm), spoken.rate, SPEECH_RATE).astype(np.float32)
    heard = (await whisper.transcribe(Call.within(60), samples, "en", TranscriptQuality.FINAL)).text
    await whisper.close()
    words = re.findall(r"\w+", heard.lower())
    wrong = set(re.findall(r"\w+", text.lower())) - set(words)
    assert len(wrong) <= 1, heard


async def test_every_voice_is_as_loud_as_the_others_and_sentences_are_set_apart(kokoro: KokoroSpeech) -> None:
    assert [(voice.name, voice.language, voice.kind) for voice in kokoro.voices] == [
        ("jm_kumo", "en", "kokoro"),
        ("jf_alpha", "en", "kokoro"),
    ]
    for voice in kokoro.voices:
        samples = samples_of((await spoken_by(kokoro, SpeechText("Good morning, everybody.", voice=voice.name))).pcm)
        assert 0.03 < level_of(samples) < 0.08
        assert level_of(samples[-4800:]) == 0.0


async def test_the_same_text_always_sounds_the_same(kokoro: KokoroSpeech) -> None:
    first, again = [await spoken_by(kokoro, SpeechText("Hello there.", voice="jf_alpha")) for _ in range(2)]
    assert first.pcm == again.pcm


@pytest.mark.parametrize("text", ["", "...", "\u200b"])
async def test_what_has_no_phonemes_is_no_sound(kokoro: KokoroSpeech, text: str) -> None:
    assert (await spoken_by(kokoro, SpeechText(text, voice="jf_alpha"))).pcm == b""


class Breaking:
    """A model that fails until it is mended."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.is_broken = True
        self.tokenizer = model.tokenizer

    def create(self, *given: Any, **named: Any) -> Any:
        if self.is_broken:
            raise RuntimeError("the card is gone")
        return self.model.create(*given, **named)


async def test_a_model_that_fails_is_unavailable_until_it_runs_again(
    kokoro: KokoroSpeech, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Breaking(kokoro._kokoro)
    monkeypatch.setattr(kokoro, "_kokoro", broken)
    await kokoro.check()
    with pytest.raises(RuntimeError):
        await spoken_by(kokoro, SpeechText("Hello.", voice="jf_alpha"))
    with pytest.raises(UnavailableError):
        await kokoro.check()
    broken.is_broken = False
    await kokoro.check()


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"voices": ["af_heart"]}, "engine.voices"),
        # espeak-ng makes none of the phonemes that the model learned Japanese with.
        ({"voices": ["jf_alpha"]}, "engine.language"),
        ({}, "engine.language"),
        ({"language": "en-us", "device": "cuda"}, "engine.device"),
    ],
)
def test_what_cannot_be_spoken_is_refused_by_the_name_of_the_setting(
    folder: Path, given: dict[str, Any], field: str
) -> None:
    engine = {"kind": "kokoro", "model": str(folder), **given}
    with refused(UnavailableError, field=field):
        text_to_speech_engine(TextToSpeechSettings.model_validate({"engine": engine}), ForeignDeployment)


def test_a_folder_without_voices_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "model.onnx").symlink_to(folder / "model.onnx")
    with refused(UnavailableError, field="engine.model"):
        KokoroSpeech(tmp_path / "half", language="en-us")
