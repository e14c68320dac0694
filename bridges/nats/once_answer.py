"""The answer to a request that is kept until it is answered: nothing of it goes out twice.

A request is given out again where its replica dies. What goes out is fenced by the claim on it (see
`bridges.nats.answer_store`): its stream is begun by one attempt, ended once, and its final message is stored once.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from google.protobuf.message import Message
from nats.aio.msg import Msg

from bridges.nats.answer_store import AnswerStore, Claim, Sent, StreamState, TakenOverError
from bridges.nats.sender import Sender
from bridges.subjects import REPLAY_HEADER
from deployments.errors import UnavailableError

WRITTEN_ANEW = "the replica that wrote the stream was lost: this is the whole answer, written anew"

_STORE_S = 5.0
"""What the bucket has at least, for a server that restarts, even where the request's own time is over."""
_NOTE_S = 0.25
"""What a reply subject has to be noted by whoever heard it, after the request was taken from its stream."""
_NOTE_POLL_S = 0.02
_OTHER_POLL_S = 0.25


class GivenBackError(Exception):
    """The request is left to its stream, which gives it out again, or another replica has it already."""


@dataclass(eq=False, slots=True)
class KeptRequest:
    """A request as it was given out by the stream that keeps it.

    Attributes:
        message: The message.
        holder: What this request, and no other, is known by, however often it is given out.
        attempt: How often it was given out by now.
        age_s: Seconds since it was sent.
        taken_at: When it was given out, in seconds of `time.monotonic()`.
        held_until: Until when nobody else is given it.
        is_in_stream: Whether its stream has it. One that was heard while the stream was away is taken as it was heard.
    """

    message: Msg
    holder: str
    attempt: int
    age_s: float
    taken_at: float
    held_until: float
    is_in_stream: bool = True

    @property
    def payload_digest(self) -> str:
        """What the request is known by to those that hear it elsewhere."""
        return digest_of(self.message)

    def key(self, request_id: str) -> str:
        """Return what the request is known by: one with a request id that is sent again is the same."""
        if not request_id:
            return hashlib.sha256(self.holder.encode()).hexdigest()
        replay = (self.message.headers or {}).get(REPLAY_HEADER, "")
        return hashlib.sha256(f"{self.payload_digest} {replay}".encode()).hexdigest()


