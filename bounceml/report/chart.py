"""Where the bars of the timeline stand. A charting library would bring more to a page than these rectangles are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import cycle
from typing import Any, NamedTuple

from bounceml.report.bounded import KINDS

WIDTH, HEIGHT = 960, 240  # of the drawing, in its own units
_LEFT, _TOP, _BOTTOM = 56, 12, 28  # margins for the labels
_LABELS = 9  # at most so many along the time
_HOURS = (1, 2, 3, 6, 12, 24)  # between two of them, where bars are hours
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
    labels = _labels([row["time"] for row in rows])
    slots = []
    for number, (row, label) in enumerate(zip(rows, labels, strict=True)):
        width = min(pitch * 0.82, _WIDEST)
        x, y, bars = _LEFT + number * pitch + (pitch - width) / 2, floor, []
        for kind in KINDS:
            if row[kind]:
                height = row[kind] * scale
                y -= height
                bars.append(Bar(kind, round(x, 2), round(y, 2), round(width, 2), round(height, 2)))
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


def _labels(times: Sequence[str]) -> list[str]:
    """The text under each bar, empty where there is no room: hours at even distances, a date only where it changes.

    >>> [label for label in _labels([f"2026-11-{day:02}T{hour:02}" for day in (3, 4) for hour in range(24)]) if label]
    ['11-03 00:00', '06:00', '12:00', '18:00', '11-04 00:00', '06:00', '12:00', '18:00']
    """
    apart = math.ceil(len(times) / _LABELS)
    hours = next((step for step in _HOURS if step >= apart), _HOURS[-1])
    labels, before = [], ""
    for number, time in enumerate(times):
        date, _, hour = time.partition("T")
        if int(hour) % hours if hour else number % apart:
            labels.append("")
            continue
        labels.append(_label(date, hour, before))
        before = date
    return labels


def _label(date: str, hour: str, before: str) -> str:
    if hour:
        return f"{hour}:00" if date == before else f"{date[5:]} {hour}:00"
    return date[5:] if len(date) == 10 and date[:4] == before[:4] else date
