import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.sids import kmeans as room
from sidestep.sids.kmeans import Clustering, kmeans, nearest, squared_distances


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
    assert torch.equal(room._from(values, 3), plain)
    blocked = run(values, 12)
    assert torch.equal(blocked.centroids, whole.centroids)
    assert torch.equal(blocked.assignment, whole.assignment)


def test_one_point_and_one_cluster() -> None:
    found = run(torch.tensor([[2.0, 3.0]]), 5)
    assert found.centroids.tolist() == [[2.0, 3.0]]
    assert found.assignment.tolist() == [0]


def test_a_cluster_that_lost_its_points_takes_the_farthest() -> None:
    assignment, distances = torch.tensor([0, 0, 0, 1]), torch.tensor([0.0, 4.0, 1.0, 9.0])
    filled = room._fill_empty(assignment, distances, 3)
    assert filled.tolist() == [0, 2, 0, 1]  # point 3 is farther, but the only one of its cluster
