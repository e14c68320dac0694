"""`hearth dead`: the requests that Hearth has given up."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import click
import nats.errors
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import RawStreamMsg
from nats.js.errors import APIError
from nats.js.errors import NotFoundError as NotInStreamError

from bridges.command_line.client import NatsServer, connected
from bridges.command_line.commands.options import json_option, nats_option
from bridges.command_line.console import console, plain_table, print_line, styled, write_json
from bridges.subjects import (
    DEAD_LETTER,
    LEFT_OUT_HEADER,
    REASON_HEADER,
    REPLAY_HEADER,
    SENT_AT_HEADER,
    SUBJECT_HEADER,
    SUBJECTS,
    TIMES_HEADER,
    Direction,
    covers,
)
from deployments.errors import InvalidRequestError, NotFoundError, UnavailableError

_OWN_HEADERS = ("nats-", "hearth-")
_LONGEST = 200
"""Characters of a field that are shown; `--json` has all."""
_HIGHEST_ID = 2**64 - 1
"""NATS numbers the messages of a stream with 64 bits."""
_KNOWN_WITHIN_S = 10.0
_LOOK_EVERY_S = 0.05
_NO_RESPONDERS = "503"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A request that was given up.

    Attributes:
        id: Its number in the stream.
        payload: As it was sent.
        headers: Of its client, and Hearth's own.
        kept_at: When it became one, as the server has it.
    """

    id: int
    payload: bytes
    headers: dict[str, str]
    kept_at: str = ""

    @property
    def subject(self) -> str:
        """The subject that it was sent on."""
        return self.headers.get(SUBJECT_HEADER, "")

    def request(self) -> dict[str, Any]:
        """Return its fields; none where it cannot be read."""
        for row in SUBJECTS:
            if row.direction is Direction.REQUEST and row.messages and row.parameters(self.subject) is not None:
                try:
                    found = row.messages[0].FromString(self.payload)
                except DecodeError:
                    return {}
                return MessageToDict(found, preserving_proto_field_name=True)
        return {}

    def as_json(self) -> dict[str, Any]:
        """Return it as `--json` has it."""
        return {
            "id": self.id,
            "subject": self.subject,
            "sent_at": self.headers.get(SENT_AT_HEADER, ""),
            "times": int(self.headers.get(TIMES_HEADER, "0")),
            "reason": self.headers.get(REASON_HEADER, ""),
            "bytes": int(self.headers.get(LEFT_OUT_HEADER, len(self.payload))),
            "headers": self.client_headers(),
            "request": self.request(),
        }

    @property
    def replay(self) -> str:
        """What it is known by when it is sent again: the same each time, so that it is answered once."""
        return f"{self.id} {self.kept_at}"

    def client_headers(self) -> dict[str, str]:
        """Return the headers that its client gave."""
        return {name: value for name, value in self.headers.items() if not name.lower().startswith(_OWN_HEADERS)}


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of dead letters that were to be sent again.

    Attributes:
        sent: How many were sent again, and dropped.
        gone: How many somebody else replayed or dropped meanwhile.
    """

    sent: int
    gone: int


_stream_option = click.option(
    "--stream",
    default="HEARTH_DEAD",
    show_default=True,
    help="The stream that keeps them, as `nats.durable.dead_letters` has it.",
)
_ids_argument = click.argument("ids", nargs=-1, type=click.IntRange(min=1, max=_HIGHEST_ID))
_requests_option = click.option(
    "--requests",
    default="HEARTH_REQUESTS",
    show_default=True,
    help="The stream that keeps requests, as `nats.durable.stream` has it.",
)
_all_option = click.option("--all", "every", is_flag=True, help="All of them.")


@click.group("dead")
def dead_command() -> None:
    """Look at requests that were given up, and send them again.

    Hearth gives up a request that is kept in JetStream (`nats.durable`) when it was begun too often.
    """


@dead_command.command("list")
@_stream_option
@nats_option
@json_option
def list_command(server: NatsServer, stream: str, *, as_json: bool) -> None:
    """List the dead letters, oldest first."""
    found = asyncio.run(_list(server, stream))
    if as_json:
        write_json([letter.as_json() for letter in found], 2)
        return
    if not found:
        console.print("There are no dead letters.")
        return
    table = plain_table("Id", "Sent at", "Subject", "Times", "Reason")
    for letter in found:
        row = letter.as_json()
        table.add_row(*(styled(str(row[name])) for name in ("id", "sent_at", "subject", "times", "reason")))
    console.print(table)


@dead_command.command("show")
@click.argument("letter_id", metavar="ID", type=click.IntRange(min=1, max=_HIGHEST_ID))
@_stream_option
@nats_option
@json_option
def show_command(letter_id: int, server: NatsServer, stream: str, *, as_json: bool) -> None:
    """Show one dead letter, with what was asked."""
    letter = asyncio.run(_one(server, stream, letter_id))
    found = letter.as_json()
    if as_json:
        write_json(found, 2)
        return
    headers, request = found.pop("headers"), found.pop("request")
    for title, fields in (("Dead letter", found), ("Headers", headers), ("Request", request)):
        if fields:
            print_line(styled(title, "bold"))
        for name, value in fields.items():
            print_line(styled(f"  {name:<18}", "cyan"), styled(_cut(str(value))))


@dead_command.command("replay")
@_ids_argument
@_all_option
@_stream_option
@_requests_option
@nats_option
def replay_command(ids: tuple[int, ...], server: NatsServer, stream: str, requests: str, *, every: bool) -> None:
    """Send dead letters again, as their clients did, and drop them.

    The answers go where those clients waited for them: on the answer subjects of the requests, not on reply subjects.
    A letter is dropped once its request is in its stream again, or was answered. Else it stays, and may be sent again.
    """
    replayed = asyncio.run(replay(server, stream, _chosen(ids, every=every), requests))
    console.print(f"{replayed.sent} sent again.")
    if replayed.gone:
        console.print(f"{replayed.gone} not: replayed or dropped by somebody else.")


@dead_command.command("drop")
@_ids_argument
@_all_option
@_stream_option
@nats_option
def drop_command(ids: tuple[int, ...], server: NatsServer, stream: str, *, every: bool) -> None:
    """Delete dead letters."""
    number = asyncio.run(_drop(server, stream, _chosen(ids, every=every)))
    console.print(f"{number} dropped.")


def _chosen(ids: tuple[int, ...], *, every: bool) -> tuple[int, ...]:
    """Return the letters that are meant; none for all of them."""
    if bool(ids) == every:
        raise click.UsageError("give either IDS or --all")
    return ids


async def _list(server: NatsServer, stream: str) -> list[DeadLetter]:
    async with _reading(server, stream) as connection:
        return await _letters(connection, stream)


async def _one(server: NatsServer, stream: str, letter_id: int) -> DeadLetter:
    async with _reading(server, stream) as connection:
        return await _letter(connection, stream, letter_id)


async def replay(server: NatsServer, stream: str, ids: Sequence[int], requests: str = "HEARTH_REQUESTS") -> Replayed:
    """Send dead letters again, and drop them.

    Args:
        server: Where they are.
        stream: Of the dead letters.
        ids: Which; all where none are given.
        requests: The stream that keeps requests.

    Raises:
        InvalidRequestError: One was too large to be kept whole; none is sent.
        UnavailableError: Nobody takes a request. Its letter, and those behind it, stay.
    """
    gone = 0
    async with _reading(server, stream) as connection:
        letters = await _meant(connection, stream, ids)
        for letter in letters:
            if LEFT_OUT_HEADER in letter.headers:
                raise InvalidRequestError(f"dead letter {letter.id} was too large to be kept whole")
        for letter in letters:
            if not await _is_there(connection, stream, letter):
                gone += 1
                continue
            await _send_again(connection, requests, letter)
            # Sent before it is dropped: one that is interrupted here is there still.
            gone += not await _deleted(connection, stream, letter)
    return Replayed(len(letters) - gone, gone)


async def _is_there(connection: Client, stream: str, letter: DeadLetter) -> bool:
    try:
        await _letter(connection, stream, letter.id)
    except NotFoundError:
        return False
    return True


async def _deleted(connection: Client, stream: str, letter: DeadLetter) -> bool:
    """Delete a letter; say whether it was still there."""
    try:
        await connection.jetstream().delete_msg(stream, letter.id)
    except APIError:
        if await _is_there(connection, stream, letter):
            raise
        return False
    return True


async def _send_again(connection: Client, requests: str, letter: DeadLetter) -> None:
    """Send a letter's request; return once its stream has it, or somebody has answered it.

    Raises:
        UnavailableError: Nobody has it, or nobody says so in time.
    """
    heard: asyncio.Queue[Msg] = asyncio.Queue()
    inbox = connection.new_inbox()
    subscription = await connection.subscribe(inbox, cb=heard.put)
    try:
        before = await _last_of(connection, requests, letter.subject)
        headers = {**letter.client_headers(), REPLAY_HEADER: letter.replay}
        # With a reply subject the server says where nobody listens, and who answers tells that it did.
        await connection.publish(letter.subject, letter.payload, reply=inbox, headers=headers)
        await connection.flush()
        until = time.monotonic() + _KNOWN_WITHIN_S
        while time.monotonic() < until:
            if not heard.empty():
                _check_taken(letter, heard.get_nowait())
                return
            if await _is_kept(connection, requests, letter, before):
                return
            await asyncio.sleep(_LOOK_EVERY_S)
    finally:
        await subscription.unsubscribe()
    raise UnavailableError(
        f"dead letter {letter.id} stays: within {_KNOWN_WITHIN_S:g} s the stream {requests!r} did not keep it, and "
        "nobody answered it; sent again, it is the same request"
    )


def _check_taken(letter: DeadLetter, said: Msg) -> None:
    """Take what came back for a letter's request.

    Raises:
        UnavailableError: It says that nobody has it.
    """
    if (said.headers or {}).get("Status") == _NO_RESPONDERS:
        raise UnavailableError(f"dead letter {letter.id} stays: nobody takes requests on {letter.subject}")
    try:
        confirmation = cast("object", json.loads(said.data))
    except ValueError:
        # No word of a stream: the answer.
        return
    if isinstance(confirmation, dict) and (error := cast("dict[str, Any]", confirmation).get("error")):
        raise UnavailableError(f"dead letter {letter.id} stays: its stream refuses it: {error}")


async def _last_of(connection: Client, stream: str, subject: str) -> int:
    """Return the number of the last message that a stream has of a subject; 0 where it has none, or is not there."""
    try:
        return (await connection.jetstream().get_last_msg(stream, subject)).seq or 0
    except NotInStreamError:
        return 0


async def _is_kept(connection: Client, stream: str, letter: DeadLetter, before: int) -> bool:
    """Say whether a stream has a letter's request, behind a number."""
    following = before + 1
    while True:
        try:
            found = await connection.jetstream().get_msg(stream, seq=following, subject=letter.subject, next=True)
        except NotInStreamError:
            return False
        if (found.headers or {}).get(REPLAY_HEADER) == letter.replay:
            return True
        following = (found.seq or following) + 1


