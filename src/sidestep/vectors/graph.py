"""The co-occurrence graph of the items, and vectors propagated over it (S2GR, section 3.1.1, eqs 3-5).

A graph is built from `TrainingInteractions`, so it cannot contain held-out interactions, or read from a list of edges
that the user vouches for (`vectors/edges.py`).
"""

import warnings
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from pydantic import Field
from scipy import sparse

from sidestep.config import HomePath, Section
from sidestep.data.interactions import NO_TIME, Interactions, Ints
from sidestep.data.splits import TrainingInteractions
from sidestep.encoders.directions import Matrix, inverse_lengths, unit_rows
from sidestep.errors import DataError
from sidestep.vectors.item_vectors import ItemVectors
from sidestep.vectors.tape import Tape

if TYPE_CHECKING:
    Graph = sparse.csr_array[Any, tuple[int, int]]
else:  # scipy's arrays take no parameters before 1.16
    Graph = sparse.csr_array

PAIRS_PER_CHUNK = 4_000_000
WEIGHTS_PER_BLOCK = 1 << 24
COLUMNS_PER_BLOCK, BLOCK_BYTES = 64, 3 << 30
"""Columns that are propagated at once, fewer where their four blocks would take more bytes."""
DENSE_UP_TO = 1_000  # items; a dense eigenproblem this small is exact and quick
SPECTRAL_PASSES = 4  # the same recall of held-out items as exact eigenvectors on Beauty and KuaiRand


class GraphConfig(Section):
    """Settings of the co-occurrence graph and of the propagation over it.

    enabled: whether vectors are propagated over the graph at all.
    by: the unit of the window. window: positions to each side of an item. seconds: time to each side of it.
    skip_last: number of last interactions of each user's training part to leave out. 1 is the stricter rule: the graph
        then does not contain the last target that a generator is trained on.
    edges: a Parquet file, or a folder of them, counted by another engine, instead of the log: columns `src`,
        `dst` and `count` (see `vectors/edges.py`). The keys above then have no effect. Whoever counts leaves out
        held-out interactions.
    alpha: share of its own vector that an item keeps at every hop (eq. 5). hops: number of propagation steps.
    """

    enabled: bool = True
    by: Literal["positions", "time"] = "positions"
    window: int = Field(default=5, ge=1)
    seconds: float = Field(default=86_400.0, ge=0)
    skip_last: int = Field(default=0, ge=0)
    edges: HomePath | None = None
    alpha: float = Field(default=0.3, gt=0, le=1)
    hops: int = Field(default=2, ge=0)


