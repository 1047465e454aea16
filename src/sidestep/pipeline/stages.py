"""The stages, run folder in, artifact out: prepare, embed, propagate, tokenize, train.

Each reads the artifacts before it, calls the rooms, and writes its own. A stage that is done with the same settings is
left alone, so a run goes on where it stopped.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from sidestep import artifact
from sidestep.data import sources
from sidestep.data.interactions import Ints
from sidestep.data.reads import Reads
from sidestep.data.sequences import SequenceBatch, TrainingSequences
from sidestep.data.splits import split
from sidestep.errors import ConfigError
from sidestep.evaluation import codebooks
from sidestep.evaluation.metrics import ndcg
from sidestep.evaluation.ranking import rank_cases
from sidestep.generators.fused import Fused
from sidestep.methods import METHODS
from sidestep.objectives import tokenizing
from sidestep.pipeline.balance import best_balance, best_weight
from sidestep.pipeline.contents import RunContents, training_origin
from sidestep.pipeline.fusing import assemble
from sidestep.pipeline.run import Run, inputs
from sidestep.progress import meter
from sidestep.recommenders.fused import FusedRecommender
from sidestep.recommenders.itemwise import ItemwiseRecommender
from sidestep.recommenders.recommender import Recommender
from sidestep.sids import tokenizer
from sidestep.sids.batches import VectorBatches
from sidestep.sids.vector_quantiser import VectorQuantiser
from sidestep.training.loop import Hooks, fit
from sidestep.training.optim import TrainConfig
from sidestep.training.processes import Processes
from sidestep.vectors import choosing, graph
from sidestep.vectors.item_vectors import ItemVectors

Say = Callable[[str], None]


def prepare(run: Run, say: Say) -> None:
    """Read, check and number the log and the catalogue."""
    settings = run.recipe.model_dump(mode="json", include={"data", "seed"})
    if run.done("catalog", settings, {}) and run.done("interactions", settings, {}):
        run.keep_recipe()
        return
    dataset = sources.read(run.recipe.data, run.recipe.seed)
    catalog, interactions = dataset.catalog, dataset.interactions
    parts = split(interactions, run.recipe.split)  # refuses a log that cannot be divided before anything is written
    run.keep_recipe()
    meta = inputs(dataset.files)
    catalog.save(run.path("catalog"), config=settings, meta=meta)
    interactions.save(run.path("interactions"), config=settings, meta=meta)
    for note in dataset.notes:
        say(note)
    say(f"{interactions.num_users:,} users, {len(catalog):,} items, {len(interactions):,} interactions")
    if parts.short_users:
        say(f"{parts.short_users:,} users have nothing held out (too short, or not in its time); training keeps them")
    say(f"{len(parts.train):,} interactions to train on, {len(parts.valid):,} to validate, {len(parts.test):,} to test")


def embed(run: Run, say: Say) -> None:
    """Vectors for the items: the user's own, from text, or from behaviour."""
    recipe = run.recipe
    settings = recipe.model_dump(mode="json", include={"embed", "graph", "split", "seed"})
    parents = {name: run.digest(name) for name in ("catalog", "interactions")}
    if run.done("vectors", settings, parents):
        return
    contents = RunContents(run)
    with meter("embed", len(contents.catalog)) as shown:
        vectors = choosing.embed(
            contents.catalog, recipe.embed, contents.split.train, recipe.seed, folder=recipe.data.path,
            progress=lambda done, total: shown.update(done), graph=recipe.graph,
        )  # fmt: skip
    read = choosing.vectors_file(recipe.embed, recipe.data.path)
    vectors.save(run.path("vectors"), config=settings, parents=parents, meta=inputs([read] if read else []))
    say(f"vectors: {len(vectors):,} x {vectors.width}")


def propagate(run: Run, say: Say) -> None:
    """Enrich the vectors with the co-occurrence graph (S2GR eqs 3-5), or pass them on where the recipe wants none."""
    recipe = run.recipe
    settings = recipe.model_dump(mode="json", include={"graph", "split"})
    parents = {name: run.digest(name) for name in ("interactions", "vectors")}
    if run.done("aligned", settings, parents):
        return
    contents = RunContents(run)
    vectors = ItemVectors.load(run.path("vectors"))
    if recipe.graph.enabled:
        edges = graph.cooccurrence(contents.split.train, len(contents.catalog), recipe.graph)
        vectors = graph.align(vectors, edges, recipe.graph, out=vectors.values)  # needed no more as they were
        say(f"graph: {edges.nnz // 2:,} pairs, {int((np.diff(edges.indptr) == 0).sum()):,} items without a neighbour")
    vectors.save(run.path("aligned"), config=settings, parents=parents)


