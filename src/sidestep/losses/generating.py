"""Losses of generators: prediction of codes, and alignment of thoughts with clusters (S2GR, section 4.3)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.losses.contrastive import cosines


def recommend(
    logits: Sequence[Float[Tensor, "n _"]], choices: Int[Tensor, "n L"], smoothing: float = 0.0
) -> Float[Tensor, " L"]:
    """S2GR eq. 23, level by level: -log p(s_l), the mean over the n targets. Its sum over levels is L_Rec.

    The paper calls y "logits"; a logarithm of them makes sense for softmax probabilities only.

    logits: of the candidate codes, `-inf` in unused columns. choices: the column of each true code.
    smoothing: share of the target that is spread evenly over the candidate codes (Szegedy et al. 2016, sec. 7); a code
        without alternative still has loss 0.
    """
    levels = zip(logits, choices.unbind(1), strict=True)
    if not smoothing:
        return torch.stack([F.cross_entropy(values, choice) for values, choice in levels])
    return torch.stack([_smoothed(values.log_softmax(-1), choice, smoothing) for values, choice in levels])


def _smoothed(log_probs: Float[Tensor, "n K"], choice: Int[Tensor, " n"], smoothing: float) -> Float[Tensor, ""]:
    exists = ~log_probs.isinf()
    evenly = log_probs.where(exists, 0).sum(1) / exists.sum(1)
    own = log_probs.gather(1, choice[:, None])[:, 0]
    return -((1 - smoothing) * own + smoothing * evenly).mean()


def prefixes(per_level: Float[Tensor, " L"], focus: float) -> Float[Tensor, ""]:
    """APAO's loss of prefixes, pointwise (arXiv 2603.02730): with L_t the mean cross-entropy of the first t codes,
    t = 1 ... L - 1,

        sum_t w_t L_t,   w_t ~ L_t exp(focus L_t), which sum to 1 and have no gradient.

    The worst prefix counts most, and the more so the larger `focus` is. 0 for IDs of one code.

    per_level: of `recommend`.
    """
    if len(per_level) < 2:
        return per_level.new_zeros(())
    counts = torch.arange(1, len(per_level), device=per_level.device)
    losses = per_level[:-1].cumsum(0) / counts
    weights = (losses.detach().clamp(min=1e-12).log() + focus * losses.detach()).softmax(0)
    return (weights * losses).sum()


def centroids(embeddings: Float[Tensor, "K D"], clusters: Int[Tensor, " K"]) -> Float[Tensor, "C D"]:
    """The mean embedding of every cluster's codes, with no gradient (S2GR, above eq. 18).

    Membership is fixed by k-means on the frozen codebook, the means follow the code embeddings as they are trained.
    """
    sizes = clusters.bincount()
    sums = embeddings.new_zeros(len(sizes), embeddings.shape[1]).index_add_(0, clusters, embeddings.detach())
    return sums / sizes[:, None]


def cluster_logits(
    thoughts: Float[Tensor, "*n D"], centroids: Float[Tensor, "C D"], tau: float
) -> Float[Tensor, "*n C"]:
    """Sim(t, c_k) / tau with cosine similarity: the argument of the softmax in eq. 18."""
    return cosines(thoughts, centroids) / tau


def align(logits: Float[Tensor, "n C"], targets: Int[Tensor, " n"]) -> Float[Tensor, ""]:
    """S2GR eq. 18: -log softmax_k(cos(t, c_k) / tau) at the true code's cluster, the mean over the n targets.

    logits: of `cluster_logits`.
    """
    return F.cross_entropy(logits, targets)


def holistic(first_thoughts: Float[Tensor, "n D"], interest: Float[Tensor, "n D"]) -> Float[Tensor, ""]:
    """S2GR eq. 21: 1 - cos(t_1, sg(v_g)), the mean over the n targets."""
    return 1 - F.cosine_similarity(first_thoughts, interest.detach(), dim=-1).mean()
