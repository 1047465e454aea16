"""Beyond accuracy: coverage of the catalogue, and popularity and novelty of the recommendations to all users."""

from dataclasses import dataclass

import numpy as np

from sidestep.data.interactions import Ints
from sidestep.errors import DataError
from sidestep.evaluation.metrics import Values


@dataclass(frozen=True)
class Beyond:
    """Measures over the recommendations to all users.

    coverage: share of the items that are recommended at least once. gini: of the numbers of recommendations per item, 0
        if all are equal, near 1 if one item has them all.
    popularity: mean popularity percentile of the recommendations, by occurrences in training, from 0 to 1; the median
        item has 0.5. novelty: mean of `-log2` of the item's share of the training interactions, in bits (Vargas &
        Castells 2011, eq. 2, as self-information).
    """

    coverage: float
    gini: float
    popularity: float
    novelty: float


def beyond_accuracy(recommended: Ints, popularity: Ints) -> Beyond | None:
    """The measures, computed from the number of lists that contain each item; None without recommendations.

    Items without training interactions count as seen once, since their novelty would be infinite.

    recommended, popularity: recommendations and training occurrences of every item, `[N]`.

    Raises:
        DataError: the two have different lengths.
    """
    if len(recommended) != len(popularity):
        raise DataError(f"Expected a count for each of {len(popularity)} items, got {len(recommended)}")
    given = int(recommended.sum())
    if given == 0:
        return None
    shares = recommended / given
    information = -np.log2(np.maximum(popularity, 1) / max(int(popularity.sum()), 1))
    return Beyond(
        coverage=float((recommended > 0).mean()),
        gini=gini(recommended),
        popularity=float(shares @ percentiles(popularity)),
        novelty=float(shares @ information),
    )


def gini(counts: Ints) -> float:
    """`sum_i (2 i - N - 1) c_i / (N sum c)` over the counts in rising order, i from 1; 0 where all are zero."""
    total, size = int(counts.sum()), len(counts)
    if total == 0:
        return 0.0
    weights = 2 * np.arange(1, size + 1) - size - 1
    return float(weights @ np.sort(counts) / (size * total))


def percentiles(popularity: Ints) -> Values:
    """The share of less popular items plus half the share of equally popular ones, `[N]`; the mean is 0.5."""
    ordered = np.sort(popularity)
    below, upto = (np.searchsorted(ordered, popularity, side=side) for side in ("left", "right"))
    middle: Values = (below + upto) / (2 * len(popularity))
    return middle
