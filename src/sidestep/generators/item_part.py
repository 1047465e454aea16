"""What a generator knows of an item of the history beyond its codes."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class ItemPart(nn.Module):
    """A free vector for every item, zero at first, so that an item that no training history holds keeps a zero vector,
    and a generator of a later version gives one to its further items.

    In training a whole item's vector is left out with probability `dropout`, at every place of a history by itself, and
    the others stay as they are: the encoder learns to read an item as it will read further items.
    """

    def __init__(self, num_items: int, width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.table = nn.Embedding(num_items, width, _weight=torch.zeros(num_items, width))  # draws no random numbers
        self.register_load_state_dict_pre_hook(_zero_for_further_items)  # type: ignore[no-untyped-call]

    def forward(self, items: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        """The vectors of items; those of padding are of no meaning."""
        vectors: Tensor = self.table(items.clamp(min=0))
        if not (self.training and self.dropout):
            return vectors
        kept = torch.rand(items.shape, device=items.device) >= self.dropout
        return vectors * kept[:, :, None]


def _zero_for_further_items(model: ItemPart, tensors: dict[str, Any], prefix: str, *_: Any) -> None:
    name = f"{prefix}table.weight"
    if name not in tensors:
        return  # which is refused
    saved: Tensor = tensors[name]
    further = max(model.table.num_embeddings - len(saved), 0)
    tensors[name] = torch.cat([saved, saved.new_zeros(further, saved.shape[1])])
