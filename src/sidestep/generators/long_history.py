"""GLASS (arXiv 2602.05663): histories of hundreds of items, seen through the hierarchy of semantic IDs.

The generator encodes a window of the last items. Of those before the window, the long history, it has a token of what
they are like (`tier.py`) before the first code, and looks up those that share the first code once that is taken.
"""

from collections.abc import Iterator
from contextlib import contextmanager
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
from sidestep.generators.tier import PADDING, TiedTier, WholeTier
from sidestep.layers.blocks import DecoderBlock, RecallBlock
from sidestep.layers.state import Recall, Remembered
from sidestep.sids.semantic_ids import SemanticIds

MOST_ITEMS = 1_000
"""As many items of history as a request may carry."""
MASKED = 64
"""Up to so many older items stand behind a mask; of more, those that some query looks up are gathered first."""
TABLE_BYTES = 2**28
"""The largest table of the catalogue's keys and values that a model keeps, over all layers."""


Versions = list[tuple[Tensor, int]]
"""Weights, and how often each had been changed in place."""


class LongConfig(Section):
    """What is made of the items before the window.

    items: how many of them are read; 0 leaves them out.
    tier: the token before the first code: of the cosines of their "vectors" with the mean vector of every code, of the
        "counts" of their first codes alone (a control), or "none". bins: of the cosines. reader: what makes a token of
        them: the paper's MLP over the "whole", or one network "tied" for all codes, which learns faster.
    search: whether the items that share the code just taken are looked up. retrieved: so many of the last of them.
    neighbours: nearest codes of the first level whose items join where few are looked up; 0 for none. sparse_below:
        so many are few.
    """

    asks = True

    items: int = Field(1_000, ge=0, le=MOST_ITEMS)
    tier: Literal["vectors", "counts", "none"] = "vectors"
    bins: int = Field(4, ge=2, lt=PADDING)
    reader: Literal["whole", "tied"] = "whole"
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
        self._kept: tuple[Versions, list[Remembered]] | None = None
        if looks_back:
            self.recall_projection = nn.Linear(sids.num_levels * config.width, config.width, bias=False)
            nn.init.normal_(self.recall_projection.weight, std=self.recall_projection.in_features**-0.5)
            self.register_buffer("joins", torch.from_numpy(_joins(sids, long.neighbours)), persistent=False)
        self.tier: WholeTier | TiedTier | None = None
        if long.tier != "none" and long.items > 0:
            assert vectors is not None or long.tier == "counts"
            of_items = vectors if long.tier == "vectors" else None
            of = (sids.codes[:, 0], sids.codebook_sizes[0], of_items, long.bins, config.width)
            self.tier = TiedTier(*of) if long.reader == "tied" else WholeTier(*of, config.dropout)
            self.positions_before = 1

    @property
    def reads(self) -> Reads:
        return replace(super().reads, long=self.long.items)

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
        route = self.vocabulary.codes(tokens)[:, :, 0]
        older = self.compact(_older(batch), route)
        queries = tokens.shape[1] * (self.num_levels - 1)
        return Recall(self._remembered(older, queries), self.retrieved(self.buckets(older), route), self._opens)

    def start(self, batch: SequenceBatch) -> DecodingState:
        state = super().start(batch)
        if not self.looks_back:
            return state
        assert isinstance(state, RecallState)
        return replace(state, older=_older(batch))

    def step(
        self, state: DecodingState, codes: Int[Tensor, "B W"] | None
    ) -> tuple[Float[Tensor, "B W K"], DecodingState]:
        """Every beam looks up what shares its own first code."""
        if not self.looks_back or codes is None:
            return super().step(state, codes)
        assert isinstance(state, RecallState)
        assert state.older is not None
        route = codes if state.route is None else state.route
        older = self.compact(state.older, route)  # anew for every code: fewer first codes are left each time
        state = replace(state, route=route, older=older)
        recall = Recall(self._remembered(older), self.retrieved(self.buckets(older), route))
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

    def compact(self, older: Int[Tensor, "B Tl"], route: Int[Tensor, "B Q"]) -> Int[Tensor, "B U"]:
        """Of long histories, only the items that are looked up after some first code, in their order, padded right.

        `retrieved` has the same items there for each of these codes: those that are left out are older than the last
        that it takes. A history of up to `MASKED` items stays as it is.
        """
        if older.shape[1] <= MASKED:
            return older
        used = self.retrieved(self.buckets(older), route).any(dim=1)
        width = max(int(used.sum(dim=1).max()), 1)
        order = used.sort(dim=1, descending=True, stable=True).indices[:, :width]
        return older.gather(1, order).where(used.gather(1, order), -1)

    def num_retrieved(self, batch: SequenceBatch, items: Int[Tensor, "B C"]) -> Int[Tensor, "B C"]:
        """How many items are looked up on the way to each of some items; 0 where the generator does not look back."""
        return self._retrieved_for(batch, items).sum(dim=2) if self.looks_back else torch.zeros_like(items)

    def looked_up(self, batch: SequenceBatch, items: Int[Tensor, "B C"]) -> list[list[list[int]]]:
        """The older items that are looked up on the way to each of some items, the last first; without the `-1` of
        padding, so lists `[B, C]` of up to `retrieved` numbers.
        """
        if not self.looks_back:
            return [[[] for _ in row] for row in items.tolist()]
        chosen = self._retrieved_for(batch, items)
        return [
            [row[mask].flip(0).tolist() for mask in masks] for row, masks in zip(_older(batch), chosen, strict=True)
        ]

    def _retrieved_for(self, batch: SequenceBatch, items: Int[Tensor, "B C"]) -> Bool[Tensor, "B C Tl"]:
        """`retrieved` after the first code of each of some items."""
        route = self.vocabulary.codes(self.tokens[items.clamp(min=0)])[..., 0].long()
        return self.retrieved(self.buckets(_older(batch)), route)

    @contextmanager
    def gates(self) -> Iterator[list[Float[Tensor, " B"]]]:
        """What is predicted inside fills the list with the mean gate of every row, layer by layer. It is empty where
        the generator does not look back.
        """
        means: list[Tensor] = []

        def note(_: nn.Module, __: object, gate: Tensor) -> None:
            means.append(gate.sigmoid().mean((1, 2)))

        blocks = [block for block in self.decoder.modules() if isinstance(block, RecallBlock)]
        hooks = [block.gate.register_forward_hook(note) for block in blocks]
        try:
            yield means
        finally:
            for hook in hooks:
                hook.remove()

    @property
    def _opens(self) -> int:
        """The position, in what the decoder reads, of the first code: the first token that looks back."""
        kept = self.thinking.thoughts and self.thinking.remember
        return 1 + (len(self._thoughts_before(0)) if kept else 0)

    def _remembered(self, older: Int[Tensor, "B U"], queries: int | None = None) -> list[Remembered]:
        """The keys and values of older items for every layer. They depend on no user: where there are more of them than
        items in the catalogue, and wherever nothing is learnt, the catalogue's are computed once.
        """
        items = older.clamp(min=0)
        if (catalogue := self._catalogue(older.numel())) is not None:
            return [table.of_users(items) for table in catalogue]
        return self.decoder.remember_older(self._read_older(self.tokens[items]), queries)

    def _catalogue(self, num_older: int) -> list[Remembered] | None:
        """The keys and values of the whole catalogue for every layer, or None where those of the `num_older` items are
        less work. Where nothing is learnt they are kept, up to `TABLE_BYTES`, until a weight changes.
        """
        learns = torch.is_grad_enabled()
        num_bytes = 8 * len(self.tokens) * len(self.decoder.blocks) * self.config.num_heads * self.config.head_width
        if learns or num_bytes > TABLE_BYTES:
            few = num_older <= len(self.tokens)
            return None if few else self.decoder.remember_table(self._read_older(self.tokens))
        weights = [self.tokens, self.code_embedding.weight, self.recall_projection.weight]
        versions = [(weight, weight._version) for weight in (*weights, *self.decoder.recall_weights())]
        if self._kept is None or not _same_versions(self._kept[0], versions):
            self._kept = (versions, self.decoder.remember_table(self._read_older(self.tokens)))
        return self._kept[1]

    def _read_older(self, tokens: Int[Tensor, "*rows L"]) -> Float[Tensor, "*rows D"]:
        items: Tensor = self.recall_projection(self.read(tokens).detach().flatten(-2))
        return items.float()


def _same_versions(one: Versions, other: Versions) -> bool:
    return all(ours is theirs and mine == its for (ours, mine), (theirs, its) in zip(one, other, strict=True))


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
