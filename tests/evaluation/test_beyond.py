"""What is recommended to all users together: by hand, at the ends of every scale, and out of real lists."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sidestep.data.interactions import Interactions
from sidestep.data.splits import Cases
from sidestep.errors import DataError
from sidestep.evaluation.beyond import beyond_accuracy, gini, percentiles
from sidestep.evaluation.ranking import RankTable, rank_cases, summary
from sidestep.recommenders.itemwise import ItemwiseRecommender

NEVER = -torch.inf


def cases_of(*histories: list[int]) -> Cases:
    """One case per history: its last item is the target."""
    offsets = np.concatenate([[0], np.cumsum([len(history) for history in histories])]).astype(np.int64)
    items = np.array([item for history in histories for item in history], dtype=np.int64)
    log = Interactions([str(user) for user in range(len(histories))], offsets, items)
    return Cases(log, np.arange(len(histories)), offsets[1:] - 1)


def always(*scores: float) -> ItemwiseRecommender:
    """The same scores for everybody, one for each item."""
    return ItemwiseRecommender(lambda batch: torch.tensor(scores).expand(len(batch), -1), len(scores))


def test_a_hand_worked_catalogue_of_four() -> None:
    # Items 0 and 1 are recommended three times and once; training holds them 4 and 2 times, the others once.
    found = beyond_accuracy(np.array([3, 1, 0, 0]), np.array([4, 2, 1, 1]))
    assert found is not None
    assert found.coverage == 0.5
    assert found.gini == pytest.approx((-3 * 0 - 1 * 0 + 1 * 1 + 3 * 3) / (4 * 4))
    assert found.popularity == pytest.approx((3 * 7 / 8 + 5 / 8) / 4)
    assert found.novelty == pytest.approx((3 * 1 + 2) / 4)  # 4 of 8 is 1 bit, 2 of 8 is 2 bits


def test_gini_is_the_mean_difference_between_two_items_over_twice_the_mean() -> None:
    counts = np.random.default_rng(0).integers(0, 50, 40)
    between = np.abs(counts[:, None] - counts).mean()
    assert gini(counts) == pytest.approx(between / (2 * counts.mean()))


@pytest.mark.parametrize(("counts", "expected"), [([5, 5, 5], 0.0), ([0, 0, 9, 0], 0.75), ([0, 0], 0.0)])
def test_gini_reaches_from_equal_shares_to_one_that_has_all(counts: list[int], expected: float) -> None:
    assert gini(np.array(counts)) == pytest.approx(expected)


def test_everything_recommended_equally_has_middling_popularity_whatever_is_popular() -> None:
    popularity = np.random.default_rng(1).integers(0, 9, 100)
    found = beyond_accuracy(np.full(100, 7), popularity)
    assert found is not None
    assert (found.coverage, found.gini) == (1, pytest.approx(0))
    assert found.popularity == pytest.approx(0.5)
    assert percentiles(popularity).mean() == pytest.approx(0.5)


def test_items_that_training_lacks_are_as_novel_as_those_seen_once() -> None:
    unseen, once = (beyond_accuracy(np.array([1, 0]), np.array([count, 8 - count])) for count in (0, 1))
    assert unseen is not None and once is not None  # noqa: PT018
    assert unseen.novelty == once.novelty == 3


def test_where_nothing_is_recommended_nothing_is_said() -> None:
    assert beyond_accuracy(np.zeros(3, dtype=np.int64), np.ones(3, dtype=np.int64)) is None


def test_counts_of_other_items_are_refused() -> None:
    with pytest.raises(DataError, match="a count for each of 3 items, got 2"):
        beyond_accuracy(np.array([1, 2]), np.array([1, 2, 3]))


def test_the_first_ten_of_every_list_are_counted_over_all_batches() -> None:
    cases = cases_of([0, 2], [0, 4], [0, 5])
    table = rank_cases(always(*map(float, range(12))), cases, k=12, seen="kept", batch_size=2, num_items=12)
    assert table.recommended is not None
    assert table.recommended.tolist() == [0, 0, *[3] * 10]
    short = rank_cases(
        always(NEVER, NEVER, NEVER, 1.0), cases_of([0, 2], [0, 3], [0, 1]), k=2, seen="kept", num_items=4
    )
    assert short.recommended is not None
    assert short.recommended.tolist() == [0, 0, 0, 3]


def test_counts_survive_saving_and_belong_to_all_users(tmp_path: Path) -> None:
    table = rank_cases(
        always(NEVER, NEVER, 1.0, NEVER, 2.0), cases_of([0, 2], [0, 1, 3, 4]), k=2, seen="kept", num_items=5
    )
    table.save(tmp_path / "new")
    back = RankTable.load(tmp_path / "new")
    assert back.recommended is not None
    assert np.array_equal(back.recommended, np.array([0, 0, 2, 0, 2]))
    assert back.at_least(3).recommended is None
    rows = summary([back], [1], np.array([1, 1, 1, 1, 1])).to_dicts()
    assert [row["coverage"] for row in rows] == [0.4, None]
    RankTable(table.table, 2, "kept").save(tmp_path / "old")
    assert RankTable.load(tmp_path / "old").recommended is None
