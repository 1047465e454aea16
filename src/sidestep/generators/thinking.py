"""S2GR (Guo et al. 2026, arXiv 2601.18664, section 4.3): before each code of the next item's semantic ID the decoder
produces a latent thought, supervised to name the coarse cluster of the code to come.
"""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn

from sidestep import losses
from sidestep.config import Section
from sidestep.generators.encoder_decoder import DecodingState, EncoderDecoder, GeneratorConfig, Prediction
from sidestep.layers.blocks import Decoder
from sidestep.layers.state import Cache
from sidestep.sids.semantic_ids import SemanticIds


class ThinkingConfig(Section):
    """How the generator thinks and how its thoughts are taught.

    thoughts: False leaves them out, and the generator is TIGER's.
    tau: temperature of eqs 18 and 20.
    interest_layers: depth of the light decoder of eq. 19, dropped at inference.
    reg_weight: lambda of eq. 24.
    """

    thoughts: bool = True
    tau: float = Field(0.1, gt=0)
    interest_layers: int = Field(2, ge=1)
    reg_weight: float = Field(0.1, ge=0)


class Thinking(EncoderDecoder):
    """S2GR's generator: the decoder reads `e0, t1, s1, t2, s2 ... tL` (eqs 15-17).

    Thoughts are outputs fed back as inputs, so a pass over all levels at once is impossible; teacher forcing needs
    L + 1 cached passes (of 1, 2, ..., 2, 1 tokens), decoding 2 for each level.
    """

    def __init__(self, sids: SemanticIds, config: GeneratorConfig, thinking: ThinkingConfig) -> None:
        super().__init__(sids, config)
        self.thinking = thinking
        for level, cluster in enumerate(sids.clusters):
            self.register_buffer(f"cluster_{level}", torch.from_numpy(cluster), persistent=False)
        if thinking.thoughts:
            self.thought_position = nn.Parameter(torch.randn(sids.num_levels, config.width) * 0.02)  # p_l
            shape = (config.width, config.num_heads, config.head_width, config.inner)
            self.interest_decoder = Decoder(*shape, thinking.interest_layers, config.dropout)  # psi

    def cluster(self, level: int) -> Int[Tensor, " K"]:
        """The cluster of every code of one level."""
        return getattr(self, f"cluster_{level}")

    def cluster_probs(self, level: int, thoughts: Float[Tensor, "*n D"]) -> Float[Tensor, "*n C"]:
        """What thoughts of a level name: probabilities of its clusters, the softmax of eq. 18."""
        means = losses.centroids(self.embeddings(level), self.cluster(level))
        return losses.cluster_logits(thoughts, means, self.thinking.tau).softmax(-1)

    def decode(
        self,
        tokens: Int[Tensor, "B P L"],
        asked: Bool[Tensor, "B P"],
        encoded: Float[Tensor, "B M D"],
        seen: Bool[Tensor, "B P M"],
    ) -> Prediction:
        if not self.thinking.thoughts:
            return super().decode(tokens, asked, encoded, seen)
        begin = self._begin(encoded, seen)
        num_targets = tokens.shape[1]
        memory, cache = self.decoder.remember(encoded, seen, queries=2 * num_targets * self.num_levels), Cache()
        said = self.read(tokens)
        x = begin
        thoughts, spoken = [], []
        for level in range(self.num_levels):
            hidden, cache = self.decoder(x, memory, cache)
            if level:
                spoken.append(hidden[:, :, 0])
            thoughts.append(hidden[:, :, -1] + self.thought_position[level])
            x = torch.stack([thoughts[level], said[:, :, level]], dim=2)
        hidden, _ = self.decoder(x[:, :, :1], memory, cache)
        spoken.append(hidden[:, :, 0])
        remembered = self.interest_decoder.remember(encoded, seen, queries=num_targets)
        interest, _ = self.interest_decoder(begin, remembered, Cache())
        said_of = self._prediction(torch.stack(spoken, dim=2)[asked], tokens[asked], asked)
        return replace(said_of, thoughts=torch.stack(thoughts, dim=2)[asked], interest=interest[asked][:, 0])

    def step(
        self, state: DecodingState, codes: Int[Tensor, "B W"] | None
    ) -> tuple[Float[Tensor, "B W K"], DecodingState]:
        """Thinks once, within the beam, then says what code may come (spec section 3.4)."""
        if not self.thinking.thoughts:
            return super().step(state, codes)
        hidden, cache = self.decoder.step(self._last(state, codes), state.memory, state.cache)
        thought = hidden + self.thought_position[state.level]
        hidden, cache = self.decoder.step(thought, state.memory, cache)
        thoughts = (*state.thoughts, thought)
        log_probs = self._log_probs(state.level, hidden)
        return log_probs, replace(state, cache=cache, level=state.level + 1, thoughts=thoughts)
