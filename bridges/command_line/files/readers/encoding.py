"""Bytes into text: the encoding as the file marks it, UTF-8, or what is most likely."""

import codecs
import re
from collections.abc import Mapping, Sequence
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
_NO_LETTERS = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\ufffd]")
_MOST_CONTROL = 0.02
_MOST_MARKED = 0.35
"""Of the letters of a text in Latin script, that are beyond ASCII."""
_FEWEST_MARKED = 20
"""Letters beyond ASCII from which on a text is too long to be Latin words that happen to have many of them."""
_OTHER_SCRIPTS = re.compile(
    r"cp(125[1356]|855|86[246]|874|932|949|950)$|iso8859_([5678]|11)$|koi8|mac_(cyrillic|greek)|shift_jis|euc_|gb|big5"
    r"|johab|tis|hz|iso2022|ptcp154|kz1048"
)
"""The encodings of scripts that are not Latin."""
_WESTERN_LETTERS = frozenset("äöüßÄÖÜéèêëÉÈÊàâÀçÇîïôùûœñÑáíóúÁÍÓÚåæøÅÆØìòõã€–—‘’‚“”„«»°§¿¡•…·£²³½¼×\xa0")
_WESTERN_SHARE = 0.8
_CENTRAL_EUROPEAN = frozenset({"Polish", "Czech", "Slovak", "Hungarian", "Croatian", "Slovene", "Romanian"})
_TURKISH = re.compile(rb"[\xf0\xfd\xfe\xdd\xd0\xde]")
"""Letters that Turkish and Icelandic have at the same places."""
_NOT_TURKISH = re.compile(rb"[\xe1\xed\xe6\xf3\xfa\xe9]")
_FEWEST_TURKISH = 2
_WINDOWS = re.compile(r"cp(125\d)")
_NOT_DECODED = "\ufffd"
_FEWEST_GOOD = 4
"""Letters beyond ASCII that are valid UTF-8, to each place that is not, in a text that is UTF-8 all the same."""
_LABELS: Mapping[str, str] = {
    label: encoding
    for encoding, labels in {
        "cp1252": "ascii us-ascii ansi_x3.4-1968 iso-8859-1 iso8859-1 iso_8859-1 latin1 l1 cp819 ibm819",
        "cp1254": "iso-8859-9 iso8859-9 iso_8859-9 iso88599 latin5 l5 x-cp1254",
        "cp874": "iso-8859-11 iso8859-11 iso885911 tis-620 dos-874",
        "gb18030": "gb2312 gb_2312 gb_2312-80 gbk x-gbk chinese csgb2312 iso-ir-58 gb18030 cp936",
        "cp932": "shift_jis shift-jis sjis x-sjis ms_kanji csshiftjis ms932 windows-31j",
        "cp949": "euc-kr cseuckr ks_c_5601-1987 ks_c_5601-1989 ksc5601 ksc_5601 korean windows-949",
        "big5hkscs": "big5 big5-hkscs cn-big5 csbig5 x-x-big5",
        "euc_jp": "euc-jp x-euc-jp",
        "iso2022_jp": "iso-2022-jp csiso2022jp",
        "iso8859_8": "iso-8859-8-i iso-8859-8-e logical visual",
        "mac_roman": "macintosh mac x-mac-roman",
        "mac_cyrillic": "x-mac-cyrillic x-mac-ukrainian",
        "koi8_u": "koi8-ru",
        # What is read one byte at a time up to its label is not written two bytes at a time.
        "utf-8": "utf-8 utf8 unicode-1-1-utf-8 x-unicode20utf8 utf-16 utf-16le utf-16be ucs-2 unicode csunicode",
    }.items()
    for label in labels.split()
}
"""The encodings that labels stand for, as the encoding standard of HTML has them where they say less than is meant."""
_OTHER_LABELS = re.compile(r"(?:iso-?8859-\d+|windows-\d+|x-cp125\d|cp-?\d+|ibm-?\d+|koi8-?[ru])")


@dataclass(frozen=True, slots=True)
class Decoded:
    """Text that was bytes.

    Attributes:
        text: Its lines end at line feeds.
        guesses: The encoding, where nothing in the file says it.
    """

    text: str
    guesses: tuple[str, ...] = ()


