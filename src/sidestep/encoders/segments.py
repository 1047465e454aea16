"""QARM V2's three segments (arXiv 2602.08559): an item's text, places where its vector is read off, and questions and
answers about it.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Segments:
    """What a language model reads of n items.

    item: tokens of their texts, ending at the last column, so that what follows stands at the same place for all.
    said: tokens of questions and answers, beginning at the first column; no column where nothing is to be learnt of
    them. real, real_said: False at padding. seen: how much of the item `said` attends to, from 1 to 0.
    """

    item: Int[Tensor, "n T"]
    real: Bool[Tensor, "n T"]
    said: Int[Tensor, "n Q"]
    real_said: Bool[Tensor, "n Q"]
    seen: float = 0.0

    def __len__(self) -> int:
        return len(self.item)

    def to(self, device: torch.device) -> "Segments":
        item, real, said, real_said = (each.to(device) for each in (self.item, self.real, self.said, self.real_said))
        return Segments(item, real, said, real_said, self.seen)

    def part(self, begin: int, end: int) -> "Segments":
        """Some of the items."""
        rows = slice(begin, end)
        return Segments(self.item[rows], self.real[rows], self.said[rows], self.real_said[rows], self.seen)


def additive_mask(segments: Segments, num_emb: int, dtype: torch.dtype) -> Float[Tensor, "n 1 S S"]:
    """What each place attends to, as a number that is added to attention's logits; S = T + num_emb + Q.

    An item's tokens attend to those before them, EMB to the item and to EMB before it, and what is said to EMB and to
    what was said before, never to the item; with `seen` above 0, log(seen) is added there in place of minus infinity.
    Padding attends to itself alone.
    """
    count, width = segments.item.shape
    said = segments.said.shape[1]
    real = torch.cat([segments.real, segments.real.new_ones(count, num_emb), segments.real_said], 1)
    size = real.shape[1]
    place = torch.arange(size, device=real.device)
    allowed = (place[:, None] >= place) & real[:, None] & real[:, :, None]
    allowed = allowed | torch.eye(size, dtype=torch.bool, device=real.device)
    lowest = torch.finfo(dtype).min
    mask = torch.zeros(count, size, size, dtype=dtype, device=real.device).masked_fill(~allowed, lowest)
    if said:
        to_item = mask[:, size - said :, :width]
        to_item += math.log(segments.seen) if segments.seen else lowest
    return mask.clamp(min=lowest)[:, None]
