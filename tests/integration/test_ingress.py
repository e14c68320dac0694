"""The ingress against a real NATS server, with a graph of a few lines behind it: no Ray."""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nats
import nats.errors
import psutil
import pytest
from google.protobuf.message import Message
from nats.aio.client import Client
from nats.aio.msg import Msg

from bridges.generated.hearth.v1 import documents_pb2
from bridges.generated.messages.v1 import messages_pb2
from bridges.handlers.chat import ChatHandler
from bridges.handlers.documents import DeleteHandler, IngestHandler, ListDocumentsHandler
from bridges.nats import connection as nats_connection
from bridges.nats import ingress as nats_ingress
from bridges.nats.connection import LastingConnection
from bridges.nats.conversation_memory import ConversationMemory
from bridges.nats.ingress import Endpoint, Handler, Ingress
from bridges.nats.refusals import Refusals
from bridges.nats.reply import Reply
from bridges.nats.sender import Sender
from bridges.nats.trust import Trust
from bridges.operations.outcome import Outcome
from bridges.pipelines.replica import PipelineReplica
from bridges.requests import REQUESTS
from bridges.subjects import Role
from deployments.call import Call
from deployments.errors import HearthError, UnavailableError
from deployments.settings.orchestration import MemorySettings, NatsSettings
from deployments.settings.pipelines import PipelinesSettings
from deployments.settings.users import UserLimits
from deployments.values.chat import AnswerEnd, AnswerItem, AnswerToken, ChatQuestion, Preparation
from deployments.values.documents import Document, DocumentListing, IngestReport
from deployments.values.status import ComponentStatus
from tests.nats_client import nats_connected
from tests.servers import free_port, nats_server

CHAT = [row for row in REQUESTS if row.name.startswith("chat-")]
READY = ComponentStatus("LanguageModel", ready=True, detail="")


@dataclass
class Graph:
    """Answers when it is let, and remembers how many questions were open at once."""

    ready: bool = True
    error: Exception | None = None
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    open: int = 0
    most_open: int = 0
    cancelled: int = 0

    async def answer(self, call: Call, question: ChatQuestion) -> AsyncGenerator[AnswerItem]:
        self.open += 1
        self.asked.set()
        self.most_open = max(self.most_open, self.open)
        try:
            await self.may_answer.wait()
            if self.error:
                raise self.error
            yield AnswerToken(f"answer to {question.text}")
            yield AnswerEnd()
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled += 1
            raise
        finally:
            self.open -= 1

    async def opened(self, number: int) -> None:
        """Return when that many questions are open."""
        async with asyncio.timeout(10):
            while self.open < number:
                self.asked.clear()
                await self.asked.wait()

    async def prepare(self, call: Call, question: ChatQuestion) -> Preparation:
        raise AssertionError("nothing is prepared here")

    def read(self, call: Call, question: ChatQuestion) -> AsyncGenerator[int]:
        raise AssertionError("nothing is read here")

    async def greet(self, call: Call, name: str) -> str:
        raise AssertionError("nobody is greeted here")

    async def warm(self, call: Call) -> None:
        raise AssertionError("nobody logs in here")

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        return (ComponentStatus("LanguageModel", ready=self.ready, detail="loading"),)


@dataclass
class Counted:
    """Remembers what was counted."""

    requests: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    most_waiting: int = 0

    def ended(self, subject: str, outcome: Outcome, seconds: float) -> None:
        assert seconds >= 0
        self.requests.append((subject, outcome.name))

    def refused(self, subject: str, outcome: Outcome, number: int) -> None:
        self.requests.extend([(subject, outcome.name)] * number)

    def open(self, in_flight: int, waiting: int) -> None:
        assert in_flight >= 0
        self.most_waiting = max(self.most_waiting, waiting)


@asynccontextmanager
async def serving(
    url: str, graph: Graph, timeout_s: float = 10.0, metrics: Counted | None = None, **settings: Any
) -> AsyncGenerator[Ingress]:
    """Run an ingress for as long as the block lasts."""
    memory = ConversationMemory(MemorySettings())
    rows = [Endpoint(row, ChatHandler(graph, None, memory, Trust()), timeout_s) for row in CHAT]
    ingress = Ingress(NatsSettings(url=url, **settings), rows, graph.components, memory.connect, metrics or Counted())
    running = asyncio.create_task(ingress.run())
    try:
        if graph.ready:
            await asyncio.wait_for(ingress.wait_until_serving(), 10)
        yield ingress
    finally:
        ingress.stop()
        await asyncio.wait_for(running, 20)


@pytest.fixture(scope="module")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """Run a server of these tests' own: the shipped graph takes the same subjects on the session's."""
    with nats_server(tmp_path_factory.mktemp("nats")) as url:
        yield url


@pytest.fixture
async def client(nats_url: str) -> AsyncGenerator[Client]:
    connection = await nats_connected(nats_url)
    yield connection
    await connection.close()


def request(text: str, request_id: str = "") -> bytes:
    return messages_pb2.ChatRequest(message=text, request_id=request_id).SerializeToString()


async def ask(client: Client, text: str, subject: str = "ai.chat.request") -> messages_pb2.ChatResponse:
    reply = await client.request(subject, request(text), timeout=10)
    return messages_pb2.ChatResponse.FromString(reply.data)


