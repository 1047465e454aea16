"""A generator and its catalogue as a recommender: search paths, expand them to items, tell how each was reached."""

from collections.abc import Iterator
from copy import copy, deepcopy
from typing import Any, Literal, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sidestep.data.interactions import Ints
from sidestep.data.reads import Reads
from sidestep.data.sequences import NO_ITEM, SequenceBatch
from sidestep.layers.products import fast_products
from sidestep.recommenders.recommender import ItemFilter, Path, Recommendations
from sidestep.search.beam import Beams, beam_search, last_state
from sidestep.search.steppable import Steppable
from sidestep.sids.semantic_ids import SemanticIds
from sidestep.sids.trie import Allowed, Permitted, Trie

Precision = Literal["fp32", "bf16"]

BEAMS_AT_ONCE, ROWS_AT_ONCE = 2048, 32
"""What is searched together: enough for the matrix products, no more beams than fit into a cache, and no more histories
than have about one length.
"""

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

    sids: semantic IDs, or the tree that `trie_of` has made of them before.
    """

    def __init__(
        self,
        model: nn.Module,
        sids: SemanticIds | Trie,
        popularity: Ints,
        reads: Reads,
        num_beams: int,
        precision: Precision = "fp32",
    ) -> None:
        self.model = model.eval() if precision == "fp32" else _with_bf16_weights(model).eval()
        self.reads, self.num_beams, self.precision = reads, num_beams, precision
        self.device = next(model.parameters()).device
        counts = torch.from_numpy(popularity)
        built = sids if isinstance(sids, Trie) else trie_of(sids, popularity)
        self.trie = built.to(self.device)
        self._counts = counts
        self._by_popularity = counts.sort(descending=True, stable=True).indices

    def with_beams(self, num_beams: int) -> "GenerativeRecommender":
        """The same model and tree, searched with another number of beams."""
        other = copy(self)
        other.num_beams = num_beams
        return other

    @property
    def num_items(self) -> int:
        return len(self._counts)

    @torch.no_grad()
    def rank(
        self, batch: SequenceBatch, k: int, barred: ItemFilter | None = None, explain: bool = False
    ) -> Recommendations:
        """See `Recommender.rank`. Paths are given for rows with a history. Answers are on the CPU."""
        batch = batch.to(torch.device("cpu"))  # rows are chosen here; each portion goes to the model's device
        barred = self._laid(barred or ItemFilter())
        found = self._popular(batch.lengths, k, barred)
        paths: list[list[Path]] | None = [[] for _ in range(len(batch))] if explain else None
        with fast_products(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            for rows in self._portions(batch.lengths, k):
                some = self._search(batch.take(rows), k, barred.take(rows), explain)
                width = some.items.shape[1]
                found.items[rows, :width], found.scores[rows, :width] = some.items, some.scores
                if paths is not None and some.paths is not None:
                    for row, answer in zip(rows.tolist(), some.paths, strict=True):
                        paths[row] = answer
        return Recommendations(found.items, found.scores, paths)

    def _portions(self, lengths: Int[Tensor, " B"], k: int) -> Iterator[Int[Tensor, " n"]]:
        """The rows that have a history, like lengths together, so that little is padded."""
        order = lengths.sort(stable=True).indices
        known = order[int((lengths == 0).sum()) :]
        most = max(min(ROWS_AT_ONCE, BEAMS_AT_ONCE // max(self.num_beams, k)), 1)
        yield from torch.tensor_split(known, -(-len(known) // most)) if len(known) else ()

    def _laid(self, barred: ItemFilter) -> ItemFilter:
        """The filter, laid over the trie once for all portions."""
        barred = barred.to(self.device)
        if isinstance(barred.allowed, Tensor):
            return ItemFilter(barred.excluded, Allowed.of(self.trie, barred.allowed))
        return barred

    def _popular(self, lengths: Int[Tensor, " B"], k: int, barred: ItemFilter) -> Recommendations:
        """Room for all answers, with those of the empty histories filled in."""
        items = torch.full((len(lengths), k), NO_ITEM)
        scores = torch.full((len(lengths), k), -torch.inf)
        empty = (lengths == 0).nonzero()[:, 0]
        if len(empty):
            found = self._most_popular(k, barred.take(empty)).expand(len(empty), -1)
            items[empty, : found.shape[1]] = found
            counts = self._counts[found.clamp(min=0)].float()
            scores[empty, : found.shape[1]] = counts.masked_fill(found < 0, -torch.inf)
        return Recommendations(items, scores)

    def _most_popular(self, k: int, barred: ItemFilter) -> Int[Tensor, "_ _"]:
        """The k most popular permitted items of every row; one row where no filter tells rows apart.

        A row's filter bars at most E of the first k + E allowed items, so that no other need be looked at.
        """
        first = self._by_popularity
        if isinstance(barred.allowed, Allowed):
            first = first[barred.allowed.items.cpu()[first]]
        if barred.excluded is None:
            return first[None, :k]
        excluded = barred.excluded.cpu()
        num_items = len(self._counts)
        out = torch.zeros(len(excluded), num_items + 1, dtype=torch.bool)
        out.scatter_(1, excluded.where(excluded >= 0, num_items), True)
        closed = out[:, first[: k + excluded.shape[1]]]
        places = closed.int().sort(dim=1, stable=True).indices[:, :k]
        return first[places].masked_fill(closed.gather(1, places), NO_ITEM)

    def _search(self, batch: SequenceBatch, k: int, barred: ItemFilter, explain: bool) -> Recommendations:
        batch = batch.to(self.device)
        permitted = Permitted(self.trie, barred.allowed, barred.excluded)
        beams = beam_search(cast(Steppable[Any], self.model), batch, permitted, max(self.num_beams, k), k)
        answers = permitted.items_under(beams.nodes)
        order = _best_first(beams.scores, answers)
        answers = answers.gather(1, order[:, :, None].expand_as(answers))
        real = answers.flatten(1) >= 0
        first = (~real).int().sort(dim=1, stable=True).indices[:, :k]
        items = answers.flatten(1).gather(1, first)
        beam = order.gather(1, first // answers.shape[2])
        scores = beams.scores.gather(1, beam).masked_fill(items < 0, -torch.inf)
        return Recommendations(items.cpu(), scores.cpu(), self._paths(beams, beam, items) if explain else None)

    def _paths(self, beams: Beams[Any], beam: Int[Tensor, "B k"], items: Int[Tensor, "B k"]) -> list[list[Path]]:
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

    def _named(self, beams: Beams[Any]) -> list[tuple[list[list[list[int]]], list[list[list[float]]]]]:
        """Per level, the clusters nearest to each beam's thought and their probabilities."""
        if not isinstance(self.model, Thinker):
            return []
        named = []
        for level, thought in enumerate(last_state(cast(Steppable[Any], self.model), beams).thoughts):
            probs = self.model.cluster_probs(level, thought).expand(-1, beams.scores.shape[1], -1)
            top = probs.topk(min(NAMED_CLUSTERS, probs.shape[-1]), dim=-1)
            named.append((top.indices.tolist(), top.values.tolist()))
        return named


def trie_of(sids: SemanticIds, popularity: Ints) -> Trie:
    """The tree in which items that share an ID stand in order of popularity."""
    return Trie.build(torch.from_numpy(sids.codes), sids.codebook_sizes, torch.from_numpy(popularity))


def _best_first(scores: Float[Tensor, "B W"], answers: Int[Tensor, "B W M"]) -> Int[Tensor, "B W"]:
    """Beams by falling score, equal ones by the number of their first item."""
    first = answers.masked_fill(answers < 0, torch.iinfo(torch.int64).max).min(dim=2).values
    by_item = first.sort(dim=1, stable=True).indices
    return by_item.gather(1, scores.gather(1, by_item).sort(dim=1, descending=True, stable=True).indices)


def _with_bf16_weights(model: nn.Module) -> nn.Module:
    """A copy whose projections are kept in bf16, so that autocast need not round them anew for every search. They and
    attention are computed in bf16; what is added up along the layers, norms, embeddings and logits stay in float32.
    """
    model = deepcopy(model)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.to(torch.bfloat16)
    return model
