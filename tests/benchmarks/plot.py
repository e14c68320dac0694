"""Curves as pictures: SVG files with axes, lines and the values at their points, and nothing that could be chosen."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

_WIDTH, _HEIGHT = 640, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 130, 40, 50
_COLOURS = ("#2563a8", "#b5482a", "#3a7d44", "#7a4a9e")


@dataclass(frozen=True, slots=True)
class Curve:
    """A line.

    Attributes:
        name: What it shows.
        points: Pairs of x and y, x above 0 and rising.
    """

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Plot:
    """Lines over one axis.

    Attributes:
        title: What it shows.
        across: What x is, with its unit. Its axis is logarithmic.
        up: What y is, with its unit. Its axis begins at 0.
        curves: The lines.
    """

    title: str
    across: str
    up: str
    curves: Sequence[Curve]

    def write(self, file: Path) -> None:
        """Write it as an SVG file, and the folder that it is in where there is none.

        Raises:
            ValueError: There are no points.
        """
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(self.svg(), encoding="utf-8")

    def svg(self) -> str:
        """Return it as SVG.

        Raises:
            ValueError: There are no points.
        """
        points = [point for curve in self.curves for point in curve.points]
        if not points:
            raise ValueError(f"the plot {self.title!r} has no points")
        scale = _Scale(min(x for x, _ in points), max(x for x, _ in points), max(y for _, y in points) or 1.0)
        parts = [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
                'font-size="12">'
            ),
            f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
            _text(_LEFT, 22, self.title, 'font-size="15"'),
            _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 10, self.across, 'text-anchor="middle"'),
            _text(_LEFT, _TOP - 4, self.up, 'fill="#555"'),
            *_axes(scale, sorted({x for x, _ in points})),
        ]
        for curve, colour in zip(self.curves, _COLOURS, strict=False):
            parts += _line(scale, curve, colour)
        return "\n".join([*parts, "</svg>\n"])


@dataclass(frozen=True, slots=True)
class _Scale:
    """Where values lie in the picture."""

    least: float
    most: float
    highest: float

    def x(self, value: float) -> float:
        width = _WIDTH - _LEFT - _RIGHT
        span = math.log(self.most / self.least)
        return _LEFT + (width * math.log(value / self.least) / span if span else width / 2)

    def y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * value / self.highest


def _axes(scale: _Scale, ticks: Sequence[float]) -> list[str]:
    floor, left, right = scale.y(0), _LEFT, _WIDTH - _RIGHT
    parts = [f'<path d="M{left} {_TOP}V{floor:.1f}H{right}" fill="none" stroke="#333"/>']
    for share in (0.25, 0.5, 0.75, 1.0):
        y = scale.y(share * scale.highest)
        parts.append(f'<path d="M{left} {y:.1f}H{right}" stroke="#ddd"/>')
        parts.append(_text(left - 6, y + 4, number(share * scale.highest), 'text-anchor="end"'))
    parts += [_text(scale.x(tick), floor + 18, number(tick), 'text-anchor="middle"') for tick in ticks]
    return parts


def _line(scale: _Scale, curve: Curve, colour: str) -> list[str]:
    places = [(scale.x(x), scale.y(y)) for x, y in curve.points]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    end_x, end_y = places[-1]
    return [
        f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>',
        *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places),
        _text(end_x + 8, end_y + 4, f"{curve.name}", f'fill="{colour}"'),
    ]


def _text(x: float, y: float, text: str, more: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{escape(text)}</text>'


def number(value: float) -> str:
    """Return a number as it stands at an axis.

    >>> number(100_000), number(2_500), number(0.0312)
    ('100k', '2.5k', '0.031')
    """
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.2g}" if value < 1 else f"{value:.3g}"
