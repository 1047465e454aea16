"""Plots of the page on semantic IDs: use of codes, measures by level, comparison of tables."""

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from sidestep.evaluation.sid_quality import LevelQuality, SidQuality
from sidestep.report import plots
from sidestep.report.figures import LevelMap, Plot, level_maps
from sidestep.report.plots import PALE, Line
from sidestep.report.svg import COLOURS, Frame, element, labels, picture, ticks
from sidestep.workshop.report import SidFindings, Table

WIDE, HIGH = 480, 330
DOT_ROOM, NUMBER_ROOM = 9.0, (15.0, 11.0)
"""Minimum distance in pixels between a number in the scatter and other dots; and, in x and y, between two numbers."""
AROUND = ((0, -14), (14, 0), (-14, 0), (0, 14), (12, -10), (-12, -10), (12, 10), (-12, 10), (28, 0), (-28, 0))
"""Possible offsets of a dot's number in pixels, in the order in which they are tried."""


def usage_plots(table: Table, quality: SidQuality) -> list[Plot]:
    """The sorted use of every level's codes."""
    panels = []
    for level, judged in enumerate(quality.levels):
        counts = np.bincount(table.codes[:, level], minlength=judged.size)
        note = (
            f"{judged.used:,} of {judged.size:,} codes used, {judged.dead:,} dead; entropy {judged.entropy:.2f} of "
            f"{math.log2(judged.size):.2f} bits, perplexity {judged.perplexity:,.0f}"
        )
        drawn = plots.usage(f"Items per code of level {level + 1}", counts, COLOURS[level % len(COLOURS)])
        panels.append(Plot(f"Level {level + 1}", drawn, note))
    return panels


def level_plots(levels: Sequence[LevelQuality]) -> list[Plot]:
    """Agreement of items with the same prefix, and residual variance of the vectors, by level; without empty plots."""
    below = [f"{judged.prefixes:,}" for judged in levels]
    names = list(dict.fromkeys(name for judged in levels for name in (*judged.together, *judged.v_measure)))
    together, measured = [], []
    for number, name in enumerate(names):
        colour = COLOURS[number % len(COLOURS)]
        shares = [judged.together.get(name) for judged in levels]
        together.append(_line(name, [None if share is None else share.value for share in shares], colour))
        together.append(_line("", [None if share is None else share.chance for share in shares], PALE))
        measured.append(_line(name, [judged.v_measure.get(name) for judged in levels], colour))
    left = [
        _line("variance", [judged.variance_left for judged in levels]),
        _line("latents", [judged.reconstruction for judged in levels]),
        _line("decoded", [judged.decoded for judged in levels]),
    ]
    cosines = [
        _line("within", [judged.intra for judged in levels]),
        _line("between", [judged.inter for judged in levels]),
    ]
    panels = [
        _plot(
            "Same label, given the same prefix",
            together,
            below,
            "Share of items with the same label among the items with the same prefix; grey: chance. "
            "Below, the number of prefixes.",
        ),
        _plot(
            "V-measure of the prefixes",
            measured,
            below,
            "Prefixes as a clustering of the labels. Not corrected for chance: many small prefixes raise it. Below, "
            "the number of prefixes.",
        ),
        _plot(
            "Variance that the codes leave",
            left,
            below,
            "Share of the vectors' variance within prefixes; residual share of the latents' deviation after the "
            "codewords up to the level; and the same of the decoded vectors. Below, the number of prefixes.",
        ),
        _plot(
            "Clusters in the space of the items",
            cosines,
            [""] * len(levels),
            "Mean cosine of two items of one cluster, and of two clusters, for the vectors before propagation.",
        ),
    ]
    return [plot for plot in panels if plot is not None]


