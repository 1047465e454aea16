"""What the words of a command line mean: text in, the typed values that the rooms below take out."""

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sidestep.errors import ConfigError, brief

if TYPE_CHECKING:
    from sidestep.pipeline.recommend import History, Question
    from sidestep.workshop.tables import Source


def read_numbers(text: str, option: str, example: str) -> tuple[int, ...]:
    """`"0,1,2"` -> `(0, 1, 2)`.

    Raises:
        ConfigError: anything but whole numbers with commas.
    """
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError:
        raise ConfigError(
            f"Cannot read {option} {text!r}; expected whole numbers with commas, as in {example}"
        ) from None


def read_seeds(text: str) -> tuple[int, ...]:
    """The seeds of a study, each once. Raises as `read_numbers`."""
    return tuple(dict.fromkeys(read_numbers(text, "--seeds", "0,1,2")))


def read_depths(text: str | None) -> tuple[int, ...]:
    """The K of the metrics; none where the option is left out. Raises as `read_numbers`."""
    return () if text is None else read_numbers(text, "--at", "1,5,10")


def read_prefix(text: str) -> tuple[int, ...]:
    """The codes at the first levels of a semantic ID. Raises as `read_numbers`."""
    return read_numbers(text, "--code", "12 or 12,5")


def read_replicas(text: str, engine: str) -> tuple[int, int]:
    """`"2"` -> `(2, 2)`, `"1:4"` -> `(1, 4)`.

    Raises:
        ConfigError: anything else, or more than one without Ray.
    """
    fewest, _, most = text.partition(":")
    if not fewest.isdecimal() or not (most or fewest).isdecimal() or not 1 <= int(fewest) <= int(most or fewest):
        raise ConfigError(f"Cannot read --replicas {text!r}; expected a number from 1, or two as in 1:4")
    if engine != "ray" and text != "1":
        raise ConfigError(f"--replicas {text} needs --engine ray; without it, start several servers behind a balancer")
    return int(fewest), int(most or fewest)


def read_ids(text: str, option: str) -> list[str]:
    """`"a,b,c"`, or a JSON list where ids hold commas.

    Raises:
        ConfigError: no JSON list, though it begins like one. DataError: a list of something else.
    """
    from sidestep.pipeline.recommend import checked_ids

    if not text.lstrip().startswith("["):
        return [item_id.strip() for item_id in text.split(",") if item_id.strip()]
    return checked_ids(_json(text, option), option)


def _json(text: str, option: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # no JSON, too deep, or numbers of thousands of digits
        raise ConfigError(f"Cannot read {option} {brief(text)!r} as a JSON list: {brief(error)}") from None


def read_ids_or_file(text: str | None, option: str) -> list[str] | None:
    """The ids of --allow or --deny: one a line where the text names a file, else as `read_ids` reads them; None where
    the option is left out. Raises as `read_ids`.
    """
    from sidestep.pipeline.recommend import ids_of_file

    if text is None:
        return None
    if os.path.isfile(text):  # Path.is_file would raise where a long list is no file name
        return ids_of_file(Path(text))
    return read_ids(text, option)


def read_where(texts: list[str]) -> dict[str, Any]:
    """`["price<=20", "brand=a", "brand=b"]` -> `{"price": {"max": "20"}, "brand": ["a", "b"]}`.

    Raises:
        ConfigError: no condition, or a range and single values of one column.
    """
    ranges: dict[str, dict[str, str]] = {}
    values: dict[str, list[str]] = {}
    for text in texts:
        found = re.fullmatch(r"\s*([^<>=]+?)\s*(<=|>=|=)\s*(.+?)\s*", text)
        if found is None:
            raise ConfigError(
                f"Cannot read --where {brief(text)!r}; expected COLUMN=VALUE, COLUMN>=NUMBER or COLUMN<=NUMBER"
            )
        name, sign, value = found.groups()
        if sign == "=":
            values.setdefault(name, []).append(value)
        else:
            ranges.setdefault(name, {})["min" if sign == ">=" else "max"] = value
    for name in sorted(ranges.keys() & values.keys()):
        raise ConfigError(f"--where asks for a range and for single values of {name!r}; ask for one of them")
    return {**ranges, **values}


def read_history(text: str, option: str) -> "History":
    """`"a,b,c"`, or a JSON list of ids or of objects with `item_id` and `time`. Raises as `read_ids`."""
    from sidestep.pipeline.recommend import checked_history

    if not text.lstrip().startswith("["):
        ids = read_ids(text, option)
        return ids, [None] * len(ids)
    return checked_history(_json(text, option), option)


def read_question(
    history: str | None, users: list[str] | None, histories: Path | None, all_users: bool, at: str | None = None
) -> "Question":
    """What the options of `sidestep recommend` ask for.

    Raises:
        ConfigError: none or several of the four. DataError: a file of histories that cannot be read.
    """
    from sidestep.pipeline.recommend import Question, histories_of_file

    given = [history is not None, bool(users), histories is not None, all_users]
    if sum(given) != 1:
        raise ConfigError(f"Expected one of --history, --user, --histories and --all-users, got {sum(given)}")
    if history is not None:
        return Question.of([read_history(history, "--history")], at)
    if histories is not None:
        return Question.of(histories_of_file(histories), at)
    return Question(users=users or None, at=at)


def read_source(text: str) -> "Source":
    """Where semantic IDs lie: `RUN`, `RUN@VERSION`, a folder of IDs, `FILE` or `FILE:TABLE`. A path that exists as
    spelled is that path.
    """
    from sidestep.workshop.tables import Source, is_run

    if Path(text).exists():
        return Source(Path(text))
    run, at, version = text.rpartition("@")
    if at and version.isdecimal() and is_run(Path(run)):
        return Source(Path(run), version=int(version))
    file, colon, table = text.rpartition(":")
    return Source(Path(file), table=table) if colon else Source(Path(text))
