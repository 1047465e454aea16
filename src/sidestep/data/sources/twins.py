"""Ids that look alike and are not: one text in two Unicode forms, with invisible marks, or one number spelled twice."""

import unicodedata

import polars as pl

from sidestep.errors import brief

NUMBER = r"^0*(\d+)(?:\.0+)?$"
SHORTENED = r"^-?\d(?:[.,]\d+)?[eE]\+?\d+$"


def unicode_twins(ids: pl.Series) -> int:
    """How many distinct ids become equal to another one in Unicode's composed form (NFC)."""
    foreign = composed(ids)
    return len(foreign) - len(set(foreign))


def composed(ids: pl.Series) -> list[str]:
    """The distinct ids that are not plain ASCII, in composed form."""
    return [unicodedata.normalize("NFC", text) for text in _foreign(ids.drop_nulls().unique()).to_list()]


def odd_spellings(ids: pl.Series) -> list[str]:
    """What is odd about the spellings of a column of ids, in words: twins, and numbers that a spreadsheet shortened."""
    distinct = ids.drop_nulls().unique()
    name, problems = ids.name, []
    padded = int((distinct != distinct.str.strip_chars()).sum())
    if padded:
        problems.append(f"{padded} values of {name} begin or end with blanks, which count as part of the id")
    folded = len(distinct) - distinct.str.strip_chars().str.to_lowercase().n_unique()
    if folded > padded:
        problems.append(f"{folded} values of {name} differ from another only in case or blanks")
    if hidden := _hidden_twins(distinct):
        problems.append(
            f"{hidden} values of {name} differ from another only in invisible characters or in the width of letters, "
            "and count as different"
        )
    numbers = distinct.filter(distinct.str.contains(NUMBER))
    doubled = len(numbers) - numbers.str.replace(NUMBER, "$1").n_unique()
    if doubled:
        problems.append(
            f"{doubled} values of {name} differ from another only as 007 and 7, or 7.0 and 7, do, and count as "
            "different"
        )
    short = distinct.filter(distinct.str.contains(SHORTENED))
    if len(short):
        problems.append(
            f"{len(short)} values of {name} are shortened numbers such as {brief(repr(short.sort()[0]))}, as "
            "spreadsheets write long ones: different ids may have become one"
        )
    return problems


def _foreign(distinct: pl.Series) -> pl.Series:
    return distinct.filter(distinct.str.len_bytes() != distinct.str.len_chars())


def _hidden_twins(distinct: pl.Series) -> int:
    """How many ids become equal to another one without invisible characters and with letters of usual width, and are
    told apart by NFC.
    """
    foreign = {text: unicodedata.normalize("NFC", text) for text in _foreign(distinct).to_list()}
    seen = {text: _visible(text) for text in set(foreign.values())}
    plain = set(distinct.filter(distinct.is_in(list(seen.values()))).to_list()) - foreign.keys()
    return len(seen) + len(plain) - len({*seen.values(), *plain})


def _visible(text: str) -> str:
    return "".join(mark for mark in unicodedata.normalize("NFKC", text) if unicodedata.category(mark) != "Cf").strip()
