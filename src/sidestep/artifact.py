"""Artifacts: a noun in a folder, as `manifest.json`, `tensors.safetensors` and parquet tables, written atomically.

The manifest has the kind, the format version, the settings that produced the artifact, its parents' digests and the
SHA-256 of every file, so that a mismatched, truncated or modified part is refused when it is read. Nothing is
unpickled. Writing is deterministic: the same content gives the same digest.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass as typed_dataclass
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from sidestep.durable import first_line, read_json, recover, replacing, sync, write_json
from sidestep.errors import ArtifactError
from sidestep.imports import at_use

if TYPE_CHECKING:
    import polars as pl
else:
    pl = at_use("polars")

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
TENSORS = "tensors.safetensors"

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class InParts:
    """A tensor to be written that is never whole in memory: its parts, one behind the other along the first dimension.
    They are taken when it is their turn; tensors in parts of one type are written in the order of their names.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    parts: Iterable[Array]


Tensors = Mapping[str, Array | InParts]


@typed_dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid"))
class Manifest:
    """Content and origin of a folder. `digest` covers everything else in the manifest."""

    kind: str
    version: int
    meta: dict[str, Any]
    config: dict[str, Any]
    parents: dict[str, str]
    files: dict[str, str]
    digest: str = ""

    def compute_digest(self) -> str:
        content = {name: value for name, value in asdict(self).items() if name != "digest"}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Artifact:
    """A verified folder. Tensors and tables are read on first use."""

    folder: Path
    manifest: Manifest
    tensors: dict[str, Array] = field(repr=False)

    def table(self, name: str) -> "pl.DataFrame":
        return read_table(self.folder / f"{name}.parquet")


class _Parts(dict[str, Array]):
    """Tensors by name; one that is missing is the file's fault."""

    def __init__(self, path: Path, tensors: Mapping[str, Array]) -> None:
        super().__init__(tensors)
        self._path = path

    def __missing__(self, name: str) -> Any:
        raise ArtifactError(f"{str(self._path)!r} has no tensor {name!r}; {AGAIN}")


def save(
    folder: Path,
    kind: str,
    *,
    tensors: Tensors | None = None,
    tables: "Mapping[str, pl.DataFrame] | None" = None,
    meta: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    parents: Mapping[str, str] | None = None,
) -> Manifest:
    """Write an artifact into `folder`. An older one is replaced only when the new one is complete."""
    with replacing(folder) as staging:
        if tensors:
            write_tensors(staging / TENSORS, tensors)
        for name, table in (tables or {}).items():
            write_table(staging / f"{name}.parquet", table)
        return seal(staging, kind, meta, config, parents)


def seal(
    folder: Path,
    kind: str,
    meta: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    parents: Mapping[str, str] | None = None,
) -> Manifest:
    """Write the manifest of a folder's files."""
    files = {path.name: file_hash(path) for path in sorted(folder.iterdir())}
    manifest = Manifest(kind, FORMAT_VERSION, dict(meta or {}), dict(config or {}), dict(parents or {}), files)
    manifest = Manifest(**{**asdict(manifest), "digest": manifest.compute_digest()})
    write_json(folder / MANIFEST, asdict(manifest))
    for name in files:  # the same permissions for all: safetensors writes files for the owner only
        (folder / name).chmod((folder / MANIFEST).stat().st_mode)
        sync(folder / name)
    return manifest


def load(folder: Path, kind: str, mapped: bool = False) -> Artifact:
    """Read an artifact and verify every byte of it.

    mapped: leave the tensors in their file, see `map_tensors`.

    Raises:
        ArtifactError: no artifact, another kind, a newer format, or bytes that differ from the manifest.
    """
    manifest = verify(folder)
    if manifest.kind != kind:
        raise ArtifactError(f"{str(folder)!r} holds {manifest.kind!r}, expected {kind!r}")
    read = map_tensors if mapped else read_tensors
    tensors = read(folder / TENSORS) if TENSORS in manifest.files else {}
    return Artifact(folder, manifest, _Parts(folder / TENSORS, tensors))


def read_tensors(path: Path) -> dict[str, Array]:
    """Raises:
    ArtifactError: no such tensors.
    """
    try:
        return load_file(path)
    except (SafetensorError, KeyError, TypeError) as error:  # the last two: a type that numpy has not
        raise ArtifactError(f"Cannot read {str(path)!r}: {first_line(error)}") from None


def map_tensors(path: Path) -> dict[str, Array]:
    """The tensors of a file, which stay on the disk: pages are read when they are touched, and the system may drop them
    again. What is written to them is this process's own and never reaches the file. Raises as `read_tensors`.
    """
    try:
        with safe_open(path, framework="np") as checked:  # the whole header, and the size of the file
            names = list(checked.keys())
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
        return {name: _mapped(path, 8 + size, header[name], "c") for name in names}
    except (SafetensorError, OSError, KeyError) as error:
        raise ArtifactError(f"Cannot read {str(path)!r}: {first_line(error)}") from None


