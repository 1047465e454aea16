"""SASRec (Kang & McAuley, ICDM 2018, arXiv 1808.09781): causal self-attention, one state per position."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sidestep.data.interactions import Ints
from sidestep.data.reads import Reads
from sidestep.data.sequences import SequenceBatch
from sidestep.layers.clock import UNKNOWN, Clock
from sidestep.layers.dropout import Dropout
from sidestep.layers.item_rows import RowShards
from sidestep.layers.state import additive
from sidestep.scorers.blocks import Stack
from sidestep.scorers.sequential import BaselineConfig, CausalBaseline


class SASRec(CausalBaseline):
    """Learnt positions, pre-norm blocks, and a norm at the end; inputs and outputs share the item embeddings.

    clock: what it is told of times, set by whoever builds it. The time at which a target is asked for is added to the
    last item that it sees, where all blocks read it; to later targets it is the time of an item that they see anyway.
    """

    def __init__(self, popularity: Ints, config: BaselineConfig, shards: RowShards | None = None) -> None:
        super().__init__(popularity, config, shards)
        self.position = nn.Parameter(torch.randn(config.max_history, config.width) * 0.02)
        self.dropout = Dropout(config.dropout)
        self.stack = Stack(config, "pre-norm", nn.ReLU())
        self.norm = nn.LayerNorm(config.width)
        self.clock: Clock | None = None

    @property
    def reads(self) -> Reads:
        return Reads(self.config.max_history, times=self.clock is not None)

    def hidden(self, batch: SequenceBatch) -> Float[Tensor, "B T D"]:
        """Padding is on the right, so a causal mask excludes it."""
        length = batch.history.shape[1]
        x = self.read(batch.history.clamp(min=0)) * self.config.width**0.5 + self.position[:length]
        if self.clock is not None and batch.times is not None:
            absolute = batch.absolute_times
            told = (
                self.clock.of_items(batch.times, absolute),
                self.clock.of_requests(_next(batch), batch.times, absolute),
            )
            x = sum((each for each in told if each is not None), start=x)
        back = torch.ones(1, length, length, dtype=torch.bool, device=x.device).tril()
        x, _ = self.stack(self.dropout(x), additive(back))
        out: Tensor = self.norm(x)
        return out


def _next(batch: SequenceBatch) -> Int[Tensor, "B T"]:
    """When the item after each item of the history was asked for: the time of the next one, and behind the items that
    real targets, or a question, see, when these are.
    """
    assert batch.times is not None
    assert batch.asked is not None
    following = torch.cat([batch.times[:, 1:], torch.full_like(batch.times[:, :1], UNKNOWN)], dim=1)
    if batch.targets.shape[1]:
        beside = following.shape[1]  # where targets that are none write
        places = torch.where(batch.targets >= 0, batch.visible - 1, beside)
    else:
        places = (batch.lengths[:, None] - 1).clamp(min=0)
    wide = torch.cat([following, following[:, :1]], dim=1)
    return wide.scatter(1, places, batch.asked.expand_as(places))[:, :-1]
