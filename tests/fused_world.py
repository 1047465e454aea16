"""A small generator with two towers beside it, on the catalogue of `small_world`."""

import numpy as np
import torch

from sidestep.generators.fused import Fused, FusionConfig
from sidestep.generators.thinking import ThinkingConfig
from sidestep.scorers.sequential import BaselineConfig
from sidestep.scorers.towers import TwoTowers
from sidestep.sids.semantic_ids import SemanticIds
from small_world import make_sids, small

NUM_ITEMS = 40
POPULARITY = np.arange(NUM_ITEMS)


def make_fused(
    lead: bool = True,
    neighbours: int = 0,
    half_life: float | None = 1.0,
    floor: float = 0.1,
    sids: SemanticIds | None = None,
    **changes: object,
) -> Fused:
    torch.manual_seed(0)
    config = BaselineConfig(width=8, num_layers=1, inner=16, max_history=6)
    scorer = TwoTowers(POPULARITY, config, torch.randn(NUM_ITEMS, 5))
    for tower in (scorer.numbers, scorer.content):
        torch.nn.init.normal_(tower.item_embedding.weight)
    fusion = FusionConfig(lead=lead, neighbours=neighbours, half_life=half_life, floor=floor)
    return Fused(sids or make_sids(), small(**changes), ThinkingConfig(), scorer, fusion).eval()
