"""What users hold: outside ids in, recommendations with readable paths out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch

from sidestep.data.catalog import Catalog
from sidestep.data.interactions import Interactions, Ints
from sidestep.data.sequences import pad, question
from sidestep.errors import DataError, did_you_mean
from sidestep.recommenders.recommender import ItemFilter, Recommendations, Recommender
from sidestep.recommenders.step import Step
from sidestep.sids.semantic_ids import SemanticIds


@dataclass(frozen=True)
class Recommendation:
    """path: how it was reached, where it was to be explained and the model has paths."""

    item_id: str
    title: str
    score: float
    path: list[Step] | None = None


@dataclass(frozen=True)
class Answer:
    """by: "popularity" where there was no history to go by. unknown: ids of the history that were skipped."""

    recommendations: list[Recommendation]
    by: Literal["model", "popularity"]
    unknown: list[str]

    @property
    def item_ids(self) -> list[str]:
        return [recommendation.item_id for recommendation in self.recommendations]


@dataclass(frozen=True)
class TrainedModel:
    """A recommender with the catalogue it answers from. Made by `sidestep.load`.

    interactions: the log it was trained on, to answer for its users. sids: None where it says no IDs. name_clusters:
        makes `cluster_names` once they are asked for, which reads the texts of all items.
    """

    recommender: Recommender
    catalog: Catalog
    interactions: Interactions
    sids: SemanticIds | None
    name_clusters: Callable[[], list[list[str]]]
    batch_size: int = 128

    def recommend(
        self,
        history: Sequence[str],
        k: int = 10,
        *,
        exclude_seen: bool = True,
        allow: Sequence[str] | None = None,
        deny: Sequence[str] = (),
        unknown: Literal["error", "skip"] = "error",
        explain: bool = False,
    ) -> Answer:
        """The k best items after one history of outside ids, oldest first. An empty history is answered by popularity.

        exclude_seen: never recommend what the history holds. allow: recommend from these items only. deny: never these.
        unknown: refuse ids the catalogue does not hold, or skip them and name them in the answer.

        Raises:
            UnknownItemError: an unknown id in the history, unless skipped, or in `allow` or `deny`.
            DataError: k below 1, or a history that is one string.
        """
        return self.recommend_many(
            [history], k, exclude_seen=exclude_seen, allow=allow, deny=deny, unknown=unknown, explain=explain
        )[0]

    def recommend_many(
        self,
        histories: Sequence[Sequence[str]],
        k: int = 10,
        *,
        exclude_seen: bool = True,
        allow: Sequence[str] | None = None,
        deny: Sequence[str] = (),
        unknown: Literal["error", "skip"] = "error",
        explain: bool = False,
        progress: Callable[[int], object] | None = None,
    ) -> list[Answer]:
        """`recommend` for many histories, in batches, which is much faster than one by one.

        progress: told after each batch how many are answered.
        """
        if k < 1:
            raise DataError(f"k = {k}, expected at least 1")
        for history in histories:
            if isinstance(history, str):
                raise DataError(f"A history is the single string {history!r}; expected a list of ids, as [{history!r}]")
        known = [self._known(history, unknown) for history in histories]
        allowed = self._filter(allow, deny)
        k = min(k, len(self.catalog))
        answers: list[Answer] = []
        for begin in range(0, len(known), self.batch_size):
            answers += self._answer(known[begin : begin + self.batch_size], k, allowed, exclude_seen, explain)
            if progress is not None:
                progress(len(answers))
        return answers

    def histories_of(self, users: Sequence[str]) -> list[list[str]]:
        """All that users of the log did, as outside ids, oldest first.

        Raises:
            DataError: a user who is not in the log.
        """
        number_of, item_ids = self._user_numbers, self.catalog.item_ids
        for user in users:
            if user not in number_of:
                hint = did_you_mean(user, number_of) if len(number_of) <= 100_000 else ""
                raise DataError(f"Unknown user {user!r}: the log of {len(number_of)} users has no such id{hint}")
        return [[item_ids[item] for item in self.interactions.history(number_of[user])] for user in users]

    @cached_property
    def cluster_names(self) -> list[list[str]]:
        """Per level, a name per cluster."""
        return self.name_clusters()

    @cached_property
    def _user_numbers(self) -> dict[str, int]:
        return {user_id: user for user, user_id in enumerate(self.interactions.user_ids)}

    def _known(self, history: Sequence[str], unknown: Literal["error", "skip"]) -> tuple[Ints, list[str]]:
        missing = [item_id for item_id in history if item_id not in self.catalog.number_of]
        if unknown == "skip" and missing:
            history = [item_id for item_id in history if item_id in self.catalog.number_of]
        return self.catalog.items(history), missing

    def _filter(self, allow: Sequence[str] | None, deny: Sequence[str]) -> ItemFilter:
        if allow is None and not deny:
            return ItemFilter()
        allowed = np.full(len(self.catalog), allow is None)
        if allow is not None:
            allowed[self.catalog.items(allow)] = True
        allowed[self.catalog.items(deny)] = False
        return ItemFilter(allowed=torch.from_numpy(allowed))

    def _answer(
        self,
        known: list[tuple[Ints, list[str]]],
        k: int,
        allowed: ItemFilter,
        exclude_seen: bool,
        explain: bool,
    ) -> list[Answer]:
        histories = [history for history, _ in known]
        barred = allowed.excluding(pad(histories) if exclude_seen else None)
        ranked = self.recommender.rank(question(histories, self.recommender.reads), k, barred, explain)
        return [
            Answer(self._row(ranked, row), "model" if len(history) else "popularity", missing)
            for row, (history, missing) in enumerate(known)
        ]

    def _row(self, ranked: Recommendations, row: int) -> list[Recommendation]:
        items = [item for item in ranked.items[row].tolist() if item >= 0]
        paths: list[list[Step] | None] = [None] * len(items)
        if ranked.paths and ranked.paths[row]:
            paths = [self._named(path) for path in ranked.paths[row]]
        scores = ranked.scores[row].tolist()
        return [
            Recommendation(self.catalog.item_ids[item], self.catalog.title(item), scores[rank], paths[rank])
            for rank, item in enumerate(items)
        ]

    def _named(self, path: list[Step]) -> list[Step]:
        """Names are made when a path has clusters to name."""
        return [step.named(self.cluster_names) if step.clusters else step for step in path]
