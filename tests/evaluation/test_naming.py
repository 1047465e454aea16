"""Laws of the share of true names, by hand."""

import numpy as np

from sidestep.evaluation.naming import (
    deciding,
    names_of_clusters,
    names_of_codes,
    names_of_thoughts,
    share_shown,
    true_of_items,
)
from sidestep.sids.path_names import PathNames
from sidestep.sids.semantic_ids import SemanticIds

CODES = np.array([[0, 0], [0, 1], [1, 0], [1, 0]])
SIDS = SemanticIds(CODES, (2, 2), [np.zeros((2, 2), dtype=np.float32)] * 2, [np.array([0, 1])] * 2)
NAMES = PathNames(SIDS, ["red lipstick", "blue lipstick", "red comb", "blue comb"], None, np.ones(4, dtype=np.int64))


def test_codes_that_leave_all_items_or_one_show_no_name() -> None:
    assert [left and left.name for left in names_of_codes(NAMES, [0, 0])] == ["lipstick", None]
    assert [left and left.name for left in names_of_codes(NAMES, [1, 0])] == ["comb", None]


def test_thoughts_show_no_name_where_nothing_is_decided_or_nothing_left() -> None:
    assert [left and left.name for left in names_of_clusters(NAMES, [0, 0], [1, 1])] == ["comb", "blue"]
    assert [left and left.name for left in names_of_clusters(NAMES, [1, 0], [1, 0])] == ["comb", None]


def test_thoughts_are_named_by_what_they_hold_likely() -> None:
    """Six items: the third level 1 code has another two. A thought of two clusters leaves four of six: undecided."""
    titles = ["red lipstick", "blue lipstick", "red comb", "blue comb", "red soap", "blue soap"]
    codes = np.array([[0, 0], [0, 1], [1, 0], [1, 0], [2, 0], [2, 1]])
    books = [np.zeros((3, 2), dtype=np.float32), np.zeros((2, 2), dtype=np.float32)]
    sids = SemanticIds(codes, (3, 2), books, [np.arange(3), np.arange(2)])
    names = PathNames(sids, titles, None, np.ones(6, dtype=np.int64))
    sure, torn, deeper = np.array([0.2, 0.6, 0.2]), np.array([0.4, 0.2, 0.4]), np.array([0.9, 0.1])
    paths = [[0, 0], [1, 0], [2, 1]]
    shown = [
        names_of_thoughts(names, path, thoughts)
        for path, thoughts in zip(paths, ([sure, deeper], [sure, deeper], [torn, deeper]), strict=True)
    ]
    assert [[left and left.name for left in path] for path in shown] == [["comb", None], ["comb", None], [None, None]]
    assert [deciding(names, path) for path in paths] == [[True, True], [True, False], [True, True]]
    assert share_shown(names, shown, paths) == [2 / 3, 0.0], "of two soaps one is half, which is too many"
    assert share_shown(names, shown[1:2], paths[1:2]) == [1.0, None]
    assert true_of_items(names, shown, np.array([0, 2, 4]), seed=0)[0] == (0.5, 0.5)


def test_the_share_counts_names_with_a_word_of_the_item() -> None:
    """Level 1: combs are thought of on the way to a lipstick (false), and on the way to a comb (true). Level 2: "blue"
    on the way to the red lipstick is the only name that is shown; dealt out at random it is the same.
    """
    shown = [names_of_clusters(NAMES, [0, 0], [1, 1]), names_of_clusters(NAMES, [1, 0], [1, 0])]
    (own, chance), deeper = true_of_items(NAMES, shown, np.array([0, 2]), seed=0)
    assert own == chance == 0.5
    assert deeper == (0.0, 0.0)
    assert true_of_items(NAMES, [[None, None]], np.array([0]), seed=0) == [(None, None), (None, None)]
