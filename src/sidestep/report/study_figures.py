"""The plots of a study: bars with intervals, curves over a setting, gains by length, accuracy against cost."""

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from sidestep.report.figures import Plot
from sidestep.report.plots import PALE
from sidestep.report.svg import COLOURS, HEIGHT, Frame, element, labels, path, picture, spread, ticks
from sidestep.studies.outcome import Block, Cost, Curves, Outcome
from sidestep.studies.rows import MAIN

STEP, BAR = 19, 11
"""Distance of bars and thickness of a bar, in pixels."""
FIXED = {"s2gr": 0, "tiger": 1}
"""Colours that are fixed in all plots."""
Interval = tuple[float, float, float]
"""A mean, and the lower and upper end of its interval, which may be NaN."""


def study_plots(outcome: Outcome) -> list[Plot]:
    """All plots of the study."""
    drawn: list[Plot | None] = []
    if outcome.main is not None and outcome.study.kind == "table":
        protocol = (outcome.main.ties, outcome.main.seen)
        drawn += [bars(block) for block in outcome.blocks if (block.ties, block.seen) == protocol]
    drawn += [curve(curves) for curves in outcome.curves]
    drawn.append(gains(outcome))
    drawn.append(pareto(outcome.costs) if outcome.study.kind == "curve" else None)
    return [plot for plot in drawn if plot is not None]


def bars(block: Block) -> Plot | None:
    """The main metric of every row with cells, with its interval; a stroke marks a published figure."""
    entries = [entry for entry in block.entries if MAIN in entry.figures]
    if not entries:
        return None
    published = [entry.published.figures[MAIN] if entry.published else None for entry in entries]
    highs = [entry.interval[1] if entry.interval else entry.figures[MAIN].mean for entry in entries]
    height = STEP * len(entries) + 44
    high = max([*highs, *(value for value in published if value is not None)]) or 1.0
    frame = Frame(0, high * 1.02, 0, len(entries), height=height, left=118, right=42, top=6)
    drawn = [_upright(frame)]
    for place, (entry, other) in enumerate(zip(entries, published, strict=True)):
        top, value = frame.top + STEP * place + 4, entry.figures[MAIN].mean
        middle = top + BAR / 2
        with_thoughts, is_tiger = entry.row.method.startswith("s2gr") and entry.codes_count, "tiger" in entry.row.method
        colour = COLOURS[0] if with_thoughts else COLOURS[1] if is_tiger else PALE
        drawn.append(element("text", entry.row.name, x=frame.left - 6, y=middle + 4, text_anchor="end"))
        drawn.append(
            element("rect", x=frame.left, y=top, width=frame.x(value) - frame.left, height=BAR, fill=colour,
                    fill_opacity="0.75")
        )  # fmt: skip
        end = value
        if entry.interval:
            ends = {"x1": frame.x(max(entry.interval[0], 0)), "x2": frame.x(entry.interval[1])}
            drawn.append(element("line", **ends, y1=middle, y2=middle, stroke="#222", class_="interval"))
            end = entry.interval[1]
        if other is not None:
            across = frame.x(other)
            drawn.append(
                element("line", x1=across, x2=across, y1=top - 3, y2=top + BAR + 3, stroke="#222", stroke_width="2")
            )
            end = max(end, other)
        drawn.append(element("text", f"{value:.4f}", x=frame.x(end) + 4, y=middle + 4, class_="note"))
    note = "Thin lines: 95 % intervals over users."
    if any(value is not None for value in published):
        note += f" Upright strokes: published ({', '.join(block.sources)})."
    return Plot(f"{MAIN}, {block.title}", picture(f"{MAIN} of every row, {block.title}", *drawn, height=height), note)


def curve(curves: Curves) -> Plot | None:
    """Means with intervals at evenly spaced values of the axis."""
    values = sorted({spot.at for line in curves.lines.values() for spot in line})
    if not values:
        return None
    lines = {name: [(values.index(s.at), (s.mean, s.low, s.high)) for s in line] for name, line in curves.lines.items()}
    title = f"{MAIN} over {curves.axis}"
    drawn = _dotted(title, [(f"{value:g}", "") for value in values], lines, curves.across, curves.axis)
    note = "With 95 % intervals over users. All points have the same users: the paired tests in the table are narrower."
    return Plot(title, drawn, note)


def gains(outcome: Outcome) -> Plot | None:
    """The relative gain of every group of history lengths, in percent."""
    known = [(place, gain) for place, (_, _, gain) in enumerate(outcome.groups) if math.isfinite(gain.value)]
    if not known:
        return None
    line = [(place, (100 * gain.value, 100 * gain.low, 100 * gain.high)) for place, gain in known]
    names = [(name, f"{size:,}") for name, size, _ in outcome.groups]
    drawn = _dotted("Relative gain by history length", names, {"": line}, [("TIGER", 0.0)], "")
    note = (
        "In percent of TIGER's figure, by number of the user's interactions, the held-out one included; below, the "
        "number of users. Thin lines: 95 % intervals, bootstrap over users."
    )
    return Plot(f"S2GR's gain in {MAIN} by history length", drawn, note)


