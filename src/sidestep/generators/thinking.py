"""S2GR (Guo et al. 2026, arXiv 2601.18664, section 4.3): before each code of the next item's semantic ID the decoder
produces a latent thought, supervised to name the coarse cluster of the code to come.
"""

from dataclasses import replace
from typing import Annotated, ClassVar, Literal, cast

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn

from sidestep.config import Section
from sidestep.errors import ConfigError
from sidestep.generators.encoder_decoder import EncoderDecoder, GeneratorConfig, turned
from sidestep.generators.prediction import Prediction, ThoughtfulPrediction
from sidestep.generators.state import DecodingState, ThinkingState
from sidestep.layers.blocks import DecoderBlock
from sidestep.layers.state import BeamCache, Cache, Memory, Recall
from sidestep.losses import generating
from sidestep.sids.semantic_ids import SemanticIds

Passes = tuple[list[Tensor], list[Tensor]]
"""The state that predicts the code of each level, and all thoughts by their numbers, `[B, P, D]` each."""


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

    Forms of our own, which combine, with `carry`; with their defaults the thoughts are the paper's:

    levels: the levels, from 1, before whose codes it thinks; none named: all. Where two codes decide the third, a
        thought before it has nothing to decide.
    residual: a code's logits are made of the state behind its thought plus the state that became the thought, so that
        a thought refines what would be answered without it, instead of replacing it. Of several, the last one.
    gated: the state behind the thought counts by a learnt number for each level that starts at 0: at first every code
        is answered as without thoughts. Needs `residual`.
    remember: whether later codes and thoughts look back at a thought. If not, a thought serves its own code alone, and
        a gate of 0 leaves exactly the generator without thoughts where there is one thought for each code.
    code_weight: weight of the code's cross-entropy asked at the thought itself.
    head_weight: weight of its cluster's cross-entropy by a linear head, which moves the thought less than eq. 18 does.
    position_scale: deviation of the p_l when training starts; what they are added to has a size of about 1.
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
    levels: tuple[Annotated[int, Field(ge=1)], ...] = ()
    residual: bool = False
    gated: bool = False
    remember: bool = True
    code_weight: float = Field(0.0, ge=0)
    head_weight: float = Field(0.0, ge=0)
    position_scale: float = Field(0.02, ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> "ThinkingConfig":
        if self.gated and not self.residual:
            raise ValueError("gated = true needs residual = true: with a gate of 0 nothing else would make the logits")
        if self.placement == "front" and (self.levels or not self.remember):
            raise ValueError(
                "placement = 'front' thinks for all levels at once: set levels = [], and keep remember = true"
            )
        if self.levels and 1 not in self.levels and self.interest:
            raise ValueError(
                f"interest = true teaches the thought before the first code, and levels = {list(self.levels)} has none "
                "there; set interest = false"
            )
        return self


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
        self.levels = self._levels_that_think()
        if not thinking.thoughts:
            return
        num_thoughts = len(self.levels) * thinking.per_level
        self.thought_position = nn.Parameter(torch.randn(num_thoughts, config.width) * thinking.position_scale)  # p_l
        if thinking.interest:
            self.interest_decoder = config.decoder(thinking.interest_layers)  # psi
        if thinking.centroids != "tokens":
            self._keep_centroids(sids)
        if thinking.gated:
            self.thought_gate = nn.Parameter(torch.zeros(sids.num_levels))
        if thinking.head_weight:
            heads = {str(level): nn.Linear(config.width, sids.num_clusters[level]) for level in self.levels}
            self.cluster_head = nn.ModuleDict(heads)

    def _levels_that_think(self) -> tuple[int, ...]:
        """Counted from 0.

        Raises:
            ConfigError: a level that semantic IDs do not have.
        """
        chosen = self.thinking.levels or tuple(range(1, self.num_levels + 1))
        if max(chosen) > self.num_levels:
            raise ConfigError(
                f"thinking.levels names level {max(chosen)}, and the semantic IDs have {self.num_levels}; name levels "
                f"from 1 to {self.num_levels}, or set thinking.levels=[] for thoughts before every code"
            )
        return tuple(level - 1 for level in sorted(set(chosen)))

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

    @torch.no_grad()
    def fix_centroids(self) -> None:
        """Compute the centroids of every level once; the model is not trained any further."""
        centroids = [self.centroids(level) for level in range(self.num_levels)]
        self.thinking = self.thinking.model_copy(update={"centroids": "codebook"})
        for level, values in enumerate(centroids):
            self.register_buffer(f"centroid_{level}", values.clone())

    def cluster_probs(self, level: int, thoughts: Float[Tensor, "*n D"]) -> Float[Tensor, "*n C"]:
        """What thoughts of a level name: probabilities of its clusters, by the head where there is one, else by the
        softmax of eq. 18. At a level without thoughts all clusters are alike.
        """
        if self.thinking.head_weight and level in self.levels:
            head = cast(nn.Linear, self.cluster_head[str(level)])
            named: Tensor = head(thoughts.to(head.weight.dtype)).float()  # which a search in bf16 has rounded
            return named.softmax(-1)
        return generating.cluster_logits(thoughts, self.centroids(level), self.thinking.tau).softmax(-1)

    def decode(
        self,
        tokens: Int[Tensor, "B P L"],
        real: Bool[Tensor, "B P"],
        begin: Float[Tensor, "B P 1 D"],
        encoded: Float[Tensor, "B M D"],
        seen: Bool[Tensor, "B P M"],
        recall: Recall | None = None,
    ) -> Prediction:
        if not self.thinking.thoughts:
            return super().decode(tokens, real, begin, encoded, seen, recall)
        num_targets = tokens.shape[1]
        outputs, thoughts = self._passes(begin[:, :, 0], self.read(tokens), encoded, seen, recall)
        supervised = {level: thoughts[self._supervised(level)] for level in self.levels}
        states = [self._code_state(level, state, supervised.get(level)) for level, state in enumerate(outputs)]
        plain = self._prediction(torch.stack(states, dim=2)[real], tokens[real], real)
        nothing = torch.zeros_like(outputs[0])
        taught = torch.stack([supervised.get(level, nothing) for level in range(self.num_levels)], dim=2)[real]
        centroids = [self.centroids(level) for level in range(self.num_levels)]
        prediction = ThoughtfulPrediction(
            **vars(plain), thoughts=taught, centroids=centroids, levels=self.levels,
            early=self._early(taught), named=self._named(taught),
        )  # fmt: skip
        if not self.thinking.interest:
            return prediction
        remembered = self._remember(self.interest_decoder, encoded, seen, num_targets)
        interest, _ = self.interest_decoder(begin, remembered, Cache())
        return replace(prediction, interest=interest[real][:, 0])

    def _passes(
        self,
        begin: Float[Tensor, "B P D"],
        codes: Float[Tensor, "B P L D"],
        encoded: Float[Tensor, "B M D"],
        seen: Bool[Tensor, "B P M"],
        recall: Recall | None,
    ) -> Passes:
        """The states that the codes' logits are made of, and the thoughts."""
        queries = codes.shape[1] * (self.num_levels + len(self.thought_position))
        memory = replace(self._remember(self.decoder, encoded, seen, queries).gathered(), recall=recall)
        passes = self._in_turn if self.thinking.remember else self._apart
        return passes(begin, codes, memory)

    def _in_turn(self, begin: Float[Tensor, "B P D"], codes: Float[Tensor, "B P L D"], memory: Memory) -> Passes:
        """Thoughts and codes in the order of eqs 15-17; everything looks back at everything before it."""
        last, cache = begin, Cache()
        x, thoughts, outputs = [last], [], []
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
        return outputs + [hidden[:, :, place] for place in predicting], thoughts

    def _apart(self, begin: Float[Tensor, "B P D"], codes: Float[Tensor, "B P L D"], memory: Memory) -> Passes:
        """All codes in one pass, as without thoughts; then the thoughts of each level, at which no other looks back."""
        read = torch.cat([begin[:, :, None], codes[:, :, :-1]], dim=2)
        hidden, cache = self.decoder(read, memory, Cache())
        thoughts, outputs = [], []
        for level in range(self.num_levels):
            state, own = hidden[:, :, level], cache.first(level + 1)
            looked_up = (
                memory if level else replace(memory, recall=None)
            )  # before the first code is known, nothing is looked up
            for number in self._thoughts_before(level):
                thoughts.append(state + self.thought_position[number])
                x = self._thought_input(thoughts[-1], read[:, :, level])
                following, own = self.decoder(x[:, :, None], looked_up, own)
                state = following[:, :, 0]
            outputs.append(state)
        return outputs, thoughts

    def _early(self, thoughts: Float[Tensor, "n L D"]) -> dict[int, Tensor]:
        """By level, the code's logits at its thought, where they are taught."""
        levels = self.levels if self.thinking.code_weight else ()
        return {level: self._logits(level, self._behind(level, thoughts[:, level])) for level in levels}

    def _named(self, thoughts: Float[Tensor, "n L D"]) -> dict[int, Tensor]:
        """By level, the head's logits of the clusters, where there is one."""
        levels = self.levels if self.thinking.head_weight else ()
        return {level: self.cluster_head[str(level)](thoughts[:, level]) for level in levels}

    def _among_children(self, prediction: Prediction, items: Int[Tensor, " n"]) -> Prediction:
        among = super()._among_children(prediction, items)
        if not isinstance(among, ThoughtfulPrediction):
            return among
        assert self.siblings is not None
        early = {level: self.siblings.logits(level, items, logits)[0] for level, logits in among.early.items()}
        return replace(among, early=early)

    def step(
        self, state: DecodingState, codes: Int[Tensor, "B W"] | None
    ) -> tuple[Float[Tensor, "B W K"], DecodingState]:
        """The thoughts before a code, then the code's log-probabilities (spec section 3.4)."""
        if not self.thinking.thoughts:
            return super().step(state, codes)
        assert isinstance(state, ThinkingState)
        x = last = self._last_input(state, codes)
        cache, thoughts, level = state.cache, state.thoughts, state.level
        without: BeamCache | None = None  # the cache behind the token that the thoughts follow
        for number in self._thoughts_before(level):
            hidden, cache = self.decoder.step(x, state.memory, cache)
            without = cache if without is None else without
            thought = hidden + self.thought_position[number]
            if (number + 1) % self.thinking.per_level == 0:
                thoughts = (*thoughts, thought)
            x = self._thought_input(thought, last)
        hidden, cache = self.decoder.step(x, state.memory, cache)
        if level not in self.levels:
            thoughts = (*thoughts, torch.zeros_like(hidden))
        log_probs = self._log_probs(level, self._code_state(level, hidden, thoughts[level]))
        if without is not None and not self.thinking.remember:
            cache = without
        return log_probs, replace(state, cache=cache, level=level + 1, thoughts=thoughts)

    def _code_state(
        self, level: int, state: Float[Tensor, "*B D"], thought: Float[Tensor, "*B D"] | None
    ) -> Float[Tensor, "*B D"]:
        """The state that a code's logits are made of. state: the decoder's behind the last thought, or behind the last
        code at a level without thoughts.
        """
        if thought is None or level not in self.levels or not self.thinking.residual:
            return state
        if self.thinking.gated:
            state = self.thought_gate[level] * state
        return self._behind(level, thought) + state

    def _behind(self, level: int, thought: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        """The decoder's output that became a supervised thought by adding p_l."""
        return thought - self.thought_position[self._supervised(level)]

    def _supervised(self, level: int) -> int:
        """The number of a level's supervised thought, the last one of the level."""
        return (self.levels.index(level) + 1) * self.thinking.per_level - 1

    def _thought_input(self, thought: Float[Tensor, "*B D"], last: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        """A thought as the decoder reads it. last: the input before the thoughts."""
        return thought + last if self.thinking.carry else thought

    def _thoughts_before(self, level: int) -> range:
        """The numbers of the thoughts that come before the code of a level."""
        if self.thinking.placement == "front":
            return range(0 if level else len(self.thought_position))
        if level not in self.levels:
            return range(0)
        last = self._supervised(level)
        return range(last + 1 - self.thinking.per_level, last + 1)
