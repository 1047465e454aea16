"""GLASS (arXiv 2602.05663): histories of hundreds of items, seen through the hierarchy of semantic IDs.

The generator encodes a window of the last items. Of those before the window, the long history, it has a token of what
they are like (`tier.py`) before the first code, and looks up those that share the first code once that is taken.
"""

from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn

from sidestep.config import Section
from sidestep.data.reads import Reads
from sidestep.data.sequences import SequenceBatch
from sidestep.generators.encoder_decoder import GeneratorConfig
from sidestep.generators.state import DecodingState, RecallState
from sidestep.generators.thinking import Thinking, ThinkingConfig
from sidestep.generators.tier import PADDING, Tier
from sidestep.layers.blocks import DecoderBlock, RecallBlock
from sidestep.layers.state import Recall, Remembered
from sidestep.sids.semantic_ids import SemanticIds

MOST_ITEMS = 1_000
"""As many items of history as a request may carry."""


class LongConfig(Section):
    """What is made of the items before the window.

    items: how many of them are read; 0 leaves them out.
    tier: the token before the first code: of the cosines of their "vectors" with the mean vector of every code, of the
        "counts" of their first codes alone (a control), or "none". bins: of the cosines.
    search: whether the items that share the code just taken are looked up. retrieved: so many of the last of them.
    neighbours: nearest codes of the first level whose items join where fewer than `sparse_below` are looked up; 0 for
        none.
    """

    items: int = Field(1_000, ge=0, le=MOST_ITEMS)
    tier: Literal["vectors", "counts", "none"] = "vectors"
    bins: int = Field(4, ge=2, lt=PADDING)
    search: bool = True
    retrieved: int = Field(30, ge=1)
    neighbours: int = Field(0, ge=0)
    sparse_below: int = Field(8, ge=0)

    @model_validator(mode="after")
    def _check(self) -> "LongConfig":
        if self.sparse_below > self.retrieved:
            raise ValueError(
                f"sparse_below = {self.sparse_below} is more than retrieved = {self.retrieved}, so that every search "
                "would be sparse; lower the one or raise the other"
            )
        return self


