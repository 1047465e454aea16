"""A study as one self-contained page: its question, plots, every table with the published figures, what is missing."""

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
    untold,
)
from sidestep.studies.outcome import Outcome
from sidestep.studies.rows import MAIN, METRICS


def render(found: Outcome) -> str:
    """The page. The same outcome gives the same bytes."""
    return fill(
        "study.html",
        found=found,
        main=MAIN,
        metrics=METRICS,
        dash=DASH,
        verdicts=VERDICTS,
        plots=study_plots(found),
        tables=_tables(found),
        ratios=ratio_lines(found),
        analysis=_analysis(found),
        missing=found.absent,
        minutes=MINUTES,
    )


def _tables(found: Outcome) -> list[dict[str, Any]]:
    """The first way to count stands open, and so does the one that the paper's figures are for."""
    opened = next((block for block in found.blocks if block.users != "all" and block.compared), None)
    return [
        {
            "block": block,
            "lines": lines(block),
            "beyond": beyond(block),
            "untold": untold(block),
            "open": block in (found.main, opened),
        }
        for block in found.blocks
    ]


def _analysis(found: Outcome) -> dict[str, Any] | None:
    names = analysis_names(found)
    if not names:
        return None
    rows = [(row, [inside(values.get(name)) for name in names]) for row, values in found.analysis.items()]
    return {"names": names, "rows": rows}
