"""S²GR over light modules: what a module reads is the thought before its code, so thinking takes no further pass."""

from dataclasses import dataclass, replace
from typing import ClassVar, cast

from jaxtyping import Bool, Float, Int
from torch import Tensor

from sidestep.generators.encoder_decoder import GeneratorConfig
from sidestep.generators.multi_token import LightModules, MultiTokenConfig, MultiTokenState
from sidestep.generators.state import DecodingState, ThinkingState
from sidestep.generators.thinking import Passes, Thinking, ThinkingConfig
from sidestep.layers.blocks import Decoder
from sidestep.layers.state import BeamCache, Cache, Recall
from sidestep.sids.semantic_ids import SemanticIds


@dataclass(frozen=True)
class ModuleThoughtsState(ThinkingState, MultiTokenState):
    """A search with thoughts over modules."""


class ModuleThoughts(Thinking, LightModules):
    """The whole decoder thinks before the first code, as S²GR does: it reads e_0, then `t_1 = H(e_0) + p_1`, whose
    output predicts code 1. Module k reads, and is taught by L_align as the thought before code k + 1,

        t_(k+1) = M_k [RMS(H(k-1)) ; RMS(e(s_k))] + p_(k+1),

    with H(k-1) the output that predicted code k. A module attends to no other token.
    """

    state_type: ClassVar[type[DecodingState]] = ModuleThoughtsState

    def __init__(
        self, sids: SemanticIds, config: GeneratorConfig, thinking: ThinkingConfig, multi: MultiTokenConfig
    ) -> None:
        super().__init__(sids, config, thinking)
        self._add_modules(config, multi)

    def _passes(
        self,
        begin: Float[Tensor, "B P D"],
        codes: Float[Tensor, "B P L D"],
        encoded: Float[Tensor, "B M D"],
        seen: Bool[Tensor, "B P M"],
        recall: Recall | None,
    ) -> Passes:
        memory = self._remember(self.decoder, encoded, seen, 2 * begin.shape[1]).gathered()
        hidden, cache = self.decoder(begin[:, :, None], memory, Cache())
        thoughts = [hidden[:, :, 0] + self.thought_position[0]]
        hidden, _ = self.decoder(thoughts[0][:, :, None], memory, cache)
        outputs = [hidden[:, :, 0]]
        for level, decoder in enumerate(self.further, 1):
            thoughts.append(self._input(level, outputs[-1], codes[:, :, level - 1]) + self.thought_position[level])
            memory = self._remember(cast(Decoder, decoder), encoded, seen, begin.shape[1])
            hidden, _ = decoder(thoughts[-1][:, :, None], memory, Cache())
            outputs.append(hidden[:, :, 0])
        return outputs, thoughts

    def step(
        self, state: DecodingState, codes: Int[Tensor, "B W"] | None
    ) -> tuple[Float[Tensor, "B W K"], DecodingState]:
        assert isinstance(state, ModuleThoughtsState)
        level, x = state.level, self._last_input(state, codes)
        if level:
            assert state.hidden is not None
            read = self._input(level, state.hidden.expand(-1, x.shape[1], -1), x)
            thought = read + self.thought_position[level]
            hidden = cast(Decoder, self.further[level - 1]).alone(thought, state.further[level - 1])
        else:
            hidden, cache = self.decoder.step(x, state.memory, BeamCache())
            thought = hidden + self.thought_position[0]
            hidden, _ = self.decoder.step(thought, state.memory, cache)
        after = replace(state, hidden=hidden, level=level + 1, thoughts=(*state.thoughts, thought))
        return self._log_probs(level, hidden), after


def plain(thinking: ThinkingConfig) -> bool:
    """Whether thoughts are of the form that modules can have: one before every code, read as it is."""
    forms = {
        name: getattr(thinking, name) for name in ("per_level", "placement", "carry", "levels", "residual", "remember")
    }
    return forms == {name: getattr(ThinkingConfig(), name) for name in forms}
