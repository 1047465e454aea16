"""What the stages read of a run folder, and the only place where a model is built from one."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sidestep import artifact
from sidestep.data.catalog import Catalog
from sidestep.data.interactions import Interactions, Ints
from sidestep.data.splits import Split, split
from sidestep.errors import ArtifactError
from sidestep.methods import METHODS, Materials, Method, Recipe
from sidestep.pipeline import versions
from sidestep.pipeline.run import RECIPE, Run, changes
from sidestep.recommenders.facade import TrainedModel
from sidestep.recommenders.fused import FusedRecommender
from sidestep.recommenders.generative import GenerativeRecommender, Precision
from sidestep.recommenders.itemwise import ItemwiseRecommender
from sidestep.recommenders.recommender import Recommender
from sidestep.scorers.item_knn import ItemKNN, ItemKNNConfig
from sidestep.scorers.popularity import Popularity
from sidestep.sids import tokenizer
from sidestep.sids.clusters import shuffled
from sidestep.sids.names import cluster_names
from sidestep.sids.semantic_ids import SemanticIds
from sidestep.sids.trie import Trie
from sidestep.vectors.item_vectors import ItemVectors


def load(folder: str | Path) -> TrainedModel:
    """The trained model of a run folder, ready to recommend from the newest version of its catalogue; or of a bundle.

    Raises:
        ArtifactError: no run there, a stage not done yet, or altered bytes.
    """
    run = Run.open(Path(folder))
    return RunContents(run, versions.newest(run)).model()


@dataclass(frozen=True)
class RunContents:
    """The parts of a run, each read once.

    version: of the catalogue and the semantic IDs; training and evaluation know the first alone.
    """

    run: Run
    version: int = 1

    @cached_property
    def catalog(self) -> Catalog:
        return Catalog.load(versions.folder(self.run, self.version) / "catalog")

    @cached_property
    def interactions(self) -> Interactions:
        return Interactions.load(self.run.path("interactions"))

    @cached_property
    def split(self) -> Split:
        return split(self.interactions, self.run.recipe.split)

    @cached_property
    def sids(self) -> SemanticIds:
        if self.version > 1:
            versions.manifest(self.run, self.version)
        return SemanticIds.load(versions.folder(self.run, self.version) / "sids")

    @cached_property
    def aligned(self) -> ItemVectors:
        """What the tokenizer learnt from, of the first version's items."""
        return ItemVectors.load(self.run.path("aligned"))

    @cached_property
    def tokenizer(self) -> tokenizer.Tokenizer:
        """The trained or fitted tokenizer.

        Raises:
            ArtifactError: not made yet, altered, or by another release whose tokenizers had other parts.
        """
        recipe = self.run.recipe
        saved = artifact.load(self.run.path("tokenizer"), "weights")
        model = tokenizer.build(self.aligned, recipe.tokenizer, recipe.seed)
        try:
            _fill(model, saved)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise ArtifactError(
                f"{str(saved.folder)!r} does not fit the tokenizer that its recipe builds now ({reason}); make it "
                "again with --force"
            ) from None
        return model.eval()

    @cached_property
    def popularity(self) -> Ints:
        return self.split.train.popularity(len(self.catalog))

    @cached_property
    def cluster_names(self) -> list[list[str]]:
        titles = [self.catalog.title(item) for item in range(len(self.catalog))]
        return cluster_names(self.materials.sids or self.sids, titles, self.catalog.texts, self.popularity)

    @property
    def method(self) -> Method:
        return METHODS[self.run.recipe.method]

    @cached_property
    def materials(self) -> Materials:
        """What the run's method is built from."""
        sids = self.sids if "tokenize" in self.method.stages else None
        if sids is not None and self.run.recipe.thinking.clusters == "shuffled":
            sids = shuffled(sids, self.run.recipe.seed)
        vectors = ItemVectors.load(self.run.path("vectors")) if self.method.uses_vectors else None
        return Materials(self.popularity, sids, vectors)

    def recommending(self, model: Any, num_beams: int, precision: Precision = "fp32") -> Recommender:
        """A model of the run's method, trained or still in training, as a recommender."""
        sids = self.sids if self.method.kind != "baseline" else None
        return recommending(self.run.recipe, model, self.popularity, sids, num_beams, precision)

    def trained(self) -> Recommender:
        """The trained model as a recommender; the only place where one is built from a folder."""
        recipe, saved = self.run.recipe, self.weights()
        if self.version > 1 and not self.sids.continues(SemanticIds.load(self.run.path("sids"))):
            raise ArtifactError(
                f"Version {self.version} of the semantic IDs in {str(self.run.folder)!r} moves IDs that the generator "
                "was trained with; train one on a run of these items"
            )
        model = self.method.build(self.materials, recipe)
        model.to("cuda" if torch.cuda.is_available() else "cpu")
        _fill(model, saved)
        return self.recommending(model.eval(), recipe.evaluate.num_beams, recipe.evaluate.precision)

    def weights(self) -> artifact.Artifact:
        """What was trained.

        Raises:
            ArtifactError: nothing was, or it does not belong to what the folder now holds.
        """
        saved = artifact.load(self.run.path("model"), "weights")
        settings, parents = training_origin(self.run, saved.manifest.parents)
        if changes(saved.manifest.config, settings) or saved.manifest.parents != parents:
            raise ArtifactError(
                f"{str(self.run.path('model'))!r} was trained on other semantic IDs or with other settings than "
                "the run folder now holds; train it again with --force"
            )
        return saved

    def model(self) -> TrainedModel:
        """The trained model as users hold it."""
        sids = self.materials.sids
        return TrainedModel(self.trained(), self.catalog, self.interactions, sids, lambda: self.cluster_names)

    def recommender(self, name: str) -> Recommender:
        """The trained model by its method's name, or a baseline that needs no training."""
        train, num_items = self.split.train, len(self.catalog)
        if name == "popularity":
            return ItemwiseRecommender(Popularity.fit(train, num_items), num_items)
        if name in ("item-knn", "item-knn-recent"):
            config = ItemKNNConfig(half_life=1 if name == "item-knn-recent" else None)
            return ItemwiseRecommender(ItemKNN.fit(train, num_items, config), num_items)
        return self.trained()


