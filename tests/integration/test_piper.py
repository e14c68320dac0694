"""Piper with a real voice, out of the folder of the models."""

import json
from collections.abc import Generator
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from bridges.command_line.local.model_download import ModelFetcher
from deployments.call import Call
from deployments.engines.speaking.piper_speech import PiperSpeech
from deployments.engines.speaking.split_vits import SplitVits, open_vits
from deployments.engines.speaking.voice_folder import VoiceFiles
from deployments.engines.speech_engines import text_to_speech_engine, voice_folder
from deployments.errors import UnavailableError
from deployments.graph.foreign import ForeignDeployment
from deployments.inference.text_to_speech import TextToSpeech
from deployments.models.manifest import Manifest
from deployments.models.store import ModelStore
from deployments.settings.speech_models import TextToSpeechSettings
from deployments.values.sound import level_of, samples_of
from deployments.values.speech import SpeechText, SpokenChunk, VoiceInfo
from tests.refusals import refused
from tests.speaking import chunks_of

SETTINGS = TextToSpeechSettings.model_validate({"engine": {"kind": "hibari"}})


@pytest.fixture(scope="module")
def service(models: ModelStore, monkeypatch_module: pytest.MonkeyPatch) -> TextToSpeech:
    manifest = Manifest.load()
    ModelFetcher(manifest, models).fetch(manifest.model("joe"), lambda _: None)
    monkeypatch_module.setenv("HEARTH_MODELS", str(models.folder))
    return TextToSpeech(text_to_speech_engine(SETTINGS, ForeignDeployment), voice_folder(SETTINGS))


@pytest.fixture(scope="module")
def monkeypatch_module() -> Generator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def piper_files(service: TextToSpeech, models: ModelStore) -> VoiceFiles:
    del service
    model = models.folder / "joe" / "joe.onnx"
    config = model.with_name("joe.onnx.json")
    return VoiceFiles(VoiceInfo("joe", "en", "piper"), model, json.loads(config.read_text()), config)


@pytest.fixture(scope="module")
def piper(piper_files: VoiceFiles) -> PiperSpeech:
    return PiperSpeech(piper_files)


async def spoken(service: TextToSpeech, text: SpeechText) -> list[SpokenChunk]:
    async with aclosing(service.speak(Call.within(60), text)) as chunks:
        return [chunk async for chunk in chunks]


async def test_a_voice_of_the_model_store_speaks_at_its_own_rate(service: TextToSpeech) -> None:
    text = "Hello there. How are you?"
    chunks = await spoken(service, SpeechText(text, voice="joe"))
    assert " ".join(chunk.text for chunk in chunks) == text
    assert {chunk.rate for chunk in chunks} == {22_050}
    assert 1 < sum(chunk.seconds for chunk in chunks) < 4


async def test_the_first_words_of_a_sentence_are_heard_before_the_others_are_made(service: TextToSpeech) -> None:
    text = "When you have opened the heavy door, turn the small brass key twice to the left."
    chunks = await spoken(service, SpeechText(text, voice="joe"))
    assert " ".join(chunk.text for chunk in chunks) == text
    assert len(chunks) > 2
    assert 0.4 <= chunks[0].seconds < 1.2
    assert all(before.seconds < after.seconds for before, after in pairwise(chunks[:-1]))


@pytest.mark.parametrize(
    ("text", "exact"),
    [
        ("Turn the small brass key twice.", True),
        # Its numbers are put into words before the voice says them.
        ("Keep it between 1.2 and 14.6 bar.", True),
        # Said in fewer words than it is written.
        ("The end of the year is not the end of the world.", False),
    ],
)
async def test_every_word_has_its_time(service: TextToSpeech, text: str, exact: bool) -> None:
    chunks = await spoken(service, SpeechText(text, voice="joe"))
    words = [word for chunk in chunks for word in chunk.words]
    assert " ".join(word.word for word in words) == text
    for chunk in chunks:
        times = [time for word in chunk.words for time in (word.start_s, word.end_s)]
        assert times == sorted(times)
        # A number that is said in two chunks is told with the second.
        assert times[0] == 0.0
        assert times[-1] <= chunk.seconds + 0.002
    assert chunks[-1].words[-1].end_s == pytest.approx(chunks[-1].seconds, abs=0.002)
    assert {chunk.exact for chunk in chunks} == {exact}


@pytest.mark.parametrize("text", ["...", "\u200b"])
async def test_what_has_no_phonemes_is_no_sound(piper: PiperSpeech, text: str) -> None:
    assert all(level_of(samples_of(chunk.pcm)) < 0.02 for chunk in await chunks_of(piper, SpeechText(text)))


async def test_stretches_together_sound_as_the_whole(piper_files: VoiceFiles) -> None:
    model = open_vits(piper_files.model, 1, 256)
    assert isinstance(model, SplitVits)
    ids = np.arange(1, 60, dtype=np.int64)[None]
    feeds = {"input": ids, "input_lengths": np.array([59]), "scales": np.array([0.667, 1.0, 0.8], np.float32)}
    frames = model.frames(feeds)
    assert frames.durations is not None
    assert frames.durations.sum() == frames.count
    whole = model.sound(frames, 0, frames.count)
    assert len(whole) == frames.count * model.hop
    borders = [0, 1, 30, 31, frames.count // 2, frames.count]
    stretches = [model.sound(frames, start, end) for start, end in pairwise(borders)]
    np.testing.assert_allclose(np.concatenate(stretches), whole, atol=1e-4)


@pytest.mark.parametrize("broken", ["model", "configuration"])
async def test_a_voice_whose_files_are_broken_is_refused_with_its_name(
    piper_files: VoiceFiles, tmp_path: Path, broken: str
) -> None:
    (tmp_path / "half").mkdir()
    model = b"no model" if broken == "model" else piper_files.model.read_bytes()
    config = {**piper_files.config, **({"espeak": {}} if broken == "configuration" else {})}
    (tmp_path / "half" / "half.onnx").write_bytes(model)
    (tmp_path / "half" / "half.onnx.json").write_text(json.dumps(config))
    settings = SETTINGS.model_copy(update={"voice_folder": str(tmp_path)})
    service = TextToSpeech(text_to_speech_engine(settings, ForeignDeployment), voice_folder(settings))
    with refused(UnavailableError, field="speaker"):
        await spoken(service, SpeechText("Hello.", voice="half"))
    assert await spoken(service, SpeechText("Hello."))


async def test_it_is_listed_beside_the_others_and_other_models_are_not(service: TextToSpeech) -> None:
    voices = await service.voices(Call.within(10), True)
    assert voices.names == ("heart", "joe")
    assert [(voice.language, voice.kind) for voice in voices.custom] == [("en", "piper")]
    assert voices.faults == ()
