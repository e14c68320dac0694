"""An engine for Ray's own `LLMServer` that does what a request asks for. It needs no model."""

import asyncio
import json
import os
from collections.abc import AsyncGenerator
from typing import Any

from ray.llm._internal.serve.core.engine.protocol import LLMEngine
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

MODEL = "org/scripted.v1"
TOKEN_PERIOD_S = 0.01
LIMIT_TOKENS = 1000
SPECIAL_TOKEN = "<custom:token>"


# Their modules are there only where the engine runs.
# ruff: noqa: PLC0415
# pyright: reportMissingImports=false, reportMissingModuleSource=false
# Ray types its generators as functions that return them.
# pyright: reportIncompatibleMethodOverride=false


class ScriptedEngine(LLMEngine):
    """Does what the last message of a chat says.

    That is "count to 9", "repeat this", "die at 3", "be dead", "fall ill", "how many were left?", or "who are you?".
    """

    def __init__(self, llm_config: Any) -> None:
        self.llm_config = llm_config
        self.left = 0
        self.is_ill = False
        self.cached_words = 0

    async def start(self) -> None: ...

    def routing_stats(self) -> dict[str, Any]:
        return {}

    async def resolve_lora(self, lora_model: Any) -> None: ...

    async def reset_prefix_cache(self) -> None: ...

    async def check_health(self) -> None:
        if self.is_ill:
            raise RuntimeError("the engine is dead")

    async def build_asgi_app(self) -> Starlette:
        async def models(request: Request) -> JSONResponse:
            return JSONResponse({"data": [{"id": MODEL, "max_model_len": LIMIT_TOKENS}]})

        async def tokenize(request: Request) -> JSONResponse:
            asked = await request.json()
            if "prompt" in asked:
                # A vocabulary with one special token.
                return JSONResponse({"count": 1 if asked["prompt"] == SPECIAL_TOKEN else 5})
            return JSONResponse({"count": _words(asked["messages"]), "tokens": [len(asked["messages"])]})

        async def detokenize(request: Request) -> JSONResponse:
            return JSONResponse({"prompt": "<|user|>?<|assistant|>"})

        routes = [Route("/tokenize", tokenize, methods=["POST"]), Route("/detokenize", detokenize, methods=["POST"])]
        return Starlette(routes=[Route("/v1/models", models), *routes])

    async def chat(self, request: Any, raw_request_info: Any = None) -> AsyncGenerator[Any, None]:
        asked = request.messages[-1]["content"]
        if refusal := self._refusal(request, asked):
            yield refusal
            return
        if asked == "be dead":
            from vllm.v1.engine.exceptions import EngineDeadError

            raise EngineDeadError("EngineCore encountered an issue")
        if asked.startswith("repeat "):
            yield _event(asked.removeprefix("repeat "))
        if asked == "fall ill":
            self.is_ill = True
        if asked == "how many were left?":
            yield _event(str(self.left))
        elif asked == "who are you?":
            yield _event(str(os.getpid()))
        elif asked.split()[-1].isdigit():
            async for event in self._count(asked, request.max_tokens):
                yield event
        if getattr(request, "stream_options", None):
            read, cached = _words(request.messages), self.cached_words
            usage = {"prompt_tokens": read, "prompt_tokens_details": {"cached_tokens": min(read, cached)}}
            yield "data: " + json.dumps({"choices": [], "usage": usage}) + "\n\n"
            self.cached_words = read
        yield "data: [DONE]\n\n"

    async def embeddings(self, request: Any, raw_request_info: Any = None) -> AsyncGenerator[Any, None]:
        from ray.llm._internal.serve.core.configs.openai_api_models import EmbeddingResponse

        assert request.truncate_prompt_tokens == -1
        rows = [{"index": index, "embedding": [len(text), 0.0, 1.0]} for index, text in enumerate(request.input)]
        yield EmbeddingResponse(data=rows[::-1])

    async def score(self, request: Any, raw_request_info: Any = None) -> AsyncGenerator[Any, None]:
        from ray.llm._internal.serve.core.configs.openai_api_models import ScoreResponse

        scores = [float(request.text_1 in text) for text in request.text_2]
        yield ScoreResponse(data=[{"index": index, "score": score} for index, score in enumerate(scores)])

    async def transcriptions(self, request: Any, raw_request_info: Any = None) -> AsyncGenerator[Any, None]:
        from ray.llm._internal.serve.core.configs.openai_api_models import TranscriptionResponse

        data = await request.file.read()
        yield TranscriptionResponse(text=f" {data[:4].decode()}, {len(data)} bytes, {request.language} ")

    async def completions(self, request: Any, raw_request_info: Any = None) -> AsyncGenerator[Any, None]:
        raise NotImplementedError
        yield

    def _refusal(self, request: Any, asked: str) -> Any:
        from ray.llm._internal.serve.core.configs.openai_api_models import ErrorInfo, ErrorResponse

        if request.model != MODEL:
            info = ErrorInfo(message=f"The model `{request.model}` does not exist.", type="NotFoundError", code=404)
            return ErrorResponse(error=info)
        words = _words(request.messages)
        if words > LIMIT_TOKENS:
            told = f"This model's maximum context length is {LIMIT_TOKENS} tokens. However, you requested {words}."
            return ErrorResponse(error=ErrorInfo(message=told, type="BadRequestError", param="input", code=400))
        return None

    async def _count(self, asked: str, most: int) -> AsyncGenerator[str, None]:
        yield "data: " + json.dumps({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}) + "\n\n"
        try:
            for number in range(min(most, int(asked.rsplit(maxsplit=1)[-1]))):
                yield _event(f"{number} ")
                await asyncio.sleep(TOKEN_PERIOD_S)
        except (asyncio.CancelledError, GeneratorExit):
            self.left += 1
            raise
        if asked.startswith("die at"):
            error = {"message": "EngineCore encountered an issue", "type": "InternalServerError", "code": 500}
            yield f"data: {json.dumps({'error': error})}\n\n"


def _event(text: str) -> str:
    return "data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}) + "\n\n"


def _words(messages: list[dict[str, str]]) -> int:
    return sum(len(message["content"].split()) for message in messages)
