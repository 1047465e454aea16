"""Laws of artifacts: round trip, refusal of altered bytes, nothing half-written."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sidestep import artifact, durable
from sidestep.errors import ArtifactError


def write(folder: Path, value: float = 1.0) -> artifact.Manifest:
    return artifact.save(
        folder,
        "thing",
        tensors={"x": np.array([[value, 2.0]], dtype=np.float32)},
        tables={"t": pl.DataFrame({"id": ["007", "ä,b"]})},
        meta={"note": "n"},
        config={"a": {"b": 1}},
        parents={"other": "digest"},
    )


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    manifest = write(tmp_path / "a")
    loaded = artifact.load(tmp_path / "a", "thing")
    assert loaded.manifest == manifest
    assert loaded.tensors["x"].tolist() == [[1.0, 2.0]]
    assert loaded.table("t")["id"].to_list() == ["007", "ä,b"]


def test_tensors_in_parts_have_the_bytes_of_whole_ones(tmp_path: Path) -> None:
    """Of every type, in whatever order they are given; empty and with a name that JSON may escape."""
    whole = {f"{name}/{place}": np.arange(6).reshape(3, 2).astype(kind) for place, (name, kind) in enumerate(TYPES)}
    whole |= {"none": np.empty((0, 2), np.float32), 'ä"b': np.ones(5, np.float32)}
    parts = {
        name: artifact.InParts(value.shape, value.dtype, iter([value[:2], value[2:]])) for name, value in whole.items()
    }
    artifact.write_tensors(tmp_path / "whole", whole)
    artifact.write_tensors(tmp_path / "parts", parts)
    assert (tmp_path / "parts").read_bytes() == (tmp_path / "whole").read_bytes()


TYPES = [*artifact.TYPES.items()]


def test_same_content_gives_the_same_digest_and_other_content_another(tmp_path: Path) -> None:
    first, again, other = write(tmp_path / "a"), write(tmp_path / "b"), write(tmp_path / "c", 9.0)
    assert first.digest == again.digest != other.digest


@pytest.mark.parametrize("name", ["tensors.safetensors", "t.parquet", "manifest.json"])
def test_altered_bytes_are_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path / "a")
    path = tmp_path / "a" / name
    content = bytearray(path.read_bytes())
    place = content.index(b"note") if name == "manifest.json" else len(content) // 2
    content[place] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ArtifactError, match=r"changed after it was written|Cannot read"):
        artifact.load(tmp_path / "a", "thing")


def test_missing_parts_and_other_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="run its stage first"):
        artifact.load(tmp_path / "nothing", "thing")
    write(tmp_path / "a")
    with pytest.raises(ArtifactError, match="holds 'thing', expected 'other'"):
        artifact.load(tmp_path / "a", "other")
    (tmp_path / "a" / "t.parquet").unlink()
    with pytest.raises(ArtifactError, match=r"t\.parquet' is missing"):
        artifact.load(tmp_path / "a", "thing")


def test_files_without_their_manifest_are_damage_and_an_empty_folder_is_absence(tmp_path: Path) -> None:
    write(tmp_path / "a")
    (tmp_path / "empty").mkdir()
    assert artifact.exists(tmp_path / "a")
    assert not artifact.exists(tmp_path / "empty")
    (tmp_path / "a" / "manifest.json").unlink()
    with pytest.raises(ArtifactError, match=r"manifest\.json' is missing beside t\.parquet"):
        artifact.exists(tmp_path / "a")


def test_an_interrupted_write_leaves_the_old_artifact_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "a")

    def interrupted() -> None:
        with durable.replacing(tmp_path / "a") as staging:
            (staging / "half").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert artifact.load(tmp_path / "a", "thing").tensors["x"][0, 0] == 1.0
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_whoever_may_read_the_manifest_may_read_the_rest(tmp_path: Path) -> None:
    write(tmp_path / "a")
    assert len({path.stat().st_mode for path in (tmp_path / "a").iterdir()}) == 1


def test_rewriting_replaces_the_whole_folder(tmp_path: Path) -> None:
    write(tmp_path / "a")
    artifact.save(tmp_path / "a", "thing", tensors={"y": np.zeros(1, dtype=np.float32)})
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["manifest.json", "tensors.safetensors"]
