"""Use of the codes, and the number of items that share a semantic ID (S2GR, table 3)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sidestep.sids.semantic_ids import Ints, SemanticIds


@dataclass(frozen=True)
class LevelUsage:
    """used: codes that occur, of `size`. entropy: of the items' codes, in bits. perplexity: 2 ** entropy, at most
    `size`.
    """

    size: int
    used: int
    entropy: float
    perplexity: float

    @property
    def dead(self) -> int:
        """Codes that no item has."""
        return self.size - self.used


@dataclass(frozen=True)
class CodebookReport:
    """items, distinct: number of items, and of distinct semantic IDs.
    icr: distinct IDs / items. cur: distinct IDs / possible IDs (the product of the codebook sizes).
    sharing: items that share their ID with another. largest: number of items of the most shared ID.
    edges: items that a look-up of an item's own ID returns, the mean over the items: sum over the IDs of n_s^2 / items.
    exclusive: share of the IDs that have a single item. (Both are QARM V2's, arXiv 2602.08559.)
    levels: usage of every level.
    """

    items: int
    distinct: int
    icr: float
    cur: float
    sharing: int
    largest: int
    edges: float
    exclusive: float
    levels: list[LevelUsage]

    def summary(self) -> str:
        """A summary in three lines."""
        usage = [f"{level.used}/{level.size} (perplexity {level.perplexity:.0f})" for level in self.levels]
        return (
            f"ICR {self.icr:.2%}: {self.distinct:,} distinct IDs for {self.items:,} items; CUR {percent(self.cur)}\n"
            f"{self.sharing:,} items share their ID with another, at most {self.largest:,} items per ID\n"
            f"codes used, level by level: {', '.join(usage)}"
        )


def percent(share: float) -> str:
    """A share in per cent; a very small one as a plain number."""
    return f"{share:.4%}" if share >= 1e-5 else f"{share:.1e}"


def summary(sids: SemanticIds) -> str:
    """The summary that is printed after the training of a tokenizer."""
    return codebook_report(sids).summary()


def codebook_report(sids: SemanticIds) -> CodebookReport:
    return report_codes(sids.codes, sids.codebook_sizes)


def report_codes(codes: Ints, codebook_sizes: Sequence[int]) -> CodebookReport:
    """The report for any codes, `[N, L]`."""
    shared = np.unique(codes, axis=0, return_counts=True)[1]
    levels = [_usage(codes[:, level], size) for level, size in enumerate(codebook_sizes)]
    return CodebookReport(
        items=len(codes),
        distinct=len(shared),
        icr=len(shared) / len(codes),
        cur=len(shared) / math.prod(codebook_sizes),
        sharing=int(shared[shared > 1].sum()),
        largest=int(shared.max()),
        edges=float(np.square(shared).sum() / len(codes)),
        exclusive=float((shared == 1).mean()),
        levels=levels,
    )


def _usage(codes: Ints, size: int) -> LevelUsage:
    counts = np.bincount(codes, minlength=size)
    shares = counts[counts > 0] / len(codes)
    entropy = max(0.0, float(-(shares * np.log2(shares)).sum()))
    return LevelUsage(size, len(shares), entropy, 2**entropy)
