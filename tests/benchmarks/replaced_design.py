"""The design that Hearth replaces, as its best engineer would write it: a handler process between NATS and the models.

It is asyncio throughout, takes requests from a bounded queue, keeps its HTTP connections open, streams from the model
and publishes each token as it comes. It calls every model over HTTP, through Ray Serve's proxy.

    python -m tests.benchmarks.replaced_design NATS_URL MODELS_URL
"""

import argparse
import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from bridges.generated.messages.v1 import messages_pb2

_WAITING = 256
_RETRIEVE = 20
_KEEP = 5
_TIMEOUT_S = 60.0

logger = logging.getLogger("replaced_design")


class Handler:
    """Answers chat requests.

    Args:
        client: The NATS connection.
        models: The HTTP client, its base URL that of Serve's proxy.
        passages: What a search finds, in place of Milvus.
        system: The system prompt.
        in_flight: Requests worked on at once.
    """

    def __init__(
        self,
        client: Client,
        models: httpx.AsyncClient,
        passages: list[dict[str, str]],
        system: str,
        in_flight: int,
    ) -> None:
        self._in_flight = in_flight
        self._client = client
        self._models = models
        self._passages = passages
        self._system = system
        self._waiting: asyncio.Queue[Msg] = asyncio.Queue(_WAITING)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self._in_flight):
                group.create_task(self._work())
            await self._client.subscribe("ai.chat.request", queue="chat-handler", cb=self._enqueue)
            await self._client.flush()
            print("serving", flush=True)

    async def _enqueue(self, message: Msg) -> None:
        try:
            self._waiting.put_nowait(message)
        except asyncio.QueueFull:
            await message.respond(messages_pb2.ChatResponse(error="overloaded").SerializeToString())

    async def _work(self) -> None:
        while True:
            message = await self._waiting.get()
            started = time.monotonic()
            try:
                async with asyncio.timeout(_TIMEOUT_S):
                    response, subject = await self._answer(messages_pb2.ChatRequest.FromString(message.data))
            except Exception as error:
                logger.exception("request failed")
                response, subject = messages_pb2.ChatResponse(error=str(error)), ""
            payload = response.SerializeToString()
            for target in filter(None, (subject, message.reply)):
                await self._client.publish(target, payload)
            logger.info("%s answered in %.4f s", message.subject, time.monotonic() - started)

    async def _answer(self, request: messages_pb2.ChatRequest) -> tuple[messages_pb2.ChatResponse, str]:
        question = request.message or request.query
        found = await self._retrieve(question) if request.enable_rag else []
        pieces: list[str] = []
        async for token in self._generate(question, found):
            pieces.append(token)
            if request.enable_streaming:
                await self._publish_chunk(request.request_id, token)
        if request.enable_streaming:
            await self._publish_chunk(request.request_id, "", done=True)
        text = "".join(pieces)
        response = messages_pb2.ChatResponse(
            user_id=request.user_id,
            response=text,
            response_text=text,
            used_rag=bool(found),
            rag_sources=[passage["source"] for passage in found],
            success=True,
        )
        return response, f"ai.chat.response.{request.request_id}" if request.request_id else ""

    async def _retrieve(self, question: str) -> list[dict[str, str]]:
        embedded = await self._models.post("/embeddings/v1/embeddings", json={"input": [question], "model": "e"})
        embedded.raise_for_status()
        vector: list[float] = embedded.json()["data"][0]["embedding"]
        assert vector
        found = self._passages[:_RETRIEVE]
        documents = [passage["text"] for passage in found]
        ranked = await self._models.post(
            "/reranker/rerank", json={"query": question, "documents": documents, "top_n": _KEEP}
        )
        ranked.raise_for_status()
        return [found[result["index"]] for result in ranked.json()["results"]]

    async def _generate(self, question: str, found: list[dict[str, str]]) -> AsyncGenerator[str]:
        context = "\n\n".join(passage["text"] for passage in found)
        body: dict[str, Any] = {
            "model": "m",
            "stream": True,
            "max_tokens": 512,
            "messages": [
                {"role": "system", "content": self._system},
                {"role": "user", "content": f"{context}\n\n{question}" if context else question},
            ],
        }
        async with self._models.stream("POST", "/language-model/v1/chat/completions", json=body) as response:
            response.raise_for_status()
            async for line in response.aiter_lines():
                if not line.startswith("data: "):
                    continue
                if line == "data: [DONE]":
                    return
                if token := json.loads(line[6:])["choices"][0]["delta"].get("content"):
                    yield token

    async def _publish_chunk(self, request_id: str, text: str, *, done: bool = False) -> None:
        chunk = messages_pb2.ChatStreamChunk(
            request_id=request_id,
            type="done" if done else "chunk",
            content=text,
            done=done,
            timestamp=int(time.time()),
        )
        await self._client.publish(f"ai.chat.response.stream.{request_id}", chunk.SerializeToString())


async def serve(nats_url: str, models_url: str, corpus: dict[str, Any], in_flight: int) -> None:
    limits = httpx.Limits(max_connections=in_flight * 2, max_keepalive_connections=in_flight * 2)
    async with (
        httpx.AsyncClient(base_url=models_url, limits=limits, timeout=_TIMEOUT_S, trust_env=False) as models,
        await nats.connect(nats_url) as client,
    ):
        await Handler(client, models, corpus["passages"], corpus["system"], in_flight).run()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("nats_url")
    parser.add_argument("models_url")
    parser.add_argument("corpus", help="a JSON file: the system prompt, and what a search finds")
    parser.add_argument("in_flight", type=int, help="requests worked on at once")
    arguments = parser.parse_args()
    # A line for each request, as the other side writes one.
    logging.basicConfig(level=logging.INFO, filename=Path(arguments.corpus).with_suffix(".log"))
    logging.getLogger("httpx").setLevel(logging.WARNING)
    corpus = json.loads(Path(arguments.corpus).read_text(encoding="utf-8"))
    asyncio.run(serve(arguments.nats_url, arguments.models_url, corpus, arguments.in_flight))


if __name__ == "__main__":
    main()
