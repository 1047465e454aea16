"""What users were shown and whether they took it, beside what they had taken before."""

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
from sidestep.data.sources.files import column_names, read_columns
from sidestep.errors import DataError, did_you_mean, listed

Labels = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class ImpressionsFile:
    """Where impressions are read from. part: the column that says which part of the file a row belongs to. label: the
    column with 1 where the user took the item.
    """

    path: Path
    label: str
    user: str = "user_id"
    item: str = "item_id"
    time: str = "time_ms"
    part: str = "split"


@dataclass(frozen=True, repr=False)
class Impressions:
    """Shown items with their labels, and where each user's history stood.

    log: what users took. users, items: `[M]`, their numbers in the log and the catalogue. labels: `[M]`.
    before: `[M]`, how many interactions of the user lie before the impression.
    """

    log: Interactions
    users: Ints
    items: Ints
    labels: Labels
    before: Ints

    def __len__(self) -> int:
        return len(self.items)

    def __repr__(self) -> str:
        return f"<Impressions: {len(self):,} to {len(np.unique(self.users)):,} users, {self.labels.mean():.1%} taken>"

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


def read_impressions(file: ImpressionsFile, part: str, log: Interactions, catalog: Catalog) -> Impressions:
    """One part of a file of impressions, without users and items that the log and the catalogue do not have. An
    interaction is before an impression if its time is earlier, or if it has none and no later one of the user is not.

    Raises:
        DataError: a missing file, column or part, labels other than 0 and 1, or no impression that is left.
    """
    names = [file.user, file.item, file.part, file.time, file.label]
    known = column_names(file.path)
    for name in names:
        if name not in known:
            raise DataError(
                f"{str(file.path)!r} has no column {name!r}{did_you_mean(name, known)}; its columns are {listed(known)}"
            )
    table = read_columns(file.path, names)
    parts = table[file.part].unique().to_list()
    rows = table.filter(pl.col(file.part) == part)
    if not len(rows):
        raise DataError(f"{str(file.path)!r} has no part {part!r}{did_you_mean(part, map(str, parts))}")
    users, items = pl.DataFrame({"user": log.user_ids}), pl.DataFrame({"item": catalog.item_ids})
    rows = rows.join(users.with_row_index("u"), left_on=file.user, right_on="user").join(
        items.with_row_index("i"), left_on=file.item, right_on="item"
    )
    strange = set(rows[file.label].unique().to_list()) - {"0", "1"}
    if strange or not len(rows):
        raise DataError(
            f"{str(file.path)!r}, part {part!r}: {'no user and item of the log' if not strange else file.label}"
            f"{f' is {sorted(map(str, strange))[0]!r}, expected 0 or 1' if strange else ''}"
        )
    rows = rows.with_columns(pl.col(file.time).cast(pl.Int64)).sort("u", file.time, maintain_order=True)
    numbers = [rows[name].to_numpy().astype(np.int64) for name in ("u", "i", file.time)]
    labels = rows[file.label].to_numpy() == "1"
    return Impressions(log, numbers[0], numbers[1], labels, _before(log, numbers[0], numbers[2]))


def _before(log: Interactions, users: Ints, times: Ints) -> Ints:
    """The number of each user's interactions before some time. One key orders users and, within them, times."""
    known = log.known_times
    first = min(int(known[known != NO_TIME].min(initial=times.min())), int(times.min()))
    span = max(int(known.max(initial=first)), int(times.max())) - first + 2
    keys = log.users * span + np.where(known == NO_TIME, 0, known - first + 1)
    keys = np.maximum.accumulate(keys)  # what stands behind a later one is not before it
    return np.searchsorted(keys, users * span + times - first + 1, side="left") - log.offsets[users]
