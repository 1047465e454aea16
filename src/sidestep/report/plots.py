"""The plots of the report: curves over epochs, code usage, cluster maps, hit rates by history length, bars."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from sidestep.report.svg import COLOURS, HEIGHT, WIDTH, Frame, Number, Point, element, path, picture, ticks

Ints = np.ndarray[Any, np.dtype[np.int64]]
Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]

PALE = "#767676"
MAX_DOTS = 1_000
NAME_WIDTH = 7.2
"""Pixels of a letter in the name of a line, a little more than the widest of common fonts."""
HOVER = 7


@dataclass(frozen=True)
class Line:
    """One curve, with its name at the right end. colour: None for the next of `COLOURS`."""

    name: str
    x: Sequence[Number]
    y: Sequence[Number]
    colour: str | None = None

    @property
    def points(self) -> list[Point]:
        return [(x, y) for x, y in zip(self.x, self.y, strict=True) if math.isfinite(y)]


def curves(
    description: str,
    lines: Sequence[Line],
    *,
    against: Sequence[tuple[str, Number]] = (),
    best: Point | None = None,
    from_zero: bool = False,
) -> Markup:
    """Lines over epochs. against: names and heights of dotted reference lines. best: a point to mark."""
    points = [point for line in lines for point in line.points]
    if not points:
        return Markup("")
    heights = [y for _, y in points] + [height for _, height in against] + [0.0] * from_zero
    low, high = min(heights), max(heights)
    room = 0.06 * ((high - low) or abs(high) or 1.0)
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    margin = room_for([line.name for line in lines] + [name for name, _ in against])
    frame = Frame(left, right, low - room * (not from_zero), high + room * (3 if best else 1), right=margin)
    drawn, ends = [frame.y_axis(), _epochs(frame)], []
    for name, height in against:
        drawn.append(_across(frame, height))
        ends.append((name, height, PALE))
    for number, line in enumerate(lines):
        if not line.points:
            continue
        colour = line.colour or COLOURS[number % len(COLOURS)]
        drawn.append(_draw(frame, line.points, colour) + _values(frame, line))
        ends.append((line.name, line.points[-1][1], colour))
    if best is not None:
        drawn.append(_best(frame, *best))
    return picture(description, *drawn, frame.names([end for end in ends if end[0]]))


def usage(description: str, counts: Ints, colour: str) -> Markup:
    """Number of items of each code, `[K]`, the most used first, and a reference line for equal use."""
    size, equal = len(counts), counts.sum() / len(counts)
    frame = Frame(0, size, 0, max(float(counts.max()), 1.0) * 1.05, right=12)
    points: list[Point] = [(frame.x(0), frame.y(0))]
    for place, count in enumerate(np.sort(counts)[::-1].tolist()):
        points += [(frame.x(place), frame.y(count)), (frame.x(place + 1), frame.y(count))]
    points.append((frame.x(size), frame.y(0)))
    places = [(value, f"{value:,.0f}") for value in ticks(0, size, 4, whole=True)]
    return picture(
        description,
        frame.y_axis(whole=True),
        path(points, fill=colour, fill_opacity="0.8"),
        _across(frame, equal),
        element("text", f"equal use {equal:,.1f}", x=frame.x(size), y=frame.y(equal) - 5, text_anchor="end"),
        frame.x_axis(places, "codes, the most used first"),
    )


def cluster_map(description: str, codewords: Floats, clusters: Ints, counts: Ints) -> Markup:
    """Codewords `[K, d]` projected to a plane, coloured by cluster `[K]`, with each cluster's number (from 1) at the
    codeword nearest to its mean. A dot's area grows with the items `[K]` of the code; a ring is a code without items.
    The frame covers the codewords with items; rings outside are moved to its edge.
    """
    points, side = plane(codewords, counts), float(WIDTH)
    with_items = points[counts > 0] if counts.any() else points
    low, high = with_items.min(axis=0), with_items.max(axis=0)
    points = np.clip(points, low, high)
    frame = Frame(low[0], high[0], low[1], high[1], side, side * 0.85, left=14, right=14, top=24, bottom=12)
    drawn = []
    for code in np.argsort(-counts, kind="stable")[:MAX_DOTS].tolist():
        colour, count = colour_of(int(clusters[code])), int(counts[code])
        style = {"fill": colour, "class_": "dot"} if count else {"stroke": colour, "class_": "ring"}
        x, y = frame.x(points[code, 0]), frame.y(points[code, 1])
        drawn.append(element("circle", cx=x, cy=y, r=_radius(counts, code), **style))
    for cluster in np.unique(clusters).tolist():
        members = np.flatnonzero(clusters == cluster)
        middle = np.average(points[members], axis=0, weights=counts[members] + 1e-9)
        nearest = int(members[np.square(points[members] - middle).sum(axis=1).argmin()])
        x, y = frame.x(points[nearest, 0]), frame.y(points[nearest, 1]) - _radius(counts, nearest) - 2
        drawn.append(element("text", str(cluster + 1), x=x, y=y, text_anchor="middle", class_="cluster"))
    return picture(description, *drawn, width=side, height=side * 0.85)


def by_group(
    description: str, groups: Sequence[tuple[str, str]], lines: Sequence[Line], intervals: Sequence[Point]
) -> Markup:
    """Lines over groups, each with a name and, unless all are empty, a note below. intervals: low and high around the
    first line's points, or none.
    """
    bottom = 50 if any(note for _, note in groups) else 36
    highest = max([y for line in lines for y in line.y] + [high for _, high in intervals])
    right = room_for([line.name for line in lines])
    frame = Frame(-0.4, len(groups) - 0.6, 0, (highest or 1.0) * 1.05, bottom=bottom, right=right)
    drawn, ends = [frame.y_axis()], []
    for number, line in reversed(list(enumerate(lines))):
        colour = line.colour or COLOURS[number % len(COLOURS)]
        drawn.append(_draw(frame, line.points, colour, dots=True) + _values(frame, line))
        ends.append((line.name, line.y[-1], colour))
    for place, (low, high) in enumerate(intervals):
        x, colour = frame.x(place), lines[0].colour or COLOURS[0]
        drawn.append(element("line", x1=x, x2=x, y1=frame.y(low), y2=frame.y(high), stroke=colour, class_="interval"))
    for place, (_, note) in enumerate(groups):
        drawn.append(element("text", note, x=frame.x(place), y=HEIGHT - 21, text_anchor="middle", class_="note"))
    names = [(place, name) for place, (name, _) in enumerate(groups)]
    return picture(description, *drawn, frame.x_axis(names, ""), frame.names(ends))


def bars(
    description: str,
    names: Sequence[str],
    heights: Sequence[Number | None],
    colour: str,
    unit: str = "",
    highest: Number | None = None,
) -> Markup:
    """A bar with its value for every name, none where there is no value. unit: what the names count. highest: the top
    of the axis, None for that of the values.
    """
    known = [height for height in heights if height is not None]
    frame = Frame(-0.5, len(names) - 0.5, 0, highest or 1.1 * max([*known, 0]) or 1.0, right=12)
    drawn, half = [frame.y_axis()], 0.36
    for place, height in enumerate(heights):
        if height is None:
            continue
        x, y = frame.x(place - half), frame.y(height)
        size = {"width": frame.x(place + half) - x, "height": frame.y(0) - y}
        drawn.append(element("rect", x=x, y=y, fill=colour, fill_opacity="0.8", **size))
        value = f"{height:.2f}" if height else "0"
        drawn.append(element("text", value, x=frame.x(place), y=y - 4, text_anchor="middle", class_="note"))
    return picture(description, *drawn, frame.x_axis(list(enumerate(names)), unit))


def plane(points: Floats, counts: Ints) -> Floats:
    """The first two principal components `[K, 2]` of points `[K, d]` with weights `counts`, `[K]` (equal weights if all
    are 0); the largest loading of each is positive.
    """
    weights = counts if counts.any() else np.ones(len(points))
    centred = points.astype(np.float64) - np.average(points, axis=0, weights=weights)
    loadings = np.linalg.svd(centred * np.sqrt(weights)[:, None], full_matrices=False)[2][:2]
    largest = loadings[np.arange(len(loadings)), np.abs(loadings).argmax(axis=1)]
    components = centred @ (loadings * np.where(largest < 0, -1, 1)[:, None]).T
    return np.pad(components, ((0, 0), (0, 2 - components.shape[1])))


def colour_of(cluster: int) -> str:
    return COLOURS[cluster % len(COLOURS)]


def _radius(counts: Ints, code: int) -> float:
    return 1.5 + 6.5 * math.sqrt(counts[code] / max(counts.max(), 1))


def _epochs(frame: Frame) -> Markup:
    places = ticks(frame.x_low, frame.x_high, 5, whole=True)
    return frame.x_axis([(value, f"{value:,.0f}") for value in places], "epoch")


def _across(frame: Frame, height: Number) -> Markup:
    y = frame.y(height)
    return element("line", x1=frame.left, x2=frame.width - frame.right, y1=y, y2=y, class_="against")


def _draw(frame: Frame, points: Sequence[Point], colour: str, dots: bool = False) -> Markup:
    places = [(frame.x(x), frame.y(y)) for x, y in points]
    drawn = path(places, stroke=colour, class_="line")
    if dots or len(places) < 3:
        drawn += Markup("").join(element("circle", cx=x, cy=y, r=3.2, fill=colour) for x, y in places)
    return drawn


def room_for(names: Sequence[str]) -> float:
    """The margin to the right of lines with these names, so that none is cut off."""
    longest = max(map(len, names), default=0)
    return max(84.0, 14 + NAME_WIDTH * longest) if longest else 24.0


def _values(frame: Frame, line: Line) -> Markup:
    """Places around the points that show their values under a mouse, without a script."""
    told = [
        element(
            "circle",
            element("title", f"{f'{line.name}: ' if line.name else ''}{y:.4g}"),
            cx=frame.x(x), cy=frame.y(y), r=HOVER, class_="value",
        )
        for x, y in line.points
    ]  # fmt: skip
    return Markup("").join(told)


def _best(frame: Frame, epoch: Number, score: Number) -> Markup:
    x, y = frame.x(epoch), frame.y(score)
    inside = min(max(x, frame.left + 20), frame.width - frame.right - 20)
    label = element("text", f"{score:.4f}", x=inside, y=y - 9, text_anchor="middle", fill=COLOURS[0], class_="name")
    return element("circle", cx=x, cy=y, r=3.6, fill=COLOURS[0]) + label
