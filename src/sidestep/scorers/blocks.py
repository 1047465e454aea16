"""The transformer blocks of SASRec, BERT4Rec and ReaRec: scaled attention, norms before or after each part.

Written as explicit products, as in `layers.attention`: PyTorch's own blocks have no fast CPU kernel with dropout.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sidestep.layers.dropout import Dropout
from sidestep.layers.state import KeysValues
from sidestep.scorers.sequential import BaselineConfig

BERT_INIT = 0.02
"""Standard deviation of the initial weights of BERT4Rec and ReaRec, as in BERT. SASRec's authors use Xavier."""
Order = Literal["pre-norm", "post-norm"]


class Block(nn.Module):
    """Attention (Vaswani et al. 2017) and a feed-forward, each with a residual and dropout."""

    def __init__(self, config: BaselineConfig, order: Order, activation: nn.Module) -> None:
        super().__init__()
        width = config.width
        self.num_heads, self.pre = config.num_heads, order == "pre-norm"
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, config.inner), nn.Linear(config.inner, width)
        self.activation, self.dropout = activation, Dropout(config.dropout)
        for linear in (self.project, self.out, self.widen, self.narrow):
            if self.pre:
                nn.init.xavier_uniform_(linear.weight)
            else:
                nn.init.normal_(linear.weight, std=BERT_INIT)
            nn.init.zeros_(linear.bias)

    def forward(
        self, x: Float[Tensor, "B Q D"], mask: Float[Tensor, "#B #Q S"], past: KeysValues | None = None
    ) -> tuple[Float[Tensor, "B Q D"], KeysValues]:
        """The block's output, and the keys and values `[B, H, S, d]` of the past and x.

        The mask is added to the products.
        """
        attended, kept = self._attend(self.attention_norm(x) if self.pre else x, mask, past)
        x = x + self.dropout(attended)
        x = x if self.pre else self.attention_norm(x)
        wide = self.activation(self.widen(self.feed_forward_norm(x) if self.pre else x))
        x = x + self.dropout(self.narrow(self.dropout(wide)))
        return x if self.pre else self.feed_forward_norm(x), kept

    def _attend(
        self, x: Float[Tensor, "B Q D"], mask: Float[Tensor, "#B #Q S"], past: KeysValues | None
    ) -> tuple[Float[Tensor, "B Q D"], KeysValues]:
        split = self.project(x).view(*x.shape[:2], 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        query, keys, values = split.unbind(0)
        if past is not None:
            keys, values = torch.cat([past[0], keys], 2), torch.cat([past[1], values], 2)
        scores = query @ keys.transpose(2, 3) * query.shape[-1] ** -0.5
        probs = self.dropout((scores + mask[:, None]).softmax(-1))
        return self.out((probs @ values).transpose(1, 2).flatten(2)), (keys, values)


class Stack(nn.Module):
    """`num_layers` blocks."""

    def __init__(self, config: BaselineConfig, order: Order, activation: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(config, order, activation) for _ in range(config.num_layers))

    def forward(
        self, x: Float[Tensor, "B Q D"], mask: Float[Tensor, "#B #Q S"], past: list[KeysValues] | None = None
    ) -> tuple[Float[Tensor, "B Q D"], list[KeysValues]]:
        """The last block's output, and every block's keys and values of the past and x."""
        kept = []
        for layer, block in enumerate(self.blocks):
            x, own = block(x, mask, past[layer] if past else None)
            kept.append(own)
        return x, kept
