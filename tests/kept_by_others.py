"""What Hearth keeps on a NATS server, made before Hearth does it."""

from nats.aio.client import Client
from nats.js.api import KeyValueConfig, RetentionPolicy

from bridges.subjects import PIPELINE_TRIGGER
from deployments.settings.orchestration import OrchestrationSettings


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
    await admin.close()
