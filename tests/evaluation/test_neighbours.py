"""Nearest items and ranks of the next item, against the plain way."""

import numpy as np
import pytest

from sidestep.data.interactions import Interactions
from sidestep.data.splits import SplitConfig, split
from sidestep.evaluation import neighbours
from sidestep.evaluation.neighbours import nearest, next_item_ranks, same_label
from sidestep.evaluation.purity import NO_LABEL

VECTORS = np.array([[2, 0], [1, 1], [0, 3], [-1, 0], [1, 0]], dtype=np.float32)


def test_nearest_by_hand() -> None:
    assert nearest(VECTORS, np.array([0, 2]), 2).tolist() == [[4, 1], [1, 0]]  # 2: items 0, 3 and 4 at right angles
    assert nearest(VECTORS, np.array([1]), 9).shape == (1, 4)


@pytest.mark.parametrize("block", [1, 7, 1 << 20])
def test_ranks_equal_those_of_a_full_sort(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "ROWS_AT_ONCE", block)
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((12, 4)).astype(np.float32)
    histories = [rng.permutation(12)[:5] for _ in range(9)]
    log = Interactions([str(user) for user in range(9)], np.arange(0, 46, 5), np.concatenate(histories))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = []
    for *_, last, target in histories:
        order = [item for item in np.argsort(-(unit @ unit[last])) if item != last]
        expected.append(order.index(target) + 1)
    assert next_item_ranks(vectors, split(log, SplitConfig()).test).tolist() == expected
    for item, row in zip(range(12), nearest(vectors, np.arange(12), 3), strict=True):
        assert row.tolist() == [other for other in np.argsort(-(unit @ unit[item])) if other != item][:3]


def test_copies_of_the_target_do_not_push_it_down() -> None:
    log = Interactions(["a"], np.array([0, 4]), np.array([1, 2, 0, 4]))
    copies = np.concatenate([VECTORS, VECTORS[4:], VECTORS[4:]])
    assert next_item_ranks(copies, split(log, SplitConfig()).test).tolist() == [1]


def test_labels_of_neighbours_by_hand() -> None:
    labels = np.array([7, 7, 8, NO_LABEL, NO_LABEL])
    near, items = np.array([[1, 2], [0, 1]]), np.array([0, 3])
    assert same_label(near, items, labels) == 0.5  # the item without a label does not count
    assert same_label(near, np.array([3, 4]), labels) is None
