"""A bundle: a trained model with its catalogue in one self-contained folder, for serving and publishing.

    manifest.json                content, origin and SHA-256 of the other files
    config.json                  a summary in the file that the Hugging Face Hub expects
    README.md                    a summary as text
    model.safetensors            the weights
    semantic_ids.safetensors     codes, codewords and clusters
    trie.safetensors             the tree of the semantic IDs, ready to be mapped into memory, and the items' popularity
    vectors.safetensors          the items' vectors, if the model reads them
    slices.safetensors           IDs slice by slice, and what is on air, where IDs follow content
    slicer.safetensors           what gives items an ID in a further slice
    tuner.safetensors            what vectors of further items go through first, if the run has tuned its vectors
    labels.parquet               category and brand of every item, if the model reads them
    items.parquet                outside id, title, category, popularity, and further fields
    check.json                   the model's answers to a few fixed histories, compared again wherever it is loaded
    graph.onnx                   weights, tree and search as one graph, where it was exported; `fast` answers from it

Nothing here needs torch: `pipeline.models` loads the model.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as typed_dataclass
from safetensors import SafetensorError, safe_open

from sidestep import artifact, durable
from sidestep.data.catalog import ITEM_ID, Catalog
from sidestep.data.interactions import Ints
from sidestep.data.labels import ItemLabels
from sidestep.data.reads import Reads
from sidestep.errors import ArtifactError
from sidestep.imports import at_use
from sidestep.sids.path_names import PathNames
from sidestep.sids.semantic_ids import SemanticIds

if TYPE_CHECKING:
    import polars as pl
else:
    pl = at_use("polars")

KIND = "bundle"
WEIGHTS, SIDS, TRIE, VECTORS, TUNER, SLICES, SLICER = (
    f"{name}.safetensors" for name in ("model", "semantic_ids", "trie", "vectors", "tuner", "slices", "slicer")
)  # the weights have the Hub's file name
GRAPH = "graph.onnx"
CHECK = "check.json"
"""The answers of the exported model to a few fixed histories."""
EXPORT_AGAIN = "export it again from its run"
TOLERANCE = 1e-3
"""How far a score may be from the one on the machine that exported it; sums round otherwise there."""
ITEMS, LABELS = "items", "labels"
CATEGORY, POPULARITY, BRAND = "category", "popularity", "brand"

AGAIN = "export it again, or download it again"
Count = Annotated[int, Field(ge=1)]


@typed_dataclass(frozen=True, config=ConfigDict(strict=True))
class _Reads:
    recent: Count
    long: Annotated[int, Field(ge=0)]
    times: bool


@typed_dataclass(frozen=True, config=ConfigDict(strict=True))
class _Meta:
    """The types of `Bundle.meta`."""

    method: str
    num_items: Count
    codebook_sizes: list[Count]
    thinks: bool
    max_history: Count
    beams: Count | None
    version: Count
    reads: _Reads | None = None
    absolute_times: bool = False
    slice: int | None = None
    kept_slices: Count | None = None


_META = TypeAdapter(_Meta)


@dataclass(frozen=True)
class Bundle:
    """A verified folder; each part is read at its first use."""

    folder: Path
    manifest: artifact.Manifest

    @property
    def digest(self) -> str:
        return self.manifest.digest

    @property
    def meta(self) -> dict[str, Any]:
        """method, num_items, codebook_sizes (empty for a method without semantic IDs), thinks, max_history, reads
        (`recent`, `long`, `times`), absolute_times, beams, version (of the catalogue and its semantic IDs), and, where
        IDs follow content, slice (when the last one begins, in milliseconds) and kept_slices.
        """
        return self.manifest.meta

    @property
    def reads(self) -> Reads:
        """What the model reads of a history. Older bundles name the window alone, which was all that models read."""
        return Reads(**self.meta["reads"]) if "reads" in self.meta else Reads(self.meta["max_history"])

    @property
    def absolute_times(self) -> bool:
        """Whether the model was trained on times since 1970, and not on gaps alone."""
        return bool(self.meta.get("absolute_times", False))

    @cached_property
    def catalog(self) -> Catalog:
        path = self.folder / f"{ITEMS}.parquet"
        table = artifact.read_table(path)
        for name, kind in {ITEM_ID: pl.String, "title": pl.String, CATEGORY: pl.String, POPULARITY: pl.Int64}.items():
            if table.schema.get(name) != kind:
                raise ArtifactError(f"{str(path)!r}: {name} is {table.schema.get(name)}, expected {kind}; {AGAIN}")
        if len(table) != self.meta["num_items"] or table[ITEM_ID].null_count() or table["title"].null_count():
            raise ArtifactError(f"{str(path)!r} does not name the {self.meta['num_items']:,} items; {AGAIN}")
        return Catalog(table)

    @cached_property
    def popularity(self) -> Ints:
        """Occurrences of every item in training, `[N]`, as the tree holds them; of a bundle without a tree, and of one
        whose tree is older, as the catalogue does.
        """
        if TRIE in self.manifest.files and (held := self.tensors(TRIE, [POPULARITY])):
            return held[POPULARITY]
        return self.catalog.table[POPULARITY].to_numpy().astype(np.int64)

    @cached_property
    def sids(self) -> SemanticIds | None:
        if SIDS not in self.manifest.files:
            return None
        tensors = self.tensors(SIDS)
        shape = self.meta["num_items"], len(self.meta["codebook_sizes"])
        if "codes" not in tensors or tensors["codes"].shape != shape:
            raise ArtifactError(f"{str(self.folder / SIDS)!r} holds no codes of shape {shape}; {AGAIN}")
        return SemanticIds.of_tensors(tensors)

    @cached_property
    def path_names(self) -> PathNames:
        """The names of codes and clusters; of a bundle with semantic IDs."""
        assert self.sids is not None
        table = self.catalog.table
        return PathNames(self.sids, table["title"].to_list(), table[CATEGORY].to_list(), self.popularity)

    @cached_property
    def labels(self) -> ItemLabels | None:
        """Categories and brands as the model read them; None where it reads none."""
        if f"{LABELS}.parquet" not in self.manifest.files:
            return None
        path = self.folder / f"{LABELS}.parquet"
        table = artifact.read_table(path)
        if table.schema != {CATEGORY: pl.String, BRAND: pl.String} or len(table) != self.meta["num_items"]:
            raise ArtifactError(f"{str(path)!r} does not label the {self.meta['num_items']:,} items; {AGAIN}")
        return ItemLabels(table[CATEGORY].to_list(), table[BRAND].to_list())

    def tensors(self, name: str, wanted: Collection[str] | None = None) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
        """Those of a file; only the wanted ones that it has, where some are named."""
        try:
            with safe_open(self.folder / name, framework="numpy") as file:
                keys = [key for key in file.keys() if wanted is None or key in wanted]  # noqa: SIM118, not a dict
                return {key: file.get_tensor(key) for key in keys}
        except SafetensorError as error:
            raise ArtifactError(f"Cannot read {str(self.folder / name)!r}: {error}") from None


def is_bundle(folder: Path) -> bool:
    durable.recover(folder)
    return all((folder / name).is_file() for name in (artifact.MANIFEST, WEIGHTS))


def read(folder: Path) -> Bundle:
    """The bundle in a folder, after checking every byte against its manifest.

    Raises:
        ArtifactError: no bundle, another artifact, a newer format, or parts that do not belong together.
    """
    if not artifact.exists(folder, AGAIN):
        raise ArtifactError(f"No bundle in {str(folder)!r}; `sidestep export RUN --to {folder}` writes one")
    manifest = artifact.verify(folder, AGAIN)
    if manifest.kind != KIND:
        raise ArtifactError(f"{str(folder)!r} holds {manifest.kind!r}, expected a bundle; `sidestep export` writes one")
    try:
        _META.validate_json(json.dumps(manifest.meta))
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise ArtifactError(f"{str(folder)!r}: {where} in its manifest: {problem['msg']}; {AGAIN}") from None
    parts = {WEIGHTS, f"{ITEMS}.parquet", CHECK}
    if manifest.meta["codebook_sizes"]:
        parts |= {SIDS, TRIE}
    for name in sorted(parts - manifest.files.keys()):
        raise ArtifactError(f"{str(folder)!r}: its manifest does not name {name}; {AGAIN}")
    return Bundle(folder, manifest)


@contextmanager
def writing(
    folder: Path, meta: Mapping[str, Any], config: Mapping[str, Any], parents: Mapping[str, str]
) -> Iterator[Path]:
    """A temporary folder for the parts; it is sealed and renamed if the block ends without an error.

    Raises:
        ArtifactError: the folder exists and is not a bundle.
    """
    if folder.exists() and not is_bundle(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise ArtifactError(f"{str(folder)!r} exists and is not a bundle; name a new folder, or remove it")
    with durable.replacing(folder) as staging:
        yield staging
        artifact.seal(staging, KIND, meta, config, parents)


def write_catalog(
    staging: Path, catalog: Catalog, categories: Sequence[str] | None, popularity: Ints, fields: Sequence[str]
) -> None:
    """fields: further columns to include; those of text that holds numbers or truth values alone become such."""
    from sidestep.data.fields import typed

    shown = [typed(catalog.table[name]) for name in fields if name not in RESERVED]
    table = pl.DataFrame([catalog.table[ITEM_ID], *shown]).with_columns(
        title=pl.Series(catalog.titles, dtype=pl.String),
        category=pl.Series([None] * len(catalog) if categories is None else categories, dtype=pl.String),
        popularity=pl.Series(popularity),
    )
    artifact.write_table(staging / f"{ITEMS}.parquet", table.with_columns(pl.col(CATEGORY).replace("", None)))


def write_labels(staging: Path, labels: ItemLabels) -> None:
    columns = {CATEGORY: labels.categories, BRAND: labels.brands}
    artifact.write_table(staging / f"{LABELS}.parquet", pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String)))


def check(opened: Bundle, ask: Callable[[list[int], int], tuple[list[int], list[float]]], tolerance: float) -> None:
    """Compare answers with those of the bundle's model when it was exported.

    ask: the items after a history of item numbers, so many, with their scores. tolerance: how far a score may be off.

    Raises:
        ArtifactError: they differ.
    """
    asked = durable.read_json(opened.folder / CHECK, EXPORT_AGAIN)
    for history, items, scores in zip(asked["histories"], asked["items"], asked["scores"], strict=True):
        answer, now = ask(history, len(items))
        if len(now) != len(scores) or not np.allclose(now, scores, rtol=tolerance, atol=tolerance):
            raise ArtifactError(
                f"{str(opened.folder)!r} does not answer as it did when it was exported: scores {now[:3]}, expected "
                f"{scores[:3]}; {EXPORT_AGAIN}"
            )
        by_score = dict(zip(items, scores, strict=True))
        for item, score in zip(answer, now, strict=True):
            if abs(by_score.get(item, scores[-1]) - score) > tolerance * max(1.0, abs(score)):
                raise ArtifactError(f"{str(opened.folder)!r} answers with item number {item}, which it did not before")
    for name, digest in asked.get("parts", {}).items():  # items change no score
        if opened.manifest.files.get(name) != digest:
            raise ArtifactError(f"{str(opened.folder / name)!r} belongs to another bundle; {EXPORT_AGAIN}")


RESERVED = {ITEM_ID, "title", "name", CATEGORY, POPULARITY, "text", "source_row"}
"""Columns that a bundle adds or leaves out by itself; `text` is the input of an embedder and is not published."""
