"""Where scripts are played without models: a wire instead of a NATS server, a voice whose words can be read off it."""

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import nats.errors
import numpy as np
from google.protobuf.message import Message

from bridges.generated.hearth.v1 import conversation_pb2
from bridges.generated.messages.v1 import messages_pb2
from bridges.handlers.speech import SpeechHandler
from bridges.live.conversation import ConversationParts
from bridges.live.ingress import AudioIngress
from bridges.nats.allowances import UNLIMITED, Allowances
from bridges.nats.connection import SelectiveConnection, Unwanted
from bridges.nats.conversation_memory import ConversationMemory
from bridges.nats.reply import Reply
from bridges.nats.sender import Sender
from bridges.operations.outcome import Outcome
from bridges.sessions.epochs import SessionWork
from bridges.sessions.turn_log import TurnRecords
from deployments.call import Call
from deployments.listening.agreement import agree
from deployments.listening.voice_activity import VoiceActivityEngine, VoiceStream
from deployments.settings.audio import AudioSettings, SpeechOutputSettings
from deployments.settings.orchestration import MemorySettings, TurnRecordSettings
from deployments.values.chat import AnswerEnd, AnswerToken, ChatQuestion, Preparation
from deployments.values.retrieval import Passage
from deployments.values.sound import Samples
from deployments.values.speech import (
    Agreement,
    PartialTranscript,
    Recording,
    SpeechText,
    SpokenChunk,
    Transcript,
    TurnEnding,
    Utterance,
    Voices,
    WordTime,
)
from deployments.values.status import ComponentStatus
from deployments.values.voice import SpokenAnswerEnd, SpokenAnswerItem, SpokenQuestion
from tests.conversation.script import RATE

WORD_S = 0.32
_QUIETEST_WORD = 8000
_VOCABULARY: list[str] = []


def square_voice(text: str) -> bytes:
    """Say a text: each word is a square wave whose height tells which word it is; a comma is a pause of 0.4 s."""
    pieces: list[bytes] = []
    for word in text.split():
        spelled = word.rstrip(",")
        if spelled not in _VOCABULARY:
            _VOCABULARY.append(spelled)
        height = _QUIETEST_WORD + _VOCABULARY.index(spelled)
        wave = np.tile(np.array([height, -height], "<i2"), int(WORD_S * RATE / 2))
        pieces.append(wave.tobytes())
        if word.endswith(","):
            pieces.append(bytes(2 * int(0.4 * RATE)))
        else:
            pieces.append(bytes(2 * int(0.032 * RATE)))
    return b"".join(pieces)


def words_said() -> str:
    """Return all words that were said so far: another process that says the same reads them off the same waves."""
    return " ".join(_VOCABULARY)


def words_in(pcm: bytes) -> list[str]:
    """Return the words that can be read off a sound, each once however long it is."""
    heights = np.abs(np.frombuffer(pcm, "<i2").astype(np.int32))
    words: list[str] = []
    run, length = 0, 0
    for height in [*heights[::64].tolist(), 0]:
        if height == run:
            length += 1
            continue
        if run >= _QUIETEST_WORD and length * 64 > 0.5 * WORD_S * RATE:
            words.append(_VOCABULARY[run - _QUIETEST_WORD])
        run, length = height, 1
    return words


class LoudnessActivity:
    """Takes loud sound for speech."""

    def new_stream(self) -> VoiceStream:
        return np.zeros(0, np.float32)

    def probabilities(self, streams: Sequence[VoiceStream], windows: Sequence[Samples]) -> list[float]:
        del streams
        return [0.95 if float(np.abs(window).mean()) > 0.08 else 0.02 for window in windows]


