"""Retrieval: queries, passages, rankings."""

from dataclasses import dataclass

from deployments.values.headings import page_name, section_of, under_headings
from deployments.values.pickled import pickled_by_fields

_CITED_CHARACTERS = 100
"""Of a heading, in a citation."""


@dataclass(frozen=True, slots=True)
class Citation:
    """Where a passage stands.

    Attributes:
        source: The document; empty where it is not known.
        section: The heading that the passage stands under; empty where there is none below the document's title.
        page: The page that it begins on, from 1; 0 where it is not known.
    """

    source: str
    section: str = ""
    page: int = 0

    @property
    def text(self) -> str:
        """What people are told, such as "pump.pdf (Oil change, page 12)"; empty where nothing is known.

        It begins with the document. Section and page stand behind it, where they are known.
        """
        is_long = len(self.section) > _CITED_CHARACTERS
        section = f"{self.section[:_CITED_CHARACTERS].rstrip()}…" if is_long else self.section
        place = ", ".join(part for part in (section, page_name(self.page)) if part)
        return f"{self.source} ({place})" if self.source and place else self.source or place


@pickled_by_fields
@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document that was found for a question.

    Attributes:
        text: The passage itself, without its headings.
        source: The document it comes from, as its ingestion named it.
        headings: Where in the document it stands, such as "Install > On Debian"; empty where it is not known.
        page: The page that it begins on, from 1; 0 where it is not known.
        score: How well it fits the question, higher is better. Scores of one answer compare with each other and
            with nothing else: their scale depends on the collection's metric and on the reranker.
    """

    text: str
    source: str
    headings: str = ""
    score: float = 0.0
    page: int = 0

    def embedded_text(self) -> str:
        """Return the text that models see: the passage under its headings."""
        return under_headings(self.headings, self.text)

    @property
    def citation(self) -> Citation:
        """Where it stands. If its document is not known, all of its headings are the section."""
        return Citation(self.source, section_of(self.headings) if self.source else self.headings, self.page)


@pickled_by_fields
@dataclass(frozen=True, slots=True)
class RetrievalQuery:
    """What to look for.

    `collection` empty and `top_k` 0 stand for the configured defaults.
    """

    text: str
    collection: str = ""
    top_k: int = 0
    rerank: bool = False


@pickled_by_fields
@dataclass(frozen=True, slots=True)
class Ranking:
    """A place in a reranked list: which passage, by its index in what was given, and how well it fits."""

    index: int
    score: float
