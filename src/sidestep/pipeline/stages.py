"""The stages, run folder in, artifact out: prepare, embed, tune, behave, propagate, tokenize, cases, train.

Each reads the artifacts before it, calls the rooms, and writes its own. A stage that is done under the same settings is
skipped, so a run resumes where it stopped.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from sidestep import artifact
from sidestep.data import sources
from sidestep.data.splits import TrainingInteractions, split
from sidestep.errors import ConfigError
from sidestep.layers.item_rows import RowShards
from sidestep.methods.method import Say
from sidestep.methods.table import as_values, saved_recipe
from sidestep.pipeline import apart, moving
from sidestep.pipeline.behaviour import counted_vectors, learnt_vectors
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.course import Course
from sidestep.pipeline.run import Run, inputs
from sidestep.pipeline.settings import prolongs
from sidestep.pipeline.stage import (
    BEHAVE,
    CASES,
    EMBED,
    PREPARE,
    PROPAGATE,
    TOKENIZE,
    TRAIN,
    TUNE,
    Stage,
    stage_named,
    stages_for,
    stages_of,
)
from sidestep.pipeline.tokenizing import tokenized
from sidestep.pipeline.tuning import neighbourhoods, tuned_encoder, tuned_language_model, tuned_map
from sidestep.pipeline.weights import save_weights
from sidestep.progress import meter
from sidestep.recommenders.recommender import Recommender
from sidestep.rerankers.cases import TrainingCases, cross_fitted, proposed
from sidestep.training.log import read_log
from sidestep.training.loop import CHECKPOINT
from sidestep.training.processes import Processes
from sidestep.vectors import choosing, graph
from sidestep.vectors.files import located, row_note
from sidestep.vectors.item_vectors import ItemVectors


def prepare(run: Run, say: Say) -> None:
    """Read, check and number the log and the catalogue."""
    dataset = sources.read(run.recipe.data, run.recipe.seed)
    catalog, interactions = dataset.catalog, dataset.interactions
    parts = split(interactions, run.recipe.split)  # refuses a log that cannot be divided before anything is written
    run.keep_recipe()
    settings, meta = PREPARE.settings(run.recipe), inputs(dataset.files)
    catalog.save(run.path("catalog"), config=settings, meta=meta)
    interactions.save(run.path("interactions"), config=settings, parents=PREPARE.origin(run, "interactions"), meta=meta)
    for note in dataset.notes:
        say(note)
    say(f"{interactions.num_users:,} users, {len(catalog):,} items, {len(interactions):,} interactions")
    if parts.short_users:
        say(f"{parts.short_users:,} users have nothing held out (too short, or not in its time); training keeps them")
    say(f"{len(parts.train):,} interactions to train on, {len(parts.valid):,} to validate, {len(parts.test):,} to test")


def embed(run: Run, say: Say) -> None:
    """Vectors for the items: the user's own, from text, or from behaviour."""
    recipe, contents = run.recipe, RunContents(run)
    with meter("embed", len(contents.catalog)) as shown:
        vectors = choosing.embed(
            contents.catalog, recipe.embed, contents.split.train, recipe.seed, folder=recipe.data.path,
            progress=lambda done, total: shown.update(done), graph=recipe.graph,
        )  # fmt: skip
    read = choosing.vectors_file(recipe.embed, recipe.data.path)
    from_graph = recipe.embed.path is None and choosing.chosen_kind(contents.catalog, recipe.embed) == "behaviour"
    meta = inputs([*([read] if read else []), *(contents.graph_files if from_graph else [])])
    vectors.save(run.path("vectors"), config=EMBED.settings(recipe), parents=EMBED.parents(run), meta=meta)
    note = row_note(read, contents.catalog) if read and recipe.embed.kind in ("auto", "file") else None
    if note is not None:
        say(note)
    say(f"vectors: {len(vectors):,} x {vectors.width}")


def tune(run: Run, say: Say) -> None:
    """Tune the items' vectors on pairs that users make, and keep what tunes them for new items."""
    recipe, contents = run.recipe, RunContents(run)
    if recipe.tune.kind == "none":
        raise ConfigError("tune.kind = 'none' asks for no tuned vectors; set tune.kind=map, encoder or lm")
    settings, parents = TUNE.settings(recipe), TUNE.parents(run)
    own, folder = contents.embedded, run.training_folder("tune-train", settings, parents)
    materials = (contents.split.train, contents.catalog, own, recipe, folder, say)
    model: nn.Module
    if recipe.tune.reads_texts:
        model, vectors = (tuned_language_model if recipe.tune.kind == "lm" else tuned_encoder)(*materials)
    else:
        model = mapped = tuned_map(*materials)
        vectors = mapped.apply_to(own)
    save_weights(run, "tuner", model, settings, parents)
    asked = recipe.tune.qa_path
    read = [*(contents.graph_files if recipe.tune.uses_graph else [])]
    read += [] if asked is None else [located(asked, recipe.data.path, Path.is_file)]
    meta = inputs(read) if read else None
    vectors.save(run.path("tuned"), config=settings, parents=TUNE.origin(run, "tuned"), meta=meta)
    for line in neighbourhoods(contents, own, vectors).lines():
        say(line)


