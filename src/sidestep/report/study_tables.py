"""The words in the cells of a study's tables, alike on the page, in Markdown and in a terminal."""

from collections.abc import Mapping
from dataclasses import dataclass

from sidestep.evaluation.seeds import Spread
from sidestep.studies.outcome import Block, Entry, Outcome, shown, signed
from sidestep.studies.rows import METRICS
from sidestep.studies.shapes import LEVEL, Holds

DASH = "\N{EN DASH}"
VERDICTS: Mapping[Holds, str] = {
    "yes": "as stated",
    "no": "not as stated",
    "open": "not to be told from these figures",
}
MINUTES = (
    "Minutes of training are at the pace of the slowest epoch known of the method, or else of a method of its kind."
)
FEW = 4
"""Significant figures of what is found inside models."""


@dataclass(frozen=True)
class Cell:
    """ours: the figure. beside: the published one and the difference, where one may stand there."""

    ours: str
    beside: str
    best: bool


@dataclass(frozen=True)
class TextLine:
    """A row of a block. told: whether p is below .05."""

    name: str
    seeds: str
    cells: tuple[Cell, ...]
    difference: str
    interval: str
    p: str
    told: bool
    beyond: tuple[str, ...]
    epochs: str


def lines(block: Block) -> list[TextLine]:
    """The rows of a block that have a cell, as text."""
    best, names = {name: block.best(name) for name in METRICS}, beyond(block)
    return [_line(entry, best, names) for entry in block.there]


def untold(block: Block) -> list[str]:
    """One sentence that names the rows without a cell, or nothing."""
    return [f"No cell yet: {'; '.join(block.untold)}."] if block.untold else []


def beyond(block: Block) -> list[str]:
    """What is told of the rows beyond accuracy."""
    return list(dict.fromkeys(name for entry in block.entries for name in entry.beyond))


def analysis_names(found: Outcome) -> list[str]:
    """What is told of the insides of some row's models."""
    return list(dict.fromkeys(name for row in found.analysis.values() for name in row))


def inside(figure: Spread | None) -> str:
    """A figure of any size, its deviation beside it."""
    if figure is None:
        return DASH
    spread = "" if figure.deviation is None else f" \N{PLUS-MINUS SIGN} {figure.deviation:.2g}"
    return f"{figure.mean:.{FEW}g}{spread}".replace("-", "\N{MINUS SIGN}")


def ratio_lines(found: Outcome) -> list[str]:
    """How much more the second costs than the first, beside what the paper tells of its own."""
    if found.study.ratios is None:
        return []
    costs = {cost.row: cost for cost in found.costs}
    if not {"tiger", "s2gr"} <= set(costs):
        return ["Both rows are needed for their ratio."]
    first, second = costs["tiger"], costs["s2gr"]
    ours = {
        "training": second.epoch_seconds / first.epoch_seconds if first.epoch_seconds else None,
        "inference": None
        if not first.user_seconds or second.user_seconds is None
        else second.user_seconds / first.user_seconds,
    }
    return [
        "Seconds are wall time, with whatever else the machine did; make bench-train compares on equal terms.",
        *(
            f"S2GR over TIGER, {name}: {DASH if ours[name] is None else format(ours[name], '.2f')}; the paper's "
            f"{after / before:.2f} (about {before:g} h and {after:g} h, on its industrial data with two A100)."
            for name, (before, after) in found.study.ratios.items()
        ),
    ]


def _line(entry: Entry, best: Mapping[str, float | None], names: list[str]) -> TextLine:
    test = entry.test
    difference = DASH if test is None else f"{entry.against} {signed(test.difference)}"
    return TextLine(
        entry.row.name if entry.codes_count else f"{entry.row.name} (balance 1: its codes have no weight)",
        ", ".join(map(str, entry.seeds)),
        tuple(_cell(entry, metric, best[metric]) for metric in METRICS),
        difference,
        "" if test is None else f"{signed(test.low)} to {signed(test.high)}",
        "" if test is None else f"{test.p:.4f}",
        test is not None and test.p < LEVEL,
        tuple(f"{entry.beyond[name]:.3f}" if name in entry.beyond else DASH for name in names),
        entry.epochs,
    )


def _cell(entry: Entry, metric: str, best: float | None) -> Cell:
    figure, other = entry.figures.get(metric), entry.beside(metric)
    beside = "" if other is None else f"{other[0]:.4f}, {signed(other[1])}"
    return Cell(shown(figure), beside, figure is not None and figure.mean == best)
