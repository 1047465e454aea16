"""RecBole's atomic files: tab-separated `.inter` and `.item` whose headers carry types, as in `user_id:token`.

https://recbole.io/atomic_files.html
"""

from pathlib import Path

import polars as pl

from sidestep.data.sources import files, table
from sidestep.data.sources.assemble import Tables
from sidestep.data.sources.config import DataConfig
from sidestep.errors import DataError

TIMESTAMP = "timestamp"


def read_recbole(config: DataConfig) -> Tables:
    """The interactions and, where there is one, the item file of the same name.

    `data.user`, `data.item` and `data.time` name fields without their types; the time is `timestamp` unless named.

    Raises:
        DataError: no `.inter` file, a missing field, a damaged file.
    """
    path = _inter_file(config)
    raw = _read_atomic(path)
    if config.time is None and TIMESTAMP in raw.columns:
        config = config.model_copy(update={"time": TIMESTAMP})
    for key, name in (("user", config.user), ("item", config.item), ("order", config.order), ("time", config.time)):
        if name is not None:
            files.require(path, raw.columns, name, key)
    notes: list[str] = []
    log = table.canonical_log(raw, config, path, notes)
    item_file = path.with_suffix(".item") if config.items is None else path.parent / config.items
    if config.items is None and not item_file.is_file():
        return Tables(log, None, [*notes, f"no {item_file.name} beside {path.name}: the items have no text"], (path,))
    return Tables(log, read_items(item_file, config), notes, (path, item_file))


def read_items(path: Path, config: DataConfig) -> pl.DataFrame:
    """An item file as `Tables.items`."""
    items = _read_atomic(path)
    key, public = table.item_columns(config)
    files.require(path, items.columns, key, "item_key")
    files.require(path, items.columns, public, "item_id")
    return table.canonical_item_columns(items, key, public, path)


def _inter_file(config: DataConfig) -> Path:
    if config.path.is_file():
        return config.path
    if config.interactions is not None:
        return config.path / config.interactions
    found = sorted(config.path.glob("*.inter")) if config.path.is_dir() else []
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none there"
        raise DataError(
            f"Expected one .inter file in {str(config.path)!r} (data.path), found {names}; set data.interactions"
        )
    return found[0]


def _read_atomic(path: Path) -> pl.DataFrame:
    """Every field as the file spells it, under its name without the type; quotes are plain characters here."""
    frame = files.read_delimited(files.read_bytes(path), path, "\t", quotes=False)
    names = [column.rpartition(":")[0] for column in frame.columns]
    if not all(names):
        raise DataError(
            f"{str(path)!r} has the header {', '.join(frame.columns)}, expected typed fields as in user_id:token"
        )
    floats = [name for name, column in zip(names, frame.columns, strict=True) if column.endswith(":float")]
    frame.columns = names
    return frame.with_columns(frame[name].cast(pl.Float64, strict=False) for name in floats if name != TIMESTAMP)
