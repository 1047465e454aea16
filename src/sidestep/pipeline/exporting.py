"""Bundles out of runs, and recommenders out of bundles."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from sidestep import artifact, bundle, durable
from sidestep.bundle import Bundle
from sidestep.config import Keys, decisive
from sidestep.data.interactions import Ints, by_popularity
from sidestep.data.labels import labels
from sidestep.data.sequences import question
from sidestep.errors import ArtifactError, ConfigError, did_you_mean
from sidestep.fast.recommender import CLOSE, GraphRecommender
from sidestep.fast.recommender import check as check_graph
from sidestep.methods.method import Materials
from sidestep.methods.search_plan import SearchPlan
from sidestep.methods.table import method_of, saved_recipe
from sidestep.pipeline import slicing, versions
from sidestep.pipeline.card import model_card
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.graph import check_exportable, write_graph
from sidestep.pipeline.run import Run
from sidestep.pipeline.stage import TRAIN
from sidestep.recommenders.generative import trie_of
from sidestep.recommenders.recommender import Recommendations, Recommender, Servable
from sidestep.sids.flat_trie import FlatTrie
from sidestep.sids.timeline import Timeline
from sidestep.sids.trie import Trie
from sidestep.vectors.item_vectors import ItemVectors

CHECKED_ITEMS = 10
CHECKED_LENGTHS = (0, 1, 3, 12)


def export(run: Run, folder: Path, fields: list[str] | None = None, graph: bool = False) -> artifact.Manifest:
    """Write what answers for a run into one folder, of the newest version of its catalogue.

    fields: columns of the catalogue to show; None means all that can be shown. graph: also the whole search as one
        graph, which takes a minute, and is compared with the model on the bundle's own questions.

    Raises:
        ArtifactError: a stage not done, altered bytes, or a folder that holds something else. ConfigError: no such
        column, or a method without a graph. MissingExtraError: the libraries that write a graph.
    """
    contents = RunContents(run, versions.newest(run), later=True)
    recipe = run.recipe
    _check_slices(contents)
    if graph:
        check_exportable(recipe)
    model = contents.trained()
    moving: Keys = {"tokenizer": True} if contents.materials.timeline is not None else {}
    settings = decisive(recipe, {**TRAIN.keys(recipe), "evaluate": True, **moving})
    parents = {name: run.digest(name) for name in ("interactions", "model")}
    if contents.materials.vectors is not None or contents.materials.sids is not None:
        parents["vectors"] = run.digest("vectors")
        if contents.tuner is not None:
            parents["tuner"] = run.digest("tuner")
    meta = _meta(contents, model)
    shown = _shown(contents, fields)
    with bundle.writing(folder, meta, {"recipe": settings}, parents) as staging:
        artifact.write_tensors(staging / bundle.WEIGHTS, artifact.load(run.path("model"), "weights").tensors)
        if contents.materials.sids is not None:
            named = contents.named_sids or contents.materials.sids
            artifact.write_tensors(staging / bundle.SIDS, named.as_tensors())
            tree = trie_of(named, contents.popularity)
            artifact.write_tensors(staging / bundle.TRIE, kept_tree(tree, contents.popularity))
            if graph:
                flat = FlatTrie.of(trie_tensors(tree))
                absolute = contents.interactions.absolute_times
                write_graph(staging / bundle.GRAPH, contents.module, flat, model.reads, absolute)
        if contents.materials.timeline is not None:
            _write_slices(contents, staging)
        if contents.materials.vectors is not None:
            artifact.write_tensors(staging / bundle.VECTORS, {"values": contents.materials.vectors.values})
        if "tuner" in parents:
            artifact.write_tensors(staging / bundle.TUNER, artifact.load(run.path("tuner"), "weights").tensors)
        if contents.materials.labels is not None:
            bundle.write_labels(staging, contents.materials.labels)
        categories = labels(contents.catalog, "category")
        bundle.write_catalog(staging, contents.catalog, categories, contents.popularity, shown)
        durable.write_json(staging / "config.json", {"library_name": "sidestep", "model_type": recipe.method, **meta})
        parts = {path.name: artifact.file_hash(path) for path in sorted(staging.iterdir())}
        answers = answers_to_check(model, len(contents.catalog), contents.popularity)
        durable.write_json(staging / bundle.CHECK, {**answers, "parts": parts})
        if graph:
            manifest = artifact.Manifest(bundle.KIND, artifact.FORMAT_VERSION, meta, {}, {}, parts)
            unsealed = Bundle(staging, manifest)
            check_graph(unsealed, GraphRecommender.of_bundle(unsealed), CLOSE)
        durable.write_text(staging / "README.md", model_card(contents, meta))
    return artifact.read_manifest(folder)


def _check_slices(contents: RunContents) -> None:
    """Raises:
    ConfigError: slices of a method without semantic IDs.
    """
    if contents.recipe.slices.kind != "none" and not contents.method.needs.ids:
        raise ConfigError(
            f"A bundle knows what is on air by semantic IDs, and method {contents.recipe.method!r} has none; export a "
            "run of tiger or onelive"
        )


def _write_slices(contents: RunContents, staging: Path) -> None:
    timeline, sightings = contents.slices.sliced
    kept = timeline.last(contents.recipe.slices.kept)
    artifact.write_tensors(staging / bundle.SLICES, slicing.as_tensors(kept, sightings))
    artifact.write_tensors(staging / bundle.SLICER, contents.slices.slicer.as_tensors())


def recommender_of(opened: Bundle) -> Servable:
    """`module_and_recommender` without the module."""
    return module_and_recommender(opened)[1]


def module_and_recommender(opened: Bundle) -> tuple[nn.Module, Servable]:
    """The model of a bundle, its weights and its tree mapped into memory.

    Raises:
        ArtifactError: parts that do not belong together, or another release's.
    """
    try:
        recipe = saved_recipe(opened.manifest.config["recipe"])
        method = method_of(recipe)
        vectors = None
        if bundle.VECTORS in opened.manifest.files:
            vectors = ItemVectors(opened.tensors(bundle.VECTORS)["values"])
        materials = _materials(opened, vectors)
        model = method.build(materials, recipe)
        model.load_state_dict(load_file(opened.folder / bundle.WEIGHTS), assign=True)
        trie = None
        if opened.sids is not None:
            trie = _of_tensors(opened.sids.codebook_sizes, load_file(opened.folder / bundle.TRIE))
    except (KeyError, ValueError, RuntimeError) as error:
        raise ArtifactError(
            f"The parts of {str(opened.folder)!r} do not fit this Sidestep ({str(error).splitlines()[-1].strip()}); "
            "export it again from its run"
        ) from None
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    plan = SearchPlan(opened.popularity, trie, recipe.evaluate.num_beams, recipe.evaluate.precision, materials.timeline)
    return model, method.recommender(model.eval(), recipe, plan)


def _materials(opened: Bundle, vectors: ItemVectors | None) -> Materials:
    titles = None if opened.labels is None else opened.catalog.titles
    sliced = bundle.SLICES in opened.manifest.files
    timeline = Timeline.of_tensors(opened.tensors(bundle.SLICES)) if sliced else None
    return Materials(opened.popularity, opened.sids, vectors, opened.labels, titles, timeline)


def check(opened: Bundle, model: Recommender) -> None:
    """Compare the model's answers with those of its export.

    Raises:
        ArtifactError: they differ.
    """

    def ask(history: list[int], k: int) -> tuple[list[int], list[float]]:
        answer = _ask(model, history, k)
        return answer.items[0].tolist(), answer.scores[0].tolist()

    bundle.check(opened, ask, bundle.TOLERANCE)


def _meta(contents: RunContents, model: Servable) -> dict[str, Any]:
    sids = contents.materials.sids
    paths = _ask(model, [0], 1, explain=True).paths
    return {
        "method": contents.run.recipe.method,
        "num_items": len(contents.catalog),
        "codebook_sizes": [] if sids is None else list(sids.codebook_sizes),
        "thinks": bool(paths and paths[0] and paths[0][0][0].clusters),
        "max_history": model.reads.recent,
        "reads": asdict(model.reads),
        "absolute_times": contents.interactions.absolute_times,
        "beams": model.num_beams,
        "version": contents.version,
        **_sliced(contents.materials.timeline, contents.recipe.slices.kept),
    }


def _sliced(timeline: Timeline | None, kept: int) -> dict[str, int]:
    return {} if timeline is None else {"slice": timeline.now, "kept_slices": kept}


def _ask(model: Recommender, history: list[int], k: int, explain: bool = False) -> Recommendations:
    return model.rank(question([np.array(history, dtype=np.int64)], model.reads), k, explain=explain)


def answers_to_check(model: Recommender, num_items: int, popularity: Ints) -> dict[str, Any]:
    """Histories of the most popular items, which belong to no user and are the same on every machine."""
    popular = by_popularity(num_items, popularity).tolist()
    histories = [popular[:length] for length in CHECKED_LENGTHS]
    answers = [_ask(model, history, min(CHECKED_ITEMS, num_items)) for history in histories]
    return {
        "histories": histories,
        "items": [answer.items[0].tolist() for answer in answers],
        "scores": [answer.scores[0].tolist() for answer in answers],
    }


def _shown(contents: RunContents, fields: list[str] | None) -> list[str]:
    """Columns that can be shown: text, numbers and truth values."""
    schema = contents.catalog.table.schema
    plain = [name for name, kind in schema.items() if kind == pl.String or kind.is_numeric() or kind == pl.Boolean]
    for name in fields or ():
        if name not in plain:
            raise ConfigError(
                f"--field {name!r} is no column of the catalogue that can be shown{did_you_mean(name, plain)}; it has "
                f"{', '.join(plain)}"
            )
    return [name for name in (plain if fields is None else fields) if name not in bundle.RESERVED]


def kept_tree(trie: Trie, popularity: Ints) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    """What a bundle's file of the tree holds: with the popularity, so that a process that answers reads no table."""
    return {**trie_tensors(trie), bundle.POPULARITY: popularity}


def trie_tensors(trie: Trie) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    """The tree, as a bundle keeps it."""
    tensors = {"order": trie.order.numpy(), "rank": trie.rank.numpy()}
    for name, group in (("codes", trie.codes), ("firsts", trie.firsts)):
        tensors |= {f"{name}_{depth}": tensor.numpy() for depth, tensor in enumerate(group)}
    return tensors


def _of_tensors(codebook_sizes: tuple[int, ...], tensors: dict[str, Tensor]) -> Trie:
    depths = range(len(codebook_sizes) + 1)
    codes, firsts = (tuple(tensors[f"{name}_{depth}"] for depth in depths) for name in ("codes", "firsts"))
    return Trie(codebook_sizes, tensors["order"], tensors["rank"], codes, firsts)
