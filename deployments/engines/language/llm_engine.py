"""Language model on an engine of `ray.serve.llm`, in the very replica that runs the engine: vLLM or SGLang.

No handle is crossed, and tokens are counted by the engine's own vocabulary and chat template. What Ray calls an
`LLMEngine` was read in Ray 2.60, `ray/llm/_internal/serve/core/engine/protocol.py`. Its chat takes and makes what an
`LLMServer` does, so that requests, answers and errors are read as `deployments.engines.llm_server` reads them.
"""

import json
import logging
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Protocol, cast

import httpx

from deployments.call import Call
from deployments.engines.back_end import BackEndErrors
from deployments.engines.language.dialect import Body, Refused
from deployments.engines.language.llm_server_chat import LLMServerChat
from deployments.engines.language.reasoning_fields import Fields, all_fields
from deployments.engines.language.remote_model import too_long, well_formed_pieces
from deployments.engines.llm_server import LLMRequest, LLMServerModel
from deployments.engines.shapes import DONE, chat_request
from deployments.errors import (
    BackEnd,
    HearthError,
    PayloadTooLargeError,
    UnavailableError,
    UpstreamFailedError,
)
from deployments.text.prompt_markers import usual_markers
from deployments.text.thoughts import ends_inside
from deployments.values.language import Generation, Message, Piece, ReasoningEffort, Role

logger = logging.getLogger(__name__)

_ROLE = "language model"
_CHAT = "chat"
_REQUEST = "ChatCompletionRequest"
_COUNT_S = 10.0
_REMEMBERED_TEXTS = 4096


class LLMEngine(Protocol):
    """The part of Ray's `LLMEngine` that is used."""

    async def check_health(self) -> None:
        """Raise where the engine is dead."""
        ...

    async def build_asgi_app(self) -> Any:
        """Return the engine's own HTTP server, as an ASGI application."""
        ...