@dataclass
class FailingActivity:
    """Takes loud sound for speech, but fails at the first of it, or at all that is so loud.

    Attributes:
        poison: Loudness at which it fails, whenever it comes; 0 to fail once.
        failed: Streams whose windows it was given when it first failed.
    """

    activity: LoudnessActivity = field(default_factory=LoudnessActivity)
    poison: float = 0.0
    failed: int = 0

    def new_stream(self) -> VoiceStream:
        return self.activity.new_stream()

    def probabilities(self, streams: Sequence[VoiceStream], windows: Sequence[Samples]) -> list[float]:
        found = self.activity.probabilities(streams, windows)
        loudest = max(float(np.abs(window).mean()) for window in windows)
        if loudest > self.poison > 0 or (not self.poison and not self.failed and max(found) > 0.5):
            self.failed = self.failed or len(streams)
            raise RuntimeError("out of memory")
        return found


@dataclass
class TimedActivity:
    """Takes loud sound for speech, and remembers when it heard each window, by stream.

    Attributes:
        fails: Raises at the next window.
    """

    activity: LoudnessActivity = field(default_factory=LoudnessActivity)
    heard_at: dict[int, list[float]] = field(default_factory=dict[int, list[float]])
    streams: list[VoiceStream] = field(default_factory=list[VoiceStream])
    fails: bool = False

    def new_stream(self) -> VoiceStream:
        self.streams.append(self.activity.new_stream())
        return self.streams[-1]

    def probabilities(self, streams: Sequence[VoiceStream], windows: Sequence[Samples]) -> list[float]:
        if self.fails:
            self.fails = False
            raise RuntimeError("out of memory")
        for stream in streams:
            self.heard_at.setdefault(id(stream), []).append(asyncio.get_running_loop().time())
        return self.activity.probabilities(streams, windows)


@dataclass
class ReadingTranscription:
    """Reads words off the sound, in the time that it is told to take.

    Attributes:
        partial_s: Seconds that a partial transcript takes.
        final_s: Seconds that a final one takes; one number for each utterance in order, the last for all others.
        completion: How finished everything sounds.
        error: Raised instead.
    """

    partial_s: float = 0.1
    final_s: tuple[float, ...] = (0.3,)
    completion: float | None = None
    error: Exception | None = None
    heard: int = 0
    concluded: int = 0
    cancelled: int = 0
    longest_s: float = 0.0

    async def hear(self, call: Call, utterance: Utterance, agreement: Agreement) -> PartialTranscript:
        self.heard += 1
        await asyncio.sleep(self.partial_s)
        return PartialTranscript(agree(agreement, " ".join(words_in(utterance.pcm))), utterance.language or "en")

    async def conclude(self, call: Call, utterance: Utterance, judge_turn: bool) -> TurnEnding:
        takes = self.final_s[min(self.concluded, len(self.final_s) - 1)]
        self.concluded += 1
        self.longest_s = max(self.longest_s, len(utterance.pcm) / 2 / RATE)
        try:
            await asyncio.sleep(takes)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error:
            raise self.error
        return TurnEnding(" ".join(words_in(utterance.pcm)), "en", self.completion if judge_turn else None)

    async def transcribe(self, call: Call, recording: Recording) -> Transcript:
        raise AssertionError("no recording is transcribed here")

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        return ()


@dataclass
class SlowSpeech:
    """Says a second of sound for every word, each in the time that it is told to take."""

    word_s: float = 0.05
    level: int = 3000
    said: list[str] = field(default_factory=list[str])
    closed_at: list[float] = field(default_factory=list[float])

    async def say(self, call: Call, text: SpeechText) -> AsyncGenerator[SpokenChunk]:
        try:
            for word in text.text.split():
                await asyncio.sleep(self.word_s)
                self.said.append(word)
                sound = np.full(24_000, self.level, "<i2").tobytes()
                yield SpokenChunk(sound, 24_000, word)
        finally:
            self.closed_at.append(asyncio.get_running_loop().time())

    async def voices(self, call: Call, rescan: bool) -> Voices:
        raise AssertionError("nobody asks for voices here")

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        return ()


