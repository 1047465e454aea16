"""A generator and its catalogue as a recommender: paths are searched, expanded to items, and explained."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy, deepcopy
from dataclasses import replace
from typing import Any, Literal, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sidestep.data.interactions import Ints
from sidestep.data.reads import Reads
from sidestep.data.sequences import NO_ITEM, SequenceBatch
from sidestep.layers.products import fast_products
from sidestep.recommenders.portions import portions
from sidestep.recommenders.recommender import ItemFilter, Recommendations
from sidestep.recommenders.step import NamedCluster, OlderItem, Path, Step
from sidestep.search.beam import beam_search, last_state, prefix_places
from sidestep.search.scoring import PathScorer, PathScores
from sidestep.search.steppable import Steppable
from sidestep.sids.semantic_ids import SemanticIds
from sidestep.sids.trie import Trie

Precision = Literal["fp32", "bf16"]

Named = dict[int, tuple[Int[Tensor, "B W C"], Float[Tensor, "B W C"]]]
"""By level with a thought: the numbers of all clusters, nearest to it first, and their probabilities."""


@runtime_checkable
class Thinker(Protocol):
    """A generator whose thoughts name clusters; the state of its search holds them as `thoughts`.

    levels: those with thoughts, from 0.
    """

    @property
    def levels(self) -> tuple[int, ...]: ...

    def cluster_probs(self, level: int, thoughts: Float[Tensor, "*n D"]) -> Float[Tensor, "*n C"]: ...

    def fix_centroids(self) -> None:
        """Compute once what probabilities of clusters depend on, before the search is exported."""


@runtime_checkable
class LooksBack(Protocol):
    """A generator that looks items of a long history up behind the first code."""

    def looked_up(self, batch: SequenceBatch, items: Int[Tensor, "B C"]) -> list[list[list[int]]]: ...


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

    explains = True

    def with_beams(self, num_beams: int) -> "GenerativeRecommender":
        """The same model and tree, searched with another number of beams."""
        other = copy(self)
        other.num_beams = num_beams
        return other

    def over(self, trie: Trie) -> "GenerativeRecommender":
        """The same model over another tree of the same items, which is on its device."""
        other = copy(self)
        other.trie = trie
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
        barred = barred or ItemFilter()
        answers = self._popular(batch.lengths, k, barred)
        paths: list[list[Path]] | None = [[] for _ in range(len(batch))] if explain else None
        with self._arithmetic():
            for rows in map(torch.from_numpy, portions(batch.lengths.numpy(), max(self.num_beams, k))):
                some = self._search(batch.take(rows), k, barred.take(rows), explain)
                width = some.items.shape[1]
                answers.items[rows, :width], answers.scores[rows, :width] = some.items, some.scores
                if paths is not None and some.paths is not None:
                    for row, answer in zip(rows.tolist(), some.paths, strict=True):
                        paths[row] = answer
        return Recommendations(answers.items, answers.scores, paths)

    @torch.no_grad()
    def score(self, batch: SequenceBatch, candidates: Int[Tensor, "B C"]) -> Float[Tensor, "B C"]:
        """The scores that `rank` gives these items, as a `CandidateScorer`, in the precision of the search."""
        scorer = PathScores(cast(PathScorer, self.model), self._counts)
        with self._arithmetic():
            batch = batch.latest(self.reads)
            return scorer(batch.to(self.device), candidates.to(self.device)).cpu()

    @torch.no_grad()
    def explained(self, batch: SequenceBatch, items: Int[Tensor, "B k"]) -> list[list[Path]]:
        """The path of every given item after its history, up to a row's first place without one; none after an empty
        history.
        """
        counts = ((items >= 0).cumprod(1).sum(1) * (batch.lengths > 0)).tolist()
        batch, items = batch.latest(self.reads).to(self.device), items.to(self.device)
        codes = self.trie.codes_of(items)
        with self._arithmetic():
            log_probs = cast(PathScorer, self.model).path_log_probs(batch, items)
            thinks = isinstance(self.model, Thinker)
            named = self._named(self._forced_state(batch, codes), items.shape[1]) if thinks else {}
        paths = _paths(codes, log_probs, named, [list(range(count)) for count in counts])
        return self._looking_back(paths, batch, items)

    def _looking_back(
        self, paths: list[list[Path]], batch: SequenceBatch, items: Int[Tensor, "B k"]
    ) -> list[list[Path]]:
        """The paths of these items with what was looked up for every code but the first."""
        if not isinstance(self.model, LooksBack):
            return paths
        found = [[list(map(OlderItem, each)) for each in row] for row in self.model.looked_up(batch, items)]
        return [
            [
                [path[0], *(replace(step, looked_up=older) for step in path[1:])]
                for path, older in zip(*row, strict=False)
            ]
            for row in zip(paths, found, strict=True)
        ]

    @torch.no_grad()
    def prefix_places(self, batch: SequenceBatch, items: Int[Tensor, " B"]) -> Int[Tensor, "B L"]:
        """Where the prefixes of one item a row stand among the beams of an unfiltered search, from 1; 0 where they are
        no beam.
        """
        with self._arithmetic():
            model, asked = cast(Steppable[Any], self.model), batch.to(self.device)
            return prefix_places(model, asked, self.trie, self.num_beams, items.to(self.device)).cpu()

    def _forced_state(self, batch: SequenceBatch, codes: Int[Tensor, "B k L"]) -> Any:
        """The state along given paths, before the last code is fed in."""
        model = cast(Steppable[Any], self.model)
        _, state = model.step(model.start(batch), None)
        state = state.select(torch.zeros_like(codes[:, :, 0]))  # one beam stands for all before the first code
        for taken in codes.unbind(2)[:-1]:
            _, state = model.step(state, taken)
        return state

    @contextmanager
    def _arithmetic(self) -> Iterator[None]:
        """Inside, the model computes in the precision of the search."""
        with fast_products(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            yield

    def _popular(self, lengths: Int[Tensor, " B"], k: int, barred: ItemFilter) -> Recommendations:
        """Room for all answers, with those of the empty histories filled in."""
        items = torch.full((len(lengths), k), NO_ITEM)
        scores = torch.full((len(lengths), k), -torch.inf)
        empty = (lengths == 0).nonzero()[:, 0]
        if len(empty):
            popular = self._most_popular(k, barred.take(empty)).expand(len(empty), -1)
            items[empty, : popular.shape[1]] = popular
            counts = self._counts[popular.clamp(min=0)].float()
            scores[empty, : popular.shape[1]] = counts.masked_fill(popular < 0, -torch.inf)
        return Recommendations(items, scores)

    def _most_popular(self, k: int, barred: ItemFilter) -> Int[Tensor, "_ _"]:
        """The k most popular permitted items of every row; one row where the filter is the same for all.

        A row's filter bars at most E of the first k + E allowed items, so that no other need be looked at.
        """
        first = self._by_popularity
        if barred.allowed is not None:
            first = first[barred.allowed.cpu()[first]]
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
        permitted = barred.on(self.trie)
        beams = beam_search(cast(Steppable[Any], self.model), batch, permitted, max(self.num_beams, k), k)
        answers = permitted.items_under(beams.nodes)
        order = best_first(beams.scores, answers)
        answers = answers.gather(1, order[:, :, None].expand_as(answers))
        real = answers.flatten(1) >= 0
        first = (~real).int().sort(dim=1, stable=True).indices[:, :k]
        items = answers.flatten(1).gather(1, first)
        beam = order.gather(1, first // answers.shape[2])
        scores = beams.scores.gather(1, beam).masked_fill(items < 0, -torch.inf)
        paths = None
        if explain:
            named = self._named(last_state(cast(Steppable[Any], self.model), beams), beams.scores.shape[1])
            counts = (items >= 0).sum(1).tolist()
            places = [row[:count] for row, count in zip(beam.tolist(), counts, strict=True)]
            paths = _paths(beams.codes, beams.log_probs, named, places)
            paths = self._looking_back(paths, batch, items)
        return Recommendations(items.cpu(), scores.cpu(), paths)

    def _named(self, state: Any, num_beams: int) -> Named:
        """The clusters by nearness to each beam's thoughts, from the state before the last code is fed in."""
        if not isinstance(self.model, Thinker):
            return {}
        named = {}
        for level, thought in enumerate(state.thoughts):
            if level in self.model.levels:
                probs = self.model.cluster_probs(level, thought).expand(-1, num_beams, -1)
                nearest = probs.cpu().sort(dim=-1, descending=True, stable=True)
                named[level] = nearest.indices, nearest.values
        return named


