"""Laws of the names on a path: what a code or a cluster leaves, told from what the codes before it allow."""

from itertools import product

import numpy as np

from sidestep.sids.path_names import ALL_ITEMS, NO_ITEMS, PathNames
from sidestep.sids.semantic_ids import SemanticIds
from sidestep.sids.terms import Terms

TITLES = ["red lipstick", "blue lipstick", "red comb", "blue comb", "red comb", "green brush"]
CODES = [[0, 0], [0, 1], [1, 0], [1, 1], [1, 0], [2, 0]]


def names_of(
    titles: list[str], codes: list[list[int]], categories: list[str | None] | None = None, clusters: int = 2
) -> PathNames:
    table = np.array(codes)
    sizes = tuple((table.max(0) + 1).tolist())
    of_codes = [np.arange(size) % clusters for size in sizes]
    sids = SemanticIds(table, sizes, [np.zeros((size, 2), dtype=np.float32) for size in sizes], of_codes)
    return PathNames(sids, titles, categories, np.arange(len(titles))[::-1].copy())


def test_a_code_is_named_by_what_tells_its_items_from_their_siblings() -> None:
    """Of all items code 1 leaves the combs; of the combs codes 0 and 1 leave the red ones and the blue one."""
    names = names_of(TITLES, CODES)
    assert [names.code((code,)).name for code in (0, 1)] == ["lipstick", "comb"]
    assert [names.code((1, code)).name for code in (0, 1)] == ["red", "blue"]
    assert [names.code((1, code)).num_items for code in (0, 1)] == [2, 1]
    assert names.code(()).name == ALL_ITEMS


def test_a_second_term_holds_of_items_that_the_first_does_not_hold_of() -> None:
    """soap: 2/3 of code 0 and 1/2 of all; balm: 1/3 and 1/4. "new" occurs on both sides alike."""
    names = names_of(["new soap", "soap", "balm", "soap", "balm", "new oil", "oil", "oil"], [[0], [0], [0]] + [[1]] * 5)
    assert names.code((0,)).name == "soap, balm"


def test_a_code_that_leaves_all_items_keeps_the_name_of_its_prefix() -> None:
    names = names_of(TITLES, [[0, 0], [0, 0], [1, 0], [1, 0], [1, 0], [2, 0]])
    assert names.code((1, 0)) == names.code((1,))
    assert names.code((1, 0)).name == "comb"


def test_items_that_no_term_tells_apart_are_named_by_their_most_popular_titles() -> None:
    names = names_of(["A1", "B2", "C3", "D4"], [[0], [0], [0], [1]])
    assert names.code((0,)).name == "like A1 and B2"
    assert names.code((1,)).name == "D4"
    assert names.holds(names.code((1,)), 3)
    assert not names.holds(names.code((1,)), 0)


def test_a_cluster_without_items_under_the_prefix_leaves_none() -> None:
    left = names_of(TITLES, CODES).cluster((2,), 1)
    assert (left.name, left.num_items) == (NO_ITEMS, 0)


def test_steps_of_categories_are_terms_as_they_are_spelled_and_words_are_not_counted_twice() -> None:
    categories = ["Beauty > Nail Polish", "Beauty > Nail Polish", "Beauty > Combs", None]
    terms = Terms.of(["the nail polish", "Beauty", "nail combs", "combs for the nail"], categories)
    assert terms.terms == ["Beauty", "Combs", "nail", "Nail Polish"]
    of_item = [[terms.terms[number] for number in terms.numbers[a:b]] for a, b in zip(terms.starts, terms.starts[1:])]  # noqa: B905
    assert of_item == [
        ["Beauty", "nail", "Nail Polish"],
        ["Beauty", "Nail Polish"],
        ["Beauty", "Combs", "nail"],
        ["Combs", "nail"],
    ]


def test_names_agree_with_a_plain_count_over_all_items() -> None:
    """The first term of every cluster, by the formula, without slices, groups or caches."""
    rng = np.random.default_rng(0)
    words = ["oil", "soap", "comb", "nail", "balm"]
    titles = [" ".join(rng.choice(words, 2, replace=False)) for _ in range(60)]
    codes = rng.integers(0, 4, (60, 2))
    names = names_of(titles, codes.tolist())
    has = np.array([[word in title.split() for word in words] for title in titles])
    for prefix, cluster in product([(), (0,), (1,), (2,), (3,)], (0, 1)):
        group = (codes[:, : len(prefix)] == np.array(prefix, dtype=np.int64)).all(1)
        left = group & (codes[:, len(prefix)] % 2 == cluster)
        with np.errstate(divide="ignore", invalid="ignore"):
            score = np.nan_to_num(has[left].mean(0) * np.log(has[left].mean(0) / has[group].mean(0)))
        assert names.cluster(prefix, cluster).num_items == left.sum()
        first = names.cluster(prefix, cluster).name.split(", ")[0]
        assert score[words.index(first)] == score.max()


def test_names_do_not_depend_on_the_order_of_items() -> None:
    order = np.random.default_rng(1).permutation(len(TITLES))
    moved = names_of([TITLES[item] for item in order], [CODES[item] for item in order])
    for prefix in ((0,), (1,), (2,), (0, 0), (0, 1), (1, 0), (1, 1)):
        assert moved.code(prefix) == names_of(TITLES, CODES).code(prefix)
