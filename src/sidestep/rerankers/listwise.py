"""The list-wise control: one weight for each feature, learnt from which of the candidates was taken."""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from sidestep.config import HomePath, Section
from sidestep.rerankers.evidence import FEATURES, Standardized


class RerankerConfig(Section):
    """A second look at the first candidates of a pre-ranker.

    base: the method of the pre-ranker: one that needs no training, or one of `sidestep methods` whose finished run
        `over` names. over: that run's folder.
    kind: "listwise" sorts by a sum over features; "reasoner" writes a trace first, with the section [reasoner]; "llm"
        asks a language model, with the section [llm].
    candidates: how many of the first items are put in a new order.
    folds: parts of the users for cross-fitting: the candidates of each part's cases come from a pre-ranker trained on
        the others. most: cases that are made; None for one after every training item.
    hidden: width of a hidden layer over the features beside their weighted sum; 0 for none.
    epochs, batch_size, lr, weight_decay: of the training of the re-ranker.
    """

    base: str = "item-knn-recent"
    over: HomePath | None = None
    kind: Literal["listwise", "reasoner", "llm"] = "listwise"
    candidates: int = Field(10, ge=2)
    folds: int = Field(2, ge=2)
    most: int | None = Field(None, ge=1)
    hidden: int = Field(0, ge=0)
    epochs: int = Field(20, ge=1)
    batch_size: int = Field(256, ge=1)
    lr: float = Field(1e-2, gt=0)
    weight_decay: float = Field(1e-3, ge=0)


class Listwise(Standardized):
    """Scores of candidates by their features, `w . z(x) + MLP(z(x))`, `z` with the mean and the deviation of the
    training cases. Before training all scores are 0, which keeps the pre-ranker's order.

    hidden: width of the MLP's one layer; 0 for none.
    """

    def __init__(self, num_features: int, hidden: int = 0) -> None:
        super().__init__(num_features)
        self.weight = nn.Parameter(torch.zeros(num_features))
        out = nn.Linear(max(hidden, 1), 1, bias=False)
        nn.init.zeros_(out.weight)
        self.inner = nn.Sequential(nn.Linear(num_features, hidden), nn.GELU(), out) if hidden else None

    def forward(self, features: Float[Tensor, "B C F"]) -> Float[Tensor, "B C"]:
        standard = self.standard(features)
        scores = standard @ self.weight
        return scores if self.inner is None else scores + self.inner(standard)[..., 0]


def most_telling(model: Listwise) -> list[tuple[str, float]]:
    """The weights by name, the heaviest first."""
    named = zip(FEATURES, model.weight.tolist(), strict=True)
    return sorted(named, key=lambda each: -abs(each[1]))
