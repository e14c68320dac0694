"""A text that is still being written, in the pieces in which it is spoken."""

import re

from deployments.text.sentences import is_sure_end, sentence_end
from deployments.text.speakable import opening_clause_end

_NEXT_ITEM = re.compile(r"\n(?=[ \t]*(?:[-*+•]|\d{1,3}[.)]|#{1,6})[ \t])")

_LONG = 80
"""Characters of a first piece. With so many, its first sound is heard after 30 ms by hibari and 120 ms by Piper; with
twice as many, after 200 ms by Piper."""


class SpokenPieces:
    """Cuts a growing text at the ends of its sentences and list items, and, at its beginning, of its first clause.

    A full stop at the very end of the text so far ends a sentence at once where that is sure. Otherwise the next token
    decides.
    """

    def __init__(self) -> None:
        self._text = ""
        self._began = False

    def add(self, text: str) -> None:
        """Take what was written."""
        self._text += text

    def take(self) -> str:
        """Return what can be spoken now, empty where nothing can be yet.

        It is every whole sentence that was not taken yet; before them, an opening clause by itself, where the first
        sentence is not whole yet, or so long that it is heard sooner.
        """
        end = self._last_end()
        if not self._began and (end is None or end > _LONG):
            clause_end = opening_clause_end(self._text)
            end = end if clause_end is None else clause_end
        return self._cut(end) if end is not None else ""

    def rest(self) -> str:
        """Return what is left when nothing more will be written."""
        return self._cut(len(self._text))

    def _last_end(self) -> int | None:
        if is_sure_end(self._text):
            return len(self._text)
        ends = [match.end() for match in _NEXT_ITEM.finditer(self._text) if self._text[: match.start()].strip()]
        end = sentence_end(self._text)
        while end is not None:
            ends.append(end)
            end = sentence_end(self._text, end)
        return max(ends, default=None)

    def _cut(self, end: int) -> str:
        piece, self._text = self._text[:end].strip(), self._text[end:]
        self._began = self._began or bool(piece)
        return piece
