"""K-means on any number of points: k-means++ seeding, Lloyd's iterations, distances in blocks."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

BLOCK_ENTRIES = 1 << 18  # entries of the largest distance table that is held at once; 1 MB stays in the cache


@dataclass(frozen=True)
class Clustering:
    """centroids: one row per cluster. Every centroid is the mean of its members where Lloyd's iterations converged.
    assignment: cluster of every point; no cluster is empty.
    inertia: sum of squared distances to the nearest centroid at the start of every iteration and at the end;
        it never increases.
    """

    centroids: Float[Tensor, "k d"]
    assignment: Int[Tensor, " N"]
    inertia: list[float]


def nearest(
    points: Float[Tensor, "N d"], centroids: Float[Tensor, "k d"]
) -> tuple[Int[Tensor, " N"], Float[Tensor, " N"]]:
    """The nearest centroid of every point (the lowest number among equals) and the squared distance to it."""
    numbers = torch.empty(len(points), dtype=torch.int64, device=points.device)
    distances = torch.empty(len(points), dtype=points.dtype, device=points.device)
    for block in blocks(len(points), len(centroids)):
        table = squared_distances(points[block], centroids)
        distances[block], numbers[block] = table.min(dim=1)
    return numbers, distances


def squared_distances(points: Float[Tensor, "*N d"], centroids: Float[Tensor, "k d"]) -> Float[Tensor, "*N k"]:
    """||p - c||^2 of every pair by one matrix product, which needs no `[N, k, d]` table; never negative."""
    cross = points @ centroids.T
    return (points.square().sum(-1, keepdim=True) - 2 * cross + centroids.square().sum(-1)).clamp(min=0)


def kmeans(points: Float[Tensor, "N d"], k: int, generator: torch.Generator, max_iterations: int = 100) -> Clustering:
    """Cluster points by Lloyd's iterations from k-means++ seeds (Arthur and Vassilvitskii, 2007).

    Stops when no point changes its cluster. A cluster that lost all its points takes the point farthest from its
    centroid. Fewer distinct points than `k` make as many clusters as there are distinct points. The same generator
    state gives the same answer.
    """
    assert len(points) > 0
    assert k > 0
    centroids = _seeds(points, k, generator)
    assignment, distances = nearest(points, centroids)
    inertia = [float(distances.double().sum())]
    for _ in range(max_iterations):
        centroids = cluster_means(points, _fill_empty(assignment, distances, len(centroids)), centroids)
        before = assignment
        assignment, distances = nearest(points, centroids)
        inertia.append(float(distances.double().sum()))
        if torch.equal(before, assignment):
            break
    used = assignment.bincount(minlength=len(centroids)) > 0
    return Clustering(centroids[used], (used.cumsum(0) - 1)[assignment], inertia)


def _seeds(points: Float[Tensor, "N d"], k: int, generator: torch.Generator) -> Float[Tensor, "k2 d"]:
    """K-means++: every further seed is drawn in proportion to its squared distance from the seeds before it."""
    first = int(torch.randint(len(points), (1,), generator=generator))
    chosen = [first]
    distances = _from(points, first)
    while len(chosen) < k and bool((distances > 0).any()):
        # Drawn by the running sum, because torch.multinomial takes at most 2^24 weights.
        mass = distances.cumsum(0)
        drawn = torch.rand(1, generator=generator, dtype=torch.float64).to(mass.device) * mass[-1]
        number = int(torch.searchsorted(mass, drawn, right=True).clamp(max=len(points) - 1))
        chosen.append(number)
        distances = torch.minimum(distances, _from(points, number))
    return points[chosen].clone()


def _from(points: Float[Tensor, "N d"], number: int) -> Float[Tensor, " N"]:
    """The squared distance of every point from one of them, without rounding away what is near it."""
    distances = torch.empty(len(points), dtype=torch.float64, device=points.device)
    for block in blocks(*points.shape):
        distances[block] = (points[block] - points[number]).square().sum(1)
    return distances


def _fill_empty(assignment: Int[Tensor, " N"], distances: Float[Tensor, " N"], k: int) -> Int[Tensor, " N"]:
    """Hand the farthest point to each empty cluster, never the last point of another cluster."""
    sizes = assignment.bincount(minlength=k)
    empty = (sizes == 0).nonzero().flatten().tolist()
    if not empty:
        return assignment
    assignment = assignment.clone()
    farthest = iter(distances.argsort(descending=True, stable=True).tolist())
    for cluster in empty:
        point = next((point for point in farthest if sizes[assignment[point]] > 1), None)
        if point is None:
            break
        sizes[assignment[point]] -= 1
        sizes[cluster] += 1
        assignment[point] = cluster
    return assignment


def cluster_means(
    points: Float[Tensor, "N d"], assignment: Int[Tensor, " N"], old: Float[Tensor, "k d"]
) -> Float[Tensor, "k d"]:
    """Mean of every cluster's members, in double precision; an empty cluster keeps its old centroid."""
    sizes = assignment.bincount(minlength=len(old))
    sums = torch.zeros(old.shape, dtype=torch.float64, device=old.device)
    for block in blocks(len(points), points.shape[1]):
        sums.index_add_(0, assignment[block], points[block].double())
    means = (sums / sizes.clamp(min=1)[:, None]).to(old.dtype)
    return torch.where(sizes[:, None] > 0, means, old)


def blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of the rows of a table, each of at most `BLOCK_ENTRIES` entries."""
    size = max(BLOCK_ENTRIES // columns, 1)
    for begin in range(0, rows, size):
        yield slice(begin, begin + size)