def decode(content: bytes, label: str = "") -> Decoded:
    """Return the text of a file.

    Args:
        content: The file.
        label: How it names its encoding; empty where it does not. One that is not known is passed over.

    Raises:
        InvalidRequestError: It is not text.
    """
    mark, encoding = next(((mark, name) for mark, name in _MARKS if content.startswith(mark)), (b"", ""))
    if mark:
        return Decoded(_text(content.removeprefix(mark).decode(encoding, "replace")))
    if encoding := _two_byte_encoding(content[:_SAMPLE_BYTES]):
        return Decoded(_text(content.decode(encoding, "replace")), _guess(encoding))
    if len(_CONTROL.findall(content[:_SAMPLE_BYTES])) > len(content[:_SAMPLE_BYTES]) * _MOST_CONTROL:
        raise InvalidRequestError("it is not text")
    said = _labelled(label)
    if said and said != "utf-8":
        text = content.decode(said, "replace")
        return Decoded(_lines(text), _replaced(text.count(_NOT_DECODED), said))
    return _decoded_utf8(content, is_said=bool(said))


def _decoded_utf8(content: bytes, *, is_said: bool) -> Decoded:
    """Return a text that is UTF-8, with what it holds beside, or is read as what is most likely."""
    text = content.decode("utf-8", "replace")
    bad = text.count(_NOT_DECODED) - content.count(_NOT_DECODED.encode())
    if not bad:
        return Decoded(_lines(text))
    good = sum(1 for character in text if not character.isascii()) - bad
    if good >= bad * (1 if is_said else _FEWEST_GOOD):
        return Decoded(_lines(text), _replaced(bad, "utf-8"))
    encoding = _most_likely(content)
    return Decoded(_lines(content.decode(encoding, "replace")), _guess(encoding))


def _labelled(label: str) -> str:
    """Return the encoding that a label stands for; empty where it is not known."""
    name = label.strip().lower()
    if name in _LABELS:
        return _LABELS[name]
    if not _OTHER_LABELS.fullmatch(name):
        return ""
    try:
        return codecs.lookup(name.removeprefix("x-")).name
    except LookupError:
        return ""


def _replaced(places: int, encoding: str) -> tuple[str, ...]:
    if not places:
        return ()
    what = "a character" if places == 1 else f"{places} characters"
    return (f"{what} in it cannot be read as {_name(encoding)}: {_NOT_DECODED} stands there",)


def _text(text: str) -> str:
    """Return the lines of what was read two or four bytes at a time, which makes letters of almost any bytes.

    Raises:
        InvalidRequestError: Too much of it is none.
    """
    sample = text[:_SAMPLE_BYTES]
    if len(_NO_LETTERS.findall(sample)) > len(sample) * _MOST_CONTROL:
        raise InvalidRequestError("it is not text")
    return _lines(text)


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _guess(encoding: str) -> tuple[str, ...]:
    return (f"its encoding is not marked: it was read as {_name(encoding)}",)


def _name(encoding: str) -> str:
    windows = _WINDOWS.fullmatch(encoding)
    return f"Windows-{windows[1]}" if windows else encoding.upper().replace("_", "-")


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

    sample = content[:_SAMPLE_BYTES]
    best = from_bytes(sample).best()
    encoding, language = (best.encoding, best.language) if best else ("", "")
    letters = sum(1 for byte in sample if chr(byte).isascii() and chr(byte).isalpha())
    marked = sum(1 for byte in sample if byte >= 0x80)  # noqa: PLR2004 - the end of ASCII
    is_dense = marked > _MOST_MARKED * (letters + marked)
    if is_dense and _OTHER_SCRIPTS.match(encoding):
        return encoding
    if is_dense and marked >= _FEWEST_MARKED:
        raise InvalidRequestError("its encoding is not known: save it as UTF-8")
    return _latin_encoding(sample, encoding, language)


def _latin_encoding(sample: bytes, encoding: str, language: str) -> str:
    """Return the encoding of a text in Latin script, of which the statistics of few letters say little."""
    if len(_TURKISH.findall(sample)) >= _FEWEST_TURKISH and not _NOT_TURKISH.search(sample):
        return "cp1254"
    if encoding == "cp1250" and language in _CENTRAL_EUROPEAN:
        return "cp1250"
    beyond = [character for character in sample.decode("cp1252", "replace") if not character.isascii()]
    if sum(character in _WESTERN_LETTERS for character in beyond) >= len(beyond) * _WESTERN_SHARE:
        return "cp1252"
    if encoding.startswith("mac_"):
        return "mac_roman"
    return "cp850" if encoding in {"cp437", "cp850", "cp858"} else "cp1252"
