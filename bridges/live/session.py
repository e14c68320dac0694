"""One live audio session: what is known of it, and of the utterance that is being said in it."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum

from bridges.generated.messages.v1 import messages_pb2
from bridges.live.sound_reader import SoundReader
from bridges.live.turn import Turn
from deployments.errors import HearthError
from deployments.listening.listener import Listener
from deployments.listening.voice_activity import VoiceStream
from deployments.values.speech import Agreement, TurnEnding

Concluding = asyncio.Task[TurnEnding | HearthError]


class SessionState(StrEnum):
    """What the assistant does, as its client says."""

    LISTENING = "listening"
    RESPONDING = "responding"


class StreamStep(StrEnum):
    """The types of STTStreamMessage."""

    START = "start"
    CHUNK = "chunk"
    STATE_CHANGE = "state_change"
    END = "end"


@dataclass(slots=True, eq=False)
class LiveUtterance:
    """An utterance while it is being said.

    Attributes:
        parts: The transcripts, on their way, of what was said before its current part.
        said_before: The words of those parts, as the last partial transcript had them.
        agreement: What is known of the words of the current part.
        hearing: The partial transcript on its way.
        conclusion: The final transcript of the current part, on its way in case it ends here.
        part: Which part it is at.
        shown: The last partial transcript that was published.
        language: What was detected.
        reopened: The turn of the conversation that it goes on with.
        began_at: When it began, on the loop's clock.
        shown_at: When the first partial transcript was there, 0 before that.
        concluding: When the last final transcript of the current part was begun, and when it was there.
    """

    parts: list[Concluding] = field(default_factory=list[Concluding])
    said_before: str = ""
    agreement: Agreement = field(default_factory=Agreement)
    hearing: asyncio.Task[None] | None = None
    conclusion: Concluding | None = None
    part: int = 0
    shown: str = ""
    language: str = ""
    reopened: Turn | None = None
    began_at: float = 0.0
    shown_at: float = 0.0
    concluding: tuple[float, float] = (0.0, 0.0)

    @property
    def text(self) -> str:
        """All words that are known."""
        return " ".join(filter(None, (self.said_before, self.agreement.text)))

    @property
    def stable_text(self) -> str:
        """Those that later partial transcripts will not change."""
        return " ".join(filter(None, (self.said_before, self.agreement.stable_text)))

    @property
    def likely_text(self) -> str:
        """All words but the last, which is often cut in the middle, unless it will not change."""
        words, stable = self.text.split(), len(self.stable_text.split())
        return " ".join(words[: max(stable, len(words) - 1)])

    def cancel(self) -> None:
        """Stop all that is on its way."""
        for task in (*self.parts, self.hearing, self.conclusion):
            if task is not None:
                task.cancel()


@dataclass(slots=True)
class SessionCounts:
    """What happened in a session, for its line of the log."""

    messages: int = 0
    audio_bytes: int = 0
    lost_bytes: int = 0
    refused: int = 0
    utterances: int = 0
    partials: int = 0
    interrupts: int = 0
    seconds_to_final: float = 0.0


@dataclass(slots=True, eq=False)
class AudioSession:
    """A session.

    Attributes:
        id: The last token of its subjects.
        voice: Its voice activity.
        listener: Its ear.
        reader: Reads its sound.
        opened_at: When, on the loop's clock.
        heard_at: When its last message came.
        inbox: What was not looked at yet: sound as PCM, or a message that says something else.
        waiting_bytes: Of sound in it.
        rest: Sound that does not make up a window yet.
        is_ready: Whether it stands in the line of those that are to be listened to.
        was_started: Whether a "start" opened it; else a chunk did.
        is_ending: Whether its "end" was seen.
        is_closed: Whether nothing may be published for it any more.
        final: The last final transcript on its way; the next waits for it.
        last_final: The last final transcript that was published.
        end_reply: Where the reply to its "end" goes; empty where nobody asked for one.
        fault: What was wrong with its sound.
        user_id: Whose conversation it is; empty where nobody said.
        reopened: The turn that what is said next goes on with.
    """

    id: str
    voice: VoiceStream
    listener: Listener
    opened_at: float
    heard_at: float
    reader: SoundReader = field(default_factory=SoundReader)
    inbox: deque[bytes | messages_pb2.STTStreamMessage] = field(
        default_factory=deque[bytes | messages_pb2.STTStreamMessage]
    )
    waiting_bytes: int = 0
    rest: bytearray = field(default_factory=bytearray)
    is_ready: bool = False
    was_started: bool = False
    is_ending: bool = False
    is_closed: bool = False
    state: SessionState = SessionState.LISTENING
    speaker_id: str = ""
    language: str = ""
    heard_language: str = ""
    sequence: int = 0
    utterance: LiveUtterance | None = None
    final: asyncio.Task[None] | None = None
    last_final: messages_pb2.STTTranscription | None = None
    end_reply: str = ""
    fault: HearthError | None = None
    user_id: str = ""
    reopened: Turn | None = None
    counts: SessionCounts = field(default_factory=SessionCounts)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is to be done for it."""
        return not self.inbox and self.utterance is None and (self.final is None or self.final.done())

    def next_sequence(self) -> int:
        """Return the number of its next transcript."""
        self.sequence += 1
        return self.sequence - 1
