"""The integers a generator reads and writes: every code of every level has its own token."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor


class Vocabulary:
    """Tokens 0..len-1, level after level. Only this class computes where a level begins.

    Args:
        codebook_sizes: number of codes at each level.
    """

    def __init__(self, codebook_sizes: Sequence[int]) -> None:
        assert codebook_sizes
        assert min(codebook_sizes) > 0
        self.codebook_sizes = tuple(codebook_sizes)
        self.firsts = tuple(sum(self.codebook_sizes[:level]) for level in range(len(self.codebook_sizes)))
        """The token of code 0 at each level."""

    def __len__(self) -> int:
        """Number of tokens."""
        return sum(self.codebook_sizes)

    @property
    def num_levels(self) -> int:
        return len(self.codebook_sizes)

    def level(self, level: int) -> slice:
        """The tokens of one level, to cut a table or a row of logits."""
        return slice(self.firsts[level], self.firsts[level] + self.codebook_sizes[level])

    def tokens(self, codes: Int[Tensor, "*B L"]) -> Int[Tensor, "*B L"]:
        """The tokens of codes whose last axis runs over the levels. Fewer than L levels are a prefix."""
        return codes + self._firsts(codes)

    def codes(self, tokens: Int[Tensor, "*B L"]) -> Int[Tensor, "*B L"]:
        """The codes of tokens; the inverse of `tokens`."""
        return tokens - self._firsts(tokens)

    def _firsts(self, like: Int[Tensor, "*B L"]) -> Int[Tensor, " L"]:
        assert like.shape[-1] <= self.num_levels
        return torch.tensor(self.firsts[: like.shape[-1]], dtype=like.dtype, device=like.device)
