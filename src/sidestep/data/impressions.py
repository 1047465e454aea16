"""What users were shown and whether they took it, beside what they had taken before."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from sidestep.data.catalog import Catalog
from sidestep.data.interactions import NO_TIME, Interactions, Ints
from sidestep.data.sequences import NO_ITEM
from sidestep.data.sources import columns
from sidestep.data.sources.config import TimeUnit
from sidestep.data.sources.files import column_names, read_columns
from sidestep.errors import DataError, did_you_mean, listed

Labels = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class ImpressionsFile:
    """Where impressions are read from. part: the column that says which part of the file a row belongs to. labels: the
    columns with 1 where the user did something with the item, such as click, and 0 where not.
    """

    path: Path
    labels: Sequence[str]
    user: str = "user_id"
    item: str = "item_id"
    time: str = "time_ms"
    part: str = "split"
    unit: TimeUnit = "ms"


@dataclass(frozen=True, repr=False)
class Impressions:
    """Shown items with their labels, and where each user's history stood.

    log: what users took. users, items: `[M]`, their numbers in the log and the catalogue. labels: `[M, n]`, a column
    for each of the file's. before: `[M]`, how many interactions of the user lie before the impression.
    """

    log: Interactions
    users: Ints
    items: Ints
    labels: Labels
    before: Ints

    def __len__(self) -> int:
        return len(self.items)

    def __repr__(self) -> str:
        taken = self.labels[:, 0].mean()
        return f"<Impressions: {len(self):,} to {len(np.unique(self.users)):,} users, {taken:.1%} taken>"

    def histories(self, rows: Ints, longest: int) -> Int[Tensor, "n T"]:
        """The last `longest` items before each impression, oldest first, padded in front with `NO_ITEM`."""
        ends = self.log.offsets[self.users[rows]] + self.before[rows]
        places = ends[:, None] + np.arange(-longest, 0)
        own = places >= self.log.offsets[self.users[rows]][:, None]
        items = np.where(own, self.log.items[np.maximum(places, 0)] if len(self.log) else 0, NO_ITEM)
        return torch.from_numpy(items.astype(np.int64))


@dataclass(frozen=True)
class ImpressionBatch:
    """found: items of the history that were looked up for each target, padded with `NO_ITEM`."""

    found: Int[Tensor, "n k"]
    targets: Int[Tensor, " n"]
    labels: Bool[Tensor, " n"]

    def to(self, device: torch.device) -> "ImpressionBatch":
        return ImpressionBatch(self.found.to(device), self.targets.to(device), self.labels.to(device))


def read_impressions(file: ImpressionsFile, part: str | None, log: Interactions, catalog: Catalog) -> Impressions:
    """One part of a file of impressions, or all rows that have labels; without users and items that the log and the
    catalogue do not have. An interaction is before an impression if its time is earlier, or if it has none and no
    later one of the user is not.

    Raises:
        DataError: a missing file, column or part, labels other than 0 and 1, or no impression that is left.
    """
    rows = _rows(file, part)
    users, items = pl.DataFrame({"user": log.user_ids}), pl.DataFrame({"item": catalog.item_ids})
    rows = rows.join(users.with_row_index("u"), left_on=file.user, right_on="user").join(
        items.with_row_index("i"), left_on=file.item, right_on="item"
    )
    where = f"{str(file.path)!r}" + (f", part {part!r}" if part else "")
    if not len(rows):
        raise DataError(f"{where}: no user and item of the log")
    for name in file.labels:
        strange = sorted(set(rows[name].unique().to_list()) - {"0", "1"})
        if strange:
            raise DataError(f"{where}: {name} is {strange[0]!r}, expected 0 or 1")
    rows = rows.with_columns(columns.times(rows[file.time], file.unit, file.path)[0].alias(file.time))
    rows = rows.sort("u", file.time, maintain_order=True)
    if rows[file.time].null_count():
        raise DataError(f"{where}: an impression has no {file.time}, and cannot be put into its user's history")
    numbers = [rows[name].to_numpy().astype(np.int64) for name in ("u", "i", file.time)]
    labels = np.stack([rows[name].to_numpy() == "1" for name in file.labels], axis=1)
    return Impressions(log, numbers[0], numbers[1], labels, _before(log, numbers[0], numbers[2]))


def _rows(file: ImpressionsFile, part: str | None) -> pl.DataFrame:
    """The rows of a part, or those with any label."""
    names = [file.user, file.item, file.time, *file.labels, *[file.part] * (part is not None)]
    known = column_names(file.path)
    for name in names:
        if name not in known:
            raise DataError(
                f"{str(file.path)!r} has no column {name!r}{did_you_mean(name, known)}; its columns are {listed(known)}"
            )
    if len(set(names)) < len(names):
        raise DataError(f"{str(file.path)!r}: a column can be one of user, item, time and labels; got {listed(names)}")
    table = read_columns(file.path, names)
    table = table.with_columns(
        *(columns.ids(table[name], file.path, key) for name, key in ((file.user, "user"), (file.item, "item"))),
        *(_flags(pl.col(name)) for name in file.labels),
    )
    if part is None:
        return table.filter(pl.any_horizontal(pl.col(*file.labels) != ""))
    if part not in table[file.part].unique().to_list():
        parts = map(str, table[file.part].unique().to_list())
        raise DataError(f"{str(file.path)!r} has no part {part!r}{did_you_mean(part, parts)}")
    return table.filter(pl.col(file.part) == part)


def _flags(column: pl.Expr) -> pl.Expr:
    """Labels as "0", "1", or an empty text where there is none; others as they are spelled."""
    return column.cast(pl.String).replace({"false": "0", "true": "1", "0.0": "0", "1.0": "1"}).fill_null("")


def _before(log: Interactions, users: Ints, times: Ints) -> Ints:
    """The number of each user's interactions before some time. One key orders users and, within them, times."""
    known = log.known_times
    first = min(int(known[known != NO_TIME].min(initial=times.min())), int(times.min()))
    span = max(int(known.max(initial=first)), int(times.max())) - first + 2
    keys = log.users * span + np.where(known == NO_TIME, 0, known - first + 1)
    keys = np.maximum.accumulate(keys)  # what stands behind a later one is not before it
    return np.searchsorted(keys, users * span + times - first + 1, side="left") - log.offsets[users]
