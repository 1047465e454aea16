import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from torch import multiprocessing

from sidestep.sids import kmeans as room
from sidestep.sids.kmeans import (
    Clustering,
    balanced_kmeans,
    capacity_assignment,
    kmeans,
    nearest,
    squared_distances,
)
from two_processes import clusterings, kmeans_of_two


def points(number: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(number, width, generator=torch.Generator().manual_seed(seed))


def run(values: torch.Tensor, k: int, seed: int = 0, **options: int) -> Clustering:
    return kmeans(values, k, torch.Generator().manual_seed(seed), **options)


def test_squared_distances_by_hand() -> None:
    left, right = torch.tensor([[0.0, 0.0], [3.0, 4.0]]), torch.tensor([[0.0, 0.0], [3.0, 0.0]])
    assert squared_distances(left, right).tolist() == [[0, 9], [25, 16]]


def test_blocked_search_equals_the_full_table(monkeypatch: pytest.MonkeyPatch) -> None:
    values, centroids = points(101, 5), points(7, 5, seed=1)
    whole = nearest(values, centroids)
    monkeypatch.setattr(room, "BLOCK_ENTRIES", 50)
    blocked = nearest(values, centroids)
    exact = torch.cdist(values, centroids).square()
    assert torch.equal(whole[0], exact.argmin(1))
    assert torch.equal(blocked[0], whole[0])
    torch.testing.assert_close(blocked[1], exact.min(1).values, rtol=1e-4, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.integers(1, 12), st.integers(0, 1000))
def test_the_objective_never_increases_and_no_cluster_is_empty(number: int, k: int, seed: int) -> None:
    found = run(points(number, 3, seed), k, seed)
    assert all(
        after <= before * (1 + 1e-5) + 1e-6 for before, after in zip(found.inertia, found.inertia[1:], strict=False)
    )
    assert sorted(found.assignment.unique().tolist()) == list(range(min(k, number)))


def test_every_point_has_the_nearest_centroid_and_every_centroid_is_the_mean_of_its_points() -> None:
    values = points(200, 4)
    found = run(values, 6)
    assert torch.equal(found.assignment, nearest(values, found.centroids)[0])
    for cluster in range(6):
        torch.testing.assert_close(found.centroids[cluster], values[found.assignment == cluster].mean(0))


def test_well_separated_groups_are_found() -> None:
    truth = torch.arange(5).repeat(20)
    values = points(5, 3, seed=3)[truth] * 100 + points(100, 3, seed=4)
    found = run(values, 5)
    assert len({(a, b) for a, b in zip(truth.tolist(), found.assignment.tolist(), strict=True)}) == 5


def test_same_seed_same_clusters_whatever_the_global_state() -> None:
    values = points(100, 3)
    torch.manual_seed(1)
    first = run(values, 8)
    torch.manual_seed(2)
    second = run(values, 8)
    assert torch.equal(first.centroids, second.centroids)


@pytest.mark.parametrize("k", [3, 4, 10])
def test_as_many_clusters_as_distinct_points_leave_no_error(k: int) -> None:
    distinct = torch.tensor([[0.0, 1.0], [5.0, 0.0], [-3.0, 2.0]])
    found = run(distinct.repeat(4, 1), k)
    assert len(found.centroids) == 3
    assert found.inertia[-1] == 0


def test_seeds_in_blocks_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    values = points(200, 5)
    plain = (values - values[3]).square().sum(1).double()
    whole = run(values, 12)
    monkeypatch.setattr(room, "BLOCK_ENTRIES", 64)
    assert torch.equal(room._from(values, values[3]), plain)
    blocked = run(values, 12)
    assert torch.equal(blocked.centroids, whole.centroids)
    assert torch.equal(blocked.assignment, whole.assignment)


def test_one_point_and_one_cluster() -> None:
    found = run(torch.tensor([[2.0, 3.0]]), 5)
    assert found.centroids.tolist() == [[2.0, 3.0]]
    assert found.assignment.tolist() == [0]


def test_a_cluster_that_lost_its_points_takes_the_farthest() -> None:
    assignment, distances = torch.tensor([0, 0, 0, 1]), torch.tensor([0.0, 4.0, 1.0, 9.0])
    filled = room._fill_empty(assignment, distances, 3, len(assignment))
    assert filled.tolist() == [0, 2, 0, 1]  # point 3 is farther, but the only one of its cluster


def balanced(values: torch.Tensor, k: int, slack: float = 1.0) -> Clustering:
    return balanced_kmeans(values, k, torch.Generator().manual_seed(0), slack)


def test_whole_weights_are_as_good_as_repeated_points() -> None:
    values, counts = points(40, 2), torch.arange(40) % 4
    found = run_weighted(values, 5, counts.float())
    own = found.assignment.repeat_interleave(counts)
    repeated = values.repeat_interleave(counts, dim=0)
    for cluster in own.unique():
        torch.testing.assert_close(found.centroids[cluster], repeated[own == cluster].mean(0))
    again = (repeated - found.centroids[own]).square().sum().item()
    assert found.inertia[-1] == pytest.approx(again, rel=1e-4)
    assert found.inertia == sorted(found.inertia, reverse=True)


def run_weighted(values: torch.Tensor, k: int, weights: torch.Tensor) -> Clustering:
    return kmeans(values, k, torch.Generator().manual_seed(0), weights=weights)


def test_a_point_without_weight_moves_nothing() -> None:
    values = torch.cat([points(30, 2), torch.tensor([[1e3, 1e3]])])
    found = run_weighted(values, 4, torch.cat([torch.ones(30), torch.zeros(1)]))
    assert found.centroids.abs().max() < 10
    assert found.inertia[-1] < 100


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.integers(1, 12), st.sampled_from([1.0, 1.3, 20.0]), st.integers(0, 1000))
def test_no_balanced_cluster_is_larger_than_allowed(number: int, k: int, slack: float, seed: int) -> None:
    found = balanced(points(number, 3, seed), k, slack)
    clusters = min(k, number)
    assert len(found.centroids) == clusters
    assert found.assignment.bincount(minlength=clusters).max() <= math.ceil(slack * number / clusters)
    assert found.inertia == sorted(found.inertia, reverse=True)


