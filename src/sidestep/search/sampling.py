"""Sampling of paths under the trie, for learning from a generator's own answers.

The policy is the generator restricted to the permitted part of the trie, level by level: among the permitted children
of a node, with P the generator's own probability (see `beam_search`),

    q(c | prefix) = P(c | prefix)^(1 / temperature) / sum over permitted children c' of P(c' | prefix)^(1 / temperature)

and q(path) is the product over levels. With `top_p` only the most probable children are kept whose q adds up to at
least `top_p` (Holtzman et al. 2020, arXiv 1904.09751), and q is renormalised over them.

Without replacement, paths are drawn one after the other, each from q renormalised over the paths not yet drawn. This
needs no repetition: stochastic beam search (Kool, van Hoof & Welling 2019, arXiv 1903.06059, algorithm 1) takes the W
paths of the greatest perturbed log-probability, `log q(path) + Gumbel noise`, from the top of the tree down.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sidestep.data.sequences import SequenceBatch
from sidestep.search.beam import Beams, advanced, extended, first_beams
from sidestep.search.steppable import S, Steppable
from sidestep.sids.trie import NOWHERE, Permitted


@dataclass(frozen=True)
class Sampling:
    """How paths are drawn. temperature: above 0; towards 0 every draw is the most probable child. top_p: in (0, 1]; 1
    keeps every child. replacement: whether a path may come twice.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    replacement: bool = False

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"temperature = {self.temperature}, expected a number above 0")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p = {self.top_p}, expected a number above 0 and at most 1")


@dataclass(frozen=True)
class SampledPaths:
    """beams: the paths in the order of their draws, with the generator's own log-probabilities, as a beam search gives
    them; a row with fewer than W distinct permitted paths ends in paths with score `-inf`.
    log_q: the log-probability of every path under the policy, `-inf` where there is no path.
    """

    beams: Beams[Any]
    log_q: Float[Tensor, "B W"]


@torch.no_grad()
def sample_paths(
    model: Steppable[S],
    batch: SequenceBatch,
    permitted: Permitted,
    num_paths: int,
    generator: torch.Generator,
    sampling: Sampling | None = None,
) -> SampledPaths:
    """Draw `num_paths` permitted paths for every row, or as many as there are where none comes twice.

    generator: the source of all noise, on any device; the same seed gives the same paths.

    Raises:
        ValueError: a temperature or a `top_p` out of range.
    """
    sampling = sampling or Sampling()
    beams = first_beams(model, batch)
    log_q = perturbed = beams.scores.double()
    for level in range(permitted.num_levels):
        log_probs, children, beams_after = advanced(model, beams, permitted, level)
        step = _policy(log_probs, children.open, sampling)
        child_log_q = log_q[:, :, None] + step
        if sampling.replacement:
            places = _one_each(step, num_paths, generator)
        else:
            below = _conditioned(child_log_q + _gumbel(step.shape, generator).to(step.device), perturbed).flatten(1)
            perturbed, places = below.topk(min(num_paths, below.shape[1]), dim=1)
        log_q = child_log_q.flatten(1).gather(1, places)
        last = level == permitted.num_levels - 1
        beams = extended(beams if last else beams_after, log_probs, children, places)
    beams = replace(beams, nodes=beams.nodes.masked_fill(log_q.isinf(), NOWHERE))
    return SampledPaths(replace(beams, scores=beams.scores.masked_fill(log_q.isinf(), -torch.inf)), log_q.float())


def _policy(
    log_probs: Float[Tensor, "B W n"], open: Bool[Tensor, "B W n"], sampling: Sampling
) -> Float[Tensor, "B W n"]:
    """log q of every child given its parent; `-inf` for closed children."""
    logits = (log_probs.double() / sampling.temperature).masked_fill(~open, -torch.inf)
    log_q = logits.log_softmax(2).masked_fill(~open, -torch.inf)
    if sampling.top_p == 1:
        return log_q
    ordered, order = log_q.exp().sort(dim=2, descending=True, stable=True)
    before = ordered.cumsum(2) - ordered  # the mass of the children ahead, so that the first one is always kept
    kept = open & torch.zeros_like(open).scatter(2, order, before < sampling.top_p)
    return log_q.masked_fill(~kept, -torch.inf).log_softmax(2).masked_fill(~kept, -torch.inf)


def _gumbel(shape: tuple[int, ...], generator: torch.Generator) -> Float[Tensor, "..."]:
    """Standard Gumbel noise, `-log E` with E exponential."""
    return -torch.empty(shape, dtype=torch.float64, device=generator.device).exponential_(generator=generator).log()


def _one_each(step: Float[Tensor, "B V n"], num_paths: int, generator: torch.Generator) -> Int[Tensor, "B W"]:
    """A child of every beam, or as many children of the one beam at the root, as places among the `V x n`.

    The child of the greatest perturbed log-probability is a draw from q.
    """
    rows, beams, width = step.shape
    noisy = step + _gumbel((rows, num_paths, width), generator).to(step.device)
    parents = torch.arange(num_paths, device=step.device).clamp(max=beams - 1)
    return parents * width + noisy.argmax(2)


def _conditioned(noisy: Float[Tensor, "B W n"], perturbed: Float[Tensor, "B W"]) -> Float[Tensor, "B W n"]:
    """Perturbed log-probabilities of children, given that their maximum is that of their parent: with Z the maximum,

        G = -log(exp(-parent) - exp(-Z) + exp(-noisy))

    in the stable form of the paper's appendix B.3.
    """
    parent, most = perturbed[:, :, None], noisy.max(dim=2, keepdim=True).values
    v = parent - noisy + torch.log1p(-torch.exp(noisy - most))
    conditioned = parent - v.clamp(min=0) - torch.log1p(torch.exp(-v.abs()))
    return torch.where(noisy.isinf(), -torch.inf, conditioned)
