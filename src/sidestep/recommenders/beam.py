"""Beam search under the trie: one loop over levels, in log-probabilities, for every generator."""

from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.data.sequences import SequenceBatch
from sidestep.sids.trie import NOWHERE, Permitted, Trie

T = TypeVar("T")


@runtime_checkable
class SearchState(Protocol):
    """What a generator carries from level to level."""

    def select(self: T, parents: Int[Tensor, "B W"]) -> T:
        """The state in which beam w of row b goes on from beam `parents[b, w]`."""
        ...


S = TypeVar("S", bound=SearchState)


@runtime_checkable
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


def beam_search(model: Steppable[S], batch: SequenceBatch, trie: Trie, permitted: Permitted, num_beams: int) -> Beams:
    """The `num_beams` best permitted paths of every row, if no prefix of one falls out of the beam on the way.

    Scores are the model's log-probabilities over the full codebook: codes outside the trie are removed and the rest
    is not renormalised (DESIGN decision 2). With as many beams as prefixes this is exhaustive scoring.
    """
    rows = len(batch)
    nodes = torch.zeros(rows, 1, dtype=torch.int64, device=batch.history.device)
    scores = torch.zeros(rows, 1, device=nodes.device)
    codes = nodes.new_empty(rows, 1, 0)
    parts = scores.new_empty(rows, 1, 0)
    state, said = model.start(batch), None
    for level, size in enumerate(trie.codebook_sizes):
        log_probs, state = model.step(state, said)
        may_follow = permitted.mask(level, nodes)
        totals = (scores[:, :, None] + log_probs).masked_fill(~may_follow, -torch.inf).flatten(1)
        scores, chosen = totals.topk(min(num_beams, totals.shape[1]), dim=1)
        parents, said = chosen // size, chosen % size
        nodes = trie.child(level, nodes.gather(1, parents), said).masked_fill(scores.isinf(), NOWHERE)
        state = state.select(parents)
        codes = torch.cat([_rows(codes, parents), said[:, :, None]], dim=2)
        part = log_probs.flatten(1).gather(1, chosen)
        parts = torch.cat([_rows(parts, parents), part[:, :, None]], dim=2)
    return Beams(nodes, scores, codes, parts, state)


def _rows(x: Tensor, parents: Int[Tensor, "B W"]) -> Tensor:
    return x.gather(1, parents[:, :, None].expand(-1, -1, x.shape[2]))
