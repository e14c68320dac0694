"""What the deployments say to each other: frozen values, free of protobuf, NATS and model libraries."""

from dataclasses import dataclass, field
from enum import StrEnum


class Role(StrEnum):
    """Who speaks in a message to a language model."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class Message:
    """One message to a language model."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question and its answer: an example in a prompt, or an earlier turn.

    `passages` are what the answer rests on, if it rests on any.
    """

    question: str
    answer: str
    passages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prompt:
    """Everything that a language model is to answer from, still in parts.

    The parts are put into messages, and cut to the model's context window, beside the model: see
    `deployments.prompt`.

    Attributes:
        system: The system prompt.
        question: The user's question.
        passages: Retrieved passages, best first.
        examples: How answers are to look. The same in every prompt, so that the model's prefix cache holds them.
        history: Earlier turns of the conversation, oldest first.
    """

    system: str
    question: str
    passages: tuple[str, ...] = ()
    examples: tuple[Exchange, ...] = ()
    history: tuple[Exchange, ...] = ()


@dataclass(frozen=True, slots=True)
class Generation:
    """How a language model is to generate.

    Attributes:
        max_tokens: Tokens after which the answer ends.
        temperature: 0 takes the likeliest token each time.
        stop: Texts at which the answer ends; they are not part of it.
    """

    max_tokens: int = 512
    temperature: float = 0.0
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answering:
    """How a chat is to use one language model: the crutches that a small one needs and a large one does not.

    Attributes:
        system_prompt: The default system prompt.
        passages: How many of the kept passages the model is shown.
        examples: Worked examples put before the question when passages are shown.
        check_sentences: Whether each sentence of an answer from passages is held against them before its tokens
            are released, and the passage quoted where the sentence does not stand in it.
        generation: Limits and sampling.
        greeting_prompt: The system prompt for a greeting.
        greetings: Worked greetings: who said their name, and how they were greeted.
        history: Earlier turns that the model is shown where it answers alone.
        history_with_passages: The same where it is shown passages.
    """

    system_prompt: str
    passages: int
    examples: tuple[Exchange, ...]
    check_sentences: bool
    generation: Generation
    greeting_prompt: str = ""
    greetings: tuple[Exchange, ...] = ()
    history: int = 0
    history_with_passages: int = 0


@dataclass(frozen=True, slots=True)
class ModelProfile:
    """What a language model says of itself.

    Attributes:
        description: Engine and model.
        answering: How it wants to be used.
        tokens_generated: Tokens made by the replica that answered, since its start.
    """

    description: str
    answering: Answering
    tokens_generated: int


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document that was found for a question.

    Attributes:
        text: The passage itself, without its headings.
        source: The document it comes from, as its ingestion named it.
        headings: Where in the document it stands, such as "Install > On Debian"; empty where it is not known.
        score: How well it fits the question, higher is better. Scores of one answer compare with each other and
            with nothing else: their scale depends on the collection's metric and on the reranker.
    """

    text: str
    source: str
    headings: str = ""
    score: float = 0.0

    def embedded_text(self) -> str:
        """Return the text that models see: the passage under its headings."""
        return f"{self.headings}\n{self.text}" if self.headings else self.text


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


@dataclass(frozen=True, slots=True)
class Preparation:
    """What was found and read for a question before it was whole.

    Attributes:
        question: The question as far as it was known.
        passages: What was found for it, best first.
        read: The passages of the prompt that the model has read, in its order.
        tokens_read: Prompt tokens that the model read for it, and for preparations of the same question before it.
        tokens_wasted: Of those, tokens read in vain, because other passages were found later.
    """

    question: str
    passages: tuple[Passage, ...] = ()
    read: tuple[str, ...] = ()
    tokens_read: int = 0
    tokens_wasted: int = 0

    def wasted_unless_kept(self, share: float) -> int:
        """Return the tokens read in vain when `share`, from 0 to 1, of what is not wasted yet is still of use."""
        return self.tokens_wasted + round((self.tokens_read - self.tokens_wasted) * (1.0 - share))


