"""The objective of a generator's alignment with a reward; the last line is the total loss."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from sidestep.config import HomePath, Section
from sidestep.data.sequences import SequenceBatch
from sidestep.losses import preference


class AlignConfig(Section):
    """How a trained generator is aligned with a reward.

    kind: "grpo" or "dpo", or the control "distil", which learns the reward's order of the same paths by cross-entropy.
    reward: the run folder of a recommender whose scores are the reward.
    labels: or a table of what users were shown, with the recipe's columns for user, item and time.
    label_columns: of it, 1 where the user did something with the item, and 0 where not.
    label_weights: what each of them is worth; empty for 1 each.
    group: paths of every history: the reference's best, none of them in the history; or the last that were shown.
    clip: how far a code's ratio to the reference pays, for grpo. cap: its largest where the advantage is negative.
    beta: DPO's. tau: temperature of the reward for distil.
    kl: weight of the divergence from the reference. next_code: weight of the loss that the generator was trained with,
        on the same histories.
    epochs: passes over the users. batch_size: users at once. lr: the rate, as a share of train.lr.
    guard: share of the validation NDCG@10 that may be lost; epochs that lose more are thrown away.
    """

    kind: Literal["grpo", "dpo", "distil"] = "grpo"
    reward: HomePath | None = None
    labels: HomePath | None = None
    label_columns: tuple[str, ...] = ()
    label_weights: tuple[float, ...] = ()
    group: int = Field(16, ge=2)
    clip: float = Field(0.2, gt=0, lt=1)
    cap: float = Field(1.3, gt=1)
    beta: float = Field(0.1, gt=0)
    tau: float = Field(1.0, gt=0)
    kl: float = Field(0.02, ge=0)
    next_code: float = Field(0.1, ge=0)
    epochs: int = Field(1, ge=1)
    batch_size: int = Field(64, ge=1)
    lr: float = Field(0.05, gt=0)
    guard: float = Field(0.02, ge=0, lt=1)


@dataclass(frozen=True)
class Judged:
    """Histories with the item that came next, and the items to prefer some of.

    asked: the histories, as questions. target: the item that came next. items: the reference's paths, or what was
    shown; `NO_ITEM` where there are fewer than G. reference: its log-probabilities of their codes. rewards: of these
    items.
    """

    asked: SequenceBatch
    target: Int[Tensor, "B 1"]
    items: Int[Tensor, "B G"]
    reference: Float[Tensor, "B G L"]
    rewards: Float[Tensor, "B G"]

    def to(self, device: torch.device) -> "Judged":
        return replace(self, **{name: value.to(device) for name, value in vars(self).items()})


def aligned(model: Any, batch: Judged, align: AlignConfig) -> dict[str, Tensor]:
    """L = L_kind + kl D(reference, pi) + next_code L_Rec, all on the same histories."""
    real = batch.items >= 0
    both = model.path_log_probs(batch.asked, torch.cat([batch.target, batch.items], dim=1))
    recommend, log_probs = -both[:, 0].sum(dim=1).mean(), both[:, 1:]
    if align.kind == "grpo":
        advantage = preference.advantages(batch.rewards, real)
        learnt = preference.grpo(log_probs, batch.reference, advantage, real, align.clip, align.cap)
    elif align.kind == "dpo":
        learnt = preference.dpo(log_probs, batch.reference, batch.rewards, real, align.beta)
    else:
        learnt = preference.distil(log_probs, batch.rewards, real, align.tau)
    apart = preference.kl(log_probs, batch.reference, real)
    parts = {align.kind: learnt, "kl": apart, "recommend": recommend}
    total = learnt + align.kl * apart + align.next_code * recommend
    return {**{name: part.detach() for name, part in parts.items()}, "total": total}
