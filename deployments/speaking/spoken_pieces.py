"""A text that is still being written, in the pieces in which it is spoken."""

from deployments.text.speakable import SpeakableReader, opening_clause_end, speakable

_LONG = 80
"""Characters of a first piece. With so many, its first sound is heard after 30 ms by hibari and 120 ms by Piper; with
twice as many, after 200 ms by Piper."""


class SpokenPieces:
    """Cuts a growing text at the ends of its sentences and list items, and, at its beginning, of its first clause.

    What is taken is speakable. It is the same sentences however the text was cut; only whether the first of them comes
    in two depends on how soon it was whole.
    """

    def __init__(self) -> None:
        self._reader = SpeakableReader()
        self._sentences: list[str] = []
        self._began = False

    def add(self, text: str) -> None:
        """Take what was written."""
        self._sentences += self._reader.read(text)

    def take(self) -> str:
        """Return what can be spoken now, a sentence in a line; empty where nothing can be yet.

        It is every whole sentence that was not taken yet; before them, an opening clause by itself, where the first
        sentence is not whole yet, or so long that it is heard sooner.
        """
        if self._began or (self._sentences and len(self._sentences[0]) <= _LONG):
            return self._all()
        clause = self._cut_clause() if self._sentences else self._reader.opening_clause()
        self._began = bool(clause)
        return clause or self._all()

    def rest(self, unfinished: str = "") -> str:
        """Return what is left when nothing more will be written.

        Args:
            unfinished: The end of the text that is no whole sentence, and is not spoken.
        """
        last = self._reader.rest()
        # It was made a sentence, with a full stop, and without its markup.
        forms = (unfinished, speakable(unfinished))
        if last and unfinished and any(_letters(last[-1]) in _letters(form) for form in forms):
            last.pop()
        self._sentences += last
        return self._all()

    def _cut_clause(self) -> str:
        end = opening_clause_end(self._sentences[0])
        if end is None:
            return ""
        clause, self._sentences[0] = self._sentences[0][:end].rstrip(), self._sentences[0][end:]
        return clause

    def _all(self) -> str:
        pieces, self._sentences = "\n".join(self._sentences), []
        self._began = self._began or bool(pieces)
        return pieces


def _letters(text: str) -> str:
    """Return the letters and digits of a text."""
    return "".join(character for character in text if character.isalnum())
