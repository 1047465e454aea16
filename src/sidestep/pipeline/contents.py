"""The contents of a run folder, each read once, and the only place where a model is built from one."""

import importlib.util
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sidestep import artifact
from sidestep.data.catalog import Catalog
from sidestep.data.interactions import Interactions, Ints
from sidestep.data.labels import ItemLabels, labels
from sidestep.data.splits import Split, split
from sidestep.encoders.directions import unit_rows
from sidestep.errors import ArtifactError, ConfigError, MissingExtraError
from sidestep.methods.method import FinishedRun, Materials, Method
from sidestep.methods.recipe import Recipe
from sidestep.methods.search_plan import SearchPlan
from sidestep.methods.table import method_of
from sidestep.pipeline import lineage, missing, slicing, versions
from sidestep.pipeline.baselines import baseline
from sidestep.pipeline.run import Run
from sidestep.pipeline.settings import changes
from sidestep.pipeline.stage import TRAIN, vectors_of
from sidestep.recommenders.generative import Precision
from sidestep.recommenders.recommender import Recommender, Servable
from sidestep.recommenders.sliced import OnAirRecommender
from sidestep.recommenders.trained import TrainedModel
from sidestep.rerankers.cases import TrainingCases
from sidestep.sids import tokenizer
from sidestep.sids.content import Content
from sidestep.sids.names import cluster_names
from sidestep.sids.path_names import PathNames
from sidestep.sids.semantic_ids import SemanticIds
from sidestep.sids.timeline import Timeline
from sidestep.vectors.behaviour import joined
from sidestep.vectors.edges import edges_path, graph_of
from sidestep.vectors.files import located
from sidestep.vectors.graph import Graph
from sidestep.vectors.item_vectors import ItemVectors
from sidestep.vectors.text_tuning import ReadsTexts, tuner_of
from sidestep.vectors.tuning import VectorMap


