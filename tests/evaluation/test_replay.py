"""A log replayed by the clock: nothing that comes later can be known, and one slice is leave-one-out."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from sidestep.data.interactions import NO_TIME, Interactions
from sidestep.data.reads import Reads
from sidestep.data.sequences import SequenceBatch
from sidestep.data.splits import Cases, SplitConfig, split
from sidestep.errors import DataError
from sidestep.evaluation.ranking import Seen, rank_cases
from sidestep.evaluation.replay import by_time, replayed, requests
from sidestep.recommenders.itemwise import ItemwiseRecommender
from sidestep.recommenders.recommender import Recommender
from sidestep.scorers.by_clock import PopularityByClock

USERS, ITEMS, NOTHING = 30, 15, np.empty(0, dtype=np.int64)


class Hash:
    """Scores that depend on every bit of what it is handed: any leak changes them."""

    def __call__(self, batch: SequenceBatch) -> Float[Tensor, "B N"]:
        assert batch.times is not None
        assert batch.asked is not None
        real = batch.history >= 0
        places = torch.arange(batch.history.shape[1]) + 1
        told = ((batch.history + 1) * places * (batch.times % 997 + 1)).masked_fill(~real, 0).sum(1) + batch.asked[:, 0]
        return (torch.arange(1, ITEMS + 1) * 7919 * (told[:, None] % 10007) % 10007).float()


def log(seed: int = 0) -> Interactions:
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(3, 9, USERS))]).astype(np.int64)
    users = np.repeat(np.arange(USERS), np.diff(offsets))
    times = rng.integers(10**12, 10**12 + 500, offsets[-1])
    times = times[np.lexsort((times, users))]
    return Interactions(
        [f"u{user}" for user in range(USERS)], offsets, rng.integers(ITEMS, size=len(users)), times, True
    )


def every_case(made: Interactions) -> Cases:
    """Each interaction but a user's first."""
    rows = np.setdiff1d(np.arange(len(made)), made.offsets)
    return Cases(made, made.users[rows], rows)


def recommenders(made: Interactions) -> list[Recommender]:
    counted = [PopularityByClock.of(made, ITEMS, span) for span in (None, 60)]
    hashed = ItemwiseRecommender(Hash(), ITEMS, Reads(4, times=True))
    return [hashed, *(ItemwiseRecommender(each, ITEMS, each.reads) for each in counted)]


def ranks(recommender: Recommender, cases: Cases, seen: Seen = "kept", slices: np.ndarray = NOTHING) -> list[int]:  # type: ignore[type-arg]
    found = replayed(
        recommender, cases, k=ITEMS, seen=seen, at_once=7, slices=slices, progress=lambda done, total: None
    )
    return found.ranks.tolist()


def test_shuffling_the_future_changes_nothing() -> None:
    """Who took what after a moment is dealt out anew, and later moments too: all ranks up to it stay."""
    made = log()
    assert made.times is not None
    moment, rng = int(np.median(made.times)), np.random.default_rng(1)
    later = made.times > moment
    items, times = made.items.copy(), made.times.copy()
    items[later] = rng.integers(ITEMS, size=later.sum())
    for user in range(USERS):
        own = np.arange(made.offsets[user], made.offsets[user + 1])[later[made.offsets[user] : made.offsets[user + 1]]]
        times[own] = np.sort(rng.integers(moment + 1, 10**12 + 999, len(own)))
    other = replace(made, items=items, times=times)
    before = every_case(made).asked <= moment
    assert 20 < before.sum() < len(before) - 20
    for ours, theirs in zip(recommenders(made), recommenders(other), strict=True):
        one, two = (np.array(ranks(*pair)) for pair in ((ours, every_case(made)), (theirs, every_case(other))))
        assert (one[before] == two[before]).all()
        assert (one[~before] != two[~before]).any()


@pytest.mark.parametrize("seen", ["kept", "masked"])
def test_one_slice_is_leave_one_out(seen: Seen) -> None:
    made = log()
    cases = split(made, SplitConfig()).test
    for recommender in recommenders(made):
        assert ranks(recommender, cases, seen) == rank_cases(recommender, cases, k=ITEMS, seen=seen).ranks.tolist()


def test_slices_divide_the_requests_and_change_no_rank() -> None:
    made = log()
    cases, edges = every_case(made), np.array([10**12 + 100, 10**12 + 300])
    found = list(requests(cases, 7, edges))
    assert sorted(np.concatenate([some.numbers for some in found]).tolist()) == list(range(len(cases)))
    assert (np.diff(np.concatenate([some.asked for some in found])) >= 0).all()
    for some in found:
        assert len(some.numbers) <= 7
        assert len(set(np.searchsorted(edges, some.asked, side="right").tolist())) == 1
        for number, past, when in zip(some.numbers, some.histories, some.times, strict=True):
            assert past.tolist() == cases.history(int(number)).tolist()
            assert when.tolist() == cases.history_times(int(number)).tolist()
    recommender = recommenders(made)[0]
    assert ranks(recommender, cases, slices=edges) == ranks(recommender, cases)


def test_what_positions_put_before_but_the_clock_behind_is_not_known() -> None:
    """The second item of the only user was taken after the third."""
    made = Interactions(["u"], np.array([0, 3]), np.array([4, 5, 6]), np.array([10, 30, 20]) + 10**12, True)
    [some] = requests(Cases(made, np.zeros(2, np.int64), np.array([1, 2])), 9, NOTHING)
    assert some.numbers.tolist() == [1, 0]
    assert [past.tolist() for past in some.histories] == [[4], [4, 6]]


def test_popularity_by_the_clock_counts_what_came_before_and_lately() -> None:
    made = log()
    assert made.times is not None
    for span in (None, 60):
        scorer = PopularityByClock.of(made, ITEMS, span)
        asked = torch.tensor([[10**12], [10**12 + 250], [10**12 + 999]])
        one, none = torch.zeros(3, 1, dtype=torch.int64), torch.empty(3, 0, dtype=torch.int64)
        batch = SequenceBatch(one, one[:, 0] + 1, none, none, asked=asked)
        for row, moment in enumerate(asked[:, 0].tolist()):
            there = (made.times < moment) & (made.times >= (0 if span is None else moment - span))
            assert scorer(batch)[row].tolist() == np.bincount(made.items[there], minlength=ITEMS).tolist()


def test_means_by_time_are_those_of_the_cases_in_it() -> None:
    made = log()
    cases, begins = every_case(made), np.array([10**12, 10**12 + 200])
    table = replayed(
        recommenders(made)[0],
        cases,
        k=ITEMS,
        seen="kept",
        at_once=50,
        slices=NOTHING,
        progress=lambda done, total: None,
    )
    rows = by_time({"hash": table}, cases, begins, "HR@5")
    early = cases.asked < begins[1]
    hits = (table.ranks > 0) & (table.ranks <= 5)
    assert [row["cases"] for row in rows] == [int(early.sum()), int((~early).sum())]
    assert [row["hash"] for row in rows] == [pytest.approx(hits[early].mean()), pytest.approx(hits[~early].mean())]


def test_a_log_without_a_clock_is_refused() -> None:
    made = log()
    cases = every_case(replace(made, absolute_times=False))
    with pytest.raises(DataError, match="--replay needs a log with absolute times"):
        next(requests(cases, 5, NOTHING))
    assert made.times is not None
    holes = np.where(np.arange(len(made)) < 3, NO_TIME, made.times)
    with pytest.raises(DataError, match=f"and 3 of {len(made)} have none"):
        next(requests(every_case(replace(made, times=holes)), 5, NOTHING))
