"""Popularity by the clock: what everybody has taken up to the moment of the request, or lately."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sidestep.data.interactions import NO_TIME, Interactions, Ints
from sidestep.data.reads import Reads
from sidestep.data.sequences import SequenceBatch


class PopularityByClock:
    """The score of an item is how often it was taken before the request, by anybody: a baseline that learns as the log
    goes on. It holds the whole log, and counts nothing from the request's time on.

    span: so many milliseconds before the request count, all where it is None.
    """

    reads = Reads(1, times=True)

    def __init__(self, times: Ints, items: Ints, num_items: int, span: int | None = None) -> None:
        order = np.argsort(times, kind="stable")
        self._times, self._items = times[order], items[order]
        self._num_items, self._span = num_items, span

    @classmethod
    def of(cls, log: Interactions, num_items: int, span: int | None = None) -> "PopularityByClock":
        known = log.known_times != NO_TIME
        return cls(log.known_times[known], log.items[known], num_items, span)

    def __call__(self, batch: SequenceBatch) -> Float[Tensor, "B N"]:
        assert batch.asked is not None
        asked = batch.asked[:, 0].cpu().numpy()
        ends = np.searchsorted(self._times, asked, side="left")
        begins = np.zeros_like(ends)
        if self._span is not None:
            begins = np.searchsorted(self._times, asked - self._span, side="left")
        counts = [
            np.bincount(self._items[begin:end], minlength=self._num_items)
            for begin, end in zip(begins, ends, strict=True)
        ]
        return torch.from_numpy(np.stack(counts).astype(np.float32))
