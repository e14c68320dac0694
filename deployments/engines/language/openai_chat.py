"""Language model behind the OpenAI chat completions API, streamed: vLLM, SGLang, llama.cpp's server and others."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import httpx

from deployments.call import Call
from deployments.engines.http_client import HttpBackEnd
from deployments.engines.language.event_stream import server_sent_events
from deployments.engines.language.reasoning_fields import AcceptedFields
from deployments.engines.language.remote_model import event_in
from deployments.engines.shapes import DONE, ShapeError, chat_event, chat_request
from deployments.errors import HearthError
from deployments.values.language import FinishReason, Generation, Message, Piece

_ERROR = "error"


class OpenAIChat:
    """A model of an OpenAI-compatible server.

    Args:
        server: The server.
        model: The model's name there.
    """

    def __init__(self, server: HttpBackEnd, *, model: str) -> None:
        self._server = server
        self._model = model
        self._accepted = AcceptedFields()

    @property
    def description(self) -> str:
        return f"OpenAI API at {self._server.base_url}, {self._model}"

    async def pieces(self, call: Call, messages: Sequence[Message], generation: Generation) -> AsyncGenerator[Piece]:
        """See `RemoteChat.pieces`."""
        body = chat_request(self._model, messages, generation) | {"stream": True}
        async with aclosing(
            self._accepted.asked(generation, lambda fields: self._answer(call, {**body, **fields}))
        ) as pieces:
            async for piece in pieces:
                yield piece

    async def _answer(self, call: Call, body: Mapping[str, Any]) -> AsyncGenerator[Piece]:
        async with self._server.stream(call, "/v1/chat/completions", body) as response:
            try:
                async with aclosing(server_sent_events(response, lambda: self._check_time(call))) as events:
                    async for event in events:
                        if event.event == _ERROR:
                            raise self._failure(event.data)
                        for data in _completions_in(event.data):
                            if data == DONE:
                                yield Piece(end=FinishReason.STOP)
                                return
                            said = event_in(data, self._server.errors)
                            if said.text or said.thought or said.end:
                                yield Piece(said.text, said.thought, said.end)
                            # What may follow, such as the usage, is nothing to wait for.
                            if said.end:
                                return
            except httpx.HTTPError as error:
                raise self._server.translate(error) from error
            raise self._server.errors.broken_off()

    async def check(self) -> None:
        await self._server.check()

    async def close(self) -> None:
        await self._server.close()

    def _failure(self, data: str) -> HearthError:
        """Return the error of an event whose name says that it is one."""
        try:
            return self._server.errors.failure(chat_event(data).error or data)
        except ShapeError:
            return self._server.errors.failure(data)

    def _check_time(self, call: Call) -> None:
        if call.remaining() == 0.0:
            raise self._server.errors.out_of_time()


def _completions_in(data: str) -> list[str]:
    """Return the JSONs in the data of one event: one, unless the server forgot the empty lines between its events."""
    lines = [line.strip() for line in data.split("\n") if line.strip()]
    return lines if all(line.startswith(('{"', DONE)) for line in lines) else [data]
