"""What a second look at a list gives: metrics of the cases it can do something about, and of all of them, paired."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from sidestep.evaluation.metrics import GIVEN
from sidestep.evaluation.ranking import LONG_USERS, RankTable
from sidestep.evaluation.significance import compare


def given(table: RankTable, candidates: int) -> dict[str, float | int | None]:
    """Means over the cases whose target is among the first `candidates` items of the first order, which are those of
    the new one too. They say nothing of all users: `num_given` is how many cases they are of.
    """
    part = RankTable(table.table.filter(pl.col("rank").is_between(1, candidates)), table.k, table.seen)
    means = {f"given {name}": float(part.values(name).mean()) if len(part) else None for name in GIVEN}
    return {"num_given": len(part), **means}


def kept_share(table: RankTable) -> float | None:
    """The share of all cases whose first order was left as it is; None without a second look."""
    return float(table.table["kept"].mean()) if "kept" in table.table.columns and len(table) else None  # type: ignore[arg-type]


def second_looks(first: Sequence[RankTable], second: Sequence[RankTable], candidates: int) -> list[dict[str, Any]]:
    """A row for seen items {masked, kept} and users {all, >=10}: the metrics of `given` in the first order and in the
    new one, the share of lists that were left as they are, and NDCG@10 over all cases of these users with a paired
    bootstrap of its difference.
    """
    rows = []
    for before, after in zip(first, second, strict=True):
        for users, least in (("all", 0), (f">={LONG_USERS}", LONG_USERS)):
            pair = before.at_least(least), after.at_least(least)
            if not len(pair[0]):
                continue
            test, parts = compare(*pair, "NDCG@10"), [given(table, candidates) for table in pair]
            row: dict[str, Any] = {"seen": after.seen, "users": users, "num_cases": len(pair[1])}
            row |= {"num_given": parts[1]["num_given"], "kept": kept_share(pair[1])}
            row |= {f"{name}, first": parts[0][f"given {name}"] for name in GIVEN}
            row |= {f"{name}, new": parts[1][f"given {name}"] for name in GIVEN}
            row |= {"first": test.first, "new": test.second, "difference": test.difference}
            rows.append({**row, "low": test.low, "high": test.high, "p": test.p})
    return rows
