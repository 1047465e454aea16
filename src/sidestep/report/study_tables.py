"""The text of a study's tables, for the page, Markdown and the terminal."""

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
    "open": "not decided by these figures",
}
MINUTES = (
    "Minutes of training are estimated from the slowest known epoch of the method, or else of a method of its kind."
)
FEW = 4
"""Significant digits of figures of the analysis."""


@dataclass(frozen=True)
class Cell:
    """ours: the figure. beside: the published figure and the difference, if there is one."""

    ours: str
    beside: str
    best: bool


@dataclass(frozen=True)
class TextLine:
    """A row of a block. significant: whether p is below .05."""

    name: str
    seeds: str
    cells: tuple[Cell, ...]
    difference: str
    interval: str
    p: str
    significant: bool
    beyond: tuple[str, ...]
    epochs: str


def lines(block: Block) -> list[TextLine]:
    """The rows of a block with finished cells, as text."""
    best, names = {name: block.best(name) for name in METRICS}, beyond(block)
    return [_line(entry, best, names) for entry in block.finished]


def rows_without_cells(block: Block) -> list[str]:
    """One sentence that lists the rows without a cell, or nothing."""
    return [f"No cell yet: {'; '.join(block.without_cells)}."] if block.without_cells else []


def beyond(block: Block) -> list[str]:
    """The names of the rows' figures beyond accuracy."""
    return list(dict.fromkeys(name for entry in block.entries for name in entry.beyond))


def analysis_names(outcome: Outcome) -> list[str]:
    """The names of the figures of the analysis."""
    return list(dict.fromkeys(name for row in outcome.analysis.values() for name in row))


def inside(figure: Spread | None) -> str:
    """A figure of any magnitude, with its deviation."""
    if figure is None:
        return DASH
    spread = "" if figure.deviation is None else f" \N{PLUS-MINUS SIGN} {figure.deviation:.2g}"
    return f"{figure.mean:.{FEW}g}{spread}".replace("-", "\N{MINUS SIGN}")


def ratio_lines(outcome: Outcome) -> list[str]:
    """The ratios of the costs of S2GR and TIGER, with those of the paper."""
    if outcome.study.ratios is None:
        return []
    costs = {cost.row: cost for cost in outcome.costs}
    if not {"tiger", "s2gr"} <= set(costs):
        return ["Both rows are needed for their ratio."]
    first, second = costs["tiger"], costs["s2gr"]
    ours = {
        "training": None
        if not first.epoch_seconds or second.epoch_seconds is None
        else second.epoch_seconds / first.epoch_seconds,
        "inference": None
        if not first.user_seconds or second.user_seconds is None
        else second.user_seconds / first.user_seconds,
    }
    return [
        "Seconds are wall time on a shared machine; make bench-train compares under equal conditions.",
        *(
            f"S2GR over TIGER, {name}: {DASH if ours[name] is None else format(ours[name], '.2f')}; the paper's "
            f"{after / before:.2f} (about {before:g} h and {after:g} h, on its industrial data with two A100)."
            for name, (before, after) in outcome.study.ratios.items()
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
