"""Speech: what is to be said is made speakable, and said."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from deployments.call import Call
from deployments.component_status import replica_status, status_or_error
from deployments.errors import InvalidRequestError, Limit, PayloadTooLargeError
from deployments.services import TextToSpeechService
from deployments.text.speakable import speakable
from deployments.values.speech import SpeechText, SpokenChunk, Voices
from deployments.values.status import ComponentStatus


class Speech:
    """Says texts as they are written, for people to hear.

    `deployments.services.SpeechService` says what its methods do.

    Args:
        text_to_speech: Makes the sound.
        max_characters: Longer texts are refused.
    """

    name = "Speech"

    def __init__(self, text_to_speech: TextToSpeechService, max_characters: int) -> None:
        self._text_to_speech = text_to_speech
        self._max_characters = max_characters

    async def say(self, call: Call, text: SpeechText) -> AsyncGenerator[SpokenChunk]:
        if len(text.text) > self._max_characters:
            raise PayloadTooLargeError(
                f"the text has {len(text.text)} characters, at most {self._max_characters} are spoken at once",
                field="text",
                limit=Limit("speech.max_characters", self._max_characters, len(text.text)),
            )
        spoken = text.text if text.is_speakable else await asyncio.to_thread(speakable, text.text)
        if not spoken:
            raise InvalidRequestError("there is nothing to say: the text holds no word", field="text")
        sentences = replace(text, text=spoken, is_speakable=True)
        async with aclosing(self._text_to_speech.speak(call, sentences)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def voices(self, call: Call, rescan: bool) -> Voices:
        return await self._text_to_speech.voices(call, rescan)

    async def components(self, call: Call) -> tuple[ComponentStatus, ...]:
        below = await status_or_error("TextToSpeech", self._text_to_speech.status(call), required=False)
        return (replica_status(self.name, "says things", required=False), below)
