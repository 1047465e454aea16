"""Equations 3 to 5 of S2GR by hand, and what must never reach the graph."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from sidestep.data.interactions import NO_TIME, Interactions
from sidestep.data.splits import SplitConfig, TrainingInteractions, split
from sidestep.encoders.directions import unit_rows
from sidestep.errors import DataError
from sidestep.vectors import graph
from sidestep.vectors.graph import (
    GraphConfig,
    align,
    cooccurrence,
    normalise,
    propagate,
    spectral_vectors,
)
from sidestep.vectors.item_vectors import ItemVectors


def training(histories: list[list[int]], times: list[list[int]] | None = None) -> TrainingInteractions:
    offsets = np.concatenate([[0], np.cumsum([len(history) for history in histories])]).astype(np.int64)
    items = np.array([item for history in histories for item in history], dtype=np.int64)
    moments = None if times is None else np.array([time for row in times for time in row], dtype=np.int64)
    return TrainingInteractions([str(user) for user in range(len(histories))], offsets, items, moments, True)


def weights(histories: list[list[int]], num_items: int, window: int) -> np.ndarray:
    return cooccurrence(training(histories), num_items, GraphConfig(window=window)).toarray()


def counted_pair_by_pair(histories: list[list[int]], num_items: int, window: int) -> np.ndarray:
    counted = np.zeros((num_items, num_items))
    for history in histories:
        near = {
            (one, other)
            for place, one in enumerate(history)
            for other in history[max(0, place - window) : place + window + 1]
            if one != other
        }
        for one, other in near:
            counted[one, other] += 1
    return counted


def test_eq_3_counts_the_users_in_whom_two_items_meet_within_the_window() -> None:
    # Users 0 and 1 hold 0 beside 1; in user 0, items 0 and 2 are two positions apart; user 2 holds 3 alone.
    expected = [[0, 2, 0, 0], [2, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(weights([[0, 1, 2], [1, 0], [3]], 4, window=1), expected)
    assert weights([[0, 1, 2], [1, 0], [3]], 4, window=2)[0, 2] == 1


@pytest.mark.parametrize("skipped", [0, 1, 2, 9])
def test_the_stricter_rule_is_the_graph_of_shorter_histories(skipped: int) -> None:
    histories = [[0, 1, 2, 3], [4, 1], [2], [3, 0, 4]]
    config = GraphConfig(window=2, skip_last=skipped)
    found = cooccurrence(training(histories), 5, config).toarray()
    shorter = [history[: max(len(history) - skipped, 0)] for history in histories]
    np.testing.assert_array_equal(found, weights([history for history in shorter if history], 5, window=2))


def test_a_user_counts_once_per_pair_however_often_the_items_meet() -> None:
    np.testing.assert_array_equal(weights([[0, 1, 0, 1, 1, 0]], 2, window=5), [[0, 1], [1, 0]])


def test_no_pair_reaches_from_one_user_to_the_next() -> None:
    assert weights([[0, 1], [2, 3]], 4, window=5)[1, 2] == 0


histories = st.lists(st.lists(st.integers(0, 6), max_size=9), max_size=8)


@settings(deadline=None)
@given(histories=histories, window=st.integers(1, 10))
def test_shifting_the_flat_log_equals_counting_pair_by_pair(histories: list[list[int]], window: int) -> None:
    np.testing.assert_array_equal(weights(histories, 7, window), counted_pair_by_pair(histories, 7, window))


@settings(deadline=None, max_examples=30)
@given(histories=histories, rows=st.integers(1, 12))
def test_chunks_are_whole_users_and_change_nothing(histories: list[list[int]], rows: int) -> None:
    users = training(histories).users
    chunks = list(graph._chunks(users, rows))
    assert [row for begin, end in chunks for row in range(begin, end)] == list(range(len(users)))
    owners = [set(users[begin:end].tolist()) for begin, end in chunks]
    assert sum(map(len, owners)) == len(set(users.tolist()))
    assert all(end - begin <= rows or len(owner) == 1 for (begin, end), owner in zip(chunks, owners, strict=True))


def test_many_chunks_give_the_graph_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    log = [rng.integers(0, 30, size).tolist() for size in rng.integers(1, 20, 50)]
    whole = weights(log, 30, 3)
    monkeypatch.setattr(graph, "PAIRS_PER_CHUNK", 20)
    np.testing.assert_array_equal(weights(log, 30, 3), whole)


def test_a_window_of_time_counts_what_lies_within_its_seconds() -> None:
    log = training([[0, 1, 2, 3]], [[0, 1_000, 2_000, 60_000]])
    near = cooccurrence(log, 4, GraphConfig(by="time", seconds=1)).toarray()
    assert {(int(i), int(j)) for i, j in np.argwhere(near)} == {(0, 1), (1, 0), (1, 2), (2, 1)}
    wider = cooccurrence(log, 4, GraphConfig(by="time", seconds=2)).toarray()
    assert wider[0, 2] == 1
    assert wider[2, 3] == 0


def test_a_window_of_time_passes_over_rows_without_a_time_and_does_not_mind_their_order() -> None:
    log = training([[0, 1, 2]], [[2_000, NO_TIME, 1_000]])
    near = cooccurrence(log, 3, GraphConfig(by="time", seconds=1)).toarray()
    np.testing.assert_array_equal(near, [[0, 0, 1], [0, 0, 0], [1, 0, 0]])


@pytest.mark.parametrize("times", [None, [[NO_TIME, NO_TIME]]])
def test_a_window_of_time_over_a_log_without_times_is_refused(times: list[list[int]] | None) -> None:
    with pytest.raises(DataError, match=r"graph\.by = 'positions'"):
        cooccurrence(training([[0, 1]], times), 2, GraphConfig(by="time"))


def test_the_graph_is_blind_to_held_out_interactions() -> None:
    rng = np.random.default_rng(1)
    lengths = rng.integers(3, 9, 40)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    items = rng.integers(0, 25, offsets[-1])
    log = Interactions([str(user) for user in range(40)], offsets, items)
    parts = split(log, SplitConfig())
    other = items.copy()
    for held_out in (parts.valid.rows, parts.test.rows):
        other[held_out] = rng.integers(0, 25, 40)
    assert (other != items).sum() > 40
    changed = split(Interactions(log.user_ids, offsets, other), SplitConfig())
    before, after = (cooccurrence(part.train, 25, GraphConfig()) for part in (parts, changed))
    np.testing.assert_array_equal(before.toarray(), after.toarray())
    assert before.nnz > 0


def test_eq_4_divides_by_the_root_of_both_degrees() -> None:
    edges = sparse.csr_array(np.array([[0, 2, 0], [2, 0, 1], [0, 1, 0]], dtype=np.float32))  # degrees 2, 3, 1
    one, other = 2 / np.sqrt(2 * 3), 1 / np.sqrt(3 * 1)
    np.testing.assert_allclose(normalise(edges).toarray(), [[0, one, 0], [one, 0, other], [0, other, 0]], rtol=1e-6)
    assert edges.data.max() == 2  # the input is left alone


def test_eq_5_by_hand_on_two_neighbours() -> None:
    # Two items, each other's only neighbour, alpha = 1/4: A_hat swaps the rows.
    a_hat = normalise(sparse.csr_array(np.array([[0, 3], [3, 0]], dtype=np.float32)))
    x = np.eye(2, dtype=np.float32)
    h1 = 0.75 * x[::-1] + 0.25 * x
    h2 = 0.75 * h1[::-1] + 0.25 * x
    beta = np.array([1, 0.75, 0.75**2]) / (1 + 0.75 + 0.75**2)
    expected = beta[0] * x + beta[1] * h1 + beta[2] * h2
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(propagate(a_hat, x, alpha=0.25, hops=2), expected, rtol=1e-6)


def test_propagation_in_blocks_equals_the_dense_equations() -> None:
    rng = np.random.default_rng(2)
    edges = cooccurrence(training([rng.integers(0, 20, 8).tolist() for _ in range(15)]), 22, GraphConfig(window=2))
    a_hat, x = normalise(edges), rng.standard_normal((22, 7)).astype(np.float32)
    dense, start = a_hat.toarray(), x / np.linalg.norm(x, axis=1, keepdims=True)
    hop, total = start, start.copy()
    for power in range(1, 4):
        hop = 0.6 * dense @ hop + 0.4 * start
        total += 0.6**power * hop
    expected = total / np.linalg.norm(total, axis=1, keepdims=True)
    for block in (1, 3, 64):
        np.testing.assert_allclose(propagate(a_hat, x, 0.4, 3, block), expected, atol=1e-6)


def test_propagation_by_torch_equals_scipy_hop_by_hop_and_may_be_done_in_place() -> None:
    rng = np.random.default_rng(7)
    log = training([rng.integers(0, 300, 12).tolist() for _ in range(200)])
    a_hat = normalise(cooccurrence(log, 310, GraphConfig()))
    x = rng.standard_normal((310, 70), dtype=np.float32)
    betas = 0.3 * 0.7 ** np.arange(4) / (0.3 * 0.7 ** np.arange(4)).sum()
    hop = start = unit_rows(x)
    total = betas[0] * start
    for beta in betas[1:]:
        hop = 0.7 * (a_hat @ hop) + 0.3 * start
        total = total + beta * hop
    made = propagate(a_hat, x, 0.3, 3)
    np.testing.assert_allclose(made, unit_rows(total.astype(np.float32)), atol=1e-6)
    own = x.copy()
    assert propagate(a_hat, own, 0.3, 3, out=own) is own
    np.testing.assert_array_equal(own, made)


def test_propagation_keeps_isolated_items_unchanged() -> None:
    x = np.random.default_rng(3).standard_normal((4, 5)).astype(np.float32)
    aligned = align(ItemVectors(x), cooccurrence(training([[0, 1], [2]]), 4, GraphConfig()), GraphConfig(hops=3))
    np.testing.assert_allclose(aligned.values[2:], unit_rows(x)[2:], atol=1e-6)
    assert np.abs(aligned.values[:2] - unit_rows(x)[:2]).max() > 0.01


@pytest.mark.parametrize(("alpha", "hops"), [(1.0, 3), (0.5, 0)])
def test_alpha_one_or_no_hops_leaves_the_directions_alone(alpha: float, hops: int) -> None:
    x = np.random.default_rng(4).standard_normal((3, 4)).astype(np.float32)
    a_hat = normalise(cooccurrence(training([[0, 1, 2]]), 3, GraphConfig()))
    np.testing.assert_allclose(propagate(a_hat, x, alpha, hops), unit_rows(x), atol=1e-6)


def test_zero_vectors_stay_zero_where_nobody_is_near_and_are_filled_by_neighbours() -> None:
    x = np.array([[1, 0], [0, 0], [0, 0]], dtype=np.float32)
    a_hat = normalise(cooccurrence(training([[0, 1], [2]]), 3, GraphConfig()))
    np.testing.assert_allclose(propagate(a_hat, x, 0.5, 1), [[1, 0], [1, 0], [0, 0]], atol=1e-6)


def test_an_empty_training_part_is_an_empty_graph() -> None:
    empty = cooccurrence(training([[], []]), 3, GraphConfig())
    assert empty.shape == (3, 3)
    assert empty.nnz == 0
    np.testing.assert_array_equal(normalise(empty).toarray(), np.eye(3))


def two_communities(size: int, isolated: int = 2) -> graph.Graph:
    """Items of two halves that never meet across, and some that nobody saw with another."""
    rng = np.random.default_rng(5)
    log = [(half * size + rng.integers(0, size, 6)).tolist() for half in (0, 1) for _ in range(6 * size)]
    return cooccurrence(training(log), 2 * size + isolated, GraphConfig())


@pytest.mark.parametrize("dense_up_to", [0, 1_000])
def test_spectral_vectors_point_alike_within_a_community_and_apart_across(
    dense_up_to: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph, "DENSE_UP_TO", dense_up_to)
    vectors = spectral_vectors(two_communities(30), width=4, seed=0).values
    within, across = vectors[:30] @ vectors[:30].T, vectors[:30] @ vectors[30:60].T
    assert within.mean() > 0.5
    assert abs(across.mean()) < 0.1


def test_spectral_vectors_repeat_under_a_seed_and_are_unit_rows_without_doubles() -> None:
    edges = two_communities(20)
    first, again = (spectral_vectors(edges, width=8, seed=3).values for _ in range(2))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, atol=1e-5)
    assert abs(float(first[-1] @ first[-2])) < 0.999  # two items nobody saw still differ


def test_sketched_eigenvectors_span_what_the_exact_ones_span(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    planted = np.linalg.qr(rng.standard_normal((80, 3)))[0]
    matrix = sparse.csr_array((planted * [3.0, 2.0, 1.0]) @ planted.T - 0.05 * np.eye(80))
    exact_values, exact = graph._leading(matrix, 3, rng)
    monkeypatch.setattr(graph, "DENSE_UP_TO", 0)
    values, vectors = graph._leading(matrix.astype(np.float32), 3, rng)
    np.testing.assert_allclose(values, exact_values, rtol=1e-3)
    np.testing.assert_allclose(vectors @ vectors.T, exact @ exact.T, atol=1e-2)


@pytest.mark.parametrize("num_items", [1, 3])
def test_spectral_vectors_of_tiny_catalogues_have_no_more_columns_than_items(num_items: int) -> None:
    vectors = spectral_vectors(cooccurrence(training([[0] * 2]), num_items, GraphConfig()), width=256, seed=0)
    assert vectors.values.shape == (num_items, num_items)


def test_beauty_has_33_items_without_a_neighbour(beauty: object) -> None:
    import polars as pl

    table = pl.read_csv(f"{beauty}/interactions.csv.gz").sort("user_id", "position")
    sizes = table.group_by("user_id", maintain_order=True).len()
    offsets = np.concatenate([[0], np.cumsum(sizes["len"].to_numpy())]).astype(np.int64)
    log = Interactions(sizes["user_id"].cast(pl.String).to_list(), offsets, table["item_id"].to_numpy() - 1)
    edges = cooccurrence(split(log, SplitConfig()).train, 12_101, GraphConfig())
    assert int((np.diff(edges.indptr) == 0).sum()) == 33
    assert abs(edges - edges.T).sum() == 0
