"""What a generator is aligned with: a recommender's scores of its own answers, or labels of what users were shown."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from sidestep.data.impressions import Impressions, ImpressionsFile, read_impressions
from sidestep.data.interactions import NO_TIME, Ints
from sidestep.data.reads import Reads
from sidestep.data.sequences import NO_ITEM, SequenceBatch, pad, question
from sidestep.errors import ConfigError
from sidestep.objectives.preference import AlignConfig, Judged
from sidestep.pipeline.contents import RunContents
from sidestep.pipeline.run import Run
from sidestep.recommenders.recommender import ItemFilter, Servable

Lists = Sequence[tuple[SequenceBatch, Tensor]]
"""Questions, and the items that some model answers, `[B, k]`."""
Worths = np.ndarray[Any, np.dtype[np.float64]]
HELD_ASIDE = 0.1
"""Share of the users whose labels measure the reward and are never learnt from."""


class Policy:
    """A run's generator, which learns, beside the frozen reference, which is the generator as it was."""

    def __init__(self, run: Run, config: AlignConfig) -> None:
        """Raises:
        ConfigError: a method without paths.
        """
        self.contents, self.config = RunContents(run), config
        if not self.contents.method.ranks_by_paths:
            raise ConfigError(
                f"{str(run.folder)!r} holds method {run.recipe.method!r}, which has no paths to align; name the run of "
                "a generator of semantic IDs"
            )
        self.train = self.contents.split.train
        self.model = _without_dropout(self.contents.module)
        self.reference: Any = deepcopy(self.model).eval().requires_grad_(False)
        self.frozen = self.recommending(self.reference)

    def recommending(self, model: nn.Module) -> Servable:
        return self.contents.recommending(model, max(self.contents.recipe.evaluate.valid_beams, self.config.group))

    def ask(self, histories: Sequence[Ints], times: Sequence[Ints], at: Sequence[int], reads: Reads) -> SequenceBatch:
        """Questions with all that the generator reads, and `reads`."""
        reads = self.frozen.reads | reads
        known = (times, at, self.contents.interactions.absolute_times) if reads.times else ()
        return question(histories, reads, *known)

    @torch.no_grad()
    def before(self, asked: SequenceBatch, items: Int[Tensor, "B G"]) -> Tensor:
        """The reference's log-probabilities of some items' codes, `[B, G, L]`, on the CPU."""
        device = next(self.model.parameters()).device
        return self.reference.path_log_probs(asked.to(device), items.to(device)).float().cpu()


@runtime_checkable
class Rewards(Protocol):
    """Groups of paths with their rewards, as `training.loop.Batches`, and the mean reward of a model. reads: what
    rewarding reads of a history. told: which reward it is, for the aligned run's manifest.
    """

    reads: Reads
    told: str

    def batches(self, epoch: int) -> list[Ints]: ...

    def load(self, index: Ints) -> Judged: ...

    def mean(self, model: Any, lists: Lists) -> float: ...


def rewards_of(policy: Policy) -> Rewards:
    """What the configuration names.

    Raises:
        ConfigError: no reward or two, a reward of other items or histories, or labels of which nothing can be learnt.
        DataError: as `read_impressions`.
    """
    config = policy.config
    if (config.reward is None) == (config.labels is None):
        raise ConfigError(
            f"align.reward and align.labels name {'no' if config.reward is None else 'two'} rewards; name one: the "
            "folder of an item scorer's run on the same data, as in align.reward=runs/sasrec-ce, or a file of what "
            "users were shown, as in align.labels=shown.csv"
        )
    return Answers(policy) if config.labels is None else Shown(policy)


class Answers:
    """The reference's own answers after all but the last item of each training user, none of them in the history. They
    are worth what a recommender scores them.
    """

    def __init__(self, policy: Policy) -> None:
        assert policy.config.reward is not None
        own, judge = policy.contents.run, RunContents(Run.open(policy.config.reward))
        for name in ("catalog", "interactions"):
            if judge.run.digest(name) != own.digest(name):
                raise ConfigError(
                    f"align.reward = {str(policy.config.reward)!r} was trained on another {name} than "
                    f"{str(own.folder)!r}; train it on the same [data], with the same seed"
                )
        self.judge, self.told = judge.trained(), judge.run.digest("model")
        self.reads = self.judge.reads
        self._policy, self._users = policy, np.flatnonzero(policy.train.lengths > 1)

    def batches(self, epoch: int) -> list[Ints]:
        return _shuffled(self._users, self._policy, epoch)

    @torch.no_grad()
    def load(self, index: Ints) -> Judged:
        policy, train = self._policy, self._policy.train
        pasts = [slice(int(train.offsets[user]), int(train.offsets[user + 1]) - 1) for user in index]
        last = np.array([past.stop for past in pasts])
        histories, times = ([column[past] for past in pasts] for column in (train.items, train.known_times))
        targets = train.items[last]
        batch = policy.ask(histories, times, train.known_times[last].tolist(), self.reads)
        own = batch.latest(policy.frozen.reads)
        barred = ItemFilter(excluded=pad([np.setdiff1d(h, [t]) for h, t in zip(histories, targets, strict=True)]))
        items = policy.frozen.rank(own, policy.config.group, barred).items
        rewards = self.judge.score(batch.latest(self.reads), items).float()
        return Judged(own, torch.from_numpy(targets)[:, None], items, policy.before(own, items), rewards)

    @torch.no_grad()
    def mean(self, model: Any, lists: Lists) -> float:
        """The mean score of the items in the lists."""
        scores = [self.judge.score(batch.latest(self.reads), items)[items >= 0] for batch, items in lists]
        return float(torch.cat(scores).mean())


