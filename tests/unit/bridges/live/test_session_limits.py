"""What users may take in live sessions, and what their clients are told, on a virtual clock."""

import asyncio
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

from bridges.generated.messages.v1 import messages_pb2
from bridges.live.session_limits import SessionLimits
from bridges.nats.allowances import UNLIMITED, Allowances
from bridges.nats.askers import Asker, Askers
from bridges.nats.trust import STRICT
from bridges.operations.clock import now
from deployments.errors import InvalidRequestError
from deployments.settings.users import UserLimits
from tests.conversation.scene import Scene, ScriptedVoice, scene, square_voice
from tests.conversation.script import Says, Script, ends, play, starts
from tests.conversation.virtual_clock import run_virtually

T = TypeVar("T")


@dataclass
class Arrived:
    subject: str
    headers: dict[str, str]
    data: bytes = b""
    reply: str = ""


SECOND = bytes(32_000)
INBOX = "_INBOX.x"


def virtually(work: Coroutine[Any, Any, T]) -> T:
    return run_virtually(work)


def limited(**by_user: dict[str, Any]) -> AbstractAsyncContextManager[Scene]:
    users = {name.replace("everybody", "*"): UserLimits.model_validate(given) for name, given in by_user.items()}
    return scene(allowances=Allowances(users, "knowledge_base", clock=now))


def refusals(stage: Scene, session_id: str) -> list[tuple[str, bool]]:
    """Return the kinds of error that a session was told, and whether they came as final transcripts."""
    return [(one.error_type, one.is_final) for one in stage.transcripts(session_id) if one.error]


async def start(stage: Scene, session_id: str, **fields: Any) -> None:
    await stage.send(session_id, type="start", **fields)
    await asyncio.sleep(0)


async def send_seconds(stage: Scene, session_id: str, seconds: int, **fields: Any) -> None:
    for _ in range(seconds):
        await stage.send(session_id, type="chunk", audio=SECOND, **fields)
        await asyncio.sleep(0.01)


class TestSound:
    def test_of_a_user_over_their_limit_is_refused_once_and_clearly(self) -> None:
        async def run() -> None:
            async with limited(everybody={"sound_s_per_minute": 20}) as stage:
                await start(stage, "s", user_id="ada")
                await send_seconds(stage, "s", 25)
                assert refusals(stage, "s") == [("overloaded", True)]
                (told,) = stage.transcripts("s")
                assert told.session_id == "s"
                assert "20 seconds of sound per minute" in told.error
                assert "try again in" in told.error

        virtually(run())

    def test_is_taken_again_when_enough_has_come_back(self) -> None:
        async def run() -> None:
            async with limited(everybody={"sound_s_per_minute": 20}) as stage:
                await start(stage, "s", user_id="ada")
                await send_seconds(stage, "s", 22)
                assert len(refusals(stage, "s")) == 1
                await asyncio.sleep(20)
                await send_seconds(stage, "s", 5)
                assert len(refusals(stage, "s")) == 1
                await send_seconds(stage, "s", 5)
                assert len(refusals(stage, "s")) == 2, "told again, because it was listened to meanwhile"

        virtually(run())

    def test_of_others_goes_on(self) -> None:
        async def run() -> None:
            async with limited(everybody={"sound_s_per_minute": 10}) as stage:
                await start(stage, "rude", user_id="bob")
                await send_seconds(stage, "rude", 20)
                await play(Script([starts(), Says(0.5, "good morning"), ends(4.0)]), stage.wire, "s", square_voice)
                await asyncio.sleep(1)
                assert len(refusals(stage, "rude")) == 1
                assert stage.finals("s") == ["good morning"]

        virtually(run())

    def test_of_all_sessions_of_a_user_counts_together(self) -> None:
        async def run() -> None:
            async with limited(everybody={"sound_s_per_minute": 10}) as stage:
                for session_id in ("a", "b"):
                    await start(stage, session_id, user_id="ada")
                    await send_seconds(stage, session_id, 6)
                assert (refusals(stage, "a"), len(refusals(stage, "b"))) == ([], 1)

        virtually(run())

    def test_is_measured_as_it_is_written(self) -> None:
        async def run() -> None:
            async with limited(everybody={"sound_s_per_minute": 10}) as stage:
                await start(stage, "s", user_id="ada", sample_rate=48_000, channels=2)
                await send_seconds(stage, "s", 30)
                assert refusals(stage, "s") == [], "30 messages are 5 s of it"

        virtually(run())

    def test_with_a_reply_subject_is_refused_there_too(self) -> None:
        async def run() -> None:
            async with limited(everybody={"sound_s_per_minute": 1}) as stage:
                await start(stage, "s", user_id="ada")
                await send_seconds(stage, "s", 2)
                await stage.send("s", INBOX, type="chunk", audio=SECOND)
                await asyncio.sleep(0)
                assert stage.wire.on(INBOX)[0].read(messages_pb2.ErrorResponse).type == "overloaded"

        virtually(run())


