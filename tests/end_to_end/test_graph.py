"""The shipped graph through NATS, as its clients meet it: real models, real Milvus, real Ray."""

import asyncio
import json
import os
import signal
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from nats.aio.client import Client

from bridges.command_line.client import HearthClient
from bridges.generated.hearth.v1 import documents_pb2, status_pb2
from bridges.generated.messages.v1 import messages_pb2
from deployments.errors import InvalidRequestError
from tests.end_to_end.conftest import Graph, shipped_config
from tests.end_to_end.raw_client import RawClient, decode, encode_request

FERRY = """# The ferry to Vessel Island

## Timetable

The first ferry leaves the mainland at 6:40. The last one returns from the island at 21:15. On Sundays there is no
ferry before noon.

## Tickets

A return ticket costs 18 euros. Children under six travel free. Bicycles cost 4 euros each way.

## Storms

When the wind is above 90 kilometres per hour, the ferry stays in the harbour and the captain raises a red flag.
"""


@pytest.fixture
async def ferry(client: HearthClient) -> str:
    """Ingest the ferry's page into a collection of its own; return the collection's name."""
    collection = f"ferry_{uuid4().hex[:8]}"
    response = await client.ingest(document("ferry.md", FERRY, collection), 60)
    assert response.chunks == 3
    return collection


def document(source: str, text: str, collection: str) -> documents_pb2.IngestRequest:
    return documents_pb2.IngestRequest(
        source=source, text=text, collection=collection, format=documents_pb2.TEXT_FORMAT_MARKDOWN
    )


def question(text: str, collection: str = "", **fields: Any) -> messages_pb2.ChatRequest:
    return messages_pb2.ChatRequest(
        message=text, collection=collection, enable_rag=True, enable_reranker=True, **fields
    )


async def ask(client: HearthClient, request: messages_pb2.ChatRequest) -> tuple[list[str], messages_pb2.ChatResponse]:
    chunks: list[messages_pb2.ChatStreamChunk] = []
    async for item in client.ask(request, 60):
        if isinstance(item, messages_pb2.ChatResponse):
            if request.enable_streaming:
                assert chunks[-1].done
                assert chunks[-1].type == "done"
            return [chunk.content for chunk in chunks[:-1]], item
        chunks.append(item)
    raise AssertionError("no response")


@pytest.mark.parametrize(
    ("text", "fact", "section"),
    [
        ("How much is a return ticket?", "18", "Tickets"),
        ("When does the last ferry return from the island?", "21:15", "Timetable"),
        ("What does the captain do in a storm?", "flag", "Storms"),
        ("What does a bicycle cost?", "4 euros", "Tickets"),
    ],
)
async def test_an_answer_rests_on_the_documents(
    client: HearthClient, ferry: str, text: str, fact: str, section: str
) -> None:
    tokens, response = await ask(client, question(text, ferry, enable_streaming=True))
    assert response.success
    assert response.error == ""
    assert response.used_rag
    assert response.rag_sources[0] == f"ferry.md ({section})"
    assert [f"{one.source} ({one.section})" for one in response.citations] == list(response.rag_sources)
    assert fact in response.response
    assert len(tokens) > 3
    assert "".join(tokens) == response.response == response.response_text


def test_raw_bytes_over_raw_nats_are_all_that_a_client_needs(graph: Graph, ferry: str) -> None:
    request = encode_request(
        "ChatRequest",
        request_id="raw-1",
        user_id="u7",
        query="How much is a return ticket?",
        enable_rag=True,
        enable_reranker=True,
        enable_streaming=True,
        collection=ferry,
    )
    with RawClient(graph.nats_url) as raw:
        raw.subscribe("ai.chat.response.stream.raw-1")
        raw.subscribe("ai.chat.response.raw-1")
        raw.publish("ai.chat.user.u7.message", request)
        text = ""
        while True:
            subject, payload = raw.next()
            assert subject == "ai.chat.response.stream.raw-1"
            chunk = decode("ChatStreamChunk", payload)
            assert chunk["request_id"] == "raw-1"
            if chunk.get("done"):
                assert chunk["type"] == "done"
                assert "content" not in chunk
                break
            assert chunk["type"] == "chunk"
            text += str(chunk["content"])
        subject, payload = raw.next()
    assert subject == "ai.chat.response.raw-1"
    response = decode("ChatResponse", payload)
    assert response["success"] is True
    assert response["user_id"] == "u7"
    assert response["response"] == response["response_text"] == text
    sources = response["rag_sources"]
    assert isinstance(sources, list)
    assert sources[0] == "ferry.md (Tickets)", "the place stands in a field that every client knows"
    assert "18" in text


def test_a_raw_client_gets_its_error_on_its_reply_subject(graph: Graph) -> None:
    with RawClient(graph.nats_url) as raw:
        raw.subscribe("_INBOX.raw")
        raw.publish("ai.chat.request", b"\xff\xff\xff", reply="_INBOX.raw")
        subject, payload = raw.next()
    assert subject == "_INBOX.raw"
    error = decode("ErrorResponse", payload)
    assert error == {
        "error": True,
        "message": "the payload is not a messages.v1.ChatRequest",
        "type": "invalid_request",
    }


