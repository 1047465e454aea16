"""Batches of histories with their targets: the one shape that every model trains on and is asked with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from sidestep.data.interactions import Ints
from sidestep.data.splits import Cases, TrainingInteractions

NO_ITEM = -1

Flags = np.ndarray[Any, np.dtype[np.bool_]]


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

    def take(self, rows: slice | Int[Tensor, " n"]) -> "SequenceBatch":
        """Some of the histories with their targets, no wider than the longest of them."""
        history, lengths, targets, visible = (tensor[rows] for tensor in self._tensors)
        width = max(int(lengths.max()), 1) if len(lengths) else 1
        return SequenceBatch(history[:, :width], lengths, targets, visible)

    def latest(self, count: int) -> "SequenceBatch":
        """The same questions, of the last `count` items of every history."""
        if self.history.shape[1] <= count:
            return self
        begins = (self.lengths - count).clamp(min=0)[:, None]
        places = begins + torch.arange(count, device=self.history.device)
        history = self.history.gather(1, places)
        return SequenceBatch(history, self.lengths.clamp(max=count), self.targets, (self.visible - begins).clamp(min=0))

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
        cut = _stretches if every_position else _prefixes
        self._items = interactions.items
        self._starts, self._ends, self._firsts = cut(interactions.offsets, max_history)

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def num_targets(self) -> int:
        return int((self._ends - self._firsts + 1).sum())

    def batches(self, batch_size: int, seed: int, epoch: int) -> list[Ints]:
        """Example numbers of every batch of one epoch. A batch holds about `batch_size` targets, padding included.

        Examples are shuffled, then laid out within large random pools so that neighbours are of like shape, and every
        epoch groups them anew; the batches themselves come in random order. There are two shapes: a stretch with as
        many targets as history items, and one that begins with context, which has fewer. The first kind rises to the
        longest, the second falls from there, so that hardly any batch mixes short with long.
        """
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(len(self))
        histories, targets = self._ends - self._starts, self._ends - self._firsts + 1
        pool = max(256 * batch_size // max(int(targets.max(initial=1)), 1), 1)
        batches: list[Ints] = []
        for begin in range(0, len(order), pool):
            chosen = order[begin : begin + pool]
            with_context = histories[chosen] > targets[chosen]
            rising = np.where(with_context, -targets[chosen], targets[chosen])
            chosen = chosen[np.lexsort((histories[chosen], rising, with_context))]
            batches += np.split(chosen, _cuts(targets[chosen], batch_size))
        return [batches[index] for index in rng.permutation(len(batches))]

    def batch(self, examples: Ints) -> SequenceBatch:
        """Some of the examples. Two gathers from the log, with no Python per example: it takes about a thousandth of
        the time of a training step, so nothing would be won by making batches ahead in a thread.
        """
        starts, ends, firsts = self._starts[examples], self._ends[examples], self._firsts[examples]
        lengths = ends - starts
        column, asked = np.arange(lengths.max(initial=1)), np.arange((ends - firsts).max(initial=0) + 1)
        visible = (firsts - starts)[:, None] + asked
        real = asked <= (ends - firsts)[:, None]
        return SequenceBatch(
            self._rows(starts[:, None] + column, column < lengths[:, None]),
            torch.from_numpy(lengths),
            self._rows(firsts[:, None] + asked, real),
            torch.from_numpy(np.where(real, visible, 1)),
        )

    def _rows(self, rows: Ints, real: Flags) -> Int[Tensor, "B S"]:
        """Rows of the log, padded with `NO_ITEM`."""
        last = len(self._items) - 1
        return torch.from_numpy(np.where(real, self._items[np.minimum(rows, last)], NO_ITEM))


def _prefixes(offsets: Ints, max_history: int) -> tuple[Ints, Ints, Ints]:
    """Rows of the log for every example: history from, last target, first target. One target to an example."""
    begins = np.repeat(offsets[:-1], np.diff(offsets))
    targets = np.arange(len(begins))
    begins, targets = begins[targets > begins], targets[targets > begins]
    return np.maximum(begins, targets - max_history), targets, targets


def _stretches(offsets: Ints, max_history: int) -> tuple[Ints, Ints, Ints]:
    """As `_prefixes`, with every position a target. A user's first stretch has `max_history` of them; the later ones
    begin with half as many items that are only looked at.
    """
    context = max(max_history // 2, 1)
    fresh = max_history - context + 1
    lengths = np.diff(offsets)
    counts = np.where(lengths > 1, 1 + -(-np.maximum(lengths - 1 - max_history, 0) // fresh), 0)
    begins, stops = np.repeat(offsets[:-1], counts), np.repeat(offsets[1:], counts)
    place = np.arange(len(begins)) - np.repeat(np.cumsum(counts) - counts, counts)
    firsts = begins + np.where(place == 0, 1, max_history + 1 + (place - 1) * fresh)
    starts = np.where(place == 0, begins, firsts - context)
    return starts, np.minimum(starts + max_history, stops - 1), firsts


def _cuts(targets: Ints, batch_size: int) -> list[int]:
    """Where to cut a run of examples so that each piece, padded to its most targets, holds at most `batch_size`, or
    is a single example.
    """
    cuts, first, most = [], 0, 0
    for position, count in enumerate(targets.tolist()):
        most = max(most, count)
        if position > first and (position + 1 - first) * most > batch_size:
            cuts.append(position)
            first, most = position, count
    return cuts
