"""A second look moves candidates about, and does nothing else."""

import numpy as np
import pytest
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.data.reads import Reads
from sidestep.data.sequences import SequenceBatch, question
from sidestep.recommenders.itemwise import ItemwiseRecommender
from sidestep.recommenders.recommender import ItemFilter
from sidestep.recommenders.reranked import Reordering, RerankedRecommender
from small_world import make_batch

NUM_ITEMS = 30
SCORES = torch.randn(NUM_ITEMS, generator=torch.Generator().manual_seed(0)).sort(descending=True).values


def first() -> ItemwiseRecommender:
    return ItemwiseRecommender(lambda batch: SCORES.expand(len(batch), -1), NUM_ITEMS, Reads(4))


class Turned:
    """Puts the last candidate first."""

    def __call__(
        self, batch: SequenceBatch, items: Int[Tensor, "B C"], scores: Float[Tensor, "B C"], explain: bool = False
    ) -> Reordering:
        count = (items >= 0).sum(1, keepdim=True)
        place = torch.arange(items.shape[1]).expand_as(items)
        reasons = (
            [[[f"was {item}"] for item in reversed(row) if item >= 0] for row in items.tolist()] if explain else None
        )
        return Reordering(torch.where(place < count, count - 1 - place, place), reasons)


class Fixed:
    def __init__(self, places: list[int]) -> None:
        self._places = torch.tensor([places])

    def __call__(
        self, batch: SequenceBatch, items: Int[Tensor, "B C"], scores: Float[Tensor, "B C"], explain: bool = False
    ) -> Reordering:
        return Reordering(self._places.expand(len(batch), -1))


def reranked(by: Turned | Fixed | None = None, candidates: int = 5) -> RerankedRecommender:
    return RerankedRecommender(first(), by or Turned(), candidates, 6)


def test_the_candidates_are_turned_and_what_follows_stays() -> None:
    found = reranked().rank(make_batch(NUM_ITEMS), 8)
    assert found.items.tolist() == [[4, 3, 2, 1, 0, 5, 6, 7]] * 4
    assert torch.equal(found.scores, SCORES[:8].expand(4, -1))
    assert found.kept is not None
    assert not found.kept.any()


def test_a_list_shorter_than_the_candidates_is_the_head_of_the_new_order() -> None:
    assert reranked().rank(make_batch(NUM_ITEMS), 2).items.tolist() == [[4, 3]] * 4


def test_leaving_the_order_is_the_same_as_no_second_look_bit_for_bit() -> None:
    batch, barred = make_batch(NUM_ITEMS), ItemFilter(make_batch(NUM_ITEMS).history)
    found, alone = (
        reranked(Fixed([0, 1, 2, 3, 4])).rank(batch, 9, barred),
        first().rank(batch.latest(Reads(4)), 9, barred),
    )
    assert torch.equal(found.items, alone.items)
    assert torch.equal(found.scores, alone.scores)
    assert found.kept is not None
    assert found.kept.all()


@pytest.mark.parametrize("places", [[0, 1, 1, 3, 4], [5, 1, 2, 3, 4], [-1, 1, 2, 3, 4]])
def test_what_is_no_permutation_leaves_the_first_order(places: list[int]) -> None:
    assert reranked(Fixed(places)).rank(make_batch(NUM_ITEMS), 6).items.tolist() == [list(range(6))] * 4


def test_filters_act_before_and_places_without_an_item_stay_last() -> None:
    batch, allowed = make_batch(NUM_ITEMS), torch.zeros(NUM_ITEMS, dtype=torch.bool)
    allowed[[3, 7, 9]] = True
    assert reranked().rank(batch, 4, ItemFilter(allowed=allowed)).items.tolist() == [[9, 7, 3, -1]] * 4
    wrong = reranked(Fixed([4, 3, 2, 1, 0])).rank(batch, 4, ItemFilter(allowed=allowed))
    assert wrong.items.tolist() == [[3, 7, 9, -1]] * 4


def test_an_empty_history_keeps_the_order_of_popularity_and_no_question_has_no_answer() -> None:
    asked = question([np.array([], dtype=np.int64), np.array([3, 4])], Reads(6))
    assert reranked().rank(asked, 5).items.tolist() == [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0]]
    assert reranked().rank(asked.take(slice(0, 0)), 5).items.shape == (0, 5)


def test_given_items_have_the_scores_that_a_list_gives_them() -> None:
    batch, turned = make_batch(NUM_ITEMS), reranked()
    listed = turned.rank(batch, 8)
    shuffled = listed.items[:, torch.randperm(8)]
    scored = turned.score(batch, shuffled)
    for row in range(4):
        by_item = dict(zip(listed.items[row].tolist(), listed.scores[row].tolist(), strict=True))
        assert scored[row].tolist() == [by_item[item] for item in shuffled[row].tolist()]


def test_each_look_reads_as_much_as_it_was_made_for() -> None:
    assert reranked().reads == Reads(6)
    assert reranked().pre_ranker.reads == Reads(4)


def test_reasons_come_with_the_new_order_when_they_are_asked_for_and_not_without_it() -> None:
    asked = question([np.array([], dtype=np.int64), np.array([3, 4])], Reads(6))
    assert reranked().rank(asked, 3).reasons is None
    found = reranked().rank(asked, 3, explain=True).reasons
    assert found == [[], [["was 4"], ["was 3"], ["was 2"]]]
