"""Ranking metrics with one relevant item, from its rank.

A rank is 1 for the first place and 0 if the item is not in the list. Every metric gives one value per user, in the
order of the ranks, because paired tests need them; the reported figure is their mean.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from sidestep.data.interactions import Ints
from sidestep.errors import ConfigError, did_you_mean

Values = np.ndarray[Any, np.dtype[np.float64]]


def hit_rate(ranks: Ints, k: int) -> Values:
    """`HR@k = 1[rank <= k]`; with one relevant item, equal to recall."""
    return _within(ranks, k).astype(np.float64)


def ndcg(ranks: Ints, k: int) -> Values:
    """`NDCG@k = 1 / log2(rank + 1)` within the first k, else 0 (Jarvelin & Kekalainen 2002); the ideal is 1."""
    return np.where(_within(ranks, k), 1 / np.log2(np.maximum(ranks, 1) + 1), 0.0)


def reciprocal_rank(ranks: Ints, k: int) -> Values:
    """`1 / rank` within the first k, else 0. Its mean is MRR@k."""
    return np.where(_within(ranks, k), 1 / np.maximum(ranks, 1), 0.0)


METRICS: dict[str, Callable[[Ints, int], Values]] = {"HR": hit_rate, "NDCG": ndcg, "MRR": reciprocal_rank}

GIVEN = ("HR@1", "HR@3", "HR@5", "NDCG@5")
"""Metrics of the cases whose target is among the candidates that are put in a new order."""


def named(name: str) -> tuple[str, int]:
    """`"NDCG@10"` -> `("NDCG", 10)`.

    Raises:
        ConfigError: an unknown metric, or no positive whole number after the @.
    """
    metric, _, depth = name.partition("@")
    if metric not in METRICS:
        hint = did_you_mean(metric.upper(), METRICS)
        raise ConfigError(
            f"Unknown metric {name!r}{hint}; expected one of {', '.join(METRICS)} with a depth, such as NDCG@10"
        )
    if not depth.isdecimal() or int(depth) < 1:
        raise ConfigError(f"Metric {name!r} has no depth; expected a positive whole number, such as {metric}@10")
    return metric, int(depth)


def _within(ranks: Ints, k: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return (ranks >= 1) & (ranks <= k)
