"""What happens between the history and the answer: is each code right where those before it are, does a thought name
what it is taught to name, and do thoughts wander?
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.data.interactions import Ints

Flags = np.ndarray[Any, np.dtype[np.bool_]]
Numbers = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class LevelReasoning:
    """One level, over the test users.

    code: share of users whose target's code is the most probable one, given the target's codes before it.
    prefix: share of users for whom one of the 10 answers begins with the target's codes up to this level; a model whose
        focus is balanced over the levels loses little from one to the next.
    cluster: share of users whose thought is nearest to the cluster of the target's code; by_chance: the same of always
        naming the commonest cluster. category: share of users whose thought's nearest cluster has the target's category
        as its commonest, among its items. category_by_chance: share of the commonest category.
    """

    level: int
    code: float
    prefix: float
    cluster: float | None = None
    by_chance: float | None = None
    category: float | None = None
    category_by_chance: float | None = None


@dataclass(frozen=True)
class Drift:
    """Mean cosine of one level's thought with the next one's.

    own: on the same path. others: with the next thought of another user's path. easy, middle, hard: own, by thirds of
        the users, the most probable target first.
    """

    level: int
    own: float
    others: float
    easy: float
    middle: float
    hard: float


def drifts(thoughts: Float[Tensor, "n L D"], log_probs: Float[Tensor, " n"]) -> list[Drift]:
    """How far thoughts go from level to level. log_probs: of each user's target. Users must be two at least."""
    third = log_probs.argsort(descending=True).tensor_split(3)
    found = []
    for level in range(thoughts.shape[1] - 1):
        here, following = thoughts[:, level], thoughts[:, level + 1]
        own = F.cosine_similarity(here, following, dim=-1)
        others = F.cosine_similarity(here, following.roll(1, 0), dim=-1)
        by_third = [float(own[rows].mean()) for rows in third]
        found.append(Drift(level + 1, float(own.mean()), float(others.mean()), *by_third))
    return found


def prefix_hits(items: Int[Tensor, "n k"], targets: Int[Tensor, " n"], codes: Int[Tensor, "N L"]) -> Numbers:
    """Share of rows in which some answer begins with the target's codes, for prefixes of 1 to L codes."""
    same = (codes[items.clamp(min=0)] == codes[targets][:, None]) & (items >= 0)[:, :, None]
    hits = same.long().cumprod(dim=2).bool().any(dim=1)
    return hits.double().mean(dim=0).numpy()


def commonest(labels: Ints, groups: Ints, num_groups: int) -> Ints:
    """The commonest label of each group's members, the lowest of equal ones; -1 for a group without a labelled member.

    labels: from 0, -1 where there is none.
    """
    known = labels >= 0
    counts = np.zeros((num_groups, int(labels.max(initial=-1)) + 1), dtype=np.int64)
    np.add.at(counts, (groups[known], labels[known]), 1)
    if counts.shape[1] == 0:
        return np.full(num_groups, -1, dtype=np.int64)
    return np.where(counts.any(axis=1), counts.argmax(axis=1), -1)


def share_of_commonest(values: Ints) -> float:
    """Of all values, those that equal the commonest one."""
    return float(np.unique(values, return_counts=True)[1].max() / len(values))
