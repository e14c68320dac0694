"""Sound files of any common kind as one channel, block by block: the one reader of all that comes as a file.

libsndfile (`soundfile`) reads them, and FFmpeg (`av`, an extra of its own) the containers of browsers and telephones,
which libsndfile does not know. Where it is not installed, those are refused by their names.
"""

import io
import itertools
import mmap
import struct
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from deployments.errors import InvalidRequestError, Limit
from deployments.sound.joined import joined_at
from deployments.sound.kinds import SoundKind, adts_kind, kind_of
from deployments.sound.mono import MonoMixer, within_scale
from deployments.sound.ogg import has_whole_headers
from deployments.sound.wav import PCM, WavHeader, may_begin_wav, read_header
from deployments.values.sound import Samples, pcm_of

EXPECTED = "WAV, FLAC, Ogg, MP3 or AIFF"
_BLOCK_S = 0.5
_HIGHEST_RATE = 384_000
_EIGHTHS_BEHIND_DAMAGE = (*range(1, 17), *(1 << power for power in range(5, 12)))
"""Eighths of a second behind damage where a file may be whole again: each near it, few far from it."""
_LARGEST_SIZE = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class OpenRecording:
    """A sound file that is being read.

    Attributes:
        rate: Samples a second.
        blocks: The sound as one channel, half a second at a time, between -1 and 1. Of several files in one, that of
            all. Where the file breaks off, they end; what is damaged within it is silent or missing.
        seconds: How long it lasts; 0 where the file does not say.
    """

    rate: int
    blocks: Iterator[Samples]
    seconds: float = 0.0

    def pcm(self, seconds: float) -> Iterator[bytes]:
        """Yield it as 16-bit PCM, in pieces of at most so many seconds."""
        frames = max(1, int(self.rate * seconds))
        for block in self.blocks:
            for at in range(0, len(block), frames):
                yield pcm_of(block[at : at + frames])

    def whole_pcm(self, rate: int) -> bytes:
        """Return all of it as 16-bit PCM at another rate."""
        samples = np.concatenate([*self.blocks, np.zeros(0, np.float32)])
        return pcm_of(samples if rate == self.rate else soxr.resample(samples, self.rate, rate))


@contextmanager
def open_recording(source: bytes | Path, *, may_be_empty: bool = False) -> Generator[OpenRecording]:
    """Open a sound file.

    Args:
        source: Its bytes, or where it lies.
        may_be_empty: Whether a file without a single sample is sound, too; else its blocks end with an error.

    Raises:
        InvalidRequestError: It is empty, damaged from the beginning, or of a kind that is not read here; the message
            names the kind.
    """
    with _bytes_of(source) as data, _opened(data) as recording:
        yield recording if may_be_empty else replace(recording, blocks=_some(recording.blocks))


@contextmanager
def _bytes_of(source: bytes | Path) -> Generator[bytes | mmap.mmap]:
    if isinstance(source, bytes):
        yield source
        return
    if not source.stat().st_size:
        raise InvalidRequestError("the audio is empty", field="audio")
    with source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        yield mapped


def _some(blocks: Iterator[Samples]) -> Iterator[Samples]:
    first = next(blocks, None)
    if first is None:
        raise InvalidRequestError("the audio file holds no sound", field="audio")
    yield first
    yield from blocks


@contextmanager
def _opened(data: bytes | mmap.mmap) -> Generator[OpenRecording]:
    if not len(data):
        raise InvalidRequestError("the audio is empty", field="audio")
    kind = kind_of(data)
    if kind is not None and kind.demuxer:
        with _opened_by_ffmpeg(data, kind) as recording:
            yield recording
        return
    header = _wav_header(data)
    if begins := joined_at(data, kind, header):
        with _opened(data[: begins[0]]) as first:
            yield OpenRecording(first.rate, _joined(first, data, begins))
        return
    if kind is not None and kind.name == "Ogg" and not has_whole_headers(data):
        raise InvalidRequestError(_refusal(kind, header, "its headers are damaged or cut off"), field="audio")
    source = _file(data) if header is None else _with_true_sizes(data, header)
    try:
        # Any object that reads and seeks will do, whatever the types of soundfile say.
        file = soundfile.SoundFile(cast("Any", _Source(source)))
    except soundfile.LibsndfileError as error:
        # A stream of AAC is told from one of MP3 by so little that MP3 is tried first.
        if kind is None and (bare := adts_kind(data)):
            with _opened_by_ffmpeg(data, bare) as recording:
                yield recording
            return
        raise InvalidRequestError(_refusal(kind, header, error.error_string), field="audio") from error
    with file:
        rate = file.samplerate
        if not 0 < rate <= _HIGHEST_RATE:
            raise _rate_refused(rate)
        yield OpenRecording(rate, _mixed(_blocks(file, source), file.channels, rate), file.frames / rate)


