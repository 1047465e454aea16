"""Caser (Tang & Wang, WSDM 2018, arXiv 1809.07426): convolutions over the embeddings of the last items."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sidestep.data.interactions import Ints
from sidestep.data.sequences import SequenceBatch
from sidestep.layers.dropout import Dropout
from sidestep.layers.item_rows import RowShards
from sidestep.scorers.sequential import BaselineConfig, ItemPrediction, SequentialBaseline


class Caser(SequentialBaseline):
    """`horizontal` filters of each height 1 to `window` slide over the last `window` items, with max pooling (eqs 3-6);
    `vertical` filters are weighted sums of those items, per dimension (eqs 7-8); one layer combines them (eq. 9).

    The paper appends a user embedding here. Ours has none, so that it can recommend for users who were not in training.
    The outputs have their own embeddings and bias (eq. 10), and each state is trained on the next `ahead` items.
    """

    item_tables = ("item_embedding.weight", "outputs", "bias")

    def __init__(self, popularity: Ints, config: BaselineConfig, shards: RowShards | None = None) -> None:
        super().__init__(popularity, config, shards)
        heights = range(1, config.window + 1)
        self.horizontal = nn.ModuleList(nn.Conv1d(config.width, config.horizontal, height) for height in heights)
        self.vertical = nn.Linear(config.window, config.vertical)
        features = config.horizontal * config.window + config.vertical * config.width
        self.dropout, self.mix = Dropout(config.dropout), nn.Linear(features, config.width)
        self.outputs = nn.Parameter(self.shards.normal(config.width, 1.0) * config.width**-0.5)
        self.bias = nn.Parameter(torch.zeros(len(self.shards)))

    def after(self, batch: SequenceBatch, visible: Int[Tensor, "B P"]) -> Float[Tensor, "B P E"]:
        """The state after the first `visible` items; a short history is padded with zeros on the left."""
        places = visible[..., None] + torch.arange(-self.config.window, 0, device=visible.device)
        rows = torch.arange(len(batch), device=visible.device)[:, None, None]
        image = self.read(batch.history[rows, places.clamp(min=0)].clamp(min=0)) * (places >= 0)[..., None]
        image = image.flatten(0, 1).transpose(1, 2)
        patterns = [filters(image).relu().amax(2) for filters in self.horizontal]
        features = torch.cat([*patterns, self.vertical(image).flatten(1)], 1)
        state = self.mix(self.dropout(features)).relu().view(*visible.shape, -1)
        return torch.cat([state, torch.ones_like(state[..., :1])], -1)

    def embeddings(self) -> Float[Tensor, "n E"]:
        """The output embeddings with the bias as a last column, for which every state has a 1."""
        return torch.cat([self.outputs, self.bias[:, None]], 1)

    def forward(self, batch: SequenceBatch) -> ItemPrediction:
        states, targets = self.states(batch), batch.targets
        selected, of_selected = [], []
        for ahead in range(min(self.config.ahead, targets.shape[1])):
            real = targets[:, ahead:] >= 0
            selected.append(states[:, : targets.shape[1] - ahead][real])
            of_selected.append(targets[:, ahead:][real])
        return ItemPrediction(torch.cat(selected), torch.cat(of_selected), self.table())
