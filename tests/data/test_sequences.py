"""Laws of the training examples: each interaction is learnt once, from its own past alone, in a repeatable order."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.data.reads import Reads
from sidestep.data.sequences import NO_ITEM, SequenceBatch, TrainingSequences, pad, question
from sidestep.data.splits import TrainingInteractions

LENGTHS = st.lists(st.integers(0, 40), min_size=1, max_size=10)
MODES = st.booleans()


def numbered_log(lengths: list[int]) -> TrainingInteractions:
    """Every interaction has an item of its own, so an item names a row."""
    offsets = np.cumsum([0, *lengths]).astype(np.int64)
    return TrainingInteractions([str(user) for user in range(len(lengths))], offsets, np.arange(offsets[-1]))


def whole_batch(examples: TrainingSequences) -> SequenceBatch:
    return examples.batch(np.arange(len(examples)))


@settings(max_examples=60, deadline=None)
@given(LENGTHS, st.integers(1, 12), MODES)
def test_every_interaction_but_a_users_first_is_a_target_once(lengths: list[int], width: int, every: bool) -> None:
    log = numbered_log(lengths)
    examples = TrainingSequences(log, Reads(width), every)
    targets = whole_batch(examples).targets if len(examples) else torch.empty(0)
    firsts = {int(row) for row, length in zip(log.offsets[:-1], lengths, strict=True) if length}
    assert sorted(targets[targets != NO_ITEM].tolist()) == [row for row in range(len(log)) if row not in firsts]
    assert examples.num_targets == int((targets != NO_ITEM).sum())


@settings(max_examples=60, deadline=None)
@given(LENGTHS.filter(lambda lengths: max(lengths) > 1), st.integers(1, 12), MODES)
def test_a_target_sees_exactly_what_came_right_before_it(lengths: list[int], width: int, every: bool) -> None:
    log = numbered_log(lengths)
    batch = whole_batch(TrainingSequences(log, Reads(width), every))
    owner = log.users
    for history, length, targets, visible in zip(
        batch.history.tolist(), batch.lengths.tolist(), batch.targets.tolist(), batch.visible.tolist(), strict=True
    ):
        assert NO_ITEM not in history[:length]
        assert set(history[length:]) <= {NO_ITEM}
        assert 1 <= length <= width
        for target, sees in zip(targets, visible, strict=True):
            assert sees >= 1
            if target == NO_ITEM:
                continue
            assert history[:sees] == list(range(target - sees, target))  # rows of the log, in order, up to the target
            assert all(owner[row] == owner[target] for row in history[:sees])
            whole_past = target - int(log.offsets[owner[target]])
            assert sees >= min(whole_past, max(width // 2, 1) if every else width)


@settings(max_examples=30, deadline=None)
@given(LENGTHS.filter(lambda lengths: max(lengths) > 1), st.integers(1, 60), MODES)
def test_an_epoch_holds_every_example_once_in_batches_of_the_right_size(
    lengths: list[int], batch_size: int, every: bool
) -> None:
    examples = TrainingSequences(numbered_log(lengths), Reads(8), every)
    batches = examples.batches(batch_size, seed=3, epoch=1)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(examples)))
    for chosen in batches:
        assert len(chosen) == 1 or examples.batch(chosen).targets.numel() <= batch_size


def plainly(log: TrainingInteractions, width: int, every: bool) -> list[tuple[list[int], list[int]]]:
    """History and targets of every example, in their order, as the class docstring tells it."""
    examples = []
    for begin, end in zip(log.offsets[:-1].tolist(), log.offsets[1:].tolist(), strict=True):
        start, first = begin, begin + 1
        while first < end:
            start = start if every else max(begin, first - width)
            last = min(start + width, end - 1) if every else first
            examples.append((list(range(start, last)), list(range(first, last + 1))))
            first = last + 1
            start = first - max(width // 2, 1)
    return examples


@settings(max_examples=100, deadline=None)
@given(LENGTHS, st.integers(1, 12), MODES)
def test_gathered_examples_equal_those_cut_one_by_one(lengths: list[int], width: int, every: bool) -> None:
    log = numbered_log(lengths)
    examples, expected = TrainingSequences(log, Reads(width), every), plainly(log, width, every)
    assert len(examples) == len(expected)
    chosen = np.random.default_rng(0).permutation(len(examples))[:7]
    batch = examples.batch(chosen)
    histories, targets = ([expected[i][part] for i in chosen] for part in (0, 1))
    seen = [np.array(asked) - row[0] for row, asked in zip(histories, targets, strict=True)]
    assert torch.equal(batch.history, pad([np.array(row) for row in histories]))
    assert torch.equal(batch.targets, pad([np.array(row) for row in targets]))
    assert torch.equal(batch.visible, pad(seen).clamp(min=1))
    assert batch.lengths.tolist() == [len(row) for row in histories]


@pytest.mark.parametrize("every", [True, False])
def test_neighbours_are_of_like_shape(every: bool) -> None:
    """Lengths as unequal as Beauty's: most histories are short, and some are cut into several stretches."""
    lengths = np.random.default_rng(0).geometric(0.12, 4000).clip(3, 200)
    examples = TrainingSequences(numbered_log(lengths.tolist()), Reads(20), every)
    batches = [examples.batch(chosen) for chosen in examples.batches(512, seed=0, epoch=0)]
    for name in ("history", "targets"):
        padded = torch.cat([getattr(batch, name).flatten() for batch in batches]) == NO_ITEM
        assert padded.float().mean() < 0.06, name


