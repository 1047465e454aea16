"""A log replayed by the clock: at each event a recommender may use what happened before, and nothing else.

The simulator walks through the whole log in the order of time. It keeps every user's history as far as the clock has
come; at an event that is a case it asks for the item, with that history and the time, and only then does the event
become history. So no recommender is handed anything that happens later, whatever the log holds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from sidestep.data.interactions import NO_TIME, Interactions, Ints
from sidestep.data.sequences import pad, question
from sidestep.data.splits import Cases
from sidestep.errors import DataError
from sidestep.evaluation.ranking import Progress, RankTable, Seen, first_place
from sidestep.recommenders.recommender import ItemFilter, Recommender


@dataclass(frozen=True)
class Requests:
    """Some cases as the clock reaches them. numbers: of the cases, `[n]`. histories, times: all that their users did
    before, oldest first. asked: when, `[n]`.
    """

    numbers: Ints
    histories: Sequence[Ints]
    times: Sequence[Ints]
    asked: Ints


def requests(cases: Cases, at_once: int, slices: Ints) -> Iterator[Requests]:
    """The cases in the order of time, at most `at_once` together, and none together with one of another slice.

    slices: when they begin, rising.

    Raises:
        DataError: a log whose times do not order the events of all users.
    """
    log = cases.interactions
    check(log)
    assert log.times is not None
    case_of = np.full(len(log), -1)
    case_of[cases.rows] = np.arange(len(cases))
    order, users = np.argsort(log.times, kind="stable"), log.users
    number = np.searchsorted(slices, log.times, side="right")
    items: list[list[int]] = [[] for _ in range(log.num_users)]
    times: list[list[int]] = [[] for _ in range(log.num_users)]
    waiting: list[tuple[int, Ints, Ints, int]] = []
    now = -1
    for row in order.tolist():
        if waiting and (len(waiting) == at_once or number[row] != now):
            yield _together(waiting)
            waiting = []
        now, user, time = number[row], int(users[row]), int(log.times[row])
        if case_of[row] >= 0:
            past = np.array(items[user], dtype=np.int64), np.array(times[user], dtype=np.int64)
            waiting.append((int(case_of[row]), *past, time))
        items[user].append(int(log.items[row]))
        times[user].append(time)
    if waiting:
        yield _together(waiting)


def replayed(
    recommender: Recommender, cases: Cases, *, k: int, seen: Seen, at_once: int, slices: Ints, progress: Progress
) -> RankTable:
    """The rank of every case's target, in the order of the cases; see `requests`.

    seen: with "masked", items of the history are excluded, except for the target itself.
    """
    rows, done = np.zeros((len(cases), 3), dtype=np.int64), 0
    for some in requests(cases, at_once, slices):
        targets, absolute = cases.targets[some.numbers], cases.interactions.absolute_times
        excluded = [np.setdiff1d(past, target) for past, target in zip(some.histories, targets, strict=True)]
        barred = ItemFilter(pad(excluded)) if seen == "masked" else None
        asked = question(some.histories, recommender.reads, some.times, some.asked.tolist(), absolute)
        items = recommender.rank(asked, k, barred).items.cpu().numpy()
        lengths = [len(past) + 1 for past in some.histories]
        rows[some.numbers] = np.stack([first_place(items == targets[:, None]), (items >= 0).sum(1), lengths], axis=1)
        done += len(some.numbers)
        progress(done, len(cases))
    columns = {"user": cases.users, "length": rows[:, 2], "target": cases.targets, "rank": rows[:, 0]}
    table = pl.DataFrame({**columns, "served": rows[:, 1], "invalid": np.zeros(len(cases), dtype=np.int64)})
    return RankTable(table.with_columns(sid_rank=pl.lit(None, dtype=pl.Int64)), k, seen)


def check(log: Interactions) -> None:
    """Raises:
    DataError: a log whose times do not order the events of all users.
    """
    if log.times is None or not log.absolute_times:
        raise DataError(
            "--replay needs a log with absolute times, to know what happened before; name their column in data.time"
        )
    unknown = int((log.times == NO_TIME).sum())
    if unknown:
        raise DataError(
            f"--replay needs the time of every interaction, and {unknown:,} of {len(log):,} have none; fill them in, "
            "or leave these rows out"
        )


def _together(waiting: Sequence[tuple[int, Ints, Ints, int]]) -> Requests:
    numbers, histories, times, asked = (list(column) for column in zip(*waiting, strict=True))
    return Requests(np.array(numbers), histories, times, np.array(asked, dtype=np.int64))


def by_time(tables: dict[str, RankTable], cases: Cases, begins: Ints, metric: str) -> list[dict[str, Any]]:
    """A metric of every table, stretch of time by stretch of time: `from` (milliseconds), `cases` and the means.

    begins: when the stretches begin, rising; what lies before the first belongs to it.
    """
    number = np.maximum(np.searchsorted(begins, cases.asked, side="right") - 1, 0)
    rows = []
    for each in np.unique(number):
        chosen = number == each
        means = {name: float(table.values(metric)[chosen].mean()) for name, table in tables.items()}
        rows.append({"from": int(begins[each]), "cases": int(chosen.sum()), **means})
    return rows
