"""The audio ingress: listens to live sessions where their messages land, and sends what is said on to the graph.

Voice activity is looked for here, in every window of 32 ms, because a call into the graph costs more than the window.
What crosses a handle is an utterance: twice a second while somebody speaks, for a partial transcript, and when they
have fallen silent. One task listens to all sessions in turn, a window of each and some sessions together, so that one
that sends an hour of sound at once holds up nobody; an idle session is a few kilobytes and no task.
"""

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Coroutine, Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar
from uuid import uuid4

import nats.errors
from google.protobuf.message import DecodeError, Message
from nats.aio.msg import Msg

from bridges.generated.hearth.v1 import audio_pb2, conversation_pb2
from bridges.generated.messages.v1 import messages_pb2
from bridges.live.conversation import Conversation, ConversationParts
from bridges.live.replicas import AudioReplicas, Connection
from bridges.live.session import AudioSession, SessionState, StreamStep
from bridges.live.transcripts import LiveTranscripts, TranscriptMetrics
from bridges.nats.sender import Sender
from bridges.sessions.epochs import SessionWork
from bridges.subjects import AUDIO_STREAM, TRANSCRIPTION, subject_for
from deployments.errors import HearthError, InternalError, InvalidRequestError, NotFoundError, OverloadedError
from deployments.listening.listener import WINDOW_BYTES, Listener, ListeningLimits
from deployments.listening.turn_taking import interrupts
from deployments.listening.voice_activity import VoiceActivityEngine
from deployments.services import TranscriptionService
from deployments.settings.audio import AudioSettings
from deployments.values.sound import BYTES_PER_SAMPLE, SPEECH_RATE, level_of, samples_of

logger = logging.getLogger(__name__)

T = TypeVar("T")

_TOGETHER = 8
"""Sessions whose next windows the model looks at in one call, for less than half of the time of so many calls."""
_SWEEP_S = 0.25
_BEAT_S = 1.0
_SILENCE = bytes(WINDOW_BYTES)


class AudioMetrics(TranscriptMetrics, Protocol):
    """Counts what is heard."""

    def sessions(self, count: int) -> None:
        """Say how many sessions there are."""
        ...

    def tasks(self, count: int) -> None:
        """Say how many tasks the loop of this replica has."""
        ...

    def interrupted(self) -> None:
        """Count an interruption."""
        ...


