"""Coarse groups of the codewords of a level: what a thought is aligned with (S2GR, above eq. 18)."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from sidestep.sids.kmeans import balanced_kmeans, kmeans
from sidestep.sids.prefixes import prefixes
from sidestep.sids.semantic_ids import Floats, Ints, SemanticIds


def cluster_codes(codebook: Floats, num_clusters: int, seed: int, balanced: bool = True) -> Ints:
    """The cluster of every code of one level, `[K]`, by k-means on the frozen codewords `[K, d]`.

    balanced: all clusters hold the same number of codes. The uniformity loss makes all distances between codewords
        alike; plain k-means then puts half of the codewords into one cluster, whose name carries no information.

    There are at most as many clusters as distinct codewords. Clusters are numbered 0, 1, 2 ... in the order of their
    first code, so that every number occurs and the numbering does not depend on k-means.
    """
    generator = torch.Generator().manual_seed(seed)
    cluster = balanced_kmeans if balanced else kmeans
    assignment = cluster(torch.from_numpy(codebook), min(num_clusters, len(codebook)), generator).assignment.numpy()
    _, first, inverse = np.unique(assignment, return_index=True, return_inverse=True)
    renamed = np.empty(len(first), dtype=np.int64)
    renamed[np.argsort(first)] = np.arange(len(first))
    return renamed[inverse]


def adaptive_counts(codes: Ints, codebook_sizes: Sequence[int]) -> list[int]:
    """Number of clusters for each level: K_l = exp(H_l / 2), H_l the entropy of the level's codes given those before.

    With this number, the cluster and the code within the cluster carry half of the entropy each. H_l falls where codes
    are used unevenly and where few items share a prefix, so K follows both the entropy of the codebook and the density
    of the items. (S2GR uses one fixed K for all levels, and its sec. 5.5.1 reports that too many clusters do harm; this
    formula is our proposal.) At least 2 where a level has two codes.

    codes: `[N, L]`.
    """
    counts, known = [], 0.0
    for size, prefix in zip(codebook_sizes, prefixes(codes)[1:], strict=True):
        shares = np.bincount(prefix) / len(codes)
        entropy = float(-(shares * np.log(shares)).sum())
        counts.append(min(size, max(2, round(float(np.exp((entropy - known) / 2))))))
        known = entropy
    return counts


def shuffled(sids: SemanticIds, seed: int) -> SemanticIds:
    """The same IDs with each level's codes assigned at random to clusters of the same sizes."""
    rng = np.random.default_rng(seed)
    return replace(sids, clusters=[rng.permutation(cluster) for cluster in sids.clusters])
