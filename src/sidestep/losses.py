"""Pure equations on tensors, each with its paper and number. They import nothing of ours, and anyone may call them."""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

PROBABILITIES_AT_ONCE = 2**22
"""So many of a table `[n, N]` of probabilities stay in a processor's cache, more or less."""
LEAST_ROWS = 64
"""Fewer rows of it at once, and a product over a large catalogue is spent on reading the embeddings."""

# --- the tokenizer (S2GR, section 4.2.2) ---


def reconstruct(outputs: Float[Tensor, "n D"], inputs: Float[Tensor, "n D"]) -> Float[Tensor, ""]:
    """S2GR eq. 8: ||x - x_hat||^2, the mean over the n vectors."""
    return (inputs - outputs).square().sum(-1).mean()


def quantise(
    residuals: Sequence[Float[Tensor, "n d"]], codewords: Sequence[Float[Tensor, "n d"]], commitment: float
) -> Float[Tensor, ""]:
    """S2GR eq. 9: sum over levels of commitment * ||r - sg(e)||^2 + ||e - sg(r)||^2, the mean over the n vectors.

    The first term draws the encoder to the codewords, the second the codewords to what they stand for. S2GR weighs
    them alike; TIGER's commitment is 0.25.
    """
    losses = [
        commitment * (residual - codeword.detach()).square().sum(-1) + (codeword - residual.detach()).square().sum(-1)
        for residual, codeword in zip(residuals, codewords, strict=True)
    ]
    return torch.stack(losses).sum(0).mean()


def codeword_distances(codewords: Float[Tensor, "K d"]) -> Float[Tensor, "K K"]:
    """S2GR eq. 10: D_ij = ||e_i - e_j||^2."""
    norms = codewords.square().sum(-1)
    return (norms[:, None] - 2 * codewords @ codewords.T + norms).clamp(min=0)


