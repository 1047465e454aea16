"""Where held-out items end up in a recommender's lists. Metrics see items; the rank among semantic IDs is an extra."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from sidestep import artifact
from sidestep.data.interactions import Ints
from sidestep.data.sequences import NO_ITEM, pad, question_of
from sidestep.data.splits import Cases
from sidestep.errors import ConfigError
from sidestep.evaluation.beyond import Beyond, beyond_accuracy
from sidestep.evaluation.metrics import METRICS, Values, hit_rate, named
from sidestep.recommenders.recommender import ItemFilter, Recommendations, Recommender

Seen = Literal["masked", "kept"]
Progress = Callable[[int, int], object]

LONG_USERS = 10
"""S2GR's own table is on users with at least this many interactions, the target included (section 5.1)."""
SHOWN = 10
"""How much of every list counts as recommended."""


@dataclass(frozen=True)
class RankTable:
    """One row per case, in the order of the cases; a user has several where the split holds out several items.

    table: `user` (number), `length` (interactions up to and including the target), `target` (item), `rank` (from 1,
        0 where the target is not among the k), `sid_rank` (null without codes), `served` (real answers in the list),
        `invalid` (places taken by what is no item, or by an item that stands higher already).
    k: length of the lists. seen: whether items of the history could be answered.
    recommended: how often each item stands in the first 10 of a list, `[N]`; None where that is not known, as for some
        of the cases.
    """

    table: pl.DataFrame
    k: int
    seen: Seen
    recommended: Ints | None = None

    def __len__(self) -> int:
        return len(self.table)

    @property
    def num_users(self) -> int:
        return self.table["user"].n_unique()

    @property
    def ranks(self) -> Ints:
        """Rank of every target, `[C]`."""
        return self.table["rank"].to_numpy()

    def values(self, metric: str) -> Values:
        """One value per case of a metric such as `"NDCG@10"`.

        Raises:
            ConfigError: an unknown metric, or one deeper than the lists are long.
        """
        name, depth = named(metric)
        self._check(depth)
        return METRICS[name](self.ranks, depth)

    def at_least(self, length: int) -> "RankTable":
        """The cases of users with at least `length` interactions, those up to and including the target."""
        return self if length <= 0 else RankTable(self.table.filter(pl.col("length") >= length), self.k, self.seen)

    def _check(self, depth: int) -> None:
        if depth > self.k:
            raise ConfigError(f"Cannot tell a metric at {depth} from lists of {self.k}; rank with k = {depth} or more")

    def save(self, folder: Path, **origin: Any) -> artifact.Manifest:
        meta = {**origin.pop("meta", {}), "k": self.k, "seen": self.seen}
        counts = {} if self.recommended is None else {"recommended": self.recommended}
        return artifact.save(folder, "ranks", tensors=counts, tables={"ranks": self.table}, meta=meta, **origin)

    @classmethod
    def load(cls, folder: Path) -> "RankTable":
        saved = artifact.load(folder, "ranks")
        meta, recommended = saved.manifest.meta, saved.tensors.get("recommended")
        return cls(saved.table("ranks"), int(meta["k"]), meta["seen"], recommended)


def rank_cases(
    recommender: Recommender,
    cases: Cases,
    *,
    k: int,
    seen: Seen,
    batch_size: int = 256,
    codes: Ints | None = None,
    num_items: int | None = None,
    progress: Progress | None = None,
) -> RankTable:
    """Ask for k items after every case's history and look for its target.

    With `seen = "masked"` nothing of the history is answered, except that the target itself is never masked.

    codes: int `[N, L]`, to rank among distinct semantic IDs too: the place, counting every ID once, of the first
        answer whose ID is the target's. It takes an answer with the right ID for the right answer, so it is
        optimistic; it is also what is often reported.
    num_items: N, to count how often each item is recommended, too.
    progress: told after each batch how many cases are done, and of how many.
    """
    sid_of = None if codes is None else np.unique(codes, axis=0, return_inverse=True)[1].ravel()
    rows = np.zeros((len(cases), 4), dtype=np.int64)
    recommended = None if num_items is None else np.zeros(num_items, dtype=np.int64)
    order = np.argsort(cases.lengths, kind="stable")  # like lengths together: little padding
    for begin in range(0, len(cases), batch_size):
        chosen = order[begin : begin + batch_size]
        targets = cases.targets[chosen]
        barred = ItemFilter(excluded=pad([cases.seen(int(case)) for case in chosen])) if seen == "masked" else None
        found = recommender.rank(question_of(cases, chosen, recommender.reads), k, barred)
        items = found.items.cpu().numpy()
        rows[chosen, 0] = first_place(items == targets[:, None])
        rows[chosen, 1] = 0 if sid_of is None else _sid_rank(items, targets, sid_of)
        rows[chosen, 2] = (items >= 0).sum(axis=1)
        rows[chosen, 3] = _invalid(found)
        if recommended is not None:
            first = items[:, :SHOWN]
            np.add.at(recommended, first[first >= 0], 1)
        if progress is not None:
            progress(min(begin + batch_size, len(cases)), len(cases))
    columns = {"user": cases.users, "length": cases.lengths, "target": cases.targets}
    table = pl.DataFrame({**columns, **dict(zip(("rank", "sid_rank", "served", "invalid"), rows.T, strict=True))})
    if sid_of is None:
        table = table.with_columns(pl.lit(None, dtype=pl.Int64).alias("sid_rank"))
    return RankTable(table, k, seen, recommended)


