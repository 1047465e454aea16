"""Batches of histories with their targets: the one shape that every model trains on and answers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from sidestep.data.interactions import NO_TIME, Ints
from sidestep.data.reads import Reads
from sidestep.data.splits import Cases, TrainingInteractions

NO_ITEM = -1

Flags = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class SequenceBatch:
    """Histories are padded on the right with `NO_ITEM`, and so are targets.

    history: item numbers, oldest first: the window.
    lengths: how many items of each history are real.
    targets: item numbers to be predicted; `P` may be 0 when nothing is known about the future.
    visible: how many history items each target may see, at least 1 where the target is real.

    The rest is there where the model `Reads` it, and None otherwise.

    long: the items right before the window, oldest first, padded on the right with `NO_ITEM`. Every target may see all
        of them: each lies before all of the row's targets.
    times: when each item of the window was taken, in milliseconds, `NO_TIME` where unknown and as padding.
    asked: when each target is asked for, in milliseconds; `Q` is `P`, and in training it is the target's own time. A
        question has no targets, and `Q` is 1: when it is asked. `NO_TIME` where unknown.
    absolute_times: whether times count from 1970, so that they tell the hour and the day. Otherwise only differences
        within a row mean anything: there are gaps, but there is no clock.
    """

    history: Int[Tensor, "B T"]
    lengths: Int[Tensor, " B"]
    targets: Int[Tensor, "B P"]
    visible: Int[Tensor, "B P"]
    long: Int[Tensor, "B Tl"] | None = None
    times: Int[Tensor, "B T"] | None = None
    asked: Int[Tensor, "B Q"] | None = None
    absolute_times: bool = False

    def __len__(self) -> int:
        return self.history.shape[0]

    def to(self, device: torch.device) -> "SequenceBatch":
        return replace(self, **{name: tensor.to(device) for name, tensor in self._tensors().items()})

    def take(self, rows: slice | Int[Tensor, " n"]) -> "SequenceBatch":
        """Some of the histories with their targets, no wider than the longest of them."""
        some = {name: tensor[rows] for name, tensor in self._tensors().items()}
        width = max(int(some["lengths"].max()), 1) if len(some["lengths"]) else 1
        for name in ("history", "times"):
            if name in some:
                some[name] = some[name][:, :width]
        if "long" in some:
            some["long"] = some["long"][:, : _width(some["long"])]
        return replace(self, **some)

    def latest(self, reads: Reads) -> "SequenceBatch":
        """The same questions as a model reads them that reads no more than there is here: what falls out of its window
        goes to the end of `long`, or away. Targets that would see nothing of the window are blanked.
        """
        batch = self if reads.times else replace(self, times=None, asked=None)
        fallen = (self.lengths - reads.recent).clamp(min=0)
        if reads.long or self.long is not None:
            batch = replace(batch, long=self._before(fallen, reads.long) if reads.long else None)
        if self.history.shape[1] <= reads.recent:
            return batch
        places = fallen[:, None] + torch.arange(reads.recent, device=self.history.device)
        return replace(
            batch,
            history=self.history.gather(1, places),
            lengths=self.lengths.clamp(max=reads.recent),
            targets=self.targets.masked_fill(self.visible <= fallen[:, None], NO_ITEM),
            visible=(self.visible - fallen[:, None]).clamp(min=1),
            times=None if batch.times is None else batch.times.gather(1, places),
        )

    def asking(self, items: Int[Tensor, "B C"]) -> "SequenceBatch":
        """The questions with items to be judged after each whole history, `NO_ITEM` where there is none."""
        assert self.asked is None or self.asked.shape[1] == 1, "these are targets, and no questions"
        visible = self.lengths[:, None].clamp(min=1).expand(-1, items.shape[1])
        asked = None if self.asked is None else self.asked.expand(-1, items.shape[1])
        return replace(self, targets=items, visible=visible, asked=asked)

    def _tensors(self) -> dict[str, Any]:
        """Those that are there, by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    def _before(self, fallen: Int[Tensor, " B"], count: int) -> Int[Tensor, "B _"]:
        """The last `count` items before the window, once its first `fallen` items belong to them."""
        long = self.history[:, :0] if self.long is None else self.long
        known = (long >= 0).sum(1)
        kept = (known + fallen).clamp(max=count)
        column = torch.arange(max(int(kept.max()) if len(kept) else 0, 1), device=long.device)
        place = (known + fallen - kept)[:, None] + column  # in the items of `long` and then those of the window
        place = torch.where(place < known[:, None], place, place - known[:, None] + long.shape[1])
        items = torch.cat([long, self.history], dim=1)
        found = items.gather(1, place.clamp(max=items.shape[1] - 1))
        return found.masked_fill(column >= kept[:, None], NO_ITEM)


def _width(rows: Int[Tensor, "B T"]) -> int:
    """How wide the longest row is, at least 1."""
    return max(int((rows >= 0).sum(1).max()), 1) if len(rows) else 1


