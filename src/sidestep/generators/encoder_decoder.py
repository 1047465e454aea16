"""TIGER (Rajput et al. 2023, arXiv 2305.05065): a T5-style encoder-decoder over semantic IDs."""

from dataclasses import replace
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn

from sidestep.config import Section
from sidestep.data.reads import Reads
from sidestep.data.sequences import SequenceBatch
from sidestep.generators.item_part import ItemPart
from sidestep.generators.prediction import Prediction
from sidestep.generators.sliced_tokens import SlicedTokens
from sidestep.generators.state import DecodingState
from sidestep.layers.attention import AttentionParts
from sidestep.layers.blocks import Decoder, DecoderBlock, Encoder
from sidestep.layers.clock import Clock
from sidestep.layers.context import LazyContext
from sidestep.layers.state import Cache, Memory, Recall, first_positions
from sidestep.sids.semantic_ids import SemanticIds
from sidestep.sids.siblings import Siblings
from sidestep.sids.vocabulary import Vocabulary


class GeneratorConfig(Section):
    """The shape of a generator. The defaults are TIGER's, but for the history.

    width: of the embeddings and between layers. num_heads, head_width: of the attention; their product need not be
        `width`. inner: width of the feed-forward layers. encoder_layers, decoder_layers: numbers of blocks. dropout:
        share of the activations that is left out in training. max_history: last items of a history that are read.
    encoder: "causal" looks back only, so that one encoded history serves every position as a target; "bidirectional"
        is the paper's T5, with one target per history. A causal position cannot know that it is the last one a target
        sees, and cross-attention has no positions, so there the decoder's first input is e_0 plus the state of that
        last position; in the paper's mode it is e_0 alone. "lazy" has no encoder blocks: the decoder reads the items as
        they are, and their order by a bias of its cross-attention.
    history: "codes" encodes one position per code as the paper does, "items" one per item, its codes projected
        together, which is L times shorter.
    item_part: a free vector for every item beside its codes, in the history alone; see `ItemPart`. item_dropout: how
        often a whole item's is left out in training.
    softmax: what a code's probability is shared with: all codes of its level, "codebook", as the papers leave it
        unsaid; or the codes that some item has behind the same prefix, "trie". The latter is the choice that the search
        makes, so nothing of the model is spent on codes that no item has; a code without alternative costs nothing. It
        is taken over the catalogue that the model is built for: the children of a served version's trie, whatever
        filters a search has.
    smoothing: label smoothing, over the codes that the softmax runs over.
    prefix_weight: weight of the loss of prefixes (APAO, arXiv 2603.02730), 0 for none: a search drops an item once its
        first codes fall behind. prefix_focus: how much the worst prefix counts more, 0 by its loss alone.
    gate: of the output of every attention: "none", one number for each "head", or for each "element"; only the last
        keeps a search from folding its cross-attention (`CrossAttention.remember`). qk_norm: whether queries and keys
        are normed, which bounds their products, and keeps from folding, too.
    start: "codebook" starts each code's embedding as its codeword, turned at random into the model's width, so that
        like codes are alike from the first step; "random" starts them unrelated, as TIGER does.
    """

    width: int = Field(128, ge=1)
    num_heads: int = Field(6, ge=1)
    head_width: int = Field(64, ge=1)
    inner: int = Field(1024, ge=1)
    encoder_layers: int = Field(4, ge=1)
    decoder_layers: int = Field(4, ge=1)
    dropout: float = Field(0.1, ge=0, lt=1)
    max_history: int = Field(20, ge=1)
    encoder: Literal["causal", "bidirectional", "lazy"] = "causal"
    history: Literal["items", "codes"] = "items"
    item_part: bool = False
    item_dropout: float = Field(0.3, ge=0, lt=1)
    softmax: Literal["codebook", "trie"] = "codebook"
    smoothing: float = Field(0.0, ge=0, lt=1)
    prefix_weight: float = Field(0.0, ge=0)
    prefix_focus: float = Field(1.0, ge=0)
    start: Literal["codebook", "random"] = "codebook"
    gate: Literal["none", "head", "element"] = "none"
    qk_norm: bool = False

    @property
    def attention(self) -> AttentionParts:
        return AttentionParts(self.gate, self.qk_norm)

    def decoder(self, num_layers: int, block: type[DecoderBlock] = DecoderBlock) -> Decoder:
        """A new decoder stack. block: what it is made of."""
        shape = (self.width, self.num_heads, self.head_width, self.inner)
        return Decoder(*shape, num_layers, self.dropout, block, self.attention)


