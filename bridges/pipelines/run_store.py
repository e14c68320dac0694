"""What is kept of pipeline runs: a NATS key-value bucket that outlives every replica, and tells the clients.

Under `run.…` stands what is needed to go on with an unfinished run. Under `status.{request_id}` stands its last
PipelineStatus, as it goes out to clients. The server itself republishes each status on the client's subject in the
moment in which it is stored, and stores it only over the one before. So a status is told once or not at all, whichever
replica dies when.
"""

import asyncio
import hashlib
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, replace
from typing import TypeVar, cast

import nats.errors
from google.protobuf.message import DecodeError
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import KeyValueConfig, RePublish, StreamInfo
from nats.js.errors import APIError, KeyNotFoundError, KeyWrongLastSequenceError, NotFoundError
from nats.js.kv import KeyValue
from pydantic import TypeAdapter, ValidationError

from bridges.generated.messages.v1 import messages_pb2
from bridges.pipelines.reports import status_message
from bridges.subjects import PIPELINE_STATUS, RUN_VALUE, STATUS_VALUE
from deployments.errors import BackEnd, UnavailableError
from deployments.pipelines.ports import KeptRun, StaleRunError
from deployments.settings.pipelines import PipelinesSettings
from deployments.values.pipelines import PipelineReport, Run, RunStatus

logger = logging.getLogger(__name__)

T = TypeVar("T")

_BACK_END = BackEnd("NATS")
_PATIENCE_S = 5.0
_LIST_PATIENCE_S = 30.0
_RUN = TypeAdapter(Run)
_WRONG_LAST_SEQUENCE = {10071, 10164}
"""The server's error codes for a write over something else than what was read."""


