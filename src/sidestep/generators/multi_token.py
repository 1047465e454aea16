"""Sequential multi-token prediction (OneLive, arXiv 2602.08612): the decoder predicts the first code, and a light
module each of the others, so that a search runs the whole decoder once a list.
"""

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, cast

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn

from sidestep.config import Section
from sidestep.data.sequences import SequenceBatch
from sidestep.generators.encoder_decoder import EncoderDecoder, GeneratorConfig
from sidestep.generators.prediction import MultiTokenPrediction, Prediction
from sidestep.generators.state import DecodingState
from sidestep.layers.blocks import Decoder
from sidestep.layers.state import Cache, Memory, Recall
from sidestep.sids.semantic_ids import SemanticIds


class MultiTokenConfig(Section):
    """The modules of multi-token prediction.

    layers: decoder blocks of every module.
    all_positions: in training, the decoder and each module also predict every code that follows their own, from the
        codes before it, as in the paper; else each learns its own code only, which is cheaper. A search asks for the
        own code alone.
    thoughts: what a generator that thinks takes for the thoughts before the codes after the first: "inputs", those of
        the modules, at no further pass. Then each module learns its own code alone.
    """

    layers: int = Field(1, ge=1)
    all_positions: bool = True
    thoughts: Literal["none", "inputs"] = "none"

    @model_validator(mode="after")
    def _own_codes(self) -> "MultiTokenConfig":
        if self.thoughts == "inputs" and self.all_positions:
            raise ValueError("thoughts = 'inputs' needs all_positions = false: a thought is made for one code")
        return self


@dataclass(frozen=True)
class MultiTokenState(DecodingState):
    """hidden: the output for the code before, `[B, W, D]`; None before the first level. further: the encoded histories
    as each module reads them.
    """

    hidden: Float[Tensor, "B W D"] | None = None
    further: tuple[Memory, ...] = field(default_factory=tuple)

    def _selected(self, parents: Int[Tensor, "B W"]) -> dict[str, Any]:
        hidden = self.hidden
        if hidden is not None:
            hidden = hidden.gather(1, parents[:, :, None].expand(-1, -1, hidden.shape[2]))
        return {**super()._selected(parents), "hidden": hidden}

    def _taken(self, rows: Int[Tensor, " n"]) -> dict[str, Any]:
        return {
            **super()._taken(rows),
            "hidden": None if self.hidden is None else self.hidden[rows],
            "further": tuple(memory.take(rows) for memory in self.further),
        }


class LightModules(EncoderDecoder):
    """A generator that a module is added to for every code after the first."""

    state_type: ClassVar[type[DecodingState]] = MultiTokenState

    def _add_modules(self, config: GeneratorConfig, multi: MultiTokenConfig) -> None:
        levels = range(1, self.num_levels)
        self.further = nn.ModuleList(config.decoder(multi.layers) for _ in levels)
        joins = [nn.Linear(2 * config.width, config.width, bias=False) for _ in levels]
        self.joined = nn.ModuleList(joins)
        self.norms = nn.ModuleList(nn.RMSNorm(config.width, eps=1e-6) for _ in range(2 * len(levels)))
        for joined in joins:
            nn.init.normal_(joined.weight, std=joined.in_features**-0.5)

    def start(self, batch: SequenceBatch) -> DecodingState:
        encoded, seen, begin = self._question(batch)
        memory, *further = (self._remember(decoder, encoded, seen) for decoder in [self.decoder, *self.further])
        return self.state_type(memory, begin, further=tuple(further))  # type: ignore[call-arg]

    def _input(
        self, level: int, hidden: Float[Tensor, "*rows D"], code: Float[Tensor, "*rows D"]
    ) -> Float[Tensor, "*rows D"]:
        """What the module of a level reads: the output for the code before, and that code."""
        both = [self.norms[2 * level - 2](hidden), self.norms[2 * level - 1](code)]
        joined: Tensor = self.joined[level - 1](torch.cat(both, dim=-1))
        return joined


class MultiToken(LightModules):
    """TIGER's generator with a module for every code after the first.

    Place j of the decoder, H0_j, reads e_0 and j codes, and predicts code j (from 0). Module k reads at place j

        u = M_k [RMS(H(k-1)_j) ; RMS(e(s_(j+k-1)))]

    and its output Hk_j predicts code j + k. M_k is a linear map of both side by side, as in DeepSeek-V3 (arXiv
    2412.19437, eq. 21), since OneLive leaves it unsaid; embeddings and heads are shared. A search needs place 0 alone,
    which attends to no other place.
    """

    def __init__(self, sids: SemanticIds, config: GeneratorConfig, multi: MultiTokenConfig) -> None:
        super().__init__(sids, config)
        self.all_positions = multi.all_positions
        self._add_modules(config, multi)

    def decode(
        self,
        tokens: Int[Tensor, "B P L"],
        real: Bool[Tensor, "B P"],
        begin: Float[Tensor, "B P 1 D"],
        encoded: Float[Tensor, "B M D"],
        seen: Bool[Tensor, "B P M"],
        recall: Recall | None = None,
    ) -> Prediction:
        """Every target's codes, each by its own decoder or module; in training with `all_positions` also by those
        before it.
        """
        ahead = self.all_positions and self.training
        places = self.num_levels if ahead else 1
        x = torch.cat([begin, self.read(tokens[:, :, : places - 1])], dim=2)
        hidden, own, further = x, [], []
        for level, decoder in enumerate([self.decoder, *self.further]):
            if level:
                places = self.num_levels - level if ahead else 1
                x = self._input(level, hidden[:, :, :places], self.read(tokens[:, :, level - 1 : level - 1 + places]))
            memory = self._remember(decoder, encoded, seen, x.shape[1] * places)
            hidden, _ = decoder(x, memory, Cache())
            outputs = hidden[real]
            own.append(outputs[:, 0])
            further.append([self._logits(level + place, outputs[:, place]) for place in range(1, places)])
        prediction = self._prediction(torch.stack(own, 1), tokens[real], real)
        return MultiTokenPrediction(**vars(prediction), further=further)

    def step(
        self, state: DecodingState, codes: Int[Tensor, "B W"] | None
    ) -> tuple[Float[Tensor, "B W K"], DecodingState]:
        assert isinstance(state, MultiTokenState)
        level, decoder, memory, x = state.level, self.decoder, state.memory, self._last_input(state, codes)
        if level:
            assert state.hidden is not None
            decoder, memory = cast(Decoder, self.further[level - 1]), state.further[level - 1]
            x = self._input(level, state.hidden.expand(-1, x.shape[1], -1), x)
        hidden = decoder.alone(x, memory)
        return self._log_probs(level, hidden), replace(state, hidden=hidden, level=level + 1)

    def _among_children(self, prediction: Prediction, items: Int[Tensor, " n"]) -> Prediction:
        assert isinstance(prediction, MultiTokenPrediction)
        assert self.siblings is not None
        further = [
            [self.siblings.logits(first + place, items, logits)[0] for place, logits in enumerate(later, 1)]
            for first, later in enumerate(prediction.further)
        ]
        among = super()._among_children(prediction, items)
        assert isinstance(among, MultiTokenPrediction)
        return replace(among, further=further)
