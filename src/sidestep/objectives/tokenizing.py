"""The objective of each trained tokenizer; the last line is the paper's total loss."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from sidestep.losses import contrastive, tokenizing
from sidestep.objectives.levels import by_level
from sidestep.sids.batches import VectorBatch
from sidestep.sids.codebook import Codebook
from sidestep.sids.kmeans import squared_distances
from sidestep.sids.rq_vae import RQVAE, Reconstruction
from sidestep.sids.tokenizer import TokenizerConfig

CONTRAST_TAU = 0.1


def rq_vae(model: nn.Module, batch: VectorBatch, tokenizer: TokenizerConfig) -> dict[str, Tensor]:
    """TIGER sec. 3.1; S2GR eqs 8 and 9: L_recon + L_quant. GR2's diversity and contrastive losses are added if the
    recipe gives them a weight.
    """
    reconstruction: Reconstruction = model(batch.vectors)
    reconstruct = tokenizing.reconstruct(reconstruction.outputs, reconstruction.inputs)
    quantise = tokenizing.quantise(
        reconstruction.quantised.residuals, reconstruction.quantised.codewords, tokenizer.commitment
    )
    parts = {"reconstruct": reconstruct, "quantise": quantise}
    total = reconstruct + quantise
    if tokenizer.diversity:
        parts["diversity"] = _diversity(model, reconstruction)
        total = total + tokenizer.diversity * parts["diversity"]
    if tokenizer.contrastive:
        parts["contrast"] = _contrast(reconstruction, batch)
        total = total + tokenizer.contrastive * parts["contrast"]
    return {**parts, "total": total}


def coba_rq_vae(model: nn.Module, batch: VectorBatch, tokenizer: TokenizerConfig) -> dict[str, Tensor]:
    """S2GR eqs 8-12: L_recon + L_quant + w sum_l L_uniform. The balance of eqs 13 and 14 is in the assignment."""
    plain = rq_vae(model, batch, tokenizer)
    uniform = torch.stack([tokenizing.uniform(book.codewords, book.delta, book.mu) for book in _codebooks(model)])
    return {**plain, **by_level("uniform", uniform), "total": plain["total"] + tokenizer.uniformity * uniform.sum()}


def _codebooks(model: nn.Module) -> Sequence[Codebook]:
    return cast(
        RQVAE, getattr(model, "module", model)
    ).quantiser.codebooks  # `module`: the wrapper of several processes


def _diversity(model: nn.Module, reconstruction: Reconstruction) -> Tensor:
    """The diversity loss, the mean over levels."""
    tables = [
        squared_distances(residual, book.codewords)
        for residual, book in zip(reconstruction.quantised.residuals, _codebooks(model), strict=True)
    ]
    return torch.stack([tokenizing.diversity(tokenizing.soft_usage(table)) for table in tables]).mean()


def _contrast(reconstruction: Reconstruction, batch: VectorBatch) -> Tensor:
    """GR2's contrastive loss: an item's quantised latent is nearer to its partner's than to other items' partners."""
    quantised, partners = reconstruction.quantised.total.chunk(2)
    same = (batch.partners[:, None] == batch.partners) | (batch.items[:, None] == batch.partners)
    return contrastive.info_nce(quantised, partners, same.fill_diagonal_(False), CONTRAST_TAU)


TOKENIZERS = {"rq-vae": rq_vae, "coba-rq-vae": coba_rq_vae}
