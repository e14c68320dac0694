"""Text to speech on servers: the OpenAI speech API, and Coqui's."""

import base64
import logging
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, cast

import httpx

from deployments.backoff import retry
from deployments.call import Call
from deployments.engines.audio_file import decode_native
from deployments.engines.back_end import short_backoff
from deployments.engines.http_client import HttpBackEnd
from deployments.engines.speaking.sound_stream import SoundForm, form_of, spoken_pieces
from deployments.engines.speaking.word_times import SpeakingPace, WordsInPieces, estimated_words
from deployments.errors import HearthError
from deployments.values.sound import pcm_of
from deployments.values.speech import SpeechText, SpokenChunk, VoiceInfo

logger = logging.getLogger(__name__)

_SPEECH = "/v1/audio/speech"
_COQUI = "/api/tts"
_VOICE_PATHS = ("/v1/audio/voices", "/v1/voices", "/voices")
"""Kokoro-FastAPI's, speaches' and vLLM's, and those of others. OpenAI itself lists none."""
_VOICE_NAMES = ("voice_id", "id", "name", "voice")
_DEFAULT_VOICE = "alloy"
_KIND = "openai"
_REFUSED_FORMAT = {400, 415, 422, 501}
_FORMAT = re.compile(r"pcm|format", re.IGNORECASE)


class OpenAISpeech:
    """A voice model of an OpenAI-compatible server: `POST /v1/audio/speech`.

    Sound is heard while it is still being made where the server sends it so. It is asked for as WAV, whose header tells
    its rate, and as bare PCM where `sample_rate` is given. A server that refuses PCM is asked for WAV from then on.

    Args:
        server: The server.
        model: The model's name there; empty where the server has only one.
        voices: Names of its voices, the default one first; none to ask the server for them.
        language: What they speak; empty where that depends on the text, or is told by the server.
        reference_field: Field of the request that takes a voice sample as base64 text; empty for a server that does
            not imitate voices.
        sample_rate: Samples a second of its bare PCM, unless a header tells another rate; 0 to ask for WAV.
    """

    is_remote = True
    opening_clause_pays = True

    def __init__(
        self,
        server: HttpBackEnd,
        *,
        model: str,
        voices: tuple[str, ...] = (),
        language: str = "",
        reference_field: str = "",
        sample_rate: int = 0,
    ) -> None:
        self._server = server
        self._model = model
        self._language = language
        self._reference_field = reference_field
        self._asks_for_voices = not voices
        self._sample_rate = sample_rate
        self._paces: dict[str, SpeakingPace] = {}
        self._has_pcm = True
        self.voices = tuple(VoiceInfo(name, language, _KIND) for name in voices or (_DEFAULT_VOICE,))

    @property
    def description(self) -> str:
        return f"OpenAI API at {self._server.base_url}, {self._model}".rstrip(", ")

    @property
    def clones(self) -> bool:
        return bool(self._reference_field)

    async def ask_voices(self, call: Call) -> None:
        """Ask the server for its voices, unless they were given; they stay as they are where it does not say.

        Raises:
            HearthError: The server cannot be reached, or failed.
        """
        for path in _VOICE_PATHS if self._asks_for_voices else ():
            if found := _voices_in(await self._server.find(call, path), self._model, self._language):
                self.voices = found
                return

    async def speak(self, call: Call, sentence: SpeechText) -> AsyncGenerator[SpokenChunk]:
        """Yield one sentence as sound, in pieces where the server sends it while it makes it.

        Tried up to three times until the first sound.
        """

        async def begun() -> tuple[SpokenChunk, AsyncGenerator[SpokenChunk]]:
            chunks = self._asked(call, sentence)
            try:
                return await anext(chunks), chunks
            except _NoPcmError:
                self._has_pcm = False
                logger.info("the speech server at %s has no PCM: it is asked for WAV files", self._server.base_url)
            chunks = self._asked(call, sentence)
            return await anext(chunks), chunks

        first, chunks = await retry(begun, short_backoff(), remaining_s=call.remaining)
        async with aclosing(chunks):
            yield first
            async for chunk in chunks:
                yield chunk

    async def check(self) -> None:
        await self._server.check(_SPEECH)

    async def close(self) -> None:
        await self._server.close()

    async def _asked(self, call: Call, sentence: SpeechText) -> AsyncGenerator[SpokenChunk]:
        """Yield a sentence as the server makes it.

        Raises:
            _NoPcmError: The server was asked for PCM, and has none.
        """
        bare = bool(self._sample_rate) and self._has_pcm
        body = self._body(sentence, "pcm" if bare else "wav")
        async with (
            self._server.stream(call, _SPEECH, body, _raise_no_pcm if bare else _unheeded) as response,
            aclosing(self._bytes_of(call, response)) as pieces,
        ):
            form, beginning = None, b""
            async for piece in pieces:
                beginning += piece
                if form := form_of(response.headers, beginning, self._sample_rate):
                    break
            if form is None or not form.rate:
                content = beginning + b"".join([piece async for piece in pieces])
                yield _spoken(self._server, content, sentence.text)
                return
            words = WordsInPieces(sentence.text, self._paces.setdefault(sentence.voice, SpeakingPace()))
            async with (
                aclosing(_sound_in(form, beginning, pieces)) as pcm,
                aclosing(spoken_pieces(pcm, form.rate, words)) as chunks,
            ):
                async for chunk in chunks:
                    yield chunk

    async def _bytes_of(self, call: Call, response: httpx.Response) -> AsyncGenerator[bytes]:
        try:
            async for piece in response.aiter_bytes():
                if call.remaining() == 0.0:
                    raise self._server.errors.out_of_time()
                yield piece
        except httpx.HTTPError as error:
            raise self._server.translate(error) from error

    def _body(self, sentence: SpeechText, response_format: str) -> dict[str, Any]:
        body: dict[str, Any] = {
            "input": sentence.text,
            "voice": sentence.voice,
            "response_format": response_format,
        }
        if self._model:
            body["model"] = self._model
        if sentence.reference:
            body[self._reference_field] = base64.b64encode(sentence.reference).decode()
        return body


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
            response = await self._server.fetch(call, "POST", _COQUI, data=fields)
        else:
            response = await self._server.fetch(call, "GET", _COQUI, params=fields)
        yield _spoken(self._server, response.content, sentence.text)

    async def check(self) -> None:
        await self._server.check(_COQUI)

    async def close(self) -> None:
        await self._server.close()