class TestStarts:
    def test_of_more_sessions_than_a_user_may_have_are_refused_and_told(self) -> None:
        async def run() -> None:
            async with limited(everybody={"live_sessions": 2}) as stage:
                for session_id in ("a", "b", "c"):
                    await start(stage, session_id, user_id="ada")
                await start(stage, "d", user_id="bob")
                assert [bool(refusals(stage, one)) for one in "abcd"] == [False, False, True, False]
                assert stage.ingress.session_count == 3
                await start(stage, "a", user_id="ada")
                assert refusals(stage, "a") == [], "a session that begins anew is none more"

        virtually(run())

    def test_that_were_refused_do_not_come_in_by_their_sound(self) -> None:
        async def run() -> None:
            async with limited(everybody={"live_sessions": 1}) as stage:
                await start(stage, "a", user_id="ada")
                await start(stage, "b", user_id="ada")
                await send_seconds(stage, "b", 3)
                assert stage.ingress.session_count == 1
                assert len(refusals(stage, "b")) == 1
                await stage.send("a", type="end")
                await asyncio.sleep(1)
                await start(stage, "b", user_id="ada")
                await send_seconds(stage, "b", 1)
                assert stage.ingress.session_count == 1
                assert len(refusals(stage, "b")) == 1

        virtually(run())

    def test_count_as_requests_and_say_when_to_try_again(self) -> None:
        async def run() -> None:
            async with limited(everybody={"requests_per_minute": 60, "request_burst": 1}) as stage:
                await start(stage, "a", user_id="ada")
                await start(stage, "b", user_id="ada")
                (told,) = stage.transcripts("b")
                assert (told.error_type, told.session_id) == ("overloaded", "b")
                assert "try again in 1 s" in told.error

        virtually(run())

    @pytest.mark.parametrize(
        ("terms", "is_taken"),
        [
            ({"collection": "manuals", "voice": "ann"}, True),
            ({"collection": "secret"}, False),
            ({}, False),
            ({"without_documents": True}, True),
            ({"collection": "manuals", "voice": "bob"}, False),
        ],
    )
    def test_name_what_their_user_may_name(self, terms: dict[str, Any], is_taken: bool) -> None:
        async def run() -> None:
            users = {"*": UserLimits(collections=("manuals",), voices=("ann",))}
            allowances = Allowances(users, "knowledge_base", clock=now)
            async with scene(allowances=allowances, voice=ScriptedVoice()) as stage:
                await start(stage, "s", user_id="ada", conversation=terms)
                assert stage.ingress.session_count == int(is_taken)
                assert refusals(stage, "s") == ([] if is_taken else [("invalid_request", True)])

        virtually(run())

    def test_of_a_named_user_have_that_user_s_limits(self) -> None:
        async def run() -> None:
            async with limited(everybody={"live_sessions": 1}, ada={"live_sessions": None}) as stage:
                for number in range(5):
                    await start(stage, f"a{number}", user_id="ada")
                    await start(stage, f"b{number}", user_id="bob")
                assert stage.ingress.session_count == 6

        virtually(run())


def test_a_session_whose_user_nobody_named_counts_by_itself() -> None:
    async def run() -> None:
        async with limited(everybody={"sound_s_per_minute": 5, "live_sessions": 1}) as stage:
            for session_id in ("a", "b"):
                await send_seconds(stage, session_id, 4)
            assert stage.ingress.session_count == 2
            assert refusals(stage, "a") == refusals(stage, "b") == []
            await send_seconds(stage, "a", 4)
            assert len(refusals(stage, "a")) == 1

    virtually(run())


def test_a_start_of_another_user_than_its_header_names_is_refused() -> None:
    limits = SessionLimits(UNLIMITED, Askers("Hearth-User", STRICT, looks_inside=False), list)
    message = Arrived("ai.voice.stream.s", headers={"Hearth-User": "eve"})
    with pytest.raises(InvalidRequestError, match=r"'dan'.*'eve'"):
        limits.starts("s", messages_pb2.STTStreamMessage(type="start", user_id="dan"), message)
    assert limits.starts("s", messages_pb2.STTStreamMessage(type="start"), message) == Asker("user", "eve")


def test_a_session_without_a_user_is_that_of_who_starts_it() -> None:
    async def run() -> None:
        async with scene(max_user_sessions=1) as stage:
            await stage.send("a", "_INBOX_USER.ada.1", type="start")
            await start(stage, "b", user_id="ada")
            await start(stage, "c", user_id="bob")
            assert stage.ingress.session_count == 2

    virtually(run())
