"""A study as text for a terminal: its first table, the test of a stated shape, and the missing cells."""

from rich import box
from rich.table import Table

from sidestep.report.study_tables import VERDICTS, analysis_names, inside, lines, ratio_lines, rows_without_cells
from sidestep.report.terminal import plain
from sidestep.studies.outcome import Block, Outcome
from sidestep.studies.rows import MAIN, METRICS


def study_text(outcome: Outcome) -> str:
    """The first block, with one line per row; the other blocks are in the written files."""
    parts = [f"{outcome.study.title}, on {outcome.data}"]
    if outcome.main is not None:
        parts.append(_block(outcome.main))
    if outcome.analysis:
        parts.append(_inside(outcome))
    if outcome.verdict is not None:
        parts.append(
            f"Stated: {outcome.study.stated}. Here: {VERDICTS[outcome.verdict.holds]}. {outcome.verdict.words}"
        )
    parts += [*ratio_lines(outcome), *outcome.notes(), outcome.progress()]
    return "\n".join(parts)


def _block(block: Block) -> str:
    table = Table(box=box.SIMPLE)
    table.add_column("")
    for name in ("seeds", *METRICS, f"{MAIN}, less that of", "95 % interval", "p"):
        table.add_column(name, justify="right")
    for line in lines(block):
        table.add_row(
            line.name, line.seeds, *(cell.ours for cell in line.cells), line.difference, line.interval, line.p
        )
    title = f"{block.title[0].upper()}{block.title[1:]}, {block.num_users:,}:"
    return "\n".join([title, plain(table), *rows_without_cells(block)])


def _inside(outcome: Outcome) -> str:
    table, names = Table(box=box.SIMPLE), analysis_names(outcome)
    table.add_column("")
    for name in names:
        table.add_column(name, justify="right")
    for row, values in outcome.analysis.items():
        table.add_row(row, *(inside(values.get(name)) for name in names))
    return plain(table)
