"""Where the bars of the timeline stand. A charting library would bring more to a page than these rectangles are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import cycle
from typing import Any, NamedTuple

from bounceml.report.bounded import KINDS

WIDTH, HEIGHT = 960, 240  # of the drawing, in its own units
_LEFT, _TOP, _BOTTOM = 56, 12, 28  # margins for the labels
_LABELS = 8  # at most so many along the time
_WIDEST = 64.0


class Bar(NamedTuple):
    """A part of a bar: of one time and kind."""

    kind: str
    x: float
    y: float
    width: float
    height: float


class Slot(NamedTuple):
    """All of one time: its bars, and the area that shows their numbers."""

    time: str
    counts: dict[str, int]
    x: float
    width: float
    bars: tuple[Bar, ...]
    label: str  # under the axis, where there is room


class Tick(NamedTuple):
    """A line across, and its number."""

    y: float
    value: int


class Timeline(NamedTuple):
    """A drawing of stacked bars, the time along, the numbers up."""

    width: int
    height: int
    left: int
    floor: float
    slots: tuple[Slot, ...]
    ticks: tuple[Tick, ...]


def timeline(rows: Sequence[dict[str, Any]]) -> Timeline | None:
    """Return the drawing of ``rows`` (each a ``time`` and the counts of the kinds), or None where there are none."""
    if not rows:
        return None
    floor = HEIGHT - _BOTTOM
    step = _step(max(sum(row[kind] for kind in KINDS) for row in rows))
    top = step * math.ceil(max(sum(row[kind] for kind in KINDS) for row in rows) / step)
    scale = (floor - _TOP) / top
    pitch = (WIDTH - _LEFT) / len(rows)
    every = math.ceil(len(rows) / _LABELS)
    slots = []
    for number, row in enumerate(rows):
        width = min(pitch * 0.82, _WIDEST)
        x, y, bars = _LEFT + number * pitch + (pitch - width) / 2, floor, []
        for kind in KINDS:
            if row[kind]:
                height = row[kind] * scale
                y -= height
                bars.append(Bar(kind, round(x, 2), round(y, 2), round(width, 2), round(height, 2)))
        label = _label(row["time"], rows[number - every]["time"] if number else None) if number % every == 0 else ""
        slots.append(
            Slot(row["time"], {kind: row[kind] for kind in KINDS}, round(_LEFT + number * pitch, 2), round(pitch, 2), tuple(bars), label)
        )
    ticks = tuple(Tick(round(floor - value * scale, 2), value) for value in range(0, top + 1, step))
    return Timeline(WIDTH, HEIGHT, _LEFT, floor, tuple(slots), ticks)


def _step(most: int) -> int:
    """The distance of the lines across: 1, 2 or 5 times a power of ten, so that there are three to six.

    >>> _step(3), _step(40), _step(1234)
    (1, 10, 500)
    """
    step = 1
    for factor in cycle((2, 2.5, 2)):
        if most <= 5 * step:
            break
        step = int(step * factor)
    return step


def _label(time: str, before: str | None) -> str:
    """The time as short as the label before it allows: the date only where it changes.

    >>> _label("2026-11-03T10", "2026-11-03T08"), _label("2026-11-04T00", "2026-11-03T12"), _label("2026-11-04", None)
    ('10:00', '11-04 00:00', '2026-11-04')
    """
    date, _, hour = time.partition("T")
    if not hour:
        return date[5:] if before and len(date) == 10 and date[:4] == before[:4] else date
    return f"{hour}:00" if before and before.startswith(date) else f"{date[5:]} {hour}:00"
