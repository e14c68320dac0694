"""Requests that were given up: kept in a stream of their own, with the reason, for an operator to look at."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Protocol

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import Header, StorageType, StreamConfig
from nats.js.errors import NoStreamResponseError

from bridges.nats.sender import header_bytes
from bridges.nats.streams import open_stream
from bridges.subjects import (
    DEAD_LETTER,
    LEFT_OUT_HEADER,
    REASON_HEADER,
    SENT_AT_HEADER,
    SUBJECT_HEADER,
    TIMES_HEADER,
    subject_for,
)
from deployments.settings.orchestration import DurableSettings

_OWN_HEADERS = ("nats-", "hearth-")


class DurableMetrics(Protocol):
    """Counts what becomes of requests that are kept until they are answered."""

    def redelivered(self, subject: str) -> None:
        """Count a request on a subject's pattern that was given out again."""
        ...

    def given_up(self, subject: str) -> None:
        """Count a request on a subject's pattern that has become a dead letter."""
        ...


class DeadLetters:
    """The stream of dead letters.

    Args:
        settings: Its name, where it is kept, and for how long.
    """

    def __init__(self, settings: DurableSettings) -> None:
        self._settings = settings

    async def open(self, client: Client) -> None:
        """Make the stream, or give it the present settings.

        Raises:
            nats.errors.Error: It cannot be.
        """
        config = StreamConfig(
            name=self._settings.dead_letters,
            description="Requests that Hearth has given up",
            subjects=[DEAD_LETTER.wildcard],
            max_age=self._settings.dead_letter_s,
            storage=StorageType(self._settings.storage),
            num_replicas=self._settings.replicas,
        )
        await open_stream(client.jetstream(), config)

    async def put(self, client: Client, row: str, message: Msg, *, key: str, reason: str, times: int) -> None:
        """Keep a request: once, though it is put twice within two minutes.

        Args:
            client: The connection.
            row: The name of its row.
            message: The request.
            key: What it is known by.
            reason: Why it was given up, in words.
            times: How often it was begun.

        Raises:
            nats.errors.Error: It was not kept.
        """
        sent_at = message.metadata.timestamp.astimezone(UTC)
        headers = _others(message.headers or {}) | {
            SUBJECT_HEADER: message.subject,
            REASON_HEADER: reason,
            TIMES_HEADER: str(times),
            SENT_AT_HEADER: sent_at.isoformat(timespec="milliseconds"),
            Header.MSG_ID.value: f"{key} {datetime.timestamp(sent_at)}",
        }
        payload = message.data
        if len(payload) + header_bytes(headers) > client.max_payload:
            headers[LEFT_OUT_HEADER], payload = str(len(payload)), b""
        subject = subject_for(DEAD_LETTER, row=row)
        try:
            await client.jetstream().publish(subject, payload, headers=headers)
        except NoStreamResponseError:
            # Somebody deleted the stream.
            await self.open(client)
            await client.jetstream().publish(subject, payload, headers=headers)


def _others(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that a client gave."""
    return {name: value for name, value in headers.items() if not name.lower().startswith(_OWN_HEADERS)}
