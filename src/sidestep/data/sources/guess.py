"""What somebody's own files most likely mean: which column is which, by its values first and its name second."""

from pathlib import Path

import polars as pl

from sidestep.data.sources import amazon, content, files, movielens, ordering
from sidestep.data.sources.decisions import Given, Guess, Taken
from sidestep.data.sources.delimited import Ragged
from sidestep.data.sources.hints import EVENTS, ITEMS, PRICES, RATINGS, USERS, column_like, like
from sidestep.data.sources.joins import join_column, public_id
from sidestep.data.sources.kinds import Profile
from sidestep.data.sources.moments import parser
from sidestep.data.sources.ratings import is_rating, rating_notes
from sidestep.data.texts import usual_fields
from sidestep.errors import ConfigError, DataError, brief, did_you_mean, listed

TELLING = 0.1
"""A share of different values above which words tell items apart; a few categories alone make no text."""
LONGEST_CODE = 8
"""Digits of a column's name that is a number."""
MOVIELENS_ENDINGS = (".data", ".dat", ".base", ".test")


def guess(interactions: Path, items: Path | None, given: Given | None = None) -> Guess:
    """Settings that read these two files.

    Raises:
        DataError: a file that cannot be read, or columns whose roles cannot be known. ConfigError: a column that the
            user names and the file lacks.
    """
    given = given or Given()
    content.check_name(interactions.parent.resolve())
    found = Guess({"path": interactions.parent.resolve(), "interactions": interactions.name})
    source = guess_source(interactions, given)
    found.decide(
        "source", source, "by the file's name and columns" if source != "table" else "a table with named columns"
    )
    if items is not None:
        content.check_name(items.resolve())
        near = items.parent.resolve() == interactions.parent.resolve()
        found.settings["items"] = items.name if near else str(items.resolve())
    if source != "table":
        return found
    log = read_log(interactions)
    table = None if items is None else read_items(items)
    _guess_log(interactions, log, table, given, found)
    if items is not None and table is not None:
        _guess_items(items, log, table, given, found)
    elif given.text is not None:
        raise ConfigError("--text names columns of the items file; give one with --items")
    return found


def guess_source(interactions: Path, given: Given) -> str:
    """The layout of a log: a known one by its file name or its columns, else a plain table."""
    if interactions.name.endswith(".inter"):
        return "recbole"
    if interactions.suffix.lower() in MOVIELENS_ENDINGS:
        movielens.layout_of(interactions)
        return "movielens"
    names = set(files.column_names(interactions))
    is_amazon = any({layout.user, layout.item, layout.time} <= names for layout in amazon.LAYOUTS)
    return "amazon" if is_amazon and files.kind_of(interactions) in files.JSON_LINES and not given.any else "table"


def read_log(path: Path) -> dict[str, Profile]:
    """Every column of a log.

    Raises:
        DataError: the first line holds values, not names.
    """
    names = files.column_names(path)
    in_text = files.kind_of(path) in files.DELIMITED
    if in_text and len(names) == 1:
        raise DataError(
            f"{str(path)!r} has the first line {brief(names[0])!r}, which is one column; expected the names of columns "
            "with commas, tabs, semicolons or bars between them"
        )
    if in_text and (2 * sum(map(_is_number, names)) > len(names) or any(map(_is_moment, names))):
        raise DataError(
            f"{str(path)!r} begins with {listed(names)}, which are values; add a first line that names the columns, "
            "such as user_id,item_id,time"
        )
    table = files.read_columns(path, names, ragged=Ragged())
    if table.is_empty():
        raise DataError(f"{str(path)!r} holds no interactions; expected at least one row")
    return {column.name: Profile(column) for column in table.get_columns()}


def _is_number(name: str) -> bool:
    return name.strip().replace(".", "").isdigit()


def _is_moment(name: str) -> bool:
    """Whether it is a date, or a number as large as moments are."""
    return (_is_number(name) and len(name.strip()) > LONGEST_CODE) or parser("d/m/y")(name.strip()) is not None


def read_items(path: Path) -> dict[str, Profile]:
    """Every column of an items file; ids of text files are text."""
    names = files.column_names(path)
    ids = names if files.kind_of(path) not in files.JSON_LINES else []
    return {column.name: Profile(column) for column in files.read_table(path, ids, Ragged()).get_columns()}


def _guess_log(
    path: Path, log: dict[str, Profile], items: dict[str, Profile] | None, given: Given, found: Guess
) -> None:
    roles: dict[str, tuple[str, str]] = {}
    untimed = given.time == ordering.NO_COLUMN and given.time not in log
    time, _, unit = ("" if untimed else given.time or "").partition("=")
    event, _, kinds = (given.event or "").partition("=")
    for option, name in (
        ("user", given.user),
        ("item", (given.item or "").split("=")[0]),
        ("time", time),
        ("event", event),
    ):
        if name:
            _require(path, log, name, option)
            roles[name] = (option, f"--{option}")
    _users_and_items(path, log, items, roles)
    for role, (name, (_, why)) in {entry[1][0]: entry for entry in roles.items()}.items():
        if role in ("user", "item"):
            found.decide(role, name, why)
    user = str(found.settings["user"])
    ordering.guess_order(path, log, user, roles, None if untimed else unit, found)
    chosen = event or next((name for name in log if name not in roles and _is_event(log[name])), None)
    if chosen:
        found.decide("event", chosen, roles.get(chosen, ("", _by(chosen, EVENTS)))[1])
        roles[chosen] = ("event", found.reasons[-1].rpartition(": ")[2])
        if kinds:
            found.decide("events", [kind.strip() for kind in kinds.split(",")], "--event")
        else:
            found.doubts.append(
                f"every kind in {chosen!r} counts as an interaction; choose with data.events, or --event "
                f"{chosen}=KIND,KIND"
            )
    for name, profile in log.items():
        role, why = roles.get(name) or _left_out(profile)
        found.columns.append(Taken(path.name, name, role, f"{why}; {profile.summary}" if why else profile.summary))
    found.ratings = rating_notes(profile for name, profile in log.items() if name not in roles)


