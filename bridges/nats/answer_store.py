"""What is kept of requests that are answered once: a NATS key-value bucket that forgets by itself.

* `claim.{request}`: who works on a request. It is written over the last one alone.
* `asker.{request}.{note}`: a reply subject that a request came with, which no stream keeps.
* `taken.{note}`: the request that a reply subject was taken for, of several that are alike.
* `sent.{request}`: how much of an answer's text its stream was told.
* `final.{request}.{subject}`: the final message. It is stored once, and the server itself publishes it on the subject
  in the moment in which it is stored. So it goes out once or not at all, whichever replica dies when.
"""

import asyncio
import json
import logging
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar, cast

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, Header, RawStreamMsg, RePublish, StorageType, StreamConfig
from nats.js.errors import APIError, NoStreamResponseError, NotFoundError

from bridges.nats.streams import open_stream
from bridges.subjects import ASKER_VALUE, CLAIM_VALUE, FINAL_VALUE, SENT_VALUE, TAKEN_VALUE, Subject
from deployments.backoff import Backoff, retry
from deployments.errors import BackEnd, HearthError, UnavailableError
from deployments.settings.orchestration import DurableSettings

logger = logging.getLogger(__name__)

T = TypeVar("T")

_BACK_END = BackEnd("NATS")
_PATIENCE_S = 2.0
_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 1.0
_WRONG_LAST_SEQUENCE = {10071, 10164}
"""The server's error codes for a write over something else than what was read."""
_NO_MESSAGE = 10037
"""The server's error code where a stream is there and has no such message."""
ASKERS_KEPT = 64
"""Reply subjects of one request, the last ones: who sends the same more often at once gets no more answers."""
_ASKERS_READ = 1024

NOBODY = ""

_END = "-end"
PASSING: Mapping[str, str] = MappingProxyType({"Hearth-Retryable": "true"})
"""The header of a final message that is none to the same request if it is sent again later."""

STORED_HEADER_BYTES = 128
"""What the headers of a stored final message take beside its own."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Who works on a request.

    Attributes:
        holder: The delivery that it came by: the same for each time that it is given out again. `NOBODY` where it was
            let go of.
        attempt: How often it was given out by then. A server that was killed may have forgotten the last time.
        begun: How often it was begun by then.
        writer: Whoever wrote it: another one for each attempt.
    """

    holder: str
    attempt: int
    begun: int = 1
    writer: str = field(default_factory=lambda: secrets.token_hex(8))


@dataclass(frozen=True, slots=True)
class PassingRefusal:
    """A final message that says why a request is not answered now, and that it may be later.

    Attributes:
        revision: Of it, and of nothing else in the bucket.
        at: When it was stored, in seconds since 1970 by the server's clock.
    """

    revision: int
    at: float


@dataclass(frozen=True, slots=True)
class Held:
    """A claim with the revision to write the next one over; 0 where there is none."""

    claim: Claim | None
    revision: int


@dataclass(frozen=True, slots=True)
class Sent:
    """How much of an answer its stream was told.

    Attributes:
        characters: Of the text, where the stream of a lost replica may go on.
        digest: Of these characters.
        is_ended: Whether it was told its end.
        writer: The attempt that tells it.
    """

    characters: int = 0
    digest: str = ""
    is_ended: bool = False
    writer: str = ""


@dataclass(frozen=True, slots=True)
class AskerNote:
    """A reply subject that a request was heard with.

    Attributes:
        name: Of the note, and no other. It begins with the time at which the request was heard.
        reply_subject: Empty where it had none.
    """

    name: str
    reply_subject: str

    @classmethod
    def made(cls, reply_subject: str, heard_at: float) -> "AskerNote":
        """Return a new note of a request that was heard at a time of the server's, in seconds since 1970."""
        return cls(f"{round(heard_at * 1000)}-{secrets.token_hex(8)}", reply_subject)

    @property
    def heard_at(self) -> float | None:
        """When the request was heard, in seconds since 1970 by the server's clock; None where the note has not said."""
        milliseconds, _, random = self.name.partition("-")
        return int(milliseconds) / 1000 if random and milliseconds.isdecimal() else None


