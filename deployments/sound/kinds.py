"""What kind of sound file bytes are, by what they begin with: for what is read by which library, and for refusals."""

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
)
_ID3 = b"ID3"


def kind_of(data: Searchable) -> SoundKind | None:
    """Return the kind of a file, or of the first piece of a stream; None for one that cannot be told by its beginning.

    A stream of raw samples may begin with any bytes, but hardly with four or more that name a kind.
    """
    head = data[:16]
    if head.startswith(b"\x1aE\xdf\xa3"):
        return SoundKind(_with_codec("WebM", data), "matroska")
    if head[4:8] == b"ftyp":
        return SoundKind(_with_codec("3GP" if head[8:10] == b"3g" else "M4A or MP4", data), "mov")
    if head.startswith(b"OggS"):
        return _ogg(data[:256])
    if head.startswith(_ID3) and head[3:4] < b"\x08":
        return SoundKind("MP3")
    for beginning, kind in _BEGINNINGS:
        if head.startswith(beginning):
            return kind
    return None


def adts_kind(data: Searchable) -> SoundKind | None:
    """Return the kind of a whole file that is a bare stream of AAC frames: a mark of 12 bits, too few for a stream."""
    head = data[:2]
    return SoundKind("AAC", "aac") if len(head) == 2 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0 else None  # noqa: PLR2004


def _with_codec(container: str, data: Searchable) -> str:
    # Where a file was written in one go, the tables that name its codec stand at its end.
    looked_at = data[:_LOOKED_AT] + data[max(_LOOKED_AT, len(data) - _LOOKED_AT) :]
    codec = next((name for mark, name in _CODECS[container] if mark in looked_at), "")
    return f"{container} ({codec})" if codec else container


def _ogg(head: bytes) -> SoundKind:
    if b"Speex   " in head:
        return SoundKind("Ogg (Speex)", "ogg")
    return SoundKind("Ogg (Theora), a film" if b"theora" in head else "Ogg")
