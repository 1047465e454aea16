"""K-means on any number of points: k-means++ seeds, Lloyd's iterations, distances in blocks; optionally balanced.

Processes that train together have the same points, and each works on its share of them.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, distributed

from sidestep.sids.together import gathered, share_of, summed, together

BLOCK_ENTRIES = 1 << 18  # entries of a block of the distance table; 1 MB stays in the cache


@dataclass(frozen=True)
class Clustering:
    """centroids: one row per cluster. Every centroid is the mean of its members where Lloyd's iterations converged.
    assignment: cluster of every point; no cluster is empty.
    inertia: sum of squared distances to the nearest centroid, times the points' weights, at the start of every
        iteration and at the end; it never increases.
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


def kmeans(
    points: Float[Tensor, "N d"],
    k: int,
    generator: torch.Generator,
    max_iterations: int = 100,
    weights: Float[Tensor, " N"] | None = None,
) -> Clustering:
    """Cluster points by Lloyd's iterations from k-means++ seeds (Arthur and Vassilvitskii, 2007).

    Stops when no point changes its cluster. A cluster that lost all its points takes the point farthest from its
    centroid. With fewer distinct points than `k`, there are as many clusters as distinct points. The same generator
    state gives the same result. Several processes that train together, all of which must call it with the same points,
    measure their shares of the points and add up: the result is that of one process but for the rounding of sums.

    weights: weight of each point, not all 0. A point of weight 0 is assigned to a cluster but does not move a centroid.
    """
    assert len(points) > 0
    assert k > 0
    centroids, own = _seeds(points, k, generator, weights), share_of(len(points))
    mine, mass = points[own], None if weights is None else weights[own]
    assignment, distances = nearest(mine, centroids)
    inertia = [float(summed(_inertia(distances, mass)))]
    for _ in range(max_iterations):
        filled = _fill_empty(assignment, distances, len(centroids), len(points))
        sums, sizes = _sums(mine, filled, len(centroids), mass)
        centroids = _means(summed(sums), summed(sizes), centroids)
        before = assignment
        assignment, distances = nearest(mine, centroids)
        inertia.append(float(summed(_inertia(distances, mass))))
        if not summed((before != assignment).sum()):
            break
    assignment = gathered(assignment, len(points))
    used = assignment.bincount(minlength=len(centroids)) > 0
    return Clustering(centroids[used], (used.cumsum(0) - 1)[assignment], inertia)


def balanced_kmeans(
    points: Float[Tensor, "N d"], k: int, generator: torch.Generator, slack: float = 1.0, max_iterations: int = 20
) -> Clustering:
    """K-means whose clusters have at most ceil(slack * N / k) points each: constrained k-means (Bradley, Bennett and
    Demiriz, 2000), which LETTER (arXiv 2405.07314) and OneRec (arXiv 2502.18965) use.

    It starts from the centroids of plain k-means and stops as soon as a step is no improvement. Bradley et al. solve
    each assignment as a minimum-cost flow; `capacity_assignment` is cheaper and scales to a million points. With fewer
    distinct points than `k` there are fewer clusters, which share all points. A point need not be in the cluster of its
    nearest centroid; `inertia` sums the distances to the assigned one.
    """
    assert slack >= 1
    centroids = kmeans(points, k, generator).centroids
    capacity = math.ceil(slack * len(points) / len(centroids))
    best: Clustering | None = None
    for _ in range(max_iterations):
        assignment = capacity_assignment(points, centroids, capacity)
        centroids = cluster_means(points, assignment, centroids)
        inertia = float(_inertia(_distances_to_own(points, centroids, assignment), None))
        if best is not None and inertia >= best.inertia[-1]:
            break
        best = Clustering(centroids, assignment, [*(best.inertia if best else []), inertia])
    assert best is not None
    return best


def capacity_assignment(
    points: Float[Tensor, "N d"], centroids: Float[Tensor, "k d"], capacity: int
) -> Int[Tensor, " N"]:
    """A near centroid for every point, at most `capacity` points for each.

    In rounds: every remaining point requests its nearest centroid with room; where a centroid has too many requests, it
    takes the points whose second choice is the most expensive. A round fills a centroid or is the last, so there are at
    most k rounds, with fewer and fewer points.
    """
    assert capacity * len(centroids) >= len(points)
    assignment = torch.empty(len(points), dtype=torch.int64, device=points.device)
    room = torch.full((len(centroids),), capacity, device=points.device)
    left = torch.arange(len(points), device=points.device)
    while len(left):
        open = room.nonzero().flatten()
        choices, losses = _choices(points, left, centroids[open])
        choices = open[choices]
        order = losses.argsort(descending=True, stable=True)
        order = order[choices[order].argsort(stable=True)]
        requests = choices.bincount(minlength=len(room))
        places = torch.arange(len(left), device=left.device) - (requests.cumsum(0) - requests)[choices[order]]
        taken = order[places < room[choices[order]]]
        assignment[left[taken]] = choices[taken]
        room -= choices[taken].bincount(minlength=len(room))
        left = left[torch.ones_like(left, dtype=torch.bool).index_fill_(0, taken, False)]
    return assignment


def _choices(
    points: Float[Tensor, "N d"], rows: Int[Tensor, " n"], centroids: Float[Tensor, "k d"]
) -> tuple[Int[Tensor, " n"], Float[Tensor, " n"]]:
    """The nearest centroid of some of the points, and the extra distance of the second nearest."""
    choices = torch.empty(len(rows), dtype=torch.int64, device=points.device)
    losses = torch.zeros(len(rows), dtype=points.dtype, device=points.device)
    for block in blocks(len(rows), max(len(centroids), points.shape[1])):
        table = squared_distances(points[rows[block]], centroids)
        near, choices[block] = table.min(dim=1)
        if len(centroids) > 1:
            losses[block] = table.scatter_(1, choices[block, None], torch.inf).amin(dim=1) - near
    return choices, losses


