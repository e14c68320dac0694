"""What is written in signs, in the words that are spoken for it: "€5" is "five euros".

Only English is put into words here. Every other text is left to the voice as it is, because words of the wrong language
are worse than none. What is put into words is found by the rules of `deployments.text.english`, each on the text as it
was written, so that it is known which words are spoken for what.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from deployments.text.english import RULES

_JOINED = frozenset(".,;:!?)]}”’\"'…")


@dataclass(frozen=True, slots=True)
class SpokenWords:
    """Words as they are written, and the words that are spoken for them.

    Attributes:
        written: Such as "€5", or "5 km": what is written with a space may be spoken as one.
        spoken: Such as "five euros"; empty where nothing is spoken.
    """

    written: str
    spoken: str


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a text, and what is spoken for it; None where that is the part itself."""

    written: str
    spoken: str | None = None


def spoken_words(text: str, language: str) -> tuple[SpokenWords, ...]:
    """Return a text's words in order, with what is spoken for them.

    Args:
        text: Speakable.
        language: Of the voice: an ISO 639-1 code, with a region where that is known ("en-GB"); empty where unknown.

    >>> " ".join(word.spoken for word in spoken_words("It costs €5, not 5 km.", "en"))
    'It costs five euros, not five kilometers.'
    """
    tag = language.replace("_", "-").lower()
    if tag.split("-")[0] != "en":
        return tuple(SpokenWords(word, word) for word in text.split())
    return tuple(_words(_parts(text, tag)))


def _parts(text: str, language: str) -> Iterator[_Part]:
    """Yield a text in parts: what the first rule says that knows it, and what stands between."""
    found: dict[int, tuple[int, str]] = {}
    taken = bytearray(len(text))
    for rule in RULES:
        for match in rule.pattern.finditer(text):
            if any(taken[match.start() : match.end()]) or match.start() == match.end():
                continue
            spoken = rule.spoken(match, language)
            if spoken is not None:
                if match[0].endswith(".") and match.end() == len(text):
                    spoken = f"{spoken}."
                found[match.start()] = match.end(), spoken
                taken[match.start() : match.end()] = b"\1" * (match.end() - match.start())
    at = 0
    for start in sorted(found):
        end, spoken = found[start]
        if start > at:
            yield _Part(text[at:start])
        yield _Part(text[start:end], spoken)
        at = end
    if at < len(text):
        yield _Part(text[at:])


def _words(parts: Iterator[_Part]) -> Iterator[SpokenWords]:
    """Yield words; one ends at a space that is spoken as it is."""
    written, spoken = "", ""
    for part in parts:
        if part.spoken is not None:
            written, spoken = written + part.written, _joined(spoken, part.spoken, is_put=True)
            continue
        first, *others = part.written.split(" ")
        written, spoken = written + first, _joined(spoken, first, is_put=False)
        for other in others:
            if written:
                yield SpokenWords(written, " ".join(spoken.split()))
            written = spoken = other
    if written:
        yield SpokenWords(written, " ".join(spoken.split()))


def _joined(before: str, after: str, *, is_put: bool) -> str:
    """Join what is spoken, with a space where words meet that were written together: "16GB"."""
    if not before or not after or after[0] in _JOINED or before[-1] in "([{“‘\"'":
        return before + after
    is_word = before[-1].isalnum() and after[0].isalnum()
    return f"{before} {after}" if is_put or is_word else before + after
