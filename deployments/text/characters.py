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
