"""From item vectors to semantic IDs: a tokenizer's parts and its IDs. Its settings are in `settings.py`.

The training itself is `sidestep.training.loop`, called from the pipeline with the parts built here: the module
(`build`), its data (`training_data`), its work before each epoch (`Upkeep`), and at the end `semantic_ids`. The
objectives are those of `sidestep.objectives.tokenizing`. Kinds without an encoder are fitted instead, by
`VectorQuantiser.learn`.

A tokenizer reads rows: an item's vector, and behind it what its kind is told of labels (`content.py`).
"""

import numpy as np
import polars as pl
import torch
from torch import nn

from sidestep.data.catalog import ITEM_ID, Catalog
from sidestep.errors import DataError
from sidestep.layers.products import fast_products
from sidestep.sids.batches import VectorBatches
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
from sidestep.sids.collisions import Assigned, resolve_collisions, with_further_levels
from sidestep.sids.content import Content, refuse_zero
from sidestep.sids.estimators import rotation, straight_through
from sidestep.sids.fsq import FSQ, HiddenFSQ, autoencoder, itq
from sidestep.sids.kinds import PLUGINS, plugin_levels
from sidestep.sids.product import product_levels
from sidestep.sids.residual import ResidualQuantiser
from sidestep.sids.rq_vae import RQVAE
from sidestep.sids.semantic_ids import Ints, SemanticIds
from sidestep.sids.settings import TokenizerConfig
from sidestep.sids.unified import Inputs, Unified
from sidestep.sids.unified_batches import UnifiedBatches
from sidestep.sids.vector_quantiser import VectorQuantiser
from sidestep.vectors.graph import Graph
from sidestep.vectors.item_vectors import ItemVectors

Tokenizer = RQVAE | VectorQuantiser | Unified
ESTIMATORS = {"straight-through": straight_through, "rotation": rotation}


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


def build(vectors: ItemVectors, config: TokenizerConfig, seed: int, content: Content | None = None) -> Tokenizer:
    """An untrained tokenizer for these rows. With an encoder, it already has their mean and scale. Does not change the
    global random state.

    content: the items' catalogue; None knows nothing of them.

    Raises:
        DataError: there are no vectors, some are zero, or they have too few dimensions for this kind. ConfigError: a
            plug-in that makes other levels than were asked for.
    """
    _check(vectors, config)
    most = distinct_vectors(learning_sample(vectors, config, seed), max(config.sizes))
    learnt = config.sizes[: config.num_learnt]
    if not (config.trained or config.end_to_end):
        levels = _fitted_levels(vectors.width, learnt, most, config)
        return VectorQuantiser(vectors.width, ResidualQuantiser(levels), turned=config.kind == "opq")
    if config.end_to_end:
        return _unified(vectors, [min(size, most) for size in learnt], seed, content or nothing_known(vectors, config))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        books = [_trained_level(min(size, most), config) for size in learnt]
        quantiser = ResidualQuantiser(books, ESTIMATORS[config.estimator])
        model = RQVAE(vectors.width, config.hidden, quantiser, config.code_width)
    model.standardise_by(torch.from_numpy(vectors.values))
    return model


def nothing_known(vectors: ItemVectors, config: TokenizerConfig) -> Content:
    """The content of items that have a vector each and nothing else."""
    return Content(Catalog(pl.DataFrame({ITEM_ID: [str(item) for item in range(len(vectors))]})), config)


def _unified(rows: ItemVectors, sizes: list[int], seed: int, content: Content) -> Unified:
    labels = content.attribute_sizes
    images, words = content.own_images.shape[1], content.word_shares
    width = rows.width - images - len(labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Unified(Inputs(width, images, labels), sizes, len(words), content.config.unified)
    model.standardise_by(torch.from_numpy(rows.values[:, :width]), torch.from_numpy(words))
    return model


def training_data(
    model: RQVAE | Unified,
    rows: ItemVectors,
    config: TokenizerConfig,
    seed: int,
    edges: Graph | None = None,
    content: Content | None = None,
) -> VectorBatches | UnifiedBatches:
    """What a tokenizer with an encoder is trained on: the items of `learning_items`.

    rows, edges, content: of all items; edges, of co-occurrence, draw partners.
    """
    chosen = learning_items(len(rows), config, seed)
    sample = learning_sample(rows, config, seed)
    if edges is not None and len(chosen) < len(rows):
        edges = edges[chosen][:, chosen]
    if isinstance(model, RQVAE):
        return VectorBatches(sample, config.batch_size, seed, edges)
    known = content or nothing_known(rows, config)
    return UnifiedBatches(sample, model.inputs, known, chosen, float(model.scale), config.batch_size, seed, edges)


def settle(model: Tokenizer, rows: ItemVectors, config: TokenizerConfig, seed: int) -> None:
    """What follows the training: an end-to-end tokenizer balances its codes over the items it has learnt from."""
    if isinstance(model, Unified):
        sample = learning_sample(rows, config, seed)
        model.settle(torch.from_numpy(sample.values), torch.Generator().manual_seed(seed))


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
        levels[-1] = (
            HiddenFSQ(bits, width)
            if config.learnt_bits == "mlp"
            else FSQ(bits, width, autoencoder if config.learnt_bits else itq)
        )
    return levels


def _check(vectors: ItemVectors, config: TokenizerConfig) -> None:
    if not len(vectors) or not vectors.width:
        raise DataError(f"Item vectors have shape {vectors.values.shape}; expected at least one item and one dimension")
    refuse_zero(vectors)
    learnt = config.num_learnt
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
    random_sizes = config.sizes[config.num_learnt :]
    resolved = resolve_collisions(assigned, config.collisions, random_sizes, seed)
    return with_further_levels(sids, resolved, seed), resolved.note()
