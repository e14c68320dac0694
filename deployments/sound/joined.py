"""Several sound files that were put behind each other, in one file: where each of them begins.

The libraries that read files stop at the end of the first one.
"""

import re
from collections.abc import Iterator
from typing import Protocol, overload

from deployments.sound.kinds import SoundKind, begins_mp3_frame
from deployments.sound.wav import WavHeader, may_begin_wav

_FLAC = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
_OGG_PAGE = re.compile(rb"OggS\x00[\x00-\x07]", re.DOTALL)
_FIRST_PAGE = 2
_MP3_LENGTH = re.compile(rb"Xing|Info")
_MP3_LENGTH_AT = (36, 21, 13, 38, 23, 15)
"""How far behind the head of its frame the length of an MP3 stands: by version and channels, and with a checksum."""


class Joinable(Protocol):
    """Bytes, or a file that is mapped into memory."""

    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, key: int, /) -> int: ...
    @overload
    def __getitem__(self, key: slice, /) -> bytes: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...


def joined_at(data: Joinable, kind: SoundKind | None, header: WavHeader | None) -> list[int]:
    """Return where further files begin within one.

    Args:
        data: The file.
        kind: Its kind; None for WAV.
        header: That of a WAV file.
    """
    if header is not None:
        return _wav(data, header)
    match kind.name if kind else "":
        case "FLAC":
            # The first one may stand behind a tag.
            return [found.start() for found in _FLAC.finditer(data)][1:]
        case "Ogg":
            return list(_ogg(data))
        case "MP3":
            return list(_mp3(data))
        case _:
            return []


def _wav(data: Joinable, header: WavHeader) -> list[int]:
    if header.length is None:
        return []
    end = header.end(data)
    at = end + header.length % 2
    return [at] if len(data) - at > 12 and may_begin_wav(data[at : at + 12]) else []  # noqa: PLR2004 - as it compares


def _ogg(data: Joinable) -> Iterator[int]:
    """Yield where a first page stands behind others: the streams of one file all begin before any of them goes on."""
    goes_on = False
    for page in _OGG_PAGE.finditer(data):
        is_first = bool(page[0][5] & _FIRST_PAGE)
        if is_first and goes_on:
            yield page.start()
        goes_on = not is_first


def _mp3(data: Joinable) -> Iterator[int]:
    """Yield where a frame tells a length, behind the first one that does."""
    begins = (
        found.start() - behind
        for found in _MP3_LENGTH.finditer(data)
        for behind in _MP3_LENGTH_AT
        if found.start() >= behind and begins_mp3_frame(data[found.start() - behind : found.start()])
    )
    next(begins, None)
    yield from begins
