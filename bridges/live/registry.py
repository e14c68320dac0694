"""The live sessions of one replica: opens, resets, drops and sweeps them."""

import logging
from collections.abc import Callable, Generator, Iterable
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

from bridges.generated.messages.v1 import messages_pb2
from bridges.live.client_messages import SessionState, state_of
from bridges.live.clients import SessionClients
from bridges.live.conversation import Conversation, ConversationParts
from bridges.live.handover import SessionHandover, SessionTerms, copy_of
from bridges.live.hearing import Hearing
from bridges.live.metrics import AudioMetrics
from bridges.live.session import LiveSession
from bridges.live.sound_queue import SoundQueue
from bridges.live.sound_room import SoundRoom
from bridges.live.tasks import Spawn
from bridges.live.transcripts import LiveTranscripts
from bridges.operations.clock import now
from bridges.sessions.epochs import SessionWork
from deployments.errors import InvalidRequestError, Limit, OverloadedError
from deployments.listening.listener import Listener, ListeningLimits
from deployments.listening.voice_activity import VoiceActivityEngine
from deployments.settings.audio import AudioSettings

logger = logging.getLogger(__name__)

_ENDED_PER_SESSION = 4
"""Sessions that have ended and are remembered, for each that may be open."""


@dataclass(frozen=True, slots=True)
class SessionParts:
    """What all sessions of a replica share.

    Attributes:
        settings: How they are listened to.
        limits: The same, in windows.
        activity: Tells speech from other sound.
        work: Knows their epochs.
        clients: Hear of them.
        metrics: Counts them.
        conversing: What conversations need; None where there are none.
        spawn: Starts a task that the ingress owns.
        tell_soon: Has the other replicas told at once of what has changed in a session.
        kept_since: Says from when on other replicas have kept the last messages of each session; infinite for never.
    """

    settings: AudioSettings
    limits: ListeningLimits
    activity: VoiceActivityEngine
    work: SessionWork
    clients: SessionClients
    metrics: AudioMetrics
    conversing: ConversationParts | None
    spawn: Spawn
    tell_soon: Callable[[str], None]
    kept_since: Callable[[], float]


