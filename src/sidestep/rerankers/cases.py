"""What a re-ranker learns from: questions with the candidates of a pre-ranker that has not seen the answer."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sidestep import artifact
from sidestep.data.interactions import Interactions, Ints
from sidestep.data.reads import Reads
from sidestep.data.sequences import NO_ITEM, SequenceBatch, question_of
from sidestep.data.splits import Cases, TrainingInteractions
from sidestep.recommenders.recommender import ItemFilter, Recommender

AT_ONCE = 256
Floats = np.ndarray[Any, np.dtype[np.float32]]
Fit = Callable[[TrainingInteractions, int], Recommender]
"""A pre-ranker trained on a part of the users; the number is that of the fold, whose users are not in the part."""
Progress = Callable[[int], object]


@dataclass(frozen=True)
class CandidateCases:
    """Questions with a known answer, and what a pre-ranker proposes to each.

    items: candidates in the pre-ranker's order, `[C, n]`, padded with `NO_ITEM`. scores: its scores, `[C, n]`.
    folds: the fold of each question's user, `[C]`, whose pre-ranker and tables have seen none of its users; -1 where
        the question lies behind all of training, as in validation.
    """

    cases: Cases
    items: Ints
    scores: Floats
    folds: Ints

    def __len__(self) -> int:
        return len(self.cases)

    @property
    def ranks(self) -> Ints:
        """The place of every answer among the candidates, from 1; 0 where it is not among them."""
        found = self.items == self.cases.targets[:, None]
        return np.where(found.any(axis=1), found.argmax(axis=1) + 1, 0)

    def take(self, chosen: Ints) -> "CandidateCases":
        return CandidateCases(self.cases.take(chosen), self.items[chosen], self.scores[chosen], self.folds[chosen])

    def portions(
        self, history: int, device: torch.device
    ) -> Iterator[tuple[SequenceBatch, Int[Tensor, "B C"], Float[Tensor, "B C"]]]:
        """The questions with their candidates and the scores of these, `AT_ONCE` at a time. history: how many of the
        last items are read.
        """
        for begin in range(0, len(self), AT_ONCE):
            chosen = np.arange(begin, min(begin + AT_ONCE, len(self)))
            items, scores = torch.from_numpy(self.items[chosen]), torch.from_numpy(self.scores[chosen])
            yield question_of(self.cases, chosen, Reads(history)).to(device), items.to(device), scores.to(device)

    def hits(self) -> "CandidateCases":
        """The cases whose answer is among the candidates; a re-ranker can do nothing about the others."""
        return self.take(np.flatnonzero(self.ranks))


def cross_fitted(
    train: TrainingInteractions,
    fit: Fit,
    *,
    folds: int,
    candidates: int,
    seed: int,
    most: int | None = None,
    progress: Progress | None = None,
) -> CandidateCases:
    """Every training item but a user's first as a question, with the candidates of a pre-ranker that has not seen the
    user. The answers to its own training sequences would have several times the hits, and teach a re-ranker to trust it
    where it only remembers.

    fit: a pre-ranker trained on all users but those of a fold. most: questions, drawn once; None takes all.
    """
    fold_of = folds_of(train.num_users, folds, seed)
    rows = np.arange(len(train))
    rows = rows[rows > train.offsets[train.users]]
    cases = Cases(train, train.users[rows], rows)
    cases = cases if most is None else cases.sample(most, seed)
    items = np.full((len(cases), candidates), NO_ITEM, dtype=np.int64)
    scores = np.full((len(cases), candidates), -np.inf, dtype=np.float32)
    done = 0
    for fold in range(folds):
        chosen = np.flatnonzero(fold_of[cases.users] == fold)
        recommender = fit(without(train, fold_of, fold), fold)
        before = done

        def shown(count: int, before: int = before) -> None:
            if progress is not None:
                progress(before + count)

        found = proposed(recommender, cases.take(chosen), candidates, shown)
        items[chosen], scores[chosen] = found.items, found.scores
        done += len(chosen)
    return CandidateCases(cases, items, scores, fold_of[cases.users])


def folds_of(num_users: int, folds: int, seed: int) -> Ints:
    """The fold of every user, `[U]`: of equal sizes, drawn once."""
    return np.random.default_rng([seed, folds]).permutation(num_users) % folds


def without(train: TrainingInteractions, fold_of: Ints, fold: int) -> TrainingInteractions:
    """What the pre-ranker and the tables of a fold may see: all users but its own."""
    return train.of_users(fold_of != fold)


def proposed(
    recommender: Recommender, cases: Cases, candidates: int, progress: Progress | None = None
) -> CandidateCases:
    """The candidates of a recommender that has not seen the answers; items of the history are left out, save the
    answer, as where lists are judged with seen items masked.
    """
    items = np.full((len(cases), candidates), NO_ITEM, dtype=np.int64)
    scores = np.full((len(cases), candidates), -np.inf, dtype=np.float32)
    order = np.argsort(cases.lengths, kind="stable")
    for begin in range(0, len(order), AT_ONCE):
        chosen = order[begin : begin + AT_ONCE]
        batch = question_of(cases, chosen, recommender.reads)
        ranked = recommender.rank(batch, candidates, ItemFilter.masking(cases, chosen))
        items[chosen], scores[chosen] = ranked.items.cpu().numpy(), ranked.scores.float().cpu().numpy()
        if progress is not None:
            progress(min(begin + AT_ONCE, len(order)))
    return CandidateCases(cases, items, scores, np.full(len(cases), -1, dtype=np.int64))


@dataclass(frozen=True)
class TrainingCases:
    """crossed: cross-fitted, to learn from. valid: of the validation cases, by the pre-ranker that is used."""

    crossed: CandidateCases
    valid: CandidateCases

    def save(self, folder: Path, **origin: Any) -> artifact.Manifest:
        tensors: dict[str, Any] = {}
        for name, part in (("crossed", self.crossed), ("valid", self.valid)):
            tensors |= {f"{name}_users": part.cases.users, f"{name}_rows": part.cases.rows}
            tensors |= {f"{name}_items": part.items, f"{name}_scores": part.scores, f"{name}_folds": part.folds}
        return artifact.save(folder, "cases", tensors=tensors, **origin)

    @classmethod
    def load(cls, folder: Path, train: TrainingInteractions, log: Interactions) -> "TrainingCases":
        """train: the log of the crossed cases. log: that of the validation cases."""
        tensors = artifact.load(folder, "cases").tensors
        parts = [
            CandidateCases(
                Cases(of, tensors[f"{name}_users"], tensors[f"{name}_rows"]),
                tensors[f"{name}_items"],
                tensors[f"{name}_scores"],
                tensors[f"{name}_folds"],
            )
            for name, of in (("crossed", train), ("valid", log))
        ]
        return cls(*parts)
