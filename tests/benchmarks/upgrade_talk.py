"""Clients of live sessions that speak one utterance after the other and are answered aloud, over core NATS.

Each is a microphone that is always open: a question, then silence, again and again. What comes back within the period
behind an utterance belongs to it: one final transcript and one whole answer are right.
"""

import asyncio
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import soxr
from nats.aio.client import Client
from nats.aio.msg import Msg

from bridges.generated.hearth.v1 import conversation_pb2
from bridges.generated.messages.v1 import messages_pb2
from bridges.subjects import AUDIO_STREAM, SPEECH_AUDIO, TRANSCRIPTION, subject_for
from deployments.engines.speaking.hibari_speech import HibariSpeech
from deployments.values.sound import SPEECH_RATE, pcm_of, samples_of
from deployments.values.speech import SpeechText
from tests.benchmarks.upgrade_chats import told
from tests.speaking import spoken_by

SPOKEN_ANSWER = "The library opens at nine."
_CHUNK_S = 0.1
_CHUNK_BYTES = 2 * int(SPEECH_RATE * _CHUNK_S)
_NOISE = 0.002


@dataclass(slots=True)
class Talk:
    """One session.

    Attributes:
        session_id: The last token of its subjects.
        question_s: How long an utterance lasts: what comes before it was said is late, and belongs to the one before.
        spoken_at: When each utterance began.
        finals: When each final transcript came, with its number.
        answers: When the last sound of each answer came.
        stopped_at: When the microphone was closed.
    """

    session_id: str
    question_s: float = 0.0
    spoken_at: list[float] = field(default_factory=list[float])
    finals: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])
    answers: list[float] = field(default_factory=list[float])
    stopped_at: float = 0.0

    def slots(self) -> list[tuple[int, int]]:
        """Return for each utterance how many final transcripts and whole answers came for it."""
        edges = [at + self.question_s for at in (*self.spoken_at, self.stopped_at)]
        return [
            (
                sum(begin <= at < end for at, _ in self.finals),
                sum(begin <= at < end for at in self.answers),
            )
            for begin, end in itertools.pairwise(edges)
        ]

    @property
    def went_on(self) -> bool:
        """Whether it is one session to its end: its transcripts are numbered through, and its last words were heard."""
        numbers = [number for _, number in self.finals]
        slots = self.slots()
        return all(one < other for one, other in itertools.pairwise(numbers)) and bool(slots and slots[-1][0])


@dataclass(frozen=True)
class TalkTally:
    """What became of what was said.

    Attributes:
        sessions: How many there were.
        ended_early: Those that began anew, or whose last words nobody heard.
        utterances: How many were spoken.
        heard_once: Those with one final transcript.
        in_parts: Those with several.
        unheard: Those with none.
        answered_once: Those with one whole answer.
        answered_twice: Those with several.
        unanswered: Those with none that was whole.
    """

    sessions: int
    ended_early: int
    utterances: int
    heard_once: int
    in_parts: int
    unheard: int
    answered_once: int
    answered_twice: int
    unanswered: int


class Talks:
    """Many sessions over one connection.

    Args:
        client: The connection.
        question: What is said, as PCM.
        sessions: How many there are.
        period_s: From one utterance of a session to its next.
    """

    def __init__(self, client: Client, question: bytes, sessions: int, period_s: float) -> None:
        self._client = client
        self._period_s = round(period_s / _CHUNK_S) * _CHUNK_S
        self._chunks = _chunks(question, self._period_s)
        question_s = len(question) / 2 / SPEECH_RATE
        names = [f"talk-{number}" for number in range(sessions)]
        self.talks = {name: Talk(name, question_s) for name in names}

    async def listen(self) -> None:
        """Hear all sessions from now on."""
        await self._client.subscribe(TRANSCRIPTION.wildcard, cb=self._transcribed)
        await self._client.subscribe(SPEECH_AUDIO.wildcard, cb=self._spoke)
        await self._client.flush()

    async def speak(self, is_over: asyncio.Event) -> None:
        """Hold all sessions until something is over, each to the end of an utterance's period."""
        async with asyncio.TaskGroup() as group:
            for number, talk in enumerate(self.talks.values()):
                group.create_task(self._hold(talk, number * self._period_s / len(self.talks), is_over))

    def tally(self) -> TalkTally:
        """Count what became of all that was said."""
        slots = [slot for talk in self.talks.values() for slot in talk.slots()]
        finals, answers = [final for final, _ in slots], [answer for _, answer in slots]
        return TalkTally(
            sessions=len(self.talks),
            ended_early=sum(not talk.went_on for talk in self.talks.values()),
            utterances=len(slots),
            heard_once=finals.count(1),
            in_parts=sum(number > 1 for number in finals),
            unheard=finals.count(0),
            answered_once=answers.count(1),
            answered_twice=sum(number > 1 for number in answers),
            unanswered=answers.count(0),
        )

    async def _hold(self, talk: Talk, delay_s: float, is_over: asyncio.Event) -> None:
        subject = subject_for(AUDIO_STREAM, session_id=talk.session_id)
        conversation = conversation_pb2.ConversationRequest(
            system_prompt=told(SPOKEN_ANSWER, 0.0, 0.0), voice="0", without_documents=True
        )
        start = messages_pb2.STTStreamMessage(type="start", conversation=conversation)
        await self._client.publish(subject, start.SerializeToString())
        # So that a session that is new is not also in the midst of its first word.
        began = time.monotonic() + 0.5 + delay_s
        sent = 0
        while not is_over.is_set():
            for at, chunk in enumerate(self._chunks):
                # Sound is there when its last sample was recorded.
                await asyncio.sleep(max(0.0, began + (sent + 1) * _CHUNK_S - time.monotonic()))
                if at == 0:
                    talk.spoken_at.append(time.monotonic())
                await self._client.publish(subject, chunk)
                sent += 1
        talk.stopped_at = time.monotonic()
        await self._client.publish(subject, messages_pb2.STTStreamMessage(type="end").SerializeToString())

    async def _transcribed(self, message: Msg) -> None:
        talk = self.talks.get(message.subject.rsplit(".", 1)[-1])
        transcript = messages_pb2.STTTranscription.FromString(message.data)
        if talk is not None and transcript.is_final and transcript.transcript:
            talk.finals.append((time.monotonic(), transcript.sequence))

    async def _spoke(self, message: Msg) -> None:
        talk = self.talks.get(message.subject.rsplit(".", 1)[-1])
        if talk is not None and messages_pb2.TTSAudioChunk.FromString(message.data).is_last:
            talk.answers.append(time.monotonic())


async def spoken_question(text: str) -> bytes:
    """Return a question as a microphone has it, from its first sample to its last."""
    engine = HibariSpeech()
    spoken = await spoken_by(engine, SpeechText(text))
    await engine.close()
    return pcm_of(soxr.resample(samples_of(spoken.pcm), spoken.rate, SPEECH_RATE))


def _chunks(question: bytes, period_s: float) -> Sequence[bytes]:
    """Return the messages of one period: the question, then silence with a little noise."""
    noise = np.random.default_rng(0).normal(0.0, _NOISE, int(period_s * SPEECH_RATE)).astype(np.float32)
    speech = samples_of(question)
    noise[: len(speech)] += speech
    pcm = pcm_of(noise)
    return [
        messages_pb2.STTStreamMessage(type="chunk", audio=pcm[at : at + _CHUNK_BYTES]).SerializeToString()
        for at in range(0, len(pcm), _CHUNK_BYTES)
    ]
