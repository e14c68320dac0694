"""vLLM's engine, timed. Importing it imports vLLM."""

import time
from typing import Any, cast

from ray.llm._internal.serve.engines.vllm import vllm_engine

from tests.vllm.timed_engine import timed, write

_TimedEngine = timed(cast("Any", vllm_engine).VLLMEngine)


class TimedVLLMEngine(_TimedEngine):
    """Writes down a chat that is left when vLLM is told to abort it, not when its generator is let go of."""

    async def start(self) -> None:
        await super().start()
        self._left: dict[str, dict[str, Any]] = {}
        client: Any = self._engine_client
        abort = client.abort

        async def noted_abort(request_id: Any, *arguments: Any, **named: Any) -> None:
            self._note_abort(str(request_id))
            await abort(request_id, *arguments, **named)

        client.abort = noted_abort

    def prepare(self, request: Any, chat: dict[str, Any]) -> None:
        from vllm.entrypoints.generate.base.protocol import StreamOptions  # noqa: PLC0415 # pyright: ignore[reportMissingImports]

        request.stream_options = request.stream_options or StreamOptions(include_usage=True)
        self._left[str(request.request_id)] = chat

    def finish(self, request: Any, chat: dict[str, Any], *, ended: bool) -> None:
        if ended:
            self._left.pop(str(request.request_id), None)
            write(chat)

    def _note_abort(self, request_id: str) -> None:
        # vLLM's own id of a request has Ray's in the middle.
        for name in [name for name in self._left if name in request_id]:
            write(self._left.pop(name) | {"aborted": time.monotonic()})
