"""The SID-tier token (GLASS, arXiv 2602.05663): a long history beside all codes of the first level, in one vector."""

import math

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn

from sidestep.data.interactions import Ints
from sidestep.layers.dropout import Dropout

MOST_COSINES = 2**22
"""Cosines that the edges of the bins are read off; of more, those of evenly spread items."""
PADDING = 255
APART = 2**12
"""Two counts share one number of single precision, which is exact up to `APART` squared."""
TABLE_BYTES = 2**28
"""The largest table of such numbers. A larger catalogue's items are compared with every bin, which takes many times as
long.
"""


class Tier(nn.Module):
    """What a long history looks like beside every code of the first level, in one token:

        S_a = {cos(p_a, h_v) : v in H},  t_a[i] = share of S_a in bin i,  e_tier = MLP([t_1 ... t_K; log(1 + |H|)])

    with p_a the mean vector of the items of code a, and H the history. The bins' edges are quantiles of all cosines, so
    that all bins are alike in size. Vectors are centred first. A code without items has the mean of all, whose cosines
    are 0. The token is zero when training begins.

    Without vectors it is the control that asks whether similarities add anything: `t_a` is then the share of H whose
    code is a, a single number.
    """

    bins: UInt8[Tensor, "N K"]
    pairs: Float[Tensor, "N KW"]
    buckets: Int[Tensor, " N"]

    def __init__(
        self,
        codes: Ints,
        num_codes: int,
        vectors: Float[Tensor, "n V"] | None,
        num_bins: int,
        width: int,
        dropout: float,
    ) -> None:
        """codes: the first code of every item, `[N]`. vectors: of the first n of them, None for the control."""
        super().__init__()
        self.num_codes, self.num_bins = num_codes, 1 if vectors is None else num_bins
        self.counts = vectors is None
        if vectors is None:
            self.register_buffer("buckets", torch.from_numpy(codes), persistent=False)
        else:
            binned = _binned(codes, num_codes, vectors, num_bins)
            self.register_buffer("bins", torch.from_numpy(binned), persistent=False)
            small = 4 * len(codes) * num_codes * math.ceil(num_bins / 2) <= TABLE_BYTES
            self.register_buffer("pairs", _pairs(self.bins, num_bins) if small else torch.empty(0, 0), persistent=False)
        self.hidden = nn.Linear(num_codes * self.num_bins + 1, width)
        self.dropout = Dropout(dropout)
        self.out = nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, long: Int[Tensor, "B Tl"]) -> Float[Tensor, "B D"]:
        """The tokens of histories, `NO_ITEM` as padding."""
        size = (long >= 0).sum(dim=1, keepdim=True).log1p()
        x = torch.cat([self.shares(long).flatten(1), size], dim=1)
        token: Tensor = self.out(self.dropout(self.hidden(x).relu()))
        return token.float()

    def shares(self, long: Int[Tensor, "B Tl"]) -> Float[Tensor, "B K bins"]:
        """`t_a`: the share of a history's items in every bin of every code; 0 everywhere for an empty history."""
        real = long >= 0
        items, size = long.clamp(min=0), real.sum(dim=1)[:, None, None].clamp(min=1)
        if self.counts:
            counts = torch.zeros(len(long), self.num_codes, device=long.device)
            counts = counts.scatter_add(1, self.buckets[items], real.float())
            return counts[:, :, None] / size
        counted = self._summed(items, real) if len(self.pairs) else self._compared(items, real)
        return counted / size

    def _summed(self, items: Int[Tensor, "B Tl"], real: Bool[Tensor, "B Tl"]) -> Float[Tensor, "B K bins"]:
        """How many items are in every bin of every code."""
        assert items.shape[1] < APART
        sums = nn.functional.embedding_bag(items, self.pairs, per_sample_weights=real.float(), mode="sum")
        sums = sums.view(len(items), self.num_codes, -1)
        second = (sums / APART).floor()
        counted = torch.stack([sums - APART * second, second], dim=3).flatten(2)
        return counted[:, :, : self.num_bins]

    def _compared(self, items: Int[Tensor, "B Tl"], real: Bool[Tensor, "B Tl"]) -> Float[Tensor, "B K bins"]:
        """The same, without a table."""
        placed = self.bins[items].masked_fill(~real[:, :, None], PADDING)
        return torch.stack([(placed == number).sum(dim=1) for number in range(self.num_bins)], dim=2).float()


def _pairs(bins: UInt8[Tensor, "N K"], num_bins: int) -> Float[Tensor, "N KW"]:
    """For every item, code and two bins 1 where the first is its own, and `APART` where the second is."""
    pairs = [(bins == first).float() + APART * (bins == first + 1).float() for first in range(0, num_bins, 2)]
    return torch.stack(pairs, dim=2).flatten(1)


def _binned(
    codes: Ints, num_codes: int, vectors: Float[Tensor, "n V"], num_bins: int
) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """The bin of every item's cosine with every code's mean vector, `[N, K]`. Items without a vector, which joined the
    catalogue later, have the commonest bins of their code's items.
    """
    known = codes[: len(vectors)]
    centred = vectors.float() - vectors.float().mean(dim=0)
    means = torch.zeros(num_codes, vectors.shape[1]).index_add(0, torch.from_numpy(known), centred)
    cosines = (nn.functional.normalize(centred, dim=1) @ nn.functional.normalize(means, dim=1).T).numpy()
    step = max(math.ceil(cosines.size / MOST_COSINES), 1)
    edges = np.quantile(cosines[::step], np.arange(1, num_bins) / num_bins)
    bins = np.searchsorted(edges, cosines, side="right").astype(np.uint8)
    if len(codes) == len(bins):
        return bins
    usual = np.empty((num_codes, num_codes), dtype=np.uint8)
    for code in range(num_codes):
        members = bins[known == code] if (known == code).any() else bins
        usual[code] = (members[:, :, None] == np.arange(num_bins)).sum(axis=0).argmax(axis=1)
    return np.concatenate([bins, usual[codes[len(bins) :]]])
