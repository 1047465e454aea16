"""What gives the second order: its model, what trains it, and how it answers. One class a kind of `reranker.kind`."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn

from sidestep.data.interactions import Ints
from sidestep.data.labels import ItemLabels
from sidestep.data.splits import TrainingInteractions
from sidestep.errors import ConfigError
from sidestep.evaluation.metrics import ndcg
from sidestep.methods.method import Materials, Phase, Work
from sidestep.methods.recipe import Recipe
from sidestep.recommenders.reranked import Reranker
from sidestep.rerankers.answering import ListwiseReranker, ReasoningReranker
from sidestep.rerankers.cases import CandidateCases, folds_of
from sidestep.rerankers.evidence import FEATURES, Evidence
from sidestep.rerankers.language import Language
from sidestep.rerankers.learning import HitBatches, by_fold, crossed_features, features_of, taken_first
from sidestep.rerankers.listwise import Listwise, RerankerConfig, most_telling
from sidestep.rerankers.policy import (
    Reinforced,
    Weights,
    doubts,
    exercises,
    in_words,
    likeliest,
    ranks_of,
    supervised,
    taught_words,
)
from sidestep.rerankers.reasoner import Reasoner, ReasonerConfig
from sidestep.rerankers.scenes import Taught, gathered_scenes, joined
from sidestep.rerankers.traces import KINDS
from sidestep.training.optim import TrainConfig


@dataclass(frozen=True)
class Lessons:
    """What a second look learns from.

    hits: cross-fitted. valid: hits of the validation cases, of which there are `num_valid`. tables: makes evidence
    without counts. evidence: with those of the whole training part.
    """

    hits: CandidateCases
    valid: CandidateCases
    num_valid: int
    train: TrainingInteractions
    tables: Callable[[], Evidence]
    evidence: Evidence

    def fold_of(self, recipe: Recipe) -> Ints:
        return folds_of(self.train.num_users, recipe.section(RerankerConfig).folds, recipe.seed)


class SecondOrder(ABC):
    """A kind of second look."""

    libraries: tuple[str, ...] = ()
    """Modules of the optional libraries that it needs."""
    extra = ""
    """Ours that installs them."""

    def check(self, labels: ItemLabels) -> None:  # noqa: B027, one kind has nothing to refuse
        """Raises:
        ConfigError: the catalogue has not what it reads.
        """

    @abstractmethod
    def build(self, materials: Materials, recipe: Recipe) -> nn.Module: ...

    @abstractmethod
    def phases(self, model: nn.Module, lessons: Lessons, recipe: Recipe) -> Iterator[Phase | Work]: ...

    @abstractmethod
    def reranker(self, model: nn.Module, evidence: Evidence, labels: ItemLabels) -> Reranker: ...

    def summary(self, model: nn.Module) -> str:
        """What it has learnt, in a line; empty where its phases report it."""
        return ""


class ListwiseOrder(SecondOrder):
    """A weight for each feature."""

    def build(self, materials: Materials, recipe: Recipe) -> nn.Module:
        return Listwise(len(FEATURES), recipe.section(RerankerConfig).hidden)

    def phases(self, model: nn.Module, lessons: Lessons, recipe: Recipe) -> Iterator[Phase]:
        assert isinstance(model, Listwise)
        config = recipe.section(RerankerConfig)
        learnt = crossed_features(lessons.hits, lessons.train, lessons.fold_of(recipe), lessons.tables)
        model.measure(learnt.features[learnt.real])
        valid = features_of(lessons.valid, lessons.evidence)
        training = TrainConfig(
            epochs=config.epochs, batch_size=config.batch_size, lr=config.lr, weight_decay=config.weight_decay,
            warmup_steps=0, patience=0,
        )  # fmt: skip
        data = HitBatches(learnt, config.batch_size, recipe.seed)
        score = lambda: _over_all(valid.ranks(model), config.candidates, lessons)  # noqa: E731
        yield Phase("rerank-train", model, taken_first, data, training, score)

    def reranker(self, model: nn.Module, evidence: Evidence, labels: ItemLabels) -> Reranker:
        assert isinstance(model, Listwise)
        return ListwiseReranker(evidence, model, labels)

    def summary(self, model: nn.Module) -> str:
        assert isinstance(model, Listwise)
        named = most_telling(model)[:5]
        return f"heaviest features: {', '.join(f'{name} {weight:+.2f}' for name, weight in named)}"


class ReasonedOrder(SecondOrder):
    """A trace, and then the order (GR2 in small): executing rules, accepted traces, reinforcement."""

    def check(self, labels: ItemLabels) -> None:
        if len(labels.leaf) == 1 and len(labels.brand) == 1:
            raise ConfigError(
                "reranker.kind = 'reasoner' reasons about categories and brands, and no item of the catalogue has any; "
                "use reranker.kind=listwise"
            )

    def build(self, materials: Materials, recipe: Recipe) -> nn.Module:
        sizes = {kind: len(getattr(materials.labels, kind)) for kind in KINDS}
        config = recipe.section(ReasonerConfig)
        language = Language(recipe.section(RerankerConfig).candidates, sizes, traced=config.traces != "none")
        return Reasoner(language, list(sizes.values()), len(FEATURES), config)

    def phases(self, model: nn.Module, lessons: Lessons, recipe: Recipe) -> Iterator[Phase]:
        assert isinstance(model, Reasoner)
        config, seed = recipe.section(ReasonerConfig), recipe.seed
        candidates = recipe.section(RerankerConfig).candidates
        learnt, valid = self._lessons(model, lessons, recipe)

        def score() -> float:
            return _over_all(ranks_of(likeliest(model, valid)), candidates, lessons)

        def report() -> list[str]:
            outputs = likeliest(model, valid)
            return [f"of {len(valid):,} validation hits: {in_words(outputs)}", *doubts(outputs)]

        size, shared = config.batch_size, {"weight_decay": 0.01, "patience": 0, "warmup_steps": 20}
        if config.mid_epochs:
            drills = exercises(learnt.scenes, learnt.places, model.language, seed)
            training = TrainConfig.model_validate({**shared, "epochs": config.mid_epochs, "lr": config.lr})
            data = HitBatches(drills, size, seed)
            yield Phase("mid-train", model, taught_words, data, training, report=report)
        training = TrainConfig.model_validate({**shared, "epochs": config.sft_epochs, "lr": config.lr})
        yield Phase("sft-train", model, taught_words, HitBatches(learnt, size, seed), training, score, report)
        if config.rl_steps:
            objective = Reinforced(config.reward, config.group, config.alpha, config.epsilon_low, config.epsilon_high)
            rounds = -(-config.rl_steps // RL_ROUND)
            training = TrainConfig.model_validate({**shared, "weight_decay": 0.0, "epochs": rounds, "lr": config.rl_lr})
            data = HitBatches(learnt, config.rl_cases, seed, min(RL_ROUND, config.rl_steps))
            yield Phase("rl-train", model, objective, data, training, score, report)

    def _lessons(self, model: Reasoner, lessons: Lessons, recipe: Recipe) -> tuple[Taught, Taught]:
        """Supervised hits, each seen with the tables of its fold, and those of the validation."""
        config, parts, ranks = recipe.section(ReasonerConfig), [], []
        for hits, tables in by_fold(lessons.hits, lessons.train, lessons.fold_of(recipe), lessons.tables):
            parts.append(gathered_scenes(hits, tables, config.history))
            ranks.append(hits.ranks)
        scenes = joined(parts)
        model.measure(scenes.features[scenes.real])
        weights = Weights(config.trace_weight, 1.0, config.rest_weight)
        words = partial(
            supervised, language=model.language, weights=weights, rules=config.rules, seed=recipe.seed,
            traces=config.traces,
        )  # fmt: skip
        learnt = words(scenes, torch.from_numpy(np.concatenate(ranks) - 1))
        seen = gathered_scenes(lessons.valid, lessons.evidence, config.history)
        return learnt, words(seen, torch.from_numpy(lessons.valid.ranks - 1))

    def reranker(self, model: nn.Module, evidence: Evidence, labels: ItemLabels) -> Reranker:
        assert isinstance(model, Reasoner)
        return ReasoningReranker(evidence, model, labels)


RL_ROUND = 20
"""Steps of reinforcement between two validations."""


def _over_all(ranks: Ints, candidates: int, lessons: Lessons) -> float:
    """NDCG at the number of candidates over all validation cases."""
    return float(ndcg(ranks, candidates).sum()) / max(lessons.num_valid, 1)
