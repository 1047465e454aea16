import numpy as np
import pytest
import torch
from scipy import sparse

from sidestep.sids.batches import VectorBatches, draw_partners
from sidestep.vectors.item_vectors import ItemVectors


def vectors(number: int) -> ItemVectors:
    return ItemVectors(np.random.default_rng(0).normal(size=(number, 6)).astype(np.float32))


def edges(weights: list[list[float]]) -> sparse.csr_array:
    return sparse.csr_array(np.array(weights, dtype=np.float32))


def test_an_epoch_is_a_function_of_seed_and_number_and_holds_every_vector_once() -> None:
    data, values = VectorBatches(vectors(103), 9, seed=3), torch.from_numpy(vectors(103).values)
    batches = data.batches(4)
    assert sorted(np.concatenate(batches)[:, 0].tolist()) == list(range(103))
    assert {len(batch) for batch in batches} <= {8, 9}
    assert all(np.array_equal(one, two) for one, two in zip(batches, data.batches(4), strict=True))
    assert not np.array_equal(np.concatenate(batches), np.concatenate(data.batches(5)))
    loaded = data.load(batches[0])
    assert torch.equal(loaded.vectors, values[batches[0][:, 0]])
    assert len(loaded.items) == len(loaded.partners) == 0


@pytest.mark.parametrize(
    ("items", "asked", "batches"), [(5000, 1024, 10), (20000, 1024, 20), (300, 1024, 10), (30, 1024, 2), (300, 10, 30)]
)
def test_a_small_catalogue_is_cut_into_enough_batches(items: int, asked: int, batches: int) -> None:
    assert len(VectorBatches(vectors(items), asked, seed=0).batches(0)) == batches


def test_a_batch_with_partners_holds_items_then_partners() -> None:
    values = vectors(4)
    data = VectorBatches(values, 2, seed=0, edges=edges([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 5], [0, 0, 5, 0]]))
    for index in data.batches(0):
        batch = data.load(index)
        assert batch.partners.tolist() == [[1, 0, 3, 2][item] for item in batch.items.tolist()]
        assert torch.equal(batch.vectors, torch.from_numpy(values.values)[torch.cat([batch.items, batch.partners])])


def test_partners_are_drawn_in_proportion_to_the_edges() -> None:
    graph, rng = edges([[0, 1, 3], [1, 0, 0], [3, 0, 0]]), np.random.default_rng(0)
    drawn = np.array([draw_partners(graph, rng) for _ in range(4000)])
    assert set(drawn[:, 0].tolist()) == {1, 2}
    assert (drawn[:, 0] == 2).mean() == pytest.approx(0.75, abs=0.03)
    assert (drawn[:, 1:] == 0).all()


@pytest.mark.parametrize(
    "weights",
    [[[0.0, 0, 0], [0, 0, 0], [0, 0, 0]], [[0.0, 0, 0], [0, 0, 2], [0, 2, 0]], [[0.0, 2, 0], [2, 0, 0], [0, 0, 0]]],
)
def test_an_item_without_a_neighbour_is_its_own_partner(weights: list[list[float]]) -> None:
    graph = edges(weights)
    for seed in range(20):
        drawn = draw_partners(graph, np.random.default_rng(seed))
        for item, partner in enumerate(drawn.tolist()):
            neighbours = np.flatnonzero(graph.toarray()[item])
            assert partner in (neighbours if len(neighbours) else [item])
