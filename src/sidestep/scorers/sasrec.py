"""SASRec (Kang & McAuley, ICDM 2018, arXiv 1808.09781): causal self-attention, one state per position."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sidestep.data.interactions import Ints
from sidestep.data.sequences import SequenceBatch
from sidestep.layers.dropout import Dropout
from sidestep.layers.state import additive
from sidestep.scorers.blocks import Stack
from sidestep.scorers.sequential import BaselineConfig, CausalBaseline


class SASRec(CausalBaseline):
    """Learnt positions, pre-norm blocks, and a norm at the end; inputs and outputs share the item embeddings."""

    def __init__(self, popularity: Ints, config: BaselineConfig) -> None:
        super().__init__(popularity, config)
        self.position = nn.Parameter(torch.randn(config.max_history, config.width) * 0.02)
        self.dropout = Dropout(config.dropout)
        self.stack = Stack(config, "pre-norm", nn.ReLU())
        self.norm = nn.LayerNorm(config.width)

    def hidden(self, batch: SequenceBatch) -> Float[Tensor, "B T D"]:
        """Padding is on the right, so a causal mask excludes it."""
        length = batch.history.shape[1]
        x = self.read(batch.history.clamp(min=0)) * self.config.width**0.5 + self.position[:length]
        back = torch.ones(1, length, length, dtype=torch.bool, device=x.device).tril()
        x, _ = self.stack(self.dropout(x), additive(back))
        out: Tensor = self.norm(x)
        return out
