"""Kept requests where something is wrong: with the request, the store, the server, or a replica that comes back."""

import asyncio
import json
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest
from nats.aio.msg import Msg
from nats.js.api import StorageType, StreamConfig
from nats.js.errors import APIError, NotFoundError

from bridges.generated.messages.v1 import messages_pb2
from bridges.nats import durable_intake
from bridges.nats.answer_store import ASKERS_KEPT, AskerNote
from bridges.nats.connection import NatsClient
from bridges.nats.once_answer import digest_of
from bridges.subjects import REPLAY_HEADER, REQUESTS_CONSUMER
from deployments.call import Call
from deployments.settings.orchestration import NatsSettings
from deployments.values.chat import AnswerItem, ChatQuestion
from tests.integration.durable_process import POISON, WORDS, DurableCounts, Graph, durable_ingress
from tests.integration.test_durable import (
    DURABLE,
    ROWS,
    Heard,
    joined,
    process,
    question,
    serving,
    settings,
)
from tests.nats_client import nats_connected
from tests.servers import free_port, nats_server

GREETING = messages_pb2.GreetingRequest(user_id="ada", nickname="Ada").SerializeToString()


@pytest.fixture
def nats_url(tmp_path: Path) -> Generator[str]:
    with nats_server(tmp_path, "-js", "-sd", str(tmp_path / "jetstream")) as url:
        yield url


@pytest.fixture
async def client(nats_url: str) -> AsyncGenerator[NatsClient]:
    connection = await nats_connected(nats_url)
    yield connection
    await connection.close()


@pytest.fixture
async def heard(client: NatsClient) -> Heard:
    return await hearing(client)


async def hearing(client: NatsClient) -> Heard:
    found = Heard()
    await client.subscribe("ai.chat.response.*", cb=found.final)
    await client.subscribe("ai.chat.response.stream.*", cb=found.chunk)
    await client.flush()
    return found


def with_settings(url: str, **changes: object) -> NatsSettings:
    return NatsSettings.model_validate({"url": url, "user_share": 1.0, "durable": DURABLE} | changes)


class CountingGraph(Graph):
    """Counts the answers that it begins."""

    begun = 0

    async def answer(self, call: Call, question: ChatQuestion) -> AsyncGenerator[AnswerItem]:
        self.begun += 1
        async for item in super().answer(call, question):
            yield item


class BlockingGraph(Graph):
    """Holds its whole replica up for longer than a request is held."""

    async def answer(self, call: Call, question: ChatQuestion) -> AsyncGenerator[AnswerItem]:
        time.sleep(1.3)  # noqa: ASYNC251 - what it is about
        async for item in super().answer(call, question):
            yield item


async def waiting(client: NatsClient) -> int:
    """Return how many requests are kept and not answered."""
    return (await client.jetstream().stream_info("HEARTH_REQUESTS")).state.messages


async def settled(client: NatsClient) -> None:
    """Return once no request is kept any more."""
    async with asyncio.timeout(10):
        while await waiting(client):  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.01)


async def asked(client: NatsClient, subject: str, payload: bytes) -> messages_pb2.ChatResponse:
    reply = await client.request(subject, payload, timeout=10)
    return messages_pb2.ChatResponse.FromString(reply.data)


