"""What users hold: outside ids in, recommendations with readable paths out."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from typing import Any, Literal

import numpy as np
import polars as pl

from sidestep.data.catalog import Catalog
from sidestep.data.fields import Flags, Where, meeting
from sidestep.data.interactions import NO_TIME, Interactions, Ints
from sidestep.data.reads import Reads
from sidestep.data.times import Time, Times, read_time, read_times
from sidestep.errors import DataError, MissingExtraError, brief, did_you_mean
from sidestep.recommenders.step import RankedRow, Step, named
from sidestep.sids.path_names import PathNames
from sidestep.sids.semantic_ids import SemanticIds


@dataclass(frozen=True)
class Recommendation:
    """path: how it was reached, where it was to be explained and the model has paths. reasons: why a second look put it
    at its place, where it was to be explained and there was one.
    """

    item_id: str
    title: str
    score: float
    path: list[Step] | None = None
    reasons: list[str] | None = None


@dataclass(frozen=True)
class Answer:
    """by: "popularity" where there was no history to go by. unknown: ids of the history that were skipped."""

    recommendations: list[Recommendation]
    by: Literal["model", "popularity"]
    unknown: list[str]

    @property
    def item_ids(self) -> list[str]:
        return [recommendation.item_id for recommendation in self.recommendations]


class Answers(list[Answer]):
    """The answers to many histories, in their order; a list that is also a table."""

    def to_polars(self) -> pl.DataFrame:
        """A row per recommended item: `history` (the number of the history, from 0), `rank` (from 1), `item_id`,
        `title`, `score` and `by`.
        """
        return pl.DataFrame(self._columns(), schema=_ANSWERS)

    def to_pandas(self) -> Any:
        """`to_polars` as a pandas frame.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        try:
            pandas = import_module("pandas")
        except ImportError:
            raise MissingExtraError("to_pandas needs `pip install pandas`; to_polars needs nothing further") from None
        return pandas.DataFrame(self._columns())

    def _columns(self) -> dict[str, list[Any]]:
        rows = [
            (number, rank, found.item_id, found.title, found.score, answer.by)
            for number, answer in enumerate(self)
            for rank, found in enumerate(answer.recommendations, start=1)
        ]
        return {name: [row[column] for row in rows] for column, name in enumerate(_ANSWERS)}


_ANSWERS: dict[str, Any] = {
    "history": pl.Int64, "rank": pl.Int64, "item_id": pl.String, "title": pl.String, "score": pl.Float64,
    "by": pl.String,
}  # fmt: skip


@dataclass(frozen=True)
class Past:
    """The known items of a history, when each was taken (`NO_TIME` where unknown), and the ids that are not known."""

    items: Ints
    times: Ints
    missing: list[str]


