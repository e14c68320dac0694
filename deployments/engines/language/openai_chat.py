"""Language model behind the OpenAI chat completions API, streamed: vLLM, SGLang, llama.cpp's server and others."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import httpx

from deployments.call import Call
from deployments.engines.http_client import HttpBackEnd
from deployments.errors import DeadlineExceededError, UnavailableError, UpstreamFailedError
from deployments.values.language import Generation, Message

_RETRY_PAUSES_S = (0.1, 0.4)
_BYTES_PER_TOKEN = 3
"""A careful guess, short of the four or so of English text, where the server's vocabulary is not at hand."""


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
        return sum(len(message.content.encode()) // _BYTES_PER_TOKEN + 8 for message in messages)

    async def generate(self, call: Call, messages: Sequence[Message], generation: Generation) -> AsyncGenerator[str]:
        """Yield the answer as the server streams it; tried up to three times until the first token."""
        started = False
        for pause in (*_RETRY_PAUSES_S, None):
            try:
                async with aclosing(self._attempt(call, messages, generation)) as texts:
                    async for text in texts:
                        started = True
                        self._tokens_generated += 1
                        yield text
            except UnavailableError:
                if started or pause is None or call.remaining() <= pause:
                    raise
            else:
                return
            await asyncio.sleep(pause)

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
        body: dict[str, object] = {
            "model": self._model,
            "messages": [{"role": message.role.value, "content": message.content} for message in messages],
            "max_tokens": generation.max_tokens,
            "temperature": generation.temperature,
            "stream": True,
        }
        if generation.stop:
            body["stop"] = list(generation.stop)
        async with self._server.stream(call, "/v1/chat/completions", body) as response:
            try:
                # The deadline is looked at between lines, and the client bounds the wait for each. A timeout around
                # the wait would end at the same moment as the caller's: its second cancellation would interrupt
                # httpx while it closes the connection for the first, which then stays open, and the model at work.
                async for line in response.aiter_lines():
                    if line.strip() == "data: [DONE]":
                        return
                    if call.remaining() == 0.0:
                        raise DeadlineExceededError(f"{self._server.base_url} did not finish in the time given")
                    if text := _text_of(line):
                        yield text
            except httpx.HTTPError as error:
                raise self._server.translate(error) from error
            raise UnavailableError(f"{self._server.base_url} ended the answer before its end")


def _text_of(line: str) -> str:
    """Return the text in one line of the event stream, empty for lines that carry none.

    Raises:
        UpstreamFailedError: The line reports an error or cannot be read.
    """
    prefix, separator, data = line.partition(":")
    if not separator or prefix.strip() != "data":
        return ""
    try:
        event: dict[str, Any] = json.loads(data)
        if "error" in event:
            raise UpstreamFailedError(f"the language model failed: {event['error']}")
        choices: list[dict[str, Any]] = event.get("choices") or [{}]
        return str(choices[0].get("delta", {}).get("content") or "")
    except (ValueError, AttributeError, IndexError) as error:
        raise UpstreamFailedError("the language model sent something that is not a chat completion") from error
