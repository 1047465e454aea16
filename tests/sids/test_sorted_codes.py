"""A trie that is made of a sorted table, block by block, is the one that is built of all codes."""

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.errors import DataError
from sidestep.sids import sorted_codes
from sidestep.sids.sorted_codes import Block, sorted_blocks, trie_of_sorted
from sidestep.sids.trie import Trie

SIZES = (3, 2, 4)


def table(number: int, seed: int, sizes: tuple[int, ...] = SIZES) -> tuple[np.ndarray, np.ndarray]:
    """Codes `[N, L]` by item, and the items in the order of their codes."""
    rng = np.random.default_rng(seed)
    codes = np.stack([rng.integers(size, size=number) for size in sizes], axis=1)
    return codes, np.lexsort(codes.T[::-1])


def blocks(codes: np.ndarray, order: np.ndarray, at_once: int) -> list[Block]:
    parts = [order[begin : begin + at_once] for begin in range(0, len(order), at_once)]
    return [(codes[part], part) for part in parts]


def assert_same(one: Trie, other: Trie) -> None:
    assert one.codebook_sizes == other.codebook_sizes
    for first, second in zip(
        (one.order, one.rank, *one.codes, *one.firsts),
        (other.order, other.rank, *other.codes, *other.firsts),
        strict=True,
    ):
        assert first.dtype == second.dtype
        assert torch.equal(first, second)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(0, 10_000), st.integers(1, 50))
def test_blocks_of_any_size_give_the_trie_of_all_codes(number: int, seed: int, at_once: int) -> None:
    codes, order = table(number, seed)
    assert_same(trie_of_sorted(blocks(codes, order, at_once), SIZES), Trie.build(torch.from_numpy(codes), SIZES))


def test_wide_codebooks_and_a_single_level_are_no_exception() -> None:
    for sizes in ((40_000, 2), (5,), (2, 2, 2, 2, 2)):
        codes, order = table(300, 0, sizes)
        assert_same(trie_of_sorted(blocks(codes, order, 37), sizes), Trie.build(torch.from_numpy(codes), sizes))


def test_items_of_one_id_stand_as_they_come() -> None:
    codes = np.array([[0, 1, 0], [0, 1, 0], [0, 0, 3]])
    trie = trie_of_sorted([(codes[[2, 1, 0]], np.array([2, 1, 0]))], SIZES)
    assert trie.order.tolist() == [2, 1, 0]
    popular = Trie.build(torch.from_numpy(codes), SIZES, torch.tensor([1, 5, 0]))
    assert_same(trie, popular)


def test_a_file_is_read_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sorted_codes, "AT_ONCE", 7)
    codes, order = table(30, 3)
    columns = {"item": order, "note": ["x"] * 30, **{f"code_{level + 1}": codes[order, level] for level in range(3)}}
    pl.DataFrame(columns).write_parquet(tmp_path / "sorted.parquet")
    read = list(sorted_blocks(tmp_path / "sorted.parquet", 3))
    assert [len(items) for _, items in read] == [7, 7, 7, 7, 2]
    assert_same(trie_of_sorted(read, SIZES), Trie.build(torch.from_numpy(codes), SIZES))


def test_duckdb_sorts_by_the_sql_of_the_docs(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    text = (Path(__file__).parents[2] / "docs" / "scale.md").read_text(encoding="utf-8")
    (sql,) = [block for block in re.findall(r"```sql\n(.*?)```", text, re.DOTALL) if "code_1" in block]
    codes, _ = table(200, 1)
    (tmp_path / "codes").mkdir()
    for part, items in enumerate(np.array_split(np.random.default_rng(2).permutation(200), 3)):
        columns = {"item": items, **{f"code_{level + 1}": codes[items, level] for level in range(3)}}
        pl.DataFrame(columns).write_parquet(tmp_path / "codes" / f"{part}.parquet")
    for name in ("codes/*.parquet", "sorted.parquet"):
        assert name in sql
        sql = sql.replace(name, str(tmp_path / name))
    duckdb.sql(sql)
    made = trie_of_sorted(sorted_blocks(tmp_path / "sorted.parquet", 3), SIZES)
    assert_same(made, Trie.build(torch.from_numpy(codes), SIZES))


@pytest.mark.parametrize(
    ("codes", "items", "said"),
    [
        (
            [[0, 0, 0], [1, 0, 0], [0, 1, 0]],
            [0, 1, 2],
            "Row 2 of t has the codes 0/1/0 behind 1/0/0; expected rows sorted",
        ),
        ([[0, 0, 0], [0, 0, 4]], [0, 1], "Row 1 of t has the codes 0/0/4; expected codes from 0, below 3/2/4"),
        ([[0, -1, 0]], [0], "Row 0 of t has the codes 0/-1/0"),
        ([[0, 0, 0], [0, 0, 1]], [0, 2], "t has 2 rows and no item 1"),
        ([[0, 0, 0], [0, 0, 1]], [1, 1], "t has 2 rows and no item 0"),
        ([], [], "t has no rows"),
    ],
)
@pytest.mark.parametrize("at_once", [1, 10])
def test_a_wrong_table_is_told_in_one_line(codes: list[list[int]], items: list[int], said: str, at_once: int) -> None:
    array, order = np.array(codes, dtype=np.int64).reshape(-1, 3), np.arange(len(items))
    parts = [(part, np.array(items, dtype=np.int64)[rows]) for part, rows in blocks(array, order, at_once)]
    with pytest.raises(DataError) as told:
        trie_of_sorted(parts, SIZES, "t")
    assert said in str(told.value)


def test_a_wrong_file_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "sorted.parquet"
    with pytest.raises(DataError, match="There is no file"):
        list(sorted_blocks(path, 2))
    pl.DataFrame({"item": [0], "code_1": [0], "code2": [0]}).write_parquet(path)
    with pytest.raises(DataError, match="has no column 'code_2'; did you mean 'code2'"):
        list(sorted_blocks(path, 2))
    pl.DataFrame({"item": ["a"], "code_1": [0], "code_2": [0]}).write_parquet(path)
    with pytest.raises(DataError, match="column 'item' holds String, expected whole numbers"):
        list(sorted_blocks(path, 2))
    pl.DataFrame({"item": [0, 1], "code_1": [0, None], "code_2": [0, 1]}).write_parquet(path)
    with pytest.raises(DataError, match="has empty cells among rows 0 to 2"):
        list(sorted_blocks(path, 2))
    path.write_bytes(b"PAR1nonsense")
    with pytest.raises(DataError):
        list(sorted_blocks(path, 2))