async def _drop(server: NatsServer, stream: str, ids: Sequence[int]) -> int:
    async with _reading(server, stream) as connection:
        letters = await _meant(connection, stream, ids)
        return sum([await _deleted(connection, stream, letter) for letter in letters])


async def _meant(connection: Client, stream: str, ids: Sequence[int]) -> list[DeadLetter]:
    """Return the letters of some ids, all for none; nothing is done to any where one of them is not there."""
    if not ids:
        return await _letters(connection, stream)
    return [await _letter(connection, stream, letter_id) for letter_id in dict.fromkeys(ids)]


async def _letters(connection: Client, stream: str) -> list[DeadLetter]:
    found: list[DeadLetter] = []
    following = 1
    while True:
        try:
            message = await connection.jetstream().get_msg(stream, seq=following, subject=">", next=True)
        except NotInStreamError:
            # Whether the stream is there was asked before.
            return found
        letter_id = message.seq or following
        found.append(_made(letter_id, message))
        following = letter_id + 1


async def _letter(connection: Client, stream: str, letter_id: int) -> DeadLetter:
    try:
        message = await connection.jetstream().get_msg(stream, seq=letter_id)
    except NotInStreamError:
        raise NotFoundError(f"there is no dead letter {letter_id}") from None
    return _made(letter_id, message)


