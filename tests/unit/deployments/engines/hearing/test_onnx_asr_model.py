"""Models in ONNX form through the real onnx-asr: what is heard, in which language, and what is refused."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deployments.call import Call
from deployments.engines.hearing.onnx_asr_model import OnnxAsrEngine
from deployments.engines.speech_engines import speech_to_text_engine
from deployments.errors import UnavailableError
from deployments.graph.foreign import ForeignDeployment
from deployments.settings.speech_models import SpeechToTextSettings
from deployments.values.sound import SPEECH_RATE
from deployments.values.speech import TranscriptQuality
from tests.refusals import refused
from tests.unit.tiny_speech_models import save_aed, save_ctc, save_tdt, tones

LOW, HIGH = 200.0, 4000.0
SAVE: dict[str, Callable[[Path], Path]] = {"ctc": save_ctc, "tdt": save_tdt}


async def heard(engine: OnnxAsrEngine, *hertz: float, language: str = "") -> tuple[str, str]:
    transcript = await engine.transcribe(Call.within(5.0), tones(*hertz), language, TranscriptQuality.FINAL)
    assert transcript.seconds == pytest.approx(0.5 * len(hertz))
    return transcript.text, transcript.language


@pytest.mark.parametrize("kind", SAVE)
async def test_speech_becomes_words_by_what_the_folder_says_the_model_is(kind: str, tmp_path: Path) -> None:
    engine = OnnxAsrEngine(SAVE[kind](tmp_path / "model"))
    assert await heard(engine, LOW, HIGH) == ("low high", "en")
    assert await heard(engine, HIGH, LOW, HIGH) == ("high low high", "en")
    await engine.close()


@pytest.mark.parametrize("kind", SAVE)
async def test_utterances_that_wait_together_are_decoded_together_and_apart(kind: str, tmp_path: Path) -> None:
    engine = OnnxAsrEngine(SAVE[kind](tmp_path / "model"))
    spoken = [(LOW, HIGH), (HIGH, LOW), (LOW, HIGH, LOW)]
    texts = [text for text, _ in await asyncio.gather(*(heard(engine, *one) for one in spoken * 3))]
    assert texts == ["low high", "high low", "low high low"] * 3
    await engine.close()


async def test_a_moment_of_sound_is_transcribed_too(tmp_path: Path) -> None:
    engine = OnnxAsrEngine(save_tdt(tmp_path / "model"))
    moment = np.zeros(SPEECH_RATE // 20, np.float32)
    assert (await engine.transcribe(Call.within(5.0), moment, "", TranscriptQuality.PARTIAL)).text == ""
    await engine.check()
    await engine.close()


@pytest.mark.parametrize(
    ("asked", "text", "language"),
    [("de", "hallo", "de"), ("en", "hello", "en"), ("", "hello", "en"), ("fr", "hello", "en")],
)
async def test_a_model_that_has_to_be_told_hears_the_language_of_the_request_or_the_first(
    tmp_path: Path, asked: str, text: str, language: str
) -> None:
    engine = OnnxAsrEngine(save_aed(tmp_path / "model"), languages=("en", "de"))
    assert await heard(engine, LOW, language=asked) == (text, language)
    await engine.close()


async def test_the_language_that_a_model_finds_out_itself_is_not_guessed(tmp_path: Path) -> None:
    engine = OnnxAsrEngine(save_tdt(tmp_path / "model"), languages=("en", "de"))
    assert await heard(engine, LOW, HIGH) == ("low high", "")
    assert await heard(engine, LOW, HIGH, language="de") == ("low high", "de")
    await engine.close()


def test_a_folder_that_does_not_say_what_it_holds_needs_the_setting(tmp_path: Path) -> None:
    folder = save_ctc(tmp_path / "model")
    (folder / "config.json").unlink()
    with refused(UnavailableError, field="engine.architecture"):
        OnnxAsrEngine(folder)
    assert OnnxAsrEngine(folder, architecture="nemo-conformer-ctc").description == "onnx-asr, model"


@pytest.mark.parametrize("architecture", ["nemo-conformer-tdt", "unheard-of"])
def test_a_folder_that_holds_another_model_is_refused_without_its_path(tmp_path: Path, architecture: str) -> None:
    folder = save_ctc(tmp_path / "model")
    with refused(UnavailableError, field="engine.architecture") as raised:
        OnnxAsrEngine(folder, architecture=architecture)
    assert str(tmp_path) not in raised.value.message


def test_a_version_of_the_files_is_chosen_by_its_name(tmp_path: Path) -> None:
    folder = save_ctc(tmp_path / "model")
    with refused(UnavailableError):
        OnnxAsrEngine(folder, quantization="int8")
    shutil.copy(folder / "model.onnx", folder / "model.int8.onnx")
    OnnxAsrEngine(folder, quantization="int8")


def test_the_settings_choose_it_and_a_device_that_is_not_there_is_refused(tmp_path: Path) -> None:
    engine = {"kind": "onnx-asr", "model": str(save_tdt(tmp_path / "model"))}
    assert speech_to_text_engine(SpeechToTextSettings.model_validate({"engine": engine}), ForeignDeployment).description
    with refused(UnavailableError, field="engine.device"):
        speech_to_text_engine(
            SpeechToTextSettings.model_validate({"engine": engine | {"device": "cuda"}}), ForeignDeployment
        )
