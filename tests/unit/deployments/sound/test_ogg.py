"""Whether Vorbis in an Ogg file has its headers, without which nothing of it is heard."""

import io
import time

import numpy as np
import pytest
import soundfile

from deployments.errors import InvalidRequestError
from deployments.sound.ogg import has_whole_headers
from deployments.sound.recording import open_recording


def ogg(codec: str = "VORBIS", rate: int = 16_000) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(0).standard_normal(3 * rate).astype(np.float32) * 0.1
    soundfile.write(file, noise, rate, format="OGG", subtype=codec)
    return file.getvalue()


def pages_of(data: bytes) -> list[int]:
    return [at for at in range(len(data)) if data[at : at + 4] == b"OggS"]


def damaged(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]


@pytest.mark.parametrize("codec", ["VORBIS", "OPUS"])
def test_a_whole_file_has_them(codec: str) -> None:
    assert has_whole_headers(ogg(codec, 48_000))


def test_damage_behind_them_changes_nothing() -> None:
    data = ogg()
    _, _, sound, *_ = pages_of(data)
    assert has_whole_headers(damaged(data, sound + 100))


@pytest.mark.parametrize("place", ["in them", "cut within them", "only the first", "no page of them"])
def test_a_file_without_them_is_refused_before_it_is_opened(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = ogg()
    _, second, third, *_ = pages_of(data)
    broken = {
        "in them": damaged(data, second + 500),
        "cut within them": data[: second + 500],
        "only the first": data[:second],
        "no page of them": data[:second] + data[third:],
    }[place]

    def never(*arguments: object) -> None:
        raise AssertionError("libsndfile never frees what it makes of such a file")

    monkeypatch.setattr(soundfile, "SoundFile", never)
    with pytest.raises(InvalidRequestError, match="its headers are damaged or cut off"), open_recording(broken):
        pass


def test_a_file_of_nothing_but_marks_is_soon_given_up() -> None:
    first = ogg()[:58]
    began = time.perf_counter()
    assert not has_whole_headers(first + b"OggS\0\0" + b"OggS\xff\xff" * 1_000_000)
    assert time.perf_counter() - began < 1.0