def test_balanced_clusters_are_even_where_plain_ones_are_not() -> None:
    values = torch.cat([points(90, 2), points(10, 2, seed=1) + 50])
    assert run(values, 2).assignment.bincount().tolist() in ([90, 10], [10, 90])
    assert balanced(values, 2).assignment.bincount().tolist() == [50, 50]


def test_balanced_centroids_are_the_means_of_their_points_and_inertia_is_theirs() -> None:
    values = points(100, 4)
    found = balanced(values, 7)
    for cluster in range(7):
        torch.testing.assert_close(found.centroids[cluster], values[found.assignment == cluster].mean(0))
    assert found.inertia[-1] == pytest.approx(
        (values - found.centroids[found.assignment]).square().sum().item(), rel=1e-5
    )


def test_with_room_enough_balance_changes_nothing() -> None:
    values = points(150, 3)
    plain = run(values, 6)
    assert torch.equal(balanced(values, 6, slack=6.0).assignment, plain.assignment)
    assert torch.equal(capacity_assignment(values, plain.centroids, 150), plain.assignment)


def test_equal_groups_far_apart_are_found_within_capacity() -> None:
    truth = torch.arange(5).repeat(20)
    values = points(5, 3, seed=3)[truth] * 100 + points(100, 3, seed=4)
    found = balanced(values, 5)
    assert len({(a, b) for a, b in zip(truth.tolist(), found.assignment.tolist(), strict=True)}) == 5


def test_whoever_loses_most_keeps_the_place() -> None:
    """Both want centroid 0, which has one place. Point 1 is nearer to it, but point 0 would have farther to go."""
    values, centroids = torch.tensor([[-2.0], [1.0]]), torch.tensor([[0.0], [3.0]])
    assert capacity_assignment(values, centroids, 1).tolist() == [0, 1]


def test_assignment_within_capacity_comes_near_the_best_there_is() -> None:
    values = points(300, 8)
    centroids = run(values, 10).centroids
    table = squared_distances(values, centroids).repeat_interleave(30, dim=1).numpy()
    rows, columns = linear_sum_assignment(table)
    best = float(table[rows, columns].sum())
    own = centroids[capacity_assignment(values, centroids, 30)]
    assert best * (1 - 1e-5) <= (values - own).square().sum().item() <= 1.2 * best


def test_identical_points_share_one_balanced_cluster() -> None:
    found = balanced(torch.ones(7, 2), 3)
    assert found.centroids.tolist() == [[1, 1]]
    assert found.assignment.tolist() == [0] * 7


def test_two_processes_measure_a_share_each_and_find_the_clusters_of_one(tmp_path: Path) -> None:
    drawn = np.random.default_rng(0).standard_normal((301, 5), dtype=np.float32)
    np.save(tmp_path / "points.npy", drawn + 4 * (np.arange(301) % 10)[:, None].astype(np.float32))
    multiprocessing.spawn(kmeans_of_two, args=(str(tmp_path),), nprocs=2)
    alone = clusterings(str(tmp_path))
    for rank in (0, 1):
        saved = np.load(tmp_path / f"{rank}.npz")
        assert saved["most"] == 150 + rank
        for name, value in alone.items():
            np.testing.assert_allclose(saved[name], value.numpy(), rtol=1e-5, atol=1e-5, err_msg=name)
    assert len(alone["few centroids"]) == 7
    assert len(alone["plain inertia"]) > 3
