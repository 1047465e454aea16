"""`make bench-graph`: who stands near whom, and vectors sent along it, beside the usual ways to do both.

Pairs: a self-join of the log on the user, in polars. Propagation: `torch_geometric`'s APPNP, which is eq. 5 exactly, on
our normalised graph, as an `edge_index` (how it is mostly used) and as a sparse tensor. It stops at the last hop, ours
also weighs the hops and brings rows to unit length; that the answers are equal is checked with what it gives at 1 and
2 hops.
"""

import argparse
import os
import warnings

os.environ.setdefault("POLARS_MAX_THREADS", "1")  # polars reads it when it is imported

import numpy as np
import polars as pl
import torch
from scipy import sparse
from torch import Tensor
from torch_geometric.nn import APPNP

from industrial import WIDTH, industrial, item_vectors
from machine import Work, report, rounded, table, take_turns
from shop import open_shop
from sidestep.data.sources.planted import PlantedWorld
from sidestep.data.splits import SplitConfig, TrainingInteractions, split
from sidestep.encoders.directions import Matrix, unit_rows
from sidestep.vectors.graph import Graph, GraphConfig, cooccurrence, normalise, propagate

CONFIG = GraphConfig()
MESSAGES = 4e9
"""Bytes of messages (one per weight and dimension) up to which APPNP is asked on an edge_index; it holds them twice."""


def self_join(log: TrainingInteractions, window: int) -> pl.DataFrame:
    """Columns low, high, users: in how many users two different items stand within the window."""
    place = np.arange(len(log)) - np.repeat(log.offsets[:-1], log.lengths)
    rows = pl.DataFrame({"user": log.users, "place": place, "item": log.items})
    apart = pl.col("place_right") - pl.col("place")
    low, high = (
        of("item", "item_right").alias(name) for of, name in ((pl.min_horizontal, "low"), (pl.max_horizontal, "high"))
    )
    return (
        rows.lazy()
        .join(rows.lazy(), on="user")
        .filter((apart > 0) & (apart <= window) & (pl.col("item") != pl.col("item_right")))
        .select("user", low, high)
        .unique()
        .group_by("low", "high")
        .agg(users=pl.len())
        .collect()
    )


def check_pairs(ours: Graph, theirs: pl.DataFrame) -> None:
    weights, (low, high) = theirs["users"].to_numpy().astype(np.float32), (theirs["low"], theirs["high"])
    upper = sparse.coo_array((weights, (low.to_numpy(), high.to_numpy())), shape=ours.shape).tocsr()
    assert abs(ours - (upper + upper.T)).nnz == 0, "the graphs differ"


class Geometric:
    """APPNP on one graph, in both of its forms."""

    def __init__(self, a_hat: Graph) -> None:
        pairs = a_hat.tocoo()
        self.edge_index = torch.from_numpy(np.stack([pairs.row, pairs.col]).astype(np.int64))
        self.weights = torch.from_numpy(pairs.data)
        rows, columns = torch.from_numpy(a_hat.indptr), torch.from_numpy(a_hat.indices)
        with warnings.catch_warnings(action="ignore"):  # PyTorch calls its sparse tensors unfinished
            self.matrix = torch.sparse_csr_tensor(rows, columns, torch.from_numpy(a_hat.data), a_hat.shape)
        self.layers = {hops: APPNP(hops, CONFIG.alpha, normalize=False) for hops in range(1, CONFIG.hops + 1)}

    def listed(self, x: Tensor) -> Tensor:
        return self.layers[CONFIG.hops](x, self.edge_index, self.weights)

    def sparse(self, x: Tensor, hops: int = CONFIG.hops) -> Tensor:
        return self.layers[hops](x, self.matrix)


def check_propagation(ours: Matrix, start: Tensor, peer: Geometric) -> float:
    """The largest difference between our vectors and the hops of APPNP, weighed as the paper weighs them."""
    betas = CONFIG.alpha * (1 - CONFIG.alpha) ** np.arange(CONFIG.hops + 1)
    total = betas[0] * start
    for hops in range(1, CONFIG.hops + 1):
        total += betas[hops] * peer.sparse(start, hops)
    difference = float(np.abs(ours - unit_rows(total.numpy())).max())
    assert difference < 1e-5, f"the vectors differ by {difference}"
    return difference


def compare(log: TrainingInteractions, x: Matrix, rounds: int) -> dict[str, dict[str, float]]:
    """CPU seconds of everybody, and how many times ours they take."""
    graph = cooccurrence(log, len(x), CONFIG)
    check_pairs(graph, self_join(log, CONFIG.window))
    a_hat = normalise(graph)
    peer, start = Geometric(a_hat), torch.from_numpy(unit_rows(x))
    difference = check_propagation(propagate(a_hat, x, CONFIG.alpha, CONFIG.hops), start, peer)
    print(f"{len(x):,} items, {len(log):,} interactions, {graph.nnz:,} weights; largest difference {difference:.1e}")
    pairs: dict[str, Work] = {
        "pairs, sidestep": [lambda: cooccurrence(log, len(x), CONFIG)],
        "pairs, polars self-join": [lambda: self_join(log, CONFIG.window)],
    }
    mixing: dict[str, Work] = {
        "propagation, sidestep": [lambda: propagate(a_hat, x, CONFIG.alpha, CONFIG.hops)],
        "propagation, APPNP on a sparse tensor": [lambda: peer.sparse(start)],
    }
    if graph.nnz * x.shape[1] * 4 < MESSAGES:
        mixing["propagation, APPNP on an edge_index"] = [lambda: peer.listed(start)]
    found, rows = {}, []
    for contestants in (pairs, mixing):
        times = take_turns(contestants, rounds)
        ours = times[next(iter(contestants))].best
        for name, timing in times.items():
            ratio = timing.best / ours
            found[name] = {"cpu": rounded(timing.best), "over ours": rounded(ratio)}
            rows.append([name, f"{timing.best:.3f}", f"{timing.median:.3f}", f"{ratio:.2f}"])
    print(table(rows, ["", "CPU s", "median", "over ours"]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a run of seconds, to see that everything works")
    words = parser.parse_args()
    torch.set_num_threads(1)
    rounds, results = (1 if words.quick else 5), {}
    with torch.no_grad():
        shop = open_shop()
        x = np.random.default_rng(0).standard_normal((len(shop.popularity), WIDTH), dtype=np.float32)
        print(f"\n{shop.name}")
        results[shop.name.split(",")[0]] = compare(shop.split.train, x, rounds)
        shape = industrial(10_000 if words.quick else 100_000)
        print("\nThe industrial shape, in part")
        log = split(PlantedWorld(shape, seed=0).interactions, SplitConfig()).train
        results["industrial"] = compare(log, item_vectors(shape).values, rounds)
    protocol = {"threads": 1, "rounds": rounds, "width": WIDTH, "config": CONFIG.model_dump()}
    report("graph", protocol, {"results": results})


if __name__ == "__main__":
    main()