class TakenOverError(Exception):
    """Another replica has written in the meantime: the request is its own now."""


class AnswerStore:
    """The bucket.

    Everything here is tried again until the time that is given is over, for a server that restarts is away for a
    moment. It is made anew where it is lost.

    Args:
        settings: Its name, and where it is kept.
        lifetime_s: Seconds for which it remembers.
    """

    def __init__(self, settings: DurableSettings, lifetime_s: float) -> None:
        self._bucket = settings.bucket
        self._storage = StorageType(settings.storage)
        self._replicas = settings.replicas
        self._lifetime_s = lifetime_s
        self._client: Client | None = None

    def connect(self, client: Client) -> None:
        """Take the connection that it is reached over."""
        self._client = client

    @property
    def connection(self) -> int | None:
        """Which connection it is reached over, the first or a later one; None while there is none."""
        client = self._client
        return client.stats["reconnects"] if client is not None and client.is_connected else None

    async def open(self) -> None:
        """Make the bucket, or give it the present settings.

        Raises:
            nats.errors.Error: It cannot be.
        """
        rows = (CLAIM_VALUE, ASKER_VALUE, TAKEN_VALUE, SENT_VALUE, FINAL_VALUE)
        *others, final = (row.narrowed(answers_bucket=self._bucket) for row in rows)
        config = StreamConfig(
            name=f"KV_{self._bucket}",
            description="Hearth's answers, so that each goes out once",
            subjects=[*others, final],
            allow_rollup_hdrs=True,
            deny_delete=True,
            # As in buckets that other tools make: the server never turns it off again.
            allow_msg_ttl=True,
            max_msgs_per_subject=1,
            max_age=self._lifetime_s,
            storage=self._storage,
            num_replicas=self._replicas,
            discard=DiscardPolicy.NEW,
            # Where it goes out stands behind the request, token by token.
            republish=RePublish(src=final.replace(".>", ".*.>"), dest="{{wildcard(2)}}.>"),
        )
        if not await open_stream(self._stream(), config):
            raise nats.errors.Error(f"another stream has the subjects of the bucket {self._bucket!r}")

    async def claim(self, request: str, remaining_s: Callable[[], float]) -> Held:
        """Return the claim of a request.

        Args:
            request: What the request is known by.
            remaining_s: Tells the seconds that are left.

        Raises:
            UnavailableError: The bucket could not be reached until then.
        """
        value, revision = await self._trying(lambda: self._read(self._key(CLAIM_VALUE, request)), remaining_s)
        return Held(_decode_claim(value) if value is not None else None, revision)

    async def write(self, request: str, claim: Claim, last: int, remaining_s: Callable[[], float]) -> int:
        """Write a claim over a revision; return the new one.

        Raises:
            TakenOverError: Another one was written since.
            UnavailableError: The bucket could not be reached in time.
        """
        value = json.dumps(asdict(claim)).encode()
        key = self._key(CLAIM_VALUE, request)
        revision = await self._trying(lambda: self._put(key, value, last), remaining_s)
        if revision:
            return revision
        # Where it was an earlier attempt at this very write whose confirmation was lost, it is ours all the same.
        held = await self.claim(request, remaining_s)
        if held.claim == claim:
            return held.revision
        raise TakenOverError(request)

    async def publish(
        self, request: str, subject: str, payload: bytes, headers: Mapping[str, str], remaining_s: Callable[[], float]
    ) -> bool:
        """Store the final message of a request for one subject, which publishes it there.

        Returns:
            Whether it was stored: not, where one was before.

        Raises:
            UnavailableError: The bucket could not be reached in time.
        """
        key = self._key(FINAL_VALUE, request, subject)
        return bool(await self._trying(lambda: self._put(key, payload, 0, headers), remaining_s))

    async def published(self, request: str, remaining_s: Callable[[], float]) -> bytes | None:
        """Return the final message of a request, None where none went out.

        Raises:
            UnavailableError: The bucket could not be reached in time.
        """
        key = self._key(FINAL_VALUE, request, ">")
        value, _ = await self._trying(lambda: self._read(key, 1), remaining_s)
        return value

    async def passing_refusal(self, request: str, remaining_s: Callable[[], float]) -> PassingRefusal | None:
        """Return the final message of a request if it has `PASSING`; None where it has not, or none went out.

        Raises:
            UnavailableError: The bucket could not be reached in time.
        """
        key = self._key(FINAL_VALUE, request, ">")
        found = await self._trying(lambda: self._get(key, 1), remaining_s)
        if found is None or found.time is None or not (found.headers or {}).keys() & PASSING.keys():
            return None
        return PassingRefusal(found.seq or 0, found.time.timestamp())

    async def note_asker(self, request: str, reply_subject: str, heard_at: float) -> AskerNote:
        """Keep that a request was heard, and with which reply subject. All replicas hear it, and none waits for it.

        Args:
            request: What the request is known by to those that hear it.
            reply_subject: The reply subject; empty where it had none.
            heard_at: When, in seconds since 1970 by the server's clock.

        Raises:
            nats.errors.Error: It was not sent.
        """
        note = AskerNote.made(reply_subject, heard_at)
        await self._connected.publish(self._key(ASKER_VALUE, request, note=note.name), reply_subject.encode())
        return note

    async def hear_askers(self, heard: Callable[[str, AskerNote], None]) -> None:
        """Have each reply subject told that is kept from now on, by whichever replica.

        Args:
            heard: Called with what the request is known by, and its reply subject.
        """

        async def take(message: Msg) -> None:
            if tokens := self._asker_tokens(message.subject):
                heard(tokens["request"], AskerNote(tokens["note"], message.data.decode(errors="replace")))

        await self._connected.subscribe(ASKER_VALUE.narrowed(answers_bucket=self._bucket), cb=take)

    async def askers(self, request: str, remaining_s: Callable[[], float]) -> tuple[AskerNote, ...]:
        """Return the last reply subjects that were kept of a request, in the order in which it was heard with them.

        Raises:
            UnavailableError: The bucket could not be reached in time.
        """
        return await self._trying(lambda: self._read_askers(request), remaining_s)

    async def take_asker(self, note: str, holder: str, remaining_s: Callable[[], float]) -> bool:
        """Take a reply subject for a request; return whether it is that one's.

        Raises:
            UnavailableError: The bucket could not be reached in time.
        """
        key, value = self._key(TAKEN_VALUE, note=note), holder.encode()
        if await self._trying(lambda: self._put(key, value, 0), remaining_s):
            return True
        found, _ = await self._trying(lambda: self._read(key), remaining_s)
        return found == value

    async def begin_stream(self, request: str, sent: Sent, remaining_s: Callable[[], float]) -> bool:
        """Keep that a stream is told the first of an answer now; say whether this attempt is the one that tells it.

        Raises:
            UnavailableError: The bucket could not be reached in time.
        """
        return await self._put_once(self._key(SENT_VALUE, request), sent, remaining_s)

    async def end_stream(self, request: str, writer: str, remaining_s: Callable[[], float]) -> bool:
        """Keep that a stream is ended now; say whether this attempt is the one that ends it.

        Raises:
            UnavailableError: The bucket could not be reached in time.
        """
        key = self._key(SENT_VALUE, request + _END)
        return await self._put_once(key, Sent(is_ended=True, writer=writer), remaining_s)

    async def _put_once(self, key: str, sent: Sent, remaining_s: Callable[[], float]) -> bool:
        value = json.dumps(asdict(sent)).encode()
        if await self._trying(lambda: self._put(key, value, 0), remaining_s):
            return True
        # Where it was an earlier attempt at this very write whose confirmation was lost, it is ours all the same.
        found, _ = await self._trying(lambda: self._read(key), remaining_s)
        return found == value

    async def note_more_sent(self, request: str, sent: Sent) -> None:
        """Keep that its stream was told more; nobody waits for it, and it goes out before the text does.

        Raises:
            nats.errors.Error: It was not sent.
        """
        await self._connected.publish(self._key(SENT_VALUE, request), json.dumps(asdict(sent)).encode())

    async def sent(self, request: str, remaining_s: Callable[[], float]) -> Sent | None:
        """Return how much of an answer its stream was told, None where it was told nothing.

        Raises:
            UnavailableError: The bucket could not be reached in time.
        """
        value, _ = await self._trying(lambda: self._read(self._key(SENT_VALUE, request)), remaining_s)
        ended, _ = await self._trying(lambda: self._read(self._key(SENT_VALUE, request + _END)), remaining_s)
        if ended is not None:
            return Sent(is_ended=True)
        return Sent(**cast("dict[str, Any]", json.loads(value))) if value is not None else None

    async def check(self) -> None:
        """Store something, to see that something can be; make the bucket anew where it is lost.

        Raises:
            nats.errors.Error: It cannot.
        """
        key = self._key(SENT_VALUE, "check")
        try:
            await self._stream().publish(key, b"{}")
        except NoStreamResponseError:
            await self.open()
            await self._stream().publish(key, b"{}")

    async def _read_askers(self, request: str) -> tuple[AskerNote, ...]:
        key = self._key(ASKER_VALUE, request, note="*")
        found, following = deque[AskerNote](maxlen=ASKERS_KEPT), 1
        for _ in range(_ASKERS_READ):
            message = await self._get(key, following)
            if message is None:
                break
            tokens = self._asker_tokens(message.subject or "")
            if tokens:
                found.append(AskerNote(tokens["note"], (message.data or b"").decode(errors="replace")))
            following = (message.seq or following) + 1
        return tuple(found)

    def _asker_tokens(self, subject: str) -> dict[str, str] | None:
        return ASKER_VALUE.parameters(subject)

    async def _read(self, key: str, at_least: int | None = None) -> tuple[bytes | None, int]:
        """Return the value of a key and its revision; None and 0 where there is none.

        Args:
            key: The subject, with wildcards where the first of several will do.
            at_least: The lowest revision that is looked at; None for the last one of the key.
        """
        found = await self._get(key, at_least)
        return (found.data or b"", found.seq or 0) if found else (None, 0)

    async def _get(self, key: str, at_least: int | None) -> RawStreamMsg | None:
        try:
            return await self._stream().get_msg(
                f"KV_{self._bucket}", seq=at_least, subject=key, next=at_least is not None
            )
        except NotFoundError as error:
            if error.err_code != _NO_MESSAGE:
                raise
            return None

    async def _put(self, key: str, value: bytes, last: int, headers: Mapping[str, str] | None = None) -> int:
        """Store a value over a revision; return the new one, 0 where something else was stored since."""
        expected = {**(headers or {}), Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: str(last)}
        try:
            return (await self._stream().publish(key, value, headers=expected)).seq
        except APIError as error:
            if error.err_code not in _WRONG_LAST_SEQUENCE:
                raise
            return 0

    async def _trying(self, work: Callable[[], Awaitable[T]], remaining_s: Callable[[], float]) -> T:
        def failed(error: HearthError) -> None:
            logger.info("%s; it is tried again", error.message)

        return await retry(
            lambda: self._reaching(work), Backoff(_PAUSE_S, _LONGEST_PAUSE_S), remaining_s=remaining_s, failed=failed
        )

    async def _reaching(self, work: Callable[[], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                try:
                    return await work()
                except (NotFoundError, NoStreamResponseError):
                    # The server came back without it, or somebody deleted it.
                    await self.open()
                    return await work()
        except (nats.errors.Error, TimeoutError) as error:
            raise UnavailableError(
                f"the NATS bucket {self._bucket!r}, which keeps answers, cannot be reached: "
                f"{str(error) or type(error).__name__}",
                back_end=_BACK_END,
            ) from error

    def _stream(self) -> JetStreamContext:
        return self._connected.jetstream(timeout=_PATIENCE_S)

    @property
    def _connected(self) -> Client:
        if self._client is None:
            raise nats.errors.Error("there is no connection to NATS yet")
        return self._client

    def _key(self, row: Subject, request: str = "", subject: str = "", note: str = "") -> str:
        return row.pattern.format(answers_bucket=self._bucket, request=request, subject=subject, note=note)


def _decode_claim(value: bytes) -> Claim:
    return Claim(**cast("dict[str, Any]", json.loads(value)))
