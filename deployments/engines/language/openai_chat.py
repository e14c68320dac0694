"""Language model behind the OpenAI chat completions API, streamed: vLLM, SGLang, llama.cpp's server and others."""

from collections.abc import AsyncGenerator, Sequence

import httpx

from deployments.call import Call
from deployments.engines.http_client import HttpBackEnd
from deployments.engines.language.remote_model import text_in
from deployments.engines.shapes import DONE, chat_request
from deployments.values.language import Generation, Message


class OpenAIChat:
    """A model of an OpenAI-compatible server.

    Args:
        server: The server.
        model: The model's name there.
    """

    def __init__(self, server: HttpBackEnd, *, model: str) -> None:
        self._server = server
        self._model = model

    @property
    def description(self) -> str:
        return f"OpenAI API at {self._server.base_url}, {self._model}"

    async def texts(self, call: Call, messages: Sequence[Message], generation: Generation) -> AsyncGenerator[str]:
        """See `RemoteChat.texts`."""
        body = chat_request(self._model, messages, generation) | {"stream": True}
        async with self._server.stream(call, "/v1/chat/completions", body) as response:
            try:
                # The deadline is looked at between lines, and the client bounds the wait for each. A timeout around
                # the wait would end at the same moment as the caller's: its second cancellation would interrupt
                # httpx while it closes the connection for the first, which then stays open, and the model at work.
                async for line in response.aiter_lines():
                    if line.strip() == f"data: {DONE}":
                        return
                    if call.remaining() == 0.0:
                        raise self._server.errors.out_of_time()
                    if text := self._text_of(line):
                        yield text
            except httpx.HTTPError as error:
                raise self._server.translate(error) from error
            raise self._server.errors.broken_off()

    async def check(self) -> None:
        await self._server.check()

    async def close(self) -> None:
        await self._server.close()

    def _text_of(self, line: str) -> str:
        """Return the text in one line of the event stream, empty for lines that carry none.

        Raises:
            HearthError: The line reports an error or cannot be read.
        """
        prefix, separator, data = line.partition(":")
        if not separator or prefix.strip() != "data":
            return ""
        return text_in(data, self._server.errors)
