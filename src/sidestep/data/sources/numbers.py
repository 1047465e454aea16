"""Numbers in a column of text, spelled for programs or for people."""

import unicodedata

import polars as pl

SPELLINGS = (
    (r"^-?(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d{1,3})$", ",", ""),
    (r"^-?(?:\d{1,3}(?:\.\d{3}){2,})$", ".", ""),
    (r"^-?\d+(?:,\d+)?$", ",", "."),
)
"""Thousands with commas, thousands with dots, decimal commas: the mark that must occur, and what it is to programs."""


def read_numbers(texts: pl.Series) -> pl.Series:
    """Text as int64 where all of it is whole numbers, else as float64; null where it is no number."""
    plain = _for_programs(texts.str.strip_chars())
    whole = plain.cast(pl.Int64, strict=False)
    return whole if whole.null_count() == plain.null_count() else plain.cast(pl.Float64, strict=False)


def _for_programs(texts: pl.Series) -> pl.Series:
    """Numbers as programs write them, where all of a column are spelled for people: 1,600,000,000, or 45291,5."""
    if texts.str.contains(r"[^\x00-\x7F]").any():
        texts = texts.map_elements(with_plain_digits, return_dtype=pl.String)
    known = texts.drop_nulls()
    for spelling, mark, plain in SPELLINGS:
        if known.str.contains(mark, literal=True).any() and known.str.contains(spelling).all():
            return texts.str.replace_all(mark, plain, literal=True)
    return texts


def with_plain_digits(text: str) -> str:
    """The same with the digits 0 to 9 for those of other scripts, such as Arabic, Devanagari or full width."""
    if text.isascii():
        return text
    return "".join(str(unicodedata.decimal(mark)) if mark.isdecimal() else mark for mark in text)
