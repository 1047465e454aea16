"""Training data of an end-to-end tokenizer: items of one class together, each in two noisy views, with a partner."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.sids.batches import FEWEST, SMALLEST, Indices, draw_partners
from sidestep.sids.content import Content
from sidestep.sids.labels import ITEM, UNKNOWN
from sidestep.sids.settings import UnifiedConfig
from sidestep.sids.unified import Inputs
from sidestep.vectors.graph import Graph
from sidestep.vectors.item_vectors import ItemVectors

GROUP = 8
"""Items of one class that come together."""


@dataclass(frozen=True)
class UnifiedBatch:
    """rows: n items in a first view, the same in a second one, and their n partners, if there are any.
    items, partners: numbers of the n items and of their partners; the latter empty without partners.
    classes: of the n items at each level, -1 unknown. by_item: the levels at which two views of an item are alike.
    words: the bag of words of the n items; empty where nothing is restored.
    """

    rows: Float[Tensor, "m R"]
    items: Int[Tensor, " n"]
    partners: Int[Tensor, " p"]
    classes: Int[Tensor, "n L"]
    by_item: tuple[bool, ...]
    words: Float[Tensor, "r V"]

    def to(self, device: torch.device) -> "UnifiedBatch":
        tensors = (each.to(device) for each in (self.rows, self.items, self.partners, self.classes))
        rows, items, partners, classes = tensors
        return UnifiedBatch(rows, items, partners, classes, self.by_item, self.words.to(device))


class UnifiedBatches:
    """Every item once an epoch, in random groups of `GROUP` items of one class of the last level that is not taught by
    items, so that an item rarely comes without another of its class. Order, views and partners are a pure function of
    (seed, epoch).

    A view hides all labels with probability `hide`, the image with the same, and adds noise to the vector.

    Args:
        rows: what the tokenizer reads of every item. inputs: what a row holds.
        content: of a catalogue, `chosen` those of its items that the rows are of. scale: one standard deviation of the
            vectors.
        edges: the co-occurrence graph to draw partners from; None gives no partners. An item without a neighbour is its
            own partner.
    """

    def __init__(
        self, rows: ItemVectors, inputs: Inputs, content: Content, chosen: Indices, scale: float, batch_size: int,
        seed: int, edges: Graph | None = None,
    ) -> None:  # fmt: skip
        config: UnifiedConfig = content.config.unified
        self._rows, self._inputs, self._seed, self._edges = rows.values, inputs, seed, edges
        self._hide, self._noise = config.hide, np.float32(config.noise * scale)
        self._classes = content.classes[chosen]
        self._by_item = tuple(name == ITEM for name in content.level_names)
        self._words = content.words[chosen] if len(content.word_shares) else None
        self._size = min(batch_size, max(len(self._rows) // FEWEST, SMALLEST))
        levels = [place for place, by_item in enumerate(self._by_item) if not by_item]
        self._grouping = self._classes[:, levels[-1]] if levels else np.full(len(self._rows), UNKNOWN)

    def batches(self, epoch: int) -> Sequence[tuple[int, int, Indices]]:
        """The epoch, the batch's place in it, and its items, with their partners as a second column, if any."""
        rng = np.random.default_rng([self._seed, epoch])
        order = self._in_groups(rng)
        columns = [order] if self._edges is None else [order, draw_partners(self._edges, rng)[order]]
        parts = np.array_split(np.stack(columns, axis=1), -(-len(order) // self._size))
        return [(epoch, place, part) for place, part in enumerate(parts)]

    def load(self, index: Any) -> UnifiedBatch:
        epoch, place, table = index
        rng = np.random.default_rng([self._seed, epoch, place])
        items, partners = table[:, 0], table[:, 1] if table.shape[1] == 2 else table[:0, 0]
        rows = self._rows[np.concatenate([items, items, partners])].copy()
        width, behind = self._inputs.width, self._inputs.width + self._inputs.images
        rows[:, :width] += self._noise * rng.standard_normal((len(rows), width), dtype=np.float32)
        rows[rng.random(len(rows)) < self._hide, behind:] = 0
        if behind > width:
            rows[rng.random(len(rows)) < self._hide, width:behind] = 0
        words = np.zeros((0, 0), dtype=np.float32) if self._words is None else self._words[items].toarray()
        tensors = [torch.from_numpy(each) for each in (rows, items, partners, self._classes[items])]
        return UnifiedBatch(tensors[0], tensors[1], tensors[2], tensors[3], self._by_item, torch.from_numpy(words))

    def _in_groups(self, rng: np.random.Generator) -> Indices:
        """All items in random order, but those of a class in groups of `GROUP`."""
        shuffled = rng.permutation(len(self._rows))
        by_class = shuffled[np.argsort(self._grouping[shuffled], kind="stable")]
        classes = self._grouping[by_class]
        begins = np.flatnonzero(np.diff(classes, prepend=classes[0] - 1))
        within = np.arange(len(classes)) - np.repeat(begins, np.diff([*begins, len(classes)]))
        starts = np.flatnonzero(within % GROUP == 0)
        number = np.repeat(rng.permutation(len(starts)), np.diff([*starts, len(classes)]))
        return by_class[np.argsort(number, kind="stable")]
