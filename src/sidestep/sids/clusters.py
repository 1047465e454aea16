"""Coarse groups of the codewords of a level: what a thought is aligned with (S2GR, above eq. 18)."""

import numpy as np
import torch

from sidestep.sids.kmeans import kmeans
from sidestep.sids.semantic_ids import Floats, Ints


def cluster_codes(codebook: Floats, num_clusters: int, seed: int) -> Ints:
    """The cluster of every code of one level, `[K]`, by k-means on the frozen codewords `[K, d]`.

    There are at most as many clusters as distinct codewords. Clusters are numbered 0, 1, 2 ... in the order in which
    the codes first meet them, so that every number occurs and the naming does not hang on k-means.
    """
    generator = torch.Generator().manual_seed(seed)
    assignment = kmeans(torch.from_numpy(codebook), min(num_clusters, len(codebook)), generator).assignment.numpy()
    _, first, inverse = np.unique(assignment, return_index=True, return_inverse=True)
    renamed = np.empty(len(first), dtype=np.int64)
    renamed[np.argsort(first)] = np.arange(len(first))
    return renamed[inverse]
