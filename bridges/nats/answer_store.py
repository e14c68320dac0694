"""What is kept of requests that are answered once: a NATS key-value bucket that forgets by itself.

* `claim.{request}`: who works on a request, and how far its answer went. It is written over the last one alone.
* `asker.{request}`: the reply subjects that a request came with, which no stream keeps.
* `sent.{request}`: how much of an answer's text its stream was told, where a stream goes on after its replica was lost.
* `final.{request}.{subject}`: the final message. It is stored once, and the server itself publishes it on the subject
  in the moment in which it is stored. So it goes out once or not at all, whichever replica dies when.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, TypeVar, cast

import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, Header, RePublish, StorageType, StreamConfig
from nats.js.errors import APIError, NoStreamResponseError, NotFoundError

from bridges.nats.streams import open_stream
from bridges.subjects import ASKER_VALUE, CLAIM_VALUE, FINAL_VALUE, SENT_VALUE, Subject
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
_ASKERS_KEPT = 64
"""Reply subjects of one request; a client that sends the same again and again gets no more answers than that."""

STORED_HEADER_BYTES = 128
"""What the headers of a stored final message take beside its own."""


class StreamState(StrEnum):
    """How far the stream of an answer is."""

    SILENT = ""
    BEGUN = "begun"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Claim:
    """Who works on a request, and how far its answer is out.

    Attributes:
        holder: The delivery that it came by: the same for each time that it is given out again.
        attempt: How often it was given out by then.
        stream: How far the stream of its answer is.
        subjects: Where its final message goes; empty until it is known.
    """

    holder: str
    attempt: int
    stream: StreamState = StreamState.SILENT
    subjects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Held:
    """A claim with the revision to write the next one over; 0 where there is none."""

    claim: Claim | None
    revision: int


@dataclass(frozen=True, slots=True)
class Sent:
    """How much of an answer its stream was told.

    Attributes:
        characters: Of the text.
        digest: Of these characters.
    """

    characters: int = 0
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Asker:
    """A reply subject that a request was heard with.

    Attributes:
        reply_subject: Empty where it had none.
        holder: The delivery of the request that it was taken for; empty for none.
    """

    reply_subject: str
    holder: str = ""


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

    async def open(self) -> None:
        """Make the bucket, or give it the present settings.

        Raises:
            nats.errors.Error: It cannot be.
        """
        rows = (CLAIM_VALUE, ASKER_VALUE, SENT_VALUE, FINAL_VALUE)
        *others, final = (row.narrowed(answers_bucket=self._bucket) for row in rows)
        config = StreamConfig(
            name=f"KV_{self._bucket}",
            description="Hearth's answers, so that each goes out once",
            subjects=[*others, final],
            allow_rollup_hdrs=True,
            deny_delete=True,
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

    async def published(self, request: str, subject: str, remaining_s: Callable[[], float]) -> bytes | None:
        """Return the final message of a request that went out on a subject, None where none did.

        Raises:
            UnavailableError: The bucket could not be reached in time.
        """
        value, _ = await self._trying(lambda: self._read(self._key(FINAL_VALUE, request, subject)), remaining_s)
        return value

    async def note_asker(self, payload: str, reply_subject: str, remaining_s: Callable[[], float]) -> None:
        """Keep that a request was heard, and with which reply subject.

        Args:
            payload: Digest of the request.
            reply_subject: The reply subject; empty where it had none.
            remaining_s: Tells the seconds that are left.

        Raises:
            UnavailableError: The bucket could not be reached in time.
        """
        await self._change_askers(payload, lambda askers: [*askers, Asker(reply_subject)], remaining_s)

    async def take_asker(self, payload: str, holder: str, remaining_s: Callable[[], float]) -> str | None:
        """Return the reply subject that a request came with.

        It is the one that was taken for this request before, else the first that was taken for none.

        Returns:
            Empty where it had none; None where nobody has noted it yet.

        Raises:
            UnavailableError: The bucket could not be reached in time.
        """
        taken: str | None = None

        def take(askers: list[Asker]) -> list[Asker]:
            nonlocal taken
            own = [asker for asker in askers if asker.holder == holder]
            free = sorted((asker for asker in askers if not asker.holder), key=lambda asker: not asker.reply_subject)
            found = next(iter((*own, *free)), None)
            taken = found.reply_subject if found else None
            if found is None or not taken:
                # Who has none takes none from anybody else.
                return askers
            at = askers.index(found)
            return [*askers[:at], Asker(taken, holder), *askers[at + 1 :]]

        await self._change_askers(payload, take, remaining_s)
        return taken

    async def note_sent(self, request: str, sent: Sent) -> None:
        """Keep how much of an answer its stream was told; nobody waits for it, and it goes out before the text does.

        Raises:
            nats.errors.Error: It was not sent.
        """
        if self._client is not None:
            await self._client.publish(self._key(SENT_VALUE, request), json.dumps(asdict(sent)).encode())

    async def sent(self, request: str, remaining_s: Callable[[], float]) -> Sent:
        """Return how much of an answer its stream was told.

        Raises:
            UnavailableError: The bucket could not be reached in time.
        """
        value, _ = await self._trying(lambda: self._read(self._key(SENT_VALUE, request)), remaining_s)
        return Sent(**cast("dict[str, Any]", json.loads(value))) if value is not None else Sent()

    async def _change_askers(
        self, payload: str, change: Callable[[list[Asker]], list[Asker]], remaining_s: Callable[[], float]
    ) -> None:
        key = self._key(ASKER_VALUE, payload)

        async def attempt() -> bool:
            value, revision = await self._read(key)
            found = [Asker(*pair) for pair in json.loads(value)] if value is not None else []
            changed = change(found)[-_ASKERS_KEPT:]
            if changed == found:
                return True
            stored = json.dumps([(asker.reply_subject, asker.holder) for asker in changed]).encode()
            return bool(await self._put(key, stored, revision))

        while not await self._trying(attempt, remaining_s):
            # Another replica noted or took one in this moment.
            continue

    async def _read(self, key: str) -> tuple[bytes | None, int]:
        """Return the value of a key and its revision; None and 0 where there is none."""
        try:
            found = await self._stream().get_msg(f"KV_{self._bucket}", subject=key)
        except NotFoundError as error:
            if error.err_code != _NO_MESSAGE:
                raise
            return None, 0
        return found.data or b"", found.seq or 0

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
        if self._client is None:
            raise nats.errors.Error("there is no connection to NATS yet")
        return self._client.jetstream(timeout=_PATIENCE_S)

    def _key(self, row: Subject, request: str, subject: str = "") -> str:
        return row.pattern.format(answers_bucket=self._bucket, request=request, subject=subject)


def _decode_claim(value: bytes) -> Claim:
    found = cast("dict[str, Any]", json.loads(value))
    return Claim(found["holder"], found["attempt"], StreamState(found["stream"]), tuple(found["subjects"]))
