"""The language model: prompts in, tokens out."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from deployments.call import Call
from deployments.component_status import engine_status
from deployments.engines.protocols import KeepsPrefixes, LanguageModelEngine
from deployments.errors import HearthError
from deployments.inference.prompt import fit, texts_of, with_texts
from deployments.inference.thinking import Thinking
from deployments.text.prompt_markers import marker_candidates, without_markers
from deployments.values.language import Answering, Generation, Message, ModelProfile, Piece, Prompt
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
        self._thinking = Thinking(engine.model_name)

    async def generate(self, call: Call, prompt: Prompt) -> AsyncGenerator[Piece]:
        reasoning, generation = self._answering.reasoning, self._generation(prompt)
        messages = await self._messages(prompt, generation.max_tokens)
        opens_thought = None
        if reasoning.starts_inside is None:
            opens_thought = await self._engine.opens_thought(generation)
        answer = self._thinking.answer(call, reasoning, generation, opens_thought)
        async with aclosing(self._engine.generate(call, messages, generation)) as pieces:
            with answer.logged():
                try:
                    async for piece in pieces:
                        said = answer.take(piece)
                        if said.text or said.end:
                            yield said
                except HearthError:
                    if (rest := answer.broke_off()).text:
                        yield rest
                    raise

    async def read(self, call: Call, prompt: Prompt) -> AsyncGenerator[int]:
        generation = self._generation(prompt)
        messages = await self._messages(prompt, generation.max_tokens)
        async with aclosing(self._engine.read(call, messages, generation)) as counts:
            async for tokens in counts:
                yield tokens

    async def warm(self, seconds: float) -> float:
        """Read the examples, so that the first question finds them cached; from a file, where the engine keeps one.

        Returns:
            Seconds it took.
        """
        started = time.monotonic()
        prompt = Prompt(self._answering.system_prompt, "Ready?", ("Ready.",), self._answering.examples)
        call = Call.within(seconds, "warm-up")
        messages, generation = await self._messages(prompt, 1), self._generation(prompt)
        keeper = self._engine if isinstance(self._engine, KeepsPrefixes) else None
        is_restored = keeper is not None and await keeper.restore_prefix(messages, generation)
        async with aclosing(self._engine.read(call, messages, generation)) as counts:
            async for _tokens in counts:
                pass
        if keeper and not is_restored:
            await keeper.keep_prefix(messages, generation)
        return time.monotonic() - started

    def configure(self, answering: Answering) -> None:
        """Use the model differently from now on; nothing is loaded again."""
        self._answering = answering

    async def profile(self, call: Call) -> ModelProfile:
        del call
        thought_tokens = self._thinking.tokens
        return ModelProfile(self._engine.description, self._answering, self._engine.tokens_generated, thought_tokens)

    async def status(self, call: Call) -> ComponentStatus:
        del call
        tokens = self._thinking.tokens
        thoughts = f", about {tokens} tokens of thought since the start" if tokens else ""
        return await engine_status(self.name, self._engine.description + thoughts, self._engine.check())

    def _generation(self, prompt: Prompt) -> Generation:
        reasoning = self._answering.reasoning
        return replace(
            self._answering.generation, effort=reasoning.effort_for(prompt.use), thought_tokens=reasoning.budget_tokens
        )

    async def _messages(self, prompt: Prompt, answer_tokens: int) -> list[Message]:
        """Return the messages of a prompt, without marks of templates in them, cut so that its answer has room."""
        candidates = set[str]().union(*(marker_candidates(text) for text in texts_of(prompt)))
        markers = await self._engine.special_tokens(candidates) if candidates else ()
        written = with_texts(prompt, lambda text: without_markers(text, markers))
        return await fit(written, self._engine.context_tokens - answer_tokens, self._engine.count_tokens)