def tokenize(run: Run, say: Say) -> None:
    """Train or fit the tokenizer and give every item its semantic ID."""
    recipe = run.recipe
    settings, parents = tokenize_origin(run)
    if run.done("sids", settings, parents) and run.done("tokenizer", settings, parents):
        return
    vectors = ItemVectors.load(run.path("aligned"))
    for note in tokenizer.notes(vectors, recipe.tokenizer, recipe.seed):
        say(note)
    model = tokenizer.build(vectors, recipe.tokenizer, recipe.seed)
    learn(run, model, vectors, run.training_folder("tokenizer-train", settings, parents))
    popularity = RunContents(run).popularity if recipe.tokenizer.uses_interactions else None
    found = tokenizer.semantic_ids(model, vectors, recipe.tokenizer, recipe.seed)
    made, note = tokenizer.without_collisions(model, found, vectors, recipe.tokenizer, recipe.seed, popularity)
    _save_weights(run, "tokenizer", model, settings, parents)
    made.save(run.path("sids"), config=settings, parents=parents)
    say(codebooks.summary(made))
    if note:
        say(note)


def learn(run: Run, model: tokenizer.Tokenizer, vectors: ItemVectors, folder: Path) -> None:
    """Train a tokenizer with an encoder by the loop, with checkpoints in `folder`; fit any other."""
    recipe, config = run.recipe, run.recipe.tokenizer
    sample = tokenizer.learning_sample(vectors, config, recipe.seed)
    if isinstance(model, VectorQuantiser):
        model.learn(torch.from_numpy(sample.values), torch.Generator().manual_seed(recipe.seed))
        return
    edges = None
    if config.contrastive:
        chosen = tokenizer.learning_items(len(vectors), config, recipe.seed)
        edges = graph.cooccurrence(RunContents(run).split.train, len(vectors), recipe.graph)[chosen][:, chosen]
    fit(
        model,
        partial(tokenizing.TOKENIZERS[config.kind], tokenizer=config),
        VectorBatches(sample, config.batch_size, recipe.seed, edges),
        _tokenizer_training(config),
        seed=recipe.seed,
        folder=folder,
        hooks=Hooks(before_epoch=tokenizer.Upkeep(model, sample, recipe.seed)),
        title="tokenize",
    )


def tokenize_origin(run: Run) -> tuple[dict[str, Any], dict[str, str]]:
    """What semantic IDs hang on: their settings, and the digests of what they are made from."""
    settings = run.recipe.model_dump(mode="json", include={"tokenizer", "seed"})
    parents = {"aligned": run.digest("aligned")}
    if run.recipe.tokenizer.uses_interactions:
        settings |= run.recipe.model_dump(mode="json", include={"graph", "split"})
        parents["interactions"] = run.digest("interactions")
    return settings, parents


def train(run: Run, say: Say) -> None:
    """Train the generator until its validation score no longer rises."""
    settings, parents = training_origin(run)
    if run.done("model", settings, parents):
        return
    contents, recipe = RunContents(run), run.recipe
    method = contents.method
    torch.manual_seed(recipe.seed)
    model = method.build(contents.materials, recipe)
    if isinstance(model, Fused) and model.neighbours is not None:
        model.neighbours.learn(contents.split.train)
    if isinstance(model, Fused) and recipe.fusion.generator is not None:
        assemble(contents, model)
        _settle(contents, model, say)
        _save_weights(run, "model", model, settings, parents)
        return
    data = HistoryBatches(contents, model)
    say(
        f"{recipe.method}: {sum(p.numel() for p in model.parameters()):,} parameters, "
        f"{data.sequences.num_targets:,} targets in {len(data.sequences):,} histories"
    )
    hooks = Hooks(score=lambda: validate(contents, model), after_epoch=lambda row: _warn_of_chance(contents, row, say))
    folder = run.training_folder("train", settings, parents)
    objective = method.objective(contents.materials, recipe)
    result = fit(model, objective, data, recipe.train, seed=recipe.seed, folder=folder, hooks=hooks,
                 title=f"train {recipe.method}")  # fmt: skip
    say(f"best validation NDCG@10 {result.best_score or 0:.4f} in epoch {result.best_epoch + 1}")
    if isinstance(model, Fused):
        _settle(contents, model, say)
    _save_weights(run, "model", model, settings, parents)


STAGES: dict[str, Callable[[Run, Say], None]] = {  # in the order of `methods.STAGE_NAMES`
    "prepare": prepare,
    "embed": embed,
    "propagate": propagate,
    "tokenize": tokenize,
    "train": train,
}


