"""What somebody's own files most likely mean: which column is which, and why we think so."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from sidestep.data.interactions import NO_TIME
from sidestep.data.sources import amazon, columns, files, movielens
from sidestep.data.sources.config import DataConfig
from sidestep.data.sources.texts import usual_fields
from sidestep.errors import DataError

USERS = (
    *("userid", "user", "uid", "reviewerid", "customerid", "customer", "visitorid", "memberid", "accountid"),
    *("clientid", "buyerid", "playerid", "author", "sessionid", "session"),
)
ITEMS = (
    *("itemid", "item", "iid", "parentasin", "asin", "productid", "product", "sku", "ean", "isbn", "movieid"),
    *("videoid", "trackid", "songid", "bookid", "articleid", "newsid", "gameid", "adid", "businessid", "contentid"),
)
TIMES = (
    *("timestamp", "timems", "times", "time", "ts", "datetime", "eventtime", "eventtimestamp", "unixreviewtime"),
    *("unixtime", "createdat", "date", "day", "when", "relseconds", "reltime", "reviewtime"),
)
POSITIONS = ("position", "pos", "step", "seqno", "sequence", "sequenceno", "itemposition")
RATINGS = ("rating", "ratings", "stars", "star", "overall", "score", "starrating")
YEAR_1990 = 631_152_000_000


@dataclass
class Guess:
    """settings: keys of [data] as guessed. reasons: why, one line each. doubts: what looked odd on the way."""

    settings: dict[str, object] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)

    def say(self, key: str, value: object, why: str) -> None:
        self.settings[key] = value
        self.reasons.append(f"{key} = {value!r}: {why}")

    @property
    def config(self) -> DataConfig:
        return DataConfig.model_validate(self.settings)


def guess(interactions: Path, items: Path | None) -> Guess:
    """Settings that read these two files.

    Raises:
        DataError: a file that cannot be read, or no column that could hold users or items.
    """
    found = Guess({"path": interactions.parent.resolve(), "interactions": interactions.name})
    source = guess_source(interactions)
    found.say("source", source, "by the file's name and columns" if source != "table" else "a table with named columns")
    if items is not None:
        near = items.parent.resolve() == interactions.parent.resolve()
        found.settings["items"] = items.name if near else str(items.resolve())
    if source == "table":
        _guess_log(interactions, found)
        if items is not None:
            _guess_items(interactions, items, found)
    return found


def guess_source(interactions: Path) -> str:
    """The layout of a log: a known one by its file name or its columns, else a plain table."""
    if interactions.name.endswith(".inter"):
        return "recbole"
    if interactions.name in [ratings for ratings, *_ in movielens.LAYOUTS if not ratings.endswith(".csv")]:
        return "movielens"
    names = set(files.column_names(interactions))
    is_amazon = any({layout.user, layout.item, layout.time} <= names for layout in amazon.LAYOUTS)
    return "amazon" if is_amazon and files.kind_of(interactions) in files.JSON_LINES else "table"


def column_like(names: Sequence[str], words: Sequence[str]) -> str | None:
    """The column whose name, without case and punctuation, is one of the words, the earliest word first."""
    plain = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in reversed(names)}
    return next((plain[word] for word in words if word in plain), None)


def rating_column(interactions: Path) -> str | None:
    """A column of ratings in a plain table, if there is one."""
    return column_like(files.column_names(interactions), RATINGS)


def _guess_log(path: Path, found: Guess) -> None:
    names = files.column_names(path)
    for key, words in (("user", USERS), ("item", ITEMS)):
        column = column_like(names, words)
        if column is None:
            raise DataError(
                f"Cannot tell which column of {str(path)!r} holds the {key}s: {', '.join(names)}; "
                f"rename it to {key}_id, or write a recipe with data.{key}"
            )
        found.say(key, column, "by its name")
    position, time = column_like(names, POSITIONS), column_like(names, TIMES)
    if position is not None and _is_position(files.read_columns(path, [position])[position], path):
        found.say("order", position, "by its name, and it holds numbers")
    if time is not None:
        _guess_time(files.read_columns(path, [time])[time], path, found)
    if "order" not in found.settings and "time" not in found.settings:
        found.doubts.append("no column of times or positions: the order of the file is taken for the order of events")


def _is_position(column: pl.Series, path: Path) -> bool:
    try:
        columns.order(column, path)
    except DataError:
        return False
    return True


def _guess_time(column: pl.Series, path: Path, found: Guess) -> None:
    try:
        moments, unit = columns.times(column, "auto", path)
    except DataError as error:
        found.doubts.append(f"column {column.name!r} looks like a time but cannot be read as one: {error}")
        return
    missing = moments.null_count()
    if missing and "order" not in found.settings:
        found.doubts.append(f"{missing} rows have no {column.name!r}, so it cannot order the log and is not used")
        return
    found.say("time", column.name, "by its name")
    found.say("time_unit", unit, "by the size of its numbers" if unit != "iso" else "its values are dates")
    middle = moments.median()
    absolute = isinstance(middle, (int, float)) and middle >= YEAR_1990
    why = "the times lie after 1990" if absolute else "the times lie before 1990, so they count from some start"
    found.say("absolute_times", absolute, why)
    if len(moments) > 1 and moments.n_unique() == 1:
        found.doubts.append(f"every row has the same {column.name!r}: it orders nothing")
    latest = moments.max()
    if absolute and isinstance(latest, int) and latest != NO_TIME and latest > YEAR_1990 + 110 * 31_556_952_000:
        found.doubts.append(f"the latest {column.name!r} lies after the year 2100; is data.time_unit right?")


def _guess_items(interactions: Path, items: Path, found: Guess) -> None:
    item = str(found.settings["item"])
    table = files.read_table(items, files.column_names(items) if files.kind_of(items) not in files.JSON_LINES else [])
    seen = files.read_columns(interactions, [item])[item].cast(pl.String).unique().drop_nulls()
    candidates = [column for column in table.get_columns() if column.dtype.is_integer() or column.dtype == pl.String]
    if not candidates:
        raise DataError(f"{str(items)!r} has no column that could hold item ids; it has {', '.join(table.columns)}")
    shares = {column.name: _share(seen, column) for column in candidates}
    key = max(shares, key=lambda name: (round(shares[name], 2), name == item))
    found.say("item_key", key, f"it holds {shares[key]:.1%} of the items in the log")
    public = column_like([name for name in shares if name != key], [word for word in ITEMS if word != "item"])
    numeric = table[key].cast(pl.String).str.contains(r"^\d+$").all()
    if public is not None and numeric and table[public].is_unique().all() and table[public].null_count() == 0:
        found.say("item_id", public, f"unique, and more telling than the numbers in {key!r}")
    fields = usual_fields(table)
    found.say("text_fields", fields, "they hold words" if fields else "no column holds words")


def _share(seen: pl.Series, column: pl.Series) -> float:
    """Share of the items in the log that a column of the items file holds."""
    known = seen.is_in(column.cast(pl.String).unique().implode())
    return int(known.sum()) / max(len(known), 1)
