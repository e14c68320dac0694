"""A NATS client of Hearth, as any other program could be one: protobuf in, protobuf out."""

import asyncio
import ssl
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from string import hexdigits
from typing import Any, TypeVar
from uuid import uuid4

import nats.errors
from google.protobuf.message import DecodeError, Message
from nats.aio.client import DEFAULT_INBOX_PREFIX, Client
from nats.aio.msg import Msg

from bridges.generated.hearth.v1 import documents_pb2, pipelines_pb2, status_pb2
from bridges.generated.messages.v1 import messages_pb2
from bridges.nats_access import AccessClient, Violation, is_login_refused, named, violation_of
from bridges.subjects import (
    CHAT_MESSAGE,
    CHAT_RESPONSE,
    CHAT_STREAM,
    DOCUMENTS_DELETE,
    DOCUMENTS_INGEST,
    DOCUMENTS_LIST,
    PIPELINE_STATUS,
    PIPELINE_TRIGGER,
    PIPELINES_LIST,
    STATUS,
    USER_INBOX,
    VOICE_REQUEST,
    VOICE_RESPONSE,
    VOICES_LIST,
    VOICES_REFRESH,
    Subject,
    subject_for,
)
from deployments.errors import (
    DeadlineExceededError,
    Limit,
    PayloadTooLargeError,
    UnavailableError,
    UpstreamFailedError,
    error_of,
)
from deployments.values.access import NatsAccess, text_without_credentials, without_credentials
from deployments.values.pipelines import RunStatus

M = TypeVar("M", bound=Message)
T = TypeVar("T")

FINAL_STATUSES = {status.value for status in RunStatus if status.is_final}

_CONNECT_TIMEOUT_S = 3
_CANCELLED_AGAIN_S = 0.1
_ANY_INBOX = DEFAULT_INBOX_PREFIX.decode()


