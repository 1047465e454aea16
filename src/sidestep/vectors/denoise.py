"""Filters of pairs: a score for every pair, of which the lowest share is dropped (QARM V2's step before alignment).

The paper asks a language model whether two items belong together, which `llm.filter` does. These filters cost no model;
what one of them is worth shows beside `random`, which drops as many pairs.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from sidestep.data.splits import TrainingInteractions
from sidestep.data.texts import PATH
from sidestep.encoders.directions import Matrix, unit_rows
from sidestep.vectors.pairs import Pairs, num_users_of

Scores = np.ndarray[Any, np.dtype[np.float64]]
Denoiser = Callable[[Pairs], Scores]
"""From pairs to scores `[M]`; a pair of a low score is taken for noise."""
Filter = Literal["none", "users", "popularity", "text", "category", "llm", "random"]


def by_users(interactions: TrainingInteractions, num_items: int) -> Denoiser:
    """The number of users who took both."""
    return lambda pairs: num_users_of(interactions, num_items, pairs).astype(np.float64)


def by_lift(interactions: TrainingInteractions, num_items: int) -> Denoiser:
    """`P(i, j) / (P(i) P(j))`: how many more users took both than would by chance. Two hot items meet in many users
    without having to do with each other.
    """
    takers = interactions.popularity(num_items).astype(np.float64)

    def lift(pairs: Pairs) -> Scores:
        both = num_users_of(interactions, num_items, pairs)
        scores: Scores = both * interactions.num_users / (takers[pairs.first] * takers[pairs.second])
        return scores

    return lift


def by_text(vectors: Matrix) -> Denoiser:
    """The cosine of the items' own vectors, `[N, D]`."""
    unit = unit_rows(vectors)
    return lambda pairs: np.einsum("nd,nd->n", unit[pairs.first], unit[pairs.second]).astype(np.float64)


def by_category(labels: Sequence[str], separator: str = PATH) -> Denoiser:
    """The share of the categories of two items that both have (Jaccard), 0 where one has none.

    labels: every item's categories in one text, `[N]`. separator: between the levels of a path.
    """
    sets = [frozenset(part.strip() for part in label.split(separator)) - {""} for label in labels]

    def overlap(pairs: Pairs) -> Scores:
        ends = zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)
        return np.array([len(sets[i] & sets[j]) / (len(sets[i] | sets[j]) or 1) for i, j in ends], dtype=np.float64)

    return overlap


def at_random(seed: int) -> Denoiser:
    """No information: the control of every filter."""
    return lambda pairs: np.random.default_rng(seed).random(len(pairs))


def kept(pairs: Pairs, denoiser: Denoiser, drop: float, seed: int) -> Pairs:
    """The pairs without the share `drop` of the lowest scores, rounded down. Pairs of one score go at random.

    Ties are common, since most pairs have two users, and their order by item number would favour some items.
    """
    count = int(len(pairs) * drop)
    order = np.lexsort((np.random.default_rng(seed).random(len(pairs)), denoiser(pairs)))
    return pairs.take(np.sort(order[count:]))
