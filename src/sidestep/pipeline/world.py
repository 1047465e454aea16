"""What the stages read of a run folder, and the only place where a model is built from one."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sidestep import artifact
from sidestep.baselines.item_knn import ItemKNN
from sidestep.baselines.popularity import Popularity
from sidestep.data.catalog import Catalog
from sidestep.data.interactions import Interactions, Ints
from sidestep.data.splits import Split, split
from sidestep.errors import ArtifactError
from sidestep.methods import METHODS
from sidestep.pipeline.run import Run
from sidestep.recommenders.facade import TrainedModel
from sidestep.recommenders.generative import GenerativeRecommender, Precision
from sidestep.recommenders.itemwise import ItemwiseRecommender
from sidestep.recommenders.recommender import Recommender
from sidestep.sids.names import cluster_names
from sidestep.sids.semantic_ids import SemanticIds


def load(folder: str | Path) -> TrainedModel:
    """The trained model of a run folder, ready to recommend.

    Raises:
        ArtifactError: no run there, a stage not done yet, or altered bytes.
    """
    return World(Run.open(Path(folder))).model()


@dataclass(frozen=True)
class World:
    """The parts of a run, each read once."""

    run: Run

    @cached_property
    def catalog(self) -> Catalog:
        return Catalog.load(self.run.path("catalog"))

    @cached_property
    def interactions(self) -> Interactions:
        return Interactions.load(self.run.path("interactions"))

    @cached_property
    def split(self) -> Split:
        return split(self.interactions, self.run.recipe.split)

    @cached_property
    def sids(self) -> SemanticIds:
        return SemanticIds.load(self.run.path("sids"))

    @cached_property
    def popularity(self) -> Ints:
        return self.split.train.popularity(len(self.catalog))

    @cached_property
    def cluster_names(self) -> list[list[str]]:
        titles = [self.catalog.title(item) for item in range(len(self.catalog))]
        return cluster_names(self.sids, titles, self.catalog.texts, self.popularity)

    def generative(self, model: nn.Module, num_beams: int, precision: Precision = "fp32") -> GenerativeRecommender:
        max_history = self.run.recipe.generator.max_history
        return GenerativeRecommender(model, self.sids, self.popularity, max_history, num_beams, precision)

    def trained(self) -> GenerativeRecommender:
        """The trained generator as a recommender; the only place where one is built from a folder."""
        recipe = self.run.recipe
        settings, parents = training_origin(self.run)
        saved = artifact.load(self.run.path("model"), "weights")
        if saved.manifest.config != settings or saved.manifest.parents != parents:
            raise ArtifactError(
                f"{str(self.run.path('model'))!r} was trained on other semantic IDs or with other settings than "
                "the run folder now holds; train it again with --force"
            )
        model = METHODS[recipe.method].build(self.sids, recipe)
        model.to("cuda" if torch.cuda.is_available() else "cpu")
        model.load_state_dict({name: torch.from_numpy(value) for name, value in saved.tensors.items()})
        return self.generative(model, recipe.evaluate.num_beams, recipe.evaluate.precision)

    def model(self) -> TrainedModel:
        """The trained generator as users hold it."""
        return TrainedModel(self.trained(), self.catalog, self.interactions, self.sids, lambda: self.cluster_names)

    def recommender(self, name: str) -> Recommender:
        """The trained model by its method's name, or a baseline that needs no training."""
        train, num_items = self.split.train, len(self.catalog)
        if name == "popularity":
            return ItemwiseRecommender(Popularity.fit(train, num_items), num_items)
        if name == "item-knn":
            return ItemwiseRecommender(ItemKNN.fit(train, num_items), num_items)
        return self.trained()


def training_origin(run: Run) -> tuple[dict[str, Any], dict[str, str]]:
    """What a trained model hangs on: its settings, and the digests of the artifacts it was trained on."""
    recipe = run.recipe
    sections = {"split", "generator", "thinking", "train"}
    settings = recipe.model_dump(mode="json", include={"method", "seed", *sections})
    settings["train"].pop("checkpoint_seconds")
    settings["train"]["log_with"] = []  # who looks on changes nothing
    settings["validation"] = [recipe.evaluate.valid_beams, recipe.evaluate.valid_users]
    return settings, {name: run.digest(name) for name in ("interactions", "sids")}