def run_until(run: Run, last: str, say: Say) -> None:
    """Every stage up to and with `last`, skipping what is done.

    Raises:
        ConfigError: several processes, and not only training is left to do.
    """
    before = METHODS[run.recipe.method].stages[-2]
    made = {"prepare": "interactions", "embed": "vectors", "tokenize": "sids"}[before]
    if Processes.launched().size > 1 and not (last == "train" and artifact.exists(run.path(made))):
        raise ConfigError(
            "Several processes can train one model, but the stages before would write over each other; run "
            f"`sidestep {before}` in one process first, then `sidestep train` in several"
        )
    wanted = METHODS[run.recipe.method].stages
    for name, stage in STAGES.items():
        if name in wanted or last not in wanted:  # whoever asks for IDs by name gets them, whatever is trained
            stage(run, say)
        if name == last:
            return


def _tokenizer_training(config: tokenizer.TokenizerConfig) -> TrainConfig:
    shared = {"epochs", "batch_size", "lr", "weight_decay", "warmup_steps"}
    return TrainConfig.model_validate(config.model_dump(include=shared))


class HistoryBatches:
    """Training histories as the loop wants them."""

    def __init__(self, contents: RunContents, model: Any) -> None:
        self.sequences = TrainingSequences(contents.split.train, model.reads, model.every_position)
        self._size, self._seed = contents.run.recipe.train.batch_size, contents.run.recipe.seed

    def batches(self, epoch: int) -> list[Any]:
        return self.sequences.batches(self._size, self._seed, epoch)

    def load(self, index: Any) -> SequenceBatch:
        return self.sequences.batch(index)


def validate(contents: RunContents, model: nn.Module) -> float:
    """NDCG@10 on a fixed sample of validation users, seen items masked."""
    ranks = _validation_ranks(contents, contents.recommending(model, contents.run.recipe.evaluate.valid_beams))
    return float(ndcg(ranks, 10).mean())


def _validation_ranks(contents: RunContents, recommender: Recommender) -> Ints:
    recipe = contents.run.recipe
    cases = contents.split.valid.sample(recipe.evaluate.valid_users, recipe.seed)
    return rank_cases(recommender, cases, k=10, seen="masked", batch_size=recipe.evaluate.batch_size).ranks


def _settle(contents: RunContents, model: Fused, say: Say) -> None:
    """Choose how much neighbours count among the item-level scores, then these beside the codes."""
    model.eval()
    if model.neighbours is not None:
        alone = ItemwiseRecommender(model.score, len(contents.popularity), Reads(int(model.scored_history)))
        weight, weighed = best_weight(model.neighbour_weight, lambda: _validation_ranks(contents, alone))
        say(
            f"neighbours' weight {weight:g} on validation: NDCG@10 of the items {max(weighed):.4f}, without neighbours "
            f"{weighed[0]:.4f}"
        )
    recommender = contents.recommending(model, contents.run.recipe.evaluate.valid_beams)
    assert isinstance(recommender, FusedRecommender)
    balance, found = best_balance(recommender, lambda asked: _validation_ranks(contents, asked))
    model.balance.fill_(balance)
    say(
        f"balance {balance:g} on validation: NDCG@10 {max(found):.4f}, codes alone {found[0]:.4f}, items alone "
        f"{found[-1]:.4f} of the same candidates"
    )


def _warn_of_chance(contents: RunContents, row: dict[str, Any], say: Say) -> None:
    """Thoughts that name clusters no better than chance after some epochs teach the codes nothing."""
    if row["epoch"] < 3 or "thought_accuracy_1" not in row:
        return
    sids = contents.materials.ids  # with the clusters that are taught
    for level, cluster in enumerate(sids.clusters_of_items.T):
        accuracy = row.get(f"thought_accuracy_{level + 1}")
        shares = np.bincount(cluster, weights=contents.popularity)
        chance = shares.max() / shares.sum()  # of always naming the largest cluster
        if accuracy is not None and len(shares) > 1 and accuracy <= chance:
            say(f"warning: thoughts at level {level + 1} are at chance: {accuracy:.1%} right, chance {chance:.1%}")


def _save_weights(run: Run, name: str, model: nn.Module, settings: dict[str, Any], parents: dict[str, str]) -> None:
    if not Processes.launched().is_first:  # all processes hold the same weights
        return
    tensors = {key: value.detach().cpu().numpy() for key, value in model.state_dict().items()}
    artifact.save(run.path(name), "weights", tensors=tensors, config=settings, parents=parents)
