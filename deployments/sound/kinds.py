"""What kind of sound file bytes are, by what they begin with: for what is read by which library, and for refusals."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

_LOOKED_AT = 1 << 16


class Searchable(Protocol):
    """Bytes, or a file that is mapped into memory."""

    def __len__(self) -> int: ...
    def __getitem__(self, key: slice, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class SoundKind:
    """A kind of file.

    Attributes:
        name: What people call it, with its codec where that is known.
        demuxer: What FFmpeg calls the container, for a kind that only FFmpeg reads; empty for the others.
    """

    name: str
    demuxer: str = ""


_CODECS = {
    "WebM": ((b"A_OPUS", "Opus"), (b"A_VORBIS", "Vorbis"), (b"A_AAC", "AAC"), (b"A_FLAC", "FLAC"), (b"A_PCM", "PCM")),
    "M4A or MP4": ((b"mp4a", "AAC"), (b"alac", "ALAC"), (b"Opus", "Opus"), (b"fLaC", "FLAC"), (b"ac-3", "AC-3")),
    "3GP": ((b"samr", "AMR"), (b"sawb", "AMR wideband"), (b"mp4a", "AAC")),
}
_BEGINNINGS = (
    (b"#!AMR-WB\n", SoundKind("AMR wideband", "amr")),
    (b"#!AMR\n", SoundKind("AMR", "amr")),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", SoundKind("Windows Media Audio", "asf")),
    (b"wvpk", SoundKind("WavPack", "wv")),
    (b"MAC ", SoundKind("Monkey's Audio", "ape")),
    (b"TTA1", SoundKind("True Audio", "tta")),
    (b"FLV\x01", SoundKind("Flash video", "flv")),
    (b".RMF", SoundKind("RealMedia")),
    (b".ra\xfd", SoundKind("RealAudio")),
    (b"\x02#!SILK_V3", SoundKind("SILK")),
    (b"#!SILK_V3", SoundKind("SILK")),
    (b"MThd", SoundKind("MIDI, which holds notes and no sound")),
    (b"RIFX", SoundKind("RIFX, a WAV file with its bytes the other way round")),
    (b"fLaC", SoundKind("FLAC")),
    (b"FORM", SoundKind("AIFF")),
    (b"caff", SoundKind("Core Audio Format")),
    (b".snd", SoundKind("AU")),
    (b"riff\x2e\x91\xcf\x11", SoundKind("Wave64")),
    (b"Creative Voice File", SoundKind("Creative Voice")),
    (b"nut/multimedia", SoundKind("NUT", "nut")),
)
_ID3 = b"ID3"
_ID3_HEAD = 10
_ID3_HAS_FOOTER = 0x10
_FRAME_HEAD = 7
_FRAMES = 5
"""So many frames, each where the one before it says, are no raw samples."""
_AC3_KBITS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)
_MPEG_RATES = (44_100, 48_000, 32_000)
_MPEG_KBITS = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""By version and layer. Version 2.5 has those of 2."""


def kind_of(data: Searchable) -> SoundKind | None:
    """Return the kind of a file, or of the first piece of a stream; None for one that cannot be told by its beginning.

    A stream of raw samples may begin with any bytes, but hardly with four or more that name a kind.
    """
    head = data[:16]
    if head.startswith(b"OggS"):
        return _ogg(data[:256])
    if head.startswith(_ID3) and len(head) >= _ID3_HEAD and head[3] < 8:  # noqa: PLR2004 - the versions
        return _behind_tag(data)
    return _film(head, data) or _by_mark(data) or _by_frames(data)


def _film(head: bytes, data: Searchable) -> SoundKind | None:
    """Return the kind of a file that may hold pictures, too."""
    if head.startswith(b"\x1aE\xdf\xa3"):
        return SoundKind(_with_codec("WebM", data), "matroska")
    if head[4:8] == b"ftyp":
        return SoundKind(_with_codec("3GP" if head[8:10] == b"3g" else "M4A or MP4", data), "mov")
    return SoundKind("AVI", "avi") if head.startswith(b"RIFF") and head[8:12] == b"AVI " else None


def _by_mark(data: Searchable) -> SoundKind | None:
    return next((kind for beginning, kind in _BEGINNINGS if data[: len(beginning)] == beginning), None)


def _by_frames(data: Searchable, at: int = 0) -> SoundKind | None:
    return next((kind for kind, size in _FRAMED if _is_framed(data, size, at)), None)


def may_be_framed(data: Searchable) -> bool:
    """Say whether the first piece of a stream is too short to tell whether it is one of MP3, AAC or the like."""
    return any(_is_framed(data, size) is None for _, size in _FRAMED)