def test_batches_are_a_pure_function_of_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        examples = TrainingSequences(numbered_log([20, 7, 3, 30, 12] * 8), Reads(10), every_position=True)
        torch.manual_seed(seed * 7 + epoch)  # the global state must not matter
        return [chosen.tolist() for chosen in examples.batches(64, seed, epoch)]

    first = order(0, 0)
    order(5, 5)
    assert order(0, 0) == first
    assert order(0, 1) != first
    assert order(1, 0) != first


def test_making_batches_leaves_the_global_random_state_alone() -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]
    TrainingSequences(numbered_log([5, 9]), Reads(4), True).batches(8, 0, 0)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()  # type: ignore[index]


def test_a_short_history_is_one_example_with_every_position_a_target() -> None:
    batch = whole_batch(TrainingSequences(numbered_log([4]), Reads(10), every_position=True))
    assert batch.history.tolist() == [[0, 1, 2]]
    assert batch.targets.tolist() == [[1, 2, 3]]
    assert batch.visible.tolist() == [[1, 2, 3]]


def test_the_papers_way_is_one_example_per_prefix() -> None:
    batch = whole_batch(TrainingSequences(numbered_log([4]), Reads(2), every_position=False))
    assert batch.history.tolist() == [[0, NO_ITEM], [0, 1], [1, 2]]
    assert batch.targets.tolist() == [[1], [2], [3]]
    assert batch.visible.tolist() == [[1], [2], [2]]


def test_a_question_keeps_the_last_items_and_has_no_targets() -> None:
    batch = question([np.array([5, 6, 7]), np.array([], dtype=np.int64), np.array([8])], Reads(2))
    assert batch.history.tolist() == [[6, 7], [NO_ITEM, NO_ITEM], [8, NO_ITEM]]
    assert batch.lengths.tolist() == [2, 0, 1]
    assert batch.targets.shape == (3, 0)
    assert len(batch) == 3


@pytest.mark.parametrize("rows", [[], [[]], [[], [1, 2]], [[1], [2, 3, 4], [5, 6]]])
def test_padding_loses_nothing(rows: list[list[int]]) -> None:
    padded = pad([np.array(row, dtype=np.int64) for row in rows])
    assert padded.shape == (len(rows), max([1, *map(len, rows)]))
    assert [[item for item in row if item != NO_ITEM] for row in padded.tolist()] == rows


@given(rows=st.lists(st.lists(st.integers(0, 9), max_size=8), min_size=1, max_size=5), count=st.integers(1, 9))
def test_the_latest_items_of_a_question_are_the_question_of_the_latest_items(rows: list[list[int]], count: int) -> None:
    histories = [np.array(row, dtype=np.int64) for row in rows]
    cut, short = question(histories, Reads(20)).latest(Reads(count)), question(histories, Reads(count))
    width = short.history.shape[1]
    assert torch.equal(cut.history[:, :width], short.history)
    assert (cut.history[:, width:] == NO_ITEM).all()
    assert torch.equal(cut.lengths, short.lengths)
