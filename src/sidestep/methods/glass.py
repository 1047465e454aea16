"""GLASS: generators that look back beyond their window, with thoughts or without."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from sidestep.config import Section
from sidestep.data.sequences import question
from sidestep.data.splits import TrainingInteractions
from sidestep.errors import ConfigError
from sidestep.generators.encoder_decoder import GeneratorConfig
from sidestep.generators.long_history import LongConfig, LongHistory
from sidestep.generators.thinking import ThinkingConfig
from sidestep.methods.generative import COBA, Parts, Taught, Thoughtful
from sidestep.methods.method import Materials, Method, Needs
from sidestep.methods.recipe import Recipe

LOOKED_AT = 2_000
"""Users whose retrieval is looked at before training."""


class LooksBack(Thoughtful):
    """GLASS: the model reads items before its window by the hierarchy of their IDs."""

    sections: ClassVar[Mapping[str, type[Section]]] = {**Thoughtful.sections, "long": LongConfig}
    follows_content = False
    exports_graph = False

    @property
    def needs(self) -> Needs:
        return Needs(ids=True, vectors=self.parts.get("long", {}).get("tier") != "none")

    def check(self, recipe: Recipe) -> None:
        super().check(recipe)
        long, window = recipe.section(LongConfig), recipe.section(GeneratorConfig).max_history
        if 0 < long.items < window:
            raise ConfigError(
                f"long.items = {long.items} is less than generator.max_history = {window}: it counts the items before "
                "the window, and a history that short fits into a wider window; raise it, or set it to 0 for none"
            )
        if long.tier == "vectors" and not self.needs.vectors:
            raise ConfigError(
                f"long.tier = 'vectors' contradicts method {recipe.method!r}, which has no tier; use method = 'glass'"
            )

    def generator(self, materials: Materials, recipe: Recipe) -> LongHistory:
        long = recipe.section(LongConfig)
        vectors = torch.from_numpy(materials.item_vectors) if long.tier == "vectors" else None
        shape, thinking = recipe.section(GeneratorConfig), recipe.section(ThinkingConfig)
        return LongHistory(materials.ids, shape, thinking, long, vectors)

    def notes(self, model: nn.Module, train: TrainingInteractions) -> list[str]:
        assert isinstance(model, LongHistory)
        return sparse(model, train) if model.looks_back else []


class ThinksAndLooksBack(LooksBack, Taught):
    """S²GR that looks back: no thought before the first code does, all later ones do."""


def sparse(model: LongHistory, train: TrainingInteractions) -> list[str]:
    """A warning where most searches would come back empty, with the figures and the way out.

    Each user's last training item is taken for the target.
    """
    users = np.flatnonzero(train.lengths > 1)
    users = users[np.linspace(0, len(users) - 1, min(len(users), LOOKED_AT)).astype(np.int64)]
    batch = question([train.history(int(user))[:-1] for user in users], model.reads)
    targets = torch.from_numpy(train.items[train.offsets[users + 1] - 1])[:, None]
    assert batch.long is not None
    counts = model.num_retrieved(batch, targets)[:, 0].numpy()
    short = float((batch.long[:, 0] < 0).float().mean())
    empty = float((counts == 0).mean())
    if empty <= 0.5:
        return []
    window, size, *others = (model.config.max_history, *model.codebook_sizes)
    fewer = f"tokenizer.codebook_size = {[max(size // 4, 2), *others]}"
    return [
        f"of {len(users):,} users {empty:.0%} look up nothing on the way to their last training item, and all of them "
        f"{counts.mean():.1f} items on average: {short:.0%} have no more items than the {window} of the window, and "
        f"the first level has {size} codes. Take fewer codes there, as in {fewer}, let nearest codes join "
        "(long.neighbours), or shorten generator.max_history"
    ]


_GLASS = "arXiv 2602.05663"
_SMALL: Parts = {"tokenizer": {"kind": "rq-vae", "epochs": 60, "codebook_size": [64, 128, 128]}}


def _glass(summary: str, **long: Any) -> LooksBack:
    """GLASS, or a part of it."""
    silent = {"thinking": {"thoughts": False}, "graph": {"enabled": False}}
    return LooksBack(summary, _GLASS, {**_SMALL, **silent, "long": long})


METHODS: dict[str, Method] = {
    "glass": _glass("TIGER that looks back: a tier token, and a search by the first code"),
    "glass-no-tier": _glass("GLASS without the token before the first code", tier="none"),
    "glass-no-search": _glass("GLASS without the search after the first code", search=False),
    "s2gr-glass": ThinksAndLooksBack(
        "S2GR whose thoughts after the first code look back, too",
        f"{_GLASS}; ours",
        {**COBA, "tokenizer": {**COBA["tokenizer"], "codebook_size": [64, 128, 128]}},
    ),
}