def uniformity_scale(codewords: Float[Tensor, "K d"]) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """delta and mu of eqs 11 and 12 as they suit a codebook: the 25th percentile of D_ij, i < j, and 1 / its median.

    Fixed numbers would leave the loss dead or dominant as the encoder's scale moves. One codeword alone has no pair:
    delta is 0 and mu is 1 then.
    """
    size = len(codewords)
    if size < 2:
        return codewords.new_zeros(()), codewords.new_ones(())
    row, column = torch.triu_indices(size, size, offset=1, device=codewords.device)
    distances = codeword_distances(codewords.detach())[row, column]
    ordered = distances.sort().values  # torch.quantile takes at most 2^24 values, which 6,000 codewords exceed
    quarter, middle = ordered[(len(ordered) - 1) // 4], ordered[(len(ordered) - 1) // 2]
    return quarter, 1 / middle.clamp(min=torch.finfo(middle.dtype).tiny)


def uniform(codewords: Float[Tensor, "K d"], delta: Float[Tensor, ""], mu: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """S2GR eqs 11 and 12: log(1 + sum over P of exp(-mu D_ij)), P = {(i, j): i != j, D_ij <= delta}.

    P holds ordered pairs, so each unordered pair counts twice, as the paper writes it.
    """
    distances = codeword_distances(codewords)
    near = (distances <= delta).fill_diagonal_(False)
    return torch.log1p(torch.exp(-mu * distances[near]).sum())


def soft_usage(distances: Float[Tensor, "n K"]) -> Float[Tensor, " K"]:
    """How much each code is used, with a gradient: the mean over the n residuals of softmax_j(-d_j / s).

    s is the mean distance to the nearest codeword, so that the softmax neither hardens nor washes out as the encoder's
    scale moves.
    """
    scale = distances.detach().min(dim=1).values.mean().clamp(min=torch.finfo(distances.dtype).tiny)
    return torch.softmax(-distances / scale, dim=1).mean(0)


def diversity(usage: Float[Tensor, " K"]) -> Float[Tensor, ""]:
    """GR2 stage 1a (arXiv 2602.07774): C sum_j p_j^2, which is 1 where all C codes are used alike, C where one is."""
    return len(usage) * usage.square().sum()


# --- the thinking generator (S2GR, section 4.3) ---


def recommend(logits: Sequence[Float[Tensor, "n _"]], codes: Int[Tensor, "n L"]) -> Float[Tensor, " L"]:
    """S2GR eq. 23, level by level: -log p(s_l), the mean over the n targets. Its sum over levels is L_Rec.

    The paper calls y "logits"; a logarithm of them makes sense for softmax probabilities only.
    """
    return torch.stack([F.cross_entropy(logits[level], codes[:, level]) for level in range(len(logits))])


def centroids(embeddings: Float[Tensor, "K D"], clusters: Int[Tensor, " K"]) -> Float[Tensor, "C D"]:
    """The mean embedding of every cluster's codes, with no gradient (S2GR, above eq. 18).

    Membership is fixed by k-means on the frozen codebook, the means follow the code embeddings as they are trained.
    """
    sizes = clusters.bincount()
    sums = embeddings.new_zeros(len(sizes), embeddings.shape[1]).index_add_(0, clusters, embeddings.detach())
    return sums / sizes[:, None]


def cosines(a: Float[Tensor, "*n D"], b: Float[Tensor, "m D"]) -> Float[Tensor, "*n m"]:
    """Every cosine between two sets of vectors, in full precision under autocast too: a small tau magnifies errors."""
    with torch.autocast(a.device.type, enabled=False):
        return F.normalize(a.float(), dim=-1) @ F.normalize(b.float(), dim=-1).T


def cluster_logits(
    thoughts: Float[Tensor, "*n D"], centroids: Float[Tensor, "C D"], tau: float
) -> Float[Tensor, "*n C"]:
    """Sim(t, c_k) / tau with cosine similarity: what eq. 18 takes the softmax of."""
    return cosines(thoughts, centroids) / tau


def align(logits: Float[Tensor, "n C"], targets: Int[Tensor, " n"]) -> Float[Tensor, ""]:
    """S2GR eq. 18: -log softmax_k(cos(t, c_k) / tau) at the true code's cluster, the mean over the n targets.

    logits: as `cluster_logits` gives them.
    """
    return F.cross_entropy(logits, targets)


def info_nce(
    interest: Float[Tensor, "n D"],
    items: Float[Tensor, "n D"],
    barred: Bool[Tensor, "n n"],
    tau: float,
) -> Float[Tensor, ""]:
    """S2GR eq. 20: each interest vector against the batch's target items, the mean over the n targets.

    barred: True where column j is no negative of row i: the same item again, or the same user's other targets.
    """
    similarity = cosines(interest, items) / tau
    return F.cross_entropy(similarity.masked_fill(barred, -torch.inf), torch.arange(len(items), device=items.device))


def holistic(first_thoughts: Float[Tensor, "n D"], interest: Float[Tensor, "n D"]) -> Float[Tensor, ""]:
    """S2GR eq. 21: 1 - cos(t_1, sg(v_g)), the mean over the n targets."""
    return 1 - F.cosine_similarity(first_thoughts, interest.detach(), dim=-1).mean()


# --- the sequential baselines ---


class FullCrossEntropy(torch.autograd.Function):
    """The loss and both gradients, a block of targets at a time: the `[n, N]` table of probabilities, which takes most
    of a step's time once it leaves the processor's cache, is never kept.
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
        ctx.save_for_backward(to_states / len(states), to_embeddings / len(states))
        return total / len(states)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        to_states, to_embeddings = ctx.saved_tensors
        return grads[0] * to_states, grads[0] * to_embeddings, None


def _blocks(rows: int, columns: int) -> list[slice]:
    at_once = max(PROBABILITIES_AT_ONCE // max(columns, 1), LEAST_ROWS)
    return [slice(begin, begin + at_once) for begin in range(0, rows, at_once)]


def full_cross_entropy(
    states: Float[Tensor, "n D"], embeddings: Float[Tensor, "N D"], targets: Int[Tensor, " n"]
) -> Float[Tensor, ""]:
    """-log softmax_i(state . e_i) at the target, over the whole catalogue; the mean over the n targets."""
    with torch.autocast(states.device.type, enabled=False):
        loss: Tensor = FullCrossEntropy.apply(states.float(), embeddings.float(), targets)  # type: ignore[no-untyped-call]
    return loss


def sampled_cross_entropy(
    states: Float[Tensor, "n D"],
    embeddings: Float[Tensor, "N D"],
    targets: Int[Tensor, " n"],
    negatives: Int[Tensor, " m"],
) -> Float[Tensor, ""]:
    """The same over the target and m items drawn uniformly for the batch; a drawn target is no negative of its own.

    Each negative stands for N / m items: log(N / m) is added to its logit (Bengio & Senecal 2008; the constant -log q
    that all uniform draws share), so that the loss estimates `full_cross_entropy`.
    """
    own = (states * embeddings[targets]).sum(-1, keepdim=True)
    others = states @ embeddings[negatives].T + math.log(len(embeddings) / len(negatives))
    others = others.masked_fill(negatives == targets[:, None], -torch.inf)
    return F.cross_entropy(torch.cat([own, others], 1), targets.new_zeros(len(targets)))


def binary_cross_entropy(
    states: Float[Tensor, "n D"],
    embeddings: Float[Tensor, "N D"],
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
    softmax over the catalogue that step i's state gives.
    """
    with torch.autocast(steps.device.type, enabled=False):
        loss: Tensor = Divergence.apply(steps.float(), embeddings.float())  # type: ignore[no-untyped-call]
    return loss


def tell_apart(
    noisy: Float[Tensor, "k n D"], clean: Float[Tensor, "k n D"], barred: Bool[Tensor, "n n"], tau: float
) -> Float[Tensor, ""]:
    """ReaRec (arXiv 2503.22675), PRL: -log softmax_j(noisy_i . clean_j / tau) at j = i, the mean over the n targets and
    the k steps.

    barred: True where column j is no negative of row i.
    """
    similarity = (noisy @ clean.transpose(1, 2) / tau).masked_fill(barred, -torch.inf)
    own = torch.arange(noisy.shape[1], device=noisy.device).expand(len(noisy), -1)
    return F.cross_entropy(similarity.flatten(0, 1), own.flatten())
