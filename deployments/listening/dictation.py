"""Numbers and codes that are dictated: said a few digits or letters at a time, with a breath in between."""

import re
from itertools import takewhile

from deployments.listening.spelled import DIGITS, LETTERS, REPEATS, TEENS, TENS
from deployments.text.words import bare

_SAID = frozenset({*DIGITS, *TEENS, *TENS, *LETTERS, *REPEATS})
_MARKS = frozenset("dash hyphen slash underscore dot minus plus".split())
"""Marks within a code, after which it goes on."""
_NOT_SPELLED = frozenset({"a", "i", "o"})
_NAMED_NEARBY = 3
_NAMES = frozenset(
    "number no code pin id phone telephone mobile cell account card zip postcode postal extension serial reference "
    "booking order invoice licence license plate passport vin iban password".split()
)
"""Words that a number or a code follows, in English. Digits and letters speak for themselves in any language."""
_ENOUGH = 3
_A_YEAR = re.compile(r"(1[89]|20)\d\d")
_AMOUNT = re.compile(r"[$€£¥].*|.*[%€$£°]|\d{1,2}:\d\d|\d{1,3}(,\d{3})+|\d+[.,]\d{1,2}")
"""Sums of money, shares, times and numbers with a fraction. They are said in one breath."""
_A_FEW_DIGITS = re.compile(r"[1-9]\d{0,3}")
_SYMBOLS = re.compile(r"[^\W_]")


def is_dictating(transcript: str) -> bool:
    """Say whether somebody who has fallen silent may be in the middle of a number or a code.

    So it is where what they said ends with three digits or letters, or with fewer behind a word such as "number" or
    before one such as "dash"; not with a year, with one number of a few digits in a sentence, or with a question.
    """
    words = transcript.split()
    if not words or words[-1].endswith(("?", "!")):
        return False
    spelled = list(takewhile(_is_spelled, reversed(words)))
    symbols = sum(_count(word) for word in spelled)
    if len(spelled) == 1 and _A_YEAR.fullmatch(bare(spelled[0])):
        return False
    before = words[: len(words) - len(spelled)]
    if symbols and (bare(words[-1]) in _MARKS or any(bare(word) in _NAMES for word in before[-_NAMED_NEARBY:])):
        return True
    is_one_number = len(spelled) == 1 and _A_FEW_DIGITS.fullmatch(bare(spelled[0])) is not None
    return symbols >= _ENOUGH and not (is_one_number and before)


def _is_spelled(word: str) -> bool:
    """Say whether a word is digits, a single letter, a code such as "B7K", the name of one, or a mark in a code."""
    plain = bare(word)
    if any(character.isdigit() for character in plain):
        return not _is_quantity(plain) and not _AMOUNT.fullmatch(word.rstrip(".,;"))
    return plain in _SAID or plain in _MARKS or (len(plain) == 1 and plain.isalpha() and plain not in _NOT_SPELLED)


def _is_quantity(plain: str) -> bool:
    """Say whether digits stand before a unit or an ending, as in "5th", "300km" and "1980s"."""
    return re.fullmatch(r"\d+[a-z]{2,}|\d+s", plain) is not None


def _count(word: str) -> int:
    plain = bare(word)
    if plain in _MARKS:
        return 0
    return 1 if plain in _SAID else len(_SYMBOLS.findall(plain))