def recommending(
    recipe: Recipe, model: Any, popularity: Ints, sids: SemanticIds | Trie | None, num_beams: int, precision: Precision
) -> Recommender:
    """A model of the recipe's method as a recommender. sids: None for a method that says none."""
    if sids is None:
        return ItemwiseRecommender(model.score, len(popularity), model.reads)
    search = GenerativeRecommender(model, sids, popularity, model.reads, num_beams, precision)
    if METHODS[recipe.method].kind == "generator":
        return search
    scored_history, candidates = int(model.scored_history), recipe.fusion.candidates
    return FusedRecommender(search, model.score, float(model.balance), candidates, scored_history)


def _fill(model: nn.Module, saved: artifact.Artifact) -> None:
    model.load_state_dict({name: torch.from_numpy(value) for name, value in saved.tensors.items()})


def training_origin(run: Run, made: Mapping[str, str] | None = None) -> tuple[dict[str, Any], dict[str, str]]:
    """What a trained model hangs on: its settings, and the digests of the artifacts it was trained on.

    made: the digests that a finished model names, among them those of the parts that it was fused from, which it holds
        whole and need not be there any more.
    """
    recipe, method = run.recipe, METHODS[run.recipe.method]
    settings = recipe.model_dump(mode="json", include={"method", "seed", *method.sections})
    settings["train"].pop("checkpoint_seconds")
    settings["train"]["log_with"] = []  # who looks on changes nothing
    settings["validation"] = [recipe.evaluate.valid_beams, recipe.evaluate.valid_users]
    parents = ["interactions", *["sids"] * ("tokenize" in method.stages), *["vectors"] * method.uses_vectors]
    if "fusion" in settings:  # what was fused counts, not where it lay
        settings["fusion"] |= {"generator": None, "scorer": None}
    fused = _fused_parts(run) if made is None else {name: made[name] for name in _PARTS if name in made}
    return settings, {name: run.digest(name) for name in parents} | fused


_PARTS = ("generator", "scorer")


def _fused_parts(run: Run) -> dict[str, str]:
    """The digests of the two trained models that a fused run is made from; nothing where it trains its own. A part that
    is gone is missed by nobody once the model is made.
    """
    if METHODS[run.recipe.method].kind != "fused":
        return {}
    made = artifact.read_manifest(run.path("model")).parents if artifact.exists(run.path("model")) else {}
    named = {name: getattr(run.recipe.fusion, name) for name in _PARTS}
    return {
        name: made[name] if name in made and not (folder / RECIPE).is_file() else Run.open(folder).digest("model")
        for name, folder in named.items()
        if folder is not None
    }
