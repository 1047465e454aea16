"""Artifacts: a noun in a folder, as `manifest.json`, `tensors.safetensors` and parquet tables, written atomically.

The manifest has the kind, the format version, the settings that produced the artifact, its parents' digests and the
SHA-256 of every file, so that a mismatched, truncated or modified part is refused when it is read. Nothing is
unpickled. Writing is deterministic: the same content gives the same digest.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from sidestep.errors import ArtifactError

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
TENSORS = "tensors.safetensors"

Tensors = Mapping[str, np.ndarray[Any, np.dtype[Any]]]


@dataclass(frozen=True)
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
    tensors: dict[str, np.ndarray[Any, np.dtype[Any]]] = field(repr=False)

    def table(self, name: str) -> pl.DataFrame:
        return pl.read_parquet(self.folder / f"{name}.parquet")


def save(
    folder: Path,
    kind: str,
    *,
    tensors: Tensors | None = None,
    tables: Mapping[str, pl.DataFrame] | None = None,
    meta: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    parents: Mapping[str, str] | None = None,
) -> Manifest:
    """Write an artifact into `folder`. An older one is replaced only when the new one is complete."""
    with replacing(folder) as staging:
        if tensors:
            contiguous = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
            save_file(contiguous, staging / TENSORS)
        for name, table in (tables or {}).items():
            table.write_parquet(staging / f"{name}.parquet")
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
    return manifest


def load(folder: Path, kind: str) -> Artifact:
    """Read an artifact and verify every byte of it.

    Raises:
        ArtifactError: no artifact, another kind, a newer format, or bytes that differ from the manifest.
    """
    manifest = verify(folder)
    if manifest.kind != kind:
        raise ArtifactError(f"{str(folder)!r} holds {manifest.kind!r}, expected {kind!r}")
    try:
        tensors = load_file(folder / TENSORS) if TENSORS in manifest.files else {}
    except SafetensorError as error:
        raise ArtifactError(f"Cannot read {str(folder / TENSORS)!r}: {error}") from None
    return Artifact(folder, manifest, tensors)


AGAIN = "make it again by running its stage with --force"


def verify(folder: Path, way_out: str = AGAIN) -> Manifest:
    """The manifest, after every file has been compared with its hash. way_out: the remedy for the error message.

    Raises:
        ArtifactError: see `load`.
    """
    manifest = read_manifest(folder)
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


def read_manifest(folder: Path) -> Manifest:
    """The manifest, compared with its own digest but not with the files."""
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        manifest = Manifest(**content)
    except (FileNotFoundError, NotADirectoryError):
        raise ArtifactError(f"No artifact in {str(folder)!r}: {MANIFEST} is missing; run its stage first") from None
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError) as error:
        raise ArtifactError(f"Cannot read {str(path)!r}: {error}; make it again with --force") from None
    if manifest.version > FORMAT_VERSION:
        raise ArtifactError(
            f"{str(folder)!r} has format {manifest.version}, this Sidestep reads up to {FORMAT_VERSION}; "
            "upgrade Sidestep"
        )
    if manifest.compute_digest() != manifest.digest:
        raise ArtifactError(f"{str(path)!r} was changed after it was written; make it again with --force")
    return manifest


def exists(folder: Path) -> bool:
    return (folder / MANIFEST).is_file()


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A temporary sibling folder that is renamed to `folder` if the block ends without an error, and else removed."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    staging.chmod(0o755)
    try:
        yield staging
        if folder.exists():
            old = staging.with_name(staging.name + ".old")
            folder.rename(old)
            try:
                staging.rename(folder)
            except BaseException:
                old.rename(folder)
                raise
            shutil.rmtree(old)
        else:
            staging.rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """A temporary sibling file that is renamed to `path` if the block ends without an error, and else removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield staging
        staging.replace(path)
    finally:
        staging.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    with replacing_file(path) as staging:
        staging.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
