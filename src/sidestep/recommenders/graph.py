"""A generator, its tree and the search as one module of fixed operations, to be exported: histories in, items out.

Its answers are those of `GenerativeRecommender`. What differs is that no shape depends on values, but for the number of
equal last answers: as many children are looked at as the widest node of a depth has, and no beam is left out at the
last level.
"""

from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from sidestep.data.sequences import SequenceBatch
from sidestep.recommenders.generative import Thinker, best_first
from sidestep.search.beam import Beams, advanced, extended, first_beams, totals_of
from sidestep.search.steppable import Steppable
from sidestep.sids.flat_trie import FlatTrie
from sidestep.sids.trie import Children


class TreeGraph(nn.Module):
    """The arrays of a flat tree."""

    firsts: Int[Tensor, " _"]
    codes: Int[Tensor, " _"]
    parents: Int[Tensor, " _"]
    order: Int[Tensor, " N"]

    def __init__(self, trie: FlatTrie) -> None:
        super().__init__()
        self.widths, self.num_levels, self.num_nodes = trie.widths, trie.num_levels, trie.num_nodes
        for name in ("firsts", "codes", "parents", "order"):
            self.register_buffer(name, torch.from_numpy(getattr(trie, name)))


@dataclass(frozen=True)
class Opened:
    """A tree seen through filters, as `sids.trie.Permitted`.

    open: the nodes and items that are open for all rows. closed: those that are closed for a row, padded with -1.
    """

    tree: TreeGraph
    open: Bool[Tensor, " V"]
    closed: Int[Tensor, "B C"]

    def children(self, level: int, nodes: Int[Tensor, "B W"]) -> Children:
        """The children of nodes of depth `level`; `NOWHERE` has none. Those of leaves are items."""
        tree, width, known = self.tree, self.tree.widths[level], nodes.clamp(min=0)
        firsts = tree.firsts[known].long()
        counts = (tree.firsts[known + 1] - firsts).masked_fill(nodes < 0, 0)
        offsets = torch.arange(width, device=nodes.device)
        exists = offsets < counts[:, :, None]
        places = (firsts[:, :, None] + offsets).clamp(max=tree.codes.shape[0] - 1)
        open = exists & self.open[places] & ~self._closed(nodes, width)
        return Children(firsts, tree.codes[places].long(), exists, open)

    def items_under(self, leaves: Int[Tensor, "B W"]) -> Int[Tensor, "B W M"]:
        """The items at the ends of paths; -1 stands for barred ones, too."""
        children = self.children(self.tree.num_levels, leaves)
        places = (children.nodes - self.tree.num_nodes).clamp(min=0)
        return self.tree.order[places].long().masked_fill(~children.open, -1)

    def _closed(self, nodes: Int[Tensor, "B W"], width: int) -> Bool[Tensor, "B W n"]:
        """Which children are closed for their row: each closed one is marked at the beam of its parent, if any."""
        parents = self.tree.parents[self.closed.clamp(min=0)].long()
        found = (nodes[:, :, None] == parents[:, None]) & (self.closed >= 0)[:, None]  # [B, W, C], at most one beam
        place = found.int().argmax(1) * width + self.closed - self.tree.firsts[parents]
        nowhere = nodes.shape[1] * width
        marks = torch.zeros(nodes.shape[0], nowhere + 1, dtype=torch.bool, device=nodes.device)
        marks = marks.scatter(1, torch.where(found.any(1), place, nowhere), torch.ones_like(place, dtype=torch.bool))
        return marks[:, :-1].reshape(*nodes.shape, width)


