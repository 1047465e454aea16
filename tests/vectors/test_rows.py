"""Graphs that are sorted on the disk are those that scipy makes in memory, and leave nothing behind."""

import resource
import signal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from sidestep.vectors import graph, rows, tape
from sidestep.vectors.graph import columns_per_block, normalise
from sidestep.vectors.rows import Edges, graph_of_edges
from sidestep.vectors.tape import Tape

ITEMS = 23


def edges(size: int, seed: int = 0) -> Edges:
    """Edges between items that may stand several times; the last two items have none, the first has many."""
    rng = np.random.default_rng(seed)
    low = rng.integers(0, ITEMS - 4, size).astype(np.int32)
    low[::3] = 0
    high = (low + rng.integers(1, 3, size)).astype(np.int32)
    return low, high, rng.integers(1, 9, size).astype(np.float32)


def in_memory(parts: list[Edges]) -> graph.Graph:
    low, high, count = (np.concatenate(column) for column in zip(*parts, strict=True))
    upper = sparse.coo_array((count, (low, high)), shape=(ITEMS, ITEMS)).tocsr()
    return sparse.csr_array(upper + upper.T)


def is_mapped(array: np.ndarray) -> bool:
    """Whether the array, or what it shows a part of, lies in a file."""
    while isinstance(array.base, np.ndarray) and not isinstance(array, np.memmap):
        array = array.base
    return isinstance(array, np.memmap)


def same(one: graph.Graph, other: graph.Graph) -> None:
    for name in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), name)
        assert getattr(one, name).dtype == getattr(other, name).dtype


@settings(deadline=None, max_examples=30)
@given(
    sizes=st.lists(st.integers(0, 30), min_size=1, max_size=4),
    at_once=st.integers(1, 70),
    ranges=st.integers(1, 9),
    on_disk=st.booleans(),
)
def test_edges_in_ranges_of_rows_are_the_graph_of_all_at_once(
    sizes: list[int], at_once: int, ranges: int, on_disk: bool
) -> None:
    parts = [edges(size, seed) for seed, size in enumerate(sizes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "AT_ONCE", at_once)
        patch.setattr(rows, "MOST_RANGES", ranges)
        if on_disk:
            patch.setattr(tape, "IN_MEMORY", 0)
        made = graph_of_edges(iter(parts), sum(sizes), ITEMS)
    same(made, in_memory(parts))
    assert is_mapped(made.data) == (on_disk and sum(sizes) > 0)


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_graph_is_normalised_block_by_block(on_disk: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = in_memory([edges(60)])
    degree = weights.sum(axis=1).astype(np.float64)
    isolated = degree == 0
    assert isolated.any()
    scale = sparse.diags_array((1 / np.sqrt(np.where(isolated, 1, degree))).astype(np.float32))
    expected = (scale @ weights @ scale + sparse.diags_array(isolated.astype(np.float32))).tocsr()
    whole = normalise(weights)
    np.testing.assert_allclose(whole.toarray(), expected.toarray(), rtol=1e-6)
    monkeypatch.setattr(graph, "WEIGHTS_PER_BLOCK", 5)
    monkeypatch.setattr(tape, "IN_MEMORY", 0 if on_disk else 1 << 28)
    same(normalise(weights), whole)


def test_a_tape_gives_back_what_was_written_and_its_file_has_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    values = np.arange(10)
    for most in (10, tape.IN_MEMORY):
        written = Tape(np.int32, most)
        assert not len(written.array())
        written.write(values[:4])
        assert written.read(1, 3).tolist() == [1, 2]
        written.write(values[4:])
        assert [part.tolist() for part in written.parts(6)] == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9]]
        array = written.array()
        del written
        assert array.dtype == np.int32
        array[0] += 0  # it may be written to
        np.testing.assert_array_equal(array, values)
        assert not list(tmp_path.iterdir())


def test_a_full_disk_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left of a tape in its buffer is not tried again where nobody can hear of it."""
    heard = []
    monkeypatch.setattr("sys.unraisablehook", heard.append)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    written = Tape(np.int32, tape.IN_MEMORY)
    written.write(np.arange(10))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            written.array()
        del written
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert not heard
    assert not list(tmp_path.iterdir())


def test_large_catalogues_are_propagated_in_fewer_columns() -> None:
    assert [columns_per_block(items) for items in (1, 1_000_000, 10_000_000, 10**9)] == [64, 64, 16, 8]
