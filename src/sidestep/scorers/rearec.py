"""ReaRec (Tang et al. 2025, arXiv 2503.22675): the state after a history is fed back a few times before scoring."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sidestep.data.interactions import Ints
from sidestep.data.sequences import SequenceBatch
from sidestep.layers.dropout import Dropout
from sidestep.layers.item_rows import RowShards
from sidestep.layers.state import KeysValues, additive
from sidestep.scorers.blocks import Stack
from sidestep.scorers.sequential import BaselineConfig, ItemPrediction, SequentialBaseline

INIT = 0.02


@dataclass(frozen=True)
class ReasonedPrediction(ItemPrediction):
    """steps: the encoder's state and the one after each reasoning step, `[steps + 1, n, D]`, not divided by tau.
    noisy: the reasoned states computed with noise on the fed-back inputs, `[steps, n, D]`. rows: each target's history.
    """

    steps: Float[Tensor, "s n D"]
    noisy: Float[Tensor, "k n D"] | None
    rows: Int[Tensor, " n"]


class ReaRec(SequentialBaseline):
    """Post-norm blocks as in SASRec's re-implementations. The input of step i is the previous state plus a reasoning
    position embedding, normed like an item; it attends to the history and to its own earlier steps.

    ensemble: score with the mean of all states (ERL), else with the last one (PRL). A score is the inner product over
    `tau`. All positions of a history reason in parallel and independently.
    """

    def __init__(
        self, popularity: Ints, config: BaselineConfig, shards: RowShards | None = None, *, ensemble: bool
    ) -> None:
        super().__init__(popularity, config, shards)
        self.ensemble = ensemble
        self.position = nn.Parameter(torch.randn(config.max_history, config.width) * INIT)
        self.reasoning_position = nn.Parameter(torch.randn(config.reasoning_steps, config.width) * INIT)
        self.norm, self.dropout = nn.LayerNorm(config.width), Dropout(config.dropout)
        self.stack = Stack(config, "post-norm", nn.GELU())

    def after(self, batch: SequenceBatch, visible: Int[Tensor, "B P"]) -> Float[Tensor, "B P D"]:
        first, kept = self._encode(batch, visible)
        return self._final(self._reason(first, kept, visible, 0.0))

    def forward(self, batch: SequenceBatch) -> ReasonedPrediction:
        first, kept = self._encode(batch, batch.visible)
        steps = self._reason(first, kept, batch.visible, 0.0)
        real = batch.targets >= 0
        noisy = None
        if self.config.noise and not self.ensemble:
            noisy = self._reason(first, kept, batch.visible, self.config.noise)[1:, real]
        states, rows = self._final(steps)[real], real.nonzero()[:, 0]
        return ReasonedPrediction(states, batch.targets[real], self.table(), steps[:, real], noisy, rows)

    def _final(self, steps: Float[Tensor, "s B P D"]) -> Float[Tensor, "B P D"]:
        return (steps.mean(0) if self.ensemble else steps[-1]) / self.config.tau

    def _encode(
        self, batch: SequenceBatch, visible: Int[Tensor, "B P"]
    ) -> tuple[Float[Tensor, "B P D"], list[KeysValues]]:
        """The encoder's state for each target, and every layer's keys and values of the history."""
        length = batch.history.shape[1]
        x = self.dropout(self.norm(self.read(batch.history.clamp(min=0)) + self.position[:length]))
        back = torch.ones(1, length, length, dtype=torch.bool, device=x.device).tril()
        x, kept = self.stack(x, additive(back))
        return x.gather(1, (visible - 1)[:, :, None].expand(-1, -1, x.shape[2])), kept

    def _reason(
        self, state: Float[Tensor, "B P D"], kept: list[KeysValues], visible: Int[Tensor, "B P"], noise: float
    ) -> Float[Tensor, "s B P D"]:
        """The first state and the states of all reasoning steps."""
        length, targets = kept[0][0].shape[2], visible.shape[1]
        history = torch.arange(length, device=visible.device) < visible[..., None]
        own = torch.eye(targets, dtype=torch.bool, device=visible.device).expand(len(visible), -1, -1)
        seen, states = history, [state]
        for position in self.reasoning_position:
            seen = torch.cat([seen, own], 2)
            fed = states[-1] + position + (noise * torch.randn_like(state) if noise else 0)
            state, kept = self.stack(self.dropout(self.norm(fed)), additive(seen), kept)
            states.append(state)
        return torch.stack(states)
