"""A generator and its catalogue as a recommender: search paths, expand them to items, tell how each was reached."""

from typing import Any, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sidestep.data.interactions import Ints
from sidestep.data.sequences import NO_ITEM, SequenceBatch
from sidestep.recommenders.beam import Beams, Steppable, beam_search
from sidestep.recommenders.recommender import ItemFilter, Path, Recommendations
from sidestep.sids.semantic_ids import SemanticIds
from sidestep.sids.trie import Permitted, Trie

NAMED_CLUSTERS = 3
"""How many of a thought's nearest clusters an explanation names."""


@runtime_checkable
class Thinker(Protocol):
    """A generator whose thoughts can be named."""

    def cluster_probs(self, level: int, thoughts: Float[Tensor, "*n D"]) -> Float[Tensor, "*n C"]: ...


class GenerativeRecommender:
    """Ranks items by the log-probability of their semantic ID; items that share one stand in order of popularity.

    An empty history is answered by popularity. The number of beams is raised to k where it is below, so that k items
    come back whenever k permitted ones exist.
    """

    def __init__(self, model: nn.Module, sids: SemanticIds, popularity: Ints, max_history: int, num_beams: int) -> None:
        self.model = model.eval()
        self.max_history, self.num_beams = max_history, num_beams
        self._device = next(model.parameters()).device
        counts = torch.from_numpy(popularity)
        self.trie = Trie.build(torch.from_numpy(sids.codes), sids.codebook_sizes, counts).to(self._device)
        self._counts = counts
        self._by_popularity = counts.sort(descending=True, stable=True).indices

    @torch.no_grad()
    def rank(
        self, batch: SequenceBatch, k: int, barred: ItemFilter | None = None, explain: bool = False
    ) -> Recommendations:
        """See `Recommender.rank`. Paths are given for rows with a history. Answers are on the CPU."""
        known = batch.lengths > 0
        if known.all():
            return self._search(batch, k, barred, explain)
        found = self._popular(len(batch), k, barred)
        items, scores = found.items, found.scores
        paths: list[list[Path]] | None = [[] for _ in range(len(batch))] if explain else None
        if known.any():
            some = self._search(batch.take(known), k, _take_filter(barred, known), explain)
            items[known], scores[known] = some.items, some.scores
            for row, answer in zip(known.nonzero()[:, 0].tolist(), some.paths or [], strict=False):
                assert paths is not None
                paths[row] = answer
        return Recommendations(items, scores, paths)

    def _popular(self, rows: int, k: int, barred: ItemFilter | None) -> Recommendations:
        mask = (barred or ItemFilter()).mask(rows, len(self._by_popularity))[:, self._by_popularity]
        first = (~mask).sort(dim=1, stable=True).indices[:, :k]
        items = self._by_popularity[first]
        items = items.masked_fill(~mask.gather(1, first), NO_ITEM)
        scores = self._counts[items.clamp(min=0)].float().masked_fill(items < 0, -torch.inf)
        return _widen(items, scores, k)

    def _search(self, batch: SequenceBatch, k: int, barred: ItemFilter | None, explain: bool) -> Recommendations:
        batch, barred = batch.to(self._device), (barred or ItemFilter()).to(self._device)
        permitted = Permitted(self.trie, barred.allowed, barred.excluded)
        model = cast(Steppable[Any], self.model)
        beams = beam_search(model, batch, self.trie, permitted, max(self.num_beams, k))
        answers = permitted.items_under(beams.leaves)
        order = _best_first(beams.scores, answers)
        answers = answers.gather(1, order[:, :, None].expand_as(answers))
        real = answers.flatten(1) >= 0
        first = (~real).int().sort(dim=1, stable=True).indices[:, :k]
        items = answers.flatten(1).gather(1, first)
        beam = order.gather(1, first // answers.shape[2])
        scores = beams.scores.gather(1, beam).masked_fill(items < 0, -torch.inf)
        found = _widen(items.cpu(), scores.cpu(), k)
        paths = self._paths(beams, beam, items) if explain else None
        return Recommendations(found.items, found.scores, paths)

    def _paths(self, beams: Beams, beam: Int[Tensor, "B k"], items: Int[Tensor, "B k"]) -> list[list[Path]]:
        named = self._named(beams)
        codes, log_probs = beams.codes.tolist(), beams.log_probs.tolist()
        paths: list[list[Path]] = []
        for row, chosen in enumerate(beam.tolist()):
            count = int((items[row] >= 0).sum())
            paths.append(
                [
                    Path(
                        codes[row][w],
                        log_probs[row][w],
                        [clusters[row][w] for clusters, _ in named],
                        [probs[row][w] for _, probs in named],
                    )
                    for w in chosen[:count]
                ]
            )
        return paths

    def _named(self, beams: Beams) -> list[tuple[list[list[list[int]]], list[list[list[float]]]]]:
        """Per level, the clusters nearest to each beam's thought and their probabilities."""
        named = []
        for level, thought in enumerate(getattr(beams.state, "thoughts", ())):
            probs = cast(Thinker, self.model).cluster_probs(level, thought)
            top = probs.topk(min(NAMED_CLUSTERS, probs.shape[-1]), dim=-1)
            named.append((top.indices.tolist(), top.values.tolist()))
        return named


def _best_first(scores: Float[Tensor, "B W"], answers: Int[Tensor, "B W M"]) -> Int[Tensor, "B W"]:
    """Beams by falling score, equal ones by the number of their first item."""
    first = answers.masked_fill(answers < 0, torch.iinfo(torch.int64).max).min(dim=2).values
    by_item = first.sort(dim=1, stable=True).indices
    return by_item.gather(1, scores.gather(1, by_item).sort(dim=1, descending=True, stable=True).indices)


def _widen(items: Int[Tensor, "B n"], scores: Float[Tensor, "B n"], k: int) -> Recommendations:
    """Fill up to k columns where the catalogue has fewer."""
    missing = k - items.shape[1]
    if missing > 0:
        items = torch.nn.functional.pad(items, (0, missing), value=NO_ITEM)
        scores = torch.nn.functional.pad(scores, (0, missing), value=-torch.inf)
    return Recommendations(items, scores)


def _take_filter(barred: ItemFilter | None, rows: Bool[Tensor, " B"]) -> ItemFilter | None:
    if barred is None or barred.excluded is None:
        return barred
    return ItemFilter(barred.excluded[rows], barred.allowed)
