"""Figures can be made of any number of measurements, however few."""

import pytest

from tests.benchmarks.figures import (
    Figure,
    at_least,
    at_most,
    median,
    milliseconds,
    percentile,
    plain,
    ratio,
    share,
)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], (None, None, None)),
        ([3.0], (3, 3, 3)),
        ([1.0, 2.0], (1.25, 1.5, 1.75)),
        ([4.0, 1.0, 3.0, 2.0, 5.0], (2, 3, 4)),
    ],
)
def test_a_median_has_quartiles_of_any_number_of_values(values: list[float], expected: tuple[float | None, ...]):
    figure = median("answers", values, "s")
    assert (figure.low, figure.value, figure.high) == expected
    assert figure.count == len(values)


def test_a_figure_of_no_measurements_says_so():
    empty = [
        median("m", []),
        milliseconds("n", []),
        ratio("r", [], []),
        share("s", 0, 0),
        Figure("p", percentile([], 99)),
    ]
    assert [figure.is_measured for figure in empty] == [False] * 5
    assert all(figure.line().endswith("not measured") for figure in empty)


def test_what_is_no_number_is_not_measured():
    assert not plain("tasks", float("nan")).is_measured
    assert not plain("latest", float("inf")).is_measured


def test_milliseconds_are_made_of_seconds():
    assert milliseconds("first sound", [0.25]).line().split() == "first sound 250 ms 250 to 250 of 1".split()


@pytest.mark.parametrize(
    ("value", "shown"), [(25_731.4, "25,731"), (1000.0, "1,000"), (311.27, "311.3"), (0.354849, "0.3548")]
)
def test_a_value_is_shown_with_the_digits_that_a_reader_needs(value: float, shown: str):
    assert plain("tokens", value, "per s").line().split() == ["tokens", shown, "per", "s"]


def test_a_ratio_is_the_median_of_those_of_the_pairs():
    assert ratio("ours to theirs", [1.0, 4.0, 3.0], [2.0, 1.0, 1.0]).value == 3


def test_a_pair_whose_second_is_nothing_has_no_ratio():
    assert ratio("ours to theirs", [1.0, 4.0], [0.0, 1.0]).value == 4


def test_a_share_tells_the_numbers_that_it_is_made_of():
    figure = share("answers that hold the fact", 47, 50)
    assert figure.value == 94
    assert figure.title == "answers that hold the fact (47 of 50)"


@pytest.mark.parametrize(("percent", "expected"), [(0, 1.0), (50, 2.5), (99, 3.97), (100, 4.0)])
def test_a_percentile_lies_between_its_neighbours(percent: int, expected: float):
    assert percentile([4.0, 1.0, 3.0, 2.0], percent) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("figure", "verdict"),
    [
        (plain("memory", 3.5, "GB", at_most(4)), "at most 4: met"),
        (plain("memory", 4.5, "GB", at_most(4)), "at most 4: MISSED"),
        (plain("chats", 3.0, "per s", at_least(4)), "at least 4: MISSED"),
        (plain("chats", 4.0, "per s", at_least(4)), "at least 4: met"),
    ],
)
def test_a_figure_is_held_against_its_bar(figure: Figure, verdict: str):
    assert figure.line().endswith(verdict)
