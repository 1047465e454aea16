"""What speaks for a candidate after a history, as named numbers: text, labels, counts and the pre-ranker's score."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sidestep.data.interactions import Ints
from sidestep.data.labels import ItemLabels
from sidestep.data.sequences import SequenceBatch
from sidestep.data.splits import TrainingInteractions
from sidestep.rerankers.traces import KINDS
from sidestep.scorers.item_knn import ItemKNN, ItemKNNConfig

RELATIONS = ("last", "previous", "any", "share")
Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]
FEATURES = (
    *("score", "rank", "text_last", "text_best", "text_mean", "text_recent"),
    *(f"{kind}_{relation}" for kind in KINDS for relation in RELATIONS),
    *("popular", "popular_in_leaf", "follows", "near_last", "near_all"),
)
"""The columns of `Evidence.forward`, in order.

score: the pre-ranker's, in standard deviations of the row. rank: minus the logarithm of its place. text_*: cosine of
the vectors with the last item, the nearest, the mean of all, and the mean that halves with every item back. leaf_*,
aisle_*, brand_*: whether the label is that of the last item, of the one before, of any, and of which share of the
history. popular: log(1 + count). popular_in_leaf: the logarithm of the share in its leaf. follows: the logarithm of the
probability of the candidate's leaf after the last item's. near_*: item-kNN's similarity to the last items, weights
halving with every item back, and to all.
"""
MOST_HISTORY = 50
"""Items of a history that are looked at."""
COMPARED_AT_ONCE = 2**21
"""Pairs of a candidate and a neighbour that are compared at once."""
SEEN_OFTEN = 5
"""Transitions between two leaves below which the second is not known to follow the first."""
PSEUDO_COUNT = 5.0
"""Transitions that a leaf's popularity counts for beside those that were seen."""


class Evidence(nn.Module):
    """The features of `FEATURES` for the candidates of a pre-ranker. Its tables are counted by `learn`, from what it is
    given and nothing else; vectors and labels are those of the catalogue.

    vectors: of the items, `[N, D]`. popularity: `[N]`; counted anew by `learn`.
    """

    vectors: Float[Tensor, "N D"]
    labels: Int[Tensor, "K N"]
    counts: Float[Tensor, " N"]
    in_leaf: Float[Tensor, " N"]
    transitions: Float[Tensor, "M M"]
    next_leaf: Int[Tensor, " M"]

    def __init__(self, popularity: Ints, vectors: Floats, labels: ItemLabels) -> None:
        super().__init__()
        unit = torch.from_numpy(vectors).float()
        unit = unit / unit.norm(dim=1, keepdim=True).clamp(min=1e-9)
        self.register_buffer("vectors", unit, persistent=False)
        of_item = np.stack([getattr(labels, kind).of_item for kind in KINDS])
        self.register_buffer("labels", torch.from_numpy(of_item), persistent=False)
        self.register_buffer("counts", torch.zeros(len(popularity)))
        self.register_buffer("in_leaf", torch.zeros(len(popularity)))
        self.register_buffer("transitions", torch.zeros(len(labels.leaf), len(labels.leaf)))
        self.register_buffer("next_leaf", torch.zeros(len(labels.leaf), dtype=torch.int64))
        self.near_recent = ItemKNN(popularity, ItemKNNConfig(half_life=1))
        self._leaf = labels.leaf.of_item

    def learn(self, train: TrainingInteractions) -> "Evidence":
        """Count popularity, transitions between leaves and neighbours in the permitted interactions."""
        counts = train.popularity(len(self.counts))
        self.counts.copy_(torch.from_numpy(np.log1p(counts)))
        of_leaf = np.bincount(self._leaf, counts, len(self.transitions))
        sizes = np.bincount(self._leaf, minlength=len(self.transitions))
        share = (counts + 1) / (of_leaf + sizes)[self._leaf]
        self.in_leaf.copy_(torch.from_numpy(np.log(share)))
        transitions = _transitions(train, self._leaf, len(self.transitions))
        self.transitions.copy_(torch.from_numpy(_log_probs(transitions, of_leaf + sizes)))
        self.next_leaf.copy_(torch.from_numpy(_most_following(transitions)))
        self.near_recent.learn(train)
        return self

    @torch.no_grad()
    def forward(
        self, batch: SequenceBatch, items: Int[Tensor, "B C"], scores: Float[Tensor, "B C"]
    ) -> Float[Tensor, "B C F"]:
        """Columns in the order of `FEATURES`; all 0 where there is no candidate.

        batch: with at most `MOST_HISTORY` items a history, on the device of the tables, as items and scores are.
        """
        there, candidate, history = items >= 0, items.clamp(min=0), batch.history.clamp(min=0)
        real = batch.history >= 0
        age = (batch.lengths[:, None] - 1 - torch.arange(history.shape[1], device=history.device)).clamp(min=0)
        columns = [
            *_of_scores(scores, there),
            *self._of_text(candidate, history, real, age),
            *self._of_labels(candidate, history, real, age),
            *self._of_counts(candidate, history, batch.lengths),
            *self._of_neighbours(candidate, history, real, age),
        ]
        return torch.stack(columns, dim=2).masked_fill(~there[:, :, None], 0.0)

    def _of_text(
        self, candidate: Int[Tensor, "B C"], history: Int[Tensor, "B T"], real: Bool[Tensor, "B T"], age: Tensor
    ) -> list[Tensor]:
        cosine = self.vectors[candidate] @ self.vectors[history].transpose(1, 2)
        weight = real * 0.5**age
        last = (cosine * (real & (age == 0))[:, None]).sum(2)
        best = cosine.masked_fill(~real[:, None], -1.0).amax(2)
        return [last, best, _mean(cosine, real.float()), _mean(cosine, weight)]

    def _of_labels(
        self, candidate: Int[Tensor, "B C"], history: Int[Tensor, "B T"], real: Bool[Tensor, "B T"], age: Tensor
    ) -> list[Tensor]:
        theirs, ours = self.labels[:, candidate], self.labels[:, history]
        same = (theirs[:, :, :, None] == ours[:, :, None]) & (theirs > 0)[:, :, :, None] & real[:, None]
        share = same.sum(3) / real.sum(1).clamp(min=1)[:, None]
        last, previous = ((same & (age == back)[:, None]).any(3).float() for back in (0, 1))
        relations = (last, previous, same.any(3).float(), share)
        return [relation[kind] for kind in range(len(KINDS)) for relation in relations]

    def _of_counts(
        self, candidate: Int[Tensor, "B C"], history: Int[Tensor, "B T"], lengths: Int[Tensor, " B"]
    ) -> list[Tensor]:
        last = history.gather(1, (lengths - 1).clamp(min=0)[:, None])
        follows = self.transitions[self.labels[0][last], self.labels[0][candidate]]
        return [self.counts[candidate], self.in_leaf[candidate], follows]

    def _of_neighbours(
        self, candidate: Int[Tensor, "B C"], history: Int[Tensor, "B T"], real: Bool[Tensor, "B T"], age: Tensor
    ) -> list[Tensor]:
        """The similarities of the candidates alone: each is compared with `[T, M]` neighbours, a few rows at a time."""
        neighbours = candidate.shape[1] * history.shape[1] * self.near_recent.near.shape[1]
        rows = max(COMPARED_AT_ONCE // max(neighbours, 1), 1)
        parts = [self.counts.new_zeros(0, candidate.shape[1], history.shape[1])]
        for begin in range(0, len(candidate), rows):
            here = slice(begin, begin + rows)
            near, similarity = self.near_recent.near[history[here]], self.near_recent.similarity[history[here]]
            same = near[:, None] == candidate[here, :, None, None]
            parts.append((same * similarity[:, None]).sum(3))
        found = torch.cat(parts) * real[:, None]
        return [(found * 0.5 ** age[:, None]).sum(2), found.sum(2)]


class Standardized(nn.Module):
    """A model of features in deviations from their means.

    mean, deviation: of the training cases; infinite for a feature that never changes, so that it counts nothing.
    """

    mean: Float[Tensor, " F"]
    deviation: Float[Tensor, " F"]

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_features))
        self.register_buffer("deviation", torch.ones(num_features))

    def measure(self, features: Float[Tensor, "n F"]) -> None:
        """Take the mean and the deviation of these features; one that never changes is left out."""
        deviation, mean = torch.std_mean(features, dim=0, correction=0)
        self.mean.copy_(mean)
        self.deviation.copy_(torch.where(deviation < 1e-6, torch.inf, deviation))

    def standard(self, features: Float[Tensor, "B C F"]) -> Float[Tensor, "B C F"]:
        """Features in deviations from their means."""
        return (features - self.mean) / self.deviation


