"""The code tables of a generator whose items have other semantic IDs at other times."""

import torch
from jaxtyping import Int
from torch import Tensor, nn

from sidestep.data.interactions import NO_TIME
from sidestep.sids.timeline import Timeline
from sidestep.sids.vocabulary import Vocabulary


class SlicedTokens(nn.Module):
    """The tokens of every item in every slice. A history is read in the IDs of its own time, an answer is given in
    those of the request's; what has no known time is read as of now, the last slice.

    They are no weights: the codebooks behind them are the same in every slice, so a generator that was trained on some
    slices reads all that are added later.
    """

    tokens: Int[Tensor, "S N L"]
    starts: Int[Tensor, " S"]

    def __init__(self, timeline: Timeline, vocabulary: Vocabulary) -> None:
        super().__init__()
        tokens = [vocabulary.tokens(torch.from_numpy(codes)) for codes in timeline.codes]
        self.register_buffer("tokens", torch.stack(tokens), persistent=False)
        self.register_buffer("starts", torch.from_numpy(timeline.starts[1:]), persistent=False)

    def forward(self, items: Int[Tensor, "*n"], times: Int[Tensor, "*n"] | None) -> Int[Tensor, "*n L"]:
        """Items as they were at these times, as now where times is None."""
        now = len(self.tokens) - 1
        if times is None:
            return self.tokens[now, items]
        number = torch.bucketize(times.contiguous(), self.starts, right=True)
        return self.tokens[torch.where(times == NO_TIME, now, number), items]
