"""RecBole's atomic files: tab-separated `.inter` and `.item` whose headers carry types, as in `user_id:token`.

https://recbole.io/atomic_files.html
"""

from pathlib import Path

import polars as pl

from sidestep.data.sources import files, table
from sidestep.data.sources.assemble import Tables
from sidestep.data.sources.config import DataConfig
from sidestep.data.sources.content import read_bytes
from sidestep.data.sources.delimited import Ragged
from sidestep.errors import DataError, brief, listed

TIMESTAMP = "timestamp"


def read_recbole(config: DataConfig) -> Tables:
    """The interactions and, where there is one, the item file of the same name.

    `data.user`, `data.item` and `data.time` name fields without their types; the time is `timestamp` unless named.

    Raises:
        DataError: no `.inter` file, a missing field, a damaged file.
    """
    path, ragged = _inter_file(config), Ragged()
    raw = _read_atomic(path, ragged)
    if config.time is None and TIMESTAMP in raw.columns:
        config = config.model_copy(update={"time": TIMESTAMP})
    config = table.with_event(config, raw.columns, path)
    wanted = {"user": config.user, "item": config.item, "order": config.order, "time": config.time}
    for key, name in {**wanted, "event": config.event}.items():
        if name is not None:
            files.require(path, raw.columns, name, key)
    notes: list[str] = []
    item_file = path.with_suffix(".item") if config.items is None else path.parent / config.items
    if config.items is None and not item_file.is_file():
        log = table.canonical_log(raw, config, path, notes, ragged)
        return Tables(log, None, [*notes, f"no {item_file.name} beside {path.name}: the items have no text"], (path,))
    of_items: list[str] = []
    items = read_items(item_file, config, of_items)
    log = table.canonical_log(raw, config, path, notes, ragged, items)
    return Tables(log, items, notes + of_items, (path, item_file))


def read_items(path: Path, config: DataConfig, notes: list[str] | None = None) -> pl.DataFrame:
    """An item file as `Tables.items`."""
    ragged = Ragged()
    items = _read_atomic(path, ragged)
    key, public = table.item_columns(config)
    files.require(path, items.columns, key, "item_key")
    files.require(path, items.columns, public, "item_id")
    return table.canonical_item_rows(items, config, path, notes, ragged)


def _inter_file(config: DataConfig) -> Path:
    if config.interactions is not None:
        return (config.path.parent if config.path.is_file() else config.path) / config.interactions
    if config.path.is_file():
        return config.path
    found = sorted(config.path.glob("*.inter")) if config.path.is_dir() else []
    if len(found) != 1:
        names = listed(path.name for path in found) or "none there"
        raise DataError(
            f"Expected one .inter file in {str(config.path)!r} (data.path), found {names}; set data.interactions"
        )
    return found[0]


def _read_atomic(path: Path, ragged: Ragged) -> pl.DataFrame:
    """Every field as the file spells it, under its name without the type; quotes are plain characters here."""
    frame = files.read_delimited(read_bytes(path), path, "\t", quotes=False, ragged=ragged)
    names = [column.rpartition(":")[0] for column in frame.columns]
    if not all(names):
        raise DataError(
            f"{str(path)!r} has the header {listed(frame.columns)}, expected typed fields as in user_id:token"
        )
    if len(set(names)) < len(names):
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise DataError(f"{str(path)!r} has the field {brief(twice)!r} twice in its header; rename one of the two")
    floats = [name for name, column in zip(names, frame.columns, strict=True) if column.endswith(":float")]
    frame.columns = names
    return frame.with_columns(frame[name].cast(pl.Float64, strict=False) for name in floats if name != TIMESTAMP)
