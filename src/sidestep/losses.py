"""Pure equations on tensors, each with its paper and number. They import nothing of ours, and anyone may call them."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor


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
    members = F.one_hot(clusters).to(embeddings.dtype)
    return (members.T @ embeddings.detach()) / members.sum(0)[:, None]


def cluster_logits(
    thoughts: Float[Tensor, "*n D"], centroids: Float[Tensor, "C D"], tau: float
) -> Float[Tensor, "*n C"]:
    """Sim(t, c_k) / tau with cosine similarity: what eq. 18 takes the softmax of."""
    return F.normalize(thoughts, dim=-1) @ F.normalize(centroids, dim=-1).T / tau


def align(
    thoughts: Float[Tensor, "n D"], centroids: Float[Tensor, "C D"], targets: Int[Tensor, " n"], tau: float
) -> Float[Tensor, ""]:
    """S2GR eq. 18: -log softmax_k(cos(t, c_k) / tau) at the true code's cluster, the mean over the n targets."""
    return F.cross_entropy(cluster_logits(thoughts, centroids, tau), targets)


def info_nce(
    interest: Float[Tensor, "n D"],
    items: Float[Tensor, "n D"],
    barred: Bool[Tensor, "n n"],
    tau: float,
) -> Float[Tensor, ""]:
    """S2GR eq. 20: each interest vector against the batch's target items, the mean over the n targets.

    barred: True where column j is no negative of row i: the same item again, or the same user's other targets.
    """
    similarity = F.normalize(interest, dim=-1) @ F.normalize(items, dim=-1).T / tau
    return F.cross_entropy(similarity.masked_fill(barred, -torch.inf), torch.arange(len(items), device=items.device))


def holistic(first_thoughts: Float[Tensor, "n D"], interest: Float[Tensor, "n D"]) -> Float[Tensor, ""]:
    """S2GR eq. 21: 1 - cos(t_1, sg(v_g)), the mean over the n targets."""
    return 1 - F.cosine_similarity(first_thoughts, interest.detach(), dim=-1).mean()