class AudioIngress:
    """The live sessions of one replica.

    Args:
        settings: How they are listened to.
        transcription: Finds the words.
        activity: Tells speech from other sound.
        work: What the graph does for each session.
        metrics: Counts.
        conversing: What conversations need; None where there are none.
        replica: Name of this replica among those that listen.
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
    ) -> None:
        self._settings = settings
        self._activity = activity
        self._work = work
        self._metrics = metrics
        self._conversing = conversing
        self._conversations: dict[str, Conversation] = {}
        self._replicas = AudioReplicas(replica or uuid4().hex, self, work)
        self._limits = ListeningLimits(settings)
        self._transcripts = LiveTranscripts(
            settings,
            self._limits.part,
            transcription,
            work,
            metrics,
            self._conversations,
            self._spawn,
            self._send,
        )
        self._max_waiting = int(settings.max_backlog_s * SPEECH_RATE * BYTES_PER_SAMPLE)
        self._sessions: dict[str, AudioSession] = {}
        self._ended: dict[str, float] = {}
        self._ready: deque[AudioSession] = deque()
        self._some_ready = asyncio.Event()
        self._tasks: asyncio.TaskGroup
        self._connection: Connection
        self._subscriptions: list[Any] = []
        self._connected = asyncio.Event()
        self._stopping = asyncio.Event()

    @property
    def session_count(self) -> int:
        """How many sessions there are."""
        return len(self._sessions)

    async def connect(self, connection: Connection) -> None:
        """Take sessions from now on; `run` listens to them."""
        self._connection = connection
        self._subscriptions += await self._replicas.connect(connection)
        self._subscriptions.append(await connection.subscribe(AUDIO_STREAM.wildcard, cb=self._received))
        self._connected.set()

    async def run(self) -> None:
        """Listen until `stop`; then end every session with the final transcript of what was being said."""
        await _first(self._connected.wait(), self._stopping.wait())
        if not self._connected.is_set():
            return
        async with asyncio.TaskGroup() as self._tasks:
            steady = [self._tasks.create_task(self._listen()), self._tasks.create_task(self._sweep())]
            await self._stopping.wait()
            for task in steady:
                task.cancel()
            await self._leave()

    def stop(self) -> None:
        """Take no more messages; `run` returns when what was said is transcribed."""
        self._stopping.set()

    # Messages.

    async def _received(self, message: Msg) -> None:
        session_id = message.subject.rsplit(".", 1)[-1]
        session = self._sessions.get(session_id)
        if session is None and not self._replicas.is_mine(session_id):
            return
        try:
            step = messages_pb2.STTStreamMessage.FromString(message.data)
            if step.HasField("played") and session_id in self._conversations:
                self._conversations[session_id].played(step.played)
            self._take(session, session_id, step, message.reply)
        except DecodeError:
            await self._refuse(
                message, session, InvalidRequestError(f"the payload is not a {AUDIO_STREAM.message_type}")
            )
        except HearthError as error:
            await self._refuse(message, session, error)

    def _take(
        self, session: AudioSession | None, session_id: str, step: messages_pb2.STTStreamMessage, reply: str
    ) -> None:
        """Do what a message asks for, or put it behind the sound that came before it.

        Raises:
            HearthError: It is none that is expected.
        """
        match step.type:
            case StreamStep.CHUNK:
                session = session or self._opened_late(session_id)
                if session is not None:
                    self._take_sound(session, step)
            case StreamStep.START:
                self._start(session, session_id, step)
            case StreamStep.STATE_CHANGE:
                _state_of(step.state)
                session = session or self._opened_late(session_id)
                if session is not None:
                    session.heard_at = self._now()
                    self._put(session, step)
            case StreamStep.END if session is not None and not session.is_ending:
                session.heard_at = self._now()
                if step.audio:
                    self._take_sound(session, step)
                session.is_ending = True
                session.end_reply = reply
                self._put(session, step)
            case StreamStep.END if session is None and session_id not in self._ended:
                raise NotFoundError(f"no session {session_id[:64]!r} is open")
            case StreamStep.END:
                logger.debug("session %s was ended twice", session_id)
            case _:
                expected = ", ".join(StreamStep)
                raise InvalidRequestError(f"type {step.type[:64]!r}: expected one of {expected}")

    def _start(self, session: AudioSession | None, session_id: str, step: messages_pb2.STTStreamMessage) -> None:
        """Open a session, or reset it; one that a chunk has just opened is only told who speaks."""
        state = _state_of(step.state) if step.state else SessionState.LISTENING
        if session is not None and (session.was_started or session.is_ending):
            if not session.is_ending:
                self._close(session, "reset")
            del self._sessions[session_id]
            session = None
        if session is None:
            session = self._open(session_id)
        session.was_started = True
        session.state = state
        session.speaker_id = step.speaker_id
        session.language = step.language.lower()
        session.user_id = step.user_id
        if step.HasField("conversation"):
            self._converse(session, step.conversation)
        if step.audio or step.sample_rate or step.channels or step.bit_depth:
            self._take_sound(session, step)

    def _open(self, session_id: str) -> AudioSession:
        if len(self._sessions) >= self._settings.max_sessions:
            raise OverloadedError(f"{self._settings.max_sessions} sessions are open already")
        now = self._now()
        session = AudioSession(session_id, self._activity.new_stream(), Listener(self._limits), now, now)
        self._sessions[session_id] = session
        self._ended.pop(session_id, None)
        self._work.keep(session_id)
        self._metrics.sessions(len(self._sessions))
        return session

    def _converse(self, session: AudioSession, request: conversation_pb2.ConversationRequest, turns: int = 0) -> None:
        """Answer what is said in a session from now on.

        Raises:
            InvalidRequestError: Nothing is answered here.
        """
        if self._conversing is None:
            raise InvalidRequestError("conversation: nothing is answered aloud here")
        sender = Sender(self._connection)
        self._conversations[session.id] = Conversation(session, request, self._conversing, self._spawn, sender, turns)

    def _opened_late(self, session_id: str) -> AudioSession | None:
        """Return a session that was not started: one of another replica that is gone, or a new one.

        None for one that has ended: what comes late for it is only counted.
        """
        if session_id in self._ended:
            logger.debug("sound for session %s, which has ended", session_id)
            return None
        session = self._open(session_id)
        known = self._replicas.handed_over(session_id)
        if known is not None:
            session.was_started = True
            session.sequence = known.next_sequence
            session.state = _state_of(known.state)
            session.speaker_id, session.language = known.speaker_id, known.language
            session.user_id = known.user_id
            self._work.adopt(session_id, known.epoch)
            if known.HasField("conversation"):
                self._converse(session, known.conversation, known.turns)
            logger.info("session %s is taken over from another replica", session_id)
        return session

    def _take_sound(self, session: AudioSession, step: messages_pb2.STTStreamMessage) -> None:
        session.heard_at = self._now()
        session.counts.messages += 1
        session.counts.audio_bytes += len(step.audio)
        if step.speaker_id:
            session.speaker_id = step.speaker_id
        if session.is_ending:
            return
        try:
            pcm = session.reader.read(step.audio, rate=step.sample_rate, channels=step.channels, bits=step.bit_depth)
        except InvalidRequestError as error:
            session.fault = error
            raise
        if session.waiting_bytes + len(pcm) > self._max_waiting:
            if not session.counts.lost_bytes:
                logger.warning(
                    "session %s is more than %g s ahead: sound is lost", session.id, self._settings.max_backlog_s
                )
            session.counts.lost_bytes += len(pcm)
            raise OverloadedError(f"more than {self._settings.max_backlog_s:g} s of sound wait in this session")
        if pcm:
            session.waiting_bytes += len(pcm)
            self._put(session, pcm)

    def _put(self, session: AudioSession, item: bytes | messages_pb2.STTStreamMessage) -> None:
        session.inbox.append(item)
        if not session.is_ready:
            session.is_ready = True
            self._ready.append(session)
            self._some_ready.set()

    async def _refuse(self, message: Msg, session: AudioSession | None, error: HearthError) -> None:
        """Tell what is wrong with a message, if somebody is to be told, and the log, once for each open session."""
        if session is None or not session.counts.refused:
            logger.info("%s on %s: %s", error.kind, message.subject, error.message)
        if session is not None:
            session.counts.refused += 1
        if message.reply:
            response = messages_pb2.ErrorResponse(error=True, message=error.message, type=error.kind)
            await self._connection.publish(message.reply, response.SerializeToString())

    # Listening.

    async def _listen(self) -> None:
        """Listen to the sessions in turn, a window of each."""
        while True:
            if not self._ready:
                self._some_ready.clear()
                await self._some_ready.wait()
            await self._listen_to(self._next_windows())
            # Under load gRPC's poller hands over one event for each turn of the loop, so turns have to be short: with
            # 2 ms of listening in each, a hundred sessions waited twice as long for their answers.
            await asyncio.sleep(0)

    def _next_windows(self) -> list[tuple[AudioSession, bytes]]:
        """Return the next windows of some of the sessions in line, which go to its end."""
        found: list[tuple[AudioSession, bytes]] = []
        for _ in range(min(_TOGETHER, len(self._ready))):
            session = self._ready.popleft()
            with self._isolated(session):
                if window := self._next_window(session):
                    found.append((session, window))
        # Behind all that were taken from it, so that none is taken twice.
        self._ready.extend(session for session, _ in found)
        return found

    def _next_window(self, session: AudioSession) -> bytes:
        """Return a session's next window, and do what its messages in front of it ask for.

        Empty when nothing of it waits any more, which takes it out of the line.
        """
        while not session.is_closed and len(session.rest) < WINDOW_BYTES and session.inbox:
            item = session.inbox.popleft()
            if isinstance(item, bytes):
                session.waiting_bytes -= len(item)
                session.rest += item
            else:
                self._apply(session, item)
        if session.is_closed or len(session.rest) < WINDOW_BYTES:
            session.is_ready = False
            return b""
        window = bytes(session.rest[:WINDOW_BYTES])
        del session.rest[:WINDOW_BYTES]
        return window

    async def _listen_to(self, windows: Sequence[tuple[AudioSession, bytes]]) -> None:
        if not windows:
            return
        sounds = [samples_of(window) for _, window in windows]
        try:
            probabilities = self._activity.probabilities([session.voice for session, _ in windows], sounds)
        except Exception:
            logger.exception("%d sessions are dropped", len(windows))
            for session, _ in windows:
                self._drop(session, "internal")
            return
        for (session, window), samples, probability in zip(windows, sounds, probabilities, strict=True):
            with self._isolated(session):
                await self._hear(session, window, probability, level_of(samples))

    @contextmanager
    def _isolated(self, session: AudioSession) -> Generator[None]:
        """Drop a session whose listening fails, and let the others go on."""
        try:
            yield
        except Exception:
            logger.exception("session %s is dropped", session.id)
            self._drop(session, "internal")

    def _apply(self, session: AudioSession, step: messages_pb2.STTStreamMessage) -> None:
        if step.type == StreamStep.END:
            self._end(session)
        else:
            session.state = _state_of(step.state)

    async def _hear(self, session: AudioSession, window: bytes, probability: float, level: float) -> None:
        if session.is_closed:
            return
        listener = session.listener
        for event in listener.hear(window, probability, level):
            self._transcripts.react(session, event)
        if session.state is SessionState.RESPONDING and listener.is_voiced:
            playing = self._work.playback_level(session.id, self._now())
            if interrupts(listener.speech_ms, listener.level, playing, self._settings.barge_in):
                await self._interrupt(session)

    async def _send(self, session_id: str, message: Message) -> None:
        await self._connection.publish(subject_for(TRANSCRIPTION, session_id=session_id), message.SerializeToString())

    # Interruptions.

    async def _interrupt(self, session: AudioSession) -> None:
        """Stop what is done for a session, and tell it."""
        session.state = SessionState.LISTENING
        session.counts.interrupts += 1
        reopened = None
        if conversation := self._conversations.get(session.id):
            reopened = conversation.reopens(self._now() - session.listener.speech_ms / 1000)
        epoch = await self._work.interrupt(session.id)
        await self._replicas.stop_work(session.id, epoch)
        self._metrics.interrupted()
        await self._send(
            session.id,
            messages_pb2.STTInterrupt(
                session_id=session.id,
                type="interrupt",
                timestamp=int(time.time()),
                speaker_id=session.speaker_id,
                epoch=epoch,
            ),
        )
        if reopened is not None and session.utterance is not None:
            self._transcripts.reopen(session, session.utterance, reopened)
        elif reopened is not None:
            session.reopened = reopened

    # Ends.

    def _end(self, session: AudioSession) -> None:
        """End a session behind its "end": what is being said is transcribed, then it is forgotten."""
        self._finish_listening(session)
        self._spawn(self._farewell(session, "ended"))

    def _finish_listening(self, session: AudioSession) -> None:
        listener = session.listener
        if session.rest:
            window = bytes(session.rest) + _SILENCE[len(session.rest) :]
            session.rest.clear()
            samples = samples_of(window)
            [probability] = self._activity.probabilities([session.voice], [samples])
            for event in listener.hear(window, probability, level_of(samples)):
                self._transcripts.react(session, event)
        if session.utterance is not None:
            self._transcripts.finish(session, session.utterance)

    async def _farewell(self, session: AudioSession, why: str) -> None:
        """Wait for the last transcripts, then forget a session; one that heard nothing says so."""
        if session.final is not None:
            await asyncio.wait([session.final])
        conversation = self._conversations.get(session.id)
        if conversation is not None and why == "ended":
            await conversation.finished()
        if not session.sequence and not session.is_closed and why == "ended":
            fault = session.fault
            await self._transcripts.publish(
                session,
                messages_pb2.STTTranscription(
                    is_final=True, error=fault.message if fault else "", error_type=fault.kind if fault else ""
                ),
            )
        if session.end_reply:
            # The session's final response: everything was said before it.
            last = session.last_final or messages_pb2.STTTranscription(session_id=session.id, is_final=True)
            await self._connection.publish(session.end_reply, last.SerializeToString())
        self._drop(session, why)

    def _drop(self, session: AudioSession, why: str) -> None:
        if self._sessions.get(session.id) is session:
            del self._sessions[session.id]
            self._work.forget(session.id)
            if why == "ended":
                # What still comes for it is late; what comes for one that was dropped opens it again.
                self._ended[session.id] = self._now()
        self._close(session, why)
        self._metrics.sessions(len(self._sessions))

    def _close(self, session: AudioSession, why: str) -> None:
        """Stop everything for a session and write its line of the log."""
        if session.is_closed:
            return
        session.is_closed = True
        if conversation := self._conversations.pop(session.id, None):
            conversation.close()
        if session.utterance is not None:
            session.utterance.cancel()
            session.utterance = None
        session.inbox.clear()
        session.waiting_bytes = 0
        counts = session.counts
        line = {
            "event": "session",
            "subject": AUDIO_STREAM.pattern,
            "session_id": session.id,
            "outcome": why,
            "seconds": round(self._now() - session.opened_at, 3),
            "messages": counts.messages,
            "audio_bytes": counts.audio_bytes,
            "lost_bytes": counts.lost_bytes,
            "refused": counts.refused,
            "utterances": counts.utterances,
            "partials": counts.partials,
            "interrupts": counts.interrupts,
            "last_final_s": round(counts.seconds_to_final, 4),
        }
        logger.info("%s", json.dumps(line))

    # The clock.

    async def _sweep(self) -> None:
        """End utterances whose sound stopped coming, drop idle sessions, tell the other replicas of the others."""
        beat_at = 0.0
        while True:
            await asyncio.sleep(_SWEEP_S)
            now = self._now()
            for session in list(self._sessions.values()):
                self._look_after(session, now)
            self._forget_old(now)
            if now - beat_at >= _BEAT_S:
                beat_at = now
                self._metrics.tasks(len(asyncio.all_tasks()))
                try:
                    await self._replicas.announce()
                except nats.errors.Error as error:
                    # The server is away; the connection comes back by itself, and the next announcement with it.
                    logger.debug("the sessions could not be announced: %s", error)

    def _look_after(self, session: AudioSession, now: float) -> None:
        silent_s = now - session.heard_at
        if session.inbox or session.is_ending:
            return
        if silent_s > self._settings.stall_s and session.utterance is not None:
            self._finish_listening(session)
        conversation = self._conversations.get(session.id)
        if silent_s > self._settings.idle_s and session.is_idle and not (conversation and conversation.is_answering):
            self._drop(session, "idle")

    def _forget_old(self, now: float) -> None:
        oldest = now - self._settings.idle_s
        self._ended = {name: at for name, at in self._ended.items() if at > oldest}
        self._replicas.forget_old(now, oldest)

    # Other replicas.

    @property
    def session_ids(self) -> Iterable[str]:
        """The sessions that are listened to here; see `ListeningReplica`."""
        return self._sessions

    def announcements(self) -> list[audio_pb2.AudioSession]:
        """Return the sessions as another replica would go on with them; see `ListeningReplica`."""
        return [self._announcement(session) for session in self._sessions.values() if not session.is_ending]

    def moved(self, session_id: str) -> None:
        """Leave a session to another replica; see `ListeningReplica`."""
        self._drop(self._sessions[session_id], "moved")

    def _announcement(self, session: AudioSession) -> audio_pb2.AudioSession:
        conversation = self._conversations.get(session.id)
        return audio_pb2.AudioSession(
            session_id=session.id,
            next_sequence=session.sequence,
            state=session.state,
            speaker_id=session.speaker_id,
            language=session.language,
            epoch=self._work.epoch(session.id),
            conversation=conversation.request if conversation else None,
            user_id=session.user_id,
            turns=conversation.turns if conversation else 0,
        )

    async def _leave(self) -> None:
        """Hand the sessions over, and transcribe what was being said in them."""
        for subscription in self._subscriptions:
            await subscription.unsubscribe()
        await self._replicas.announce(leaving=True)
        for session in list(self._sessions.values()):
            self._finish_listening(session)
            self._spawn(self._farewell(session, "left"))

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        async def guarded() -> T:
            try:
                return await work
            except Exception as error:
                # A fault of ours in one session must not end the task group, and with it all the others.
                logger.exception("a task of a live session failed")
                raise asyncio.CancelledError(InternalError.kind) from error

        task = self._tasks.create_task(guarded())
        # One that is cancelled before it began would complain that nobody awaited it.
        task.add_done_callback(lambda _: work.close())
        return task

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def _state_of(state: str) -> SessionState:
    """Return a state as a client writes it.

    Raises:
        InvalidRequestError: There is none of that name.
    """
    try:
        return SessionState(state.strip().lower())
    except ValueError as error:
        expected = " or ".join(SessionState)
        raise InvalidRequestError(f"state {state[:64]!r}: expected {expected}") from error


async def _first(*waiting: Coroutine[Any, Any, Any]) -> None:
    tasks = [asyncio.ensure_future(one) for one in waiting]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
