"""Cross-fitted cases as training data: the features of every hit, computed once from what its fold may see."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sidestep.data.interactions import Ints
from sidestep.data.reads import Reads
from sidestep.data.sequences import question_of
from sidestep.data.splits import TrainingInteractions
from sidestep.losses.reranking import listwise
from sidestep.rerankers.cases import AT_ONCE, CandidateCases, without
from sidestep.rerankers.evidence import MOST_HISTORY, Evidence


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


class FeatureBatches:
    """Featured hits as `training.loop.Batches`; the order is a pure function of (seed, epoch)."""

    def __init__(self, data: Featured, batch_size: int, seed: int) -> None:
        self._data, self._size, self._seed = data, batch_size, seed

    def batches(self, epoch: int) -> Sequence[Tensor]:
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self._data))
        return [torch.from_numpy(order[begin : begin + self._size]) for begin in range(0, len(order), self._size)]

    def load(self, index: Tensor) -> Featured:
        return self._data.take(index)


def taken_first(model: nn.Module, batch: Featured) -> dict[str, Tensor]:
    """The list-wise objective: `total = listwise` (the answer's cross-entropy among the candidates)."""
    return {"total": listwise(batch.scores(model), batch.places)}


def crossed_features(
    cases: CandidateCases, train: TrainingInteractions, fold_of: Ints, tables: Callable[[], Evidence]
) -> Featured:
    """The evidence of hits, each with tables counted without the users of its fold.

    fold_of: the fold of every user. tables: makes evidence without counts.
    """
    parts = []
    for fold in range(int(fold_of.max(initial=0)) + 1):
        chosen = cases.take(np.flatnonzero(cases.folds == fold))
        parts.append(features_of(chosen, tables().learn(without(train, fold_of, fold))))
    return Featured(*(torch.cat(column) for column in zip(*map(_columns, parts), strict=True)))


def features_of(cases: CandidateCases, evidence: Evidence) -> Featured:
    """The evidence of hits."""
    items, scores = torch.from_numpy(cases.items), torch.from_numpy(cases.scores)
    device, found = evidence.counts.device, []
    for begin in range(0, len(cases), AT_ONCE):
        chosen = np.arange(begin, min(begin + AT_ONCE, len(cases)))
        batch = question_of(cases.cases, chosen, Reads(MOST_HISTORY)).to(device)
        found.append(evidence(batch, items[chosen].to(device), scores[chosen].to(device)).cpu())
    features = torch.cat(found) if found else torch.zeros(*items.shape, evidence.num_features)
    return Featured(features, items >= 0, torch.from_numpy(cases.ranks - 1))


def _columns(part: Featured) -> tuple[Tensor, Tensor, Tensor]:
    return part.features, part.real, part.places