class EncoderDecoder(nn.Module):
    """TIGER's generator. Batches carry item numbers; the code table of the items is a buffer of the generator.

    A subclass with another decoder overrides `decode` (teacher forcing) and `step` (search), which must agree; one with
    another history overrides `encode`, one that puts something before it `encoder_input`. `path_log_probs` then needs
    no change. block: what its decoder is made of.

    clock: what it is told of times, set by whoever builds it: added to the history's items and to the decoder's first
    input. None, or a batch without times: nothing is added. sliced: set likewise, where items have other IDs at other
    times.

    A level's output head is tied to the embeddings of its codes. These are kept small (`D ** -0.5`) and multiplied by
    `D ** 0.5` on the way in, as in Vaswani et al. 2017 (section 3.4): the function is T5's, which keeps them large and
    divides on the way out, but Adam's steps of a fixed size then move them `D ** 0.5` times as far.
    """

    tokens: Int[Tensor, "N L"]
    state_type: ClassVar[type[DecodingState]] = DecodingState
    positions_before: int = 0
    """Memory positions before those of the history's items; every target sees them."""

    def __init__(self, sids: SemanticIds, config: GeneratorConfig, block: type[DecoderBlock] = DecoderBlock) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = Vocabulary(sids.codebook_sizes)
        self.register_buffer("tokens", self.vocabulary.tokens(torch.from_numpy(sids.codes).int()), persistent=False)
        self.siblings = Siblings(sids) if config.softmax == "trie" else None
        self.code_embedding = nn.Embedding(len(self.vocabulary), config.width)
        nn.init.normal_(self.code_embedding.weight, std=config.width**-0.5)
        if config.start == "codebook":
            self._start_from(sids)
        self.begin = nn.Parameter(torch.randn(config.width))  # e_0
        if config.history == "items":
            self.item_projection = nn.Linear(sids.num_levels * config.width, config.width, bias=False)
            nn.init.normal_(self.item_projection.weight, std=self.item_projection.in_features**-0.5)
        self.item_part = ItemPart(len(sids), config.width, config.item_dropout) if config.item_part else None
        self.encoder: Encoder | LazyContext
        if config.encoder == "lazy":
            self.encoder = LazyContext(config.width, config.num_heads, config.dropout)
        else:
            shape = (config.width, config.num_heads, config.head_width, config.inner)
            causal = config.encoder == "causal"
            self.encoder = Encoder(*shape, config.encoder_layers, config.dropout, causal, config.attention)
        self.decoder = config.decoder(config.decoder_layers, block)
        self.clock: Clock | None = None
        self.sliced: SlicedTokens | None = None

    @torch.no_grad()
    def _start_from(self, sids: SemanticIds) -> None:
        for level, codebook in enumerate(sids.codebooks):
            words = turned(torch.from_numpy(codebook), self.config.width)
            if words is not None:
                self.embeddings(level).copy_(words)

    @property
    def reads(self) -> Reads:
        """What it reads of a history."""
        return Reads(self.config.max_history, times=self.clock is not None or self.sliced is not None)

    @property
    def every_position(self) -> bool:
        """Whether every position of a stretch of history can be a target; else each target is an example of its own."""
        return self.config.encoder != "bidirectional"

    @property
    def over_children(self) -> bool:
        """Whether a code's probability is its share among the children of the trie (`GeneratorConfig.softmax`)."""
        return self.siblings is not None

    @property
    def num_levels(self) -> int:
        return self.vocabulary.num_levels

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        return self.vocabulary.codebook_sizes

    def embeddings(self, level: int) -> Float[Tensor, "K D"]:
        """The embeddings of one level's codes."""
        return self.code_embedding.weight[self.vocabulary.level(level)]

    def read(self, tokens: Int[Tensor, "*B"]) -> Float[Tensor, "*B D"]:
        """Tokens as the stacks read them."""
        return self.code_embedding(tokens) * self.config.width**0.5

    def encode(self, batch: SequenceBatch) -> tuple[Float[Tensor, "B M D"], int]:
        """The encoded histories, and how many positions each item takes."""
        x, real, per_item = self.encoder_input(batch)
        return self.encoder(x, real), per_item

    def encoder_input(self, batch: SequenceBatch) -> tuple[Float[Tensor, "B M D"], Bool[Tensor, "B M"], int]:
        """The histories as the encoder reads them, False at padding, and how many positions each item takes."""
        real = torch.arange(batch.history.shape[1], device=batch.lengths.device) < batch.lengths[:, None]
        x = self.read(self._tokens_of(batch.history, batch.times))  # [B, T, L, D]
        own = self._beside_codes(batch)
        if self.config.history == "items":
            items = self.item_projection(x.flatten(2)).float()  # the layers add up in float32 under autocast, too
            return items if own is None else items + own, real, 1
        x = x if own is None else x + own[:, :, None]
        x, real = x.flatten(1, 2), real.repeat_interleave(self.num_levels, dim=1)
        return x, real, self.num_levels

    def _tokens_of(self, items: Int[Tensor, "B S"], times: Int[Tensor, "B S"] | None) -> Int[Tensor, "B S L"]:
        """The codes of items, those of their time where IDs move; of padding, any."""
        items = items.clamp(min=0)
        return self.tokens[items] if self.sliced is None else self.sliced(items, times)

    def _beside_codes(self, batch: SequenceBatch) -> Float[Tensor, "B T D"] | None:
        """What an item of the history has beside its codes: a vector of its own, and what its time tells."""
        own = self.item_part(batch.history) if self.item_part is not None else None
        if self.clock is None or batch.times is None:
            return own
        told = self.clock.of_items(batch.times, batch.absolute_times)
        return told if own is None or told is None else own + told

    def forward(self, batch: SequenceBatch) -> Prediction:
        """Every target's logits under teacher forcing."""
        return self.predict(batch)

    def predict(self, batch: SequenceBatch) -> Prediction:
        """`forward` of the generator alone, where a subclass trains more than a generator."""
        encoded, per_item = self.encode(batch)
        real = batch.targets >= 0
        tokens = self._tokens_of(batch.targets, batch.asked).long()
        seen = self._seen(batch.visible * per_item, encoded)
        begin = self._begin(batch, batch.visible, encoded, seen)
        prediction = self.decode(tokens, real, begin, encoded, seen, self.recall(batch, tokens))
        return prediction if self.siblings is None else self._among_children(prediction, batch.targets[real])

    def forced(self, batch: SequenceBatch, items: Int[Tensor, "B C"]) -> Prediction:
        """The prediction of given items as the next one after each whole history, in the order of `items`; places that
        hold `NO_ITEM` are left out.
        """
        return self.predict(batch.asking(items))

    def path_log_probs(self, batch: SequenceBatch, items: Int[Tensor, "B C"]) -> Float[Tensor, "B C L"]:
        """The log-probability of every code of given items after each whole history, among the codes that the
        softmax runs over: the numbers of which a search adds up its scores. `-inf` at places that hold `NO_ITEM`.

        Gradients reach the generator. For a loss, pick the real places first, since `-inf - -inf` is no number.
        """
        real = items >= 0
        log_probs = self.forced(batch, items).code_log_probs()
        return log_probs.new_full((*items.shape, self.num_levels), -torch.inf).index_put((real,), log_probs)

    def recall(self, batch: SequenceBatch, tokens: Int[Tensor, "B P L"]) -> Recall | None:
        """What the decoder looks up under teacher forcing beside the encoded history; None for nothing."""
        return None

    def decode(
        self,
        tokens: Int[Tensor, "B P L"],
        real: Bool[Tensor, "B P"],
        begin: Float[Tensor, "B P 1 D"],
        encoded: Float[Tensor, "B M D"],
        seen: Bool[Tensor, "B P M"],
        recall: Recall | None = None,
    ) -> Prediction:
        """All levels of the real targets in one pass: the decoder reads `begin, s1 ... s(L-1)`."""
        x = torch.cat([begin, self.read(tokens[:, :, :-1])], dim=2)
        memory = replace(self._remember(self.decoder, encoded, seen, x.shape[1] * x.shape[2]), recall=recall)
        hidden, _ = self.decoder(x, memory, Cache())
        return self._prediction(hidden[real], tokens[real], real)

    def start(self, batch: SequenceBatch) -> DecodingState:
        """Encode the histories once, for any number of beams."""
        encoded, seen, begin = self._question(batch)
        return self.state_type(self._remember(self.decoder, encoded, seen), begin)

    def step(
        self, state: DecodingState, codes: Int[Tensor, "B W"] | None
    ) -> tuple[Float[Tensor, "B W K"], DecodingState]:
        """Log-probabilities (logits, where `over_children`) of the next level's codes, with `codes` as the last code of
        each beam; None before the first level, where one beam stands for all.
        """
        hidden, cache = self.decoder.step(self._last_input(state, codes), state.memory, state.cache)
        return self._log_probs(state.level, hidden), replace(state, cache=cache, level=state.level + 1)

    def _seen(self, positions: Int[Tensor, "B Q"], encoded: Float[Tensor, "B M D"]) -> Bool[Tensor, "B Q M"]:
        """True at the memory positions that a query may see which sees the first `positions` of the history."""
        return first_positions(self.positions_before + positions, encoded.shape[1])

    def _question(
        self, batch: SequenceBatch
    ) -> tuple[Float[Tensor, "B M D"], Bool[Tensor, "B 1 M"], Float[Tensor, "B 1 D"]]:
        """For a search: the encoded histories, what of them may be seen, and the decoder's first input."""
        encoded, per_item = self.encode(batch)
        visible = batch.lengths[:, None]
        seen = self._seen(visible * per_item, encoded)
        return encoded, seen, self._begin(batch, visible, encoded, seen)[:, :, 0]

    def _remember(
        self, decoder: Decoder, encoded: Float[Tensor, "B M D"], seen: Bool[Tensor, "B Q M"], queries: int | None = None
    ) -> Memory:
        """The histories as a decoder attends to them; see `Decoder.remember`."""
        memory = decoder.remember(encoded, seen, queries)
        if not isinstance(self.encoder, LazyContext):
            return memory
        return replace(memory, mask=memory.mask[:, :, None] + self.encoder.by_recency(seen))

    def _begin(
        self,
        batch: SequenceBatch,
        visible: Int[Tensor, "B Q"],
        encoded: Float[Tensor, "B M D"],
        seen: Bool[Tensor, "B Q M"],
    ) -> Float[Tensor, "B Q 1 D"]:
        """The decoder's first input for every target, which sees the first `visible` items of the history."""
        if self.config.encoder == "bidirectional":
            begin = self.begin.expand(*seen.shape[:2], 1, -1)
        else:
            last = (seen.sum(dim=2, keepdim=True) - 1).clamp(min=0)
            begin = self.begin + encoded.gather(1, last.expand(-1, -1, encoded.shape[2]))[:, :, None]
        if self.clock is None or batch.times is None or batch.asked is None:
            return begin
        last_time = batch.times.gather(1, (visible - 1).clamp(min=0))
        told = self.clock.of_requests(batch.asked, last_time, batch.absolute_times)
        return begin if told is None else begin + told[:, :, None]

    def _last_input(self, state: DecodingState, codes: Int[Tensor, "B W"] | None) -> Float[Tensor, "B W D"]:
        """The decoder's input for the last code of each beam."""
        if codes is None:
            return state.begin
        return self.read(codes + self.vocabulary.firsts[state.level - 1])

    def _logits(self, level: int, hidden: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows K"]:
        """In full precision under autocast too: rounding logits would make ties of near answers."""
        with torch.autocast(hidden.device.type, enabled=False):
            return hidden.float() @ self.embeddings(level).T

    def _log_probs(self, level: int, hidden: Float[Tensor, "B W D"]) -> Float[Tensor, "B W K"]:
        """Where the softmax is over children, the search takes it: it knows them."""
        logits = self._logits(level, hidden)
        return logits if self.over_children else torch.log_softmax(logits, dim=-1)

    def _among_children(self, prediction: Prediction, items: Int[Tensor, " n"]) -> Prediction:
        """The prediction of targets `items` with the softmax over the children of each prefix."""
        assert self.siblings is not None
        levels = [self.siblings.logits(level, items, logits) for level, logits in enumerate(prediction.logits)]
        choices = torch.stack([columns for _, columns in levels], 1)
        return replace(prediction, logits=[logits for logits, _ in levels], choices=choices)

    def _prediction(
        self, hidden: Float[Tensor, "n L D"], tokens: Int[Tensor, "n L"], real: Bool[Tensor, "B P"]
    ) -> Prediction:
        levels, codes = range(self.num_levels), self.vocabulary.codes(tokens)
        return Prediction(
            [self._logits(level, hidden[:, level]) for level in levels],
            codes,
            codes,
            real.nonzero()[:, 0],
            [self.embeddings(level) for level in levels],
        )


def turned(codebook: Float[Tensor, "K d"], width: int) -> Float[Tensor, "K D"] | None:
    """A level's centred codewords, turned at random into another width: they keep their angles, and are of the size of
    random embeddings. None for a single codeword, or many equal ones, which hold no information.
    """
    words = codebook - codebook.mean(dim=0)
    words = words @ nn.init.orthogonal_(torch.empty(words.shape[1], width))
    size = words.square().mean().sqrt()
    return words / (size * width**0.5) if size > 0 else None
