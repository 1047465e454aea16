"""Batches of histories with their targets: the one shape that every model trains on and is asked with."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from sidestep.data.interactions import Ints
from sidestep.data.splits import Cases, TrainingInteractions

NO_ITEM = -1


@dataclass(frozen=True)
class SequenceBatch:
    """Histories are padded on the right with `NO_ITEM`, and so are targets.

    history: item numbers, oldest first.
    lengths: how many items of each history are real.
    targets: item numbers to be predicted; `P` may be 0 when nothing is known about the future.
    visible: how many history items each target may see, at least 1 where the target is real.
    """

    history: Int[Tensor, "B T"]
    lengths: Int[Tensor, " B"]
    targets: Int[Tensor, "B P"]
    visible: Int[Tensor, "B P"]

    def __len__(self) -> int:
        return self.history.shape[0]

    def to(self, device: torch.device) -> "SequenceBatch":
        return SequenceBatch(*(tensor.to(device) for tensor in self._tensors))

    def take(self, rows: slice | Bool[Tensor, " B"]) -> "SequenceBatch":
        """Some of the histories with their targets."""
        return SequenceBatch(*(tensor[rows] for tensor in self._tensors))

    @property
    def _tensors(self) -> tuple[Tensor, ...]:
        return self.history, self.lengths, self.targets, self.visible


def pad(rows: Sequence[Ints], width: int | None = None) -> Int[Tensor, "B T"]:
    """Rows of unequal length as one tensor, padded on the right with `NO_ITEM`."""
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    width = max(int(lengths.max(initial=0)), 1) if width is None else width
    padded = np.full((len(rows), width), NO_ITEM, dtype=np.int64)
    if lengths.sum():
        padded[np.arange(width) < lengths[:, None]] = np.concatenate(rows)
    return torch.from_numpy(padded)


def question(histories: Sequence[Ints], max_history: int) -> SequenceBatch:
    """A batch that asks for the item after each history; only the last `max_history` items are kept."""
    rows = [history[-max_history:] for history in histories]
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
    nothing = torch.empty(len(rows), 0, dtype=torch.int64)
    return SequenceBatch(pad(rows), lengths, nothing, nothing)


def question_of(cases: Cases, chosen: Ints, max_history: int) -> SequenceBatch:
    """The questions that some evaluation cases ask."""
    return question([cases.history(int(case)) for case in chosen], max_history)


class TrainingSequences:
    """Training examples cut out of the permitted interactions.

    With `every_position` a stretch of up to `max_history` items is encoded once and every later item in it is a
    target, which sees only what came before it. Histories longer than that are cut into stretches that overlap by
    half, and only targets with at least half a stretch of context are taken from the later ones: each interaction
    but a user's first is a target exactly once. Otherwise every target is an example of its own with its last
    `max_history` items (the paper's way: all prefixes as training samples).

    Order is a pure function of (seed, epoch); nothing here holds state.
    """

    def __init__(self, interactions: TrainingInteractions, max_history: int, every_position: bool) -> None:
        starts, ends, firsts = [], [], []  # rows of the log: history from, last target, first target
        for begin, end in zip(interactions.offsets[:-1].tolist(), interactions.offsets[1:].tolist(), strict=True):
            if not every_position:
                for target in range(begin + 1, end):
                    starts.append(max(begin, target - max_history))
                    ends.append(target)
                    firsts.append(target)
                continue
            start, first = begin, begin + 1
            while first < end:
                last = min(start + max_history, end - 1)
                starts.append(start)
                ends.append(last)
                firsts.append(first)
                first = last + 1
                start = first - max(max_history // 2, 1)
        self._items = interactions.items
        self._starts, self._ends, self._firsts = (np.array(rows, dtype=np.int64) for rows in (starts, ends, firsts))

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def num_targets(self) -> int:
        return int((self._ends - self._firsts + 1).sum())

    def batches(self, batch_size: int, seed: int, epoch: int) -> list[Ints]:
        """Example numbers of every batch of one epoch. A batch holds about `batch_size` targets, padding included.

        Examples are shuffled, then sorted by length within large random pools, so that neighbours have like lengths
        and every epoch groups them anew; the batches themselves come in random order.
        """
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(len(self))
        histories, targets = self._ends - self._starts, self._ends - self._firsts + 1
        pool = max(64 * batch_size // max(int(targets.max(initial=1)), 1), 1)
        batches: list[Ints] = []
        for begin in range(0, len(order), pool):
            chosen = order[begin : begin + pool]
            chosen = chosen[np.lexsort((histories[chosen], targets[chosen]))]
            first = 0
            for position in range(1, len(chosen) + 1):
                if position == len(chosen) or (position + 1 - first) * targets[chosen[position]] > batch_size:
                    batches.append(chosen[first:position])
                    first = position
        return [batches[index] for index in rng.permutation(len(batches))]

    def batch(self, examples: Ints) -> SequenceBatch:
        histories, targets, visible = [], [], []
        for start, end, first in zip(
            self._starts[examples].tolist(),
            self._ends[examples].tolist(),
            self._firsts[examples].tolist(),
            strict=True,
        ):
            histories.append(self._items[start:end])
            targets.append(self._items[first : end + 1])
            visible.append(np.arange(first - start, end + 1 - start))
        lengths = torch.tensor([len(history) for history in histories], dtype=torch.int64)
        return SequenceBatch(pad(histories), lengths, pad(targets), pad(visible).clamp(min=1))
