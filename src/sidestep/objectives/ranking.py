"""The objective of a ranker of shown items."""

import torch.nn.functional as F
from torch import Tensor, nn

from sidestep.data.impressions import ImpressionBatch


def taken(model: nn.Module, batch: ImpressionBatch) -> dict[str, Tensor]:
    """Binary cross-entropy of what was taken: the mean over the batch of -y log p - (1 - y) log(1 - p)."""
    return {"total": F.binary_cross_entropy_with_logits(model(batch.found, batch.targets), batch.labels.float())}
