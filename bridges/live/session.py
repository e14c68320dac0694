"""One live session: its sound, its state, its conversation and its end."""

import asyncio
import json
import logging
from dataclasses import dataclass, field

from bridges.generated.messages.v1 import messages_pb2
from bridges.live.client_messages import SessionState
from bridges.live.conversation import Conversation
from bridges.live.handover import SessionHandover, SessionTerms
from bridges.live.sound_progress import SoundProgress
from bridges.live.sound_queue import SoundQueue
from bridges.live.sound_reader import SoundReader
from bridges.live.turn import Turn
from bridges.live.utterance import LiveUtterance
from bridges.nats.askers import Asker
from bridges.operations.clock import now
from bridges.subjects import AUDIO_STREAM
from deployments.errors import HearthError, InvalidRequestError, OverloadedError, PayloadTooLargeError
from deployments.listening.listener import Listener
from deployments.listening.voice_activity import VoiceStream
from deployments.sound.level import LevelControl

logger = logging.getLogger(__name__)

_MOST_CONCLUDING = 4
_BEGINS_S = 1.0
"""From the beginning of an utterance, as far as it is known, back to where it surely had not begun."""


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
class LiveSession:
    """A session. Whoever has it has all of it: nothing of it is kept elsewhere, but its epoch, which work needs, too.

    Times are on the loop's clock.

    Attributes:
        id: The last token of its subjects.
        voice: Its voice activity.
        listener: Its ear.
        queue: What has arrived and was not heard yet.
        reader: Reads its sound.
        level: Makes what is quiet loud enough to be told from silence.
        opened_at: When.
        heard_at: When its last message came.
        is_in_line: Whether it stands in the line of those that are to be listened to.
        is_held: Whether it is not listened to now, because an interruption is being told.
        concluding: Final transcripts, of parts too, that are being made for it.
        was_started: Whether a "start" opened it; else a chunk did.
        is_ending: Whether its "end" was seen.
        is_closed: Whether nothing may be published for it any more.
        state: What the assistant does.
        speaker_id: Who speaks, as the client says.
        terms: What its "start" asked for.
        conversation: Answers what is said; None where nobody asked for that.
        heard_language: What was detected last.
        sequence: The number of its next transcript.
        utterance: What is being said.
        final: The last final transcript on its way; the next waits for it.
        last_final: The last final transcript that was published.
        is_parting: Whether its farewell has begun.
        end_reply: Where the reply to its "end" goes; empty where nobody asked for one.
        fault: What was wrong with its sound.
        loss: Why sound was lost since its last final transcript; None where none was.
        reopened: The turn that what is said next goes on with.
        asker: Whose it is; None while nobody has looked.
        generation: How often it was taken over from another replica.
        progress: How far its messages were taken and heard.
        said_until: Where the last utterance ended, in bytes of its sound.
        is_over_limit: Whether its client was told that its user has sent too much sound, and none was taken since.
    """

    id: str
    voice: VoiceStream
    listener: Listener
    queue: SoundQueue
    reader: SoundReader = field(default_factory=SoundReader)
    level: LevelControl = field(default_factory=LevelControl)
    opened_at: float = field(default_factory=now)
    heard_at: float = field(default_factory=now)
    is_in_line: bool = False
    is_held: bool = False
    concluding: int = 0
    was_started: bool = False
    is_ending: bool = False
    is_closed: bool = False
    state: SessionState = SessionState.LISTENING
    speaker_id: str = ""
    terms: SessionTerms = field(default_factory=SessionTerms)
    conversation: Conversation | None = None
    heard_language: str = ""
    sequence: int = 0
    utterance: LiveUtterance | None = None
    final: asyncio.Task[None] | None = None
    last_final: messages_pb2.STTTranscription | None = None
    is_parting: bool = False
    end_reply: str = ""
    fault: HearthError | None = None
    loss: HearthError | None = None
    reopened: Turn | None = None
    asker: Asker | None = None
    generation: int = 0
    progress: SoundProgress = field(default_factory=SoundProgress)
    said_until: int = 0
    is_over_limit: bool = False
    counts: SessionCounts = field(default_factory=SessionCounts)

    @property
    def language(self) -> str:
        """What is spoken, as the client says; empty: detected."""
        return self.terms.language

    @property
    def is_addressed(self) -> bool:
        """Whether what is said is for the assistant; what does not interrupt it while it responds is not."""
        return self.state is SessionState.LISTENING

    @property
    def is_paused(self) -> bool:
        """Whether it is not listened to now: its sound waits.

        Who sends a long speech at once has it transcribed a few utterances at a time. Else the transcripts of all
        others would wait behind them, or find no place to wait.
        """
        return self.is_held or self.concluding >= _MOST_CONCLUDING

    @property
    def is_idle(self) -> bool:
        """Whether nothing is to be done for it."""
        is_heard = not self.queue.has_waiting and self.utterance is None and (self.final is None or self.final.done())
        return is_heard and not (self.conversation and self.conversation.is_answering)

    def next_sequence(self) -> int:
        """Return the number of its next transcript."""
        self.sequence += 1
        return self.sequence - 1

    # Its sound.

    def take_sound(self, step: messages_pb2.STTStreamMessage) -> None:
        """Take the sound of a message, to be heard behind what came before it.

        Raises:
            InvalidRequestError: Its format is none that can be read.
            PayloadTooLargeError: It holds too much sound that has to be converted; it is lost.
            OverloadedError: Too much waits already.
        """
        self.heard_at = now()
        self.counts.messages += 1
        self.counts.audio_bytes += len(step.audio)
        if step.speaker_id:
            self.speaker_id = step.speaker_id
        if self.is_ending:
            return
        try:
            pcm = self.reader.read(step.audio, rate=step.sample_rate, channels=step.channels, bits=step.bit_depth)
        except InvalidRequestError as error:
            self.fault = error
            raise
        except PayloadTooLargeError as error:
            self._lose(len(step.audio), error)
            raise
        self._queue_sound(pcm)

    def lose_sound(self, step: messages_pb2.STTStreamMessage) -> None:
        """Take note of sound that is not taken."""
        self.heard_at = now()
        self.counts.messages += 1
        self.counts.lost_bytes += len(step.audio)

    def end_sound(self) -> None:
        """Take what its reader still holds, for no more sound comes.

        Raises:
            OverloadedError: Too much waits already.
        """
        self._queue_sound(self.reader.finish())

    def _queue_sound(self, pcm: bytes) -> None:
        try:
            self._count_beginning()
            self.queue.put_sound(pcm)
            self.progress.put(len(pcm))
        except OverloadedError as error:
            self._lose(len(pcm), error)
            raise

    def _lose(self, size: int, why: HearthError) -> None:
        if not self.counts.lost_bytes:
            logger.warning("session %s: %s: sound is lost", self.id, why.message)
        self.counts.lost_bytes += size
        self.loss = why

    def _count_beginning(self) -> None:
        try:
            self.queue.count_beginning(self.reader.held_bytes)
        except OverloadedError:
            self.reader.forget()
            raise

    def take_state(self, state: SessionState) -> None:
        """Take a state that it is to be in behind the sound that came before it.

        Raises:
            OverloadedError: Too much waits already.
        """
        self.heard_at = now()
        self.queue.put_state(state)

    def take_end(self) -> None:
        """Take its end, which comes behind the sound that came before it."""
        self.is_ending = True
        self.heard_at = now()
        self.queue.put_end()

    # Its end.

    async def finish(self, *, with_answer: bool) -> None:
        """Return when what was said in it is transcribed.

        Args:
            with_answer: Wait for the answer on its way, too, until all of it was sent.
        """
        if self.final is not None:
            await asyncio.wait([self.final])
        if self.conversation is not None and with_answer:
            await self.conversation.finish()

    def close(self, why: str) -> None:
        """Stop everything for it, once, and write its line of the log."""
        if self.is_closed:
            return
        self.is_closed = True
        self.queue.clear()
        if self.utterance is not None:
            self.utterance.cancel()
            self.utterance = None
        if self.conversation is not None:
            self.conversation.close()
        logger.info("%s", json.dumps(self._log_line(why)))

    def _log_line(self, why: str) -> dict[str, str | int | float]:
        counts = self.counts
        return {
            "event": "session",
            "subject": AUDIO_STREAM.pattern,
            "session_id": self.id,
            "outcome": why,
            "seconds": round(now() - self.opened_at, 3),
            "messages": counts.messages,
            "audio_bytes": counts.audio_bytes,
            "lost_bytes": counts.lost_bytes,
            "refused": counts.refused,
            "utterances": counts.utterances,
            "partials": counts.partials,
            "interrupts": counts.interrupts,
            "last_final_s": round(counts.seconds_to_final, 4),
        }

    # Its life at another replica.

    @property
    def _is_concluding(self) -> bool:
        return self.final is not None and not self.final.done()

    def settle_silence(self) -> None:
        """Learn that a moment has passed: what was silent is not needed by a replica that goes on."""
        if self.utterance is None and not self._is_concluding and self.listener.is_quiet:
            self.progress.settle_silence()

    def leave(self, kept_since: float) -> bool:
        """Settle where another replica goes on; return whether what is being said is left to it from its beginning.

        Args:
            kept_since: From when on another replica has kept all messages; infinite for none.
        """
        utterance = self.utterance
        began_at = utterance.began_at if utterance is not None else now()
        is_speaking = utterance is not None or not self.listener.is_quiet
        if not is_speaking or began_at < kept_since + _BEGINS_S or (utterance is not None and utterance.parts):
            self.progress.settle(self.progress.heard)
            return False
        if utterance is not None:
            utterance.cancel()
            self.utterance = None
        self.progress.settle(self.said_until)
        return True

    def handover(self, epoch: int) -> SessionHandover:
        """Return it as another replica would go on with it.

        Args:
            epoch: How often it was interrupted.
        """
        conversation, progress = self.conversation, self.progress
        # The final transcript on its way takes a number, too.
        is_concluding = self._is_concluding
        return SessionHandover(
            self.id,
            self.sequence + is_concluding,
            self.state,
            self.speaker_id,
            epoch,
            conversation.turns if conversation else 0,
            self.terms,
            self.generation,
            conversation.unsent_turn if conversation else 0,
            progress.settled,
            progress.taken,
            progress.last_taken,
            self.reader.format,
        )
