"""Laws of cluster names: words that tell a cluster's items from the rest, else its most popular items."""

import numpy as np

from sidestep.sids.names import cluster_names
from sidestep.sids.semantic_ids import SemanticIds


def sids(codes: list[int], clusters: list[int]) -> SemanticIds:
    codebook = np.zeros((len(clusters), 2), dtype=np.float32)
    return SemanticIds(np.array(codes)[:, None], (len(clusters),), [codebook], [np.array(clusters)])


TITLES = ["A", "B", "C", "D"]
POPULARITY = np.array([1, 5, 5, 2])


def test_the_word_that_only_this_cluster_has_comes_first_and_shared_words_do_not_come() -> None:
    """red: share 1 here and 1/2 everywhere, log 2. nail and file: share 1/2 here and 1/4 everywhere."""
    texts = ["red nail", "red file", "blue comb", "blue comb"]
    names = cluster_names(sids([0, 0, 1, 1], [0, 1]), TITLES, texts, POPULARITY)
    assert names == [["red, file, nail", "blue, comb"]]


def test_a_word_that_everybody_has_names_nobody() -> None:
    texts = ["thing"] * 4
    names = cluster_names(sids([0, 0, 1, 1], [0, 1]), TITLES, texts, POPULARITY)
    assert names == [["like B and A", "like C and D"]]


def test_without_texts_a_cluster_is_named_after_its_two_most_popular_items() -> None:
    for texts in (None, ["", " ", "", ""], ["1 2", "3", "?", "!"]):
        assert cluster_names(sids([0, 0, 0, 1], [0, 1]), TITLES, texts, POPULARITY) == [["like B and C", "like D"]]


def test_a_cluster_without_items_says_so() -> None:
    assert cluster_names(sids([0, 0, 0, 0], [0, 1]), TITLES, None, POPULARITY) == [["like B and C", "(no items)"]]
    assert cluster_names(sids([0, 0, 0, 0], [0, 1]), TITLES, ["word"] * 4, POPULARITY)[0][1] == "(no items)"


def test_a_deeper_level_is_named_by_what_the_level_above_has_left_open() -> None:
    """Among the red items "nail" tells level 2's clusters apart; "red" tells nothing any more, though the first of
    them has more red items than the catalogue.
    """
    texts = ["red nail", "red nail", "red comb", "red comb", "blue comb", "blue comb"]
    codes = np.array([[0, 0], [0, 0], [0, 1], [0, 1], [1, 1], [1, 1]])
    codebook = np.zeros((2, 2), dtype=np.float32)
    two = SemanticIds(codes, (2, 2), [codebook] * 2, [np.array([0, 1])] * 2)
    names = cluster_names(two, list("ABCDEF"), texts, np.ones(6, dtype=np.int64))
    assert names == [["red, nail", "blue, comb"], ["nail", "comb"]]


def test_one_word_in_two_numbers_and_words_without_meaning_are_not_said() -> None:
    texts = ["nail nails", "the nails for nail", "comb", "comb"]
    names = cluster_names(sids([0, 0, 1, 1], [0, 1]), TITLES, texts, POPULARITY)
    assert names == [["nail", "comb"]]


def test_names_do_not_depend_on_the_order_of_items() -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(["red", "blue", "nail", "comb", "oil"], 2)) for _ in range(30)]
    codes, order = rng.integers(0, 4, (30, 2)), rng.permutation(30)
    popularity, titles = rng.permutation(30), [str(item) for item in range(30)]
    parts = (4, 4), [np.zeros((4, 2), dtype=np.float32)] * 2, [np.arange(4) % 3] * 2
    moved = [[sequence[item] for item in order] for sequence in (titles, texts)]
    expected = cluster_names(SemanticIds(codes, *parts), titles, texts, popularity)
    assert cluster_names(SemanticIds(codes[order], *parts), *moved, popularity[order]) == expected
