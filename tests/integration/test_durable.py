"""Requests that are kept until they are answered, against a real NATS server: nothing lost, nothing twice."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nats.errors
import pytest
from click.testing import CliRunner, Result
from nats.aio.msg import Msg
from nats.js.api import StreamConfig

from bridges.command_line.client import NatsServer
from bridges.command_line.commands import dead_commands
from bridges.command_line.commands.dead_commands import dead_command
from bridges.generated.messages.v1 import messages_pb2
from bridges.nats.connection import NatsClient
from bridges.nats.dead_letters import DeadLetters
from bridges.nats.ingress import Ingress
from bridges.nats.once_answer import WRITTEN_ANEW
from bridges.permissions import inbox_prefix, installation_names, permissions
from bridges.subjects import SUBJECT_HEADER, Role
from deployments.call import Call
from deployments.errors import ReplicaLostError
from deployments.settings.orchestration import NatsSettings, OrchestrationSettings
from deployments.values.chat import AnswerItem, ChatQuestion
from tests.integration.durable_process import POISON, WORDS, DurableCounts, Graph, durable_ingress
from tests.nats_client import nats_connected
from tests.servers import free_port, nats_server, program, running

ROWS = ("chat-message", "chat-request", "greeting")


class LosingGraph(Graph):
    """Loses the replica that makes its first answer, in the middle of it."""

    MADE = 7

    async def answer(self, call: Call, question: ChatQuestion) -> AsyncGenerator[AnswerItem]:
        is_lost, self._is_lost = self._is_lost, False
        made = 0
        async for item in super().answer(call, question):
            if is_lost and made == self.MADE:
                raise ReplicaLostError("the model is gone")
            yield item
            made += 1

    _is_lost = True


DURABLE = {"rows": ROWS, "take_over_s": 1.0, "storage": "memory"}


@pytest.fixture
def nats_url(tmp_path: Path) -> Generator[str]:
    """Run a server for one test: a stream that one makes is in the way of the next."""
    with nats_server(tmp_path, "-js", "-sd", str(tmp_path / "jetstream")) as url:
        yield url


@pytest.fixture
async def client(nats_url: str) -> AsyncGenerator[NatsClient]:
    connection = await nats_connected(nats_url)
    yield connection
    await connection.close()


@dataclass
class Heard:
    """What went out of answers, by request id."""

    finals: dict[str, list[messages_pb2.ChatResponse]] = field(
        default_factory=lambda: defaultdict[str, list[messages_pb2.ChatResponse]](list)
    )
    chunks: dict[str, list[str]] = field(default_factory=lambda: defaultdict[str, list[str]](list))
    ends: Counter[str] = field(default_factory=Counter[str])
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def final(self, message: Msg) -> None:
        self.finals[message.subject.rsplit(".", 1)[1]].append(messages_pb2.ChatResponse.FromString(message.data))
        self.changed.set()

    async def chunk(self, message: Msg) -> None:
        chunk = messages_pb2.ChatStreamChunk.FromString(message.data)
        if chunk.done:
            self.ends[chunk.request_id] += 1
        else:
            self.chunks[chunk.request_id].append(chunk.content)
        self.changed.set()

    async def answered(self, number: int, seconds: float = 20.0) -> None:
        """Return when that many requests have a final message."""
        async with asyncio.timeout(seconds):
            while len(self.finals) < number:
                self.changed.clear()
                await self.changed.wait()

    async def streamed(self, request_id: str, number: int) -> None:
        """Return when that many pieces of an answer have come."""
        async with asyncio.timeout(10):
            while len(self.chunks[request_id]) < number:
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture
async def heard(client: NatsClient) -> Heard:
    found = Heard()
    await client.subscribe("ai.chat.response.*", cb=found.final)
    await client.subscribe("ai.chat.response.stream.*", cb=found.chunk)
    await client.flush()
    return found


def question(request_id: str, text: str = "", **fields: Any) -> bytes:
    return messages_pb2.ChatRequest(
        request_id=request_id, message=text or f"q{request_id}", enable_streaming=True, **fields
    ).SerializeToString()


def settings(url: str, **changes: Any) -> NatsSettings:
    return NatsSettings.model_validate({"url": url, "user_share": 1.0, "durable": {**DURABLE, **changes}})


@asynccontextmanager
async def serving(
    nats: NatsSettings, graph: Graph | None = None, timeout_s: float = 30.0, counts: DurableCounts | None = None
) -> AsyncGenerator[Ingress]:
    """Run an ingress for as long as the block lasts."""
    ingress = durable_ingress(nats, graph or Graph(), timeout_s, counts)
    task = asyncio.create_task(ingress.run())
    try:
        await asyncio.wait_for(ingress.wait_until_serving(), 10)
        yield ingress
    finally:
        ingress.stop()
        await asyncio.wait_for(task, 20)


@contextlib.contextmanager
def process(url: str, folder: Path, name: str) -> Generator[subprocess.Popen[bytes]]:
    """Run an ingress in a process of its own."""
    command = [sys.executable, "-m", "tests.integration.durable_process", url, json.dumps(DURABLE)]
    with running(command, folder / f"{name}.log") as started:
        yield started


async def joined(client: NatsClient, number: int) -> None:
    """Return once that many ingresses answer discovery requests."""
    async with asyncio.timeout(30):
        while True:
            inbox, found = client.new_inbox(), list[bytes]()

            async def answered(message: Msg, found: list[bytes] = found) -> None:
                if message.data:
                    found.append(message.data)

            subscription = await client.subscribe(inbox, cb=answered)
            await client.publish("$SRV.PING.hearth", b"", reply=inbox)
            await asyncio.sleep(0.1)
            await subscription.unsubscribe()
            if len(found) == number:
                return


async def test_a_kept_request_is_answered_on_its_subjects_and_to_who_asked(
    nats_url: str, client: NatsClient, heard: Heard
) -> None:
    async with serving(settings(nats_url), Graph(0.0)):
        reply = await client.request("ai.chat.user.ada.message", question("1"), timeout=10)
        await heard.answered(1)
    final = messages_pb2.ChatResponse.FromString(reply.data)
    assert final.success
    assert heard.finals == {"1": [final]}
    assert "".join(heard.chunks["1"]) == final.response
    assert heard.ends["1"] == 1
    assert (await client.jetstream().stream_info("HEARTH_REQUESTS")).state.messages == 0


async def test_equal_requests_without_an_id_are_answered_each(nats_url: str, client: NatsClient) -> None:
    payload = messages_pb2.GreetingRequest(user_id="ada", nickname="Ada").SerializeToString()
    async with serving(settings(nats_url), Graph(0.0)):
        replies = await asyncio.gather(
            *(client.request("ai.chat.user.ada.greeting.request", payload, timeout=10) for _ in range(5))
        )
    assert [messages_pb2.GreetingResponse.FromString(reply.data).greeting for reply in replies] == ["Hello Ada"] * 5


async def test_what_is_asked_while_nobody_listens_is_answered_by_who_comes(
    nats_url: str, client: NatsClient, heard: Heard
) -> None:
    async with serving(settings(nats_url)):
        pass
    for number in range(20):
        await client.publish("ai.chat.request", question(str(number)))
    async with serving(settings(nats_url)):
        await heard.answered(20)
    assert {len(finals) for finals in heard.finals.values()} == {1}


async def test_an_ingress_tells_what_it_has_and_what_all_have(nats_url: str, client: NatsClient, heard: Heard) -> None:
    held = settings(nats_url).model_copy(update={"max_in_flight": 2})
    graph = Graph(pause_s=30.0)
    async with serving(held, graph, timeout_s=2.0) as first, serving(held, graph, timeout_s=2.0) as second:
        for number in range(12):
            await client.publish(f"ai.chat.user.u{number}.message", question(str(number)))
        async with asyncio.timeout(5):  # nothing tells of it
            while (await first.open_requests()).kept + (await second.open_requests()).kept < 12:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        told = [await ingress.open_requests() for ingress in (first, second)]
        assert [one.backlog for one in told] == [12, 12]
        assert sum(one.in_flight + sum(one.waiting.values()) for one in told) == 12
        assert all(set(one.waiting) == one.kept_for == {"Chat"} for one in told)
        assert all(one.in_flight == min(2, one.kept) for one in told)
        await heard.answered(12)
        async with asyncio.timeout(5):
            while (await first.open_requests()).backlog:  # noqa: ASYNC110 - the last acknowledgement comes behind it
                await asyncio.sleep(0.02)


async def test_without_the_server_an_ingress_does_not_know_what_is_kept(tmp_path: Path) -> None:
    with ExitStack() as stack:
        url = stack.enter_context(nats_server(tmp_path, "-js", "-sd", str(tmp_path / "jetstream")))
        async with serving(settings(url)) as ingress:
            assert (await ingress.open_requests()).backlog == 0
            stack.close()
            told = await ingress.open_requests()
    assert (told.backlog, told.kept_for) == (None, {"Chat"})


async def test_of_a_hundred_requests_with_killed_ingresses_each_is_answered_once(
    nats_url: str, client: NatsClient, heard: Heard, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        processes = [stack.enter_context(process(nats_url, tmp_path, f"first{number}")) for number in range(2)]
        await joined(client, 2)
        for number in range(100):
            await client.publish("ai.chat.request", question(str(number)))
            await asyncio.sleep(0.01)
            if number in (30, 60):
                killed = processes.pop(0)
                os.kill(killed.pid, signal.SIGKILL)
                processes.append(stack.enter_context(process(nats_url, tmp_path, f"after{number}")))
        await heard.answered(100, 40)
        await client.flush()
    assert {len(finals) for finals in heard.finals.values()} == {1}
    assert all(final.success for finals in heard.finals.values() for final in finals)
    twice = {name: found for name, found in heard.chunks.items() if len(set(found)) < len(found)}
    assert twice == {}
    # No stream mixes two answers, and what was not broken off is the whole answer.
    assert all(len({piece.split(":")[1] for piece in found}) == 1 for found in heard.chunks.values() if found)
    whole = [name for name, (final,) in heard.finals.items() if WRITTEN_ANEW not in final.error]
    assert len(whole) > 50
    assert all("".join(heard.chunks[name]) == heard.finals[name][0].response for name in whole)


async def test_an_answer_whose_replica_is_killed_breaks_off_its_stream_and_comes_whole(
    nats_url: str, client: NatsClient, heard: Heard, tmp_path: Path
) -> None:
    with process(nats_url, tmp_path, "first") as first:
        await joined(client, 1)
        asked = asyncio.create_task(client.request("ai.chat.request", question("1"), timeout=20))
        await heard.streamed("1", 5)
        os.kill(first.pid, signal.SIGKILL)
    told = len(heard.chunks["1"])
    async with serving(settings(nats_url)):
        reply = messages_pb2.ChatResponse.FromString((await asked).data)
        await heard.answered(1)
    assert heard.finals["1"] == [reply]
    assert (reply.success, reply.error) == (True, WRITTEN_ANEW)
    assert len(reply.response.split()) == WORDS
    assert told <= len(heard.chunks["1"]) < WORDS
    assert heard.ends["1"] == 1


async def test_a_request_that_kills_its_replica_becomes_a_dead_letter_and_is_answered(
    nats_url: str, client: NatsClient, heard: Heard, tmp_path: Path
) -> None:
    counts = DurableCounts()
    with process(nats_url, tmp_path, "first") as first:
        await joined(client, 1)
        await client.publish("ai.chat.user.ada.message", question("1", POISON), headers={"x-of": "ada"})
        await asyncio.to_thread(first.wait, 10)
    async with serving(settings(nats_url, tries=1), counts=counts):
        await heard.answered(1)
    (final,) = heard.finals["1"]
    assert not final.success
    assert "given up" in final.error
    dead = await client.jetstream().get_msg("HEARTH_DEAD", seq=1)
    assert dead.subject == "hearth.dead.chat-message"
    assert dead.data == question("1", POISON)
    assert dead.headers is not None
    assert (dead.headers["Hearth-Subject"], dead.headers["Hearth-Times"]) == ("ai.chat.user.ada.message", "1")
    assert dead.headers["x-of"] == "ada"
    assert (counts.given_out_again, counts.dead) == (1, 1)


async def test_a_request_that_is_sent_again_is_answered_once_and_who_asked_again_is_told(
    nats_url: str, client: NatsClient, heard: Heard
) -> None:
    async with serving(settings(nats_url), Graph(0.0)):
        first = await client.request("ai.chat.request", question("1"), timeout=10)
        again = await client.request("ai.chat.request", question("1"), timeout=10)
        other = await client.request("ai.chat.request", question("1", "another question"), timeout=10)
    assert again.data == first.data
    assert messages_pb2.ChatResponse.FromString(other.data).response.startswith("another question")
    assert len(heard.finals["1"]) == 2
    assert len(heard.chunks["1"]) == 2 * WORDS


async def test_a_request_that_is_sent_again_while_it_is_answered_waits_for_that_answer(
    nats_url: str, client: NatsClient, heard: Heard
) -> None:
    async with serving(settings(nats_url)):
        replies = await asyncio.gather(
            *(client.request("ai.chat.request", question("1"), timeout=10) for _ in range(3))
        )
    assert len({reply.data for reply in replies}) == 1
    assert len(heard.finals["1"]) == 1
    assert len(heard.chunks["1"]) == WORDS


async def test_what_waited_for_longer_than_its_client_is_told_that_once(
    nats_url: str, client: NatsClient, heard: Heard
) -> None:
    async with serving(settings(nats_url)):
        pass
    await client.publish("ai.chat.request", question("1"))
    await asyncio.sleep(0.3)
    async with serving(settings(nats_url), timeout_s=0.2):
        await heard.answered(1)
    (final,) = heard.finals["1"]
    assert final.error == "it was not begun within 0.2 s"
    assert heard.chunks["1"] == []


async def test_of_a_stream_that_was_there_new_requests_are_answered_and_no_old_ones(
    nats_url: str, client: NatsClient, heard: Heard
) -> None:
    covering = StreamConfig(name="COMPANIONS_CHAT", subjects=["ai.chat.user.*.message", "ai.chat.user.*.greeting.*"])
    await client.jetstream().add_stream(covering)
    await client.publish("ai.chat.user.ada.message", question("old"))
    await client.flush()
    async with serving(settings(nats_url), Graph(0.0)):
        await client.publish("ai.chat.user.ada.message", question("new"))
        await client.publish("ai.chat.request", question("ours"))
        await heard.answered(2)
    await client.publish("ai.chat.user.ada.message", question("between"))
    async with serving(settings(nats_url), Graph(0.0)):
        await heard.answered(3)
    assert heard.finals.keys() == {"new", "ours", "between"}
    ours = await client.jetstream().stream_info("HEARTH_REQUESTS")
    assert ours.config.subjects == ["ai.chat.request"]


@pytest.mark.parametrize("alike", [True, False])
async def test_a_stream_goes_on_where_the_new_answer_begins_like_the_old_one(
    nats_url: str, client: NatsClient, heard: Heard, *, alike: bool
) -> None:
    going_on = settings(nats_url, broken_stream="continue")
    first = asyncio.create_task(durable_ingress(going_on, Graph(alike=alike)).run())
    await joined(client, 1)
    await client.publish("ai.chat.request", question("1"))
    await heard.streamed("1", 5)
    # A killed process in small: nothing is said to anybody any more.
    first.cancel()
    told = len(heard.chunks["1"])
    another = Graph(0.0, alike=alike, first=1)
    async with serving(going_on, another):
        await heard.answered(1)
    (final,) = heard.finals["1"]
    assert final.error == ("" if alike else WRITTEN_ANEW)
    assert ("".join(heard.chunks["1"]) == final.response) == alike
    assert alike or len(heard.chunks["1"]) == told


@pytest.mark.parametrize(("broken_stream", "alike"), [("end", True), ("continue", True), ("continue", False)])
async def test_an_answer_whose_model_is_lost_is_told_as_one_whose_ingress_is_lost(
    nats_url: str, client: NatsClient, heard: Heard, *, broken_stream: str, alike: bool
) -> None:
    async with serving(settings(nats_url, broken_stream=broken_stream), LosingGraph(0.0, alike=alike)):
        await client.publish("ai.chat.request", question("1"))
        await heard.answered(1)
    (final,) = heard.finals["1"]
    goes_on = broken_stream == "continue" and alike
    assert (final.success, final.error) == (True, "" if goes_on else WRITTEN_ANEW)
    assert len(final.response.split()) == WORDS
    assert len(heard.chunks["1"]) == (WORDS if goes_on else LosingGraph.MADE)
    assert heard.ends["1"] == 1


async def test_without_jetstream_the_ingress_is_not_ready_and_takes_nothing(tmp_path: Path) -> None:
    with nats_server(tmp_path / "plain") as url:
        ingress = durable_ingress(settings(url), Graph())
        task = asyncio.create_task(ingress.run())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ingress.wait_until_serving(), 1.0)
        ingress.stop()
        await asyncio.wait_for(task, 10)


async def hearth(url: str, *arguments: str) -> str:
    """Run `hearth` on the server as an operator does; return what it writes."""
    command = [program("hearth"), "--inbox-prefix", inbox_prefix("operator"), *arguments, "--nats", url]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    written, _ = await asyncio.wait_for(process.communicate(), 20)
    return written.decode()


async def test_an_operator_looks_at_dead_letters_sends_them_again_and_drops_them(
    nats_url: str, client: NatsClient, heard: Heard
) -> None:
    stream = client.jetstream()
    dead = DeadLetters(settings(nats_url).durable)
    await dead.open(client)
    async with serving(settings(nats_url)):
        pass
    for name in ("1", "2", "3"):
        await client.publish("ai.chat.request", question(name, "What\x1b[2J now?"), headers={"x-of": "ada"})
    kept = await stream.pull_subscribe("", durable="hearth-requests", stream="HEARTH_REQUESTS")
    for message in await kept.fetch(3):
        await dead.put(client, "chat-request", message, key=message.data.hex(), reason="it was lost", times=3)
        await message.ack_sync()

    listed = json.loads(await hearth(nats_url, "dead", "list", "--json"))
    assert [(letter["id"], letter["subject"], letter["times"]) for letter in listed] == [
        (number, "ai.chat.request", 3) for number in (1, 2, 3)
    ]
    shown = await hearth(nats_url, "dead", "show", "1")
    assert "it was lost" in shown
    assert "ada" in shown
    assert "\x1b" not in shown
    assert "no dead letter 9" in await hearth(nats_url, "dead", "drop", "9")
    assert await hearth(nats_url, "dead", "drop", "2") == "1 dropped.\n"
    async with serving(settings(nats_url), Graph(0.0)):
        assert await hearth(nats_url, "dead", "replay", "--all") == "2 sent again.\n"
        await heard.answered(2)
    assert heard.finals.keys() == {"1", "3"}
    assert (await hearth(nats_url, "dead", "list")).startswith("There are no dead letters")


def dead(url: str, *arguments: str) -> Result:
    return CliRunner().invoke(dead_command, [*arguments, "--nats", url])


async def dead_letters(nats: NatsSettings, client: NatsClient, *payloads: bytes) -> None:
    """Keep requests as dead letters."""
    await DeadLetters(nats.durable).open(client)
    for payload in payloads:
        headers = {SUBJECT_HEADER: "ai.chat.request"}
        await client.jetstream().publish("hearth.dead.chat-request", payload, headers=headers)


async def test_a_dead_letter_stays_where_nobody_takes_its_request(nats_url: str, client: NatsClient) -> None:
    await dead_letters(settings(nats_url), client, question("1"))
    replayed = await asyncio.to_thread(dead, nats_url, "replay", "--all")
    assert (replayed.exit_code, str(replayed.exception)) == (
        1,
        "dead letter 1 stays: nobody takes requests on ai.chat.request",
    )
    assert (await client.jetstream().stream_info("HEARTH_DEAD")).state.messages == 1


@pytest.mark.parametrize(("no_ack", "why"), [(True, "did not keep it"), (False, "refuses it")])
async def test_a_dead_letter_stays_where_a_stream_refuses_its_request(
    nats_url: str, client: NatsClient, monkeypatch: pytest.MonkeyPatch, why: str, *, no_ack: bool
) -> None:
    monkeypatch.setattr(dead_commands, "_KNOWN_WITHIN_S", 0.3)
    await dead_letters(settings(nats_url), client, question("1"))
    config = StreamConfig(name="HEARTH_REQUESTS", subjects=["ai.chat.request"], max_msg_size=1, no_ack=no_ack)
    await client.jetstream().add_stream(config)
    replayed = await asyncio.to_thread(dead, nats_url, "replay", "--all")
    assert replayed.exit_code == 1
    assert why in str(replayed.exception)
    assert (await client.jetstream().stream_info("HEARTH_DEAD")).state.messages == 1


async def test_a_dead_letter_is_sent_again_while_no_ingress_runs(
    nats_url: str, client: NatsClient, heard: Heard
) -> None:
    async with serving(settings(nats_url)):
        pass
    await dead_letters(settings(nats_url), client, question("1"))
    assert (await asyncio.to_thread(dead, nats_url, "replay", "1")).output == "1 sent again.\n"
    async with serving(settings(nats_url), Graph(0.0)):
        await heard.answered(1)
    assert (await client.jetstream().stream_info("HEARTH_DEAD")).state.messages == 0


async def test_a_dead_letter_that_two_operators_send_again_is_answered_once(
    nats_url: str, client: NatsClient, heard: Heard
) -> None:
    names = [str(number) for number in range(5)]
    nameless = messages_pb2.ChatRequest(message="q", response_subject="ai.chat.response.nameless")
    nats = settings(nats_url).model_copy(update={"answer_subjects": ("ai.chat.response.*",)})
    await dead_letters(nats, client, *(question(name) for name in names), nameless.SerializeToString())
    server = NatsServer(nats_url)
    async with serving(nats, Graph(0.0)):
        both = await asyncio.gather(*(dead_commands.replay(server, "HEARTH_DEAD", ()) for _ in range(2)))
        await heard.answered(6)
    assert sum(one.sent for one in both) == 6
    assert {name: len(finals) for name, finals in heard.finals.items()} == dict.fromkeys([*names, "nameless"], 1)


@pytest.mark.parametrize("words", [("list",), ("show", "1"), ("replay", "--all"), ("drop", "--all")], ids=" ".join)
async def test_a_stream_of_something_else_has_no_dead_letters(
    nats_url: str, client: NatsClient, words: tuple[str, ...]
) -> None:
    await client.jetstream().add_stream(StreamConfig(name="LIVE", subjects=["ai.chat.request"]))
    await client.jetstream().publish("ai.chat.request", question("1"))
    refused = await asyncio.to_thread(dead, nats_url, *words, "--stream", "LIVE")
    assert "--stream 'LIVE' keeps ai.chat.request; a stream of dead letters was expected" in str(refused.exception)
    assert (await client.jetstream().stream_info("LIVE")).state.messages == 1


def test_a_number_that_no_message_has_is_no_dead_letter(nats_url: str) -> None:
    assert "99999999999999999999 is not in the range" in dead(nats_url, "show", "9" * 20).output


def permitting_configuration(names: Mapping[str, str]) -> str:
    """Return a server's configuration, as JSON: a user for each role that has to do with requests."""
    users = [
        {
            "user": role.name,
            "password": "secret",
            "permissions": {"publish": list(may.publish), "subscribe": list(may.subscribe)},
        }
        for role in (Role.CLIENT, Role.NATS_INGRESS, Role.OPERATOR)
        for may in [permissions(role, {**names, "user_id": "operator"} if role is Role.OPERATOR else names)]
    ]
    return json.dumps({"authorization": {"users": users}})


