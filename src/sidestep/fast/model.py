"""A bundle with a graph as users hold it, without torch."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sidestep.data.fields import Flags
from sidestep.data.interactions import Interactions
from sidestep.data.reads import Reads
from sidestep.fast.recommender import GraphRecommender, When, open_recommender
from sidestep.recommenders.facade import Facade, Past
from sidestep.recommenders.step import RankedRow
from sidestep.sids.flat_trie import Laid


@dataclass(frozen=True, repr=False)
class _Held:
    recommender: GraphRecommender


@dataclass(frozen=True, repr=False)
class GraphModel(Facade, _Held):
    """A bundle's graph with the catalogue it answers from."""

    @property
    def reads(self) -> Reads:
        return self.recommender.reads

    def __repr__(self) -> str:
        return self._line(type(self.recommender).__name__, None)

    def _laid(self, allowed: Flags | None) -> Laid:
        return self.recommender.everything if allowed is None else Laid.over(self.recommender.trie, allowed)

    def _ranked(
        self, pasts: list[Past], at: int, k: int, allowed: Laid, exclude_seen: bool, explain: bool
    ) -> list[RankedRow]:
        histories = [past.items for past in pasts]
        excluded = [past.items.tolist() if exclude_seen else [] for past in pasts]
        when = When([past.times for past in pasts], [at] * len(pasts))
        return self.recommender.rank(histories, excluded, k, allowed, explain, when=when)


def open_model(folder: Path) -> GraphModel:
    """The model of a bundle that has a graph. Raises as `open_recommender`."""
    opened, recommender = open_recommender(folder)
    nobody = Interactions([], np.zeros(1, np.int64), np.zeros(0, np.int64), absolute_times=opened.absolute_times)
    return GraphModel(recommender, opened.catalog, nobody, opened.sids, lambda: opened.path_names)
