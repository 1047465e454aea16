"""From item vectors to semantic IDs: a tokenizer's configuration, its parts, and its IDs.

The training itself is `sidestep.training.loop`, called from the pipeline with the parts built here: the module
(`build`), its data (`sids.batches`), its work before each epoch (`Upkeep`), and at the end `semantic_ids`. The
objectives are `sidestep.objectives.rq_vae` and `coba_rq_vae`. Kinds without an encoder are fitted instead, by
`VectorQuantiser.learn`.
"""

import math
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import nn

from sidestep.config import Section
from sidestep.errors import DataError
from sidestep.layers.products import fast_products
from sidestep.sids.clusters import adaptive_counts, cluster_codes
from sidestep.sids.codebook import (
    Codebook,
    Leave,
    LoadBalance,
    MovingAverage,
    Reset,
    Revive,
    balanced_start,
    kmeans_start,
    random_start,
)
from sidestep.sids.collisions import Assigned, Collisions, resolve_collisions, with_further_levels
from sidestep.sids.estimators import rotation, straight_through
from sidestep.sids.fsq import FSQ, autoencoder, itq
from sidestep.sids.kinds import PLUGINS, TRAINED, Kind, plugin_levels
from sidestep.sids.product import product_levels
from sidestep.sids.residual import ResidualQuantiser
from sidestep.sids.rq_vae import RQVAE
from sidestep.sids.semantic_ids import Ints, SemanticIds
from sidestep.sids.vector_quantiser import VectorQuantiser
from sidestep.vectors.item_vectors import ItemVectors

Tokenizer = RQVAE | VectorQuantiser
ESTIMATORS = {"straight-through": straight_through, "rotation": rotation}


