"""Ensembles: finished generators of semantic IDs from several tokenizers, whose log-probabilities are averaged."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sidestep.config import Section
from sidestep.errors import ConfigError
from sidestep.generators.encoder_decoder import GeneratorConfig
from sidestep.generators.ensemble import Ensemble, EnsembleConfig
from sidestep.generators.thinking import ThinkingConfig
from sidestep.methods.assembling import generator_of, same_ids
from sidestep.methods.generative import SHAPES, THOUGHTFUL, Thoughtful
from sidestep.methods.method import FinishedRun, Materials, Method
from sidestep.methods.recipe import Recipe
from sidestep.methods.search_plan import SearchPlan
from sidestep.recommenders.ensemble import EnsembleRecommender
from sidestep.recommenders.generative import trie_of
from sidestep.training.loop import Objective


class GeneratorsTogether(Thoughtful):
    """Generators that were trained before; nothing is trained anew."""

    sections: ClassVar[Mapping[str, type[Section]]] = {**SHAPES, "ensemble": EnsembleConfig}
    grows = False  # a further item would need an ID of every tokenizer
    ranks_by_paths = False
    follows_content = False
    exports_graph = False
    names_parts = "ensemble"

    def build(self, materials: Materials, recipe: Recipe) -> nn.Module:
        return Ensemble(materials.ids, recipe.section(GeneratorConfig), recipe.section(ThinkingConfig))

    def objective(self, materials: Materials, recipe: Recipe) -> Objective:
        raise ConfigError(
            f"Method {recipe.method!r} is put together from finished runs, and ensemble.members names none; name two "
            'or more, as in ensemble.members=["runs/a","runs/b"]'
        )

    def parts_of(self, recipe: Recipe) -> Mapping[str, Path]:
        members = recipe.section(EnsembleConfig).members
        return {f"member_{number}": folder for number, folder in enumerate(members)}

    def assemble(self, model: nn.Module, own: FinishedRun, parts: Mapping[str, FinishedRun]) -> None:
        assert isinstance(model, Ensemble)
        tensors: dict[str, Tensor] = {}
        for number, part in enumerate(parts.values()):
            place = f"ensemble.members[{number}] = {str(part.folder)!r}"
            weights = generator_of(own, part, place)
            if part.sids.codebook_sizes != own.sids.codebook_sizes:
                sizes = f"{part.sids.codebook_sizes} there, {own.sids.codebook_sizes} here"
                raise ConfigError(f"{place} has codebooks of other sizes ({sizes}); all members need the same")
            if number:
                tensors[f"codes_{number}"] = torch.from_numpy(part.sids.codes)
            elif not same_ids(part.sids, own.sids):
                raise ConfigError(
                    f"{place} has other semantic IDs than this run's; take the first member's [tokenizer], [embed], "
                    "[behaviour], [graph] and seed"
                )
            tensors |= {f"members.{number}.{name}": value for name, value in weights.items()}
        try:
            model.load_state_dict(tensors)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise ConfigError(
                f"The members do not fit the model of this recipe ({reason}); take their sections [generator], "
                "[thinking] and [tokenizer]"
            ) from None

    def recommender(self, model: Any, recipe: Recipe, plan: SearchPlan) -> EnsembleRecommender:
        others = (trie_of(model.sids(number), plan.popularity) for number in range(1, len(model.members)))
        searchers = [
            plan.searcher(member, tree) for member, tree in zip(model.members, (plan.tree, *others), strict=True)
        ]
        return EnsembleRecommender(searchers, recipe.section(EnsembleConfig).candidates)

    def beams(self, recipe: Recipe) -> int:
        return max(super().beams(recipe), recipe.section(EnsembleConfig).candidates)

    def search_protocol(self, recipe: Recipe) -> tuple[str, ...]:
        candidates = recipe.section(EnsembleConfig).candidates
        return *super().search_protocol(recipe), f"{candidates} candidates of each member"


METHODS: dict[str, Method] = {
    "s2gr-ensemble": GeneratorsTogether(
        "finished generators on several tokenizers' IDs, their log-probabilities averaged", "ours", THOUGHTFUL
    ),
}
