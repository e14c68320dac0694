"""Whether a fact stands in a text that was spoken and heard: "E-17" is heard as "E17", "15:00" as "fifteen hundred"."""

import re

_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_TENS = {name: 20 + 10 * at for at, name in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split())}
_NUMBERS = {name: value for value, name in enumerate(_UNITS)} | _TENS
_DIGIT = 10
_HOUR_DIGITS = 2
_ZERO = {"o", "oh"}
_SILENT = {"point", "dot", "a", "an", "the"}


def fact_holds(text: str, fact: str) -> bool:
    """Say whether one of a fact's wordings, separated by "|", stands in a text, both read as if spoken.

    Capitals, marks, articles and the way in which numbers are written do not count.
    """
    heard = f" {spoken(text)} "
    return any(f" {spoken(re.sub(r'[][]', '', wording))} " in heard for wording in fact.split("|"))


def spoken(text: str) -> str:
    """Return a text in the form in which it is compared: words joined by spaces, numbers that follow each other in one.

    >>> spoken("Check-in is at 15:00, room E-17."), spoken("check in is at fifteen hundred room e seventeen")
    ('check in is at 1500 room e 17', 'check in is at 1500 room e 17')
    """
    plain = re.sub(r"(?<=[a-z])(?=\d)|(?<=\d)(?=[a-z])", " ", text.lower().replace("’", "'").replace("'", ""))
    joined: list[str] = []
    tens = full_hour = False
    for word in re.findall(r"[a-z]+|\d+", plain):
        if word in _SILENT:
            continue
        number = word if word.isdigit() else "0" if word in _ZERO else str(_NUMBERS.get(word, ""))
        follows = bool(joined) and joined[-1].isdigit() and not full_hour
        if word == "hundred" and follows:
            joined[-1] += "00"
        elif word == "oclock" and follows:
            # A full hour: "15 o'clock" is how "15:00" is said.
            joined[-1] += "00" if len(joined[-1]) <= _HOUR_DIGITS else ""
        elif tens and number and 0 < int(number) < _DIGIT:
            joined[-1] = str(int(joined[-1]) + int(number))
        elif number and follows:
            joined[-1] += number
        else:
            joined.append(number or word)
        tens, full_hour = word in _TENS, word == "oclock"
    return " ".join(joined)