@dataclass(frozen=True)
class RunContents(FinishedRun):
    """The parts of a run, each read once.

    version: of the catalogue and the semantic IDs; training and evaluation know the first alone. later: whether slices
        count that were added to the finished run; they come after what is evaluated.
    """

    run: Run
    version: int = 1
    later: bool = False

    def path(self, name: str) -> Path:
        """Where an artifact lies, in this version where versions have it, once it is known to belong to the others.

        Raises:
            ArtifactError: it does not.
        """
        lineage.check(self.run, name)
        if self.version == 1 or name not in versions.PARTS:
            return self.run.path(name)
        versions.manifest(self.run, self.version)
        return versions.folder(self.run, self.version) / name

    @cached_property
    def catalog(self) -> Catalog:
        return Catalog.load(self.path("catalog"))

    @cached_property
    def interactions(self) -> Interactions:
        return Interactions.load(self.path("interactions"))

    @cached_property
    def split(self) -> Split:
        return split(self.interactions, self.run.recipe.split)

    @cached_property
    def sids(self) -> SemanticIds:
        return SemanticIds.load(self.path("sids"))

    @cached_property
    def aligned(self) -> ItemVectors:
        """What the tokenizer learnt from, of the first version's items."""
        return ItemVectors.load(self.path("aligned"))

    @property
    def taught(self) -> ItemVectors:
        """What the tokenizer learns from: `rows`, or where there are slices, the vectors of all of them in training."""
        return ItemVectors.load(self.path("moving")) if self.recipe.slices.kind != "none" else self.rows

    @cached_property
    def slices(self) -> slicing.RunSlices:
        """What a run with slices holds of them."""
        return slicing.RunSlices(self.run, self.path, self.later)

    @cached_property
    def timeline(self) -> Timeline | None:
        """The semantic IDs of every slice and what is on air there; for a method without IDs, the latter alone. None
        where the recipe has no slices.
        """
        if self.recipe.slices.kind == "none":
            return None
        needed = self.method.needs.ids
        return self.slices.sliced[0] if needed else slicing.on_air(self.slices.windows, len(self.catalog))

    @cached_property
    def content(self) -> Content | None:
        """What the tokenizer is told of the first version's items besides vectors; None where it is told nothing."""
        config = self.recipe.tokenizer
        return Content(Catalog.load(self.run.path("catalog")), config, self.images) if config.uses_labels else None

    @property
    def images(self) -> Path | None:
        """The user's file of vectors of images that the tokenizer is told, if there is one."""
        path = self.recipe.tokenizer.unified.images
        return None if path is None else located(path, self.recipe.data.path, Path.is_file)

    @cached_property
    def rows(self) -> ItemVectors:
        """What the tokenizer reads of the first version's items."""
        return self.aligned if self.content is None else self.content.rows(self.aligned, self.content.catalog)

    def rows_of(self, vectors: ItemVectors, catalog: Catalog) -> ItemVectors:
        """What the tokenizer reads of any items, with vectors like `aligned`."""
        return vectors if self.content is None else self.content.rows(vectors, catalog)

    @cached_property
    def tokenizer(self) -> tokenizer.Tokenizer:
        """The trained or fitted tokenizer.

        Raises:
            ArtifactError: missing, altered, or from a release whose tokenizers had other parts.
        """
        recipe = self.run.recipe
        saved = artifact.load(self.path("tokenizer"), "weights")
        model = tokenizer.build(self.taught, recipe.tokenizer, recipe.seed, self.content)
        try:
            model.load_state_dict({name: torch.from_numpy(value) for name, value in saved.tensors.items()})
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
        """Per level, a name per cluster, over all items."""
        sids = self.materials.sids or self.sids
        return cluster_names(sids, self.catalog.titles, self.catalog.texts, self.popularity)

    @cached_property
    def path_names(self) -> PathNames:
        sids, categories = self.named_sids or self.sids, labels(self.catalog, "category")
        return PathNames(sids, self.catalog.titles, categories, self.popularity)

    @property
    def folder(self) -> Path:
        return self.run.folder

    @property
    def recipe(self) -> Recipe:
        return self.run.recipe

    @property
    def method(self) -> Method:
        return method_of(self.recipe)

    @cached_property
    def embedded(self) -> ItemVectors:
        """The items' vectors as they were embedded, of the first version's items."""
        return ItemVectors.load(self.path("vectors"))

    @cached_property
    def vectors(self) -> ItemVectors:
        """The items' vectors before the graph, tuned where the recipe tunes them, of the first version's items."""
        return ItemVectors.load(self.path(vectors_of(self.recipe)))

    @cached_property
    def tuner(self) -> VectorMap | ReadsTexts | None:
        """What embedded vectors or texts, also of new items, go through; None where the recipe tunes none."""
        if self.recipe.tune.kind == "none":
            return None
        saved = artifact.load(self.path("tuner"), "weights")
        weights = {name: torch.from_numpy(value) for name, value in saved.tensors.items()}
        return tuner_of(self.recipe.tune, weights) if self.recipe.tune.reads_texts else VectorMap.of(weights)

    def after_tuning(self, embedded: ItemVectors) -> ItemVectors:
        """Vectors as they were embedded, of any items, after the run's tuning of vectors.

        Raises:
            ConfigError: the run has tuned an encoder, which reads texts.
        """
        if isinstance(self.tuner, ReadsTexts):
            raise ConfigError(
                f"The vectors of {str(self.run.folder)!r} are those of a tuned encoder, which reads texts; other "
                "vectors have no place in it"
            )
        return embedded if self.tuner is None else self.tuner.apply_to(embedded)

    @property
    def graph(self) -> Graph:
        """The recipe's co-occurrence graph of the first version's items; made anew every time, since it is large."""
        return graph_of(self.split.train, self.catalog, self.recipe.graph, self.recipe.data.path)

    @property
    def graph_files(self) -> list[Path]:
        """The user's file or folder that the graph is read from, if it is."""
        path = edges_path(self.recipe.graph, self.recipe.data.path)
        return [] if path is None else [path]

    def with_behaviour(self, vectors: ItemVectors, further: bool = False) -> ItemVectors:
        """Vectors as the tokenizer reads them, before the graph: those of the first version's items beside the vectors
        from behaviour, where the recipe has any. further: of other items, which have no behaviour.
        """
        config = self.recipe.behaviour
        known = config.source != "none" and not further
        behaviour = ItemVectors.load(self.run.path("behaviour")).values if known else None
        return joined(vectors, behaviour, config)

    def further_inputs(self, vectors: ItemVectors) -> ItemVectors:
        """What the tokenizer reads of further items, from their vectors after the run's tuning. They have no neighbour
        in the co-occurrence graph, which leaves their vectors unchanged, and no behaviour.
        """
        inputs = self.with_behaviour(vectors, further=True)
        return ItemVectors(unit_rows(inputs.values)) if self.recipe.graph.enabled else inputs

    @cached_property
    def materials(self) -> Materials:
        """What the run's method is built from."""
        needs = self.method.needs
        sids = self.method.supervision(self.sids, self.recipe) if needs.ids else None
        known, titles = (ItemLabels.of(self.catalog), self.catalog.titles) if needs.labels else (None, None)
        timeline = self.timeline if needs.ids else None
        return Materials(self.popularity, sids, self.vectors if needs.vectors else None, known, titles, timeline)

    @cached_property
    def cases(self) -> TrainingCases | None:
        """What a re-ranker learns from; None where the method puts nothing in a new order."""
        if not self.method.needs.cases:
            return None
        return TrainingCases.load(self.path("cases"), self.split.train, self.interactions)

    def refuse_missing_libraries(self) -> None:
        """Raises:
        MissingExtraError: a library that the run's method needs is not installed.
        """
        needs = self.method.needs
        for library in needs.libraries:
            if importlib.util.find_spec(library) is None:
                raise MissingExtraError(
                    f"{library!r} is missing; this recipe needs `pip install 'sidestep[{needs.extra}]'`"
                )

    def refuse_what_is_missing(self) -> None:
        """Raises as `missing.refuse`."""
        missing.refuse(self.recipe, self.interactions, self.catalog)

    @property
    def tree(self) -> SemanticIds | None:
        """The semantic IDs that answers are searched among, now; None where the method needs none."""
        if not self.method.needs.ids:
            return None
        return self.sids if self.timeline is None else self.timeline.sids(len(self.timeline) - 1, self.sids)

    @property
    def named_sids(self) -> SemanticIds | None:
        """The semantic IDs that name paths: those that supervise the model, or those of now where they move."""
        return self.materials.sids if self.timeline is None else self.tree

    def recommending(self, model: Any, num_beams: int, precision: Precision = "fp32") -> Servable:
        """A model of the run's method, trained or still in training, as a recommender."""
        plan = SearchPlan(self.popularity, self.tree, num_beams, precision, self.materials.timeline)
        return self.method.recommender(model, self.recipe, plan)

    def trained(self) -> Servable:
        """The trained model as a recommender."""
        return self.recommending(self.module, self.recipe.evaluate.num_beams, self.recipe.evaluate.precision)

    @cached_property
    def module(self) -> nn.Module:
        """The trained model; the only place where one is built from a folder."""
        saved = self.tensors()
        if self.version > 1 and not self.sids.continues(RunContents(self.run).sids):
            raise ArtifactError(
                f"Version {self.version} of the semantic IDs in {str(self.run.folder)!r} moves IDs that the generator "
                "was trained with; train one on a run of these items"
            )
        model = self.method.build(self.materials, self.recipe)
        model.to("cuda" if torch.cuda.is_available() else "cpu")
        model.load_state_dict(saved)
        return model.eval()

    def tensors(self) -> dict[str, Tensor]:
        """The trained weights.

        Raises:
            ArtifactError: nothing is trained, or not on what the folder now holds.
        """
        saved = artifact.load(self.run.path("model"), "weights")
        own = {name: self.run.digest(name) for name in TRAIN.reads(self.recipe)}  # parts may be gone: it holds them
        if (
            changes(saved.manifest.config, TRAIN.settings(self.recipe))
            or not own.items() <= saved.manifest.parents.items()
        ):
            raise ArtifactError(
                f"{str(self.run.path('model'))!r} was trained on other semantic IDs or with other settings than "
                "the run folder now holds; train it again with --force"
            )
        lineage.check(self.run, "model")
        return {name: torch.from_numpy(value) for name, value in saved.tensors.items()}

    def model(self) -> TrainedModel:
        """The trained model as users hold it."""
        sids = self.named_sids
        return TrainedModel(self.trained(), self.catalog, self.interactions, sids, lambda: self.path_names)

    def recommender(self, name: str) -> Recommender:
        """The trained model by its method's name, or a baseline that needs no training. All of them answer with what is
        on air, where the run has slices.
        """
        found, timeline = baseline(name, self.split.train, len(self.catalog)), self.timeline
        if found is None:
            second = self.trained()
            found = second if name == self.recipe.method else self.method.first_look(second)
        return found if timeline is None or isinstance(found, OnAirRecommender) else OnAirRecommender(found, timeline)
