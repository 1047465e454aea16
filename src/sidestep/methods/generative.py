"""Generators: methods that say the semantic ID of the next item, with thoughts (S²GR) or without (TIGER)."""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from sidestep.config import Section
from sidestep.errors import ConfigError
from sidestep.generators.encoder_decoder import EncoderDecoder, GeneratorConfig
from sidestep.generators.sliced_tokens import SlicedTokens
from sidestep.generators.thinking import Thinking, ThinkingConfig
from sidestep.methods.assembling import begin_from
from sidestep.methods.method import FinishedRun, Materials, Method, Needs
from sidestep.methods.recipe import Recipe
from sidestep.methods.search_plan import SearchPlan
from sidestep.methods.time import TimeConfig
from sidestep.objectives import generating
from sidestep.recommenders.recommender import Servable
from sidestep.sids.clusters import shuffled
from sidestep.sids.semantic_ids import SemanticIds
from sidestep.training.loop import Objective

Parts = Mapping[str, Mapping[str, Any]]
FIRST_WARNING = 3
"""Epochs before thoughts that know nothing are warned of."""
PLAIN: Parts = {"tokenizer": {"kind": "rq-vae", "epochs": 60}, "graph": {"enabled": False}}
COBA: Parts = {"tokenizer": {"kind": "coba-rq-vae"}, "graph": {"enabled": True}}
BEST: Parts = {
    **COBA,
    "behaviour": {"source": "sasrec"},
    "generator": {"softmax": "trie", "item_part": True},
}
"""What our figures favour over the papers: the study `base`, and the log of 2026-11-29 on other data."""
REPAIRED: Mapping[str, Any] = {
    "carry": True,
    "residual": True,
    "code_weight": 0.3,
    "head_weight": 0.1,
    "levels": [1, 2],
    "align_weight": 0.0,
    "interest": False,
}
"""Thoughts that cost no accuracy, where those of the paper do."""
THOUGHTFUL: Parts = {**BEST, "thinking": REPAIRED}
PAPER: Parts = {
    **COBA,
    "behaviour": {"source": "none"},
    "generator": {"softmax": "codebook", "item_part": False, "smoothing": 0.0, "prefix_weight": 0.0},
    "thinking": ThinkingConfig().model_dump(mode="json"),
}


SHAPES: Mapping[str, type[Section]] = {"generator": GeneratorConfig, "thinking": ThinkingConfig}
"""The sections of a generator without a clock."""


class Generative(Method):
    """What all generators share. [thinking] is one of their sections even where a generator does not think, so that one
    recipe serves all of them.
    """

    sections: ClassVar[Mapping[str, type[Section]]] = {**SHAPES, "time": TimeConfig}
    grows = True
    ranks_by_paths = True
    follows_content = True
    exports_graph = True

    @property
    def needs(self) -> Needs:
        return Needs(ids=True)

    def supervision(self, sids: SemanticIds, recipe: Recipe) -> SemanticIds:
        return shuffled(sids, recipe.seed) if recipe.section(ThinkingConfig).clusters == "shuffled" else sids

    def build(self, materials: Materials, recipe: Recipe) -> nn.Module:
        model = self.generator(materials, recipe)
        model.clock = self.time(recipe).clock(model.config.width)
        if materials.timeline is not None:
            model.sliced = SlicedTokens(materials.timeline, model.vocabulary)
        return model

    def generator(self, materials: Materials, recipe: Recipe) -> EncoderDecoder:
        """A new generator that has no clock yet."""
        return EncoderDecoder(materials.ids, recipe.section(GeneratorConfig))

    def objective(self, materials: Materials, recipe: Recipe) -> Objective:
        return codes_alone(recipe)

    def begin(self, model: nn.Module, own: FinishedRun, start: FinishedRun) -> None:
        begin_from(model, own, start)

    def recommender(self, model: Any, recipe: Recipe, plan: SearchPlan) -> Servable:
        return plan.over_time(model)

    def beams(self, recipe: Recipe) -> int:
        return max(recipe.evaluate.num_beams, recipe.evaluate.k)

    def search_protocol(self, recipe: Recipe) -> tuple[str, ...]:
        over_codebook = recipe.section(GeneratorConfig).softmax == "codebook"
        among = "the full codebook" if over_codebook else "the trie's children"
        searched = f"{self.beams(recipe)} beams", recipe.evaluate.precision, f"log-probabilities over {among}"
        return *searched, *super().search_protocol(recipe)


class Thoughtful(Generative):
    """S²GR with thoughts that are not taught: its model thinks, and only codes are trained."""

    def thinks(self, recipe: Recipe) -> bool:
        return recipe.section(ThinkingConfig).thoughts

    def generator(self, materials: Materials, recipe: Recipe) -> EncoderDecoder:
        return Thinking(materials.ids, recipe.section(GeneratorConfig), recipe.section(ThinkingConfig))


