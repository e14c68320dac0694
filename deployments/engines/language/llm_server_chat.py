"""Language model of a `ray.serve.llm` deployment, called by its handle: vLLM or SGLang, in one cluster with Hearth."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from deployments.call import Call
from deployments.engines.language.dialect import Accommodation, Body, Refused
from deployments.engines.language.reasoning_fields import AcceptedFields, Fields
from deployments.engines.language.remote_model import Unrepeated, event_in
from deployments.engines.llm_server import LLMRequest, LLMServerModel
from deployments.engines.shapes import DONE, chat_request
from deployments.values.language import FinishReason, Generation, Message, Piece

_METHOD = "chat"
_REQUEST = "ChatCompletionRequest"


class LLMServerChat:
    """A language model of an `LLMServer`.

    Args:
        server: The model there.

    Attributes:
        accommodation: How the model is asked.
        accepted: How it is told how much to think.
    """

    def __init__(self, server: LLMServerModel) -> None:
        self._server = server
        self.accepted = AcceptedFields()
        self.accommodation = Accommodation(server.description)

    @property
    def description(self) -> str:
        return self._server.description

    @property
    def model_name(self) -> str:
        return self._server.model

    async def pieces(self, call: Call, messages: Sequence[Message], generation: Generation) -> AsyncGenerator[Piece]:
        """See `RemoteChat.pieces`."""
        body = chat_request(self._server.model, messages, generation) | {"stream": True}

        def ask(written: Body, refused: Refused) -> AsyncGenerator[Piece]:
            return self._asked(call, written, refused)

        def with_fields(fields: Fields) -> AsyncGenerator[Piece]:
            return self.accommodation.items({**body, **fields}, ask)

        async with aclosing(self.accepted.asked(generation, with_fields)) as pieces:
            async for piece in pieces:
                yield piece

    async def _asked(self, call: Call, body: Body, refused: Refused) -> AsyncGenerator[Piece]:
        end: FinishReason | None = None
        unrepeated, thought_tokens = Unrepeated(), 0
        request = LLMRequest(_REQUEST, **body)
        async with aclosing(self._server.events(call, _METHOD, request, refused)) as events:
            async for data in events:
                if data == DONE:
                    end = end or FinishReason.STOP
                    break
                said = unrepeated.of(event_in(data, self._server.errors, refused))
                # The stream is read on to its own end, so that the server does not take it for one that was left.
                end = end or said.end
                thought_tokens = said.thought_tokens or thought_tokens
                if said.text or said.thought:
                    yield Piece(said.text, said.thought)
        if end is None:
            raise self._server.errors.broken_off()
        yield Piece(end=end, thought_tokens=thought_tokens)

    async def check(self) -> None:
        await self._server.check()

    async def close(self) -> None:
        """Do nothing: a handle holds nothing that is to be given back."""
