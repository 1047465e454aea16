"""Beam search under the trie: one loop over levels, in log-probabilities, for every generator."""

from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sidestep.data.sequences import SequenceBatch
from sidestep.recommenders.recommender import ItemFilter
from sidestep.sids.trie import NOWHERE, Trie


class SearchState(Protocol):
    """What a generator carries from level to level."""

    def select(self, parents: Int[Tensor, "B W"]) -> Self:
        """The state in which beam w of row b goes on from beam `parents[b, w]`."""
        ...


S = TypeVar("S", bound=SearchState)


class Steppable(Protocol[S]):
    """A generator as the search sees it. Thinking, if any, happens inside `step`."""

    def start(self, batch: SequenceBatch) -> S: ...

    def step(self, state: S, codes: Int[Tensor, "B W"] | None) -> tuple[Float[Tensor, "B W K"], S]:
        """Log-probabilities of the next level's codes, once every beam has taken its code of `codes`; None (and one
        beam) before the first level.
        """
        ...


@dataclass(frozen=True)
class Beams:
    """Complete paths, best first; a row with fewer than W of them ends in paths with score `-inf`.

    leaves: trie nodes at depth L. scores: log-probability of each whole path. codes: the paths. log_probs: their
    parts, level by level. state: the generator's, one beam per path.
    """

    leaves: Int[Tensor, "B W"]
    scores: Float[Tensor, "B W"]
    codes: Int[Tensor, "B W L"]
    log_probs: Float[Tensor, "B W L"]
    state: SearchState


@dataclass(frozen=True)
class Barred:
    """Counts, for any node, the items under it that may not be answered, so that a path is closed only when all are.

    items: per row, each barred item once, `NO_ITEM` elsewhere. allowed: items that no filter bars for all rows.
    """

    trie: Trie
    items: Int[Tensor, "B E"]
    allowed: Bool[Tensor, " N"] | None

    @classmethod
    def of(cls, trie: Trie, barred: ItemFilter | None, rows: int) -> "Barred":
        allowed = None if barred is None else barred.allowed
        if barred is None or barred.excluded is None:
            return cls(trie, torch.empty(rows, 0, dtype=torch.int64), allowed)
        items = barred.excluded.sort(dim=1).values
        again = torch.zeros_like(items, dtype=torch.bool)
        again[:, 1:] = items[:, 1:] == items[:, :-1]
        if allowed is not None:  # counted as barred already
            again |= ~allowed[items.clamp(min=0)]
        return cls(trie, items.masked_fill(again, NOWHERE), allowed)

    def open_codes(self, level: int, nodes: Int[Tensor, "B W"]) -> Bool[Tensor, "B W K"]:
        """The codes that lead from each node to at least one item that may be answered."""
        left = self.trie.spread(level, nodes, self.trie.counts(level + 1, self.allowed))
        below = self.trie.node_of_item(level + 1, self.items)
        codes = self.trie.codes[level + 1][below.clamp(min=0)].long()
        under = self.trie.node_of_item(level, self.items)[:, None, :] == nodes[:, :, None]
        under = under & (below >= 0)[:, None, :]
        left.scatter_add_(2, codes[:, None, :].expand(-1, nodes.shape[1], -1), -under.to(left.dtype))
        return left > 0

    def answers(self, leaves: Int[Tensor, "B W"]) -> Int[Tensor, "B W M"]:
        """The items under each leaf that may be answered, in path order (most popular first), `NO_ITEM` elsewhere."""
        items = self.trie.items_under(self.trie.num_levels, leaves)
        closed = (items[:, :, :, None] == self.items[:, None, None, :]).any(-1) & (items >= 0)
        if self.allowed is not None:
            closed |= ~self.allowed[items.clamp(min=0)]
        return items.masked_fill(closed, NOWHERE)


def beam_search(model: Steppable[S], batch: SequenceBatch, barred: Barred, num_beams: int) -> Beams:
    """The `num_beams` best open paths of every row, if no prefix of one falls out of the beam on the way.

    Scores are the model's log-probabilities over the full codebook: codes outside the trie are removed and the rest
    is not renormalised (DESIGN decision 2). With as many beams as prefixes this is exhaustive scoring.
    """
    rows = len(batch)
    nodes = torch.zeros(rows, 1, dtype=torch.int64, device=batch.history.device)
    scores = torch.zeros(rows, 1, device=nodes.device)
    codes = nodes.new_empty(rows, 1, 0)
    parts = scores.new_empty(rows, 1, 0)
    state, said = model.start(batch), None
    for level, size in enumerate(barred.trie.codebook_sizes):
        log_probs, state = model.step(state, said)
        open_codes = barred.open_codes(level, nodes)
        totals = (scores[:, :, None] + log_probs).masked_fill(~open_codes, -torch.inf).flatten(1)
        scores, chosen = totals.topk(min(num_beams, totals.shape[1]), dim=1)
        parents, said = chosen // size, chosen % size
        nodes = barred.trie.child(level, nodes.gather(1, parents), said).masked_fill(scores.isinf(), NOWHERE)
        state = state.select(parents)
        codes = torch.cat([_rows(codes, parents), said[:, :, None]], dim=2)
        part = log_probs.flatten(1).gather(1, chosen)
        parts = torch.cat([_rows(parts, parents), part[:, :, None]], dim=2)
    return Beams(nodes, scores, codes, parts, state)


def _rows(x: Tensor, parents: Int[Tensor, "B W"]) -> Tensor:
    return x.gather(1, parents[:, :, None].expand(-1, -1, x.shape[2]))
