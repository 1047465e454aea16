"""A study in a terminal: its first table, whether a stated shape is there, and what is missing."""

from rich import box
from rich.table import Table

from sidestep.report.study_tables import VERDICTS, analysis_names, inside, lines, ratio_lines, untold
from sidestep.report.terminal import plain
from sidestep.studies.outcome import Block, Outcome
from sidestep.studies.rows import MAIN, METRICS


def study_text(found: Outcome) -> str:
    """One row a line; the other ways to count stand in the written tables."""
    parts = [f"{found.study.title}, on {found.data}"]
    if found.main is not None:
        parts.append(_block(found.main))
    if found.analysis:
        parts.append(_inside(found))
    if found.verdict is not None:
        parts.append(f"Stated: {found.study.stated}. Here: {VERDICTS[found.verdict.holds]}. {found.verdict.words}")
    parts += [*ratio_lines(found), *found.reading(), found.coming()]
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
    return "\n".join([title, plain(table), *untold(block)])


def _inside(found: Outcome) -> str:
    table, names = Table(box=box.SIMPLE), analysis_names(found)
    table.add_column("")
    for name in names:
        table.add_column(name, justify="right")
    for row, values in found.analysis.items():
        table.add_row(row, *(inside(values.get(name)) for name in names))
    return plain(table)