def cooccurrence(interactions: TrainingInteractions, num_items: int, config: GraphConfig) -> Graph:
    """The graph: `w_ij` = the number of users in whose history i and j co-occur within the window (eq. 3).

    A user counts once per pair, even if the pair occurs several times. Symmetric, without self pairs, float32 `[N, N]`.
    Memory beyond the result: 8 bytes per pair of rows inside a window.

    Raises:
        DataError: a window of time over a log without times.
    """
    users, items, times = _rows(interactions, config)
    lows, highs = [np.empty(0, np.int32)], [np.empty(0, np.int32)]
    for begin, end in _chunks(users, PAIRS_PER_CHUNK // config.window if config.by == "positions" else 2**18):
        near = times[begin:end] if times is not None else None
        low, high = _pairs(users[begin:end], items[begin:end], near, config)
        lows.append(low)
        highs.append(high)
    row, column = np.concatenate(lows), np.concatenate(highs)
    shape = (num_items, num_items)
    upper = sparse.coo_array((np.ones(len(row), np.float32), (row, column)), shape=shape).tocsr()
    return sparse.csr_array(upper + upper.T)


def _rows(interactions: TrainingInteractions, config: GraphConfig) -> tuple[Ints, Ints, Ints | None]:
    """User, item and time of every row that is used. With a window of time, rows are sorted by time."""
    log: Interactions = interactions
    if config.skip_last:
        ends = np.searchsorted(log.users, log.users, side="right")
        log = log.take(np.arange(len(log)) < ends - config.skip_last)
    if config.by == "positions":
        return log.users, log.items, None
    if log.times is None or not (log.times != NO_TIME).any():
        raise DataError(
            "graph.by = 'time' needs times, and the training part of this log has none; use graph.by = 'positions'"
        )
    timed = log.take(log.times != NO_TIME)
    assert timed.times is not None
    order = np.lexsort((timed.times, timed.users))
    return timed.users, timed.items[order], timed.times[order]


def _chunks(users: Ints, rows: int) -> Iterator[tuple[int, int]]:
    """Ranges of whole users with about `rows` rows each; a longer user is a range of its own."""
    ends = np.append(np.flatnonzero(np.diff(users)) + 1, len(users)) if len(users) else np.empty(0, np.int64)
    begin = 0
    while begin < len(users):
        next_end = int(np.searchsorted(ends, begin + max(rows, 1), side="right"))
        first_end = int(np.searchsorted(ends, begin, side="right"))
        end = int(ends[max(next_end - 1, first_end)])
        yield begin, end
        begin = end


def _pairs(
    users: Ints, items: Ints, times: Ints | None, config: GraphConfig
) -> tuple[np.ndarray[Any, np.dtype[np.int32]], np.ndarray[Any, np.dtype[np.int32]]]:
    """The distinct (user, smaller item, larger item) of a range of whole users, returned without the user."""
    names, local = np.unique(items, return_inverse=True)
    owner = users - users[0]
    furthest = len(users) - 1 if times is not None else min(config.window, len(users) - 1)
    keys = [np.empty(0, np.int64)]
    for distance in range(1, furthest + 1):  # shifting the flat log pairs every row with a later one
        first, second = local[:-distance], local[distance:]
        together = owner[:-distance] == owner[distance:]
        if times is not None:
            together &= times[distance:] - times[:-distance] <= config.seconds * 1000
        if not together.any():
            break  # rows farther apart belong to other users or exceed the window
        together &= first != second
        low, high = np.minimum(first, second)[together], np.maximum(first, second)[together]
        keys.append((owner[:-distance][together] * len(names) + low) * len(names) + high)
    key = np.concatenate(keys)
    key.sort()  # np.unique hashes these, which takes eight times as long
    pair = key[np.diff(key, prepend=-1) != 0] % len(names) ** 2
    return names[pair // len(names)].astype(np.int32), names[pair % len(names)].astype(np.int32)


def normalise(weights: Graph) -> Graph:
    """`A_hat = D^-1/2 A D^-1/2` (eq. 4), where an item without neighbours gets a self loop of weight 1.

    Without the loop, eq. 5 would shrink an isolated item's vector at every hop instead of leaving it unchanged.
    Large results lie on the disk, as `Tape` has it; memory beyond them: 20 bytes an item, and `WEIGHTS_PER_BLOCK`.
    """
    bounds = [*np.unique(weights.indptr[:-1] // WEIGHTS_PER_BLOCK, return_index=True)[1].tolist(), weights.shape[0]]
    blocks = list(pairwise(bounds))
    degree = np.concatenate([np.asarray(weights[begin:end].sum(axis=1), np.float64).ravel() for begin, end in blocks])
    isolated = degree == 0
    scale = (1 / np.sqrt(np.where(isolated, 1, degree))).astype(np.float32)
    size = weights.nnz + int(isolated.sum())
    values, neighbours = Tape(np.float32, size), Tape(weights.indices.dtype, size)
    for begin, end in blocks:
        places = weights.indptr[begin : end + 1]
        columns = weights.indices[places[0] : places[-1]]
        block = weights.data[places[0] : places[-1]] * scale[columns]
        block *= np.repeat(scale[begin:end], np.diff(places))
        alone = np.flatnonzero(isolated[begin:end])
        values.write(np.insert(block, places[alone] - places[0], 1))
        neighbours.write(np.insert(columns, places[alone] - places[0], begin + alone))
    indptr = weights.indptr + np.concatenate([[0], np.cumsum(isolated)]).astype(weights.indptr.dtype)
    return sparse.csr_array((values.array(), neighbours.array(), indptr), shape=weights.shape)


def propagate(
    a_hat: Graph, x: Matrix, alpha: float, hops: int, block: int | None = None, out: Matrix | None = None
) -> Matrix:
    """Mix every item's vector with its neighbours' (eq. 5), then weigh the hops.

        H_0 = X,  H_k = (1 - alpha) A_hat H_{k-1} + alpha X,  k = 1..hops
        H_align = sum_k beta_k H_k,  beta_k = alpha (1 - alpha)^k / sum_i alpha (1 - alpha)^i,  k = 0..hops

    Rows are scaled to unit length before and after (our decision, specs/S2GR.md section 2.1); zero rows stay zero.
    Columns are independent, so `block` of them are computed at a time: beyond `x` and the result this takes memory for
    four `[N, block]`. The products run in PyTorch, with its number of threads.

    block: None takes `columns_per_block`.
    out: the array for the result, float32 `[N, D]`: a new array by default, or `x` itself to overwrite it.
    """
    betas = alpha * (1 - alpha) ** np.arange(hops + 1)
    betas /= betas.sum()
    inverse = inverse_lengths(x)
    edges = _torch_csr(a_hat)
    aligned = np.empty(x.shape, dtype=np.float32) if out is None else out
    width = block or columns_per_block(len(x))
    for begin in range(0, x.shape[1], width):
        columns = slice(begin, begin + width)
        start = torch.from_numpy(x[:, columns] * inverse)
        hop, total = start, start * float(betas[0])
        for beta in betas[1:]:
            hop = torch.addmm(start, edges, hop, beta=alpha, alpha=1 - alpha)
            total.add_(hop, alpha=float(beta))
        aligned[:, columns] = total.numpy()
    aligned *= inverse_lengths(aligned)
    return aligned


def columns_per_block(num_items: int) -> int:
    """Columns that `propagate` takes at once: `COLUMNS_PER_BLOCK`, or as many eights as stay within `BLOCK_BYTES`."""
    return min(COLUMNS_PER_BLOCK, max(BLOCK_BYTES // (16 * num_items) // 8 * 8, 8))


def _torch_csr(matrix: Graph) -> torch.Tensor:
    """The same arrays as a PyTorch tensor, whose product with a dense table takes two thirds of the time of scipy's."""
    rows, columns, values = (torch.from_numpy(part) for part in (matrix.indptr, matrix.indices, matrix.data))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta", category=UserWarning)
        return torch.sparse_csr_tensor(rows, columns, values, size=matrix.shape, check_invariants=False)


def align(vectors: ItemVectors, weights: Graph, config: GraphConfig, out: Matrix | None = None) -> ItemVectors:
    """The vectors propagated over the co-occurrence graph: eqs 4 and 5. `out`: see `propagate`."""
    return ItemVectors(propagate(normalise(weights), vectors.values, config.alpha, config.hops, out=out))


def spectral_vectors(weights: Graph, width: int, seed: int) -> ItemVectors:
    """Vectors from interactions alone: `[N, min(width, N)]`, unit rows, for items with neither texts nor vectors.

    The leading eigenvectors of `(D + tau I)^-1/2 A (D + tau I)^-1/2` with tau the mean degree, each times the root of
    its eigenvalue: regularised spectral clustering (Qin & Rohe, NeurIPS 2013), whose tau keeps small components
    from filling the leading eigenvectors; on Beauty and KuaiRand it ranks held-out items better than shifted PMI.

    An item without neighbours gets its own random direction: with one direction for all such items, they would all
    have the same semantic ID.
    """
    rng = np.random.default_rng(seed)
    degree = np.asarray(weights.sum(axis=1), dtype=np.float64).ravel()
    regularised = degree + (degree.mean() if degree.any() else 1)
    scale = sparse.diags_array((1 / np.sqrt(regularised)).astype(np.float32))
    values, vectors = _leading(sparse.csr_array(scale @ weights @ scale), width, rng)
    vectors *= np.sqrt(np.maximum(values, 0)).astype(np.float32)
    largest = np.abs(vectors).argmax(axis=0)
    vectors *= np.where(vectors[largest, np.arange(vectors.shape[1])] < 0, -1, 1).astype(np.float32)
    silent = (degree == 0) | ~vectors.any(axis=1)
    vectors[silent] = rng.standard_normal((int(silent.sum()), vectors.shape[1]), dtype=np.float32)
    return ItemVectors(unit_rows(vectors))


def _leading(matrix: Graph, width: int, rng: np.random.Generator) -> tuple[Matrix, Matrix]:
    """About the `width` algebraically largest eigenvalues and their eigenvectors, largest first, float32.

    Subspace iteration from a random sketch (Halko, Martinsson & Tropp, SIAM Review 2011, algorithm 4.4), then
    Rayleigh-Ritz: a fixed number of passes, whereas Lanczos may need any number of them on a million items.
    Largest by value, not by magnitude: the most negative eigenvalues would separate neighbours.
    """
    num_items = matrix.shape[0]
    sketch = width + width // 2
    if num_items <= max(DENSE_UP_TO, sketch):
        values, vectors = np.linalg.eigh(matrix.toarray())
    else:
        basis = rng.standard_normal((num_items, sketch), dtype=np.float32)
        for _ in range(SPECTRAL_PASSES):
            basis = np.linalg.qr(matrix @ basis)[0]
        values, inner = np.linalg.eigh(basis.T @ (matrix @ basis))
        vectors = basis @ inner
    order = np.argsort(-values, kind="stable")[:width]
    return values[order].astype(np.float32), np.ascontiguousarray(vectors[:, order], dtype=np.float32)