@dataclass
class ScriptedVoice:
    """Answers each question with the next of its answers, a sentence at a time, each word a quarter of a second long.

    Attributes:
        answers: In order; the last one for all further questions.
        think_s: Seconds to the first token.
        token_s: Seconds between two tokens.
        error: Told by the end of the answer.
        unfinished: The end of each answer, at which the model is stopped: it is written and not spoken.
        speech_error: The same of its speech; nothing is spoken then.
        raised: Raised instead of an answer.
        raised_first: Raised instead of the first answer.
        raised_after: Raised after the first sentence of the first answer.
        prepare_s: Seconds that finding passages takes.
        read_s: Seconds that reading them takes.
    """

    answers: Sequence[str] = ("It is kept for five years. Then it is deleted.",)
    think_s: float = 0.1
    token_s: float = 0.01
    error: str = ""
    unfinished: str = ""
    speech_error: str = ""
    raised: Exception | None = None
    raised_first: Exception | None = None
    raised_after: Exception | None = None
    prepare_s: float = 0.05
    read_s: float = 0.05
    read_texts: list[str] = field(default_factory=list[str])
    asked: list[SpokenQuestion] = field(default_factory=list[SpokenQuestion])
    prepared: list[ChatQuestion] = field(default_factory=list[ChatQuestion])
    closed: int = 0

    async def answer(self, call: Call, question: SpokenQuestion) -> AsyncGenerator[SpokenAnswerItem]:
        text = self.answers[min(len(self.asked), len(self.answers) - 1)]
        self.asked.append(question)
        try:
            await asyncio.sleep(self.think_s)
            if error := self.raised or (self.raised_first if len(self.asked) == 1 else None):
                raise error
            for sentence in re.findall(r"[^.]+\.", text):
                for token in re.findall(r"\s*\S+", sentence):
                    await asyncio.sleep(self.token_s)
                    yield AnswerToken(token)
                if not self.speech_error:
                    yield spoken_chunk(sentence.strip())
                if self.raised_after and len(self.asked) == 1:
                    raise self.raised_after
            for token in re.findall(r"\s*\S+", self.unfinished):
                yield AnswerToken(token)
            error_kind = "unavailable" if self.error and not self.unfinished else ""
            end = AnswerEnd(error=self.error, error_kind=error_kind, unfinished=self.unfinished.strip())
            yield end
            yield SpokenAnswerEnd(end, speech_error=self.speech_error)
        finally:
            self.closed += 1

    def answer_recording(
        self, call: Call, recording: Recording, question: SpokenQuestion
    ) -> AsyncGenerator[SpokenAnswerItem]:
        raise AssertionError("no recording is answered here")

    async def prepare(self, call: Call, question: ChatQuestion) -> Preparation:
        self.prepared.append(question)
        await asyncio.sleep(self.prepare_s)
        before = question.preparation.tokens_read if question.preparation else 0
        return Preparation(question.text, (Passage("It is kept.", "rules.md"),), ("It is kept.",), before)

    async def read(self, call: Call, question: ChatQuestion) -> AsyncGenerator[int]:
        self.read_texts.append(question.text)
        yield 4
        await asyncio.sleep(self.read_s)
        yield 10

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        return ()


def spoken_chunk(text: str, word_s: float = 0.25, rate: int = 8000) -> SpokenChunk:
    """Return a sentence as sound, with the times of its words."""
    words = text.split()
    times = tuple(WordTime(word, at * word_s, (at + 1) * word_s) for at, word in enumerate(words))
    return SpokenChunk(bytes(2 * int(rate * word_s) * len(words)), rate, text, times, exact=True)


@dataclass(frozen=True)
class WireMessage:
    """A message as it is delivered."""

    subject: str
    data: bytes
    reply: str = ""
    headers: dict[str, str] | None = None


@dataclass(frozen=True)
class Sent:
    """A message as it was sent, and when."""

    at_s: float
    subject: str
    data: bytes

    def read(self, kind: type[Message]) -> Any:
        return kind.FromString(self.data)


@dataclass
class Subscription:
    """What a subscriber holds."""

    wire: "Wire"
    pattern: str
    deliver: Callable[[Any], Awaitable[None]]
    unless: Unwanted | None = None

    async def unsubscribe(self) -> None:
        if self in self.wire.subscriptions:
            self.wire.subscriptions.remove(self)

    def takes(self, subject: str) -> bool:
        wanted, given = self.pattern.split("."), subject.split(".")
        return len(wanted) == len(given) and all(one in {"*", other} for one, other in zip(wanted, given, strict=True))


