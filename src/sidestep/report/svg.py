"""Small plots as inline SVG, written element by element: text stays text, and the same numbers give the same bytes.

Coordinates are CSS pixels. Styles other than colours are in page.css.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

# Okabe & Ito (2008): distinguishable by colour-blind readers. Without the yellow, which is too pale for a thin line.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5C5C5C")
WIDTH, HEIGHT = 340, 210
"""A panel fits the screen of a phone without shrinking its text."""

Number = int | float
Point = tuple[Number, Number]


def element(kind: str, *content: str, **attributes: str | Number) -> Markup:
    """`<kind attribute="...">content</kind>`; plain content is escaped, `_` in a name becomes `-`, `class_` `class`."""
    rendered = Markup("").join(
        Markup(' {}="{}"').format(name.rstrip("_").replace("_", "-"), _number(value))
        for name, value in attributes.items()
    )
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(kind), rendered, Markup("").join(content))


def path(points: Iterable[Point], **attributes: str | Number) -> Markup:
    """A line through the points; a point that is not finite is a gap."""
    moves, pen = [], "M"
    for x, y in points:
        if not (math.isfinite(x) and math.isfinite(y)):
            pen = "M"
            continue
        moves.append(f"{pen}{_number(x)} {_number(y)}")
        pen = "L"
    return element("path", d="".join(moves), **attributes)


def picture(description: str, *content: str, width: Number = WIDTH, height: Number = HEIGHT) -> Markup:
    """The complete plot, as wide as its container, up to 1.5 times its size. description: for screen readers."""
    box, limit = f"0 0 {_number(width)} {_number(height)}", f"max-width:{_number(width * 1.5)}px"
    return element("svg", *content, viewBox=box, style=limit, role="img", aria_label=description)


@dataclass(frozen=True)
class Frame:
    """A plotting area with linear scales: data in [x_low, x_high] x [y_low, y_high], pixels out."""

    x_low: Number
    x_high: Number
    y_low: Number
    y_high: Number
    width: Number = WIDTH
    height: Number = HEIGHT
    left: Number = 44
    right: Number = 84
    top: Number = 14
    bottom: Number = 36

    def x(self, value: Number) -> float:
        share = (value - self.x_low) / ((self.x_high - self.x_low) or 1.0)
        return self.left + share * (self.width - self.left - self.right)

    def y(self, value: Number) -> float:
        share = (value - self.y_low) / ((self.y_high - self.y_low) or 1.0)
        return self.height - self.bottom - share * (self.height - self.top - self.bottom)

    def y_axis(self, count: int = 4, whole: bool = False) -> Markup:
        """Horizontal grid lines, with their values at the left."""
        values = ticks(self.y_low, self.y_high, count, whole)
        end = self.width - self.right
        drawn = [
            element("line", x1=self.left, x2=end, y1=self.y(value), y2=self.y(value), class_="grid")
            + element("text", label, x=self.left - 6, y=self.y(value) + 4, text_anchor="end")
            for value, label in zip(values, labels(values), strict=True)
        ]
        return Markup("").join(drawn)

    def x_axis(self, places: Sequence[tuple[Number, str]], title: str) -> Markup:
        """The axis line, labels below their places, and the title."""
        base = self.height - self.bottom
        end = self.width - self.right
        drawn = [element("line", x1=self.left, x2=end, y1=base, y2=base, class_="axis")]
        for place, label in places:
            drawn.append(element("text", label, x=self.x(place), y=base + 15, text_anchor="middle"))
        drawn.append(element("text", title, x=(self.left + end) / 2, y=base + 31, text_anchor="middle"))
        return Markup("").join(drawn)

    def names(self, ends: Sequence[tuple[str, Number, str]]) -> Markup:
        """Names of lines, given as (name, value, colour), to the right of their ends, moved apart if they overlap."""
        heights = [self.y(value) for _, value, _ in ends]
        places = spread(heights, 14.0, self.top, self.height - self.bottom)
        drawn = [
            element("text", name, x=self.width - self.right + 7, y=place + 4, fill=colour, class_="name")
            for (name, _, colour), place in zip(ends, places, strict=True)
        ]
        return Markup("").join(drawn)


def ticks(low: Number, high: Number, count: int, whole: bool = False) -> list[Number]:
    """About `count` round numbers within [low, high]: multiples of 1, 2 or 5 times a power of ten.

    whole: only whole numbers.
    """
    span = high - low
    if not (math.isfinite(span) and span > 0):
        return [low] if math.isfinite(low) else []
    ideal = span / count
    power = 10.0 ** math.floor(math.log10(ideal))
    step = next(power * factor for factor, up_to in ((1, 1.5), (2, 3.5), (5, 7.5), (10, 11)) if ideal < power * up_to)
    if whole:
        step = max(round(step), 1)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def labels(values: Sequence[Number]) -> list[str]:
    """Numbers with as many decimals as their distance requires."""
    step = abs(values[1] - values[0]) if len(values) > 1 else abs(values[0]) if values else 0.0
    decimals = max(0, -math.floor(math.log10(step) + 1e-9)) if step else 0
    return [f"{value:,.{min(decimals, 8)}f}" for value in values]


def spread(ideal: Sequence[Number], gap: Number, low: Number, high: Number) -> list[Number]:
    """Places near the ideal ones, in their order, at least `gap` apart, none above `high` and, if there is room, none
    below `low`.
    """
    order = sorted(range(len(ideal)), key=lambda i: ideal[i])
    places = [min(max(ideal[i], low), high) for i in order]
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + gap)
    for i in reversed(range(len(places))):
        places[i] = min(places[i], high - gap * (len(places) - 1 - i))
    placed = dict(zip(order, places, strict=True))
    return [placed[i] for i in range(len(ideal))]


def _number(value: str | Number) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.1f}".removesuffix(".0")
