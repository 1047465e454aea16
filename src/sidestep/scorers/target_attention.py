"""A ranker of shown items: attention of the target over what was looked up in the history (DIN, arXiv 1706.06978, as
QARM V2's exact search unit uses it, arXiv 2602.08559).
"""

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn

from sidestep.config import Section
from sidestep.data.sequences import SequenceBatch
from sidestep.scorers.gsu import Search, found


class RankerConfig(Section):
    """ids, codes: what an item's embedding is the sum of: one of its own, and one for each code of its semantic ID.
    width: of embeddings. hidden: of the network that scores. looked_up: items of a history that attention sees.
    """

    ids: bool = True
    codes: bool = True
    width: int = Field(32, ge=1)
    hidden: tuple[int, ...] = (128, 64)
    looked_up: int = Field(20, ge=1)

    @model_validator(mode="after")
    def _something(self) -> "RankerConfig":
        if not (self.ids or self.codes):
            raise ValueError("ids = false and codes = false leave nothing to know an item by; set one of them")
        return self


class TargetAttention(nn.Module):
    """p(taken) of a target given items of the user's history.

        x_i = id_i + sum_l code_l(i)
        a = softmax((Q x_t) . (K x_h) / sqrt(D)) over the items h that were looked up;  u = sum_h a_h V x_h
        logit = MLP([x_t, u, x_t * u])

    codes: `[N, L]` of every item's semantic ID; unused where the config leaves them out.
    """

    codes: Tensor

    def __init__(self, num_items: int, codes: Int[Tensor, "N L"], config: RankerConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("codes", codes, persistent=False)
        width = config.width
        self.ids = nn.Embedding(num_items, width) if config.ids else None
        sizes = (codes.amax(0) + 1).tolist() if config.codes else []
        self.of_codes = nn.ModuleList(nn.Embedding(size, width) for size in sizes)
        for table in self.modules():
            if isinstance(table, nn.Embedding):
                nn.init.normal_(table.weight, std=0.05)
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))
        layers: list[nn.Module] = []
        for before, after in zip((3 * width, *config.hidden), config.hidden, strict=False):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.score_of = nn.Sequential(*layers, nn.Linear(config.hidden[-1] if config.hidden else 3 * width, 1))

    def embed(self, items: Int[Tensor, "*n"]) -> Float[Tensor, "*n D"]:
        """Embeddings of items; zeros for -1."""
        known = items.clamp(min=0)
        parts = [table(self.codes[known, level]) for level, table in enumerate(self.of_codes)]
        if self.ids is not None:
            parts.append(self.ids(known))
        return torch.stack(parts).sum(0) * (items >= 0)[..., None]

    def forward(self, found: Int[Tensor, "B k"], targets: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Logits. found: items of the history in any order, padded with -1; with none, attention sees nothing."""
        target, history = self.embed(targets), self.embed(found)
        weights = torch.einsum("bd,bkd->bk", self.query(target), self.key(history)) / target.shape[1] ** 0.5
        weights = weights.masked_fill(found < 0, -torch.inf).softmax(1).nan_to_num(0.0)
        user = torch.einsum("bk,bkd->bd", weights, self.value(history))
        logits: Tensor = self.score_of(torch.cat([target, user, target * user], dim=1))
        return logits[:, 0]


class SearchedRanker:
    """A ranker behind its search, as a `search.scoring.CandidateScorer`: logits of the candidates of every row."""

    def __init__(self, model: TargetAttention, search: Search) -> None:
        self.model, self.search = model, search

    def __call__(self, batch: SequenceBatch, candidates: Int[Tensor, "B C"]) -> Float[Tensor, "B C"]:
        rows, count = candidates.shape
        history = batch.history[:, None].expand(rows, count, -1).flatten(0, 1)
        targets = candidates.flatten()
        seen = found(self.search, history, targets.clamp(min=0), self.model.config.looked_up)
        with torch.no_grad():
            logits = self.model(seen, targets.clamp(min=0)).view(rows, count)
        return logits.masked_fill(candidates < 0, -torch.inf)
