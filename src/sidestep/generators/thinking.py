"""S2GR (Guo et al. 2026, arXiv 2601.18664, section 4.3): before each code of the next item's semantic ID the decoder
produces a latent thought, supervised to name the coarse cluster of the code to come.
"""

from dataclasses import replace
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn

from sidestep.config import Section
from sidestep.generators.encoder_decoder import EncoderDecoder, GeneratorConfig, turned
from sidestep.generators.prediction import Prediction, ThoughtfulPrediction
from sidestep.generators.state import DecodingState, ThinkingState
from sidestep.layers.blocks import Decoder, DecoderBlock
from sidestep.layers.state import Cache, Recall
from sidestep.losses import generating
from sidestep.sids.semantic_ids import SemanticIds


class ThinkingConfig(Section):
    """How the generator thinks and how its thoughts are taught.

    thoughts: False leaves them out, and the generator is TIGER's.
    per_level: thoughts in a row for each code; the last of them is taught to name its code's cluster.
    placement: "each" thinks before each code, "front" thinks all thoughts before the first one.
    carry: what is read after a thought: the thought alone, as in the paper (eq. 17), or the thought plus the token that
        it follows, which is then not two passes away when the code is said.
    clusters: "own" are those of the codebooks; "shuffled" deals the codes out anew to clusters of the same sizes, a
        control that names nothing.
    centroids: what a thought is drawn to (eq. 18): the mean of its cluster's code "tokens" as they are trained, of the
        frozen "codebook"'s codewords (turned to the width as the code embeddings start), or a learnt linear map of
        these, "projected".
    tau: temperature of eqs 18 and 20.
    align_weight: weight of sum_l L_align; the paper's is 1.
    interest: whether the light decoder of eq. 19, which is dropped at inference, teaches anything.
    interest_layers: its depth.
    reg_weight: lambda of eq. 24.
    """

    thoughts: bool = True
    per_level: int = Field(1, ge=1)
    placement: Literal["each", "front"] = "each"
    carry: bool = False
    clusters: Literal["own", "shuffled"] = "own"
    centroids: Literal["tokens", "codebook", "projected"] = "tokens"
    tau: float = Field(0.1, gt=0)
    align_weight: float = Field(1.0, ge=0)
    interest: bool = True
    interest_layers: int = Field(2, ge=1)
    reg_weight: float = Field(0.1, ge=0)


