"""Cross-fitted cases as training data: the features of every hit, computed once from what its fold may see."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sidestep.data.interactions import Ints
from sidestep.data.splits import TrainingInteractions
from sidestep.losses.reranking import listwise
from sidestep.rerankers.cases import CandidateCases, without
from sidestep.rerankers.evidence import FEATURES, MOST_HISTORY, Evidence
from sidestep.rerankers.scenes import Taught


@dataclass(frozen=True)
class Featured:
    """Hits with their evidence.

    features: `[n, C, F]`. real: where there is a candidate. places: of the answer among the candidates, from 0.
    """

    features: Float[Tensor, "n C F"]
    real: Bool[Tensor, "n C"]
    places: Int[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.places)

    def take(self, rows: Int[Tensor, " m"]) -> "Featured":
        return Featured(self.features[rows], self.real[rows], self.places[rows])

    def to(self, device: torch.device) -> "Featured":
        return Featured(self.features.to(device), self.real.to(device), self.places.to(device))

    def scores(self, model: nn.Module) -> Float[Tensor, "n C"]:
        """Of a model of the features; `-inf` where there is no candidate."""
        scores: Tensor = model(self.features)
        return scores.masked_fill(~self.real, -torch.inf)

    def ranks(self, model: nn.Module) -> Ints:
        """The new place of every answer, from 1, `[n]`."""
        order = self.scores(model).sort(dim=1, descending=True, stable=True).indices
        return 1 + (order == self.places[:, None]).int().argmax(1).cpu().numpy().astype(np.int64)


class HitBatches:
    """Hits as `training.loop.Batches`; the order is a pure function of (seed, epoch).

    steps: batches of an epoch; None takes all.
    """

    def __init__(self, data: Featured | Taught, batch_size: int, seed: int, steps: int | None = None) -> None:
        self._data, self._size, self._seed, self._steps = data, batch_size, seed, steps

    def batches(self, epoch: int) -> Sequence[Tensor]:
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self._data))
        whole = [torch.from_numpy(order[begin : begin + self._size]) for begin in range(0, len(order), self._size)]
        return whole[: self._steps]

    def load(self, index: Tensor) -> Featured | Taught:
        return self._data.take(index)


def taken_first(model: nn.Module, batch: Featured) -> dict[str, Tensor]:
    """The list-wise objective: `total = listwise` (the answer's cross-entropy among the candidates)."""
    return {"total": listwise(batch.scores(model), batch.places)}


def crossed_features(
    cases: CandidateCases, train: TrainingInteractions, fold_of: Ints, tables: Callable[[], Evidence]
) -> Featured:
    """The evidence of hits, each with the tables of its fold; see `by_fold`."""
    parts = [features_of(*each) for each in by_fold(cases, train, fold_of, tables)]
    return Featured(*(torch.cat(column) for column in zip(*map(_columns, parts), strict=True)))


def by_fold(
    cases: CandidateCases, train: TrainingInteractions, fold_of: Ints, tables: Callable[[], Evidence]
) -> Iterator[tuple[CandidateCases, Evidence]]:
    """The cases of each fold, and tables counted without its users.

    fold_of: the fold of every user. tables: makes evidence without counts.
    """
    for fold in range(int(fold_of.max(initial=0)) + 1):
        yield cases.take(np.flatnonzero(cases.folds == fold)), tables().learn(without(train, fold_of, fold))


def features_of(cases: CandidateCases, evidence: Evidence) -> Featured:
    """The evidence of hits."""
    features = [torch.zeros(0, cases.items.shape[1], len(FEATURES))]
    features += [evidence(*each).cpu() for each in cases.portions(MOST_HISTORY, evidence.counts.device)]
    return Featured(torch.cat(features), torch.from_numpy(cases.items >= 0), torch.from_numpy(cases.ranks - 1))


def _columns(part: Featured) -> tuple[Tensor, Tensor, Tensor]:
    return part.features, part.real, part.places
