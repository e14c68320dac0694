"""The replicas that listen to live audio, as each sees the others: whose session is whose, and what is handed over.

Every replica hears every message (see `bridges.nats.ownership`). Each tells the others its sessions every second, so
that one that leaves, or is not heard any more, is succeeded by another that knows how to go on.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterable
from typing import Any, Protocol

from nats.aio.msg import Msg

from bridges.generated.hearth.v1 import audio_pb2
from bridges.nats.ownership import SessionOwners
from bridges.sessions.epochs import SessionWork
from bridges.subjects import AUDIO_INTERRUPT, AUDIO_REPLICAS, subject_for

logger = logging.getLogger(__name__)

_ACQUAINTANCE_S = 0.3
"""What a new replica waits for the others to tell their sessions."""
_STOPPED_ELSEWHERE_S = 0.05


class Connection(Protocol):
    """The part of a NATS connection that live audio needs."""

    @property
    def max_payload(self) -> int:
        """The server's limit in bytes."""
        ...

    async def publish(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        """Send a message."""
        ...

    async def subscribe(self, subject: str, *, cb: Any) -> Any:
        """Have `cb` called with each message."""
        ...

    def new_inbox(self) -> str:
        """Return a subject of one's own."""
        ...


class ListeningReplica(Protocol):
    """The replica that the others are the others of."""

    @property
    def session_ids(self) -> Iterable[str]:
        """The sessions that are listened to here."""
        ...

    def announcements(self) -> list[audio_pb2.AudioSession]:
        """Return the sessions as another replica would go on with them."""
        ...

    def moved(self, session_id: str) -> None:
        """Leave a session to another replica, which has more right to it."""
        ...


class AudioReplicas:
    """The other replicas.

    Args:
        replica: This one's name.
        listening: This one.
        work: What is done here for sessions, of this replica and of others.
    """

    def __init__(self, replica: str, listening: ListeningReplica, work: SessionWork) -> None:
        self._owners = SessionOwners(replica)
        self._listening = listening
        self._work = work
        self._announced: dict[str, list[audio_pb2.AudioSession]] = {}
        self._handed_over: dict[str, tuple[float, audio_pb2.AudioSession]] = {}
        self._connection: Connection

    async def connect(self, connection: Connection) -> list[Any]:
        """Get to know the others, and return the subscriptions over which they are heard."""
        self._connection = connection
        subscriptions = [
            await connection.subscribe(AUDIO_REPLICAS.wildcard, cb=self._heard_replica),
            await connection.subscribe(AUDIO_INTERRUPT.wildcard, cb=self._heard_interruption),
        ]
        await self.announce()
        await asyncio.sleep(_ACQUAINTANCE_S)
        return subscriptions

    def is_mine(self, session_id: str) -> bool:
        """Say whether a session that is not open here yet is to be opened here."""
        return self._owners.is_mine(session_id)

    def handed_over(self, session_id: str) -> audio_pb2.AudioSession | None:
        """Return what another replica that is gone knew of a session, once; None where none did."""
        handed = self._handed_over.pop(session_id, None)
        return handed[1] if handed else None

    def forget_old(self, now: float, oldest: float) -> None:
        """Take over from those that are not heard any more, and forget what nobody has come for since `oldest`."""
        self._handed_over = {name: kept for name, kept in self._handed_over.items() if kept[0] > oldest}
        for replica in self._owners.forget_lost(now):
            logger.warning("replica %s is not heard any more: its sessions are taken over", replica)
            self._inherit(replica)

    async def announce(self, *, leaving: bool = False) -> None:
        """Tell the others which sessions are listened to here, or that they may take them over."""
        sessions = self._listening.announcements()
        beat = audio_pb2.AudioReplica(replica=self._owners.replica, sessions=sessions, leaving=leaving)
        await self._connection.publish(subject_for(AUDIO_REPLICAS), beat.SerializeToString())

    async def stop_work(self, session_id: str, epoch: int) -> None:
        """Have the others stop what they do for a session.

        Each answers on its own connection, behind the last that it published, so that nothing comes after the
        interruption.
        """
        others = self._owners.others
        if not others:
            return
        inbox = self._connection.new_inbox()
        stopped: asyncio.Queue[None] = asyncio.Queue()

        async def heard(message: Msg) -> None:
            del message
            stopped.put_nowait(None)

        subscription = await self._connection.subscribe(inbox, cb=heard)
        interruption = audio_pb2.AudioInterruption(session_id=session_id, replica=self._owners.replica, epoch=epoch)
        await self._connection.publish(subject_for(AUDIO_INTERRUPT), interruption.SerializeToString(), inbox)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOPPED_ELSEWHERE_S):
                for _ in others:
                    await stopped.get()
        await subscription.unsubscribe()

    async def _heard_interruption(self, message: Msg) -> None:
        interruption = audio_pb2.AudioInterruption.FromString(message.data)
        if interruption.replica == self._owners.replica:
            return
        await self._work.interrupt(interruption.session_id, interruption.epoch)
        await self._connection.publish(message.reply, b"")

    async def _heard_replica(self, message: Msg) -> None:
        beat = audio_pb2.AudioReplica.FromString(message.data)
        if beat.replica == self._owners.replica:
            return
        self._note_epochs(self._announced.get(beat.replica, []), beat.sessions)
        self._announced[beat.replica] = list(beat.sessions)
        if beat.leaving:
            self._owners.left(beat.replica)
            self._inherit(beat.replica)
            return
        names = [session.session_id for session in beat.sessions]
        if self._owners.heard(beat.replica, names, self._now()):
            await self.announce()
        for name in self._owners.lost_to(beat.replica, self._listening.session_ids, names):
            self._listening.moved(name)

    def _note_epochs(self, before: Iterable[audio_pb2.AudioSession], now: Iterable[audio_pb2.AudioSession]) -> None:
        """Know the epochs of another replica's sessions: something may be said to them from here."""
        interrupted = {session.session_id: session.epoch for session in now if session.epoch}
        mine = set(self._listening.session_ids)
        for session_id in {session.session_id for session in before} - interrupted.keys() - mine:
            self._work.forget(session_id)
        for session_id, epoch in interrupted.items():
            self._work.adopt(session_id, epoch)

    def _inherit(self, replica: str) -> None:
        now = self._now()
        for session in self._announced.pop(replica, []):
            self._handed_over[session.session_id] = (now, session)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
