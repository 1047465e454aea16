"""A growing catalogue: new items get IDs, and published IDs do not change; `requantise` measures the drift of IDs."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from sidestep import artifact, durable
from sidestep.data.catalog import Catalog
from sidestep.data.sources.further import extended, read_further
from sidestep.errors import ConfigError, DataError
from sidestep.methods.recipe import Recipe
from sidestep.methods.table import method_of
from sidestep.pipeline import versions
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.run import Run, inputs
from sidestep.sids.collisions import Assigned, Resolved, resolve_collisions
from sidestep.sids.semantic_ids import SemanticIds
from sidestep.sids.tokenizer import Tokenizer
from sidestep.vectors import graph
from sidestep.vectors.choosing import embed_further
from sidestep.vectors.files import read_vectors
from sidestep.vectors.item_vectors import ItemVectors
from sidestep.vectors.text_tuning import ReadsTexts

Say = Callable[[str], None]


@dataclass(frozen=True)
class Appended:
    """The result of `append`.

    version: number of the new version, in `folder`. items: number of items in it. added: number of new items.
    shared: new items that share their ID with another item. moved: new items that are not on their nearest path.
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
    """Give new items IDs with the frozen tokenizer and the run's collision policy, and write the extended catalogue and
    IDs as the run's next version. Nothing else changes, and published IDs keep their codes.

    items: in the format of the run's items file; see `read_further`. vectors: a file with the new items' vectors, if
    the run's own came from a file. existing: refuse items that are already in the catalogue, or skip them.

    Raises:
        DataError, ConfigError: bad files, vectors that cannot be computed for new items, or a run whose model cannot
            recommend new items; nothing is written then.
        ArtifactError: the run has no semantic IDs yet.
    """
    if not method_of(run.recipe).grows:
        raise ConfigError(
            f"{str(run.folder)!r} is a run of {run.recipe.method!r}, which has one embedding per training item and "
            "cannot score new ones; append to the run of a generator"
        )
    if run.recipe.slices.kind != "none":
        raise ConfigError(
            f"{str(run.folder)!r} is a run whose IDs follow content, and its blend knows the items that it was trained "
            "on; train a run of all of them"
        )
    with run.writing():
        return _append(run, items, say, vectors, existing)


def _append(run: Run, items: Path, say: Say, vectors: Path | None, existing: Literal["error", "skip"]) -> Appended:
    version = versions.newest(run)
    parent = versions.manifest(run, version)
    first, contents = RunContents(run), RunContents(run, version)
    further = read_further(items, run.recipe.data, contents.catalog, existing, say)
    values = _vectors(further, first, vectors, say)
    resolved = _resolved(first.tokenizer, first.rows_of(values, further), run.recipe, version, contents.sids)
    published = contents.sids
    sids = SemanticIds(
        np.concatenate([published.codes, resolved.codes]),
        published.codebook_sizes,
        published.codebooks,
        published.clusters,
    )
    assert sids.continues(published)
    catalog = extended(contents.catalog, further)
    read = inputs([items] if vectors is None else [items, vectors])
    meta = {"version": version + 1, "items": len(catalog), "added": len(further), **read}
    place = versions.folder(run, version + 1)
    with durable.replacing(place) as staging:
        before = artifact.read_manifest(versions.folder(run, version) / "catalog").digest
        saved = catalog.save(staging / "catalog", meta=meta, parents={"catalog": before})
        origin = {"sids": parent.digest, "catalog": saved.digest, "tokenizer": run.digest("tokenizer")}
        sids.save(staging / "sids", meta=meta, parents=origin)
    return Appended(version + 1, str(place), len(catalog), len(further), resolved.shared, resolved.moved)


def _vectors(further: Catalog, first: RunContents, path: Path | None, say: Say) -> ItemVectors:
    """The tokenizer's inputs for the new items."""
    run = first.run
    if isinstance(first.tuner, ReadsTexts):
        if path is not None:
            raise ConfigError("The run's encoder is tuned and reads the new items' texts; leave out --vectors")
        vectors = first.tuner.of_items(further)
    else:
        vectors = embed_further(further, first.catalog, first.embedded, run.recipe.embed, run.recipe.seed, path)
        _refuse_zero(vectors, further)
        vectors = first.after_tuning(vectors)
    say(f"vectors of {len(vectors):,} new items: {vectors.width} dimensions")
    return first.further_inputs(vectors)


def _refuse_zero(vectors: ItemVectors, catalog: Catalog) -> None:
    zero = ~vectors.values.any(axis=1)
    if zero.any():
        raise DataError(
            f"{int(zero.sum())} of {len(vectors)} vectors are zero, the first is of item "
            f"{catalog.item_ids[int(zero.argmax())]!r}, and a zero vector cannot be quantised; leave these out"
        )


def requantise(run: Run, vectors: Path, out: Path) -> SemanticIds:
    """Quantise other vectors of the run's items (for example, of another time slice) with the frozen codebooks, and
    write the IDs to the folder `out`. They are not a version of the run: its generator was not trained with them. An
    item whose assigned codes do not change keeps its ID, including the effect of the collision policy.

    vectors: for every item of the run's items file; see `read_vectors`. They are tuned and propagated over the graph
        like the run's own.

    Raises:
        DataError: vectors that do not fit. ConfigError: `out` exists. ArtifactError: no tokenizer yet.
    """
    if out.exists():
        raise ConfigError(f"--out {str(out)!r} exists; choose another folder")
    if run.recipe.slices.kind != "none":
        raise ConfigError(
            f"{str(run.folder)!r} has slices of time already; add one with `sidestep sids slice {run.folder}`"
        )
    contents, recipe = RunContents(run), run.recipe
    other = read_vectors(vectors, contents.catalog, recipe.embed.tensor)
    if other.width != contents.embedded.width:
        raise DataError(
            f"{str(vectors)!r} has vectors of {other.width} dimensions, the run's have {contents.embedded.width}"
        )
    other = contents.with_behaviour(contents.after_tuning(other))
    if recipe.graph.enabled:
        edges = contents.graph
        other = graph.align(other, edges, recipe.graph)
    _refuse_zero(other, contents.catalog)
    model, own = contents.tokenizer, contents.sids
    rows = contents.rows_of(other, contents.catalog)
    codes, before = (
        model.assign(torch.from_numpy(values)).cpu().numpy() for values in (rows.values, contents.rows.values)
    )
    moves = (codes != before).any(axis=1)
    stay = replace(own, codes=own.codes[~moves])
    codes = own.codes.copy()
    if moves.any():
        codes[moves] = _resolved(model, ItemVectors(rows.values[moves]), recipe, 0, stay).codes
    sids = replace(own, codes=codes)
    origin = {"sids": run.digest("sids"), "tokenizer": run.digest("tokenizer")}
    sids.save(out, parents=origin, meta=inputs([vectors]))
    return sids


def _resolved(
    model: Tokenizer,
    vectors: ItemVectors,
    recipe: Recipe,
    version: int,
    published: SemanticIds,
) -> Resolved:
    config, values = recipe.tokenizer, torch.from_numpy(vectors.values)
    codes = model.assign(values).cpu().numpy()
    assigned = Assigned(codes, model.encode(values).cpu(), model.quantiser.cpu())
    random_sizes = config.sizes[config.num_learnt :]
    return resolve_collisions(assigned, config.collisions, random_sizes, recipe.seed + version, published)