def digest_of(message: Msg) -> str:
    """Return a digest of a message's subject and payload."""
    return hashlib.blake2b(message.subject.encode() + b"\0" + message.data, digest_size=32).hexdigest()


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
        key: What it is known by.
        store: Where its claim is.
        sender: Of its answers.
        allows: Says whether a reply subject is answered.
        deadline: When its answer has to be there.
        go_on: Whether the stream of a lost attempt goes on, where the new answer begins like the old one.
    """

    def __init__(
        self,
        kept: KeptRequest,
        key: str,
        store: AnswerStore,
        sender: Sender,
        allows: Callable[[str], bool],
        deadline: float,
        *,
        go_on: bool,
    ) -> None:
        self._kept = kept
        self._key = key
        self._store = store
        self._sender = sender
        self._allows = allows
        self._deadline = deadline
        self._go_on = go_on
        self._claim = Claim(kept.holder, kept.attempt)
        self._revision = 0
        self._begun_here = False
        self._unsent: _Unsent | None = None
        self._told = Sent()
        self._digest: Any = hashlib.sha256()
        self._is_anew = False

    @property
    def note(self) -> str:
        """See `Once.note`."""
        return WRITTEN_ANEW if self._is_anew else ""

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
            while True:
                held = await self._store.claim(self._key, self._patience())
                found = held.claim
                if found and await self._told_before(found):
                    return False
                if found is None or found.holder == self._kept.holder:
                    await self._take_over(found, held.revision)
                    return True
                if time.monotonic() >= self._deadline:
                    # Whoever has it answers it, on the subjects that both share.
                    return False
                await asyncio.sleep(_OTHER_POLL_S)

    async def asker(self) -> str:
        """See `Once.asker`."""
        with _given_back():
            while True:
                asker = await self._store.take_asker(self._kept.payload_digest, self._kept.holder, self._patience())
                if asker is not None or time.monotonic() > self._kept.taken_at + _NOTE_S:
                    return asker if asker and self._allows(asker) else ""
                await asyncio.sleep(_NOTE_POLL_S)

    async def untold(self, text: str) -> str:
        """See `Once.untold`."""
        if time.monotonic() > self._kept.held_until:
            raise GivenBackError("it was held for too long without a word to its stream")
        if self._claim.stream is StreamState.ENDED:
            return ""
        if self._claim.stream is StreamState.SILENT:
            await self._write(replace(self._claim, stream=StreamState.BEGUN))
            self._begun_here = True
        if not self._begun_here:
            text = self._behind_sent(text)
        if text and self._go_on:
            await self._note_sent(text)
        return text

    async def may_end_stream(self) -> bool:
        """See `Once.may_end_stream`."""
        if self._claim.stream is StreamState.ENDED:
            return False
        await self._write(replace(self._claim, stream=StreamState.ENDED))
        return True

    def begin_again(self) -> None:
        """See `Once.begin_again`."""
        if self._claim.stream is StreamState.SILENT:
            return
        sent = self._told if self._begun_here else self._unsent and self._unsent.sent
        self._unsent = _Unsent(sent, sent.characters) if sent and self._go_on else None
        self._begun_here, self._is_anew = False, True

    async def finish(self, messages: Mapping[str, Message]) -> None:
        """See `Once.finish`."""
        payloads = {subject: self._sender.fitting(message) for subject, message in messages.items()}
        if payloads:
            await self._write(replace(self._claim, subjects=tuple(payloads)))
        with _given_back():
            for subject, payload in payloads.items():
                await self._publish(subject, payload)

    async def _is_first(self) -> bool:
        try:
            self._revision = await self._store.write(self._key, self._claim, 0, self._patience())
        except TakenOverError:
            return False
        return True

    async def _take_over(self, found: Claim | None, revision: int) -> None:
        if found and found.attempt > self._kept.attempt:
            raise GivenBackError("it was given out again")
        stream = found.stream if found else StreamState.SILENT
        claim = replace(self._claim, stream=stream)
        self._revision = await self._store.write(self._key, claim, revision, self._patience())
        self._claim = claim
        # One that was ended is whole, and of another answer than the final message that follows now.
        self._is_anew = stream is not StreamState.SILENT
        if stream is StreamState.BEGUN and self._go_on:
            sent = await self._store.sent(self._key, self._patience())
            self._unsent = _Unsent(sent, sent.characters)

    async def _told_before(self, found: Claim) -> bool:
        """Say whether the final message is out; who asked for it and was not told yet is told."""
        for subject in found.subjects:
            payload = await self._store.published(self._key, subject, self._patience())
            if payload is not None:
                break
        else:
            return False
        for subject in dict.fromkeys((*found.subjects, await self.asker())):
            if subject:
                await self._publish(subject, payload)
        return True

    async def _publish(self, subject: str, payload: bytes) -> None:
        is_new = await self._store.publish(self._key, subject, payload, self._sender.headers, self._patience())
        if is_new and "." not in subject:
            # The server publishes on subjects of two tokens and more.
            await self._sender.connection.publish(subject, payload, "", self._sender.headers or None)

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
        if unsent.sent.characters and unsent.digest.hexdigest() != unsent.sent.digest:
            self._unsent = None
            return ""
        self._begun_here, self._is_anew = True, False
        self._told, self._digest = unsent.sent, unsent.digest
        return text

    async def _note_sent(self, text: str) -> None:
        self._digest.update(text.encode())
        self._told = Sent(self._told.characters + len(text), self._digest.hexdigest())
        # In front of the text in the connection's buffer: what is not noted was not sent.
        await self._store.note_sent(self._key, self._told)

    async def _write(self, claim: Claim) -> None:
        with _given_back():
            self._revision = await self._store.write(self._key, claim, self._revision, self._patience())
        self._claim = claim

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
