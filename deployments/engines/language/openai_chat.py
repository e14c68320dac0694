"""Language model behind the OpenAI chat completions API, streamed: vLLM, SGLang, llama.cpp's server and others."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import httpx

from deployments.backoff import retry
from deployments.call import Call
from deployments.engines.http_client import HttpBackEnd, short_backoff
from deployments.engines.shapes import ShapeError, chat_event, chat_request, estimated_tokens
from deployments.errors import InvalidRequestError, Limit, PayloadTooLargeError
from deployments.values.language import Generation, Message


class OpenAIChatEngine:
    """A model of an OpenAI-compatible server.

    Args:
        server: The server.
        model: The model's name there.
        context_tokens: The model's context window.
    """

    def __init__(self, server: HttpBackEnd, *, model: str, context_tokens: int) -> None:
        self._server = server
        self._model = model
        self._context_tokens = context_tokens
        self._tokens_generated = 0

    is_remote = True

    @property
    def description(self) -> str:
        return f"OpenAI API at {self._server.base_url}, {self._model}"

    @property
    def context_tokens(self) -> int:
        return self._context_tokens

    @property
    def tokens_generated(self) -> int:
        return self._tokens_generated

    async def count_tokens(self, messages: Sequence[Message]) -> int:
        """Return an estimate, rather too high than too low."""
        return estimated_tokens(messages)

    async def generate(self, call: Call, messages: Sequence[Message], generation: Generation) -> AsyncGenerator[str]:
        """Yield the answer as the server streams it; tried up to three times until the first token.

        Raises:
            InvalidRequestError: The server says that the prompt is longer than the model reads. Hearth has cut it to
                `context_tokens`, by an estimate where the server counts.
            HearthError: As `HttpBackEnd` says.
        """

        async def begun() -> tuple[str, AsyncGenerator[str]]:
            texts = self._attempt(call, messages, generation)
            return await anext(texts, ""), texts

        first, texts = await retry(begun, short_backoff(), remaining_s=call.remaining)
        async with aclosing(texts):
            if first:
                self._tokens_generated += 1
                yield first
            async for text in texts:
                self._tokens_generated += 1
                yield text

    async def read(self, call: Call, messages: Sequence[Message]) -> AsyncGenerator[int]:
        """Have the server read a prompt, which a prefix cache then holds, and yield an estimate of its tokens."""
        async with aclosing(self._attempt(call, messages, Generation(max_tokens=1))) as texts:
            async for _text in texts:
                pass
        yield await self.count_tokens(messages)

    async def check(self) -> None:
        await self._server.check()

    async def close(self) -> None:
        await self._server.close()

    async def _attempt(self, call: Call, messages: Sequence[Message], generation: Generation) -> AsyncGenerator[str]:
        body = chat_request(self._model, messages, generation) | {"stream": True}
        try:
            async with aclosing(self._texts(call, body)) as texts:
                async for text in texts:
                    yield text
        except PayloadTooLargeError as error:
            raise InvalidRequestError(
                "the question is too long for the language model",
                field="message",
                limit=Limit("engine.context_tokens", self._context_tokens),
                back_end=error.back_end,
            ) from error

    async def _texts(self, call: Call, body: dict[str, object]) -> AsyncGenerator[str]:
        async with self._server.stream(call, "/v1/chat/completions", body) as response:
            try:
                # The deadline is looked at between lines, and the client bounds the wait for each. A timeout around
                # the wait would end at the same moment as the caller's: its second cancellation would interrupt
                # httpx while it closes the connection for the first, which then stays open, and the model at work.
                async for line in response.aiter_lines():
                    if line.strip() == "data: [DONE]":
                        return
                    if call.remaining() == 0.0:
                        raise self._server.errors.out_of_time()
                    if text := self._text_of(line):
                        yield text
            except httpx.HTTPError as error:
                raise self._server.translate(error) from error
            raise self._server.errors.broken_off()

    def _text_of(self, line: str) -> str:
        """Return the text in one line of the event stream, empty for lines that carry none.

        Raises:
            UpstreamFailedError: The line reports an error or cannot be read.
        """
        prefix, separator, data = line.partition(":")
        if not separator or prefix.strip() != "data":
            return ""
        try:
            event = chat_event(data)
        except ShapeError as error:
            raise self._server.errors.nonsense(str(error)) from error
        if event.error is not None:
            raise self._server.errors.failure(event.error)
        return event.text
