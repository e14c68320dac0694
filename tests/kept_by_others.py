"""What Hearth keeps on a NATS server, made before Hearth does it."""

from nats.aio.client import Client
from nats.js.api import KeyValueConfig, RetentionPolicy, StorageType

from bridges.subjects import CHAT_MESSAGE, DEAD_LETTER, GREETING_REQUEST, PIPELINE_TRIGGER
from deployments.settings.orchestration import DurableSettings, OrchestrationSettings


async def make_what_is_kept(admin: Client, settings: OrchestrationSettings) -> None:
    """Make the buckets and the stream as other tools do: read directly, without a republish, with another age.

    Args:
        admin: A connection that may do so; it is closed.
        settings: Name them.
    """
    stream = admin.jetstream()
    for bucket in (settings.pipelines.bucket, settings.memory.bucket):
        await stream.create_key_value(KeyValueConfig(bucket=bucket, direct=True))
    await stream.add_stream(
        name=settings.pipelines.stream,
        subjects=[PIPELINE_TRIGGER.pattern],
        retention=RetentionPolicy.WORK_QUEUE,
        max_age=60,
        no_ack=True,
    )
    if settings.nats.durable.rows:
        await _make_for_kept_requests(admin, settings.nats.durable)
    await admin.close()


async def _make_for_kept_requests(admin: Client, settings: DurableSettings) -> None:
    """Make what Hearth makes for requests that are kept, and a stream that keeps some of them already."""
    stream = admin.jetstream()
    await stream.create_key_value(KeyValueConfig(bucket=settings.bucket, storage=StorageType.MEMORY))
    await stream.add_stream(name=settings.dead_letters, subjects=[DEAD_LETTER.wildcard], storage=StorageType.MEMORY)
    await stream.add_stream(
        name=settings.stream,
        subjects=[CHAT_MESSAGE.wildcard],
        retention=RetentionPolicy.WORK_QUEUE,
        storage=StorageType.MEMORY,
    )
    await stream.add_stream(name="OTHERS", subjects=[GREETING_REQUEST.wildcard], no_ack=True)
