"""VITS models in two halves, where they have them."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from deployments.engines.speaking.split_vits import SplitVits, WholeVits, open_vits
from tests.unit.tiny_onnx import save_two_part_vits, save_vits

IDS = np.array([[1, 3, 40, 2]], np.int64)


@pytest.mark.parametrize("speaker", [0, 1])
def test_stretches_of_a_model_with_speakers_together_sound_as_the_whole(tmp_path: Path, speaker: int) -> None:
    model = open_vits(save_two_part_vits(tmp_path) / "model.onnx", threads=1, hop=1)
    assert isinstance(model, SplitVits)
    frames = model.frames({"input": IDS, "sid": np.array([speaker])})
    assert frames.durations is not None
    assert (frames.count, frames.durations.tolist()) == (46, [1, 3, 40, 2])
    whole = model.sound(frames, 0, 46)
    assert whole[2:8].tolist() == [one + speaker for one in (3, 12.25, 30.75, 40, 40, 40)]
    stretches = [model.sound(frames, start, end) for start, end in pairwise([0, 1, 4, 30, 46])]
    assert np.concatenate(stretches).tolist() == whole.tolist()


def test_a_model_without_such_parts_is_run_whole(tmp_path: Path) -> None:
    model = open_vits(save_vits(tmp_path) / "model.onnx", threads=1, hop=256)
    assert isinstance(model, WholeVits)
    frames = model.frames({"input": IDS, "input_lengths": np.array([4]), "scales": np.zeros(3, np.float32)})
    assert (frames.count, frames.durations, model.hop) == (400, None, 1)
    assert model.sound(frames, 100, 200) == pytest.approx(0.03)
