"""UniSID (arXiv 2602.10445): an encoder that gives an item all codes of its ID and an embedding in one pass."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from sidestep.layers.blocks import Encoder
from sidestep.layers.products import fast_products
from sidestep.sids.residual import ResidualQuantiser
from sidestep.sids.rq_vae import ENCODE_ROWS, mean_and_scale
from sidestep.sids.settings import UnifiedConfig
from sidestep.sids.sinkhorn import biases
from sidestep.sids.turning import turn

HEADS, INNER = 4, 2
"""Attention heads of the transformer, and widths of its feed-forward in its own."""
ITERATIONS = 30
"""Of the balanced assignment, for each smoothing."""


@dataclass(frozen=True)
class Spoken:
    """logits: of every level's codes, z^l. embedding: z^E. words: the logit of each word for the first r items, f_rec
    of the levels' and the embedding's outputs.
    """

    logits: list[Float[Tensor, "B _"]]
    embedding: Float[Tensor, "B E"]
    words: Float[Tensor, "r V"]


@dataclass(frozen=True)
class Inputs:
    """What a row holds of an item, one behind the other: its vector, its image's vector, numbers of its labels.

    width: D. images: I, 0 without any. labels: how many numbers each label has, 0 for none included.
    """

    width: int
    images: int
    labels: Sequence[int]

    def parts(
        self, rows: Float[Tensor, "B R"]
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B I"], Int[Tensor, "B A"]]:
        """An image that is not there is zero."""
        behind = self.width + self.images
        return rows[:, : self.width], rows[:, self.width : behind], rows[:, behind:].round().long()


class SpokenLevel(nn.Module):
    """A level whose code is the largest of its head's logits, with a bias for each code.

    It is a level of the residual loop exactly: latents hold a block `[h, 1, 0]` for each level, and codewords, zero
    outside of it, are `scale [w_k, b_k, sqrt(M^2 - |w_k|^2 - b_k^2)]`, all of length `scale M`. Then the nearest
    codeword is the one with the largest `w_k . h + b_k` (Bachrach et al., RecSys 2014, the inverse way), whatever the
    scale, and subtracting it leaves the blocks of other levels as they are.

    bias: balances the codes. scale: with which codewords leave least of the latents.

    Args:
        size: K, number of codes. width: d of h. place, number: of the block, and of all blocks.
        turned: whether `initialize` turns the logits. smoothing: of the balanced assignment.
    """

    bias: Tensor
    scale: Tensor

    def __init__(
        self, size: int, width: int, place: int, number: int, *, turned: bool = True, smoothing: float = 0.0
    ) -> None:
        super().__init__()
        self.head = nn.Parameter(torch.randn(size, width) * width**-0.5)
        self.register_buffer("bias", torch.zeros(size))
        self.register_buffer("scale", torch.ones(()))
        self.block = slice(place * (width + 2), (place + 1) * (width + 2))
        self.total, self.turned, self.smoothing = number * (width + 2), turned, smoothing

    def __len__(self) -> int:
        return len(self.head)

    @property
    def codewords(self) -> Float[Tensor, "K D"]:
        own = self._own()
        words = torch.zeros(len(self), self.total, dtype=own.dtype, device=own.device)
        words[:, self.block] = self.scale * own
        return words

    @torch.no_grad()
    def assign(self, residuals: Float[Tensor, "B D"]) -> Int[Tensor, " B"]:
        """The code of the largest product, of a latent the largest logit plus bias. Pure."""
        return self._products(residuals).argmax(dim=1)

    @torch.no_grad()
    def initialize(self, residuals: Float[Tensor, "N D"], generator: torch.Generator) -> None:
        """Turn the logits, balance the codes over all latents by biases, which `smoothing` = 0 leaves at 0, and fit the
        scale.
        """
        outputs = residuals[:, self.block][:, :-2]
        if self.turned:
            self.head.copy_(turn(outputs @ self.head.T, generator) @ self.head)
        logits = outputs @ self.head.T
        bias = biases(logits, self.smoothing, ITERATIONS) if self.smoothing else torch.zeros_like(self.bias)
        least = 1 - (logits + bias).amax(dim=1).double().mean()
        self.bias.copy_(bias + least.clamp(min=0).to(bias))  # products above 0, so that codewords leave less
        best = self._products(residuals).amax(dim=1).double().mean()
        self.scale.copy_((best / self._own().square().sum(1).max()).clamp(min=0))

    def _own(self) -> Float[Tensor, "K d2"]:
        """The codewords in their block, without the scale."""
        plain = torch.cat([self.head, self.bias[:, None]], dim=1)
        squares = plain.square().sum(1, keepdim=True)
        return torch.cat([plain, (squares.max() - squares).sqrt()], dim=1)

    def _products(self, residuals: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        return residuals[:, self.block] @ self._own().T


class Unified(nn.Module):
    """An item's row (`Inputs`) becomes the tokens

        [task | text | image | labels | query of every level | query of the embedding]

    read by a causal transformer, so that the embedding sees the levels' queries and no level sees it. `encoder = "mlp"`
    is one network over vector and labels, whose output every query has.

    Args:
        inputs: what a row holds. sizes: codes of each level.
        num_words: V of the bag of words that the outputs restore.
    """

    mean: Tensor
    scale: Tensor
    readout: Tensor
    offset: Tensor

    def __init__(self, inputs: Inputs, sizes: Sequence[int], num_words: int, config: UnifiedConfig) -> None:
        super().__init__()
        self.inputs, d, self.through_codes = inputs, config.width, config.rec == "codes"
        levels = [
            SpokenLevel(size, d, place, len(sizes), turned=place < config.turn, smoothing=config.sinkhorn)
            for place, size in enumerate(sizes)
        ]
        self.quantiser = ResidualQuantiser(levels)
        self.body: nn.Module = (_Tokens if config.encoder == "tokens" else _Network)(inputs, len(sizes), config)
        self.embedding = nn.Linear(d, d)
        self.words = nn.Linear((len(sizes) + 1) * d, num_words) if num_words else None
        self.register_buffer("mean", torch.zeros(inputs.width))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("readout", torch.zeros(levels[0].total, inputs.width))
        self.register_buffer("offset", torch.zeros(inputs.width))

    def standardise_by(self, vectors: Float[Tensor, "N D"], words: Float[Tensor, " V"]) -> None:
        """Take the mean and the scale of vectors, and how often each word is said as where its logit starts."""
        mean, scale = mean_and_scale(vectors)
        self.mean.copy_(mean)
        self.scale.copy_(scale)
        if self.words is not None:
            with torch.no_grad():
                self.words.bias.copy_(torch.logit(words.clamp(1e-4, 1 - 1e-4)))

    @property
    def levels(self) -> list[SpokenLevel]:
        return [cast(SpokenLevel, level) for level in self.quantiser.levels]

    def forward(self, rows: Float[Tensor, "B R"], restored: int = 0) -> Spoken:
        """restored: the number r of items, the first ones, whose words are restored."""
        hidden, last = self.outputs(rows)
        logits = [hidden[:, place] @ level.head.T for place, level in enumerate(self.levels)]
        embedding = self.embedding(last)
        if self.words is None or not restored:
            return Spoken(logits, embedding, hidden.new_zeros(0, 0))
        read = hidden[:restored]
        if self.through_codes:
            words = [_chosen(z[:restored]) @ level.head for z, level in zip(logits, self.levels, strict=True)]
            read = torch.stack(words, dim=1)
        return Spoken(logits, embedding, self.words(torch.cat([read.flatten(1), last[:restored]], dim=1)))

    def outputs(self, rows: Float[Tensor, "B R"]) -> tuple[Float[Tensor, "B L d"], Float[Tensor, "B d"]]:
        """Z_SID and Z_EMB."""
        vectors, images, labels = self.inputs.parts(rows)
        images = F.normalize(images, dim=1) * images.shape[1] ** 0.5
        hidden, last = self.body((vectors - self.mean) / self.scale, images, labels)
        return hidden, last

    @torch.no_grad()
    def encode(self, rows: Float[Tensor, "N R"]) -> Float[Tensor, "N D2"]:
        """Latents: for each level what its head reads, a one for the bias, and a zero."""
        with fast_products():
            return torch.cat([_blocks(self.outputs(part)[0]) for part in self._parts(rows)])

    @torch.no_grad()
    def embed(self, rows: Float[Tensor, "N R"]) -> Float[Tensor, "N E"]:
        """z^E of any number of items."""
        with fast_products():
            return torch.cat([self(part).embedding for part in self._parts(rows)])

    @torch.no_grad()
    def assign(self, rows: Float[Tensor, "N R"]) -> Int[Tensor, "N L"]:
        """The codes of any items, old or new. Pure: the same rows give the same codes."""
        with fast_products():
            return torch.cat([self.quantiser.assign(self.encode(part)) for part in self._parts(rows)])

    @torch.no_grad()
    def settle(self, rows: Float[Tensor, "N R"], generator: torch.Generator) -> None:
        """After the training: balance every level over these items, and fit what restores vectors from codewords."""
        self.eval()
        with fast_products():
            latents = self.encode(rows)
            self.quantiser.initialize(latents, generator)
            codes = self.quantiser.assign(latents)
        rest = self.inputs.parts(rows)[0].to(latents).double()
        self.offset.copy_(rest.mean(0))
        rest = rest - rest.mean(0)
        for place, level in enumerate(self.levels):  # coarse to fine, each on what those before it leave
            said = level.codewords[codes[:, place], level.block].double()
            along = F.normalize(said.mean(0), dim=0)  # no level says the mean: the others may not have been said yet
            said = said - (said @ along)[:, None] * along
            gram = said.T @ said
            gram.diagonal().add_(1e-6 * gram.diagonal().mean().clamp(min=1e-12))
            readout = torch.linalg.solve(gram, said.T @ rest)
            self.readout[level.block] = (readout - along[:, None] * (along @ readout)).float()
            rest = rest - said @ readout

    @torch.no_grad()
    def decode(self, latents: Float[Tensor, "N D2"]) -> Float[Tensor, "N D"]:
        """Sums of codewords as vectors, by the linear map that restores those of the items best (`settle`)."""
        return latents.to(self.readout.device) @ self.readout + self.offset

    def _parts(self, rows: Float[Tensor, "N R"]) -> Iterator[Tensor]:
        for begin in range(0, len(rows), ENCODE_ROWS):
            yield rows[begin : begin + ENCODE_ROWS].to(self.mean.device)


def _chosen(logits: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
    """One-hot of the largest logit, with the gradient of the softmax (Bengio et al. 2013: straight-through)."""
    soft = logits.softmax(dim=1)
    return F.one_hot(logits.argmax(dim=1), logits.shape[1]).to(soft) + soft - soft.detach()


def _blocks(hidden: Float[Tensor, "B L d"]) -> Float[Tensor, "B D2"]:
    ends = hidden.new_tensor([1.0, 0.0]).expand(*hidden.shape[:2], 2)
    return torch.cat([hidden, ends], dim=2).flatten(1)


class _Tokens(nn.Module):
    """Labels that are none are masked; an image that is not there has a token of its own."""

    def __init__(self, inputs: Inputs, num_levels: int, config: UnifiedConfig) -> None:
        super().__init__()
        d = config.width
        self.task, self.text = nn.Parameter(torch.randn(1, d)), nn.Linear(inputs.width, d)
        self.image = nn.Linear(inputs.images, d) if inputs.images else None
        self.no_image = nn.Parameter(torch.randn(d)) if inputs.images else None
        self.labels = nn.ModuleList(nn.Embedding(size, d) for size in inputs.labels)
        self.queries = nn.Parameter(torch.randn(num_levels + 1, d))
        self.transformer = Encoder(d, HEADS, d // HEADS, INNER * d, config.layers, 0.0, causal=True)

    def forward(
        self, vectors: Float[Tensor, "B D"], images: Float[Tensor, "B I"], labels: Int[Tensor, "B A"]
    ) -> tuple[Float[Tensor, "B L d"], Float[Tensor, "B d"]]:
        batch, d = len(vectors), self.task.shape[1]
        begun = [self.task.expand(batch, 1, d), self.text(vectors)[:, None]]
        if self.image is not None and self.no_image is not None:
            begun.append(torch.where(images.any(1, keepdim=True), self.image(images), self.no_image)[:, None])
        told = [table(column)[:, None] for table, column in zip(self.labels, labels.unbind(1), strict=True)]
        tokens = torch.cat([*begun, *told, self.queries.expand(batch, *self.queries.shape)], dim=1)
        real = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        real[:, len(begun) : len(begun) + len(told)] = labels > 0
        outputs = self.transformer(tokens, real)[:, -len(self.queries) :]
        return outputs[:, :-1], outputs[:, -1]


class _Network(nn.Module):
    """Labels and images that are none add nothing."""

    def __init__(self, inputs: Inputs, num_levels: int, config: UnifiedConfig) -> None:
        super().__init__()
        inner = 4 * config.width
        self.text = nn.Linear(inputs.width, inner)
        self.image = nn.Linear(inputs.images, inner, bias=False) if inputs.images else None
        self.labels = nn.ModuleList(nn.Embedding(size, inner, padding_idx=0) for size in inputs.labels)
        self.out = nn.Linear(inner, config.width)
        self.num_levels = num_levels

    def forward(
        self, vectors: Float[Tensor, "B D"], images: Float[Tensor, "B I"], labels: Int[Tensor, "B A"]
    ) -> tuple[Float[Tensor, "B L d"], Float[Tensor, "B d"]]:
        inner = self.text(vectors)
        if self.image is not None:
            inner = inner + self.image(images)
        for table, column in zip(self.labels, labels.unbind(1), strict=True):
            inner = inner + table(column)
        h = self.out(inner.relu())
        return h[:, None].expand(-1, self.num_levels, -1), h
