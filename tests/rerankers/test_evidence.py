"""What speaks for a candidate, worked out by hand in a shop of six items."""

import numpy as np
import polars as pl
import pytest
import torch

from rerank_world import shop
from sidestep.data.catalog import Catalog
from sidestep.data.interactions import Interactions
from sidestep.data.labels import ItemLabels, Numbered
from sidestep.data.reads import Reads
from sidestep.data.sequences import question
from sidestep.data.splits import SplitConfig, split
from sidestep.rerankers.evidence import FEATURES, PSEUDO_COUNT, Evidence

CATEGORIES = ["a > b > c", "a > b > c", "a > b > d", "a > e", "", "a > e"]
BRANDS = ["X", "X", "X", "Y", "Unknown", "Y"]
VECTORS = np.eye(6, 3, dtype=np.float32) + np.eye(6, 3, k=-3, dtype=np.float32) * 2
LOG = [[0, 1, 2, 5, 5], [0, 3, 1, 4, 4], [2, 3, 0, 4, 4]]


def evidence() -> Evidence:
    labels = ItemLabels(CATEGORIES, BRANDS)
    lengths = [len(row) for row in LOG]
    log = Interactions(list("uvw"), np.concatenate([[0], np.cumsum(lengths)]), np.concatenate(LOG))
    return Evidence(np.ones(6, np.int64), VECTORS, labels).learn(split(log, SplitConfig()).train)


def features(history: list[int], items: list[int], scores: list[float]) -> dict[str, list[float]]:
    asked = question([np.array(history)], Reads(50))
    found = evidence()(asked, torch.tensor([items]), torch.tensor([scores]))
    assert found.shape == (1, len(items), len(FEATURES))
    return {name: found[0, :, column].tolist() for column, name in enumerate(FEATURES)}


def test_the_pre_rankers_word_is_its_score_within_the_row_and_its_place() -> None:
    found = features([0], [1, 2, 3], [3.0, 2.0, 1.0])
    spread = np.sqrt(2 / 3)
    assert found["score"] == pytest.approx([1 / spread, 0, -1 / spread])
    assert found["rank"] == pytest.approx([0, -np.log(2), -np.log(3)])


def test_text_is_compared_with_the_last_item_the_nearest_and_the_mean_of_all() -> None:
    found = features([0, 4], [3, 1, 5], [1.0, 1.0, 1.0])  # vectors 0 and 3 point along x, 1 and 4 along y, 5 along z
    assert found["text_last"] == pytest.approx([0, 1, 0])
    assert found["text_best"] == pytest.approx([1, 1, 0])
    assert found["text_mean"] == pytest.approx([0.5, 0.5, 0])
    assert found["text_recent"] == pytest.approx([1 / 3, 2 / 3, 0])


def test_labels_are_shared_with_the_last_item_the_one_before_any_and_a_share() -> None:
    found = features([3, 0, 4, 2], [1, 5, 4], [1.0, 1.0, 1.0])
    assert found["leaf_last"] == [0, 0, 0]
    assert found["leaf_any"] == [1, 1, 0]  # an item without a label shares none
    assert found["leaf_share"] == pytest.approx([0.25, 0.25, 0])
    assert found["aisle_last"] == [1, 0, 0]
    assert found["aisle_share"] == pytest.approx([0.5, 0.25, 0])
    assert found["brand_last"] == [1, 0, 0]  # Y has two items only, and counts as no brand
    assert found["brand_previous"] == [0, 0, 0]
    assert found["brand_any"] == [1, 0, 0]


def test_counts_are_those_of_the_training_part() -> None:
    """Training holds 0 1 2, 0 3 1, 2 3 0: transitions c-c, c-d; c-e, e-c; d-e, e-c."""
    found = features([0], [1, 2, 3], [1.0, 1.0, 1.0])
    assert found["popular"] == pytest.approx(np.log1p([2, 2, 2]).tolist())
    assert found["popular_in_leaf"] == pytest.approx(np.log([3 / 7, 1, 3 / 4]).tolist())
    popular = {"none": 1, "c": 7, "e": 4, "d": 3}  # of the leaves, each item counted once more
    prior = {leaf: PSEUDO_COUNT * count / 15 for leaf, count in popular.items()}
    after_c = {"c": 1 + prior["c"], "d": 1 + prior["d"], "e": 1 + prior["e"]}
    expected = [np.log(after_c[leaf] / (3 + PSEUDO_COUNT)) for leaf in "cde"]
    assert found["follows"] == pytest.approx(expected, rel=1e-5)


def test_neighbours_are_those_of_item_knn_and_the_last_item_counts_most() -> None:
    found = features([2, 0], [1, 3], [1.0, 1.0])
    both = 1 / 2  # each pair of these items shares one user of two or three
    alike = {(0, 1): 2 / np.sqrt(6), (1, 2): both, (0, 3): 2 / np.sqrt(6), (2, 3): both}
    assert found["near_last"] == pytest.approx([alike[0, 1] + alike[1, 2] / 2, alike[0, 3] + alike[2, 3] / 2])
    assert found["near_all"] == pytest.approx([alike[0, 1] + alike[1, 2], alike[0, 3] + alike[2, 3]])


def test_where_there_is_no_candidate_there_is_no_evidence() -> None:
    found = features([0], [1, -1], [1.0, -torch.inf])
    assert all(values[1] == 0 for values in found.values())
    assert all(np.isfinite(values).all() for values in found.values())


def test_candidates_keep_their_evidence_in_any_order() -> None:
    world = shop()
    tables = world.evidence().learn(world.parts.train)
    asked = question([world.test.cases.history(case) for case in range(8)], Reads(50))
    items, scores = torch.from_numpy(world.test.items[:8]), torch.from_numpy(world.test.scores[:8])
    order = torch.randperm(10)
    straight, moved = tables(asked, items, scores), tables(asked, items[:, order], scores[:, order])
    others = [column for column, name in enumerate(FEATURES) if name != "rank"]
    torch.testing.assert_close(straight[:, order][..., others], moved[..., others])


def test_labels_are_numbered_by_how_often_they_occur_and_none_is_0() -> None:
    numbered = Numbered.of(["b", "a", "a", "n/a", "", "Unknown"])
    assert numbered.of_item.tolist() == [2, 1, 1, 0, 0, 0]
    assert numbered.names == ["", "a", "b"]
    table = pl.DataFrame({"item_id": ["1", "2"], "categories": [["x", "y"], ["x"]], "brand": ["m", None]})
    labels = ItemLabels.of(Catalog(table))
    assert labels.leaf.names == ["", "x > y", "x"]
    assert labels.aisle.names == ["", "x"]
    assert list(labels.brands) == ["m", ""]