def adts_kind(data: Searchable) -> SoundKind | None:
    """Return the kind of a whole file that is a few frames of bare AAC: a mark of 12 bits, too few for a stream."""
    head = data[:2]
    return SoundKind("AAC", "aac") if len(head) == 2 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0 else None  # noqa: PLR2004


def begins_mp3_frame(head: bytes) -> bool:
    """Say whether bytes begin a frame of MP3, which is so of many that are none."""
    return len(head) >= _FRAME_HEAD and _mpeg_frame(head, 3) > 0


def _behind_tag(data: Searchable) -> SoundKind:
    """Return the kind of a file that begins with a tag of names and pictures, of which several kinds may be."""
    head = data[:_ID3_HEAD]
    size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
    at = _ID3_HEAD + size + (_ID3_HEAD if head[5] & _ID3_HAS_FOOTER else 0)
    if data[at : at + 4] == b"fLaC":
        return SoundKind("FLAC")
    return _by_frames(data, at) or SoundKind("MP3 or AAC")


def _is_framed(data: Searchable, frame_bytes: Callable[[bytes], int], at: int = 0) -> bool | None:
    """Say whether data is a row of frames; None where all that is there may be, but is too little."""
    for _ in range(_FRAMES):
        head = data[at : at + _FRAME_HEAD]
        if len(head) < _FRAME_HEAD:
            return None
        size = frame_bytes(head)
        if not size:
            return False
        at += size
    return True


def _mpeg_frame(head: bytes, layer: int) -> int:
    """Return how long a frame of MPEG audio is; 0 for bytes that begin none of that layer."""
    if head[0] != 0xFF or head[1] & 0xE0 != 0xE0 or 4 - (head[1] >> 1 & 3) != layer:  # noqa: PLR2004 - 11 bits
        return 0
    version, kbits, rate = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or kbits in {0, 15} or rate == 3:  # noqa: PLR2004 - none of these is anything
        return 0
    table = _MPEG_KBITS[1 if version == 3 else 2, layer]  # noqa: PLR2004 - the code of version 1
    hertz = _MPEG_RATES[rate] // {3: 1, 2: 2, 0: 4}[version]
    padding = head[2] >> 1 & 1
    if layer == 1:
        return (12 * table[kbits - 1] * 1000 // hertz + padding) * 4
    per_frame = 72 if layer == 3 and version != 3 else 144  # noqa: PLR2004 - as above
    return per_frame * table[kbits - 1] * 1000 // hertz + padding


def _adts_frame(head: bytes) -> int:
    if head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or head[2] >> 2 & 15 > 12:  # noqa: PLR2004 - 12 bits, a layer, a rate
        return 0
    size = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return size if size > _FRAME_HEAD else 0


def _ac3_frame(head: bytes) -> int:
    if head[:2] != b"\x0b\x77":
        return 0
    rate, code = head[4] >> 6, head[4] & 63
    if head[5] >> 3 > 10:  # noqa: PLR2004 - the last version before Enhanced AC-3
        return 2 * (((head[2] & 7) << 8 | head[3]) + 1)
    if rate == 3 or code >> 1 >= len(_AC3_KBITS):  # noqa: PLR2004 - no rate
        return 0
    kbits = _AC3_KBITS[code >> 1]
    return (kbits * 4, 2 * (kbits * 320 // 147 + (code & 1)), kbits * 6)[rate]


def _ts_packet(head: bytes) -> int:
    return 188 if head[0] == 0x47 and head[3] & 0x30 else 0  # noqa: PLR2004 - its mark


_FRAMED: tuple[tuple[SoundKind, Callable[[bytes], int]], ...] = (
    (SoundKind("MP3"), lambda head: _mpeg_frame(head, 3)),
    (SoundKind("MP2"), lambda head: _mpeg_frame(head, 2)),
    (SoundKind("MP1"), lambda head: _mpeg_frame(head, 1)),
    (SoundKind("AAC", "aac"), _adts_frame),
    (SoundKind("AC-3", "ac3"), _ac3_frame),
    (SoundKind("MPEG-TS", "mpegts"), _ts_packet),
)


def _with_codec(container: str, data: Searchable) -> str:
    # Where a file was written in one go, the tables that name its codec stand at its end.
    looked_at = data[:_LOOKED_AT] + data[max(_LOOKED_AT, len(data) - _LOOKED_AT) :]
    codec = next((name for mark, name in _CODECS[container] if mark in looked_at), "")
    return f"{container} ({codec})" if codec else container


def _ogg(head: bytes) -> SoundKind:
    if b"Speex   " in head:
        return SoundKind("Ogg (Speex)", "ogg")
    return SoundKind("Ogg (Theora), a film" if b"theora" in head else "Ogg")
