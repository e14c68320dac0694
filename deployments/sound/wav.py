"""The headers of WAV files, as programs really write them: with sizes that are not true, and chunks in any order."""

import struct
from dataclasses import dataclass
from typing import Protocol, overload

from deployments.errors import InvalidRequestError

PCM, FLOAT, ALAW, MULAW = 1, 3, 6, 7
CODEC_NAMES = {
    0x0002: "Microsoft ADPCM",
    0x0011: "IMA ADPCM",
    0x0014: "G.723 ADPCM",
    0x0031: "GSM 6.10",
    0x0040: "G.721 ADPCM",
    0x0045: "G.726 ADPCM",
    0x0050: "MPEG",
    0x0055: "MP3",
    0x0065: "G.722 ADPCM",
    0x00FF: "AAC",
    0x0161: "Windows Media Audio",
    0x028F: "G.722 ADPCM",
    0x674F: "Vorbis",
    0xA109: "Speex",
    0xF1AC: "FLAC",
}
_EXTENSIBLE = 0xFFFE
_RIFF = (b"RIFF", b"RF64", b"BW64")
_FORMAT_BYTES = 16
_BITS_AT = 14
_ROOMS = (8, 16, 24, 32)
_SUBFORMAT_AT = 24
_DS64_BYTES = 16
_SIZE_IN_DS64 = 0xFFFFFFFF
_CHUNK_HEAD = 8
"""Bytes of the name and the size of a chunk."""
_LIKELY_CHUNK = 1 << 24
_MOST_CHUNKS = 1024
"""Of a header that is read anew with each message of a stream until it is whole."""
LONGEST_HEADER = 1 << 20
"""Bytes before the sound. Recorders put names, pictures and room for RF64 there; a megabyte is more than those take."""


