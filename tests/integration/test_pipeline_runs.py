"""Pipeline runs in a real NATS key-value bucket: what is stored is what is told."""

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import asdict, replace
from pathlib import Path
from uuid import uuid4

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import KeyValueConfig

from bridges.generated.messages.v1 import messages_pb2
from bridges.pipelines.run_store import PipelineRuns
from deployments.errors import BackEnd, UnavailableError
from deployments.pipelines.ports import KeptRun, StaleRunError
from deployments.settings.pipelines import PipelinesSettings
from deployments.values.pipelines import PipelineReport, Run, RunStatus
from tests.nats_client import nats_connected
from tests.refusals import refused
from tests.servers import nats_server
from tests.workflow_engines.follower import eventually


@pytest.fixture
async def client(nats_url: str) -> AsyncGenerator[Client]:
    async with await nats_connected(nats_url) as connection:
        yield connection


@pytest.fixture
def runs(client: Client) -> PipelineRuns:
    return another(client, f"runs_{uuid4().hex}")


def another(client: Client, bucket: str) -> PipelineRuns:
    kept = PipelineRuns(PipelinesSettings(bucket=bucket))
    kept.connect(client)
    return kept


def run(request_id: str = "r1") -> Run:
    return Run(request_id, "documents", "argo", "ingest", {"source": "ü\n"}, "_INBOX.x", "one", 1.5, 1e12)


def report(status: RunStatus, request_id: str = "r1", run_id: str = "ingest-1", error: str = "") -> PipelineReport:
    return PipelineReport(request_id, status, "documents", "argo", run_id, "2026-01-01T00:00:00Z", error)


async def told(client: Client, subject: str = "ai.pipeline.status.>") -> list[tuple[str, messages_pb2.PipelineStatus]]:
    """Return a list that fills with what clients are told."""
    heard: list[tuple[str, messages_pb2.PipelineStatus]] = []

    async def take(message: Msg) -> None:
        heard.append((message.subject, messages_pb2.PipelineStatus.FromString(message.data)))

    await client.subscribe(subject, cb=take)
    await client.flush()
    return heard


async def heard_by_now(client: Client, heard: list[tuple[str, messages_pb2.PipelineStatus]], count: int) -> list[str]:
    """Return the statuses that were told, once there are as many as are expected."""

    async def is_enough() -> bool:
        await client.flush()
        return len(heard) >= count

    await eventually(f"{count} statuses", is_enough)
    return [message.status for _, message in heard]


async def test_a_run_is_kept_and_read_as_it_was(runs: PipelineRuns) -> None:
    kept = await runs.accept(run())
    assert (kept.is_new, kept.run, kept.report) == (True, run(), None)
    changed = replace(run(), run_id="ingest-1", submitted_at="2026-01-01T00:00:00Z")
    kept = await runs.rewrite(kept, changed)
    found = await runs.read("r1")
    assert found
    assert (found.run, found.revision) == (changed, kept.revision)
    assert await runs.unfinished() == [changed]
    await runs.forget(kept)
    assert await runs.read("r1") is None
    assert await runs.unfinished() == []


@pytest.mark.parametrize("request_id", ["r1", "a.b", "a:b@ü", "x" * 900, "$KV", "火"])
async def test_a_report_is_told_on_the_subject_of_its_request_as_a_bare_message(
    runs: PipelineRuns, client: Client, request_id: str
) -> None:
    subject = f"ai.pipeline.status.{request_id}"
    heard = await told(client, subject)
    kept = await runs.accept(run(request_id))
    kept = await runs.publish(kept, report(RunStatus.SUBMITTED, request_id))
    await runs.publish(kept, report(RunStatus.FAILED, request_id, error="step 2"))
    await heard_by_now(client, heard, 2)
    assert [(where, message.status) for where, message in heard] == [(subject, "submitted"), (subject, "failed")]
    last = heard[-1][1]
    assert (last.request_id, last.pipeline, last.engine, last.run_id) == (request_id, "documents", "argo", "ingest-1")
    assert (last.submitted_at, last.error) == ("2026-01-01T00:00:00Z", "step 2")


async def test_of_two_that_tell_the_same_one_is_heard(runs: PipelineRuns, client: Client) -> None:
    heard = await told(client, "ai.pipeline.status.r1")
    kept = await runs.accept(run())

    async def tell(status: RunStatus) -> KeptRun | None:
        try:
            return await runs.publish(kept, report(status))
        except StaleRunError:
            return None

    results = await asyncio.gather(*(tell(status) for status in (RunStatus.SUCCEEDED, RunStatus.FAILED) * 5))
    assert len(await heard_by_now(client, heard, 1)) == len([result for result in results if result]) == 1


async def test_of_two_that_change_a_run_one_does(runs: PipelineRuns) -> None:
    kept = await runs.accept(run())
    await runs.rewrite(kept, replace(run(), owner="two"))
    with pytest.raises(StaleRunError):
        await runs.rewrite(kept, replace(run(), owner="three"))
    with pytest.raises(StaleRunError):
        await runs.forget(kept)


async def test_a_request_is_accepted_once(runs: PipelineRuns) -> None:
    results = await asyncio.gather(*(runs.accept(run()) for _ in range(10)))
    assert len([kept for kept in results if kept.is_new]) == 1
    assert {kept.run for kept in map(_hashable, results)} == {_hashable(results[0]).run}


def _hashable(kept: KeptRun) -> KeptRun:
    return replace(kept, run=replace(kept.run, parameters=()))  # type: ignore[arg-type]


