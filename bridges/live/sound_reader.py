"""The sound of one session, from the bytes of its messages to what is listened to: 16-bit mono PCM at 16 kHz."""

import struct
from dataclasses import dataclass

import numpy as np
import soxr

from deployments.errors import InvalidRequestError
from deployments.values.sound import SPEECH_RATE, Samples, pcm_of

_RATES = range(4_000, 192_001)
_CHANNELS = range(1, 9)
_INTEGER_BITS = (8, 16, 24, 32)
_FLOAT_BITS = 32
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_LONGEST_HEADER = 65_536
_AFTER_DATA = (b"LIST", b"id3 ", b"ID3 ", b"bext", b"cue ", b"fact")


@dataclass(frozen=True, slots=True)
class SoundFormat:
    """How samples are written.

    Attributes:
        rate: Samples a second.
        channels: Interleaved; their mean is listened to.
        bits: Of a sample.
        is_float: Whether samples are floating point numbers between -1 and 1, and not integers.
    """

    rate: int = SPEECH_RATE
    channels: int = 1
    bits: int = 16
    is_float: bool = False

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of all channels."""
        return self.channels * self.bits // 8

    def check(self) -> "SoundFormat":
        """Return the format.

        Raises:
            InvalidRequestError: It is none that can be read; the message names the value.
        """
        if self.rate not in _RATES:
            raise InvalidRequestError(f"sample_rate {self.rate}: expected {_RATES[0]} to {_RATES[-1]}")
        if self.channels not in _CHANNELS:
            raise InvalidRequestError(f"channels {self.channels}: expected {_CHANNELS[0]} to {_CHANNELS[-1]}")
        if self.is_float and self.bits != _FLOAT_BITS:
            raise InvalidRequestError(f"bit_depth {self.bits} of floating point sound: expected {_FLOAT_BITS}")
        if not self.is_float and self.bits not in _INTEGER_BITS:
            raise InvalidRequestError(f"bit_depth {self.bits}: expected one of {', '.join(map(str, _INTEGER_BITS))}")
        return self


class SoundReader:
    """Reads the sound of one session, piece by piece: bytes that do not make up a sample wait for the next piece.

    A piece may begin with a WAV header, which then says how the sound is written; the first one may be cut anywhere.
    """

    __slots__ = ("_format", "_may_begin", "_resampler", "_rest")

    def __init__(self) -> None:
        self._format = SoundFormat()
        self._resampler: soxr.ResampleStream | None = None
        self._rest = b""
        self._may_begin = True

    def read(self, data: bytes, *, rate: int = 0, channels: int = 0, bits: int = 0) -> bytes:
        """Return a piece of the stream as 16-bit mono PCM at 16 kHz.

        Args:
            data: The piece.
            rate: Samples a second, where its message says so; else 0, which leaves it as it was.
            channels: Likewise.
            bits: Of a sample, likewise.

        Raises:
            InvalidRequestError: The format is none that can be read. The piece is dropped.
        """
        if rate or channels or bits:
            known = self._format
            self._change(SoundFormat(rate or known.rate, channels or known.channels, bits or known.bits))
        if self._may_begin or data.startswith(b"RIFF"):
            data = self._after_header(data)
        return self._converted(data)

    def _after_header(self, data: bytes) -> bytes:
        """Return what follows a WAV header; nothing while it is not whole."""
        self._may_begin = False
        begun = self._rest + data if self._rest.startswith(b"RIFF"[: len(self._rest)]) else data
        if not _may_be_header(begun):
            return data
        header = _read_header(begun)
        if header is None:
            if len(begun) > _LONGEST_HEADER:
                self._rest = b""
                raise InvalidRequestError("a WAV header without a data chunk")
            self._rest, self._may_begin = begun, True
            return b""
        found, start, length = header
        self._rest = b""
        self._change(found)
        end = start + length
        return begun[start:end] if begun[end : end + 4] in _AFTER_DATA else begun[start:]

    def _change(self, to: SoundFormat) -> None:
        if to == self._format:
            return
        to.check()
        if not self._may_begin:
            self._rest = b""
        self._format = to
        self._resampler = (
            None if to.rate == SPEECH_RATE else soxr.ResampleStream(to.rate, SPEECH_RATE, 1, dtype="float32")
        )

    def _converted(self, data: bytes) -> bytes:
        if self._may_begin:
            return b""
        found = self._format
        if self._rest:
            data = self._rest + data
        whole = len(data) - len(data) % found.frame_bytes
        self._rest = data[whole:]
        if found == SoundFormat():
            return data[:whole]
        samples = _samples(data[:whole], found)
        return pcm_of(self._resampler.resample_chunk(samples) if self._resampler else samples)


def _samples(data: bytes, found: SoundFormat) -> Samples:
    """Return the mean of the channels as numbers between -1 and 1."""
    match found:
        case SoundFormat(is_float=True):
            values = np.clip(np.nan_to_num(np.frombuffer(data, "<f4")), -1.0, 1.0)
        case SoundFormat(bits=8):
            values = (np.frombuffer(data, np.uint8).astype(np.float32) - 128.0) / 128.0
        case SoundFormat(bits=24):
            # The three bytes are the high ones of four.
            wide = np.zeros((len(data) // 3, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            values = wide.view("<i4").reshape(-1).astype(np.float32) / 2.0**31
        case _:
            values = np.frombuffer(data, f"<i{found.bits // 8}").astype(np.float32) / 2.0 ** (found.bits - 1)
    return values.reshape(-1, found.channels).mean(axis=1, dtype=np.float32)


def _may_be_header(data: bytes) -> bool:
    return bool(data) and data[:4] == b"RIFF"[: len(data)] and data[8:12] == b"WAVE"[: max(0, len(data) - 8)]


def _read_header(data: bytes) -> tuple[SoundFormat, int, int] | None:
    """Return a WAV header's format, where its data begin and how long they are; None while it is not whole."""
    at = 12
    found: SoundFormat | None = None
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        at += 8
        if name == b"data":
            if found is None:
                raise InvalidRequestError("a WAV header without a format")
            return found, at, size
        if at + size > len(data):
            return None
        if name == b"fmt ":
            found = _read_format(data[at : at + size])
        at += size + size % 2
    return None


def _read_format(chunk: bytes) -> SoundFormat:
    if len(chunk) < 16:  # noqa: PLR2004 - the size of a PCM format chunk
        raise InvalidRequestError("a WAV header whose format is cut short")
    code, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", chunk)
    if code == _EXTENSIBLE and len(chunk) >= 26:  # noqa: PLR2004 - where its sub-format begins
        code = struct.unpack_from("<H", chunk, 24)[0]
    if code not in {_PCM, _FLOAT}:
        raise InvalidRequestError(f"WAV format {code}: expected PCM ({_PCM}) or floating point ({_FLOAT})")
    return SoundFormat(rate, channels, bits, is_float=code == _FLOAT).check()
