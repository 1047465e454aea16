"""What generators learn by: the codes, and what thoughts name (S2GR, section 4.3)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.losses.contrastive import cosines


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


def holistic(first_thoughts: Float[Tensor, "n D"], interest: Float[Tensor, "n D"]) -> Float[Tensor, ""]:
    """S2GR eq. 21: 1 - cos(t_1, sg(v_g)), the mean over the n targets."""
    return 1 - F.cosine_similarity(first_thoughts, interest.detach(), dim=-1).mean()
