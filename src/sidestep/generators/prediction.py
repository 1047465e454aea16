"""Outputs of a generator under teacher forcing: one class for every generator, more for those that predict more."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Prediction:
    """Logits of the n real targets of a batch, each level given the true codes before it.

    logits: per level `[n, K_l]`, of the codes that the softmax runs over; `-inf` where a target has fewer than others.
    codes: the true codes. choices: their columns in the logits, which are the codes where the softmax runs over the
    whole codebook. rows: the row of the batch that each target belongs to. embeddings: the code embeddings of each
    level, `[K_l, D]`.
    """

    logits: list[Float[Tensor, "n _"]]
    codes: Int[Tensor, "n L"]
    choices: Int[Tensor, "n L"]
    rows: Int[Tensor, " n"]
    embeddings: list[Float[Tensor, "_ D"]]

    def code_log_probs(self) -> Float[Tensor, "n L"]:
        """The log-probability of every true code, among the codes that the softmax runs over."""
        levels = zip(self.logits, self.choices.unbind(1), strict=True)
        return torch.stack([logits.log_softmax(-1).gather(1, column[:, None])[:, 0] for logits, column in levels], 1)


@dataclass(frozen=True)
class MultiTokenPrediction(Prediction):
    """The prediction of a generator with a decoder for each level.

    further: the logits of the decoder of each level for the levels after its own, over the same codes as `logits`.
    """

    further: list[list[Float[Tensor, "n _"]]]


@dataclass(frozen=True)
class ThoughtfulPrediction(Prediction):
    """The prediction of a generator with thoughts.

    thoughts: the supervised thought before each code. centroids: per level `[C_l, D]`, the targets of eq. 18.
    levels: those with thoughts, from 0; at the others the thought is a zero vector. interest: the vector of the whole
    interest (eq. 19); None where the generator has no light decoder. early: by level, the logits of the code at its
    thought, of the same codes as `logits`. named: by level, the logits of the clusters by the linear head `[n, C_l]`.
    """

    thoughts: Float[Tensor, "n L D"]
    centroids: list[Float[Tensor, "_ D"]]
    levels: tuple[int, ...]
    interest: Float[Tensor, "n D"] | None = None
    early: dict[int, Float[Tensor, "n _"]] = field(default_factory=dict)
    named: dict[int, Float[Tensor, "n _"]] = field(default_factory=dict)
