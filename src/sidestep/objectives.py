"""One function per method: what is minimised, and what is worth logging. The last line is the paper's total loss."""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from sidestep import losses
from sidestep.baselines.rearec import ReasonedPrediction
from sidestep.baselines.sequential import BaselineConfig, ItemPrediction
from sidestep.data.sequences import SequenceBatch
from sidestep.generators.encoder_decoder import Prediction
from sidestep.generators.fused import FusedPrediction
from sidestep.generators.thinking import ThinkingConfig
from sidestep.sids.batches import VectorBatch
from sidestep.sids.codebook import Codebook
from sidestep.sids.kmeans import squared_distances
from sidestep.sids.rq_vae import RQVAE, Reconstruction
from sidestep.sids.tokenizer import TokenizerConfig

Clusters = list[Tensor]
Says = Callable[[SequenceBatch], Prediction]

CONTRAST_TAU = 0.1


def rq_vae(model: nn.Module, batch: VectorBatch, tokenizer: TokenizerConfig) -> dict[str, Tensor]:
    """TIGER sec. 3.1; S2GR eqs 8 and 9: L_recon + L_quant. GR2's diversity and contrastive losses are added where the
    recipe gives them a weight.
    """
    made: Reconstruction = model(batch.vectors)
    reconstruct = losses.reconstruct(made.outputs, made.inputs)
    quantise = losses.quantise(made.quantised.residuals, made.quantised.codewords, tokenizer.commitment)
    found = {"reconstruct": reconstruct, "quantise": quantise}
    total = reconstruct + quantise
    if tokenizer.diversity:
        found["diversity"] = _diversity(model, made)
        total = total + tokenizer.diversity * found["diversity"]
    if tokenizer.contrastive:
        found["contrast"] = _contrast(made, batch)
        total = total + tokenizer.contrastive * found["contrast"]
    return {**found, "total": total}


def coba_rq_vae(model: nn.Module, batch: VectorBatch, tokenizer: TokenizerConfig) -> dict[str, Tensor]:
    """S2GR eqs 8-12: L_recon + L_quant + w sum_l L_uniform. The balance of eqs 13 and 14 is in the assignment."""
    plain = rq_vae(model, batch, tokenizer)
    uniform = torch.stack([losses.uniform(book.codewords, book.delta, book.mu) for book in _codebooks(model)])
    return {**plain, **_by_level("uniform", uniform), "total": plain["total"] + tokenizer.uniformity * uniform.sum()}


def _codebooks(model: nn.Module) -> Sequence[Codebook]:
    return cast(RQVAE, getattr(model, "module", model)).quantiser.codebooks  # `module`: several processes wrap it


def _diversity(model: nn.Module, made: Reconstruction) -> Tensor:
    """The mean over levels."""
    tables = [
        squared_distances(residual, book.codewords)
        for residual, book in zip(made.quantised.residuals, _codebooks(model), strict=True)
    ]
    return torch.stack([losses.diversity(losses.soft_usage(table)) for table in tables]).mean()


def _contrast(made: Reconstruction, batch: VectorBatch) -> Tensor:
    """GR2's contrastive loss: an item's quantised latent is nearer to its partner's than to other items' partners."""
    quantised, partners = made.quantised.total.chunk(2)
    same = (batch.partners[:, None] == batch.partners) | (batch.items[:, None] == batch.partners)
    return losses.info_nce(quantised, partners, same.fill_diagonal_(False), CONTRAST_TAU)


TOKENIZERS = {"rq-vae": rq_vae, "coba-rq-vae": coba_rq_vae}


def tiger(model: Says, batch: SequenceBatch) -> dict[str, Tensor]:
    """TIGER: next-code cross-entropy; also S2GR without L_Think."""
    prediction: Prediction = model(batch)
    per_level = losses.recommend(prediction.logits, prediction.codes)
    return {**_by_level("recommend", per_level), "total": per_level.sum()}


def s2gr(model: Says, batch: SequenceBatch, thinking: ThinkingConfig, clusters: Clusters) -> dict[str, Tensor]:
    """S2GR eqs 22-24: L = L_Rec + sum_l L_align + L_InfoNCE + lambda L_reg, the last two where there is an interest.

    clusters: the cluster of every code of each level, L tensors `[K_l]`.
    """
    prediction: Prediction = model(batch)
    thoughts, centroids = prediction.thoughts, prediction.centroids
    assert thoughts is not None
    assert centroids is not None
    recommend = losses.recommend(prediction.logits, prediction.codes)
    align, accuracy = [], []
    for level, drawn_to in enumerate(centroids):
        target = clusters[level].to(drawn_to.device)[prediction.codes[:, level]]
        logits = losses.cluster_logits(thoughts[:, level], drawn_to, thinking.tau)
        align.append(losses.align(logits, target))
        accuracy.append((logits.detach().argmax(-1) == target).float().mean())
    found = {
        **_by_level("recommend", recommend),
        **_by_level("align", torch.stack(align)),
        **_by_level("thought_accuracy", torch.stack(accuracy)),
    }
    total = recommend.sum() + thinking.align_weight * torch.stack(align).sum()
    if prediction.interest is None:
        return {**found, "total": total}
    info_nce = losses.info_nce(prediction.interest, _item_means(prediction), _barred(prediction), thinking.tau)
    holistic = losses.holistic(thoughts[:, 0], prediction.interest)
    total = total + info_nce + thinking.reg_weight * holistic
    return {**found, "info_nce": info_nce, "interest_cosine": 1 - holistic, "total": total}


