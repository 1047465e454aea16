"""The objectives that item vectors are aligned by; the last line of each is the total loss."""

from torch import Tensor, nn

from sidestep.data.sequences import SequenceBatch
from sidestep.losses.contrastive import info_nce
from sidestep.vectors.pair_batches import PairBatch


def align(model: nn.Module, batch: PairBatch, tau: float) -> dict[str, Tensor]:
    """QARM V2's L_con (arXiv 2602.08559): -log softmax_j(cos(m_i, m'_j) / tau) at j = i, the mean over the pairs.

    Without its next-token loss: a map has no text to predict.
    """
    return {"total": info_nce(model(batch.left), model(batch.right), batch.barred, tau)}


def align_and_tell(model: nn.Module, batch: PairBatch, tau: float, weight: float) -> dict[str, Tensor]:
    """QARM V2's `L_con + weight L_ntp` (arXiv 2602.08559): the contrast of `align`, and the cross-entropy of the tokens
    that are said about the items of both sides, the mean over these tokens.
    """
    (left, cost, count), (right, other, others) = model(batch.left), model(batch.right)
    contrast = info_nce(left, right, batch.barred, tau)
    words = (cost + other) / (count + others).clamp(min=1)
    return {"contrast": contrast, "words": words, "total": contrast + weight * words}


def two_towers(model: nn.Module, batch: SequenceBatch, tau: float) -> dict[str, Tensor]:
    """OneLive's towers (arXiv 2602.08612, sec. 3): -log softmax_j(cos(u_i, x_j) / tau) at j = i, the mean over the
    targets of a batch, each of which is a negative for all others but those of the same item.
    """
    users, items, numbers = model(batch)
    barred = (numbers[:, None] == numbers).fill_diagonal_(False)
    return {"total": info_nce(users, items, barred, tau)}
