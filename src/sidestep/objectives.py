"""One function per method: what is minimised, and what is worth logging. The last line is the paper's total loss."""

from typing import cast

import torch
from torch import Tensor, nn

from sidestep import losses
from sidestep.data.sequences import SequenceBatch
from sidestep.generators.encoder_decoder import Prediction
from sidestep.generators.thinking import ThinkingConfig
from sidestep.sids.rq_vae import RQVAE, Reconstruction
from sidestep.sids.tokenizer import TokenizerConfig

Clusters = list[Tensor]


def rq_vae(model: nn.Module, batch: Tensor, tokenizer: TokenizerConfig) -> dict[str, Tensor]:
    """TIGER sec. 3.1; S2GR eqs 8 and 9: L_recon + L_quant."""
    made: Reconstruction = model(batch)
    reconstruct = losses.reconstruct(made.outputs, made.inputs)
    quantise = losses.quantise(made.quantised.residuals, made.quantised.codewords, tokenizer.commitment)
    return {"reconstruct": reconstruct, "quantise": quantise, "total": reconstruct + quantise}


def coba_rq_vae(model: nn.Module, batch: Tensor, tokenizer: TokenizerConfig) -> dict[str, Tensor]:
    """S2GR eqs 8-12: L_recon + L_quant + w sum_l L_uniform. The balance of eqs 13 and 14 is in the assignment."""
    plain = rq_vae(model, batch, tokenizer)
    levels = cast(RQVAE, getattr(model, "module", model)).quantiser.levels  # `module`: several processes wrap it
    uniform = torch.stack([losses.uniform(level.codewords, level.delta, level.mu) for level in levels])
    return {**plain, **_by_level("uniform", uniform), "total": plain["total"] + tokenizer.uniformity * uniform.sum()}


TOKENIZERS = {"rq-vae": rq_vae, "coba-rq-vae": coba_rq_vae}


def tiger(model: nn.Module, batch: SequenceBatch) -> dict[str, Tensor]:
    """TIGER: next-code cross-entropy; also S2GR without L_Think."""
    prediction: Prediction = model(batch)
    per_level = losses.recommend(prediction.logits, prediction.codes)
    return {**_by_level("recommend", per_level), "total": per_level.sum()}


def s2gr(model: nn.Module, batch: SequenceBatch, thinking: ThinkingConfig, clusters: Clusters) -> dict[str, Tensor]:
    """S2GR eqs 22-24: L = L_Rec + sum_l L_align + L_InfoNCE + lambda L_reg.

    clusters: the cluster of every code of each level, L tensors `[K_l]`.
    """
    prediction: Prediction = model(batch)
    thoughts, interest = prediction.thoughts, prediction.interest
    assert thoughts is not None
    assert interest is not None
    recommend = losses.recommend(prediction.logits, prediction.codes)
    align, accuracy = [], []
    for level, embeddings in enumerate(prediction.embeddings):
        cluster = clusters[level].to(embeddings.device)
        target = cluster[prediction.codes[:, level]]
        logits = losses.cluster_logits(thoughts[:, level], losses.centroids(embeddings, cluster), thinking.tau)
        align.append(losses.align(logits, target))
        accuracy.append((logits.detach().argmax(-1) == target).float().mean())
    info_nce = losses.info_nce(interest, _item_means(prediction), _barred(prediction), thinking.tau)
    holistic = losses.holistic(thoughts[:, 0], interest)
    return {
        **_by_level("recommend", recommend),
        **_by_level("align", torch.stack(align)),
        **_by_level("thought_accuracy", torch.stack(accuracy)),
        "info_nce": info_nce,
        "interest_cosine": 1 - holistic,
        "total": recommend.sum() + torch.stack(align).sum() + info_nce + thinking.reg_weight * holistic,
    }


def _by_level(name: str, values: Tensor) -> dict[str, Tensor]:
    return {f"{name}_{level + 1}": value.detach() for level, value in enumerate(values)}


def _item_means(prediction: Prediction) -> Tensor:
    """The mean of each target's code embeddings, `[n, D]`, with no gradient (spec section 3.2)."""
    levels = zip(prediction.embeddings, prediction.codes.unbind(1), strict=True)
    return torch.stack([embeddings.detach()[codes] for embeddings, codes in levels]).mean(0)


def _barred(prediction: Prediction) -> Tensor:
    """Where a target is no negative: it has the same semantic ID, or belongs to the same user; `[n, n]`."""
    first, *others = prediction.codes.unbind(1)
    same_id = first[:, None] == first
    for codes in others:  # level by level, since `[n, n, L]` at once would cost several times as much
        same_id &= codes[:, None] == codes
    same_user = prediction.rows[:, None] == prediction.rows
    return (same_id | same_user).fill_diagonal_(False)