def summary(tables: Sequence[RankTable], ks: Sequence[int] = (5, 10), popularity: Ints | None = None) -> pl.DataFrame:
    """The table that is shown: a row for each of `tables` and for users {all, length >= 10}.

    Columns: `seen`, `users`, `num_users`, then the means `HR@k`, `NDCG@k`, `MRR@k` and, where codes were given,
    `sid_HR@k`; `invalid` is the share of all places asked for that hold no valid answer though something was said.
    Means are over cases, of which every user has as many as the split holds out, and null where there are none.

    popularity: occurrences of every item in training, `[N]`, for the columns of `beyond.Beyond`: of the first 10 of all
        users' lists, so null for a part of the users.
    """
    rows = []
    for table in tables:
        with_sids = table.table["sid_rank"].null_count() == 0
        for users, part in (("all", table), (f">={LONG_USERS}", table.at_least(LONG_USERS))):
            row: dict[str, Any] = {
                "seen": table.seen,
                "users": users,
                "num_users": part.num_users,
                **_means(part, ks, with_sids),
            }
            rows.append(row if popularity is None else row | _beyond(part, popularity))
    return pl.DataFrame(rows, infer_schema_length=None)


def _means(table: RankTable, ks: Sequence[int], with_sids: bool) -> dict[str, float | None]:
    means = {f"{name}@{k}": _mean(table.values(f"{name}@{k}")) for name in METRICS for k in ks}
    if with_sids:
        sid_ranks = table.table["sid_rank"].to_numpy()
        means |= {f"sid_HR@{k}": _mean(hit_rate(sid_ranks, k)) for k in ks}
    return means | {"invalid": _mean(table.table["invalid"].to_numpy() / table.k)}


def _beyond(table: RankTable, popularity: Ints) -> dict[str, float | None]:
    found = None if table.recommended is None else beyond_accuracy(table.recommended, popularity)
    return {each.name: getattr(found, each.name, None) for each in fields(Beyond)}


def _mean(values: Values) -> float | None:
    return float(values.mean()) if len(values) else None


def first_place(found: np.ndarray[Any, np.dtype[np.bool_]]) -> Ints:
    """The first True of every row `[B, k]`, counted from 1; 0 where there is none."""
    return np.where(found.any(axis=1), found.argmax(axis=1) + 1, 0)


def _sid_rank(items: Ints, targets: Ints, sid_of: Ints) -> Ints:
    """The first place with the target's semantic ID, when each ID in the list is counted once."""
    sids = np.where(items >= 0, sid_of[items], -1)
    place = first_place(sids == sid_of[targets][:, None])
    new = ~_stands_before(sids) & (items >= 0)
    distinct = np.cumsum(new, axis=1)
    return np.where(place > 0, np.take_along_axis(distinct, np.maximum(place - 1, 0)[:, None], axis=1)[:, 0], 0)


def _invalid(found: Recommendations) -> Ints:
    """Places of every row that have a score but hold no item, or hold one that stands before them."""
    items, scores = found.items.cpu().numpy(), found.scores.cpu().numpy()
    nothing = (items == NO_ITEM) & (scores > -np.inf)
    wrong: Ints = (nothing | (_stands_before(items) & (items >= 0))).sum(axis=1)
    return wrong


def _stands_before(values: Ints) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """True where a value `[B, k]` stands further left in its row."""
    order = np.argsort(values, axis=1, kind="stable")
    ordered = np.take_along_axis(values, order, axis=1)
    repeated = np.zeros(values.shape, dtype=bool)
    np.put_along_axis(repeated, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], axis=1)
    return repeated
