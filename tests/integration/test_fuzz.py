"""The short form of `python -m tests.fuzz`: twenty thousand payloads like none that a client sends."""

from pathlib import Path

from tests.fuzz.payloads import found
from tests.fuzz.run import run
from tests.servers import nats_server


async def test_twenty_thousand_payloads_are_each_answered(tmp_path: Path) -> None:
    with nats_server(tmp_path) as url:
        report = await run(url, 20_000, seed=1)
    assert report.sent >= 20_000
    assert report.unanswered == []
    assert report.faults == {}


def test_what_once_did_harm_is_sent_first() -> None:
    assert len(found()) >= 2
