"""Piper with a real voice, out of the folder of the models."""

from collections.abc import Generator
from contextlib import aclosing

import pytest

from bridges.model_download import ModelFetcher
from deployments.call import Call
from deployments.engines.build_speech import text_to_speech_engine, voice_folder
from deployments.models.manifest import Manifest
from deployments.models.store import ModelStore
from deployments.speech_settings import TextToSpeechSettings
from deployments.speech_values import SpeechText, SpokenChunk
from deployments.text_to_speech import TextToSpeech

SETTINGS = TextToSpeechSettings.model_validate({"engine": {"kind": "hibari"}})


@pytest.fixture(scope="module")
def service(models: ModelStore, monkeypatch_module: pytest.MonkeyPatch) -> TextToSpeech:
    manifest = Manifest.load()
    ModelFetcher(manifest, models).fetch(manifest.model("joe"), lambda _: None)
    monkeypatch_module.setenv("HEARTH_MODELS", str(models.folder))
    return TextToSpeech(text_to_speech_engine(SETTINGS), voice_folder(SETTINGS))


@pytest.fixture(scope="module")
def monkeypatch_module() -> Generator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


async def spoken(service: TextToSpeech, text: SpeechText) -> list[SpokenChunk]:
    async with aclosing(service.speak(Call.within(60), text)) as chunks:
        return [chunk async for chunk in chunks]


async def test_a_voice_of_the_model_store_speaks_at_its_own_rate(service: TextToSpeech) -> None:
    chunks = await spoken(service, SpeechText("Hello there. How are you?", voice="joe"))
    assert [chunk.text for chunk in chunks] == ["Hello there.", "How are you?"]
    assert {chunk.rate for chunk in chunks} == {22_050}
    assert all(0.3 < chunk.seconds < 3 for chunk in chunks)


async def test_a_slow_voice_says_its_opening_clause_first(service: TextToSpeech) -> None:
    text = "When you have opened the heavy door, turn the small brass key twice to the left."
    chunks = await spoken(service, SpeechText(text, voice="joe"))
    assert [chunk.text for chunk in chunks] == [text[:36], text[37:]]


async def test_it_is_listed_beside_the_others_and_other_models_are_not(service: TextToSpeech) -> None:
    voices = await service.voices(Call.within(10), True)
    assert voices.names == ("heart", "joe")
    assert [(voice.language, voice.kind) for voice in voices.custom] == [("en", "piper")]
    assert voices.faults == ()
