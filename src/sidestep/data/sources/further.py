"""Further items for a catalogue that stands: a file in the format of its items file, brought to its columns."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import polars as pl

from sidestep.data.catalog import ITEM_ID, SOURCE_ROW, Catalog
from sidestep.data.sources import amazon, recbole, table
from sidestep.data.sources.assemble import ITEM_KEY
from sidestep.data.sources.config import DataConfig
from sidestep.data.sources.content import opened
from sidestep.data.texts import TEXT, add_text, usual_fields
from sidestep.errors import DataError


def read_further(
    path: Path, config: DataConfig, catalog: Catalog, existing: Literal["error", "skip"], say: Callable[[str], None]
) -> Catalog:
    """The items of a file that the catalogue lacks, in its columns and in the file's order.

    The layouts table, recbole and amazon are read as their items files are; for the others any table with a column
    `item_id` will do. A column that the file lacks is empty, one that the catalogue lacks is left out. `source_row`
    is the row in this file.

    existing: refuse items that the catalogue holds, or skip them.

    Raises:
        DataError: no or nothing new in the file, an id twice or already there, or a column of another type.
    """
    items = _read(path, config)
    if SOURCE_ROW not in items.columns:
        items = items.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias(SOURCE_ROW))
    items = _once(items, path, config)
    items = _new(items, path, catalog, existing, say)
    fields = _text_fields(items, config, catalog)
    items = _conformed(items, path, catalog, say)
    if TEXT not in catalog.table.columns or fields is None:
        return Catalog(items)
    return Catalog(_with_text(items, fields).select(items.columns))


def texts_of(items: pl.DataFrame, config: DataConfig, catalog: Catalog) -> Catalog:
    """A portion of further items, ids and texts alone: the file's column `text`, or else the texts of the fields that
    made the catalogue's.

    Raises:
        DataError: a field is missing, or an item is there twice.
    """
    fields = _text_fields(items, config, catalog)
    return Catalog((items if fields is None else _with_text(items, fields)).select(ITEM_ID, TEXT))


def _with_text(items: pl.DataFrame, fields: list[str]) -> pl.DataFrame:
    texts = add_text(items, fields)
    return texts if TEXT in texts.columns else texts.with_columns(pl.lit("").alias(TEXT))


def extended(catalog: Catalog, further: Catalog) -> Catalog:
    """Both catalogues' items, the further ones at the end. Rows of another file are none of the items file's."""
    items = further.table
    if SOURCE_ROW in catalog.table.columns:
        items = items.with_columns(pl.lit(None, dtype=catalog.table[SOURCE_ROW].dtype).alias(SOURCE_ROW))
    return Catalog(pl.concat([catalog.table, items.select(catalog.table.columns)]))


def _read(path: Path, config: DataConfig) -> pl.DataFrame:
    if config.source == "amazon":
        with opened(path) as file:
            start = file.read(1 << 16)
        return amazon.read_meta(path, "parent_asin" if b"parent_asin" in start else "asin", None)
    if config.source == "recbole" and path.suffix == ".item":
        return recbole.read_items(path, config)
    own = config.source in ("table", "recbole")
    return table.canonical_items(path, config if own else DataConfig())


def _once(items: pl.DataFrame, path: Path, config: DataConfig) -> pl.DataFrame:
    repeated = items[ITEM_ID].filter(items[ITEM_ID].is_duplicated())
    if len(repeated) and config.duplicate_items == "error":
        raise DataError(
            f"{str(path)!r} has item {repeated[0]!r} {int((repeated == repeated[0]).sum())} times, expected once; "
            "remove the rows that repeat an item"
        )
    return items.unique(ITEM_ID, keep="first", maintain_order=True)


def _new(
    items: pl.DataFrame, path: Path, catalog: Catalog, existing: Literal["error", "skip"], say: Callable[[str], None]
) -> pl.DataFrame:
    known = items[ITEM_ID].is_in(catalog.table[ITEM_ID].implode())
    if known.any() and existing == "error":
        raise DataError(
            f"{str(path)!r} has {int(known.sum())} items that the catalogue holds already, the first is "
            f"{items[ITEM_ID].filter(known)[0]!r}; remove them, or pass them over with --existing skip"
        )
    if known.all():
        raise DataError(f"{str(path)!r} has no item that the catalogue of {len(catalog)} items lacks")
    if known.any():
        say(f"{int(known.sum()):,} items are in the catalogue already and are skipped")
    return items.filter(~known)


def _text_fields(items: pl.DataFrame, config: DataConfig, catalog: Catalog) -> list[str] | None:
    """What makes up a text: the fields that made the catalogue's; None where the file holds the texts themselves."""
    if config.text_fields is not None:
        return config.text_fields
    usual = usual_fields(catalog.table.drop(TEXT, strict=False))
    return None if TEXT in items.columns or not usual else usual


def _conformed(items: pl.DataFrame, path: Path, catalog: Catalog, say: Callable[[str], None]) -> pl.DataFrame:
    """The catalogue's columns in its order and types, and `source_row`."""
    wanted = {name: kind for name, kind in catalog.table.schema.items() if name != SOURCE_ROW}
    strangers = [name for name in items.columns if name not in (*wanted, ITEM_KEY, SOURCE_ROW)]
    if strangers:
        say(f"columns that the catalogue lacks are left out: {', '.join(strangers)}")
    columns = []
    for name, kind in wanted.items():
        if name not in items.columns:
            columns.append(pl.Series(name, [None] * len(items), dtype=kind))
            continue
        try:
            same_shape = isinstance(items[name].dtype, pl.List) == isinstance(kind, pl.List)
            if not same_shape and items[name].dtype != pl.Null:
                raise pl.exceptions.InvalidOperationError
            columns.append(items[name].cast(kind))
        except pl.exceptions.PolarsError:
            raise DataError(
                f"{str(path)!r} has {items[name].dtype} in column {name!r}, the catalogue has {kind}; write the file "
                "as the run's items file is, or as Parquet"
            ) from None
    return pl.DataFrame([*columns, items[SOURCE_ROW]])
