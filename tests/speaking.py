"""What an engine says of a text."""

from contextlib import aclosing

from deployments.call import Call
from deployments.engines.protocols import TextToSpeechEngine
from deployments.values.speech import SpeechText, SpokenChunk


async def chunks_of(engine: TextToSpeechEngine, text: SpeechText) -> list[SpokenChunk]:
    """Return the chunks of a sentence."""
    async with aclosing(engine.speak(Call.within(60.0, "test"), text)) as chunks:
        return [chunk async for chunk in chunks]


async def spoken_by(engine: TextToSpeechEngine, text: SpeechText) -> SpokenChunk:
    """Return a sentence of an engine that makes one chunk of it."""
    (chunk,) = await chunks_of(engine, text)
    return chunk
