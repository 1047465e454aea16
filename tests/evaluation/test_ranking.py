"""What counts as the target's rank, what may be answered, and what the table says."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sidestep.data.interactions import Interactions
from sidestep.data.reads import Reads
from sidestep.data.sequences import SequenceBatch
from sidestep.data.splits import Cases
from sidestep.errors import ConfigError
from sidestep.evaluation.ranking import RankTable, rank_cases, summary
from sidestep.recommenders.itemwise import ItemwiseRecommender
from sidestep.recommenders.recommender import ItemFilter, Recommendations

NUM_ITEMS = 8


def cases_of(*histories: list[int]) -> Cases:
    """One case per history: its last item is the target."""
    offsets = np.concatenate([[0], np.cumsum([len(history) for history in histories])]).astype(np.int64)
    items = np.array([item for history in histories for item in history], dtype=np.int64)
    log = Interactions([str(user) for user in range(len(histories))], offsets, items)
    return Cases(log, np.arange(len(histories)), offsets[1:] - 1)


class Fixed:
    """Says the same list to everybody, whatever is barred."""

    reads = Reads(5)

    def __init__(self, items: list[int], scores: list[float] | None = None) -> None:
        self.items = items
        self.scores = scores or [float(-place) if item >= 0 else -np.inf for place, item in enumerate(items)]

    def rank(
        self, batch: SequenceBatch, k: int, barred: ItemFilter | None = None, explain: bool = False
    ) -> Recommendations:
        rows = len(batch)
        scores = torch.tensor(self.scores[:k], dtype=torch.float32)
        return Recommendations(torch.tensor(self.items[:k]).expand(rows, -1), scores.expand(rows, -1))


class Watched(ItemwiseRecommender):
    """Prefers small item numbers; remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__(lambda batch: -torch.arange(8.0).expand(len(batch), -1), NUM_ITEMS, reads=Reads(2))
        self.lengths: list[int] = []

    def rank(
        self, batch: SequenceBatch, k: int, barred: ItemFilter | None = None, explain: bool = False
    ) -> Recommendations:
        assert batch.history.shape[1] <= 2
        assert batch.targets.shape[1] == 0  # the answer is never shown
        self.lengths += batch.lengths.tolist()
        return super().rank(batch, k, barred, explain)


def test_a_rank_is_the_place_in_the_list_and_zero_outside_it() -> None:
    ranks = rank_cases(Fixed([4, 2, 7]), cases_of([0, 2], [0, 4], [0, 5], [0, 7]), k=3, seen="kept")
    assert ranks.ranks.tolist() == [2, 1, 0, 3]
    assert ranks.table["served"].to_list() == [3] * 4
    assert ranks.table["target"].to_list() == [2, 4, 5, 7]


def test_seen_items_are_masked_over_the_whole_history_but_never_the_target() -> None:
    # The recommender sees two items of history; all five are masked. The second target was seen before.
    cases = cases_of([0, 1, 2, 3, 4, 5], [0, 1, 2, 1])
    assert rank_cases(Watched(), cases, k=8, seen="masked").ranks.tolist() == [1, 1]
    assert rank_cases(Watched(), cases, k=8, seen="kept").ranks.tolist() == [6, 2]


def test_cases_come_back_in_their_order_and_are_asked_by_length() -> None:
    cases = cases_of([0, 1, 2, 5], [1, 0], [0, 1, 6], [3, 4])
    watched, told = Watched(), list[tuple[int, int]]()
    table = rank_cases(
        watched, cases, k=8, seen="kept", batch_size=3, progress=lambda done, total: told.append((done, total))
    )
    assert table.ranks.tolist() == [6, 1, 7, 5]
    assert table.table["user"].to_list() == [0, 1, 2, 3]
    assert table.table["length"].to_list() == [4, 2, 3, 2]
    assert watched.lengths == [1, 1, 2, 2]
    assert told == [(3, 4), (4, 4)]


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_batches_change_nothing(batch_size: int) -> None:
    rng = np.random.default_rng(0)
    cases = cases_of(*(rng.integers(0, NUM_ITEMS, size).tolist() for size in rng.integers(2, 9, 20)))
    whole = rank_cases(Watched(), cases, k=5, seen="masked", batch_size=7)
    assert rank_cases(Watched(), cases, k=5, seen="masked", batch_size=batch_size).table.equals(whole.table)