async def test_all_that_kept_requests_need_is_permitted(tmp_path: Path) -> None:
    durable = {**DURABLE, "tries": 1}
    names = installation_names(OrchestrationSettings.model_validate({"nats": {"durable": durable}}))
    (tmp_path / "nats.conf").write_text(permitting_configuration(names))
    options = ("-c", str(tmp_path / "nats.conf"), "-js", "-sd", str(tmp_path / "store"))
    with nats_server(tmp_path / "nats", *options) as url:

        def url_for(role: Role) -> str:
            return url.replace("nats://", f"nats://{role.name}:secret@")

        client = await nats_connected(url_for(Role.CLIENT))
        # The first attempt says nothing to anybody, as one whose process was killed.
        first = asyncio.create_task(durable_ingress(settings(url_for(Role.NATS_INGRESS), tries=1), Graph()).run())
        await until_taken(client)
        stuck = asyncio.create_task(client.request("ai.chat.request", question("1"), timeout=20))
        await asyncio.sleep(0.2)
        first.cancel()
        await asyncio.wait((first,))
        async with serving(settings(url_for(Role.NATS_INGRESS), tries=1), Graph(0.0)):
            answered = await client.request("ai.chat.request", question("2"), timeout=10)
            given_up = messages_pb2.ChatResponse.FromString((await stuck).data)
            assert messages_pb2.ChatResponse.FromString(answered.data).success
            assert "given up" in given_up.error
            assert await hearth(url_for(Role.OPERATOR), "dead", "replay", "1") == "1 sent again.\n"
        await client.close()
    log = (tmp_path / "nats" / "nats.log").read_text()
    assert [line for line in log.splitlines() if "Violation" in line] == []


