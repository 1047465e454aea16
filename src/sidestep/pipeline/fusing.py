"""A fused model from two finished runs on the same data: a generator's weights, and a scorer's."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sidestep import artifact
from sidestep.errors import ConfigError
from sidestep.generators.fused import Fused
from sidestep.methods import METHODS, Recipe
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.run import Run
from sidestep.sids.semantic_ids import SemanticIds

SHAPES: dict[str, dict[str, tuple[str, ...]]] = {
    "generator": {
        "generator": (
            *("width", "num_heads", "head_width", "inner", "encoder_layers", "decoder_layers"),
            *("max_history", "encoder", "history"),
        ),
        "thinking": ("thoughts", "per_level", "placement", "carry", "clusters", "centroids", "tau", "interest"),
    },
    "scorer": {"baseline": ("width", "num_heads", "num_layers", "inner", "max_history")},
}
"""What of each section decides what a trained part computes, though its weights may fit otherwise, too."""

OWN = ("balance", "neighbour")
"""What begins the name of a tensor that a fused model has of neither."""


def assemble(contents: RunContents, model: Fused) -> None:
    """Fill a new fused model from `fusion.generator` and `fusion.scorer`.

    Raises:
        ConfigError: a part is of another method, was made on other data, other semantic IDs or other vectors, or its
            settings are others than this recipe's. What only its training read may differ.
        ArtifactError: a part is not trained, or not on what its folder now holds.
    """
    recipe = contents.run.recipe
    assert recipe.fusion.generator is not None
    assert recipe.fusion.scorer is not None
    tensors = _weights(contents, recipe.fusion.generator, "generator")
    scored = _weights(contents, recipe.fusion.scorer, "scorer")
    tensors |= {f"scorer.{name}": value for name, value in scored.items()}
    tensors |= {name: value for name, value in model.state_dict().items() if name.startswith(OWN)}
    tensors["scored_history"] = torch.tensor([recipe.baseline.max_history])
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ConfigError(
            f"The two parts do not fit the model of this recipe ({reason}); take the sections [generator], [thinking] "
            "and [baseline] of the runs that they come from"
        ) from None


def _weights(contents: RunContents, folder: Path, part: str) -> dict[str, Tensor]:
    other = RunContents(Run.open(folder))
    wanted = {"generator": "a generator", "scorer": "sasrec-towers"}[part]
    fits = other.method.kind == "generator" if part == "generator" else other.run.recipe.method == "sasrec-towers"
    if not fits:
        raise ConfigError(f"fusion.{part} = {str(folder)!r} holds a {other.run.recipe.method}; expected {wanted}")
    same = np.array_equal(other.interactions.items, contents.interactions.items)
    if not same or not np.array_equal(other.interactions.offsets, contents.interactions.offsets):
        raise ConfigError(f"fusion.{part} = {str(folder)!r} was trained on another log than this run's")
    if other.run.recipe.split != contents.run.recipe.split:
        raise ConfigError(f"fusion.{part} = {str(folder)!r} was trained on another split than this run's")
    if part == "generator" and not _same_ids(other.sids, contents.sids):
        raise ConfigError(
            f"fusion.generator = {str(folder)!r} says other semantic IDs than this run's; take its [tokenizer], "
            "[embed], [graph] and its seed"
        )
    vectors = [artifact.read_manifest(each.run.path("vectors")).files for each in (other, contents)]
    if part == "scorer" and vectors[0] != vectors[1]:  # by content, whatever file it was read from
        raise ConfigError(
            f"fusion.scorer = {str(folder)!r} reads other vectors than this run's; take its [embed] and its seed"
        )
    theirs, ours = _read(other.run.recipe, part), _read(contents.run.recipe, part)
    differing = [key for key in theirs if key in ours and theirs[key] != ours[key]]
    if differing:
        told = "; ".join(f"{key}: {theirs[key]!r} there, {ours[key]!r} here" for key in differing[:3])
        raise ConfigError(
            f"fusion.{part} = {str(folder)!r} has other settings than this recipe ({told}); set them as the "
            "part has them"
        )
    return {name: torch.from_numpy(value) for name, value in other.weights().tensors.items()}


def _read(recipe: Recipe, part: str) -> dict[str, Any]:
    """The settings that a part of a recipe's model computes with."""
    values = {
        f"{section}.{name}": getattr(getattr(recipe, section), name)
        for section, names in SHAPES[part].items()
        for name in names
    }
    if part == "scorer" or (METHODS[recipe.method].thinks and recipe.thinking.thoughts):
        return values
    spoken = {key: value for key, value in values.items() if not key.startswith("thinking.")}
    return {**spoken, "thinking.thoughts": False}


def _same_ids(one: SemanticIds, other: SemanticIds) -> bool:
    """Whether the codes are the same, and the clusters that thoughts are taught to name."""
    tables = zip((one.codes, *one.clusters), (other.codes, *other.clusters), strict=False)
    return one.num_levels == other.num_levels and all(np.array_equal(ours, theirs) for ours, theirs in tables)
