"""A study as one self-contained page: its question, plots, all tables with published figures, missing cells."""

from typing import Any

from sidestep.report.page import fill
from sidestep.report.study_figures import study_plots
from sidestep.report.study_tables import (
    DASH,
    MINUTES,
    VERDICTS,
    analysis_names,
    beyond,
    inside,
    lines,
    ratio_lines,
    rows_without_cells,
)
from sidestep.studies.outcome import Outcome
from sidestep.studies.rows import MAIN, METRICS


def render(outcome: Outcome) -> str:
    """The page. The same outcome gives the same bytes."""
    return fill(
        "study.html",
        outcome=outcome,
        main=MAIN,
        metrics=METRICS,
        dash=DASH,
        verdicts=VERDICTS,
        plots=study_plots(outcome),
        tables=_tables(outcome),
        ratios=ratio_lines(outcome),
        analysis=_analysis(outcome),
        missing=outcome.absent,
        minutes=MINUTES,
    )


def _tables(outcome: Outcome) -> list[dict[str, Any]]:
    """The tables of all blocks. The first one is open, and so is that of the paper's protocol."""
    of_paper = next((block for block in outcome.blocks if block.users != "all" and block.compared), None)
    return [
        {
            "block": block,
            "lines": lines(block),
            "beyond": beyond(block),
            "without_cells": rows_without_cells(block),
            "open": block in (outcome.main, of_paper),
        }
        for block in outcome.blocks
    ]


def _analysis(outcome: Outcome) -> dict[str, Any] | None:
    names = analysis_names(outcome)
    if not names:
        return None
    rows = [(row, [inside(values.get(name)) for name in names]) for row, values in outcome.analysis.items()]
    return {"names": names, "rows": rows}
