"""Speech to text with an engine of a few lines: recordings of every kind, and what is no recording."""

import io
import tracemalloc
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import soundfile

from deployments.call import Call
from deployments.engines.audio_file import decode
from deployments.errors import HearthError, InvalidRequestError, Limit, PayloadTooLargeError
from deployments.inference.speech_to_text import SpeechToText
from deployments.values.sound import SPEECH_RATE, Samples, pcm_of, wav_file, wav_header
from deployments.values.speech import Recording, Transcript, TranscriptQuality, Utterance
from tests.conversation.scene import LoudnessActivity
from tests.refusals import refused


@dataclass
class Engine:
    """Says how long what it hears is."""

    description: str = "test"
    is_remote: bool = False
    heard_s: list[float] = field(default_factory=list[float])
    urgent: list[bool] = field(default_factory=list[bool])

    async def transcribe(
        self, call: Call, samples: Samples, language: str, effort: TranscriptQuality, *, urgent: bool = True
    ) -> Transcript:
        self.heard_s.append(len(samples) / SPEECH_RATE)
        self.urgent.append(urgent)
        return Transcript("words", language or "en", self.heard_s[-1])

    async def check(self) -> None:
        """Work."""

    async def close(self) -> None:
        """Hold nothing."""


def service(engine: Engine, max_recording_s: float = 60.0) -> SpeechToText:
    return SpeechToText(engine, LoudnessActivity(), None, decode, max_recording_s)


def tone(seconds: float, rate: int, channels: int = 1) -> Any:
    wave = 0.5 * np.sin(2 * np.pi * 300 * np.arange(int(seconds * rate)) / rate)
    return np.repeat(wave[:, None], channels, axis=1)


def file_of(container: str, subtype: str, rate: int, channels: int, seconds: float = 2.0) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, tone(seconds, rate, channels), rate, format=container, subtype=subtype)
    return out.getvalue()


@pytest.mark.parametrize(
    ("container", "subtype", "rate", "channels"),
    [
        ("WAV", "PCM_16", 16_000, 1),
        ("WAV", "PCM_16", 8_000, 1),
        ("WAV", "PCM_24", 48_000, 2),
        ("WAV", "FLOAT", 44_100, 6),
        ("WAV", "PCM_U8", 11_025, 1),
        ("WAV", "ULAW", 8_000, 1),
        ("FLAC", "PCM_16", 96_000, 2),
        ("OGG", "VORBIS", 22_050, 1),
        ("OGG", "OPUS", 48_000, 2),
        ("MP3", "MPEG_LAYER_III", 44_100, 2),
    ],
)
async def test_any_common_recording_is_transcribed(container: str, subtype: str, rate: int, channels: int) -> None:
    engine = Engine()
    recording = Recording(file_of(container, subtype, rate, channels), "de")
    transcript = await service(engine).transcribe_recording(Call.within(30), recording)
    assert (transcript.text, transcript.language) == ("words", "de")
    assert transcript.seconds == pytest.approx(2.0, abs=0.1)
    assert engine.heard_s == pytest.approx([2.0], abs=0.1)
    assert engine.urgent == [False]


@pytest.mark.parametrize("rate", [16_000, 24_000])
async def test_silence_holds_no_word_and_costs_no_model(rate: int) -> None:
    engine = Engine()
    recording = Recording(wav_file(bytes(2 * rate * 3), rate))
    assert (await service(engine).transcribe_recording(Call.within(30), recording)).text == ""
    assert engine.heard_s == []


async def test_a_long_recording_is_transcribed_in_pieces_of_its_speech() -> None:
    engine = Engine()
    speech, pause = tone(8, SPEECH_RATE)[:, 0], np.zeros(SPEECH_RATE * 2)
    sound = np.concatenate([speech, pause, speech, pause, speech]).astype(np.float32)
    recording = Recording(wav_file(pcm_of(sound), SPEECH_RATE))
    transcript = await service(engine).transcribe_recording(Call.within(30), recording)
    assert transcript.text == "words words words"
    assert max(engine.heard_s) <= 10


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", InvalidRequestError),
        (b"This is a text file that calls itself a recording.\n" * 20, InvalidRequestError),
        (b"RIFF\x00\x00\x00\x00WAVE", InvalidRequestError),
        (wav_file(b"", 16_000), InvalidRequestError),
        (wav_file(bytes(2 * 16_000 * 61), 16_000), PayloadTooLargeError),
        (file_of("FLAC", "PCM_16", 8_000, 1, seconds=1800), PayloadTooLargeError),
    ],
    ids=["empty", "a text file", "a header alone", "no samples", "a minute too long", "30 minutes"],
)
async def test_what_is_no_recording_is_refused_with_its_reason(data: bytes, kind: type[HearthError]) -> None:
    with refused(kind, field="audio"):
        await service(Engine()).transcribe_recording(Call.within(30), Recording(data))


@pytest.mark.parametrize(
    ("container", "subtype", "rate"),
    [("WAV", "PCM_16", 16_000), ("OGG", "OPUS", 48_000), ("MP3", "MPEG_LAYER_III", 44_100)],
)
async def test_of_a_truncated_file_what_is_there_is_transcribed(container: str, subtype: str, rate: int) -> None:
    engine = Engine()
    whole = file_of(container, subtype, rate, 1, seconds=8)
    transcript = await service(engine).transcribe_recording(Call.within(30), Recording(whole[: len(whole) // 2]))
    assert transcript.text == "words"
    assert 2.0 < transcript.seconds < 6.0


async def test_our_own_streamed_wav_is_read() -> None:
    sound = tone(2, SPEECH_RATE)[:, 0].astype(np.float32)
    recording = Recording(wav_header(SPEECH_RATE) + pcm_of(sound))
    assert (await service(Engine()).transcribe_recording(Call.within(30), recording)).seconds == pytest.approx(2.0)


async def test_an_utterance_is_bounded_and_whole() -> None:
    stt = service(Engine())
    long = (bytes(2 * SPEECH_RATE * 31), PayloadTooLargeError, Limit("utterance_s", 30, 31))
    for pcm, kind, limit in ((bytes(3), InvalidRequestError, None), long):
        with refused(kind, field="audio", limit=limit):
            await stt.transcribe(Call.within(30), Utterance(pcm), TranscriptQuality.FINAL)
    assert (await stt.transcribe(Call.within(30), Utterance(b""), TranscriptQuality.FINAL)).text == ""


def test_a_small_file_that_lasts_long_at_a_high_rate_takes_no_more_memory_than_its_speech() -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(60 * 384_000, np.int16), 384_000, format="FLAC", subtype="PCM_16")
    assert len(file.getvalue()) < 100_000
    tracemalloc.start()
    try:
        samples = decode(file.getvalue(), 60.0)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(samples) == 60 * 16_000
    assert most < 4 * samples.nbytes


def test_one_that_is_too_long_is_not_read_to_its_end() -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(60 * 8_000, np.int16), 8_000, format="FLAC", subtype="PCM_16")
    with pytest.raises(PayloadTooLargeError, match="longer than the 10 s"):
        decode(file.getvalue(), 10.0)
