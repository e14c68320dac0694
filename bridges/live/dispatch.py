"""Which messages of clients reach a replica: those of its own sessions, and of all sessions at one replica only.

A client publishes on a subject of its session and knows nothing of replicas. So at least one replica has to subscribe
to all sessions: the dispatcher, the one with the most right to it. It passes the first messages of a new session on
to the replica that the session belongs to, in order, until that one hears them by a subscription of its own. Of the
others' sessions it only looks at the subjects. A queue group could not do that: its members would each get some of a
session's first messages, and nobody could tell their order.

A replica hears all sessions itself, as a dispatcher does, from its beginning until a dispatcher has promised to pass
on what is for it, and again as soon as it is not reminded of that promise any more.

Of each session another replica, its successor, keeps the last messages as they come: a dispatcher out of all that it
receives, any other by a subscription to that session.
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Protocol

from google.protobuf.message import DecodeError
from nats.aio.msg import Msg

from bridges.generated.hearth.v1 import audio_pb2
from bridges.live.early_messages import EarlyMessages
from bridges.live.recent_messages import RecentMessage, RecentMessages
from bridges.live.splice import Splice
from bridges.nats.askers import Arrival
from bridges.nats.connection import SelectiveConnection
from bridges.nats.trust import STRICT
from bridges.operations.clock import now
from bridges.subjects import AUDIO_DISPATCH, AUDIO_DISPATCHER, AUDIO_STREAM, is_token, subject_for

logger = logging.getLogger(__name__)

_ASK_EVERY_S = 0.5
_ANSWERED_WITHIN_S = 1.0
_SETTLED_AFTER_S = 2.0
"""How long a replica hears everything at least: the others have learned of it by then."""
_PROMISED_S = 0.3
"""Between a dispatcher's promise and the end of hearing everything: what it saw before that is heard here by then."""
_REST_S = 0.004
"""Without a message by either way, both have brought the same: less than the pause between two messages of a
microphone, more than two ways differ by."""
_SILENT_S = 0.05
_NARROWED_WITHIN_S = 3.0
_RELEASED_WITHIN_S = 1.5
_KEPT_S = 3.0
"""A subscription to a session outlives it, for a client that starts it again."""
_LEFT_S = 10.0
_LONGEST_ID = 256


@dataclass(frozen=True, slots=True)
class PassedOn:
    """A message that a dispatcher passed on."""

    subject: str
    data: bytes
    reply: str
    headers: Mapping[str, str] | None = None


Hear = Callable[[Arrival], Awaitable[None]]


class Owners(Protocol):
    """Knows whose session is whose."""

    def owner_of(self, session_id: str) -> str:
        """Return the replica that a session belongs to, whether it is open or not."""
        ...

    def is_told(self, session_id: str) -> bool:
        """Say whether another replica has told that it listens to a session."""
        ...

    def is_there(self, replica: str) -> bool:
        """Say whether another replica is heard."""
        ...

    def senior(self) -> str:
        """Return the replica with the most right to be the dispatcher: this one, or another."""
        ...

    @property
    def succeeding(self) -> AbstractSet[str]:
        """The sessions of others that this replica is to go on with, should theirs be gone."""
        ...

    @property
    def succession_changed(self) -> asyncio.Event:
        """Set when these have changed."""
        ...


class OpenSessions(Protocol):
    """The sessions that are open here."""

    @property
    def session_ids(self) -> AbstractSet[str]:
        """Their ids."""
        ...


@dataclass(slots=True, eq=False)
class SessionLine:
    """A subscription to one session.

    Attributes:
        dispatcher: Who passes its messages on until they come by this subscription; empty where they are heard with all
            others.
        splice: From that way to this subscription.
        subscription: Once there is one.
        heard_at: When a message of it was heard last.
        rest: Looks whether nothing comes for a moment.
        is_kept: Whether its messages are kept, and not heard: the session is at another replica.
        has_begun: Whether one was kept.
    """

    dispatcher: str
    splice: Splice = field(default_factory=Splice)
    subscription: Any = None
    heard_at: float = field(default_factory=now)
    rest: asyncio.TimerHandle | None = None
    is_kept: bool = False
    has_begun: bool = False

    async def close(self) -> None:
        """End it."""
        if self.rest is not None:
            self.rest.cancel()
        if self.subscription is not None:
            await self.subscription.unsubscribe()


