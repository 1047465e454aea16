"""What a thought thinks of: its probability, over the clusters that are possible behind the codes before it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sidestep.sids.path_names import Left, PathNames, Prefix

HELD = 0.5
"""A thought is named by the fewest clusters with this share of its probability: what is as likely as not."""
TOO_MANY = 0.5
"""Where they leave this share of the items with the prefix, or more, the thought is undecided and has no name."""

Probabilities = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class ThinksOf:
    """What a thought holds likely.

    name: of what its clusters leave of the items with the prefix; empty where the thought is undecided. clusters: the
    fewest that have `HELD` of the probability, most likely first. probability: theirs, of that of all possible ones.
    num_items: how many items they leave. possible: how many clusters leave any. left: what is named, None where nothing
    is.
    """

    clusters: tuple[int, ...]
    probability: float
    num_items: int
    possible: int
    left: Left | None

    @property
    def name(self) -> str:
        return "" if self.left is None else self.left.name

    def as_json(self) -> dict[str, Any]:
        """As the command line and the server answer it. name: null where the thought is undecided."""
        return {
            "name": self.name or None,
            "probability": self.probability,
            "num_items": self.num_items,
            "clusters": list(self.clusters),
            "possible": self.possible,
        }


def thinks_of(names: PathNames, prefix: Prefix, probabilities: Probabilities) -> ThinksOf | None:
    """What a thought behind a prefix holds likely, within what the prefix leaves. probabilities: of all clusters of the
    level, `[C]`. Clusters without items are left out, and the others' probabilities are divided by their sum.

    None where the prefix leaves no item, or the possible clusters have no probability.
    """
    counts = names.counts(prefix)
    possible = np.flatnonzero(counts)
    total = probabilities[possible].sum()
    if not total > 0:
        return None
    likely = possible[(-probabilities[possible]).argsort(kind="stable")]
    reached = probabilities[likely].cumsum() / total
    size = int((reached < HELD - 1e-9).sum()) + 1
    held, left = likely[:size], int(counts[likely[:size]].sum())
    decided = left < TOO_MANY * counts.sum()
    clusters = tuple(held.tolist())
    name = names.likely(prefix, tuple(sorted(clusters))) if decided else None
    return ThinksOf(clusters, min(float(reached[size - 1]), 1.0), left, len(possible), name)
