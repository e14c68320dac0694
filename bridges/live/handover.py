"""A session as another replica would go on with it, as a value and as a message."""

from dataclasses import dataclass, field

from bridges.generated.hearth.v1 import audio_pb2, conversation_pb2
from bridges.live.client_messages import SessionState, state_of
from bridges.live.sound_reader import SoundFormat


def copy_of(request: conversation_pb2.ConversationRequest | None) -> conversation_pb2.ConversationRequest | None:
    """Return a copy that does not keep the memory of the message that it came in."""
    if request is None:
        return None
    copied = conversation_pb2.ConversationRequest()
    copied.CopyFrom(request)
    return copied


@dataclass(frozen=True, slots=True)
class SessionTerms:
    """What the "start" of a session asked for.

    Attributes:
        language: ISO 639-1 code of what is spoken; empty: detected.
        user_id: Whose conversation it is; empty where nobody said.
        conversation: How what is said is answered; None where it is not. Nobody changes it.
    """

    language: str = ""
    user_id: str = ""
    conversation: conversation_pb2.ConversationRequest | None = None

    def message(self) -> audio_pb2.SessionTerms:
        """Return them as replicas tell them."""
        return audio_pb2.SessionTerms(language=self.language, user_id=self.user_id, conversation=self.conversation)

    @classmethod
    def from_message(cls, message: audio_pb2.SessionTerms) -> "SessionTerms":
        """Read them."""
        conversation = message.conversation if message.HasField("conversation") else None
        return cls(message.language, message.user_id, copy_of(conversation))


@dataclass(frozen=True, slots=True)
class SessionHandover:
    """What it takes to go on with a session.

    Attributes:
        session_id: The last token of its subjects.
        next_sequence: The number of its next transcript.
        state: What the assistant does.
        speaker_id: Who speaks, as the client says.
        epoch: How often it was interrupted.
        turns: Of its conversation so far.
        terms: What its "start" asked for.
        generation: How often it was taken over.
        answering: The turn whose answer was not sent to its end; 0 for none.
        settled: How many of its first messages hold nothing that it takes to go on.
        taken: How many of its messages were taken. Whoever compares sessions does not look at it: it changes all the
            time.
        last_taken: CRC-32 of the last of these.
        format: How its sound is written.
    """

    session_id: str
    next_sequence: int = 0
    state: SessionState = SessionState.LISTENING
    speaker_id: str = ""
    epoch: int = 0
    turns: int = 0
    terms: SessionTerms = field(default_factory=SessionTerms)
    generation: int = 0
    answering: int = 0
    settled: int = 0
    taken: int = field(default=0, compare=False)
    last_taken: int = field(default=0, compare=False)
    format: SoundFormat = field(default_factory=SoundFormat)

    @property
    def is_answered(self) -> bool:
        """Whether an answer is being made or heard."""
        return self.terms.conversation is not None and self.state is SessionState.RESPONDING

    @property
    def kept(self) -> int:
        """How many of the messages that were taken last it takes to go on."""
        return self.taken - self.settled

    def message(self, *, with_terms: bool = True) -> audio_pb2.AudioSession:
        """Return it as replicas tell it; without its terms where the others know them."""
        return audio_pb2.AudioSession(
            session_id=self.session_id,
            next_sequence=self.next_sequence,
            state=self.state,
            speaker_id=self.speaker_id,
            epoch=self.epoch,
            turns=self.turns,
            terms=self.terms.message() if with_terms else None,
            generation=self.generation,
            answering=self.answering,
            taken=self.taken,
            last_taken=self.last_taken,
            kept=self.kept,
            format=_format_message(self.format),
        )

    @classmethod
    def from_message(
        cls, message: audio_pb2.AudioSession, before: "SessionHandover | None"
    ) -> "SessionHandover | None":
        """Read it; None where it relies on terms that were told before, and nothing was.

        Args:
            message: What was told.
            before: What was known of the session.

        Raises:
            InvalidRequestError: Its state is none.
        """
        if message.HasField("terms"):
            terms = SessionTerms.from_message(message.terms)
        elif before is not None:
            terms = before.terms
        else:
            return None
        return cls(
            message.session_id,
            message.next_sequence,
            state_of(message.state),
            message.speaker_id,
            message.epoch,
            message.turns,
            terms,
            message.generation,
            message.answering,
            message.taken - message.kept,
            message.taken,
            message.last_taken,
            _format(message),
        )


def _format_message(found: SoundFormat) -> audio_pb2.SoundFormat | None:
    if found == SoundFormat():
        return None
    return audio_pb2.SoundFormat(sample_rate=found.rate, channels=found.channels, bits=found.bits, codec=found.codec)


def _format(message: audio_pb2.AudioSession) -> SoundFormat:
    if not message.HasField("format"):
        return SoundFormat()
    told = message.format
    return SoundFormat(told.sample_rate, told.channels, told.bits, told.codec)