def next_item(model: nn.Module, batch: SequenceBatch, baseline: BaselineConfig) -> dict[str, Tensor]:
    """The next item itself, by the loss that `baseline.loss` names; negatives are drawn uniformly."""
    return {"total": _item_loss(model(batch), baseline)}


def next_items(model: nn.Module, batch: SequenceBatch, baseline: BaselineConfig) -> dict[str, Tensor]:
    """`next_item` for each of several towers, added up; they share nothing."""
    towers = torch.stack([_item_loss(tower, baseline) for tower in model(batch)])
    return {**_by_level("tower", towers), "total": towers.sum()}


def fused(
    model: nn.Module, batch: SequenceBatch, codes: Callable[..., dict[str, Tensor]], baseline: BaselineConfig
) -> dict[str, Tensor]:
    """The generator's own total, and the scorer's loss. codes: the generator's objective."""
    made: FusedPrediction = model(batch)
    generated = codes(lambda _: made.codes, batch)
    items = torch.stack([_item_loss(tower, baseline) for tower in made.items]).sum()
    return {**generated, "items": items.detach(), "total": generated["total"] + items}


def rearec_erl(model: nn.Module, batch: SequenceBatch, baseline: BaselineConfig) -> dict[str, Tensor]:
    """ReaRec with ensemble learning: every state recommends, and they are kept apart,
    L = sum_i L_CE(r_i) - diversity * sum_{i<j} KL(p_i || p_j).

    This is the paper's equation, with the settings of the authors' code; the code itself takes the cross-entropy of the
    mean state alone, and averages the divergence over all ordered pairs with detached log-probabilities.
    """
    found: ReasonedPrediction = model(batch)
    steps = found.steps / baseline.tau
    recommend = torch.stack([losses.full_cross_entropy(step, found.embeddings, found.targets) for step in steps])
    apart = losses.divergence(steps, found.embeddings)
    total = recommend.sum() - baseline.diversity * apart
    return {**_by_level("recommend", recommend), "divergence": apart.detach(), "total": total}


def rearec_prl(model: nn.Module, batch: SequenceBatch, baseline: BaselineConfig) -> dict[str, Tensor]:
    """ReaRec with progressive learning: the last state recommends, the earlier ones at temperatures that fall from step
    to step, and each reasoned state is told from other targets' through noise,
    L = L_CE(r_K / tau) + mean_{i<K} L_CE(r_i / (tau alpha^(K-i))) + L_contrast.
    """
    found: ReasonedPrediction = model(batch)
    final = losses.full_cross_entropy(found.states, found.embeddings, found.targets)
    earlier = found.steps[:-1]
    taus = [baseline.tau * baseline.growth ** (len(earlier) - step) for step in range(len(earlier))]
    progressive = torch.stack([
        losses.full_cross_entropy(step / tau, found.embeddings, found.targets)
        for step, tau in zip(earlier, taus, strict=True)
    ]).mean()  # fmt: skip
    contrast = final.new_zeros(())
    if found.noisy is not None:
        same_history = (found.rows[:, None] == found.rows).fill_diagonal_(False)
        contrast = losses.tell_apart(found.noisy, found.steps[1:], same_history, baseline.tau)
    parts = {"recommend": final, "progressive": progressive, "contrast": contrast}
    return {**{name: part.detach() for name, part in parts.items()}, "total": final + progressive + contrast}


def _item_loss(found: ItemPrediction, baseline: BaselineConfig) -> Tensor:
    said = (found.states, found.embeddings, found.targets)
    num_items, num_targets = len(found.embeddings), len(found.targets)
    device = found.targets.device
    if baseline.loss == "ce":
        return losses.full_cross_entropy(*said)
    if baseline.loss == "sampled":
        return losses.sampled_cross_entropy(*said, torch.randint(num_items, (baseline.negatives,), device=device))
    drawn = torch.randint(num_items, (num_targets, baseline.negatives), device=device)
    return losses.binary_cross_entropy(*said, drawn)


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
