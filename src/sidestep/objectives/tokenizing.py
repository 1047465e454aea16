"""The objective of each trained tokenizer; the last line is the paper's total loss."""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sidestep.losses import contrastive, tokenizing
from sidestep.objectives.levels import by_level
from sidestep.sids.batches import VectorBatch
from sidestep.sids.codebook import Codebook
from sidestep.sids.kmeans import squared_distances
from sidestep.sids.rq_vae import RQVAE, Reconstruction
from sidestep.sids.settings import TokenizerConfig
from sidestep.sids.unified import Spoken
from sidestep.sids.unified_batches import UnifiedBatch

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


def unisid(model: nn.Module, batch: UnifiedBatch, tokenizer: TokenizerConfig) -> dict[str, Tensor]:
    """UniSID (arXiv 2602.10445): L = L_sid + L_emb + 0.1 L_rec, L_sid the mean over levels of their graded contrasts.

    L_rec is ours: a bag of words for the summary that a language model writes; summed over words, the mean over items.
    """
    config, number = tokenizer.unified, len(batch.items)
    spoken: Spoken = model(batch.rows, len(batch.words))
    graded = torch.stack(_graded(spoken.logits, batch, config.tau))
    parts, total = by_level("sid", graded), graded.mean()
    if len(batch.partners):
        own, partners = spoken.embedding[:number], spoken.embedding[2 * number :]
        same = (batch.partners[:, None] == batch.partners) | (batch.items[:, None] == batch.partners)
        parts["embed"] = contrastive.info_nce(own, partners, same.fill_diagonal_(False), config.tau)
        total = total + config.embed_weight * parts["embed"]
    if len(batch.words):
        entropy = F.binary_cross_entropy_with_logits(spoken.words, batch.words, reduction="sum")
        parts["words"] = entropy / number
        total = total + config.rec_weight * parts["words"]
    if config.balance:
        parts["balance"] = torch.stack([tokenizing.unevenness(z) for z in spoken.logits]).mean()
        total = total + config.balance * parts["balance"]
    return {**parts, "total": total}


def _graded(logits: Sequence[Tensor], batch: UnifiedBatch, tau: float) -> list[Tensor]:
    """One contrast a level, over both views of all items. At a level of classes, the other view of an item counts
    neither for nor against it, and unknown classes do not count; at a level of items, it alone is alike.
    """
    views = 2 * len(batch.items)
    item = batch.items.repeat(2)
    same_item = item[:, None] == item
    itself = torch.eye(views, dtype=torch.bool, device=item.device)
    losses = []
    for place, by_item in enumerate(batch.by_item):
        if by_item:
            positive, counted = same_item & ~itself, ~itself
        else:
            classes = batch.classes[:, place].repeat(2)
            known = classes >= 0
            counted = known[:, None] & known & ~same_item
            positive = (classes[:, None] == classes) & counted
        losses.append(contrastive.graded_contrast(logits[place][:views], positive, counted, tau))
    return losses


TOKENIZERS: Mapping[str, Callable[..., dict[str, Tensor]]] = {
    "rq-vae": rq_vae,
    "coba-rq-vae": coba_rq_vae,
    "unisid": unisid,
}
