"""Embeddings and reranker of one process: one model for both where they are the same."""

from pathlib import Path

import pytest

from deployments.call import Call
from deployments.engines.protocols import DeployedModel, EmbeddingsEngine, RerankerEngine
from deployments.engines.text_engines import embeddings_with_reranker
from deployments.errors import DeadlineExceededError
from deployments.settings.text_models import EmbeddingsSettings
from tests.unit.tiny_onnx import save_encoder

TEXTS = ["dogs are welcome", "the pool opens at seven", "cats"]


def none_deployed(application: str, deployment: str, role: str) -> DeployedModel:
    raise LookupError(f"{role} was looked for in {deployment} of {application}")


def engines(folder: Path, **other: object) -> tuple[EmbeddingsEngine, RerankerEngine]:
    engine = {"kind": "onnx", "model": str(folder)}
    reranker = {"engine": {"kind": "late-interaction", "model": str(folder), **other}}
    settings = EmbeddingsSettings.model_validate({"engine": engine, "reranker": reranker})
    embeddings, scorer = embeddings_with_reranker(settings, none_deployed)
    assert scorer is not None
    return embeddings, scorer


async def test_what_one_model_has_embedded_is_ranked_without_another_pass(tmp_path: Path) -> None:
    embeddings, reranker = engines(save_encoder(tmp_path / "encoder"))
    await embeddings.embed(Call.within(5.0), TEXTS)
    # No time is left: whatever had to be computed would fail.
    rankings = await reranker.rerank(Call.within(0.0), TEXTS[1], TEXTS)
    assert rankings[0].index == 1
    await embeddings.close()
    await reranker.close()


@pytest.mark.parametrize("other", [{"max_tokens": 3}, {"model": "other"}], ids=["other length", "other model"])
async def test_models_that_differ_share_nothing(tmp_path: Path, other: dict[str, object]) -> None:
    folder = save_encoder(tmp_path / "encoder")
    if "model" in other:
        other = {"model": str(save_encoder(tmp_path / "other"))}
    embeddings, reranker = engines(folder, **other)
    await embeddings.embed(Call.within(5.0), TEXTS)
    with pytest.raises(DeadlineExceededError):
        await reranker.rerank(Call.within(0.0), TEXTS[1], TEXTS)
    rankings = await reranker.rerank(Call.within(5.0), TEXTS[1], TEXTS)
    assert sorted(ranking.index for ranking in rankings) == [0, 1, 2]
