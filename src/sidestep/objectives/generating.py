"""The objective of each generator; the last line is the paper's total loss."""

from collections.abc import Callable

import torch
from torch import Tensor

from sidestep.data.sequences import SequenceBatch
from sidestep.generators.prediction import MultiTokenPrediction, Prediction, ThoughtfulPrediction
from sidestep.generators.thinking import ThinkingConfig
from sidestep.losses import contrastive, generating
from sidestep.objectives.levels import by_level

Clusters = list[Tensor]
Predicts = Callable[[SequenceBatch], Prediction]


def tiger(model: Predicts, batch: SequenceBatch, smoothing: float = 0.0) -> dict[str, Tensor]:
    """TIGER: next-code cross-entropy; also S2GR without L_Think. smoothing: of the labels (`losses.recommend`)."""
    prediction: Prediction = model(batch)
    per_level = generating.recommend(prediction.logits, prediction.choices, smoothing)
    return {**by_level("recommend", per_level), "total": per_level.sum()}


def multi_token(model: Predicts, batch: SequenceBatch, smoothing: float = 0.0) -> dict[str, Tensor]:
    """OneLive's L_MTP with equal weights: the sum over decoders k of the cross-entropies of codes k, k + 1, ... The log
    shows each level by the decoder whose own it is, as a search asks for it.
    """
    prediction = model(batch)
    assert isinstance(prediction, MultiTokenPrediction)
    own = generating.recommend(prediction.logits, prediction.choices, smoothing)
    total = own.sum()
    for level, later in enumerate(prediction.further):
        if later:
            total = total + generating.recommend(later, prediction.choices[:, level + 1 :], smoothing).sum()
    return {**by_level("recommend", own), "total": total}


def s2gr(
    model: Predicts, batch: SequenceBatch, thinking: ThinkingConfig, clusters: Clusters, smoothing: float = 0.0
) -> dict[str, Tensor]:
    """S2GR eqs 22-24: L = L_Rec + sum_l L_align + L_InfoNCE + lambda L_reg, the last two with an interest vector.

    Ours, where they have a weight: the code asked at its thought, and its cluster by a linear head.

    clusters: the cluster of every code of each level, L tensors `[K_l]`. smoothing: of the labels of L_Rec.
    """
    prediction = model(batch)
    assert isinstance(prediction, ThoughtfulPrediction)
    thoughts = prediction.thoughts
    recommend = generating.recommend(prediction.logits, prediction.choices, smoothing)
    levels, codes = prediction.levels, prediction.codes
    align, accuracy, asked = [], [], recommend.new_zeros(())
    for level in levels:
        target = clusters[level].to(codes.device)[codes[:, level]]
        logits = generating.cluster_logits(thoughts[:, level], prediction.centroids[level], thinking.tau)
        align.append(generating.align(logits, target))
        if level in prediction.named:
            logits = prediction.named[level]
            asked = asked + thinking.head_weight * generating.align(logits, target)
        accuracy.append((logits.detach().argmax(-1) == target).float().mean())
    if prediction.early:
        choices = prediction.choices[:, list(prediction.early)]
        asked = asked + thinking.code_weight * generating.recommend([*prediction.early.values()], choices).sum()
    parts = {
        **by_level("recommend", recommend),
        **by_level("align", torch.stack(align), levels),
        **by_level("thought_accuracy", torch.stack(accuracy), levels),
    }
    total = recommend.sum() + thinking.align_weight * torch.stack(align).sum() + asked
    if prediction.interest is None:
        return {**parts, "total": total}
    info_nce = contrastive.info_nce(prediction.interest, _item_means(prediction), _barred(prediction), thinking.tau)
    holistic = generating.holistic(thoughts[:, 0], prediction.interest)
    total = total + info_nce + thinking.reg_weight * holistic
    return {**parts, "info_nce": info_nce, "interest_cosine": 1 - holistic, "total": total}


def _item_means(prediction: Prediction) -> Tensor:
    """The mean of each target's code embeddings, `[n, D]`, with no gradient (spec section 3.2)."""
    levels = zip(prediction.embeddings, prediction.codes.unbind(1), strict=True)
    return torch.stack([embeddings.detach()[codes] for embeddings, codes in levels]).mean(0)


def _barred(prediction: Prediction) -> Tensor:
    """True where a target is not a negative: it has the same semantic ID or belongs to the same user; `[n, n]`."""
    first, *others = prediction.codes.unbind(1)
    same_id = first[:, None] == first
    for codes in others:  # level by level, since `[n, n, L]` at once would cost several times as much
        same_id &= codes[:, None] == codes
    same_user = prediction.rows[:, None] == prediction.rows
    return (same_id | same_user).fill_diagonal_(False)
