"""Text to speech: text in, sound out, a sentence at a time."""

import asyncio
import logging
import math
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import ParamSpec, Protocol, TypeVar, runtime_checkable

from deployments.call import Call
from deployments.component_status import engine_status
from deployments.engines.protocols import TextToSpeechEngine
from deployments.errors import HearthError, InvalidRequestError, NotFoundError
from deployments.inference.written_words import WrittenWords
from deployments.text.speakable import spoken_sentences
from deployments.text.spoken_forms import spoken_words
from deployments.values.speech import SpeechText, SpokenChunk, VoiceInfo, Voices
from deployments.values.status import ComponentStatus

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_RESCAN_S = 300.0
_ASK_VOICES_S = 5.0


class CustomVoices(Protocol):
    """Voices out of a folder."""

    @property
    def voices(self) -> tuple[VoiceInfo, ...]:
        """Those that the last scan found."""
        ...

    @property
    def faults(self) -> tuple[str, ...]:
        """What the last scan found broken."""
        ...

    def scan(self) -> None:
        """Look through the folder. Blocks."""
        ...

    def loaded(self, name: str) -> TextToSpeechEngine | None:
        """Return the engine that speaks a voice, None where it would have to be loaded. Does not block."""
        ...

    def engine(self, name: str) -> TextToSpeechEngine:
        """Return the engine that speaks a voice, loaded if it is not yet. Blocks.

        Raises:
            HearthError: It cannot be loaded; the message says why.
        """
        ...


@runtime_checkable
class ServedVoices(Protocol):
    """An engine whose server says which voices it has."""

    async def ask_voices(self, call: Call) -> None:
        """Ask the server; `voices` of the engine are its answer.

        Raises:
            HearthError: It cannot be asked now.
        """
        ...


class TextToSpeech:
    """Speaks with one engine, and with the custom voices beside it.

    `deployments.services.TextToSpeechService` says what its methods do.

    Args:
        engine: Speaks where no custom voice is named.
        custom: Custom voices.
        default: Name of the voice that speaks where none is named; empty for the engine's first.
    """

    name = "TextToSpeech"

    def __init__(self, engine: TextToSpeechEngine, custom: CustomVoices, default: str = "") -> None:
        self._engine = engine
        self._custom = custom
        self._named_default = default
        self._scanned = -math.inf
        self._scanned_at = 0
        self._scanning = asyncio.Lock()
        # One thread: voices that are asked for at once are loaded one after the other, and each once.
        self._loader = ThreadPoolExecutor(1, "voices")

    @property
    def _default(self) -> str:
        return self._named_default or self._engine.voices[0].name

    async def speak(self, call: Call, text: SpeechText) -> AsyncGenerator[SpokenChunk]:
        voice, engine = await self._chosen(call, text)
        if text.reference and not engine.clones:
            raise InvalidRequestError(
                f"speaker_wav_b64: the voice {voice.name!r} ({voice.kind}) cannot imitate another one",
                field="speaker_wav_b64",
            )
        said_something = False
        opening_clause = engine.opening_clause_pays and not text.goes_on
        language = _spoken_language(text.language, voice.language)
        for sentence in spoken_sentences(text.text, opening_clause=opening_clause):
            words = WrittenWords(spoken_words(sentence, language))
            async with aclosing(engine.speak(call, replace(text, text=words.spoken, voice=voice.name))) as chunks:
                async for chunk in chunks:
                    if chunk.pcm:
                        said_something = True
                        yield words.of(chunk)
        if not said_something:
            speaks = f" speaks {voice.language} and" if voice.language else ""
            raise InvalidRequestError(f"the voice {voice.name!r}{speaks} can say nothing of this text", field="text")

    async def voices(self, call: Call, rescan: bool) -> Voices:
        await self._scan(call, 0.0 if rescan else _RESCAN_S)
        return Voices(
            default=self._default,
            built_in=self._engine.voices,
            custom=self._custom.voices,
            faults=self._custom.faults,
            scanned_at=self._scanned_at,
        )

    async def status(self, call: Call) -> ComponentStatus:
        del call
        count = len(self._custom.voices)
        description = f"{self._engine.description}, {count} custom voices" if count else self._engine.description
        return await engine_status(self.name, description, self._engine.check(), required=False)

    async def _chosen(self, call: Call, text: SpeechText) -> tuple[VoiceInfo, TextToSpeechEngine]:
        await self._scan(call, _RESCAN_S)
        voice = self._find(text)
        if voice is None and text.voice:
            # It may have been put there a moment ago.
            await self._scan(call, 0.0)
            voice = self._find(text)
        if voice is None:
            raise self._unknown(text)
        if text.language and voice.language and not _same_language(text.language, voice.language):
            raise InvalidRequestError(
                f"language {text.language!r}: the voice {voice.name!r} speaks {voice.language}; "
                f"there are voices for {', '.join(self._languages())}",
                field="language",
            )
        if voice in self._engine.voices:
            return voice, self._engine
        loaded = self._custom.loaded(voice.name)
        return voice, loaded or await self._in_loader(self._custom.engine, voice.name)

    def _find(self, text: SpeechText) -> VoiceInfo | None:
        voices = (*self._engine.voices, *self._custom.voices)
        if text.voice:
            return next((voice for voice in voices if voice.name == text.voice), None)
        default = next((voice for voice in voices if voice.name == self._default), voices[0])
        if not text.language or not default.language or _same_language(text.language, default.language):
            return default
        return next((voice for voice in voices if _same_language(text.language, voice.language)), default)

    def _unknown(self, text: SpeechText) -> NotFoundError:
        known = ", ".join(voice.name for voice in (*self._engine.voices, *self._custom.voices))
        fault = next((fault for fault in self._custom.faults if fault.startswith(f"{text.voice}:")), "")
        why = f" ({fault})" if fault else ""
        return NotFoundError(f"unknown voice {text.voice[:64]!r}; known are {known}{why}", field="speaker")

    def _languages(self) -> list[str]:
        voices = (*self._engine.voices, *self._custom.voices)
        return sorted({voice.language for voice in voices if voice.language})

    async def _in_loader(self, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._loader, partial(work, *arguments, **named))

    async def _scan(self, call: Call, older_than_s: float) -> None:
        """Look for voices, unless that was done within so many seconds, or since this was asked for."""
        asked = time.monotonic()
        if self._scanned > asked - older_than_s:
            return
        async with self._scanning:
            if self._scanned <= asked:
                await self._scan_now(call)

    async def _scan_now(self, call: Call) -> None:
        began = time.monotonic()
        await self._in_loader(self._custom.scan)
        if isinstance(self._engine, ServedVoices):
            try:
                # Others wait for this look, too, and the voices are known well enough without.
                deadline = min(call.deadline, began + _ASK_VOICES_S)
                await self._engine.ask_voices(replace(call, deadline=deadline))
            except HearthError as error:
                logger.warning("the voices stay as they are known: %s", error.message)
        self._scanned, self._scanned_at = began, int(time.time())


def _spoken_language(asked: str, voices: str) -> str:
    """Return the language that is spoken, with its region where the request knows more than the voice."""
    return asked if asked and (not voices or len(asked) > len(voices)) else voices


def _same_language(one: str, other: str) -> bool:
    return one.replace("_", "-").split("-")[0].lower() == other.replace("_", "-").split("-")[0].lower()
