"""A session outlives its replica: processes are killed, stopped and told to leave over real NATS servers."""

import asyncio
from pathlib import Path

import pytest

from tests.servers import nats_server
from tests.takeover import HOWS, Outcome, table, takeovers

SESSIONS = 6


async def outcomes(folder: Path, how: str) -> list[Outcome]:
    with nats_server(folder) as url:
        return await takeovers(url, how, rounds=1, sessions=SESSIONS)


@pytest.fixture(scope="module")
async def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Outcome]]:
    """What became of sessions, by what was done to their replica; all at the same time, for most of it is waiting."""
    each = await asyncio.gather(*(outcomes(tmp_path_factory.mktemp("nats"), how) for how in HOWS))
    return dict(zip(HOWS, each, strict=True))


@pytest.mark.parametrize("how", HOWS)
async def test_what_was_said_is_transcribed_whole_and_once_and_the_session_goes_on(
    found: dict[str, list[Outcome]], how: str
) -> None:
    of_this = found[how]
    assert len(of_this) >= SESSIONS // 3
    assert all(one.is_whole and not one.doubled for one in of_this), table(of_this)
    assert all(one.goes_on_s is not None for one in of_this), table(of_this)
