"""The analysis of a generator's paths as plots."""

from collections.abc import Sequence

from sidestep.evaluation.reasoning import LevelReasoning, RecallBin
from sidestep.pipeline.analyse import Analysis
from sidestep.report import plots
from sidestep.report.figures import Plot
from sidestep.report.plots import Line
from sidestep.report.svg import COLOURS


def path_plots(analysis: Analysis) -> list[Plot]:
    """Where a search loses the held-out item, level by level."""
    levels = analysis.levels
    names = [f"level {level.level}" for level in levels]
    drawn = [_survival(names, levels)]
    if any(level.place is not None for level in levels):
        note = (
            "The mean place of the held-out item's codes up to a level among the beams, best first, where they are "
            "among them (GLASS: CRP)."
        )
        places = [level.place for level in levels]
        drawn.append(Plot("Place in the beam", plots.bars("Mean place by level", names, places, COLOURS[0]), note))
    return drawn


def _survival(names: Sequence[str], levels: Sequence[LevelReasoning]) -> Plot:
    numbers = range(len(levels))
    lines = [
        Line("in the beam", numbers, [level.survives for level in levels]),
        Line("in the ten", numbers, [level.prefix for level in levels]),
    ]
    note = (
        "Share of users for whom a beam of the search, and for whom one of the ten recommendations, begins with the "
        "held-out item's codes up to a level."
    )
    described = "Share of users whose held-out item's codes are in the beam, and among ten recommendations, by level"
    groups = [(name, "") for name in names]
    return Plot("True prefixes that survive", plots.by_group(described, groups, lines, []), note)


def recall_plots(recall: Sequence[RecallBin]) -> list[Plot]:
    """How many older items are looked up, and how far the gates open for them."""
    if not recall:
        return []
    names = [size_of(found) for found in recall]
    shares, gates = [found.share for found in recall], [found.gate for found in recall]
    title, unit = "Older items looked up", "items looked up after the true first code"
    return [
        Plot(
            title,
            plots.bars(f"{title}: share of users", names, shares, COLOURS[0], unit),
            "Share of users, by how many items before the window share the first code of the held-out item.",
        ),
        Plot(
            "Mean gate by items looked up",
            plots.bars("Mean gate by number of older items looked up", names, gates, COLOURS[1], unit, highest=1.0),
            "Where the gate is 0, what they say is left out; where it is 1, it takes the place of the window's. "
            "No bar: no such users.",
        ),
    ]


def size_of(found: RecallBin) -> str:
    """The numbers of items of a bin."""
    return str(found.lowest) if found.lowest == found.highest else f"{found.lowest}-{found.highest}"