CODES = np.array([[0, 0], [0, 1], [0, 1], [1, 0], [1, 0], [1, 1], [2, 0], [2, 1]])  # 1 ~ 2, 3 ~ 4


def test_the_rank_among_semantic_ids_counts_each_once_and_takes_any_of_its_items() -> None:
    cases = cases_of([0, 5], [0, 1], [0, 4], [0, 7], [0, 2])
    table = rank_cases(Fixed([3, 4, 2, 1, 5]), cases, k=5, seen="kept", codes=CODES).table
    assert table["rank"].to_list() == [5, 4, 2, 0, 3]
    assert table["sid_rank"].to_list() == [3, 2, 1, 0, 2]


def test_without_codes_there_is_no_rank_among_semantic_ids() -> None:
    table = rank_cases(Fixed([3]), cases_of([0, 3]), k=1, seen="kept")
    assert table.table["sid_rank"].to_list() == [None]
    assert "sid_HR@1" not in summary([table], ks=[1]).columns


def test_with_an_id_for_every_item_both_ranks_agree() -> None:
    cases = cases_of(*([0, item] for item in range(8)))
    table = rank_cases(Fixed([5, 2, 7, 1]), cases, k=4, seen="kept", codes=np.arange(8)[:, None]).table
    assert table["rank"].to_list() == table["sid_rank"].to_list()


def test_invalid_places_hold_a_score_without_an_item_or_an_item_again() -> None:
    said = Fixed([3, -1, 3, 2, -1], [0.0, -1.0, -2.0, -3.0, -np.inf])
    table = rank_cases(said, cases_of([0, 2]), k=5, seen="kept")
    assert table.table["invalid"].to_list() == [2]
    assert table.table["served"].to_list() == [3]
    assert summary([table], ks=[5])["invalid"].to_list()[0] == pytest.approx(2 / 5)


def test_the_summary_by_hand_for_all_users_and_for_long_ones() -> None:
    long = [0] * 9
    cases = cases_of([0, 4], [*long, 2], [*long, 6], [0, 5])
    tables = [rank_cases(Fixed([4, 2, 7, 1, 0, 5]), cases, k=6, seen="kept", codes=CODES)]
    tables.append(RankTable(tables[0].table, 6, "masked"))
    shown = summary(tables, ks=(1, 5))
    assert shown.select("seen", "users", "num_users").rows() == [
        ("kept", "all", 4), ("kept", ">=10", 2), ("masked", "all", 4), ("masked", ">=10", 2),
    ]  # fmt: skip
    first = shown.row(0, named=True)
    assert first["HR@1"] == 1 / 4
    assert first["HR@5"] == 2 / 4
    assert first["NDCG@5"] == pytest.approx((1 + 1 / np.log2(3)) / 4)
    assert first["MRR@5"] == (1 + 1 / 2) / 4
    assert first["sid_HR@5"] == 3 / 4  # item 5 stands sixth, but two before it share an ID
    assert shown.row(1, named=True)["HR@5"] == 1 / 2


def test_no_long_users_gives_no_means() -> None:
    shown = summary([rank_cases(Fixed([4]), cases_of([0, 4]), k=1, seen="kept")], ks=[1])
    assert shown["num_users"].to_list() == [1, 0]
    assert shown["HR@1"].to_list() == [1.0, None]


def test_a_metric_deeper_than_the_lists_is_refused() -> None:
    table = rank_cases(Fixed([4]), cases_of([0, 4]), k=1, seen="kept")
    with pytest.raises(ConfigError, match="metric at 5 needs longer lists than 1"):
        summary([table])
    with pytest.raises(ConfigError, match="metric at 5 needs longer lists than 1"):
        table.values("HR@5")


def test_ranks_survive_saving(tmp_path: Path) -> None:
    table = rank_cases(Fixed([4, 2]), cases_of([0, 2], [0, 3]), k=2, seen="masked")
    table.save(tmp_path / "ranks", config={"a": 1})
    loaded = RankTable.load(tmp_path / "ranks")
    assert loaded.table.equals(table.table)
    assert (loaded.k, loaded.seen) == (2, "masked")