class SessionRegistry:
    """All sessions of a replica, by their ids.

    Args:
        parts: What they share.
        hearing: Hears the last of what is said in them.
        transcripts: Are waited for before one ends.
    """

    def __init__(self, parts: SessionParts, hearing: Hearing, transcripts: LiveTranscripts) -> None:
        self._parts = parts
        self._hearing = hearing
        self._transcripts = transcripts
        self._room = SoundRoom(parts.settings)
        self._sessions: dict[str, LiveSession] = {}
        self._ended: dict[str, float] = {}
        self._is_leaving = False

    def __len__(self) -> int:
        return len(self._sessions)

    def get(self, session_id: str) -> LiveSession | None:
        """Return a session that is open, or ending."""
        return self._sessions.get(session_id)

    def sessions(self) -> Iterable[LiveSession]:
        """Return those that are open, or ending."""
        return self._sessions.values()

    def has_ended(self, session_id: str) -> bool:
        """Say whether a session was ended by its client lately: what comes for it now is late."""
        return session_id in self._ended

    # How they begin.

    def start(self, session_id: str, step: messages_pb2.STTStreamMessage) -> LiveSession:
        """Open a session by its "start", or reset it; one that a chunk has just opened is only told who speaks.

        Raises:
            InvalidRequestError: Its state is none, or it asks for answers and nothing is answered here.
            OverloadedError: There are too many.
        """
        state = state_of(step.state) if step.state else SessionState.LISTENING
        conversation = copy_of(step.conversation) if step.HasField("conversation") else None
        if conversation is not None:
            # Before anything is reset or opened by a "start" that is refused.
            self._conversing()
        self._check_user(step.user_id, session_id)
        session = self._sessions.get(session_id)
        if session is None:
            self._make_room()
        generation = session.generation if session is not None else 0
        if session is not None and (session.was_started or session.is_ending):
            self._replace(session)
            session = None
        if session is None:
            session = self._open(session_id)
            session.generation = generation
        session.was_started = True
        session.state = state
        session.speaker_id = step.speaker_id
        session.terms = SessionTerms(step.language.lower(), step.user_id, conversation)
        session.queue.belongs_to(step.user_id)
        self._converse(session)
        return session

    def open_late(self, session_id: str, known: SessionHandover | None) -> LiveSession:
        """Open a session that was not started here.

        Args:
            session_id: Its id.
            known: What another replica that is gone knew of it; None for one that is new.

        Raises:
            OverloadedError: There are too many.
        """
        if known is not None and known.terms.conversation is not None:
            self._conversing()
        session = self._open(session_id)
        if known is None:
            return session
        session.was_started = True
        session.generation = known.generation + 1
        session.sequence = known.next_sequence
        session.state = known.state
        session.speaker_id = known.speaker_id
        session.terms = known.terms
        session.queue.belongs_to(known.terms.user_id)
        session.reader.go_on(known.format)
        self._parts.work.adopt(session_id, known.epoch)
        self._converse(session, known.turns)
        if session.conversation is not None:
            # Nobody answers any more.
            session.state = SessionState.LISTENING
            if known.answering:
                session.conversation.broke_off(known.answering)
        logger.info("session %s is taken over from another replica", session_id)
        return session

    def check_room(self) -> None:
        """Raise `OverloadedError` where no session can be opened now."""
        most = self._parts.settings.max_sessions
        if len(self._sessions) >= most:
            limit = Limit("audio.max_sessions", most, len(self._sessions) + 1)
            raise OverloadedError(f"{most} sessions are open already", limit=limit)

    def _check_user(self, user_id: str, session_id: str) -> None:
        """Raise `OverloadedError` where a user may not have this session besides those that are open."""
        most = self._parts.settings.max_user_sessions
        if not user_id:
            return
        others = sum(one.terms.user_id == user_id and one.id != session_id for one in self._sessions.values())
        if others >= most:
            limit = Limit("audio.max_user_sessions", most, others + 1)
            raise OverloadedError(f"{most} sessions of this user are open already", limit=limit)

    def _make_room(self) -> None:
        """Where no session can be opened, drop one that was never started, and in which nobody speaks.

        Whoever sends sound for sessions that nobody starts shall not keep out those that do start.
        """
        if len(self._sessions) < self._parts.settings.max_sessions:
            return
        unstarted = (one for one in self._sessions.values() if not one.was_started and one.is_idle)
        if (oldest := next(unstarted, None)) is not None:
            self.drop(oldest, "displaced")

    def _open(self, session_id: str) -> LiveSession:
        self.check_room()
        parts = self._parts
        queue = SoundQueue(session_id, self._room)
        session = LiveSession(session_id, parts.activity.new_stream(), Listener(parts.limits), queue)
        self._sessions[session_id] = session
        self._ended.pop(session_id, None)
        parts.work.keep(session_id)
        parts.metrics.sessions(len(self._sessions))
        parts.tell_soon(session_id)
        return session

    def _replace(self, session: LiveSession) -> None:
        """Make room for a session of the same id. One that was ended goes on to its own end beside it."""
        if not session.is_ending:
            session.close("reset")
        del self._sessions[session.id]

    def _converse(self, session: LiveSession, turns: int = 0) -> None:
        """Answer what is said in a session from now on, where its terms ask for it."""
        request = session.terms.conversation
        if request is None:
            return
        conversing = self._conversing()

        def turn_to(state: SessionState) -> None:
            session.state = state
            self._parts.tell_soon(session.id)

        session.conversation = Conversation(
            session.id,
            session.terms,
            request,
            conversing,
            turn_to,
            self._parts.spawn,
            self._parts.clients.sender(),
            turns,
        )

    def _conversing(self) -> ConversationParts:
        """Return what conversations need.

        Raises:
            InvalidRequestError: Nothing is answered here.
        """
        if self._parts.conversing is None:
            raise InvalidRequestError("conversation: nothing is answered aloud here", field="conversation")
        return self._parts.conversing

    # How they end.

    def end(self, session: LiveSession) -> None:
        """End a session behind its "end": what is being said is transcribed and answered, then it is forgotten."""
        self._part_from(session, "ended")

    def leave(self) -> None:
        """End all sessions, because this replica leaves.

        What is being said in them is transcribed here, unless another replica goes on from its beginning.
        """
        self._is_leaving = True

        def leave(session: LiveSession) -> None:
            if session.is_parting:
                return
            if session.is_ending:
                # Its "end" may wait behind sound that nobody will hear any more.
                self._part_from(session, "ended")
            elif session.leave(self._parts.kept_since()):
                session.is_parting = True
                self._parts.spawn(self._farewell(session, "left"))
            else:
                self._part_from(session, "left")

        self._with_each(leave)

    def _part_from(self, session: LiveSession, why: str) -> None:
        session.is_parting = True
        self._hearing.finish(session)
        self._parts.spawn(self._farewell(session, why))

    def drop(self, session: LiveSession, why: str) -> None:
        """Forget a session, and stop everything for it."""
        if self._sessions.get(session.id) is session:
            del self._sessions[session.id]
            if why == "ended":
                # What still comes for it is late; what comes for one that was dropped opens it again. Its epoch is
                # kept as long, so that it goes on from there should the client start it again.
                self._ended.pop(session.id, None)
                self._ended[session.id] = now()
                self._forget_ended(len(self._ended) - _ENDED_PER_SESSION * self._parts.settings.max_sessions)
            else:
                self._parts.work.forget(session.id)
        try:
            session.close(why)
        except Exception:
            # It is forgotten all the same, and whoever drops it goes on with the others.
            logger.exception("session %s was not closed in good order", session.id)
        self._parts.metrics.sessions(len(self._sessions))
        self._parts.tell_soon(session.id)

    @contextmanager
    def isolated(self, session: LiveSession) -> Generator[None]:
        """Drop a session whose handling in the block fails, and let the others go on."""
        try:
            yield
        except Exception:
            logger.exception("session %s is dropped", session.id)
            self.drop(session, "internal")

    def _with_each(self, handle: Callable[[LiveSession], None]) -> None:
        """Handle each session, isolated from the others."""
        for session in list(self._sessions.values()):
            try:
                handle(session)
            except Exception:
                # As `isolated` does, for a tenth of the time: thousands are handled, again and again.
                logger.exception("session %s is dropped", session.id)
                self.drop(session, "internal")

    async def _farewell(self, session: LiveSession, why: str) -> None:
        """Wait for the last of a session, tell its client, then forget it, whatever became of that."""
        try:
            await session.finish(with_answer=why == "ended")
            if not session.sequence and not session.is_closed and why == "ended":
                # It heard nothing, and says so.
                error, kind = (session.fault.message, session.fault.kind) if session.fault else ("", "")
                silence = messages_pb2.STTTranscription(is_final=True, error=error, error_type=kind)
                await self._transcripts.publish(session, silence)
            if session.end_reply:
                # The session's final response: everything was said before it.
                last = session.last_final or messages_pb2.STTTranscription(session_id=session.id, is_final=True)
                await self._parts.clients.reply(session.end_reply, last)
        finally:
            self.drop(session, why)

    # The clock.

    def sweep(self) -> None:
        """End utterances whose sound has stopped coming, drop idle sessions, forget those that ended long ago."""
        at = now()
        self._with_each(lambda session: self._look_after(session, at))
        oldest = at - self._parts.settings.idle_s
        self._forget_ended(sum(ended_at <= oldest for ended_at in self._ended.values()))

    def _forget_ended(self, number: int) -> None:
        """Forget so many of the sessions that have ended, those first that ended first."""
        for session_id in list(islice(self._ended, max(0, number))):
            del self._ended[session_id]
            self._parts.work.forget(session_id)

    def _look_after(self, session: LiveSession, at: float) -> None:
        if session.queue.has_waiting or session.is_ending:
            return
        session.settle_silence()
        silent_s = at - session.heard_at
        if silent_s > self._parts.settings.stall_s and session.utterance is not None:
            self._hearing.finish(session)
        if silent_s > self._parts.settings.idle_s and session.is_idle:
            self.drop(session, "idle")

    # Other replicas; see `ListeningReplica`.

    @property
    def session_ids(self) -> AbstractSet[str]:
        """The sessions that are listened to here."""
        return self._sessions.keys()

    def handovers(self) -> list[SessionHandover]:
        """Return the sessions as another replica would go on with them."""
        found: list[SessionHandover] = []

        def find(session: LiveSession) -> None:
            if (handover := self.handover(session.id)) is not None:
                found.append(handover)

        self._with_each(find)
        return found

    def handover(self, session_id: str) -> SessionHandover | None:
        """Return a session as another replica would go on with it; None where none would."""
        session = self._sessions.get(session_id)
        # One that is ending is ended here, unless this replica is gone before.
        if session is None or (session.is_ending and self._is_leaving):
            return None
        return session.handover(self._parts.work.epoch(session_id))

    def generation(self, session_id: str) -> int:
        """Return how often a session that is listened to here was taken over."""
        return self._sessions[session_id].generation

    def moved(self, session_id: str) -> None:
        """Leave a session to another replica, which has more right to it."""
        self.drop(self._sessions[session_id], "moved")

    def began_elsewhere(self, session_id: str) -> None:
        """Learn that another replica listens to a session, which may have ended here."""
        self._ended.pop(session_id, None)