class LLMEngineModel:
    """A model of an engine in this process.

    Made by `of`.
    """

    is_remote = False

    def __init__(self, model: LLMServerModel, routes: httpx.AsyncClient, context_tokens: int) -> None:
        self._model = model
        self._chat = LLMServerChat(model)
        self._routes = routes
        self._context_tokens = context_tokens
        self._tokens_generated = 0
        self._special: dict[str, bool] = {}
        self._opens: dict[ReasoningEffort | None, bool | None] = {}

    @classmethod
    async def of(cls, engine: LLMEngine, model: str) -> "LLMEngineModel":
        """Return a model of a started engine.

        Args:
            engine: Runs the model.
            model: The model's id there.

        Raises:
            HearthError: The engine does not say how long a prompt may be.
        """
        server = LLMServerModel(_Engine(engine), model, BackEndErrors(_ROLE, "this replica", takes_client_input=True))
        # The engine has more routes than Ray has methods, and Ray's own `tokenize` looks for vLLM's where it is not.
        # No socket is opened: the application is called in this process.
        transport = httpx.ASGITransport(await engine.build_asgi_app())
        routes = httpx.AsyncClient(transport=transport, base_url="http://engine", timeout=_COUNT_S)
        models = await _asked(routes, server.errors, "GET", "/v1/models")
        return cls(server, routes, int(models["data"][0]["max_model_len"]))

    @property
    def description(self) -> str:
        return self._model.description

    @property
    def model_name(self) -> str:
        return self._model.model

    @property
    def context_tokens(self) -> int:
        return self._context_tokens

    @property
    def tokens_generated(self) -> int:
        return self._tokens_generated

    async def count_tokens(self, messages: Sequence[Message]) -> int:
        """Return how many tokens a prompt takes in the model's own template and vocabulary."""
        body = chat_request(self._model.model, messages, Generation())
        asked = {"model": body["model"], "messages": body["messages"]}

        async def ask(written: Body, refused: Refused) -> AsyncGenerator[int]:
            yield int((await self._asked("/tokenize", written, refused))["count"])

        async with aclosing(self._chat.accommodation.items(asked, ask)) as counts:
            return await anext(counts)

    async def special_tokens(self, texts: Collection[str]) -> Collection[str]:
        """Return which of some texts are one token of the model's vocabulary, and those that many models read so."""
        for text in texts:
            if text not in self._special and len(self._special) < _REMEMBERED_TEXTS:
                asked = {"model": self._model.model, "prompt": text, "add_special_tokens": False}
                self._special[text] = int((await self._asked("/tokenize", asked))["count"]) == 1
        return {text for text in texts if self._special.get(text)} | usual_markers(texts)

    async def opens_thought(self, generation: Generation) -> bool | None:
        """Say whether the model's template opens a thought behind the last message; None if the engine does not tell.

        It is asked once for each effort.
        """
        if generation.effort not in self._opens:
            self._opens[generation.effort] = await self._template_opens_thought(generation)
        return self._opens[generation.effort]

    async def generate(self, call: Call, messages: Sequence[Message], generation: Generation) -> AsyncGenerator[Piece]:
        """Yield the answer as it is made; closing the generator aborts it in the engine."""
        try:
            async with aclosing(well_formed_pieces(self._chat.pieces(call, messages, generation))) as pieces:
                async for piece in pieces:
                    self._tokens_generated += bool(piece.text or piece.thought)
                    yield piece
        except PayloadTooLargeError as error:
            raise too_long(error, self._context_tokens) from error

    async def read(self, call: Call, messages: Sequence[Message], generation: Generation) -> AsyncGenerator[int]:
        """Have the engine read a prompt, which its prefix cache then holds; closing the generator aborts it.

        Tokens that the cache held already are counted, too, unless the engine tells them apart
        (`enable_prompt_tokens_details` of vLLM).
        """
        body = chat_request(self._model.model, messages, replace(generation, max_tokens=1))
        body |= {"stream": True, "stream_options": {"include_usage": True}}

        def ask(written: Body, refused: Refused) -> AsyncGenerator[str]:
            return self._model.events(call, _CHAT, LLMRequest(_REQUEST, **written), refused)

        def with_fields(fields: Fields) -> AsyncGenerator[str]:
            return self._chat.accommodation.items({**body, **fields}, ask)

        try:
            async with aclosing(self._chat.accepted.asked(generation, with_fields)) as events:
                async for data in events:
                    if data == DONE:
                        return
                    if (tokens := self._tokens_read(data)) is not None:
                        yield tokens
        except PayloadTooLargeError as error:
            raise too_long(error, self._context_tokens) from error
        raise self._model.errors.broken_off()

    async def check(self) -> None:
        """Raise `UnavailableError` where the engine is dead."""
        await self._model.check()

    async def close(self) -> None:
        await self._routes.aclose()

    async def _template_opens_thought(self, generation: Generation) -> bool | None:
        question = chat_request(self._model.model, [Message(Role.USER, "?")], Generation())
        kwargs = all_fields(generation).get("chat_template_kwargs", {})
        asked = {"model": question["model"], "messages": question["messages"], "chat_template_kwargs": kwargs}
        try:
            tokens = (await self._asked("/tokenize", asked))["tokens"]
            prompt = (await self._asked("/detokenize", {"model": question["model"], "tokens": tokens}))["prompt"]
        except HearthError as error:
            logger.warning("the engine does not tell how it begins an answer: %s", error.message)
            return None
        return ends_inside(prompt)

    async def _asked(self, path: str, asked: Mapping[str, Any], refused: Refused | None = None) -> Mapping[str, Any]:
        return await _asked(self._routes, self._model.errors, "POST", path, asked, refused)

    def _tokens_read(self, data: str) -> int | None:
        """Return how many tokens of a prompt were read, from the event that tells it; None for any other event.

        Raises:
            HearthError: The event tells of a failure.
        """
        event: dict[str, Any] = json.loads(data)
        if error := event.get("error"):
            raise self._model.errors.failure(error)
        usage = cast("Mapping[str, Any] | None", event.get("usage"))
        if not usage:
            return None
        details: Mapping[str, Any] = usage.get("prompt_tokens_details") or {}
        return int(usage["prompt_tokens"]) - int(details.get("cached_tokens") or 0)


class _Engine:
    """An engine, called like the `LLMServer` in whose replica it is."""

    def __init__(self, engine: LLMEngine) -> None:
        self._engine = engine

    @property
    def description(self) -> str:
        return f"{type(self._engine).__name__} in its own replica"

    async def stream(self, call: Call, method: str, /, *arguments: object, **named: object) -> AsyncGenerator[Any]:
        """Yield what a method of the engine makes for its only argument, an `LLMRequest`."""
        call.check(f"a request to the {_ROLE}")
        request = cast("LLMRequest", arguments[0]).build()
        try:
            async with aclosing(getattr(self._engine, method)(request, **named)) as items:
                async for item in items:
                    yield item
        except HearthError:
            raise
        except Exception as error:
            logger.warning("the engine failed with %s: %s", type(error).__name__, error)
            raise UpstreamFailedError(f"the {_ROLE} failed", back_end=BackEnd(_ROLE)) from error

    async def check(self) -> None:
        try:
            await self._engine.check_health()
        except Exception as error:
            raise UnavailableError(
                f"the engine of the {_ROLE} is dead ({type(error).__name__})", back_end=BackEnd(_ROLE)
            ) from error


async def _asked(
    routes: httpx.AsyncClient,
    errors: BackEndErrors,
    method: str,
    path: str,
    body: object = None,
    refused: Refused | None = None,
) -> Mapping[str, Any]:
    """Return what a route of the engine answers.

    Raises:
        HearthError: It refuses, or fails.
    """
    try:
        response = await routes.request(method, path, json=body)
    except httpx.HTTPError as error:
        raise errors.away("is away") from error
    if not response.is_success:
        if refused is not None:
            refused(response.status_code, response.text)
        raise errors.refusal(response.status_code, response.text, path)
    return response.json()
