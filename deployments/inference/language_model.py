"""The language model: prompts in, tokens out."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from deployments.call import Call
from deployments.component_status import engine_status
from deployments.engines.protocols import LanguageModelEngine
from deployments.inference.prompt import fit
from deployments.values.language import Answering, ModelProfile, Piece, Prompt
from deployments.values.status import ComponentStatus


class LanguageModel:
    """Generates with one engine.

    `deployments.services.LanguageModelService` says what its methods do.

    Args:
        engine: Makes the text.
        answering: How callers are to use the model.
    """

    name = "LanguageModel"

    def __init__(self, engine: LanguageModelEngine, answering: Answering) -> None:
        self._engine = engine
        self._answering = answering

    async def generate(self, call: Call, prompt: Prompt) -> AsyncGenerator[Piece]:
        generation = self._answering.generation
        room = self._engine.context_tokens - generation.max_tokens
        messages = await fit(prompt, room, self._engine.count_tokens)
        async with aclosing(self._engine.generate(call, messages, generation)) as pieces:
            async for piece in pieces:
                if piece.text or piece.end:
                    yield replace(piece, thought="") if piece.thought else piece

    async def read(self, call: Call, prompt: Prompt) -> AsyncGenerator[int]:
        room = self._engine.context_tokens - self._answering.generation.max_tokens
        messages = await fit(prompt, room, self._engine.count_tokens)
        async with aclosing(self._engine.read(call, messages)) as counts:
            async for tokens in counts:
                yield tokens

    async def warm(self, prompts: int, seconds: float) -> float:
        """Read the examples once for each of `prompts` slots, so that the first question finds them cached.

        Returns:
            Seconds it took.
        """
        started = time.monotonic()
        prompt = Prompt(self._answering.system_prompt, "Ready?", ("Ready.",), self._answering.examples)
        call = Call.within(seconds, "warm-up")
        messages = await fit(prompt, self._engine.context_tokens - 1, self._engine.count_tokens)
        for _ in range(prompts):
            async with aclosing(self._engine.read(call, messages)) as counts:
                async for _tokens in counts:
                    pass
        return time.monotonic() - started

    def configure(self, answering: Answering) -> None:
        """Use the model differently from now on; nothing is loaded again."""
        self._answering = answering

    async def profile(self, call: Call) -> ModelProfile:
        del call
        return ModelProfile(self._engine.description, self._answering, self._engine.tokens_generated)

    async def status(self, call: Call) -> ComponentStatus:
        del call
        return await engine_status(self.name, self._engine.description, self._engine.check())
