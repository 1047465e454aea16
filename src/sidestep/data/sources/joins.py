"""Which column of an items file the log's items refer to: likeness of names before the share of matches."""

from pathlib import Path

import polars as pl

from sidestep.data.sources.hints import ITEMS, column_like, like, likeness
from sidestep.data.sources.kinds import Profile
from sidestep.data.sources.twins import composed
from sidestep.errors import DataError, brief, listed

ENOUGH = 0.5
"""The share of the log's items that a column must hold to be joined."""

NAMES_ITEMS = 0.4
"""The likeness of names from which a running number may be joined."""


def join_column(path: Path, item: Profile, items: dict[str, Profile]) -> tuple[str, str]:
    """The items file's column for the log's column `item`, and why.

    A running number (1, 2, 3 down the file) is joined only where its name names items: its values are those of any
    other numbering.

    Raises:
        DataError: no column holds half of the log's items, or two do that cannot be told apart.
    """
    candidates = [profile for profile in items.values() if _can_hold_ids(profile)]
    if all(profile.column.is_empty() for profile in items.values()):
        raise DataError(f"{str(path)!r} holds no items; expected at least one row")
    if not candidates:
        raise DataError(f"{str(path)!r} has no column that could hold item ids; it has {listed(items)}")
    seen = item.known.cast(pl.String).unique()
    shares = {profile.name: _share(seen, profile.column) for profile in candidates}
    alike = {name: likeness(item.name, name) for name in shares}
    way = f"name it with --item {item.name}=COLUMN"
    eligible = [
        profile.name
        for profile in candidates
        if shares[profile.name] >= ENOUGH and (alike[profile.name] >= NAMES_ITEMS or not is_running(profile.column))
    ]
    if not eligible:
        best = max(shares, key=lambda name: (alike[name], shares[name]))
        raise DataError(
            f"Cannot tell which column of {str(path)!r} the log's {item.name!r} refers to: {best!r} holds "
            f"{shares[best]:.1%} of its items" + (" but only numbers the rows" if shares[best] >= ENOUGH else "")
            + f"{_examples(seen, items, best)}; {way}"
        )  # fmt: skip
    ranked = sorted(eligible, key=lambda name: (alike[name], round(shares[name], 2)), reverse=True)
    first, second = ranked[0], ranked[1] if len(ranked) > 1 else None
    if second is not None and (alike[first], round(shares[first], 2)) == (alike[second], round(shares[second], 2)):
        raise DataError(
            f"Cannot tell which column of {str(path)!r} the log's {item.name!r} refers to: {first!r} and {second!r} "
            f"hold the same share of its items; {way}"
        )
    by_name = "the same name" if alike[first] == 1 else "by its name" if alike[first] else "the only such column"
    return first, f"{by_name}, and it holds {shares[first]:.1%} of the items in the log"


def _examples(seen: pl.Series, items: dict[str, Profile], best: str) -> str:
    """An id of the log that a column lacks and one of the column, or the type of a likelier one that holds no ids."""
    unknown = seen.filter(~seen.is_in(items[best].column.cast(pl.String).unique().implode())).sort()
    held = items[best].column.drop_nulls().cast(pl.String)
    wrong = next(
        (profile for profile in items.values() if like(profile.name, ITEMS) and not _can_hold_ids(profile)), None
    )
    if wrong is not None:
        return f", and {wrong.name!r} holds {brief(wrong.column.dtype)}, which cannot hold ids"
    if unknown.is_empty() or held.is_empty():
        return ""
    if {*composed(unknown)} & {*composed(held)}:
        return " and others in another Unicode form (NFC, NFD)"
    return f" (the log has {brief(unknown[0], 30)!r}, the column {brief(held[0], 30)!r})"


def public_id(key: str, items: dict[str, Profile]) -> str | None:
    """A column of unique ids that people use, beside a key of mere numbers."""
    names = [name for name, profile in items.items() if name != key and _can_hold_ids(profile)]
    public = column_like(names, tuple(word for word in ITEMS if word != "item"))
    numeric = items[key].column.cast(pl.String).str.contains(r"^\d+$").all()
    if public is None or not numeric:
        return None
    column = items[public].column
    return public if column.is_unique().all() and column.null_count() == 0 else None


def is_running(column: pl.Series) -> bool:
    """Whether a column only counts the rows, from any start."""
    numbers = column.cast(pl.Int64, strict=False) if column.dtype == pl.String else column
    if len(column) < 2 or not numbers.dtype.is_integer() or numbers.null_count():
        return False
    return bool((numbers.diff().drop_nulls() == 1).all())


def _can_hold_ids(profile: Profile) -> bool:
    return profile.column.dtype.is_integer() or profile.column.dtype in (pl.String, pl.Categorical, pl.Enum)


def _share(seen: pl.Series, column: pl.Series) -> float:
    """Share of the items in the log that a column of the items file holds."""
    known = seen.is_in(column.cast(pl.String).unique().implode())
    return int(known.sum()) / max(len(known), 1)
