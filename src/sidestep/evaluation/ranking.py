"""Ranks of held-out items in a recommender's lists. Metrics use items; the rank among semantic IDs is a diagnostic."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from sidestep import artifact
from sidestep.data.interactions import Ints
from sidestep.data.sequences import NO_ITEM, question_of
from sidestep.data.splits import Cases
from sidestep.errors import ConfigError
from sidestep.evaluation.beyond import Beyond, beyond_accuracy
from sidestep.evaluation.metrics import METRICS, Values, hit_rate, named
from sidestep.recommenders.recommender import ItemFilter, Recommendations, Recommender

Seen = Literal["masked", "kept"]
Progress = Callable[[int, int], object]

LONG_USERS = 10
"""S2GR's own table uses users with at least this many interactions, the target included (section 5.1)."""
SHOWN = 10
"""Length of the part of every list that counts as recommended."""


@dataclass(frozen=True)
class RankTable:
    """One row per case, in the order of the cases; a user has several if the split holds out several items.

    table: `user` (number), `length` (interactions up to and including the target), `target` (item), `rank` (from 1,
        0 if the target is not among the k), `sid_rank` (null without codes), `served` (items in the list), `invalid`
        (places without an item, or with an item that is already in the list), `kept` (whether a second look left the
        order of the first; no column without a second look).
    k: length of the lists. seen: whether items of the history are masked or kept in the lists.
    recommended: number of lists that contain each item in their first 10, `[N]`; None if unknown, as for a subset of
        the cases.
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
            raise ConfigError(f"A metric at {depth} needs longer lists than {self.k}; rank with k = {depth} or more")

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
    """Recommend k items after every case's history and find the rank of its target.

    With `seen = "masked"` items of the history are excluded from the lists, except for the target itself.

    codes: int `[N, L]`, to compute the rank among distinct semantic IDs as well: the place, counting every ID once, of
        the first item with the target's ID. It counts any item with the right ID as correct, so it is optimistic; it
        is also often reported.
    num_items: N, to count how often each item is recommended.
    progress: called after each batch with the number of cases done and their total.
    """
    sid_of = None if codes is None else np.unique(codes, axis=0, return_inverse=True)[1].ravel()
    rows = np.zeros((len(cases), 4), dtype=np.int64)
    kept: list[tuple[Ints, np.ndarray[Any, np.dtype[np.bool_]]]] = []
    recommended = None if num_items is None else np.zeros(num_items, dtype=np.int64)
    order = np.argsort(cases.lengths, kind="stable")  # similar lengths in a batch: little padding
    for begin in range(0, len(cases), batch_size):
        chosen = order[begin : begin + batch_size]
        targets = cases.targets[chosen]
        barred = ItemFilter.masking(cases, chosen) if seen == "masked" else None
        ranked = recommender.rank(question_of(cases, chosen, recommender.reads), k, barred)
        items = ranked.items.cpu().numpy()
        rows[chosen, 0] = first_place(items == targets[:, None])
        rows[chosen, 1] = 0 if sid_of is None else _sid_rank(items, targets, sid_of)
        rows[chosen, 2] = (items >= 0).sum(axis=1)
        rows[chosen, 3] = _invalid(ranked)
        if ranked.kept is not None:
            kept.append((chosen, ranked.kept.cpu().numpy()))
        if recommended is not None:
            first = items[:, :SHOWN]
            np.add.at(recommended, first[first >= 0], 1)
        if progress is not None:
            progress(min(begin + batch_size, len(cases)), len(cases))
    columns = {"user": cases.users, "length": cases.lengths, "target": cases.targets}
    table = pl.DataFrame({**columns, **dict(zip(("rank", "sid_rank", "served", "invalid"), rows.T, strict=True))})
    if sid_of is None:
        table = table.with_columns(pl.lit(None, dtype=pl.Int64).alias("sid_rank"))
    if kept:
        numbers, same = (np.concatenate(column) for column in zip(*kept, strict=True))
        table = table.with_columns(kept=pl.Series(same[np.argsort(numbers)]))
    return RankTable(table, k, seen, recommended)


def summary(tables: Sequence[RankTable], ks: Sequence[int] = (5, 10), popularity: Ints | None = None) -> pl.DataFrame:
    """The result table: a row for each of `tables` and for users {all, length >= 10}.

    Columns: `seen`, `users`, `num_users`, then the means `HR@k`, `NDCG@k`, `MRR@k` and, with codes, `sid_HR@k`;
    `invalid` is the share of all places that hold an invalid or repeated item. Means are over cases (every user has as
    many as the split holds out), and null without cases.

    popularity: occurrences of every item in training, `[N]`, for the columns of `beyond.Beyond`. These use the first 10
        places of all users' lists, so they are null for a subset of the users.
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
    measures = None if table.recommended is None else beyond_accuracy(table.recommended, popularity)
    return {each.name: getattr(measures, each.name, None) for each in fields(Beyond)}


def _mean(values: Values) -> float | None:
    return float(values.mean()) if len(values) else None


def first_place(matches: np.ndarray[Any, np.dtype[np.bool_]]) -> Ints:
    """The first True of every row `[B, k]`, counted from 1; 0 if there is none."""
    return np.where(matches.any(axis=1), matches.argmax(axis=1) + 1, 0)


def _sid_rank(items: Ints, targets: Ints, sid_of: Ints) -> Ints:
    """The first place with the target's semantic ID, counting each ID in the list once."""
    sids = np.where(items >= 0, sid_of[items], -1)
    place = first_place(sids == sid_of[targets][:, None])
    new = ~_is_repeated(sids) & (items >= 0)
    distinct = np.cumsum(new, axis=1)
    return np.where(place > 0, np.take_along_axis(distinct, np.maximum(place - 1, 0)[:, None], axis=1)[:, 0], 0)


def _invalid(ranked: Recommendations) -> Ints:
    """Number of places in every row that have a score but no item, or a repeated item."""
    items, scores = ranked.items.cpu().numpy(), ranked.scores.cpu().numpy()
    nothing = (items == NO_ITEM) & (scores > -np.inf)
    wrong: Ints = (nothing | (_is_repeated(items) & (items >= 0))).sum(axis=1)
    return wrong


def _is_repeated(values: Ints) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """True where a value, `[B, k]`, occurs further left in its row."""
    order = np.argsort(values, axis=1, kind="stable")
    ordered = np.take_along_axis(values, order, axis=1)
    repeated = np.zeros(values.shape, dtype=bool)
    np.put_along_axis(repeated, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], axis=1)
    return repeated