@dataclass
class Wire:
    """Delivers messages at once and in order, as a NATS server does; shared by all that are connected."""

    max_payload: int = 1 << 20
    sent: list[Sent] = field(default_factory=list[Sent])
    subscriptions: list[Subscription] = field(default_factory=list[Subscription])
    inboxes: int = 0
    failing: dict[str, int] = field(default_factory=dict[str, int])
    is_lost: Callable[[str, bytes], bool] = lambda subject, payload: False

    def fails(self, subject: str, times: int) -> None:
        """Have the next messages on a subject raise where they are published."""
        self.failing[subject] = times

    async def publish(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        if self.failing.get(subject, 0):
            self.failing[subject] -= 1
            raise nats.errors.OutboundBufferLimitError
        if len(payload) > self.max_payload:
            raise nats.errors.MaxPayloadError
        if self.is_lost(subject, payload):
            return
        self.sent.append(Sent(asyncio.get_running_loop().time(), subject, payload))
        takers = [subscription for subscription in self.subscriptions if subscription.takes(subject)]
        for subscription in takers:
            if subscription.unless is None or not subscription.unless(subject.encode(), reply.encode(), payload):
                await subscription.deliver(WireMessage(subject, payload, reply, headers))
        if reply and not takers:
            await self._say_that_nobody_listens(reply)

    async def _say_that_nobody_listens(self, reply: str) -> None:
        for subscription in [one for one in self.subscriptions if one.takes(reply)]:
            await subscription.deliver(WireMessage(reply, b"", headers={"Status": "503"}))

    async def subscribe(
        self, subject: str, *, cb: Callable[[Any], Awaitable[None]], unless: Unwanted | None = None
    ) -> Subscription:
        subscription = Subscription(self, subject, cb, unless)
        self.subscriptions.append(subscription)
        return subscription

    def new_inbox(self) -> str:
        self.inboxes += 1
        return f"_INBOX.{self.inboxes}"

    async def flush(self) -> None:
        """Return at once: whatever was given before has been read."""

    def on(self, subject: str) -> list[Sent]:
        """Return what was sent on a subject."""
        return [sent for sent in self.sent if sent.subject == subject]


@dataclass
class ProcessConnection:
    """The connection of a replica's process, which can be killed, or stand still for a while.

    Attributes:
        wire: What it is connected to.
        is_killed: Whether nothing of it is heard any more, and it hears nothing.
    """

    wire: Wire
    is_killed: bool = False
    subscriptions: list[Subscription] = field(default_factory=list[Subscription])

    @property
    def max_payload(self) -> int:
        return self.wire.max_payload

    async def publish(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        if not self.is_killed:
            await self.wire.publish(subject, payload, reply, headers)

    async def subscribe(
        self, subject: str, *, cb: Callable[[Any], Awaitable[None]], unless: Unwanted | None = None
    ) -> Subscription:
        subscription = await self.wire.subscribe(subject, cb=cb, unless=unless)
        self.subscriptions.append(subscription)
        return subscription

    def new_inbox(self) -> str:
        return self.wire.new_inbox()

    async def flush(self) -> None:
        await self.wire.flush()

    def kill(self) -> None:
        """Be gone, as far as others can tell."""
        self.is_killed = True
        self.wire.subscriptions = [one for one in self.wire.subscriptions if one not in self.subscriptions]


@dataclass
class Counted:
    """Remembers what was counted."""

    interrupts: int = 0
    outcomes: list[str] = field(default_factory=list[str])
    most_sessions: int = 0

    def sessions(self, count: int) -> None:
        self.most_sessions = max(self.most_sessions, count)

    def tasks(self, count: int) -> None: ...

    def utterance_ended(self, outcome: str, seconds_to_final: float) -> None:
        self.outcomes.append(outcome)

    def interrupted(self) -> None:
        self.interrupts += 1


@dataclass
class Scene:
    """One replica of the audio ingress on a wire.

    Attributes:
        ingress: The replica.
        wire: What it is connected to.
        work: What is done for its sessions.
        metrics: What it counted.
    """

    ingress: AudioIngress
    wire: Wire
    work: SessionWork
    metrics: Counted

    def transcripts(self, session_id: str) -> list[messages_pb2.STTTranscription]:
        """Return what was published for a session, interruptions apart."""
        return [one for one in self._published(session_id) if one.transcript != "interrupt"]

    def finals(self, session_id: str) -> list[str]:
        return [one.transcript for one in self.transcripts(session_id) if one.is_final]

    def partials(self, session_id: str) -> list[str]:
        return [one.transcript for one in self.transcripts(session_id) if one.is_partial]

    def interrupts(self, session_id: str) -> list[float]:
        """Return when the session was told of interruptions."""
        return [
            sent.at_s
            for sent in self.wire.on(f"ai.voice.transcription.{session_id}")
            if sent.read(messages_pb2.STTInterrupt).type == "interrupt"
        ]

    def _published(self, session_id: str) -> list[messages_pb2.STTTranscription]:
        sent = self.wire.on(f"ai.voice.transcription.{session_id}")
        return [one.read(messages_pb2.STTTranscription) for one in sent]

    async def send(self, session_id: str, reply: str = "", **fields: Any) -> None:
        """Send one message of a session."""
        message = messages_pb2.STTStreamMessage(**fields)
        await self.wire.publish(f"ai.voice.stream.{session_id}", message.SerializeToString(), reply)

    def answers(self, session_id: str) -> str:
        """Return the text that was published beside the sound."""
        sent = self.wire.on(f"hearth.conversation.text.{session_id}")
        return "".join(one.read(messages_pb2.ChatStreamChunk).content for one in sent)

    def sounds(self, session_id: str) -> list[messages_pb2.TTSAudioChunk]:
        """Return the speech that was published."""
        return [one.read(messages_pb2.TTSAudioChunk) for one in self.wire.on(f"ai.voice.tts.audio.{session_id}")]

    def turns(self, session_id: str) -> list[conversation_pb2.TurnRecord]:
        """Return the records of turns that were published."""
        sent = self.wire.on(f"hearth.conversation.turn.{session_id}")
        return [one.read(conversation_pb2.TurnRecord) for one in sent]

    async def say(self, session_id: str, text: str, speech: SlowSpeech, chunk_bytes: int = 32_768) -> Outcome:
        """Have something said to a session, as a stream."""
        handler = SpeechHandler(speech, self.work, SpeechOutputSettings(chunk_bytes=chunk_bytes))
        subject = f"ai.voice.tts.request.{session_id}"
        reply = Reply(Sender(self.wire), subject, {"session_id": session_id})
        request = messages_pb2.TTSRequest(text=text, stream=True)
        return await handler.handle(Call.within(1000.0), request, reply)


@asynccontextmanager
async def scene(
    transcription: ReadingTranscription | None = None,
    wire: Wire | None = None,
    connection: SelectiveConnection | None = None,
    replica: str = "",
    voice: ScriptedVoice | None = None,
    turns_file: str = "",
    activity: VoiceActivityEngine | None = None,
    allowances: Allowances = UNLIMITED,
    metrics: Counted | None = None,
    **settings: Any,
) -> AsyncGenerator[Scene]:
    """Run a replica of the audio ingress for as long as the block lasts, on a connection of its own if need be."""
    work, metrics = SessionWork(), metrics or Counted()
    records = TurnRecords(TurnRecordSettings(file=turns_file), with_text=False)
    memory = ConversationMemory(MemorySettings(enabled=False))
    listening = AudioSettings.model_validate(settings)
    conversing = ConversationParts(listening.conversation, 32_768, voice, work, memory, records) if voice else None
    ingress = AudioIngress(
        listening,
        transcription or ReadingTranscription(),
        activity or LoudnessActivity(),
        work,
        metrics,
        conversing,
        replica=replica,
        allowances=allowances,
    )
    connected = wire or Wire()
    running = asyncio.create_task(ingress.run())
    await ingress.connect(connection or connected)
    try:
        yield Scene(ingress, connected, work, metrics)
    finally:
        ingress.stop()
        await running
