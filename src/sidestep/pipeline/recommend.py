"""Asking a trained model from the command line: which histories, and what is done with the answers."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import polars as pl

from sidestep.artifact import write_table
from sidestep.data.catalog import Catalog
from sidestep.data.fields import Where
from sidestep.data.sources.content import plain_text
from sidestep.data.times import Time, Times, read_time
from sidestep.durable import replacing_file
from sidestep.errors import ConfigError, DataError
from sidestep.progress import meter
from sidestep.recommenders.facade import Answer, Facade
from sidestep.recommenders.step import Step

FORMATS: dict[str, Callable[[pl.DataFrame, Path], object]] = {
    **dict.fromkeys((".parquet", ".pq", ""), lambda table, path: table.write_parquet(path)),
    ".csv": lambda table, path: table.write_csv(path),
    ".tsv": lambda table, path: table.write_csv(path, separator="\t"),
    **dict.fromkeys((".jsonl", ".ndjson"), lambda table, path: table.write_ndjson(path)),
}
"""How a table is written, by the end of the file's name."""

RECENT = 3
"""How many items of a history are shown with an answer."""


History = tuple[list[str], list[Time | None]]
"""Item ids, oldest first, and when each was taken."""


@dataclass(frozen=True)
class Question:
    """Either histories of item ids, or users of the log (None: every one of them).

    times: when the items of each history were taken; None where no time is given. at: when the answers are wanted.
    """

    histories: list[list[str]] | None = None
    users: list[str] | None = None
    times: list[list[Time | None]] | None = None
    at: str | None = None

    @classmethod
    def of(cls, histories: Sequence[History], at: str | None = None) -> "Question":
        timed = any(time is not None for _, times in histories for time in times)
        return cls([ids for ids, _ in histories], times=[times for _, times in histories] if timed else None, at=at)


@dataclass(frozen=True)
class Permitted:
    """What may be recommended: only `allow`, none of `deny`, and what meets `where`; see `Facade.recommend`."""

    allow: Sequence[str] | None = None
    deny: Sequence[str] = ()
    where: Where = field(default_factory=dict)


EVERYTHING = Permitted()


@dataclass(frozen=True)
class Answered:
    """asked: the user's id, or the number of the history. recent: titles of the last known items of the history."""

    asked: str
    history: list[str]
    answer: Answer
    recent: list[str]


def ids_of_file(path: Path) -> list[str]:
    """The item ids of a file, one a line.

    Raises:
        DataError: no UTF-8 text.
    """
    return [line for line in _lines(path) if line.strip()]


def histories_of_file(path: Path) -> list[History]:
    """The histories of a file, a JSON list a line as `checked_history` reads it; empty lines are left out.

    Raises:
        DataError: no UTF-8 text, or a line that is no list of item ids.
    """
    return list(_histories(path))


def checked_ids(value: Any, where: str) -> list[str]:
    """A JSON value that must be a list of item ids; numbers are taken as text.

    Raises:
        DataError: anything else. where: begins the message.
    """
    if not isinstance(value, list) or not all(isinstance(item_id, str | int) for item_id in value):
        raise DataError(f"{where} is {str(value)[:60]!r}; expected a list of item ids")
    return [str(item_id) for item_id in value]


def checked_history(value: Any, where: str) -> History:
    """A JSON value that must be a list of item ids or of `{"item_id": ..., "time": ...}`, whose time may be left out.

    Raises:
        DataError: anything else. where: begins the message.
    """
    if not isinstance(value, list) or not any(isinstance(entry, dict) for entry in value):
        ids = checked_ids(value, where)
        return ids, [None] * len(ids)
    entries = [entry if isinstance(entry, dict) else {"item_id": entry} for entry in value]
    for entry in entries:
        if not {"item_id"} <= entry.keys() <= {"item_id", "time"}:
            raise DataError(f"{where} holds {str(entry)[:60]!r}; expected an item id, or an object of item_id and time")
        read_time(entry.get("time"), f"a time of {where}")  # or refuse it under the name of its place
    return checked_ids([entry["item_id"] for entry in entries], where), [entry.get("time") for entry in entries]