@dataclass(frozen=True, repr=False)
class Facade(ABC):
    """A model with the catalogue it answers from, whatever computes the answers; nothing here needs a tensor library.

    interactions: the log it was trained on, to answer for its users. sids: None where it says no IDs. make_names:
        makes `path_names` once a path is explained, which reads the titles of all items.
    """

    catalog: Catalog
    interactions: Interactions
    sids: SemanticIds | None
    make_names: Callable[[], PathNames]
    batch_size: int = field(default=128, kw_only=True)

    @property
    @abstractmethod
    def reads(self) -> Reads:
        """What the model reads of a history."""

    @abstractmethod
    def _ranked(
        self, pasts: list[Past], at: int, k: int, allowed: Any, exclude_seen: bool, explain: bool
    ) -> list[RankedRow]:
        """The answers to some histories. allowed: what `_laid` has made of the filter."""

    @abstractmethod
    def _laid(self, allowed: Flags | None) -> Any:
        """A filter, `[N]`, as `_ranked` takes it for many batches; None allows all items."""

    def recommend(
        self,
        history: Sequence[str],
        k: int = 10,
        *,
        times: Times | None = None,
        at: Time | None = None,
        exclude_seen: bool = True,
        allow: Sequence[str] | None = None,
        deny: Sequence[str] = (),
        where: Where | None = None,
        unknown: Literal["error", "skip"] = "error",
        explain: bool = False,
    ) -> Answer:
        """The k best items after one history of outside ids, oldest first. An empty history is answered by popularity.

        times: when each item of the history was taken, None where unknown. at: when the answer is wanted. Both are ISO
            8601 (UTC where no zone is named) or milliseconds since 1970; a model that reads no times answers the same
            without them. Where the log has no absolute times only differences count, in milliseconds of any start.
        exclude_seen: never recommend what the history holds. allow: recommend from these items only. deny: never these.
        where: conditions on the catalogue's columns, such as `{"price": {"max": 20}, "in_stock": True, "brand": ["a",
            "b"]}`; items without a value meet none.
        unknown: refuse ids the catalogue does not hold, or skip them and name them in the answer.

        Raises:
            UnknownItemError: an unknown id in the history, unless skipped, or in `allow` or `deny`.
            DataError: k below 1, a history that is one string, a time that cannot be read, times that fall or are not
                one for every item, a condition that does not fit its column.
        """
        return self.recommend_many(
            [history],
            k,
            times=[times],
            at=at,
            exclude_seen=exclude_seen,
            allow=allow,
            deny=deny,
            where=where,
            unknown=unknown,
            explain=explain,
        )[0]

    def recommend_many(
        self,
        histories: Sequence[Sequence[str]],
        k: int = 10,
        *,
        times: Sequence[Times | None] | None = None,
        at: Time | None = None,
        exclude_seen: bool = True,
        allow: Sequence[str] | None = None,
        deny: Sequence[str] = (),
        where: Where | None = None,
        unknown: Literal["error", "skip"] = "error",
        explain: bool = False,
        progress: Callable[[int], object] | None = None,
    ) -> Answers:
        """`recommend` for many histories, in batches, which is much faster than one by one. `to_polars()` and
        `to_pandas()` of the answers are tables.

        times: of each history, or None where they are unknown. at: one time for all.
        progress: called after each batch with the number of answers so far.
        """
        if k < 1:
            raise DataError(f"k = {k}, expected at least 1")
        for history in histories:
            if isinstance(history, str):
                raise DataError(f"A history is the single string {history!r}; expected a list of ids, as [{history!r}]")
            self.catalog.refuse_other_than_text(history)
        if times is not None and len(times) != len(histories):
            raise DataError(f"Expected times for each of {len(histories)} histories, got them for {len(times)}")
        moments: Sequence[Times | None] = [None] * len(histories) if times is None else times
        known = [self._known(history, when, unknown) for history, when in zip(histories, moments, strict=True)]
        asked = read_time(at, "at", self.interactions.absolute_times)
        allowed = self._laid(self._filter(allow, deny, where or {}))
        k = min(k, len(self.catalog))
        answers = Answers()
        for begin in range(0, len(known), self.batch_size):
            answers += self._answer(known[begin : begin + self.batch_size], asked, k, allowed, exclude_seen, explain)
            if progress is not None:
                progress(len(answers))
        return answers

    def histories_of(self, users: Sequence[str]) -> list[list[str]]:
        """All that users of the log did, as outside ids, oldest first.

        Raises:
            DataError: a user who is not in the log.
        """
        item_ids = self.catalog.item_ids
        return [[item_ids[item] for item in self.interactions.history(user)] for user in self._numbers(users)]

    def times_of(self, users: Sequence[str]) -> list[Ints]:
        """When users of the log took the items of `histories_of`, in milliseconds, `NO_TIME` where unknown.

        Raises:
            DataError: a user who is not in the log.
        """
        offsets, times = self.interactions.offsets, self.interactions.known_times
        return [times[offsets[user] : offsets[user + 1]] for user in self._numbers(users)]

    def _line(self, name: str, place: str | None) -> str:
        """The model in a few words."""
        levels = "" if self.sids is None else f", semantic IDs of {' x '.join(map(str, self.sids.codebook_sizes))}"
        users = f", {self.interactions.num_users:,} users" if self.interactions.num_users else ""
        return f"<sidestep model {name}: {len(self.catalog):,} items{users}{levels}{f', {place}' if place else ''}>"

    def _numbers(self, users: Sequence[str]) -> list[int]:
        number_of = self._user_numbers
        for user in users:
            if not isinstance(user, str):
                raise DataError(f"User id {brief(repr(user))} is of type {type(user).__name__}; ids are text")
            if user not in number_of:
                hint = did_you_mean(user, number_of) if len(number_of) <= 100_000 else ""
                raise DataError(f"Unknown user {user!r}: the log of {len(number_of)} users has no such id{hint}")
        return [number_of[user] for user in users]

    @property
    def semantic_ids(self) -> pl.DataFrame | None:
        """The semantic ID of every item, `[N]` rows: `item_id`, and `codes`, a list of L integers, coarse to fine. None
        where the method has none.
        """
        if self.sids is None:
            return None
        codes = pl.Series("codes", self.sids.codes.tolist(), dtype=pl.List(pl.Int64))
        return pl.DataFrame([pl.Series("item_id", self.catalog.item_ids, dtype=pl.String), codes])

    @cached_property
    def path_names(self) -> PathNames:
        """Names the codes and clusters of paths; of a model with semantic IDs."""
        return self.make_names()

    @cached_property
    def _user_numbers(self) -> dict[str, int]:
        return {user_id: user for user, user_id in enumerate(self.interactions.user_ids)}

    def _known(self, history: Sequence[str], times: Times | None, unknown: Literal["error", "skip"]) -> Past:
        absolute = self.interactions.absolute_times
        when = np.full(len(history), NO_TIME) if times is None else read_times(times, len(history), absolute)
        missing = [item_id for item_id in history if item_id not in self.catalog.number_of]
        if unknown == "skip" and missing:
            kept = [place for place, item_id in enumerate(history) if item_id in self.catalog.number_of]
            history, when = [history[place] for place in kept], when[kept]
        return Past(self.catalog.items(history), when, missing)

    def _filter(self, allow: Sequence[str] | None, deny: Sequence[str], where: Where) -> Flags | None:
        if allow is None and not deny and not where:
            return None
        allowed = np.full(len(self.catalog), allow is None)
        if allow is not None:
            allowed[self.catalog.items(allow)] = True
        allowed[self.catalog.items(deny)] = False
        return allowed & meeting(self.catalog.table, where)

    def _answer(
        self, known: list[Past], at: int, k: int, allowed: Any, exclude_seen: bool, explain: bool
    ) -> list[Answer]:
        ranked = self._ranked(known, at, k, allowed, exclude_seen, explain)
        return [
            Answer(self._row(row), "model" if len(past.items) else "popularity", past.missing)
            for row, past in zip(ranked, known, strict=True)
        ]

    def _row(self, row: RankedRow) -> list[Recommendation]:
        paths: Sequence[list[Step] | None] = [self._named(path) for path in row.paths or []] or [None] * len(row.items)
        reasons: list[list[str] | None] = [*(row.reasons or []), *[None] * len(row.items)]
        return [
            Recommendation(self.catalog.item_ids[item], self.catalog.title(item), score, path, reasons[rank])
            for rank, (item, score, path) in enumerate(zip(row.items, row.scores, paths, strict=True))
        ]

    def _named(self, path: list[Step]) -> list[Step]:
        return [step.titled(self.catalog.title) for step in named(path, self.path_names)]
