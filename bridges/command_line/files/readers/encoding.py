"""Bytes into text: the encoding as the file marks it, UTF-8, or what is most likely."""

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass

from deployments.errors import InvalidRequestError

_MARKS: Sequence[tuple[bytes, str]] = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SAMPLE_BYTES = 200_000
_SHARE_OF_ZEROS = 0.2
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_MOST_CONTROL = 0.02
_WESTERN = frozenset(
    "cp1250 cp1252 cp1254 cp1257 cp1258 cp437 cp850 cp858 hp_roman8 iso8859_10 iso8859_13 iso8859_14 iso8859_15 "
    "iso8859_16 iso8859_2 iso8859_3 iso8859_4 iso8859_9 latin_1 mac_latin2 mac_roman mac_turkish mac_iceland ptcp154 "
    "cp1125 cp775 cp852 cp273 cp037 cp500 cp1026 cp1140".split()
)
"""Guesses for what is Windows-1252 in all likelihood: the same letters at other places."""
_UNDEFINED_IN_WESTERN = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")
_SHOWN = {"cp1252": "Windows-1252", "cp1251": "Windows-1251", "cp1253": "Windows-1253", "shift_jis": "Shift-JIS"}


@dataclass(frozen=True, slots=True)
class Decoded:
    """Text that was bytes.

    Attributes:
        text: Its lines end at line feeds.
        guesses: The encoding, where nothing in the file says it.
    """

    text: str
    guesses: tuple[str, ...] = ()


def decode(content: bytes) -> Decoded:
    """Return the text of a file.

    Raises:
        InvalidRequestError: It is not text.
    """
    mark, encoding = next(((mark, name) for mark, name in _MARKS if content.startswith(mark)), (b"", ""))
    if mark:
        return Decoded(_lines(content.removeprefix(mark).decode(encoding, "replace")))
    if encoding := _two_byte_encoding(content[:_SAMPLE_BYTES]):
        return Decoded(_lines(content.decode(encoding, "replace")), _guess(encoding))
    if len(_CONTROL.findall(content[:_SAMPLE_BYTES])) > len(content[:_SAMPLE_BYTES]) * _MOST_CONTROL:
        raise InvalidRequestError("it is not text")
    try:
        return Decoded(_lines(content.decode("utf-8")))
    except UnicodeDecodeError:
        encoding = _most_likely(content)
        return Decoded(_lines(content.decode(encoding, "replace")), _guess(encoding))


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _guess(encoding: str) -> tuple[str, ...]:
    return (f"its encoding is not marked: it was read as {_SHOWN.get(encoding, encoding.upper().replace('_', '-'))}",)


def _two_byte_encoding(sample: bytes) -> str:
    """Return which UTF-16 without a mark this is; empty where it is none."""
    pairs = len(sample) // 2
    for first_is_low, name in ((True, "utf-16-le"), (False, "utf-16-be")):
        low, high = (sample[0::2], sample[1::2]) if first_is_low else (sample[1::2], sample[0::2])
        spaces = sum(1 for one, other in zip(low, high, strict=False) if other == 0 and one in b" \r\n\t.,")
        if pairs and high.count(0) > low.count(0) and (high.count(0) > pairs * _SHARE_OF_ZEROS or spaces > pairs / 20):
            return name
    return ""


def _most_likely(content: bytes) -> str:
    # Imported where it is used: it comes with an extra.
    from charset_normalizer import from_bytes  # noqa: PLC0415

    best = from_bytes(content[:_SAMPLE_BYTES]).best()
    encoding = best.encoding if best else "cp1252"
    if encoding in _WESTERN:
        return "cp1252" if not _UNDEFINED_IN_WESTERN.search(content) else encoding
    return encoding
