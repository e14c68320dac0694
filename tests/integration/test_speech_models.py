"""The engines of speech with the real default models."""

import asyncio
import re
from collections.abc import Generator

import numpy as np
import pytest
import soxr

from deployments.call import Call
from deployments.engines.audio_file import decode
from deployments.engines.hearing.silero import SileroVoiceActivity
from deployments.engines.hearing.smart_turn import SmartTurn
from deployments.engines.hearing.whisper import WhisperEngine
from deployments.engines.speaking.hibari_speech import HibariSpeech
from deployments.inference.speech_to_text import SpeechToText
from deployments.models.store import ModelStore
from deployments.values.sound import SPEECH_RATE, Samples, pcm_of, samples_of, wav_file
from deployments.values.speech import Recording, SpeechText, TranscriptQuality, Utterance
from tests.sound_files import written
from tests.speaking import spoken_by

QUESTION = "How long does the remote site keep monthly snapshots?"


def within() -> Call:
    return Call.within(60.0, "test")


@pytest.fixture(scope="module")
def voice() -> HibariSpeech:
    return HibariSpeech()


@pytest.fixture(scope="module")
def whisper(models: ModelStore) -> Generator[WhisperEngine]:
    final = models.locate("whisper-base", "speech-to-text")
    engine = WhisperEngine(final, models.locate("whisper-tiny.en", "speech-to-text-partial"))
    yield engine
    asyncio.run(engine.close())


@pytest.fixture(scope="module")
def silero(models: ModelStore) -> SileroVoiceActivity:
    return SileroVoiceActivity(models.locate_file("silero-vad", "voice-activity", "model.onnx"))


@pytest.fixture(scope="module")
def service(models: ModelStore, whisper: WhisperEngine, silero: SileroVoiceActivity) -> SpeechToText:
    turn = SmartTurn(models.locate_file("smart-turn-v3.2", "end-of-turn", "model.onnx"))
    return SpeechToText(whisper, silero, turn, decode, 120.0)


async def said(voice: HibariSpeech, text: str) -> Samples:
    spoken = await spoken_by(voice, SpeechText(text))
    return soxr.resample(samples_of(spoken.pcm), spoken.rate, SPEECH_RATE)


def words_of(text: str) -> list[str]:
    """Return the words alone: which mark a model hears behind them depends on how a processor rounds."""
    return re.findall(r"[\w-]+", text.lower())


@pytest.mark.parametrize("effort", TranscriptQuality)
@pytest.mark.parametrize("language", ["", "en"])
async def test_speech_is_transcribed(
    service: SpeechToText, voice: HibariSpeech, effort: TranscriptQuality, language: str
) -> None:
    utterance = Utterance(pcm_of(await said(voice, QUESTION)), language)
    transcript = await service.transcribe(within(), utterance, effort)
    assert (words_of(transcript.text), transcript.language) == (words_of(QUESTION), "en")


async def test_utterances_that_wait_together_are_decoded_together_and_apart(
    service: SpeechToText, voice: HibariSpeech
) -> None:
    texts = [QUESTION, "Good morning, everybody.", "The library opens at eleven."]
    utterances = [Utterance(pcm_of(await said(voice, text)), "en") for text in texts]
    heard = await asyncio.gather(
        *(service.transcribe(within(), one, TranscriptQuality.FINAL) for one in utterances * 3)
    )
    assert [words_of(one.text.replace("11", "eleven")) for one in heard] == [words_of(text) for text in texts] * 3


@pytest.mark.parametrize("effort", TranscriptQuality)
@pytest.mark.parametrize("kind", ["silence", "noise", "tone", "hum"])
async def test_no_word_is_invented_even_where_voice_activity_was_wrong(
    service: SpeechToText, effort: TranscriptQuality, kind: str
) -> None:
    at = np.arange(4 * SPEECH_RATE) / SPEECH_RATE
    sound = {
        "silence": np.zeros(len(at)),
        "noise": np.random.default_rng(1).normal(0, 0.1, len(at)),
        "tone": 0.3 * np.sin(2 * np.pi * 440 * at),
        "hum": 0.2 * np.sign(np.sin(2 * np.pi * 50 * at)),
    }[kind]
    transcript = await service.transcribe(within(), Utterance(pcm_of(sound.astype(np.float32))), effort)
    assert transcript.text == ""