@dataclass(frozen=True, slots=True)
class HearthClient:
    """Requests to Hearth over one connection.

    Attributes:
        connection: To the NATS server.
        url: Of the server, without credentials, for messages.
        user_id: Whom alone we ask for and whose answers alone we hear, in our inbox; empty where we may ask for anybody
            and hear every answer.
    """

    connection: AccessClient
    url: str
    user_id: str = ""

    async def ask(
        self, request: messages_pb2.ChatRequest, timeout_s: float
    ) -> AsyncGenerator[messages_pb2.ChatStreamChunk | messages_pb2.ChatResponse]:
        """Send a question and yield its chunks and, last, the whole answer.

        The request's id, and its user's where it has none, are made here. A client of one user gets no chunks: it may
        not hear the subject that they are told on.

        Raises:
            UnavailableError: Nobody takes requests.
            DeadlineExceededError: No answer came in time.
        """
        request.request_id = uuid4().hex
        # Of its own for each question: one question has nothing to do with the one before.
        request.user_id = self.user_id or request.user_id or f"cli-{request.request_id}"
        request.enable_streaming = request.enable_streaming and not self.user_id
        arrived: asyncio.Queue[messages_pb2.ChatStreamChunk | messages_pb2.ChatResponse] = asyncio.Queue()

        async def chunk(message: Msg) -> None:
            arrived.put_nowait(decoded(messages_pb2.ChatStreamChunk, message))

        async def response(message: Msg) -> None:
            arrived.put_nowait(decoded(messages_pb2.ChatResponse, message))

        # A reply subject lets the server say at once that nobody takes the request.
        inbox, nobody = self.connection.new_inbox(), asyncio.Event()
        handlers = {
            subject_for(CHAT_STREAM, request_id=request.request_id): chunk,
            subject_for(CHAT_RESPONSE, request_id=request.request_id): response,
            inbox: _sets_where_nobody_listens(nobody),
        }
        if self.user_id:
            handlers = {inbox: _sets_where_nobody_listens(nobody, response)}
        async with subscribed(self.connection, handlers):
            subject = subject_for(CHAT_MESSAGE, user_id=request.user_id)
            await self.connection.publish(subject, request.SerializeToString(), reply=inbox)
            deadline = time.monotonic() + timeout_s
            while True:
                item = await _next(arrived, nobody, deadline - time.monotonic(), self.url)
                yield item
                if isinstance(item, messages_pb2.ChatResponse):
                    return

    async def ask_aloud(self, request: messages_pb2.VoiceRequest, timeout_s: float) -> messages_pb2.VoiceResponse:
        """Send a spoken question and return its answer.

        Raises:
            HearthError: As in `ask`.
        """
        payload = request.SerializeToString()
        if len(payload) > self.max_payload:
            raise PayloadTooLargeError(
                f"the recording has {len(request.audio)} bytes, the NATS server takes {self.max_payload} in a message",
                field="audio",
                limit=Limit("max_payload", self.max_payload, len(payload)),
            )
        arrived: asyncio.Queue[messages_pb2.VoiceResponse] = asyncio.Queue()

        async def response(message: Msg) -> None:
            arrived.put_nowait(decoded(messages_pb2.VoiceResponse, message))

        inbox, nobody = self.connection.new_inbox(), asyncio.Event()
        subject = subject_for(VOICE_RESPONSE, request_id=request.request_id)
        async with subscribed(self.connection, {subject: response, inbox: _sets_where_nobody_listens(nobody)}):
            await self.connection.publish(subject_for(VOICE_REQUEST), payload, reply=inbox)
            return await _next(arrived, nobody, timeout_s, self.url)

    async def trigger(
        self, request: messages_pb2.PipelineTrigger, timeout_s: float
    ) -> AsyncGenerator[messages_pb2.PipelineStatus]:
        """Trigger a run and yield each of its statuses, the last one final.

        Args:
            request: With a request id. One that was used before follows the run that it started.
            timeout_s: For the first status; how long a run takes is its own affair.

        Raises:
            UnavailableError: Nobody takes requests.
            DeadlineExceededError: The first status did not come in time.
        """
        # A trigger is kept until somebody takes it: it is sent only where somebody does.
        await self.pipelines(timeout_s)
        arrived: asyncio.Queue[tuple[bool, messages_pb2.PipelineStatus]] = asyncio.Queue()
        nobody = asyncio.Event()

        async def status(message: Msg) -> None:
            arrived.put_nowait((False, decoded(messages_pb2.PipelineStatus, message)))

        async def reply(message: Msg) -> None:
            if is_unheard(message):
                nobody.set()
            else:
                arrived.put_nowait((True, decoded(messages_pb2.PipelineStatus, message)))

        inbox = self.connection.new_inbox()
        told: list[messages_pb2.PipelineStatus] = []
        handlers = {subject_for(PIPELINE_STATUS, request_id=request.request_id): status, inbox: reply}
        if self.user_id:
            # The first and the last are replies, too.
            handlers = {inbox: reply}
        async with subscribed(self.connection, handlers):
            await self.connection.publish(subject_for(PIPELINE_TRIGGER), request.SerializeToString(), reply=inbox)
            while not told or told[-1].status not in FINAL_STATUSES:
                is_reply, item = await _next(arrived, nobody, timeout_s if not told else None, self.url)
                # The first and the last come on both subjects, in either order.
                if item in (told if is_reply else told[-1:]):
                    continue
                told.append(item)
                yield item

    async def pipelines(self, timeout_s: float) -> pipelines_pb2.PipelineListResponse:
        """Ask what may be started.

        Raises:
            HearthError: As in `ask`.
        """
        request = pipelines_pb2.PipelineListRequest()
        return await self._request(PIPELINES_LIST, request, pipelines_pb2.PipelineListResponse, timeout_s)

    async def ingest(self, request: documents_pb2.IngestRequest, timeout_s: float) -> documents_pb2.IngestResponse:
        """Send a document, or a part of one.

        Raises:
            HearthError: It was not taken, of the kind that Hearth answered with; or as in `ask`.
        """
        response = await self._request(DOCUMENTS_INGEST, request, documents_pb2.IngestResponse, timeout_s)
        if response.error:
            raise error_of(response.error_type, response.error)
        return response

    async def delete(self, request: documents_pb2.DeleteRequest, timeout_s: float) -> documents_pb2.DeleteResponse:
        """Take a document out of its collection.

        Raises:
            NotFoundError: It is not there.
            HearthError: It could not be taken out, of the kind that Hearth answered with; or as in `ask`.
        """
        response = await self._request(DOCUMENTS_DELETE, request, documents_pb2.DeleteResponse, timeout_s)
        if response.error:
            raise error_of(response.error_type, response.error)
        return response

    async def documents(self, collection: str, timeout_s: float) -> list[documents_pb2.StoredDocument] | None:
        """Return the documents that are whole in a collection, by name; None where there is no such collection.

        Args:
            collection: Empty for the configured default.
            timeout_s: For each part of the list.

        Raises:
            HearthError: They cannot be listed, of the kind that Hearth answered with; or as in `ask`.
        """
        found: list[documents_pb2.StoredDocument] = []
        prefixes = [""]
        while prefixes:
            prefix = prefixes.pop()
            request = documents_pb2.ListDocumentsRequest(collection=collection, prefix=prefix)
            response = await self._request(DOCUMENTS_LIST, request, documents_pb2.ListDocumentsResponse, timeout_s)
            if response.error:
                raise error_of(response.error_type, response.error)
            if not response.exists:
                return None
            found.extend(response.documents)
            if response.too_many:
                prefixes.extend(f"{prefix}{digit}" for digit in hexdigits[:16])
        return sorted(found, key=lambda document: document.source)

    async def status(self, timeout_s: float) -> status_pb2.StatusResponse:
        """Ask the graph how it is.

        Raises:
            HearthError: As in `ask`.
        """
        return await self._request(STATUS, status_pb2.StatusRequest(), status_pb2.StatusResponse, timeout_s)

    async def voices(self, timeout_s: float) -> messages_pb2.TTSVoiceListResponse:
        """Ask for the voices.

        Raises:
            HearthError: As in `ask`.
        """
        return await self._request_any(VOICES_LIST, messages_pb2.TTSVoiceListResponse, timeout_s)

    async def refresh_voices(self, timeout_s: float) -> messages_pb2.TTSVoiceRefreshResponse:
        """Have custom voices looked for again.

        Raises:
            HearthError: As in `ask`.
        """
        return await self._request_any(VOICES_REFRESH, messages_pb2.TTSVoiceRefreshResponse, timeout_s)

    @property
    def max_payload(self) -> int:
        """Bytes that the server takes in one message."""
        return self.connection.max_payload

    async def _request(self, subject: Subject, request: Message, response: type[M], timeout_s: float) -> M:
        return decoded(response, await self._reply(subject, request.SerializeToString(), timeout_s))

    async def _request_any(self, subject: Subject, response: type[M], timeout_s: float) -> M:
        return decoded(response, await self._reply(subject, b"", timeout_s))

    async def _reply(self, row: Subject, payload: bytes, timeout_s: float) -> Msg:
        subject = subject_for(row)
        try:
            return await self.connection.request(subject, payload, timeout=timeout_s)
        except nats.errors.NoRespondersError as error:
            raise nobody_listens(self.url) from error
        except TimeoutError as error:
            raise DeadlineExceededError(f"no answer on {subject} within {timeout_s:g} s") from error


