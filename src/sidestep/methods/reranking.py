"""Re-ranking: a pre-ranker's first candidates, put in a new order by a second look at them (GR2)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from sidestep.config import Section
from sidestep.data.labels import ItemLabels
from sidestep.data.splits import TrainingInteractions
from sidestep.errors import ConfigError, DataError, did_you_mean
from sidestep.llm.config import LLMConfig
from sidestep.methods.assembling import pre_ranker_of
from sidestep.methods.counted import COUNTED
from sidestep.methods.language import LanguageOrder
from sidestep.methods.method import (
    FinishedRun,
    Materials,
    Method,
    Needs,
    Phase,
    Ranks,
    Say,
    SecondLook,
    Work,
)
from sidestep.methods.recipe import Recipe
from sidestep.methods.search_plan import SearchPlan
from sidestep.methods.second_looks import Lessons, ListwiseOrder, ReasonedOrder, SecondOrder
from sidestep.recommenders.recommender import Recommender
from sidestep.recommenders.reranked import RerankedRecommender
from sidestep.rerankers.cases import TrainingCases
from sidestep.rerankers.evidence import MOST_HISTORY, Evidence
from sidestep.rerankers.learning import taken_first
from sidestep.rerankers.listwise import RerankerConfig
from sidestep.rerankers.reasoner import ReasonerConfig
from sidestep.sids.semantic_ids import SemanticIds
from sidestep.training.loop import Objective

KINDS_OF_LOOK: dict[str, SecondOrder] = {
    "listwise": ListwiseOrder(),
    "reasoner": ReasonedOrder(),
    "llm": LanguageOrder(),
}
LEAST_HITS = 500
"""Cases whose answer is among the candidates, below which weights would be noise."""
PRE_RANKER = "pre-ranker"
"""The row of an evaluation with the first order of a pre-ranker that needs training."""


class TwoLooks(nn.Module):
    """A pre-ranker, what speaks for its candidates, and what puts them in a new order by that."""

    def __init__(self, base: nn.Module, evidence: Evidence, second: nn.Module, labels: ItemLabels) -> None:
        super().__init__()
        self.base, self.evidence, self.second, self.labels = base, evidence, second, labels


@dataclass(frozen=True)
class Reranking(Method):
    """base: the pre-ranker's method, and order: what gives the second order, both of which the recipe names."""

    base: Method = COUNTED["item-knn-recent"]
    order: SecondOrder = KINDS_OF_LOOK["listwise"]

    own: ClassVar[Mapping[str, type[Section]]] = {
        "reranker": RerankerConfig,
        "reasoner": ReasonerConfig,
        "llm": LLMConfig,
    }
    names_parts = "reranker"
    case_keys: ClassVar[Mapping[str, frozenset[str]]] = {
        "reranker": frozenset({"base", "over", "candidates", "folds", "most"})
    }

    def bound(self, recipe: Recipe, methods: Mapping[str, Method]) -> Method:
        name, known = recipe.section(RerankerConfig).base, {**COUNTED, **methods}
        if name not in known or isinstance(known[name], Reranking):
            bases = [base for base, method in known.items() if not isinstance(method, Reranking)]
            raise ConfigError(
                f"reranker.base = {name!r} is no pre-ranker{did_you_mean(name, bases)}; expected one of "
                f"{', '.join(COUNTED)}, or a method of `sidestep methods`"
            )
        return replace(self, base=known[name].bound(recipe, methods), order=_kind(recipe))

    @property
    def sections(self) -> Mapping[str, type[Section]]:
        return {**self.base.sections, **self.own}

    @property
    def needs(self) -> Needs:
        libraries, extra = self.order.libraries, self.order.extra
        return replace(self.base.needs, vectors=True, labels=True, cases=True, libraries=libraries, extra=extra)

    @property
    def validation(self) -> frozenset[str]:
        return self.base.validation

    @property
    def ranking(self) -> frozenset[str]:
        return self.base.ranking

    @property
    def pre_ranker(self) -> Method:
        return self.base

    def second_look(self, recipe: Recipe) -> SecondLook:
        config = recipe.section(RerankerConfig)
        first = config.base if config.base in COUNTED else PRE_RANKER
        return SecondLook(first, config.candidates, config.folds, config.most)

    def first_look(self, recommender: Recommender) -> Recommender:
        assert isinstance(recommender, RerankedRecommender)
        return recommender.pre_ranker

    def check(self, recipe: Recipe) -> None:
        config = recipe.section(RerankerConfig)
        if config.base not in COUNTED and config.over is None:
            raise ConfigError(
                f"reranker.base = {config.base!r} is trained first, and reranker.over names no finished run of it; "
                "`sidestep rerank RUN` does both"
            )
        if config.base in COUNTED and config.over is not None:
            raise ConfigError(
                f"reranker.over = {str(config.over)!r} names a finished run, and reranker.base = {config.base!r} needs "
                "none; leave one of them out"
            )
        if config.candidates > recipe.evaluate.k:
            raise ConfigError(
                f"reranker.candidates = {config.candidates} is more than the evaluate.k = {recipe.evaluate.k} items of "
                f"a list; set evaluate.k={config.candidates} too"
            )
        if self.base.parts_of(recipe):
            raise ConfigError(
                f"reranker.base = {config.base!r} is put together from finished runs here, and its candidates come "
                "from trainings on parts of the users; name a pre-ranker that is trained in one run"
            )
        self.base.check(recipe)

    def thinks(self, recipe: Recipe) -> bool:
        return self.base.thinks(recipe)

    def supervision(self, sids: SemanticIds, recipe: Recipe) -> SemanticIds:
        return self.base.supervision(sids, recipe)

    def build(self, materials: Materials, recipe: Recipe) -> nn.Module:
        assert materials.labels is not None
        second = _kind(recipe).build(materials, recipe)
        return TwoLooks(self.base.build(materials, recipe), _evidence(materials), second, materials.labels)

    def count(self, model: nn.Module, train: TrainingInteractions) -> None:
        assert isinstance(model, TwoLooks)
        self.base.count(model.base, train)
        model.evidence.learn(train)

    def parts_of(self, recipe: Recipe) -> Mapping[str, Path]:
        over = recipe.section(RerankerConfig).over
        return {} if over is None else {"over": over}

    def assemble(self, model: nn.Module, own: FinishedRun, parts: Mapping[str, FinishedRun]) -> None:
        assert isinstance(model, TwoLooks)
        part = parts["over"]
        place = f"reranker.over = {str(part.folder)!r}"
        model.base.load_state_dict(pre_ranker_of(own, part, own.recipe.section(RerankerConfig).base, place))

    def objective(self, materials: Materials, recipe: Recipe) -> Objective:
        return taken_first

    def phases(
        self,
        model: Any,
        materials: Materials,
        recipe: Recipe,
        train: TrainingInteractions,
        cases: TrainingCases | None = None,
    ) -> Iterable[Phase | Work]:
        assert cases is not None
        config, hits = recipe.section(RerankerConfig), cases.crossed.hits()
        if len(hits) < LEAST_HITS:
            raise DataError(
                f"The pre-ranker's first {config.candidates} candidates hold the next item in {len(hits)} of "
                f"{len(cases.crossed):,} cases, too few to learn from (at least {LEAST_HITS}); take more candidates, "
                "as in reranker.candidates=50 evaluate.k=50, or a better pre-ranker"
            )
        assert materials.labels is not None
        _kind(recipe).check(materials.labels)
        lessons = Lessons(
            hits, cases.valid.hits(), len(cases.valid), train, lambda: _evidence(materials), model.evidence
        )
        yield from _kind(recipe).phases(model.second, lessons, recipe)

    def notes(self, model: nn.Module, train: TrainingInteractions) -> list[str]:
        return self.base.notes(model.base, train) if isinstance(model, TwoLooks) else []

    def tune(self, model: nn.Module, materials: Materials, recipe: Recipe, ranks: Ranks, say: Say) -> None:
        assert isinstance(model, TwoLooks)
        if line := _kind(recipe).summary(model.second):
            say(line)

    def recommender(self, model: Any, recipe: Recipe, plan: SearchPlan) -> RerankedRecommender:
        first = self.base.recommender(model.base, recipe, plan)
        second = _kind(recipe).reranker(model.second, model.evidence, model.labels)
        return RerankedRecommender(first, second, recipe.section(RerankerConfig).candidates, MOST_HISTORY)

    def beams(self, recipe: Recipe) -> int | None:
        beams = self.base.beams(recipe)
        return None if beams is None else max(beams, recipe.section(RerankerConfig).candidates)

    def search_protocol(self, recipe: Recipe) -> tuple[str, ...]:
        config = recipe.section(RerankerConfig)
        return *self.base.search_protocol(recipe), f"the first {config.candidates} of {config.base} in a new order"


def _kind(recipe: Recipe) -> SecondOrder:
    return KINDS_OF_LOOK[recipe.section(RerankerConfig).kind]


def _evidence(materials: Materials) -> Evidence:
    assert materials.labels is not None
    return Evidence(materials.popularity, materials.item_vectors, materials.labels)


METHODS: dict[str, Method] = {
    "reranked": Reranking(
        "the first candidates of another, in a new order",
        "after Liang et al. 2026, arXiv 2602.07774",
    )
}
