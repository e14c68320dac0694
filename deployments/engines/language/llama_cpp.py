"""Language model in process, by llama.cpp through xllamacpp: continuous batching, prefix cache, cancellation."""

import asyncio
import json
import logging
import os
import secrets
import threading
from collections.abc import AsyncGenerator, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import Any, Protocol, cast

import httpx

from deployments.call import Call
from deployments.engines.language.prefix_files import PrefixFiles
from deployments.engines.language.reasoning_fields import all_fields
from deployments.engines.shapes import ChatEvent, chat_event
from deployments.errors import BackEnd, HearthError, InvalidRequestError, Limit, UnavailableError, UpstreamFailedError
from deployments.values.language import Generation, Message, Piece

# Threads of llama.cpp that wait for each other spin, for some milliseconds by default; on a core that something else
# wants, they spin away the time of the thread that they wait for. Two threads on two cores, one of them busy, read a
# prompt in 1.3 s then and a token takes 200 ms; with 1,000 turns of the spin, which is what libgomp takes itself where
# it has more threads than cores, 0.45 s and 33 ms. With both cores free a prompt is read as fast, and two threads take
# 14 ms for a token instead of 12. The library reads it when it is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import xllamacpp  # pyright: ignore[reportMissingTypeStubs]

logger = logging.getLogger(__name__)

_BACK_END = BackEnd("llama.cpp")
_LOOPBACK_TIMEOUT_S = 10.0
_BATCH_TOKENS = 64
"""Tokens of a prompt that are read before a stop is looked for: 0.2 s of the default model on two cores. Reading in
steps of 64 is 5 % slower than in steps of 512 (295 against 310 tokens/s)."""

_LEAVING_S = 1.0
"""What a request waits at most for others that were left to free their slots: longer than a batch of a prompt takes on
a machine that is busy with other things too."""


_REMEMBERED_TEXTS = 4096
_FIRST_SLOT = 0


class _Server(Protocol):
    """The part of `xllamacpp.Server` that is used; the library carries no types."""

    listening_address: str

    def handle_chat_completions(self, request: str, callback: object) -> None: ...


