"""Small generators that look back, on the catalogue of `small_world`, and questions with items before the window."""

from dataclasses import replace

import numpy as np
import torch

from sidestep.data.sequences import SequenceBatch, pad
from sidestep.generators.long_history import LongConfig, LongHistory
from sidestep.generators.thinking import ThinkingConfig
from sidestep.sids.semantic_ids import SemanticIds
from small_world import THINKING, make_batch, make_sids, small

KINDS = ["silent", "s2gr", "two in front", "forgotten", "two levels"]
"""Without thoughts, with one before each code, with all before the first, and with some that nothing looks back at, or
before some levels alone: who looks back where differs.
"""
VECTORS = torch.randn(40, 5, generator=torch.Generator().manual_seed(3))
OLDER = (9, 0, 14, 3)


def make_glass(
    kind: str = "silent",
    sids: SemanticIds | None = None,
    long: dict[str, object] | None = None,
    vectors: torch.Tensor = VECTORS,
    **changes: object,
) -> LongHistory:
    """Every gate is half open, and the tier's last layer is not zero, so that whatever is looked up matters."""
    torch.manual_seed(0)
    thinking = ThinkingConfig.model_validate(THINKING.get(kind, {"thoughts": False}))
    settings = LongConfig.model_validate({"items": 20, "retrieved": 3, "sparse_below": 2, **(long or {})})
    model = LongHistory(sids or make_sids(), small(**changes), thinking, settings, vectors)
    torch.nn.init.normal_(model.encoder.bias.weight)
    torch.nn.init.normal_(model.decoder.bias.weight)
    for name, parameter in model.named_parameters():
        if ".gate." in name or name.startswith("tier.out"):
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def make_long_batch(num_items: int = 40, seed: int = 0) -> SequenceBatch:
    """Four histories with a target after every item, and 9, 0, 14 and 3 items before the window."""
    rng = np.random.default_rng(seed)
    older = [rng.integers(0, num_items, length) for length in OLDER]
    return replace(make_batch(num_items, seed), long=pad(older))