async def test_a_finished_request_stays_finished(runs: PipelineRuns) -> None:
    kept = await runs.publish(await runs.accept(run()), report(RunStatus.SUCCEEDED))
    await runs.forget(kept)
    again = await runs.accept(run())
    assert not again.is_new
    assert again.report == report(RunStatus.SUCCEEDED)
    assert (again.run.pipeline, again.run.run_id) == ("documents", "ingest-1")


async def test_one_that_started_nothing_may_be_sent_again(runs: PipelineRuns) -> None:
    first = await runs.publish(await runs.accept(run()), report(RunStatus.ERROR, run_id="", error="away"))
    await runs.forget(first)
    again = await runs.accept(run())
    assert (again.is_new, again.report) == (True, None)
    found = await runs.read("r1")
    assert found
    assert found.report is None, "what was told of the first is not taken for this one's"
    told = await runs.publish(again, report(RunStatus.SUBMITTED))
    assert told.report == report(RunStatus.SUBMITTED)


async def test_what_an_operator_has_deleted_may_be_used_again(runs: PipelineRuns, client: Client) -> None:
    await runs.publish(await runs.accept(run()), report(RunStatus.SUCCEEDED))
    bucket = await client.jetstream().key_value(runs._settings.bucket)
    for key in await bucket.keys():
        await bucket.purge(key)
    kept = await runs.accept(run())
    assert kept.is_new
    assert (await runs.publish(kept, report(RunStatus.SUBMITTED))).report


async def test_what_cannot_be_read_is_left_alone(runs: PipelineRuns, client: Client) -> None:
    await runs.accept(run())
    await runs.publish(await runs.accept(run("r2")), report(RunStatus.RUNNING, "r2"))
    bucket = await client.jetstream().key_value(runs._settings.bucket)
    (first, second) = [key for key in await bucket.keys() if key.startswith("run.")]
    await bucket.put(second, json.dumps({"request_id": "r2"}).encode())
    await bucket.put("status.r2", b"\xff")
    whole = asdict(run())
    broken = [b"not json", b'{"parameters":' + b"[" * 100_000, b"[]", b"null"]
    broken += [json.dumps({**whole, name: value}).encode() for name, value in (("parameters", None), ("request_id", 1))]
    for value in broken:
        await bucket.put(first, value)
        assert await runs.unfinished() == []
        assert await runs.read("r1") is None


async def test_a_bucket_that_is_there_without_republishing_is_made_to(client: Client) -> None:
    name = f"runs_{uuid4().hex}"
    await client.jetstream().create_key_value(KeyValueConfig(bucket=name, ttl=200_000))
    heard = await told(client, "ai.pipeline.status.r1")
    runs = another(client, name)
    await runs.publish(await runs.accept(run()), report(RunStatus.SUBMITTED))
    assert await heard_by_now(client, heard, 1) == ["submitted"]
    info = await client.jetstream().stream_info(f"KV_{name}")
    assert info.config.max_age == 200_000


async def test_the_bucket_forgets_by_itself(runs: PipelineRuns, client: Client) -> None:
    await runs.accept(run())
    info = await client.jetstream().stream_info(f"KV_{runs._settings.bucket}")
    assert info.config.max_age == PipelinesSettings().remember_s


async def test_a_reply_is_told_and_nowhere_is_no_fault(runs: PipelineRuns, client: Client) -> None:
    inbox = client.new_inbox()
    heard = await told(client, inbox)
    await runs.tell(replace(run(), reply=inbox), report(RunStatus.SUBMITTED))
    await runs.tell(replace(run(), reply=""), report(RunStatus.SUBMITTED))
    assert await heard_by_now(client, heard, 1) == ["submitted"]


async def test_without_jetstream_or_a_connection_the_reason_is_told(tmp_path: Path) -> None:
    runs = PipelineRuns(PipelinesSettings())
    with refused(UnavailableError, back_end=BackEnd("NATS")):
        await runs.accept(run())
    with nats_server(tmp_path) as url:
        async with await nats_connected(url) as plain:
            runs.connect(plain)
            with refused(UnavailableError, retryable=True, back_end=BackEnd("NATS")):
                await runs.accept(run())


async def test_a_refusal_is_told_and_kept_and_may_be_followed_by_another(runs: PipelineRuns, client: Client) -> None:
    heard = await told(client, "ai.pipeline.status.r1")
    refusal = PipelineReport(
        "r1", RunStatus.ERROR, "document", error="no such pipeline", available_pipelines=("a", "b")
    )
    assert await runs.refuse(refusal)
    assert await runs.refuse(replace(refusal, error="still none"))
    await heard_by_now(client, heard, 2)
    assert [message.error for _, message in heard] == ["no such pipeline", "still none"]
    assert list(heard[0][1].available_pipelines) == ["a", "b"]
    assert (await runs.accept(run())).is_new


async def test_the_followers_of_a_run_hear_of_no_refusal_of_its_id(runs: PipelineRuns, client: Client) -> None:
    refusal = PipelineReport("r1", RunStatus.ERROR, "document", error="no such pipeline")
    heard = await told(client, "ai.pipeline.status.r1")
    kept = await runs.accept(run())
    assert not await runs.refuse(refusal)
    kept = await runs.publish(kept, report(RunStatus.SUCCEEDED))
    assert not await runs.refuse(refusal)
    await runs.forget(kept)
    assert not await runs.refuse(refusal)
    assert await heard_by_now(client, heard, 1) == ["succeeded"]
