"""One policy for rows that lack a value they need: refused, or dropped and counted, never too many of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from sidestep.data.sources.config import DataConfig
from sidestep.errors import DataError, brief


@dataclass
class BadRows:
    """The bad rows of one file.

    policy: "error" refuses the first kind of bad row, "drop" keeps the rows in mind for `without`.
    limit: the share of a file's rows beyond which dropping is refused. missing: words that stand for no value.
    counted: which rows count at all; None means every row.
    """

    path: Path
    policy: str = "error"
    limit: float = 0.25
    missing: Sequence[str] = ()
    counted: pl.Series | None = None
    _masks: list[pl.Series] = field(default_factory=list)
    _reasons: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, path: Path, config: DataConfig, counted: pl.Series | None = None) -> "BadRows":
        return cls(path, config.bad_rows, config.bad_rows_limit, config.missing, counted)

    def add(self, mask: pl.Series, what: str) -> None:
        """Rows where `mask` is true, and that are not known as bad already, are bad: `what` completes "3 rows ...".

        Raises:
            DataError: there are some, and the policy is "error".
        """
        mask = mask.fill_null(False) & ~self.any(len(mask))
        mask = mask if self.counted is None else mask & self.counted
        count = int(mask.sum())
        if not count:
            return
        if self.policy == "error":
            raise DataError(
                f"{str(self.path)!r}: {count} rows {what}, the first is data row {first_row(mask)}; mend or remove "
                'them, or leave them out with data.bad_rows = "drop"'
            )
        self._masks.append(mask)
        self._reasons.append(f"{count:,} rows {what}")

    def any(self, rows: int) -> pl.Series:
        """Which of the file's rows are bad."""
        bad = pl.repeat(False, rows, eager=True)
        for mask in self._masks:
            bad = bad | mask
        return bad

    def without(self, table: pl.DataFrame, notes: list[str]) -> pl.DataFrame:
        """The good rows that count; what is dropped, and why, is a note.

        Raises:
            DataError: more rows are bad than the limit permits.
        """
        total = len(table) if self.counted is None else int(self.counted.sum())
        if not self._masks:
            return table if self.counted is None else table.filter(self.counted)
        bad = self.any(len(table))
        count, reasons = int(bad.sum()), "; ".join(self._reasons)
        if count > self.limit * total:
            raise DataError(
                f"{str(self.path)!r}: {count:,} of {total:,} rows ({count / total:.0%}) would be dropped "
                f"({reasons}), more than data.bad_rows_limit = {self.limit:g} permits; check the columns, or raise it"
            )
        notes.append(f"dropped {count:,} of {total:,} rows of {self.path.name} (data.bad_rows): {reasons}")
        return table.filter(~bad if self.counted is None else ~bad & self.counted)


def first_row(wrong: pl.Series) -> int:
    """Number of the first marked row, counted from 1 without the header."""
    position = wrong.fill_null(False).arg_max()
    return 0 if position is None else position + 1


def absent(column: pl.Series, words: Sequence[str], ids: Sequence[str] = ()) -> pl.Series:
    """Which values are missing.

    words: spellings that stand for no value, in any case, beside the empty one. ids: those that are ids nevertheless.
    """
    if column.dtype.is_float():
        return column.is_null() | column.is_nan().fill_null(False)
    if column.dtype != pl.String:
        return column.is_null()
    bare = column.str.strip_chars()
    spelled_out = bare.str.to_lowercase().is_in([word.lower() for word in words]) & ~column.is_in(list(ids))
    return (bare == "").fill_null(True) | spelled_out.fill_null(False)


def spellings(texts: pl.Series) -> str:
    """How often each word stands among missing values, to end a message with; empty where none does."""
    counts = texts.drop_nulls().str.strip_chars().value_counts(sort=True)
    names = [f"{word!r} {count} times" for word, count in counts.rows() if word]
    return f" ({', '.join(map(brief, names))}; data.missing lists such words)" if names else ""


def ids_among(table: pl.DataFrame, name: str, words: Sequence[str]) -> list[str]:
    """Spellings of a missing value that are ids of a table nevertheless: one row has them, and another value."""
    column = table[name]
    if column.dtype != pl.String:
        return []
    unclear = absent(column, words) & (column.str.strip_chars() != "").fill_null(False) & column.is_unique()
    rows = table.drop(name).filter(unclear)
    described = pl.repeat(False, len(rows), eager=True)
    for other in rows.get_columns():
        described = described | ~absent(other, words)
    return column.filter(unclear).filter(described).to_list()
