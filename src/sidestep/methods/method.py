"""What a method is: an object that owns its parts. Nothing outside this room depends on which kind it is."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from sidestep.config import Section
from sidestep.data.interactions import Interactions, Ints
from sidestep.data.labels import ItemLabels
from sidestep.data.splits import TrainingInteractions
from sidestep.errors import ConfigError
from sidestep.layers.item_rows import RowShards
from sidestep.methods.recipe import Recipe
from sidestep.methods.search_plan import SearchPlan
from sidestep.methods.time import TimeConfig
from sidestep.recommenders.recommender import Recommender, Servable
from sidestep.rerankers.cases import TrainingCases
from sidestep.sids.semantic_ids import SemanticIds
from sidestep.sids.timeline import Timeline
from sidestep.training.loop import Batches, Objective
from sidestep.training.optim import TrainConfig
from sidestep.vectors.item_vectors import ItemVectors

Say = Callable[[str], None]
Ranks = Callable[[Recommender], Ints]
"""The ranks of the validation targets under a recommender, `[C]`."""


@dataclass(frozen=True)
class Needs:
    """What a method cannot do without.

    ids: semantic IDs. vectors: the items' vectors, read by the model itself, as they are before the graph. text: a text
    for every item. times: times that can be compared between users. labels: categories and brands, where the catalogue
    has any. cases: candidates of a pre-ranker, cross-fitted. libraries: modules of optional libraries, and in `extra`
    the name of ours that installs them.
    """

    ids: bool = False
    vectors: bool = False
    text: bool = False
    times: bool = False
    labels: bool = False
    cases: bool = False
    libraries: tuple[str, ...] = ()
    extra: str = ""


@dataclass(frozen=True)
class Materials:
    """What a model is built from, of the run's N items.

    popularity: occurrences in training, `[N]`. sids, vectors, labels: None where the method does not need them. titles:
    there where labels are. timeline: the semantic IDs slice by slice, where they follow content. shards: the rows of
    tables of items that this process trains; None for all.
    """

    popularity: Ints
    sids: SemanticIds | None = None
    vectors: ItemVectors | None = None
    labels: ItemLabels | None = None
    titles: Sequence[str] | None = None
    timeline: Timeline | None = None
    shards: RowShards | None = None

    @property
    def ids(self) -> SemanticIds:
        assert self.sids is not None
        return self.sids

    @property
    def item_vectors(self) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The values of the vectors, `[N, D]`."""
        assert self.vectors is not None
        return self.vectors.values


@dataclass(frozen=True)
class Phase:
    """One course of training.

    name: of the folder of its checkpoints. module: what is trained. data: None takes the training histories, which are
    validated by ranking. config: None takes [train]. score: of the validation, where there is data of its own.
    report: what to say when it is trained, besides the score: a line, and behind it what to warn of.
    """

    name: str
    module: nn.Module
    objective: Objective
    data: Batches | None = None
    config: TrainConfig | None = None
    score: Callable[[], float] | None = None
    report: Callable[[], list[str]] | None = None


@dataclass(frozen=True)
class Work:
    """A course of training that another library's loop goes through.

    name: of its folder. do: what is to be done there, and said; nothing, where the folder says that it is done.
    """

    name: str
    do: Callable[[Path, Say], object]


@dataclass(frozen=True)
class SecondLook:
    """That a method puts candidates of another in a new order.

    first: the row of an evaluation with the first order. candidates: how many items are put in order. folds, most: of
    the cross-fitted cases, see `rerankers.cases.cross_fitted`.
    """

    first: str
    candidates: int
    folds: int
    most: int | None


class FinishedRun(ABC):
    """A trained run, as far as another one that is put together from it looks at it. Each part is read when it is used.

    folder: where it lies. recipe, method: what was trained. interactions, sids, vectors: what it was trained on.
    """

    @property
    @abstractmethod
    def folder(self) -> Path: ...
    @property
    @abstractmethod
    def recipe(self) -> Recipe: ...
    @property
    @abstractmethod
    def method(self) -> "Method": ...
    @property
    @abstractmethod
    def interactions(self) -> Interactions: ...
    @property
    @abstractmethod
    def sids(self) -> SemanticIds: ...
    @property
    @abstractmethod
    def vectors(self) -> ItemVectors: ...
    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """The trained weights.

        Raises:
            ArtifactError: nothing is trained, or not on what the folder now holds.
        """