def _users_and_items(
    path: Path, log: dict[str, Profile], items: dict[str, Profile] | None, roles: dict[str, tuple[str, str]]
) -> None:
    """Name the column of users and that of items: by hints, by the items file, or as the only ones left."""
    for role, words in (("user", USERS), ("item", ITEMS)):
        if role in {taken for taken, _ in roles.values()}:
            continue
        free = [name for name in log if name not in roles and not log[name].is_moment]
        column = column_like([name for name in free if log[name].distinct > 1], words) or column_like(free, words)
        if column is None:  # ids of 10 or 13 digits, such as bar codes, look like moments
            column = column_like([name for name in log if name not in roles and log[name].numbers is not None], words)
        if column is not None:
            roles[column] = (role, "by its name")
    if "item" not in {role for role, _ in roles.values()} and items is not None:
        joined = [name for name in log if name not in roles and log[name].is_id and name in items]
        if len(joined) == 1:
            roles[joined[0]] = ("item", "the items file has a column of this name")
    missing = [role for role in ("user", "item") if role not in {taken for taken, _ in roles.values()}]
    if not missing:
        return
    left = [name for name, profile in log.items() if name not in roles and _may_be_id(profile)]
    if len(missing) == 1 and len(left) == 1:
        roles[left[0]] = (missing[0], "the only other column of ids")
        return
    raise DataError(
        f"Cannot tell which column of {str(path)!r} holds the {missing[0]}s: {listed(left or log)}; "
        f"name it with --{missing[0]} COLUMN, or write a recipe with data.{missing[0]}"
    )


def _may_be_id(profile: Profile) -> bool:
    odd = profile.is_rating or profile.is_event or like(profile.name, (*RATINGS, *PRICES, *EVENTS))
    return profile.is_id and not odd and profile.distinct > 2


def _is_event(profile: Profile) -> bool:
    few = not profile.nested and 1 < profile.distinct <= 30
    return profile.is_event or (few and like(profile.name, EVENTS) and (profile.numbers is None or profile.is_whole))


def _by(name: str, words: tuple[str, ...]) -> str:
    return "by its name and values" if like(name, words) else "by its values"


def _left_out(profile: Profile) -> tuple[str, str]:
    if is_rating(profile):
        return "left out", "looks like a rating"
    if like(profile.name, PRICES) and profile.numbers is not None:
        return "left out", "looks like a price"
    return "left out", profile.looks


def _guess_items(path: Path, log: dict[str, Profile], items: dict[str, Profile], given: Given, found: Guess) -> None:
    roles: dict[str, tuple[str, str]] = {}
    named = (given.item or "").partition("=")[2]
    if named:
        _require(path, items, named, "item")
        key, why = named, "--item"
    else:
        key, why = join_column(path, log[str(found.settings["item"])], items)
    found.decide("item_key", key, why)
    roles[key] = ("item_key", why)
    public = public_id(key, items)
    if public is not None:
        why = f"unique, and more telling than the numbers in {key!r}"
        found.decide("item_id", public, why)
        roles[public] = ("item_id", why)
    if given.text is not None:
        fields, why = [name.strip() for name in given.text.split(",") if name.strip()], "--text"
        for name in fields:
            _require(path, items, name, "text")
    else:
        fields, why = text_fields(items, roles), "it holds words"
    found.decide("text_fields", fields, "they hold words" if fields else "no column holds words")
    for name, profile in items.items():
        role, reason = roles.get(name) or (("text", why) if name in fields else ("metadata", profile.looks))
        found.columns.append(Taken(path.name, name, role, f"{reason}; {profile.summary}"))


def text_fields(items: dict[str, Profile], roles: dict[str, tuple[str, str]]) -> list[str]:
    """The columns of words: those of usual names in reading order, then those whose values say so."""
    table = pl.DataFrame([profile.column for profile in items.values()])
    usual = usual_fields(table)
    if usual and usual[0].lower() == "text":
        return usual
    others = [profile for name, profile in items.items() if name not in (*usual, *roles) and profile.is_words]
    telling = any(profile.nested or profile.distinct > TELLING * len(profile.column) for profile in others)
    return [*usual, *(profile.name for profile in others if usual or telling)]


def _require(path: Path, columns: dict[str, Profile], name: str, option: str) -> None:
    if name not in columns:
        raise ConfigError(
            f"--{option} {name!r}: {str(path)!r} has no such column{did_you_mean(name, columns)}; "
            f"its columns are {listed(columns)}"
        )
