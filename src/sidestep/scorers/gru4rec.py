"""GRU4Rec (Hidasi et al., ICLR 2016, arXiv 1511.06939): a recurrent state after every item."""

from jaxtyping import Float
from torch import Tensor, nn

from sidestep.data.interactions import Ints
from sidestep.data.sequences import SequenceBatch
from sidestep.layers.dropout import Dropout
from sidestep.layers.item_rows import RowShards
from sidestep.scorers.sequential import BaselineConfig, CausalBaseline


class GRU4Rec(CausalBaseline):
    """`num_layers` gated recurrent layers of `inner` units over the item embeddings, projected back to their width."""

    def __init__(self, popularity: Ints, config: BaselineConfig, shards: RowShards | None = None) -> None:
        super().__init__(popularity, config, shards)
        self.dropout = Dropout(config.dropout)
        self.gru = nn.GRU(config.width, config.inner, config.num_layers, batch_first=True)
        self.out = nn.Linear(config.inner, config.width)

    def hidden(self, batch: SequenceBatch) -> Float[Tensor, "B T D"]:
        states, _ = self.gru(self.dropout(self.read(batch.history.clamp(min=0))))
        out: Tensor = self.out(states)
        return out
