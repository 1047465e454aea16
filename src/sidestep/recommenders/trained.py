"""A trained model as users hold it: the facade over a recommender of PyTorch."""

from dataclasses import dataclass

import torch

from sidestep.data.fields import Flags
from sidestep.data.reads import Reads
from sidestep.data.sequences import pad, question
from sidestep.recommenders.facade import Facade, Past
from sidestep.recommenders.recommender import ItemFilter, Recommendations, Recommender
from sidestep.recommenders.step import RankedRow


@dataclass(frozen=True, repr=False)
class _Held:
    recommender: Recommender


@dataclass(frozen=True, repr=False)
class TrainedModel(Facade, _Held):
    """A recommender with the catalogue it answers from."""

    @property
    def reads(self) -> Reads:
        return self.recommender.reads

    def __repr__(self) -> str:
        return self._line(type(self.recommender).__name__, None)

    def _laid(self, allowed: Flags | None) -> ItemFilter:
        return ItemFilter() if allowed is None else ItemFilter(allowed=torch.from_numpy(allowed))

    def _ranked(
        self, pasts: list[Past], at: int, k: int, allowed: ItemFilter, exclude_seen: bool, explain: bool
    ) -> list[RankedRow]:
        histories = [past.items for past in pasts]
        times, absolute = [past.times for past in pasts], self.interactions.absolute_times
        batch = question(histories, self.reads, times, [at] * len(pasts), absolute)
        ranked = self.recommender.rank(batch, k, allowed.excluding(pad(histories) if exclude_seen else None), explain)
        return [_row(ranked, row) for row in range(len(pasts))]


def _row(ranked: Recommendations, row: int) -> RankedRow:
    count = int((ranked.items[row] >= 0).sum())
    paths = ranked.paths[row] if ranked.paths and ranked.paths[row] else None
    reasons = ranked.reasons[row] if ranked.reasons and ranked.reasons[row] else None
    return RankedRow(ranked.items[row][:count].tolist(), ranked.scores[row][:count].tolist(), paths, reasons)
