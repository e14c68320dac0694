"""Sound files as programs really write them: headers that were never completed, browsers' containers, damage."""

import io
import struct
from typing import Any, cast

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

RATE = 16_000
SUBFORMAT = bytes.fromhex("000000001000800000aa00389b71")
"""What stands behind the codec in the sub-format of an extensible WAV file."""


def tone(seconds: float = 2.0, rate: int = RATE, peak: float = 0.5) -> NDArray[np.float32]:
    """Return a tone of 300 Hz."""
    return (peak * np.sin(2 * np.pi * 300 * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def written(sound: NDArray[Any], container: str, subtype: str, rate: int = RATE) -> bytes:
    """Return a file as libsndfile writes it."""
    out = io.BytesIO()
    soundfile.write(out, sound, rate, format=container, subtype=subtype)
    return out.getvalue()


def with_sizes(wav: bytes, size: int) -> bytes:
    """Return a WAV file whose header promises so many bytes of sound, as of the whole file."""
    at = wav.index(b"data")
    sized = struct.pack("<I", size)
    return wav[:4] + sized + wav[8 : at + 4] + sized + wav[at + 8 :]


def filled_up(sound: NDArray[np.float32], bits: int, room: int, *, is_extensible: bool = False) -> bytes:
    """Return a WAV file whose samples have so many bits, and stand in the upper ones of so much room."""
    data = (sound.astype(np.float64) * 2 ** (bits - 1)).astype("<i4") << (32 - bits)
    samples = data.astype("<i4").view(np.uint8).reshape(-1, 4)[:, 4 - room // 8 :].tobytes()
    codec, rest = (0xFFFE, struct.pack("<HHIH", 22, bits, 4, 1) + SUBFORMAT) if is_extensible else (1, b"")
    head = struct.pack("<HHIIHH", codec, 1, RATE, RATE * room // 8, room // 8, bits) + rest
    chunks = struct.pack("<4sI", b"fmt ", len(head)) + head + struct.pack("<4sI", b"data", len(samples)) + samples
    return struct.pack("<4sI4s", b"RIFF", 4 + len(chunks), b"WAVE") + chunks


def encoded(sound: NDArray[np.float32], container: str, codec: str, rate: int = 48_000, **options: str) -> bytes:
    """Return a file as FFmpeg writes it, of sound at that rate.

    Args:
        sound: One channel.
        container: What FFmpeg calls it.
        codec: Likewise.
        rate: Samples a second.
        options: Of the container.
    """
    out = io.BytesIO()
    library = cast("Any", av)
    with library.open(out, "w", format=container, options=options) as file:
        stream = file.add_stream(codec, rate=rate)
        stream.layout, stream.bit_rate = "mono", 12_200 if rate == 8_000 else 96_000
        frame = library.AudioFrame.from_ndarray((sound * 32767).astype("<i2")[None], format="s16", layout="mono")
        frame.sample_rate = rate
        resampler = library.AudioResampler(format=stream.format, layout="mono", rate=rate, frame_size=stream.frame_size)
        pieces = [*resampler.resample(frame), *resampler.resample(None)]
        for piece in (*pieces, None):
            file.mux(stream.encode(piece))
    return out.getvalue()


def as_a_browser_records(sound: NDArray[np.float32]) -> bytes:
    """Return WebM with Opus as MediaRecorder makes it: a stream without a length, at 48 kHz."""
    return encoded(sound, "webm", "libopus", live="1")


def as_safari_records(sound: NDArray[np.float32]) -> bytes:
    """Return M4A with AAC in fragments, whose length stands nowhere, at 48 kHz."""
    return encoded(sound, "mp4", "aac", movflags="frag_keyframe+empty_moov+default_base_moof")