class _NoPcmError(Exception):
    """A server refuses to send PCM."""


def _raise_no_pcm(status: int, said: str) -> None:
    if status in _REFUSED_FORMAT and _FORMAT.search(said):
        raise _NoPcmError


def _unheeded(status: int, said: str) -> None:
    del status, said


async def _sound_in(form: SoundForm, beginning: bytes, rest: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """Yield the sound of an answer without what stands before and behind it."""
    sound = beginning[form.start :]
    left = form.length
    while True:
        yield sound if left is None else sound[:left]
        left = None if left is None else left - len(sound)
        if left is not None and left <= 0:
            return
        if (following := await anext(rest, None)) is None:
            return
        sound = following


def _voices_in(answer: Any, model: str, language: str) -> tuple[VoiceInfo, ...]:
    """Return the voices that a server lists: texts, or objects with a name, in a list or under a name.

    Of a server with several models, those that name another one are left out.
    """
    listed: Any = answer
    if isinstance(answer, Mapping):
        said = cast("Mapping[str, Any]", answer)
        listed = said.get("voices") or said.get("data")
    entries = cast("list[Any]", listed) if isinstance(listed, list) else []
    voices = [_voice_of(entry, model, language) for entry in entries]
    return tuple({voice.name: voice for voice in voices if voice is not None}.values())


def _voice_of(entry: Any, model: str, language: str) -> VoiceInfo | None:
    if isinstance(entry, str):
        return VoiceInfo(entry, language, _KIND) if entry else None
    if not isinstance(entry, Mapping):
        return None
    said = cast("Mapping[str, Any]", entry)
    if model and said.get("model_id", said.get("model", model)) != model:
        return None
    name = next((said[field] for field in _VOICE_NAMES if isinstance(said.get(field), str)), "")
    spoken = said.get("language")
    return VoiceInfo(name, language or (spoken if isinstance(spoken, str) else ""), _KIND) if name else None


def _spoken(server: HttpBackEnd, content: bytes, text: str) -> SpokenChunk:
    try:
        samples, rate = decode_native(content)
    except HearthError as error:
        raise server.errors.nonsense(f"no audio: {error.reason}") from error
    return SpokenChunk(pcm_of(samples), rate, text, estimated_words(text, samples, rate))
