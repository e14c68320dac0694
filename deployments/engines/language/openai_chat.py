"""Language model behind the OpenAI chat completions API, streamed: vLLM, SGLang, llama.cpp's server and others."""

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing

import httpx
from httpx_sse import ServerSentEvent

from deployments.call import Call
from deployments.engines.http_client import HttpBackEnd
from deployments.engines.language.dialect import Accommodation, Body, Refused
from deployments.engines.language.event_stream import NoEventsError, server_sent_events
from deployments.engines.language.reasoning_fields import AcceptedFields, Fields
from deployments.engines.language.remote_model import END_OF_STREAM, HiddenThought, Unrepeated, event_in, failure_of
from deployments.engines.language.stop_texts import until_stop
from deployments.engines.shapes import DONE, ChatEvent, ShapeError, chat_event, chat_request
from deployments.values.language import Generation, Message, Piece

_PATH = "/v1/chat/completions"
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
        self._accommodation = Accommodation(server.base_url)

    @property
    def description(self) -> str:
        return f"OpenAI API at {self._server.base_url}, {self._model}"

    @property
    def model_name(self) -> str:
        return self._model

    async def pieces(self, call: Call, messages: Sequence[Message], generation: Generation) -> AsyncGenerator[Piece]:
        """See `RemoteChat.pieces`."""
        body = chat_request(self._model, messages, generation) | {"stream": True}

        def ask(written: Body, refused: Refused) -> AsyncGenerator[Piece]:
            return self._asked(call, written, refused)

        def stops() -> Sequence[str]:
            return self._accommodation.dialect.stops_not_sent(body)

        def with_fields(fields: Fields) -> AsyncGenerator[Piece]:
            return self._accommodation.items({**body, **fields}, ask)

        async with aclosing(until_stop(self._accepted.asked(generation, with_fields), stops)) as pieces:
            async for piece in pieces:
                yield piece

    async def _asked(self, call: Call, body: Body, refused: Refused) -> AsyncGenerator[Piece]:
        unrepeated, hidden = Unrepeated(), HiddenThought()
        async with self._server.stream(call, _PATH, body, refused) as response:
            try:
                async with aclosing(server_sent_events(response, lambda: self._check_time(call))) as events:
                    async for event in events:
                        for said in map(unrepeated.of, self._said_in(event, refused)):
                            piece = hidden.piece(said)
                            if piece.text or piece.thought or piece.end:
                                yield piece
                            if piece.end:
                                return
            except NoEventsError as error:
                raise self._server.errors.nonsense(str(error)) from error
            except httpx.HTTPError as error:
                raise self._server.translate(error) from error
            if last := hidden.last():
                yield last
                return
            raise self._server.errors.broken_off()

    async def check(self) -> None:
        await self._server.check(_PATH)

    async def close(self) -> None:
        await self._server.close()

    def _said_in(self, event: ServerSentEvent, refused: Refused) -> Iterator[ChatEvent]:
        """Yield what an event says.

        Raises:
            HearthError: It tells a failure, or is no chat completion.
        """
        if event.event == _ERROR:
            raise failure_of(_failure_in(event.data), self._server.errors, refused)
        for data in _completions_in(event.data):
            yield END_OF_STREAM if data == DONE else event_in(data, self._server.errors, refused)

    def _check_time(self, call: Call) -> None:
        if call.remaining() == 0.0:
            raise self._server.errors.out_of_time()


def _failure_in(data: str) -> object:
    """Return what an event tells whose name says that it is an error."""
    try:
        return chat_event(data).error or data
    except ShapeError:
        return data


def _completions_in(data: str) -> list[str]:
    """Return the JSONs in the data of one event: one, unless the server forgot the empty lines between its events."""
    lines = [line.strip() for line in data.split("\n") if line.strip()]
    return lines if all(line.startswith(('{"', DONE)) for line in lines) else [data]