class LlamaCppEngine:
    """A GGUF model served by llama.cpp inside this process.

    llama.cpp runs its own threads and interleaves as many answers as it has slots; further ones wait in its
    queue. Each answer occupies one thread of a pool here, which only waits for llama.cpp's callback.

    Args:
        model_file: The GGUF file.
        context_tokens: Context window of each slot, prompt and answer together.
        parallel: Slots.
        threads: Threads that generate tokens. On two cores a second one gains hardly anything (20 against 21 ms a
            token): handing each token on takes the other core.
        threads_batch: Threads that read prompts.
        gpu_layers: Layers to put on an accelerator; 0 runs on the CPU.
        cache_mib: Memory for prompts that were read and have lost their slot to another one, in MiB.
        prefix_folder: Where what was read of a prompt's prefix is kept from one start to the next; None for nowhere.

    Raises:
        UnavailableError: The model cannot be loaded.
    """

    def __init__(
        self,
        model_file: Path,
        *,
        context_tokens: int = 2048,
        parallel: int = 4,
        threads: int = 1,
        threads_batch: int = 2,
        gpu_layers: int = 0,
        cache_mib: int = 256,
        prefix_folder: Path | None = None,
        max_requests: int = 64,
    ) -> None:
        self._model_file = model_file
        self._context_tokens = context_tokens
        self._tokens_generated = 0
        self._requests = 0
        self._parallel = parallel
        self._state_depends_on = _identity(model_file, context_tokens, parallel, gpu_layers)
        self._prefix_files = PrefixFiles.opened(prefix_folder) if prefix_folder else None
        self._special: dict[str, bool] = {}
        self._leaving: set[asyncio.Future[None]] = set()
        self.api_key = key = secrets.token_urlsafe()
        parameters = cast("Any", xllamacpp).CommonParams()
        parameters.model.path = str(model_file)
        parameters.n_ctx = context_tokens * parallel
        parameters.n_parallel = parallel
        parameters.cpuparams.n_threads = threads
        parameters.cpuparams_batch.n_threads = threads_batch
        parameters.n_gpu_layers = gpu_layers
        parameters.n_batch = _BATCH_TOKENS
        # Eight gigabytes by default, which fill up for as long as the replica lives.
        parameters.cache_ram_mib = cache_mib
        # llama.cpp also opens a port of its own, which nobody but this process is to use.
        parameters.hostnames = ["127.0.0.1"]
        parameters.port = 0
        parameters.api_keys = [key]
        parameters.endpoint_slots = False
        if self._prefix_files:
            parameters.slot_save_path = f"{self._prefix_files.folder}{os.sep}"
        parameters.verbosity = -1
        try:
            self._server = cast("_Server", cast("Any", xllamacpp).Server(parameters))
        except RuntimeError as error:
            logger.error("llama.cpp cannot load %s: %s", model_file, error)  # noqa: TRY400 - the cause goes with what is raised
            shown = f"{model_file.parent.name}/{model_file.name}"
            raise UnavailableError(f"language-model: llama.cpp cannot load {shown}", back_end=_BACK_END) from error
        self._threads = ThreadPoolExecutor(max_requests, thread_name_prefix="llama-cpp")
        self._loopback = httpx.AsyncClient(
            base_url=self._server.listening_address,
            headers={"Authorization": f"Bearer {key}"},
            timeout=_LOOPBACK_TIMEOUT_S,
            trust_env=False,
        )

    is_remote = False

    @property
    def address(self) -> str:
        """Where llama.cpp's own HTTP server listens, on this machine alone, for who has `api_key`."""
        return self._server.listening_address

    @property
    def description(self) -> str:
        return f"llama.cpp, {self.model_name}"

    @property
    def model_name(self) -> str:
        return f"{self._model_file.parent.name}/{self._model_file.name}"

    @property
    def context_tokens(self) -> int:
        return self._context_tokens

    @property
    def tokens_generated(self) -> int:
        return self._tokens_generated

    async def count_tokens(self, messages: Sequence[Message]) -> int:
        """Return how many tokens a prompt takes in the model's own template and vocabulary."""
        rendered = await self._post("/apply-template", {"messages": _to_json(messages)})
        return len(await self._tokens(rendered["prompt"], parse_special=True))

    async def special_tokens(self, texts: Collection[str]) -> Collection[str]:
        """Return which of some texts the model's vocabulary has as special tokens."""
        unknown = [text for text in texts if text not in self._special]
        if len(self._special) + len(unknown) > _REMEMBERED_TEXTS:
            self._special.clear()
        # Mostly none of them is, which two calls tell of all together.
        if unknown and not await self._is_special("\n".join(unknown)):
            self._special.update(dict.fromkeys(unknown, False))
        for text in texts:
            if text not in self._special:
                self._special[text] = await self._is_special(text)
        return {text for text in texts if self._special[text]}

    async def opens_thought(self, generation: Generation) -> bool:
        """Return False: llama.cpp parts thoughts from text, and knows how the template begins an answer."""
        del generation
        return False

    async def generate(self, call: Call, messages: Sequence[Message], generation: Generation) -> AsyncGenerator[Piece]:
        """Yield the answer, a token at a time; closing the generator stops the model at its next token."""
        request = {
            "messages": _to_json(messages),
            "max_tokens": generation.max_tokens,
            "temperature": generation.temperature,
            "stop": list(generation.stop),
            **all_fields(generation),
        }
        has_ended = False
        async with aclosing(self._chunks(call, request)) as chunks:
            async for chunk in chunks:
                said = _event_in(chunk)
                self._tokens_generated += bool(said.text or said.thought)
                # Read on to the last chunk behind the end: what is left before it is stopped, and holds up the next.
                if not has_ended and (said.text or said.thought or said.end):
                    yield Piece(said.text, said.thought, said.end)
                has_ended = has_ended or said.end is not None
        if not has_ended:
            raise UnavailableError("the language model ended the answer before its end", back_end=_BACK_END)

    async def read(self, call: Call, messages: Sequence[Message], generation: Generation) -> AsyncGenerator[int]:
        """Read a prompt into the cache of a slot; closing the generator stops it within `_BATCH_TOKENS`."""
        request = {"messages": _to_json(messages), "max_tokens": 0, **all_fields(generation)}
        async with aclosing(self._chunks(call, request)) as chunks:
            async for chunk in chunks:
                _event_in(chunk)
                if (tokens := _tokens_read(chunk)) is not None:
                    yield tokens

    async def restore_prefix(self, messages: Sequence[Message], generation: Generation) -> bool:
        """Take what an earlier start has read of a prompt from its file into all slots; see `KeepsPrefixes`."""
        if not self._prefix_files or self._requests:
            return False
        try:
            prefix = await self._rendered_prefix(messages, generation)
            name = await asyncio.to_thread(self._prefix_files.find, prefix)
            if name is None:
                return False
            await self._restore(name, range(self._parallel))
        except (OSError, UpstreamFailedError) as error:
            logger.warning("the prompt prefix is read: it cannot be restored from its file: %s", error)
            return False
        return True

    async def keep_prefix(self, messages: Sequence[Message], generation: Generation) -> None:
        """Write what was read of a prompt to a file, and copy it from there to the other slots; see `KeepsPrefixes`."""
        if not self._prefix_files or self._requests != 1:
            return
        written = self._prefix_files.new_name()
        try:
            prefix = await self._rendered_prefix(messages, generation)
            await self._post(f"/slots/{_FIRST_SLOT}?action=save", {"filename": written})
            kept = await asyncio.to_thread(self._prefix_files.keep, written, prefix)
            await self._restore(kept.name, range(_FIRST_SLOT + 1, self._parallel))
        except (OSError, UpstreamFailedError) as error:
            logger.warning("the prompt prefix is read at each start: it cannot be kept: %s", error)
            return
        logger.info("prompt prefix kept in %s", kept)

    async def _restore(self, name: str, slots: Iterable[int]) -> None:
        for slot in slots:
            await self._post(f"/slots/{slot}?action=restore", {"filename": name})

    async def _rendered_prefix(self, messages: Sequence[Message], generation: Generation) -> str:
        """Return all that the state of a slot that has read a prompt depends on."""
        fields = all_fields(generation)
        rendered = await self._post("/apply-template", {"messages": _to_json(messages), **fields})
        return json.dumps([self._state_depends_on, rendered["prompt"], fields])

    async def _chunks(self, call: Call, request: Mapping[str, object]) -> AsyncGenerator[str]:
        """Yield what llama.cpp streams for a request; closing the generator stops it."""
        call.check("the language model")
        # A slot that is being left holds what it has read, and is only given to this request once it is free.
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=_LEAVING_S)
        # Progress of the prompt comes through the callback too, so that a stop is seen before the first token.
        body = {**request, "stream": True, "cache_prompt": True, "return_progress": True}
        if not self._requests:
            # The first request may be the prefix, whose slot is restored before it and kept after it.
            body["id_slot"] = _FIRST_SLOT
        self._requests += 1
        loop = asyncio.get_running_loop()
        # Bounded by the answer: llama.cpp puts in one chunk for each token, `max_tokens` at most.
        chunks: asyncio.Queue[str | None] = asyncio.Queue()
        stop = threading.Event()

        def receive(chunk: str) -> bool:
            """Take a chunk, on a thread of llama.cpp; True ends the answer."""
            if stop.is_set():
                return True
            loop.call_soon_threadsafe(chunks.put_nowait, chunk)
            return False

        def finished(_: object) -> None:
            chunks.put_nowait(None)

        running = loop.run_in_executor(self._threads, self._server.handle_chat_completions, json.dumps(body), receive)
        running.add_done_callback(finished)
        try:
            while (chunk := await chunks.get()) is not None:
                yield chunk
            await running
        finally:
            stop.set()
            if not running.done():
                self._leaving.add(running)
                running.add_done_callback(self._leaving.discard)

    async def check(self) -> None:
        """Raise `UnavailableError` when llama.cpp does not answer on its loopback port."""
        try:
            # While a connection is kept, llama.cpp looks a hundred times a second whether something comes over it.
            response = await self._loopback.get("/health", headers={"Connection": "close"})
        except httpx.HTTPError as error:
            raise UnavailableError(f"llama.cpp does not answer: {type(error).__name__}", back_end=_BACK_END) from error
        if not response.is_success:
            raise UnavailableError(
                f"llama.cpp is not ready (status {response.status_code})",
                back_end=BackEnd("llama.cpp", response.status_code),
            )

    async def close(self) -> None:
        await self._loopback.aclose()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _is_special(self, text: str) -> bool:
        """Say whether a text holds a special token: only then it makes other tokens where these count."""
        return await self._tokens(text, parse_special=True) != await self._tokens(text, parse_special=False)

    async def _tokens(self, text: str, *, parse_special: bool) -> list[int]:
        return (await self._post("/tokenize", {"content": text, "parse_special": parse_special}))["tokens"]

    async def _post(self, path: str, body: dict[str, object]) -> Any:
        try:
            response = await self._loopback.post(path, json=body)
            response.raise_for_status()
        except httpx.HTTPError as error:
            logger.warning("llama.cpp failed at %s: %s", path, error)
            raise UpstreamFailedError("llama.cpp failed", back_end=_BACK_END) from error
        return response.json()