async def first_answers(
    asked: list[asyncio.Task[messages_pb2.ChatResponse]], count: int
) -> tuple[list[messages_pb2.ChatResponse], set[asyncio.Task[messages_pb2.ChatResponse]]]:
    """Return the first answers, and the tasks that still wait for theirs."""
    waiting = set(asked)
    answers: list[messages_pb2.ChatResponse] = []
    while len(answers) < count:
        done, waiting = await asyncio.wait(waiting, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        assert done, f"only {len(answers)} answers came"
        answers.extend(task.result() for task in done)
    return answers, waiting


async def until_one_service_is_left(client: Client) -> None:
    """Return once only one ingress answers discovery requests: the others have left."""
    while True:
        inbox, found = client.new_inbox(), list[bytes]()

        async def answered(message: Any, found: list[bytes] = found) -> None:
            found.append(message.data)

        subscription = await client.subscribe(inbox, cb=answered)
        await client.publish("$SRV.PING.hearth", b"", reply=inbox)
        await asyncio.sleep(0.05)
        await subscription.unsubscribe()
        if len(found) == 1:
            return


async def stats(client: Client) -> dict[str, dict[str, Any]]:
    reply = await client.request("$SRV.STATS.hearth", b"", timeout=5)
    return {endpoint["name"]: endpoint for endpoint in json.loads(reply.data)["endpoints"]}


@pytest.mark.parametrize("subject", ["ai.chat.request", "ai.chat.user.u1.message"])
async def test_both_chat_subjects_are_answered(nats_url: str, client: Client, subject: str) -> None:
    graph = Graph()
    graph.may_answer.set()
    async with serving(nats_url, graph):
        assert (await ask(client, "Hi", subject)).response == "answer to Hi"


@pytest.mark.parametrize("payload", [b"\xff\xff", b"\x0a\xff", b"not protobuf at all", b"\x00" * 100])
async def test_what_cannot_be_read_is_answered_with_an_error_response(
    nats_url: str, client: Client, payload: bytes
) -> None:
    graph = Graph()
    graph.may_answer.set()
    async with serving(nats_url, graph):
        reply = await client.request("ai.chat.request", payload, timeout=5)
        error = messages_pb2.ErrorResponse.FromString(reply.data)
        assert error.error
        assert error.type == "invalid_request"
        assert error.message == "the payload is not a messages.v1.ChatRequest"
        assert (await ask(client, "still there?")).success


async def test_requests_wait_for_their_turn_and_further_ones_are_refused(nats_url: str, client: Client) -> None:
    graph = Graph()
    async with serving(nats_url, graph, max_in_flight=2, max_waiting=3, user_share=1):
        asked = [asyncio.create_task(ask(client, f"{number}")) for number in range(12)]
        refused, waiting = await first_answers(asked, 7)
        assert {response.success for response in refused} == {False}
        assert all("try again in 10 s" in response.error for response in refused), "by then the queue is another one"
        graph.may_answer.set()
        answers = await asyncio.gather(*waiting)
        assert all(answer.success for answer in answers)
        assert graph.most_open == 2
        figures = (await stats(client))["chat-request"]
        assert (figures["num_requests"], figures["num_errors"]) == (12, 7)
        assert figures["last_error"] == "overloaded"


async def test_requests_that_wait_too_long_are_refused_while_every_place_is_taken(
    nats_url: str, client: Client
) -> None:
    graph, metrics = Graph(), Counted()
    limits = {"max_in_flight": 2, "max_waiting": 8, "max_wait_s": 0.2, "user_share": 1}
    async with serving(nats_url, graph, metrics=metrics, **limits):
        asked = [asyncio.create_task(ask(client, f"{number}")) for number in range(6)]
        refused, waiting = await first_answers(asked, 4)
        assert {response.error for response in refused} == {"it waited for longer than 0.2 s"}
        assert metrics.most_waiting >= 4
        graph.may_answer.set()
        answers = await asyncio.gather(*waiting)
        assert sorted(answer.response for answer in answers) == ["answer to 0", "answer to 1"]
        assert (await ask(client, "again")).success
    assert Counter(outcome for _, outcome in metrics.requests) == {"ok": 3, "overloaded": 4}


async def test_a_user_who_asks_much_leaves_places_for_others(nats_url: str, client: Client) -> None:
    graph = Graph()
    async with serving(nats_url, graph, max_in_flight=4, max_waiting=20):
        rude = [asyncio.create_task(ask(client, f"{number}", "ai.chat.user.rude.message")) for number in range(10)]
        await graph.asked.wait()
        other = asyncio.create_task(ask(client, "and mine?", "ai.chat.user.other.message"))
        await graph.opened(3)
        graph.may_answer.set()
        assert (await other).response == "answer to and mine?"
        assert all(answer.success for answer in await asyncio.gather(*rude))
        assert graph.most_open == 3


async def ask_as(client: Client, user: str, text: str = "Hi", **fields: Any) -> messages_pb2.ChatResponse:
    question = messages_pb2.ChatRequest(message=text, **fields)
    reply = await client.request(f"ai.chat.user.{user}.message", question.SerializeToString(), timeout=10)
    return messages_pb2.ChatResponse.FromString(reply.data)


async def test_a_user_over_their_rate_is_refused_and_no_other_is(nats_url: str, client: Client) -> None:
    graph, metrics = Graph(), Counted()
    graph.may_answer.set()
    users = {"*": {"requests_per_minute": 6, "request_burst": 3}, "staff-*": {"requests_per_minute": None}}
    async with serving(nats_url, graph, metrics=metrics, users=users):
        asked = [await ask_as(client, "rude") for _ in range(6)]
        assert [answer.success for answer in asked] == [True] * 3 + [False] * 3
        assert "6 requests per minute; try again in" in asked[-1].error
        assert (await ask_as(client, "other")).success
        assert all([(await ask_as(client, "staff-1")).success for _ in range(10)])
    assert Counter(outcome for _, outcome in metrics.requests) == {"ok": 14, "overloaded": 3}


async def test_a_user_has_so_many_requests_open_at_once(nats_url: str, client: Client) -> None:
    graph = Graph()
    async with serving(nats_url, graph, max_in_flight=2, user_share=1, users={"*": {"open_requests": 3}}):
        rude = [asyncio.create_task(ask_as(client, "rude", str(number))) for number in range(8)]
        refused, waiting = await first_answers(rude, 5)
        assert {answer.error for answer in refused} == {"3 requests of this user are open already"}
        other = asyncio.create_task(ask_as(client, "other", "mine"))
        graph.may_answer.set()
        assert (await other).success
        assert all(answer.success for answer in await asyncio.gather(*waiting))
        assert (await ask_as(client, "rude", "again")).success


async def test_somebody_whom_no_subject_names_is_known_by_payload_header_or_connection(
    nats_url: str, client: Client
) -> None:
    graph = Graph()
    graph.may_answer.set()

    async def asks(connection: Client, user: str = "", header: str = "") -> bool:
        payload = messages_pb2.ChatRequest(message="Hi", user_id=user).SerializeToString()
        headers = {"Hearth-User": header} if header else None
        reply = await connection.request("ai.chat.request", payload, timeout=10, headers=headers)
        return messages_pb2.ChatResponse.FromString(reply.data).success

    users = {"*": {"requests_per_minute": 1}}
    another = await nats_connected(nats_url)
    try:
        async with serving(nats_url, graph, users=users, user_header="Hearth-User"):
            assert [await asks(client), await asks(client), await asks(another)] == [True, False, True]
            assert [await asks(client, "ann"), await asks(another, "ann")] == [True, False]
            assert [await asks(client, "", "ben"), await asks(another, "ben", "ben")] == [True, False]
    finally:
        await another.close()


async def test_a_header_that_names_another_user_than_the_question_is_refused(nats_url: str, client: Client) -> None:
    graph = Graph()
    graph.may_answer.set()
    async with serving(nats_url, graph, user_header="Hearth-User"):
        for subject, payload in (
            ("ai.chat.request", messages_pb2.ChatRequest(message="Hi", user_id="bob")),
            ("ai.chat.user.bob.message", messages_pb2.ChatRequest(message="Hi")),
        ):
            asked = payload.SerializeToString()
            told = await client.request(subject, asked, timeout=10, headers={"Hearth-User": "mallory"})
            assert "'bob'" in messages_pb2.ChatResponse.FromString(told.data).error
            assert not graph.asked.is_set()
            told = await client.request(subject, asked, timeout=10, headers={"Hearth-User": "bob"})
            assert messages_pb2.ChatResponse.FromString(told.data).success
            graph.asked.clear()


async def test_what_a_user_may_not_name_never_reaches_the_graph(nats_url: str, client: Client) -> None:
    graph = Graph()
    graph.may_answer.set()
    users = {"*": {"collections": ["public_*"], "characters_per_minute": 100}, "alice": {"collections": None}}
    async with serving(nats_url, graph, users=users):
        secret = await ask_as(client, "bob", enable_rag=True, collection="secret", request_id="r1")
        assert (secret.success, secret.error) == (
            False,
            "collection 'secret' is not one that you may name: expected public_*",
        )
        default = await ask_as(client, "bob", enable_rag=True)
        assert default.error.startswith("collection 'knowledge_base' is not one")
        assert not (await ask_as(client, "bob", "x" * 101)).success
        assert not graph.asked.is_set()
        assert (await ask_as(client, "bob", enable_rag=True, collection="public_a")).success
        assert (await ask_as(client, "alice", enable_rag=True, collection="secret")).success


class NoDocuments:
    """Keeps no document, and takes none."""

    async def ingest(self, call: Call, document: Document) -> IngestReport:
        raise AssertionError("nothing is put in here")

    async def delete(self, call: Call, collection: str, source: str) -> int:
        raise AssertionError("nothing is taken out here")

    async def documents(self, call: Call, collection: str, prefix: str) -> DocumentListing:
        assert collection == "public"
        return DocumentListing()

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        return (READY,)


async def test_who_may_only_read_a_collection_changes_none_and_lists_no_other(nats_url: str, client: Client) -> None:
    documents = NoDocuments()
    handlers: dict[str, Handler] = {
        "documents-ingest": IngestHandler(documents),
        "documents-delete": DeleteHandler(documents),
        "documents-list": ListDocumentsHandler(documents),
    }
    rows = [Endpoint(row, handlers[row.name], 10.0) for row in REQUESTS if row.name in handlers]
    users = {"*": UserLimits(collections=("public",), ingest=False, delete=False)}

    async def connected(client: Client) -> None: ...

    async def told(subject: str, message: Message, kind: type[Any]) -> str:
        reply = await client.request(f"hearth.documents.{subject}", message.SerializeToString(), timeout=10)
        return kind.FromString(reply.data).error

    ingress = Ingress(NatsSettings(url=nats_url, users=users), rows, documents.components, connected, Counted())
    running = asyncio.create_task(ingress.run())
    await asyncio.wait_for(ingress.wait_until_serving(), 10)
    put = documents_pb2.IngestRequest(text="words", collection="public", source="a.md")
    taken = documents_pb2.DeleteRequest(collection="public", source="a.md")
    assert "may not put documents in" in await told("ingest", put, documents_pb2.IngestResponse)
    assert "may not take documents out" in await told("delete", taken, documents_pb2.DeleteResponse)
    for collection, error in (("public", ""), ("secret", "collection 'secret' is not one that you may name")):
        listing = documents_pb2.ListDocumentsRequest(collection=collection)
        assert (await told("list", listing, documents_pb2.ListDocumentsResponse)).startswith(error)
    ingress.stop()
    await asyncio.wait_for(running, 20)


async def test_a_field_that_is_too_long_is_refused_before_the_graph(nats_url: str, client: Client) -> None:
    graph = Graph()
    graph.may_answer.set()
    async with serving(nats_url, graph, sizes={"question_characters": 1000}):
        assert (await ask(client, "x" * 1001)).error == "message has 1001 characters: at most 1000 are taken"
        assert not graph.asked.is_set()
        assert (await ask(client, "x" * 1000)).success


async def test_a_metric_that_cannot_be_counted_costs_no_other_request(nats_url: str, client: Client) -> None:
    class Broken(Counted):
        def ended(self, subject: str, outcome: Outcome, seconds: float) -> None:
            raise RuntimeError("no room for a metric")

        def open(self, in_flight: int, waiting: int) -> None:
            raise RuntimeError("no room for a metric")

    graph = Graph()
    graph.may_answer.set()
    async with serving(nats_url, graph, metrics=Broken(), max_in_flight=1):
        for number in range(3):
            assert (await ask(client, f"{number}")).success


async def test_a_refusal_is_told_although_it_cannot_be_counted(nats_url: str, client: Client) -> None:
    class Broken(Counted):
        def open(self, in_flight: int, waiting: int) -> None:
            raise RuntimeError("no room for a metric")

    graph = Graph()
    limits = {"max_in_flight": 1, "max_waiting": 1, "max_wait_s": 0.1, "user_share": 1}
    async with serving(nats_url, graph, metrics=Broken(), **limits):
        asked = [asyncio.create_task(ask(client, f"{number}")) for number in range(4)]
        refused, waiting = await first_answers(asked, 3)
        assert sum("it waited for longer" in response.error for response in refused) == 1
        graph.may_answer.set()
        assert [answer.success for answer in await asyncio.gather(*waiting)] == [True]


async def test_a_log_that_fails_costs_no_other_request(
    nats_url: str, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger=nats_ingress.logger.name)

    def fail(record: logging.LogRecord) -> bool:
        raise OSError("no space left")

    graph = Graph()
    graph.may_answer.set()
    async with serving(nats_url, graph, max_in_flight=1):
        nats_ingress.logger.addFilter(fail)
        try:
            for number in range(3):
                assert (await ask(client, f"{number}")).success
        finally:
            nats_ingress.logger.removeFilter(fail)


class Waiting:
    """A handler that waits for something that somebody else cancels."""

    async def handle(self, call: Call, request: messages_pb2.ChatRequest, reply: Reply) -> Outcome:
        ended = asyncio.get_running_loop().create_future()
        ended.cancel()
        return await ended

    async def fail(self, request: messages_pb2.ChatRequest, error: HearthError, reply: Reply) -> None:
        await reply.finish(messages_pb2.ChatResponse(error=error.message))


async def test_a_request_whose_work_was_cancelled_is_answered_and_others_have_their_turn(
    nats_url: str, client: Client
) -> None:
    metrics, memory = Counted(), ConversationMemory(MemorySettings(enabled=False))
    rows = [Endpoint(row, Waiting(), 10.0) for row in CHAT]
    settings = NatsSettings(url=nats_url, max_in_flight=1)
    ingress = Ingress(settings, rows, Graph().components, memory.connect, metrics)
    running = asyncio.create_task(ingress.run())
    await asyncio.wait_for(ingress.wait_until_serving(), 10)
    answers = await asyncio.gather(*(ask(client, f"{number}") for number in range(5)))
    assert {answer.error for answer in answers} == {"it was ended inside the graph"}
    ingress.stop()
    await asyncio.wait_for(running, 10)


async def test_a_callback_that_waited_for_what_was_cancelled_is_called_again(nats_url: str, client: Client) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def take(message: Any) -> None:
        heard.put_nowait(message.data)
        ended = asyncio.get_running_loop().create_future()
        ended.cancel()
        await ended

    await client.subscribe("cancelled", cb=take)
    for payload in (b"1", b"2"):
        await client.publish("cancelled", payload)
    async with asyncio.timeout(5):
        assert [await heard.get(), await heard.get()] == [b"1", b"2"]


async def test_a_client_s_trace_comes_back_with_every_message_of_the_answer(nats_url: str, client: Client) -> None:
    graph = Graph()
    graph.may_answer.set()
    trace = "0af7651916cd43dd8448eb211c80319c"
    async with serving(nats_url, graph):
        answers = await client.subscribe("ai.chat.response.>")
        asked = messages_pb2.ChatRequest(request_id="r1", message="Hi", enable_streaming=True)
        headers = {"Traceparent": f"00-{trace}-b7ad6b7169203331-01", "tracestate": "a=b"}
        await client.publish("ai.chat.request", asked.SerializeToString(), headers=headers)
        for _ in range(3):
            message = await answers.next_msg(timeout=5)
            assert message.headers
            assert message.headers["traceparent"].split("-")[1] == trace
            assert message.headers["tracestate"] == "a=b"
        assert (await ask(client, "untraced")).success


async def test_headers_count_towards_what_the_server_takes(nats_url: str) -> None:
    headers = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=b,c=d"}
    for over, accepted in ((0, True), (1, False)):
        connection = await nats_connected(nats_url, allow_reconnect=False)
        sender = Sender(connection, headers=headers)
        await connection.publish("too.large", b"x" * (sender.room + over), headers=headers)
        if accepted:
            await connection.flush(5)
        else:
            async with asyncio.timeout(5):
                while not connection.is_closed:  # noqa: ASYNC110 - nothing tells of it
                    await asyncio.sleep(0.01)
        await connection.close()


@pytest.mark.parametrize(
    "reply",
    [
        "hearth.audio.interrupt",
        "ai.chat.user.u1.login",
        "ai.chat.request",
        "ai.chat.response.stream.another",
        "ai.pipeline.status.another",
        "$JS.API.STREAM.PURGE.KV_hearth_pipelines",
    ],
)
async def test_no_request_makes_hearth_speak_where_its_clients_may_not(
    nats_url: str, client: Client, reply: str
) -> None:
    """It would be Hearth's word, with Hearth's permissions."""
    graph, spoken = Graph(), list[str]()
    graph.may_answer.set()

    async def heard(message: Any) -> None:
        spoken.append(message.subject)

    await client.subscribe(reply, cb=heard)
    asked = messages_pb2.ChatRequest(request_id="r1", message="Hi").SerializeToString()
    async with serving(nats_url, graph):
        answers = await client.subscribe("ai.chat.response.r1")
        await client.publish("ai.chat.user.u1.message", asked, reply=reply)
        assert messages_pb2.ChatResponse.FromString((await answers.next_msg(timeout=5)).data).success
        # Whoever looks for services may not have it speak there either.
        for verb in ("PING", "INFO", "STATS"):
            await client.publish(f"$SRV.{verb}.hearth", b"", reply=reply)
        await client.request("$SRV.PING.hearth", timeout=5)
    # The ingress has left, so that all it had to say is said.
    await client.flush()
    assert spoken == []


class SlowBehindItsAnswer:
    """A handler that is not done when it has answered."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error

    async def handle(self, call: Call, request: messages_pb2.ChatRequest, reply: Reply) -> Outcome:
        await reply.finish(messages_pb2.ChatResponse(response="the answer", success=True))
        if self._error:
            raise self._error
        return await asyncio.get_running_loop().create_future()

    async def fail(self, request: messages_pb2.ChatRequest, error: HearthError, reply: Reply) -> None:
        await reply.finish(messages_pb2.ChatResponse(error=error.message))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (UnavailableError("the record cannot be kept"), "unavailable"),
        (RuntimeError("a fault"), "internal"),
        (None, "deadline_exceeded"),
    ],
)
async def test_what_fails_behind_an_answer_is_no_second_one(
    nats_url: str, client: Client, error: Exception | None, kind: str
) -> None:
    metrics, memory = Counted(), ConversationMemory(MemorySettings(enabled=False))
    rows = [Endpoint(row, SlowBehindItsAnswer(error), 0.1) for row in CHAT]
    ingress = Ingress(NatsSettings(url=nats_url), rows, Graph().components, memory.connect, metrics)
    running = asyncio.create_task(ingress.run())
    await asyncio.wait_for(ingress.wait_until_serving(), 10)
    inbox = client.new_inbox()
    answers = await client.subscribe(inbox)
    await client.publish("ai.chat.request", request("Hi"), reply=inbox)
    assert messages_pb2.ChatResponse.FromString((await answers.next_msg(timeout=5)).data).response == "the answer"
    ingress.stop()
    await asyncio.wait_for(running, 10)
    await client.flush()
    assert answers.pending_msgs == 0
    assert metrics.requests == [("ai.chat.request", kind)]


class Mistaken:
    """A handler that can neither answer nor say why."""

    async def handle(self, call: Call, request: Any, reply: Reply) -> Outcome:
        raise UnavailableError("the model is away")

    async def fail(self, request: Any, error: Exception, reply: Reply) -> None:
        raise RuntimeError("a mistake")


async def test_an_error_that_cannot_be_told_costs_no_other_request(nats_url: str, client: Client) -> None:
    graph = Graph()
    graph.may_answer.set()
    memory, metrics = ConversationMemory(MemorySettings()), Counted()
    message, older = CHAT
    rows = [Endpoint(message, Mistaken(), 10.0), Endpoint(older, ChatHandler(graph, None, memory, Trust()), 10.0)]
    ingress = Ingress(NatsSettings(url=nats_url), rows, graph.components, memory.connect, metrics)
    running = asyncio.create_task(ingress.run())
    await asyncio.wait_for(ingress.wait_until_serving(), 10)
    await client.publish("ai.chat.user.u1.message", request("Hi"))
    assert (await ask(client, "Still there?")).success
    ingress.stop()
    await asyncio.wait_for(running, 20)
    assert {outcome for _, outcome in metrics.requests} == {"unavailable", "ok"}


STRANGE_HEADERS = [
    b"",
    b"garbage",
    b"NATS/1.0",
    b"NATS/1.0\r\n\r\n",
    b"NATS/1.0 503\r\n\r\n",
    b"NATS/1.0 \xff\xff\xff\r\n\r\n",
    b"NATS/1.0 abc def\r\na:b\r\n\r\n",
    b"NATS/1.0\r\nno colon\r\n\r\n",
    b"NATS/1.0\r\n: no name\r\n\r\n",
    b"NATS/1.0\r\ntraceparent: \xff\xfe\r\n\r\n",
    b"NATS/1.0\r\ntraceparent: a\r\ntraceparent: b\r\n\r\n",
    b"NATS/1.0\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: "
    + b"x" * 5000
    + b"\r\n\r\n",
]


@pytest.mark.parametrize("subject", [b"ai.chat.request", b"ai.chat.user.\xff\xfe.message"])
async def test_no_header_and_no_subject_stops_the_ingress(nats_url: str, client: Client, subject: bytes) -> None:
    """From a socket, since no client library would send them."""
    graph = Graph()
    graph.may_answer.set()
    inbox = client.new_inbox()
    answers = await client.subscribe(f"{inbox}.*")
    await client.flush()
    async with serving(nats_url, graph) as ingress:
        host, port = nats_url.removeprefix("nats://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\n')
        payload = request("Hi")
        for number, headers in enumerate(STRANGE_HEADERS):
            reply, size = f"{inbox}.{number}".encode(), len(headers)
            writer.write(
                b"HPUB %b %b %d %d\r\n%b%b\r\n" % (subject, reply, size, size + len(payload), headers, payload)
            )
        await writer.drain()
        answered = [await answers.next_msg(timeout=5) for _ in STRANGE_HEADERS]
        assert {messages_pb2.ChatResponse.FromString(answer.data).response for answer in answered} == {"answer to Hi"}
        ingress.check()
        assert (await ask(client, "Still there?")).success
        writer.close()


async def test_a_request_past_its_deadline_is_answered_and_its_work_ended(nats_url: str, client: Client) -> None:
    graph = Graph()
    async with serving(nats_url, graph, timeout_s=0.1):
        response = await ask(client, "too long")
        assert not response.success
        assert response.error == "no answer within 0.1 s"
        assert graph.open == 0
        assert graph.cancelled == 1


async def test_a_fault_of_our_own_is_answered_without_its_details(nats_url: str, client: Client) -> None:
    graph = Graph(error=RuntimeError("a secret"))
    graph.may_answer.set()
    async with serving(nats_url, graph):
        response = await ask(client, "Hi")
        assert (response.success, response.error) == (False, "the request failed inside the ingress")
        graph.error = None
        assert (await ask(client, "again")).success


@dataclass
class Endless(Graph):
    """Answers without end, a token every few milliseconds."""

    made: int = 0

    async def answer(self, call: Call, question: ChatQuestion) -> AsyncGenerator[AnswerItem]:
        del call
        try:
            for number in range(int(question.text)):
                self.made += 1
                yield AnswerToken(f"{number} ")
                await asyncio.sleep(0.005)
            yield AnswerEnd()
        except GeneratorExit:
            self.cancelled += 1
            raise


async def test_a_client_that_leaves_its_stream_ends_the_work(nats_url: str) -> None:
    graph = Endless()
    async with serving(nats_url, graph):
        leaving = await nats_connected(nats_url)
        stream = await leaving.subscribe("ai.chat.response.stream.r1")
        request = messages_pb2.ChatRequest(request_id="r1", message="100000", enable_streaming=True)
        await leaving.publish("ai.chat.request", request.SerializeToString())
        for _ in range(20):
            await stream.next_msg(timeout=5)
        made = graph.made
        await leaving.close()
        async with asyncio.timeout(5):
            while not graph.cancelled:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)
        assert graph.made - made < 200


async def test_a_client_that_only_waits_for_the_response_gets_it(nats_url: str, client: Client) -> None:
    graph = Endless()
    async with serving(nats_url, graph):
        final = await client.subscribe("ai.chat.response.r2")
        request = messages_pb2.ChatRequest(request_id="r2", message="40", enable_streaming=True)
        await client.publish("ai.chat.request", request.SerializeToString())
        response = messages_pb2.ChatResponse.FromString((await final.next_msg(timeout=10)).data)
        assert response.success
        assert len(response.response.split()) == 40
        assert graph.cancelled == 0


def lines_of(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """Return what the log says of requests."""
    return [json.loads(record.message) for record in caplog.records if record.message.startswith("{")]


async def test_every_request_leaves_one_line_without_a_word_of_its_text(
    nats_url: str, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    graph = Graph()
    graph.may_answer.set()
    caplog.set_level("INFO", "bridges.nats.ingress")
    async with serving(nats_url, graph):
        asked = messages_pb2.ChatRequest(request_id="r7", message="a secret question").SerializeToString()
        answered = await client.request("ai.chat.user.u1.message", asked, timeout=5)
        await client.request("ai.chat.request", b"\xff", timeout=5)
    lines = lines_of(caplog)
    assert [(line["subject"], line["outcome"], line["request_id"]) for line in lines] == [
        ("ai.chat.user.{user_id}.message", "ok", "r7"),
        ("ai.chat.request", "invalid_request", ""),
    ]
    assert (lines[0]["request_bytes"], lines[0]["answer_bytes"], lines[0]["tokens"]) == (
        len(asked), len(answered.data), 1
    )  # fmt: skip
    assert lines[0]["seconds"] >= 0
    assert len({line["trace_id"] for line in lines}) == 2
    assert "secret" not in caplog.text


async def test_what_was_said_is_in_the_line_where_the_settings_ask_for_it(
    nats_url: str, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    graph = Graph()
    graph.may_answer.set()
    caplog.set_level("INFO", "bridges.nats.ingress")
    async with serving(nats_url, graph, log_text=True):
        await ask(client, "in plain words")
    (line,) = lines_of(caplog)
    assert (line["question"], line["answer"]) == ("in plain words", "answer to in plain words")


async def test_nothing_is_taken_before_the_graph_is_ready(nats_url: str, client: Client) -> None:
    graph = Graph(ready=False)
    graph.may_answer.set()
    async with serving(nats_url, graph) as ingress:
        with pytest.raises(nats.errors.NoRespondersError):
            await ask(client, "too early")
        graph.ready = True
        await asyncio.wait_for(ingress.wait_until_serving(), 5)
        assert (await ask(client, "now")).success


async def test_an_ingress_that_stops_answers_what_it_took_and_leaves_the_rest_to_others(
    nats_url: str, client: Client
) -> None:
    leaving, staying = Graph(), Graph()
    staying.may_answer.set()
    async with serving(nats_url, leaving) as ingress:
        taken = asyncio.create_task(ask(client, "taken"))
        await leaving.asked.wait()
        async with serving(nats_url, staying):
            ingress.stop()
            await until_one_service_is_left(client)
            answers = await asyncio.gather(*(ask(client, f"{number}") for number in range(20)))
            assert all(answer.success for answer in answers)
            assert leaving.most_open == 1
            leaving.may_answer.set()
            assert (await taken).response == "answer to taken"


async def test_nothing_is_lost_or_answered_twice_while_ingresses_come_and_go(nats_url: str, client: Client) -> None:
    graph = Graph()
    graph.may_answer.set()
    answers: list[str] = []

    async def answered(message: Any) -> None:
        answers.append(messages_pb2.ChatResponse.FromString(message.data).response)

    inbox = client.new_inbox()
    await client.subscribe(inbox, cb=answered)
    asked = 0
    async with serving(nats_url, graph):
        for _ in range(10):
            async with serving(nats_url, graph):
                for _ in range(50):
                    await client.publish("ai.chat.request", request(f"{asked}"), reply=inbox)
                    asked += 1
                    await asyncio.sleep(0)
            for _ in range(20):
                await client.publish("ai.chat.request", request(f"{asked}"), reply=inbox)
                asked += 1
        # The last are at the server before the last ingress leaves. A flush alone overtakes what waits in the client.
        await client.flush()
        await client.flush()
    await client.flush()
    assert sorted(answers) == sorted(f"answer to {number}" for number in range(asked))


async def test_each_request_goes_to_one_ingress_of_the_queue_group(nats_url: str, client: Client) -> None:
    one, other = Graph(), Graph()
    one.may_answer.set()
    other.may_answer.set()
    async with serving(nats_url, one), serving(nats_url, other):
        inbox = client.new_inbox()
        answers: list[bytes] = []
        all_there = asyncio.Event()

        async def answered(message: Any) -> None:
            answers.append(message.data)
            if len(answers) >= 100:
                all_there.set()

        await client.subscribe(inbox, cb=answered)
        for number in range(100):
            await client.publish("ai.chat.request", request(f"{number}"), reply=inbox)
        await asyncio.wait_for(all_there.wait(), 10)
        await client.flush()
        texts = {messages_pb2.ChatResponse.FromString(answer).response for answer in answers}
        assert len(answers) == len(texts) == 100


async def test_the_ecosystem_s_tools_find_the_service_and_its_endpoints(nats_url: str, client: Client) -> None:
    graph = Graph()
    graph.may_answer.set()
    async with serving(nats_url, graph):
        await ask(client, "Hi")
        ping = json.loads((await client.request("$SRV.PING", b"", timeout=5)).data)
        assert (ping["name"], ping["type"]) == ("hearth", "io.nats.micro.v1.ping_response")
        info = json.loads((await client.request(f"$SRV.INFO.hearth.{ping['id']}", b"", timeout=5)).data)
        endpoints = {endpoint["name"]: endpoint for endpoint in info["endpoints"]}
        assert endpoints["chat-message"]["subject"] == "ai.chat.user.*.message"
        assert endpoints["chat-message"]["queue_group"] == "hearth"
        assert endpoints["chat-message"]["metadata"]["response"] == "messages.v1.ChatResponse"
        figures = (await stats(client))["chat-request"]
        assert (figures["num_requests"], figures["num_errors"]) == (1, 0)
        assert figures["average_processing_time"] > 0


async def test_a_server_that_restarts_finds_the_ingress_again(tmp_path: Path) -> None:
    graph = Graph()
    graph.may_answer.set()
    port = str(free_port())
    with ExitStack() as first, ExitStack() as second:
        url = first.enter_context(nats_server(tmp_path / "first", "-p", port))
        async with serving(url, graph) as ingress:
            first.close()
            second.enter_context(nats_server(tmp_path / "second", "-p", port))
            async with await nats_connected(url) as client:
                assert (await ask_until_taken(client, "again")).response == "answer to again"
                ingress.check()


async def ask_until_taken(client: Client, text: str) -> messages_pb2.ChatResponse:
    for _ in range(200):
        try:
            return await ask(client, text)
        except nats.errors.NoRespondersError:
            await asyncio.sleep(0.05)
    raise AssertionError("nobody takes requests")


async def test_a_drained_ingress_answers_what_it_took_and_takes_nothing_more(nats_url: str, client: Client) -> None:
    leaving, staying = Graph(), Graph()
    staying.may_answer.set()
    async with serving(nats_url, leaving) as ingress:
        taken = asyncio.create_task(ask(client, "taken"))
        await leaving.asked.wait()
        async with serving(nats_url, staying):
            draining = asyncio.create_task(ingress.drain())
            await until_one_service_is_left(client)
            assert all([(await ask(client, f"{number}")).success for number in range(20)])
            assert (ingress.held(), leaving.most_open) == ({"ai.chat.request": 1}, 1)
            assert not draining.done()
            leaving.may_answer.set()
            assert (await taken).response == "answer to taken"
            await asyncio.wait_for(draining, 5)
        assert ingress.held() == {}
        assert not ingress.is_serving()
        await ingress.drain()
        with pytest.raises(nats.errors.NoRespondersError):
            await ask(client, "nobody is left, and the server says so at once")


async def test_a_drained_ingress_lives_on_and_stops_at_once(nats_url: str) -> None:
    ingress = Ingress(
        NatsSettings(url=nats_url), [], Graph().components, ConversationMemory(MemorySettings()).connect, Counted()
    )
    running = asyncio.create_task(ingress.run())
    await asyncio.wait_for(ingress.wait_until_serving(), 10)
    await asyncio.wait_for(ingress.drain(), 5)
    assert not running.done(), "its replica would be replaced"
    await ingress._client.close()
    ingress.check()
    ingress.stop()
    await asyncio.wait_for(running, 1)


@pytest.mark.parametrize("trouble", ["away", "frozen"])
async def test_an_ingress_that_was_drained_while_the_server_was_not_there_stays_out_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    monkeypatch.setattr("bridges.nats.ingress._FLUSH_S", 0.2)
    graph = Graph()
    port = str(free_port())
    back = asyncio.Event()

    async def is_back() -> None:
        back.set()

    with ExitStack() as first, ExitStack() as second:
        url = first.enter_context(nats_server(tmp_path / "first", "-p", port))
        async with (
            serving(url, graph) as ingress,
            await nats_connected(url, reconnected_cb=is_back, reconnect_time_wait=1) as client,
        ):
            taken = await client.subscribe("ai.chat.response.taken")
            await client.publish("ai.chat.request", request("taken", request_id="taken"))
            await graph.asked.wait()
            server = process_of(tmp_path / "first")
            if trouble == "frozen":
                server.suspend()
            else:
                first.close()
            draining = asyncio.create_task(ingress.drain())
            await asyncio.wait([draining], timeout=1)
            if trouble == "frozen":
                server.resume()
                first.close()
            second.enter_context(nats_server(tmp_path / "second", "-p", port))
            await asyncio.wait_for(back.wait(), 10)
            await until_connected(ingress)
            graph.may_answer.set()
            answer = messages_pb2.ChatResponse.FromString((await taken.next_msg(timeout=10)).data)
            assert answer.response == "answer to taken"
            await asyncio.wait_for(draining, 10)
            await ingress._client.flush()
            with pytest.raises(nats.errors.NoRespondersError):
                await ask(client, "to nobody")


async def until_connected(ingress: Ingress) -> None:
    async with asyncio.timeout(10):
        while not ingress._client.is_connected:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)


def process_of(folder: Path) -> psutil.Process:
    """Return the NATS server whose files are in a folder."""
    (ports,) = folder.glob("nats-server_*.ports")
    return psutil.Process(int(ports.stem.partition("_")[2]))


@pytest.mark.parametrize("there", [True, False], ids=["before its graph is ready", "before its server is there"])
async def test_an_ingress_that_is_drained_early_never_begins(nats_url: str, client: Client, there: bool) -> None:
    graph = Graph(ready=False)
    url = nats_url if there else f"nats://127.0.0.1:{free_port()}"
    async with serving(url, graph) as ingress:
        await asyncio.wait_for(ingress.drain(), 5)
        graph.ready = True
        assert not ingress.is_serving()
        with pytest.raises(nats.errors.NoRespondersError):
            await ask(client, "to nobody")


async def test_a_server_that_answers_a_flush_too_late_is_heard_all_the_same(tmp_path: Path) -> None:
    with nats_server(tmp_path) as url:
        connection = LastingConnection(NatsSettings(url=url), "late", Refusals(Role.NATS_INGRESS))
        await connection.open(asyncio.Event())
        client = connection.client
        heard = await client.subscribe("subject")
        server = process_of(tmp_path)
        server.suspend()
        with pytest.raises(nats.errors.FlushTimeoutError):
            await client.flush(0.1)  # pyright: ignore[reportArgumentType] - only ever waited for
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.flush(), 0.1)
        server.resume()
        await client.flush()
        await client.publish("subject", b"heard")
        assert (await heard.next_msg(timeout=5)).data == b"heard"
        await connection.close()


async def test_an_ingress_without_a_server_can_be_stopped() -> None:
    memory = ConversationMemory(MemorySettings())
    settings = NatsSettings(url=f"nats://127.0.0.1:{free_port()}")
    ingress = Ingress(settings, [], Graph().components, memory.connect, Counted())
    running = asyncio.create_task(ingress.run())
    done, _ = await asyncio.wait([running], timeout=0.3)
    assert not done, "it waits for the server"
    ingress.check()
    ingress.stop()
    await asyncio.wait_for(running, 5)


def process_of_server(folder: Path) -> psutil.Process:
    """Return the NATS server that keeps its files in a folder."""
    (ports,) = folder.glob("*.ports")
    return psutil.Process(int(ports.stem.rpartition("_")[2]))


async def test_messages_that_gather_arrive_in_their_order(nats_url: str, client: Client) -> None:
    listener = nats_connection.NatsClient()
    await listener.connect_to(nats_url)
    heard: list[bytes] = []
    last = asyncio.Event()

    async def arrived(message: Msg) -> None:
        heard.append(message.data)
        if message.data == b"99":
            last.set()

    await listener.subscribe("numbers", cb=arrived)
    await listener.flush()
    listener.gather(60)
    for number in range(100):
        await client.publish("numbers", b"%d" % number)
        await client.flush()
    await asyncio.wait_for(last.wait(), 10)
    assert heard == [b"%d" % number for number in range(100)]
    await listener.close()


async def test_a_server_that_says_nothing_any_more_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nats_connection, "_PING_S", 0.1)
    with nats_server(tmp_path) as url:
        server = process_of_server(tmp_path)
        async with serving(url, Graph()) as ingress:
            assert ingress.is_serving()
            server.suspend()
            try:
                await until(lambda: not ingress.is_serving())
                assert ingress.fault() == "NATS is not connected"
            finally:
                server.resume()
            await until(ingress.is_serving)
            assert ingress.fault() == ""


async def test_the_pipelines_say_that_a_server_says_nothing_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats_connection, "_PING_S", 0.1)
    with nats_server(tmp_path, "-js", "-sd", str(tmp_path / "store")) as url:
        server = process_of_server(tmp_path)
        replica = PipelineReplica(PipelinesSettings(stream=""), NatsSettings(url=url))
        running = asyncio.create_task(replica.run())

        async def says(detail: str) -> None:
            async with asyncio.timeout(10):
                while detail not in (await replica.service.components(Call.within(1)))[0].detail:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)

        await says("0 unfinished runs")
        server.suspend()
        try:
            await says("NATS is not connected")
        finally:
            server.resume()
        await says("0 unfinished runs")
        replica.stop()
        await asyncio.wait_for(running, 20)


async def until(there: Callable[[], bool]) -> None:
    """Return once something is so."""
    async with asyncio.timeout(10):
        while not there():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)


async def test_a_connection_closed_for_good_is_told(nats_url: str) -> None:
    graph = Graph()
    async with serving(nats_url, graph) as ingress:
        ingress.check()
        await ingress._client.close()
        with pytest.raises(UnavailableError):
            ingress.check()