async def test_the_client_s_own_response_subject_and_reply_subject_both_get_the_answer(
    connection: Client,
) -> None:
    inbox = connection.new_inbox()
    chosen, replied = f"{inbox}.chosen", f"{inbox}.replied"
    response, reply = await connection.subscribe(chosen), await connection.subscribe(replied)
    request = messages_pb2.ChatRequest(message="Hello!", response_subject=chosen)
    await connection.publish("ai.chat.request", request.SerializeToString(), reply=replied)
    message = await response.next_msg(timeout=60)
    assert messages_pb2.ChatResponse.FromString(message.data).success
    assert (await reply.next_msg(timeout=10)).data == message.data


async def test_a_user_logs_in_and_is_greeted_by_name(connection: Client) -> None:
    login = messages_pb2.LoginEvent(user_id="u9", username="anna42", nickname="Anna")
    await connection.publish("ai.chat.user.u9.login", login.SerializeToString())
    subscription = await connection.subscribe("ai.chat.user.u9.greeting.response")
    request = messages_pb2.GreetingRequest(user_id="u9", username="anna42", nickname="Anna")
    reply = await connection.request("ai.chat.user.u9.greeting.request", request.SerializeToString(), timeout=30)
    message = await subscription.next_msg(timeout=5)
    assert message.data == reply.data
    greeting = messages_pb2.GreetingResponse.FromString(reply.data)
    assert greeting.user_id == "u9"
    assert "Anna" in greeting.greeting
    assert len(greeting.greeting) < 200


async def test_a_follow_up_is_understood_from_the_question_before(client: HearthClient, ferry: str) -> None:
    user = f"user-{uuid4().hex}"
    await ask(client, question("When does the first ferry leave the mainland?", ferry, user_id=user))
    _, response = await ask(client, question("And when does the last one return?", ferry, user_id=user))
    assert "21:15" in response.response


async def test_without_documents_the_model_answers_alone(client: HearthClient) -> None:
    _, response = await ask(client, messages_pb2.ChatRequest(message="Say hello."))
    assert response.success
    assert response.response
    assert not response.used_rag
    assert list(response.rag_sources) == []


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (messages_pb2.ChatRequest(), "the question is empty"),
        (messages_pb2.ChatRequest(message=" \n", query="\t"), "the question is empty"),
        (question("Hi", "no_such_collection"), "collection 'no_such_collection' does not exist"),
        (question("Hi", "not a name!"), "cannot name a collection"),
        (question("Hi", top_k=-1), "top_k is -1"),
        (question("Hi", top_k=1000), "between 1 and 50"),
        (messages_pb2.ChatRequest(message="word " * 200_000), "the model reads"),
    ],
    ids=["empty", "blank", "unknown collection", "bad collection", "negative top_k", "huge top_k", "1 MB question"],
)
async def test_a_request_that_cannot_be_answered_is_told_why(
    client: HearthClient, request_: messages_pb2.ChatRequest, reason: str
) -> None:
    request_.enable_streaming = True
    tokens, response = await ask(client, request_)
    assert tokens == []
    assert not response.success
    assert reason in response.error
    _, after = await ask(client, messages_pb2.ChatRequest(message="Say hello."))
    assert after.success


async def test_a_huge_question_with_documents_is_told_too(client: HearthClient, ferry: str) -> None:
    _, response = await ask(client, question("ferry " * 150_000, ferry))
    assert not response.success
    assert "the model reads" in response.error


async def test_ingesting_again_replaces(client: HearthClient, ferry: str) -> None:
    text = "# The ferry\n\nA return ticket costs 25 euros now."
    response = await client.ingest(document("ferry.md", text, ferry), 60)
    assert (response.chunks, response.removed) == (1, 3)
    _, answer = await ask(client, question("How much is a return ticket?", ferry))
    assert "25" in answer.response
    assert "18" not in answer.response


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (document("", "text", ""), "no source"),
        (document("empty.md", " ", ""), "the document holds no text"),
        (document("a.md", "text", "no name!"), "cannot name a collection"),
    ],
)
async def test_a_document_that_cannot_be_ingested_is_told_why(
    client: HearthClient, request_: documents_pb2.IngestRequest, reason: str
) -> None:
    with pytest.raises(InvalidRequestError, match=reason):
        await client.ingest(request_, 60)


async def test_several_questions_are_answered_at_once(client: HearthClient, ferry: str) -> None:
    answers = await asyncio.gather(
        *(ask(client, question("How much is a return ticket?", ferry, enable_streaming=True)) for _ in range(12))
    )
    assert all(response.success and "18" in response.response for _, response in answers)