async def test_one_request_that_is_sent_twice_at_once_to_two_replicas_is_answered_once(
    nats_url: str, client: NatsClient, heard: Heard
) -> None:
    """Both are told, each on its own reply subject."""
    async with serving(settings(nats_url)), serving(settings(nats_url)):
        told = await asyncio.gather(
            *(asked(client, "ai.chat.request", question(str(number // 2))) for number in range(20))
        )
        await settled(client)
    assert [len(heard.finals[str(number)]) for number in range(10)] == [1] * 10
    assert {len(found) for found in heard.chunks.values()} == {WORDS}
    assert [told[2 * number] for number in range(10)] == [told[2 * number + 1] for number in range(10)]


async def test_users_with_the_same_request_id_hear_their_own_answers(nats_url: str, client: NatsClient) -> None:
    payload = question("1", "Open?")
    async with serving(settings(nats_url)), serving(settings(nats_url)):
        answers = await asyncio.gather(
            *(asked(client, f"ai.chat.user.{user}.message", payload) for user in ("ada", "bob", "ada"))
        )
    assert [answer.user_id for answer in answers] == ["ada", "bob", "ada"]
    assert answers[0].response == answers[2].response != answers[1].response


@pytest.mark.parametrize("header", ["", "x-user"])
async def test_the_same_words_of_another_user_are_another_request(nats_url: str, header: str) -> None:
    """Whether their header names them, or the inbox that is theirs alone."""
    ada, bob = [
        await nats_connected(nats_url, inbox_prefix=f"_INBOX_USER.{user}" if not header else "_INBOX")
        for user in ("ada", "bob")
    ]
    async with serving(with_settings(nats_url, user_header=header)):
        replies = await asyncio.gather(
            *(
                one.request("ai.chat.request", question("1"), timeout=10, headers={header: user} if header else None)
                for one, user in ((ada, "ada"), (bob, "bob"))
            )
        )
    for one in (ada, bob):
        await one.close()
    texts = {messages_pb2.ChatResponse.FromString(reply.data).response for reply in replies}
    assert len(texts) == 2


@pytest.mark.parametrize("request_id", ["", "a b.*>", "x" * 5000, "ä/…"])
async def test_whatever_the_request_id_is_who_asked_is_told_once(
    nats_url: str, client: NatsClient, request_id: str
) -> None:
    payload = messages_pb2.ChatRequest(request_id=request_id, message="Open?").SerializeToString()
    inbox = client.new_inbox()
    subscription = await client.subscribe(inbox)
    async with serving(settings(nats_url), Graph(0.0)):
        await client.publish("ai.chat.request", payload, reply=inbox)
        await subscription.next_msg(timeout=10)
        await settled(client)
    await client.flush()
    assert subscription.pending_msgs == 0


async def test_a_request_that_is_too_large_for_the_settings_is_refused_once_and_let_go(
    nats_url: str, client: NatsClient, heard: Heard
) -> None:
    small, counts = with_settings(nats_url, sizes={"question_characters": 10}), DurableCounts()
    async with serving(small, Graph(0.0), counts=counts):
        answer = await asked(client, "ai.chat.request", question("1", "x" * 100))
        await settled(client)
    assert not answer.success
    assert heard.finals["1"] == [answer]
    assert counts.dead == 0


async def test_an_equal_request_that_was_not_kept_leaves_the_next_one_its_reply(
    nats_url: str, client: NatsClient
) -> None:
    """Its note stays, as when the store of NATS was full, and nobody listens on its inbox any more."""
    payload, inbox = messages_pb2.ChatRequest(message="Open?", user_id="ada").SerializeToString(), client.new_inbox()
    message = Msg(_client=client, subject="ai.chat.request", data=payload)
    lost = AskerNote.made(inbox, time.time() - 5)
    async with serving(settings(nats_url), Graph(0.0)):
        await client.publish(f"$KV.hearth_answers.asker.{digest_of(message, '')}.{lost.name}", inbox.encode())
        for _ in range(3):
            assert (await asked(client, "ai.chat.request", payload)).success


async def test_one_request_without_an_id_is_answered_as_often_as_it_is_sent(nats_url: str, client: NatsClient) -> None:
    async with serving(settings(nats_url), Graph(0.0)):
        for _ in range(ASKERS_KEPT + 6):
            await client.request("ai.chat.user.ada.greeting.request", GREETING, timeout=2)


@pytest.mark.parametrize("request_id", ["", "1"])
@pytest.mark.parametrize("gap_s", [0.0, 0.05, 0.3])
async def test_the_same_words_of_two_users_are_two_requests_however_close(
    nats_url: str, request_id: str, gap_s: float
) -> None:
    payload = messages_pb2.ChatRequest(request_id=request_id, message="Open?").SerializeToString()
    users = [await nats_connected(nats_url, inbox_prefix=f"_INBOX_USER.{user}") for user in ("ada", "bob")]

    async def ask_after(seconds: float, user: NatsClient) -> str:
        await asyncio.sleep(seconds)
        return (await asked(user, "ai.chat.request", payload)).response

    async with serving(settings(nats_url), Graph(0.01)):
        texts = await asyncio.gather(*(ask_after(gap_s * number, user) for number, user in enumerate(users)))
    for user in users:
        await user.close()
    assert len(set(texts)) == 2


async def test_of_more_than_may_wait_the_rest_is_refused_at_once_and_let_go(
    nats_url: str, client: NatsClient, heard: Heard
) -> None:
    few = with_settings(nats_url, max_in_flight=1, max_waiting=4)
    async with serving(few, Graph(0.01, words=2)):
        for number in range(50):
            await client.publish("ai.chat.request", question(str(number)))
        await heard.answered(50)
        await settled(client)
    answers = [final for finals in heard.finals.values() for final in finals]
    assert len(answers) == 50
    assert sum(answer.success for answer in answers) >= 5
    assert all("such requests wait already" in answer.error for answer in answers if not answer.success)


async def test_a_request_that_was_refused_for_now_is_asked_anew_when_it_is_sent_again(
    nats_url: str, client: NatsClient, heard: Heard
) -> None:
    few = with_settings(nats_url, max_in_flight=1, max_waiting=1)
    async with serving(few, Graph(0.02)):
        for user in ("u1", "u2"):
            await client.publish(f"ai.chat.user.{user}.message", question(user))
        await heard.streamed("u1", 1)
        refused = await asked(client, "ai.chat.user.ada.message", question("1"))
        await heard.answered(3)
        answer = await asked(client, "ai.chat.user.ada.message", question("1"))
        again = await asked(client, "ai.chat.user.ada.message", question("1"))
        await settled(client)
    assert (refused.success, answer.success, answer.error) == (False, True, "")
    assert again == answer
    assert heard.finals["1"] == [refused, answer]
    assert "".join(heard.chunks["1"]) == answer.response


async def test_one_user_s_flood_on_a_shared_subject_leaves_another_s_request_its_turn(
    nats_url: str, client: NatsClient, heard: Heard
) -> None:
    """They are told apart by their inboxes, although no stream keeps a reply subject."""
    few = with_settings(nats_url, max_in_flight=1, max_waiting=8)
    other = await nats_connected(nats_url)
    async with serving(few, Graph(0.01, words=2)):
        inbox = client.new_inbox()
        for number in range(100):
            await client.publish("ai.chat.request", question(str(number)), reply=inbox)
        await client.flush()
        assert (await asked(other, "ai.chat.request", question("other"))).success
        await heard.answered(101)
    await other.close()


async def test_a_user_s_limits_hold_where_the_inbox_alone_says_who_asks(nats_url: str) -> None:
    ada = await nats_connected(nats_url, inbox_prefix="_INBOX_USER.ada")
    limited = with_settings(nats_url, users={"ada": {"open_requests": 1}})
    async with serving(limited, Graph(0.05)):
        answers = await asyncio.gather(*(asked(ada, "ai.chat.request", question(str(number))) for number in range(3)))
    await ada.close()
    assert sorted(answer.success for answer in answers) == [False, False, True]


async def test_a_reply_subject_that_is_none_of_the_asker_s_is_not_answered_when_it_is_given_out_again(
    nats_url: str, client: NatsClient, heard: Heard
) -> None:
    foreign = await client.subscribe("somebody.else")
    broken = asyncio.create_task(durable_ingress(settings(nats_url), Graph()).run())
    await joined(client, 1)
    await client.publish("ai.chat.user.ada.message", question("1", user_id="bob"), reply="somebody.else")
    await client.publish("ai.chat.user.ada.message", question("2"), reply="somebody.else")
    await heard.answered(1)
    broken.cancel()
    await asyncio.wait([broken])
    async with serving(settings(nats_url), Graph(0.0)):
        await heard.answered(2)
        await client.publish(
            "ai.chat.user.ada.message", question("3", user_id="bob"), "somebody.else", {REPLAY_HEADER: "x"}
        )
        await heard.answered(3)
        await settled(client)
    assert [heard.finals[name][0].success for name in ("1", "2", "3")] == [False, True, False]
    assert {len(finals) for finals in heard.finals.values()} == {1}
    await client.flush()
    assert foreign.pending_msgs == 0


async def test_a_replica_that_was_stopped_and_goes_on_says_nothing_of_what_another_has_taken_over(
    nats_url: str, client: NatsClient, heard: Heard, tmp_path: Path
) -> None:
    with process(nats_url, tmp_path, "stopped") as stopped:
        await joined(client, 1)
        request = asyncio.create_task(asked(client, "ai.chat.request", question("1")))
        await heard.streamed("1", 3)
        os.kill(stopped.pid, signal.SIGSTOP)
        async with serving(settings(nats_url)):
            answer = await request
            os.kill(stopped.pid, signal.SIGCONT)
            await joined(client, 2)
            # What the one that goes on would say comes before its answer to this.
            await asyncio.gather(*(asked(client, "ai.chat.request", question(f"after{number}")) for number in range(8)))
            await settled(client)
    assert heard.finals["1"] == [answer]
    assert len(set(heard.chunks["1"])) == len(heard.chunks["1"])
    assert len({piece.split(":")[1] for piece in heard.chunks["1"]}) == 1


@pytest.mark.parametrize("inboxes", ["_INBOX", "_INBOX_USER.ada"])
async def test_who_was_heard_by_a_replica_that_was_stopped_is_told_when_it_goes_on(
    nats_url: str, client: NatsClient, tmp_path: Path, inboxes: str
) -> None:
    ada = await nats_connected(nats_url, inbox_prefix=inboxes)
    with process(nats_url, tmp_path, "stopped") as stopped:
        async with serving(settings(nats_url), Graph(0.0)):
            await joined(client, 2)
            os.kill(stopped.pid, signal.SIGSTOP)
            asking = [
                asyncio.create_task(asked(ada, "ai.chat.user.ada.message", question(str(number))))
                for number in range(20)
            ]
            await ada.flush()
            await settled(client)
            os.kill(stopped.pid, signal.SIGCONT)
            answers = await asyncio.gather(*asking)
    await ada.close()
    assert all(answer.success for answer in answers)


async def test_a_replica_that_is_merely_slow_keeps_its_request(nats_url: str, client: NatsClient, heard: Heard) -> None:
    counts = DurableCounts()
    hurried = settings(nats_url, take_over_s=0.3, tries=1)
    async with serving(hurried, Graph(0.06), counts=counts), serving(hurried, Graph(0.06), counts=counts):
        assert (await asked(client, "ai.chat.request", question("1"))).success
    assert (counts.given_out_again, counts.dead) == (0, 0)
    assert len(heard.chunks["1"]) == WORDS


async def test_a_shorter_time_to_take_over_is_set_when_who_holds_by_the_longer_one_knows_it(
    nats_url: str, client: NatsClient, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable_intake, "_LOOK_S", 0.2)
    counts = DurableCounts()
    async with serving(settings(nats_url, take_over_s=6.0), Graph(0.15), counts=counts):
        await client.publish("ai.chat.request", question("1"))
        await heard.streamed("1", 1)
        async with serving(settings(nats_url, take_over_s=0.4), Graph(0.0), counts=counts):
            await heard.answered(1)
            consumer = await client.jetstream().consumer_info("HEARTH_REQUESTS", REQUESTS_CONSUMER)
    assert consumer.config.ack_wait == 0.4
    assert (counts.given_out_again, len(heard.chunks["1"])) == (0, WORDS)


async def test_a_request_whose_consumer_is_deleted_is_worked_on_by_who_has_it(
    nats_url: str, client: NatsClient, heard: Heard
) -> None:
    graph = CountingGraph(0.15)
    async with serving(settings(nats_url), graph):
        await client.publish("ai.chat.request", question("1"))
        await heard.streamed("1", 1)
        await client.jetstream().delete_consumer("HEARTH_REQUESTS", REQUESTS_CONSUMER)
        await heard.answered(1)
        await settled(client)
    (final,) = heard.finals["1"]
    assert (final.success, final.error) == (True, "")
    assert "".join(heard.chunks["1"]) == final.response
    assert (graph.begun, heard.ends["1"]) == (1, 1)


@pytest.mark.parametrize("lost", ["HEARTH_REQUESTS", "KV_hearth_answers", "HEARTH_DEAD"])
async def test_what_is_deleted_while_it_runs_is_made_anew(
    nats_url: str, client: NatsClient, heard: Heard, lost: str
) -> None:
    async with serving(settings(nats_url), Graph(0.0)):
        assert (await asked(client, "ai.chat.request", question("1"))).success
        await client.jetstream().delete_stream(lost)
        async with asyncio.timeout(20):
            while not heard.finals["2"]:
                await client.publish("ai.chat.request", question("2"))
                await asyncio.sleep(0.1)
    assert len(heard.finals["2"]) == 1


@pytest.mark.parametrize("headers", [None, {REPLAY_HEADER: "1 then"}], ids=["unheard", "replayed"])
async def test_an_answer_for_an_inbox_that_may_be_anybodys_goes_where_the_contract_says(
    nats_url: str, client: NatsClient, heard: Heard, headers: dict[str, str] | None
) -> None:
    async with serving(settings(nats_url)):
        pass
    asked_with = question("1", response_subject="_INBOX.ada.1")
    await client.publish("ai.chat.request", asked_with, reply="_INBOX.bob.1" if headers else "", headers=headers)
    async with serving(settings(nats_url), Graph(0.0)):
        await heard.answered(1)
    assert [answer.success for answer in heard.finals["1"]] == [True]


async def test_answers_are_remembered_for_as_long_as_their_requests_are_kept(nats_url: str, client: NatsClient) -> None:
    async with serving(settings(nats_url, remember_s=0.0)):
        requests, answers = [
            (await client.jetstream().stream_info(name)).config.max_age
            for name in ("HEARTH_REQUESTS", "KV_hearth_answers")
        ]
    assert requests
    assert answers
    assert answers >= requests


async def test_what_a_stream_of_somebody_else_has_is_answered_once_though_ours_is_lost(
    nats_url: str, client: NatsClient
) -> None:
    told: Counter[str] = Counter()

    async def hear(message: Msg) -> None:
        told[message.subject] += 1

    await client.subscribe("ai.chat.user.*.greeting.response", cb=hear)
    theirs = StreamConfig(name="THEIRS", subjects=["ai.chat.user.*.greeting.request"], no_ack=True)
    await client.jetstream().add_stream(theirs)
    async with serving(settings(nats_url, take_over_s=0.3), Graph(0.0)):
        assert (await asked(client, "ai.chat.request", question("first"))).success
        await client.jetstream().delete_stream("HEARTH_REQUESTS")
        for number in range(100):
            greeting = messages_pb2.GreetingRequest(user_id=f"u{number}", nickname="x").SerializeToString()
            await asyncio.sleep(0.005)
            await client.publish(f"ai.chat.user.u{number}.greeting.request", greeting)
        async with asyncio.timeout(10):
            while not await is_there(client, "HEARTH_REQUESTS") or len(told) < 100:  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.1)
        # Taken behind all that came before.
        await asked(client, "ai.chat.request", question("last"))
    assert told == {f"ai.chat.user.u{number}.greeting.response": 1 for number in range(100)}


async def is_there(client: NatsClient, stream: str) -> bool:
    try:
        await client.jetstream().stream_info(stream)
    except NotFoundError:
        return False
    return True


async def test_a_dead_letter_is_kept_though_its_stream_was_deleted(
    nats_url: str, client: NatsClient, heard: Heard, tmp_path: Path
) -> None:
    with process(nats_url, tmp_path, "first") as first:
        await joined(client, 1)
        await client.publish("ai.chat.request", question("1", POISON))
        await asyncio.to_thread(first.wait, 10)
    await client.jetstream().delete_stream("HEARTH_DEAD")
    counts = DurableCounts()
    async with serving(settings(nats_url, tries=1), counts=counts):
        await heard.answered(1)
    assert counts.dead == 1
    assert (await client.jetstream().get_msg("HEARTH_DEAD", seq=1)).data == question("1", POISON)


async def test_messages_that_a_client_calls_alike_are_kept_all_the_same(nats_url: str, client: NatsClient) -> None:
    """NATS drops what has the `Nats-Msg-Id` of another message, for two minutes unless it is told otherwise."""
    async with serving(settings(nats_url)):
        config = (await client.jetstream().stream_info("HEARTH_REQUESTS")).config
    assert config.duplicate_window == 0.1


async def test_a_server_that_comes_back_without_its_store_is_set_up_anew(tmp_path: Path) -> None:
    port = str(free_port())
    nats_url = f"nats://127.0.0.1:{port}"
    with nats_server(tmp_path / "first", "-p", port, "-js", "-sd", str(tmp_path / "one")):
        task = asyncio.create_task(durable_ingress(settings(nats_url), Graph(0.0)).run())
        before = await nats_connected(nats_url)
        await joined(before, 1)
        await before.close()
    with nats_server(tmp_path / "second", "-p", port, "-js", "-sd", str(tmp_path / "two")):
        client = await nats_connected(nats_url)
        heard = await hearing(client)
        async with asyncio.timeout(20):
            while not heard.finals["1"]:
                await client.publish("ai.chat.request", question("1"))
                await asyncio.sleep(0.1)
        await client.close()
        task.cancel()
        await asyncio.wait((task,))
    assert len(heard.finals["1"]) == 1


async def fill(client: NatsClient, size: int) -> None:
    """Store messages of some bytes until nothing more has room."""
    for _ in range(100_000):
        await client.jetstream().publish("fill", bytes(size))


async def test_a_store_that_is_full_is_said_and_what_was_kept_is_answered_when_it_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(durable_intake, "_LOOK_S", 0.2)
    (tmp_path / "nats.conf").write_text(json.dumps({"jetstream": {"store_dir": str(tmp_path), "max_mem": 2 << 20}}))
    with nats_server(tmp_path / "nats", "-c", str(tmp_path / "nats.conf")) as url:
        client = await nats_connected(url)
        heard, stream = await hearing(client), client.jetstream()
        async with serving(settings(url, take_over_s=0.5, tries=1), Graph(0.0)):
            pass
        await client.publish("ai.chat.request", question("1"))
        await stream.add_stream(StreamConfig(name="FILL", subjects=["fill"], storage=StorageType.MEMORY))
        for size in (100_000, 100, 1):
            with pytest.raises(APIError):
                await fill(client, size)
        async with serving(settings(url, take_over_s=0.5, tries=1), Graph(0.0)):
            async with asyncio.timeout(10):
                while "requests cannot be kept" not in caplog.text:  # noqa: ASYNC110 - a log tells nobody
                    await asyncio.sleep(0.05)
            assert not heard.finals
            await stream.delete_stream("FILL")
            await heard.answered(1)
        assert heard.finals["1"][0].success
        await client.close()


async def test_large_requests_and_answers_are_carried(tmp_path: Path) -> None:
    (tmp_path / "nats.conf").write_text(json.dumps({"jetstream": {"store_dir": str(tmp_path)}, "max_payload": 4 << 20}))
    with nats_server(tmp_path / "nats", "-c", str(tmp_path / "nats.conf")) as url:
        client = await nats_connected(url)
        sizes = {"question_characters": 3 << 20}
        large = with_settings(url, sizes=sizes, durable={"rows": ROWS, "storage": "memory"})
        payload = messages_pb2.ChatRequest(message="x" * (2 << 20)).SerializeToString()
        async with serving(large, Graph(0.0, words=1)):
            answers = await asyncio.gather(*(asked(client, "ai.chat.request", payload) for _ in range(12)))
            await settled(client)
        await client.close()
    # More bytes than one pull request takes. An answer holds its text twice, so it is cut to what the server takes.
    assert all(len(answer.response) > 1 << 20 for answer in answers)


async def test_a_clock_that_is_set_wrong_leaves_requests_their_time(
    nats_url: str, client: NatsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(settings(nats_url)):
        pass
    monkeypatch.setattr("bridges.nats.server_clock.time.time", lambda: 9e9)
    inbox = client.new_inbox()
    subscription = await client.subscribe("ai.chat.response.1")
    await client.publish("ai.chat.request", question("1"), reply=inbox)
    async with serving(settings(nats_url), Graph(0.0), timeout_s=5.0):
        answer = messages_pb2.ChatResponse.FromString((await subscription.next_msg(timeout=10)).data)
    assert answer.success


async def test_a_request_that_holds_its_replica_up_is_given_up(nats_url: str, client: NatsClient, heard: Heard) -> None:
    counts = DurableCounts()
    async with serving(settings(nats_url, tries=1), BlockingGraph(0.0), counts=counts):
        await client.publish("ai.chat.request", question("1"))
        await heard.answered(1)
    (final,) = heard.finals["1"]
    assert "given up" in final.error
    assert counts.dead == 1