async def until_taken(client: NatsClient) -> None:
    """Return once requests are taken."""
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(nats.errors.NoRespondersError):
                await client.request("ai.chat.user.ada.greeting.request", b"", timeout=10)
                return
            await asyncio.sleep(0.05)


async def test_what_is_asked_while_a_server_without_its_store_has_no_stream_yet_is_answered_once(
    tmp_path: Path,
) -> None:
    port = str(free_port())
    nats_url = f"nats://127.0.0.1:{port}"
    ingress = durable_ingress(settings(nats_url), Graph(0.0))
    with nats_server(tmp_path / "first", "-p", port, "-js", "-sd", str(tmp_path / "store")):
        task = asyncio.create_task(ingress.run())
        await asyncio.wait_for(ingress.wait_until_serving(), 10)
    with nats_server(tmp_path / "second", "-p", port, "-js", "-sd", str(tmp_path / "another")):
        client, heard = await nats_connected(nats_url), Heard()
        await client.subscribe("ai.chat.response.*", cb=heard.final)
        number = 0
        while not heard.finals:
            number += 1
            with contextlib.suppress(nats.errors.NoRespondersError):
                # The first that an ingress hears is in no stream yet.
                await client.request("ai.chat.request", question(str(number)), timeout=5)
        greeted = await client.request("ai.chat.user.ada.greeting.request", b"", timeout=10)
        assert messages_pb2.GreetingResponse.FromString(greeted.data).greeting.startswith("Hello")
        await client.close()
        task.cancel()
        await asyncio.wait((task,))
    assert heard.finals.keys() == {str(number)}
    assert {len(finals) for finals in heard.finals.values()} == {1}


async def test_requests_and_answers_outlive_a_restart_of_the_server(tmp_path: Path) -> None:
    port = str(free_port())
    options = ("-p", port, "-js", "-sd", str(tmp_path / "store"))
    nats_url = f"nats://127.0.0.1:{port}"
    kept_in_files = settings(nats_url, storage="file")
    with nats_server(tmp_path / "first", *options):
        task = asyncio.create_task(durable_ingress(kept_in_files, Graph()).run())
        client, heard = await nats_connected(nats_url, max_reconnect_attempts=-1, reconnect_time_wait=0.1), Heard()
        await client.subscribe("ai.chat.response.*", cb=heard.final)
        await joined(client, 1)
        for number in range(10):
            await client.publish("ai.chat.request", question(str(number)))
        await client.flush()
    with nats_server(tmp_path / "second", *options):
        await heard.answered(10)
        await client.request("ai.chat.user.ada.greeting.request", b"", timeout=10)
        await client.close()
        task.cancel()
        await asyncio.wait((task,))
    assert {len(finals) for finals in heard.finals.values()} == {1}
