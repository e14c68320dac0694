"""An answer, written or spoken, as a handler collects it for one final message."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from bridges.operations.outcome import Outcome
from deployments.backoff import Backoff
from deployments.call import Call
from deployments.errors import HearthError, InternalError, ReplicaLostError
from deployments.values.chat import AnswerEnd, AnswerItem, AnswerToken
from deployments.values.sound import wav_file, wav_header
from deployments.values.speech import SpokenChunk, Transcript
from deployments.values.voice import SpokenAnswerEnd, SpokenAnswerItem

logger = logging.getLogger(__name__)

TEXT_CUT = "the answer was cut: it is longer than the NATS server takes in one message"
SPEECH_CUT = "the speech was cut: it is longer than the NATS server takes in one message"
_ASKED_AGAIN = 2
"""A question that ends each replica that takes it must not end one after the other."""
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 0.5
_NO_END = AnswerEnd(error="the graph ended without an answer", error_kind=InternalError.kind)


@dataclass(slots=True)
class CollectedAnswer:
    """What is known of an answer while it comes, and when it has come.

    Attributes:
        sound_room: Bytes of speech that are kept; no message has room for more.
        heard: The question, where it was spoken.
        heard_s: Seconds of sound that it was spoken in.
        tokens: The text.
        sound: The speech, as far as it is kept, in 16-bit PCM.
        sound_rate: Its samples a second; 0 while there is none.
        sound_s: Seconds of all the speech.
        end: The end of the text.
        spoken_end: The end of text and speech; None for an answer that is only written.
        is_text_told: Whether its stream, if there is one, was told of the end of the text.
    """

    sound_room: int
    heard: str = ""
    heard_s: float = 0.0
    tokens: list[str] = field(default_factory=list[str])
    sound: bytearray = field(default_factory=bytearray)
    sound_rate: int = 0
    sound_s: float = 0.0
    end: AnswerEnd = _NO_END
    spoken_end: SpokenAnswerEnd | None = None
    is_text_told: bool = False
    _is_sound_whole: bool = True

    def take(self, item: AnswerItem | SpokenAnswerItem) -> None:
        """Take what comes next."""
        match item:
            case Transcript():
                self.heard, self.heard_s = item.text, item.seconds
            case AnswerToken():
                self.tokens.append(item.text)
            case SpokenChunk():
                self._keep(item)
            case AnswerEnd():
                self.end = item
            case SpokenAnswerEnd():
                self.end, self.spoken_end = item.answer, item

    def _keep(self, chunk: SpokenChunk) -> None:
        room = max(0, self.sound_room - len(self.sound))
        self.sound += chunk.pcm[:room]
        self.sound_rate = self.sound_rate or chunk.rate
        self.sound_s += chunk.seconds
        self._is_sound_whole = self._is_sound_whole and len(chunk.pcm) <= room

    def broke_off(self, error: HearthError) -> None:
        """Take an error that came between the graph, which tells its own at the end, and us: what came stands."""
        if self.end is _NO_END:
            prefix = "the answer broke off: " if self.tokens else ""
            self.end = AnswerEnd(
                error=prefix + error.message, error_kind=error.kind, replica_lost=isinstance(error, ReplicaLostError)
            )
        else:
            self.spoken_end = SpokenAnswerEnd(self.end, speech_error=error.message)

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self.tokens)

    @property
    def remembered(self) -> str:
        """The text without a sentence at its end that was broken off."""
        return self.text.rstrip().removesuffix(self.end.unfinished).rstrip()

    @property
    def error(self) -> str:
        """Everything that went wrong, for the client."""
        return self.spoken_end.error if self.spoken_end else self.end.error

    @property
    def stages(self) -> dict[str, float]:
        """Seconds by stage; where it is spoken, those that count from its beginning go over those of the text."""
        return {**self.end.stages, **(self.spoken_end.stages if self.spoken_end else {})}

    def outcome(self, request_id: str, answer_bytes: int, said: Mapping[str, str]) -> Outcome:
        """Return what became of the request.

        Args:
            request_id: The client's id of it.
            answer_bytes: Size of the final message.
            said: What was asked and answered, by name.
        """
        return Outcome(
            self.end.error_kind,
            request_id,
            len(self.tokens),
            answer_bytes,
            self.stages,
            said,
            self.error,
            self.end.thought_tokens,
            self.heard_s,
        )

    def wav(self, room: int) -> tuple[bytes, bool]:
        """Return as much of the speech as fits into `room` bytes, as a WAV file, and whether that is all of it."""
        fitting = fitting_sound(bytes(self.sound), room)
        is_whole = self._is_sound_whole and len(fitting) == len(self.sound)
        return (wav_file(fitting, self.sound_rate) if fitting else b""), is_whole


async def with_another_replica(
    call: Call, attempt: Callable[[], Awaitable[CollectedAnswer]], may_begin_again: Callable[[CollectedAnswer], bool]
) -> CollectedAnswer:
    """Return an answer, made anew where the replica that made it was lost.

    Args:
        call: How long the request has.
        attempt: Makes the answer, and takes its errors.
        may_begin_again: Says of a lost answer whether another one may take its place, and is to follow.
    """
    backoff = Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S, pauses=_ASKED_AGAIN, total_s=call.remaining())
    while True:
        answer = await attempt()
        pause_s = backoff.next_s() if answer.end.replica_lost else None
        if pause_s is None or not may_begin_again(answer):
            return answer
        logger.warning("request %s is answered anew: %s", call.request_id, answer.end.error)
        await asyncio.sleep(pause_s)


def joined(*notes: str) -> str:
    """Return what a response has to say in its `error`, empty where it is nothing."""
    return "; ".join(filter(None, notes))


def fitting_sound(pcm: bytes, room: int) -> bytes:
    """Return as much of 16-bit PCM as fits into `room` bytes as a WAV file."""
    return pcm[: max(0, room - len(wav_header(1))) // 2 * 2]
