"""BERT4Rec (Sun et al., CIKM 2019, arXiv 1904.06690): prediction of masked items with bidirectional attention."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sidestep.data.interactions import Ints
from sidestep.data.sequences import NO_ITEM, SequenceBatch
from sidestep.layers.dropout import Dropout
from sidestep.layers.item_rows import RowShards
from sidestep.layers.state import additive
from sidestep.scorers.blocks import Stack
from sidestep.scorers.sequential import BaselineConfig, ItemPrediction, SequentialBaseline

LAST_ONLY = 1 / 11
"""Share of examples in which only the last item is masked, as in recommendation: the authors' code has one such example
for every ten of the cloze."""


class BERT4Rec(SequentialBaseline):
    """Post-norm blocks, and a layer with a bias for every item at the end (eq. 7). In training `mask_share` of a
    history's items are masked; in recommendation, a mask follows the history.
    """

    item_tables = ("item_embedding.weight", "bias")

    def __init__(self, popularity: Ints, config: BaselineConfig, shards: RowShards | None = None) -> None:
        super().__init__(popularity, config, shards)
        self.position = nn.Parameter(torch.randn(config.max_history + 1, config.width) * 0.02)
        self.mask = nn.Parameter(torch.randn(config.width) * 0.02)
        self.norm, self.dropout = nn.LayerNorm(config.width), Dropout(config.dropout)
        self.stack = Stack(config, "post-norm", nn.GELU())
        self.head = nn.Sequential(nn.Linear(config.width, config.width), nn.GELU(), nn.LayerNorm(config.width))
        self.bias = nn.Parameter(torch.zeros(len(self.shards)))

    def encode(self, items: Int[Tensor, "B S"], masked: Bool[Tensor, "B S"]) -> Float[Tensor, "B S E"]:
        """The prediction for every position, in the space of `embeddings`; items at masked positions are ignored."""
        x = torch.where(masked[..., None], self.mask, self.read(items.clamp(min=0))) + self.position[: items.shape[1]]
        seen = additive((items >= 0) | masked)
        x, _ = self.stack(self.dropout(self.norm(x)), seen[:, None])
        x = self.head(x)
        return torch.cat([x, torch.ones_like(x[..., :1])], -1)

    def after(self, batch: SequenceBatch, visible: Int[Tensor, "B P"]) -> Float[Tensor, "B P E"]:
        """The state at a mask after the first `visible` items: every target is its own sequence."""
        places = torch.arange(batch.history.shape[1] + 1, device=visible.device)
        items = nn.functional.pad(batch.history, (0, 1), value=NO_ITEM)[:, None].expand(-1, visible.shape[1], -1)
        items = items.masked_fill(places >= visible[..., None], NO_ITEM).flatten(0, 1)
        masked = places == visible.flatten()[:, None]
        return self.encode(items, masked)[masked].view(*visible.shape, -1)

    def embeddings(self) -> Float[Tensor, "n E"]:
        """The embeddings with the bias as a last column, for which every state has a 1."""
        return torch.cat([self.item_embedding.weight, self.bias[:, None]], 1)

    def forward(self, batch: SequenceBatch) -> ItemPrediction:
        """The cloze: histories with their last target appended, and the states at masked positions."""
        items = with_last_target(batch)
        masked = cloze(items, self.config.mask_share)
        return ItemPrediction(self.encode(items, masked)[masked], items[masked], self.table())


def with_last_target(batch: SequenceBatch) -> Int[Tensor, "B S"]:
    """Each history with its last target appended."""
    rows = torch.arange(len(batch), device=batch.history.device)
    items = nn.functional.pad(batch.history, (0, 1), value=NO_ITEM)
    items[rows, batch.lengths] = batch.targets[rows, (batch.targets >= 0).sum(1) - 1]
    return items


def cloze(items: Int[Tensor, "B S"], share: float) -> Bool[Tensor, "B S"]:
    """The mask: `share` of the items, or only the last item in a share `LAST_ONLY` of the rows and in rows without any
    other masked item.
    """
    last = torch.arange(items.shape[1], device=items.device) == (items >= 0).sum(1, keepdim=True) - 1
    drawn = (torch.rand(items.shape, device=items.device) < share) & (items >= 0)
    alone = (torch.rand(len(items), 1, device=items.device) < LAST_ONLY) | ~drawn.any(1, keepdim=True)
    return torch.where(alone, last, drawn)
