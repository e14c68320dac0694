"""Pocket TTS: which voice speaks, what is imitated, and what nobody waits for any more. The model is a stand-in."""

import asyncio
import threading
from contextlib import aclosing
from dataclasses import dataclass, field

import numpy as np
import pytest

from deployments.call import Call
from deployments.engines.speaking.pocket_speech import PocketSpeech
from deployments.errors import InvalidRequestError
from deployments.values.sound import Samples, samples_of, wav_file
from deployments.values.speech import SpeechText
from tests.refusals import refused
from tests.speaking import spoken_by

RATE = 24_000


@dataclass
class Model:
    """Says every letter as 100 samples of its voice's height; a voice that is imitated is as high as its sound."""

    rate: int = RATE
    clones: bool = True
    imitations: list[Samples] = field(default_factory=list)
    is_speaking: threading.Event = field(default_factory=threading.Event)
    waits: bool = False

    def voice(self, name: str) -> object:
        return {"alba": 0.25, "/voices/mine.wav": 0.5}[name]

    def imitated(self, samples: Samples) -> object:
        self.imitations.append(samples)
        return float(samples.max())

    def sound(self, voice: object, text: str, stop: threading.Event) -> Samples:
        assert isinstance(voice, float)
        self.is_speaking.set()
        if self.waits:
            assert stop.wait(10), "nobody said that it is not wanted any more"
        return np.full(100 * len(text), voice, np.float32)


def engine(model: Model) -> PocketSpeech:
    return PocketSpeech(model, name="english", voices=["alba", "/voices/mine.wav"], language="en")


def reference(height: float, *, seconds: float = 1.0, rate: int = RATE) -> bytes:
    return wav_file(np.full(int(seconds * rate), height * 32_768, "<i2").tobytes(), rate)


async def height(speech: PocketSpeech, text: SpeechText) -> float:
    return float(samples_of((await spoken_by(speech, text)).pcm).max())


async def test_a_voice_speaks_by_its_name_or_that_of_its_file() -> None:
    speech = engine(Model())
    assert [voice.name for voice in speech.voices] == ["alba", "mine"]
    assert await height(speech, SpeechText("Hello.", voice="alba")) == 0.25
    assert await height(speech, SpeechText("Hello.", voice="mine")) == 0.5
    spoken = await spoken_by(speech, SpeechText("Hello there.", voice="alba"))
    assert (spoken.rate, spoken.seconds) == (RATE, 0.05)
    assert [word.word for word in spoken.words] == ["Hello", "there."]


async def test_a_reference_is_imitated_once_and_remembered_for_the_next_sentence() -> None:
    model = Model()
    speech = engine(model)
    assert speech.clones
    for text in ("One.", "Two.", "Three."):
        said = SpeechText(text, voice="alba", reference=reference(0.75))
        assert await height(speech, said) == pytest.approx(0.75, abs=0.01)
    assert len(model.imitations) == 1


async def test_the_voices_that_were_imitated_longest_ago_are_forgotten() -> None:
    model = Model()
    speech = engine(model)
    for loudness in (0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.1):
        await height(speech, SpeechText("One.", voice="alba", reference=reference(loudness)))
    assert len(model.imitations) == 6


async def test_of_a_long_reference_half_a_minute_is_heard_at_the_model_s_rate() -> None:
    model = Model()
    await height(engine(model), SpeechText("One.", voice="alba", reference=reference(0.5, seconds=45, rate=8000)))
    assert len(model.imitations[0]) == 30 * RATE
    assert model.imitations[0].dtype == np.float32


@pytest.mark.parametrize("data", [b"no sound", reference(0.5, seconds=0.1)])
async def test_a_reference_that_is_no_voice_is_the_client_s_mistake(data: bytes) -> None:
    with refused(InvalidRequestError, field="speaker_wav_b64"):
        await height(engine(Model()), SpeechText("One.", voice="alba", reference=data))


@pytest.mark.parametrize("text", ["", "...", "🙂"])
async def test_what_has_no_letters_is_no_sound(text: str) -> None:
    assert (await spoken_by(engine(Model()), SpeechText(text, voice="alba"))).pcm == b""


async def test_a_sentence_that_nobody_waits_for_is_not_made_to_its_end() -> None:
    model = Model(waits=True)
    speech = engine(model)

    async def listen() -> None:
        async with aclosing(speech.speak(Call.within(10), SpeechText("Hello.", voice="alba"))) as chunks:
            async for _ in chunks:
                pass

    listening = asyncio.create_task(listen())
    assert await asyncio.to_thread(model.is_speaking.wait, 10)
    listening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listening
    model.waits = False
    # The thread is free again.
    assert await height(speech, SpeechText("Hello.", voice="alba")) == 0.25
