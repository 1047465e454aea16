"""Rankers of shown items on a run's semantic IDs: what is looked up in the history, the training, and AUCs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from sidestep.data.impressions import ImpressionBatch, Impressions
from sidestep.data.interactions import Ints
from sidestep.data.labels import labels
from sidestep.errors import ConfigError
from sidestep.evaluation.auc import UserAucs, auc, user_aucs
from sidestep.evaluation.metrics import Values
from sidestep.evaluation.purity import label_numbers
from sidestep.objectives.ranking import taken
from sidestep.pipeline.contents import RunContents
from sidestep.scorers.gsu import Nearest, Recent, SameGroup, Search, found
from sidestep.scorers.target_attention import RankerConfig, TargetAttention
from sidestep.training.loop import fit
from sidestep.training.optim import TrainConfig

SearchName = Literal["recent", "nearest", "code", "category"]
LONGEST = 100
"""Items of a history that are searched: the last ones."""
AT_ONCE = 4096
TRAINING = TrainConfig(epochs=2, batch_size=512, lr=2e-3, warmup_steps=50, weight_decay=1e-5, patience=0)


@dataclass(frozen=True)
class Ranked:
    """scores: of the test impressions, `[M]`. auc: over all of them. users: within each user."""

    scores: Values
    auc: float
    users: UserAucs


def search_of(contents: RunContents, name: SearchName) -> Search:
    """A search over a run's items.

    Raises:
        ConfigError: "category" over a catalogue without categories, or no such search.
    """
    if name == "recent":
        return Recent()
    if name == "nearest":
        return Nearest(torch.from_numpy(contents.aligned.values))
    if name == "code":
        return SameGroup(torch.from_numpy(contents.sids.codes[:, 0].astype(np.int64)))
    if name != "category":
        raise ConfigError(f"No search {name!r}; expected one of {', '.join(get_args(SearchName))}")
    categories = labels(contents.catalog, "category")
    if categories is None:
        raise ConfigError("The search by category needs a column of categories, and the catalogue has none")
    return SameGroup(torch.from_numpy(label_numbers(categories)))


def looked_up(shown: Impressions, search: Search, k: int) -> Int[Tensor, "M k"]:
    """The k items of each history that a search finds for the shown item."""
    parts = []
    for begin in range(0, len(shown), AT_ONCE):
        rows = np.arange(begin, min(begin + AT_ONCE, len(shown)))
        parts.append(found(search, shown.histories(rows, LONGEST), torch.from_numpy(shown.items[rows]), k))
    return torch.cat(parts)


class ImpressionBatches:
    """Impressions in random batches; their order is a pure function of (seed, epoch)."""

    def __init__(self, shown: Impressions, looked_up: Int[Tensor, "M k"], batch_size: int, seed: int) -> None:
        self._found, self._size, self._seed = looked_up, batch_size, seed
        self._targets, self._labels = torch.from_numpy(shown.items), torch.from_numpy(shown.labels[:, 0])

    def batches(self, epoch: int) -> Sequence[Ints]:
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self._targets))
        return np.array_split(order, -(-len(order) // self._size))

    def load(self, index: Ints) -> ImpressionBatch:
        return ImpressionBatch(self._found[index], self._targets[index], self._labels[index])


def train_ranker(
    codes: Ints,
    shown: Impressions,
    found_items: Int[Tensor, "M k"],
    config: RankerConfig,
    seed: int,
    settings: TrainConfig = TRAINING,
) -> TargetAttention:
    """A ranker trained on impressions with their labels. codes: `[N, L]` of every item."""
    torch.manual_seed(seed)
    model = TargetAttention(len(codes), torch.from_numpy(codes.astype(np.int64)), config)
    data = ImpressionBatches(shown, found_items, settings.batch_size, seed)
    fit(model, taken, data, settings, seed=seed, title="ranker")
    return model


def rank_impressions(model: TargetAttention, asked: Impressions, found_items: Int[Tensor, "M k"]) -> Ranked:
    """The scores of impressions that the ranker has not seen, and how well they order what was taken."""
    parts = []
    with torch.no_grad():
        for begin in range(0, len(asked), AT_ONCE):
            part = slice(begin, begin + AT_ONCE)
            parts.append(model(found_items[part], torch.from_numpy(asked.items[part])))
    scores, clicked = torch.cat(parts).double().numpy(), asked.labels[:, 0]
    return Ranked(scores, auc(scores, clicked), user_aucs(scores, clicked, asked.users))
