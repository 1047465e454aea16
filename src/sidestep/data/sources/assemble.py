"""The one road from any source's tables to a catalogue and a log."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sidestep.data.catalog import ITEM_ID, Catalog
from sidestep.data.interactions import NO_TIME, Interactions, Ints
from sidestep.data.sources.config import DataConfig
from sidestep.data.sources.twins import composed, unicode_twins
from sidestep.data.texts import add_text
from sidestep.errors import DataError, brief

ITEM_KEY = "item_key"
Floats = np.ndarray[Any, np.dtype[np.float64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class Tables:
    """What a reader hands over.

    log: one row per interaction in the file's order: `user_id` and `item_key` (strings), `order` (a number) and
        `time` (int64 milliseconds, null where unknown) where the source has them.
    items: `item_key`, `item_id` (strings) and metadata, or None when the source describes no items.
    notes: what the user should hear about the reading. files: what was read.
    """

    log: pl.DataFrame
    items: pl.DataFrame | None
    notes: list[str] = field(default_factory=list)
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """A catalogue, a log on its items, what the user should hear about how they were made, and out of which files."""

    catalog: Catalog
    interactions: Interactions
    notes: list[str] = field(default_factory=list)
    files: tuple[Path, ...] = ()


def assemble(tables: Tables, config: DataConfig, seed: int) -> Dataset:
    """Join, check, filter, sort and number.

    Users are numbered by their first kept row in the file, items by their row in the items file, or without one by
    their first kept row in the log.

    Raises:
        DataError: no interactions (left), unknown or repeated items, times missing where they decide the order.
    """
    if tables.log.is_empty():
        raise DataError("The log holds no interactions; expected at least one row")
    notes = [*tables.notes, *_twin_notes(tables.log)]
    items, items_of_rows = _joined(tables, config, notes)
    log, items_of_rows = _known_rows(tables.log, items_of_rows, items, config, notes)
    users, _ = first_seen(log["user_id"])
    keep = dense_core(users, items_of_rows, max(config.k_core, config.min_length), config.k_core)
    log, items_of_rows = _kept(log, items_of_rows, keep, config, notes)
    if config.items_without_interactions == "drop":
        items, items_of_rows = _touched(items, items_of_rows, notes)
    if ITEM_KEY in items.columns and items[ITEM_KEY].equals(items[ITEM_ID]):
        items = items.drop(ITEM_KEY)
    catalog = Catalog(add_text(items, config.text_fields if tables.items is not None else []))
    return Dataset(catalog, _sorted(log, items_of_rows, config, seed, notes), notes, tables.files)


def first_seen(values: pl.Series) -> tuple[Ints, pl.Series]:
    """Every value's number `[E]` by first appearance, and the distinct values in that order."""
    distinct = values.unique(maintain_order=True)
    return lookup(values, distinct), distinct


def lookup(values: pl.Series, known: pl.Series) -> Ints:
    """The position of each value among the `known` ones, -1 where it is none of them."""
    numbers = pl.int_range(len(known), eager=True)
    return values.replace_strict(known, numbers, default=-1, return_dtype=pl.Int64).to_numpy().astype(np.int64)


def dense_core(users: Ints, items: Ints, per_user: int, per_item: int) -> Mask:
    """The largest set of rows in which every user has `per_user` rows and every item `per_item`, as a mask `[E]`."""
    keep = np.ones(len(users), dtype=bool)
    while True:
        user_counts = np.bincount(users[keep], minlength=int(users.max(initial=-1)) + 1)
        item_counts = np.bincount(items[keep], minlength=int(items.max(initial=-1)) + 1)
        smaller = keep & (user_counts[users] >= per_user) & (item_counts[items] >= per_item)
        if smaller.sum() == keep.sum():
            return keep
        keep = smaller


def shuffled_ties(run: Ints, rng: np.random.Generator) -> Ints:
    """An order of the rows `[E]` that shuffles within runs of equal `run` number and moves nothing between them."""
    return np.lexsort((rng.random(len(run)), run)).astype(np.int64)


def _joined(tables: Tables, config: DataConfig, notes: list[str]) -> tuple[pl.DataFrame, Ints]:
    """The items, each once, and the row of each interaction's item in them, -1 for an unknown item `[E]`.

    Two join keys with one public id are one item where duplicates are permitted.
    """
    if tables.items is None:
        keys = tables.log[ITEM_KEY].unique(maintain_order=True)
        return pl.DataFrame({ITEM_ID: keys, ITEM_KEY: keys}), lookup(tables.log[ITEM_KEY], keys)
    if tables.items.is_empty():
        raise DataError("The items file holds no items; set data.items to another file or leave it out")
    by_key = _once(tables.items, ITEM_KEY, config, notes)
    items = _once(by_key, ITEM_ID, config, notes)
    rows = lookup(tables.log[ITEM_KEY], by_key[ITEM_KEY])
    item_of_row = lookup(by_key[ITEM_ID], items[ITEM_ID])
    return items, np.where(rows >= 0, item_of_row[rows], -1)


def _once(items: pl.DataFrame, column: str, config: DataConfig, notes: list[str]) -> pl.DataFrame:
    """The first row for every value of a column."""
    repeated = items[column].filter(items[column].is_duplicated())
    if repeated.is_empty():
        return items
    extra = len(items) - items[column].n_unique()
    if config.duplicate_items == "error":
        raise DataError(
            f"Item {brief(repeated[0])!r} stands {int((repeated == repeated[0]).sum())} times in the items file "
            f"({extra} rows repeat an item), expected once; "
            'keep the first row of each with data.duplicate_items = "first"'
        )
    notes.append(f"{extra} rows of the items file repeat an earlier {column} and are ignored")
    return items.unique(column, keep="first", maintain_order=True)


