"""Retrieval: queries, passages, rankings."""

from dataclasses import dataclass

from deployments.values.headings import section_of, under_headings


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
    def section(self) -> str:
        """The innermost heading above it; empty where there is none below the document's title."""
        return section_of(self.headings)

    @property
    def citation(self) -> str:
        """What people are told that it comes from, such as "pump.pdf (Oil change, page 12)"; empty if nothing is known.

        It begins with the document. The section and the page stand behind it, where they are known.
        """
        page = f"page {self.page}" if self.page else ""
        if not self.source:
            return ", ".join(part for part in (self.headings, page) if part)
        place = ", ".join(part for part in (self.section, page) if part)
        return f"{self.source} ({place})" if place else self.source


@dataclass(frozen=True, slots=True)
class RetrievalQuery:
    """What to look for.

    `collection` empty and `top_k` 0 stand for the configured defaults.
    """

    text: str
    collection: str = ""
    top_k: int = 0
    rerank: bool = False


@dataclass(frozen=True, slots=True)
class Ranking:
    """A place in a reranked list: which passage, by its index in what was given, and how well it fits."""

    index: int
    score: float
