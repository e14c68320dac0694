"""Text to speech on servers: the OpenAI speech API, and Coqui's."""

import base64
from collections.abc import AsyncGenerator
from typing import Any

import httpx

from deployments.call import Call
from deployments.engines.audio_file import decode_native
from deployments.engines.http_client import HttpBackEnd
from deployments.engines.speaking.word_times import estimated_words
from deployments.errors import HearthError
from deployments.values.sound import pcm_of
from deployments.values.speech import SpeechText, SpokenChunk, VoiceInfo


class OpenAISpeech:
    """A voice model of an OpenAI-compatible server: `POST /v1/audio/speech`.

    Args:
        server: The server.
        model: The model's name there; empty where the server has only one.
        voices: Names of its voices, the default one first.
        language: What they speak; empty where that depends on the text.
        reference_field: Field of the request that takes a voice sample as base64 text; empty for a server that does
            not imitate voices.
    """

    is_remote = True
    opening_clause_pays = True

    def __init__(
        self, server: HttpBackEnd, *, model: str, voices: tuple[str, ...], language: str = "", reference_field: str = ""
    ) -> None:
        self._server = server
        self._model = model
        self._reference_field = reference_field
        self.voices = tuple(VoiceInfo(name, language, "openai") for name in voices)

    @property
    def description(self) -> str:
        return f"OpenAI API at {self._server.base_url}, {self._model}".rstrip(", ")

    @property
    def clones(self) -> bool:
        return bool(self._reference_field)

    async def speak(self, call: Call, sentence: SpeechText) -> AsyncGenerator[SpokenChunk]:
        """Yield one sentence as sound."""
        body: dict[str, Any] = {"input": sentence.text, "voice": sentence.voice, "response_format": "wav"}
        if self._model:
            body["model"] = self._model
        if sentence.reference:
            body[self._reference_field] = base64.b64encode(sentence.reference).decode()
        response = await self._server.fetch(call, "POST", "/v1/audio/speech", json=body)
        yield _spoken(self._server, response, sentence.text)

    async def check(self) -> None:
        await self._server.check()

    async def close(self) -> None:
        await self._server.close()


class CoquiSpeech:
    """A voice model of a Coqui server: `GET /api/tts`.

    Args:
        server: The server.
        speakers: Ids of its speakers, the default one first; one empty id where the model has a single speaker.
        language: What they speak where a request names no language; empty for a model of one language.
        reference_field: Parameter that takes a voice sample as base64 text; empty for a server that does not imitate
            voices.
    """

    is_remote = True
    opening_clause_pays = True

    def __init__(
        self, server: HttpBackEnd, *, speakers: tuple[str, ...], language: str = "", reference_field: str = ""
    ) -> None:
        self._server = server
        self._language = language
        self._reference_field = reference_field
        self.voices = tuple(VoiceInfo(name, language, "coqui") for name in speakers)

    @property
    def description(self) -> str:
        return f"Coqui server at {self._server.base_url}"

    @property
    def clones(self) -> bool:
        return bool(self._reference_field)

    async def speak(self, call: Call, sentence: SpeechText) -> AsyncGenerator[SpokenChunk]:
        """Yield one sentence as sound."""
        fields = {
            "text": sentence.text,
            "speaker_id": sentence.voice,
            "language_id": sentence.language or self._language,
        }
        fields = {name: value for name, value in fields.items() if value}
        if sentence.reference:
            # Too long for a URL; the server takes a form as well.
            fields[self._reference_field] = base64.b64encode(sentence.reference).decode()
            response = await self._server.fetch(call, "POST", "/api/tts", data=fields)
        else:
            response = await self._server.fetch(call, "GET", "/api/tts", params=fields)
        yield _spoken(self._server, response, sentence.text)

    async def check(self) -> None:
        await self._server.check()

    async def close(self) -> None:
        await self._server.close()


def _spoken(server: HttpBackEnd, response: httpx.Response, text: str) -> SpokenChunk:
    try:
        samples, rate = decode_native(response.content)
    except HearthError as error:
        raise server.errors.nonsense(f"no audio: {error.reason}") from error
    return SpokenChunk(pcm_of(samples), rate, text, estimated_words(text, samples, rate))
