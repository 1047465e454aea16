"""Losses of scorers: cross-entropies over a catalogue, and ReaRec's divergence."""

import math
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

PROBABILITIES_AT_ONCE = 2**22
"""Entries of a block of the table `[n, N]` of probabilities; about the size of a processor's cache."""
LEAST_ROWS = 64
"""Minimum rows of a block: with fewer, reading the embeddings dominates the product for a large catalogue."""


def _blocks(rows: int, columns: int) -> list[slice]:
    at_once = max(PROBABILITIES_AT_ONCE // max(columns, 1), LEAST_ROWS)
    return [slice(begin, begin + at_once) for begin in range(0, rows, at_once)]


class FullCrossEntropy(torch.autograd.Function):
    """The loss and both gradients, computed for a block of targets at a time, without the whole `[n, N]` table of
    probabilities, which takes most of a step's time once it exceeds the processor's cache.
    """

    @staticmethod
    def forward(ctx: Any, states: Tensor, embeddings: Tensor, targets: Tensor) -> Tensor:
        to_states, to_embeddings = torch.empty_like(states), torch.zeros_like(embeddings)
        total = states.new_zeros(())
        for block in _blocks(len(states), len(embeddings)):
            own = targets[block, None]
            table = states[block] @ embeddings.T
            table -= table.amax(1, keepdim=True)
            chosen = table.gather(1, own)
            sums = table.exp_().sum(1, keepdim=True)
            total += (sums.log() - chosen).sum()
            table /= sums
            table.scatter_add_(1, own, torch.full_like(chosen, -1.0))  # softmax minus the target's 1
            to_states[block] = table @ embeddings
            to_embeddings.addmm_(table.T, states[block])
        ctx.save_for_backward(to_states.div_(len(states)), to_embeddings.div_(len(states)))
        return total / len(states)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        """In place, since a gradient is as large as the catalogue's table; so a graph goes back once."""
        to_states, to_embeddings = ctx.saved_tensors
        return to_states.mul_(grads[0]), to_embeddings.mul_(grads[0]), None


def full_cross_entropy(
    states: Float[Tensor, "n D"], embeddings: Float[Tensor, "N D"], targets: Int[Tensor, " n"]
) -> Float[Tensor, ""]:
    """-log softmax_i(state . e_i) at the target, over the whole catalogue; the mean over the n targets."""
    with torch.autocast(states.device.type, enabled=False):
        loss: Tensor = FullCrossEntropy.apply(states.float(), embeddings.float(), targets)  # type: ignore[no-untyped-call]
    return loss


@runtime_checkable
class Shards(Protocol):
    """The processes that share out the rows of a catalogue (`layers.item_rows.RowShards`). begin: number of the first
    row that this one keeps.
    """

    begin: int
    rank: int

    def everyone(self, own: Tensor) -> tuple[Tensor, list[int]]: ...
    def stacked(self, own: Tensor) -> Tensor: ...
    def summed(self, parts: Tensor, counts: list[int]) -> Tensor: ...


class ShardedCrossEntropy(torch.autograd.Function):
    """The loss over rows of several processes (Megatron-LM, arXiv 1909.08053, sec. 3): every process takes the states
    of all, and the products of a block with its own rows. For each state it tells the logarithm of its part of the
    softmax's denominator, and the target's product where it has the row.

    A gradient of rows is that of the sum of all processes' losses, each with the same factor in what is minimised.
    """

    @staticmethod
    def forward(ctx: Any, states: Tensor, rows: Tensor, targets: Tensor, shards: Shards) -> Tensor:
        everyone, counts = shards.everyone(states)
        places = shards.everyone(targets)[0][:, None] - shards.begin
        own = (places >= 0) & (places < len(rows))
        places = places.clamp(0, len(rows) - 1)
        weights = torch.cat([states.new_full((count, 1), 1 / count) for count in counts])
        losses, to_states, to_rows = torch.empty_like(weights), torch.empty_like(everyone), torch.zeros_like(rows)
        for block in _blocks(len(everyone), len(rows)):
            table = everyone[block] @ rows.T
            chosen = table.gather(1, places[block]).where(own[block], -torch.inf)
            highest = table.amax(1, keepdim=True)
            table -= highest
            part = table.exp_().sum(1, keepdim=True).log() + highest
            parts = shards.stacked(torch.stack([part, chosen]))
            whole = parts[:, 0].logsumexp(0)
            losses[block] = whole - parts[:, 1].amax(0)
            table *= (highest - whole).exp() * weights[block]
            table.scatter_add_(1, places[block], -weights[block] * own[block])
            to_states[block] = table @ rows
            to_rows.addmm_(table.T, everyone[block])
        ctx.save_for_backward(shards.summed(to_states, counts), to_rows)
        first = sum(counts[: shards.rank])
        return losses[first : first + counts[shards.rank]].mean()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        to_states, to_rows = ctx.saved_tensors
        return to_states.mul_(grads[0]), to_rows.mul_(grads[0]), None, None


def sharded_cross_entropy(
    states: Float[Tensor, "n D"], rows: Float[Tensor, "m D"], targets: Int[Tensor, " n"], shards: Shards
) -> Float[Tensor, ""]:
    """`full_cross_entropy` of this process's targets over a catalogue of which it keeps m rows; collective.

    Memory: the states of all processes, and a block of at least `LEAST_ROWS` times m products.
    """
    with torch.autocast(states.device.type, enabled=False):
        loss: Tensor = ShardedCrossEntropy.apply(states.float(), rows.float(), targets, shards)  # type: ignore[no-untyped-call]
    return loss


@runtime_checkable
class Rows(Protocol):
    """Embeddings of N items: a tensor `[N, D]`, or a table whose rows lie in several processes."""

    def __len__(self) -> int: ...
    def __getitem__(self, items: Tensor, /) -> Tensor: ...


def sampled_cross_entropy(
    states: Float[Tensor, "n D"],
    embeddings: Rows,
    targets: Int[Tensor, " n"],
    negatives: Int[Tensor, " m"],
) -> Float[Tensor, ""]:
    """The cross-entropy over the target and m items drawn uniformly for the batch, without a target's own duplicates.

    Each negative stands for N / m items: log(N / m) is added to its logit (Bengio & Senecal 2008; the constant -log q
    that all uniform draws share), so that the loss estimates `full_cross_entropy`.
    """
    own = (states * embeddings[targets]).sum(-1, keepdim=True)
    others = states @ embeddings[negatives].T + math.log(len(embeddings) / len(negatives))
    others = others.masked_fill(negatives == targets[:, None], -torch.inf)
    return F.cross_entropy(torch.cat([own, others], 1), targets.new_zeros(len(targets)))


def binary_cross_entropy(
    states: Float[Tensor, "n D"],
    embeddings: Rows,
    targets: Int[Tensor, " n"],
    negatives: Int[Tensor, "n m"],
) -> Float[Tensor, ""]:
    """SASRec sec. III-E: -log sigmoid(target) - sum over m negatives of log(1 - sigmoid(negative)), the mean over the
    n targets.
    """
    own = (states * embeddings[targets]).sum(-1)
    others = torch.einsum("nd,nmd->nm", states, embeddings[negatives])
    return -(F.logsigmoid(own) + F.logsigmoid(-others).sum(-1)).mean()


class Divergence(torch.autograd.Function):
    """`divergence` and both gradients, a block of targets at a time as in `FullCrossEntropy`.

    With z the logits and D_ij = KL(p_i || p_j):  dD_ij/dz_i = p_i (log p_i - log p_j - D_ij),  dD_ij/dz_j = p_j - p_i.
    """

    @staticmethod
    def forward(ctx: Any, steps: Tensor, embeddings: Tensor) -> Tensor:
        to_steps, to_embeddings = torch.empty_like(steps), torch.zeros_like(embeddings)
        total = steps.new_zeros(())
        for block in _blocks(steps.shape[1], len(embeddings) * len(steps)):
            log_probs = torch.log_softmax(steps[:, block] @ embeddings.T, -1)
            probs = log_probs.exp()
            slopes = torch.zeros_like(probs)
            for first in range(len(steps)):
                for second in range(first + 1, len(steps)):
                    ratio = log_probs[first] - log_probs[second]
                    apart = (probs[first] * ratio).sum(-1, keepdim=True)
                    total += apart.sum()
                    slopes[first] += probs[first] * (ratio - apart)
                    slopes[second] += probs[second] - probs[first]
            to_steps[:, block] = slopes @ embeddings
            to_embeddings.addmm_(slopes.flatten(0, 1).T, steps[:, block].flatten(0, 1))
        count = steps.shape[1]
        ctx.save_for_backward(to_steps / count, to_embeddings / count)
        return total / count

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        to_steps, to_embeddings = ctx.saved_tensors
        return grads[0] * to_steps, grads[0] * to_embeddings


def divergence(steps: Float[Tensor, "s n D"], embeddings: Float[Tensor, "N D"]) -> Float[Tensor, ""]:
    """ReaRec (arXiv 2503.22675), ERL: sum over i < j of KL(p_i || p_j), the mean over the n targets, with p_i the
    softmax over the catalogue for the state of step i.
    """
    with torch.autocast(steps.device.type, enabled=False):
        loss: Tensor = Divergence.apply(steps.float(), embeddings.float())  # type: ignore[no-untyped-call]
    return loss