class PipelineRuns:
    """The bucket; see `RunStore`.

    Args:
        settings: Its name, and how long it remembers.
        count: Called with each report that was told.
    """

    def __init__(self, settings: PipelinesSettings, count: Callable[[PipelineReport], None] = lambda _: None) -> None:
        self._settings = settings
        self._count = count
        self._client: Client | None = None
        self._opened: KeyValue | None = None

    def connect(self, client: Client) -> None:
        """Take the connection that the bucket is reached over; it is opened when it is first needed."""
        self._client = client

    async def accept(self, run: Run) -> KeptRun:
        """See `RunStore.accept`."""
        return await self._reaching(self._accept(run))

    async def rewrite(self, kept: KeptRun, run: Run) -> KeptRun:
        """See `RunStore.rewrite`."""
        revision = await self._reaching(self._written(_run_key(run.request_id), _encode_run(run), kept.revision))
        return replace(kept, run=run, revision=revision)

    async def publish(self, kept: KeptRun, report: PipelineReport) -> KeptRun:
        """See `RunStore.publish`."""
        payload = status_message(report).SerializeToString()
        key = _status_key(kept.run.request_id)
        revision = await self._reaching(self._written(key, payload, kept.report_revision))
        self._count(report)
        return replace(kept, report=report, report_revision=revision)

    async def refuse(self, report: PipelineReport) -> bool:
        """Keep and tell the report of a trigger that starts nothing.

        Return False where the request id has a run, whose followers are to hear nothing of it.

        Raises:
            UnavailableError: The bucket cannot be reached.
        """
        return await self._reaching(self._refuse(report))

    async def is_known(self, request_id: str) -> bool:
        """Say whether anything was kept of a request id: a run, or what its client was told.

        Raises:
            UnavailableError: The bucket cannot be reached.
        """
        return await self._reaching(self._is_known(request_id))

    async def read(self, request_id: str) -> KeptRun | None:
        """See `RunStore.read`."""
        return await self._reaching(self._read(request_id))

    async def forget(self, kept: KeptRun) -> None:
        """See `RunStore.forget`."""
        await self._reaching(self._forget(kept))

    async def unfinished(self) -> Sequence[Run]:
        """See `RunStore.unfinished`."""
        return await self._reaching(self._unfinished(), _LIST_PATIENCE_S)

    async def tell(self, run: Run, report: PipelineReport) -> None:
        """See `RunStore.tell`."""
        if not run.reply or self._client is None:
            return
        try:
            await self._client.publish(run.reply, status_message(report).SerializeToString())
        except nats.errors.Error as error:
            # Who waits there alone is told as little as by a server that goes down.
            logger.warning("the reply of run %s was not sent: %s", run.request_id, _text(error))

    async def _accept(self, run: Run) -> KeptRun:
        bucket = await self._bucket()
        earlier, revision = await self._report(bucket, run.request_id)
        if earlier is not None and earlier.status.is_final and not _started_nothing(earlier):
            return KeptRun(_finished(run, earlier), 0, earlier, revision)
        run = replace(run, reported_before=revision)
        try:
            made = await self._written(_run_key(run.request_id), _encode_run(run), 0)
        except StaleRunError:
            # Where it was finished in this moment, its report is the answer.
            kept = await self._read(run.request_id)
            if kept is not None:
                return kept
            report, revision = await self._report(bucket, run.request_id)
            return KeptRun(_finished(run, report) if report else run, 0, report, revision)
        return KeptRun(run, made, None, revision, is_new=True)

    async def _refuse(self, report: PipelineReport) -> bool:
        if await self._read(report.request_id) is not None:
            return False
        earlier, revision = await self._report(await self._bucket(), report.request_id)
        if earlier is not None and not _started_nothing(earlier):
            return False
        try:
            await self._written(_status_key(report.request_id), status_message(report).SerializeToString(), revision)
        except StaleRunError:
            # A trigger of the same id was taken in this moment.
            return False
        return True

    async def _is_known(self, request_id: str) -> bool:
        bucket = await self._bucket()
        report, _ = await self._report(bucket, request_id)
        return report is not None or await self._read(request_id) is not None

    async def _read(self, request_id: str) -> KeptRun | None:
        bucket = await self._bucket()
        try:
            entry = await bucket.get(_run_key(request_id))
        except KeyNotFoundError:
            return None
        run = _decode_run(entry.value or b"")
        if run is None:
            return None
        report, report_revision = await self._report(bucket, run.request_id)
        of_this_run = report if report_revision > run.reported_before else None
        return KeptRun(run, entry.revision or 0, of_this_run, report_revision)

    async def _forget(self, kept: KeptRun) -> None:
        bucket = await self._bucket()
        try:
            await bucket.delete(_run_key(kept.run.request_id), last=kept.revision)
        except APIError as error:
            if error.err_code not in _WRONG_LAST_SEQUENCE:
                raise
            raise StaleRunError(kept.run.request_id) from error

    async def _unfinished(self) -> Sequence[Run]:
        bucket = await self._bucket()
        watcher = await bucket.watch(
            RUN_VALUE.key.format(run="*"), ignore_deletes=True, inactive_threshold=_LIST_PATIENCE_S
        )
        entries: list[KeyValue.Entry] = []
        try:
            # None ends what is there at the beginning of a watch.
            while (entry := await watcher.updates(timeout=_PATIENCE_S)) is not None:
                entries.append(cast("KeyValue.Entry", entry))
        finally:
            await watcher.stop()
        runs = (_decode_run(entry.value or b"") for entry in entries)
        return [run for run in runs if run is not None]

    async def _report(self, bucket: KeyValue, request_id: str) -> tuple[PipelineReport | None, int]:
        """Return the last report of a request id and its revision; 0 where there is none."""
        try:
            entry = await bucket.get(_status_key(request_id), validate_keys=False)
        except KeyNotFoundError as error:
            # Of a status that an operator has deleted, the error carries what marks it so; nats-py does not type it.
            deleted = cast("KeyValue.Entry | None", error.entry)
            return None, (deleted.revision or 0) if deleted else 0
        return _decode_report(entry.value or b""), entry.revision or 0

    async def _written(self, key: str, value: bytes, last: int) -> int:
        """Write over a revision; return the new one.

        Raises:
            StaleRunError: Something else was written since.
        """
        bucket = await self._bucket()
        try:
            if last:
                return await bucket.update(key, value, last=last, validate_keys=False)
            # Over a deleted key, too.
            return await bucket.create(key, value, validate_keys=False)
        except KeyWrongLastSequenceError as error:
            raise StaleRunError(key) from error

    async def _bucket(self) -> KeyValue:
        if self._opened is None:
            if self._client is None:
                raise UnavailableError("there is no connection to NATS yet", back_end=_BACK_END)
            self._opened = await open_bucket(self._client.jetstream(), self._settings)
        return self._opened

    async def _reaching(self, work: Awaitable[T], patience_s: float = _PATIENCE_S) -> T:
        """Do something with the bucket.

        Raises:
            UnavailableError: It cannot be reached. What was to be written may have been.
        """
        try:
            async with asyncio.timeout(patience_s):
                return await work
        except (nats.errors.Error, TimeoutError) as error:
            # A server that was set up anew may have lost the bucket.
            self._opened = None
            logger.warning("the NATS bucket %r cannot be reached: %s", self._settings.bucket, _text(error))
            raise UnavailableError(
                f"the NATS bucket {self._settings.bucket!r}, which keeps pipeline runs and needs JetStream, "
                "cannot be reached",
                back_end=_BACK_END,
            ) from error


