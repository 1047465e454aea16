"""The objective of each scorer of items; the last line is the paper's total loss."""

import torch
from torch import Tensor, nn

from sidestep.data.sequences import SequenceBatch
from sidestep.layers.item_rows import ShardedTable
from sidestep.losses import contrastive, scoring
from sidestep.objectives.levels import by_level
from sidestep.scorers.rearec import ReasonedPrediction
from sidestep.scorers.sequential import BaselineConfig, ItemPrediction


def next_item(model: nn.Module, batch: SequenceBatch, baseline: BaselineConfig) -> dict[str, Tensor]:
    """Prediction of the next item with the loss `baseline.loss`; negatives are drawn uniformly."""
    return {"total": item_loss(model(batch), baseline)}


def next_items(model: nn.Module, batch: SequenceBatch, baseline: BaselineConfig) -> dict[str, Tensor]:
    """The sum of `next_item` over several towers, which share no parameters."""
    towers = torch.stack([item_loss(tower, baseline) for tower in model(batch)])
    return {**by_level("tower", towers), "total": towers.sum()}


def rearec_erl(model: nn.Module, batch: SequenceBatch, baseline: BaselineConfig) -> dict[str, Tensor]:
    """ReaRec with ensemble learning: every state predicts the target, and a divergence term separates the states,
    L = sum_i L_CE(r_i) - diversity * sum_{i<j} KL(p_i || p_j).

    This is the paper's equation, with the settings of the authors' code; the code itself takes the cross-entropy of the
    mean state alone, and averages the divergence over all ordered pairs with detached log-probabilities.
    """
    prediction: ReasonedPrediction = model(batch)
    steps = prediction.steps / baseline.tau
    recommend = torch.stack([catalogue_loss(step, prediction.embeddings, prediction.targets) for step in steps])
    assert isinstance(prediction.embeddings, Tensor)  # it needs whole rows of probabilities; methods/scoring.py refuses
    apart = scoring.divergence(steps, prediction.embeddings)
    total = recommend.sum() - baseline.diversity * apart
    return {**by_level("recommend", recommend), "divergence": apart.detach(), "total": total}


def rearec_prl(model: nn.Module, batch: SequenceBatch, baseline: BaselineConfig) -> dict[str, Tensor]:
    """ReaRec with progressive learning: every state predicts the target, at temperatures that fall from step to step,
    and a contrastive loss on noisy states separates each reasoned state from those of other targets,
    L = L_CE(r_K / tau) + mean_{i<K} L_CE(r_i / (tau alpha^(K-i))) + L_contrast.
    """
    prediction: ReasonedPrediction = model(batch)
    final = catalogue_loss(prediction.states, prediction.embeddings, prediction.targets)
    earlier = prediction.steps[:-1]
    taus = [baseline.tau * baseline.growth ** (len(earlier) - step) for step in range(len(earlier))]
    progressive = torch.stack([
        catalogue_loss(step / tau, prediction.embeddings, prediction.targets)
        for step, tau in zip(earlier, taus, strict=True)
    ]).mean()  # fmt: skip
    contrast = final.new_zeros(())
    if prediction.noisy is not None:
        same_history = (prediction.rows[:, None] == prediction.rows).fill_diagonal_(False)
        contrast = contrastive.noise_contrast(prediction.noisy, prediction.steps[1:], same_history, baseline.tau)
    parts = {"recommend": final, "progressive": progressive, "contrast": contrast}
    return {**{name: part.detach() for name, part in parts.items()}, "total": final + progressive + contrast}


def catalogue_loss(states: Tensor, embeddings: Tensor | ShardedTable, targets: Tensor) -> Tensor:
    """The full cross-entropy, wherever the rows of the embeddings are."""
    if isinstance(embeddings, ShardedTable):
        return scoring.sharded_cross_entropy(states, embeddings.own, targets, embeddings.shards)
    return scoring.full_cross_entropy(states, embeddings, targets)


def item_loss(prediction: ItemPrediction, baseline: BaselineConfig) -> Tensor:
    inputs = (prediction.states, prediction.embeddings, prediction.targets)
    num_items, num_targets = len(prediction.embeddings), len(prediction.targets)
    device = prediction.targets.device
    if baseline.loss == "ce":
        return catalogue_loss(*inputs)
    if baseline.loss == "sampled":
        return scoring.sampled_cross_entropy(*inputs, torch.randint(num_items, (baseline.negatives,), device=device))
    drawn = torch.randint(num_items, (num_targets, baseline.negatives), device=device)
    return scoring.binary_cross_entropy(*inputs, drawn)
