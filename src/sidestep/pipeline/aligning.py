"""Aligning a trained generator with a reward: the run goes on from its own weights, in a folder of its own."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sidestep import artifact
from sidestep.config import Section, build, decisive, merge
from sidestep.data.sequences import SequenceBatch
from sidestep.errors import ArtifactError
from sidestep.evaluation.metrics import hit_rate, ndcg
from sidestep.evaluation.ranking import first_place
from sidestep.objectives.preference import AlignConfig, aligned
from sidestep.pipeline.course import Course
from sidestep.pipeline.rewards import Policy, Rewards, rewards_of
from sidestep.pipeline.run import Run
from sidestep.recommenders.recommender import ItemFilter
from sidestep.training.loop import Hooks, fit
from sidestep.training.optim import TrainConfig

SHOWN = 10
ALIGNED = "aligned"
"""Where the manifest of a model's weights says how they were aligned."""
LEFT = ("model", "train", "evaluation", "report.html", "profile")
"""What of a run does not belong to its aligned copy."""


class Alignment(Section):
    """What `sidestep align` takes."""

    align: AlignConfig = AlignConfig()


@dataclass(frozen=True)
class Judgement:
    """A generator's lists for the validation users, 10 items each, nothing of the history among them.

    reward: the mean of these items' rewards, or of what was shown to users held aside (`rewards.Shown.mean`).
    hr, ndcg: at 10. kl: of the generator from the reference, a code of its paths. distinct: different items in all
    lists, as a share of the catalogue.
    """

    reward: float
    hr: float
    ndcg: float
    kl: float
    distinct: float


def align_config(overrides: Sequence[str]) -> AlignConfig:
    """Raises:
    ConfigError: an unknown key or a wrong value.
    """
    return build(Alignment, merge({}, overrides, Alignment)).align


@torch.no_grad()
def judge_lists(model: Any, policy: Policy, rewards: Rewards) -> Judgement:
    """The model on the validation sample."""
    cases, size = Course.of(policy.contents).sample, policy.contents.recipe.evaluate.batch_size
    recommender = policy.recommending(model.eval())
    device = next(model.parameters()).device
    places, apart = [], []
    lists: list[tuple[SequenceBatch, Tensor]] = []
    for begin in range(0, len(cases), size):
        chosen = np.arange(begin, min(begin + size, len(cases)))
        histories = [cases.history(int(case)) for case in chosen]
        times = [cases.history_times(int(case)) for case in chosen]
        batch = policy.ask(histories, times, cases.asked[chosen].tolist(), rewards.reads)
        own = batch.latest(policy.frozen.reads)
        items = recommender.rank(own, SHOWN, ItemFilter.masking(cases, chosen)).items
        places.append(first_place(items.numpy() == cases.targets[chosen][:, None]))
        here = model.path_log_probs(own.to(device), items.to(device)).float().cpu()[items >= 0]
        there = policy.before(own, items)[items >= 0]
        apart.append((there - here).exp() - (there - here) - 1)
        lists.append((batch, items))
    ranks = np.concatenate(places)
    said = np.concatenate([items[items >= 0].numpy() for _, items in lists])
    return Judgement(
        rewards.mean(model, lists),
        float(hit_rate(ranks, SHOWN).mean()),
        float(ndcg(ranks, SHOWN).mean()),
        float(torch.cat(apart).mean()),
        len(np.unique(said)) / len(policy.contents.catalog),
    )


def align(run: Run, out: Path, config: AlignConfig, say: Any) -> list[dict[str, Any]]:
    """Align a run's generator, and write the run with these weights into `out`. The weights are those of the epoch with
    the highest reward among those that keep the validation NDCG@10 within the guard.

    Returns the log: the reference before, and each epoch.

    Raises:
        ConfigError, DataError: as `Policy` and `rewards_of`. ArtifactError: `out` is taken, the run is not trained, or
            no epoch kept the guard; then nothing is written.
    """
    if out.exists():
        raise ArtifactError(f"{str(out)!r} exists; choose another --out, or remove it")
    policy = Policy(run, config)
    rewards = rewards_of(policy)
    before = judge_lists(policy.model, policy, rewards)
    rows: list[dict[str, Any]] = [{"epoch": 0, **vars(before)}]
    say(_line("before", before))

    def score() -> float:
        found = judge_lists(policy.model, policy, rewards)
        rows.append({"epoch": len(rows), **vars(found)})
        say(_line(f"epoch {len(rows) - 1}", found))
        return found.reward if found.ndcg >= (1 - config.guard) * before.ndcg else -np.inf

    recipe = run.recipe
    training = TrainConfig(
        epochs=config.epochs, batch_size=config.batch_size, lr=recipe.train.lr * config.lr, warmup_steps=0,
        schedule="constant", weight_decay=recipe.train.weight_decay, clip=recipe.train.clip, patience=0,
    )  # fmt: skip
    objective = partial(aligned, align=config)
    result = fit(
        policy.model, objective, rewards, training, seed=recipe.seed, hooks=Hooks(score=score),
        title=f"align {config.kind}",
    )  # fmt: skip
    if result.best_score is None or not np.isfinite(result.best_score):
        raise ArtifactError(
            f"Every epoch lost more than {config.guard:.0%} of the validation NDCG@10 ({before.ndcg:.4f} before), so "
            "nothing is written; lower align.lr, raise align.kl, or allow more with align.guard"
        )
    if result.best_score <= before.reward:
        say(f"warning: no epoch that keeps the guard has a higher reward than before ({before.reward:.4f})")
    for row in rows[1:]:
        row["kept"] = row["epoch"] == result.best_epoch + 1
    _write(out, policy, rewards, rows)
    return rows


def _write(out: Path, policy: Policy, rewards: Rewards, rows: list[dict[str, Any]]) -> None:
    """The run with other weights. Their manifest is that of the run's, and says how they were aligned, with what."""
    run = policy.contents.run
    old = artifact.read_manifest(run.path("model"))
    tensors: dict[str, Tensor] = policy.model.state_dict()
    values = {name: value.detach().cpu().numpy() for name, value in tensors.items()}
    meta = {**decisive(policy.config), "reward": rewards.told, "reference": run.digest("model"), "log": rows}
    staging = out.with_name(f".{out.name}.aligning")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        shutil.copytree(run.folder, staging, ignore=lambda folder, names: _left(run.folder, Path(folder), names))
        artifact.save(
            staging / "model", "weights", tensors=values, config=old.config, parents=old.parents, meta={ALIGNED: meta}
        )
        staging.rename(out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _left(top: Path, folder: Path, names: list[str]) -> set[str]:
    return {name for name in names if name.startswith(".") or name in LEFT} if folder == top else set()


def _line(when: str, found: Judgement) -> str:
    return (
        f"{when}: reward {found.reward:.4f}, HR@10 {found.hr:.4f}, NDCG@10 {found.ndcg:.4f}, KL {found.kl:.4f} a code, "
        f"{found.distinct:.1%} of the items in the lists"
    )