async def open_bucket(stream: JetStreamContext, settings: PipelinesSettings) -> KeyValue:
    """Return the bucket, made where it is not there, and set to republish where it does not.

    Raises:
        UnavailableError: It is there and does not let itself be set.
        nats.errors.Error: It cannot be reached.
    """
    republish = RePublish(src=STATUS_VALUE.narrowed(runs_bucket=settings.bucket), dest=PIPELINE_STATUS.wildcard)
    try:
        bucket = await stream.key_value(settings.bucket)
    except NotFoundError:
        config = KeyValueConfig(
            bucket=settings.bucket,
            description="Hearth's pipeline runs",
            ttl=settings.remember_s,
            history=1,
            republish=republish,
        )
        return await stream.create_key_value(config)
    info: StreamInfo = await stream.stream_info(f"KV_{settings.bucket}")
    found = info.config.republish
    if found is None or (found.src, found.dest) != (republish.src, republish.dest):
        try:
            await stream.update_stream(info.config.evolve(republish=republish))
        except APIError as error:
            logger.error("the NATS bucket %r cannot be set to republish: %s", settings.bucket, _text(error))  # noqa: TRY400
            raise UnavailableError(
                f"the NATS bucket {settings.bucket!r} does not republish {republish.src} to {republish.dest}, "
                "and cannot be made to",
                back_end=_BACK_END,
            ) from error
    return bucket


def _decode_report(payload: bytes) -> PipelineReport | None:
    message = messages_pb2.PipelineStatus()
    try:
        message.ParseFromString(payload)
        status = RunStatus(message.status)
    except (DecodeError, ValueError):
        logger.warning("a kept status cannot be read and is forgotten")
        return None
    return PipelineReport(
        message.request_id,
        status,
        message.pipeline,
        message.engine,
        message.run_id,
        message.submitted_at,
        message.error,
        tuple(message.available_pipelines),
    )


def _encode_run(run: Run) -> bytes:
    return json.dumps(asdict(run), ensure_ascii=False).encode()


def _decode_run(value: bytes) -> Run | None:
    try:
        return _RUN.validate_json(value, strict=True)
    except ValidationError:
        logger.warning("a kept run cannot be read and is left alone")
        return None


def _finished(run: Run, report: PipelineReport) -> Run:
    """Return what is known of a run that is kept no longer."""
    return replace(run, pipeline=report.pipeline, engine=report.engine, run_id=report.run_id)


def _started_nothing(report: PipelineReport) -> bool:
    return report.status.is_final and not report.run_id


def _run_key(request_id: str) -> str:
    """Return a key that the bucket takes, whatever the request id is made of."""
    return RUN_VALUE.key.format(run=hashlib.sha256(request_id.encode()).hexdigest())


def _status_key(request_id: str) -> str:
    """Return the key whose end is the end of the subject that its statuses go out on."""
    return STATUS_VALUE.key.format(request_id=request_id)


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__
