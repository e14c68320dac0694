"""A process that listens to live sessions, to be killed by a test.

python -m tests.integration.audio_process NATS_URL NAME [WORDS]

It reads the words off square waves, without a model. Where no words are given, it listens with the shipped models.
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
from deployments.engines.audio_file import decode
from deployments.engines.hearing.silero import SileroVoiceActivity
from deployments.engines.hearing.smart_turn import SmartTurn
from deployments.engines.hearing.whisper import WhisperEngine
from deployments.inference.speech_to_text import SpeechToText
from deployments.listening.transcription import Transcription
from deployments.listening.voice_activity import VoiceActivityEngine
from deployments.models.store import ModelStore
from deployments.services import TranscriptionService
from deployments.settings.audio import AudioSettings
from deployments.settings.orchestration import NatsSettings
from tests.conversation.scene import Counted, LoudnessActivity, ReadingTranscription, square_voice


def shipped() -> tuple[TranscriptionService, VoiceActivityEngine]:
    """Return the shipped models."""
    store = ModelStore.from_environment()
    whisper = WhisperEngine(
        store.locate("whisper-base", "speech-to-text"), store.locate("whisper-tiny.en", "speech-to-text-partial")
    )
    silero = SileroVoiceActivity(store.locate_file("silero-vad", "voice-activity", "model.onnx"))
    turn = SmartTurn(store.locate_file("smart-turn-v3.2", "end-of-turn", "model.onnx"))
    return Transcription(SpeechToText(whisper, silero, turn, decode, 120.0)), silero


async def main(nats_url: str, name: str, words: str = "") -> None:
    # Each word's wave is known from then on, the same as in the process that speaks.
    square_voice(words)
    transcription, activity = (ReadingTranscription(), LoudnessActivity()) if words else shipped()
    connection = LastingConnection(NatsSettings(url=nats_url), name, Refusals(Role.AUDIO_INGRESS))
    await connection.open(asyncio.Event())
    ingress = AudioIngress(AudioSettings(), transcription, activity, SessionWork(), Counted(), replica=name)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ingress.stop)
    running = asyncio.create_task(ingress.run())
    await ingress.connect(connection.client)
    print("ready", flush=True)
    with contextlib.suppress(asyncio.CancelledError):
        await running
    await connection.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
