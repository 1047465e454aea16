"""The table of the study of rankers, in Markdown, which a terminal shows as it is."""

from collections.abc import Sequence
from typing import Any

FIGURES = ("AUC", "GAUC", "UAUC")


def ranking_table(rows: Sequence[dict[str, Any]]) -> str:
    """One line for each search and input: means and standard deviations over the seeds, and the difference of GAUC to
    ids behind the same search with its 95 % interval.
    """
    lines = [["search, inputs", *FIGURES, "GAUC, less that of ids", "95 % interval", "p"], ["---"] * 7]
    lines += [[row["row"], *(_spread(row, name) for name in FIGURES), *_difference(row)] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _spread(row: dict[str, Any], name: str) -> str:
    deviation = f" \N{PLUS-MINUS SIGN} {row['deviation'][name]:.4f}" if len(row["seeds"]) > 1 else ""
    return f"{row['mean'][name]:.4f}{deviation}"


def _difference(row: dict[str, Any]) -> list[str]:
    if "less_ids" not in row:
        return ["", "", ""]
    return [f"{row['less_ids']:+.4f}", f"{row['low']:+.4f} to {row['high']:+.4f}", f"{row['p']:.4f}"]
