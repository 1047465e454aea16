"""Beam search under the trie: one loop over levels, in log-probabilities, for every generator."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Generic, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sidestep.data.sequences import SequenceBatch
from sidestep.search.steppable import S, Steppable
from sidestep.sids.trie import NOWHERE, Children, Permitted, Trie

AT_ONCE = 64
"""Beams of all rows together that are few: a list for one person, with as many beams as are usual."""


@dataclass(frozen=True)
class Beams(Generic[S]):
    """Paths, best first; a row with fewer than W of them ends in paths with score `-inf`.

    nodes: trie nodes that the paths end in, `NOWHERE` for a path that is none. scores: log-probability of each path.
    codes: the paths. log_probs: their parts, level by level.
    state: the decoder state before the last code is fed in; that of complete paths, before the last two.
    """

    nodes: Int[Tensor, "B W"]
    scores: Float[Tensor, "B W"]
    codes: Int[Tensor, "B W l"]
    log_probs: Float[Tensor, "B W l"]
    state: S

    def narrow(self, rows: Int[Tensor, " n"], begin: int, end: int) -> "Beams[S]":
        """Beams begin .. end - 1 of some rows."""
        kept = torch.arange(begin, end, device=rows.device)
        state = self.state if len(rows) == len(self.scores) else self.state.take(rows)
        return Beams(
            self.nodes[rows, begin:end],
            self.scores[rows, begin:end],
            self.codes[rows, begin:end],
            self.log_probs[rows, begin:end],
            state.select(kept.expand(len(rows), -1)),
        )


def beam_search(
    model: Steppable[S], batch: SequenceBatch, permitted: Permitted, num_beams: int, k: int | None = None
) -> Beams[S]:
    """The k best permitted paths of every row among those whose prefixes stay within the `num_beams` best, and those
    that equal the k-th of them; k is `num_beams` where it is not given, and never more.

    Scores are the model's own log-probabilities: over the full codebook, where codes outside the trie are removed and
    the rest is not renormalised, or over the children that exist in the trie (`Steppable.over_children`). A filter
    removes children, too, and renormalises nothing. With as many beams as prefixes this is exhaustive scoring.
    """
    *_, beams = _prefixes(model, batch, permitted, num_beams)
    return _completed(model, beams, permitted, min(k or num_beams, num_beams))


def prefix_places(
    model: Steppable[S], batch: SequenceBatch, trie: Trie, num_beams: int, items: Int[Tensor, " B"]
) -> Int[Tensor, "B L"]:
    """Where the prefixes of one item a row stand among the beams of their length, from 1; 0 where they are no beam."""
    permitted = Permitted(trie)
    *prefixes, last = _prefixes(model, batch, permitted, num_beams)
    beams = [*prefixes, last, _completed(model, last, permitted, num_beams)][1:]
    places = []
    for depth, found in enumerate(beams, start=1):
        same = found.nodes[:, :num_beams] == trie.node_of_item(depth, items)[:, None]
        places.append(torch.where(same.any(1), same.long().argmax(1) + 1, 0))
    return torch.stack(places, 1)


def _prefixes(model: Steppable[S], batch: SequenceBatch, permitted: Permitted, num_beams: int) -> Iterator[Beams[S]]:
    """The best paths of no code, of one code and so on, up to all but the last."""
    beams = first_beams(model, batch)
    yield beams
    for level in range(permitted.num_levels - 1):
        child_log_probs, children, beams = advanced(model, beams, permitted, level)
        beams = _best(beams, child_log_probs, totals_of(beams, child_log_probs, children), children, num_beams)
        yield beams


def first_beams(model: Steppable[S], batch: SequenceBatch) -> Beams[S]:
    """One path without a code for every row."""
    rows, device = batch.history.shape[0], batch.history.device
    nodes, scores = torch.zeros(rows, 1, dtype=torch.int64, device=device), torch.zeros(rows, 1, device=device)
    return Beams(nodes, scores, nodes.new_empty(rows, 1, 0), scores.new_empty(rows, 1, 0), model.start(batch))


@runtime_checkable
class Branching(Protocol):
    """What gives the children of nodes, as `Permitted` does."""

    def children(self, level: int, nodes: Int[Tensor, "B W"]) -> Children: ...


def advanced(
    model: Steppable[S], beams: Beams[S], permitted: Branching, level: int
) -> tuple[Float[Tensor, "B W n"], Children, Beams[S]]:
    """The children of every beam with their log-probabilities, and the beams with the state after that step."""
    log_probs, state = _step(model, beams)
    children = permitted.children(level, beams.nodes)
    child_log_probs = _of_children(model, log_probs, children.codes, children.exists)
    return child_log_probs, children, replace(beams, state=state)


def extended(
    beams: Beams[S],
    child_log_probs: Float[Tensor, "B W n"],
    children: Children,
    places: Int[Tensor, "B V"],
    scores: Float[Tensor, "B V"] | None = None,
) -> Beams[S]:
    """The paths that are one code longer and end in the children at some of the `W x n` places.

    scores: of these paths, `-inf` for one that leads nowhere whatever its place; None adds them up.
    """
    if scores is None:
        scores = totals_of(beams, child_log_probs, children).gather(1, places)
    parents, nodes, codes = children.take(places)
    return Beams(
        nodes.masked_fill(scores.isinf(), NOWHERE),
        scores,
        torch.cat([_rows(beams.codes, parents), codes[:, :, None]], dim=2),
        torch.cat([_rows(beams.log_probs, parents), child_log_probs.flatten(1).gather(1, places)[:, :, None]], dim=2),
        beams.state.select(parents),
    )


def totals_of(beams: Beams[S], child_log_probs: Float[Tensor, "B W n"], children: Children) -> Float[Tensor, "B Wn"]:
    """The score of every path that is one code longer; `-inf` where it leads nowhere."""
    return (beams.scores[:, :, None] + child_log_probs).masked_fill(~children.open, -torch.inf).flatten(1)


def last_state(model: Steppable[S], complete: Beams[S]) -> S:
    """The decoder state that predicts the last code of complete paths, which the search itself does not keep."""
    return model.step(complete.state, complete.codes[:, :, -2] if complete.codes.shape[2] > 1 else None)[1]


def _step(model: Steppable[S], beams: Beams[S]) -> tuple[Float[Tensor, "B W K"], S]:
    """Feed the last code of every beam to the generator."""
    return model.step(beams.state, beams.codes[:, :, -1] if beams.codes.shape[2] else None)


def _of_children(
    model: Steppable[S],
    log_probs: Float[Tensor, "B W K"],
    codes: Int[Tensor, "B W n"],
    exists: Bool[Tensor, "B W n"],
) -> Float[Tensor, "B W n"]:
    """The log-probability of every child; any number where there is none."""
    chosen = log_probs.gather(2, codes)
    if not model.over_children:
        return chosen
    return chosen.masked_fill(~exists, torch.finfo(chosen.dtype).min).log_softmax(-1)


def _completed(model: Steppable[S], beams: Beams[S], permitted: Permitted, k: int) -> Beams[S]:
    """The k best complete paths, and those that equal the k-th, whose order is decided by their items.

    Log-probabilities only fall, so a prefix that scores less than the k-th best complete path so far can add none.
    Beams stand best first: they are completed in portions, until the first one of the next portion is such a prefix.
    Where there are few of them, all are completed at once: a second portion's calls would cost more than its products.
    """
    width = beams.scores.shape[1]
    children = permitted.children(permitted.num_levels - 1, beams.nodes)
    child_log_probs = torch.full(children.codes.shape, -torch.inf, device=beams.scores.device)
    rows = torch.arange(len(child_log_probs), device=child_log_probs.device)
    few = len(rows) * width <= AT_ONCE
    begin, end = 0, width if few else min(k + k // 2, width)
    while len(rows):
        log_probs, _ = _step(model, beams.narrow(rows, begin, end))
        codes, exists = children.codes[rows, begin:end], children.exists[rows, begin:end]
        child_log_probs[rows, begin:end] = _of_children(model, log_probs, codes, exists)
        if end == width:
            break
        totals = totals_of(beams, child_log_probs, children)[rows]
        worst = totals.topk(min(k, totals.shape[1]), dim=1).values[:, -1]
        following = beams.scores[rows, end]
        rows = rows[(following >= worst) & ~following.isinf()]
        begin, end = end, min(4 * end, width)
    totals = totals_of(beams, child_log_probs, children)
    worst = totals.topk(min(k, totals.shape[1]), dim=1).values[:, -1:]
    equal_or_better = ((totals >= worst) & ~totals.isinf()).sum(1)
    return _best(beams, child_log_probs, totals, children, max([k, *equal_or_better.tolist()]))


def _best(
    beams: Beams[S],
    child_log_probs: Float[Tensor, "B W n"],
    totals: Float[Tensor, "B Wn"],
    children: Children,
    count: int,
) -> Beams[S]:
    """The `count` best paths that are one code longer."""
    scores, places = totals.topk(min(count, totals.shape[1]), dim=1)
    return extended(beams, child_log_probs, children, places, scores)


def _rows(x: Tensor, parents: Int[Tensor, "B W"]) -> Tensor:
    return x.gather(1, parents[:, :, None].expand(-1, -1, x.shape[2]))
