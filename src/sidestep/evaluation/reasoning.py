"""Diagnostics of a generator's reasoning: accuracy of each code given the right prefix, agreement of thoughts with the
clusters they are trained towards, and change of thoughts from level to level.
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
    """Accuracies at one level, over the test users. Fields on thoughts are None for a generator without thoughts, those
    on categories are None for a catalogue without categories.

    code: share of users for whom the target's code is the most probable one, given the target's codes before it.
        code_in_trie: the same among the codes that lead to an item. code_by_prefix: accuracy of the baseline that
        predicts the most frequent code after the same prefix in training (strong at deep levels: few items per prefix).
    prefix: share of users for whom one of the 10 recommendations begins with the target's codes up to this level. If
        the model's focus is balanced over the levels, this falls little from one level to the next.
    survives: share of users for whom the target's codes up to this level are among the search's beams. place: the mean
        place of those that are, best first (GLASS, arXiv 2602.05663: CRP); None where none is. The search is that of
        the evaluation without a filter.
    cluster: share of users whose thought is nearest to the cluster of the target's code. by_chance: accuracy of always
        predicting the most frequent cluster. cluster_by_prefix: accuracy of predicting the most frequent cluster after
        the same prefix in training (a thought has this prefix as input, unless all thoughts precede the codes).
    category: share of users for whom the most frequent category of the items in the thought's nearest cluster is the
        target's. category_by_chance: share of the most frequent category.
    answer: share of the recommendations whose category agrees, in the same sense, with the thought on their path.
        answer_target: share of those whose thought agrees with the target's category. answer_by_chance: share of the
        most frequent category of the recommendations.
    code_named: share of the names of codes, on the paths of recommendations, that are true of the recommended item, see
        `naming.true_of_items`; code_named_by_chance: the same with names dealt out at random. thought_named,
        thought_named_by_chance: of thoughts, see `sids.thought_names.thinks_of`. nearest_named,
        nearest_named_by_chance: of the cluster nearest to each thought. code_shown, thought_shown, nearest_shown: the
        share of the names that are shown, where the code decides something.
    """

    level: int
    code: float
    code_in_trie: float
    code_by_prefix: float
    prefix: float
    survives: float
    place: float | None
    cluster: float | None = None
    by_chance: float | None = None
    cluster_by_prefix: float | None = None
    category: float | None = None
    category_by_chance: float | None = None
    answer: float | None = None
    answer_target: float | None = None
    answer_by_chance: float | None = None
    code_named: float | None = None
    code_named_by_chance: float | None = None
    code_shown: float | None = None
    thought_named: float | None = None
    thought_named_by_chance: float | None = None
    thought_shown: float | None = None
    nearest_named: float | None = None
    nearest_named_by_chance: float | None = None
    nearest_shown: float | None = None


@dataclass(frozen=True)
class Drift:
    """Mean cosine between the thought of one level and that of the next level.

    own: on the same path. others: with the next thought on another user's path. easy, middle, hard: own, for each third
        of the users, in order of falling probability of their target.
    """

    level: int
    own: float
    others: float
    easy: float
    middle: float
    hard: float


@dataclass(frozen=True)
class RecallBin:
    """Users whose target's first code leads to between `lowest` and `highest` older items.

    share: of all users. gate: the mean of the gates that these items pass, over tokens, layers and dimensions; 0 where
    there are none, None where there are no such users.
    """

    lowest: int
    highest: int
    share: float
    gate: float | None


def recall_bins(counts: Int[Tensor, " n"], gates: Float[Tensor, " n"], most: int) -> list[RecallBin]:
    """Bins of 0, 1, 2 to 3, 4 to 7 ... items up to the `most` that are looked up. gates: of each user, anything where
    its count is 0.
    """
    bins, lowest = [], 0
    while lowest <= most:
        highest = min(max(2 * lowest - 1, lowest), most)
        own = (counts >= lowest) & (counts <= highest)
        gate = float(gates[own].mean()) if own.any() and lowest else None
        bins.append(RecallBin(lowest, highest, float(own.double().mean()), 0.0 if own.any() and not lowest else gate))
        lowest = highest + 1
    return bins


def beam_places(places: Int[Tensor, "n L"]) -> tuple[list[float], list[float | None]]:
    """The share of rows that have a place above 0 at each level, and the mean of those."""
    there = places > 0
    means = [
        float(column[own].double().mean()) if own.any() else None for column, own in zip(places.T, there.T, strict=True)
    ]
    return there.double().mean(0).tolist(), means


def drifts(thoughts: Float[Tensor, "n L D"], log_probs: Float[Tensor, " n"]) -> list[Drift]:
    """The drift between all pairs of consecutive levels. log_probs: of each user's target. Needs at least 3 users."""
    third = log_probs.argsort(descending=True).tensor_split(3)
    results = []
    for level in range(thoughts.shape[1] - 1):
        here, following = thoughts[:, level], thoughts[:, level + 1]
        own = F.cosine_similarity(here, following, dim=-1)
        others = F.cosine_similarity(here, following.roll(1, 0), dim=-1)
        by_third = [float(own[rows].mean()) for rows in third]
        results.append(Drift(level + 1, float(own.mean()), float(others.mean()), *by_third))
    return results


