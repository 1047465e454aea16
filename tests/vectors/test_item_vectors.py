"""Vectors that stay on the disk are the same vectors, and the same bytes."""

from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from command import contents
from sidestep import artifact
from sidestep.errors import ArtifactError, DataError
from sidestep.vectors.graph import normalise, propagate
from sidestep.vectors.item_vectors import ItemVectors


def some(items: int = 40, width: int = 7) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.random.default_rng(0).standard_normal((items, width), dtype=np.float32)


def test_vectors_that_are_filled_in_have_the_bytes_of_those_that_are_saved(tmp_path: Path) -> None:
    values, origin = some(), {"config": {"a": 1}, "parents": {"b": "c"}, "meta": {"d": 2}}
    ItemVectors(values).save(tmp_path / "saved", **origin)
    with ItemVectors.filling(tmp_path / "filled", values.shape, **origin) as out:
        assert not out.any()
        out[:20], out[20:] = values[:20], values[20:]
    assert contents(tmp_path / "filled") == contents(tmp_path / "saved")
    assert np.array_equal(ItemVectors.load(tmp_path / "filled").values, values)


def test_what_is_filled_in_badly_leaves_what_was_there(tmp_path: Path) -> None:
    ItemVectors(some()).save(tmp_path / "vectors")
    before = contents(tmp_path)
    with pytest.raises(DataError, match="row 3"), ItemVectors.filling(tmp_path / "vectors", (9, 2)) as out:
        out[3] = np.nan
    assert contents(tmp_path) == before


def test_what_is_written_to_loaded_vectors_never_reaches_their_file(tmp_path: Path) -> None:
    ItemVectors(some()).save(tmp_path / "vectors")
    before = contents(tmp_path)
    loaded = ItemVectors.load(tmp_path / "vectors")
    loaded.values[:] = 1
    assert loaded.values.all()
    assert contents(tmp_path) == before
    assert np.array_equal(ItemVectors.load(tmp_path / "vectors").values, some())


@pytest.mark.parametrize("kind", ["<f8", "<f4", "<f2", "<i8", "<i4", "<i2", "i1", "u1", "?"])
def test_mapped_tensors_are_those_that_are_read(tmp_path: Path, kind: str) -> None:
    tensors = {"a": (some() * 9).astype(kind), "of none": np.zeros((0, 3), kind), "b": np.arange(5).astype(kind)}
    artifact.write_tensors(tmp_path / "t", tensors)
    mapped, read = artifact.map_tensors(tmp_path / "t"), artifact.read_tensors(tmp_path / "t")
    assert mapped.keys() == read.keys()
    for name, value in read.items():
        assert mapped[name].dtype == value.dtype
        assert np.array_equal(mapped[name], value)


@pytest.mark.parametrize("content", [b"", b"\x05\0\0\0\0\0\0\0{", b"\xff" * 20, b"\x04\0\0\0\0\0\0\0null"])
def test_what_is_no_file_of_tensors_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(ArtifactError, match="Cannot read"):
        artifact.map_tensors(tmp_path / "t")


@pytest.mark.parametrize("block", [1, 3, 64])
def test_propagation_from_a_file_into_a_file_is_propagation(tmp_path: Path, block: int) -> None:
    values = some(60, 7)
    ItemVectors(values).save(tmp_path / "vectors")
    edges = sparse.random_array((60, 60), density=0.1, rng=0, dtype=np.float32)
    graph = normalise(sparse.csr_array(edges + edges.T))
    whole = propagate(graph, values, 0.3, 2, block=7)
    with ItemVectors.filling(tmp_path / "aligned", values.shape) as out:
        propagate(graph, ItemVectors.load(tmp_path / "vectors").values, 0.3, 2, block=block, out=out)
    np.testing.assert_allclose(ItemVectors.load(tmp_path / "aligned").values, whole, atol=1e-6)