def _paths(
    codes: Int[Tensor, "B W L"], log_probs: Float[Tensor, "B W L"], named: Named, places: Sequence[Sequence[int]]
) -> list[list[Path]]:
    """The paths at some of the W places of every row."""
    all_codes, all_log_probs = codes.tolist(), log_probs.tolist()

    def path(row: int, w: int) -> Path:
        steps = enumerate(zip(all_codes[row][w], all_log_probs[row][w], strict=True))
        return [Step(level + 1, code, log_prob, clusters(level, row, w)) for level, (code, log_prob) in steps]

    def clusters(level: int, row: int, w: int) -> list[NamedCluster]:
        if level not in named:
            return []
        numbers, probs = named[level]
        return list(map(NamedCluster, numbers[row, w].tolist(), probs[row, w].tolist()))

    return [[path(row, w) for w in chosen] for row, chosen in enumerate(places)]


def trie_of(sids: SemanticIds, popularity: Ints) -> Trie:
    """The tree in which items that share an ID stand in order of popularity."""
    return Trie.build(torch.from_numpy(sids.codes), sids.codebook_sizes, torch.from_numpy(popularity))


def best_first(scores: Float[Tensor, "B W"], answers: Int[Tensor, "B W M"]) -> Int[Tensor, "B W"]:
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
