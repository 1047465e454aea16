"""Generators with several latent branches before the first code."""

from collections.abc import Mapping
from typing import ClassVar

from sidestep.config import Section
from sidestep.generators.branching import Branching, BranchingConfig
from sidestep.generators.encoder_decoder import GeneratorConfig
from sidestep.methods.generative import BEST, Generative
from sidestep.methods.method import Materials, Method
from sidestep.methods.recipe import Recipe


class Branches(Generative):
    """A generator whose items are reached through each of several branches."""

    sections: ClassVar[Mapping[str, type[Section]]] = {**Generative.sections, "branching": BranchingConfig}
    exports_graph = False

    def generator(self, materials: Materials, recipe: Recipe) -> Branching:
        return Branching(materials.ids, recipe.section(GeneratorConfig), recipe.section(BranchingConfig))


METHODS: dict[str, Method] = {
    "s2gr-branches": Branches(
        "s2gr-plain with latent branches before the first code, whose probabilities add up",
        "after Latte, arXiv 2605.06331",
        BEST,
    ),
}
