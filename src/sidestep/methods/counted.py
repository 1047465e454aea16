"""Pre-rankers that are counted instead of trained: no rows of the table, since every evaluation has them anyway."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from sidestep.config import Section
from sidestep.data.splits import TrainingInteractions
from sidestep.methods.method import Materials, Method, Needs, Phase
from sidestep.methods.recipe import Recipe
from sidestep.methods.search_plan import SearchPlan
from sidestep.recommenders.itemwise import ItemwiseRecommender
from sidestep.rerankers.cases import TrainingCases
from sidestep.scorers.item_knn import ItemKNN, ItemKNNConfig
from sidestep.training.loop import Objective


@dataclass(frozen=True)
class Neighbours(Method):
    """Item-kNN. half_life: as in `ItemKNNConfig`."""

    half_life: float | None = None

    sections: ClassVar[Mapping[str, type[Section]]] = {}
    validation: ClassVar[frozenset[str]] = frozenset()
    ranking: ClassVar[frozenset[str]] = frozenset({"k"})

    @property
    def needs(self) -> Needs:
        return Needs()

    def build(self, materials: Materials, recipe: Recipe) -> nn.Module:
        return ItemKNN(materials.popularity, ItemKNNConfig(half_life=self.half_life))

    def count(self, model: nn.Module, train: TrainingInteractions) -> None:
        assert isinstance(model, ItemKNN)
        model.learn(train)

    def objective(self, materials: Materials, recipe: Recipe) -> Objective:
        raise NotImplementedError("it is counted, not trained")

    def phases(
        self,
        model: Any,
        materials: Materials,
        recipe: Recipe,
        train: TrainingInteractions,
        cases: TrainingCases | None = None,
    ) -> tuple[Phase, ...]:
        return ()

    def recommender(self, model: Any, recipe: Recipe, plan: SearchPlan) -> ItemwiseRecommender:
        return ItemwiseRecommender(model, len(plan.popularity))


COUNTED: dict[str, Method] = {
    "item-knn": Neighbours("item-kNN", "Deshpande & Karypis, ACM TOIS 2004"),
    "item-knn-recent": Neighbours(
        "item-kNN, the last items first", "Deshpande & Karypis, ACM TOIS 2004; ours", half_life=1.0
    ),
}
