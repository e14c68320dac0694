"""VITS models of letters, out of a voice folder."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from deployments.engines.speaking.voice_folder import VoiceFolder
from deployments.engines.speech_engines import voice_folder
from deployments.errors import UnavailableError
from deployments.settings.speech_models import TextToSpeechSettings
from deployments.values.speech import SpeechText
from tests.refusals import refused
from tests.speaking import spoken_by
from tests.unit.tiny_onnx import save_vits

CONFIG: dict[str, object] = {
    "model": "vits",
    "language": "sw",
    "add_blank": False,
    "audio": {"sample_rate": 16_000},
    "characters": {"pad": "_", "punctuations": "!.", "characters": "ab", "blank": "<BLNK>"},
}


def scanned(folder: Path, config: Mapping[str, object]) -> VoiceFolder:
    save_vits(folder / "asha")
    (folder / "asha" / "config.json").write_text(json.dumps(config))
    settings = TextToSpeechSettings.model_validate({"engine": {"kind": "hibari"}, "voice_folder": str(folder)})
    voices = voice_folder(settings)
    voices.scan()
    return voices


async def heights(folder: Path, config: Mapping[str, object], text: str) -> list[float]:
    """Return how high each hundred samples of what is said are."""
    spoken = await spoken_by(scanned(folder, config).engine("asha"), SpeechText(text, voice="asha"))
    assert spoken.rate == 16_000
    samples = np.frombuffer(spoken.pcm, "<i2").astype(np.float32) / 32_768
    return [round(float(height), 3) for height in samples.reshape(-1, 100)[:, 0]]


async def test_letters_are_said_by_their_ids_and_others_left_out(tmp_path: Path) -> None:
    assert await heights(tmp_path, CONFIG, "Ab? a!") == [0.03, 0.04, 0.03, 0.01]


async def test_a_blank_stands_between_letters_where_the_model_wants_it(tmp_path: Path) -> None:
    assert await heights(tmp_path, {**CONFIG, "add_blank": True}, "ab") == [0.05, 0.03, 0.05, 0.04, 0.05]


async def test_nothing_that_can_be_said_is_no_sound(tmp_path: Path) -> None:
    assert await heights(tmp_path, CONFIG, "xyz") == []


def test_the_voice_is_listed_with_its_language(tmp_path: Path) -> None:
    (voice,) = scanned(tmp_path, CONFIG).voices
    assert (voice.name, voice.language, voice.kind) == ("asha", "sw", "vits")


@pytest.mark.parametrize("broken", [{"use_phonemes": True}, {"characters": None}])
def test_a_model_that_cannot_be_read_is_a_voice_that_cannot_be_had(tmp_path: Path, broken: dict[str, object]) -> None:
    with refused(UnavailableError, field="speaker"):
        scanned(tmp_path, {**CONFIG, **broken}).engine("asha")
