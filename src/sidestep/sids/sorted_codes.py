"""The trie of a table of codes that another engine has sorted, read a block at a time."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F

from sidestep.data.sources.files import parquet_shape, reading, scan
from sidestep.errors import DataError
from sidestep.sids.semantic_ids import Ints
from sidestep.sids.trie import Trie

ITEM = "item"
AT_ONCE = 1_000_000
"""Rows of a table that are read at once."""
Block = tuple[Ints, Ints]
"""Codes `[n, L]` and item numbers `[n]` of consecutive rows."""


def trie_of_sorted(blocks: Iterable[Block], codebook_sizes: tuple[int, ...], where: str = "the table") -> Trie:
    """The trie of items whose rows come in the order of their codes, equal to `Trie.build` of the same IDs. Items that
    share an ID stand as they come.

    Memory: the trie's own 14 bytes an item and as much again while its parts are joined, and one block; `Trie.build`
    takes 60 bytes an item and the codes. where: for messages.

    Raises:
        DataError: no rows; codes outside of their codebook; rows in another order; an item that is missing, or stands
            twice.
    """
    parts = _Parts(codebook_sizes, where)
    for codes, items in blocks:
        if len(items):
            parts.add(codes, items)
    return parts.trie()


def sorted_blocks(path: Path, num_levels: int) -> Iterator[Block]:
    """The rows of a Parquet file with the columns `item` (numbers from 0) and `code_1` .. `code_L`, sorted by codes, a
    million at a time.

    Raises:
        DataError: no such file, a damaged one, or one without these columns of whole numbers.
    """
    names = [ITEM, *(f"code_{level}" for level in range(1, num_levels + 1))]
    if not path.is_file():
        raise DataError(f"There is no file {str(path)!r}; expected Parquet with columns {', '.join(names)}")
    schema, rows = parquet_shape(path, names)
    for name in names:
        if not schema[name].is_integer():
            raise DataError(f"{str(path)!r}: column {name!r} holds {schema[name]}, expected whole numbers")
    for begin in range(0, rows, AT_ONCE):
        with reading(path):
            part = scan(path).select(names).slice(begin, AT_ONCE).collect()
        if part.select(pl.any_horizontal(pl.all().is_null().any())).item():
            raise DataError(f"{str(path)!r} has empty cells among rows {begin:,} to {begin + len(part):,}")
        values = part.select(pl.all().cast(pl.Int64)).to_numpy()
        yield values[:, 1:], values[:, 0]


class _Parts:
    """The arrays of a trie, a block at a time."""

    def __init__(self, sizes: tuple[int, ...], where: str) -> None:
        self._sizes, self._where, self._rows = sizes, where, 0
        self._small = np.dtype(np.int16 if max(sizes) <= 2**15 else np.int32)
        self._last: Ints | None = None
        self._nodes = [0] * (len(sizes) + 1)
        self._order: list[np.ndarray] = []
        self._codes: list[list[np.ndarray]] = [[] for _ in sizes]
        self._firsts: list[list[np.ndarray]] = [[] for _ in range(len(sizes) + 1)]

    def add(self, codes: Ints, items: Ints) -> None:
        self._check(codes)
        before = np.vstack([codes[:1] - 1 if self._last is None else self._last[None], codes[:-1]])
        opens = np.logical_or.accumulate(codes != before, axis=1)  # [n, L]: the row begins a node of depth 1 .. L
        opens = np.hstack([np.zeros((len(items), 1), dtype=np.bool_), opens])
        opens[0, 0] = self._last is None  # the root begins with the first row
        for depth in range(len(self._sizes)):
            below = self._nodes[depth + 1] + opens[:, depth + 1].cumsum() - 1
            self._firsts[depth].append(below[opens[:, depth]].astype(np.int32))
            self._codes[depth].append(codes[opens[:, depth + 1], depth].astype(self._small))
        self._firsts[-1].append((self._rows + np.flatnonzero(opens[:, -1])).astype(np.int32))
        self._nodes = [had + int(new) for had, new in zip(self._nodes, opens.sum(axis=0), strict=True)]
        self._order.append(items.astype(np.int32))
        self._last, self._rows = codes[-1].copy(), self._rows + len(items)

    def _check(self, codes: Ints) -> None:
        if codes.min() < 0 or (codes >= np.array(self._sizes)).any():
            row = int(np.flatnonzero(((codes < 0) | (codes >= np.array(self._sizes))).any(axis=1))[0])
            raise DataError(
                f"Row {self._rows + row:,} of {self._where} has the codes {_path(codes[row])}; expected codes from 0, "
                f"below {_path(self._sizes)}"
            )
        all_rows = codes if self._last is None else np.vstack([self._last[None], codes])
        step = np.diff(all_rows, axis=0)
        first = (step != 0).argmax(axis=1)
        falls = np.flatnonzero(step[np.arange(len(step)), first] < 0)
        if len(falls):
            row = self._rows + int(falls[0]) + (self._last is None)
            raise DataError(
                f"Row {row:,} of {self._where} has the codes {_path(all_rows[falls[0] + 1])} behind "
                f"{_path(all_rows[falls[0]])}; expected rows sorted by code_1, then code_2 and so on"
            )

    def trie(self) -> Trie:
        if not self._rows:
            raise DataError(f"{self._where} has no rows; expected one for every item")
        order = _joined(self._order)
        rank = np.full(len(order), -1, dtype=np.int32)
        known = (order >= 0) & (order < len(order))
        rank[order[known]] = np.flatnonzero(known).astype(np.int32)
        if (rank < 0).any():
            raise DataError(
                f"{self._where} has {len(order):,} rows and no item {int((rank < 0).argmax()):,}; expected each item "
                "from 0 on once"
            )
        codes = [torch.zeros(1, dtype=torch.from_numpy(np.empty(0, self._small)).dtype)]
        codes += [torch.from_numpy(_joined(parts)) for parts in self._codes]
        sizes = (*self._sizes, 0)
        padded = [codes[0], *(F.pad(column, (0, size)) for column, size in zip(codes[1:], sizes, strict=False))]
        ends = [*self._nodes[1:], self._rows]
        firsts = [_joined([*parts, np.array([end], np.int32)]) for parts, end in zip(self._firsts, ends, strict=True)]
        return Trie(
            self._sizes, torch.from_numpy(order), torch.from_numpy(rank), tuple(padded),
            tuple(torch.from_numpy(each) for each in firsts),
        )  # fmt: skip


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """One array of all parts, which are let go."""
    joined = np.concatenate(parts)
    parts.clear()
    return joined


def _path(codes: Sequence[int] | Ints) -> str:
    return "/".join(str(int(code)) for code in codes)
