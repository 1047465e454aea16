"""What a trained generator does on the way to its answers, on the test users."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sidestep.data.sequences import SequenceBatch, pad, question_of
from sidestep.data.splits import Cases
from sidestep.errors import ConfigError
from sidestep.evaluation.purity import NO_LABEL
from sidestep.evaluation.reasoning import Drift, LevelReasoning, commonest, drifts, prefix_hits, share_of_commonest
from sidestep.layers.products import fast_products
from sidestep.pipeline.run import Run
from sidestep.pipeline.sid_evidence import Asked, labels_as_text
from sidestep.pipeline.world import World
from sidestep.recommenders.generative import GenerativeRecommender
from sidestep.recommenders.recommender import ItemFilter

USERS = 2_000
CASES_AT_ONCE = 64


@dataclass(frozen=True)
class Analysis:
    """levels: one a level. drift: between levels; empty where the generator does not think. seconds_per_user: of
    processor time, for the recipe's k items each. users: how many were looked at.
    """

    users: int
    levels: list[LevelReasoning]
    drift: list[Drift]
    seconds_per_user: float
    beams: int


@dataclass(frozen=True)
class _Heard:
    """The true paths of n cases under teacher forcing: whether each code was the most probable, the log-probability of
    the whole path, the thoughts, and the cluster nearest to each.
    """

    right: Tensor
    log_probs: Tensor
    thoughts: Tensor | None
    named: list[Tensor]


def analyse(run: Run, users: int = USERS) -> Analysis:
    """Look at a sample of the test users, the same for every run of a seed.

    Raises:
        ConfigError: the run's method says no semantic IDs. ArtifactError: it is not trained.
    """
    world = World(run)
    recommender = world.trained()
    if not isinstance(recommender, GenerativeRecommender):
        raise ConfigError(f"{run.recipe.method!r} is no generator of semantic IDs; there are no paths to look at")
    if users < 2:
        raise ConfigError(f"--users {users}: expected at least 2")
    cases = world.split.test.sample(users, run.recipe.seed)
    heard = _heard(recommender, cases)
    items, seconds = _answers(recommender, cases, run.recipe.evaluate.k)
    assert world.materials.sids is not None
    codes = torch.from_numpy(world.materials.sids.codes)
    prefixes = prefix_hits(items, torch.from_numpy(cases.targets), codes)
    levels = [
        LevelReasoning(level + 1, float(heard.right[:, level].double().mean()), float(prefixes[level]), **named)
        for level, named in enumerate(_named(world, cases, heard))
    ]
    drift = [] if heard.thoughts is None else drifts(heard.thoughts, heard.log_probs)
    beams = max(recommender.num_beams, run.recipe.evaluate.k)
    return Analysis(len(cases), levels, drift, seconds, beams)


def as_numbers(found: Analysis) -> dict[str, float]:
    """All that was measured, flat, under names such as `code_1` and `drift_1_own`."""
    numbers: dict[str, float] = {"seconds_per_user": found.seconds_per_user}
    for level in found.levels:
        numbers |= {f"{name}_{level.level}": value for name, value in _known(asdict(level))}
    for drift in found.drift:
        numbers |= {f"drift_{drift.level}_{name}": value for name, value in _known(asdict(drift))}
    return numbers


def _known(values: Mapping[str, Any]) -> list[tuple[str, float]]:
    return [(name, value) for name, value in values.items() if name != "level" and value is not None]


@torch.no_grad()
def _heard(recommender: GenerativeRecommender, cases: Cases) -> _Heard:
    model: Any = recommender.model
    right, log_probs, thoughts = [], [], []
    named: list[list[Tensor]] = []
    for begin in range(0, len(cases), CASES_AT_ONCE):
        chosen = np.arange(begin, min(begin + CASES_AT_ONCE, len(cases)))
        asked = question_of(cases, chosen, recommender.max_history)
        targets = torch.from_numpy(cases.targets[chosen])[:, None]
        batch = SequenceBatch(asked.history, asked.lengths, targets, asked.lengths[:, None].clamp(min=1))
        with fast_products():
            said = model(batch.to(recommender.device))
        levels = list(zip(said.logits, said.codes.unbind(1), strict=True))
        right.append(torch.stack([logits.argmax(-1) == codes for logits, codes in levels], 1).cpu())
        paths = [logits.log_softmax(-1).gather(1, codes[:, None]) for logits, codes in levels]
        log_probs.append(torch.cat(paths, 1).sum(1).cpu())
        if said.thoughts is not None:
            thoughts.append(said.thoughts.cpu())
            nearest = [model.cluster_probs(level, said.thoughts[:, level]).argmax(-1) for level in range(len(levels))]
            named.append([each.cpu() for each in nearest])
    return _Heard(
        torch.cat(right),
        torch.cat(log_probs),
        torch.cat(thoughts) if thoughts else None,
        [torch.cat(level) for level in zip(*named, strict=True)],
    )


def _answers(recommender: GenerativeRecommender, cases: Cases, k: int) -> tuple[Tensor, float]:
    """The first ten of k items for every case, as the evaluation asks for them (seen ones masked, but for the target),
    and the processor time of a case.
    """
    found, seconds = [], 0.0
    for begin in range(0, len(cases), CASES_AT_ONCE):
        chosen = np.arange(begin, min(begin + CASES_AT_ONCE, len(cases)))
        seen = [np.setdiff1d(cases.history(int(case)), cases.targets[case]) for case in chosen]
        asked = question_of(cases, chosen, recommender.max_history)
        before = time.process_time()
        found.append(recommender.rank(asked, k, ItemFilter(pad(seen))).items[:, :10])
        seconds += time.process_time() - before
    return torch.cat(found), seconds / len(cases)


def _named(world: World, cases: Cases, heard: _Heard) -> list[dict[str, float]]:
    """What is said of each level's thoughts; nothing where the generator does not think."""
    sids = world.materials.sids
    assert sids is not None
    if heard.thoughts is None:
        return [{} for _ in range(sids.num_levels)]
    texts = labels_as_text(world.catalog, "category", Asked())
    labels = None
    if texts is not None:
        labels = np.unique(texts, return_inverse=True)[1].astype(np.int64)
        labels = np.where([bool(text) for text in texts], labels, NO_LABEL)
    found = []
    for level, nearest in enumerate(heard.named):
        clusters = sids.clusters[level][sids.codes[:, level]]
        own = clusters[cases.targets]
        said = {"cluster": float((nearest.numpy() == own).mean()), "by_chance": share_of_commonest(own)}
        if labels is not None:
            theirs = labels[cases.targets]
            usual = commonest(labels, clusters, int(sids.num_clusters[level]))
            said["category"] = float(((usual[nearest.numpy()] == theirs) & (theirs >= 0)).mean())
            said["category_by_chance"] = share_of_commonest(theirs)
        found.append(said)
    return found
