"""SASRec (Kang & McAuley, ICDM 2018, arXiv 1808.09781): self-attention that looks back, one state per position."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sidestep.baselines.sequential import BaselineConfig, SequentialBaseline
from sidestep.data.interactions import Ints
from sidestep.data.sequences import SequenceBatch


class SASRec(SequentialBaseline):
    """Learnt positions, pre-norm blocks, and a norm at the end; inputs and outputs share the item embeddings."""

    def __init__(self, popularity: Ints, config: BaselineConfig) -> None:
        super().__init__(popularity, config)
        self.position = nn.Parameter(torch.randn(config.max_history, config.width) * 0.02)
        self.dropout = nn.Dropout(config.dropout)
        layer = nn.TransformerEncoderLayer(
            config.width, config.num_heads, config.inner, config.dropout, batch_first=True, norm_first=True
        )
        norm = nn.LayerNorm(config.width)
        self.blocks = nn.TransformerEncoder(layer, config.num_layers, norm, enable_nested_tensor=False)

    def hidden(self, batch: SequenceBatch) -> Float[Tensor, "B T D"]:
        """The state after every item. Padding stands on the right, so nobody who looks back sees it."""
        length = batch.history.shape[1]
        x = self.item_embedding(batch.history.clamp(min=0)) * self.config.width**0.5 + self.position[:length]
        barred = torch.ones(length, length, dtype=torch.bool, device=x.device).triu(1)
        out: Tensor = self.blocks(self.dropout(x), mask=barred, is_causal=True)
        return out

    def states(self, batch: SequenceBatch) -> Float[Tensor, "B P D"]:
        hidden = self.hidden(batch)
        return hidden.gather(1, (batch.visible - 1)[:, :, None].expand(-1, -1, hidden.shape[2]))

    def last_states(self, batch: SequenceBatch) -> Float[Tensor, "B D"]:
        last = (batch.lengths - 1).clamp(min=0)
        return self.hidden(batch)[torch.arange(len(batch), device=last.device), last]