class Shown:
    """What users were shown at one moment of their history, worth the weighted sum of its labels.

    Only moments before a user's first held-out item count: a later label may be that of the answer. Moments at which
    all that was shown is worth the same teach nothing and are left out. A tenth of the users measure the reward.
    """

    def __init__(self, policy: Policy) -> None:
        config, contents = policy.config, policy.contents
        assert config.labels is not None
        self.reads = policy.frozen.reads
        weights = config.label_weights or [1.0] * len(config.label_columns)
        if not config.label_columns or len(weights) != len(config.label_columns):
            raise ConfigError(
                f"align.label_columns names {len(config.label_columns)} columns of {str(config.labels)!r}, and "
                f"align.label_weights {len(config.label_weights)} weights; name at least one column, as in "
                'align.label_columns=["clicked"], and a weight for each, or none for 1 each'
            )
        data = contents.recipe.data
        if (contents.interactions.known_times == NO_TIME).all():
            raise ConfigError("align.labels needs a log with times (data.time): nothing says what came before a label")
        file = ImpressionsFile(
            config.labels, config.label_columns, data.user, data.item, data.time or "time", unit=data.time_unit
        )
        shown = read_impressions(file, None, contents.interactions, contents.catalog)
        self.told = f"{config.labels.name}: {dict(zip(config.label_columns, weights, strict=True))}"
        self._policy, self._groups = policy, _moments(shown, np.array(weights), policy.train.lengths, config.group)
        if not self._groups:
            raise ConfigError(
                f"align.labels = {str(config.labels)!r}: at no moment before the held-out items was a user shown two "
                "items of different worth, so there is nothing to learn; name other align.label_columns"
            )
        users = np.array([user for user, *_ in self._groups])
        aside = np.random.default_rng(contents.recipe.seed).random(len(policy.train.lengths)) < HELD_ASIDE
        self._aside = np.flatnonzero(aside[users]) if aside[users].any() else np.arange(len(users))
        self._learnt = np.flatnonzero(~aside[users]) if not aside[users].all() else np.arange(len(users))

    def batches(self, epoch: int) -> list[Ints]:
        return _shuffled(self._learnt, self._policy, epoch)

    @torch.no_grad()
    def load(self, index: Ints) -> Judged:
        policy, train = self._policy, self._policy.train
        groups = [self._groups[int(place)] for place in index]
        begins = [int(train.offsets[user]) for user, *_ in groups]
        nexts = np.array([begin + before for begin, (_, before, *_) in zip(begins, groups, strict=True)])
        pasts = [slice(begin, int(stop)) for begin, stop in zip(begins, nexts, strict=True)]
        histories, times = ([column[past] for past in pasts] for column in (train.items, train.known_times))
        asked = policy.ask(histories, times, train.known_times[nexts].tolist(), self.reads)
        items = pad([items for *_, items, _ in groups])
        rewards = torch.zeros(items.shape)
        rewards[items != NO_ITEM] = torch.from_numpy(np.concatenate([worth for *_, worth in groups])).float()
        return Judged(asked, torch.from_numpy(train.items[nexts])[:, None], items, policy.before(asked, items), rewards)

    @torch.no_grad()
    def mean(self, model: Any, lists: Lists) -> float:
        """The expected worth of what was shown to the users held aside, if the model chose among it by the
        probabilities of its paths.
        """
        device, size = next(model.parameters()).device, self._policy.config.batch_size
        found = []
        for begin in range(0, len(self._aside), size):
            judged = self.load(self._aside[begin : begin + size])
            real = judged.items != NO_ITEM
            paths = model.path_log_probs(judged.asked.to(device), judged.items.to(device)).sum(dim=2).cpu()
            found.append((paths.masked_fill(~real, -torch.inf).softmax(dim=1) * judged.rewards).sum(dim=1))
        return float(torch.cat(found).mean())


def _moments(shown: Impressions, weights: Worths, permitted: Ints, most: int) -> list[tuple[int, int, Ints, Worths]]:
    """User, items before, and the last `most` items shown then with their worth, for each moment of a history before
    the end of what is `permitted` of it; an item that was shown twice is worth the more.
    """
    worth = shown.labels @ weights
    chosen = np.flatnonzero((shown.before > 0) & (shown.before < permitted[shown.users]))
    keys = np.stack([shown.users[chosen], shown.before[chosen]])
    cuts = np.flatnonzero((keys[:, 1:] != keys[:, :-1]).any(axis=0)) + 1
    groups = []
    for rows in np.split(chosen, cuts) if len(chosen) else []:
        best: dict[int, float] = {}
        for row in rows:
            item = int(shown.items[row])
            best[item] = max(best.pop(item, -np.inf), float(worth[row]))
        items, values = np.array([*best], dtype=np.int64)[-most:], np.array([*best.values()])[-most:]
        if len(set(values)) > 1:
            groups.append((int(shown.users[rows[0]]), int(shown.before[rows[0]]), items, values))
    return groups


def _shuffled(numbers: Ints, policy: Policy, epoch: int) -> list[Ints]:
    order = np.random.default_rng([policy.contents.recipe.seed, epoch]).permutation(numbers)
    size = policy.config.batch_size
    return [order[begin : begin + size] for begin in range(0, len(order), size)]


def _without_dropout(model: nn.Module) -> nn.Module:
    """A policy without noise of its own: at the start it is the reference, and its ratios are 1."""
    for module in model.modules():
        for name in ("p", "dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    return model
