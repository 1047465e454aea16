"""Two scorers with different errors: one uses item numbers only, the other also the items' vectors."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sidestep.data.interactions import Ints
from sidestep.data.reads import Reads
from sidestep.data.sequences import SequenceBatch
from sidestep.scorers.content import ContentSASRec
from sidestep.scorers.sasrec import SASRec
from sidestep.scorers.sequential import BaselineConfig, ItemPrediction


class TwoTowers(nn.Module):
    """A SASRec on item numbers and one that also reads the items' vectors, without common parameters. Each is trained
    with its own loss; a score is the mean of their log-probabilities, so that their errors partly cancel.

    vectors: `[N, V]`.
    """

    every_position = True

    def __init__(self, popularity: Ints, config: BaselineConfig, vectors: Float[Tensor, "N V"]) -> None:
        super().__init__()
        self.config = config
        self.numbers = SASRec(popularity, config)
        self.content = ContentSASRec(popularity, config, vectors)

    @property
    def reads(self) -> Reads:
        return Reads(self.config.max_history)

    def hidden(self, batch: SequenceBatch) -> Float[Tensor, "B T E"]:
        """Both states after every item, side by side."""
        return torch.cat([self.numbers.hidden(batch), self.content.hidden(batch)], dim=2)

    def forward(self, batch: SequenceBatch) -> tuple[ItemPrediction, ItemPrediction]:
        return self.numbers(batch), self.content(batch)

    def score(self, batch: SequenceBatch) -> Float[Tensor, "B N"]:
        """One score for every item, for `search.scoring.ItemScorer`, on the model's device."""
        batch = batch.to(self.numbers.popularity.device)
        both = [tower.score(batch) for tower in (self.numbers, self.content)]
        mean = torch.stack([scores.log_softmax(-1) for scores in both]).mean(0)
        return torch.where((batch.lengths > 0)[:, None], mean, self.numbers.popularity.to(mean))
