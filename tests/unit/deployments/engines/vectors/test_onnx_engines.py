"""Embeddings, late interaction and the cross-encoder, on models small enough to be computed by hand."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.call import Call
from deployments.engines.onnx_session import open_session
from deployments.engines.vectors import onnx_model
from deployments.engines.vectors.cross_encoder import CrossEncoderReranker
from deployments.engines.vectors.encoded_text import EncodedText, TokenVectorCache
from deployments.engines.vectors.late_interaction import LateInteractionReranker
from deployments.engines.vectors.onnx_embeddings import OnnxEmbeddings
from deployments.engines.vectors.onnx_encoder import OnnxEncoder
from deployments.engines.vectors.onnx_model import OnnxModel, length_sorted_batches
from deployments.errors import DeadlineExceededError, UnavailableError
from tests.unit.tiny_onnx import HEAD, TABLE, WORDS, save_cross_encoder, save_encoder

TEXTS = ["dogs are welcome", "the pool opens at seven", "cats", "the hotel"]


def mean_vector(*words: str) -> np.ndarray:
    return np.mean([TABLE[WORDS.index(word)] for word in ("[CLS]", *words, "[SEP]")], axis=0)


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


@pytest.fixture
def encoder_folder(tmp_path: Path) -> Path:
    return save_encoder(tmp_path / "encoder")


@pytest.fixture
def cross_encoder_folder(tmp_path: Path) -> Path:
    return save_cross_encoder(tmp_path / "cross-encoder")


async def test_an_embedding_is_the_mean_of_the_token_vectors_of_length_one(encoder_folder: Path) -> None:
    vectors = await OnnxEmbeddings(OnnxEncoder(encoder_folder)).embed(Call.within(5.0), TEXTS)
    assert vectors.dtype == np.float32
    for text, vector in zip(TEXTS, vectors, strict=True):
        assert np.allclose(vector, unit(mean_vector(*text.split())), atol=1e-6)


async def test_a_text_is_embedded_alike_alone_and_in_any_batch(encoder_folder: Path) -> None:
    encoder = OnnxEncoder(encoder_folder, batch_tokens=7)
    together = await encoder.encode(Call.within(5.0), TEXTS)
    for text, in_batch in zip(TEXTS, together, strict=True):
        (alone,) = await encoder.encode(Call.within(5.0), [text])
        assert np.allclose(alone.embedding, in_batch.embedding)
        assert alone.token_ids.tolist() == in_batch.token_ids.tolist()
        assert len(in_batch.token_vectors) == len(in_batch.token_ids), "padding is gone"


async def test_a_model_that_was_trained_so_gives_the_vector_of_its_first_token(encoder_folder: Path) -> None:
    vectors = await OnnxEmbeddings(OnnxEncoder(encoder_folder, pooling="cls")).embed(Call.within(5.0), TEXTS)
    assert np.allclose(vectors, unit(TABLE[WORDS.index("[CLS]")]), atol=1e-6)


class ShapesSeen:
    """A session that remembers the shapes of its inputs."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.shapes: set[tuple[int, ...]] = set()

    def run(self, names: None, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        self.shapes |= {value.shape for value in feeds.values()}
        return self._session.run(names, feeds)


async def test_a_device_that_compiles_each_shape_sees_few_of_them(
    encoder_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_model, "open_session", lambda path, threads, device: open_session(path, threads))
    model = OnnxModel(encoder_folder, threads=1, max_tokens=40, batch_tokens=200, device="rocm")
    model._session = seen = ShapesSeen(model._session)
    texts = ["dogs " * count for count in range(60)]
    encodings = await model.tokenize(texts)
    outputs = {index: vectors async for index, vectors in model.run(Call.within(5.0), encodings)}
    assert {columns for _, columns in seen.shapes} == {16, 32, 40}
    assert all(rows & (rows - 1) == 0 for rows, _ in seen.shapes)
    for index, encoding in enumerate(encodings):
        assert np.allclose(outputs[index][: len(encoding.ids)], TABLE[encoding.ids])


class Breaking:
    """A session that fails until it is mended."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.is_broken = True

    def run(self, names: None, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        if self.is_broken:
            raise RuntimeError("the device is gone")
        return self._session.run(names, feeds)


async def test_a_model_that_fails_is_unavailable_until_it_runs_again(encoder_folder: Path) -> None:
    embeddings = OnnxEmbeddings(OnnxEncoder(encoder_folder))
    await embeddings.check()
    model = embeddings._encoder._model
    model._session = session = Breaking(model._session)
    await embeddings.check()
    with pytest.raises(RuntimeError):
        await embeddings.embed(Call.within(5.0), TEXTS)
    with pytest.raises(UnavailableError):
        await embeddings.check()
    session.is_broken = False
    await embeddings.check()


async def test_long_texts_are_cut(encoder_folder: Path) -> None:
    (encoded,) = await OnnxEncoder(encoder_folder, max_tokens=10).encode(Call.within(5.0), ["dogs " * 10_000])
    assert len(encoded.token_ids) == 10


async def test_encoding_stops_when_the_time_is_up(encoder_folder: Path) -> None:
    with pytest.raises(DeadlineExceededError):
        await OnnxEncoder(encoder_folder).encode(Call.within(0.0), TEXTS)


class Holding:
    """A session that holds what runs until it may end, and notes the word that each batch begins with."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.words: list[str] = []
        self.may_end = threading.Event()

    def run(self, names: None, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        self.words.append(WORDS[feeds["input_ids"][0, 1]])
        assert self.may_end.wait(10)
        return self._session.run(names, feeds)


def note_urgent(model: OnnxModel) -> asyncio.Event:
    """Return what is set when urgent work is given to a model."""
    submit, is_given = model._running.submit, asyncio.Event()

    def noting(size: int, work: Callable[[], np.ndarray], *, urgent: bool = False) -> asyncio.Future[np.ndarray]:
        future = submit(size, work, urgent=urgent)
        if urgent:
            is_given.set()
        return future

    model._running.submit = noting
    return is_given


async def question_is_embedded(encoder: OnnxEncoder) -> None:
    await OnnxEmbeddings(encoder).embed(Call.within(5.0), ["pool opens " * 40])


async def passages_are_reranked(encoder: OnnxEncoder) -> None:
    await LateInteractionReranker(encoder).rerank(Call.within(5.0), "pool opens", ["pool opens " * 40] * 2)


@pytest.mark.parametrize("ask", [question_is_embedded, passages_are_reranked])
async def test_a_question_goes_before_the_documents_that_share_its_model(
    encoder_folder: Path, ask: Callable[[OnnxEncoder], Coroutine[Any, Any, None]]
) -> None:
    encoder = OnnxEncoder(encoder_folder, threads=1, batch_tokens=12)
    model = encoder._model
    model._session = session = Holding(model._session)
    is_asked = note_urgent(model)
    chunks = [f"dogs {second} {third}" for second in ("are", "the") for third in ("welcome", "cats", "at", "seven")]
    documents = asyncio.create_task(OnnxEmbeddings(encoder).embed(Call.within(5.0), chunks))
    asked = asyncio.create_task(ask(encoder))
    await asyncio.wait_for(is_asked.wait(), 5)
    session.may_end.set()
    await asyncio.gather(documents, asked)
    assert session.words.count("dogs") == 4
    assert session.words[1 : session.words.index("dogs", 1)].count("pool") == session.words.count("pool")
    encoder.close()


async def test_embeddings_and_reranker_may_share_an_encoder(encoder_folder: Path) -> None:
    encoder = OnnxEncoder(encoder_folder)
    embeddings, reranker = OnnxEmbeddings(encoder), LateInteractionReranker(encoder)
    apart = LateInteractionReranker(OnnxEncoder(encoder_folder))
    vectors, rankings = await asyncio.gather(
        embeddings.embed(Call.within(5.0), TEXTS), reranker.rerank(Call.within(5.0), "cats hotel", TEXTS)
    )
    assert np.allclose(vectors[2], unit(mean_vector("cats")), atol=1e-6)
    assert rankings == await apart.rerank(Call.within(5.0), "cats hotel", TEXTS)
    model = encoder._model
    model._session = Breaking(model._session)
    with pytest.raises(RuntimeError):
        await embeddings.embed(Call.within(5.0), TEXTS)
    with pytest.raises(UnavailableError):
        await reranker.check()
    await embeddings.close()
    await reranker.close()


@given(st.lists(st.integers(1, 300), max_size=60), st.integers(1, 600))
def test_batches_hold_every_text_once_and_little_padding(lengths: list[int], batch_tokens: int) -> None:
    batches = list(length_sorted_batches(lengths, batch_tokens))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        padded = max(lengths[index] for index in batch) * len(batch)
        assert padded <= batch_tokens or len(batch) == 1


async def test_late_interaction_puts_the_passage_with_the_question_s_words_first(encoder_folder: Path) -> None:
    rankings = await LateInteractionReranker(OnnxEncoder(encoder_folder)).rerank(Call.within(5.0), "pool opens", TEXTS)
    assert rankings[0].index == 1
    assert sorted(ranking.index for ranking in rankings) == [0, 1, 2, 3]
    assert [ranking.score for ranking in rankings] == sorted((ranking.score for ranking in rankings), reverse=True)


async def test_late_interaction_gives_the_same_order_from_its_cache(encoder_folder: Path) -> None:
    reranker = LateInteractionReranker(OnnxEncoder(encoder_folder, cache_bytes=1 << 20))
    first = await reranker.rerank(Call.within(5.0), "cats hotel", TEXTS)
    again = await reranker.rerank(Call.within(5.0), "cats hotel", TEXTS)
    assert [ranking.index for ranking in first] == [ranking.index for ranking in again]
    assert np.allclose([ranking.score for ranking in first], [ranking.score for ranking in again], atol=0.05)


@pytest.mark.parametrize("passages", [[], ["dogs"], ["dogs", "dogs"], [""]])
async def test_few_alike_or_empty_passages_are_ranked_too(encoder_folder: Path, passages: list[str]) -> None:
    rankings = await LateInteractionReranker(OnnxEncoder(encoder_folder)).rerank(Call.within(5.0), "dogs", passages)
    assert sorted(ranking.index for ranking in rankings) == list(range(len(passages)))
    assert all(np.isfinite(ranking.score) for ranking in rankings)


async def test_what_was_embedded_before_is_not_computed_again_to_be_ranked(encoder_folder: Path) -> None:
    encoder = OnnxEncoder(encoder_folder, cache_bytes=1 << 20)
    embedded = await OnnxEmbeddings(encoder).embed(Call.within(5.0), TEXTS)
    # No time is left: whatever had to be computed would fail.
    again = await OnnxEmbeddings(encoder).embed(Call.within(0.0), TEXTS)
    assert np.array_equal(embedded, again)
    rankings = await LateInteractionReranker(encoder).rerank(Call.within(0.0), TEXTS[1], TEXTS)
    assert rankings[0].index == 1


async def test_what_is_not_kept_is_computed_again(encoder_folder: Path) -> None:
    encoder = OnnxEncoder(encoder_folder)
    await encoder.encode(Call.within(5.0), TEXTS)
    with pytest.raises(DeadlineExceededError):
        await encoder.encode(Call.within(0.0), TEXTS)


def test_the_cache_drops_what_was_longest_unused() -> None:
    encoded = EncodedText(np.array([1, 2]), np.eye(2, dtype=np.float32), np.ones(2, np.float32))
    cache = TokenVectorCache(capacity_bytes=8)  # two texts of two tokens of two dimensions, one byte each
    for text in ("a", "b"):
        cache.put(text, encoded)
    assert cache.get("a") is not None
    cache.put("c", encoded)
    assert cache.get("b") is None
    kept = cache.get("a")
    assert kept is not None
    assert np.allclose(kept.token_vectors, np.eye(2))


async def test_the_cross_encoder_s_score_is_the_logit_of_the_pair(cross_encoder_folder: Path) -> None:
    rankings = await CrossEncoderReranker(cross_encoder_folder, batch_tokens=16).rerank(
        Call.within(5.0), "dogs welcome", TEXTS
    )
    by_index = {ranking.index: ranking.score for ranking in rankings}
    for index, text in enumerate(TEXTS):
        expected = mean_vector("dogs", "welcome", "[SEP]", *text.split()) @ HEAD
        assert by_index[index] == pytest.approx(float(expected[0]), abs=1e-5)
    assert [ranking.score for ranking in rankings] == sorted(by_index.values(), reverse=True)


async def test_the_cross_encoder_reads_pairs_of_any_length(cross_encoder_folder: Path) -> None:
    reranker = CrossEncoderReranker(cross_encoder_folder, max_tokens=16)
    rankings = await reranker.rerank(Call.within(5.0), "dogs " * 5000, ["cats " * 5000, ""])
    assert len(rankings) == 2
    assert await reranker.rerank(Call.within(5.0), "dogs", []) == []
