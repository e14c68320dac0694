"""The short form of the fault suite: two ingresses without Ray, real NATS servers, faults and losses that are real."""

from dataclasses import replace

import pytest

from tests.faults.__main__ import main
from tests.faults.faults import FAULTS
from tests.faults.run import Options, run
from tests.faults.stand import Mode

SHORT = Options(requests=80, rate=40.0, timeout_s=45.0, lasts_s=1.5, with_ray=False)


def test_of_requests_that_are_kept_none_is_lost_and_none_is_answered_twice() -> None:
    faults = [fault for fault in FAULTS if fault.name in {"ingress", "nats", "nats-store", "cut"}]
    results = list(run(faults, [Mode.DURABLE], SHORT, print))
    assert [result.fault for result in results] == ["ingress", "nats", "nats-store", "cut"]
    for result in results:
        found = result.account
        assert found is not None, result.trouble
        assert (found.sent, found.once, found.twice, found.lost, found.late) == (80, 80, 0, 0, 0), result
        assert (found.errors, result.trouble) == ({}, ""), result


def test_of_other_requests_those_are_lost_that_a_killed_ingress_had_in_its_hands() -> None:
    faults = [fault for fault in FAULTS if fault.name == "ingress"]
    ((found, result),) = [
        (result.account, result) for result in run(faults, [Mode.CORE], replace(SHORT, timeout_s=4.0), print)
    ]
    assert found is not None, result.trouble
    # One more may arrive between the count and the signal.
    assert 0 < found.lost <= found.in_flight + 1
    assert (found.once, found.twice) == (80 - found.lost, 0)
    assert result.holds


def test_a_fault_that_cannot_be_made_here_is_told_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--without-ray", "--faults", "chat", "--mode", "durable"]) == 0
    written = capsys.readouterr().out
    assert "durable chat: not run: it takes Ray" in written
    assert "python -m tests.faults" in written
