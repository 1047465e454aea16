"""What others use for the same work, with the same weights as our model, so that the answers can be compared.

`transformers` (T5, `generate` under a prefix trie in Python) and `cornac` (its TIGER's beam search).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from cornac.models.tiger.tiger import TIGERSeq2Seq
from torch import Tensor, nn
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    PrefixConstrainedLogitsProcessor,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.utils import logging

from sidestep.data.sequences import SequenceBatch
from sidestep.generators.encoder_decoder import EncoderDecoder, GeneratorConfig
from sidestep.sids.vocabulary import Vocabulary

logging.set_verbosity_error()
Sid = tuple[int, ...]
Children = list[dict[Sid, list[int]]]


def children_of(codes: Tensor) -> Children:
    """The usual Python trie: at each level, from a prefix of codes to the codes that may follow."""
    found: list[dict[Sid, set[int]]] = [{} for _ in range(codes.shape[1])]
    for sid in map(tuple, codes.tolist()):
        for level, code in enumerate(sid):
            found[level].setdefault(sid[:level], set()).add(code)
    return [{prefix: sorted(codes) for prefix, codes in level.items()} for level in found]


class T5:
    """`transformers`' T5 for our tokens. One token more than the codes: e_0, which begins the decoder."""

    def __init__(self, sids_codes: Tensor, sizes: Sequence[int], config: GeneratorConfig) -> None:
        self.vocabulary = Vocabulary(sizes)
        self.begin = len(self.vocabulary)
        self.tokens = self.vocabulary.tokens(sids_codes)
        self.model = T5ForConditionalGeneration(t5_config(self.begin + 1, config)).eval()
        firsts = self.vocabulary.firsts
        self.following = {
            tuple(firsts[at] + code for at, code in enumerate(prefix)): [firsts[level] + code for code in codes]
            for level, below in enumerate(children_of(sids_codes))
            for prefix, codes in below.items()
        }

    def inputs(self, batch: SequenceBatch) -> dict[str, Tensor]:
        """Histories as tokens, padded on the right to the longest of the batch."""
        real = (batch.history >= 0).repeat_interleave(self.vocabulary.num_levels, dim=1)
        tokens = self.tokens[batch.history.clamp(min=0)].flatten(1)
        return {"input_ids": tokens.masked_fill(~real, 0), "attention_mask": real.long()}

    def generate(self, batch: SequenceBatch, num_beams: int, k: int, constrained: bool = True) -> Tensor:
        """The k best semantic IDs `[B, k, L]` of every history, as users of the library ask for them."""
        allowed: Callable[[int, Tensor], list[int]] | None = self._may_follow if constrained else None
        return self._generate(batch, num_beams, k, prefix_allowed_tokens_fn=allowed)

    def generate_as_ours(self, batch: SequenceBatch, num_beams: int, k: int) -> Tensor:
        """The same with probabilities over the codes of a level instead of over all tokens, as TIGER's heads have
        them; the two differ in what a model says to codes of the wrong level.
        """
        constrained = PrefixConstrainedLogitsProcessor(self._may_follow, num_beams)
        return self._generate(batch, num_beams, k, logits_processor=[_WithinLevel(self.vocabulary), constrained])

    def _generate(self, batch: SequenceBatch, num_beams: int, k: int, **how: Any) -> Tensor:
        config = GenerationConfig(
            max_new_tokens=self.vocabulary.num_levels, num_beams=num_beams, num_return_sequences=k,
            decoder_start_token_id=self.begin, pad_token_id=0, eos_token_id=None, do_sample=False,
        )  # fmt: skip
        with torch.no_grad():
            said = self.model.generate(**self.inputs(batch), generation_config=config, **how)
        firsts = torch.tensor(self.vocabulary.firsts)
        return (said[:, 1:] - firsts).view(len(batch), k, -1)

    def _may_follow(self, row: int, said: Tensor) -> list[int]:
        return self.following[tuple(said.tolist()[1:])]


class _WithinLevel(LogitsProcessor):
    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary

    def __call__(self, said: Tensor, scores: Tensor) -> Tensor:
        level = self.vocabulary.level(said.shape[1] - 1)
        kept = torch.full_like(scores, -torch.inf)
        kept[:, level] = scores[:, level].log_softmax(-1)
        return kept


