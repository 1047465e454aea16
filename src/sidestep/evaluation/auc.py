"""AUC of scores of shown items: over all of them, and within each user."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sidestep.data.interactions import Ints
from sidestep.evaluation.metrics import Values

Labels = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class UserAucs:
    """users: `[U]`, those who took some of what they were shown and not all of it. values, counts: their AUC and the
    number of their impressions, `[U]`.
    """

    users: Ints
    values: Values
    counts: Ints

    @property
    def gauc(self) -> float:
        """The mean, weighted by impressions (arXiv 1706.06978, eq. 7)."""
        return float(np.average(self.values, weights=self.counts)) if len(self.users) else float("nan")

    @property
    def uauc(self) -> float:
        """The plain mean over users."""
        return float(self.values.mean()) if len(self.users) else float("nan")


def auc(scores: Values, labels: Labels) -> float:
    """P(a taken item has the higher score than another one), ties half (Mann & Whitney 1947); NaN with one label."""
    found = user_aucs(scores, labels, np.zeros(len(scores), dtype=np.int64))
    return float(found.values[0]) if len(found.users) else float("nan")


def user_aucs(scores: Values, labels: Labels, users: Ints) -> UserAucs:
    """The AUC within each user `[M]`: the sum of the ranks of what was taken, less its least, over its span."""
    order = np.lexsort((scores, users))
    scores, labels, users = scores[order], labels[order], users[order]
    tie = np.flatnonzero(np.diff(users, prepend=-1).astype(bool) | (np.diff(scores, prepend=np.nan) != 0))
    ends = np.append(tie[1:], len(users))
    ranks = np.repeat((tie + ends - 1) / 2, ends - tie)  # equal scores share their mean rank
    names, first, counts = np.unique(users, return_index=True, return_counts=True)
    ranks -= np.repeat(first, counts)
    taken = np.add.reduceat(labels.astype(np.float64), first) if len(first) else np.empty(0)
    sums = np.add.reduceat(np.where(labels, ranks, 0.0), first) if len(first) else np.empty(0)
    both = (taken > 0) & (taken < counts)
    taken, sums, counts, names = taken[both], sums[both], counts[both], names[both]
    return UserAucs(names, (sums - taken * (taken - 1) / 2) / (taken * (counts - taken)), counts)
