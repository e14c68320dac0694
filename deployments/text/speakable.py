"""Text as it can be read aloud: without markup, links and emoji, and in sentences of bounded length.

What is written in signs, such as amounts, dates and units, stays as it is: `deployments.text.spoken_forms` puts it into
words once it is known which language is spoken.
"""

import re
import unicodedata
from collections.abc import Iterator

import emoji

from deployments.text.markup import BREAK, MarkupReader
from deployments.text.sentences import settled_sentence_end, split_sentences

_LONGEST = 300
_SHORTEST_OPENING = 12
"""Characters of an opening clause: a shorter one sounds cut off."""
_ENDS = ".!?:;,…。！？"
_CLAUSE_END = re.compile(r"(?<![0-9])[,;:—]\s+(?=[\w(\"“‘])|[,;:—]\s+(?=[^\W\d]|[(\"“‘])")
"""Not within "May 5, 2024", which is said as one."""
_URL = re.compile(
    r"(?:(?:https?|ftp)://(?:[^\s/?#<>()\[\]@]*@)?(?:www\.)?|\bwww\.)([^\s/?#<>()\[\]]*[^\W_])[^\s<>()\[\]]*"
)
_URL_TAIL = re.compile(r"""[.,;:!?'"”’*_~]+$""")
_KEYCAP = re.compile(r"([0-9])\ufe0f?\u20e3\ufe0f?")
_ARROW = re.compile(r"(?:^|\s*)(?:[→⇒➔➜➝➞⟶⟹➡]\ufe0f?|(?<=\s)[-=]+>(?=\s))\s*")
_BORDER = re.compile(r"(?<=\w)\s+[•·]\s+(?=\w)|(?<=[^\W\d]{2})\s+[>›»]\s+(?=[A-ZÀ-Þ])")
"""Between parts that stand in a row, such as "Settings > Display"."""
_SIGNS = {"➕": "+", "➖": "−", "✖️": "×", "✖": "×", "➗": "÷", "🔟": "10"}
_INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
_OPEN_END = re.compile(r"""(?<![.!?。！？])[.!?。！？]++["'”’」』)\]]*+\s*\Z""")
_EMPTY_BRACKETS = re.compile(r"\s+\(\s*\)")
"""What held but the mark of a source."""
_SPACE_BEFORE_MARK = re.compile(r"\s+([,.!?;:](?![\w]))")


def speakable(text: str) -> str:
    """Return what a voice is to say of `text`, a sentence in a line; empty where there is nothing to say.

    >>> speakable("**Yes**, see [the manual](https://example.com/m) 🙂")
    'Yes, see the manual.'
    """
    reader = SpeakableReader()
    return "\n".join([*reader.read(text), *reader.rest()])


class SpeakableReader:
    """Reads a text that is still being written, and says which of its sentences can be spoken.

    The sentences of all calls together are the same however the text was cut.
    """

    def __init__(self) -> None:
        self._markup = MarkupReader()
        self._open = ""
        self._said = 0
        self._looked_at = 0

    def read(self, text: str) -> list[str]:
        """Return the sentences that are whole now, given what was written since: nothing later changes them."""
        self._open += self._markup.read(text)
        return self._whole()

    def rest(self) -> list[str]:
        """Return the last sentences, when nothing more will be written."""
        self._open += self._markup.read("", is_last=True) + BREAK
        return self._whole()

    def opening_clause(self) -> str:
        """Take the first clause of the sentence that is not whole yet, as far as it was not taken; else empty."""
        end = opening_clause_end(self._open[self._said :])
        clause = _plain(self._open[self._said : self._said + end]) if end is not None else ""
        if end is None or not _says_something(clause):
            return ""
        self._said += end
        return clause

    def _whole(self) -> list[str]:
        sentences: list[str] = []
        while (end := self._end()) is not None:
            sentence = self._open[self._said : end]
            sentences.append(_ended(_plain(sentence)) if sentence.endswith(BREAK) else _plain(sentence))
            self._open, self._said, self._looked_at = self._open[end:], 0, 0
        return [sentence for sentence in sentences if _says_something(sentence)]

    def _end(self) -> int | None:
        """Return where the sentence ends that is not whole yet, None where that is not known."""
        block_end = self._open.find(BREAK, self._looked_at)
        end = settled_sentence_end(self._open if block_end < 0 else self._open[:block_end], self._looked_at)
        if end is not None or block_end >= 0:
            return block_end + 1 if end is None else end
        # A full stop behind the last word may still turn out to be an end.
        open_end = _OPEN_END.search(self._open, self._looked_at)
        self._looked_at = open_end.start() if open_end else len(self._open)
        return None


def spoken_sentences(text: str, *, opening_clause: bool = False) -> list[str]:
    """Return speakable text in the pieces in which it is spoken.

    Args:
        text: From `speakable`.
        opening_clause: Give the first clause by itself, for a voice that is slow.
    """
    sentences = [sentence for line in text.splitlines() for sentence in split_sentences(line)]
    pieces = [piece for sentence in sentences for piece in _bounded(sentence)]
    if opening_clause and pieces:
        end = opening_clause_end(pieces[0])
        if end is not None:
            pieces[:1] = [pieces[0][:end].rstrip(), pieces[0][end:]]
    return [piece for piece in pieces if _says_something(piece)]


def opening_clause_end(text: str) -> int | None:
    """Return where the first clause ends, behind the space after it; None where no clause can be said alone."""
    match = _CLAUSE_END.search(text, _SHORTEST_OPENING)
    return match.end() if match else None


def _plain(text: str) -> str:
    """Return text without what is not said of it: emoji, what is not seen, all of an address but its host."""
    text = _KEYCAP.sub(r"\1", _INVISIBLE.sub("", _URL.sub(_host, text.strip())))
    for sign, plain in _SIGNS.items():
        text = text.replace(sign, plain)
    text = emoji.replace_emoji(_BORDER.sub(", ", _ARROW.sub(", ", text)), " ")
    printable = "".join(" " if unicodedata.category(character) == "Cc" else character for character in text)
    plain = _EMPTY_BRACKETS.sub("", " ".join(printable.split()))
    return _SPACE_BEFORE_MARK.sub(r"\1", plain).lstrip(",; ")


def _host(url: re.Match[str]) -> str:
    tail = _URL_TAIL.search(url[0])
    return url[1] + (tail[0] if tail else "")


def _ended(sentence: str) -> str:
    is_ended = not sentence or sentence[-1] in _ENDS or sentence.rstrip("\"'”’»)]")[-1:] in {*".!?…。！？"}
    return sentence if is_ended else f"{sentence}."


def _says_something(text: str) -> bool:
    return any(character.isalnum() or character in "✓✗" for character in text)


def _bounded(sentence: str) -> Iterator[str]:
    """Yield a sentence in pieces that a voice can say at once, cut at a clause, else between words."""
    rest = sentence
    while len(rest) > _LONGEST:
        clauses = [match.end() for match in _CLAUSE_END.finditer(rest, 0, _LONGEST)]
        cut = clauses[-1] if clauses else rest.rfind(" ", 1, _LONGEST) + 1 or _LONGEST
        yield rest[:cut].strip()
        rest = rest[cut:]
    yield rest.strip()
