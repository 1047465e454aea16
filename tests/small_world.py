"""A small catalogue with known semantic IDs, and small generators on it."""

from dataclasses import replace

import numpy as np
import torch

from sidestep.data.interactions import NO_TIME
from sidestep.data.sequences import SequenceBatch, pad
from sidestep.generators.encoder_decoder import EncoderDecoder, GeneratorConfig
from sidestep.generators.module_thoughts import ModuleThoughts
from sidestep.generators.multi_token import MultiToken, MultiTokenConfig
from sidestep.generators.thinking import Thinking, ThinkingConfig
from sidestep.layers.clock import HOUR, Clock
from sidestep.sids.semantic_ids import SemanticIds

SIZES = (5, 4, 6)
THINKING: dict[str, dict[str, object]] = {
    "s2gr": {},
    "front": {"placement": "front"},
    "carried": {"carry": True},
    "two thoughts": {"per_level": 2},
    "two in front": {"per_level": 2, "placement": "front"},
    "codebook": {"centroids": "codebook"},
    "projected": {"centroids": "projected", "interest": False},
    "residual": {"residual": True, "position_scale": 1.0},
    "two levels": {"levels": [1, 2], "per_level": 2, "residual": True},
    "forgotten": {"remember": False, "carry": True, "levels": [3, 1]},
    "refined": {"residual": True, "remember": False, "gated": True, "per_level": 2, "interest": False},
    "repaired": {
        "carry": True,
        "residual": True,
        "code_weight": 0.3,
        "head_weight": 0.1,
        "levels": [1, 2],
        "align_weight": 0.0,
        "interest": False,
    },
}
"""Ways to think."""


def make_sids(num_items: int = 40, sizes: tuple[int, ...] = SIZES, seed: int = 0) -> SemanticIds:
    rng = np.random.default_rng(seed)
    codes = np.stack([rng.integers(0, size, num_items) for size in sizes], axis=1)
    codebooks = [rng.standard_normal((size, 8)).astype(np.float32) for size in sizes]
    clusters = [np.arange(size) % 2 for size in sizes]
    return SemanticIds(codes, sizes, codebooks, clusters)


def make_batch(num_items: int = 40, seed: int = 0) -> SequenceBatch:
    """Four histories of lengths 1 to 6 with a target after every item."""
    rng = np.random.default_rng(seed)
    lengths = [6, 1, 4, 3]
    histories = [rng.integers(0, num_items, length) for length in lengths]
    targets = [np.append(history[1:], rng.integers(0, num_items)) for history in histories]
    visible = [np.arange(1, length + 1) for length in lengths]
    return SequenceBatch(pad(histories), torch.tensor(lengths), pad(targets), pad(visible).clamp(min=1))


def timed(batch: SequenceBatch) -> SequenceBatch:
    """Each item of the history some hours after the one before it, each target at the time of the item that it is."""
    rng = np.random.default_rng(0)
    rows, width = batch.history.shape
    moments = torch.from_numpy(10**12 + np.cumsum(rng.integers(1, 50, (rows, width + 1)) * HOUR, axis=1))
    real = torch.arange(width) < batch.lengths[:, None]
    asked = moments.gather(1, batch.visible).masked_fill(batch.targets < 0, NO_TIME)
    return replace(batch, times=moments[:, :-1].masked_fill(~real, NO_TIME), asked=asked, absolute_times=True)


def awake(clock: Clock) -> Clock:
    """With last layers that are not 0 any more."""
    for each in (clock.history, clock.request):
        if each is not None:
            torch.nn.init.normal_(each.out.weight)
    return clock


def small(**changes: object) -> GeneratorConfig:
    shape = {"width": 16, "num_heads": 2, "head_width": 8, "inner": 32, "encoder_layers": 2, "decoder_layers": 2}
    return GeneratorConfig.model_validate({**shape, "max_history": 6, **changes})


def make(kind: str, sids: SemanticIds | None = None, **changes: object) -> EncoderDecoder:
    """kind: "tiger", "tiger-mtp", "s2gr-mtp", a way to think, or no thoughts; ", trie" behind it: a softmax over its
    children.
    """
    torch.manual_seed(0)
    kind, comma, softmax = kind.partition(", ")
    changes |= {"softmax": softmax} if comma else {}
    sids = sids or make_sids()
    if kind == "tiger":
        model = EncoderDecoder(sids, small(**changes))
    elif kind == "s2gr-mtp":
        model = ModuleThoughts(sids, small(**changes), ThinkingConfig(), MultiTokenConfig())
    elif kind == "tiger-mtp":
        model = MultiToken(sids, small(**changes), MultiTokenConfig())
    else:
        thinking = THINKING.get(kind, {"thoughts": False})
        model = Thinking(sids, small(**changes), ThinkingConfig.model_validate(thinking))
    torch.nn.init.normal_(model.encoder.bias.weight)
    torch.nn.init.normal_(model.decoder.bias.weight)
    return model.eval()
