"""Vectors of texts, kept from run to run: the same texts, encoder and settings are encoded once."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from sidestep.encoders.directions import Matrix
from sidestep.errors import ArtifactError
from sidestep.vectors.item_vectors import ItemVectors

VERSION = 1
"""Raised when an encoder gives other vectors for the same settings."""


def default_cache() -> Path:
    """`$SIDESTEP_CACHE`, or `~/.cache/sidestep`."""
    return Path(os.environ.get("SIDESTEP_CACHE") or Path.home() / ".cache" / "sidestep")


def cached(cache: Path | None, key: str, encode: Callable[[], Matrix]) -> ItemVectors:
    """The vectors under `key`, read where they are kept, else encoded and kept if the cache can be written.

    cache: its folder; None means `default_cache()`.
    """
    place = (cache or default_cache()) / "vectors" / key
    try:
        return ItemVectors.load(place)
    except (ArtifactError, OSError):  # not there yet, damaged, or not ours to read
        vectors = ItemVectors(encode())
        with suppress(OSError, SafetensorError):  # a cache that cannot be written only costs time
            vectors.save(place)
        return vectors


def key_of(texts: Sequence[str], kind: str, settings: Mapping[str, Any]) -> str:
    """SHA-256 of what vectors depend on: the texts, the kind of encoder and the settings that decide its vectors."""
    plain = {"kind": kind, "version": VERSION, **settings}
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()
