"""Swing by hand, pairs counted one by one, and filters that cannot see what they are judged by."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.data.interactions import Interactions
from sidestep.data.splits import SplitConfig, TrainingInteractions, split
from sidestep.vectors import pairs as module
from sidestep.vectors.denoise import at_random, by_category, by_lift, by_text, by_users, kept
from sidestep.vectors.pairs import Pairs, cooccurring, num_users_of, swing, together, u2i


def training(histories: list[list[int]]) -> TrainingInteractions:
    offsets = np.concatenate([[0], np.cumsum([len(history) for history in histories])]).astype(np.int64)
    items = np.array([item for history in histories for item in history], dtype=np.int64)
    return TrainingInteractions([str(user) for user in range(len(histories))], offsets, items)


def weights(pairs: Pairs) -> dict[tuple[int, int], float]:
    return dict(zip(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True), pairs.weight.tolist(), strict=True))


def test_swing_by_hand() -> None:
    # Users 0 and 1 share items 0 and 1 alone, users 0 and 2 share 1 and 2, users 1 and 2 share 1 alone.
    found = weights(swing(training([[0, 1, 2], [1, 0], [2, 1, 3, 3]]), 4))
    w = [3**-0.5, 2**-0.5, 3**-0.5]
    assert found == pytest.approx({(0, 1): w[0] * w[1] / (1 + 2), (1, 2): w[0] * w[2] / (1 + 2)})
    halved = weights(swing(training([[0, 1, 2], [1, 0], [2, 1, 3]]), 4, alpha=4.0))
    assert halved == pytest.approx({pair: value / 2 for pair, value in found.items()})


def test_two_clones_of_a_user_weigh_less_than_two_strangers() -> None:
    clones = weights(swing(training([[0, 1, 2, 3], [0, 1, 2, 3]]), 8))[0, 1]
    strangers = weights(swing(training([[0, 1, 2, 3], [0, 1, 4, 5]]), 8))[0, 1]
    assert clones < strangers


histories = st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=7), min_size=1, max_size=8)


@settings(deadline=None, max_examples=30)
@given(histories=histories, block=st.sampled_from([1, 40, 1 << 22]))
def test_blocks_of_users_equal_pair_by_pair(histories: list[list[int]], block: int) -> None:
    expected: dict[tuple[int, int], float] = {}
    for one, other in combinations(map(set, histories), 2):
        for pair in combinations(sorted(one & other), 2):
            value = (len(one) * len(other)) ** -0.5 / (1 + len(one & other))
            expected[pair] = expected.get(pair, 0) + value
    counted: dict[tuple[int, int], float] = {}
    for history in map(set, histories):
        for pair in combinations(sorted(history), 2):
            counted[pair] = counted.get(pair, 0) + 1
    log = training(histories)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ENTRIES_AT_ONCE", block)
        assert weights(swing(log, 7)) == pytest.approx(expected)
        found = cooccurring(log, 7)
    assert weights(found) == counted
    assert num_users_of(log, 7, found).tolist() == found.weight.tolist()


def test_only_the_last_items_of_a_long_history_make_pairs() -> None:
    log = training([[0, 1, 2, 3], [0, 1, 2, 3]])
    assert set(weights(cooccurring(log, 4, longest=2))) == set(weights(swing(log, 4, longest=2))) == {(2, 3)}


def test_a_target_is_paired_with_the_most_similar_of_the_items_before_it() -> None:
    vectors = np.array([[1, 0], [0, 1], [0.9, 0.1], [0.2, 0.8]], dtype=np.float32)
    log = training([[0, 1, 2, 3], [2, 1, 1]])
    # 1 after 0: nothing but 0, at right angles, which is no partner; 2 goes with 0, 3 with 1; 1 with 2 and not itself
    assert weights(u2i(log, vectors)) == {(0, 2): 1, (1, 3): 1, (1, 2): 2}
    assert weights(u2i(log, vectors, last=1))[2, 3] == 1


def test_nothing_held_out_makes_a_pair() -> None:
    offsets = np.array([0, 4, 8, 12])
    log = Interactions(["a", "b", "c"], offsets, np.array([0, 1, 2, 3] * 3))
    train = split(log, SplitConfig()).train
    for found in (swing(train, 4), cooccurring(train, 4), u2i(train, np.ones((4, 2), dtype=np.float32))):
        assert set(weights(found)) == {(0, 1)}


def test_every_kind_of_pairs_has_the_same_share() -> None:
    one = Pairs(np.array([0, 1]), np.array([1, 2]), np.array([3.0, 1.0]))
    other = Pairs(np.array([0]), np.array([1]), np.array([50.0]))
    assert weights(together([one, other], 3)) == {(0, 1): 1.75, (1, 2): 0.25}


LOG = training([[0, 1], [0, 1], [0, 1, 2], [0, 2, 3], [0, 1, 3], [2, 3]])
PAIRS = Pairs(np.array([0, 0, 2]), np.array([1, 2, 3]), np.array([1.0, 2.0, 3.0]))


def test_scores_by_hand() -> None:
    assert by_users(LOG, 4)(PAIRS).tolist() == [4, 2, 2]
    # P(0) = 5/6, P(1) = 4/6, P(2) = P(3) = 3/6: what is hot meets often, and lifts little
    assert by_lift(LOG, 4)(PAIRS) == pytest.approx([4 * 6 / 20, 2 * 6 / 15, 2 * 6 / 9])
    vectors = np.array([[2, 0], [3, 0], [0, 1], [1, 1]], dtype=np.float32)
    assert by_text(vectors)(PAIRS) == pytest.approx([1, 0, 0.5**0.5])
    labels = ["Beauty > Nails > Polish", "Beauty > Nails", "", "Beauty > Hair"]
    assert by_category(labels)(PAIRS) == pytest.approx([2 / 3, 0, 0])


def test_the_lowest_share_goes_and_its_ties_at_random() -> None:
    assert kept(PAIRS, by_lift(LOG, 4), 0.4, 0).first.tolist() == [0, 2]
    assert len(kept(PAIRS, by_lift(LOG, 4), 0.0, 0)) == 3
    many = Pairs(np.arange(200), np.arange(200) + 1, np.ones(200))
    halves = [kept(many, lambda pairs: np.zeros(len(pairs)), 0.5, seed).first for seed in (0, 1)]
    assert [len(half) for half in halves] == [100, 100]
    assert halves[0].tolist() != halves[1].tolist()
    assert kept(many, at_random(3), 0.5, 0).first.tolist() == kept(many, at_random(3), 0.5, 1).first.tolist()
