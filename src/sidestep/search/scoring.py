"""Scores of given items: one signature for whatever can put candidates in order.

Rows of candidates are padded with `NO_ITEM`, whose score is `-inf`. Scores are comparable within a row only; where the
history is empty they are the items' popularity.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.data.sequences import SequenceBatch


@runtime_checkable
class CandidateScorer(Protocol):
    """Scores candidates of every row; higher is better."""

    def __call__(self, batch: SequenceBatch, candidates: Int[Tensor, "B C"]) -> Float[Tensor, "B C"]: ...


@runtime_checkable
class ItemScorer(Protocol):
    """Scores every item of the catalogue; higher is better, `-inf` means never."""

    def __call__(self, batch: SequenceBatch) -> Float[Tensor, "B N"]: ...


@runtime_checkable
class PathScorer(Protocol):
    """A generator, as far as it scores the paths of given items."""

    def path_log_probs(self, batch: SequenceBatch, items: Int[Tensor, "B C"]) -> Float[Tensor, "B C L"]: ...


@dataclass(frozen=True)
class PathScores:
    """A generator as a `CandidateScorer`: an item's score is the log-probability of its semantic ID.

    popularity: `[N]`, the scores after an empty history.
    """

    model: PathScorer
    popularity: Int[Tensor, " N"]

    def __call__(self, batch: SequenceBatch, candidates: Int[Tensor, "B C"]) -> Float[Tensor, "B C"]:
        scores = self.model.path_log_probs(batch, candidates).sum(2)
        popular = self.popularity.to(scores)[candidates.clamp(min=0)].masked_fill(candidates < 0, -torch.inf)
        return torch.where((batch.lengths > 0)[:, None], scores, popular)


@dataclass(frozen=True)
class ItemScores:
    """An `ItemScorer` as a `CandidateScorer`. Its scores come back on the device of the candidates."""

    scorer: ItemScorer

    def __call__(self, batch: SequenceBatch, candidates: Int[Tensor, "B C"]) -> Float[Tensor, "B C"]:
        return of_candidates(self.scorer(batch).to(candidates.device), candidates)


def of_candidates(scores: Float[Tensor, "B N"], candidates: Int[Tensor, "B C"]) -> Float[Tensor, "B C"]:
    """The candidates' scores out of those of all items."""
    return scores.gather(1, candidates.clamp(min=0)).masked_fill(candidates < 0, -torch.inf)
