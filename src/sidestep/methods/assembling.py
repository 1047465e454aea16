"""Models from finished runs on the same data: a fused one from a generator's weights and a scorer's, one whose training
begins with another's weights, and what all of them ask of a generator.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sidestep.config import Section
from sidestep.errors import ConfigError
from sidestep.generators.encoder_decoder import GeneratorConfig
from sidestep.generators.fused import Fused
from sidestep.generators.thinking import ThinkingConfig
from sidestep.methods.method import FinishedRun
from sidestep.methods.recipe import Recipe
from sidestep.scorers.sequential import BaselineConfig
from sidestep.sids.semantic_ids import SemanticIds

TRAINING_ONLY: Mapping[type[Section], frozenset[str]] = {
    GeneratorConfig: frozenset({"dropout", "item_dropout", "smoothing", "prefix_weight", "prefix_focus", "start"}),
    ThinkingConfig: frozenset({"align_weight", "interest_layers", "reg_weight"}),
    BaselineConfig: frozenset(BaselineConfig.model_fields)
    - {"width", "num_heads", "num_layers", "inner", "max_history"},
}
"""Keys that only the training of a part reads. All others decide what it computes, even where the weights fit."""

FREE = ("generator.softmax", "generator.max_history", "baseline.max_history")
"""Settings in which a run may differ that a training begins with."""
OF_THOUGHTS = ("thought_", "cluster_head.", "interest_decoder.", "projections.")
"""What begins the name of a tensor that only thoughts have."""
OWN = ("balance", "neighbour")
"""What begins the name of a tensor that a fused model has of neither."""


def assemble(model: Fused, own: FinishedRun, parts: Mapping[str, FinishedRun]) -> None:
    """Fill a new fused model from the parts "generator" and "scorer".

    Raises:
        ConfigError: a part is of another method, was trained on other data, other semantic IDs or other vectors, or its
            settings differ from this recipe's. What only its training read may differ.
        ArtifactError: a part is not trained, or not on what its folder now holds.
    """
    generator = parts["generator"]
    place = f"fusion.generator = {str(generator.folder)!r}"
    tensors = generator_of(own, generator, place)
    _refuse_other_ids(own, generator, place)
    tensors |= {f"scorer.{name}": value for name, value in _scorer(own, parts["scorer"]).items()}
    tensors |= {name: value for name, value in model.state_dict().items() if name.startswith(OWN)}
    tensors["scored_history"] = torch.tensor([own.recipe.section(BaselineConfig).max_history])
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ConfigError(
            f"The two parts do not fit the model of this recipe ({reason}); take the sections [generator], [thinking] "
            "and [baseline] of the runs that they come from"
        ) from None


def begin_from(model: nn.Module, own: FinishedRun, start: FinishedRun) -> None:
    """Give a new model the weights of a finished run, before it is trained. Thoughts that the run lacks stay as they
    are drawn: with `thinking.gated`, `residual` and without `remember` the model then answers as the run does.

    Raises:
        ConfigError: another log, split, semantic IDs, shape or settings. ArtifactError: the run is not trained.
    """
    place = f"train.start = {str(start.folder)!r}"
    _same_log(own, start, place)
    if own.method.needs.ids and start.method.needs.ids:
        _refuse_other_ids(own, start, place)
    for kind in (GeneratorConfig, BaselineConfig):
        if kind in own.method.sections.values() and kind in start.method.sections.values():
            ours, theirs = (_computes(run.recipe, kind) for run in (own, start))
            _same_settings(ours, {key: value for key, value in theirs.items() if key not in FREE}, place)
    tensors, drawn = start.tensors(), model.state_dict()
    shapes = {name: tuple(value.shape) for name, value in drawn.items()}
    strange = [name for name, value in tensors.items() if shapes.get(name) != tuple(value.shape)]
    strange += [name for name in drawn if name not in tensors and not name.startswith(OF_THOUGHTS)]
    if strange:
        raise ConfigError(
            f"{place} holds a {start.recipe.method} of another shape than this {own.recipe.method} (they differ in "
            f"{', '.join(strange[:3])}); start from a run of the same shape, which may lack thoughts alone"
        )
    model.load_state_dict({**drawn, **tensors})


def generator_of(own: FinishedRun, part: FinishedRun, place: str) -> dict[str, Tensor]:
    """The weights of a generator with the settings of this run, trained on the same log. place: the key that names it.

    Raises:
        ConfigError: another method, log, split or settings. ArtifactError: nothing is trained.
    """
    if not part.method.ranks_by_paths:
        raise ConfigError(f"{place} holds a {part.recipe.method}; expected a generator")
    _same_log(own, part, place)
    _same_settings(_generates(own), _generates(part), place)
    return part.tensors()


def pre_ranker_of(own: FinishedRun, part: FinishedRun, base: str, place: str) -> dict[str, Tensor]:
    """The weights of a finished run whose candidates are put in a new order. base: the method that the recipe names.

    Raises:
        ConfigError: another method, log, split, semantic IDs, vectors or settings. ArtifactError: nothing is trained.
    """
    if part.recipe.method != base:
        raise ConfigError(f"{place} holds a {part.recipe.method}, and reranker.base is {base!r}; they must be the same")
    _same_log(own, part, place)
    needs = part.method.needs
    if needs.ids and not same_ids(part.sids, own.sids):
        raise ConfigError(f"{place} has other semantic IDs than this run's; `sidestep rerank` takes all its settings")
    if needs.vectors and not np.array_equal(part.vectors.values, own.vectors.values):
        raise ConfigError(f"{place} reads other vectors than this run's; `sidestep rerank` takes all its settings")
    kinds = part.method.sections.values()
    ours, theirs = ({k: v for kind in kinds for k, v in _computes(run.recipe, kind).items()} for run in (own, part))
    _same_settings(ours, theirs, place)
    return part.tensors()


def _scorer(own: FinishedRun, part: FinishedRun) -> dict[str, Tensor]:
    place = f"fusion.scorer = {str(part.folder)!r}"
    if part.recipe.method != "sasrec-towers":
        raise ConfigError(f"{place} holds a {part.recipe.method}; expected sasrec-towers")
    _same_log(own, part, place)
    if not np.array_equal(part.vectors.values, own.vectors.values):
        raise ConfigError(f"{place} reads other vectors than this run's; take its [embed] and its seed")
    _same_settings(_computes(own.recipe, BaselineConfig), _computes(part.recipe, BaselineConfig), place)
    return part.tensors()


def _same_log(own: FinishedRun, part: FinishedRun, place: str) -> None:
    same = np.array_equal(part.interactions.items, own.interactions.items)
    if not same or not np.array_equal(part.interactions.offsets, own.interactions.offsets):
        raise ConfigError(f"{place} was trained on another log than this run's")
    if part.recipe.split != own.recipe.split:
        raise ConfigError(f"{place} was trained on another split than this run's")
    if part.recipe.slices.kind != own.recipe.slices.kind:
        raise ConfigError(
            f"{place} has slices.kind = {part.recipe.slices.kind!r}, and this run {own.recipe.slices.kind!r}"
        )


def _refuse_other_ids(own: FinishedRun, part: FinishedRun, place: str) -> None:
    if not same_ids(part.sids, own.sids):
        raise ConfigError(
            f"{place} has other semantic IDs than this run's; take its [tokenizer], [embed], [behaviour], [graph] and "
            "seed"
        )


def same_ids(one: SemanticIds, other: SemanticIds) -> bool:
    """Whether the codes are the same, and the clusters that thoughts are taught to name."""
    tables = zip((one.codes, *one.clusters), (other.codes, *other.clusters), strict=False)
    return one.num_levels == other.num_levels and all(np.array_equal(ours, theirs) for ours, theirs in tables)


def _same_settings(ours: Mapping[str, Any], theirs: Mapping[str, Any], place: str) -> None:
    differing = [key for key in theirs if key in ours and theirs[key] != ours[key]]
    if differing:
        differences = "; ".join(f"{key}: {theirs[key]!r} there, {ours[key]!r} here" for key in differing[:3])
        raise ConfigError(f"{place} has other settings than this recipe ({differences}); set them as the part has them")


def _generates(run: FinishedRun) -> dict[str, Any]:
    """The settings that the model of a generator computes with; one that does not think ignores [thinking]."""
    generator = _computes(run.recipe, GeneratorConfig)
    if run.method.thinks(run.recipe):
        return generator | _computes(run.recipe, ThinkingConfig)
    return generator | {"thinking.thoughts": False}


def _computes(recipe: Recipe, kind: type[Section]) -> dict[str, Any]:
    name = next(name for name, value in recipe if type(value) is kind)
    values = {key: value for key, value in recipe.section(kind) if key not in TRAINING_ONLY.get(kind, ())}
    return {f"{name}.{key}": value for key, value in values.items()}
