"""The objective of each generator; the last line is the paper's total loss."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sidestep.data.sequences import SequenceBatch
from sidestep.generators.prediction import MultiTokenPrediction, Prediction, ThoughtfulPrediction
from sidestep.generators.thinking import ThinkingConfig
from sidestep.losses import contrastive, generating
from sidestep.objectives.levels import by_level

Clusters = list[Tensor]
Predicts = Callable[[SequenceBatch], Prediction]


@dataclass(frozen=True)
class OfCodes:
    """How L_Rec is asked: TIGER's cross-entropy with these changes.

    smoothing: of the labels. prefix_weight, prefix_focus: of APAO's loss of prefixes.
    """

    smoothing: float = 0.0
    prefix_weight: float = 0.0
    prefix_focus: float = 0.0

    def loss(self, prediction: Prediction) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Per level, in total, and what the log shows."""
        per_level = generating.recommend(prediction.logits, prediction.choices, self.smoothing)
        shown = by_level("recommend", per_level)
        if not self.prefix_weight:
            return per_level, per_level.sum(), shown
        prefixes = generating.prefixes(per_level, self.prefix_focus)
        return per_level, per_level.sum() + self.prefix_weight * prefixes, {**shown, "prefixes": prefixes.detach()}


def tiger(model: Predicts, batch: SequenceBatch, how: OfCodes = OfCodes()) -> dict[str, Tensor]:
    """TIGER: next-code cross-entropy; also S2GR without L_Think."""
    _, total, shown = how.loss(model(batch))
    return {**shown, "total": total}


def multi_token(model: Predicts, batch: SequenceBatch, how: OfCodes = OfCodes()) -> dict[str, Tensor]:
    """OneLive's L_MTP with equal weights: the sum over decoders k of the cross-entropies of codes k, k + 1, ... The log
    shows each level by the decoder whose own it is, as a search asks for it.
    """
    prediction = model(batch)
    assert isinstance(prediction, MultiTokenPrediction)
    _, total, shown = how.loss(prediction)
    for level, later in enumerate(prediction.further):
        if later:
            total = total + generating.recommend(later, prediction.choices[:, level + 1 :], how.smoothing).sum()
    return {**shown, "total": total}


def s2gr(
    model: Predicts,
    batch: SequenceBatch,
    thinking: ThinkingConfig,
    clusters: Clusters,
    how: OfCodes = OfCodes(),
) -> dict[str, Tensor]:
    """S2GR eqs 22-24: L = L_Rec + sum_l L_align + L_InfoNCE + lambda L_reg, the last two with an interest vector.

    Ours, where they have a weight: the code asked at its thought, and its cluster by a linear head.

    clusters: the cluster of every code of each level, L tensors `[K_l]`.
    """
    prediction = model(batch)
    assert isinstance(prediction, ThoughtfulPrediction)
    thoughts = prediction.thoughts
    recommend, total, shown = how.loss(prediction)
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
        **shown,
        **by_level("align", torch.stack(align), levels),
        **by_level("thought_accuracy", torch.stack(accuracy), levels),
    }
    total = total + thinking.align_weight * torch.stack(align).sum() + asked
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
