from collections.abc import Sequence
from dataclasses import replace

import pytest

from deployments.call import Call
from deployments.errors import HearthError, InvalidRequestError, Limit, NotFoundError, UnavailableError
from deployments.retrieval.service import Retrieval
from deployments.settings.orchestration import MilvusSettings
from deployments.values.retrieval import Passage, Ranking, RetrievalQuery
from deployments.values.vectors import Vectors
from tests.refusals import refused
from tests.unit.services import LengthEmbeddings, ShortestFirst

FOUND = [Passage("x" * (10 - index), f"{index}.md", score=1.0 - index / 10) for index in range(10)]
SETTINGS = MilvusSettings(retrieve=8, keep=3, max_keep=20)


class Store:
    """Ten passages, in order."""

    def __init__(self, error: HearthError | None = None) -> None:
        self.error = error
        self.searched: list[tuple[str, int]] = []

    async def search(self, call: Call, collection: str, question: str, vector: Vectors, limit: int) -> list[Passage]:
        del call, question, vector
        if self.error:
            raise self.error
        self.searched.append((collection, limit))
        return FOUND[:limit]

    async def check(self, call: Call) -> str:
        del call
        if self.error:
            raise self.error
        return "ten passages"


def retrieval(store: Store | None = None, reranker: ShortestFirst | None = None) -> Retrieval:
    return Retrieval(LengthEmbeddings(), reranker or ShortestFirst(), store or Store(), SETTINGS)


async def test_as_many_are_kept_as_configured_where_the_request_says_nothing() -> None:
    store = Store()
    passages = await retrieval(store).retrieve(Call.within(5.0), RetrievalQuery("q"))
    assert passages == tuple(FOUND[:3])
    assert store.searched == [("knowledge_base", 3)]


async def test_more_are_fetched_where_they_are_to_be_reranked() -> None:
    store = Store()
    passages = await retrieval(store).retrieve(Call.within(5.0), RetrievalQuery("q", "rules", 2, rerank=True))
    assert store.searched == [("rules", 8)]
    assert [passage.source for passage in passages] == ["7.md", "6.md"]
    assert passages[0].score == -3.0, "the score is the reranker's"


async def test_top_k_beyond_what_is_usually_fetched_is_served() -> None:
    store = Store()
    assert len(await retrieval(store).retrieve(Call.within(5.0), RetrievalQuery("q", top_k=10, rerank=True))) == 10
    assert store.searched == [("knowledge_base", 10)]


@pytest.mark.parametrize("top_k", [-1, 21, 2**31 - 1])
async def test_an_impossible_top_k_is_refused_with_its_bounds(top_k: int) -> None:
    with refused(InvalidRequestError, field="top_k", limit=Limit("milvus.max_keep", 20, top_k)):
        await retrieval().retrieve(Call.within(5.0), RetrievalQuery("q", top_k=top_k))


async def test_a_reranker_that_fails_costs_the_order_not_the_answer() -> None:
    broken = ShortestFirst(UnavailableError("gone"))
    assert await retrieval(reranker=broken).retrieve(Call.within(5.0), RetrievalQuery("q", rerank=True)) == tuple(
        FOUND[:3]
    )


async def test_a_missing_default_collection_is_an_empty_one() -> None:
    empty = Store(NotFoundError("collection 'knowledge_base' does not exist"))
    assert await retrieval(empty).retrieve(Call.within(5.0), RetrievalQuery("q")) == ()


async def test_a_missing_collection_that_was_named_is_told() -> None:
    with pytest.raises(NotFoundError):
        await retrieval(Store(NotFoundError("x"))).retrieve(Call.within(5.0), RetrievalQuery("q", "rules"))


async def test_the_nearest_sentences_of_several_passages_keep_their_order() -> None:
    passages = [
        Passage("A long first sentence. Short. Another long sentence here. Tiny.", "a.md", "Title"),
        Passage("Nothing that would be of interest here.", "b.md"),
        Passage("Brief. Very much longer than that one.", "c.md"),
    ]
    nearest = await retrieval().nearest_sentences(Call.within(5.0), "q", passages, 3)
    assert nearest == (Passage("Short. Tiny.", "a.md", "Title"), Passage("Brief.", "c.md"))


async def test_a_sentence_that_leans_on_the_one_before_it_is_quoted_with_it() -> None:
    class EndsWithMay(ShortestFirst):
        async def rerank(self, call: Call, query: str, passages: Sequence[str]) -> list[Ranking]:
            assert "Title\nThe old tower of the town is closed. It opens in May." in passages
            order = sorted(range(len(passages)), key=lambda index: not passages[index].endswith("in May."))
            return [Ranking(index, -float(place)) for place, index in enumerate(order)]

    passages = [
        Passage("Nothing. The old tower of the town is closed. It opens in May. Nothing else.", "a.md", "Title")
    ]
    nearest = await retrieval(reranker=EndsWithMay()).nearest_sentences(Call.within(5.0), "q", passages, 1)
    assert nearest == (Passage("The old tower of the town is closed. It opens in May.", "a.md", "Title"),)


async def test_sentences_far_behind_the_nearest_are_left_out() -> None:
    far = "This one is very much longer than all of the others together and so it is far away from the question."
    passages = [Passage(f"Brief. Short. Also brief. Not long. {far}", "a.md")]
    nearest = await retrieval().nearest_sentences(Call.within(5.0), "q", passages, 5)
    assert nearest == (Passage("Brief. Short. Also brief. Not long.", "a.md"),)


async def test_a_document_under_two_names_is_found_once() -> None:
    class Copies(Store):
        async def search(
            self, call: Call, collection: str, question: str, vector: Vectors, limit: int
        ) -> list[Passage]:
            found = await super().search(call, collection, question, vector, limit)
            return [passage for one in found for passage in (one, replace(one, source="copy.md"))]

    passages = await retrieval(Copies()).retrieve(Call.within(5.0), RetrievalQuery("q"))
    assert passages == tuple(FOUND[:3])


async def test_fewer_sentences_than_asked_for_are_all_given() -> None:
    passages = [Passage("One. Two.", "a.md")]
    assert await retrieval().nearest_sentences(Call.within(5.0), "q", passages, 5) == tuple(passages)
    assert await retrieval().nearest_sentences(Call.within(5.0), "q", [], 5) == ()


async def test_milvus_down_is_told_and_chat_can_do_without_it() -> None:
    components = await retrieval(Store(UnavailableError("Milvus is down"))).components(Call.within(5.0))
    milvus = next(part for part in components if part.name == "Milvus")
    assert (milvus.ready, milvus.required, milvus.detail) == (False, False, "Milvus is down")
    assert not any(part.required for part in components if part.name in {"Embeddings", "Reranker"})
