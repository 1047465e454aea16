"""The tables of vectors, pairs and rankers in the results are those of the studies' files, figure by figure."""

import json
from pathlib import Path
from typing import Any

import pytest

from sidestep.report.ranking_table import ranking_table
from sidestep.report.terminal import study_markdown

RESULTS = Path(__file__).parents[1] / "docs" / "results"


def rows_of(name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["rows"]
    return rows


def table_in(name: str) -> list[str]:
    """The lines of the first table of a page."""
    lines = (RESULTS / f"{name}.md").read_text(encoding="utf-8").splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith("|"))
    end = next((number for number in range(begin, len(lines)) if not lines[number].startswith("|")), len(lines))
    return lines[begin:end]


@pytest.mark.parametrize("name", ["vectors", "pairs"])
def test_a_table_of_vectors_is_that_of_its_study(name: str) -> None:
    written = table_in(name)
    columns = [cell.strip() for cell in written[0].strip("|").split("|")][1:]
    rows = [{**row, "mean": {column: row["mean"][column] for column in columns}} for row in rows_of(name)]
    assert written == study_markdown(rows).splitlines()


def test_the_table_of_rankers_is_that_of_its_study() -> None:
    assert table_in("ranking") == ranking_table(rows_of("ranking")).splitlines()
