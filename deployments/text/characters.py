"""Characters that stand for the look of a text, written out as what they mean."""

import re
import unicodedata

_LIGATURES = str.maketrans({"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"})
_SOFT_HYPHEN = re.compile("\u00ad[ \t]*\n?[ \t]*(?=\\w)|\u00ad")
"""Where a word may be broken, and where it was."""
_UNSEEN = re.compile("[\u200b\u2060\ufeff\ud800-\udfff]")
"""Spaces without width, marks of the order of bytes, and halves of characters, which are none."""


def written_out(text: str) -> str:
    r"""Return a text without ligatures, soft hyphens and characters that nobody sees, in one Unicode form (NFC).

    >>> written_out("The \ufb01le of the no\u00adti\u00ad\nfied o\ufb03ce")
    'The file of the notified office'
    """
    return unicodedata.normalize("NFC", _UNSEEN.sub("", _SOFT_HYPHEN.sub("", text.translate(_LIGATURES))))


def well_formed(text: str) -> str:
    """Return a text with the halves of characters joined that stand together, and others replaced by U+FFFD.

    JSON can hold a half of a UTF-16 pair alone, which no other encoding can write.
    """
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class WellFormed:
    """Makes a text well formed that comes in pieces, between which a character may be cut into halves."""

    def __init__(self) -> None:
        self._half = ""

    def take(self, text: str, *, is_last: bool) -> str:
        """Return the next piece, without a half of a character at its end whose other half may follow."""
        text, self._half = self._half + text, ""
        if not is_last and "\ud800" <= text[-1:] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return well_formed(text)
