"""Documents: what is put into a collection, what is stored of it, what is reported."""

from dataclasses import dataclass, field
from enum import StrEnum

from deployments.values.headings import heading_path, under_headings


class TextFormat(StrEnum):
    """How the text of a document is to be read."""

    PLAIN = "plain"
    MARKDOWN = "markdown"


@dataclass(frozen=True, slots=True)
class DocumentPosition:
    """A place in a document, between two parts of it.

    Attributes:
        chunk_index: Index of the next chunk, from 0.
        headings: The headings that apply there, by their level, outermost first; empty where a level has none.
        version: The document's version, as made with its first part.
        page: The page, from 1; 0 where the document has no pages.
    """

    chunk_index: int = 0
    headings: tuple[str, ...] = ()
    version: str = ""
    page: int = 0


@dataclass(frozen=True, slots=True)
class Document:
    """A document, or one part of a long one, to be put into a collection.

    Attributes:
        source: Names it: ingesting the same source again replaces it.
        text: The text of the document, or of the part.
        title: Its title; empty to take its first heading, else its file name.
        format: How to read the text.
        collection: Empty for the configured default.
        position: Where in the document the part begins.
        more_follows: Whether another part comes after this one.
        digest: Differs between two contents of the document, so that one can ask whether this one is there already.
    """

    source: str
    text: str
    title: str = ""
    format: TextFormat = TextFormat.PLAIN
    collection: str = ""
    position: DocumentPosition = field(default_factory=DocumentPosition)
    more_follows: bool = False
    digest: str = ""


@dataclass(frozen=True, slots=True)
class DocumentVersion:
    """One content of a document.

    Attributes:
        source: Names the document.
        version: Its name, unique among all versions of all documents, as `deployments.values.versions` makes it.
        digest: As `Document.digest`.
    """

    source: str
    version: str
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Placement:
    """What became of a version of which all chunks are in.

    Attributes:
        current: The version that is found now: this one, or one that began later and was finished before it.
        removed: Chunks of other versions that are gone.
    """

    current: str
    removed: int = 0


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document that is whole in its collection.

    Attributes:
        source: Names it.
        chunks: How many it has.
        digest: What it was ingested with; empty where there was none.
    """

    source: str
    chunks: int
    digest: str


@dataclass(frozen=True, slots=True)
class DocumentListing:
    """The documents of a collection, or a part of them.

    Attributes:
        documents: Those that are whole.
        too_many: Whether there are too many for one answer; then none is given.
        exists: Whether there is such a collection.
    """

    documents: tuple[StoredDocument, ...] = ()
    too_many: bool = False
    exists: bool = True


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What became of a document.

    Attributes:
        chunks: Chunks written.
        next: Where the next part of the same document begins.
        removed: Chunks of the version before that are gone now.
    """

    chunks: int
    next: DocumentPosition
    removed: int = 0


CHUNKING = "5"
"""The version of the way in which documents are cut. Another version cuts other chunks from the same text."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a document.

    Attributes:
        text: The piece as plain text, Markdown's marks removed.
        headings: The headings above it, outermost first.
        page: The page that it begins on, from 1; 0 where the document has no pages.
    """

    text: str
    headings: tuple[str, ...]
    page: int = 0

    def embedded_text(self) -> str:
        """Return the text that models see: the piece under its headings."""
        return under_headings(heading_path(self.headings), self.text)
