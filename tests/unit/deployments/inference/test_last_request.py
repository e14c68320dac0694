"""Models that a question can do without: the status tells of a server that listens and fails, and of its return."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import httpx
import pytest

from deployments.call import Call
from deployments.engines.http_client import HttpBackEnd
from deployments.engines.vectors.rerank_api import RerankApiReranker
from deployments.engines.vectors.tei import TeiEmbeddings
from deployments.errors import HearthError, InvalidRequestError, UpstreamFailedError
from deployments.inference.embeddings import Embeddings
from deployments.inference.last_request import LastRequest
from deployments.inference.reranker import Reranker


class Server:
    """Answers GET always, and POST while it is well."""

    def __init__(self) -> None:
        self.is_well = True
        self.asked = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(404)
        self.asked += 1
        if not self.is_well:
            return httpx.Response(500, text="CUDA error")
        return httpx.Response(200, json=[{"index": 0, "score": 1.0}] if "rerank" in request.url.path else [[1.0]])

    def back_end(self, role: str) -> HttpBackEnd:
        return HttpBackEnd("http://model.test", role=role, transport=httpx.MockTransport(self))


async def ask(model: Reranker | Embeddings) -> None:
    call = Call.within(5.0)
    await (model.rerank(call, "?", ["a"]) if isinstance(model, Reranker) else model.embed(call, ["a"]))


@pytest.mark.parametrize(
    "made", [lambda end: Reranker(RerankApiReranker(end)), lambda end: Embeddings(TeiEmbeddings(end))]
)
async def test_a_server_that_listens_and_fails_is_not_ready_until_it_answers_again(
    made: Callable[[HttpBackEnd], Reranker | Embeddings],
) -> None:
    server = Server()
    model = made(server.back_end("reranker"))
    await ask(model)
    assert (await model.status(Call.within(5.0))).ready
    assert server.asked == 1, "a model that answers is not asked for its status"
    server.is_well = False
    with pytest.raises(UpstreamFailedError):
        await ask(model)
    status = await model.status(Call.within(5.0))
    assert (status.ready, status.detail) == (False, "the reranker failed (status 500)")
    server.is_well = True
    assert (await model.status(Call.within(5.0))).ready
    asked = server.asked
    assert (await model.status(Call.within(5.0))).ready
    assert server.asked == asked


@pytest.mark.parametrize(
    ("error", "seconds", "has_failed"),
    [
        (UpstreamFailedError("no"), 5.0, True),
        (InvalidRequestError("not so"), 5.0, False),
        (asyncio.CancelledError(), 5.0, False),
        (asyncio.CancelledError(), 0.0, True),
    ],
)
def test_only_what_the_model_owes_an_answer_counts(error: BaseException, seconds: float, *, has_failed: bool) -> None:
    last = LastRequest()
    with suppress(HearthError, asyncio.CancelledError), last.watched(Call.within(seconds)):
        raise error
    assert last.has_failed == has_failed
    with last.watched(Call.within(5.0)):
        pass
    assert not last.has_failed
