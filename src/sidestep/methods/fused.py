"""Fused methods: a generator of semantic IDs with a scorer of items beside it, trained at once or before."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from sidestep.config import Section
from sidestep.data.reads import Reads
from sidestep.data.splits import TrainingInteractions
from sidestep.errors import ConfigError
from sidestep.generators.encoder_decoder import GeneratorConfig
from sidestep.generators.fused import Fused, FusionConfig
from sidestep.generators.thinking import ThinkingConfig
from sidestep.methods import assembling
from sidestep.methods.balance import best_balance, best_weight
from sidestep.methods.generative import SHAPES, THOUGHTFUL, Thoughtful, codes_alone, supervised, thoughts_at_chance
from sidestep.methods.method import FinishedRun, Materials, Method, Needs, Ranks, Say
from sidestep.methods.recipe import Recipe
from sidestep.methods.scoring import two_towers
from sidestep.methods.search_plan import SearchPlan
from sidestep.objectives import fused as objective_fused
from sidestep.recommenders.fused import FusedRecommender
from sidestep.recommenders.itemwise import ItemwiseRecommender
from sidestep.scorers.sequential import BaselineConfig
from sidestep.training.loop import Objective


class GeneratorAndScorer(Thoughtful):
    """S²GR and two towers of SASRec; an item's score is a weighted mean of both."""

    sections: ClassVar[Mapping[str, type[Section]]] = {
        **SHAPES,
        "baseline": BaselineConfig,
        "fusion": FusionConfig,
    }
    grows = False  # its scorer knows items by their numbers
    ranks_by_paths = False
    follows_content = False
    exports_graph = False

    @property
    def needs(self) -> Needs:
        return Needs(ids=True, vectors=True)

    def check(self, recipe: Recipe) -> None:
        scored = recipe.section(BaselineConfig).max_history
        generated = recipe.section(GeneratorConfig).max_history
        if scored < generated:
            raise ConfigError(
                f"baseline.max_history = {scored} is less than generator.max_history = {generated}; a fused model's "
                "scorer reads at least as much"
            )

    def build(self, materials: Materials, recipe: Recipe) -> nn.Module:
        scorer = two_towers(materials, recipe.section(BaselineConfig))
        shape, thinking = recipe.section(GeneratorConfig), recipe.section(ThinkingConfig)
        return Fused(materials.ids, shape, thinking, scorer, recipe.section(FusionConfig))

    def objective(self, materials: Materials, recipe: Recipe) -> Objective:
        codes = supervised(materials, recipe) if self.thinks(recipe) else codes_alone(recipe)
        return partial(objective_fused.fused, codes=codes, baseline=recipe.section(BaselineConfig))

    def warnings(self, row: Mapping[str, Any], materials: Materials) -> list[str]:
        return thoughts_at_chance(row, materials)

    def count(self, model: nn.Module, train: TrainingInteractions) -> None:
        assert isinstance(model, Fused)
        if model.neighbours is not None:
            model.neighbours.learn(train)

    def parts_of(self, recipe: Recipe) -> Mapping[str, Path]:
        fusion = recipe.section(FusionConfig)
        folders = {"generator": fusion.generator, "scorer": fusion.scorer}
        return {part: folder for part, folder in folders.items() if folder is not None}

    def assemble(self, model: nn.Module, own: FinishedRun, parts: Mapping[str, FinishedRun]) -> None:
        assert isinstance(model, Fused)
        assembling.assemble(model, own, parts)

    def tune(self, model: nn.Module, materials: Materials, recipe: Recipe, ranks: Ranks, say: Say) -> None:
        """How much neighbours count among the item-level scores, then these beside the codes."""
        assert isinstance(model, Fused)
        model.eval()
        if model.neighbours is not None:
            alone = ItemwiseRecommender(model.score, len(materials.popularity), Reads(int(model.scored_history)))
            weight, weighed = best_weight(model.neighbour_weight, lambda: ranks(alone))
            say(
                f"neighbours' weight {weight:g} on validation: NDCG@10 of the items {max(weighed):.4f}, without "
                f"neighbours {weighed[0]:.4f}"
            )
        plan = SearchPlan(materials.popularity, materials.sids, recipe.evaluate.valid_beams)
        recommender = self.recommender(model, recipe, plan)
        balance, scores = best_balance(recommender, ranks)
        model.balance.fill_(balance)
        say(
            f"balance {balance:g} on validation: NDCG@10 {max(scores):.4f}, codes alone {scores[0]:.4f}, items alone "
            f"{scores[-1]:.4f} of the same candidates"
        )

    def recommender(self, model: Any, recipe: Recipe, plan: SearchPlan) -> FusedRecommender:
        candidates = recipe.section(FusionConfig).candidates
        scored_history = int(model.scored_history)
        return FusedRecommender(plan.searcher(model), model.score, float(model.balance), candidates, scored_history)

    def beams(self, recipe: Recipe) -> int:
        return max(super().beams(recipe), recipe.section(FusionConfig).candidates)

    def chosen(self, tensors: Mapping[str, Any]) -> dict[str, float]:
        return {"balance": float(torch.as_tensor(tensors["balance"])[0])}


METHODS: dict[str, Method] = {
    "s2gr-fused": GeneratorAndScorer(
        "S2GR with an item-level scorer beside it",
        "ours; S2GR eq. 19 trains an interest vector and drops it",
        {**THOUGHTFUL, "baseline": {"loss": "ce"}},
    ),
}