class SearchGraph(nn.Module):
    """`forward` is what is exported. model: a generator with `start` and `step`, in evaluation mode. absolute_times:
    whether the times that it is told, if any, count from 1970.
    """

    def __init__(self, model: nn.Module, trie: FlatTrie, absolute_times: bool = False) -> None:
        super().__init__()
        self.model, self.tree, self.absolute_times = model, TreeGraph(trie), absolute_times

    def forward(
        self,
        history: Int[Tensor, "B T"],
        open: Bool[Tensor, " V"],
        closed: Int[Tensor, "B C"],
        beams: Int[Tensor, " W"],
        paths: Int[Tensor, " S"],
        answers: Int[Tensor, " k"],
        times: Int[Tensor, "B T"] | None = None,
        asked: Int[Tensor, "B 1"] | None = None,
    ) -> dict[str, Tensor]:
        """The k best items of every history.

        history: items, oldest first, padded on the right with -1; at least one item each. open, closed: see `Opened`.
        beams, paths, answers: any numbers. There are as many as the search has beams, as paths are completed, and as
            the lists have items: `k <= S`, `k <= W`.
        times, asked: of a model that is told them, see `SequenceBatch`.

        Returns:
            items, scores: `[B, k]`, -1 and `-inf` where fewer are permitted. codes, log_probs: `[B, k, L]`. For a model
            with thoughts, of every level that has one all clusters, nearest first, and their probabilities, `[B, k, C]`
            each.
            needed: `[B]`, how many paths are as good as the k-th of them or better. Where it is more than S, the order
            among equal paths is not decided: ask again with so many.
        """
        model, opened = cast(Steppable[Any], self.model), Opened(self.tree, open, closed)
        lengths, nothing = (history >= 0).sum(1), history[:, :0]
        batch = SequenceBatch(history, lengths, nothing, nothing, None, times, asked, self.absolute_times)
        found = first_beams(model, batch)
        last, k = self.tree.num_levels - 1, answers.shape[0]
        for level in range(last + 1):
            child_log_probs, children, found = advanced(model, found, opened, level)
            totals = totals_of(found, child_log_probs, children)
            scores, places = _best(totals, paths.shape[0] if level == last else beams.shape[0], level)
            found = extended(found, child_log_probs, children, places, scores)
        worst = found.scores[:, k - 1 : k]
        equal_or_better = ((totals >= worst) & ~totals.isinf()).sum(1)
        return {**self._items(found, opened, k), "needed": equal_or_better}

    def _items(self, found: Beams[Any], opened: Opened, k: int) -> dict[str, Tensor]:
        under = opened.items_under(found.nodes)
        order = best_first(found.scores, under)
        under = under.gather(1, order[:, :, None].expand_as(under)).flatten(1)
        first = (under < 0).int().sort(dim=1, stable=True).indices[:, :k]
        items = under.gather(1, first)
        beam = order.gather(1, first // self.tree.widths[-1])
        outputs = {
            "items": items,
            "scores": found.scores.gather(1, beam).masked_fill(items < 0, -torch.inf),
            "codes": _at(found.codes, beam),
            "log_probs": _at(found.log_probs, beam),
        }
        if isinstance(self.model, Thinker):
            for level, thought in enumerate(found.state.thoughts):
                if level not in self.model.levels:
                    continue
                probs = self.model.cluster_probs(level, _at(thought, beam))
                nearest = probs.topk(probs.shape[-1], dim=-1)
                outputs |= {f"clusters_{level + 1}": nearest.indices, f"cluster_probs_{level + 1}": nearest.values}
        return outputs


def _best(totals: Float[Tensor, "B n"], count: int, level: int) -> tuple[Float[Tensor, "B _"], Int[Tensor, "B _"]]:
    """The scores and places of the best paths; at the first level there may be fewer."""
    size = totals.shape[1]
    if level == 0:
        totals = torch.cat([totals, totals.new_full((totals.shape[0], count), -torch.inf)], 1)
    scores, places = totals.topk(count, dim=1)
    return scores, places.clamp(max=size - 1)


def _at(x: Shaped[Tensor, "B W n"], beam: Int[Tensor, "B k"]) -> Shaped[Tensor, "B k n"]:
    return x.gather(1, beam[:, :, None].expand(-1, -1, x.shape[2]))
