"""What the deployments say to each other about speech: frozen values, free of model libraries."""

from dataclasses import dataclass, field
from enum import StrEnum


class TranscriptQuality(StrEnum):
    """How good a transcript is to be."""

    PARTIAL = "partial"
    """While somebody still speaks: soon, by the smaller model where there is one."""
    FINAL = "final"
    """For good, by the better model."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """Something that was said.

    Attributes:
        pcm: 16-bit little-endian mono PCM at 16 kHz.
        language: ISO 639-1 code, such as "en"; empty where it is to be detected.
    """

    pcm: bytes
    language: str = ""


@dataclass(frozen=True, slots=True)
class Recording:
    """An audio file of any kind that `deployments.sound.recording` reads, of any rate and number of channels.

    `language` is as in `Utterance`.
    """

    data: bytes
    language: str = ""


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was heard.

    Attributes:
        text: The words; empty where nobody spoke.
        language: The language that was given, or detected; empty where neither is known.
        seconds: How long the audio lasts.
    """

    text: str
    language: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Agreement:
    """What successive partial transcripts of a growing utterance agree on.

    Attributes:
        committed: Words that two transcripts in a row began with; never taken back.
        tentative: The words after them in the last transcript.
    """

    committed: tuple[str, ...] = ()
    tentative: tuple[str, ...] = ()

    @property
    def stable_text(self) -> str:
        """The committed words."""
        return " ".join(self.committed)

    @property
    def text(self) -> str:
        """All words, the committed ones first."""
        return " ".join((*self.committed, *self.tentative))


@dataclass(frozen=True, slots=True)
class PartialTranscript:
    """A partial transcript.

    Attributes:
        agreement: What is known of the words now.
        language: As in `Transcript`.
    """

    agreement: Agreement
    language: str = ""


@dataclass(frozen=True, slots=True)
class TurnEnding:
    """What an utterance was, should it end here.

    Attributes:
        text: Its transcript.
        language: As in `Transcript`.
        completion: Probability from 0 to 1 that the speaker has finished; None where nobody judged it.
    """

    text: str
    language: str = ""
    completion: float | None = None


@dataclass(frozen=True, slots=True)
class SpeechText:
    """Something to be said.

    Attributes:
        text: What, with its Markdown, HTML or SSML.
        voice: Name of the voice; empty for the default.
        language: ISO 639-1 code; empty for the voice's own.
        reference: A WAV file of a voice to imitate; empty for none.
        goes_on: Whether it goes on with what was said before, so that nobody waits for its first sound.
        is_speakable: Whether `text` has no markup any more, and a sentence in each line.
    """

    text: str
    voice: str = ""
    language: str = ""
    reference: bytes = b""
    goes_on: bool = False
    is_speakable: bool = False


@dataclass(frozen=True, slots=True)
class WordTime:
    """When a word is heard, in seconds from the beginning of its chunk."""

    word: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class SpokenChunk:
    """A piece of speech: a sentence, a clause, or some words of one.

    Attributes:
        pcm: 16-bit little-endian mono PCM.
        rate: Samples a second.
        text: What is said in it.
        words: When each word is heard.
        exact: Whether the times come from the synthesiser, and are not estimated.
    """

    pcm: bytes
    rate: int
    text: str
    words: tuple[WordTime, ...] = ()
    exact: bool = False

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.pcm) / (2 * self.rate)


@dataclass(frozen=True, slots=True)
class VoiceInfo:
    """A voice that can be asked for.

    Attributes:
        name: What `SpeechText.voice` calls it.
        language: ISO 639-1 code, empty where it is not known.
        kind: The engine that speaks it.
        created_at: When its files were made, RFC 3339; empty for one that comes with its engine.
    """

    name: str
    language: str
    kind: str
    created_at: str = ""


@dataclass(frozen=True, slots=True)
class Voices:
    """All voices at one time.

    Attributes:
        default: Name of the voice that speaks where none is named.
        built_in: Voices that come with the engine.
        custom: Voices out of the voice folder.
        faults: Folders that look like a voice and cannot be used, with the reason.
        scanned_at: When the voice folder was looked through, Unix seconds.
    """

    default: str
    built_in: tuple[VoiceInfo, ...] = ()
    custom: tuple[VoiceInfo, ...] = ()
    faults: tuple[str, ...] = field(default=())
    scanned_at: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all voices."""
        return tuple(voice.name for voice in (*self.built_in, *self.custom))
