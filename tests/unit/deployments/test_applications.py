"""What the applications of the models build, and when Serve replaces the replica of a model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deployments.applications import _embeddings, check_of, replica_with
from deployments.call import Call
from deployments.engines.onnx_session import open_session
from deployments.engines.vectors import onnx_model
from deployments.errors import UnavailableError
from deployments.inference.reranker import Reranker
from deployments.settings.text_models import EmbeddingsSettings
from tests.unit.tiny_onnx import save_encoder


@dataclass
class BrokenEngine:
    """Cannot answer."""

    is_remote: bool
    description: str = "broken"

    async def check(self) -> None:
        raise UnavailableError("it does not answer")

    async def close(self) -> None: ...


class WorkingEngine(BrokenEngine):
    """Can answer."""

    async def check(self) -> None: ...


async def test_a_replica_is_replaced_when_its_engine_fails() -> None:
    replica = replica_with("service", BrokenEngine(is_remote=False))
    assert replica.check_health
    with pytest.raises(UnavailableError):
        await replica.check_health()


def test_a_model_elsewhere_that_fails_is_no_reason_for_a_new_replica() -> None:
    assert replica_with("service", BrokenEngine(is_remote=True)).check_health is None


async def test_a_replica_with_two_engines_is_replaced_when_either_fails() -> None:
    check = check_of([WorkingEngine(is_remote=False), BrokenEngine(is_remote=False)])
    assert check
    with pytest.raises(UnavailableError):
        await check()


async def test_of_two_engines_only_that_of_this_machine_counts() -> None:
    check = check_of([BrokenEngine(is_remote=True), WorkingEngine(is_remote=False)])
    assert check
    await check()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Note the models that are opened."""
    models: list[Path] = []

    def open_and_note(model: Path, threads: int, device: Any) -> Any:
        models.append(model)
        return open_session(model, threads, device)

    monkeypatch.setattr(onnx_model, "open_session", open_and_note)
    return models


@pytest.mark.parametrize(("other", "times"), [({}, 1), ({"max_tokens": 128}, 2)])
async def test_the_reranker_in_the_replicas_of_the_embeddings_shares_a_model_that_is_the_same(
    tmp_path: Path, opened: list[Path], other: Mapping[str, int], times: int
) -> None:
    folder = save_encoder(tmp_path / "encoder")
    settings = EmbeddingsSettings.model_validate(
        {
            "engine": {"kind": "onnx", "model": str(folder)},
            "reranker": {"engine": {"kind": "late-interaction", "model": str(folder), **other}},
        }
    )
    replica = _embeddings(settings)
    assert opened == [folder / "model.onnx"] * times
    (reranker,) = replica.hosted.values()
    assert isinstance(reranker, Reranker)
    call = Call.within(5.0)
    assert (await replica.service.embed(call, ["dogs"])).shape[0] == 1
    assert (await reranker.rerank(call, "cats", ["dogs", "cats"]))[0].index == 1
    status = await replica.service.status(call), await reranker.status(call)
    assert [(one.name, one.ready) for one in status] == [("Embeddings", True), ("Reranker", True)]
    assert status[0].process_id == status[1].process_id
    assert replica.check_health
    await replica.check_health()


def test_embeddings_alone_host_nothing(tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "encoder")
    engine = {"kind": "onnx", "model": str(folder)}
    assert not _embeddings(EmbeddingsSettings.model_validate({"engine": engine})).hosted
