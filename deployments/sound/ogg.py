"""The pages of an Ogg file, as far as they say whether Vorbis in it can be decoded at all (RFC 3533, RFC 5215)."""

import mmap
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

_MARK = b"OggS"
_HEAD = struct.Struct("<4sBBqIIIB")
_CHECKSUM_AT = 22
_CONTINUES = 255
"""The length of a segment behind which its packet goes on."""
_MOST_DAMAGED = 64
"""Each costs a look at the 64 kB that a page may have."""
_VORBIS = (b"\x01vorbis", b"\x03vorbis", b"\x05vorbis")
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True, slots=True)
class _Page:
    serial: int
    number: int
    segments: bytes
    body: bytes

    @property
    def size(self) -> int:
        return _HEAD.size + len(self.segments) + sum(self.segments)


def has_whole_headers(data: bytes | mmap.mmap) -> bool:
    """Say whether the headers are whole that Vorbis in an Ogg file cannot be decoded without; True for other codecs.

    libsndfile 1.2 says so, too, but never frees what it made of the first of them.
    """
    pages = _pages(data)
    first = next(pages, None)
    if first is None or not first.body.startswith(_VORBIS[0]):
        return True
    headers: list[bytes] = []
    begun, number = _take(first, b"", headers), first.number
    while len(headers) < len(_VORBIS):
        page = next((page for page in pages if page.serial == first.serial), None)
        number += 1
        if page is None or page.number != number:
            return False
        begun = _take(page, begun, headers)
    return all(map(bytes.startswith, headers, _VORBIS))


def _pages(data: bytes | mmap.mmap) -> Iterator[_Page]:
    """Yield the pages that are not damaged, up to where many are."""
    at = data.find(_MARK)
    damaged = 0
    while at >= 0 and damaged < _MOST_DAMAGED:
        page = _page(data, at)
        if page is None:
            damaged += 1
            at = data.find(_MARK, at + 1)
        else:
            yield page
            at = data.find(_MARK, at + page.size)


def _page(data: bytes | mmap.mmap, at: int) -> _Page | None:
    """Return the page at a place, None where it is damaged or cut off."""
    head = data[at : at + _HEAD.size]
    if len(head) < _HEAD.size:
        return None
    _, _, _, _, serial, number, checksum, count = _HEAD.unpack(head)
    begins = at + _HEAD.size + count
    segments = data[at + _HEAD.size : begins]
    body = data[begins : begins + sum(segments)]
    whole = head[:_CHECKSUM_AT] + bytes(4) + head[_CHECKSUM_AT + 4 :] + segments + body
    page = _Page(serial, number, segments, body)
    return page if len(whole) == page.size and _checksum(whole) == checksum else None


def _take(page: _Page, begun: bytes, packets: list[bytes]) -> bytes:
    """Take the packets that end in a page, the first behind what was begun before it; return what goes on."""
    at = 0
    for length in page.segments:
        begun += page.body[at : at + length]
        at += length
        if length < _CONTINUES:
            packets.append(begun)
            begun = b""
    return begun


def _checksum(data: bytes) -> int:
    """Return the sum that Ogg has: the polynomial of zlib's, with the bits the other way round and nothing inverted."""
    reflected = zlib.crc32(data.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(reflected.to_bytes(4, "little").translate(_REVERSED), "big")