class Bytes(Protocol):
    """What a header is read from: bytes, or a file that is mapped into memory."""

    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, key: int, /) -> int: ...
    @overload
    def __getitem__(self, key: slice, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class WavFormat:
    """How the samples of a WAV file are written.

    Attributes:
        codec: `PCM`, `FLOAT`, `ALAW`, `MULAW` or another number of the format; that of the sub-format where the header
            is extensible.
        channels: Interleaved.
        rate: Samples a second.
        bits: Of a sample, with those that only fill it up: 32 for 24 bits that stand in four bytes.
    """

    codec: int
    channels: int
    rate: int
    bits: int

    @property
    def codec_name(self) -> str:
        """What people call the codec."""
        return CODEC_NAMES.get(self.codec, f"format {self.codec:#06x}")


@dataclass(frozen=True, slots=True)
class WavHeader:
    """What stands in front of the sound of a WAV file.

    Attributes:
        format: How samples are written.
        format_chunk: The same as it stands in the file.
        start: Where the sound begins, in bytes.
        length: How many bytes of sound the header promises; None where it does not know.
        file_bytes: How long the whole file is, as the header says; 0 where it does not know.
        is_regular: Whether the format stands in front of the sound, as it should, and says how wide samples are.
    """

    format: WavFormat
    format_chunk: bytes
    start: int
    length: int | None
    is_regular: bool = True
    file_bytes: int = 0

    def end(self, data: Bytes) -> int:
        """Return where the sound of a whole file ends.

        A promise is believed only where the file ends there or a chunk follows: a header that was never completed
        promises too little or too much.
        """
        if self.length is None:
            return len(data)
        end = self.start + self.length
        return end if end <= len(data) and _may_be_chunk(data, end + self.length % 2) else len(data)

    def is_followed_by_chunk(self, behind: bytes) -> bool | None:
        """Say whether bytes behind the promised sound are names, pictures or marks, of a file whose end is not known.

        Else they are sound: the promise was made before all of it was there. None while too few bytes are known.
        """
        length = self.length or 0
        # Chunks begin at even places; not all programs know that.
        begins = (0, 1) if length % 2 else (0,)
        if len(behind) < _CHUNK_HEAD + begins[-1]:
            return None
        promises_more = self.start + length + _CHUNK_HEAD <= self.file_bytes
        return any(_is_chunk_head(behind[at : at + _CHUNK_HEAD], promises_more) for at in begins)


def may_begin_wav(data: Bytes) -> bool:
    """Say whether so many bytes, or fewer than a header has, may begin a WAV file."""
    head = data[:12]
    return bool(head) and any(
        head[:4] == name[: len(head)] and head[8:] == b"WAVE"[: max(0, len(head) - 8)] for name in _RIFF
    )


def read_header(data: Bytes) -> WavHeader | None:
    """Return the header that bytes begin with; None while it is not whole, so that more bytes may complete it.

    Raises:
        InvalidRequestError: It can never become one that says how the sound is written.
    """
    at = 12
    chunk = b""
    long_size: int | None = None
    file_bytes = _file_bytes(struct.unpack("<I", data[4:8])[0]) if len(data) > at else 0
    for _ in range(_MOST_CHUNKS):
        if at + 8 > len(data):
            return None
        name, size = struct.unpack("<4sI", data[at : at + 8])
        at += 8
        if name == b"data":
            if not chunk:
                return _format_behind(data, at, size)
            length = long_size if size == _SIZE_IN_DS64 else size
            found, stated = _read_format(chunk), _stated_bits(chunk)
            return WavHeader(found, chunk, at, length or None, found.bits == stated, file_bytes)
        if at + size > LONGEST_HEADER:
            raise InvalidRequestError("a WAV header without a data chunk", field="audio")
        if at + size > len(data):
            return None
        match name:
            case b"fmt ":
                chunk = data[at : at + size]
                _read_format(chunk)
            case b"ds64" if size >= _DS64_BYTES:
                file_size, long_size = struct.unpack("<QQ", data[at : at + 16])
                file_bytes = _file_bytes(file_size)
            case _:
                pass
        at += size + size % 2
    raise InvalidRequestError("a WAV header without a data chunk", field="audio")


def without_asides(begun: bytes) -> tuple[bytes, int]:
    """Return a header that is not whole without its names, pictures and room: what has to be kept until it is.

    Also returns how many bytes of the last of those chunks are still to come; they need not be kept either.
    """
    at = 12
    kept = [begun[:at]]
    while at + _CHUNK_HEAD <= len(begun):
        name, size = struct.unpack("<4sI", begun[at : at + _CHUNK_HEAD])
        end = at + _CHUNK_HEAD + size + size % 2
        is_aside = name not in {b"fmt ", b"ds64", b"data"}
        if is_aside and end >= len(begun):
            return b"".join(kept), end - len(begun)
        if name == b"data" or end > len(begun):
            break
        if not is_aside:
            kept.append(begun[at:end])
        at = end
    return b"".join((*kept, begun[at:])), 0


def _file_bytes(size: int) -> int:
    """Return how long a file is by the size that its header states; 0 where it states none."""
    return 0 if size in {0, _SIZE_IN_DS64} else size + _CHUNK_HEAD


def _format_behind(data: Bytes, start: int, size: int) -> WavHeader | None:
    """Return the header of a file whose format stands behind its sound."""
    at = start + size + size % 2
    if not 0 < size < _SIZE_IN_DS64:
        raise InvalidRequestError("a WAV header without a format", field="audio")
    for _ in range(_MOST_CHUNKS):
        if at + 8 > len(data):
            return None
        name, length = struct.unpack("<4sI", data[at : at + 8])
        if name == b"fmt " and at + 8 + length <= len(data):
            chunk = data[at + 8 : at + 8 + length]
            return WavHeader(_read_format(chunk), chunk, start, size, is_regular=False)
        at += 8 + length + length % 2
    raise InvalidRequestError("a WAV header without a format", field="audio")


def _read_format(chunk: bytes) -> WavFormat:
    if len(chunk) < _FORMAT_BYTES:
        raise InvalidRequestError("a WAV header whose format is cut short", field="audio")
    codec, channels, rate, _, frame_bytes, bits = struct.unpack_from("<HHIIHH", chunk)
    if codec == _EXTENSIBLE and len(chunk) >= _SUBFORMAT_AT + 2:
        codec = struct.unpack_from("<H", chunk, _SUBFORMAT_AT)[0]
    if codec == PCM and channels:
        bits = _filled_up(bits, 8 * frame_bytes // channels)
    return WavFormat(codec, channels, rate, bits)


def _filled_up(bits: int, room: int) -> int:
    """Return how wide samples are that stand in so much room. The bits that count are the upper ones.

    A frame is believed only where bits alone cannot be right, or are 24: others say 16 and count a frame wrongly.
    """
    is_odd = bits % 8 > 0 or bits == 24  # noqa: PLR2004 - as above
    return room if is_odd and room in _ROOMS and room > bits else bits


def _stated_bits(chunk: bytes) -> int:
    return struct.unpack_from("<H", chunk, _BITS_AT)[0]


def _may_be_chunk(data: Bytes, at: int) -> bool:
    """Say whether a file ends there, but for padding, or goes on with a chunk that ends within it."""
    rest = len(data) - at
    if rest < _CHUNK_HEAD:
        return True
    name, size = struct.unpack("<4sI", data[at : at + _CHUNK_HEAD])
    return _is_name(name) and at + _CHUNK_HEAD + size <= len(data)


def _is_chunk_head(head: bytes, is_promised: bool) -> bool:
    """Say whether bytes are the name and the size of a chunk; samples hardly ever look so."""
    name, size = struct.unpack("<4sI", head)
    return _is_name(name) and (is_promised or size <= _LIKELY_CHUNK)


def _is_name(name: bytes) -> bool:
    return all(32 <= byte < 127 for byte in name)  # noqa: PLR2004 - printable
