"""TEI by its own API, held to what its router does: batches, limits, truncation and errors (TEI 1.9.3)."""

import json
from dataclasses import dataclass, field

import httpx
import numpy as np
import pytest

from deployments.call import Call
from deployments.engines.http_client import HttpBackEnd
from deployments.engines.text_engines import embeddings_engine, reranker_engine
from deployments.engines.vectors.tei import TeiEmbeddings, TeiReranker
from deployments.errors import BackEnd, HearthError, OverloadedError, UpstreamFailedError
from deployments.graph.foreign import ForeignDeployment
from deployments.settings.text_models import EmbeddingsSettings, RerankerSettings
from deployments.values.retrieval import Ranking
from tests.refusals import refused

TOKENS = 8


@dataclass
class Tei:
    """A server that refuses what TEI refuses, with its statuses and bodies.

    An embedding is the length of its text and 0; a score is the share of the question's letters in the passage.

    Attributes:
        max_client_batch_size: Texts that a request may have.
        failure: Status and `error_type` of every answer, where the model fails or is overloaded.
        asked: The bodies of the requests.
    """

    max_client_batch_size: int = 32
    failure: tuple[int, str] | None = None
    asked: list[dict[str, object]] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        self.asked.append(body)
        if self.failure:
            return refusal(*self.failure)
        texts = body["inputs"] if request.url.path == "/embed" else body["texts"]
        if not texts or "" in texts:
            return refusal(400, "Empty")
        if len(texts) > self.max_client_batch_size:
            return refusal(422, "Validation")
        if not body.get("truncate") and any(len(text.split()) > TOKENS for text in texts):
            return refusal(422, "Validation")
        if request.url.path == "/embed":
            return httpx.Response(200, json=[[float(len(text)), 0.0] for text in texts])
        query = set(body["query"])
        ranks = [{"index": index, "score": share(query, text)} for index, text in enumerate(texts)]
        return httpx.Response(200, json=sorted(ranks, key=lambda rank: -rank["score"]))


def refusal(status: int, kind: str) -> httpx.Response:
    return httpx.Response(status, json={"error": "it is so", "error_type": kind})


def share(query: set[str], text: str) -> float:
    return len(query & set(text)) / len(query)


def at(tei: Tei, role: str = "model") -> HttpBackEnd:
    return HttpBackEnd("http://tei.test", role=role, transport=httpx.MockTransport(tei))


async def test_texts_are_embedded_in_batches_that_the_server_takes() -> None:
    tei = Tei(max_client_batch_size=2)
    vectors = await TeiEmbeddings(at(tei), batch_size=2).embed(Call.within(5.0), ["a", "bb", "ccc"])
    assert [body["inputs"] for body in tei.asked] == [["a", "bb"], ["ccc"]]
    assert np.allclose(vectors, [[1.0, 0.0]] * 3), "rows have length 1"


async def test_passages_are_ranked_over_all_batches_and_the_best_is_first() -> None:
    tei = Tei(max_client_batch_size=2)
    rankings = await TeiReranker(at(tei), batch_size=2).rerank(Call.within(5.0), "abcd", ["x", "ab", "abcd"])
    assert rankings == [Ranking(2, 1.0), Ranking(1, 0.5), Ranking(0, 0.0)]
    assert [body["texts"] for body in tei.asked] == [["x", "ab"], ["abcd"]]
    assert await TeiReranker(at(tei)).rerank(Call.within(5.0), "abcd", []) == []


async def test_a_text_that_is_longer_than_the_model_reads_is_cut_by_the_server() -> None:
    long = "word " * (TOKENS + 1)
    assert len(await TeiEmbeddings(at(Tei())).embed(Call.within(5.0), [long])) == 1
    assert len(await TeiReranker(at(Tei())).rerank(Call.within(5.0), "word", [long])) == 1


async def test_an_empty_text_among_others_does_not_fail_them() -> None:
    assert len(await TeiEmbeddings(at(Tei())).embed(Call.within(5.0), ["", "a"])) == 2
    assert [ranking.index for ranking in await TeiReranker(at(Tei())).rerank(Call.within(5.0), "a", ["", "a"])] == [
        1,
        0,
    ]


@pytest.mark.parametrize(
    ("status", "kind", "error", "retryable"),
    [
        (429, "Overloaded", OverloadedError, True),
        (424, "Backend", UpstreamFailedError, True),
        (422, "Tokenizer", UpstreamFailedError, False),
        (413, "Validation", UpstreamFailedError, False),
    ],
)
async def test_what_the_server_refuses_is_told_as_what_it_is(
    status: int, kind: str, error: type[HearthError], retryable: bool
) -> None:
    tei = Tei(failure=(status, kind))
    with refused(error, retryable=retryable, back_end=BackEnd("embeddings server", status)):
        await TeiEmbeddings(at(tei, "embeddings server")).embed(Call.within(0.5), ["a"])
    with refused(error, retryable=retryable, back_end=BackEnd("reranker", status)):
        await TeiReranker(at(tei, "reranker")).rerank(Call.within(0.5), "q", ["a"])


async def test_more_texts_than_the_server_takes_are_a_wrong_setting(caplog: pytest.LogCaptureFixture) -> None:
    tei = Tei(max_client_batch_size=1)
    with refused(UpstreamFailedError, retryable=False, back_end=BackEnd("model", 422)):
        await TeiEmbeddings(at(tei)).embed(Call.within(0.5), ["a", "b"])
    assert "what else `engine` says of the server" in caplog.text


@pytest.mark.parametrize("answer", [{"error": "x"}, [], [[1.0], [1.0, 2.0]], [1.0], [["x"]], None])
async def test_embeddings_of_another_shape_are_refused(answer: object) -> None:
    back_end = HttpBackEnd(
        "http://tei.test", role="model", transport=httpx.MockTransport(lambda _: httpx.Response(200, json=answer))
    )
    with pytest.raises(UpstreamFailedError):
        await TeiEmbeddings(back_end).embed(Call.within(5.0), ["x"])


@pytest.mark.parametrize(
    "answer",
    [{"results": []}, [], [{"index": 1, "score": 1.0}], [{"index": 0}], [["x"]], None, [{"index": 0, "score": None}]],
)
async def test_scores_of_another_shape_are_refused(answer: object) -> None:
    back_end = HttpBackEnd(
        "http://tei.test", role="model", transport=httpx.MockTransport(lambda _: httpx.Response(200, json=answer))
    )
    with pytest.raises(UpstreamFailedError):
        await TeiReranker(back_end).rerank(Call.within(5.0), "q", ["x"])


async def test_the_settings_choose_it() -> None:
    engine = {"engine": {"kind": "tei", "base_url": "http://tei.test/"}}
    embeddings = embeddings_engine(EmbeddingsSettings.model_validate(engine), ForeignDeployment)
    reranker = reranker_engine(RerankerSettings.model_validate(engine), ForeignDeployment)
    assert embeddings.description == reranker.description == "TEI at http://tei.test"
    assert embeddings.is_remote
    await embeddings.close()
    await reranker.close()