class TokenizerConfig(Section):
    """Settings of the tokenizer, which gives items their semantic IDs.

    kind: trained: rq-vae (TIGER), coba-rq-vae (S2GR: the same with the uniformity loss and the load-balanced
        assignment). Fitted on the vectors themselves: rq-kmeans, res-kmeans-fsq (QARM V2: the last level is bits), pq
        and opq (blocks of dimensions, without hierarchy: the control). Plug-ins add further ones, see `sids/kinds.py`.
    num_levels: codes of an ID. codebook_size: number of codes of each level, one number for all levels or one for each;
        with fewer distinct vectors, a level has as many codes as there are distinct vectors.
    train_items: number of items, drawn at random, to learn from; 0 takes all. Every item gets an ID in any case.
    random_levels: number of last levels whose codes are drawn from those unused under the same prefix (GR2).
    collisions: treatment of items that share an ID: "keep" (ranking expands the ID), an "extra" code (TIGER), or move
        all but one to the "nearest" free path.
    num_clusters: clusters of each level's codes, which thoughts are aligned with (eq. 18); "auto" chooses by level.
    clusters: "balanced" gives all clusters the same number of codes, "plain" is the paper's k-means.
    size_balanced: rq-kmeans and res-kmeans-fsq only: clusters of equal size while fitting.
    learnt_bits: res-kmeans-fsq only: learn the bits' directions by gradient instead of PCA and ITQ.

    The remaining settings belong to the trained kinds.
    code_width, hidden: dimensions of a codeword and of the encoder's hidden layers; the decoder mirrors them.
    commitment: weight of ||r - sg(e)||^2 against ||e - sg(r)||^2 in eq. 9. S2GR has 1, TIGER 0.25.
    uniformity: weight of eq. 12. dmax: delta_max of eq. 13. Only coba-rq-vae has these two.
    codebooks: how codewords learn, by gradient or as moving averages (ema). ema_decay: of these averages.
    estimator: gradient estimator of the quantiser. start: codewords from k-means, or at random.
    dead_codes: "revive" every epoch the codes that are nearest to no item; "reset" those that were idle for
        `idle_batches` to the batch's input of largest error (GR2); or "leave" them. idle_batches: see there.
    diversity, contrastive: weights of GR2's losses; the second needs the co-occurrence graph.
    epochs, batch_size, lr, weight_decay, warmup_steps: of the training. With more epochs, CoBa trades ICR for purity.
        Batches of a small catalogue are smaller; see `VectorBatches`.
    """

    kind: Kind = "coba-rq-vae"
    num_levels: int = Field(3, ge=1, le=10)
    codebook_size: Annotated[int, Field(ge=1)] | tuple[Annotated[int, Field(ge=1)], ...] = 256
    train_items: int = Field(0, ge=0)
    random_levels: int = Field(0, ge=0)
    collisions: Collisions = "keep"
    num_clusters: Annotated[int, Field(ge=1)] | Literal["auto"] = 32
    clusters: Literal["balanced", "plain"] = "balanced"
    size_balanced: bool = False
    learnt_bits: bool = False
    code_width: int = Field(32, ge=1)
    hidden: tuple[int, ...] = (512, 256, 128)
    commitment: float = Field(1.0, ge=0)
    uniformity: float = Field(0.1, ge=0)
    dmax: float = Field(0.2, ge=0, lt=1)
    codebooks: Literal["gradient", "ema"] = "gradient"
    ema_decay: float = Field(0.99, ge=0, lt=1)
    estimator: Literal["straight-through", "rotation"] = "straight-through"
    start: Literal["kmeans", "random"] = "kmeans"
    dead_codes: Literal["revive", "reset", "leave"] = "revive"
    idle_batches: int = Field(20, ge=1)
    diversity: float = Field(0.0, ge=0)
    contrastive: float = Field(0.0, ge=0)
    epochs: int = Field(40, ge=1)
    batch_size: int = Field(1024, ge=1)
    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    warmup_steps: int = Field(50, ge=0)

    @property
    def trained(self) -> bool:
        """Whether the kind has an encoder to train; the other kinds are fitted."""
        return self.kind in TRAINED

    @property
    def uses_interactions(self) -> bool:
        """Whether the interactions are needed: for partners, and for the most popular item of a shared ID."""
        return self.contrastive > 0 or self.collisions != "keep"

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of codes at each level, as configured."""
        size = self.codebook_size
        return size if isinstance(size, tuple) else (size,) * self.num_levels

    @model_validator(mode="after")
    def _consistent(self) -> "TokenizerConfig":
        if len(self.sizes) != self.num_levels:
            raise ValueError(
                f"codebook_size names {len(self.sizes)} levels and num_levels = {self.num_levels}; make them agree"
            )
        if self.random_levels >= self.num_levels:
            raise ValueError(
                f"random_levels = {self.random_levels} of num_levels = {self.num_levels} leaves no level to learn"
            )
        if math.prod(self.sizes[self.num_levels - self.random_levels :]) >= 2**62:
            raise ValueError(
                f"random_levels = {self.random_levels} has too many paths to draw from; 7 of 256 are enough"
            )
        if self.kind == "coba-rq-vae" and self.codebooks == "ema" and self.uniformity:
            raise ValueError(
                "the uniformity loss moves codewords by gradient, and with codebooks = 'ema' they have none; set "
                "uniformity = 0, or codebooks = 'gradient'"
            )
        if self.random_levels and self.collisions == "nearest":
            raise ValueError(
                "random_levels and collisions = 'nearest' both separate items that share a prefix, at random and by "
                "distance; use only one of them"
            )
        bits = self.sizes[self.num_levels - self.random_levels - 1]
        if self.kind == "res-kmeans-fsq" and bits & (bits - 1):
            raise ValueError(f"the last level of res-kmeans-fsq is bits: its size must be a power of 2, not {bits}")
        self._refuse_unused_options()
        return self

    def _refuse_unused_options(self) -> None:
        """Refuse options that this kind would silently ignore. (Widths and training steps are accepted, since a recipe
        keeps them for every kind it is run with.)
        """
        own = dict.fromkeys(_OF_TRAINED, self.trained)
        own["uniformity"] = own["dmax"] = self.kind == "coba-rq-vae"
        own["ema_decay"] = self.codebooks == "ema"
        own["idle_batches"] = self.dead_codes == "reset"
        own["size_balanced"] = self.kind in ("rq-kmeans", "res-kmeans-fsq")
        own["learnt_bits"] = self.kind == "res-kmeans-fsq"
        for name, belongs in own.items():
            value = getattr(self, name)
            if not belongs and value != type(self).model_fields[name].default:
                raise ValueError(f"{name} = {value!r} has no effect with {self._reason(name)}; leave it out")

    def _reason(self, name: str) -> str:
        needed = {"ema_decay": "codebooks", "idle_batches": "dead_codes"}.get(name, "kind")
        return f"{needed} = {getattr(self, needed)!r}"


_OF_TRAINED = ("codebooks", "estimator", "start", "dead_codes", "diversity", "contrastive")


class Upkeep:
    """Work of a trained tokenizer before each epoch. Before the first, codewords are initialised; before every other,
    dead codes are revived and balanced levels refitted; before each, the scale of the uniformity loss is set. A pure
    function of the model's state, the seed and the epoch.
    """

    def __init__(self, model: RQVAE, vectors: ItemVectors, seed: int) -> None:
        self._model, self._seed = model, seed
        self._values = torch.from_numpy(vectors.values)

    def __call__(self, epoch: int) -> None:
        model = self._model
        generator = torch.Generator().manual_seed((self._seed << 32) + epoch)
        with fast_products():
            latents = model.encode(self._values)
            if epoch == 0:
                model.quantiser.initialize(latents, generator)
            else:
                model.quantiser.upkeep(latents, generator)
        for level in model.quantiser.codebooks:
            level.rescale()


def distinct_vectors(vectors: ItemVectors, enough: int) -> int:
    """The number of distinct vectors, or `enough` if there are more."""
    distinct: set[bytes] = set()
    for row in vectors.values:
        distinct.add(row.tobytes())
        if len(distinct) == enough:
            break
    return len(distinct)


def notes(vectors: ItemVectors, config: TokenizerConfig, seed: int) -> list[str]:
    """Warnings about these vectors before they are tokenised; empty in the normal case."""
    largest, sample = max(config.sizes), learning_sample(vectors, config, seed)
    distinct = distinct_vectors(sample, largest)
    if distinct == largest:
        return []
    whose = f"{len(vectors)} items" if sample is vectors else f"The {len(sample)} items of tokenizer.train_items"
    return [
        f"{whose} have only {distinct} distinct vectors, so no level has more than {distinct} codes instead of the "
        f"configured {largest}"
    ]


def learning_items(num_items: int, config: TokenizerConfig, seed: int) -> Ints:
    """The items a tokenizer learns from, in order: all, or `train_items` of them, drawn at random."""
    if not 0 < config.train_items < num_items:
        return np.arange(num_items)
    return np.sort(np.random.default_rng(seed).choice(num_items, config.train_items, replace=False))


def learning_sample(vectors: ItemVectors, config: TokenizerConfig, seed: int) -> ItemVectors:
    """The vectors of `learning_items`."""
    chosen = learning_items(len(vectors), config, seed)
    return vectors if len(chosen) == len(vectors) else ItemVectors(vectors.values[chosen])


def build(vectors: ItemVectors, config: TokenizerConfig, seed: int) -> Tokenizer:
    """An untrained tokenizer for these vectors. With an encoder, it already has their mean and scale. Does not change
    the global random state.

    Raises:
        DataError: there are no vectors, some are zero, or they have too few dimensions for this kind. ConfigError: a
            plug-in that makes other levels than were asked for.
    """
    _check(vectors, config)
    most = distinct_vectors(learning_sample(vectors, config, seed), max(config.sizes))
    learnt = config.sizes[: config.num_levels - config.random_levels]
    if not config.trained:
        levels = _fitted_levels(vectors.width, learnt, most, config)
        return VectorQuantiser(vectors.width, ResidualQuantiser(levels), turned=config.kind == "opq")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        books = [_trained_level(min(size, most), config) for size in learnt]
        quantiser = ResidualQuantiser(books, ESTIMATORS[config.estimator])
        model = RQVAE(vectors.width, config.hidden, quantiser, config.code_width)
    model.standardise_by(torch.from_numpy(vectors.values))
    return model


def _trained_level(size: int, config: TokenizerConfig) -> Codebook:
    dead_codes = {"revive": Revive(), "reset": Reset(config.idle_batches), "leave": Leave()}
    return Codebook(
        size,
        config.code_width,
        LoadBalance(config.dmax) if config.kind == "coba-rq-vae" else None,
        learning=MovingAverage(config.ema_decay) if config.codebooks == "ema" else None,
        start=kmeans_start if config.start == "kmeans" else random_start,
        dead_codes=dead_codes[config.dead_codes],
    )


def _fitted_levels(width: int, sizes: tuple[int, ...], most: int, config: TokenizerConfig) -> list[nn.Module]:
    """most: the largest size of a table of codewords.

    Raises:
        ConfigError: a plug-in that makes other levels than were asked for.
    """
    if config.kind in PLUGINS:
        return plugin_levels(config.kind, width, [min(size, most) for size in sizes])
    if config.kind in ("pq", "opq"):
        return list(product_levels(width, [min(size, most) for size in sizes]))
    start = balanced_start if config.size_balanced else kmeans_start
    levels: list[nn.Module] = [Codebook(min(size, most), width, start=start) for size in sizes]
    if config.kind == "res-kmeans-fsq":
        bits = (sizes[-1] - 1).bit_length()
        levels[-1] = FSQ(bits, width, autoencoder if config.learnt_bits else itq)
    return levels


def _check(vectors: ItemVectors, config: TokenizerConfig) -> None:
    if not len(vectors) or not vectors.width:
        raise DataError(f"Item vectors have shape {vectors.values.shape}; expected at least one item and one dimension")
    zero = ~vectors.values.any(axis=1)
    if zero.any():
        raise DataError(
            f"{int(zero.sum())} of {len(vectors)} item vectors are zero, the first is item {int(zero.argmax())}, and a "
            "zero vector cannot be quantised; give these items vectors (embed.kind = 'lsa' from their texts, "
            "'behaviour' from the log), or mix in their neighbours' vectors with graph.enabled = true"
        )
    learnt = config.num_levels - config.random_levels
    if config.kind in ("pq", "opq") and vectors.width < learnt:
        raise DataError(
            f"Item vectors have {vectors.width} dimensions, too few for the {learnt} blocks of kind = {config.kind!r}; "
            "lower tokenizer.num_levels, or use another kind"
        )
    bits = (config.sizes[learnt - 1] - 1).bit_length()
    if config.kind == "res-kmeans-fsq" and vectors.width < bits:
        raise DataError(
            f"Item vectors have {vectors.width} dimensions, too few for the {bits} bits of the last level of "
            f"res-kmeans-fsq; lower its size in tokenizer.codebook_size to at most {2**vectors.width}"
        )


def semantic_ids(model: Tokenizer, vectors: ItemVectors, config: TokenizerConfig, seed: int) -> SemanticIds:
    """Every item's codes by plain distances, with the frozen codebooks and their clusters. Items may still share an ID,
    and random levels are not yet drawn; see `without_collisions`.
    """
    codes = model.eval().assign(torch.from_numpy(vectors.values)).cpu().numpy()
    codebooks = [level.codewords.detach().cpu().numpy().copy() for level in model.quantiser.levels]
    sizes = tuple(len(codebook) for codebook in codebooks)
    count = config.num_clusters
    counts = adaptive_counts(codes, sizes) if count == "auto" else [count] * len(sizes)
    balanced = config.clusters == "balanced"
    clusters = [cluster_codes(book, count, seed, balanced) for book, count in zip(codebooks, counts, strict=True)]
    return SemanticIds(codes, sizes, codebooks, clusters)


def without_collisions(
    model: Tokenizer,
    sids: SemanticIds,
    vectors: ItemVectors,
    config: TokenizerConfig,
    seed: int,
    popularity: Ints | None,
) -> tuple[SemanticIds, str]:
    """The IDs after the recipe's random levels and its collision policy, and a one-line summary, which is empty if
    nothing changed.

    sids: of `semantic_ids`. popularity: `[N]`, training interactions of each item; None ranks items by ascending
        number.

    Raises:
        DataError: every item needs its own path, and there are more items than paths.
    """
    if config.collisions == "keep" and not config.random_levels:
        return sids, ""
    latents = model.encode(torch.from_numpy(vectors.values)).cpu()
    assigned = Assigned(sids.codes, latents, model.quantiser.cpu(), popularity)
    random_sizes = config.sizes[config.num_levels - config.random_levels :]
    resolved = resolve_collisions(assigned, config.collisions, random_sizes, seed)
    return with_further_levels(sids, resolved, seed), resolved.note()
