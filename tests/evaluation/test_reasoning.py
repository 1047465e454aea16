"""What is measured on the way to an answer, by hand."""

import numpy as np
import pytest
import torch

from sidestep.evaluation.reasoning import (
    RecallBin,
    beam_places,
    best_followers,
    by_prefix,
    commonest,
    drifts,
    prefix_hits,
    recall_bins,
    share_of_commonest,
)
from sidestep.sids.trie import Trie
from small_world import SIZES, make_sids


def test_a_prefix_is_hit_where_some_answer_begins_with_it() -> None:
    codes = torch.tensor([[0, 1, 2], [0, 1, 3], [0, 2, 2], [4, 1, 2]])
    items = torch.tensor([[1, 3], [3, -1], [2, 0]])
    targets = torch.tensor([0, 0, 2])
    # First row: item 1 shares two codes with item 0. Second: item 3 shares none from the front. Third: item 2 itself.
    assert prefix_hits(items, targets, codes).tolist() == [2 / 3, 2 / 3, 1 / 3]


def test_prefixes_are_hit_less_the_longer_they_are() -> None:
    rng = torch.Generator().manual_seed(0)
    codes = torch.randint(3, (50, 4), generator=rng)
    items, targets = torch.randint(50, (30, 10), generator=rng), torch.randint(50, (30,), generator=rng)
    found = prefix_hits(items, targets, codes)
    assert (np.diff(found) <= 0).all()
    assert found[0] > found[-1]


def test_drift_is_the_cosine_of_neighbouring_thoughts() -> None:
    thoughts = torch.tensor([[[1.0, 0], [1, 0]], [[0, 2], [3, 0]], [[1, 1], [1, 1]]])
    (found,) = drifts(thoughts, torch.tensor([-3.0, -1, -2]))
    assert found.own == pytest.approx((1 + 0 + 1) / 3)
    # The next thought of the user before: (1, 1), (1, 0), (3, 0).
    assert found.others == pytest.approx((0.5**0.5 + 0 + 0.5**0.5) / 3)
    assert (found.easy, found.middle, found.hard) == pytest.approx((0, 1, 1))


def test_the_commonest_label_of_a_group_leaves_out_who_has_none() -> None:
    labels, groups = np.array([2, 0, 2, -1, -1, 1]), np.array([0, 0, 0, 0, 1, 3])
    assert commonest(labels, groups, 4).tolist() == [2, -1, -1, 1]
    assert commonest(np.array([-1, -1]), np.array([0, 1]), 2).tolist() == [-1, -1]


def test_the_share_of_the_commonest() -> None:
    assert share_of_commonest(np.array([3, 1, 3, 3])) == 0.75


def test_who_has_no_label_counts_as_nobody_but_is_counted() -> None:
    assert share_of_commonest(np.array([-1, -1, 2, 2, 1])) == 0.4
    assert share_of_commonest(np.array([-1])) == 0.0


def test_the_commonest_label_by_weight() -> None:
    labels, groups = np.array([2, 0, 2, 1, 1]), np.array([0, 0, 0, 1, 1])
    assert commonest(labels, groups, 2, np.array([1, 3, 1, 0, 0])).tolist() == [0, 1]
    assert commonest(labels, groups, 2, np.array([2, 4, 2, 0, 0])).tolist() == [0, 1]  # the lowest of equal ones


def test_by_prefix_says_what_training_says_after_the_same_codes() -> None:
    codes = np.array([[0, 0], [0, 1], [1, 0], [1, 2]])
    popularity = np.array([1, 5, 3, 2])
    # First code: 0, in 6 of 11. After 0 the usual one is 1, after 1 it is 0.
    assert by_prefix(codes, codes, popularity, np.array([0, 1, 2])) == pytest.approx([2 / 3, 2 / 3])
    clusters = np.array([[0, 0], [0, 0], [1, 0], [1, 1]])
    assert by_prefix(codes, clusters, popularity, np.array([0, 1, 2])) == pytest.approx([2 / 3, 1])


def test_the_best_follower_is_that_of_a_search_through_all_items() -> None:
    codes = torch.from_numpy(make_sids().codes)
    trie, items = Trie.build(codes, SIZES), torch.arange(40)
    for level, size in enumerate(SIZES):
        logits = torch.randn(40, size, generator=torch.Generator().manual_seed(level))
        found = best_followers(logits, level, items, trie)
        for item in items.tolist():
            alike = (codes[:, :level] == codes[item, :level]).all(1)
            following = codes[alike, level].unique()
            assert found[item] == following[logits[item, following].argmax()]


def test_the_place_among_the_beams_is_averaged_over_those_who_have_one() -> None:
    survives, means = beam_places(torch.tensor([[1, 4, 0], [3, 0, 0], [2, 2, 0]]))
    assert survives == pytest.approx([1, 2 / 3, 0])
    assert means == [2, 3, None]


def test_bins_of_what_is_looked_up_double_and_end_with_the_most() -> None:
    counts, gates = torch.tensor([0, 0, 1, 2, 3, 5]), torch.tensor([0.9, 0.9, 0.5, 0.25, 0.75, 0.2])
    found = recall_bins(counts, gates, 5)
    assert [(each.lowest, each.highest) for each in found] == [(0, 0), (1, 1), (2, 3), (4, 5)]
    assert [each.share for each in found] == pytest.approx([2 / 6, 1 / 6, 2 / 6, 1 / 6])
    assert [each.gate for each in found] == pytest.approx([0, 0.5, 0.5, 0.2])  # a gate that nothing passes is shut
    assert recall_bins(counts[:2], gates[:2], 1)[1] == RecallBin(1, 1, 0.0, None)
