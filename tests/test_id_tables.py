"""The tables of tokenizers, vectors, pairs and rankers are those of the figures that the studies wrote."""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from sidestep.evaluation.seeds import summaries
from sidestep.report.ranking_table import ranking_table
from sidestep.report.terminal import study_markdown
from sidestep.studies.tokenizers import STUDIES

RESULTS = Path(__file__).parents[1] / "docs" / "results"
PAGES = dict.fromkeys(("table3", "balance", "gr2"), "tokenizers")
"""The page of a study that has none of its own name."""


def rows_of(study: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((RESULTS / f"{study}.json").read_text(encoding="utf-8"))["rows"]
    return rows


def page_of(study: str) -> str:
    return (RESULTS / f"{PAGES.get(study, study)}.md").read_text(encoding="utf-8")


def headers(page: str) -> Iterator[tuple[str, ...]]:
    """The columns of all tables of a page, but for the first."""
    lines = page.splitlines()
    for header, rule in pairwise(lines):
        if rule.startswith("| --- |"):
            yield tuple(
                cell.strip() for cell in header.strip("| \n").split("|")[0 if header.startswith("|  |") else 1 :]
            )


@pytest.mark.parametrize("study", [name for name in STUDIES if (RESULTS / f"{name}.json").is_file()])
def test_a_table_of_ids_is_that_of_its_figures(study: str) -> None:
    rows, page = rows_of(study), page_of(study)
    columns = {name for row in rows for name in row["mean"]}
    (order,) = {header for header in headers(page) if {*header} == columns}  # files are sorted by name, tables are not
    for row in rows:
        row["mean"] = {name: row["mean"][name] for name in order if name in row["mean"]}
    assert study_markdown(rows) in page, "\n" + study_markdown(rows)
    for row in rows:
        if "cells" in row:  # files of before have means alone
            assert row["sets"] == list(STUDIES[study].row(row["row"]).sets)
            assert len(row["cells"]) == len(row["seeds"])
            assert summaries(row["cells"]) == {name: pytest.approx(row[name]) for name in ("mean", "deviation")}


def test_the_table_of_rankers_is_that_of_its_figures() -> None:
    rows = rows_of("ranking")
    assert ranking_table(rows) in page_of("ranking"), "\n" + ranking_table(rows)


def values(study: str, row: str, figure: str) -> list[float]:
    (found,) = [each["cells"] for each in rows_of(study) if each["row"] == row]
    return [cell[figure] for cell in found]


def test_what_is_said_of_coba_holds() -> None:
    """More distinct IDs than plain RQ-VAE in every seed; purity by category is higher on average alone."""
    coba, rq_vae = (values("table3", row, "ICR") for row in ("coba-rq-vae", "rq-vae"))
    assert len(coba) == len(rq_vae) == 3
    assert min(coba) > max(rq_vae)
    coba, rq_vae = (values("table3", row, "category") for row in ("coba-rq-vae", "rq-vae"))
    assert sum(coba) > sum(rq_vae)
    assert min(coba) < max(rq_vae)