class Dispatch:
    """Subscribes to what this replica is to hear.

    Args:
        replica: Its name.
        owners: Whose session is whose.
        sessions: Those that are open here.
        hear: Takes a message of a session that belongs here.
        recent: The last messages of the sessions that this replica is the successor for.
    """

    def __init__(
        self, replica: str, owners: Owners, sessions: OpenSessions, hear: Hear, recent: RecentMessages
    ) -> None:
        self._replica = replica
        self._owners = owners
        self._sessions = sessions
        self._hear = hear
        self._wide: Any = None
        self._wide_since = -math.inf
        self._is_ready = False
        self._early = EarlyMessages()
        self._lines: dict[str, SessionLine] = {}
        self._recent = recent
        self._kept_lines: dict[str, SessionLine] = {}
        self._taken: set[tuple[str, str]] = set()
        self._dispatcher = ""
        self._is_narrowing = False
        self._is_leaving = False
        # As the dispatcher of others.
        self._served: set[str] = set()
        self._released = asyncio.Event()
        self._passed_on: dict[str, tuple[float, str]] = {}
        self._left: dict[str, tuple[float, str]] = {}
        self._connection: SelectiveConnection

    @property
    def hears_all(self) -> bool:
        """Whether the messages of all sessions come here."""
        return self._wide is not None

    async def connect(self, connection: SelectiveConnection) -> list[Any]:
        """Hear all messages from now on, keep those of new sessions, and return the subscriptions for other replicas.

        Raises:
            nats.errors.Error: The server does not answer.
        """
        self._connection = connection
        await self._widen()
        passed_on = AUDIO_DISPATCH.narrowed(replica=self._replica)
        return [
            await connection.subscribe(passed_on, cb=self._heard_passed_on),
            await connection.subscribe(subject_for(AUDIO_DISPATCHER, replica=self._replica), cb=self._heard_request),
        ]

    async def take_early(self) -> None:
        """Take what was kept until the others were known; what comes meanwhile is behind it."""
        while not self._is_leaving and (message := self._early.next()):
            if _session_id(message) not in self._lines:
                await self._heard_wide(message)
        self._is_ready = True

    async def run(self) -> None:
        """Hear no more than is needed, until `leave` or cancelled. A failure is logged: what it kept is done later."""
        while not self._is_leaving:
            await asyncio.sleep(_ASK_EVERY_S)
            try:
                self._forget_old()
                await self._close_unused()
                await self._tell_taken()
                if self.hears_all:
                    await self._narrow_if_possible()
                else:
                    await self._open_missing()
                    await self._check_dispatcher()
            except Exception:
                # Of whatever kind: a replica that hears too much, or too little, has to go on trying.
                logger.exception("what this replica hears could not be changed")

    async def succeed(self) -> None:
        """Keep the last messages of the sessions that this replica is the successor for, until cancelled.

        A failure is logged: it is tried again.
        """
        while True:
            await self._owners.succession_changed.wait()
            self._owners.succession_changed.clear()
            try:
                await self._keep_by_lines()
            except Exception:
                logger.exception("the last messages of other replicas' sessions are not kept")
                await asyncio.sleep(_ASK_EVERY_S)
                self._owners.succession_changed.set()

    def go_on_with(self, session_id: str) -> list[RecentMessage]:
        """Return what was kept of a session, and hear what comes next; nothing comes between."""
        line = self._kept_lines.pop(session_id, None)
        if line is not None:
            line.is_kept = False
            line.heard_at = now()
            self._lines[session_id] = line
        return self._recent.end(session_id)

    async def leave(self) -> None:
        """Promise nothing any more, and return once nobody counts on a promise; after 1.5 s at the latest."""
        self._is_leaving = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_RELEASED_WITHIN_S):
                if self._present_served():
                    await self._released.wait()

    async def close(self) -> None:
        """Hear no client any more.

        Raises:
            nats.errors.Error: The connection is closed.
        """
        self._is_leaving = True
        lines, self._lines = self._lines, {}
        wide, self._wide = self._wide, None
        if wide is not None:
            await wide.unsubscribe()
        kept, self._kept_lines = self._kept_lines, {}
        for line in (*lines.values(), *kept.values()):
            await line.close()

    # What comes by the subscription to all sessions.

    async def _received(self, message: Msg) -> None:
        if self._is_ready:
            await self._heard_wide(message)
        elif (line := self._lines.get(session_id := _session_id(message))) or session_id in self._sessions.session_ids:
            # It is no new one.
            if line is None or self._takes_old(line, "", message.data):
                await self._hear(message)
        else:
            self._early.keep(message)

    def _is_of_another(self, subject: bytes, reply: bytes, payload: bytes) -> bool:
        """Say whether a message is of a session that is open elsewhere: most are, and cost no more than this."""
        session_id = subject.rpartition(b".")[2].decode(errors="replace")
        if not self._owners.is_told(session_id) or session_id in self._sessions.session_ids:
            return False
        if session_id in self._recent:
            line = self._kept_lines.get(session_id)
            if line is None or not line.has_begun:
                self._recent.add(session_id, now(), payload, reply)
        return session_id not in self._passed_on and session_id not in self._lines

    async def _heard_wide(self, message: Msg) -> None:
        session_id = _session_id(message)
        if (line := self._lines.get(session_id)) is not None:
            if self._takes_old(line, "", message.data):
                await self._hear(message)
        elif session_id in self._sessions.session_ids:
            await self._hear(message)
        elif (passed_on := self._passed_on.get(session_id)) is not None and self._owners.is_there(passed_on[1]):
            await self._pass_on(passed_on[1], session_id, message)
        elif not self._owners.is_told(session_id):
            await self._assign(session_id, message)

    async def _assign(self, session_id: str, message: Msg) -> None:
        """Do what is to be done with a message of a session that no replica is known to have."""
        left = self._left.get(session_id)
        served = left is not None and left[1] in self._present_served()
        owner = left[1] if left is not None and served else self._owners.owner_of(session_id)
        if owner == self._replica or not is_token(session_id) or len(session_id) > _LONGEST_ID:
            await self._hear(message)
        elif owner in self._served and not (left and left[1] == owner and now() - left[0] < _SETTLED_AFTER_S):
            await self._pass_on(owner, session_id, message)
        elif left is None or left[1] != owner:
            # It hears the session itself, and tells of it soon.
            self._left[session_id] = now(), owner

    async def _pass_on(self, owner: str, session_id: str, message: Msg) -> None:
        self._passed_on[session_id] = now(), owner
        subject = subject_for(AUDIO_DISPATCH, replica=owner, dispatcher=self._replica, session_id=session_id)
        await self._connection.publish(subject, message.data, message.reply, message.headers)

    # What a dispatcher passes on.

    async def _heard_passed_on(self, message: Msg) -> None:
        tokens = AUDIO_DISPATCH.parameters(message.subject)
        if tokens is None or self._is_leaving:
            return
        session_id, dispatcher = tokens["session_id"], tokens["dispatcher"]
        passed_on = PassedOn(
            subject_for(AUDIO_STREAM, session_id=session_id), message.data, message.reply, message.headers
        )
        line = self._lines.get(session_id)
        if line is not None:
            if self._takes_old(line, dispatcher, message.data):
                await self._hear(passed_on)
            else:
                self._taken.add((dispatcher, session_id))
            return
        if session_id in self._sessions.session_ids or self._owners.is_told(session_id):
            self._taken.add((dispatcher, session_id))
            return
        self._early.forget(passed_on.subject)
        await self._hear(passed_on)
        if session_id in self._sessions.session_ids:
            line = await self._open_line(session_id, dispatcher)
            self._takes_old(line, dispatcher, message.data)

    # The subscriptions to single sessions.

    async def _open_line(self, session_id: str, dispatcher: str) -> SessionLine:
        self._lines[session_id] = line = SessionLine(dispatcher)
        await self._subscribe(session_id, line)
        return line

    async def _keep_by_lines(self) -> None:
        """Subscribe to the sessions whose messages are to be kept, unless they come with all others."""
        if self._kept_lines and self.hears_all:
            # The server sends all messages before a line to one session is closed.
            await self._connection.flush()
        wanted = set[str]() if self.hears_all and not self._is_narrowing else self._owners.succeeding
        for session_id in self._kept_lines.keys() - wanted:
            if (line := self._kept_lines.pop(session_id, None)) is not None:
                await line.close()
        for session_id in wanted - self._kept_lines.keys():
            # It may have been taken over meanwhile.
            if session_id in self._owners.succeeding and session_id not in self._lines:
                self._kept_lines[session_id] = line = SessionLine("", is_kept=True)
                line.splice.finish()
                await self._subscribe(session_id, line)

    async def _subscribe(self, session_id: str, line: SessionLine) -> None:
        async def received(message: Msg) -> None:
            line.heard_at = now()
            if line.splice.new(message.data):
                if session_id in self._sessions.session_ids or not self._owners.is_told(session_id):
                    await self._hear(message)
            else:
                self._await_rest(session_id, line)

        def is_kept(subject: bytes, reply: bytes, payload: bytes) -> bool:
            del subject
            if line.is_kept:
                line.has_begun = True
                self._recent.add(session_id, now(), payload, reply)
            return line.is_kept

        subject = subject_for(AUDIO_STREAM, session_id=session_id)
        line.subscription = await self._connection.subscribe(subject, cb=received, unless=is_kept)

    def _takes_old(self, line: SessionLine, dispatcher: str, payload: bytes) -> bool:
        """Say whether a message that came by another way than a session's own subscription is to be taken."""
        if line.dispatcher != dispatcher or not line.splice.old(payload):
            return False
        line.heard_at = now()
        return True

    def _await_rest(self, session_id: str, line: SessionLine) -> None:
        """Take a session's own subscription as soon as nothing comes for a moment."""
        if line.rest is not None:
            return

        def look() -> None:
            line.rest = None
            since = now() - line.heard_at
            if since >= _REST_S and line.splice.rest():
                if line.dispatcher:
                    self._taken.add((line.dispatcher, session_id))
            elif since < _SILENT_S and not line.splice.is_done:
                line.rest = asyncio.get_running_loop().call_later(_REST_S, look)

        line.rest = asyncio.get_running_loop().call_later(_REST_S, look)

    async def _open_missing(self) -> None:
        """Hear the sessions that this replica goes on with, and of which it has kept nothing."""
        for session_id in [name for name in self._sessions.session_ids if name not in self._lines]:
            line = await self._open_line(session_id, "")
            line.splice.finish()

    async def _close_unused(self) -> None:
        """Close the lines of sessions that ended a while ago."""
        kept = self._sessions.session_ids
        oldest = now() - _KEPT_S
        for session_id in [name for name, line in self._lines.items() if name not in kept and line.heard_at <= oldest]:
            await self._lines.pop(session_id).close()
            # It may be one whose messages are to be kept.
            self._owners.succession_changed.set()

    # How much is heard.

    async def _widen(self) -> None:
        """Hear all messages; those of sessions that are unknown are kept until `take_early`."""
        self._is_ready, self._wide_since = False, now()
        self._wide = await self._connection.subscribe(
            AUDIO_STREAM.wildcard, cb=self._received, unless=self._is_of_another
        )
        self._owners.succession_changed.set()

    async def _widen_again(self) -> None:
        """Hear all messages again, because the dispatcher is gone, or is to be this replica."""
        dispatcher, self._dispatcher = self._dispatcher, ""
        logger.info("this replica hears all sessions, for %s does not dispatch any more", dispatcher)
        await self._widen()
        await self._connection.flush()
        # What the dispatcher saw before is passed on by then.
        await asyncio.sleep(_PROMISED_S)
        for line in self._lines.values():
            if line.dispatcher:
                line.splice.finish()
        if self._owners.is_there(dispatcher):
            await self._tell(dispatcher, audio_pb2.AudioDispatchRequest(replica=self._replica, releases=True))
        await self.take_early()

    async def _narrow_if_possible(self) -> None:
        """Hear own sessions alone, if another replica hears all and nobody counts on this one."""
        senior = self._owners.senior()
        is_settled = self._is_ready and now() - self._wide_since >= _SETTLED_AFTER_S
        if senior == self._replica or not is_settled or self._present_served():
            return
        self._is_narrowing = True
        try:
            if await self._is_promised(senior):
                await asyncio.sleep(_PROMISED_S)
                await self._narrow(senior)
        finally:
            self._is_narrowing = False

    async def _narrow(self, dispatcher: str) -> None:
        until = now() + _NARROWED_WITHIN_S
        while now() < until:
            await self._keep_by_lines()
            for session_id in [name for name in self._sessions.session_ids if name not in self._lines]:
                self._await_rest(session_id, await self._open_line(session_id, ""))
            await self._connection.flush()
            await asyncio.sleep(_SILENT_S)
            if self._finish_silent() and self._wide is not None:
                wide, self._wide = self._wide, None
                self._dispatcher = dispatcher
                await wide.unsubscribe()
                return
        logger.info("this replica still hears all sessions: some of its own are not heard apart yet")

    def _finish_silent(self) -> bool:
        """Take the lines of sessions that are silent; return whether all sessions have lines that are taken."""
        silent_since = now() - _SILENT_S
        for line in self._lines.values():
            # The server knows of the line, and nothing has come by either way.
            if not line.dispatcher and line.heard_at <= silent_since:
                line.splice.finish()
        return all(
            (line := self._lines.get(name)) is not None and (line.dispatcher or line.splice.is_done)
            for name in self._sessions.session_ids
        )

    async def _check_dispatcher(self) -> None:
        """See whether the dispatcher keeps its promise, and follow another that has more right."""
        if not await self._is_promised(self._dispatcher):
            await self._widen_again()
            return
        senior = self._owners.senior()
        if senior == self._replica:
            await self._widen_again()
        elif senior != self._dispatcher and await self._is_promised(senior):
            before, self._dispatcher = self._dispatcher, senior
            await self._tell(before, audio_pb2.AudioDispatchRequest(replica=self._replica, releases=True))

    async def _tell_taken(self) -> None:
        while self._taken:
            dispatcher, session_id = self._taken.pop()
            if self._owners.is_there(dispatcher):
                await self._tell(dispatcher, audio_pb2.AudioDispatchRequest(replica=self._replica, taken=session_id))

    async def _is_promised(self, dispatcher: str) -> bool:
        """Ask a replica to pass on what is for this one; return whether it does."""
        answered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        async def answer(message: Msg) -> None:
            # The server itself answers, with no data, where that replica is gone.
            if not answered.done():
                answered.set_result(_dispatches(message.data))

        inbox = self._connection.new_inbox()
        subscription = await self._connection.subscribe(inbox, cb=answer)
        try:
            asking = audio_pb2.AudioDispatchRequest(replica=self._replica, asks=True)
            await self._tell(dispatcher, asking, inbox)
            async with asyncio.timeout(_ANSWERED_WITHIN_S):
                return await answered
        except TimeoutError:
            return False
        finally:
            await subscription.unsubscribe()

    async def _tell(self, replica: str, request: audio_pb2.AudioDispatchRequest, reply: str = "") -> None:
        subject = subject_for(AUDIO_DISPATCHER, replica=replica)
        await self._connection.publish(subject, request.SerializeToString(), reply)

    # As the dispatcher of others.

    async def _heard_request(self, message: Msg) -> None:
        try:
            request = audio_pb2.AudioDispatchRequest.FromString(message.data)
        except DecodeError:
            logger.warning("a message on %s is none of a replica", AUDIO_DISPATCHER.pattern)
            return
        if request.releases:
            self._release(request.replica)
        elif request.taken and self._passed_on.get(request.taken, (0.0, ""))[1] == request.replica:
            del self._passed_on[request.taken]
            self._left[request.taken] = now(), request.replica
        elif request.asks and STRICT.allows_reply(message.reply):
            dispatches = self.hears_all and self._is_ready and not self._is_narrowing and not self._is_leaving
            if dispatches:
                self._served.add(request.replica)
                self._released.clear()
            answer = audio_pb2.AudioDispatchReply(dispatches=dispatches)
            await self._connection.publish(message.reply, answer.SerializeToString())

    def _present_served(self) -> set[str]:
        """Return the replicas that count on this one, without those that are gone."""
        for replica in [name for name in self._served if not self._owners.is_there(name)]:
            self._release(replica)
        return self._served

    def _release(self, replica: str) -> None:
        self._served.discard(replica)
        if not self._served:
            self._released.set()
        for session_id in [name for name, (_, owner) in self._passed_on.items() if owner == replica]:
            del self._passed_on[session_id]

    def _forget_old(self) -> None:
        self._present_served()
        oldest = now() - _LEFT_S
        for known in (self._left, self._passed_on):
            for session_id in [name for name, (at, _) in known.items() if at <= oldest]:
                del known[session_id]


def _session_id(message: Arrival) -> str:
    return message.subject.rsplit(".", 1)[-1]


def _dispatches(payload: bytes) -> bool:
    try:
        return audio_pb2.AudioDispatchReply.FromString(payload).dispatches
    except DecodeError:
        return False
