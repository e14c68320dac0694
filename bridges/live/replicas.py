"""The replicas that listen to live audio, as each sees the others: whose session is whose, and what is handed over.

Each tells the others what changes in its sessions (see `bridges.live.told_sessions`). So one that leaves, or is not
heard any more, is succeeded by another that knows how to go on. How clients' messages reach the replica that they are
for is in `bridges.live.dispatch`.

Each session has a successor among the other replicas, which keeps its last messages (`bridges.live.recent_messages`).
It goes on with the session as soon as its replica leaves or is gone. A replica that was only cut off, or stood still,
finds that its lease has ended. It says nothing to clients until it has heard whose the sessions are now.
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any, Protocol

from google.protobuf.message import DecodeError
from nats.aio.msg import Msg

from bridges.generated.hearth.v1 import audio_pb2
from bridges.live.handover import SessionHandover
from bridges.live.lease import Lease
from bridges.live.recent_messages import RecentMessages
from bridges.live.told_sessions import PeerSessions, SessionNews, ToldSessions
from bridges.nats.connection import Connection
from bridges.nats.ownership import HEARTBEAT_S, SessionOwners
from bridges.nats.trust import STRICT
from bridges.operations.clock import now
from bridges.sessions.epochs import SessionWork
from bridges.subjects import (
    AUDIO_DISPATCHER,
    AUDIO_INTERRUPT,
    AUDIO_REPLICAS,
    REPLICA_INBOX,
    is_publishable,
    subject_for,
)
from deployments.errors import InvalidRequestError

logger = logging.getLogger(__name__)

_ACQUAINTANCE_S = 0.3
"""What a new replica waits for the others to begin to tell their sessions."""
_LONGEST_ACQUAINTANCE_S = 3.0
"""What it waits for them to end."""
_TELL_EVERY_S = 0.5
"""At the latest; what another replica needs to know at once is told at once."""
_ASK_AGAIN_S = 1.0
_STOPPED_ELSEWHERE_S = 0.05
_BEAT_DUE_S = 0.9 * HEARTBEAT_S
_WATCH_EVERY_S = 0.1
_WATCH_ALONE_EVERY_S = 1.0
_CONNECTED_S = 0.2
_UNTOLD = 4
_NO_RESPONDERS = "503"
_REMEMBERED_S = 10.0
"""For how long a session that has ended still belongs to its replica; longer than that keeps its subscription."""


class ListeningReplica(Protocol):
    """The replica that the others are the others of."""

    @property
    def session_ids(self) -> AbstractSet[str]:
        """The sessions that are listened to here."""
        ...

    def handovers(self) -> list[SessionHandover]:
        """Return the sessions as another replica would go on with them."""
        ...

    def generation(self, session_id: str) -> int:
        """Return how often a session that is listened to here was taken over."""
        ...

    def handover(self, session_id: str) -> SessionHandover | None:
        """Return a session as another replica would go on with it; None where none would."""
        ...

    def moved(self, session_id: str) -> None:
        """Leave a session to another replica, which has more right to it."""
        ...

    def began_elsewhere(self, session_id: str) -> None:
        """Learn that another replica listens to a session, which may have ended here."""
        ...


class AudioReplicas:
    """The other replicas.

    Args:
        replica: This one's name.
        work: What is done here for sessions, of this replica and of others.
        keep_s: Seconds for which what is known of the sessions of a replica that is gone is kept.
        messages: The last ones of sessions that this replica is the successor for; they are added elsewhere.
    """

    def __init__(self, replica: str, work: SessionWork, keep_s: float, messages: RecentMessages | None = None) -> None:
        self._replica = replica
        self._work = work
        self._keep_s = keep_s
        self._owners = SessionOwners(replica)
        self._told = ToldSessions(replica)
        self._messages = messages
        self._succeeding: set[str] = set()
        self._chosen: dict[str, str] = {}
        self._orphans: dict[str, SessionHandover] = {}
        self._to_watch = asyncio.Event()
        self.succession_changed = asyncio.Event()
        """Set when `succeeding` has changed."""
        self.lease = Lease(lambda: bool(self._owners.others))
        """Whether something may be said to the clients of sessions here."""
        self._peers: dict[str, PeerSessions] = {}
        self._handed_over: dict[str, tuple[float, SessionHandover]] = {}
        self._recent: dict[str, tuple[float, str]] = {}
        self._asked_at: dict[str, float] = {}
        self._joined_at = 0.0
        self._asking: set[str] = set()
        self._is_asked = False
        self._is_greeted = False
        self._has_news = asyncio.Event()
        self._was_told = asyncio.Event()
        self._beat_at = -math.inf
        self._beating: set[str] = set()
        self._changed: set[str] = set()
        self._changed_at = -math.inf
        self._listening: ListeningReplica
        self._connection: Connection

    async def connect(
        self, connection: Connection, listening: ListeningReplica, take_over: Callable[[SessionHandover], None]
    ) -> list[Any]:
        """Hear the others from now on, and return the subscriptions over which they are heard.

        Args:
            connection: Over which.
            listening: This replica.
            take_over: Goes on with a session of another replica that has left, or is gone.
        """
        self._connection = connection
        self._listening = listening
        self._take_over = take_over
        self._joined_at = now()
        return [
            await connection.subscribe(AUDIO_REPLICAS.wildcard, cb=self._heard_replica),
            await connection.subscribe(AUDIO_INTERRUPT.wildcard, cb=self._heard_interruption),
        ]

    async def join(self) -> None:
        """Get to know the others: return once each has told its sessions, 3.3 s after they were asked at the latest.

        From its beginning on the others leave new sessions to this replica. `run` is to go on beside it, for another
        that joins at the same time waits for this one.

        Raises:
            nats.errors.Error: The others cannot be asked.
        """
        await self._beat(asks_everybody=True)
        # The others have their time from when they were asked.
        await self._connection.flush()
        await asyncio.sleep(_ACQUAINTANCE_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LONGEST_ACQUAINTANCE_S):
                await self._until_all_are_known()

    async def _until_all_are_known(self) -> None:
        while not all(peer.is_whole for peer in self._peers.values()):
            self._was_told.clear()
            await self._was_told.wait()

    def owner_of(self, session_id: str) -> str:
        """Return the replica that a session belongs to, whether it is open or not.

        One that was open lately still belongs to where it was: that replica may hear of it first.
        """
        if self._told.has(session_id):
            return self._replica
        for name, peer in self._peers.items():
            if session_id in peer.sessions:
                return name
        recent = self._recent.get(session_id)
        if recent is not None and (recent[1] == self._replica or self.is_there(recent[1])):
            return recent[1]
        return self._owners.owner_of(session_id)

    def is_told(self, session_id: str) -> bool:
        """Say whether another replica has told that it listens to a session."""
        for peer in self._peers.values():
            if session_id in peer.sessions:
                return True
        # Those that this replica is about to go on with: nothing of them is heard before what was kept.
        return session_id in self._orphans

    def is_there(self, replica: str) -> bool:
        """Say whether another replica is heard."""
        return replica in self._owners.others

    def senior(self) -> str:
        """Return the replica with the most right to hear all sessions: this one, or another."""
        return self._owners.owner_of("")

    @property
    def succeeding(self) -> AbstractSet[str]:
        """The sessions of others that this replica is to go on with, should theirs be gone."""
        return self._succeeding

    def kept_since(self) -> float:
        """Return from when on others have kept the last messages of each session here; infinite for never."""
        # One of an earlier version keeps none, and its heartbeats do not say when they were sent.
        others = self._owners.others
        is_kept = self._messages is not None and others and all(name in self._beating for name in others)
        return self._changed_at if is_kept else math.inf

    def tell_soon(self, session_id: str) -> None:
        """Have the others told at once of what has changed in a session."""
        self._changed.add(session_id)
        self._has_news.set()

    def handed_over(self, session_id: str) -> SessionHandover | None:
        """Return what another replica that is gone knew of a session, once; None where none did."""
        handed = self._handed_over.pop(session_id, None)
        return handed[1] if handed else None

    # What the others are told.

    async def run(self) -> None:
        """Tell the others what they need to know, until cancelled. A failure is logged: what it kept is told later."""
        told_at = -math.inf
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._owners.heartbeat_s):
                    await self._has_news.wait()
            self._has_news.clear()
            try:
                # The heartbeat first, for nothing of what follows may keep it.
                if self._is_greeted or now() - self._beat_at >= _BEAT_DUE_S:
                    self._is_greeted = False
                    await self._beat()
                if self._is_asked or now() - told_at >= _TELL_EVERY_S:
                    told_at = now()
                    await self._tell()
                elif self._changed:
                    await self._tell_changed()
                while self._asking:
                    await self._publish(self._told.heartbeat(asks=self._asking.pop()))
            except Exception:
                # Of whatever kind: from a replica that falls silent others take sessions that it still listens to.
                logger.exception("the other replicas could not be told of the sessions here")

    async def watch(self) -> None:
        """Look whether the others are still there, and go on with the sessions of those that are not, until cancelled.

        A failure is logged: it is tried again.
        """
        while True:
            with contextlib.suppress(TimeoutError):
                # Alone there is only to be forgotten what is old; the first other one sets the event.
                async with asyncio.timeout(_WATCH_EVERY_S if self._owners.others else _WATCH_ALONE_EVERY_S):
                    await self._to_watch.wait()
            self._to_watch.clear()
            try:
                for replica in self._owners.suspects(now()):
                    if replica in self._beating and await self._is_disconnected(replica) and self.is_there(replica):
                        self._lose(replica)
                self._forget_old()
                await self._adopt()
            except Exception:
                logger.exception("this replica could not look after the sessions of others")

    async def leave(self) -> None:
        """Tell the others that they may take over, and all that it takes to go on."""
        messages = self._told.all(self._listening.handovers(), self._connection.max_payload)
        for message in (*messages, self._told.heartbeat(leaving=True)):
            await self._publish(message)

    async def _beat(self, *, asks_everybody: bool = False) -> None:
        self._beat_at = now()
        await self._publish(self._told.heartbeat(beat=milliseconds(now()), asks_everybody=asks_everybody))

    async def _tell(self) -> None:
        self._changed.clear()
        if not self._owners.others:
            # One that comes asks for all.
            return
        is_asked, self._is_asked = self._is_asked, False
        make = self._told.all if is_asked else self._told.changes
        before = self._told.session_ids
        messages = make(self._listening.handovers(), self._connection.max_payload)
        self._remember(before - self._told.session_ids, self._replica)
        for message in messages:
            await self._publish(message)

    async def _tell_changed(self) -> None:
        """Tell of the sessions that others have to know of at once."""
        changed, self._changed = self._changed, set()
        if not self._owners.others:
            return
        before = self._told.session_ids
        sessions = [(name, self._listening.handover(name)) for name in changed]
        messages = self._told.updates(sessions, self._connection.max_payload)
        self._remember(before - self._told.session_ids, self._replica)
        for message in messages:
            await self._publish(message)

    async def _publish(self, message: audio_pb2.AudioReplica) -> None:
        await self._connection.publish(subject_for(AUDIO_REPLICAS), message.SerializeToString())

    # What the others tell.

    async def _heard_replica(self, message: Msg) -> None:
        try:
            told = audio_pb2.AudioReplica.FromString(message.data)
            if told.replica == self._replica:
                self._heard_itself(told)
            else:
                self._take(told)
        except (DecodeError, InvalidRequestError) as error:
            logger.warning("a message on %s is none of a replica: %s", AUDIO_REPLICAS.pattern, error)

    def _heard_itself(self, told: audio_pb2.AudioReplica) -> None:
        self._owners.heard(told.replica, now())
        if told.beat:
            self.lease.renew(told.beat / 1000)
        self._settle_lease()

    def _settle_lease(self) -> None:
        if all(peer.is_whole for peer in self._peers.values()):
            self.lease.know(self._owners.heard_since)

    def _take(self, told: audio_pb2.AudioReplica) -> None:
        name = told.replica
        is_new = self._owners.heard(name, now())
        peer = self._peers.setdefault(name, PeerSessions())
        news = peer.take(told)
        self._was_told.set()
        self._give_way(name, peer)
        self._note(name, peer, news)
        self._settle_lease()
        if told.beat:
            self._beating.add(name)
        if told.leaving:
            self._owners.left(name)
            self._inherit(name)
            return
        if is_new:
            self._choose_successors()
            self._to_watch.set()
        self._is_greeted = self._is_greeted or is_new
        self._is_asked = self._is_asked or told.asks_everybody or told.asks == self._replica
        # One that joins may not have been there yet when this one asked everybody.
        asked_at = self._asked_at.get(name, -math.inf if told.asks_everybody else self._joined_at)
        if not peer.is_whole and now() - asked_at >= _ASK_AGAIN_S:
            self._asked_at[name] = now()
            self._asking.add(name)
        if self._is_greeted or self._is_asked or self._asking:
            self._has_news.set()

    def _give_way(self, name: str, peer: PeerSessions) -> None:
        """Leave sessions that both have opened to the one that has more right to them."""
        for session_id in peer.sessions.keys() & self._listening.session_ids:
            mine, theirs = self._listening.generation(session_id), peer.sessions[session_id].generation
            if theirs > mine or (theirs == mine and not self._owners.outweighs(session_id, name)):
                self._listening.moved(session_id)

    def _note(self, name: str, peer: PeerSessions, news: SessionNews) -> None:
        """Know the epochs of another replica's sessions: something may be said to them from here."""
        self._remember(news.gone, name)
        self._forget(news.gone)
        for session_id in news.gone:
            self._chosen.pop(session_id, None)
            self._stop_succeeding(session_id)
        for session_id in news.changed:
            self._listening.began_elsewhere(session_id)
            self._handed_over.pop(session_id, None)
            self._orphans.pop(session_id, None)
            self._choose_successor(session_id, name)
            if self._messages is not None:
                self._messages.settle(peer.sessions[session_id])
            if epoch := peer.sessions[session_id].epoch:
                self._work.adopt(session_id, epoch)

    def _remember(self, session_ids: Iterable[str], replica: str) -> None:
        for session_id in session_ids:
            self._recent[session_id] = now(), replica

    def _inherit(self, replica: str, untold: int = 0) -> None:
        """Take what a replica that has left, or is gone, knew of its sessions.

        Args:
            replica: Its name.
            untold: How many transcripts of a session it may have published without having told that.
        """
        self._asked_at.pop(replica, None)
        self._beating.discard(replica)
        for session_id, session in self._peers.pop(replica, PeerSessions()).sessions.items():
            known = replace(session, next_sequence=session.next_sequence + untold)
            if session_id in self._succeeding and not self._is_elsewhere(session_id):
                self._orphans[session_id] = known
                self._to_watch.set()
            else:
                self._handed_over[session_id] = (now(), known)
        self._choose_successors()
        self._settle_lease()

    async def _adopt(self) -> None:
        """Go on with the sessions that this replica is the successor for, a few at a time."""
        while self._orphans:
            session_id, known = next(iter(self._orphans.items()))
            # Nothing may come between: what was kept of a session is heard before what comes next.
            try:
                self._take_over(known)
            finally:
                self._orphans.pop(session_id, None)
                self._stop_succeeding(session_id)
            await asyncio.sleep(0)

    def _choose_successors(self) -> None:
        """See which sessions this replica is the successor for, after replicas have come or gone."""
        self._changed_at = now()
        self._chosen.clear()
        for name, peer in self._peers.items():
            for session_id in peer.sessions:
                self._choose_successor(session_id, name)

    def _choose_successor(self, session_id: str, owner: str) -> None:
        if self._messages is None or self._chosen.get(session_id) == owner:
            return
        self._chosen[session_id] = owner
        if self._owners.successor(session_id, owner) != self._replica or session_id in self._listening.session_ids:
            self._stop_succeeding(session_id)
        elif session_id not in self._succeeding:
            self._succeeding.add(session_id)
            self._messages.begin(session_id)
            self.succession_changed.set()

    def _stop_succeeding(self, session_id: str) -> None:
        if self._messages is None or session_id in self._orphans or session_id not in self._succeeding:
            return
        self._succeeding.discard(session_id)
        self._messages.end(session_id)
        self.succession_changed.set()

    async def _is_disconnected(self, replica: str) -> bool:
        """Ask the server whether a replica has no connection to it."""
        answered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        async def answer(message: Msg) -> None:
            if not answered.done():
                answered.set_result((message.headers or {}).get("Status") == _NO_RESPONDERS)

        inbox = self._connection.new_inbox()
        subscription = await self._connection.subscribe(inbox, cb=answer)
        try:
            asking = audio_pb2.AudioDispatchRequest(replica=self._replica)
            subject = subject_for(AUDIO_DISPATCHER, replica=replica)
            await self._connection.publish(subject, asking.SerializeToString(), inbox)
            async with asyncio.timeout(_CONNECTED_S):
                return await answered
        except TimeoutError:
            return False
        finally:
            await subscription.unsubscribe()

    def _lose(self, replica: str) -> None:
        logger.warning("replica %s is not connected any more: its sessions are taken over", replica)
        self._owners.left(replica)
        self._inherit(replica, untold=_UNTOLD)

    def _forget_old(self) -> None:
        """Take over from those that are not heard any more, and forget what nobody has come for."""
        for replica in self._owners.forget_lost(now()):
            logger.warning("replica %s is not heard any more: its sessions are taken over", replica)
            self._inherit(replica, untold=_UNTOLD)
        long_ago = now() - _REMEMBERED_S
        for session_id in [name for name, (at, _) in self._recent.items() if at <= long_ago]:
            del self._recent[session_id]
        oldest = now() - self._keep_s
        old = [session_id for session_id, (at, _) in self._handed_over.items() if at <= oldest]
        for session_id in old:
            del self._handed_over[session_id]
        self._forget(old)

    def _forget(self, session_ids: Iterable[str]) -> None:
        """Forget the epochs of sessions that no replica listens to any more."""
        for session_id in session_ids:
            if not self._is_elsewhere(session_id) and session_id not in self._listening.session_ids:
                self._work.forget(session_id)

    def _is_elsewhere(self, session_id: str) -> bool:
        return any(session_id in peer.sessions for peer in self._peers.values())

    # Interruptions.

    async def stop_work(self, session_id: str, epoch: int) -> None:
        """Have the others stop what they do for a session; return when they have, or after 50 ms.

        Each answers on its own connection, behind the last that it published, so that nothing comes after the
        interruption.

        Raises:
            nats.errors.Error: They could not be told.
        """
        waiting = len(self._owners.others)
        if not waiting:
            return
        stopped = asyncio.Event()

        async def heard(message: Msg) -> None:
            nonlocal waiting
            del message
            waiting -= 1
            if waiting <= 0:
                stopped.set()

        inbox = self._connection.new_inbox()
        subscription = await self._connection.subscribe(inbox, cb=heard)
        try:
            interruption = audio_pb2.AudioInterruption(session_id=session_id, replica=self._replica, epoch=epoch)
            await self._connection.publish(subject_for(AUDIO_INTERRUPT), interruption.SerializeToString(), inbox)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_STOPPED_ELSEWHERE_S):
                    await stopped.wait()
        finally:
            await subscription.unsubscribe()

    async def _heard_interruption(self, message: Msg) -> None:
        try:
            interruption = audio_pb2.AudioInterruption.FromString(message.data)
        except DecodeError:
            logger.warning("a message on %s is none of a replica", AUDIO_INTERRUPT.pattern)
            return
        if interruption.replica == self._replica:
            return
        session_id, epoch = interruption.session_id, interruption.epoch
        await self._work.interrupt(session_id, epoch)
        peer = self._peers.get(interruption.replica)
        if peer is not None and (known := peer.sessions.get(session_id)):
            # Should that replica be gone before it tells of the change.
            peer.sessions[session_id] = replace(known, epoch=max(known.epoch, epoch))
            self._work.adopt(session_id, epoch)
        if _is_replica_s(message.reply):
            await self._connection.publish(message.reply, b"")


def milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _is_replica_s(inbox: str) -> bool:
    """Say whether a reply subject may be that of a replica; one of an earlier version has an inbox like a client's."""
    return STRICT.allows_reply(inbox) or (is_publishable(inbox) and REPLICA_INBOX.parameters(inbox) is not None)
