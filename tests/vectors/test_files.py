"""Vectors from a user's files: three formats, one answer; and every way in which a file can be wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

from sidestep.data.catalog import Catalog
from sidestep.data.sources import DataConfig, read
from sidestep.errors import DataError
from sidestep.vectors.files import read_vectors, row_note

IDS = ["007", "ä,b", "c"]
CATALOG = Catalog(pl.DataFrame({"item_id": IDS, "source_row": [0, 1, 2]}))
VALUES = np.arange(6, dtype=np.float32).reshape(3, 2) / 8


def as_npy(folder: Path, values: Any) -> Path:
    np.save(folder / "v.npy", values)
    return folder / "v.npy"


def as_safetensors(folder: Path, values: Any) -> Path:
    save_file({"vectors": values}, folder / "v.safetensors")
    return folder / "v.safetensors"


def as_lists(folder: Path, values: Any, ids: list[str] = IDS) -> Path:
    table = pl.DataFrame({"vector": [row.tolist() for row in values], "item_id": ids})
    table.write_parquet(folder / "v.parquet")
    return folder / "v.parquet"


def as_arrays(folder: Path, values: Any) -> Path:
    arrays = pl.Series("vector", values, dtype=pl.Array(pl.Float32, values.shape[1]))
    pl.DataFrame([pl.Series("item_id", IDS), arrays]).write_parquet(folder / "v.parquet")
    return folder / "v.parquet"


def as_columns(folder: Path, values: Any) -> Path:
    columns = {f"x{column}": values[:, column] for column in range(values.shape[1])}
    pl.DataFrame({"item_id": IDS, "title": ["a", "b", "c"], **columns}).write_parquet(folder / "v.parquet")
    return folder / "v.parquet"


@pytest.mark.parametrize("write", [as_npy, as_safetensors, as_lists, as_arrays, as_columns])
def test_every_format_gives_the_same_vectors(write: Callable[[Path, Any], Path], tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_vectors(write(tmp_path, VALUES), CATALOG).values, VALUES)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int8])
def test_any_real_numbers_become_float32(dtype: type, tmp_path: Path) -> None:
    values = read_vectors(as_npy(tmp_path, (VALUES * 8).astype(dtype)), CATALOG).values
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, VALUES * 8)


def test_bfloat16_is_read(tmp_path: Path) -> None:
    save_torch({"v": torch.from_numpy(VALUES).bfloat16()}, tmp_path / "v.safetensors")
    np.testing.assert_array_equal(read_vectors(tmp_path / "v.safetensors", CATALOG).values, VALUES)


def test_parquet_rows_are_joined_by_item_id_and_strangers_are_passed_over(tmp_path: Path) -> None:
    path = as_lists(tmp_path, np.concatenate([VALUES[::-1], VALUES[:1]]), [*reversed(IDS), "stranger"])
    np.testing.assert_array_equal(read_vectors(path, CATALOG).values, VALUES)


def test_rows_follow_the_items_file_where_the_catalogue_dropped_some_of_it(tmp_path: Path) -> None:
    catalog = Catalog(CATALOG.table.with_columns(pl.Series("source_row", [0, 2, 3])))
    rows = np.arange(10, dtype=np.float32).reshape(5, 2)
    np.testing.assert_array_equal(read_vectors(as_npy(tmp_path, rows), catalog).values, rows[[0, 2, 3]])


@pytest.mark.parametrize("num_rows", [2, 4])
@pytest.mark.parametrize("write", [as_npy, as_safetensors])
def test_a_wrong_number_of_rows_is_refused_with_both_numbers(
    write: Callable[[Path, Any], Path], num_rows: int, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=f"holds {num_rows} vectors, expected 3"):
        read_vectors(write(tmp_path, np.ones((num_rows, 2), np.float32)), CATALOG)


def test_too_few_rows_for_the_items_file_are_refused(tmp_path: Path) -> None:
    catalog = Catalog(CATALOG.table.with_columns(pl.Series("source_row", [0, 2, 3])))
    with pytest.raises(DataError, match="holds 3 vectors, expected 4"):
        read_vectors(as_npy(tmp_path, VALUES), catalog)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[0, 1], [np.nan, 1], [0, 0]], np.float32), "the first is row 1"),
        (np.full((3, 2), 1e300), "NaN or infinity"),
        (np.ones(3, np.float32), r"shape \[3\], expected \[items, dimensions\]"),
        (np.ones((3, 0), np.float32), r"shape \[3, 0\]"),
        (np.ones((3, 2), bool), "type bool, expected real numbers"),
        (np.ones((3, 2), complex), "type complex128"),
        (np.full((3, 2), "x"), "type <U1"),
    ],
)
def test_values_that_are_no_vectors_are_refused(values: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_vectors(as_npy(tmp_path, values), CATALOG)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"as \.npy"):
        read_vectors(tmp_path / "v.npy", CATALOG)


@pytest.mark.parametrize("name", ["v.npy", "v.safetensors", "v.parquet"])
@pytest.mark.parametrize("content", [b"", b"these are no vectors at all"])
def test_bytes_that_are_no_such_file_are_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="Cannot read"):
        read_vectors(tmp_path / name, CATALOG)


def test_an_archive_of_arrays_is_no_array(tmp_path: Path) -> None:
    with (tmp_path / "v.npy").open("wb") as file:
        np.savez(file, a=VALUES)
    with pytest.raises(DataError, match="archive of arrays"):
        read_vectors(tmp_path / "v.npy", CATALOG)


def test_a_missing_file_and_an_unknown_ending_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"No file of vectors at .*embed\.path"):
        read_vectors(tmp_path / "v.npy", CATALOG)
    (tmp_path / "v.pkl").write_bytes(b"")
    with pytest.raises(DataError, match=r"ends in '\.pkl', expected one of \.npy, \.safetensors, \.parquet"):
        read_vectors(tmp_path / "v.pkl", CATALOG)


def test_one_of_several_tensors_is_chosen_by_name(tmp_path: Path) -> None:
    save_file({"title": VALUES, "image": VALUES * 2}, tmp_path / "v.safetensors")
    np.testing.assert_array_equal(read_vectors(tmp_path / "v.safetensors", CATALOG, "image").values, VALUES * 2)
    with pytest.raises(DataError, match=r"holds 2 tensors .* embed\.tensor"):
        read_vectors(tmp_path / "v.safetensors", CATALOG)
    with pytest.raises(DataError, match="did you mean 'image'"):
        read_vectors(tmp_path / "v.safetensors", CATALOG, "images")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"item_id": ["007", "c"], "v": [[1.0], [2.0]]}, "no vector for 1 of 3 items, the first is 'ä,b'"),
        ({"item_id": [*IDS, "c"], "v": [[1.0]] * 4}, "item 'c' more than once"),
        ({"item": IDS, "v": [[1.0]] * 3}, "no column 'item_id'; did you mean 'item'"),
        ({"item_id": IDS, "v": [[1.0], [1.0, 2.0], [1.0]]}, "have from 1 to 2 numbers"),
        ({"item_id": IDS, "v": [[1.0], None, [1.0]]}, "have from 0 to 1 numbers"),
        ({"item_id": IDS, "v": [[1.0], [None], [1.0]]}, "the first is row 1"),
        ({"item_id": IDS, "v": [["a"], ["b"], ["c"]]}, "expected real numbers"),
        ({"item_id": IDS, "name": ["a", "b", "c"]}, "neither a column of lists nor columns of numbers"),
        ({"item_id": IDS, "v": [[1.0]] * 3, "w": [[1.0]] * 3}, r"2 columns of lists \(v, w\)"),
    ],
)
def test_parquet_tables_that_give_no_vectors_are_refused(table: dict[str, Any], message: str, tmp_path: Path) -> None:
    pl.DataFrame(table).write_parquet(tmp_path / "v.parquet")
    with pytest.raises(DataError, match=message):
        read_vectors(tmp_path / "v.parquet", CATALOG)


def test_rows_of_a_table_of_items_keep_their_place_when_items_are_dropped(tmp_path: Path) -> None:
    pl.DataFrame({"item_id": ["a", "untouched", "c"]}).write_csv(tmp_path / "items.csv")
    log = pl.DataFrame({"user_id": ["u", "u"], "item_id": ["c", "a"]})
    log.write_csv(tmp_path / "interactions.csv")
    wanted = DataConfig(path=tmp_path, interactions="interactions.csv", items="items.csv")
    catalog = read(wanted, seed=0).catalog
    assert catalog.item_ids == ["a", "c"]
    np.testing.assert_array_equal(read_vectors(as_npy(tmp_path, VALUES), catalog).values, VALUES[[0, 2]])


def test_without_an_items_file_rows_belong_to_the_ids_that_number_them_or_are_refused(tmp_path: Path) -> None:
    rows = np.arange(10, dtype=np.float32).reshape(5, 2)
    path = as_npy(tmp_path, rows)

    def of(*ids: str) -> Catalog:
        return Catalog(pl.DataFrame({"item_id": list(ids)}))

    np.testing.assert_array_equal(read_vectors(path, of("4", "0", "2")).values, rows[[4, 0, 2]])
    assert "row i is taken for the item with id i" in str(row_note(path, of("4", "0", "2")))
    np.testing.assert_array_equal(read_vectors(path, of(*(f"P{n}" for n in range(1, 6)))).values, rows)
    for ids in (("5", "4", "3", "2", "1"), ("P2", "P1", "P3", "P4", "P5"), ("a", "b", "c", "d", "e")):
        with pytest.raises(DataError, match="cannot be matched with items: there is no items file"):
            read_vectors(path, of(*ids))
    assert row_note(path, CATALOG) is None


@pytest.mark.parametrize("shape", ["(9999999999999,)", "(2, -3)", "(3, 2)"])
def test_a_header_that_promises_more_than_there_is_costs_no_memory(shape: str, tmp_path: Path) -> None:
    path = as_npy(tmp_path, VALUES)
    content = path.read_bytes()
    header = content[10 : 10 + content[8]].decode()
    changed = header.replace("(3, 2)", shape).rstrip()
    path.write_bytes(content[:10] + changed.ljust(len(header) - 1).encode() + b"\n" + content[10 + len(header) : -1])
    with pytest.raises(DataError, match=r"Cannot read .* as \.npy"):
        read_vectors(path, CATALOG)


@pytest.mark.parametrize("write", [as_npy, as_safetensors, as_lists])
def test_a_file_cut_anywhere_is_refused(write: Callable[[Path, Any], Path], tmp_path: Path) -> None:
    path = write(tmp_path, VALUES)
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match=path.name):
            read_vectors(path, CATALOG)