Callback = Callable[[Msg], Coroutine[Any, Any, None]]
"""Takes a message of a subscription; messages of one subscription come in order, those of several do not."""


@asynccontextmanager
async def subscribed(connection: Client, handlers: Mapping[str, Callback]) -> AsyncGenerator[None]:
    """Have the messages of each subject taken for as long as the block lasts."""
    subscriptions = [await connection.subscribe(subject, cb=take) for subject, take in handlers.items()]
    try:
        yield
    finally:
        for subscription in subscriptions:
            await subscription.unsubscribe()


def is_unheard(message: Msg) -> bool:
    """Say whether a reply is the server's word that nobody listens to the subject that was published on."""
    return bool(message.headers) and message.headers.get("Status") == "503"


def _sets_where_nobody_listens(nobody: asyncio.Event, answered: Callback | None = None) -> Callback:
    async def replied(message: Msg) -> None:
        if is_unheard(message):
            nobody.set()
        elif answered is not None:
            await answered(message)

    return replied


@dataclass(frozen=True, slots=True)
class NatsServer:
    """A NATS server, and who connects to it.

    Attributes:
        url: One server, or several separated by commas; perhaps with a user and password.
        access: Who connects.
        inbox_prefix: Under which answers are heard; empty for that of all clients.
    """

    url: str = field(repr=False)
    access: NatsAccess = field(default_factory=NatsAccess)
    inbox_prefix: str = ""

    @property
    def shown(self) -> str:
        """The URL without credentials, for messages."""
        return without_credentials(self.url)

    @property
    def user_id(self) -> str:
        """Whose inboxes the prefix is of; empty where it is of no user's."""
        named_user = USER_INBOX.parameters(f"{self.inbox_prefix}.x")
        return named_user["user_id"] if named_user else ""


@asynccontextmanager
async def connected(server: NatsServer | str) -> AsyncGenerator[HearthClient]:
    """Connect to Hearth's NATS server.

    Args:
        server: A URL alone stands for nobody in particular.

    Raises:
        UnavailableError: There is no server, it does not let us in, or a file of its access cannot be read. Inside the
            block: it does not let us subscribe or publish; whatever was awaited is cancelled at once.
    """
    server = NatsServer(server) if isinstance(server, str) else server
    refusal = _Refusal()

    async def failed(error: Exception) -> None:
        # Other errors reach the caller as exceptions; nats-py would print them too.
        if violation := violation_of(error):
            refusal.take(violation, named(violation, connection.subscribed))

    connection = AccessClient(server.access)
    try:
        await connection.connect_to(
            server.url,
            name="hearth-cli",
            connect_timeout=_CONNECT_TIMEOUT_S,
            allow_reconnect=False,
            # Without a bound, nats-py tries for ever even where it is not to reconnect.
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            inbox_prefix=server.inbox_prefix or _ANY_INBOX,
            error_cb=failed,
        )
    except (OSError, nats.errors.Error, TimeoutError) as error:
        raise UnavailableError(_why_not(connection, server, error)) from error
    try:
        async with refusal.ending_what_waits():
            yield HearthClient(connection, server.shown, server.user_id)
    except (asyncio.CancelledError, Exception) as error:
        if refusal.violation is None or refusal.is_cancelled_from_outside:
            raise
        raise UnavailableError(_not_permitted(server, refusal.violation, refusal.subject)) from error
    finally:
        await connection.close()