def behave(run: Run, say: Say) -> None:
    """Vectors of the items from training interactions, for the tokenizer alone."""
    recipe, contents = run.recipe, RunContents(run)
    if recipe.behaviour.source == "none":
        raise ConfigError(
            "behaviour.source = 'none' asks for no vectors from behaviour; set behaviour.source=sasrec or spectral"
        )
    settings, parents = BEHAVE.settings(recipe), BEHAVE.parents(run)
    meta = None
    if recipe.behaviour.source == "spectral":
        vectors = counted_vectors(contents.graph, recipe.behaviour, recipe.seed)
        meta = _graph_inputs(contents)
    else:
        folder = run.training_folder("behaviour-train", settings, parents)
        train, num_items = contents.split.train, len(contents.catalog)
        vectors = learnt_vectors(train, num_items, recipe.behaviour, recipe.seed, folder)
    vectors.save(run.path("behaviour"), config=settings, parents=parents, meta=meta)
    say(f"behaviour: {int(vectors.values.any(axis=1).sum()):,} of {len(vectors):,} items x {vectors.width}")


def propagate(run: Run, say: Say) -> None:
    """Join the vectors with those from behaviour, where the recipe wants any, and enrich them with the co-occurrence
    graph (S2GR eqs 3-5), or pass them on where `graph.enabled` is off.
    """
    recipe, contents = run.recipe, RunContents(run)
    vectors, origin = contents.with_behaviour(contents.vectors), dict[str, Any]()
    origin |= {"config": PROPAGATE.settings(recipe), "parents": PROPAGATE.parents(run)}
    if not recipe.graph.enabled:
        vectors.save(run.path("aligned"), **origin)
        return
    edges = contents.graph
    with ItemVectors.filling(
        run.path("aligned"), (len(vectors), vectors.width), meta=_graph_inputs(contents), **origin
    ) as out:
        graph.align(vectors, edges, recipe.graph, out=out)
    say(f"graph: {edges.nnz // 2:,} pairs, {int((np.diff(edges.indptr) == 0).sum()):,} items without a neighbour")
    for path in contents.graph_files:
        say(f"graph: counted in {path.name}, which must leave out held-out interactions; nothing here can check it")


def _graph_inputs(contents: RunContents) -> dict[str, Any] | None:
    """What an artifact keeps of the user's list of edges, where there is one."""
    return inputs(contents.graph_files) if contents.graph_files else None


def tokenize(run: Run, say: Say) -> None:
    """Train or fit the tokenizer and give every item its semantic ID."""
    settings, parents = TOKENIZE.settings(run.recipe), TOKENIZE.parents(run)
    model, sids = tokenized(run, run.training_folder("tokenizer-train", settings, parents), say)
    save_weights(run, "tokenizer", model, settings, parents)
    images = RunContents(run).images
    meta = None if images is None else inputs([images])
    sids.save(run.path("sids"), config=settings, parents=TOKENIZE.origin(run, "sids"), meta=meta)


def cases(run: Run, say: Say) -> None:
    """Candidates of the pre-ranker for every training item, each from a training without the item's user, and for the
    validation cases from the pre-ranker itself.
    """
    contents, recipe = RunContents(run), run.recipe
    method, settings, parents = contents.method, CASES.settings(run.recipe), CASES.parents(run)
    base, look, divided = method.pre_ranker, method.second_look(recipe), contents.split
    if base is None or look is None:
        raise ConfigError(f"Method {recipe.method!r} puts no candidates in a new order, and needs no cases")
    contents.refuse_what_is_missing()
    folder, count = run.training_folder("cases-train", settings, parents), len(contents.catalog)

    def fit_part(part: TrainingInteractions, fold: int) -> Recommender:
        materials = replace(contents.materials, popularity=part.popularity(count))
        valid = divided.valid.take(np.flatnonzero(part.lengths[divided.valid.users]))
        course = Course(base, recipe, materials, part, valid, contents.tree)
        return course.trained(folder / f"fold-{fold + 1}", say)

    with meter("cases", len(divided.train) - int((divided.train.lengths > 0).sum())) as shown:
        crossed = cross_fitted(
            divided.train, fit_part, folds=look.folds, candidates=look.candidates, seed=recipe.seed, most=look.most,
            progress=shown.update,
        )  # fmt: skip
    first = method.first_look(contents.recommending(_untrained(contents), recipe.evaluate.num_beams))
    valid = proposed(first, divided.valid, look.candidates)
    TrainingCases(crossed, valid).save(run.path("cases"), config=settings, parents=parents)
    shares = [f"{(part.ranks > 0).mean():.4f} of {len(part):,}" for part in (crossed, valid)]
    say(f"cases: the next item is among {look.candidates} candidates in {shares[0]}, in {shares[1]} validation cases")


