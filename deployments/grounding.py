"""Whether a sentence of an answer stands in the passages it was made from.

A small language model adds what it was not told. The check is lexical and errs towards refusing: a sentence
passes when each of its numbers, paths and command-like words is in the passages, when most of its other new words
are, when it neither denies what the passages affirm nor affirms what they deny, and when it does not stop at a
number of something that the passages name ("every second" of "every second Saturday"). What does not pass is
answered with a quotation instead.
"""

import re
from collections.abc import Iterable, Sequence

from deployments.sentences import split_sentences

SUPPORTED_SHARE = 0.85
"""Share of a sentence's new content words that must stand in the passages. Found by trying on 25 questions over a
manual: 11 answers were accepted, 10 of them right."""

_STEM_LENGTH = 5
_DENIED_WORDS = 3
_WORD = re.compile(r"[^\s,;:!?\"“”()\[\]{}<>]+")
_EDGE = ".'’`*_"
_CLAUSE_END = re.compile(r"[,;:.!?]\s|\bbut\b|\bbecause\b")
_NUMBER = re.compile(r"\d")
_COMMAND_LIKE = re.compile(r"[/\\_=@#$~]|\w\.\w|^-|\w-\d|[a-z][A-Z]|^[A-Z][A-Z0-9]{2,}$")
_NUMBER_WORDS = frozenset(
    """one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen twenty thirty forty
    fifty sixty seventy eighty ninety hundred thousand million half first second third fourth fifth sixth seventh
    eighth ninth tenth last next every""".split()
)
_NEGATIONS = frozenset("not no never none neither nor cannot without".split())
_FUNCTION_WORDS = frozenset(
    """a an the this that these those it its they them their there here he she his her him we our us you your i my
    me is are was were be been being am do does did done doing have has had having will would can could shall should
    may might must of in on at by for from to with within into onto over under about as than then so such and or but
    if when while where which who whom whose what why how because since until before after during between through
    also only just more most less least very much many some any all each every both either other another same own
    up down out off again further once s t ll re ve d yes okay well please note according passage document text
    answer question mentions states says mentioned stated following follows""".split()
)


def is_supported(sentence: str, passages: Sequence[str], question: str) -> bool:
    """Say whether `sentence` says nothing that `passages` do not.

    Words of the question count as known: repeating them claims nothing.
    """
    evidence = " ".join(passages)
    known = {_normal(word) for word in _words(evidence)} | {_normal(word) for word in _words(question)}
    stems = {word[:_STEM_LENGTH] for word in known}
    exact, other = _claims(sentence)
    if any(word not in known for word in exact):
        return False
    new = [word for word in other if word not in _FUNCTION_WORDS]
    standing = sum(word[:_STEM_LENGTH] in stems for word in new)
    if new and standing / len(new) < SUPPORTED_SHARE:
        return False
    return not _is_cut_short(sentence, evidence) and _same_polarity(sentence, passages)


def _words(text: str) -> list[str]:
    words = (match.group().strip(_EDGE) for match in _WORD.finditer(text))
    return [word for word in words if word]


def _normal(word: str) -> str:
    return word.lower().replace("’", "'")


def _claims(sentence: str) -> tuple[list[str], list[str]]:
    """Return the words that must stand as they are, and those of which most must, both in lower case."""
    exact: list[str] = []
    other: list[str] = []
    for word in _words(sentence):
        claims = exact if _NUMBER.search(word) or _COMMAND_LIKE.search(word) else other
        claims.append(_normal(word))
    return exact, other


def _is_cut_short(sentence: str, evidence: str) -> bool:
    """Say whether a sentence ends with a number that is, wherever it stands in the evidence, one of something."""
    words = _words(sentence)
    if not words:
        return False
    last = _normal(words[-1])
    if last not in _NUMBER_WORDS and not last.isdigit():
        return False
    following = re.findall(rf"(?<!\w){re.escape(last)}(?: ([^\W\d_]+))?", _normal(evidence))
    return bool(following) and all(word and word not in _FUNCTION_WORDS for word in following)


def _same_polarity(sentence: str, passages: Sequence[str]) -> bool:
    """Say whether `sentence` denies what the passages' nearest sentence denies, and affirms nothing of it."""
    content = _content_stems(_words(sentence))
    candidates = [candidate for passage in passages for candidate in split_sentences(passage)]
    if not content or not candidates:
        return True
    nearest = max(candidates, key=lambda candidate: len(content & _content_stems(_words(candidate))))
    denied_here, denied_there = _denied(sentence), _denied(nearest)
    if denied_here:
        return bool(denied_here & denied_there)
    affirmed_there = _content_stems(_words(nearest)) - denied_there
    return not content & denied_there - affirmed_there


def _denied(sentence: str) -> set[str]:
    """Return the stems of the few content words behind each negation, up to the end of its clause."""
    denied: set[str] = set()
    for clause in _CLAUSE_END.split(_normal(sentence)):
        words = _words(clause)
        for index, word in enumerate(words):
            if word in _NEGATIONS or word.endswith("n't"):
                denied |= set(_stems(words[index + 1 :])[:_DENIED_WORDS])
    return denied


def _stems(words: Iterable[str]) -> list[str]:
    """Return the stems of the words that carry content, in order."""
    normal = (_normal(word) for word in words)
    return [word[:_STEM_LENGTH] for word in normal if word not in _FUNCTION_WORDS and word not in _NEGATIONS]


def _content_stems(words: Iterable[str]) -> set[str]:
    return set(_stems(words))