def _made(letter_id: int, message: RawStreamMsg) -> DeadLetter:
    kept_at = message.time.isoformat() if message.time else ""
    return DeadLetter(letter_id, message.data or b"", cast("dict[str, str]", message.headers or {}), kept_at)


@asynccontextmanager
async def _reading(server: NatsServer, stream: str) -> AsyncGenerator[Client]:
    """Connect, and see that the stream is there.

    Raises:
        NotFoundError: It is not.
        InvalidRequestError: It is one of something else.
        UnavailableError: The server does not answer, or does not permit it.
    """
    async with connected(server) as client:
        try:
            subjects = (await client.connection.jetstream().stream_info(stream)).config.subjects or []
            if not subjects or not all(covers(DEAD_LETTER.wildcard, subject) for subject in subjects):
                raise InvalidRequestError(
                    f"--stream {stream!r} keeps {', '.join(subjects) or 'nothing of its own'}; "
                    f"a stream of dead letters was expected, which keeps {DEAD_LETTER.wildcard}",
                    field="stream",
                )
            yield client.connection
        except NotInStreamError:
            raise NotFoundError(
                f"there is no stream {stream!r}: it is made where `nats.durable.rows` names requests"
            ) from None
        except (nats.errors.Error, TimeoutError) as error:
            why = str(error) or type(error).__name__
            raise UnavailableError(f"the dead letters cannot be read at {client.url}: {why}") from error


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text)} characters)"
