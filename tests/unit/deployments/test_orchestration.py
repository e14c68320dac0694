"""Where the orchestration finds the models."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from ray import serve

from deployments.call import Call
from deployments.errors import UnavailableError
from deployments.orchestration import build_retrieval
from deployments.retrieval.service import PassageStore
from deployments.settings.orchestration import MilvusSettings, OrchestrationSettings
from deployments.values.retrieval import Passage
from deployments.values.vectors import Vectors


class NoPassages:
    """A store that has nothing."""

    async def search(self, call: Call, collection: str, question: str, vector: Vectors, limit: int) -> list[Passage]:
        return []

    async def check(self, call: Call) -> str:
        return "none"


def open_nothing(settings: MilvusSettings) -> PassageStore:
    return NoPassages()


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ({"reranker": "embeddings"}, ("embeddings", "Embeddings", "Reranker_status")),
        ({"embeddings": "vectors", "reranker": "vectors"}, ("vectors", "Embeddings", "Reranker_status")),
        ({}, ("reranker", "Reranker", "status")),
        ({"reranker": "other"}, ("other", "Reranker", "status")),
    ],
)
async def test_the_reranker_is_asked_where_the_settings_say(
    given: Mapping[str, str], asked: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    methods: set[tuple[str, str, str]] = set()

    def handle(deployment: str, application: str) -> Any:
        def options(*, method_name: str, **options: object) -> Any:
            methods.add((application, deployment, method_name))
            raise UnavailableError("nothing is deployed")

        return SimpleNamespace(options=options)

    monkeypatch.setattr(serve, "get_deployment_handle", handle)
    retrieval = build_retrieval(OrchestrationSettings.model_validate(given), open_nothing)
    await retrieval.components(Call.within(5.0))
    embeddings = given.get("embeddings", "embeddings")
    assert methods == {(embeddings, "Embeddings", "status"), asked}
