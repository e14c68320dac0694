"""Language model in any other deployment of the cluster, called by its handle."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from deployments.call import Call
from deployments.engines.adapter_protocols import LanguageModelAdapter
from deployments.engines.binding import Binding, text_by
from deployments.values.language import Generation, Message


class DeployedChat:
    """The way to a language model: see `deployments.engines.language.remote_model.RemoteChat`."""

    def __init__(self, binding: Binding, adapter: LanguageModelAdapter) -> None:
        self._binding = binding
        self._adapter = adapter

    @property
    def description(self) -> str:
        return self._binding.description

    async def texts(self, call: Call, messages: Sequence[Message], generation: Generation) -> AsyncGenerator[str]:
        """See `RemoteChat.texts`."""
        arguments = self._adapter.request(messages, generation)
        async with aclosing(self._binding.items(call, arguments, text_by(self._adapter.text))) as texts:
            async for text in texts:
                if text:
                    yield text

    async def check(self) -> None:
        await self._binding.check()

    async def close(self) -> None:
        """Do nothing: a handle holds nothing that is to be given back."""