class Taught(Thoughtful):
    """S²GR: every thought is taught to name the cluster of the code to come."""

    def check(self, recipe: Recipe) -> None:
        if not recipe.section(ThinkingConfig).thoughts:
            raise ConfigError(
                f"thinking.thoughts = false leaves method {recipe.method!r} nothing to supervise; "
                "use method = 's2gr-plain'"
            )

    def objective(self, materials: Materials, recipe: Recipe) -> Objective:
        return supervised(materials, recipe)

    def warnings(self, row: Mapping[str, Any], materials: Materials) -> list[str]:
        return thoughts_at_chance(row, materials)


def codes_alone(recipe: Recipe) -> Objective:
    """TIGER's objective."""
    return partial(generating.tiger, how=asked_of_codes(recipe))


def supervised(materials: Materials, recipe: Recipe) -> Objective:
    """S²GR's objective on the clusters of the semantic IDs."""
    clusters = [torch.from_numpy(cluster) for cluster in materials.ids.clusters]
    how = asked_of_codes(recipe)
    return partial(generating.s2gr, thinking=recipe.section(ThinkingConfig), clusters=clusters, how=how)


def asked_of_codes(recipe: Recipe) -> generating.OfCodes:
    """How the recipe asks for codes."""
    config = recipe.section(GeneratorConfig)
    return generating.OfCodes(config.smoothing, config.prefix_weight, config.prefix_focus)


def thoughts_at_chance(row: Mapping[str, Any], materials: Materials) -> list[str]:
    """Levels whose thoughts name clusters no better than always naming the largest cluster does, after some epochs."""
    sids, warnings = materials.ids, []
    for level, clusters in enumerate(sids.clusters_of_items.T):
        accuracy = row.get(f"thought_accuracy_{level + 1}")
        if accuracy is None or row["epoch"] < FIRST_WARNING:
            continue
        shares = np.bincount(clusters, weights=materials.popularity)
        chance = shares.max() / shares.sum()
        if len(shares) > 1 and accuracy <= chance:
            warnings.append(f"thoughts at level {level + 1} are at chance: {accuracy:.1%} right, chance {chance:.1%}")
    return warnings


_TIGER = "Rajput et al. 2023, arXiv 2305.05065"
_S2GR = "Guo et al. 2026, arXiv 2601.18664"


def _s2gr_with(summary: str, **thinking: Any) -> Taught:
    """S²GR as in the paper, with other settings of its thoughts."""
    return Taught(summary, f"{_S2GR}; ours", {**COBA, "thinking": thinking})


METHODS: dict[str, Method] = {
    "tiger": Generative("three codes of a plain RQ-VAE, no thoughts", f"{_TIGER}, sec. 3", PLAIN),
    "s2gr": Taught(
        "thoughts that refine each code, on a softmax over the trie, an item part and IDs that know behaviour",
        f"{_S2GR}; ours",
        THOUGHTFUL,
    ),
    "s2gr-plain": Generative("s2gr without thoughts, in less time", "ours", BEST),
    "s2gr-paper": Taught("S2GR to the letter: a supervised thought before each code", f"{_S2GR}, sec. 4", PAPER),
    "s2gr-no-coba": Taught("s2gr-paper on a plain RQ-VAE", f"{_S2GR}, table 2", PLAIN),
    "s2gr-no-reason": Generative("s2gr-paper without thoughts: CoBa codes alone", f"{_S2GR}, table 2", COBA),
    "s2gr-no-think-loss": Thoughtful("s2gr-paper with thoughts that are not supervised", f"{_S2GR}, table 2", COBA),
    "tiger-clock": Generative(
        "TIGER that is told the hour and the day of the history and of the request",
        "arXiv 2602.08612, sec. 3; ours",
        {**PLAIN, "time": {"history": True, "request": True}},
    ),
    "tiger-lazy": Generative(
        "TIGER without encoder blocks: the decoder reads the items as they are",
        "arXiv 2602.08612, sec. 3",
        {**PLAIN, "generator": {"encoder": "lazy"}},
    ),
    "tiger-4": Generative(
        "TIGER with a fourth code that distinguishes items of one ID",
        f"{_TIGER}, sec. 3.1",
        {**PLAIN, "tokenizer": {**PLAIN["tokenizer"], "collisions": "extra"}},
    ),
    "s2gr-no-interest": _s2gr_with("no vector of the whole interest: without eqs 19-21", interest=False),
    "s2gr-codebook": _s2gr_with(
        "eq. 18 to the letter: centroids are those of the frozen codebook", centroids="codebook"
    ),
    "s2gr-projected": _s2gr_with("the same centroids through a learnt linear map", centroids="projected"),
    "s2gr-front": _s2gr_with("all thoughts before the first code", placement="front"),
    "s2gr-misaligned": _s2gr_with("a control: thoughts taught to name shuffled clusters", clusters="shuffled"),
    "s2gr-latent": Thoughtful(
        "two thoughts before each code, none of them taught",
        "ours",
        {**COBA, "thinking": {"per_level": 2, "interest": False}},
    ),
}
