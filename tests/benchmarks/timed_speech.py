"""Speech models that cost nothing and take time: they stand behind the real graph in `tests/benchmarks/barge_in.py`."""

import asyncio
import re
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import numpy as np
from ray import serve
from ray.serve import Application

from deployments.call import Call
from deployments.component_status import replica_status
from deployments.graph.batching import Batch, ready_together
from deployments.graph.replica import prepare_replica
from deployments.values.speech import SpeechText, SpokenChunk, Voices
from deployments.values.status import ComponentStatus
from tests.benchmarks.timed_models import speech_to_text

__all__ = ["speech_to_text", "text_to_speech"]

RATE = 24_000
SENTENCE_S = 0.05
"""What a sentence takes, and how long it lasts."""
_SENTENCES = 2000
_SOUND = np.zeros(int(RATE * SENTENCE_S), "<i2").tobytes()


@serve.deployment(name="TextToSpeech")
class TimedTextToSpeech:
    """Says silence for as long as it is let, and notes when it was stopped."""

    def __init__(self) -> None:
        prepare_replica("TextToSpeech")
        self._stopped: dict[int, float] = {}

    async def speak(self, call: Call, text: SpeechText) -> AsyncGenerator[Batch[SpokenChunk]]:
        async with aclosing(ready_together(self._speak(text), 2)) as batches:
            async for chunks in batches:
                yield chunks

    async def stopped(self, call: Call) -> dict[int, float]:
        """Return when each text's generator was closed, by its number, on the machine's monotonic clock."""
        stopped, self._stopped = self._stopped, {}
        return stopped

    async def voices(self, call: Call, rescan: bool) -> Voices:
        return Voices("timed")

    async def status(self, call: Call) -> ComponentStatus:
        return replica_status("TextToSpeech", "timed", required=False)

    async def _speak(self, text: SpeechText) -> AsyncGenerator[SpokenChunk]:
        number = int((re.search(r"\d+", text.text) or ["0"])[0])
        try:
            for _ in range(_SENTENCES):
                await asyncio.sleep(SENTENCE_S)
                yield SpokenChunk(_SOUND, RATE, "sentence")
        finally:
            self._stopped[number] = time.monotonic()


def text_to_speech(args: dict[str, Any]) -> Application:
    """Build the text-to-speech application."""
    del args
    return TimedTextToSpeech.bind()