def _of_scores(scores: Float[Tensor, "B C"], there: Bool[Tensor, "B C"]) -> list[Tensor]:
    """The scores in standard deviations of their row, and minus the logarithm of the place."""
    known = scores.masked_fill(~there, 0.0)
    count = there.sum(1, keepdim=True).clamp(min=1)
    centred = (known - known.sum(1, keepdim=True) / count) * there
    spread = (centred.square().sum(1, keepdim=True) / count).sqrt()
    place = torch.arange(1, scores.shape[1] + 1, device=scores.device, dtype=scores.dtype)
    return [centred / spread.clamp(min=1e-6), -place.log().expand_as(scores)]


def _mean(values: Float[Tensor, "B C T"], weight: Float[Tensor, "B T"]) -> Float[Tensor, "B C"]:
    return (values * weight[:, None]).sum(2) / weight.sum(1).clamp(min=1e-9)[:, None]


def _transitions(train: TrainingInteractions, leaf: Ints, num_leaves: int) -> Floats:
    """How often a leaf comes right after another, `[M, M]`."""
    leaves, starts = leaf[train.items], np.zeros(len(train), dtype=bool)
    starts[train.offsets[:-1][train.lengths > 0]] = True
    after = np.flatnonzero(~starts)
    counts = np.zeros((num_leaves, num_leaves))
    np.add.at(counts, (leaves[after - 1], leaves[after]), 1.0)
    return counts


def _log_probs(transitions: Floats, popular: np.ndarray[Any, np.dtype[Any]]) -> Floats:
    """log P(leaf of an item | leaf of the one before), `[M, M]`, drawn towards the leaves' popularity where little was
    seen; 0 for an item without a leaf.
    """
    smoothed = transitions + PSEUDO_COUNT * np.maximum(popular, 1e-9) / popular.sum()
    table: Floats = np.log(smoothed / smoothed.sum(1, keepdims=True))
    table[:, 0] = 0.0
    return table


def _most_following(transitions: Floats) -> Ints:
    """The other leaf that comes after each most often beside what it has of all transitions, `[M]`; 0 where none was
    seen `SEEN_OFTEN` times.
    """
    share = transitions / np.maximum(transitions.sum(1, keepdims=True), 1)
    lift = share / np.maximum(transitions.sum(0) / max(transitions.sum(), 1), 1e-9)
    known = transitions >= SEEN_OFTEN
    known[:, 0], known[0] = False, False
    np.fill_diagonal(known, False)
    return np.where(known.any(1), np.where(known, lift, -1.0).argmax(1), 0)