async def test_a_hundred_broken_payloads_leave_it_serving(connection: Client, client: HearthClient) -> None:
    whole = question("How much is a ticket?", request_id="x").SerializeToString()
    broken = [whole[:-1] + bytes([number]) + b"\xff" for number in range(100)]
    replies = await asyncio.gather(*(connection.request("ai.chat.request", payload, timeout=30) for payload in broken))
    assert len(replies) == 100
    _, response = await ask(client, messages_pb2.ChatRequest(message="Say hello."))
    assert response.success


async def test_leaving_is_noticed_by_nobody_but_costs_nothing_after_the_answer(client: HearthClient) -> None:
    async for _ in client.ask(messages_pb2.ChatRequest(message="Tell me a story.", enable_streaming=True), 60):
        break
    _, response = await ask(client, messages_pb2.ChatRequest(message="Say hello."))
    assert response.success


async def test_it_says_how_it_is(client: HearthClient, operator: HearthClient) -> None:
    status = await client.status(10)
    assert status.ready
    assert (await operator.status(10)).ready
    parts = {part.name: part for part in status.components}
    assert parts.keys() >= {
        "NatsIngress", "AudioIngress", "Chat", "Retrieval", "Ingestion",
        "LanguageModel", "Embeddings", "Reranker", "Milvus",
    }  # fmt: skip
    assert all(part.ready for part in parts.values())
    assert "smollm2" in parts["LanguageModel"].detail
    service = json.loads((await operator.connection.request("$SRV.PING.hearth", b"", timeout=5)).data)
    assert service["name"] == "hearth"


def process_ids(status: status_pb2.StatusResponse) -> dict[str, int]:
    return {part.name: part.process_id for part in status.components if part.process_id}


async def test_a_model_that_dies_in_mid_answer_costs_that_answer_alone(client: HearthClient) -> None:
    model = process_ids(await client.status(10))["LanguageModel"]
    request = messages_pb2.ChatRequest(message="Tell me a long story about a dragon.", enable_streaming=True)
    text = ""
    async with aclosing(client.ask(request, 60)) as items:
        async for item in items:
            if isinstance(item, messages_pb2.ChatResponse):
                break
            if not text:
                os.kill(model, signal.SIGKILL)
            text += item.content
        else:
            raise AssertionError("no response")
    assert not item.success
    assert item.response == text != ""
    assert item.error.startswith("the answer broke off: LanguageModel.generate ")
    # The next question waits for the new replica, within its own deadline.
    _, response = await ask(client, messages_pb2.ChatRequest(message="Say hello."))
    assert response.success
    assert process_ids(await client.status(10))["LanguageModel"] != model


async def test_how_a_model_is_used_changes_without_loading_it_again(
    graph: Graph, client: HearthClient, ferry: str
) -> None:
    before = process_ids(await client.status(10))
    config = shipped_config()
    model = next(entry for entry in config["applications"] if entry["name"] == "language-model")
    model["deployments"][0]["user_config"]["answering"]["max_tokens"] = 1
    model["deployments"][0]["user_config"]["answering"]["check_sentences"] = False
    graph.deploy(config)
    try:
        await until_answers_have(client, ferry, lambda tokens: tokens == 1)
        assert process_ids(await client.status(10))["LanguageModel"] == before["LanguageModel"]
    finally:
        graph.deploy(shipped_config())
        await until_answers_have(client, ferry, lambda tokens: tokens > 1)


async def until_answers_have(client: HearthClient, collection: str, enough: Callable[[int], bool]) -> None:
    """Ask until an answer has the right number of tokens: chat asks its model for its use every few seconds."""
    for _ in range(60):
        tokens, _ = await ask(client, question("What is it?", collection, enable_streaming=True))
        if enough(len(tokens)):
            return
        await asyncio.sleep(0.5)
    raise AssertionError("the model is used as before")


async def test_new_orchestration_restarts_no_model(graph: Graph, client: HearthClient, tmp_path: Path) -> None:
    before = process_ids(await client.status(10))
    config = shipped_config()
    orchestration = next(entry for entry in config["applications"] if entry["name"] == "orchestration")
    orchestration["args"]["milvus"]["keep"] = 4
    changed = tmp_path / "changed.yaml"
    changed.write_text(yaml.safe_dump(config))
    graph.serve_deploy(changed)
    models = {"LanguageModel", "Embeddings", "Reranker", "SpeechToText", "TextToSpeech"}
    after = await until_replaced(client, before, before.keys() - models)
    assert {name: after[name] for name in models} == {name: before[name] for name in models}
    _, response = await ask(client, messages_pb2.ChatRequest(message="Say hello."))
    assert response.success


async def until_replaced(client: HearthClient, before: dict[str, int], names: set[str]) -> dict[str, int]:
    """Return the process ids once none of the services of these names runs in a process of before and all are ready."""
    async with asyncio.timeout(90):
        while True:
            try:
                status = await client.status(5)
            except Exception:  # noqa: BLE001 - nobody may take requests while the ingress is replaced
                await asyncio.sleep(0.2)
                continue
            after = process_ids(status)
            is_replaced = not {after[name] for name in after.keys() & names} & set(before.values())
            if status.ready and is_replaced and after.keys() == before.keys():
                return after
            await asyncio.sleep(0.2)
