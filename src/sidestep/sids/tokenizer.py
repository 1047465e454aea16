"""From item vectors to semantic IDs: what a tokenizer is made of, what it is trained on, and the IDs it gives.

The training itself is `sidestep.training.loop`, called from the pipeline with the parts made here: the module
(`build`), its data (`VectorBatches`), what it does before each epoch (`Upkeep`), and at the end `semantic_ids`. The
objectives are `sidestep.objectives.rq_vae` and `coba_rq_vae`.
"""

from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from sidestep.config import Section
from sidestep.errors import DataError
from sidestep.layers.products import fast_products
from sidestep.sids.clusters import cluster_codes
from sidestep.sids.codebook import Codebook, LoadBalance
from sidestep.sids.residual import ResidualQuantiser
from sidestep.sids.rq_vae import RQVAE
from sidestep.sids.semantic_ids import SemanticIds
from sidestep.vectors.item_vectors import ItemVectors

Indices = np.ndarray[Any, np.dtype[np.int64]]


class TokenizerConfig(Section):
    """How items get their semantic IDs.

    kind: rq-vae (TIGER), or coba-rq-vae (S2GR): the same with the uniformity loss and the load-balanced assignment.
    num_levels, codebook_size: codes of an ID, and how many each level has to choose from; a catalogue with fewer
        distinct vectors than `codebook_size` has as many codes at a level as distinct vectors.
    code_width, hidden: dimensions of a codeword and of the encoder's hidden layers; the decoder mirrors them.
    commitment: weight of ||r - sg(e)||^2 against ||e - sg(r)||^2 in eq. 9. S2GR has 1, TIGER 0.25.
    uniformity: weight of eq. 12. dmax: delta_max of eq. 13. Only coba-rq-vae has these two.
    num_clusters: clusters of each level's codes, which thoughts are aligned with (eq. 18).
    epochs, batch_size, lr, weight_decay, warmup_steps: of the training.
    """

    kind: Literal["rq-vae", "coba-rq-vae"] = "coba-rq-vae"
    num_levels: int = Field(3, ge=1, le=10)
    codebook_size: int = Field(256, ge=1)
    code_width: int = Field(32, ge=1)
    hidden: tuple[int, ...] = (512, 256, 128)
    commitment: float = Field(1.0, ge=0)
    uniformity: float = Field(0.1, ge=0)
    dmax: float = Field(0.2, ge=0, lt=1)
    num_clusters: int = Field(32, ge=1)
    epochs: int = Field(60, ge=1)
    batch_size: int = Field(1024, ge=1)
    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    warmup_steps: int = Field(50, ge=0)


class VectorBatches:
    """The vectors in random batches; the order is a pure function of (seed, epoch)."""

    def __init__(self, vectors: ItemVectors, batch_size: int, seed: int) -> None:
        self._values = torch.from_numpy(vectors.values)
        self._batch_size, self._seed = batch_size, seed

    def batches(self, epoch: int) -> list[Indices]:
        """Item numbers of every batch of an epoch. The batches are as equal in size as can be."""
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self._values))
        return np.array_split(order, -(-len(order) // self._batch_size))

    def load(self, index: Indices) -> Float[Tensor, "B D"]:
        return self._values[torch.from_numpy(index)]


class Upkeep:
    """What a tokenizer does before each epoch: k-means initialisation before the first; before every other, dead codes
    are put back to work and balanced levels refitted; before all, the uniformity loss gets its scale. A pure function
    of the model's state, the seed and the epoch.
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
        for level in model.quantiser.levels:
            level.rescale()


def level_size(vectors: ItemVectors, codebook_size: int) -> int:
    """Codes at each level: `codebook_size`, or the number of distinct vectors where that is smaller."""
    distinct: set[bytes] = set()
    for row in vectors.values:
        distinct.add(row.tobytes())
        if len(distinct) == codebook_size:
            break
    return len(distinct)


def notes(vectors: ItemVectors, config: TokenizerConfig) -> list[str]:
    """What a person should know before these vectors are tokenised; empty when there is nothing to say."""
    said = []
    size = level_size(vectors, config.codebook_size)
    if size < config.codebook_size:
        said.append(
            f"{len(vectors)} items have only {size} distinct vectors, so each level has {size} codes "
            f"instead of {config.codebook_size}"
        )
    zero = int((~vectors.values.any(axis=1)).sum())
    if zero > 1:
        said.append(f"{zero} items have a zero vector: nothing tells them apart, so they share one semantic ID")
    return said


def build(vectors: ItemVectors, config: TokenizerConfig, seed: int) -> RQVAE:
    """A tokenizer for these vectors, standardised by them, otherwise untrained. Leaves the global random state alone.

    Raises:
        DataError: there are no vectors.
    """
    if not len(vectors) or not vectors.width:
        raise DataError(f"Item vectors have shape {vectors.values.shape}; expected at least one item and one dimension")
    size = level_size(vectors, config.codebook_size)
    balancer = LoadBalance(config.dmax) if config.kind == "coba-rq-vae" else None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        levels = [Codebook(size, config.code_width, balancer) for _ in range(config.num_levels)]
        model = RQVAE(vectors.width, config.hidden, ResidualQuantiser(levels), config.code_width)
    model.standardise_by(torch.from_numpy(vectors.values))
    return model


def semantic_ids(model: RQVAE, vectors: ItemVectors, config: TokenizerConfig, seed: int) -> SemanticIds:
    """Every item's codes by plain distances, with the frozen codebooks and their clusters."""
    codes = model.eval().assign(torch.from_numpy(vectors.values)).cpu().numpy()
    codebooks = [level.codewords.detach().cpu().numpy().copy() for level in model.quantiser.levels]
    clusters = [cluster_codes(codebook, config.num_clusters, seed) for codebook in codebooks]
    return SemanticIds(codes, tuple(len(codebook) for codebook in codebooks), codebooks, clusters)