def prefix_hits(items: Int[Tensor, "n k"], targets: Int[Tensor, " n"], codes: Int[Tensor, "N L"]) -> Numbers:
    """Share of rows in which some item begins with the target's codes, for prefixes of 1 to L codes."""
    same = (codes[items.clamp(min=0)] == codes[targets][:, None]) & (items >= 0)[:, :, None]
    hits = same.long().cumprod(dim=2).bool().any(dim=1)
    return hits.double().mean(dim=0).numpy()


def best_followers(logits: Float[Tensor, "n K"], level: int, items: Int[Tensor, " n"], trie: Trie) -> Int[Tensor, " n"]:
    """The most probable code among those that some item has after the first `level` codes of each of `items`."""
    children = Permitted(trie).children(level, trie.node_of_item(level, items)[:, None])
    codes = children.codes[:, 0]
    scores = logits.gather(1, codes).masked_fill(~children.open[:, 0], -torch.inf)
    return codes.gather(1, scores.argmax(1, keepdim=True))[:, 0]


def by_prefix(codes: Ints, labels: Ints, popularity: Ints, targets: Ints) -> list[float]:
    """For each level, the share of targets whose label is the most frequent one in training after the same prefix.

    codes: `[N, L]`. labels: of every item at each level, such as its codes or their clusters, `[N, L]`. popularity:
    occurrences of every item in training, `[N]`.
    """
    shares = []
    for level, numbers in enumerate(prefixes(codes)[:-1]):
        own = labels[:, level]
        usual = commonest(own, numbers, int(numbers.max()) + 1, popularity)
        shares.append(float((usual[numbers[targets]] == own[targets]).mean()))
    return shares


def commonest(labels: Ints, groups: Ints, num_groups: int, weights: Ints | None = None) -> Ints:
    """The most frequent label of each group's members, the lowest among ties; -1 for a group without labels.

    labels: from 0, or -1 for none. weights: weight of each member.
    """
    result, known = np.full(num_groups, NO_LABEL), labels != NO_LABEL
    size = int(labels.max(initial=0)) + 1
    pairs, members = np.unique(groups[known] * size + labels[known], return_inverse=True)
    counts = np.bincount(members, weights=None if weights is None else weights[known])
    order = np.lexsort((-pairs, counts))  # the last assignment to a group is the one that remains
    result[pairs[order] // size] = pairs[order] % size
    return result


def share_of_commonest(values: Ints) -> float:
    """The share of the most frequent value among all values. -1 (no label) is never the most frequent value."""
    counts = np.bincount(values[values != NO_LABEL], minlength=1)
    return float(counts.max() / max(len(values), 1))
