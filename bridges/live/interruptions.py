"""Interruptions: a session's listener speaks into what is being said to them, which stops, and they are told."""

import logging
import time

import nats.errors

from bridges.generated.messages.v1 import messages_pb2
from bridges.live.client_messages import SessionState
from bridges.live.clients import SessionClients
from bridges.live.listening_line import ListeningLine
from bridges.live.metrics import AudioMetrics
from bridges.live.replicas import AudioReplicas
from bridges.live.session import LiveSession
from bridges.live.tasks import Spawn
from bridges.live.transcripts import LiveTranscripts
from bridges.live.turn import Turn
from bridges.operations.clock import now
from bridges.sessions.epochs import SessionWork

logger = logging.getLogger(__name__)


class Interruptions:
    """Interrupts what is done for the sessions of a replica.

    To stop what other replicas do takes a round trip and more. A session is held for that time: its own sound waits, so
    that it is told of the interruption before anything that is heard later. No other session waits.

    Args:
        work: What is done here.
        replicas: Do something for sessions, too.
        transcripts: Go on with a question that was taken as ended too soon.
        clients: Are told.
        line: Where a session goes on being listened to.
        metrics: Counts.
        spawn: Starts a task that the ingress owns.
    """

    def __init__(
        self,
        work: SessionWork,
        replicas: AudioReplicas,
        transcripts: LiveTranscripts,
        clients: SessionClients,
        line: ListeningLine,
        metrics: AudioMetrics,
        spawn: Spawn,
    ) -> None:
        self._work = work
        self._replicas = replicas
        self._transcripts = transcripts
        self._clients = clients
        self._line = line
        self._metrics = metrics
        self._spawn = spawn

    def begin(self, session: LiveSession) -> None:
        """Stop what is done for a session, and tell it, without waiting for that; the session is held until then."""
        session.state = SessionState.LISTENING
        session.counts.interrupts += 1
        reopened = None
        if session.conversation is not None:
            reopened = session.conversation.reopens(now() - session.listener.speech_ms / 1000)
        session.is_held = True
        self._spawn(self._interrupt(session, reopened))

    async def _interrupt(self, session: LiveSession, reopened: Turn | None) -> None:
        try:
            if session.is_closed:
                return
            epoch = await self._work.interrupt(session.id)
            await self._stop_elsewhere(session.id, epoch)
            self._metrics.interrupted()
            await self._clients.until_allowed()
            if session.is_closed:
                return
            self._reopen(session, reopened)
            await self._clients.tell(
                session.id,
                messages_pb2.STTInterrupt(
                    session_id=session.id,
                    type="interrupt",
                    timestamp=int(time.time()),
                    speaker_id=session.speaker_id,
                    epoch=epoch,
                ),
            )
        finally:
            session.is_held = False
            self._line.put(session)

    async def _stop_elsewhere(self, session_id: str, epoch: int) -> None:
        try:
            await self._replicas.stop_work(session_id, epoch)
        except nats.errors.Error as error:
            # What is stopped here is to be told all the same.
            logger.warning("session %s: other replicas could not be told of its interruption: %s", session_id, error)

    def _reopen(self, session: LiveSession, turn: Turn | None) -> None:
        if turn is None:
            return
        if session.utterance is not None:
            self._transcripts.reopen(session, session.utterance, turn)
        else:
            session.reopened = turn
