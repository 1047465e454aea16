"""Aligning a trained generator with a reward: the run goes on from its own weights, in a folder of its own."""

import shutil
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sidestep import artifact
from sidestep.config import Section, build, decisive, merge
from sidestep.data.interactions import Ints
from sidestep.data.reads import Reads
from sidestep.data.sequences import SequenceBatch, pad, question
from sidestep.errors import ArtifactError, ConfigError
from sidestep.evaluation.metrics import hit_rate, ndcg
from sidestep.evaluation.ranking import first_place
from sidestep.objectives.preference import AlignConfig, Judged, aligned
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.course import Course
from sidestep.pipeline.run import Run
from sidestep.recommenders.recommender import ItemFilter, Servable
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

    reward: the mean of these items' rewards. hr, ndcg: at 10. kl: of the generator from the reference, a code of its
    paths. distinct: different items in all lists, as a share of the catalogue.
    """

    reward: float
    hr: float
    ndcg: float
    kl: float
    distinct: float


def align_config(overrides: Sequence[str]) -> AlignConfig:
    """Raises:
    ConfigError: an unknown key, a wrong value, or no reward.
    """
    config = build(Alignment, merge({}, overrides, Alignment)).align
    if config.reward is None:
        raise ConfigError(
            "align.reward names no run whose scores are the reward; train an item scorer on the same data, and name "
            "its folder, as in align.reward=runs/sasrec-ce"
        )
    return config


class Aligning:
    """A run's generator, the frozen reference, and the reward."""

    def __init__(self, run: Run, config: AlignConfig) -> None:
        """Raises:
        ConfigError: a method without paths, or a reward of other items or histories.
        """
        assert config.reward is not None
        self.contents, self.config = RunContents(run), config
        if not self.contents.method.ranks_by_paths:
            raise ConfigError(
                f"{str(run.folder)!r} holds method {run.recipe.method!r}, which has no paths to align; name the run of "
                "a generator of semantic IDs"
            )
        judge = RunContents(Run.open(config.reward))
        for name in ("catalog", "interactions"):
            if judge.run.digest(name) != run.digest(name):
                raise ConfigError(
                    f"align.reward = {str(config.reward)!r} was trained on another {name} than {str(run.folder)!r}; "
                    "train it on the same [data], with the same seed"
                )
        self.judge = judge.trained()
        self.train = self.contents.split.train
        self.model = _without_dropout(self.contents.module)
        self.reference: Any = deepcopy(self.model).eval().requires_grad_(False)
        self.frozen = self._recommending(self.reference)
        self.absolute = self.contents.interactions.absolute_times

    def _recommending(self, model: nn.Module) -> Servable:
        return self.contents.recommending(model, max(self.contents.recipe.evaluate.valid_beams, self.config.group))

    def reads(self) -> Reads:
        return self.frozen.reads | self.judge.reads

    def ask(self, histories: Sequence[Ints], times: Sequence[Ints], at: Sequence[int]) -> SequenceBatch:
        """Questions with all that the generator and the judge read."""
        reads = self.reads()
        return question(histories, reads, *((times, at, self.absolute) if reads.times else ()))

    @torch.no_grad()
    def judged(self, histories: Sequence[Ints], times: Sequence[Ints], targets: Ints, at: Sequence[int]) -> Judged:
        """What the reference answers to some histories, none of them empty, and what that is worth."""
        batch = self.ask(histories, times, at)
        own = batch.latest(self.frozen.reads)
        barred = ItemFilter(excluded=pad([np.setdiff1d(h, [t]) for h, t in zip(histories, targets, strict=True)]))
        items = self.frozen.rank(own, self.config.group, barred).items
        rewards = self.judge.score(batch.latest(self.judge.reads), items).float()
        reference = self.reference.path_log_probs(own.to(self.device), items.to(self.device)).float().cpu()
        return Judged(own, torch.from_numpy(targets)[:, None], items, reference, rewards)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @torch.no_grad()
    def judge_lists(self, model: Any) -> Judgement:
        """The model on the validation sample."""
        cases, size = Course.of(self.contents).sample, self.contents.recipe.evaluate.batch_size
        recommender = self._recommending(model.eval())
        rewards, places, apart, lists = [], [], [], []
        for begin in range(0, len(cases), size):
            chosen = np.arange(begin, min(begin + size, len(cases)))
            histories = [cases.history(int(case)) for case in chosen]
            times = [cases.history_times(int(case)) for case in chosen]
            batch = self.ask(histories, times, cases.asked[chosen].tolist())
            own = batch.latest(self.frozen.reads)
            items = recommender.rank(own, SHOWN, ItemFilter.masking(cases, chosen)).items
            scores = self.judge.score(batch.latest(self.judge.reads), items)
            rewards.append(scores[items >= 0].numpy())
            places.append(first_place(items.numpy() == cases.targets[chosen][:, None]))
            asked, given = own.to(self.device), items.to(self.device)
            here, there = (each.path_log_probs(asked, given)[given >= 0] for each in (model, self.reference))
            apart.append((there - here).exp() - (there - here) - 1)
            lists.append(items[items >= 0].numpy())
        ranks = np.concatenate(places)
        return Judgement(
            float(np.concatenate(rewards).mean()),
            float(hit_rate(ranks, SHOWN).mean()),
            float(ndcg(ranks, SHOWN).mean()),
            float(torch.cat(apart).mean()),
            len(np.unique(np.concatenate(lists))) / len(self.contents.catalog),
        )


