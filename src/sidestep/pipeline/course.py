"""A training under way: a method on some permitted interactions, whole or those of a part of the users."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sidestep.data.interactions import Ints
from sidestep.data.sequences import SequenceBatch, TrainingSequences
from sidestep.data.splits import Cases, TrainingInteractions
from sidestep.evaluation.metrics import ndcg
from sidestep.evaluation.ranking import rank_cases
from sidestep.methods.method import Materials, Method, Phase, Say, Work
from sidestep.methods.recipe import Recipe
from sidestep.methods.search_plan import SearchPlan
from sidestep.pipeline.contents import RunContents
from sidestep.recommenders.recommender import Recommender, Servable
from sidestep.sids.semantic_ids import SemanticIds
from sidestep.training.item_tables import num_parameters
from sidestep.training.loop import Hooks, fit


class HistoryBatches:
    """Training histories as `training.loop.Batches`."""

    def __init__(self, sequences: TrainingSequences, batch_size: int, seed: int) -> None:
        self.sequences, self._size, self._seed = sequences, batch_size, seed

    @classmethod
    def of(cls, train: TrainingInteractions, recipe: Recipe, model: Any) -> "HistoryBatches":
        """What a recipe trains a model on."""
        sequences = TrainingSequences(train, model.reads, model.every_position)
        return cls(sequences, recipe.train.batch_size, recipe.seed)

    def batches(self, epoch: int) -> list[Any]:
        return self.sequences.batches(self._size, self._seed, epoch)

    def load(self, index: Any) -> SequenceBatch:
        return self.sequences.batch(index)


@dataclass(frozen=True)
class Course:
    """materials: of the interactions in `train`. valid: the cases of the validation. tree: the catalogue's semantic
    IDs, where the method needs any.
    """

    method: Method
    recipe: Recipe
    materials: Materials
    train: TrainingInteractions
    valid: Cases
    tree: SemanticIds | None

    @classmethod
    def of(cls, contents: RunContents) -> "Course":
        """That of a run, on all users."""
        divided = contents.split
        return cls(contents.method, contents.recipe, contents.materials, divided.train, divided.valid, contents.tree)

    @property
    def sample(self) -> Cases:
        """The validation cases that are ranked, the same in every epoch."""
        users = self.recipe.evaluate.valid_users
        return self.valid if users == "all" else self.valid.sample(users, self.recipe.seed)

    def recommending(self, model: Any, num_beams: int) -> Servable:
        return self.method.recommender(model, self.recipe, self._plan(num_beams))

    def _plan(self, num_beams: int) -> SearchPlan:
        return SearchPlan(self.materials.popularity, self.tree, num_beams, timeline=self.materials.timeline)

    def ranks(self, recommender: Recommender) -> Ints:
        """The ranks of the targets of `sample`, seen items masked."""
        size = self.recipe.evaluate.batch_size
        return rank_cases(recommender, self.sample, k=10, seen="masked", batch_size=size).ranks

    def validate(self, model: nn.Module) -> float:
        """NDCG@10 of `ranks`."""
        return float(ndcg(self.ranks(self.recommending(model, self.recipe.evaluate.valid_beams)), 10).mean())

    def fit(self, phase: Phase | Work, model: nn.Module, folder: Path, say: Say) -> None:
        """Train one phase of a model, with checkpoints in `folder`."""
        if isinstance(phase, Work):
            phase.do(folder, say)
            return
        recipe, method, data = self.recipe, self.method, phase.data
        hooks = Hooks(score=phase.score)
        if data is None:
            data = HistoryBatches.of(self.train, recipe, model)
            say(
                f"{recipe.method}: {num_parameters(model):,} parameters, "
                f"{data.sequences.num_targets:,} targets in {len(data.sequences):,} histories"
            )
            for note in method.notes(model, self.train):
                say(f"warning: {note}")
            hooks = Hooks(score=lambda: self.validate(model), after_epoch=lambda row: self._warn(row, say))
        config, title = phase.config or recipe.train, phase.name if phase.data else f"train {recipe.method}"
        result = fit(phase.module, phase.objective, data, config, seed=recipe.seed, folder=folder, hooks=hooks,
                     title=title)  # fmt: skip
        if result.best_score is not None or phase.report is None:
            say(f"best validation NDCG@10 {result.best_score or 0:.4f} in epoch {result.best_epoch + 1}")
        if phase.report is not None:
            line, *warnings = phase.report()
            say(f"{phase.name}, {line}")
            for warning in warnings:
                say(f"warning: {warning}")

    def _warn(self, row: dict[str, Any], say: Say) -> None:
        for warning in self.method.warnings(row, self.materials):
            say(f"warning: {warning}")

    def trained(self, folder: Path, say: Say) -> Servable:
        """A new model, trained from the recipe's seed with checkpoints below `folder`, as a recommender."""
        torch.manual_seed(self.recipe.seed)
        model = self.method.build(self.materials, self.recipe)
        self.method.count(model, self.train)
        for phase in self.method.phases(model, self.materials, self.recipe, self.train):
            self.fit(phase, model, folder / phase.name, say)
        self.method.tune(model, self.materials, self.recipe, self.ranks, say)
        return self.recommending(model.eval(), self.recipe.evaluate.num_beams)