def comparison(qualities: Sequence[SidQuality]) -> Plot | None:
    """Every table's ICR against its purity, by the first label that all tables have; None without such a label."""
    shared = [name for name in qualities[0].purity if all(name in quality.purity for quality in qualities)]
    if len(qualities) < 2 or not shared:
        return None
    label = shared[0]
    chance = qualities[0].purity[label].chance
    note = (
        f"Purity is the mean share of the 10 items with the longest common prefix that have the item's {label}; "
        f"chance is {chance:.1%}. Dots are numbered as in the table below, where there is room; the ring is "
        f"{qualities[0].name}."
    )
    places = [(100 * quality.icr, 100 * quality.purity[label].value) for quality in qualities]
    drawn = _scatter(f"ICR against purity by {label}", label, qualities, places)
    return Plot(f"Distinct IDs and their purity: ICR against purity by {label}", drawn, note)


def maps(findings: SidFindings) -> list[LevelMap]:
    """The cluster maps of the first table, for the levels with more than one cluster."""
    if findings.first.sids is None:
        return []
    return [level for level in level_maps(findings.first.sids, findings.cluster_names) if len(level.rows) > 1]


def _scatter(
    description: str, label: str, qualities: Sequence[SidQuality], places: Sequence[tuple[float, float]]
) -> Markup:
    """One numbered dot per table, coloured by its number of levels; a ring marks the first one."""
    x, y = [x for x, _ in places], [y for _, y in places]
    wide, high = 0.09 * ((max(x) - min(x)) or 1.0), 0.08 * ((max(y) - min(y)) or 1.0)
    frame = Frame(min(x) - wide, max(x) + wide, min(y) - high, max(y) + high, WIDE, HIGH, top=24)
    depths = [len(quality.levels) for quality in qualities]
    colours = {depth: COLOURS[place % len(COLOURS)] for place, depth in enumerate(sorted(set(depths)))}
    dots = [(frame.x(across), frame.y(up)) for across, up in places]
    drawn = [frame.y_axis(), _percent_axis(frame)]
    for (across, up), depth, quality in reversed(list(zip(dots, depths, qualities, strict=True))):
        title = element("title", quality.name)  # the browser's tooltip of the dot
        drawn.append(element("circle", title, cx=across, cy=up, r=4.5, fill=colours[depth], fill_opacity="0.75"))
    drawn.append(element("circle", cx=dots[0][0], cy=dots[0][1], r=8.5, stroke="#222", fill="none"))
    for number, (across, up) in enumerate(_free(dots), start=1):
        if math.isfinite(across):
            drawn.append(element("text", str(number), x=across, y=up + 4, text_anchor="middle"))
    drawn.append(element("text", f"purity by {label}, %", x=6, y=12))
    ends = [(f"{depth} levels", frame.y_high - place, colour) for place, (depth, colour) in enumerate(colours.items())]
    return picture(description, *drawn, frame.names(ends), width=WIDE, height=HIGH)


def _percent_axis(frame: Frame) -> Markup:
    values = ticks(frame.x_low, min(frame.x_high, 100), 5)
    return frame.x_axis(list(zip(values, labels(values), strict=True)), "ICR, %")


def _free(dots: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """A place for each dot's number beside it that covers no dot and no other number; NaN if there is no room."""
    spots: list[tuple[float, float]] = []
    for number, (across, up) in enumerate(dots):
        for right, down in AROUND:
            spot = (across + right, up + down)
            others = [*dots[:number], *dots[number + 1 :]]
            if all(math.dist(spot, other) > DOT_ROOM for other in others) and all(
                abs(spot[0] - other[0]) > NUMBER_ROOM[0] or abs(spot[1] - other[1]) > NUMBER_ROOM[1] for other in spots
            ):
                spots.append(spot)
                break
        else:
            spots.append((math.nan, math.nan))
    return spots


def _line(name: str, values: Sequence[float | None], colour: str | None = None) -> Line:
    known = [(level, value) for level, value in enumerate(values) if value is not None]
    return Line(name, [level for level, _ in known], [value for _, value in known], colour)


def _plot(title: str, lines: Sequence[Line], below: Sequence[str], note: str) -> Plot | None:
    """Lines over levels, without empty lines."""
    drawn = [line for line in lines if line.points]
    groups = [(f"level {level}", text) for level, text in enumerate(below, start=1)]
    return Plot(title, plots.by_group(f"{title}, by level", groups, drawn, []), note) if drawn else None
