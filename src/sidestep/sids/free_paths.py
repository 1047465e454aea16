"""Free paths for items whose own path is taken: nearest first, by a beam search over a quantiser's levels."""

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sidestep.sids.kmeans import squared_distances
from sidestep.sids.residual import ResidualQuantiser
from sidestep.sids.semantic_ids import Floats, Ints

Keys = np.ndarray[Any, np.dtype[np.uint64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]

FIRST_BEAMS, MORE_BEAMS, PATHS_PER_BEAM = 8, 4, 32
"""Number of beams of the first search, growth factor of each further search, and paths returned per beam."""
CROWD = 512
"""From this number of items that leave the same ID on, they are moved as one group: their vectors are almost equal."""
CANDIDATES_AT_ONCE = 1 << 22


def free_paths(quantiser: ResidualQuantiser, latents: Float[Tensor, "n d"], groups: Ints, taken: Ints) -> Ints:
    """A path for every latent, `[n, L]`: all distinct, and none of the taken ones `[P, L]`.

    The nearest pair of a latent and a free path is matched first, then the nearest remaining pair, and so on. A beam
    search over the levels gives the candidate paths; it is widened for latents whose candidates are all taken. Large
    numbers of latents are matched in portions, in order. Groups of `CROWD` and more latents (for example, items without
    text, whose vectors are equal) get the free paths nearest to their mean, in the order of the latents.

    groups: `[n]`, the number of each latent's former ID. At least n paths must be free.
    """
    paths = np.empty((len(latents), len(quantiser.levels)), dtype=np.int64)
    busy = np.sort(_keys(taken))
    crowded = np.bincount(groups)[groups] > CROWD
    for group in np.unique(groups[crowded]):
        rows = np.flatnonzero(groups == group)
        paths[rows] = _around(quantiser, latents[torch.from_numpy(rows)].mean(0, keepdim=True), len(rows), busy)
        busy = np.sort(np.concatenate([busy, _keys(paths[rows])]))
    waiting, beams = np.flatnonzero(~crowded), FIRST_BEAMS
    while len(waiting):
        portion = max(CANDIDATES_AT_ONCE // (beams * max(len(level) for level in quantiser.levels)), 1)
        left = []
        for begin in range(0, len(waiting), portion):
            rows = waiting[begin : begin + portion]
            candidates, costs = _candidates(quantiser, latents[torch.from_numpy(rows)], beams)
            chosen = _closest_first(candidates, costs, busy)
            won = chosen >= 0
            paths[rows[won]] = candidates[won, chosen[won]]
            busy = np.sort(np.concatenate([busy, _keys(paths[rows[won]])]))
            left.append(rows[~won])
        waiting, beams = np.concatenate(left), beams * MORE_BEAMS
    return paths


def _around(quantiser: ResidualQuantiser, centre: Float[Tensor, "1 d"], count: int, busy: Keys) -> Ints:
    """The `count` free paths nearest to one latent, nearest first."""
    beams = FIRST_BEAMS
    while True:
        candidates = _candidates(quantiser, centre, beams)[0][0]
        free = candidates[_free(_keys(candidates), busy)]
        if len(free) >= count:
            return free[:count]
        beams *= MORE_BEAMS


def _free(keys: Keys, busy: Keys) -> Mask:
    """Whether each path is free. `busy` is ascending."""
    if not len(busy):
        return np.ones(keys.shape, dtype=bool)
    return busy[np.minimum(np.searchsorted(busy, keys), len(busy) - 1)] != keys


def _candidates(quantiser: ResidualQuantiser, latents: Float[Tensor, "n d"], beams: int) -> tuple[Ints, Floats]:
    """For every latent, paths `[n, C, L]`, nearest first, and their squared distances `[n, C]`: the best children of
    the `beams` best prefixes before the last level. With as many beams as there are prefixes, these are all paths.
    """
    residuals, paths = latents[:, None], latents.new_empty(len(latents), 1, 0, dtype=torch.int64)
    last = len(quantiser.levels) - 1
    prefixes = math.prod(len(level) for level in quantiser.levels[:last])
    for number, level in enumerate(quantiser.levels):
        codewords = level.codewords.detach()
        table = squared_distances(residuals, codewords).flatten(1)
        num_kept = beams if number < last else PATHS_PER_BEAM * beams if prefixes > beams else table.shape[1]
        costs, places = table.topk(min(num_kept, table.shape[1]), largest=False)
        parents, codes = places // len(codewords), places % len(codewords)
        kept = paths.gather(1, parents[:, :, None].expand(-1, -1, number))
        paths = torch.cat([kept, codes[:, :, None]], dim=2)
        if number < last:
            width_of = parents[:, :, None].expand(-1, -1, residuals.shape[2])
            residuals = residuals.gather(1, width_of) - codewords[codes]
    return paths.cpu().numpy(), costs.cpu().numpy()


def _closest_first(candidates: Ints, costs: Floats, busy: Keys) -> Ints:
    """The number of the candidate that each latent gets, `[n]`; -1 for none. The nearest pair is matched first.

    Implemented as deferred acceptance (Gale and Shapley, 1962), which has the same result in fewer rounds: every latent
    proposes to its candidates, nearest first, and a path keeps the nearest proposer. Ties go to the earlier latent.
    """
    keys = _keys(candidates)
    free = _free(keys, busy)
    names, numbers = np.unique(keys, return_inverse=True)
    numbers = numbers.reshape(keys.shape)
    holder = np.full(len(names), -1)
    held = np.full(len(names), np.inf, dtype=np.float32)
    ranked = np.argsort(~free, axis=1, kind="stable")  # every latent's free candidates, nearest first
    num_free, asking = free.sum(axis=1), np.zeros(len(keys), dtype=np.int64)
    chosen = np.full(len(keys), -1)
    active = np.flatnonzero(num_free > 0)
    while len(active):
        place = ranked[active, asking[active]]
        path, cost = numbers[active, place], costs[active, place]
        best = np.lexsort((active, cost, path))
        best = best[np.diff(path[best], prepend=-1) != 0]
        nearer = cost[best] < held[path[best]]
        nearer |= (cost[best] == held[path[best]]) & (active[best] < holder[path[best]])
        best = best[nearer]
        displaced = holder[path[best]]
        displaced = displaced[displaced >= 0]
        chosen[displaced] = -1
        holder[path[best]], held[path[best]] = active[best], cost[best]
        chosen[active[best]] = place[best]
        losers = np.concatenate([active[chosen[active] < 0], displaced])
        asking[losers] += 1
        active = losers[asking[losers] < num_free[losers]]
    return chosen


def _keys(paths: Ints) -> Keys:
    """A 64-bit hash of every path. Two different paths collide with probability 2^-64 for any number of levels; a free
    path would then count as taken, never the reverse.
    """
    factors = np.random.default_rng(0).integers(0, 2**64, paths.shape[-1], dtype=np.uint64) | np.uint64(1)
    return (paths.astype(np.uint64) * factors).sum(axis=-1, dtype=np.uint64)
