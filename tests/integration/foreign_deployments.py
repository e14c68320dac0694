"""Deployments that know nothing of Hearth, as people have them: each with methods and shapes of its own."""

import asyncio
import os
from collections.abc import AsyncGenerator
from email import message_from_bytes
from email.policy import HTTP
from io import BytesIO
from typing import Any

import numpy as np
import soundfile
from ray import serve
from ray.serve import Application
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

APPLICATION = "foreign"
RATE = 8000
TOKEN_PERIOD_S = 0.01
OPTIONS = {"num_cpus": 0}


@serve.deployment(ray_actor_options=OPTIONS, max_ongoing_requests=4, max_queued_requests=1)
class VLLMDeployment:
    """Yields dicts, one for each token of its prompt; knows how many answers were left."""

    def __init__(self) -> None:
        self.left = 0

    async def generate(self, prompt: str, limit: int) -> AsyncGenerator[dict[str, Any]]:
        question = prompt.rpartition("user: ")[2]
        if question == "fail":
            raise RuntimeError("a secret of its own")
        if question == "who are you?":
            yield {"token": str(os.getpid())}
            return
        try:
            for word in question.split()[:limit]:
                yield {"token": f"{word} "} if word != "nonsense" else {"other": word}
                await asyncio.sleep(TOKEN_PERIOD_S)
        except (asyncio.CancelledError, GeneratorExit):
            self.left += 1
            raise

    async def how_many_were_left(self) -> int:
        return self.left


@serve.deployment(ray_actor_options=OPTIONS)
class ChatOverHttp:
    """Chat completions, written to be called over HTTP alone."""

    async def __call__(self, request: Request) -> JSONResponse:
        body = await request.json()
        assert request.url.path == "/v1/chat/completions"
        assert body["stream"] is False
        said = f"{body['model']}: {body['messages'][-1]['content']}"
        return JSONResponse({"choices": [{"message": {"role": "assistant", "content": said}}]})


@serve.deployment(ray_actor_options=OPTIONS)
class WhisperDeployment:
    """Hears how long a WAV file lasts: given in a dict, or in a form."""

    async def transcribe(self, fields: dict[str, Any]) -> dict[str, str]:
        return {"text": self._text(fields["file"], fields["language"])}

    async def __call__(self, request: Request) -> JSONResponse:
        form = await self._form(request)
        return JSONResponse({"text": self._text(form["file"], form["language"].decode())})

    async def _form(self, request: Request) -> dict[str, Any]:
        head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
        parts = message_from_bytes(head + await request.body(), policy=HTTP).iter_parts()
        return {
            str(part.get_param("name", header="content-disposition")): part.get_payload(decode=True) for part in parts
        }

    def _text(self, wav: bytes, language: str) -> str:
        samples, rate = soundfile.read(BytesIO(wav))
        return f"{len(samples) / rate:g} s in {language}"


@serve.deployment(ray_actor_options=OPTIONS)
class TTSDeployment:
    """Speaks 0.1 s for each letter, as loud as its speaker's number says."""

    async def __call__(self, text: str, speaker_id: str, language_id: str = "en") -> bytes:
        return self._wav(text, int(speaker_id))

    async def over_http(self, request: Request) -> Response:
        return Response(self._wav(request.query_params["text"], int(request.query_params["speaker_id"])))

    def _wav(self, text: str, speaker: int) -> bytes:
        file = BytesIO()
        soundfile.write(file, np.full(RATE // 10 * len(text), speaker / 10), RATE, format="WAV")
        return file.getvalue()


@serve.deployment(ray_actor_options=OPTIONS)
class EmbeddingsDeployment:
    async def embed(self, input: list[str], model: str) -> dict[str, Any]:  # noqa: A002 - its own name
        rows = [{"index": index, "embedding": [len(text), len(model)]} for index, text in enumerate(input)]
        return {"data": rows[::-1]}


@serve.deployment(ray_actor_options=OPTIONS)
class RerankerDeployment:
    async def __call__(self, request: dict[str, Any]) -> dict[str, Any]:
        scores = [float(request["query"] in document) for document in request["documents"]]
        return {"results": [{"index": index, "score": score} for index, score in enumerate(scores)][::-1]}


@serve.deployment(ray_actor_options=OPTIONS)
class Front:
    """Holds the others together in one application."""

    def __init__(self, *others: Any) -> None: ...


def build() -> Application:
    others = (
        VLLMDeployment,
        ChatOverHttp,
        WhisperDeployment,
        TTSDeployment,
        EmbeddingsDeployment,
        RerankerDeployment,
    )
    return Front.bind(*(deployment.bind() for deployment in others))