def _untrained(contents: RunContents) -> nn.Module:
    """The run's model as far as it is counted, put together from finished runs, or begun with the weights of one."""
    method, recipe, materials = contents.method, contents.recipe, contents.materials
    if recipe.train.sharded_items:
        processes = Processes.launched()
        materials = replace(materials, shards=RowShards(len(contents.catalog), processes.rank, processes.size))
    torch.manual_seed(recipe.seed)
    model = method.build(materials, recipe)
    method.count(model, contents.split.train)
    if parts := {part: RunContents(Run.open(folder)) for part, folder in method.parts_of(recipe).items()}:
        method.assemble(model, contents, parts)
    elif recipe.train.start is not None:
        method.begin(model, contents, RunContents(Run.open(recipe.train.start)))
    return model.eval()


def train(run: Run, say: Say) -> None:
    """Train the run's method until its validation score no longer rises, or put it together from finished runs."""
    contents, recipe = RunContents(run), run.recipe
    method, materials = contents.method, contents.materials
    settings, parents = TRAIN.settings(recipe), TRAIN.parents(run)
    contents.refuse_what_is_missing()
    prolonged = _prolonged(run, settings, say)
    model, course = _untrained(contents), Course.of(contents)
    for phase in method.phases(model, materials, recipe, course.train, contents.cases):
        course.fit(phase, model, run.training_folder(phase.name, settings, parents), say)
    method.tune(model, materials, recipe, course.ranks, say)
    if prolonged:  # what was judged is the shorter training's
        shutil.rmtree(run.path("evaluation"), ignore_errors=True)
    save_weights(run, "model", model, settings, parents)


def _prolonged(run: Run, settings: Mapping[str, Any], say: Say) -> bool:
    """Whether this goes on with a finished training, and what that means."""
    if not artifact.exists(run.path("model")):
        return False
    old = artifact.read_manifest(run.path("model")).config
    if not prolongs(old, settings):
        return False
    config, rows = run.recipe.train, read_log(run.path("train"))
    if not artifact.exists(run.path("train") / CHECKPOINT):
        say("train/checkpoint is gone: this is trained anew, with all epochs")
    elif rows and len(rows) < old["train"]["epochs"]:
        say(
            f"the training ended after {len(rows)} of {old['train']['epochs']} epochs, since train.patience = "
            f"{config.patience} validations in a row were no better; more epochs change nothing"
        )
    else:
        say(
            f"prolonging from epoch {old['train']['epochs']} to {config.epochs}: the result is that of "
            f"{config.epochs} epochs at once, since the schedule {config.schedule!r} does not depend on their number"
        )
    return True


_RUN: dict[Stage, Callable[[Run, Say], None]] = {
    PREPARE: prepare,
    EMBED: embed,
    TUNE: tune,
    BEHAVE: behave,
    PROPAGATE: propagate,
    TOKENIZE: tokenize,
    CASES: cases,
    TRAIN: train,
    **moving.STAGES,
}


def run_until(run: Run, last: str, say: Say) -> None:
    """Every stage that the run's method needs, up to and with `last`, skipping what is done. A stage that the method
    does not need runs only when it is `last`, with those before it.

    Several processes of a launcher train one model together; the first of them runs the stages before, alone, and the
    others wait.

    Raises:
        LockedError: the folder is being written. MissingExtraError: a library is not installed.
    """
    RunContents(run).refuse_missing_libraries()
    wanted = stages_of(run.recipe)
    target = stage_named(last)
    stages = wanted[: wanted.index(target) + 1] if target in wanted else stages_for(run.recipe, target.makes)
    processes = Processes.launched()
    if processes.size == 1:
        with run.writing():
            _work(run, stages, say)
        return
    said = say if processes.is_first else _nothing
    with run.writing(), apart.together():
        names = [stage.name for stage in stages if stage is not TRAIN]
        apart.first_alone(partial(_work_apart, run.folder, as_values(run.recipe), run.force, names), said)
        _work(run, stages, said)


def _work(run: Run, stages: Sequence[Stage], say: Say) -> None:
    for stage in stages:
        if not stage.done(run):
            _RUN[stage](run, say)
        elif stage is PREPARE:
            run.keep_recipe()
    for folder in run.drop_damaged_trainings() if run.force else ():
        say(f"removed the damaged checkpoints in {str(folder)!r}, which nothing finished needs")


def _work_apart(folder: Path, recipe: dict[str, Any], force: bool, names: Sequence[str], say: Say) -> None:
    """`_work` of what can be pickled."""
    _work(Run(folder, saved_recipe(recipe), force), [stage_named(name) for name in names], say)


def _nothing(line: str) -> None:
    """What processes but the first say."""