def _identity(model_file: Path, context_tokens: int, parallel: int, gpu_layers: int) -> list[str | int]:
    """Return what the state of a slot depends on besides the prompt; without the file's age where there is none."""
    file = [model_file.stat().st_size, model_file.stat().st_mtime_ns] if model_file.is_file() else []
    version: str = cast("Any", xllamacpp).__version__
    return [str(model_file.absolute()), *file, version, context_tokens, parallel, gpu_layers]


def _to_json(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": message.role.value, "content": message.content} for message in messages]


def _tokens_read(chunk: str) -> int | None:
    """Return how many tokens of a prompt were read so far, or None where a chunk does not say it."""
    data: dict[str, Any] = json.loads(chunk)
    if "timings" in data:
        return int(data["timings"]["prompt_n"])
    if progress := data.get("prompt_progress"):
        return int(progress["processed"]) - int(progress["cache"])
    return None


def _event_in(chunk: str) -> ChatEvent:
    """Return what one streamed chunk says.

    Raises:
        InvalidRequestError: The prompt is longer than the model reads.
        UpstreamFailedError: llama.cpp refused the request or failed; what it said is logged.
    """
    event = chat_event(chunk)
    if event.error is not None:
        raise _failure(cast("Mapping[str, Any]", event.error))
    return event


def _failure(error: Mapping[str, Any]) -> HearthError:
    """Return the error that llama.cpp reports, which has a `code`, a `type`, a `message` and, too long, two numbers."""
    if error.get("type") == "exceed_context_size_error":
        needed, limit = error.get("n_prompt_tokens"), int(error.get("n_ctx") or 0)
        return InvalidRequestError(
            "the question is too long for the language model",
            field="message",
            limit=Limit("engine.context_tokens", limit, needed),
        )
    status = int(error.get("code") or 0)
    logger.error("llama.cpp answered %d: %s", status, error.get("message"))
    return UpstreamFailedError(
        "the language model failed",
        retryable=not httpx.codes.is_client_error(status),
        back_end=BackEnd("llama.cpp", status),
    )
