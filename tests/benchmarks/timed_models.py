"""Models that cost nothing and take the time that they are told to, behind the real graph: see `conversations`.

The language model is told by its system prompt, as JSON: `first_s` to the first token, `token_s` from one to the next,
and the `answer`, a token for each word and mark. The voice is told by its name: seconds for each text, whose every word
then lasts `WORD_S`. Speech to text hears the same question in everything, at once.
"""

import asyncio
import json
import re
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
from deployments.values.language import Answering, Generation, ModelProfile, Prompt
from deployments.values.speech import (
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
_WORD = np.full(int(RATE * WORD_S), 300, "<i2").tobytes()
_ANSWERING = Answering("", passages=1, examples=(), check_sentences=False, generation=Generation())


@serve.deployment(name="LanguageModel")
class TimedLanguageModel:
    """Writes what its system prompt says."""

    def __init__(self) -> None:
        prepare_replica("LanguageModel")

    async def generate(self, call: Call, prompt: Prompt) -> AsyncGenerator[Batch[str]]:
        async with aclosing(ready_together(self._write(json.loads(prompt.system)))) as batches:
            async for tokens in batches:
                yield tokens

    async def read(self, call: Call, prompt: Prompt) -> AsyncGenerator[Batch[int]]:
        yield [0]

    async def profile(self, call: Call) -> ModelProfile:
        return ModelProfile("timed", _ANSWERING, 0)

    async def status(self, call: Call) -> ComponentStatus:
        return replica_status("LanguageModel", "timed")

    async def _write(self, told: dict[str, Any]) -> AsyncGenerator[str]:
        began = asyncio.get_running_loop().time()
        for number, token in enumerate(re.findall(r"\s*[\w'-]+|[^\w\s]", told["answer"])):
            due = began + told["first_s"] + number * told["token_s"]
            if (left := due - asyncio.get_running_loop().time()) > 0:
                await asyncio.sleep(left)
            yield token


@serve.deployment(name="TextToSpeech")
class TimedTextToSpeech:
    """Says each text in one chunk, with the times of its words."""

    def __init__(self) -> None:
        prepare_replica("TextToSpeech")

    async def speak(self, call: Call, text: SpeechText) -> AsyncGenerator[Batch[SpokenChunk]]:
        for sentence in re.findall(r"[^.!?]+[.!?]?", text.text):
            await asyncio.sleep(float(text.voice or 0))
            words = sentence.split()
            times = tuple(WordTime(word, at * WORD_S, (at + 1) * WORD_S) for at, word in enumerate(words))
            yield [SpokenChunk(_WORD * len(words), RATE, sentence.strip(), times, exact=True)]

    async def voices(self, call: Call, rescan: bool) -> Voices:
        return Voices("0")

    async def status(self, call: Call) -> ComponentStatus:
        return replica_status("TextToSpeech", "timed", required=False)


@serve.deployment(name="SpeechToText")
class InstantSpeechToText:
    """Hears the same question in everything."""

    def __init__(self) -> None:
        prepare_replica("SpeechToText")

    async def transcribe(self, call: Call, utterance: Utterance, effort: TranscriptQuality) -> Transcript:
        return Transcript(QUESTION, "en")

    async def completion(self, call: Call, utterance: Utterance) -> float | None:
        return None

    async def status(self, call: Call) -> ComponentStatus:
        return replica_status("SpeechToText", "instant", required=False)


def language_model(args: dict[str, Any]) -> Application:
    """Build the language-model application."""
    del args
    return TimedLanguageModel.bind()


def text_to_speech(args: dict[str, Any]) -> Application:
    """Build the text-to-speech application."""
    del args
    return TimedTextToSpeech.bind()


def speech_to_text(args: dict[str, Any]) -> Application:
    """Build the speech-to-text application."""
    del args
    return InstantSpeechToText.bind()
