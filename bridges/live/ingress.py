"""The audio ingress: takes the messages of live sessions, and refuses those that make no sense.

Sound is listened to where its messages land, in windows of 32 ms (`bridges.live.listening_loop`), because a call into
the graph costs more than looking at one. What crosses a handle is an utterance: twice a second while somebody speaks,
for a partial transcript, and when they have fallen silent (`bridges.live.transcripts`). Sessions open and end in
`bridges.live.registry`. An idle session is a few kilobytes and no task.
"""

import asyncio
import logging
import math
import time
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import nats.errors
from google.protobuf.message import DecodeError

from bridges.generated.messages.v1 import messages_pb2
from bridges.live.client_messages import StreamStep, check_texts, state_of
from bridges.live.clients import SessionClients
from bridges.live.conversation import ConversationParts
from bridges.live.dispatch import Dispatch, PassedOn
from bridges.live.handover import SessionHandover
from bridges.live.hearing import Hearing
from bridges.live.interruptions import Interruptions
from bridges.live.listening_line import ListeningLine
from bridges.live.listening_loop import ListeningLoop
from bridges.live.metrics import AudioMetrics, LoggedMetrics
from bridges.live.recent_messages import RecentMessage, RecentMessages
from bridges.live.registry import SessionParts, SessionRegistry
from bridges.live.replicas import AudioReplicas
from bridges.live.session import LiveSession
from bridges.live.session_limits import SessionLimits
from bridges.live.tasks import SessionTasks
from bridges.live.transcripts import LiveTranscripts
from bridges.nats.allowances import UNLIMITED, Allowances
from bridges.nats.askers import BY_SUBJECT, Arrival, Askers
from bridges.nats.connection import SelectiveConnection
from bridges.nats.trust import STRICT, Trust
from bridges.operations.clock import now
from bridges.sessions.epochs import SessionWork
from bridges.subjects import AUDIO_STREAM, subject_for
from deployments.errors import HearthError, InternalError, InvalidRequestError, NotFoundError, OverloadedError
from deployments.listening.listener import ListeningLimits
from deployments.listening.voice_activity import VoiceActivityEngine
from deployments.services import TranscriptionService
from deployments.settings.audio import AudioSettings

logger = logging.getLogger(__name__)

_SPOKEN_INTO_S = 1.0
"""Of an answered session's sound so much is heard again: what its listener begins to say, and little of the answer."""
_SWEEP_S = 0.25
_EMPTY_SWEEP_S = 1.0
_SWEEPS_A_COUNT = 4