class Thinking(EncoderDecoder):
    """S2GR's generator: the decoder reads `e0, t1, s1, t2, s2 ... tL` (eqs 15-17).

    Thoughts are outputs fed back as inputs, so a pass over all levels at once is impossible; teacher forcing needs
    L + 1 cached passes (of 1, 2, ..., 2, 1 tokens), decoding 2 for each level.
    """

    state_type: ClassVar[type[DecodingState]] = ThinkingState

    def __init__(
        self,
        sids: SemanticIds,
        config: GeneratorConfig,
        thinking: ThinkingConfig,
        block: type[DecoderBlock] = DecoderBlock,
    ) -> None:
        super().__init__(sids, config, block)
        self.thinking = thinking
        for level, cluster in enumerate(sids.clusters):
            self.register_buffer(f"cluster_{level}", torch.from_numpy(cluster), persistent=False)
        if not thinking.thoughts:
            return
        num_thoughts = sids.num_levels * thinking.per_level
        self.thought_position = nn.Parameter(torch.randn(num_thoughts, config.width) * 0.02)  # p_l
        if thinking.interest:
            shape = (config.width, config.num_heads, config.head_width, config.inner)
            self.interest_decoder = Decoder(*shape, thinking.interest_layers, config.dropout)  # psi
        if thinking.centroids != "tokens":
            self._keep_centroids(sids)

    @torch.no_grad()
    def _keep_centroids(self, sids: SemanticIds) -> None:
        """The frozen centroids: of the codewords turned, as code embeddings may start, or as they are."""
        projected = self.thinking.centroids == "projected"
        for level, codebook in enumerate(sids.codebooks):
            words = torch.from_numpy(codebook) if projected else self.embeddings(level)
            if not projected and self.config.start == "random":
                turn = turned(torch.from_numpy(codebook), self.config.width)
                words = words if turn is None else turn
            self.register_buffer(f"centroid_{level}", generating.centroids(words, self.cluster(level)))
        if projected:
            widths = [codebook.shape[1] for codebook in sids.codebooks]
            self.projections = nn.ModuleList(nn.Linear(width, self.config.width, bias=False) for width in widths)

    def cluster(self, level: int) -> Int[Tensor, " K"]:
        """The cluster of every code of one level."""
        return getattr(self, f"cluster_{level}")

    def centroids(self, level: int) -> Float[Tensor, "C D"]:
        """What thoughts of a level are drawn to."""
        if self.thinking.centroids == "tokens":
            return generating.centroids(self.embeddings(level), self.cluster(level))
        frozen: Tensor = getattr(self, f"centroid_{level}")
        return self.projections[level](frozen) if self.thinking.centroids == "projected" else frozen

    def cluster_probs(self, level: int, thoughts: Float[Tensor, "*n D"]) -> Float[Tensor, "*n C"]:
        """What thoughts of a level name: probabilities of its clusters, the softmax of eq. 18."""
        return generating.cluster_logits(thoughts, self.centroids(level), self.thinking.tau).softmax(-1)

    def decode(
        self,
        tokens: Int[Tensor, "B P L"],
        real: Bool[Tensor, "B P"],
        encoded: Float[Tensor, "B M D"],
        seen: Bool[Tensor, "B P M"],
        recall: Recall | None = None,
    ) -> Prediction:
        if not self.thinking.thoughts:
            return super().decode(tokens, real, encoded, seen, recall)
        begin, num_targets = self._begin(encoded, seen), tokens.shape[1]
        queries = num_targets * (self.num_levels + len(self.thought_position))
        memory, cache = replace(self.decoder.remember(encoded, seen, queries=queries), recall=recall), Cache()
        codes = self.read(tokens)
        last = begin[:, :, 0]
        x, thoughts, outputs = [last], [], []  # outputs: per level, the state that predicts its code
        predicting: list[int] = []  # the places in x whose outputs predict a code
        for level in range(self.num_levels):
            for number in self._thoughts_before(level):
                hidden, cache = self.decoder(torch.stack(x, dim=2), memory, cache)
                outputs += [hidden[:, :, place] for place in predicting]
                thoughts.append(hidden[:, :, -1] + self.thought_position[number])
                x, predicting = [self._thought_input(thoughts[-1], last)], []
            predicting.append(len(x) - 1)
            last = codes[:, :, level]
            x.append(last)
        hidden, _ = self.decoder(torch.stack(x[:-1], dim=2), memory, cache)
        outputs += [hidden[:, :, place] for place in predicting]
        plain = self._prediction(torch.stack(outputs, dim=2)[real], tokens[real], real)
        taught = torch.stack(thoughts[self.thinking.per_level - 1 :: self.thinking.per_level], dim=2)[real]
        centroids = [self.centroids(level) for level in range(self.num_levels)]
        prediction = ThoughtfulPrediction(**vars(plain), thoughts=taught, centroids=centroids)
        if not self.thinking.interest:
            return prediction
        remembered = self.interest_decoder.remember(encoded, seen, queries=num_targets)
        interest, _ = self.interest_decoder(begin, remembered, Cache())
        return replace(prediction, interest=interest[real][:, 0])

    def step(
        self, state: DecodingState, codes: Int[Tensor, "B W"] | None
    ) -> tuple[Float[Tensor, "B W K"], DecodingState]:
        """The thoughts before a code, then the code's log-probabilities (spec section 3.4)."""
        if not self.thinking.thoughts:
            return super().step(state, codes)
        assert isinstance(state, ThinkingState)
        x = last = self._last_input(state, codes)
        cache, thoughts = state.cache, state.thoughts
        for number in self._thoughts_before(state.level):
            hidden, cache = self.decoder.step(x, state.memory, cache)
            thought = hidden + self.thought_position[number]
            if (number + 1) % self.thinking.per_level == 0:
                thoughts = (*thoughts, thought)
            x = self._thought_input(thought, last)
        hidden, cache = self.decoder.step(x, state.memory, cache)
        log_probs = self._log_probs(state.level, hidden)
        return log_probs, replace(state, cache=cache, level=state.level + 1, thoughts=thoughts)

    def _thought_input(self, thought: Float[Tensor, "*B D"], last: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        """A thought as the decoder reads it. last: the input before the thoughts."""
        return thought + last if self.thinking.carry else thought

    def _thoughts_before(self, level: int) -> range:
        """The numbers of the thoughts that come before the code of a level."""
        if self.thinking.placement == "front":
            return range(0 if level else len(self.thought_position))
        return range(level * self.thinking.per_level, (level + 1) * self.thinking.per_level)
