"""The tables of the README and of the results are those of the cells: a mean over seeds, a spread, and the time that a
training took.
"""

import re
from pathlib import Path

import numpy as np

from sidestep.evaluation.ranking import Seen
from sidestep.studies.cells import CellResult, Users

ROOT = Path(__file__).parents[1]
CELLS = ROOT / "docs" / "results" / "cells" / "beauty"
ROWS = {
    "two SASRecs, one reads item vectors (`sasrec-towers`)": "sasrec-towers-0-e9f5f114 1-32909885 2-f7b842a4",
    "SASRec, full cross-entropy (`sasrec-ce`)": "sasrec-ce-0-d8ad3d6e 1-19644c45 2-5bc24d1e",
    "S²GR's codes, no thoughts, best base, Muon, averaged weights": "s2gr-no-reason-0-a3a73630 1-9ea94d01 2-863da113",
    "the same by AdamW alone, the default": "s2gr-no-reason-0-d3d10846 1-56db147f 2-cd0de57b",
    "and with thoughts": "s2gr-0-1812cf53 1-7b85e786 2-b1aa47ca",
    "item-kNN that minds the order (`item-knn-recent`)": "item-knn-recent-0-15a40bc2",
    "TIGER, 60 epochs": "tiger-0-198df4ce 1-d56ae675 2-1b398051",
    "S²GR as published, 60 epochs": "s2gr-0-a026a284 1-26b5b5f1",
    "popularity": "popularity-0-f822eef9",
}
"""The stems of each row's cells; what follows the first begins with the seed."""
RESULTS = {
    "TIGER, three codes (1.1 M)": "tiger-0-457e8a5e 1-c27b3b7b 2-4ed26ea9",
    "S²GR (1.6 M)": "s2gr-0-c7f875c1 1-d0c2ca8d 2-74d7fc60",
    "S²GR with our defaults (2.6 M)": ROWS["and with thoughts"],
    "SASRec, full cross-entropy": ROWS["SASRec, full cross-entropy (`sasrec-ce`)"],
    "sasrec-towers": ROWS["two SASRecs, one reads item vectors (`sasrec-towers`)"],
    "TIGER, 60 epochs": ROWS["TIGER, 60 epochs"],
    "S²GR, 60 epochs, seeds 0 and 1": ROWS["S²GR as published, 60 epochs"],
    "the same codes without thoughts, 60 epochs, seed 0": "s2gr-no-reason-0-ef7975bf",
}
"""The same of docs/results.md."""


def cells_of(stems: str) -> list[CellResult]:
    first, *others = stems.split()
    method = re.sub(r"-\d-\w+$", "", first)
    cells = [CellResult.load(CELLS / f"{stem}.json") for stem in [first, *(f"{method}-{other}" for other in others)]]
    assert {(cell.method, cell.ties, cell.data.name) for cell in cells} == {(method, "file", "beauty")}
    return cells


def figures_of(cells: list[CellResult], seen: Seen, users: Users) -> list[str]:
    return [_spread([float(cell.mean(seen, users, name) or 0) for cell in cells]) for name in ("HR@10", "NDCG@10")]


def row(label: str, stems: str) -> str:
    cells = cells_of(stems)
    figures = figures_of(cells, "masked", "all")
    seconds = [
        cell.training.seconds for cell in cells if cell.training is not None and cell.training.seconds is not None
    ]
    minutes = f"{np.mean(seconds) / 60:.0f}" if seconds else "none"
    return f"| {label} | {len(cells)} | {' | '.join(figures)} | {minutes} |"


def _spread(values: list[float]) -> str:
    deviation = f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
    return f"{np.mean(values):.4f}{deviation}"


def test_the_table_of_the_readme_is_that_of_the_cells() -> None:
    expected = [
        "| | seeds | HR@10 | NDCG@10 | minutes |",
        "|---|---|---|---|---|",
        *(row(*each) for each in ROWS.items()),
    ]
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "\n".join(expected) in text, "\n" + "\n".join(expected)


def test_the_rows_stand_in_the_order_of_their_figures() -> None:
    figures = [float(re.findall(r"0\.\d+", row(*each))[-2 if "±" in row(*each) else -1]) for each in ROWS.items()]
    assert figures == sorted(figures, reverse=True)


def test_the_table_of_beauty_in_the_results_is_that_of_the_cells() -> None:
    expected = []
    for label, stems in RESULTS.items():
        cells = cells_of(stems)
        figures = (
            figures_of(cells, "masked", "all") + figures_of(cells, "masked", ">=10") + figures_of(cells, "kept", ">=10")
        )
        expected.append(f"| {label} | {' | '.join(figures).replace('0.', '.')} |")
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert "\n".join(expected) in text, "\n" + "\n".join(expected)
