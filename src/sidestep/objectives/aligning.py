"""The objective of item alignment; the last line is the paper's total loss."""

from torch import Tensor, nn

from sidestep.losses.contrastive import info_nce
from sidestep.vectors.pair_batches import PairBatch


def align(model: nn.Module, batch: PairBatch, tau: float) -> dict[str, Tensor]:
    """QARM V2's L_con (arXiv 2602.08559): -log softmax_j(cos(m_i, m'_j) / tau) at j = i, the mean over the pairs.

    Without its next-token loss: a map has no text to predict.
    """
    return {"total": info_nce(model(batch.left), model(batch.right), batch.barred, tau)}
