"""Language model of a `ray.serve.llm` deployment, called by its handle: vLLM or SGLang, in one cluster with Hearth."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from deployments.call import Call
from deployments.engines.llm_server import LLMRequest, LLMServerModel
from deployments.engines.shapes import ShapeError, chat_event, chat_request
from deployments.values.language import Generation, Message

_METHOD = "chat"
_REQUEST = "ChatCompletionRequest"


class LLMServerChat:
    """A language model of an `LLMServer`.

    Args:
        server: The model there.
    """

    def __init__(self, server: LLMServerModel) -> None:
        self._server = server

    @property
    def description(self) -> str:
        return self._server.description

    async def texts(self, call: Call, messages: Sequence[Message], generation: Generation) -> AsyncGenerator[str]:
        """See `RemoteChat.texts`."""
        body = chat_request(self._server.model, messages, generation)
        request = LLMRequest(_REQUEST, **body, stream=True)
        async with aclosing(self._server.events(call, _METHOD, request)) as events:
            async for data in events:
                if text := self._text_of(data):
                    yield text

    async def check(self) -> None:
        await self._server.check()

    async def close(self) -> None:
        """Do nothing: a handle holds nothing that is to be given back."""

    def _text_of(self, data: str) -> str:
        try:
            event = chat_event(data)
        except ShapeError as error:
            raise self._server.errors.nonsense(str(error)) from error
        if event.error is not None:
            raise self._server.errors.failure(event.error)
        return event.text