def t5_config(vocabulary: int, config: GeneratorConfig) -> T5Config:
    return T5Config(
        vocab_size=vocabulary, d_model=config.width, d_kv=config.head_width, d_ff=config.inner,
        num_layers=config.encoder_layers, num_decoder_layers=config.decoder_layers, num_heads=config.num_heads,
        dropout_rate=config.dropout, feed_forward_proj="relu", decoder_start_token_id=vocabulary - 1, pad_token_id=0,
        eos_token_id=None,
    )  # fmt: skip


class Cornac:
    """The network and the beam search of `cornac`'s TIGER, called as its `score` calls them: one user at a time, the
    history padded on the left to `max_history` items. Its fourth level, which tells apart items that share three
    codes, is left out, so that all contestants speak three.
    """

    def __init__(self, sids_codes: Tensor, sizes: Sequence[int], config: GeneratorConfig) -> None:
        self.model = TIGERSeq2Seq(
            level_sizes=sizes, d_model=config.width, d_ff=config.inner, num_heads=config.num_heads,
            d_kv=config.head_width, num_enc_layers=config.encoder_layers, num_dec_layers=config.decoder_layers,
            dropout=config.dropout,
        ).eval()  # fmt: skip
        self.max_history = config.max_history
        self.codes, self.tokens = sids_codes, sids_codes + self.model.offsets
        self.children = [
            {prefix: torch.tensor(codes).numpy() for prefix, codes in level.items()}
            for level in children_of(sids_codes)
        ]

    def generate(self, batch: SequenceBatch, num_beams: int, k: int) -> list[list[Sid]]:
        """The k best semantic IDs of every history."""
        return [self._one(row[row >= 0], num_beams)[:k] for row in batch.history]

    def encoder_tokens(self, history: Tensor) -> Tensor:
        """One history as the encoder reads it, `[1, max_history * L]`; 0 is padding."""
        tokens = self.tokens[history].flatten()
        return nn.functional.pad(tokens, (self.max_history * self.tokens.shape[1] - len(tokens), 0))[None]

    def _one(self, history: Tensor, num_beams: int) -> list[Sid]:
        tokens = self.encoder_tokens(history)
        found, _ = self.model.generate_beam(tokens, (tokens != 0).float(), num_beams, self.children)
        return list(found)


@torch.no_grad()
def copy_weights(ours: EncoderDecoder, t5: T5 | None = None, cornac: Cornac | None = None) -> None:
    """Our weights into a peer: the function is the same, up to rounding."""
    large = ours.code_embedding.weight * ours.config.width**0.5
    if t5 is not None:
        t5.model.shared.weight.copy_(torch.cat([large, ours.begin[None]]))
        _copy_stacks(ours, t5.model.encoder, t5.model.decoder)
    if cornac is not None:
        cornac.model.token_emb.weight[1:].copy_(large)
        cornac.model.bos.copy_(ours.begin)
        for level, head in enumerate(cornac.model.heads):
            head.weight.copy_(ours.embeddings(level))
        _copy_stacks(ours, cornac.model.encoder, cornac.model.decoder)


def _copy_stacks(model: EncoderDecoder, encoder: Any, decoder: Any) -> None:
    for ours, theirs in ((model.encoder, encoder), (model.decoder, decoder)):
        theirs.block[0].layer[0].SelfAttention.relative_attention_bias.weight.copy_(ours.bias.weight)
        theirs.final_layer_norm.weight.copy_(ours.norm.weight)
        for mine, other in zip(ours.blocks, theirs.block, strict=True):
            _copy_attention(mine.attention, mine.attention_norm, other.layer[0], "SelfAttention")
            if ours is model.decoder:
                _copy_attention(mine.cross, mine.cross_norm, other.layer[1], "EncDecAttention")
            other.layer[-1].DenseReluDense.wi.weight.copy_(mine.feed_forward.inner.weight)
            other.layer[-1].DenseReluDense.wo.weight.copy_(mine.feed_forward.out.weight)
            other.layer[-1].layer_norm.weight.copy_(mine.feed_forward_norm.weight)


def _copy_attention(ours: Any, norm: Any, layer: Any, kind: str) -> None:
    for name, other in {"query": "q", "key": "k", "value": "v", "out": "o"}.items():
        getattr(getattr(layer, kind), other).weight.copy_(getattr(ours, name).weight)
    layer.layer_norm.weight.copy_(norm.weight)
