"""A living catalogue: new items get IDs and no published ID moves; other vectors show which IDs would."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from sidestep import artifact
from sidestep.data.catalog import Catalog
from sidestep.data.sources.further import extended, read_further
from sidestep.encoders.directions import unit_rows
from sidestep.errors import ConfigError, DataError
from sidestep.methods import METHODS, Recipe
from sidestep.pipeline import versions
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.run import Run, inputs
from sidestep.sids.collisions import Found, Settled, settle
from sidestep.sids.semantic_ids import SemanticIds
from sidestep.sids.tokenizer import Tokenizer
from sidestep.vectors import graph
from sidestep.vectors.choosing import embed_further
from sidestep.vectors.files import read_vectors
from sidestep.vectors.item_vectors import ItemVectors

Say = Callable[[str], None]


@dataclass(frozen=True)
class Appended:
    """version: the number of the version that was written, into `folder`. items: how many there are now.
    added: how many of them are new. shared: how many of the new ones share their ID with another item.
    moved: how many of the new ones are not on the path nearest to them.
    """

    version: int
    folder: str
    items: int
    added: int
    shared: int
    moved: int

    def text(self) -> str:
        return (
            f"version {self.version}: {self.items:,} items, {self.added:,} of them new; no ID moved\n"
            f"{self.shared:,} new items share their ID with another, {self.moved:,} are not on their nearest path\n"
            f"written to {self.folder}"
        )


def append(
    run: Run, items: Path, say: Say, vectors: Path | None = None, existing: Literal["error", "skip"] = "error"
) -> Appended:
    """Give new items IDs, by the frozen tokenizer and the run's policy of collisions, and write the catalogue and the
    IDs with them as the run's next version. Nothing else is touched, and no published ID moves.

    A new item has no neighbour in the co-occurrence graph, so the graph leaves its vector as it is.

    items: in the format of the run's items file; see `read_further`. vectors: a file of theirs, where the run's own
    came from a file. existing: refuse items that the catalogue holds, or skip them.

    Raises:
        DataError, ConfigError: bad files, vectors that cannot be made for new items, or a run whose model cannot answer
            with new items; nothing is written then.
        ArtifactError: the run has no semantic IDs yet.
    """
    method = run.recipe.method
    if METHODS[method].kind != "generator":
        raise ConfigError(
            f"{str(run.folder)!r} is a run of {method!r}, which scores items by their numbers and knows nothing of new "
            "ones; append to the run of a generator"
        )
    version = versions.newest(run)
    parent = versions.manifest(run, version)
    first, contents = RunContents(run), RunContents(run, version)
    further = read_further(items, run.recipe.data, contents.catalog, existing, say)
    values = _vectors(further, first, vectors, say)
    settled = _settled(first.tokenizer, values, run.recipe, version, contents.sids)
    published = contents.sids
    sids = SemanticIds(
        np.concatenate([published.codes, settled.codes]),
        published.codebook_sizes,
        published.codebooks,
        published.clusters,
    )
    assert sids.continues(published)
    catalog = extended(contents.catalog, further)
    read = inputs([items] if vectors is None else [items, vectors])
    meta = {"version": version + 1, "items": len(catalog), "added": len(further), **read}
    place = versions.folder(run, version + 1)
    with artifact.replacing(place) as staging:
        before = artifact.read_manifest(versions.folder(run, version) / "catalog").digest
        saved = catalog.save(staging / "catalog", meta=meta, parents={"catalog": before})
        origin = {"sids": parent.digest, "catalog": saved.digest, "tokenizer": run.digest("tokenizer")}
        sids.save(staging / "sids", meta=meta, parents=origin)
    return Appended(version + 1, str(place), len(catalog), len(further), settled.shared, settled.moved)


def _vectors(further: Catalog, first: RunContents, path: Path | None, say: Say) -> ItemVectors:
    """What the tokenizer is given of the new items."""
    run = first.run
    own = ItemVectors.load(run.path("vectors"))
    found = embed_further(further, first.catalog, own, run.recipe.embed, run.recipe.seed, path)
    _refuse_zero(found, further)
    say(f"vectors of {len(found):,} new items: {found.width} dimensions")
    return ItemVectors(unit_rows(found.values)) if run.recipe.graph.enabled else found


def _refuse_zero(vectors: ItemVectors, catalog: Catalog) -> None:
    zero = ~vectors.values.any(axis=1)
    if zero.any():
        raise DataError(
            f"{int(zero.sum())} of {len(vectors)} vectors are zero, the first is of item "
            f"{catalog.item_ids[int(zero.argmax())]!r}, and a zero vector says nothing of its item; leave these out"
        )


def requantise(run: Run, vectors: Path, out: Path) -> SemanticIds:
    """The IDs that the run's items have by other vectors of theirs, of another slice of time perhaps, through the
    frozen codebooks, written to the folder `out`. They are no version of the run: its generator was not trained with
    them. An item that the tokenizer gives the codes it gave before keeps its ID, whatever a policy made of it.

    vectors: for every item of the run's items file; see `read_vectors`. The graph enriches them as it did the run's
        own.

    Raises:
        DataError: vectors that do not fit. ConfigError: `out` is there already. ArtifactError: no tokenizer yet.
    """
    if out.exists():
        raise ConfigError(f"--out {str(out)!r} exists; choose another folder")
    contents, recipe = RunContents(run), run.recipe
    found = read_vectors(vectors, contents.catalog, recipe.embed.tensor)
    if found.width != contents.aligned.width:
        raise DataError(
            f"{str(vectors)!r} has vectors of {found.width} dimensions, the run's have {contents.aligned.width}"
        )
    if recipe.graph.enabled:
        edges = graph.cooccurrence(contents.split.train, len(found), recipe.graph)
        found = graph.align(found, edges, recipe.graph)
    _refuse_zero(found, contents.catalog)
    model, own = contents.tokenizer, contents.sids
    codes, before = (
        model.assign(torch.from_numpy(values)).cpu().numpy() for values in (found.values, contents.aligned.values)
    )
    moves = (codes != before).any(axis=1)
    stay = replace(own, codes=own.codes[~moves])
    codes = own.codes.copy()
    if moves.any():
        codes[moves] = _settled(model, ItemVectors(found.values[moves]), recipe, 0, stay).codes
    sids = replace(own, codes=codes)
    origin = {"sids": run.digest("sids"), "tokenizer": run.digest("tokenizer")}
    sids.save(out, parents=origin, meta=inputs([vectors]))
    return sids


def _settled(
    model: Tokenizer,
    vectors: ItemVectors,
    recipe: Recipe,
    version: int,
    published: SemanticIds,
) -> Settled:
    config, values = recipe.tokenizer, torch.from_numpy(vectors.values)
    codes = model.assign(values).cpu().numpy()
    found = Found(codes, model.encode(values).cpu(), model.quantiser.cpu())
    random_sizes = config.sizes[config.num_levels - config.random_levels :]
    return settle(found, config.collisions, random_sizes, recipe.seed + version, published)
