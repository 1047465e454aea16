"""A study as Markdown, with the tables of its page."""

import math
from collections.abc import Sequence

from sidestep.report.study_tables import (
    DASH,
    MINUTES,
    VERDICTS,
    TextLine,
    analysis_names,
    beyond,
    inside,
    lines,
    ratio_lines,
    rows_without_cells,
)
from sidestep.studies.outcome import Block, Outcome
from sidestep.studies.rows import MAIN, METRICS


def markdown(outcome: Outcome) -> str:
    """The document. The same outcome gives the same bytes."""
    overrides = f" with `{' '.join(outcome.overrides)}`" if outcome.overrides else ""
    parts = [
        f"# {outcome.study.title}",
        f"{outcome.study.asks} On {outcome.data}; recipe {outcome.recipe}{overrides}, seeds "
        f"{', '.join(map(str, outcome.seeds))}. {outcome.progress()}",
        *_shape(outcome),
        *_gains(outcome),
        *_costs(outcome),
        *_analysis(outcome),
        *(part for block in outcome.blocks for part in _block(block)),
        *_missing(outcome),
        *outcome.notes(),
        *(f"Recorded on {machine}." for machine in outcome.machines),
    ]
    return "\n\n".join(parts) + "\n"


def _shape(outcome: Outcome) -> list[str]:
    if not outcome.study.stated:
        return []
    here = "There are too few cells for a verdict."
    if outcome.verdict is not None:
        here = f"Here: **{VERDICTS[outcome.verdict.holds]}**. {outcome.verdict.words}"
    return [f"Stated: {outcome.study.stated}. {here}"]


def _gains(outcome: Outcome) -> list[str]:
    if not outcome.groups:
        return []
    rows = [
        [name, f"{size:,}", _share(gain.value), f"{_share(gain.low)} to {_share(gain.high)}"]
        for name, size, gain in outcome.groups
    ]
    return [_table(["interactions", "users", f"gain in {MAIN}", "95 % interval"], rows)]


def _share(value: float) -> str:
    return f"{value:+.1%}" if math.isfinite(value) else DASH


def _costs(outcome: Outcome) -> list[str]:
    if not outcome.costs:
        return []
    rows = [
        [
            cost.row,
            f"{cost.parameters:,}",
            DASH if cost.epoch_seconds is None else f"{cost.epoch_seconds:,.1f}",
            DASH if cost.user_seconds is None else f"{1000 * cost.user_seconds:,.1f}",
            f"{cost.ndcg:.4f}",
        ]
        for cost in outcome.costs
    ]
    header = ["row", "parameters", "seconds an epoch", "milliseconds a user", MAIN]
    return [_table(header, rows), *ratio_lines(outcome)]


def _analysis(outcome: Outcome) -> list[str]:
    names = analysis_names(outcome)
    rows = [[row, *(inside(values.get(name)) for name in names)] for row, values in outcome.analysis.items()]
    return [_table(["row", *names], rows)] if names else []


def _block(block: Block) -> list[str]:
    text, more = lines(block), beyond(block)
    header = ["row", "seeds", *METRICS, f"{MAIN}, less that of", "95 % interval", "p", *more, "epochs"]
    rows = [[line.name, line.seeds, *_ours(line), line.difference, line.interval, line.p, *line.beyond, line.epochs]
            for line in text]  # fmt: skip
    parts = [
        f"## {block.title[0].upper()}{block.title[1:]} ({block.num_users:,})",
        _table(header, rows),
        *rows_without_cells(block),
    ]
    if block.compared:
        compared = [line for line in text if any(cell.beside for cell in line.cells)]
        beside = [[line.name, *(cell.beside for cell in line.cells)] for line in compared]
        parts += [f"Published ({'; '.join(block.sources)}), and ours minus it:", _table(["row", *METRICS], beside)]
    return parts


def _ours(line: TextLine) -> list[str]:
    return [f"**{cell.ours}**" if cell.best else cell.ours for cell in line.cells]


def _missing(outcome: Outcome) -> list[str]:
    if not outcome.missing:
        return []
    rows = [
        [part.row, part.ties, ", ".join(map(str, part.seeds)), DASH if part.minutes is None else f"{part.minutes:,.0f}"]
        for part in outcome.absent
    ]
    return ["## Missing cells", MINUTES, _table(["row", "ties", "seeds", "minutes"], rows)]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    written = [list(header), ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in written)