def tensor_to_fill(path: Path, name: str, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A new file with one float32 tensor of zeros, as an array whose changes go to the file; for results that memory
    does not hold. The bytes are those of `write_tensors` with the same values.
    """
    size = 4 * math.prod(shape)
    part = {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}
    header = _header({name: part})
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + size)
    return _mapped(path, len(header), part, "r+")


def _header(parts: Mapping[str, Mapping[str, Any]]) -> bytes:
    """What begins a file with tensors at these places, as safetensors writes it."""
    text = json.dumps(parts, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


TYPES = {
    "I64": "<i8", "F64": "<f8", "F32": "<f4", "I32": "<i4", "F16": "<f2", "I16": "<i2", "I8": "i1", "U8": "u1",
    "BOOL": "?",
}  # fmt: skip
"""The types of safetensors that numpy has, too, in the order in which their tensors stand in a file."""


def _mapped(
    path: Path, start: int, part: Mapping[str, Any], mode: Literal["c", "r+"]
) -> np.ndarray[Any, np.dtype[Any]]:
    shape, (begin, end) = tuple(part["shape"]), part["data_offsets"]
    if begin == end:
        return np.empty(shape, TYPES[part["dtype"]])
    return np.asarray(np.memmap(path, TYPES[part["dtype"]], mode, start + begin, shape))


def read_table(path: Path) -> "pl.DataFrame":
    """Read Parquet. Raises as `read_tensors`."""
    try:
        return pl.read_parquet(path, glob=False)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise ArtifactError(f"Cannot read {str(path)!r}: {first_line(error)}") from None


AGAIN = "make it again by running its stage with --force"


def verify(folder: Path, way_out: str = AGAIN) -> Manifest:
    """The manifest, after every file has been compared with its hash. way_out: the remedy for the error message.

    Raises:
        ArtifactError: see `load`.
    """
    manifest = read_manifest(folder, way_out)
    for name, expected in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise ArtifactError(f"{str(path)!r} is missing; {way_out}")
        if file_hash(path) != expected:
            raise ArtifactError(
                f"{str(path)!r} was changed after it was written (its SHA-256 differs from the manifest's); "
                f"restore it, or {way_out}"
            )
    return manifest


def read_manifest(folder: Path, way_out: str = AGAIN) -> Manifest:
    """The manifest, compared with its own digest but not with the files."""
    path = folder / MANIFEST
    if not exists(folder, way_out):
        raise ArtifactError(f"No artifact in {str(folder)!r}: {MANIFEST} is missing; run its stage first")
    content = read_json(path, way_out)
    try:
        manifest = Manifest(**content)
    except (TypeError, ValidationError) as error:
        problem = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(content)[:40]}
        where = ".".join(map(str, problem["loc"])) or "the whole"
        raise ArtifactError(f"Cannot read {str(path)!r}: {where}: {problem['msg']}; {way_out}") from None
    if manifest.version > FORMAT_VERSION:
        raise ArtifactError(
            f"{str(folder)!r} has format {manifest.version}, this Sidestep reads up to {FORMAT_VERSION}; "
            "upgrade Sidestep"
        )
    if manifest.compute_digest() != manifest.digest:
        raise ArtifactError(f"{str(path)!r} was changed after it was written; {way_out}")
    return manifest


def exists(folder: Path, way_out: str = AGAIN) -> bool:
    """Whether an artifact is there; one that a crash has left beside its place is put back.

    Raises:
        ArtifactError: tensors or tables are there and no manifest, which is damage and not absence.
    """
    recover(folder)
    if (folder / MANIFEST).is_file():
        return True
    parts = sorted(path.name for path in folder.glob("*") if path.suffix in (".safetensors", ".parquet"))
    if parts:
        raise ArtifactError(f"{str(folder / MANIFEST)!r} is missing beside {parts[0]}; restore it, or {way_out}")
    return False


def write_tensors(path: Path, tensors: Tensors) -> None:
    """Raises:
    ArtifactError: the file cannot be written.
    """
    whole = {name: np.ascontiguousarray(value) for name, value in tensors.items() if not isinstance(value, InParts)}
    if len(whole) < len(tensors):
        _write_in_parts(path, {**tensors, **whole})
        return
    try:
        save_file(whole, path)
    except SafetensorError as error:
        raise ArtifactError(f"Cannot write {str(path)!r}: {first_line(error)}") from None


def _write_in_parts(path: Path, tensors: Tensors) -> None:
    """The bytes that safetensors would write, without a whole copy of what comes in parts."""
    kinds, places, end = {np.dtype(text): name for name, text in TYPES.items()}, dict[str, Any](), 0
    for name in sorted(tensors, key=lambda name: ([*kinds].index(tensors[name].dtype), name.encode())):
        begin, end = end, end + math.prod(tensors[name].shape) * tensors[name].dtype.itemsize
        kind = kinds[tensors[name].dtype]
        places[name] = {"dtype": kind, "shape": tensors[name].shape, "data_offsets": [begin, end]}
    header = _header(places)
    with path.open("wb") as file:
        file.write(header)
        for name, place in places.items():
            tensor = tensors[name]
            for part in tensor.parts if isinstance(tensor, InParts) else (tensor,):
                file.write(np.ascontiguousarray(part).data)
            assert file.tell() == len(header) + place["data_offsets"][1], f"the parts of {name!r} do not fill it"


def write_table(
    path: Path, table: "pl.DataFrame", write: "Callable[[pl.DataFrame, Path], object] | None" = None
) -> None:
    """Raises as `write_tensors`. write: how; as Parquet if it is left out."""
    try:
        table.write_parquet(path) if write is None else write(table, path)
    except pl.exceptions.PolarsError as error:
        raise ArtifactError(f"Cannot write {str(path)!r}: {first_line(error)}") from None


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