class _Refusal:
    """The server's first word that it does not permit something, which ends a block.

    It comes some time after the command, and the server goes on: nothing else would tell whoever waits for an answer.

    Attributes:
        violation: What was refused; None where nothing was.
        subject: The same as it was written, where that is known.
        is_cancelled_from_outside: Whether the block was cancelled by somebody else, too.
    """

    def __init__(self) -> None:
        self.violation: Violation | None = None
        self.subject = ""
        self.is_cancelled_from_outside = False
        self._arrived = asyncio.Event()

    def take(self, violation: Violation, subject: str) -> None:
        if self.violation is None:
            self.violation, self.subject = violation, subject
            self._arrived.set()

    @asynccontextmanager
    async def ending_what_waits(self) -> AsyncGenerator[None]:
        """Cancel whatever the block waits for once something was refused."""
        block = asyncio.current_task()
        assert block is not None  # noqa: S101 - whoever awaits is a task
        cancelling, count = block.cancelling(), 0

        async def cancel() -> None:
            nonlocal count
            await self._arrived.wait()
            while True:
                count += 1
                block.cancel()
                # asyncio.wait_for of Python 3.11 swallows the one that comes together with what it waits for.
                await asyncio.sleep(_CANCELLED_AGAIN_S)

        ending = asyncio.create_task(cancel())
        try:
            yield
        finally:
            ending.cancel()
            await asyncio.wait([ending])
            for _ in range(count):
                block.uncancel()
            self.is_cancelled_from_outside = block.cancelling() > cancelling


def _not_permitted(server: NatsServer, violation: Violation, subject: str) -> str:
    verb = "subscribe to" if violation.is_subscription else "publish on"
    said = f"the NATS server at {server.shown} does not let us {verb} {subject}"
    if violation.subject.startswith(_ANY_INBOX.lower()):
        return f"{said}: connect with the inbox prefix of your user, by --inbox-prefix or NATS_INBOX_PREFIX"
    return f"{said}: our user lacks that right (`hearth permissions nats` prints what each one needs)"


def _why_not(connection: AccessClient, server: NatsServer, error: Exception) -> str:
    # nats-py raises that there is no server where the last of them refused us.
    reason = connection.last_error or error
    if isinstance(reason, ssl.SSLError):
        return f"the NATS server at {server.shown} and we do not trust each other's certificates: {reason.reason}"
    if is_login_refused(reason):
        return f"the NATS server at {server.shown} does not let us in: say who connects with --creds, --nkey or --user"
    if type(reason) is nats.errors.Error:
        said = text_without_credentials(str(reason).removeprefix("nats: "))
        return f"no connection to the NATS server at {server.shown}: {said}"
    return f"no NATS server at {server.shown}: start everything with `hearth up`, or name one with --nats or NATS_URL"


async def _next(arrived: asyncio.Queue[T], nobody: asyncio.Event, timeout_s: float | None, url: str) -> T:
    """Return what arrives next, unless the server says that nobody takes requests."""
    item = asyncio.ensure_future(arrived.get())
    refused = asyncio.ensure_future(nobody.wait())
    try:
        limit = None if timeout_s is None else max(0.0, timeout_s)
        done, _ = await asyncio.wait((item, refused), timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        if item in done:
            return item.result()
        if refused in done:
            raise nobody_listens(url)
        raise DeadlineExceededError("no answer in the time given")
    finally:
        item.cancel()
        refused.cancel()


def nobody_listens(url: str) -> UnavailableError:
    """Return the error of a request that nobody takes."""
    return UnavailableError(
        f"nobody takes requests at {url}: the graph is not up yet, or not on this server (see `hearth status`)"
    )


def decoded(kind: type[M], message: Msg) -> M:
    """Return the message that a NATS message carries.

    Raises:
        UpstreamFailedError: It carries something else.
    """
    decoded = kind()
    try:
        decoded.ParseFromString(message.data)
    except DecodeError as error:
        raise UpstreamFailedError(
            f"{message.subject} carries something that is not a {kind.DESCRIPTOR.name}"
        ) from error
    return decoded