class AudioIngress:
    """The live audio of one replica.

    Args:
        settings: How sessions are listened to.
        transcription: Finds the words.
        activity: Tells speech from other sound.
        work: What the graph does for each session.
        metrics: Counts.
        conversing: What conversations need; None where there are none.
        replica: Name of this replica among those that listen.
        trust: Where clients are answered.
        allowances: What each user may take.
        askers: Finds out whose a session is.
    """

    def __init__(
        self,
        settings: AudioSettings,
        transcription: TranscriptionService,
        activity: VoiceActivityEngine,
        work: SessionWork,
        metrics: AudioMetrics,
        conversing: ConversationParts | None = None,
        replica: str = "",
        trust: Trust = STRICT,
        allowances: Allowances = UNLIMITED,
        askers: Askers = BY_SUBJECT,
    ) -> None:
        self._metrics = metrics = LoggedMetrics(metrics)
        self._tasks = SessionTasks()
        self._line = ListeningLine()
        name = replica or uuid4().hex
        recent = RecentMessages(settings.takeover.keep_s, settings.takeover.max_mb << 20)
        self._replicas = AudioReplicas(name, work, settings.idle_s, recent if settings.takeover.keep_s else None)
        self._clients = SessionClients(self._replicas.lease, trust)
        tell_soon = self._replicas.tell_soon
        spawn, limits = self._tasks.spawn, ListeningLimits(settings)
        transcripts = LiveTranscripts(
            settings, limits.part, transcription, work, metrics, spawn, self._clients, self._line, tell_soon
        )
        interruptions = Interruptions(work, self._replicas, transcripts, self._clients, self._line, metrics, spawn)
        hearing = Hearing(activity, transcripts, interruptions, work, settings.barge_in)
        parts = SessionParts(
            settings,
            limits,
            activity,
            work,
            self._clients,
            metrics,
            conversing,
            spawn,
            tell_soon,
            self._replicas.kept_since,
        )
        self._registry = SessionRegistry(parts, hearing, transcripts)
        self._transcripts = transcripts
        self._limits = SessionLimits(allowances, askers, self._registry.sessions)
        self._loop = ListeningLoop(self._line, hearing, self._registry)
        self._dispatch = Dispatch(name, self._replicas, self._registry, self._hear, recent)
        self._subscriptions: list[Any] = []
        self._connected = asyncio.Event()
        self._leaving = asyncio.Event()
        self._drained = asyncio.Event()
        self._stopping = asyncio.Event()

    @property
    def session_count(self) -> int:
        """How many sessions there are."""
        return len(self._registry)

    async def connect(self, connection: SelectiveConnection) -> None:
        """Take sessions, and return once no message of them is missed any more; `run` listens to them meanwhile.

        A replica that was drained before takes none.

        Raises:
            nats.errors.Error: The server does not answer.
        """
        self._clients.connect(connection)
        # Before the others are asked for their sessions: from then on they leave new ones to this replica.
        self._subscriptions += await self._dispatch.connect(connection)
        self._subscriptions += await self._replicas.connect(connection, self._registry, self._take_over)
        if self._leaving.is_set():
            # `run` waits for nothing any more, and the others may count on this replica already.
            await self._leave()
            return
        self._connected.set()
        await self._replicas.join()
        await self._dispatch.take_early()

    async def run(self) -> None:
        """Listen until `drain` or `stop`, then end every session; return after `stop`.

        What was being said in a session is transcribed. What another replica needs to go on with it was told.
        """
        try:
            await _first(self._connected.wait(), self._leaving.wait())
            if self._connected.is_set():
                await self._listen()
        finally:
            self._drained.set()
        await self._stopping.wait()

    async def drain(self) -> None:
        """Take no more messages, for good, hand the sessions over, and return when all that was said is transcribed."""
        self._leaving.set()
        await self._drained.wait()

    def stop(self) -> None:
        """Take no more messages; `run` returns when what was said is transcribed."""
        self._leaving.set()
        self._stopping.set()

    def held(self) -> dict[str, int]:
        """Return how many sessions are listened to, by the pattern of their subject; empty for none."""
        return {AUDIO_STREAM.pattern: len(self._registry)} if len(self._registry) else {}

    async def _listen(self) -> None:
        async with self._tasks.running() as group:
            works = (
                self._loop.run(),
                self._sweep(),
                self._replicas.run(),
                self._replicas.watch(),
                self._dispatch.run(),
                self._dispatch.succeed(),
            )
            steady = [group.create_task(work) for work in works]
            await self._leaving.wait()
            await self._dispatch.leave()
            for task in steady:
                task.cancel()
            await self._leave()

    async def _sweep(self) -> None:
        sweeps = 0
        while True:
            is_empty = not len(self._registry)
            await asyncio.sleep(_EMPTY_SWEEP_S if is_empty else _SWEEP_S)
            self._registry.sweep()
            # Tasks are counted once a second, with sessions and without.
            sweeps += _SWEEPS_A_COUNT if is_empty else 1
            if sweeps >= _SWEEPS_A_COUNT:
                sweeps = 0
                self._metrics.tasks(len(asyncio.all_tasks()))

    async def _leave(self) -> None:
        """Hand the sessions over, and transcribe what was being said in them."""
        # What is said from now on ends what was begun here, and nobody else says it.
        self._replicas.lease.end()
        try:
            await self._dispatch.close()
            for subscription in self._subscriptions:
                await subscription.unsubscribe()
            # The last of what was said in them first: it takes numbers of turns and transcripts.
            self._registry.leave()
            await self._replicas.leave()
        except Exception:
            # Of whatever kind: what is being said in the sessions is transcribed all the same.
            logger.exception("the sessions are left without a word to the other replicas")
            self._registry.leave()

    # Sessions of other replicas.

    def _take_over(self, known: SessionHandover) -> None:
        """Go on with a session of another replica that has left, or is gone: hear what was kept of it."""
        recent = self._dispatch.go_on_with(known.session_id)
        if self._registry.get(known.session_id) is not None:
            logger.info("session %s has begun here already", known.session_id)
            return
        try:
            self._registry.open_late(known.session_id, known)
        except HearthError as error:
            logger.warning("session %s is not taken over: %s", known.session_id, error.message)
            return
        since = now() - _SPOKEN_INTO_S if known.is_answered else -math.inf
        for message in recent:
            if message.at >= since:
                self._hear_again(known.session_id, message)

    def _hear_again(self, session_id: str, message: RecentMessage) -> None:
        came = PassedOn(subject_for(AUDIO_STREAM, session_id=session_id), message.data, message.reply)
        error = self._heard(came, is_known=message.was_taken)
        if error is not None and not message.was_taken:
            # Nobody has said so yet.
            self._tasks.spawn(self._refuse(came, error))

    # Messages.

    async def _hear(self, message: Arrival) -> None:
        if (error := self._heard(message)) is not None:
            await self._refuse(message, error)

    def _heard(self, message: Arrival, *, is_known: bool = False) -> HearthError | None:
        """Take a message; return why it is refused.

        Args:
            message: What came.
            is_known: Whether another replica has taken it, too: a session that it starts is open already.
        """
        session_id = message.subject.rsplit(".", 1)[-1]
        session = self._registry.get(session_id)
        if session is not None:
            session.progress.take(message.data)
        try:
            step = messages_pb2.STTStreamMessage.FromString(message.data)
            check_texts(session_id, step)
            if is_known and step.type == StreamStep.START:
                step.type = StreamStep.CHUNK
            if step.HasField("played") and session is not None and session.conversation is not None:
                session.conversation.played(step.played)
            self._take(session, session_id, step, message)
        except DecodeError:
            return InvalidRequestError(f"the payload is not a {AUDIO_STREAM.message_type}")
        except HearthError as error:
            return error
        except Exception:
            logger.exception("a message on %s failed", message.subject)
            return InternalError("the message failed inside the ingress")
        return None

    def _take(
        self, session: LiveSession | None, session_id: str, step: messages_pb2.STTStreamMessage, message: Arrival
    ) -> None:
        """Do what a message asks for, or put it behind the sound that came before it.

        Raises:
            HearthError: It is none that is expected.
        """
        if session is None and step.type in (StreamStep.CHUNK, StreamStep.STATE_CHANGE):
            session = self._opened_late(session_id, message.data)
        match step.type:
            case StreamStep.CHUNK:
                if session is not None:
                    self._take_sound(session, step)
            case StreamStep.START:
                self._start(session_id, step, message)
            case StreamStep.STATE_CHANGE:
                state = state_of(step.state)
                if session is not None:
                    session.take_state(state)
                    self._line.put(session)
            case StreamStep.END if session is not None:
                self._take_end(session, step, message.reply)
            case StreamStep.END if not self._registry.has_ended(session_id):
                raise NotFoundError(f"no session {session_id[:64]!r} is open")
            case StreamStep.END:
                logger.debug("session %s was ended twice", session_id)
            case _:
                expected = ", ".join(StreamStep)
                raise InvalidRequestError(f"type {step.type[:64]!r}: expected one of {expected}")

    def _start(self, session_id: str, step: messages_pb2.STTStreamMessage, message: Arrival) -> None:
        with self._turning_away(session_id):
            asker = self._limits.starts(session_id, step, message)
            if asker.user and not step.user_id:
                # Its conversation is theirs, too.
                step.user_id = asker.user
                check_texts(session_id, step)
        session = self._registry.start(session_id, step)
        if not session.progress.taken:
            session.progress.take(message.data)
        session.asker = asker
        # It begins anew, whatever another replica knew of it.
        self._replicas.handed_over(session_id)
        if step.audio or step.sample_rate or step.channels or step.bit_depth:
            self._take_sound(session, step)

    def _opened_late(self, session_id: str, payload: bytes) -> LiveSession | None:
        """Return a session that was not started: one of another replica that is gone, or a new one.

        None for one that has ended, or was refused: what comes for it is dropped.
        """
        if self._registry.has_ended(session_id):
            logger.debug("sound for session %s, which has ended", session_id)
            return None
        # What was handed over is given once: it must not be lost to a refusal.
        self._registry.check_room()
        if self._limits.is_turned_away(session_id):
            logger.debug("sound for session %s, which was refused", session_id)
            return None
        with self._turning_away(session_id):
            self._limits.opens_late(session_id)
        session = self._registry.open_late(session_id, self._replicas.handed_over(session_id))
        session.progress.take(payload)
        return session

    def _take_sound(self, session: LiveSession, step: messages_pb2.STTStreamMessage) -> None:
        try:
            self._limits.check_sound(session)
        except OverloadedError as error:
            session.lose_sound(step)
            if not session.is_over_limit:
                session.is_over_limit = True
                self._tasks.spawn(self._transcripts.publish(session, _refusal(error)))
            raise
        session.take_sound(step)
        session.is_over_limit = False
        self._limits.heard(session, len(step.audio))
        self._line.put(session)

    def _take_end(self, session: LiveSession, step: messages_pb2.STTStreamMessage, reply: str) -> None:
        if session.is_ending:
            logger.debug("session %s was ended twice", session.id)
            return
        try:
            if step.audio:
                self._take_sound(session, step)
            session.end_reply = reply
            session.end_sound()
        finally:
            # It ends, too, where its last sound is refused; the refusal is then the reply.
            session.take_end()
            self._line.put(session)

    @contextmanager
    def _turning_away(self, session_id: str) -> Generator[None]:
        """Tell the clients of a session that its user's limits refuse: few of them ask for a reply."""
        try:
            yield
        except HearthError as error:
            self._limits.turn_away(session_id, error)
            refusal = _refusal(error)
            refusal.session_id = session_id
            self._tasks.spawn(self._clients.tell(session_id, refusal))
            raise

    async def _refuse(self, message: Arrival, error: HearthError) -> None:
        """Tell what is wrong with a message, if somebody is to be told, and the log, once for each open session."""
        session = self._registry.get(message.subject.rsplit(".", 1)[-1])
        if session is None or not session.counts.refused:
            logger.info("%s on %s: %s", error.kind, message.subject, error.message)
        if session is not None:
            session.counts.refused += 1
        if not message.reply:
            return
        response = messages_pb2.ErrorResponse(error=True, message=error.message, type=error.kind)
        try:
            await self._clients.reply(message.reply, response)
        except nats.errors.Error as failure:
            logger.warning("%s on %s could not be told: %s", error.kind, message.subject, failure)


def _refusal(error: HearthError) -> messages_pb2.STTTranscription:
    return messages_pb2.STTTranscription(
        is_final=True, timestamp=int(time.time()), error=error.message, error_type=error.kind
    )


async def _first(*waiting: Coroutine[Any, Any, Any]) -> None:
    tasks = [asyncio.ensure_future(one) for one in waiting]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