def _dotted(
    description: str,
    groups: Sequence[tuple[str, str]],
    lines: Mapping[str, Sequence[tuple[int, Interval]]],
    across: Sequence[tuple[str, float]],
    axis: str,
) -> Markup:
    """Dots with intervals over named groups, joined line by line. groups: the name and a note below each."""
    spots = [spot for line in lines.values() for _, spot in line]
    heights = [value for spot in spots for value in spot if math.isfinite(value)] + [height for _, height in across]
    low, high = min(heights), max(heights)
    room = 0.06 * ((high - low) or abs(high) or 1.0)
    frame = Frame(-0.4, len(groups) - 0.6, low - room, high + room, bottom=50 if any(n for _, n in groups) else 36)
    drawn, ends = [frame.y_axis()], []
    for name, height in across:
        y = frame.y(height)
        drawn.append(element("line", x1=frame.left, x2=frame.width - frame.right, y1=y, y2=y, class_="against"))
        ends.append((name, height, PALE))
    for number, (name, line) in enumerate(lines.items()):
        colour, ordered = COLOURS[FIXED.get(name, number) % len(COLOURS)], sorted(line)
        beside = 4.0 * number  # so that intervals of two lines do not cover each other
        points = [(frame.x(place) + beside, frame.y(mean)) for place, (mean, _, _) in ordered]
        drawn.append(path(points, stroke=colour, class_="line"))
        for (x, y), (_, (_, least, most)) in zip(points, ordered, strict=True):
            if math.isfinite(least):
                reach = {"y1": frame.y(least), "y2": frame.y(most)}
                drawn.append(element("line", x1=x, x2=x, **reach, stroke=colour, class_="interval"))
            drawn.append(element("circle", cx=x, cy=y, r=3.2, fill=colour))
        if name and ordered:
            ends.append((name, ordered[-1][1][0], colour))
    for place, (_, note) in enumerate(groups):
        drawn.append(element("text", note, x=frame.x(place), y=HEIGHT - 21, text_anchor="middle", class_="note"))
    names = [(place, name) for place, (name, _) in enumerate(groups)]
    return picture(description, *drawn, frame.x_axis(names, axis), frame.names(ends))


def pareto(costs: Sequence[Cost]) -> Plot | None:
    """Accuracy against the time of decoding; a ring marks rows that no other row beats in both."""
    known = [(cost.row, 1000 * cost.user_seconds, cost.ndcg) for cost in costs if cost.user_seconds is not None]
    if len(known) < 2:
        return None
    x, y = [across for _, across, _ in known], [up for _, _, up in known]
    wide, high = 0.1 * ((max(x) - min(x)) or 1.0), 0.12 * ((max(y) - min(y)) or 1.0)
    frame = Frame(min(x) - wide, max(x) + wide, min(y) - high, max(y) + high)
    drawn = [frame.y_axis()]
    for across, up in zip(x, y, strict=True):
        beaten = any(a <= across and b >= up and (a, b) != (across, up) for a, b in zip(x, y, strict=True))
        style = {"fill": COLOURS[0]} if beaten else {"fill": COLOURS[0], "stroke": "#222"}
        drawn.append(element("circle", cx=frame.x(across), cy=frame.y(up), r=4, **style))
    places = ticks(frame.x_low, frame.x_high, 4)
    axis = frame.x_axis(list(zip(places, labels(places), strict=True)), "milliseconds a user")
    heights = spread([frame.y(up) for up in y], 12.0, frame.top, frame.height - frame.bottom)
    names = [
        element("text", name, x=frame.x(across) + 8, y=height + 4, class_="note")
        for (name, across, _), height in zip(known, heights, strict=True)
    ]
    note = "A ring marks rows that no other row beats in both."
    return Plot(f"{MAIN} against the time of decoding", picture(f"{MAIN} against time", *drawn, axis, *names), note)


def _upright(frame: Frame) -> Markup:
    """Vertical grid lines, with their values below."""
    values = ticks(frame.x_low, frame.x_high, 4)
    base = frame.height - frame.bottom
    drawn = [
        element("line", x1=frame.x(value), x2=frame.x(value), y1=frame.top, y2=base, class_="grid")
        + element("text", label, x=frame.x(value), y=base + 15, text_anchor="middle")
        for value, label in zip(values, labels(values), strict=True)
    ]
    return Markup("").join(drawn)
