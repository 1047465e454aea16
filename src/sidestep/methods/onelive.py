"""OneLive: its parts, each as a method of its own."""

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

from sidestep.config import Section
from sidestep.generators.encoder_decoder import GeneratorConfig
from sidestep.generators.multi_token import MultiToken, MultiTokenConfig
from sidestep.methods.generative import PLAIN, Generative
from sidestep.methods.method import Materials, Method
from sidestep.methods.recipe import Recipe
from sidestep.objectives import generating
from sidestep.training.loop import Objective


class MultiTokenGenerative(Generative):
    """A generator with a light module for every code after the first."""

    sections: ClassVar[Mapping[str, type[Section]]] = {**Generative.sections, "mtp": MultiTokenConfig}
    exports_graph = False

    def generator(self, materials: Materials, recipe: Recipe) -> MultiToken:
        return MultiToken(materials.ids, recipe.section(GeneratorConfig), recipe.section(MultiTokenConfig))

    def objective(self, materials: Materials, recipe: Recipe) -> Objective:
        return partial(generating.multi_token, smoothing=recipe.section(GeneratorConfig).smoothing)


METHODS: dict[str, Method] = {
    "tiger-mtp": MultiTokenGenerative(
        "TIGER with a light module for each code after the first", "arXiv 2602.08612, sec. 3", PLAIN
    ),
    "onelive": MultiTokenGenerative(
        "TIGER with light modules, a clock, gates and normed queries and keys",
        "arXiv 2602.08612; without its tokenizer and its alignment",
        {
            **PLAIN,
            "generator": {"gate": "head", "qk_norm": True},
            "time": {"history": True, "request": True},
        },
    ),
}
