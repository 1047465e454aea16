"""The SID-tier token (GLASS, arXiv 2602.05663): a long history beside all codes of the first level, in one vector."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn

from sidestep.data.interactions import Ints
from sidestep.layers.dropout import Dropout

MOST_COSINES = 2**22
"""Cosines that the edges of the bins are read off; of more, those of evenly spread items."""
PADDING = 255
TIED = 16
"""Width of the network that all codes share."""
APART = 2**12
"""Two counts share one number of single precision, which is exact up to `APART` squared."""
TABLE_BYTES = 2**28
"""The largest table of such numbers. A larger catalogue's items are compared with every bin, which takes many times as
long.
"""


class Tier(nn.Module):
    """What a long history looks like beside every code of the first level, in one token. Counted are

        S_a = {cos(p_a, h_v) : v in H},  n_a[i] = how many of S_a are in bin i

    with p_a the mean vector of the items of code a, and H the history. The bins' edges are quantiles of all cosines.
    Vectors are centred first. A code without items has the mean of all, whose cosines are 0.

    Without vectors it is the control that asks whether similarities add anything: `n_a` is then how many of H have code
    a, a single number.
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
        quantiles: Sequence[float],
    ) -> None:
        """codes: the first code of every item, `[N]`. vectors: of the first n of them, None for the control. quantiles:
        the share of all cosines below each edge of the bins.
        """
        super().__init__()
        self.num_codes, self.num_bins = num_codes, 1 if vectors is None else num_bins
        self.counts = vectors is None
        if vectors is None:
            self.register_buffer("buckets", torch.from_numpy(codes), persistent=False)
            return
        self.register_buffer("bins", torch.from_numpy(_binned(codes, num_codes, vectors, quantiles)), persistent=False)
        small = 4 * len(codes) * num_codes * math.ceil(num_bins / 2) <= TABLE_BYTES
        pairs = _pairs(self.bins, num_bins) if small else torch.empty(0, 0)
        self.register_buffer("pairs", pairs, persistent=False)

    def counted(self, long: Int[Tensor, "B Tl"]) -> Float[Tensor, "B K bins"]:
        """How many of a history's items are in every bin of every code."""
        real = long >= 0
        items = long.clamp(min=0)
        if self.counts:
            counts = torch.zeros(len(long), self.num_codes, device=long.device)
            return counts.scatter_add(1, self.buckets[items], real.float())[:, :, None]
        return self._summed(items, real) if len(self.pairs) else self._compared(items, real)

    def _summed(self, items: Int[Tensor, "B Tl"], real: Bool[Tensor, "B Tl"]) -> Float[Tensor, "B K bins"]:
        """By the table."""
        assert items.shape[1] < APART
        sums = nn.functional.embedding_bag(items, self.pairs, per_sample_weights=real.float(), mode="sum")
        sums = sums.view(len(items), self.num_codes, -1)
        second = (sums / APART).floor()
        counted = torch.stack([sums - APART * second, second], dim=3).flatten(2)
        return counted[:, :, : self.num_bins]

    def _compared(self, items: Int[Tensor, "B Tl"], real: Bool[Tensor, "B Tl"]) -> Float[Tensor, "B K bins"]:
        """By the bins themselves."""
        placed = self.bins[items].masked_fill(~real[:, :, None], PADDING)
        return torch.stack([(placed == number).sum(dim=1) for number in range(self.num_bins)], dim=2).float()


class WholeTier(Tier):
    """The paper's token, of bins that are alike in size:

        e_tier = MLP([t_1 ... t_K; log(1 + |H|)]),  t_a = n_a / |H|

    It is zero when training begins.
    """

    def __init__(
        self,
        codes: Ints,
        num_codes: int,
        vectors: Float[Tensor, "n V"] | None,
        num_bins: int,
        width: int,
        dropout: float,
    ) -> None:
        super().__init__(codes, num_codes, vectors, num_bins, [number / num_bins for number in range(1, num_bins)])
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
        return self.counted(long) / (long >= 0).sum(dim=1)[:, None, None].clamp(min=1)


class TiedTier(Tier):
    """A token that learns faster, with one small network for all codes:

        e_tier = sum_a s_a E_a,  s_a = MLP([log(1 + n_a); log(1 + |H|)])

    so that what a count means need not be learnt for each code apart. Bins shrink by one factor towards the most
    similar, and the last is as large as the items of one code are on average: they are told from those that are merely
    near. Nothing is dropped on the way, as the encoder drops of its input anyway. The token is not zero at the start,
    where the norms behind it would multiply its gradient by about a thousand each.
    """

    def __init__(
        self,
        codes: Ints,
        num_codes: int,
        vectors: Float[Tensor, "n V"] | None,
        num_bins: int,
        width: int,
    ) -> None:
        factor = num_codes ** (-1 / (num_bins - 1))
        super().__init__(codes, num_codes, vectors, num_bins, [1 - factor**number for number in range(1, num_bins)])
        self.hidden = nn.Linear(self.num_bins + 1, TIED)
        self.score = nn.Linear(TIED, 1)
        self.out = nn.Linear(num_codes, width)

    def forward(self, long: Int[Tensor, "B Tl"]) -> Float[Tensor, "B D"]:
        """The tokens of histories, `NO_ITEM` as padding."""
        size = (long >= 0).sum(dim=1)[:, None, None].expand(-1, self.num_codes, 1)
        x = torch.cat([self.counted(long), size], dim=2).log1p()
        token: Tensor = self.out(self.score(self.hidden(x).relu())[:, :, 0])
        return token.float()


def _pairs(bins: UInt8[Tensor, "N K"], num_bins: int) -> Float[Tensor, "N KW"]:
    """For every item, code and two bins 1 where the first is its own, and `APART` where the second is."""
    pairs = [(bins == first).float() + APART * (bins == first + 1).float() for first in range(0, num_bins, 2)]
    return torch.stack(pairs, dim=2).flatten(1)


def _binned(
    codes: Ints, num_codes: int, vectors: Float[Tensor, "n V"], quantiles: Sequence[float]
) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """The bin of every item's cosine with every code's mean vector, `[N, K]`. Items without a vector, which joined the
    catalogue later, have the commonest bins of their code's items.
    """
    known = codes[: len(vectors)]
    centred = vectors.float() - vectors.float().mean(dim=0)
    means = torch.zeros(num_codes, vectors.shape[1]).index_add(0, torch.from_numpy(known), centred)
    cosines = (nn.functional.normalize(centred, dim=1) @ nn.functional.normalize(means, dim=1).T).numpy()
    step = max(math.ceil(cosines.size / MOST_COSINES), 1)
    edges = np.quantile(cosines[::step], quantiles)
    bins = np.searchsorted(edges, cosines, side="right").astype(np.uint8)
    if len(codes) == len(bins):
        return bins
    num_bins = len(quantiles) + 1
    usual = np.empty((num_codes, num_codes), dtype=np.uint8)
    for code in range(num_codes):
        members = bins[known == code] if (known == code).any() else bins
        usual[code] = (members[:, :, None] == np.arange(num_bins)).sum(axis=0).argmax(axis=1)
    return np.concatenate([bins, usual[codes[len(bins) :]]])
