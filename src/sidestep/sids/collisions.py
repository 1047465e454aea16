"""Policies for items that share a semantic ID (a collision).

keep      nothing: ranking expands a shared ID to its items, by popularity.
extra     a further level distinguishes the items of one ID: 0, 1, 2 ... (TIGER, arXiv 2305.05065, sec. 3.1).
nearest   all items of an ID but one move to the free path nearest to their latent.
random    codes of the last levels are not learnt, but drawn from those unused under the same prefix (GR2, arXiv
          2602.07774, sec. 3.1).

Every policy takes the codes that are `published` already. They count as taken, and none of them ever moves; what is
given back are the codes of the items handed in. A path is one code for each level.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sidestep.data.interactions import by_popularity
from sidestep.errors import DataError
from sidestep.sids.free_paths import free_paths
from sidestep.sids.prefixes import places, prefixes
from sidestep.sids.residual import ResidualQuantiser
from sidestep.sids.semantic_ids import Ints, SemanticIds

Collisions = Literal["keep", "extra", "nearest"]

ITEMS_AT_ONCE = 1 << 14


@dataclass(frozen=True)
class Assigned:
    """The tokenizer's assignment of N items, before collisions are resolved.

    codes: `[N, L]`, by plain distance. latents: `[N, d]`, the inputs of the quantiser.
    popularity: `[N]`, occurrences of each item in the training part: the most popular item of an ID keeps it. Ties, and
        all items where popularity is None, go to the lowest item number.
    """

    codes: Ints
    latents: Float[Tensor, "N d"]
    quantiser: ResidualQuantiser
    popularity: Ints | None = None


@dataclass(frozen=True)
class Resolved:
    """The codes after a collision policy.

    codes: `[N, L']`, L' >= L. sizes: number of codes at each level.
    moved: items whose first L codes differ from the assigned ones. shared: items that still share their ID.
    before, after: mean squared distance of a latent from the sum of its codewords, before and after; nan for policies
        that move no item.
    """

    codes: Ints
    sizes: tuple[int, ...]
    moved: int
    shared: int
    before: float = math.nan
    after: float = math.nan

    def note(self) -> str:
        """A one-line summary for the log; empty when no item moved and none is shared."""
        parts = []
        if self.moved:
            parts.append(
                f"{self.moved:,} of {len(self.codes):,} items moved to a free path: "
                f"distortion {self.before:.4g} -> {self.after:.4g}"
            )
        if self.shared:
            parts.append(f"{self.shared:,} of {len(self.codes):,} items share their ID with another")
        return "; ".join(parts)


def resolve_collisions(
    assigned: Assigned,
    kind: Collisions,
    random_sizes: Sequence[int] = (),
    seed: int = 0,
    published: SemanticIds | None = None,
) -> Resolved:
    """Draw the random levels, then apply the collision policy.

    random_sizes: number of codes at each of the random levels, which follow the assigned levels. Must be empty with
        kind "nearest", whose levels are all learnt.
    published: existing IDs of the same policy. They do not change, and their paths count as taken.

    Raises:
        DataError: more items than paths, for kind "nearest".
    """
    assert not (random_sizes and kind == "nearest")
    taken = None if published is None else published.codes
    if kind == "nearest":
        return nearest_free(assigned, taken)
    codes, sizes = assigned.codes, tuple(len(level) for level in assigned.quantiser.levels)
    if random_sizes:
        codes = np.concatenate([codes, random_codes(codes, random_sizes, seed, taken)], axis=1)
        sizes = (*sizes, *random_sizes)
    if kind == "extra":
        size = published.codebook_sizes[-1] if published is not None else max(sizes[-1], _largest_group(codes))
        codes = np.column_stack([codes, extra_code(codes, size, assigned.popularity, taken)])
        sizes = (*sizes, size)
    return Resolved(codes, sizes, moved=0, shared=num_shared(codes, taken))


def extra_code(codes: Ints, size: int, popularity: Ints | None = None, published: Ints | None = None) -> Ints:
    """The further code of every item, `[N]`: 0 for the most popular item of an ID, then 1, 2 ... (TIGER sec. 3.1).

    codes: `[N, L]`. published: `[P, L + 1]`; the numbering continues after the published codes of the same ID.
    size: number of codes. Items of an ID beyond this number share the last code.
    """
    given = np.empty((0, codes.shape[1] + 1), dtype=np.int64) if published is None else published
    groups = _groups(codes, given[:, :-1])
    own, theirs = groups[: len(codes)], groups[len(codes) :]
    next_free = np.zeros(int(groups.max(initial=-1)) + 1, dtype=np.int64)
    np.maximum.at(next_free, theirs, given[:, -1] + 1)
    return np.minimum(next_free[own] + places(own, by_popularity(len(codes), popularity)), size - 1)


def random_codes(begun: Ints, sizes: Sequence[int], seed: int, published: Ints | None = None) -> Ints:
    """Codes `[N, M]` for the M levels after the prefixes `begun`, `[N, l]`, drawn uniformly from those unused under the
    same prefix (GR2). Where more items share a prefix than it has codes, the codes of the remaining items are drawn
    independently, with repetition.

    published: `[P, l + M]`; further levels are ignored.
    """
    rng = np.random.default_rng(seed)
    depth, num_items, space = begun.shape[1], len(begun), math.prod(sizes)
    assert space < 2**62
    if not num_items:
        return np.empty((0, len(sizes)), dtype=np.int64)
    given = np.empty((0, depth + len(sizes)), dtype=np.int64) if published is None else published
    groups = _groups(begun, given[:, :depth])
    taken = np.ravel_multi_index(tuple(given[:, depth : depth + len(sizes)].T), tuple(sizes))
    order = np.argsort(groups[:num_items], kind="stable")
    used_order = np.lexsort((taken, groups[num_items:]))
    used_groups, used = groups[num_items:][used_order], taken[used_order]
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    ends = np.append(starts[1:], num_items)
    drawn = rng.integers(0, space, num_items)  # final for an item that is alone under its prefix
    lows, highs = (np.searchsorted(used_groups, groups[order[starts]], side=side) for side in ("left", "right"))
    for begin, end, low, high in np.stack([starts, ends, lows, highs], axis=1).tolist():
        if end - begin > 1 or high > low:
            drawn[order[begin:end]] = _draw_unused(rng, end - begin, space, np.unique(used[low:high]))
    return np.stack(np.unravel_index(drawn, tuple(sizes)), axis=1).astype(np.int64)


def nearest_free(assigned: Assigned, published: Ints | None = None) -> Resolved:
    """Give every item its own path: of the items that share one, the published item or else the most popular one keeps
    it, and the others move to free paths, the nearest pair of an item and a free path first (`free_paths`).

    published: `[P, L]`.

    Raises:
        DataError: there are more items than paths.
    """
    codes, num_items = assigned.codes, len(assigned.codes)
    sizes = tuple(len(level) for level in assigned.quantiser.levels)
    given = np.empty((0, codes.shape[1]), dtype=np.int64) if published is None else published
    needed, paths = num_items + len(np.unique(given, axis=0)), math.prod(sizes)
    if needed > paths:
        raise DataError(
            f"{needed:,} items need a path of their own and the levels {' x '.join(map(str, sizes))} have only "
            f'{paths:,}; set tokenizer.collisions = "extra", or, unless as many codes as distinct vectors are in use, '
            "raise tokenizer.codebook_size or num_levels"
        )
    groups, order = _groups(codes, given), by_popularity(num_items, assigned.popularity)
    stays = (places(groups[:num_items], order) == 0) & ~np.isin(groups[:num_items], groups[num_items:])
    resolved, movers = codes.copy(), order[~stays[order]]
    resolved[movers] = free_paths(
        assigned.quantiser,
        assigned.latents[torch.from_numpy(movers)],
        groups[movers],
        np.concatenate([given, codes[stays]]),
    )
    shared = num_shared(resolved, given)
    before, after = (_distortion(assigned, paths) for paths in (codes, resolved))
    return Resolved(resolved, sizes, int((~stays).sum()), shared, before, after)


def with_further_levels(sids: SemanticIds, resolved: Resolved, seed: int) -> SemanticIds:
    """The IDs with the resolved codes. A level that was not learnt gets random unit rows as codewords, and a single
    cluster, since its codes have no meaning.
    """
    codebooks, clusters = list(sids.codebooks), list(sids.clusters)
    rng = np.random.default_rng(seed)
    for size in resolved.sizes[sids.num_levels :]:
        rows = rng.standard_normal((size, codebooks[0].shape[1])).astype(np.float32)
        codebooks.append(rows / np.linalg.norm(rows, axis=1, keepdims=True))
        clusters.append(np.zeros(size, dtype=np.int64))
    return SemanticIds(resolved.codes, resolved.sizes, codebooks, clusters)


def num_shared(codes: Ints, published: Ints | None = None) -> int:
    """Number of items that share their ID with another item, or with a published one."""
    groups = _groups(codes, np.empty((0, codes.shape[1]), dtype=np.int64) if published is None else published)
    return int((np.bincount(groups)[groups[: len(codes)]] > 1).sum())


def _groups(codes: Ints, published: Ints) -> Ints:
    """A number for every distinct row, `[N + P]`: equal rows have equal numbers."""
    return prefixes(np.concatenate([codes, published]))[-1]


def _largest_group(codes: Ints) -> int:
    return int(np.bincount(_groups(codes, codes[:0])).max(initial=0))


def _draw_unused(rng: np.random.Generator, count: int, space: int, used: Ints) -> Ints:
    """`count` numbers below `space`: distinct and unused ones first, then, if too few are free, any numbers.

    used: ascending.
    """
    free = space - len(used)
    drawn = rng.permutation(rng.choice(free, min(count, free), replace=False)) if free else used[:0]
    unused = drawn + np.searchsorted(used - np.arange(len(used)), drawn, side="right")  # the drawn-th free number
    return np.concatenate([unused, rng.integers(0, space, count - len(drawn))])


def _distortion(assigned: Assigned, codes: Ints) -> float:
    """Mean squared distance of a latent from the sum of its codewords."""
    total = 0.0
    for begin in range(0, len(codes), ITEMS_AT_ONCE):
        rows = slice(begin, begin + ITEMS_AT_ONCE)
        residuals = assigned.latents[rows]
        for level, chosen in zip(
            assigned.quantiser.levels, torch.from_numpy(codes[rows]).to(residuals.device).unbind(1), strict=True
        ):
            residuals = residuals - level.codewords.detach()[chosen]
        total += float(residuals.double().square().sum())
    return total / max(len(codes), 1)
