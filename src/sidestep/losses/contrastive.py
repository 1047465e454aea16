"""Contrastive losses: one positive pair against all other pairs of a batch."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


def cosines(a: Float[Tensor, "*n D"], b: Float[Tensor, "m D"]) -> Float[Tensor, "*n m"]:
    """Every cosine between two sets of vectors, in full precision under autocast too: a small tau magnifies errors."""
    with torch.autocast(a.device.type, enabled=False):
        return F.normalize(a.float(), dim=-1) @ F.normalize(b.float(), dim=-1).T


def info_nce(
    interest: Float[Tensor, "n D"],
    items: Float[Tensor, "n D"],
    barred: Bool[Tensor, "n n"],
    tau: float,
) -> Float[Tensor, ""]:
    """S2GR eq. 20: each interest vector against the batch's target items, the mean over the n targets.

    barred: True where column j is not a negative of row i: the same item, or another target of the same user.
    """
    similarity = cosines(interest, items) / tau
    return F.cross_entropy(similarity.masked_fill(barred, -torch.inf), torch.arange(len(items), device=items.device))


def noise_contrast(
    noisy: Float[Tensor, "k n D"], clean: Float[Tensor, "k n D"], barred: Bool[Tensor, "n n"], tau: float
) -> Float[Tensor, ""]:
    """ReaRec (arXiv 2503.22675), PRL: -log softmax_j(noisy_i . clean_j / tau) at j = i, the mean over the n targets and
    the k steps.

    barred: True where column j is not a negative of row i.
    """
    similarity = (noisy @ clean.transpose(1, 2) / tau).masked_fill(barred, -torch.inf)
    own = torch.arange(noisy.shape[1], device=noisy.device).expand(len(noisy), -1)
    return F.cross_entropy(similarity.flatten(0, 1), own.flatten())


def graded_contrast(
    vectors: Float[Tensor, "n D"], positive: Bool[Tensor, "n n"], counted: Bool[Tensor, "n n"], tau: float
) -> Float[Tensor, ""]:
    """UniSID (arXiv 2602.10445), one level of L_sid: `-1/|P_i| sum_{p in P_i} log softmax_a(cos(z_i, z_a) / tau)` at
    a = p, the mean over the rows i that have a positive; 0 if there is none.

    positive: P_i, True where row a is of i's class, never i itself. counted: A_i, the rows of the softmax, with P_i.
    """
    similarity = (cosines(vectors, vectors) / tau).masked_fill(~counted, -torch.inf)
    number = positive.sum(1)
    taught = number > 0
    if not bool(taught.any()):
        return vectors.sum() * 0
    log_probs = similarity[taught].log_softmax(1).masked_fill(~positive[taught], 0)
    return -(log_probs.sum(1) / number[taught]).mean()