@dataclass(frozen=True)
class Method(ABC):
    """A row of the table: a way to recommend, with everything that the stages must know of it.

    A family is a subclass in a file of its own: it names the sections of the recipe that it reads and what it needs,
    builds the model, gives the objective, makes the recommender, and does what follows training.

    summary: in a few words. paper: where it is published. parts: recipe values that make the method what it is, by
    section; a recipe's own values win over them.
    """

    summary: str
    paper: str
    parts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    grows: ClassVar[bool] = False
    """Whether the trained model also answers with items that get their semantic IDs later."""
    ranks_by_paths: ClassVar[bool] = False
    """Whether its answers are ranked by the paths of their codes alone, so that `analyse` explains them."""
    follows_content: ClassVar[bool] = False
    """Whether its items may have other semantic IDs at other times ([slices])."""
    exports_graph: ClassVar[bool] = False
    """Whether its whole search can be exported as one graph (`pipeline/graph.py`)."""

    names_parts: ClassVar[str] = "fusion"
    """The section whose keys name the finished runs of `parts_of`."""
    case_keys: ClassVar[Mapping[str, frozenset[str]]] = {}
    """The keys of its sections that its cross-fitted cases depend on, besides all that the pre-ranker reads."""

    @property
    @abstractmethod
    def sections(self) -> Mapping[str, type[Section]]:
        """The sections of the recipe that it reads besides those of every run, by name."""

    @property
    @abstractmethod
    def needs(self) -> Needs: ...

    @property
    def validation(self) -> frozenset[str]:
        """The keys of [evaluate] that its validation depends on."""
        return frozenset({"valid_beams", "valid_users"})

    @property
    def ranking(self) -> frozenset[str]:
        """The keys of [evaluate] that its ranked lists depend on."""
        return frozenset({"num_beams", "k", "precision"})

    def bound(self, recipe: Recipe, methods: Mapping[str, "Method"]) -> "Method":
        """The method as a recipe completes it, out of the table of methods.

        Raises:
            ConfigError: the recipe names no such method.
        """
        return self

    @property
    def shards_items(self) -> bool:
        """Whether its model takes `Materials.shards`, so that processes can share out its tables of items."""
        return False

    @property
    def pre_ranker(self) -> "Method | None":
        """The method whose candidates it puts in a new order; None where it ranks by itself."""
        return None

    def second_look(self, recipe: Recipe) -> SecondLook | None:
        """What it puts in a new order; None where it ranks by itself."""
        return None

    def first_look(self, recommender: Recommender) -> Recommender:
        """The recommender that gives the first order; itself, where there is no second look."""
        return recommender

    def check(self, recipe: Recipe) -> None:  # noqa: B027, most methods have nothing to refuse
        """Refuse settings that contradict the method.

        Raises:
            ConfigError: which keys, and what to set instead.
        """

    def thinks(self, recipe: Recipe) -> bool:
        """Whether its model has thoughts."""
        return False

    def time(self, recipe: Recipe) -> TimeConfig:
        """What its model is told of times: nothing, unless it reads the section [time]."""
        return recipe.section(TimeConfig) if TimeConfig in self.sections.values() else TimeConfig()

    def supervision(self, sids: SemanticIds, recipe: Recipe) -> SemanticIds:
        """The semantic IDs whose codes and clusters supervise the model; a control may exchange them."""
        return sids

    @abstractmethod
    def build(self, materials: Materials, recipe: Recipe) -> nn.Module:
        """A new model; its weights are drawn from PyTorch's global random state."""

    @abstractmethod
    def objective(self, materials: Materials, recipe: Recipe) -> Objective:
        """What is minimised."""

    def phases(
        self,
        model: Any,
        materials: Materials,
        recipe: Recipe,
        train: TrainingInteractions,
        cases: TrainingCases | None = None,
    ) -> Iterable[Phase | Work]:
        """What is trained, one after the other; nothing, where the model is put together from finished runs.

        cases: there where the method needs them.
        """
        return () if self.parts_of(recipe) else (Phase("train", model, self.objective(materials, recipe)),)

    def count(self, model: nn.Module, train: TrainingInteractions) -> None:  # noqa: B027, most count nothing
        """Fill what the model counts instead of learning it, before training."""

    def notes(self, model: nn.Module, train: TrainingInteractions) -> list[str]:
        """What to warn of before training, looking at the log."""
        return []

    def parts_of(self, recipe: Recipe) -> Mapping[str, Path]:
        """Finished runs that the model is put together from instead of being trained, by the part that each gives."""
        return {}

    def assemble(self, model: nn.Module, own: FinishedRun, parts: Mapping[str, FinishedRun]) -> None:
        """Fill a new model from the finished runs of `parts_of`.

        Raises:
            ConfigError: a run that does not fit.
        """
        raise NotImplementedError

    def begin(self, model: nn.Module, own: FinishedRun, start: FinishedRun) -> None:
        """Give a new model the weights of the finished run `train.start`.

        Raises:
            ConfigError: it does not fit, or the method cannot begin so. ArtifactError: it is not trained.
        """
        raise ConfigError(
            f"Method {own.recipe.method!r} cannot begin with the weights of another run; leave train.start out"
        )

    def warnings(self, row: Mapping[str, Any], materials: Materials) -> list[str]:
        """What an epoch's row of the training log should warn of."""
        return []

    def tune(  # noqa: B027, most choose nothing
        self, model: nn.Module, materials: Materials, recipe: Recipe, ranks: Ranks, say: Say
    ) -> None:
        """Choose on validation what is not trained, once the weights are."""

    @abstractmethod
    def recommender(self, model: Any, recipe: Recipe, plan: SearchPlan) -> Servable:
        """A model, trained or in training, as a recommender."""

    def beams(self, recipe: Recipe) -> int | None:
        """Paths that are searched for a ranked list: never fewer than it has items. None where nothing is searched."""
        return None

    def search_protocol(self, recipe: Recipe) -> tuple[str, ...]:
        """What a figure depends on besides the split and the ranking, in words."""
        return self.time(recipe).protocol()

    def chosen(self, tensors: Mapping[str, Any]) -> dict[str, float]:
        """What `tune` has chosen, by name, out of the weights."""
        return {}

    def training_of_its_own(self, defaults: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Settings that a study gives the method in place of its recipe's, by section; empty where the recipe holds.

        defaults: those of [train].
        """
        return {}
