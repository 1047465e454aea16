"""Popularity and item-kNN by hand, and the contract that every recommender keeps."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sidestep.data.reads import Reads
from sidestep.data.sequences import SequenceBatch, pad, question
from sidestep.data.splits import TrainingInteractions
from sidestep.recommenders import itemwise
from sidestep.recommenders.itemwise import ItemwiseRecommender, best
from sidestep.recommenders.recommender import ItemFilter, Recommender
from sidestep.scorers import item_knn
from sidestep.scorers.counts import OwnCounts, OwnCountsByHour
from sidestep.scorers.item_knn import ItemKNN, ItemKNNConfig, similarities
from sidestep.scorers.popularity import Popularity

HISTORIES = [[0, 1], [0, 1, 2], [0, 3], [3, 3, 3], []]  # items 4 and 5 are never seen
NUM_ITEMS = 6


def training(histories: list[list[int]] = HISTORIES) -> TrainingInteractions:
    offsets = np.concatenate([[0], np.cumsum([len(history) for history in histories])]).astype(np.int64)
    items = np.array([item for history in histories for item in history], dtype=np.int64)
    return TrainingInteractions([str(user) for user in range(len(histories))], offsets, items)


def ask(*histories: list[int]) -> SequenceBatch:
    return question([np.array(history, dtype=np.int64) for history in histories], Reads(100))


def recommenders() -> list[Recommender]:
    return [
        ItemwiseRecommender(Popularity.fit(training(), NUM_ITEMS), NUM_ITEMS),
        ItemwiseRecommender(ItemKNN.fit(training(), NUM_ITEMS), NUM_ITEMS),
        ItemwiseRecommender(ItemKNN.fit(training(), NUM_ITEMS, ItemKNNConfig(half_life=2)), NUM_ITEMS),
        ItemwiseRecommender(OwnCounts.fit(training(), NUM_ITEMS), NUM_ITEMS),
    ]


def test_popularity_ranks_by_training_counts_and_equal_counts_by_item_number() -> None:
    # Occurrences: item 3 four times, 0 thrice, 1 twice, 2 once, 4 and 5 never.
    answers = recommenders()[0].rank(ask([1], []), 6)
    assert answers.items.tolist() == [[3, 0, 1, 2, 4, 5]] * 2


def test_own_counts_rank_by_the_history_and_equal_counts_by_popularity() -> None:
    # Occurrences in training: item 3 four times, 0 thrice, 1 twice, 2 once, 4 and 5 never.
    answers = recommenders()[3].rank(ask([4, 2, 2, 4, 2], [1, 0], []), 6)
    assert answers.items.tolist() == [[2, 4, 3, 0, 1, 5], [0, 1, 3, 2, 4, 5], [3, 0, 1, 2, 4, 5]]
    assert answers.scores[0, :3].tolist() == pytest.approx([3.2, 2, 0.8])


def test_similarity_is_the_cosine_of_the_users_of_two_items() -> None:
    # Users of 0: {a, b, c}, of 1: {a, b}, of 2: {b}, of 3: {c, d}: an item counts once per user.
    similar = similarities(training(), NUM_ITEMS, neighbours=10).toarray()
    expected = np.zeros((NUM_ITEMS, NUM_ITEMS))
    for one, other, both, product in ((0, 1, 2, 6), (0, 2, 1, 3), (1, 2, 1, 2), (0, 3, 1, 6)):
        expected[one, other] = expected[other, one] = both / np.sqrt(product)
    np.testing.assert_allclose(similar, expected, rtol=1e-6)


def test_only_the_nearest_are_kept_and_equal_ones_by_item_number() -> None:
    # Item 1 is as near to 0 as to 3, and so is item 2.
    similar = similarities(training([[0, 1], [0, 2], [2, 3], [1], [1, 3]]), 4, neighbours=1).toarray()
    assert [np.flatnonzero(row).tolist() for row in similar] == [[2], [0], [0], [2]]


def test_blocks_of_items_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    log = training([rng.integers(0, 23, 6).tolist() for _ in range(40)])
    whole = similarities(log, 23, 5).toarray()
    monkeypatch.setattr(item_knn, "ITEMS_AT_ONCE", 4)
    np.testing.assert_array_equal(similarities(log, 23, 5).toarray(), whole)


def test_a_score_is_the_sum_of_similarities_to_the_history() -> None:
    scores = ItemKNN.fit(training(), NUM_ITEMS)(ask([2, 3]))
    np.testing.assert_allclose(scores[0, 0], 1 / np.sqrt(3) + 1 / np.sqrt(6), rtol=1e-6)
    np.testing.assert_allclose(scores[0, 1], 1 / np.sqrt(2), rtol=1e-6)


def test_older_items_count_half_after_a_half_life() -> None:
    scores = ItemKNN.fit(training(), NUM_ITEMS, ItemKNNConfig(half_life=1))(ask([2, 3], [3]))
    np.testing.assert_allclose(scores[0, 0], 0.5 / np.sqrt(3) + 1 / np.sqrt(6), rtol=1e-6)
    np.testing.assert_allclose(scores[1, 0], 1 / np.sqrt(6), rtol=1e-6)  # padding does not age the shorter history


@pytest.mark.parametrize("half_life", [None, 1.5])
def test_neighbours_kept_as_lists_score_as_the_sparse_product_does(
    monkeypatch: pytest.MonkeyPatch, half_life: float | None
) -> None:
    rng = np.random.default_rng(0)
    log = training([rng.integers(0, 23, rng.integers(0, 9)).tolist() for _ in range(60)])
    histories = [rng.integers(0, 23, length).tolist() for length in (1, 7, 0, 4, 12)]
    taken = np.zeros((5, 23))
    for row, history in enumerate(histories):
        for age, item in enumerate(reversed(history)):
            taken[row, item] += 1 if half_life is None else 0.5 ** (age / half_life)
    expected = taken @ similarities(log, 23, 6).toarray()
    scorer = ItemKNN.fit(log, 23, ItemKNNConfig(neighbours=6, half_life=half_life))
    np.testing.assert_allclose(scorer.evidence(ask(*histories)), expected, rtol=1e-5, atol=1e-7)
    monkeypatch.setattr(item_knn, "NEIGHBOURS_AT_ONCE", 20)  # one history at a time, each as wide as it is
    np.testing.assert_allclose(scorer.evidence(ask(*histories)), expected, rtol=1e-5, atol=1e-7)


def test_neighbours_travel_with_the_weights() -> None:
    learnt = ItemKNN.fit(training(), NUM_ITEMS)
    read = ItemKNN(training().popularity(NUM_ITEMS))
    assert not read.evidence(ask([2, 3])).any()
    read.load_state_dict(learnt.state_dict())
    assert torch.equal(read(ask([2, 3], [])), learnt(ask([2, 3], [])))


def test_items_without_a_similar_one_follow_by_popularity() -> None:
    answers = recommenders()[1].rank(ask([2], [4], []), 6)
    # Item 2 is near 1 (.71) and 0 (.58); then popularity. Item 4 and the empty history have nothing to go by.
    assert answers.items.tolist() == [[1, 0, 3, 2, 4, 5], [3, 0, 1, 2, 4, 5], [3, 0, 1, 2, 4, 5]]


def test_fallback_keeps_the_order_of_large_counts_that_differ_by_one() -> None:
    counts = np.array([50_000_001, 50_000_003, 50_000_002])
    scorer = ItemKNN(counts, ItemKNNConfig(neighbours=1))
    assert ItemwiseRecommender(scorer, 3).rank(ask([]), 3).items.tolist() == [[1, 2, 0]]


@pytest.mark.parametrize("recommender", recommenders())
def test_contract_k_distinct_permitted_items_come_back_whenever_they_exist(recommender: Recommender) -> None:
    batch = ask([0, 1], [3], [])
    for k in (1, 3, 6, 9):
        answers = recommender.rank(batch, k)
        assert answers.items.shape == answers.scores.shape == (3, k)
        for items, scores in zip(answers.items.tolist(), answers.scores, strict=True):
            real = items[: min(k, NUM_ITEMS)]
            assert len(set(real)) == len(real)
            assert all(0 <= item < NUM_ITEMS for item in real)
            assert items[len(real) :] == [-1] * (k - len(real))
            assert (scores[: len(real) - 1] >= scores[1 : len(real)]).all()
            assert (scores[len(real) :] == -torch.inf).all()


@pytest.mark.parametrize("recommender", recommenders())
def test_contract_filters_remove_and_never_reorder(recommender: Recommender) -> None:
    batch = ask([0, 1], [3])
    allowed = torch.tensor([True, True, True, True, False, True])
    excluded = pad([np.array([0, 1]), np.array([3])])
    everything = recommender.rank(batch, NUM_ITEMS).items.tolist()
    filtered = recommender.rank(batch, NUM_ITEMS, ItemFilter(excluded, allowed)).items.tolist()
    for row, barred in enumerate(({0, 1, 4}, {3, 4})):
        expected = [item for item in everything[row] if item not in barred]
        assert filtered[row] == expected + [-1] * len(barred)


@pytest.mark.parametrize("recommender", recommenders())
def test_contract_a_batch_answers_as_its_rows_do_alone(
    recommender: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    histories = [[0, 1], [3], [], [5, 4, 2, 2]]
    excluded = pad([np.array(history, dtype=np.int64) for history in histories])
    together = recommender.rank(ask(*histories), 4, ItemFilter(excluded))
    for row, history in enumerate(histories):
        alone = recommender.rank(ask(history), 4, ItemFilter(excluded[row : row + 1]))
        assert alone.items[0].tolist() == together.items[row].tolist()
    monkeypatch.setattr(itemwise, "SCORES_AT_ONCE", 2 * NUM_ITEMS)
    in_blocks = recommender.rank(ask(*histories), 4, ItemFilter(excluded))
    assert in_blocks.items.tolist() == together.items.tolist()


def test_no_block_holds_more_scores_than_agreed(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def scorer(batch: SequenceBatch) -> Tensor:
        sizes.append(len(batch) * NUM_ITEMS)
        return torch.zeros(len(batch), NUM_ITEMS)

    monkeypatch.setattr(itemwise, "SCORES_AT_ONCE", 3 * NUM_ITEMS)
    ItemwiseRecommender(scorer, NUM_ITEMS).rank(ask(*[[0]] * 8), 2)
    assert sizes == [18, 18, 12]


def test_an_empty_batch_has_an_empty_answer() -> None:
    nothing = torch.empty(0, 0, dtype=torch.int64)
    batch = SequenceBatch(torch.empty(0, 1, dtype=torch.int64), torch.empty(0, dtype=torch.int64), nothing, nothing)
    answers = recommenders()[0].rank(batch, 3)
    assert answers.items.shape == answers.scores.shape == (0, 3)


@settings(deadline=None)
@given(
    scores=st.lists(
        st.lists(st.sampled_from([-np.inf, -1.0, 0.0, 2.0]), min_size=5, max_size=5), min_size=1, max_size=4
    ),
    k=st.integers(1, 7),
)
def test_the_best_are_those_of_a_stable_sort(scores: list[list[float]], k: int) -> None:
    items, kept = best(torch.tensor(scores), k)
    for row, values in enumerate(scores):
        order = sorted((item for item in range(5) if values[item] > -np.inf), key=lambda item: (-values[item], item))[
            :k
        ]
        assert items[row].tolist() == order + [-1] * (k - len(order))
        assert kept[row].tolist() == [values[item] for item in order] + [-np.inf] * (k - len(order))


def test_own_counts_at_the_hour_of_the_request_by_hand() -> None:
    """Item 0 twice at noon, item 1 once at 23:00 the day before; asked at 1:00, two hours after 23:00."""
    hour = 3_600_000
    scorer = OwnCountsByHour(np.array([4, 1, 1, 0]), hours=2.0)
    history, times = np.array([0, 1, 0]), np.array([12, 23, 36]) * hour
    batch = question([history], OwnCountsByHour.reads, [times], [49 * hour])
    scores = scorer(batch)[0]
    ties = OwnCountsByHour.FLOOR * np.array([2, 1, 1, 0]) / 3
    expected = np.array([2 * np.exp(-11 / 2), np.exp(-1), 0, 0]) + ties
    torch.testing.assert_close(scores, torch.from_numpy(expected))
    unknown = scorer(question([history], OwnCountsByHour.reads, [times]))[0]
    torch.testing.assert_close(unknown, torch.from_numpy(np.array([2.0, 1, 0, 0]) + ties))
