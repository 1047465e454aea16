"""Several decoding trees in one (after Latte, arXiv 2605.06331): a latent branch is chosen before the first code, and
an item's probability is the sum over branches.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn

from sidestep.config import Section
from sidestep.data.sequences import SequenceBatch
from sidestep.generators.encoder_decoder import EncoderDecoder, GeneratorConfig
from sidestep.generators.prediction import Prediction
from sidestep.generators.state import DecodingState
from sidestep.layers.state import Cache
from sidestep.sids.semantic_ids import SemanticIds
from sidestep.sids.trie import Trie


class BranchingConfig(Section):
    """Latent branches before the first code.

    count: branches. The decoder's work is multiplied by it, the encoder's is not.
    """

    count: int = Field(4, ge=1, le=64)


@dataclass(frozen=True)
class BranchingState(DecodingState):
    """The cache holds every beam once for each of Z branches, the branches of a beam side by side.

    weights: the log-probability of each branch given the history and the beam's codes, without the last one. last: the
    log-probabilities of that code in each branch; None before the first level. nodes: of the beams' codes without the
    last one in the model's own trie; zeros where the softmax is over the codebook.
    """

    weights: Float[Tensor, "B W Z"] | None = None
    last: Float[Tensor, "B W Z K"] | None = None
    nodes: Int[Tensor, "B W"] | None = None

    def _selected(self, parents: Int[Tensor, "B W"]) -> dict[str, Any]:
        assert self.weights is not None
        assert self.nodes is not None
        branches = self.weights.shape[2]
        each = parents[:, :, None] * branches + torch.arange(branches, device=parents.device)
        rows = torch.arange(len(parents), device=parents.device)[:, None]
        return {
            "cache": self.cache.select(each.flatten(1)),
            "weights": self.weights[rows, parents],
            "last": None if self.last is None else self.last[rows, parents],
            "nodes": self.nodes[rows, parents],
        }

    def _taken(self, rows: Int[Tensor, " n"]) -> dict[str, Any]:
        assert self.weights is not None
        assert self.nodes is not None
        last = None if self.last is None else self.last[rows]
        return {**super()._taken(rows), "weights": self.weights[rows], "last": last, "nodes": self.nodes[rows]}


class Branching(EncoderDecoder):
    """TIGER's generator with Z branches. The decoder begins with e_0 plus a vector of the branch, and

        p(s_1 ... s_L) = sum_z p(z) prod_l p(s_l | z, s_1 ... s_(l-1)),

    everything given the history. What training, search and forced scoring see is the conditional probability of each
    code with the branches summed out, `sum_z p(z | s_1 ... s_(l-1)) p(s_l | z, ...)`, so that scores add up level by
    level as those of any generator. With one branch it is TIGER's model but for a constant vector.
    """

    state_type: ClassVar[type[DecodingState]] = BranchingState

    def __init__(self, sids: SemanticIds, config: GeneratorConfig, branching: BranchingConfig) -> None:
        super().__init__(sids, config)
        self.branch = nn.Parameter(torch.randn(branching.count, config.width))
        self.choose = nn.Linear(config.width, branching.count)
        nn.init.zeros_(self.choose.weight)
        nn.init.zeros_(self.choose.bias)
        self._trie = Trie.build(torch.from_numpy(sids.codes), sids.codebook_sizes)

    @property
    def over_children(self) -> bool:
        """Never: branches are weighed by probabilities that are already shares among the children."""
        return False

    def predict(self, batch: SequenceBatch) -> Prediction:
        encoded, per_item = self.encode(batch)
        real, branches = batch.targets >= 0, len(self.branch)
        tokens = self._tokens_of(batch.targets, batch.asked).long()
        seen = self._seen(batch.visible * per_item, encoded)
        begin = self._begin(batch, batch.visible, encoded, seen)  # [B, P, 1, D]
        first = (begin + self.branch).flatten(1, 2)[:, :, None]
        codes = self.read(tokens[:, :, :-1]).repeat_interleave(branches, dim=1)
        x = torch.cat([first, codes], dim=2)
        seen = seen.repeat_interleave(branches, dim=1)
        memory = self._remember(self.decoder, encoded, seen, x.shape[1] * x.shape[2])
        hidden, _ = self.decoder(x, memory, Cache())
        hidden = hidden.view(*real.shape, branches, *hidden.shape[2:])[real]  # [n, Z, L, D]
        plain = self._prediction(hidden[:, 0], tokens[real], real)
        return self._summed(plain, self._weights(begin[real][:, 0]), hidden, batch.targets[real])

    def _summed(
        self,
        plain: Prediction,
        weights: Float[Tensor, "n Z"],
        hidden: Float[Tensor, "n Z L D"],
        items: Int[Tensor, " n"],
    ) -> Prediction:
        """The prediction with the branches summed out, level by level."""
        summed, columns = [], []
        for level in range(self.num_levels):
            logits, column = self._logits(level, hidden[:, :, level]), plain.codes[:, level]
            exists = torch.ones_like(logits[:, 0], dtype=torch.bool)
            if self.siblings is not None:
                codes, exists = self.siblings.of(level, items)
                logits = logits.gather(2, codes[:, None].expand(-1, logits.shape[1], -1))
                column = self.siblings.places[items, level].long()
            log_probs = _shares(logits, exists[:, None])
            summed.append(_mixed(weights, log_probs).masked_fill(~exists, -torch.inf))
            columns.append(column)
            weights = _posterior(weights, log_probs, column)
        return replace(plain, logits=summed, choices=torch.stack(columns, 1))

    def start(self, batch: SequenceBatch) -> DecodingState:
        state = super().start(batch)
        assert isinstance(state, BranchingState)
        weights = self._weights(state.begin)
        return replace(state, weights=weights, nodes=torch.zeros_like(weights[:, :, 0], dtype=torch.int64))

    def step(
        self, state: DecodingState, codes: Int[Tensor, "B W"] | None
    ) -> tuple[Float[Tensor, "B W K"], DecodingState]:
        assert isinstance(state, BranchingState)
        weights, nodes, branches = state.weights, state.nodes, len(self.branch)
        assert weights is not None
        assert nodes is not None
        if codes is None:
            x = state.begin + self.branch
        else:
            assert state.last is not None
            x = self._last_input(state, codes).repeat_interleave(branches, dim=1)
            weights = _posterior(weights, state.last, codes)
            nodes = self._child(state.level - 1, nodes, codes)
        hidden, cache = self.decoder.step(x, state.memory, state.cache)
        logits = self._logits(state.level, hidden.view(len(hidden), -1, branches, hidden.shape[2]))
        exists = self._exists(state.level, nodes, logits.shape[-1])
        log_probs = _shares(logits, exists[:, :, None])
        following = replace(state, cache=cache, level=state.level + 1, weights=weights, last=log_probs, nodes=nodes)
        return _mixed(weights, log_probs).masked_fill(~exists, -torch.inf), following

    def _weights(self, begin: Float[Tensor, "*B D"]) -> Float[Tensor, "*B Z"]:
        """The log-probability of every branch before the first code."""
        weights: Tensor = self.choose(begin).float()
        return weights.log_softmax(-1)

    def _own_trie(self, device: torch.device) -> Trie:
        if self._trie.order.device != device:
            self._trie = self._trie.to(device)
        return self._trie

    def _child(self, level: int, nodes: Int[Tensor, "B W"], codes: Int[Tensor, "B W"]) -> Int[Tensor, "B W"]:
        """The nodes one code further; of a code that is no child, some child."""
        if self.siblings is None:
            return nodes
        children = self._own_trie(nodes.device).children(level, nodes)
        place = ((children.codes == codes[:, :, None]) & children.exists).int().argmax(-1)
        return children.firsts + place

    def _exists(self, level: int, nodes: Int[Tensor, "B W"], size: int) -> Bool[Tensor, "B W K"]:
        """Which codes the softmax runs over."""
        if self.siblings is None:
            return torch.ones(*nodes.shape, size, dtype=torch.bool, device=nodes.device)
        children = self._own_trie(nodes.device).children(level, nodes)
        counts = torch.zeros(*nodes.shape, size, dtype=torch.int32, device=nodes.device)
        return counts.scatter_add_(2, children.codes, children.exists.int()) > 0


def _shares(logits: Float[Tensor, "*B Z K"], exists: Bool[Tensor, "*B 1 K"]) -> Float[Tensor, "*B Z K"]:
    """Log-probabilities among the codes that exist, in each branch; 0 at the others, so that no gradient is lost."""
    return logits.masked_fill(~exists, -torch.inf).log_softmax(-1).masked_fill(~exists, 0)


def _mixed(weights: Float[Tensor, "*B Z"], log_probs: Float[Tensor, "*B Z K"]) -> Float[Tensor, "*B K"]:
    """The log-probability of every code with the branches summed out."""
    return (weights[..., None] + log_probs).logsumexp(-2)


def _posterior(
    weights: Float[Tensor, "*B Z"], log_probs: Float[Tensor, "*B Z K"], codes: Int[Tensor, "*B"]
) -> Float[Tensor, "*B Z"]:
    """The branches' log-probabilities once a code is known."""
    chosen = codes[..., None, None].expand(*weights.shape, 1)
    return (weights + log_probs.gather(-1, chosen)[..., 0]).log_softmax(-1)
