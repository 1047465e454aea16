"""Recommenders over slices of time: each request is answered in the slice of its moment, with what is on air there."""

from collections import OrderedDict
from copy import copy
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.data.interactions import Ints
from sidestep.data.sequences import NO_ITEM, SequenceBatch
from sidestep.recommenders.generative import GenerativeRecommender
from sidestep.recommenders.recommender import ItemFilter, Recommendations, Recommender
from sidestep.recommenders.step import Path
from sidestep.sids.timeline import Timeline
from sidestep.sids.trie import Trie

KEPT = 8
"""Slices whose trees and filters are kept."""


class OnAirRecommender:
    """Any recommender, with what is on air at the time of each request. A request without a time is of now."""

    explains = False

    def __init__(self, recommender: Recommender, timeline: Timeline) -> None:
        self._recommender, self.timeline = recommender, timeline
        self.reads = replace(recommender.reads, times=True)
        self._filters: OrderedDict[int, tuple[Tensor | None, ItemFilter]] = OrderedDict()

    @torch.no_grad()
    def rank(
        self, batch: SequenceBatch, k: int, barred: ItemFilter | None = None, explain: bool = False
    ) -> Recommendations:
        """See `Recommender.rank`; k items come back whenever k that are on air are permitted."""
        barred = barred or ItemFilter()
        items, scores = torch.full((len(batch), k), NO_ITEM), torch.full((len(batch), k), -torch.inf)
        paths: list[list[Path]] | None = [[] for _ in range(len(batch))] if explain else None
        numbers = self._slices(batch)
        for number in sorted(set(numbers.tolist())):
            rows = (numbers == number).nonzero()[:, 0]
            inner = self._of(number)
            some, permitted = batch.take(rows).latest(inner.reads), self._within(number, barred).take(rows)
            found = inner.rank(some, k, permitted, explain)
            items[rows, : found.items.shape[1]] = found.items
            scores[rows, : found.scores.shape[1]] = found.scores.float()
            for row, answer in zip(rows.tolist(), found.paths or [], strict=False):
                assert paths is not None
                paths[row] = answer
        return Recommendations(items, scores, paths if explain and self.explains else None)

    def _slices(self, batch: SequenceBatch) -> Int[Tensor, " B"]:
        if batch.asked is None:
            return torch.full((len(batch),), len(self.timeline) - 1)
        return torch.from_numpy(self.timeline.at(batch.asked[:, 0].cpu().numpy()))

    def _of(self, number: int) -> Recommender:
        """What answers in a slice."""
        return self._recommender

    def _within(self, number: int, barred: ItemFilter) -> ItemFilter:
        """What is on air in a slice and permitted. Kept for the last allowed items of each slice."""
        kept, found = self._filters.get(number, (None, None))
        if found is None or kept is not barred.allowed:
            air = torch.from_numpy(self.timeline.on_air[number])
            allowed = air if barred.allowed is None else air & barred.allowed.cpu()
            found = ItemFilter(allowed=allowed)
            self._filters[number] = barred.allowed, found
            if len(self._filters) > KEPT:
                self._filters.popitem(last=False)
        return found.excluding(barred.excluded)


class SlicedRecommender(OnAirRecommender):
    """A generator whose items have other semantic IDs in every slice: each has a tree of its own.

    generative: of the last slice. popularity: occurrences in training, `[N]`.
    """

    explains = True

    def __init__(self, generative: GenerativeRecommender, timeline: Timeline, popularity: Ints) -> None:
        super().__init__(generative, timeline)
        self._generative, self._popularity = generative, torch.from_numpy(popularity)
        self._tries: OrderedDict[int, Trie] = OrderedDict({len(timeline) - 1: generative.trie})

    @property
    def num_beams(self) -> int:
        return self._generative.num_beams

    def with_beams(self, num_beams: int) -> "SlicedRecommender":
        other = copy(self)  # the trees and filters are shared
        other._generative = self._generative.with_beams(num_beams)
        return other

    @torch.no_grad()
    def score(self, batch: SequenceBatch, candidates: Int[Tensor, "B C"]) -> Float[Tensor, "B C"]:
        """The scores of these items in the slice of each request, on air or not."""
        return self._generative.score(batch, candidates)

    def _of(self, number: int) -> GenerativeRecommender:
        if number not in self._tries:
            codes = torch.from_numpy(self.timeline.codes[number]).long()
            trie = Trie.build(codes, self._generative.trie.codebook_sizes, self._popularity)
            self._tries[number] = trie.to(self._generative.device)
            if len(self._tries) > KEPT:
                oldest = next(each for each in self._tries if each not in (number, len(self.timeline) - 1))
                del self._tries[oldest]
        return self._generative.over(self._tries[number])
