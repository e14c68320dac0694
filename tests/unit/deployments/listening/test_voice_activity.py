"""Where somebody speaks, from probabilities."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from deployments.listening.voice_activity import (
    QUIET,
    Region,
    Thresholds,
    VoiceActivity,
    follow,
    group_regions,
    speech_regions,
)

THRESHOLDS = Thresholds(0.5, 0.35)


def followed(*probabilities: float) -> VoiceActivity:
    activity = QUIET
    for probability in probabilities:
        activity = follow(activity, probability, THRESHOLDS)
    return activity


def test_silence_is_nothing() -> None:
    assert followed(0.1, 0.49, 0.2) == QUIET


def test_speech_goes_on_at_a_probability_that_would_not_begin_it() -> None:
    assert followed(0.6, 0.4, 0.4) == VoiceActivity(speaking=True, voiced=3, windows=3, silence=0)


def test_silence_needs_the_higher_probability_to_turn_into_speech_again() -> None:
    assert followed(0.6, 0.1, 0.4).silence == 2
    assert followed(0.6, 0.1, 0.4, 0.6) == VoiceActivity(speaking=True, voiced=2, windows=4, silence=0)


def test_regions_are_widened_and_joined_over_short_pauses() -> None:
    probabilities = [0.0] * 20 + [0.9] * 10 + [0.0] * 5 + [0.9] * 10 + [0.0] * 40 + [0.9] * 10 + [0.0] * 20
    assert speech_regions(probabilities, THRESHOLDS) == [Region(12, 53), Region(77, 103)]


def test_a_click_is_no_region() -> None:
    assert speech_regions([0.0] * 10 + [0.9] * 2 + [0.0] * 30, THRESHOLDS) == []


def test_a_recording_may_begin_and_end_with_speech() -> None:
    assert speech_regions([0.9] * 30, THRESHOLDS) == [Region(0, 30)]


@given(st.lists(st.floats(0, 1), max_size=300))
def test_regions_are_in_order_and_apart(probabilities: list[float]) -> None:
    regions = speech_regions(probabilities, THRESHOLDS)
    assert all(0 <= region.start < region.end <= len(probabilities) for region in regions)
    assert all(left.end <= right.start for left, right in pairwise(regions))


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 300)), max_size=20), st.integers(50, 400))
def test_groups_hold_every_region_and_are_not_too_long(gaps: list[tuple[int, int]], longest: int) -> None:
    regions: list[Region] = []
    at = 0
    for gap, length in gaps:
        regions.append(Region(at + gap, at + gap + length))
        at += gap + length
    groups = group_regions(regions, [0.5] * (at + 1), longest)
    assert all(group.end - group.start <= longest for group in groups)
    held = {window for group in groups for window in range(group.start, group.end)}
    assert held >= {window for region in regions for window in range(region.start, region.end)}


def test_a_region_that_is_too_long_is_cut_where_somebody_speaks_least() -> None:
    probabilities = [0.9] * 100
    probabilities[37] = 0.4
    assert group_regions([Region(0, 100)], probabilities, 60) == [Region(0, 38), Region(38, 69), Region(69, 100)]
