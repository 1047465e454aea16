"""Laws of what a thought thinks of: the fewest likely clusters, within what the codes before it allow."""

from itertools import combinations

import numpy as np
import pytest

from sidestep.data.interactions import Ints
from sidestep.sids.path_names import PathNames
from sidestep.sids.semantic_ids import SemanticIds
from sidestep.sids.thought_names import HELD, TOO_MANY, ThinksOf, thinks_of

WORDS = ["soap", "comb", "oil", "nail", "balm", "dye", "wax", "gel"]


def eight(codes: list[list[int]] | None = None, taken: Ints | None = None) -> PathNames:
    """Sixteen items, two of each word; unless told otherwise, a word is a code of the first level, and its own cluster.
    The last two clusters have codes but no items. taken: how often each was taken; all alike unless told otherwise.
    """
    table = np.array(codes or [[item // 2, item % 2] for item in range(16)])
    titles = [f"{WORDS[item // 2]} {'red' if item % 2 else 'blue'}" for item in range(16)]
    clusters = [np.arange(10), np.array([0, 1, 2])]
    codebooks = [np.zeros((len(each), 2), dtype=np.float32) for each in clusters]
    taken = np.full(16, 3) if taken is None else taken
    return PathNames(SemanticIds(table, (10, 3), codebooks, clusters), titles, None, taken)


def thought(*probabilities: float) -> np.ndarray:  # type: ignore[type-arg]
    """Of ten clusters; those that are not told have none."""
    return np.array([*probabilities, *[0.0] * (10 - len(probabilities))])


def told(found: ThinksOf | None) -> tuple[str, tuple[int, ...], float, int, int]:
    assert found is not None
    return found.name, found.clusters, pytest.approx(found.probability), found.num_items, found.possible


def test_a_thought_is_named_by_the_fewest_clusters_with_half_of_its_probability() -> None:
    """.4 + .3 reach half, .4 does not; .5 does, to the last digit."""
    assert told(thinks_of(eight(), (), thought(0.3, 0.4, 0.1, 0.2))) == ("comb, soap", (1, 0), 0.7, 4, 8)
    assert told(thinks_of(eight(), (), thought(0.25, 0.25, 0.5))) == ("oil", (2,), 0.5, 2, 8)
    assert told(thinks_of(eight(), (), thought(0.1, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1, 0.2)))[1] == (1, 7, 0)


def test_one_likely_cluster_gives_the_name_of_that_cluster_where_items_are_taken_alike() -> None:
    names = eight()
    for cluster in range(8):
        found = thinks_of(names, (), np.where(np.arange(10) == cluster, 0.6, 0.4 / 9))
        assert found is not None
        assert found.left == names.cluster((), cluster)
        assert found.clusters == (cluster,)


def test_clusters_without_items_are_left_out_whatever_probability_they_have() -> None:
    """Nine tenths lie on clusters 8 and 9, which no item has; of the last tenth most lies on 3."""
    found = thinks_of(eight(), (), thought(0.01, 0.01, 0, 0.08, 0, 0, 0, 0, 0.5, 0.4))
    assert told(found) == ("nail", (3,), 0.8, 2, 8)
    assert thinks_of(eight(), (), thought(0, 0, 0, 0, 0, 0, 0, 0, 0.5, 0.5)) is None
    assert thinks_of(eight(), (9,), np.array([0.5, 0.3, 0.2])) is None, "no item has this prefix"


def test_a_thought_within_a_prefix_tells_its_items_from_their_siblings_alone() -> None:
    """Behind code 0 stand eight items of four words: code 0 takes the red ones, 1 two blue ones, 2 the rest."""
    rows = [[0, 0 if item % 2 else 1 + (item >= 4)] if item < 8 else [1, 0] for item in range(16)]
    names = eight(rows)
    assert told(thinks_of(names, (0,), np.array([0.3, 0.4, 0.3])))[1:] == ((1, 0), pytest.approx(0.7), 6, 3)
    red, two = (thinks_of(names, (0,), np.array(each)) for each in ([0.5, 0.3, 0.2], [0.2, 0.6, 0.2]))
    assert red is not None
    assert (red.name, red.num_items) == ("", 4), "half of the eight items are too many"
    assert two is not None
    assert (two.name, two.num_items) == ("blue", 2)


def test_a_thought_that_is_spread_evenly_is_undecided() -> None:
    found = thinks_of(eight(), (), np.full(10, 0.1))
    assert found is not None
    assert (found.name, found.left) == ("", None)
    assert len(found.clusters) == 4
    assert found.as_json()["name"] is None
    only = thinks_of(eight([[item // 2, 0] for item in range(16)]), (3,), np.array([0.2, 0.3, 0.5]))
    assert only is not None
    assert (only.name, only.probability, only.clusters, only.possible) == ("", 1.0, (0,), 1), "nothing else is possible"


def test_all_clusters_of_a_prefix_leave_what_the_prefix_is_named() -> None:
    names = eight()
    for prefix, clusters in (((), tuple(range(8))), ((2,), (0, 1))):
        left = names.likely(prefix, clusters)
        assert (left.name, left.num_items) == (names.code(prefix).name, names.code(prefix).num_items)


def test_what_is_often_taken_names_a_thought_and_not_a_cluster() -> None:
    """Code 0 leaves three red soaps and a blue comb, of eight items; the comb was taken 63 times, the others never. So
    combs count 8 of 11, and 9 of 15 among all items: "comb" comes first in the name of a thought, and not of a cluster.
    """
    titles = ["red soap", "red soap", "red soap", "blue comb", "blue oil", "blue oil", "red comb", "blue oil"]
    table = np.array([[0], [0], [0], [0], [1], [1], [2], [2]])
    sids = SemanticIds(table, (3,), [np.zeros((3, 2), dtype=np.float32)], [np.arange(3)])
    names = PathNames(sids, titles, None, np.array([0, 0, 0, 63, 0, 0, 0, 0]))
    assert names.cluster((), 0).name == "soap"
    assert names.likely((), (0,)).name == "comb, soap"
    alike = PathNames(sids, titles, None, np.full(8, 7))
    assert names.cluster((), 0) == alike.cluster((), 0) == alike.likely((), (0,))


def test_no_smaller_set_has_as_much_and_what_is_named_is_less_than_half() -> None:
    """By trying every set of clusters."""
    rng = np.random.default_rng(0)
    names = eight([[int(code), int(rng.integers(3))] for code in rng.integers(0, 7, 16)])
    counts = np.array([names.cluster((), cluster).num_items for cluster in range(10)])
    for _ in range(50):
        probabilities = rng.dirichlet(np.full(10, 0.4))
        own = np.where(counts > 0, probabilities, 0) / probabilities[counts > 0].sum()
        found = thinks_of(names, (), probabilities)
        assert found is not None
        assert own[list(found.clusters)].sum() == pytest.approx(found.probability)
        assert found.probability >= HELD
        assert all(counts[cluster] for cluster in found.clusters)
        assert found.num_items == counts[list(found.clusters)].sum()
        for fewer in combinations(range(10), len(found.clusters) - 1):
            assert own[list(fewer)].sum() < HELD
        for as_many in combinations(range(10), len(found.clusters)):
            assert own[list(as_many)].sum() <= found.probability + 1e-9
        assert bool(found.name) == (found.num_items < TOO_MANY * 16)
