"""A fused model from two finished runs on the same data: a generator's weights, and a scorer's."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sidestep import artifact
from sidestep.errors import ConfigError
from sidestep.generators.fused import Fused
from sidestep.methods import Recipe
from sidestep.pipeline.run import Run
from sidestep.pipeline.world import World

SHAPES: dict[str, dict[str, tuple[str, ...]]] = {
    "generator": {
        "generator": (
            *("width", "num_heads", "head_width", "inner", "encoder_layers", "decoder_layers"),
            *("max_history", "encoder", "history"),
        ),
        "thinking": ("thoughts", "per_level", "placement", "clusters", "centroids", "tau", "interest"),
    },
    "scorer": {"baseline": ("width", "num_heads", "num_layers", "inner", "max_history")},
}
"""What of each section decides what a trained part computes, though its weights may fit otherwise, too."""


def assemble(world: World, model: Fused) -> None:
    """Fill a new fused model from `fusion.generator` and `fusion.scorer`.

    Raises:
        ConfigError: a part is of another method, was made on other data, other semantic IDs or other vectors, or its
        settings are others than this recipe's.
    """
    recipe = world.run.recipe
    assert recipe.fusion.generator is not None
    assert recipe.fusion.scorer is not None
    tensors = _weights(world, recipe.fusion.generator, "generator")
    scored = _weights(world, recipe.fusion.scorer, "scorer")
    tensors |= {f"scorer.{name}": value for name, value in scored.items()}
    tensors["balance"] = model.balance
    tensors["scored_history"] = torch.tensor([recipe.baseline.max_history])
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ConfigError(
            f"The two parts do not fit the model of this recipe ({reason}); take the sections [generator], [thinking] "
            "and [baseline] of the runs that they come from"
        ) from None


def _weights(world: World, folder: Path, part: str) -> dict[str, Tensor]:
    other = World(Run.open(folder))
    wanted = {"generator": "a generator", "scorer": "sasrec-towers"}[part]
    fits = other.method.kind == "generator" if part == "generator" else other.run.recipe.method == "sasrec-towers"
    if not fits:
        raise ConfigError(f"fusion.{part} = {str(folder)!r} holds a {other.run.recipe.method}; expected {wanted}")
    same = np.array_equal(other.interactions.items, world.interactions.items)
    if not same or not np.array_equal(other.interactions.offsets, world.interactions.offsets):
        raise ConfigError(f"fusion.{part} = {str(folder)!r} was trained on another log than this run's")
    if other.run.recipe.split != world.run.recipe.split:
        raise ConfigError(f"fusion.{part} = {str(folder)!r} was trained on another split than this run's")
    if part == "generator" and not np.array_equal(other.sids.codes, world.sids.codes):
        raise ConfigError(
            f"fusion.generator = {str(folder)!r} says other semantic IDs than this run's; take its [tokenizer], "
            "[embed], [graph] and its seed"
        )
    if part == "scorer" and other.run.digest("vectors") != world.run.digest("vectors"):
        raise ConfigError(
            f"fusion.scorer = {str(folder)!r} reads other vectors than this run's; take its [embed] and its seed"
        )
    differing = _differing(world.run.recipe, other.run.recipe, SHAPES[part])
    if differing:
        raise ConfigError(
            f"fusion.{part} = {str(folder)!r} has other settings than this recipe ({'; '.join(differing[:3])}); set "
            "them as the part has them"
        )
    saved = artifact.load(other.run.path("model"), "weights")
    return {name: torch.from_numpy(value) for name, value in saved.tensors.items()}


def _differing(recipe: Recipe, other: Recipe, keys: dict[str, tuple[str, ...]]) -> list[str]:
    """Where two recipes differ."""
    found = []
    for section, names in keys.items():
        for name in names:
            ours, theirs = (getattr(getattr(each, section), name) for each in (recipe, other))
            if ours != theirs:
                found.append(f"{section}.{name}: {theirs!r} there, {ours!r} here")
    return found