def pad(rows: Sequence[Ints], width: int | None = None, value: int = NO_ITEM) -> Int[Tensor, "B T"]:
    """Rows of unequal length as one tensor, padded on the right."""
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    width = max(int(lengths.max(initial=0)), 1) if width is None else width
    padded = np.full((len(rows), width), value, dtype=np.int64)
    if lengths.sum():
        padded[np.arange(width) < lengths[:, None]] = np.concatenate(rows)
    return torch.from_numpy(padded)


def question(
    histories: Sequence[Ints],
    reads: Reads,
    times: Sequence[Ints] | None = None,
    at: Sequence[int] | None = None,
    absolute_times: bool = False,
) -> SequenceBatch:
    """A batch that asks for the item after each history, with what the model reads of it.

    histories: item numbers, oldest first, all that are known.
    times: of every item, in milliseconds, `NO_TIME` where unknown; None where all are.
    at: when each question is asked, likewise. absolute_times: whether these count from 1970.
    """
    lengths = torch.tensor([min(len(row), reads.recent) for row in histories], dtype=torch.int64)
    nothing = torch.empty(len(histories), 0, dtype=torch.int64)
    batch = SequenceBatch(pad([row[-reads.recent :] for row in histories]), lengths, nothing, nothing)
    if reads.long:
        batch = replace(batch, long=pad([row[-reads.items : -reads.recent] for row in histories]))
    if reads.times:
        known = [np.full(len(row), NO_TIME) for row in histories] if times is None else times
        asked = np.full(len(histories), NO_TIME) if at is None else np.array(at, dtype=np.int64)
        batch = replace(
            batch,
            times=pad([row[-reads.recent :] for row in known], batch.history.shape[1], NO_TIME),
            asked=torch.from_numpy(asked)[:, None],
            absolute_times=absolute_times,
        )
    return batch


def question_of(cases: Cases, chosen: Ints, reads: Reads) -> SequenceBatch:
    """The questions that some evaluation cases ask, each at the time of its target."""
    histories = [cases.history(int(case)) for case in chosen]
    if not reads.times:
        return question(histories, reads)
    times = [cases.history_times(int(case)) for case in chosen]
    return question(histories, reads, times, cases.asked[chosen].tolist(), cases.interactions.absolute_times)


class TrainingSequences:
    """Training examples cut out of the permitted interactions.

    With `every_position` a stretch of up to `reads.recent` items is encoded once and every later item in it is a
    target, which sees only what came before it. Histories longer than that are cut into stretches that overlap by
    half, and only targets with at least half a stretch of context are taken from the later ones: each interaction
    but a user's first is a target exactly once. Otherwise every target is an example of its own with its last
    `reads.recent` items (the paper's way: all prefixes as training samples).

    `long` is what the user did right before the stretch: the same for all of its targets, and earlier than any of them.
    The first stretch of every user has none, so that a model learns that case, too. A target is asked for at the time
    at which it was taken.

    Order is a pure function of (seed, epoch); nothing here holds state.
    """

    def __init__(self, interactions: TrainingInteractions, reads: Reads, every_position: bool) -> None:
        cut = _stretches if every_position else _prefixes
        self._log, self._reads = interactions, reads
        self._starts, self._ends, self._firsts = cut(interactions.offsets, reads.recent)

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
        window, in_window = starts[:, None] + column, column < lengths[:, None]
        batch = SequenceBatch(
            _rows(self._log.items, window, in_window, NO_ITEM),
            torch.from_numpy(lengths),
            _rows(self._log.items, firsts[:, None] + asked, real, NO_ITEM),
            torch.from_numpy(np.where(real, visible, 1)),
        )
        if self._reads.long:
            batch = replace(batch, long=self._before(starts))
        if self._reads.times:
            batch = replace(
                batch,
                times=_rows(self._log.known_times, window, in_window, NO_TIME),
                asked=_rows(self._log.known_times, firsts[:, None] + asked, real, NO_TIME),
                absolute_times=self._log.absolute_times,
            )
        return batch

    def _before(self, starts: Ints) -> Int[Tensor, "B Tl"]:
        """What the same users did right before some rows of the log."""
        offsets = self._log.offsets
        users_first = offsets[np.searchsorted(offsets, starts, side="right") - 1]
        begins = np.maximum(users_first, starts - self._reads.long)
        column = np.arange(max(int((starts - begins).max(initial=0)), 1))
        rows = begins[:, None] + column
        return _rows(self._log.items, rows, rows < starts[:, None], NO_ITEM)


def _rows(values: Ints, rows: Ints, real: Flags, padding: int) -> Int[Tensor, "B S"]:
    """Rows of a column of the log, padded where they are not real."""
    return torch.from_numpy(np.where(real, values[np.minimum(rows, len(values) - 1)], padding))


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
