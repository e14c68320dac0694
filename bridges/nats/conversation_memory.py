"""What was said before: the last turns of each user, in a NATS key-value bucket that forgets by itself."""

import asyncio
import hashlib
import json
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import nats.errors
from nats.aio.client import Client
from nats.js.api import KeyValueConfig
from nats.js.errors import APIError, KeyNotFoundError, KeyWrongLastSequenceError, NoStreamResponseError
from nats.js.kv import KeyValue
from pydantic_core import from_json

from deployments.settings.orchestration import MemorySettings
from deployments.values.language import Exchange

logger = logging.getLogger(__name__)

_PATIENCE_S = 1.0
"""An answer does not wait longer for what was said before."""
_OPENED_EVERY_S = 5.0
_REST_S = 5.0
"""For so long nobody waits for a bucket that did not answer in time."""
_ATTEMPTS = 3
_GONE = (NoStreamResponseError, nats.errors.NoRespondersError)
"""What reading and writing raise where the server came back without the bucket, or somebody deleted it."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose conversation it is: a user's, or a session's whose user nobody named.

    Attributes:
        user_id: The user; empty where nobody said.
        session_id: The session; empty for what belongs to no session.
    """

    user_id: str = ""
    session_id: str = ""

    @property
    def key(self) -> str:
        """The key that the bucket takes, whatever an id is made of; empty for nobody. No user's is a session's."""
        if self.user_id:
            return hashlib.sha256(self.user_id.encode()).hexdigest()
        if self.session_id:
            return f"session-{hashlib.sha256(self.session_id.encode()).hexdigest()}"
        return ""


class ConversationMemory:
    """The conversations of all users.

    Memory is a help and never a condition: where the bucket cannot be opened or does not answer in time, a question is
    answered without it, and the log says so. It is opened again and again, for JetStream may come late, or come back
    without what was kept.

    Args:
        settings: How much is kept, and for how long.
    """

    def __init__(self, settings: MemorySettings) -> None:
        self._settings = settings
        self._bucket: KeyValue | None = None
        self._client: Client | None = None
        self._opening = asyncio.Lock()
        self._opened_at = -math.inf
        self._rests_until = -math.inf

    @property
    def turns(self) -> int:
        """Turns that are kept of each user."""
        return self._settings.turns

    async def connect(self, client: Client) -> None:
        """Open the bucket, and make it if it does not exist."""
        if not self._settings.enabled:
            return
        self._client = client
        await self._open(client, _PATIENCE_S * 5)

    async def _open(self, client: Client, within_s: float) -> None:
        self._opened_at = time.monotonic()
        config = KeyValueConfig(bucket=self._settings.bucket, ttl=self._settings.lifetime_s, history=1)
        try:
            async with asyncio.timeout(within_s):
                stream = client.jetstream()
                try:
                    self._bucket = await stream.key_value(self._settings.bucket)
                except APIError:
                    self._bucket = await stream.create_key_value(config)
        except (nats.errors.Error, TimeoutError) as error:
            logger.warning("conversations are not remembered: no bucket %r (%s)", self._settings.bucket, _text(error))

    async def _opened(self) -> KeyValue | None:
        """Return the bucket; where there is none, look for it again, but not with every question.

        None, too, while it rests, or another question looks for it: no answer waits for that.
        """
        if time.monotonic() < self._rests_until:
            return None
        if self._bucket is None and self._client is not None and not self._opening.locked():
            async with self._opening:
                if time.monotonic() - self._opened_at > _OPENED_EVERY_S:
                    await self._open(self._client, _PATIENCE_S)
        return self._bucket

    def _failed(self, doing: str, error: Exception) -> None:
        """Take note that the bucket did not do something."""
        logger.warning("a conversation could not be %s: %s", doing, _text(error))
        if isinstance(error, TimeoutError):
            self._rests_until = time.monotonic() + _REST_S
        if isinstance(error, _GONE):
            self._bucket, self._opened_at = None, -math.inf

    async def recall(self, owner: Owner) -> tuple[Exchange, ...]:
        """Return the last turns of a conversation, oldest first; none for one that is nobody's."""
        if not owner.key or (bucket := await self._opened()) is None:
            return ()
        try:
            async with asyncio.timeout(_PATIENCE_S):
                turns, _ = await self._read(bucket, owner.key)
        except (nats.errors.Error, TimeoutError) as error:
            self._failed("recalled", error)
            return ()
        return turns

    async def remember(self, owner: Owner, turn: Exchange) -> None:
        """Add a turn to a conversation; the oldest one goes when there are too many."""
        for _ in range(2):
            if not owner.key or (bucket := await self._opened()) is None:
                return
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    await self._add(bucket, owner.key, turn)
            except _GONE as error:
                self._failed("remembered", error)
                continue
            except (nats.errors.Error, TimeoutError) as error:
                self._failed("remembered", error)
            return

    async def _add(self, bucket: KeyValue, key: str, turn: Exchange) -> None:
        for _ in range(_ATTEMPTS):
            turns, revision = await self._read(bucket, key)
            kept = [*turns, turn][-self._settings.turns :]
            try:
                await bucket.update(key, self._encode(kept), last=revision)
            except KeyWrongLastSequenceError:
                # Another answer to the same user was faster.
                continue
            return
        logger.warning("a turn was not remembered: too many answers to one user at once")

    async def _read(self, bucket: KeyValue, key: str) -> tuple[tuple[Exchange, ...], int]:
        """Return the turns that are kept, and the revision to write on."""
        try:
            entry = await bucket.get(key)
        except KeyNotFoundError as error:
            # The error carries the entry that marks the key as deleted, if there is one; nats-py does not type it.
            return (), _revision(cast("KeyValue.Entry | None", error.entry))
        return _decode(entry.value or b""), _revision(entry)

    def _encode(self, turns: Sequence[Exchange]) -> bytes:
        limit = self._settings.turn_characters
        kept = [{"question": turn.question[:limit], "answer": turn.answer[:limit]} for turn in turns]
        return json.dumps(kept, ensure_ascii=False).encode()


def _decode(value: bytes) -> tuple[Exchange, ...]:
    try:
        turns: list[dict[str, Any]] = from_json(value)
        return tuple(Exchange(str(turn["question"]), str(turn["answer"])) for turn in turns)
    except (ValueError, KeyError, TypeError):
        logger.warning("a remembered conversation cannot be read and is forgotten")
        return ()


def _revision(entry: KeyValue.Entry | None) -> int:
    """Return the revision of what is there, 0 where nothing is."""
    return entry.revision or 0 if entry else 0


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__