def _known_rows(
    log: pl.DataFrame, numbers: Ints, items: pl.DataFrame, config: DataConfig, notes: list[str]
) -> tuple[pl.DataFrame, Ints]:
    """The rows whose item the catalogue holds."""
    known = numbers >= 0
    if known.all():
        return log, numbers
    strangers = log[ITEM_KEY].filter(pl.Series(~known))
    count, distinct = len(strangers), strangers.n_unique()
    if config.unknown_items == "error":
        raise DataError(
            f"Unknown item {brief(strangers[0])!r} in the interactions: {count} of {len(log)} interactions name "
            f"{distinct} items that the items file of {len(items)} items lacks{_other_form(strangers, items)}; "
            'drop these interactions with data.unknown_items = "drop"'
        )
    notes.append(f"dropped {count} interactions with {distinct} unknown items")
    if count == len(log):
        raise DataError(
            f"Every one of the {count} interactions names an unknown item, the first {brief(strangers[0])!r}, while "
            f"the items file starts with {brief(items[ITEM_KEY][0])!r}; check data.item and data.item_key"
        )
    return log.filter(pl.Series(known)), numbers[known]


def _other_form(strangers: pl.Series, items: pl.DataFrame) -> str:
    """How many unknown items the items file holds in another Unicode form, for the message."""
    known = set(composed(items[ITEM_KEY]))
    count = sum(item in known for item in composed(strangers))
    return f" ({count} of them it has in another Unicode form, NFC or NFD)" if count else ""


def _twin_notes(log: pl.DataFrame) -> list[str]:
    counts = {column: unicode_twins(log[column]) for column in ("user_id", ITEM_KEY)}
    return [
        f"{count} values of {column} differ from another only in their Unicode form (NFC, NFD) and count as different"
        for column, count in counts.items()
        if count
    ]


def _kept(
    log: pl.DataFrame, items: Ints, keep: Mask, config: DataConfig, notes: list[str]
) -> tuple[pl.DataFrame, Ints]:
    """What the k-core and the minimum length leave."""
    if keep.all():
        return log, items
    filters = f"data.k_core = {config.k_core} and data.min_length = {config.min_length}"
    if not keep.any():
        longest = int(log["user_id"].unique_counts().to_numpy().max())
        raise DataError(f"{filters} leave no interactions of {len(log)}: the longest history has {longest}; lower them")
    before, left = log["user_id"].n_unique(), log.filter(pl.Series(keep))
    notes.append(
        f"{filters} kept {len(left)} of {len(log)} interactions and {left['user_id'].n_unique()} of {before} users"
    )
    return left, items[keep]


def _touched(items: pl.DataFrame, numbers: Ints, notes: list[str]) -> tuple[pl.DataFrame, Ints]:
    """The items that occur in the log, numbered anew in the same order."""
    occurs = np.zeros(len(items), dtype=bool)
    occurs[numbers] = True
    if not occurs.all():
        notes.append(
            f"{int((~occurs).sum())} of {len(items)} items have no interactions and are left out "
            '(data.items_without_interactions = "keep" keeps those of the items file)'
        )
    return items.filter(pl.Series(occurs)), (np.cumsum(occurs) - 1)[numbers]


def _sorted(log: pl.DataFrame, items: Ints, config: DataConfig, seed: int, notes: list[str]) -> Interactions:
    """The log by user, then by position, else by time, else as the file has it."""
    users, user_ids = first_seen(log["user_id"])
    times = log["time"].fill_null(NO_TIME).to_numpy().astype(np.int64) if "time" in log.columns else None
    orders = log["order"].to_numpy() if "order" in log.columns else times
    if "order" not in log.columns and times is not None and (times == NO_TIME).any():
        raise DataError(
            f"{int((times == NO_TIME).sum())} of {len(times)} interactions have no time, so their place in the history "
            "is unknown; fill the times in, or name a column of positions in data.order"
        )
    rows = np.lexsort((users,) if orders is None else (orders, users))
    if config.ties == "shuffled" and orders is not None:
        run = _runs(users[rows], orders[rows] if times is None else times[rows])
        rows = rows[shuffled_ties(run, np.random.default_rng(seed))]
    if times is not None:
        notes.extend(_time_notes(users[rows], items[rows], times[rows]))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(users, minlength=len(user_ids)))]).astype(np.int64)
    absolute = config.absolute_times and times is not None
    return Interactions(user_ids.to_list(), offsets, items[rows], None if times is None else times[rows], absolute)


def _runs(users: Ints, moments: np.ndarray[Any, np.dtype[Any]]) -> Ints:
    """Numbers `[E]` that rise from row to row except within a tie: same user, same known moment."""
    tied = (users[1:] == users[:-1]) & (moments[1:] == moments[:-1]) & (moments[1:] != NO_TIME)
    return np.concatenate([[0], np.cumsum(~tied)]).astype(np.int64)


def _time_notes(users: Ints, items: Ints, times: Ints) -> list[str]:
    """Repeated rows, and positions that contradict the times, in the sorted log."""
    notes = []
    timed = times != NO_TIME
    rows = np.stack([users, times, items])[:, timed]
    rows = rows[:, np.lexsort(rows)]
    repeated = int((rows[:, 1:] == rows[:, :-1]).all(axis=0).sum())
    if repeated:
        notes.append(f"{repeated} repeated rows (same user, item and time) kept")
    backwards = int(((users[1:] == users[:-1]) & (times[1:] < times[:-1]) & timed[1:]).sum())
    if backwards:
        notes.append(f"in {backwards} places the positions (data.order) run against the times; the positions decide")
    return notes