class Groups:
    """Each training user's last item after all that came before it, with the reference's answers, as
    `training.loop.Batches`.
    """

    def __init__(self, aligning: Aligning) -> None:
        self._aligning, self._train = aligning, aligning.train
        self._users = np.flatnonzero(self._train.lengths > 1)

    def batches(self, epoch: int) -> list[Ints]:
        rng = np.random.default_rng([self._aligning.contents.recipe.seed, epoch])
        order = rng.permutation(self._users)
        size = self._aligning.config.batch_size
        return [order[begin : begin + size] for begin in range(0, len(order), size)]

    def load(self, users: Ints) -> Judged:
        train = self._train
        pasts = [slice(int(train.offsets[user]), int(train.offsets[user + 1]) - 1) for user in users]
        last = np.array([past.stop for past in pasts])
        histories, times = ([column[past] for past in pasts] for column in (train.items, train.known_times))
        return self._aligning.judged(histories, times, train.items[last], train.known_times[last].tolist())


def align(run: Run, out: Path, config: AlignConfig, say: Any) -> list[dict[str, Any]]:
    """Align a run's generator, and write the run with these weights into `out`. The weights are those of the epoch with
    the highest reward among those that keep the validation NDCG@10 within the guard.

    Returns the log: the reference before, and each epoch.

    Raises:
        ConfigError: as `Aligning`. ArtifactError: `out` is taken, the run is not trained, or no epoch kept the guard;
        then nothing is written.
    """
    if out.exists():
        raise ArtifactError(f"{str(out)!r} exists; choose another --out, or remove it")
    aligning = Aligning(run, config)
    before = aligning.judge_lists(aligning.model)
    rows: list[dict[str, Any]] = [{"epoch": 0, **vars(before)}]
    say(_line("before", before))

    def score() -> float:
        found = aligning.judge_lists(aligning.model)
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
        aligning.model, objective, Groups(aligning), training, seed=recipe.seed, hooks=Hooks(score=score),
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
    _write(run, out, aligning, rows)
    return rows


def _write(run: Run, out: Path, aligning: Aligning, rows: list[dict[str, Any]]) -> None:
    """The run with other weights. Their manifest is that of the run's, and says how they were aligned, with what."""
    old = artifact.read_manifest(run.path("model"))
    tensors: dict[str, Tensor] = aligning.model.state_dict()
    values = {name: value.detach().cpu().numpy() for name, value in tensors.items()}
    config = aligning.config
    assert config.reward is not None
    meta = {
        **decisive(config),
        "reward": Run.open(config.reward).digest("model"),
        "reference": run.digest("model"),
        "log": rows,
    }
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


def _without_dropout(model: nn.Module) -> nn.Module:
    """A policy without noise of its own: at the start it is the reference, and its ratios are 1."""
    for module in model.modules():
        for name in ("p", "dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    return model


def _line(when: str, found: Judgement) -> str:
    return (
        f"{when}: reward {found.reward:.4f}, HR@10 {found.hr:.4f}, NDCG@10 {found.ndcg:.4f}, KL {found.kl:.4f} a code, "
        f"{found.distinct:.1%} of the items in the lists"
    )
