"""Digits and letters as people say them one by one: "seven", "oh", "double five", "bravo", "forty five"."""

import re

DIGITS = {word: str(digit) for digit, word in enumerate("zero one two three four five six seven eight nine".split())}
DIGITS["oh"] = "0"
TEENS = {
    word: str(number)
    for number, word in enumerate(
        "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split(), 10
    )
}
TENS = {word: str(ten) for ten, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), 2)}
REPEATS = {"double": 2, "triple": 3}
LETTERS = {
    word: word[0]
    for word in (
        "alpha alfa bravo charlie delta echo foxtrot golf hotel india juliet juliett kilo lima mike november oscar "
        "papa quebec romeo sierra tango uniform victor whiskey whisky xray yankee zulu"
    ).split()
}
"""The spelling alphabet of radio and telephone."""
_GREAT = frozenset({"hundred", "thousand", "million"})
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_ALONE = re.compile(r"\d|(?<![^\W\d_])[^\W\d_](?![^\W\d_])")
_NOT_SPELLED = frozenset("ai")
"""Letters that are words of their own."""


def symbols_of(text: str) -> str | None:
    """Return the digits, and the letters that stand alone, of a text; "B seven K" and "b7k" give the same.

    None where it says an amount in words, such as "fifteen hundred", whose digits depend on how it is read.
    """
    words = [word.casefold() for word in _WORD.findall(text)]
    if not _GREAT.isdisjoint(words):
        return None
    return "".join(_symbols(word, words[at - 1] if at else "", (*words, "")[at + 1]) for at, word in enumerate(words))


def _symbols(word: str, before: str, behind: str) -> str:
    if word in TENS:
        # With the digit behind it, one number of two digits.
        return TENS[word] if DIGITS.get(behind, "0") != "0" else TENS[word] + "0"
    said = DIGITS.get(word) or TEENS.get(word) or LETTERS.get(word)
    if said is None:
        # Of "it's", no letter stands alone.
        said = "" if "'" in word or "’" in word else "".join(_ALONE.findall(word))
    said = "".join(symbol for symbol in said if symbol not in _NOT_SPELLED).replace("o", "0")
    return said * REPEATS.get(before, 1)
