"""The answer to a request that is kept until it is answered: nothing of it goes out twice.

A request is given out again where its replica dies. Whoever begins with it writes a claim (see
`bridges.nats.answer_store`). What its stream is told is noted in front of it, and a replica that has not held on to the
request tells it nothing more. The final message is stored once, whoever comes first.
"""

import asyncio
import hashlib
import math
import time
from collections.abc import Awaitable, Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from google.protobuf.message import Message
from nats.aio.msg import Msg

from bridges.nats.answer_store import NOBODY, PASSING, AnswerStore, AskerNote, Claim, Sent, TakenOverError
from bridges.nats.asker_notes import of_request
from bridges.nats.sender import Sender
from bridges.nats.trust import inbox_user
from bridges.subjects import REPLAY_HEADER
from deployments.errors import UnavailableError

WRITTEN_ANEW = "the replica that wrote the stream was lost: this is the whole answer, written anew"

_STORE_S = 5.0
"""What the bucket has at least, for a server that restarts, even where the request's own time is over."""
_OTHER_POLL_S = 0.25


class GivenBackError(Exception):
    """The request is left to its stream, which gives it out again, or another replica has it already."""


@dataclass(eq=False, slots=True)
class KeptRequest:
    """A request as it was given out by the stream that keeps it.

    Attributes:
        message: The message.
        digest: What the request is known by to those that hear it elsewhere: see `digest_of`.
        holder: What this request, and no other, is known by, however often it is given out.
        attempt: How often it was given out by now.
        age_s: Seconds since it was sent.
        taken_at: When it was given out, in seconds of `time.monotonic()`.
        answer_key: What its answer is known by; empty as long as nobody has asked, and for one without a request id.
        held_until: Until when nobody else is given it.
        reply: The reply subject that it came with; empty where it had none, or nobody heard it.
        sent_at: When it was sent, in seconds since 1970 by the server's clock.
        names_user: Whether its subject or a header that is believed says whose it is. Else its inbox may.
        is_in_stream: Whether its stream has it. One that was heard while the stream was away is taken as it was heard.
    """

    message: Msg
    digest: str
    holder: str
    attempt: int
    age_s: float
    taken_at: float
    answer_key: str = field(default="", init=False)
    held_until: float
    reply: str = ""
    sent_at: float = 0.0
    names_user: bool = False
    is_in_stream: bool = True

    @property
    def subject(self) -> str:
        """The subject that it was sent on."""
        return self.message.subject

    @property
    def data(self) -> bytes:
        """Its payload."""
        return self.message.data

    @property
    def headers(self) -> dict[str, str] | None:
        """Its headers; None where it has none."""
        return self.message.headers

    def key(self, request_id: str) -> str:
        """Return what the request is known by: one of the same user with its request id is the same.

        So is a dead letter that is sent again twice, with an id or without.
        """
        is_known = request_id or REPLAY_HEADER in (self.headers or {})
        known_by = f"{self.digest} {self._user_of(self.reply)}" if is_known else self.holder
        return hashlib.sha256(known_by.encode()).hexdigest()

    def may_be_told_at(self, reply_subject: str) -> bool:
        """Say whether who was heard with a reply subject may be told its answer: it is the same user's."""
        return bool(reply_subject) and self._user_of(reply_subject) == self._user_of(self.reply)

    def is_of_one(self, reply_subjects: Iterable[str]) -> bool:
        """Say whether reply subjects that it was heard with, one or more, are all of one user, or of nobody's."""
        return len({self._user_of(reply_subject) for reply_subject in reply_subjects}) == 1

    def _user_of(self, reply_subject: str) -> str:
        # Whoever is named is a part of the digest already. The reply subject may not be known yet, or never be.
        return "" if self.names_user else inbox_user(reply_subject)


def digest_of(message: Msg, user: str) -> str:
    """Return a digest of what makes a request another one: subject, payload, and who asks.

    Args:
        message: The request.
        user: Whom its header names; empty where it names none, or is not believed.
    """
    replay = (message.headers or {}).get(REPLAY_HEADER, "")
    digest = hashlib.blake2b(digest_size=32)
    for part in (message.subject, user, replay):
        digest.update(f"{part}\0".encode())
    digest.update(message.data)
    return digest.hexdigest()


async def answer_key(kept: KeptRequest, request_id: str, store: AnswerStore, remaining_s: Callable[[], float]) -> str:
    """Return what the answer of a request is known by.

    One that is sent again after it was refused for now is asked anew. One that was sent before that is refused, too.

    Args:
        kept: The request.
        request_id: Its client's id of it; empty where it gave none.
        store: Where refusals are.
        remaining_s: Tells the seconds that the bucket has.

    Raises:
        UnavailableError: The bucket could not be reached in time.
    """
    key = kept.key(request_id)
    while request_id:
        refusal = await store.passing_refusal(key, remaining_s)
        if refusal is None or kept.sent_at <= refusal.at:
            break
        key = hashlib.sha256(f"{key} {refusal.revision}".encode()).hexdigest()
    return key


