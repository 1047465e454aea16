"""Laws of what a batch carries: a model gets the past that it reads, all of it, and nothing that comes later."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.data.interactions import NO_TIME, Interactions, Ints
from sidestep.data.reads import Reads
from sidestep.data.sequences import NO_ITEM, SequenceBatch, TrainingSequences, question, question_of
from sidestep.data.splits import SplitConfig, TrainingInteractions, split

READS = st.builds(Reads, st.integers(1, 9), st.integers(0, 9), st.booleans())
LENGTHS = st.lists(st.integers(0, 30), min_size=1, max_size=6).filter(lambda lengths: max(lengths) > 1)


def timed_log(lengths: list[int], absolute: bool = True) -> TrainingInteractions:
    """Every interaction has an item and a time of its own: item i is taken at 1,000 i."""
    offsets = np.cumsum([0, *lengths]).astype(np.int64)
    rows = np.arange(offsets[-1])
    return TrainingInteractions([str(user) for user in range(len(lengths))], offsets, rows, 1_000 * rows, absolute)


def same(one: SequenceBatch, other: SequenceBatch) -> None:
    for field in fields(SequenceBatch):
        ours, theirs = getattr(one, field.name), getattr(other, field.name)
        if isinstance(ours, torch.Tensor):
            assert torch.equal(ours, theirs), field.name
        else:
            assert ours == theirs, field.name


def real(row: torch.Tensor) -> list[int]:
    return [item for item in row.tolist() if item != NO_ITEM]


def past(batch: SequenceBatch, row: int, visible: int) -> list[int]:
    """All that a target sees, oldest first."""
    long = [] if batch.long is None else real(batch.long[row])
    return long + batch.history[row, :visible].tolist()


@settings(max_examples=100, deadline=None)
@given(LENGTHS, READS, st.booleans())
def test_a_training_target_sees_the_whole_past_that_is_read_and_nothing_later(
    lengths: list[int], reads: Reads, every: bool
) -> None:
    log = timed_log(lengths)
    examples = TrainingSequences(log, reads, every)
    batch = examples.batch(np.arange(len(examples)))
    for row in range(len(batch)):
        for target, visible in zip(batch.targets[row].tolist(), batch.visible[row].tolist(), strict=True):
            if target == NO_ITEM:
                continue
            users_first = int(log.offsets[log.users[target]])
            window_begins = int(batch.history[row, 0])
            begins = max(users_first, window_begins - reads.long)
            assert past(batch, row, visible) == list(range(begins, target))
    assert (batch.long is not None) == bool(reads.long)
    assert (batch.times is not None) == (batch.asked is not None) == reads.times


@settings(max_examples=60, deadline=None)
@given(LENGTHS, st.integers(1, 9), st.booleans(), st.booleans())
def test_times_are_those_of_the_items_beside_them(lengths: list[int], width: int, every: bool, absolute: bool) -> None:
    examples = TrainingSequences(timed_log(lengths, absolute), Reads(width, times=True), every)
    batch = examples.batch(np.arange(len(examples)))
    assert batch.times is not None
    assert batch.asked is not None
    for items, times in ((batch.history, batch.times), (batch.targets, batch.asked)):
        assert torch.equal(times, torch.where(items == NO_ITEM, NO_TIME, 1_000 * items))
    assert batch.absolute_times == absolute


@settings(max_examples=60, deadline=None)
@given(LENGTHS, READS, st.booleans())
def test_what_a_model_does_not_read_changes_nothing_of_what_it_reads(
    lengths: list[int], reads: Reads, every: bool
) -> None:
    log = timed_log(lengths)
    plain, more = (TrainingSequences(log, each, every) for each in (Reads(reads.recent), reads))
    for one, other in zip(plain.batches(16, 0, 1), more.batches(16, 0, 1), strict=True):
        assert np.array_equal(one, other)
        ours, theirs = plain.batch(one), more.batch(other)
        assert (ours.long, ours.times, ours.asked, ours.absolute_times) == (None, None, None, False)
        for name in ("history", "lengths", "targets", "visible"):
            assert torch.equal(getattr(ours, name), getattr(theirs, name))


def histories(draw_from: list[list[int]]) -> tuple[list[Ints], list[Ints], list[int]]:
    items = [np.array(row, dtype=np.int64) for row in draw_from]
    return items, [7 * row + np.arange(len(row)) for row in items], [1_000 * len(row) for row in items]


ROWS = st.lists(st.lists(st.integers(0, 9), max_size=25), min_size=1, max_size=5)


@settings(max_examples=100, deadline=None)
@given(ROWS, READS)
def test_a_question_holds_the_last_items_that_are_read(rows: list[list[int]], reads: Reads) -> None:
    items, times, at = histories(rows)
    batch = question(items, reads, times, at, absolute_times=True)
    for row, history in enumerate(rows):
        length = int(batch.lengths[row])
        assert length == min(len(history), reads.recent)
        assert past(batch, row, length) == history[-reads.items :]
        if batch.times is not None and batch.asked is not None:
            assert batch.times[row, :length].tolist() == times[row].tolist()[-reads.recent :]
            assert batch.asked[row].tolist() == [at[row]]


@settings(max_examples=100, deadline=None)
@given(ROWS, READS, READS)
def test_each_of_two_models_takes_its_own_from_what_either_reads(
    rows: list[list[int]], one: Reads, other: Reads
) -> None:
    items, times, at = histories(rows)
    shared = question(items, one | other, times, at, absolute_times=True)
    for reads in (one, other):
        own = question(items, reads, times, at, absolute_times=True)
        cut = shared.latest(reads)
        if not reads.times:
            assert (cut.times, cut.asked) == (None, None)
        for name in ("history", "times"):
            ours, theirs = getattr(cut, name), getattr(own, name)
            if theirs is not None:
                width = theirs.shape[1]  # a cut batch may be wider than its longest history
                padding = NO_ITEM if name == "history" else NO_TIME
                assert torch.equal(ours[:, :width], theirs)
                assert (ours[:, width:] == padding).all()
        for name in ("lengths", "long", "asked"):
            ours, theirs = getattr(cut, name), getattr(own, name)
            assert (ours is None) == (theirs is None)
            assert theirs is None or torch.equal(ours, theirs), name


@settings(max_examples=100, deadline=None)
@given(LENGTHS, st.integers(2, 9), st.integers(0, 9), READS, st.booleans())
def test_a_window_cut_from_training_examples_shows_no_target_what_comes_after_it(
    lengths: list[int], width: int, long: int, reads: Reads, every: bool
) -> None:
    log = timed_log(lengths)
    examples = TrainingSequences(log, Reads(width, long, times=True), every)
    whole = examples.batch(np.arange(len(examples)))
    cut = whole.latest(reads)
    kept = reads.items if reads.long else reads.recent
    for row in range(len(cut)):
        targets = zip(cut.targets[row].tolist(), cut.visible[row].tolist(), strict=True)
        for place, (target, visible) in enumerate(targets):
            before = past(whole, row, int(whole.visible[row, place]))
            if target == NO_ITEM:  # padding, or a target all of whose window fell out
                fallen = int(whole.lengths[row]) - reads.recent
                assert whole.targets[row, place] == NO_ITEM or whole.visible[row, place] <= fallen
            else:
                seen = past(cut, row, visible)
                assert seen == before[len(before) - len(seen) :]
                assert len(seen) >= min(len(before), visible)
                assert len(seen) <= kept


@settings(max_examples=60, deadline=None)
@given(ROWS, READS, st.data())
def test_rows_taken_from_a_question_are_the_question_of_those_rows(
    rows: list[list[int]], reads: Reads, data: st.DataObject
) -> None:
    items, times, at = histories(rows)
    batch = question(items, reads, times, at, absolute_times=True)
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=6))
    expected = question(
        [items[row] for row in chosen], reads, [times[row] for row in chosen], [at[row] for row in chosen], True
    )
    same(batch.take(torch.tensor(chosen)), expected if reads.times else question([items[r] for r in chosen], reads))


@settings(max_examples=60, deadline=None)
@given(LENGTHS, READS, st.data())
def test_rows_taken_from_training_examples_are_those_examples(
    lengths: list[int], reads: Reads, data: st.DataObject
) -> None:
    examples = TrainingSequences(timed_log(lengths), reads, every_position=False)
    chosen = np.array(data.draw(st.lists(st.integers(0, len(examples) - 1), min_size=1, max_size=6)))
    same(examples.batch(np.arange(len(examples))).take(torch.from_numpy(chosen)), examples.batch(chosen))


def test_a_batch_moves_to_a_device_with_all_its_fields() -> None:
    batch = question([np.array([1, 2, 3])], Reads(2, 1, times=True), [np.array([5, 6, 7])], [9], absolute_times=True)
    same(batch.to(torch.device("cpu")), batch)
    moved = batch.to(torch.device("meta"))
    assert {name for name, value in vars(moved).items() if isinstance(value, torch.Tensor) and value.is_meta} == {
        *("history", "lengths", "targets", "visible", "long", "times", "asked"),
    }


def test_items_to_judge_stand_after_the_whole_history_at_the_time_of_the_question() -> None:
    batch = question([np.array([1, 2, 3]), np.array([], dtype=np.int64)], Reads(2, 1, True), None, [9, NO_TIME])
    judged = batch.asking(torch.tensor([[4, 5], [6, NO_ITEM]]))
    assert judged.visible.tolist() == [[2, 2], [1, 1]]
    assert judged.asked is not None
    assert judged.asked.tolist() == [[9, 9], [NO_TIME, NO_TIME]]
    assert judged.long is batch.long


def test_an_evaluation_case_is_asked_at_the_time_of_its_target_with_relative_times_marked_as_such() -> None:
    log = timed_log([5, 4], absolute=False)
    cases = split(Interactions(log.user_ids, log.offsets, log.items, log.times), SplitConfig()).test
    batch = question_of(cases, np.array([1, 0]), Reads(2, 1, times=True))
    assert batch.asked is not None
    assert batch.times is not None
    assert batch.long is not None
    assert batch.asked.tolist() == [[8_000], [4_000]]
    assert batch.times.tolist() == [[6_000, 7_000], [2_000, 3_000]]
    assert batch.long.tolist() == [[5], [1]]
    assert not batch.absolute_times


def test_a_log_without_times_has_unknown_ones() -> None:
    log = Interactions(["a"], np.array([0, 4]), np.arange(4))
    batch = question_of(split(log, SplitConfig()).test, np.array([0]), Reads(3, times=True))
    assert batch.times is not None
    assert batch.asked is not None
    assert (batch.times == NO_TIME).all()
    assert (batch.asked == NO_TIME).all()


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (Reads(20), Reads(50), Reads(50)),
        (Reads(20, 1000), Reads(50), Reads(50, 970)),
        (Reads(20, 10), Reads(50), Reads(50)),
        (Reads(20, times=True), Reads(20, 5), Reads(20, 5, times=True)),
    ],
)
def test_the_union_of_what_two_models_read_by_hand(one: Reads, other: Reads, both: Reads) -> None:
    assert one | other == other | one == both
