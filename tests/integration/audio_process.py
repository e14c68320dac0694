"""A process that listens to live sessions, to be killed by a test: it reads words off square waves, without a model.

python -m tests.integration.audio_process NATS_URL NAME WORDS
"""

import asyncio
import contextlib
import signal
import sys

from bridges.live.ingress import AudioIngress
from bridges.nats.connection import LastingConnection
from bridges.nats.refusals import Refusals
from bridges.sessions.epochs import SessionWork
from bridges.subjects import Role
from deployments.settings.audio import AudioSettings
from deployments.settings.orchestration import NatsSettings
from tests.conversation.scene import Counted, LoudnessActivity, ReadingTranscription, square_voice


async def main(nats_url: str, name: str, words: str) -> None:
    # Each word's wave is known from then on, the same as in the process that speaks.
    square_voice(words)
    connection = LastingConnection(NatsSettings(url=nats_url), name, Refusals(Role.AUDIO_INGRESS))
    await connection.open(asyncio.Event())
    ingress = AudioIngress(
        AudioSettings(), ReadingTranscription(), LoudnessActivity(), SessionWork(), Counted(), replica=name
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ingress.stop)
    running = asyncio.create_task(ingress.run())
    await ingress.connect(connection.client)
    print("ready", flush=True)
    with contextlib.suppress(asyncio.CancelledError):
        await running
    await connection.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