def _distances_to_own(
    points: Float[Tensor, "N d"], centroids: Float[Tensor, "k d"], assignment: Int[Tensor, " N"]
) -> Float[Tensor, " N"]:
    parts = blocks(*points.shape)
    return torch.cat([(points[block] - centroids[assignment[block]]).square().sum(1) for block in parts])


def _inertia(distances: Float[Tensor, " N"], weights: Float[Tensor, " N"] | None) -> Float[Tensor, ""]:
    return distances.double().sum() if weights is None else distances.double() @ weights.double()


def _seeds(
    points: Float[Tensor, "N d"], k: int, generator: torch.Generator, weights: Float[Tensor, " N"] | None
) -> Float[Tensor, "k2 d"]:
    """K-means++: every further seed is drawn in proportion to its squared distance from the seeds before it."""
    own = share_of(len(points))
    mine, mass_of_mine = points[own], None if weights is None else weights[own]
    if weights is None:
        first = int(torch.randint(len(points), (1,), generator=generator))
    else:
        first = _draw(weights[own].double(), generator, own.start)
    chosen = [first]
    distances = _from(mine, points[first])
    while len(chosen) < k:
        mass = distances if mass_of_mine is None else distances * mass_of_mine
        if not summed((mass > 0).any().long()):
            break
        chosen.append(_draw(mass, generator, own.start))
        distances = torch.minimum(distances, _from(mine, points[chosen[-1]]))
    return points[chosen].clone()


def _draw(mass: Float[Tensor, " n"], generator: torch.Generator, begin: int) -> int:
    """The number of a point, drawn in proportion to mass, from the running sum: torch.multinomial takes at most 2^24
    weights. mass: of this process's points, whose first is the point `begin`.
    """
    running = mass.cumsum(0)
    drawn = torch.rand(1, generator=generator, dtype=torch.float64).to(running.device)
    if not together():
        drawn *= running[-1]
        return int(torch.searchsorted(running, drawn, right=True).clamp(max=len(mass) - 1))
    masses = gathered(running[-1:].double() if len(mass) else drawn.new_zeros(1), distributed.get_world_size())
    behind = masses.cumsum(0)
    drawn *= behind[-1]
    owner = int(torch.searchsorted(behind, drawn, right=True).clamp(max=int(masses.nonzero().max())))
    number = torch.zeros(1, dtype=torch.int64, device=running.device)
    if owner == distributed.get_rank():
        place = torch.searchsorted(running, drawn - (behind[owner] - masses[owner]), right=True)
        number += begin + place.clamp(max=len(mass) - 1)
    return int(summed(number))


def _from(points: Float[Tensor, "N d"], other: Float[Tensor, " d"]) -> Float[Tensor, " N"]:
    """The squared distance of every point from another, exact for near points (no expansion of the square)."""
    distances = torch.empty(len(points), dtype=torch.float64, device=points.device)
    for block in blocks(*points.shape):
        distances[block] = (points[block] - other).square().sum(1)
    return distances


def _fill_empty(assignment: Int[Tensor, " n"], distances: Float[Tensor, " n"], k: int, count: int) -> Int[Tensor, " n"]:
    """Assign the farthest point to each empty cluster, but never the only point of another cluster.

    count: N, the points of all processes.
    """
    sizes = summed(assignment.bincount(minlength=k))
    empty = (sizes == 0).nonzero().flatten().tolist()
    if not empty:
        return assignment
    assignment, distances = gathered(assignment, count).clone(), gathered(distances, count)
    farthest = iter(distances.argsort(descending=True, stable=True).tolist())
    for cluster in empty:
        point = next((point for point in farthest if sizes[assignment[point]] > 1), None)
        if point is None:
            break
        sizes[assignment[point]] -= 1
        sizes[cluster] += 1
        assignment[point] = cluster
    return assignment[share_of(count)]


def cluster_means(
    points: Float[Tensor, "N d"],
    assignment: Int[Tensor, " N"],
    old: Float[Tensor, "k d"],
    weights: Float[Tensor, " N"] | None = None,
) -> Float[Tensor, "k d"]:
    """Weighted mean of every cluster's members, in double precision; a cluster of no weight keeps its old centroid."""
    return _means(*_sums(points, assignment, len(old), weights), old)


def _sums(
    points: Float[Tensor, "N d"], assignment: Int[Tensor, " N"], k: int, weights: Float[Tensor, " N"] | None
) -> tuple[Float[Tensor, "k d"], Shaped[Tensor, " k"]]:
    """Of every cluster, the weighted sum of its members, in double precision, and their number or weight."""
    counts = None if weights is None else weights.double()
    sizes = assignment.bincount(counts, minlength=k)
    sums = torch.zeros((k, points.shape[1]), dtype=torch.float64, device=points.device)
    for block in blocks(len(points), points.shape[1]):
        rows = points[block].double()
        sums.index_add_(0, assignment[block], rows if counts is None else rows * counts[block, None])
    return sums, sizes


def _means(sums: Float[Tensor, "k d"], sizes: Shaped[Tensor, " k"], old: Float[Tensor, "k d"]) -> Float[Tensor, "k d"]:
    means = (sums / sizes.where(sizes > 0, torch.ones_like(sizes))[:, None]).to(old.dtype)
    return torch.where(sizes[:, None] > 0, means, old)


def blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of the rows of a table, each of at most `BLOCK_ENTRIES` entries."""
    size = max(BLOCK_ENTRIES // columns, 1)
    for begin in range(0, rows, size):
        yield slice(begin, begin + size)
