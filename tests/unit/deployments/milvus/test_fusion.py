import pytest

from deployments.milvus.fusion import fuse

MEANING = [("a", 0.9), ("b", 0.8), ("c", 0.1)]
WORDS = [("c", 12.0), ("d", 11.0)]


def order(weight: float) -> list[str]:
    return [key for key, _ in fuse(MEANING, WORDS, weight)]


def test_a_weight_at_either_end_is_one_ranking_alone() -> None:
    assert order(0.0)[:2] == ["a", "b"]
    assert order(1.0)[:2] == ["c", "d"]


def test_what_both_name_gains() -> None:
    assert order(0.6)[0] == "c"


def test_everything_named_is_there_once() -> None:
    assert sorted(order(0.5)) == ["a", "b", "c", "d"]


def test_a_single_hit_by_words_counts() -> None:
    assert fuse([("a", 0.50), ("b", 0.49)], [("b", 3.0)], 0.6)[0][0] == "b"


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_with_one_ranking_empty_the_other_keeps_its_order(weight: float) -> None:
    assert [key for key, _ in fuse(MEANING, [], weight)] == ["a", "b", "c"]
    assert fuse([], [], weight) == []
    if weight:
        assert [key for key, _ in fuse([], WORDS, weight)] == ["c", "d"]


def test_scores_are_comparable_whatever_their_unit() -> None:
    small = fuse(MEANING, WORDS, 0.5)
    large = fuse([(key, 1000 * score) for key, score in MEANING], WORDS, 0.5)
    assert [score for _, score in small] == pytest.approx([score for _, score in large])
