"""Ids that look alike and are not: one text in two Unicode forms."""

import unicodedata

import polars as pl


def unicode_twins(ids: pl.Series) -> int:
    """How many distinct ids become equal to another one in Unicode's composed form (NFC)."""
    foreign = composed(ids)
    return len(foreign) - len(set(foreign))


def composed(ids: pl.Series) -> list[str]:
    """The distinct ids that are not plain ASCII, in composed form."""
    distinct = ids.drop_nulls().unique()
    foreign = distinct.filter(distinct.str.len_bytes() != distinct.str.len_chars())
    return [unicodedata.normalize("NFC", text) for text in foreign.to_list()]