class LongHistory(Thinking):
    """Between code 1 and code L every token looks back:

        R = the last `retrieved` items v before the window with c_1(v) = code 1

    in a second cross-attention of every decoder layer, behind a gate (`RecallBlock`). An item is one position, without
    an order: its code embeddings, projected together, with no gradient to them. In training code 1 is the target's, in
    a search each beam's own. Where R is empty nothing is added: with no tier and no R the generator is `Thinking`.

    vectors: of the first items of the catalogue, for the tier; later items are placed by their codes.
    """

    state_type: ClassVar[type[DecodingState]] = RecallState
    joins: Bool[Tensor, "K K"]

    def __init__(
        self,
        sids: SemanticIds,
        config: GeneratorConfig,
        thinking: ThinkingConfig,
        long: LongConfig,
        vectors: Float[Tensor, "n V"] | None = None,
    ) -> None:
        looks_back = long.search and long.items > 0 and sids.num_levels > 1
        super().__init__(sids, config, thinking, RecallBlock if looks_back else DecoderBlock)
        self.long, self.looks_back = long, looks_back
        if looks_back:
            self.recall_projection = nn.Linear(sids.num_levels * config.width, config.width, bias=False)
            nn.init.normal_(self.recall_projection.weight, std=self.recall_projection.in_features**-0.5)
            self.register_buffer("joins", torch.from_numpy(_joins(sids, long.neighbours)), persistent=False)
        self.tier: Tier | None = None
        if long.tier != "none" and long.items > 0:
            assert vectors is not None or long.tier == "counts"
            of_items = vectors if long.tier == "vectors" else None
            self.tier = Tier(
                sids.codes[:, 0], sids.codebook_sizes[0], of_items, long.bins, config.width, config.dropout
            )
            self.positions_before = 1

    @property
    def reads(self) -> Reads:
        return Reads(self.config.max_history, self.long.items)

    def encoder_input(self, batch: SequenceBatch) -> tuple[Float[Tensor, "B M D"], Bool[Tensor, "B M"], int]:
        """The tier stands before the history, where every causal position sees it."""
        x, real, per_item = super().encoder_input(batch)
        if self.tier is None:
            return x, real, per_item
        token = self.tier(_older(batch))[:, None]
        return torch.cat([token, x], dim=1), nn.functional.pad(real, (1, 0), value=True), per_item

    def recall(self, batch: SequenceBatch, tokens: Int[Tensor, "B P L"]) -> Recall | None:
        if not self.looks_back:
            return None
        older, queries = _older(batch), tokens.shape[1] * (self.num_levels - 1)
        seen = self.retrieved(self.buckets(older), self.vocabulary.codes(tokens)[:, :, 0])
        return Recall(self._remembered(older, queries), seen, self._opens)

    def start(self, batch: SequenceBatch) -> DecodingState:
        state = super().start(batch)
        if not self.looks_back:
            return state
        assert isinstance(state, RecallState)
        older = _older(batch)
        return replace(state, older=tuple(self._remembered(older)), buckets=self.buckets(older))

    def step(
        self, state: DecodingState, codes: Int[Tensor, "B W"] | None
    ) -> tuple[Float[Tensor, "B W K"], DecodingState]:
        """Every beam looks up what shares its own first code."""
        if not self.looks_back or codes is None:
            return super().step(state, codes)
        assert isinstance(state, RecallState)
        state = replace(state, route=codes) if state.level == 1 else state
        assert state.buckets is not None
        assert state.route is not None
        recall = Recall(list(state.older), self.retrieved(state.buckets, state.route))
        log_probs, after = super().step(replace(state, memory=replace(state.memory, recall=recall)), codes)
        return log_probs, replace(after, memory=state.memory)

    def buckets(self, older: Int[Tensor, "B Tl"]) -> Int[Tensor, "B Tl"]:
        """The first codes of items, -1 as padding."""
        return self.vocabulary.codes(self.tokens[older.clamp(min=0)])[..., 0].masked_fill(older < 0, -1).long()

    def retrieved(self, buckets: Int[Tensor, "B Tl"], route: Int[Tensor, "B Q"]) -> Bool[Tensor, "B Q Tl"]:
        """Which of the older items are looked up after each first code: the last of its own, and, where these are few,
        the last of its neighbours' as far as there is room.
        """
        limit = self.long.retrieved
        own = buckets[:, None] == route[:, :, None]
        if buckets.shape[1] > limit:
            own = own & (_rank_from_the_end(own) <= limit)
        if not self.long.neighbours:
            return own
        joined = self.joins[route].gather(2, buckets.clamp(min=0)[:, None].expand(-1, route.shape[1], -1))
        joined = joined & (buckets >= 0)[:, None]
        count = own.sum(dim=2, keepdim=True)
        room = (limit - count).where(count < self.long.sparse_below, 0)
        return own | (joined & (_rank_from_the_end(joined) <= room))

    def num_retrieved(self, batch: SequenceBatch, items: Int[Tensor, "B C"]) -> Int[Tensor, "B C"]:
        """How many items are looked up on the way to each of some items; 0 where the generator does not look back."""
        if not self.looks_back:
            return torch.zeros_like(items)
        route = self.vocabulary.codes(self.tokens[items.clamp(min=0)])[..., 0].long()
        return self.retrieved(self.buckets(_older(batch)), route).sum(dim=2)

    @property
    def _opens(self) -> int:
        """The position, in what the decoder reads, of the first code: the first token that looks back."""
        kept = self.thinking.thoughts and self.thinking.remember
        return 1 + (len(self._thoughts_before(0)) if kept else 0)

    def _remembered(self, older: Int[Tensor, "B Tl"], queries: int | None = None) -> list[Remembered]:
        """The keys and values of older items for every layer. They depend on no user: where there are more of them than
        items in the catalogue, that is projected once and its rows are taken.
        """
        items = older.clamp(min=0)
        if older.numel() > len(self.tokens):
            return self.decoder.remember_rows(self._read_older(self.tokens), items)
        return self.decoder.remember_older(self._read_older(self.tokens[items]), queries)

    def _read_older(self, tokens: Int[Tensor, "*rows L"]) -> Float[Tensor, "*rows D"]:
        items: Tensor = self.recall_projection(self.read(tokens).detach().flatten(-2))
        return items.float()


def _older(batch: SequenceBatch) -> Int[Tensor, "B Tl"]:
    """The items before the window; none where the batch was made without."""
    return batch.history[:, :1].new_full((len(batch), 1), -1) if batch.long is None else batch.long


def _rank_from_the_end(chosen: Bool[Tensor, "B Q Tl"]) -> Int[Tensor, "B Q Tl"]:
    """1 for the last chosen item of every row, 2 for the one before it, and so on."""
    return chosen.flip(-1).cumsum(-1, dtype=torch.int32).flip(-1)


def _joins(sids: SemanticIds, neighbours: int) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """For every code of the first level, True at its nearest other ones by their codewords, `[K, K]`."""
    size, words = sids.codebook_sizes[0], sids.codebooks[0].astype(np.float64)
    norms = (words**2).sum(axis=1)
    distances = norms[:, None] + norms - 2 * words @ words.T
    np.fill_diagonal(distances, np.inf)
    joins = np.zeros((size, size), dtype=np.bool_)
    nearest = np.argsort(distances, axis=1, kind="stable")[:, : min(neighbours, size - 1)]
    np.put_along_axis(joins, nearest, True, axis=1)
    return joins