@dataclass(slots=True)
class _Unsent:
    """What a lost attempt has sent of the text, as the new one comes to it.

    Attributes:
        sent: What was sent.
        left: Characters of it that the new text has not reached yet.
        digest: Of the new text so far.
    """

    sent: Sent
    left: int
    digest: Any = field(default_factory=hashlib.sha256)


class OnceAnswer:
    """See `Once`.

    Args:
        kept: The request.
        request_id: Its client's id of it; empty where it gave none.
        store: Where its claim is.
        askers: Finds the reply subjects that it came with.
        sender: Of its answers.
        allows: Says whether a reply subject is answered.
        deadline: When its answer has to be there.
        go_on: Whether the stream of a lost attempt goes on, where the new answer begins like the old one.
    """

    def __init__(
        self,
        kept: KeptRequest,
        request_id: str,
        store: AnswerStore,
        askers: Callable[[KeptRequest, Callable[[], float]], Awaitable[Iterable[AskerNote]]],
        sender: Sender,
        allows: Callable[[str], bool],
        deadline: float,
        *,
        go_on: bool,
    ) -> None:
        self._kept = kept
        self._request_id = request_id
        self._key = kept.key(request_id)
        self._store = store
        self._askers = askers
        self._sender = sender
        self._allows = allows
        self._deadline = deadline
        self._go_on = go_on
        self._claim = Claim(kept.holder, kept.attempt)
        self._connection = store.connection
        self._told: Sent | None = None
        """What the stream was told, by this attempt or by lost ones; None for nothing."""
        self._is_writing = True
        """Whether this attempt tells the stream more: of a lost one it does where the answers are alike."""
        self._is_refused_for_now = False
        self._unsent: _Unsent | None = None
        self._digest: Any = hashlib.sha256()

    @property
    def note(self) -> str:
        """See `Once.note`."""
        return "" if self._is_writing else WRITTEN_ANEW

    async def begin(self) -> bool:
        """Claim the request.

        Returns:
            Whether to answer it: not, where that was done before. Then who asked again has been told the same.

        Raises:
            GivenBackError: It is another's.
        """
        with _given_back():
            if self._kept.attempt == 1 and await self._is_first():
                return True
            self._key = await answer_key(self._kept, self._request_id, self._store, self._patience())
            self._kept.answer_key = self._key if self._request_id else ""
            while not await self.was_answered():
                held = await self._store.claim(self._key, self._patience())
                if held.claim is None or held.claim.holder in {NOBODY, self._kept.holder}:
                    await self._take_over(held.claim, held.revision)
                    return True
                if time.monotonic() >= self._deadline:
                    # Whoever has it answers it, on the subjects that both share.
                    return False
                await asyncio.sleep(_OTHER_POLL_S)
            return False

    async def was_answered(self) -> bool:
        """Say whether the final message is out; who asked for it and was not told yet is told.

        Raises:
            UnavailableError: The bucket could not be reached in time.
        """
        payload = await self._store.published(self._key, self._patience())
        if payload is None:
            return False
        for subject in await self._reply_subjects():
            await self._publish(subject, payload)
        return True

    def refuse_for_now(self) -> None:
        """Take the final message that follows for none to the same request if it is sent again later."""
        self._is_refused_for_now = True
        # Who is heard from now on asks anew.
        self._kept.answer_key = ""

    async def untold(self, text: str) -> str:
        """See `Once.untold`."""
        await self._check_mine()
        if not self._is_writing:
            text = self._behind_sent(text)
        if text and (self._go_on or self._told is None):
            await self._note_sent(text)
        return text if self._is_writing else ""

    async def may_end_stream(self) -> bool:
        """See `Once.may_end_stream`."""
        await self._check_mine()
        if self._told and self._told.is_ended:
            return False
        self._told = Sent(is_ended=True)
        with _given_back():
            return await self._store.end_stream(self._key, self._claim.writer, self._patience())

    def begin_again(self) -> None:
        """See `Once.begin_again`."""
        if self._told is None:
            return
        sent = self._told if self._is_writing else self._unsent and self._unsent.sent
        goes_on = sent is not None and self._go_on and not sent.is_ended
        self._unsent = _Unsent(sent, sent.characters) if sent is not None and goes_on else None
        self._is_writing = False

    async def finish(self, message: Message, subject: str, to_asker: Message) -> None:
        """See `Once.finish`."""
        payload = self._sender.fitting(message)
        told = payload if to_asker is message else self._sender.fitting(to_asker)
        await self._check_mine()
        with _given_back():
            if subject and not await self._publish(subject, payload):
                # Where another attempt was first, all hear the same.
                stored = await self._store.published(self._key, self._patience())
                told = told if stored in (None, payload) else stored
            for asker in await self._reply_subjects():
                if asker != subject:
                    await self._publish(asker, told)

    async def _is_first(self) -> bool:
        try:
            await self._store.write(self._key, self._claim, 0, self._patience())
        except TakenOverError:
            return False
        return True

    async def _take_over(self, found: Claim | None, revision: int) -> None:
        if found and found.holder == self._kept.holder and found.attempt > self._kept.attempt:
            raise GivenBackError("it was given out again")
        self._claim = replace(self._claim, begun=found.begun + 1 if found else 1)
        await self._store.write(self._key, self._claim, revision, self._patience())
        self._told = await self._store.sent(self._key, self._patience())
        if self._told is None:
            return
        # One that was ended is whole, and of another answer than the final message that follows now.
        self._is_writing = False
        if self._go_on and not self._told.is_ended:
            self._unsent = _Unsent(self._told, self._told.characters)

    async def _reply_subjects(self) -> list[str]:
        """Return where the request is answered besides its own subjects; of one without an id, that is one place."""
        notes = [note for note in await self._askers(self._kept, self._patience()) if self._is_for(note)]
        if self._request_id:
            return list(dict.fromkeys(note.reply_subject for note in notes))
        for note in of_request(notes, self._kept.sent_at):
            if await self._store.take_asker(note.name, self._kept.holder, self._patience()):
                return [note.reply_subject]
        return []

    def _is_for(self, note: AskerNote) -> bool:
        return self._kept.may_be_told_at(note.reply_subject) and self._allows(note.reply_subject)

    async def _publish(self, subject: str, payload: bytes) -> bool:
        headers = {**self._sender.headers, **(PASSING if self._is_refused_for_now else {})}
        is_new = await self._store.publish(self._key, subject, payload, headers, self._patience())
        if is_new and "." not in subject:
            # The server publishes on subjects of two tokens and more.
            await self._sender.connection.publish(subject, payload, "", headers or None)
        return is_new

    async def _check_mine(self) -> None:
        if self._connection is None or self._store.connection != self._connection:
            await self._claim_again()
        if time.monotonic() > self._kept.held_until:
            await self._let_go()
            raise GivenBackError("it was held for too long without a word to its stream")

    async def _claim_again(self) -> None:
        """Make sure of the claim where the connection was lost: a server may come back without its store."""
        with _given_back():
            held = await self._store.claim(self._key, self._patience())
            if held.claim is None:
                await self._store.write(self._key, self._claim, 0, self._patience())
                # Its stream is gone, too, and gives it to nobody any more.
                self._kept.held_until = math.inf
                if self._told is not None and not await self._store.begin_stream(
                    self._key, self._told, self._patience()
                ):
                    raise GivenBackError("another replica tells its stream")
            elif held.claim.writer != self._claim.writer:
                raise GivenBackError("another replica has it")
        self._connection = self._store.connection

    async def _let_go(self) -> None:
        """Leave the claim to whoever comes: its stream may be gone, and the same request be sent again."""
        with _given_back():
            held = await self._store.claim(self._key, self._patience())
            if held.claim and held.claim.writer == self._claim.writer:
                await self._store.write(self._key, replace(held.claim, holder=NOBODY), held.revision, self._patience())

    def _behind_sent(self, text: str) -> str:
        """Return what of a piece lies behind what a lost attempt has sent; nothing where the new text is another."""
        unsent = self._unsent
        if unsent is None:
            return ""
        known, text = text[: unsent.left], text[unsent.left :]
        unsent.digest.update(known.encode())
        unsent.left -= len(known)
        if unsent.left:
            return ""
        self._unsent = None
        if unsent.sent.characters and unsent.digest.hexdigest() != unsent.sent.digest:
            return ""
        self._is_writing = True
        self._told, self._digest = unsent.sent, unsent.digest
        return text

    async def _note_sent(self, text: str) -> None:
        is_first = self._told is None
        characters = self._told.characters if self._told else 0
        self._told = Sent(writer=self._claim.writer)
        if self._go_on:
            self._digest.update(text.encode())
            self._told = Sent(characters + len(text), self._digest.hexdigest(), writer=self._claim.writer)
        if is_first:
            await self._begin_stream(self._told)
            return
        # In front of the text in the connection's buffer: what is not noted was not sent.
        await self._store.note_more_sent(self._key, self._told)

    async def _begin_stream(self, sent: Sent) -> None:
        """Return once it is stored that the stream is begun; where another attempt was first, it is that one's.

        A server that is killed has passed on what it was told a moment before, and has not stored that yet. And a
        network that passed nothing on for a while has let others take the request.
        """
        with _given_back():
            self._is_writing = await self._store.begin_stream(self._key, sent, self._patience())
        await self._check_mine()

    def _patience(self) -> Callable[[], float]:
        """Return what tells the seconds that the bucket has: those of the request, and a moment in any case."""
        until = max(self._deadline, time.monotonic() + _STORE_S)
        return lambda: until - time.monotonic()


@contextmanager
def _given_back() -> Generator[None]:
    """Give a request back that another has, or that the bucket cannot be reached for."""
    try:
        yield
    except TakenOverError as error:
        raise GivenBackError("another replica has it") from error
    except UnavailableError as error:
        raise GivenBackError(error.message) from error