def _mixed(blocks: Iterator[NDArray[Any]], channels: int, rate: int) -> Iterator[Samples]:
    mixer = MonoMixer(channels, rate)
    for block in blocks:
        yield mixer.mix(within_scale(block))


def _joined(first: OpenRecording, data: bytes | mmap.mmap, begins: list[int]) -> Iterator[Samples]:
    """Yield the sound of several files in one, at the rate of the first."""
    yield from first.blocks
    for begin, end in itertools.pairwise([*begins, len(data)]):
        with _opened(data[begin:end]) as further:
            if further.rate == first.rate:
                yield from further.blocks
            else:
                yield from _resampled(further.blocks, further.rate, first.rate)


def _resampled(blocks: Iterator[Samples], rate: int, wanted: int) -> Iterator[Samples]:
    resampler = soxr.ResampleStream(rate, wanted, 1, dtype="float32")
    for block in blocks:
        yield resampler.resample_chunk(block)
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def _blocks(file: soundfile.SoundFile, source: io.BytesIO | mmap.mmap) -> Iterator[NDArray[Any]]:
    """Yield what a file holds, with silence for what is damaged within it."""
    frames = max(1, int(_BLOCK_S * file.samplerate))
    at = 0
    with ExitStack() as reopened:
        while True:
            try:
                block = file.read(frames, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError:
                behind = _behind_damage(file, source, at)
                if behind is None:
                    # The rest is missing: what was heard so far is all there is, as of any file that is cut off.
                    return
                file, begins, block = behind
                reopened.enter_context(file)
                yield np.zeros((begins - at, file.channels), np.float32)
                at = begins
            if not len(block):
                return
            at += len(block)
            yield block


def _behind_damage(
    file: soundfile.SoundFile, source: io.BytesIO | mmap.mmap, at: int
) -> tuple[soundfile.SoundFile, int, NDArray[Any]] | None:
    """Return a damaged file anew, the next frame that can be read, and the block there; None where none can."""
    if file.format != "FLAC":
        return None
    for eighths in _EIGHTHS_BEHIND_DAMAGE:
        place = at + eighths * file.samplerate // 8
        if place >= file.frames:
            return None
        source.seek(0)
        anew = soundfile.SoundFile(cast("Any", _Source(source)))
        try:
            anew.seek(place)
            block = anew.read(max(1, int(_BLOCK_S * file.samplerate)), dtype="float32", always_2d=True)
        except soundfile.LibsndfileError:
            anew.close()
            continue
        if len(block):
            return anew, place, block
        anew.close()
    return None


def _wav_header(data: bytes | mmap.mmap) -> WavHeader | None:
    if not may_begin_wav(data):
        return None
    header = read_header(data)
    if header is None:
        raise InvalidRequestError("a WAV file that ends within its header", field="audio")
    return header


def _with_true_sizes(data: bytes | mmap.mmap, header: WavHeader) -> io.BytesIO | mmap.mmap:
    """Return a WAV file whose header says how much sound follows, for libsndfile, which believes it."""
    length = header.end(data) - header.start
    if header.is_regular and header.length == length:
        return _file(data)
    chunk = _plain_format(header)
    head = struct.pack("<4sI", b"fmt ", len(chunk)) + chunk + b"\0" * (len(chunk) % 2)
    riff = struct.pack("<4sI4s", b"RIFF", min(12 + len(head) + length, _LARGEST_SIZE), b"WAVE")
    sound = struct.pack("<4sI", b"data", min(length, _LARGEST_SIZE))
    return io.BytesIO(b"".join((riff, head, sound, data[header.start : header.start + length])))


_WIDEST_FRAME = 0xFFFF
"""Bytes: a header has two bytes for them."""


class _Source:
    """A file that is read, for libsndfile.

    It follows the offsets in a damaged file to places before its beginning. There is nothing, so the file stays where
    it is; an error would reach nobody but the standard error output.
    """

    def __init__(self, file: io.BytesIO | mmap.mmap) -> None:
        self._file = file
        self.read = file.read
        self.tell = file.tell

    def seek(self, offset: int, whence: Literal[0, 1, 2] = 0) -> int:
        with suppress(ValueError):
            self._file.seek(offset, whence)
        return self._file.tell()


def _plain_format(header: WavHeader) -> bytes:
    """Return the format of a file without bits that only fill up: libsndfile takes 24 bits for three bytes."""
    found, chunk = header.format, header.format_chunk
    if found.codec != PCM:
        return chunk
    frame_bytes = found.channels * found.bits // 8
    if frame_bytes > _WIDEST_FRAME:
        raise InvalidRequestError(
            f"a WAV file of {found.channels} channels of {found.bits} bits is none that can be read", field="audio"
        )
    stated = (PCM, found.channels, found.rate, found.rate * frame_bytes & _LARGEST_SIZE, frame_bytes, found.bits)
    return struct.pack("<HHIIHH", *stated)


def _file(data: bytes | mmap.mmap) -> io.BytesIO | mmap.mmap:
    return io.BytesIO(data) if isinstance(data, bytes) else data


def _refusal(kind: SoundKind | None, header: WavHeader | None, why: str) -> str:
    if header is not None:
        return f"this is a WAV file with {header.format.codec_name}, which is not read here: send {EXPECTED} with PCM"
    if kind is None:
        return f"the audio cannot be read, expected {EXPECTED}: {why}"
    return f"this is {kind.name}, which cannot be read ({why}): send {EXPECTED}"


def _rate_refused(rate: int) -> InvalidRequestError:
    return InvalidRequestError(
        f"the audio has {rate} samples a second, expected at most {_HIGHEST_RATE}",
        field="audio",
        limit=Limit("sample_rate", _HIGHEST_RATE, rate),
    )


@contextmanager
def _opened_by_ffmpeg(data: bytes | mmap.mmap, kind: SoundKind) -> Generator[OpenRecording]:
    try:
        import av  # noqa: PLC0415 - in an extra  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InvalidRequestError(
            f"this is {kind.name}, which is read only where FFmpeg is installed beside Hearth (the extra `media`): "
            f"send {EXPECTED}",
            field="audio",
        ) from error
    library = cast("Any", av)
    try:
        # The container is named, so that no bytes are taken for a list of other files to open.
        container = library.open(io.BytesIO(data), format=kind.demuxer)
    except (library.FFmpegError, ValueError) as error:
        raise InvalidRequestError(f"this is {kind.name}, but it is damaged: {error}", field="audio") from error
    with closing(container):
        if not container.streams.audio:
            raise InvalidRequestError(f"this is {kind.name} without any sound", field="audio")
        stream = container.streams.audio[0]
        rate, channels = int(stream.rate), int(stream.channels)
        if not 0 < rate <= _HIGHEST_RATE:
            raise _rate_refused(rate)
        seconds = float(stream.duration * stream.time_base) if stream.duration else 0.0
        yield OpenRecording(rate, _mixed(_decoded(library, container, stream), channels, rate), seconds)


def _decoded(library: Any, container: Any, stream: Any) -> Iterator[NDArray[Any]]:
    resampler = library.AudioResampler(format="fltp", layout=stream.layout, rate=stream.rate)
    frames = container.decode(stream)
    while True:
        try:
            decoded = next(frames, None)
            for planes in resampler.resample(decoded):
                yield np.ascontiguousarray(planes.to_ndarray().T)
        except library.FFmpegError:
            # As above: what was heard so far is all there is.
            return
        if decoded is None:
            return
