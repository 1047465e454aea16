"""OneLive: its parts, each as a method of its own."""

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

from sidestep.config import Section
from sidestep.errors import ConfigError
from sidestep.generators.encoder_decoder import GeneratorConfig
from sidestep.generators.module_thoughts import ModuleThoughts, plain
from sidestep.generators.multi_token import MultiToken, MultiTokenConfig
from sidestep.generators.thinking import ThinkingConfig
from sidestep.methods.generative import COBA, PLAIN, Generative, Taught, asked_of_codes
from sidestep.methods.method import Materials, Method
from sidestep.methods.recipe import Recipe
from sidestep.objectives import generating
from sidestep.training.loop import Objective


class MultiTokenGenerative(Generative):
    """A generator with a light module for every code after the first."""

    sections: ClassVar[Mapping[str, type[Section]]] = {**Generative.sections, "mtp": MultiTokenConfig}

    def generator(self, materials: Materials, recipe: Recipe) -> MultiToken:
        return MultiToken(materials.ids, recipe.section(GeneratorConfig), recipe.section(MultiTokenConfig))

    def check(self, recipe: Recipe) -> None:
        if recipe.section(MultiTokenConfig).thoughts == "inputs":
            raise ConfigError(
                f"mtp.thoughts = 'inputs' is for a method that thinks, and {recipe.method!r} does not; "
                "leave it out, or use method = 's2gr-mtp'"
            )

    def objective(self, materials: Materials, recipe: Recipe) -> Objective:
        return partial(generating.multi_token, how=asked_of_codes(recipe))


class ThinkingOverModules(Taught):
    """S²GR whose modules' inputs are its thoughts."""

    sections: ClassVar[Mapping[str, type[Section]]] = {**Taught.sections, "mtp": MultiTokenConfig}

    def check(self, recipe: Recipe) -> None:
        super().check(recipe)
        if recipe.section(MultiTokenConfig).thoughts != "inputs":
            raise ConfigError(
                f"mtp.thoughts = 'none' leaves method {recipe.method!r} no thoughts after the first code; leave it at "
                "'inputs', or use method = 'tiger-mtp'"
            )
        if not plain(recipe.section(ThinkingConfig)):
            raise ConfigError(
                f"Method {recipe.method!r} has one thought before every code, what its module reads; leave "
                "thinking.per_level, placement, carry, levels, residual and remember at their defaults, or use 's2gr'"
            )

    def generator(self, materials: Materials, recipe: Recipe) -> ModuleThoughts:
        shape, thinking = recipe.section(GeneratorConfig), recipe.section(ThinkingConfig)
        return ModuleThoughts(materials.ids, shape, thinking, recipe.section(MultiTokenConfig))


METHODS: dict[str, Method] = {
    "tiger-mtp": MultiTokenGenerative(
        "TIGER with a light module for each code after the first", "arXiv 2602.08612, sec. 3", PLAIN
    ),
    "s2gr-mtp": ThinkingOverModules(
        "S2GR with a light module for each code after the first, whose input is the thought",
        "S2GR over arXiv 2602.08612; ours",
        {**COBA, "mtp": {"thoughts": "inputs", "all_positions": False}},
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
