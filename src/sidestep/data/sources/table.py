"""Any table with any column names: Parquet, CSV, TSV or JSON lines."""

from pathlib import Path

import polars as pl

from sidestep.data.catalog import ITEM_ID, SOURCE_ROW
from sidestep.data.sources import columns, files
from sidestep.data.sources.assemble import ITEM_KEY, Tables
from sidestep.data.sources.config import DataConfig, TimeUnit
from sidestep.errors import DataError

USUAL_STEMS = ("interactions", "ratings", "reviews", "events", "log", "clicks", "purchases", "views")


def read_table(config: DataConfig) -> Tables:
    """The interactions and, where named, the items, as [data] says.

    Raises:
        DataError: a missing or damaged file, a missing column, an empty id, a time or a position of the wrong type.
    """
    folder = config.path.parent if config.path.is_file() else config.path
    path = config.path if config.path.is_file() and config.interactions is None else _interactions_file(config, folder)
    names = files.column_names(path)
    wanted = {"user": config.user, "item": config.item, "order": config.order, "time": config.time}
    for key, name in wanted.items():
        if name is not None:
            files.require(path, names, name, key)
    raw = files.read_columns(path, list(dict.fromkeys(name for name in wanted.values() if name is not None)))
    notes: list[str] = []
    log = canonical_log(raw, config, path, notes)
    if config.items is None:
        return Tables(log, None, notes, (path,))
    items = folder / config.items
    return Tables(log, canonical_items(items, config), notes, (path, items))


def canonical_log(raw: pl.DataFrame, config: DataConfig, path: Path, notes: list[str]) -> pl.DataFrame:
    """A source's frame as `Tables.log`, by the column names in `config`."""
    found = [
        columns.ids(raw[config.user], path, "user").alias("user_id"),
        columns.ids(raw[config.item], path, "item").alias(ITEM_KEY),
    ]
    if config.order is not None:
        found.append(columns.order(raw[config.order], path).alias("order"))
    if config.time is not None:
        time, unit = columns.times(raw[config.time], config.time_unit, path)
        found.append(time.alias("time"))
        notes.extend(_unit_note(config.time, config.time_unit, unit))
    return pl.DataFrame(found)


def canonical_items(path: Path, config: DataConfig) -> pl.DataFrame:
    """An items file as `Tables.items`."""
    key, public = item_columns(config)
    names = files.column_names(path)
    files.require(path, names, key, "item_key")
    files.require(path, names, public, "item_id")
    items = canonical_item_columns(files.read_table(path, (key, public)), key, public, path)
    return items.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias(SOURCE_ROW))


def canonical_item_columns(items: pl.DataFrame, key: str, public: str, path: Path) -> pl.DataFrame:
    """The frame with `item_id` and `item_key` in front and every other column as the source has it."""
    public_ids = columns.ids(items[public], path, "item_id").alias(ITEM_ID)
    keys = columns.ids(items[key], path, "item_key").alias(ITEM_KEY)
    others = items.drop(dict.fromkeys((key, public)))
    clashing = {name: f"source_{name}" for name in (ITEM_ID, ITEM_KEY) if name in others.columns}
    return pl.DataFrame([public_ids, keys, *others.rename(clashing).get_columns()])


def item_columns(config: DataConfig) -> tuple[str, str]:
    """The items file's join column and its column of public ids."""
    key = config.item_key or config.item
    return key, config.item_id or key


def _interactions_file(config: DataConfig, folder: Path) -> Path:
    """The named file, or the only one in the folder that can be meant."""
    if config.interactions is not None:
        return folder / config.interactions
    if not folder.is_dir():
        raise DataError(f"No file or folder {str(folder)!r} (data.path)")
    known = (*files.DELIMITED, *files.JSON_LINES, *files.PARQUET)
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.lower().removesuffix(".gz").endswith(known))
    candidates = [name for name in names if name != config.items]
    usual = [name for name in candidates if name.lower().startswith(USUAL_STEMS)]
    chosen = usual if len(usual) == 1 else candidates
    if len(chosen) != 1:
        raise DataError(
            f"Cannot tell which file of {str(folder)!r} holds the interactions: "
            f"{', '.join(names) or 'no tables there'}; set data.interactions"
        )
    return folder / chosen[0]


def _unit_note(name: str, wanted: TimeUnit, found: str) -> list[str]:
    if wanted != "auto":
        return []
    return [f"times in {name!r} were read as {columns.UNIT_NAMES[found]}; data.time_unit says otherwise if need be"]