class PreparationUse(StrEnum):
    """What became of a preparation when the question was whole."""

    NONE = "none"
    """There was none."""
    KEPT = "kept"
    """It was the same question: the passages were taken, and the model has read them."""
    PREFIX = "prefix"
    """The question went on, and the first passages were found again: the model has read them."""
    THROWN_AWAY = "thrown_away"
    """Other passages were found, or others were first."""


@dataclass(frozen=True, slots=True)
class ChatQuestion:
    """A question to the assistant.

    `system_prompt` and `collection` empty and `top_k` 0 stand for the configured defaults. `history` are the turns
    before it, oldest first. `preparation` is what was found and read for the same question before it was whole.
    """

    text: str
    user_id: str = ""
    retrieve: bool = False
    rerank: bool = False
    top_k: int = 0
    collection: str = ""
    system_prompt: str = ""
    history: tuple[Exchange, ...] = ()
    preparation: Preparation | None = None


@dataclass(frozen=True, slots=True)
class AnswerToken:
    """A piece of an answer, as the model made it."""

    text: str


@dataclass(frozen=True, slots=True)
class AnswerEnd:
    """The end of an answer: the last item of its stream, and the only one of its kind.

    Attributes:
        passages: What the answer was made from, best first; empty where nothing was retrieved.
        used_retrieval: Whether passages were found and used.
        error: Why the answer is not whole, in a text for the client; empty where it is.
        error_kind: The error's kind where nothing could be answered or the answer broke off; empty where the
            answer stands, whatever `error` says beside it.
        stages: Seconds that each stage took, by name.
        preparation: What became of the question's preparation.
        preparation_kept: The share of what the model had read for it, from 0 to 1, that was of use.
    """

    passages: tuple[Passage, ...] = ()
    used_retrieval: bool = False
    error: str = ""
    error_kind: str = ""
    stages: dict[str, float] = field(default_factory=dict[str, float])
    preparation: PreparationUse = PreparationUse.NONE
    preparation_kept: float = 0.0


AnswerItem = AnswerToken | AnswerEnd


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
        version: Of the document, as made with its first part.
    """

    chunk_index: int = 0
    headings: tuple[str, ...] = ()
    version: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """A document, or one part of a long one, to be put into a collection.

    Attributes:
        source: Names it: ingesting the same source again replaces it.
        text: Of the document, or of the part.
        title: Empty for its first heading, else its file name.
        format: How to read the text.
        collection: Empty for the configured default.
        position: Where in the document the part begins.
        more_follows: Whether another part comes after this one.
        digest: Tells one content of the document from another, to whoever wants to know whether it is there already.
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
        version: Of all documents' versions, names this one: 32 hexadecimal digits.
        digest: As `Document.digest`.
    """

    source: str
    version: str
    digest: str = ""


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document that is whole in its collection.

    Attributes:
        source: Names it.
        chunks: How many it has.
        digest: That it was ingested with; empty where there was none.
    """

    source: str
    chunks: int
    digest: str


@dataclass(frozen=True, slots=True)
class DocumentListing:
    """The documents of a collection, or a part of them.

    Attributes:
        documents: That are whole.
        too_many: They are too many for once; none is given.
        exists: There is such a collection.
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


@dataclass(frozen=True, slots=True)
class ComponentStatus:
    """How one deployment, or one back end, is.

    Attributes:
        name: The deployment, or the back end.
        ready: Whether it can do its work now.
        detail: The engine and model in use, or what is wrong.
        required: Whether chat cannot answer without it.
        process_id: Of the replica that answered; 0 for a back end.
        resident_bytes: Memory of that process; 0 for a back end.
    """

    name: str
    ready: bool
    detail: str
    required: bool = True
    process_id: int = 0
    resident_bytes: int = 0