def _lines(path: Path) -> list[str]:
    """The lines of a file, or of a pipe, without a byte-order mark and the ends of lines."""
    try:
        text = plain_text(path.read_bytes(), path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{str(path)!r} is no UTF-8 text: {error}") from None
    return [line.removesuffix("\r") for line in text.split("\n")]  # an id may hold what `splitlines` takes for an end


def _histories(path: Path) -> Iterator[History]:
    for number, line in enumerate(_lines(path), start=1):
        if line.strip():
            try:
                yield checked_history(json.loads(line), f"{str(path)!r}, line {number}")
            except DataError:
                raise
            except (ValueError, RecursionError):
                raise DataError(
                    f"{str(path)!r}, line {number} is {line[:60]!r}; expected one JSON list of item ids a line, "
                    'such as ["B004756YJA", "B004ZT0SSG"]'
                ) from None


def answer(
    model: Facade,
    question: Question,
    k: int,
    *,
    explain: bool = False,
    exclude_seen: bool = True,
    permitted: Permitted = EVERYTHING,
    unknown: Literal["error", "skip"] = "error",
) -> list[Answered]:
    """Ask the model, with a progress bar where there are many; see `Facade.recommend`.

    Raises:
        DataError: an unknown item or user, a time that cannot be read, or one for users of a log without a clock.
    """
    log = model.interactions
    times: Sequence[Times] | None = question.times
    if question.histories is None:
        if question.at is not None and not log.absolute_times:
            raise DataError(
                f"--at {question.at} needs a log with absolute times, and this one has none; leave --at out, or bring "
                "the history with times of your own"
            )
        users = log.user_ids if question.users is None else question.users
        asked, histories = users, model.histories_of(users)
        times = model.times_of(users) if model.reads.times else None
    else:
        asked, histories = [str(number) for number in range(1, len(question.histories) + 1)], question.histories
    with meter("recommend", len(histories)) as shown:
        found = model.recommend_many(
            histories,
            k,
            times=times,
            at=question.at,
            explain=explain,
            exclude_seen=exclude_seen,
            allow=permitted.allow,
            deny=permitted.deny,
            where=permitted.where,
            unknown=unknown,
            progress=shown.update,
        )
    recent = [_titles(model.catalog, history[-RECENT:]) for history in histories]
    return list(map(Answered, asked, histories, found, recent))


def _titles(catalog: Catalog, item_ids: list[str]) -> list[str]:
    """Titles of those of the items that the catalogue holds."""
    return [catalog.title(catalog.number_of[item_id]) for item_id in item_ids if item_id in catalog.number_of]


def as_json(answered: Answered) -> dict[str, Any]:
    answer = answered.answer
    explained = any(each.path is not None for each in answer.recommendations)
    recommendations = [
        {"item_id": each.item_id, "title": each.title, "score": each.score}
        | ({"thoughts": None if each.path is None else _steps(each.path)} if explained else {})
        | ({} if each.reasons is None else {"reasons": each.reasons})
        for each in answer.recommendations
    ]
    return {
        "asked": answered.asked,
        "history": answered.history,
        "recommendations": recommendations,
        "by": answer.by,
        "unknown": answer.unknown,
    }


def _steps(path: list[Step]) -> list[dict[str, Any]]:
    """A path under the keys that `--json` and `--out` have for it."""
    return [
        {
            "level": step.level,
            "clusters": [[each.name, each.probability] for each in step.clusters],
            "thinks_of": None if step.thinks_of is None else step.thinks_of.as_json(),
            "code": step.code,
            "log_prob": step.log_prob,
            "name": step.name,
            "num_items": step.num_items,
        }
        | ({"looked_up": [each.title for each in step.looked_up]} if step.looked_up else {})
        for step in path
    ]


def check_format(path: Path) -> None:
    """Refuse a name whose ending promises a format that `write` does not write.

    Raises:
        ConfigError: an ending other than .parquet, .pq, .csv, .tsv, .jsonl and .ndjson; without one it is Parquet.
    """
    if path.suffix.lower() not in FORMATS:
        known = ", ".join(ending for ending in FORMATS if ending)
        raise ConfigError(f"--out {str(path)!r}: no table is written as {path.suffix!r}; expected one of {known}")


def write(answers: list[Answered], path: Path) -> None:
    """`as_table` as a file that is replaced in one step. The end of its name decides the format, see `check_format`."""
    with replacing_file(path) as staging:
        write_table(staging, as_table(answers), FORMATS[path.suffix.lower()])


def as_table(answers: list[Answered]) -> pl.DataFrame:
    """One row per recommended item, with its path as JSON and its reasons where they were asked for."""
    rows = [
        {
            "asked": answered.asked,
            "rank": rank,
            "item_id": found.item_id,
            "score": found.score,
            "by": answered.answer.by,
            "thoughts": None if found.path is None else json.dumps(_steps(found.path)),
            "reasons": None if found.reasons is None else "; ".join(found.reasons),
        }
        for answered in answers
        for rank, found in enumerate(answered.answer.recommendations, start=1)
    ]
    schema = {
        "asked": pl.String, "rank": pl.Int64, "item_id": pl.String, "score": pl.Float64, "by": pl.String,
        "thoughts": pl.String, "reasons": pl.String,
    }  # fmt: skip
    table = pl.DataFrame(rows, schema=schema)
    return table.drop(name for name in ("thoughts", "reasons") if table[name].is_null().all())
