"""Ratings in a log, which count as interactions whatever their value."""

from collections.abc import Iterable
from pathlib import Path

import polars as pl

from sidestep.data.sources import files, movielens
from sidestep.data.sources.config import Source
from sidestep.data.sources.content import plain_text, read_bytes
from sidestep.data.sources.delimited import Ragged
from sidestep.data.sources.hints import LABELS, POSITIONS, RATINGS, like
from sidestep.data.sources.kinds import MOST_RATINGS, Profile


def is_rating(profile: Profile) -> bool:
    """Whether a column looks like a rating, by its name and few values, or by its numbers alone."""
    if like(profile.name, POSITIONS):
        return False
    few = profile.numbers is not None or 1 < profile.distinct <= MOST_RATINGS
    return (few and like(profile.name, RATINGS)) or profile.is_rating


def rating_notes(columns: Iterable[Profile]) -> list[str]:
    """What to know about the columns of ratings, and of 0 and 1 that say whether a row counts, among those of a log
    that are taken for nothing else.
    """
    columns = list(columns)
    return [
        *(_note(profile) for profile in columns if is_rating(profile)),
        *(_label_note(profile) for profile in columns if like(profile.name, LABELS) and profile.is_binary),
    ]


def rating_columns(path: Path, source: Source) -> list[Profile]:
    """The columns of a log in a known layout, not a plain table, that may hold ratings."""
    if source == "recbole":
        frame = files.read_delimited(read_bytes(path), path, "\t", quotes=False, ragged=Ragged())
        return [Profile(column.rename(column.name.rpartition(":")[0])) for column in frame.get_columns()
                if column.name.endswith(":float")]  # fmt: skip
    if source == "amazon":
        names = [name for name in files.column_names(path) if like(name, RATINGS)]
    elif path.suffix == ".csv":
        names = ["rating"]
    else:
        return [Profile(_third_field(path))]
    frame = files.read_columns(path, names, ragged=Ragged())
    return [Profile(column) for column in frame.get_columns()]


def _third_field(path: Path) -> pl.Series:
    """The ratings of a MovieLens file without a header."""
    mark = movielens.separator_of(path)
    lines = pl.Series(plain_text(read_bytes(path), path).decode("utf-8", "replace").split("\n"))
    return lines.str.split(mark).list.get(2, null_on_oob=True).drop_nulls().alias("rating")


def _label_note(profile: Profile) -> str:
    counts = profile.known.cast(pl.String).str.strip_chars().value_counts(sort=True).rows()
    (first, rows), (second, others) = counts
    return (
        f"column {profile.name!r} holds {first} ({rows:,} rows) and {second} ({others:,}): every row counts as an "
        f"interaction, whatever its value; --event {profile.name}=VALUE keeps those of one"
    )


def _note(profile: Profile) -> str:
    numbers = profile.numbers
    if numbers is None:
        return (
            f"column {profile.name!r} looks like a rating ({profile.summary}): every row counts as an interaction, "
            f"whatever its value; --event {profile.name}=VALUE,VALUE keeps some"
        )
    zeros = int((numbers == 0).sum())
    span = f"its values lie in {numbers.min()!r} to {numbers.max()!r}"
    kinds = f"{zeros:,} of {len(profile.column):,} rows have 0 in it" if zeros else span
    return (
        f"column {profile.name!r} looks like a rating ({kinds}): every row counts as an interaction, whatever its "
        "value; filter the file first if low ratings should not"
    )
