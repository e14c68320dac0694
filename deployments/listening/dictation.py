"""Numbers and codes that are dictated: said a few digits or letters at a time, with a breath in between."""

import re
from itertools import takewhile

from deployments.text.words import bare

_DIGITS = frozenset("zero oh one two three four five six seven eight nine".split())
_REPEATS = frozenset({"double", "triple"})
_NOT_SPELLED = frozenset({"a", "i", "o"})
_NAMED_NEARBY = 3
_NAMES = frozenset(
    "number no code pin id phone telephone mobile cell account card zip postcode postal extension serial reference "
    "booking order invoice licence license plate passport vin iban password".split()
)
"""Words that a number or a code follows, in English. Digits and letters speak for themselves in any language."""
_ENOUGH = 3
_A_YEAR = re.compile(r"(1[89]|20)\d\d")
_SYMBOLS = re.compile(r"[^\W_]")


def is_dictating(transcript: str) -> bool:
    """Say whether somebody who has fallen silent may be in the middle of a number or a code.

    So it is where what they said ends with three digits or letters, or with fewer behind a word such as "number"; not
    with a year, or with a question.
    """
    words = transcript.split()
    if not words or words[-1].endswith(("?", "!")):
        return False
    spelled = list(takewhile(_is_spelled, reversed(words)))
    symbols = sum(_count(word) for word in spelled)
    if len(spelled) == 1 and _A_YEAR.fullmatch(bare(spelled[0])):
        return False
    before = words[: len(words) - len(spelled)][-_NAMED_NEARBY:]
    return symbols >= _ENOUGH or (symbols > 0 and any(bare(word) in _NAMES for word in before))


def _is_spelled(word: str) -> bool:
    """Say whether a word is digits, a single letter, a code such as "B7K", or the name of a digit."""
    plain = bare(word)
    if any(character.isdigit() for character in plain):
        return not _is_quantity(plain)
    return plain in _DIGITS or plain in _REPEATS or (len(plain) == 1 and plain.isalpha() and plain not in _NOT_SPELLED)


def _is_quantity(plain: str) -> bool:
    """Say whether digits stand before a unit or an ending, as in "5th", "300km" and "1980s"."""
    return re.fullmatch(r"\d+[a-z]{2,}|\d+s", plain) is not None


def _count(word: str) -> int:
    plain = bare(word)
    return 1 if plain in _DIGITS or plain in _REPEATS else len(_SYMBOLS.findall(plain))
