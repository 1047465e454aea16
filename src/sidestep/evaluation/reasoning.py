"""What happens between the history and the answer: is each code right where those before it are, does a thought name
what it is taught to name, and do thoughts wander?
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.data.interactions import Ints
from sidestep.evaluation.purity import NO_LABEL
from sidestep.sids.prefixes import prefixes
from sidestep.sids.trie import Permitted, Trie

Flags = np.ndarray[Any, np.dtype[np.bool_]]
Numbers = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class LevelReasoning:
    """One level, over the test users; nothing of thoughts where the generator has none, nor of categories where the
    catalogue has none.

    code: share of users whose target's code is the most probable one, given the target's codes before it. code_in_trie:
        the same among the codes that lead to an item. code_by_prefix: the same of the code that comes most often in
        training after the same codes: at deep levels few items are left, and there it is hard to beat.
    prefix: share of users for whom one of the 10 answers begins with the target's codes up to this level; a model whose
        focus is balanced over the levels loses little from one to the next.
    cluster: share of users whose thought is nearest to the cluster of the target's code; by_chance: the same of always
        naming the commonest cluster; cluster_by_prefix: of naming the one that comes most often in training after the
        same codes, which a thought has read unless all thoughts stand in front.
    category: share of users whose thought's nearest cluster has the target's category as its commonest, among its
        items. category_by_chance: share of the commonest category.
    answer: share of the answers for which the thought on the way to them has, in that sense, the answer's category, and
        answer_target: the target's. answer_by_chance: share of the commonest category of answers.
    """

    level: int
    code: float
    code_in_trie: float
    code_by_prefix: float
    prefix: float
    cluster: float | None = None
    by_chance: float | None = None
    cluster_by_prefix: float | None = None
    category: float | None = None
    category_by_chance: float | None = None
    answer: float | None = None
    answer_target: float | None = None
    answer_by_chance: float | None = None


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
    """How far thoughts go from level to level. log_probs: of each user's target. Users must be
    three at least.
    """
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


def best_followers(logits: Float[Tensor, "n K"], level: int, items: Int[Tensor, " n"], trie: Trie) -> Int[Tensor, " n"]:
    """Of the codes that some item has after the first `level` codes of each of `items`, the most probable one."""
    children = Permitted(trie).children(level, trie.node_of_item(level, items)[:, None])
    codes = children.codes[:, 0]
    scores = logits.gather(1, codes).masked_fill(~children.open[:, 0], -torch.inf)
    return codes.gather(1, scores.argmax(1, keepdim=True))[:, 0]


def by_prefix(codes: Ints, labels: Ints, popularity: Ints, targets: Ints) -> list[float]:
    """Level by level, the share of targets whose label is the one that comes most often in training after the same
    codes.

    codes: `[N, L]`. labels: of every item at each level, such as its codes or their clusters, `[N, L]`. popularity:
    occurrences of every item in training, `[N]`.
    """
    found = []
    for level, numbers in enumerate(prefixes(codes)[:-1]):
        own = labels[:, level]
        usual = commonest(own, numbers, int(numbers.max()) + 1, popularity)
        found.append(float((usual[numbers[targets]] == own[targets]).mean()))
    return found


def commonest(labels: Ints, groups: Ints, num_groups: int, weights: Ints | None = None) -> Ints:
    """The commonest label of each group's members, the lowest of equal ones; -1 for a group without a labelled member.

    labels: from 0, -1 where there is none. weights: how often each member counts.
    """
    found, known = np.full(num_groups, NO_LABEL), labels != NO_LABEL
    size = int(labels.max(initial=0)) + 1
    pairs, members = np.unique(groups[known] * size + labels[known], return_inverse=True)
    counts = np.bincount(members, weights=None if weights is None else weights[known])
    order = np.lexsort((-pairs, counts))  # of what is assigned to one group, the last stays
    found[pairs[order] // size] = pairs[order] % size
    return found


def share_of_commonest(values: Ints) -> float:
    """Of all values, those that equal the commonest one; -1 counts as no value at all."""
    counts = np.bincount(values[values != NO_LABEL], minlength=1)
    return float(counts.max() / max(len(values), 1))
