"""Models that cost nothing and take the time that they are told to, behind the real graph: see `conversations`.

* The language model is told by its system prompt, as JSON: `first_s` to the first token, `token_s` from one to the
  next, and the `answer`, a token for each word and mark.
* The voice is told by its name. A number stands for seconds: each sentence takes so long, and each of its words then
  lasts `WORD_S`. `ENDLESS` says silence until it is stopped, and notes when that was.
* Speech to text hears the same question in everything, at once.
"""

import asyncio
import json
import re
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import numpy as np
from ray import serve
from ray.serve import Application
from ray.serve.handle import DeploymentHandle
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from deployments.call import Call
from deployments.component_status import replica_status
from deployments.graph.definitions import LANGUAGE_MODEL, SPEECH_TO_TEXT, TEXT_TO_SPEECH
from deployments.values.language import Answering, FinishReason, Generation, ModelProfile, Piece, Prompt
from deployments.values.speech import (
    Recording,
    SpeechText,
    SpokenChunk,
    Transcript,
    TranscriptQuality,
    Utterance,
    Voices,
    WordTime,
)
from deployments.values.status import ComponentStatus

RATE = 24_000
WORD_S = 0.25
QUESTION = "When does the library open?"
ENDLESS = "endless"
ENDLESS_CHUNK_S = 0.05
"""What a chunk of the endless voice takes, and how long it lasts."""
_ENDLESS_CHUNKS = 2000
_WORD = np.full(int(RATE * WORD_S), 300, "<i2").tobytes()
_SILENCE = np.zeros(int(RATE * ENDLESS_CHUNK_S), "<i2").tobytes()
_ANSWERING = Answering("", passages=1, examples=(), check_sentences=False, generation=Generation())


class TimedLanguageModel:
    """Writes what its system prompt says."""

    async def generate(self, call: Call, prompt: Prompt) -> AsyncGenerator[Piece]:
        del call
        told = json.loads(prompt.system)
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number, token in enumerate(re.findall(r"\s*[\w'-]+|[^\w\s]", told["answer"])):
            due = began + told["first_s"] + number * told["token_s"]
            if (left := due - loop.time()) > 0:
                await asyncio.sleep(left)
            yield Piece(token)
        yield Piece(end=FinishReason.STOP)

    async def read(self, call: Call, prompt: Prompt) -> AsyncGenerator[int]:
        del call, prompt
        yield 0

    async def profile(self, call: Call) -> ModelProfile:
        del call
        return ModelProfile("timed", _ANSWERING, 0)

    async def status(self, call: Call) -> ComponentStatus:
        del call
        return replica_status(LANGUAGE_MODEL.name, "timed")


class TimedTextToSpeech:
    """Says each sentence in one chunk, with the times of its words; or silence for as long as it is let."""

    def __init__(self) -> None:
        self._stopped: dict[int, float] = {}

    async def speak(self, call: Call, text: SpeechText) -> AsyncGenerator[SpokenChunk]:
        del call
        if text.voice == ENDLESS:
            number = int((re.search(r"\d+", text.text) or ["0"])[0])
            try:
                for _ in range(_ENDLESS_CHUNKS):
                    await asyncio.sleep(ENDLESS_CHUNK_S)
                    yield SpokenChunk(_SILENCE, RATE, "sentence")
            finally:
                self._stopped[number] = time.monotonic()
            return
        for sentence in re.findall(r"[^.!?]+[.!?]?", text.text):
            await asyncio.sleep(float(text.voice or 0))
            words = sentence.split()
            times = tuple(WordTime(word, at * WORD_S, (at + 1) * WORD_S) for at, word in enumerate(words))
            yield SpokenChunk(_WORD * len(words), RATE, sentence.strip(), times, exact=True)

    async def voices(self, call: Call, rescan: bool) -> Voices:
        del call, rescan
        return Voices("0")

    async def status(self, call: Call) -> ComponentStatus:
        del call
        return replica_status(TEXT_TO_SPEECH.name, "timed", required=False)

    def take_stopped(self) -> dict[int, float]:
        """Return when endless texts were stopped since the last time this was asked, by the number in each text.

        Times are on the machine's monotonic clock.
        """
        stopped, self._stopped = self._stopped, {}
        return stopped


class InstantSpeechToText:
    """Hears the same question in everything."""

    async def transcribe(self, call: Call, utterance: Utterance, effort: TranscriptQuality) -> Transcript:
        del call, utterance, effort
        return Transcript(QUESTION, "en")

    async def transcribe_recording(self, call: Call, recording: Recording) -> Transcript:
        del call, recording
        return Transcript(QUESTION, "en")

    async def completion(self, call: Call, utterance: Utterance) -> float | None:
        del call, utterance

    async def status(self, call: Call) -> ComponentStatus:
        del call
        return replica_status(SPEECH_TO_TEXT.name, "instant", required=False)


class BenchmarkTextToSpeech(TEXT_TO_SPEECH.replica_class(TimedTextToSpeech)):
    """Answers over HTTP, too. It holds the other models so that one application has them all."""

    async def __init__(self, *others: DeploymentHandle[Any]) -> None:
        await super().__init__()
        self._others = others

    async def __call__(self, request: Request) -> Response:
        """Say when endless texts were stopped."""
        del request
        return JSONResponse(self.service.take_stopped())


def models(args: Mapping[str, Any]) -> Application:
    """Build the application of all three models."""
    del args
    others = LANGUAGE_MODEL.bind(TimedLanguageModel), SPEECH_TO_TEXT.bind(InstantSpeechToText)
    return serve.deployment(name=TEXT_TO_SPEECH.name)(BenchmarkTextToSpeech).bind(*others)
