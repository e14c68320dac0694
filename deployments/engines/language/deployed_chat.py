"""Language model in any other deployment of the cluster, called by its handle."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any

from deployments.call import Call
from deployments.engines.adapter_protocols import LanguageModelAdapter
from deployments.engines.binding import Binding
from deployments.values.language import FinishReason, Generation, Message, Piece


class DeployedChat:
    """The way to a language model: see `deployments.engines.language.remote_model.RemoteChat`."""

    def __init__(self, binding: Binding, adapter: LanguageModelAdapter) -> None:
        self._binding = binding
        self._adapter = adapter

    @property
    def description(self) -> str:
        return self._binding.description

    @property
    def model_name(self) -> str:
        """The deployment's name: what its model is called is not known here."""
        return self._binding.description

    async def pieces(self, call: Call, messages: Sequence[Message], generation: Generation) -> AsyncGenerator[Piece]:
        """See `RemoteChat.pieces`; an answer whose adapter never tells an end ends well with its last item."""
        arguments = self._binding.arguments(self._adapter.request, messages, generation)
        end: FinishReason | None = None
        async with aclosing(self._binding.items(call, arguments, _piece_by(self._adapter.text))) as pieces:
            async for piece in pieces:
                end = end or piece.end
                if piece.text or piece.thought:
                    yield Piece(piece.text, piece.thought)
        if end is None and getattr(self._adapter, "tells_end", False):
            raise self._binding.errors.broken_off()
        yield Piece(end=end or FinishReason.STOP)

    async def check(self) -> None:
        await self._binding.check()

    async def close(self) -> None:
        """Do nothing: a handle holds nothing that is to be given back."""


def _piece_by(read: Callable[[Any], object]) -> Callable[[Any], Piece]:
    """Return what reads pieces as an adapter does, and refuses what the adapter returns that is none."""

    def piece(item: Any) -> Piece:
        said = read(item)
        if isinstance(said, str):
            return Piece(said)
        if not isinstance(said, Piece):
            raise TypeError(f"its text() returned {type(said).__name__} where a str or a Piece was expected")
        return said

    return piece
