"""Whether the names on the way to an item are true of it."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from sidestep.data.interactions import Ints
from sidestep.sids.path_names import Left, PathNames
from sidestep.sids.thought_names import Probabilities, thinks_of

Shown = Sequence[Left | None]
"""The name that an explanation shows at each level; None where it shows none."""


def names_of_codes(names: PathNames, codes: Sequence[int]) -> Shown:
    """What the codes of a path are named. Not shown: codes that leave all items (they explain nothing) or one (its
    title is shown instead).
    """
    lefts = [names.code(tuple(codes[:depth])) for depth in range(len(codes) + 1)]
    return [left if 1 < left.num_items < before.num_items else None for before, left in pairwise(lefts)]


def names_of_clusters(names: PathNames, codes: Sequence[int], clusters: Sequence[int]) -> Shown:
    """What the clusters nearest to the thoughts of a path are named. Not shown: those at levels whose code leaves all
    items, and those that leave none.
    """
    shown: list[Left | None] = []
    for level, (cluster, decides) in enumerate(zip(clusters, deciding(names, codes), strict=False)):
        left = names.cluster(tuple(codes[:level]), cluster)
        shown.append(left if decides and left.num_items else None)
    return shown


def names_of_thoughts(names: PathNames, codes: Sequence[int], thoughts: Sequence[Probabilities]) -> Shown:
    """What the thoughts of a path are named, see `thinks_of`. Not shown: those at levels whose code leaves all items,
    and those that are undecided. thoughts: for each level the probabilities of its clusters.
    """
    shown: list[Left | None] = []
    for level, (thought, decides) in enumerate(zip(thoughts, deciding(names, codes), strict=False)):
        held = thinks_of(names, tuple(codes[:level]), thought) if decides else None
        shown.append(None if held is None else held.left)
    return shown


def deciding(names: PathNames, codes: Sequence[int]) -> list[bool]:
    """Whether each code of a path leaves fewer items than those before it."""
    counts = [names.code(tuple(codes[:depth])).num_items for depth in range(len(codes) + 1)]
    return [after < before for before, after in pairwise(counts)]


def share_shown(names: PathNames, shown: Sequence[Shown], paths: Sequence[Sequence[int]]) -> list[float | None]:
    """For each level, the share of the paths with a name there, of those whose code decides something; None where none
    does. paths: their codes.
    """
    decide = np.array([deciding(names, path) for path in paths], dtype=np.bool_).reshape(-1, names.num_levels)
    named = np.array([[left is not None for left in path] for path in shown], dtype=np.bool_)
    return [
        float(named[decide[:, level], level].mean()) if decide[:, level].any() else None
        for level in range(names.num_levels)
    ]


def true_of_items(
    names: PathNames, shown: Sequence[Shown], items: Ints, seed: int
) -> list[tuple[float | None, float | None]]:
    """For each level, the share of the shown names that are true of their item, and the same share with the names of
    the level dealt out among these items at random; (None, None) where nothing is shown.

    A name is true of an item if one of its terms is a word of the item's title or a step of its category. shown: for
    each of the items `[n]`, an entry per level.
    """
    rng = np.random.default_rng(seed)
    shares: list[tuple[float | None, float | None]] = []
    for level in range(names.num_levels):
        found = [(path[level], int(item)) for path, item in zip(shown, items, strict=True)]
        lefts = [left for left, _ in found if left is not None]
        own = [item for left, item in found if left is not None]
        if not own:
            shares.append((None, None))
            continue
        dealt = [lefts[place] for place in rng.permutation(len(lefts))]
        shares.append((_share(names, lefts, own), _share(names, dealt, own)))
    return shares


def _share(names: PathNames, lefts: Sequence[Left], items: Sequence[int]) -> float:
    return sum(map(names.holds, lefts, items)) / len(items)