async def test_a_recording_with_pauses_is_transcribed_whole(service: SpeechToText, voice: HibariSpeech) -> None:
    pause = np.zeros(SPEECH_RATE, np.float32)
    pieces = [await said(voice, text) for text in (QUESTION, "Good morning, everybody.")]
    sound = np.concatenate([pause, pieces[0], pause, pieces[1], pause])
    transcript = await service.transcribe_recording(within(), Recording(wav_file(pcm_of(sound), SPEECH_RATE)))
    assert words_of(transcript.text) == words_of(f"{QUESTION} Good morning, everybody.")


async def test_a_finished_question_sounds_more_finished_than_half_of_it(
    service: SpeechToText, voice: HibariSpeech
) -> None:
    whole = await said(voice, QUESTION)
    finished = await service.completion(within(), Utterance(pcm_of(whole)))
    cut_off = await service.completion(within(), Utterance(pcm_of(whole[: len(whole) // 3])))
    assert finished is not None
    assert cut_off is not None
    assert finished > 0.7
    assert cut_off < 0.5


async def test_voice_activity_tells_speech_from_silence(silero: SileroVoiceActivity, voice: HibariSpeech) -> None:
    speech = await said(voice, QUESTION)
    stream = silero.new_stream()
    sound = np.concatenate([np.zeros(SPEECH_RATE, np.float32), speech])
    windows = [sound[at : at + 512] for at in range(0, len(sound) - 512, 512)]
    probabilities = [silero.probabilities([stream], [window])[0] for window in windows]
    assert max(probabilities[:30]) < 0.2
    assert np.mean(probabilities[36:]) > 0.7


async def test_streams_that_are_looked_at_together_do_not_mix(silero: SileroVoiceActivity, voice: HibariSpeech) -> None:
    speech = await said(voice, QUESTION)
    alone, silent, late, beside = (silero.new_stream() for _ in range(4))
    windows = [speech[at : at + 512] for at in range(0, len(speech) - 512, 512)]
    silence = np.zeros(512, np.float32)
    expected = [silero.probabilities([alone], [window])[0] for window in windows]
    together = [silero.probabilities([silent, late, beside], [silence, silence, window]) for window in windows]
    assert [found[2] for found in together] == pytest.approx(expected, abs=1e-5)
    assert max(found[0] for found in together[5:]) < 0.1
    after = [silero.probabilities([beside, late], [silence, window])[1] for window in windows]
    assert np.mean(np.abs(np.subtract(after, expected)) < 0.1) > 0.9


async def test_the_same_text_always_sounds_the_same_and_its_words_are_placed(voice: HibariSpeech) -> None:
    first, again = [await spoken_by(voice, SpeechText("Hello there, Maria.")) for _ in range(2)]
    assert first.pcm == again.pcm
    assert [word.word for word in first.words] == ["Hello", "there,", "Maria."]
    times = [time for word in first.words for time in (word.start_s, word.end_s)]
    assert times == sorted(times)
    assert 0 <= times[0] < times[-1] <= first.seconds


@pytest.mark.parametrize("text", ["", "🙂", "你好"])
async def test_what_the_voice_cannot_say_is_no_sound(voice: HibariSpeech, text: str) -> None:
    assert (await spoken_by(voice, SpeechText(text))).pcm == b""


async def test_a_cloud_of_requests_keeps_its_voices_apart(voice: HibariSpeech) -> None:
    texts = [f"Number {number}." for number in range(12)]
    alone = [(await spoken_by(voice, SpeechText(text))).pcm for text in texts]
    together = await asyncio.gather(*(spoken_by(voice, SpeechText(text)) for text in texts))
    assert [chunk.pcm for chunk in together] == alone


@pytest.mark.parametrize("peak_db", [-10, -50])
async def test_quiet_speech_is_heard_as_speech_is(service: SpeechToText, voice: HibariSpeech, peak_db: float) -> None:
    speech = await said(voice, QUESTION)
    pause = np.zeros(SPEECH_RATE, np.float32)
    sound = np.concatenate([pause, speech, pause]) / np.abs(speech).max() * np.float32(10 ** (peak_db / 20))
    transcript = await service.transcribe_recording(within(), Recording(wav_file(pcm_of(sound), SPEECH_RATE)))
    assert words_of(transcript.text) == words_of(QUESTION)


@pytest.mark.parametrize("kind", ["same", "mirrored", "right is dead", "with an offset", "clipped"])
async def test_speech_is_heard_however_it_was_recorded(service: SpeechToText, voice: HibariSpeech, kind: str) -> None:
    speech = await said(voice, QUESTION)
    right = {"mirrored": -speech, "right is dead": np.zeros_like(speech)}.get(kind, speech)
    frames = np.stack([speech, right], axis=1) * np.float32(10 if kind == "clipped" else 1)
    frames = np.clip(frames * np.float32(0.3) + np.float32(0.3 if kind == "with an offset" else 0), -1, 1)
    transcript = await service.transcribe_recording(within(), Recording(written(frames, "WAV", "FLOAT")))
    assert words_of(transcript.text) == words_of(QUESTION)


@pytest.mark.parametrize("word", ["Yes.", "Stop.", "Help."])
async def test_a_single_word_is_heard(service: SpeechToText, voice: HibariSpeech, word: str) -> None:
    pause = np.zeros(SPEECH_RATE // 2, np.float32)
    sound = pcm_of(np.concatenate([pause, await said(voice, word), pause]))
    assert words_of((await service.transcribe_recording(within(), Recording(wav_file(sound, SPEECH_RATE)))).text) == (
        words_of(word)
    )
    for effort in TranscriptQuality:
        assert words_of((await service.transcribe(within(), Utterance(sound), effort)).text) == words_of(word)


@pytest.mark.parametrize("pause_s", [0.3, 0.6, 0.9])
async def test_a_number_said_in_breaths_keeps_every_digit(
    service: SpeechToText, voice: HibariSpeech, pause_s: float
) -> None:
    breath = np.zeros(int(pause_s * SPEECH_RATE), np.float32)
    groups = [await said(voice, group) for group in ("My number is five five five", "one two three", "four")]
    sound = pcm_of(np.concatenate([part for group in groups for part in (group, breath)]))
    for effort in TranscriptQuality:
        heard = (await service.transcribe(within(), Utterance(sound, "en"), effort)).text
        assert re.sub(r"\D", "", heard) == "5551234", heard


@pytest.mark.parametrize("level", [1.0, 0.01])
@pytest.mark.parametrize("kind", ["keys", "hold music"])
async def test_keys_and_hold_music_make_no_words(service: SpeechToText, kind: str, level: float) -> None:
    sound = {"keys": typing, "hold music": hold_music}[kind](8.0) * np.float32(level)
    recording = Recording(wav_file(pcm_of(sound), SPEECH_RATE))
    assert (await service.transcribe_recording(within(), recording)).text == ""
    for effort in TranscriptQuality:
        utterance = Utterance(pcm_of(sound[: 3 * SPEECH_RATE]))
        assert (await service.transcribe(within(), utterance, effort)).text == ""


def typing(seconds: float) -> Samples:
    """Return the clicks of a keyboard: each key going down and coming up."""
    random = np.random.default_rng(4)
    sound = random.normal(0, 0.001, int(seconds * SPEECH_RATE))
    click = np.exp(-np.arange(200) / 50)
    for down in np.cumsum(random.uniform(0.08, 0.3, int(seconds * 3))):
        for at, loudness in ((down, 0.4), (down + 0.08, 0.2)):
            start = int(at * SPEECH_RATE)
            if start + len(click) < len(sound):
                sound[start : start + len(click)] += loudness * random.normal(0, 1, len(click)) * click
    return np.clip(sound, -1, 1).astype(np.float32)


def hold_music(seconds: float) -> Samples:
    """Return chords with a melody over them."""
    random = np.random.default_rng(5)
    at = np.arange(SPEECH_RATE // 2) / SPEECH_RATE
    beats: list[Samples] = []
    for beat in range(int(seconds * 2)):
        root = 220 * 2 ** ([0, 5, 7, 0][beat // 4 % 4] / 12)
        tune = 440 * 2 ** (random.choice([0, 2, 4, 7, 9, 12]) / 12)
        chord = sum(np.sin(2 * np.pi * root * ratio * at) for ratio in (1, 1.26, 1.5, 2))
        melody = np.sin(2 * np.pi * tune * at + 3 * np.sin(2 * np.pi * 5.5 * at))
        beats.append(((0.1 * chord + 0.2 * melody) * np.exp(-2.5 * at)).astype(np.float32))
    return np.concatenate(beats)
