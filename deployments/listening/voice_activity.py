"""Where somebody speaks: the model that hears it, and what its probabilities for successive windows mean."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from deployments.values.sound import Samples

WINDOW_SAMPLES = 512
WINDOW_S = 0.032
"""A window: 512 samples at 16 kHz."""


VoiceStream = NDArray[np.float32]
"""What a model remembers of one stream of sound, laid out as the model likes it."""


class VoiceActivityEngine(Protocol):
    """Tells speech from other sound; one model for any number of streams."""

    def new_stream(self) -> VoiceStream:
        """Begin a stream."""
        ...

    def probabilities(self, streams: Sequence[VoiceStream], windows: Sequence[Samples]) -> list[float]:
        """Return the probabilities that somebody speaks in the next windows of some streams, and remember the windows.

        Args:
            streams: Each at most once.
            windows: The next 512 samples at 16 kHz of each.
        """
        ...


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When a window counts as speech. The second is lower, so that a voice that wavers is not cut.

    Attributes:
        start: Probability from which silence turns into speech.
        end: Probability below which speech turns into silence.
    """

    start: float = 0.5
    end: float = 0.35


@dataclass(frozen=True, slots=True)
class VoiceActivity:
    """What the windows so far say.

    Attributes:
        speaking: Whether speech has begun.
        voiced: Windows of speech since then.
        windows: All windows since then, pauses included.
        silence: Windows since the last one of speech.
    """

    speaking: bool = False
    voiced: int = 0
    windows: int = 0
    silence: int = 0


QUIET = VoiceActivity()


def follow(activity: VoiceActivity, probability: float, thresholds: Thresholds) -> VoiceActivity:
    """Return the activity after one more window. The caller decides when speech has ended."""
    if probability >= thresholds.start:
        return VoiceActivity(speaking=True, voiced=activity.voiced + 1, windows=activity.windows + 1, silence=0)
    if not activity.speaking:
        return QUIET
    if probability >= thresholds.end and not activity.silence:
        return VoiceActivity(speaking=True, voiced=activity.voiced + 1, windows=activity.windows + 1)
    return VoiceActivity(
        speaking=True, voiced=activity.voiced, windows=activity.windows + 1, silence=activity.silence + 1
    )


@dataclass(frozen=True, slots=True)
class Region:
    """Windows from `start` up to, and without, `end`."""

    start: int
    end: int


def speech_regions(
    probabilities: Sequence[float],
    thresholds: Thresholds,
    *,
    min_speech: int = 4,
    min_silence: int = 12,
    margin: int = 8,
) -> list[Region]:
    """Return where somebody speaks in a whole recording, in order and apart from each other.

    Args:
        probabilities: Of each window.
        thresholds: What counts as speech.
        min_speech: Windows of speech below which a region is none.
        min_silence: Windows of silence that end a region.
        margin: Windows that a region is widened by on each side, for the first and the last sound.
    """
    regions: list[Region] = []
    activity = QUIET
    for at, probability in enumerate([*probabilities, *[0.0] * min_silence]):
        activity = follow(activity, probability, thresholds)
        if activity.silence < min_silence:
            continue
        if activity.voiced >= min_speech:
            start, end = at + 1 - activity.windows, at + 1 - activity.silence
            regions.append(Region(max(0, start - margin), min(len(probabilities), end + margin)))
        activity = QUIET
    return _apart(regions)


def _apart(regions: Sequence[Region]) -> list[Region]:
    """Move the borders of neighbours that overlap to the middle between them."""
    starts = [region.start for region in regions]
    ends = [region.end for region in regions]
    for index, (left, right) in enumerate(pairwise(regions)):
        if left.end > right.start:
            ends[index] = starts[index + 1] = (left.end + right.start) // 2
    return [Region(start, end) for start, end in zip(starts, ends, strict=True)]


def group_regions(regions: Sequence[Region], probabilities: Sequence[float], longest: int) -> list[Region]:
    """Return regions joined across their pauses, each at most `longest` windows long.

    A region that is longer is cut in the second half of what fits, at the window where speech is least likely.
    """
    groups: list[Region] = []
    for region in regions:
        for piece in _pieces(region, probabilities, longest):
            if groups and piece.end - groups[-1].start <= longest:
                groups[-1] = Region(groups[-1].start, piece.end)
            else:
                groups.append(piece)
    return groups


def _pieces(region: Region, probabilities: Sequence[float], longest: int) -> Iterator[Region]:
    start = region.start
    while region.end - start > longest:
        among = range(start + longest // 2, start + longest)
        cut = 1 + min(among, key=lambda at: probabilities[at])
        yield Region(start, cut)
        start = cut
    yield Region(start, region.end)
