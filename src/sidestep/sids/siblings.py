"""The codes that exist behind every prefix of an item's semantic ID, for generators that choose among these alone."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sidestep.sids.semantic_ids import SemanticIds
from sidestep.sids.trie import Trie, rows_of


class Siblings(nn.Module):
    """For every item and level the children of the node above the item's own code, cut out of the trie once.

    Memory: 12 bytes an item and level, and 2 for every node. Non-persistent buffers: they follow the device and are
    made of the semantic IDs, so a later version of the catalogue brings its own.

    begins: the first child, int32 `[N, L]`. counts: how many there are. places: which of them is the item's own.
    widest: per level, the largest count.
    """

    begins: Int[Tensor, "N L"]
    counts: Int[Tensor, "N L"]
    places: Int[Tensor, "N L"]

    def __init__(self, sids: SemanticIds) -> None:
        super().__init__()
        trie = Trie.build(torch.from_numpy(sids.codes), sids.codebook_sizes)
        items, depths = torch.arange(len(sids)), range(sids.num_levels)
        nodes = [trie.node_of_item(depth, items) for depth in range(sids.num_levels + 1)]
        spans = [trie.span(depth, nodes[depth]) for depth in depths]
        self.widest = [int(counts.max()) for _, counts in spans]
        places = [nodes[depth + 1] - begins for depth, (begins, _) in enumerate(spans)]
        columns = {"begins": [span[0] for span in spans], "counts": [span[1] for span in spans], "places": places}
        for name, values in columns.items():
            self.register_buffer(name, torch.stack(values, 1).int(), persistent=False)
        for depth in depths:
            self.register_buffer(f"codes_{depth}", trie.codes[depth + 1], persistent=False)

    def logits(
        self, level: int, items: Int[Tensor, " n"], logits: Float[Tensor, "n K"]
    ) -> tuple[Float[Tensor, "n D"], Int[Tensor, " n"]]:
        """The logits of the codes that may stand in the place of each item's own, `-inf` behind the last of them, and
        the column of its own code.
        """
        codes, exists = self.of(level, items)
        return logits.gather(1, codes).masked_fill(~exists, -torch.inf), self.places[items, level].long()

    def of(self, level: int, items: Int[Tensor, " n"]) -> tuple[Int[Tensor, "n D"], Bool[Tensor, "n D"]]:
        """The codes that may stand in the place of each item's own, padded to the widest choice of the level; True
        where there is one.
        """
        begins, width = self.begins[items, level], self.widest[level]
        codes: Tensor = getattr(self, f"codes_{level}")
        exists = torch.arange(width, device=items.device) < self.counts[items, level, None]
        return rows_of(codes, begins, width).long(), exists
