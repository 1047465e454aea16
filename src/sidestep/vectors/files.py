"""A user's own vectors, from `.npy`, `.safetensors` or Parquet. Nothing is ever unpickled."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sidestep.data.catalog import ITEM_ID, SOURCE_ROW, Catalog
from sidestep.data.interactions import Ints
from sidestep.data.sources import columns
from sidestep.data.sources.arrays import read_array
from sidestep.data.sources.files import read_table
from sidestep.encoders.directions import Matrix
from sidestep.errors import DataError, brief, did_you_mean, listed
from sidestep.vectors.item_vectors import ItemVectors

Array = np.ndarray[Any, np.dtype[Any]]


def read_vectors(path: Path, catalog: Catalog, tensor: str | None = None) -> ItemVectors:
    """One vector per item of the catalogue. The file's suffix decides the format:

    .npy, .safetensors: numbers `[rows, D]` in the order of the items file: where the catalogue has a column
        `source_row`, it gives the row of each item. A catalogue without an items file has no such order; its ids must
        number its rows, and row i belongs to the item whose id is i (see `row_note`).
    .parquet: column `item_id` with the outside ids, and one column of lists or several of numbers. Rows may be in any
        order, and rows of other items are ignored.

    tensor: which tensor of a .safetensors file, or which column of lists of a Parquet file, if there are several.

    Raises:
        DataError: no such file or tensor, a damaged one, not two dimensions, not numbers, NaN, items without a vector,
            or rows that cannot be told to belong to items.
    """
    readers = {".npy": _read_npy, ".safetensors": _read_safetensors, ".parquet": _read_parquet}
    if not path.is_file():
        raise DataError(f"No file of vectors at {str(path)!r} (embed.path)")
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"Cannot read vectors from {str(path)!r}: its name ends in {path.suffix!r}, "
            f"expected one of {', '.join(readers)}"
        )
    rows = reader(path, catalog, tensor)
    _check(path, rows)
    values = rows if path.suffix.lower() == ".parquet" else rows[_rows_of_items(path, len(rows), catalog)]
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, which is refused with its row
        return ItemVectors(np.ascontiguousarray(values, dtype=np.float32))


def read_known_vectors(path: Path, catalog: Catalog) -> Matrix:
    """Vectors `[N, D]` of those items of the catalogue that a Parquet file has any for, as `read_vectors` reads it;
    zeros for the others.

    Raises:
        DataError: no such file, another format, a damaged one, or one without a vector for any of the items.
    """
    if not path.is_file():
        raise DataError(f"No file of vectors at {str(path)!r}")
    if path.suffix.lower() != ".parquet":
        raise DataError(
            f"{str(path)!r}: vectors that some items lack are found by item id, so expected a .parquet file with a "
            f"column {ITEM_ID!r}"
        )
    table, row_of = _by_item(path)
    rows = numbers(path, table, None)
    _check(path, rows)
    known = [item for item, item_id in enumerate(catalog.item_ids) if item_id in row_of]
    if len(catalog) > 1 and not known:
        raise DataError(f"{str(path)!r} has no vector for any of {len(catalog)} items, such as {catalog.item_ids[0]!r}")
    values = np.zeros((len(catalog), rows.shape[1]), dtype=np.float32)
    values[known] = rows[[row_of[catalog.item_ids[item]] for item in known]]
    return ItemVectors(values).values


def located(path: Path, folder: Path, is_there: Callable[[Path], bool]) -> Path:
    """A user's file beside the data, or else in the working directory.

    folder: where the data lies; a file stands for the folder it lies in. is_there: a place has what is wanted.
    """
    beside = (folder.parent if folder.is_file() else folder) / path
    return beside if is_there(beside) else path


def row_note(path: Path, catalog: Catalog) -> str | None:
    """How the rows of a file of vectors are matched with items where no items file orders them, for the user to read;
    None where ids or an items file match them.
    """
    if path.suffix.lower() == ".parquet" or SOURCE_ROW in catalog.table.columns:
        return None
    return (
        f"no items file orders the rows of {path.name}: row i is taken for the item with id i"
        if _bare_numbers(catalog) is not None
        else f"no items file orders the rows of {path.name}: they follow the numbers in the ids, as the catalogue does"
    )


def _read_npy(path: Path, catalog: Catalog, tensor: str | None) -> Array:
    return read_array(path)


def _read_safetensors(path: Path, catalog: Catalog, tensor: str | None) -> Array:
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            if tensor is None and len(names) != 1:
                raise DataError(
                    f"{str(path)!r} holds {len(names)} tensors ({listed(names)}); choose one with embed.tensor"
                )
            name = names[0] if tensor is None else tensor
            if name not in names:
                hint = did_you_mean(name, names)
                raise DataError(f"{str(path)!r} has no tensor {name!r}{hint}; it holds {listed(names)}")
            values = file.get_tensor(name)
    except DataError:
        raise
    except (SafetensorError, OSError, ValueError, RuntimeError, MemoryError, KeyError, AttributeError) as error:
        raise DataError(
            f"Cannot read {str(path)!r} as .safetensors: {brief(error, 160)}; copy or download it again"
        ) from None
    if values.is_floating_point() and values.dtype != torch.float64:
        values = values.to(torch.float32)  # numpy has no bfloat16
    return np.asarray(values.numpy())


def _read_parquet(path: Path, catalog: Catalog, tensor: str | None) -> Array:
    table, row_of = _by_item(path)
    missing = [item_id for item_id in catalog.item_ids if item_id not in row_of]
    if missing:
        raise DataError(
            f"{str(path)!r} has no vector for {len(missing)} of {len(catalog)} items, the first is {missing[0]!r}; "
            "expected one for every item of the catalogue"
        )
    rows = [row_of[item_id] for item_id in catalog.item_ids]
    return numbers(path, table[rows], tensor)


def _by_item(path: Path) -> tuple[pl.DataFrame, dict[str, int]]:
    """The columns but the ids, and the row of every id."""
    table = read_table(path, ())
    if ITEM_ID not in table.columns:
        hint = did_you_mean(ITEM_ID, table.columns)
        raise DataError(f"{str(path)!r} has no column {ITEM_ID!r}{hint}; it holds {listed(table.columns)}")
    ids = columns.ids(table[ITEM_ID], path, "item_id")
    if ids.is_duplicated().any():
        example = ids.filter(ids.is_duplicated())[0]
        raise DataError(f"{str(path)!r} has item {example!r} more than once, expected one vector per item")
    return table.drop(ITEM_ID), {item_id: row for row, item_id in enumerate(ids.to_list())}


def numbers(path: Path, table: pl.DataFrame, column: str | None = None) -> Array:
    """The one column of lists, or all columns of numbers, of a table that was read from a file, as an array.

    Raises:
        DataError: neither is there, several columns of lists, or lists of unequal lengths.
    """
    lists = [name for name, kind in table.schema.items() if isinstance(kind, pl.List | pl.Array)]
    if column is None and len(lists) > 1:
        raise DataError(f"{str(path)!r} has {len(lists)} columns of lists ({listed(lists)}); choose embed.tensor")
    if column is not None and column not in lists:
        raise DataError(f"{str(path)!r} has no column of lists {column!r}{did_you_mean(column, lists)}")
    if lists:
        values = table[column or lists[0]]
        values = values.arr.to_list() if isinstance(values.dtype, pl.Array) else values
        lengths = values.list.len()
        if lengths.null_count() or lengths.n_unique() != 1:
            known = lengths.fill_null(0).to_list()
            raise DataError(
                f"{str(path)!r}: vectors in {values.name!r} have from {min(known)} to {max(known)} "
                "numbers, expected equally many in all"
            )
        width = len(values[0])
        return values.list.to_array(width).to_numpy() if width else np.empty((len(values), 0))
    numeric = [name for name, kind in table.schema.items() if kind.is_numeric()]
    if not numeric:
        raise DataError(f"{str(path)!r} has neither a column of lists nor columns of numbers beside {ITEM_ID!r}")
    return table.select(numeric).to_numpy()


def _check(path: Path, rows: Array) -> None:
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise DataError(f"{str(path)!r} holds an array of shape {list(rows.shape)}, expected [items, dimensions]")
    if rows.dtype.kind not in "fiu":
        raise DataError(f"{str(path)!r} holds values of type {rows.dtype}, expected real numbers")


def _rows_of_items(path: Path, num_rows: int, catalog: Catalog) -> Ints:
    """The row of each item, `[N]`."""
    if SOURCE_ROW in catalog.table.columns:
        rows: Ints = catalog.table[SOURCE_ROW].to_numpy().astype(np.int64)
    else:
        rows = _rows_by_ids(path, catalog)
    nothing_dropped = np.array_equal(rows, np.arange(len(rows)))
    needed = int(rows.max(initial=-1)) + 1
    if num_rows < needed or (nothing_dropped and num_rows != needed):
        raise DataError(
            f"{str(path)!r} holds {num_rows} vectors, expected {needed}: one per row of the items file, in its order; "
            f"a Parquet file with a column {ITEM_ID!r} may be in any order"
        )
    return rows


def _rows_by_ids(path: Path, catalog: Catalog) -> Ints:
    """Rows of a catalogue without an items file: the ids are the rows' numbers from 0, or number the catalogue in its
    own order behind a common word or none, as in P01, P02.

    Raises:
        DataError: the ids are neither.
    """
    rows = _bare_numbers(catalog)
    if rows is not None:
        return rows
    parts = [re.fullmatch(r"(.*?)(\d{1,15})", item_id, flags=re.DOTALL) for item_id in catalog.item_ids]
    words = {part.group(1) if part else None for part in parts}
    counted = [int(part.group(2)) if part else -1 for part in parts]
    in_order = counted[0] in (0, 1) and counted == list(range(counted[0], counted[0] + len(counted)))
    if in_order and len(words) == 1:
        return np.arange(len(catalog))
    raise DataError(
        f"{str(path)!r} cannot be matched with items: there is no items file (data.items) whose rows its rows follow, "
        f"and the ids, such as {brief(repr(catalog.item_ids[0]), 40)}, do not number rows from 0; name the items file, "
        f"or write a Parquet file with a column {ITEM_ID!r}"
    )


def _bare_numbers(catalog: Catalog) -> Ints | None:
    """The ids as numbers where all are whole numbers as rows are numbered, and 0 is one of them."""
    ids = catalog.item_ids
    if not all(item_id.isascii() and item_id.isdigit() and len(item_id) < 16 for item_id in ids):
        return None
    rows = np.array([int(item_id) for item_id in ids], dtype=np.int64)
    as_spelled = all(str(number) == item_id for number, item_id in zip(rows.tolist(), ids, strict=True))
    return rows if as_spelled and rows.min(initial=1) == 0 else None
