"""Whether a sentence of an answer stands in the passages it was made from.

A small language model adds things that it was not told, and joins things that do not belong together. The check
compares words and would rather refuse too much. It takes the sentence of the passages that is nearest to question and
answer together. What the answer says must stand in that sentence:

* each number, path and command-like word, and most of the other words that the question did not bring;
* what the question asks about, as far as that sentence names it ("in the barn" does not tell where the key is), and
  nothing else that it asks about and that stands in another sentence;
* one of several numbers only together with the others: which one is meant, words alone do not tell;
* some number, path or command-like word where that sentence has one: it is likely what was asked for;
* nothing denied that is affirmed there, nothing affirmed that is denied;
* no number of something cut short ("every second" of "every second Saturday").

A sentence that does not pass is replaced by a quotation.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deployments.text.sentences import leans_on_previous, split_sentences

SUPPORTED_SHARE = 0.85
"""Share of a sentence's new content words that must stand in the passages' sentence."""

_STEM_LENGTH = 5
_SHORTEST_PLURAL = 3
_SHORTEST_WORDS = 4
"""A fragment such as "The fire brigade." says nothing that could be held against a sentence."""
_DENIED_WORDS = 3
_WORD_IN_THE_MAKING = re.compile(r"\S+$")
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


@dataclass(frozen=True, slots=True)
class _Content:
    """What a text says, word by word.

    Attributes:
        exact: Numbers, paths and command-like words, in lower case.
        stems: The first letters of all words that carry content.
    """

    exact: frozenset[str]
    stems: frozenset[str]

    @classmethod
    def of(cls, text: str) -> "_Content":
        words = _words(text)
        exact = (_normal(word) for word in words if _NUMBER.search(word) or _COMMAND_LIKE.search(word))
        return cls(frozenset(exact), frozenset(_stems(words)))

    def numbers(self) -> set[str]:
        return {word for word in self.exact if _NUMBER.search(word)}

    def specific(self) -> set[str]:
        """Return the numbers, paths and command-like words that are more than an acronym."""
        return {word for word in self.exact if not word.isalpha()}


@dataclass(frozen=True, slots=True)
class _Unit:
    """A sentence of a passage, with the one before it where it begins with a pronoun."""

    text: str
    content: _Content


class Evidence:
    """What the sentences of an answer are held against: the sentences of passages, and the question.

    Args:
        passages: What was found, best first.
        question: That is answered.
    """

    def __init__(self, passages: Sequence[str], question: str) -> None:
        self._asked = _Content.of(question)
        self._units = [_Unit(text, _Content.of(text)) for passage in passages for text in _units(passage)]
        self._anywhere = frozenset[str]().union(*(unit.content.stems for unit in self._units))
        self._nearest = self._most(self._units, self._asked.stems)

    def supports(self, sentence: str) -> bool:
        """Say whether everything that a sentence says stands in the nearest sentence of the passages."""
        said = _Content.of(sentence)
        brings_nothing = not (said.stems - self._asked.stems or said.exact - self._asked.exact)
        if brings_nothing or len(_words(sentence)) < _SHORTEST_WORDS:
            return False
        nearest = self._most(self._nearest, said.stems)
        return any(_stands_in(unit, self._elsewhere(unit), sentence, said, self._asked) for unit in nearest)

    def may_support(self, beginning: str) -> bool:
        """Say whether a sentence with this beginning may still be supported; its last word may not be whole yet.

        False only where no end of the sentence could help, so that the model need not write it.
        """
        said = _Content.of(_WORD_IN_THE_MAKING.sub("", beginning))
        return any(not self._is_lost(unit, said) for unit in self._nearest)

    def is_nearest_in(self, passages: Sequence[str]) -> bool:
        """Say whether one of the sentences that are nearest to the question stands in one of these passages.

        A model that is shown only these can hardly say what `supports` would accept otherwise.
        """
        shown = {text for passage in passages for text in _units(passage)}
        return any(unit.text in shown for unit in self._nearest)

    def _is_lost(self, unit: _Unit, said: _Content) -> bool:
        there, new = unit.content, said.stems - self._asked.stems
        foreign = len(new - there.stems)
        most_of_it = len(there.stems - self._asked.stems)
        return bool(
            said.exact - self._asked.exact - there.exact
            or said.stems & self._asked.stems & self._elsewhere(unit)
            or (foreign and most_of_it / (most_of_it + foreign) < SUPPORTED_SHARE)
        )

    def _elsewhere(self, unit: _Unit) -> frozenset[str]:
        return self._anywhere - unit.content.stems

    @staticmethod
    def _most(units: Sequence[_Unit], stems: frozenset[str]) -> list[_Unit]:
        """Return the sentences that hold the most of some stems."""
        shared = [len(stems & unit.content.stems) for unit in units]
        return [unit for unit, count in zip(units, shared, strict=True) if count == max(shared)]


def _stands_in(unit: _Unit, elsewhere: frozenset[str], sentence: str, said: _Content, asked: _Content) -> bool:
    there = unit.content
    new = said.stems - asked.stems
    other_numbers = there.numbers() - said.exact - asked.exact
    left_out = there.specific() - asked.exact and not there.specific() & said.exact
    return not (
        said.exact - asked.exact - there.exact
        or (new and len(new & there.stems) / len(new) < SUPPORTED_SHARE)
        or asked.stems & there.stems - said.stems
        or said.stems & asked.stems & elsewhere
        or (said.numbers() - asked.exact and other_numbers)
        or left_out
        or _is_cut_short(sentence, unit.text)
        or not _same_polarity(sentence, said.stems, unit.text, there.stems)
    )


def _units(passage: str) -> list[str]:
    """Return the sentences of a passage; one that begins with a pronoun comes with the one before it."""
    units: list[str] = []
    for sentence in split_sentences(passage):
        units.append(f"{units[-1]} {sentence}" if units and leans_on_previous(sentence) else sentence)
    return units


def _words(text: str) -> list[str]:
    words = (match.group().strip(_EDGE) for match in _WORD.finditer(text))
    return [word for word in words if word]


def _normal(word: str) -> str:
    return word.lower().replace("’", "'")


def _stems(words: Iterable[str]) -> list[str]:
    """Return the stems of the words that carry content, in order."""
    normal = (_normal(word) for word in words)
    return [_stem(word) for word in normal if word not in _FUNCTION_WORDS and word not in _NEGATIONS]


def _stem(word: str) -> str:
    singular = word[:-1] if len(word) > _SHORTEST_PLURAL and word.endswith("s") and not word.endswith("ss") else word
    return singular[:_STEM_LENGTH]


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


def _same_polarity(sentence: str, said: frozenset[str], unit: str, there: frozenset[str]) -> bool:
    """Say whether `sentence` denies what `unit` denies, and does not affirm any of it."""
    denied_here, denied_there = _denied(sentence), _denied(unit)
    if denied_here:
        return bool(denied_here & denied_there)
    return not said & denied_there - (there - denied_there)


def _denied(sentence: str) -> set[str]:
    """Return the stems of the few content words behind each negation, up to the end of its clause."""
    denied: set[str] = set()
    for clause in _CLAUSE_END.split(_normal(sentence)):
        words = _words(clause)
        for index, word in enumerate(words):
            if word in _NEGATIONS or word.endswith("n't"):
                denied |= set(_stems(words[index + 1 :])[:_DENIED_WORDS])
    return denied
