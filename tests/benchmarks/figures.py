"""What a benchmark prints: figures, each with its unit, its spread and the bar that it is held against.

All figures can be made of any number of measurements. Of none there is no value, and the figure says so.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

TITLE_WIDTH = 80
_ALL_DIGITS_FROM = 1000


@dataclass(frozen=True, slots=True)
class Bar:
    """What a figure should keep to.

    Attributes:
        limit: In the unit of the figure.
        is_most: Whether the figure may be at most the limit; else it has to be at least that.
    """

    limit: float
    is_most: bool

    def verdict(self, value: float) -> str:
        met = value <= self.limit if self.is_most else value >= self.limit
        return f"at {'most' if self.is_most else 'least'} {self.limit:g}: {'met' if met else 'MISSED'}"


def at_most(limit: float) -> Bar:
    return Bar(limit, is_most=True)


def at_least(limit: float) -> Bar:
    return Bar(limit, is_most=False)


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured quantity.

    Attributes:
        title: What it is.
        value: None where there were no measurements.
        unit: Of the value; empty for a plain number.
        count: Measurements that it is made of.
        low: First quartile of the measurements; None where the value is not their median.
        high: Third quartile; likewise.
        bar: What it should keep to, if there is something.
    """

    title: str
    value: float | None
    unit: str = ""
    count: int = 1
    low: float | None = None
    high: float | None = None
    bar: Bar | None = None

    @property
    def is_measured(self) -> bool:
        return self.value is not None and math.isfinite(self.value)

    def line(self) -> str:
        """Return the figure as a line of text."""
        if self.value is None:
            return f"{self.title:<{TITLE_WIDTH}} not measured"
        shown = f"{self.title:<{TITLE_WIDTH}}{_digits(self.value):>10} {self.unit:<6}"
        if self.low is not None and self.high is not None:
            shown += f" {f'{_digits(self.low)} to {_digits(self.high)} of {self.count}':<28}"
        if self.bar is not None:
            shown += f" {self.bar.verdict(self.value)}"
        return shown.rstrip()


def _digits(value: float) -> str:
    """Return a number with four digits, or all of those before its point."""
    return f"{value:,.0f}" if abs(value) >= _ALL_DIGITS_FROM else f"{value:.4g}"


def plain(title: str, value: float, unit: str = "", bar: Bar | None = None) -> Figure:
    """Return a figure that is one number."""
    return Figure(title, value, unit, bar=bar)


def median(title: str, values: Iterable[float], unit: str = "", bar: Bar | None = None, *, scale: float = 1) -> Figure:
    """Return the median of measurements with their quartiles, each multiplied by `scale`."""
    scaled = [scale * value for value in values]
    middle = percentile(scaled, 50)
    return Figure(title, middle, unit, len(scaled), percentile(scaled, 25), percentile(scaled, 75), bar)


def milliseconds(title: str, seconds: Iterable[float], bar: Bar | None = None) -> Figure:
    """Return the median of measurements in seconds, as milliseconds."""
    return median(title, seconds, "ms", bar, scale=1000)


def ratio(title: str, ours: Sequence[float], theirs: Sequence[float], bar: Bar | None = None) -> Figure:
    """Return the median of the ratios of paired measurements; pairs whose second is 0 have none."""
    return median(title, [one / other for one, other in zip(ours, theirs, strict=True) if other], "", bar)


def share(title: str, part: int, whole: int, bar: Bar | None = None) -> Figure:
    """Return how much of a whole something is, in per cent."""
    return Figure(f"{title} ({part:,} of {whole:,})", 100 * part / whole if whole else None, "%", whole, bar=bar)


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Return a percentile of any number of values, between neighbours where it falls between them; None of none."""
    if not values:
        return None
    if len(values) == 1:
        return values[0]
    ordered = sorted(values)
    at = (len(ordered) - 1) * percent / 100
    below = int(at)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (at - below)


def middle_of(values: Sequence[float]) -> float:
    """Return the median of values; not a number where there are none."""
    return statistics.median(values) if values else math.nan
