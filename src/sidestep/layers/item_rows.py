"""Tables with a row for every item that processes share out: each keeps some rows, and no process holds them all.

Every function but `RowShards.normal` is collective where there are several processes: all of them call it, in the same
order. A backward pass leaves the rows of each process the gradient of the sum of all processes' losses.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, distributed

VALUES_AT_ONCE = 2**22
"""Values of a block in which a table is drawn or gathered: 16 MB of float32."""
ROWS_TOGETHER = 16
"""PyTorch draws normal numbers in groups of 16, so blocks of a multiple of it are drawn as the whole is."""


class RowShards:
    """The division of tables of `num_rows` rows among `size` processes: the one of a rank keeps the rows from `begin`
    to `end`, and ranks keep theirs in order, all alike but for one row.

    group: the processes, where they are not PyTorch's default group.
    """

    def __init__(self, num_rows: int, rank: int = 0, size: int = 1) -> None:
        self.num_rows, self.rank, self.size = num_rows, rank, size
        self.bounds = [num_rows * each // size for each in range(size + 1)]
        self.begin, self.end = self.bounds[rank], self.bounds[rank + 1]
        self.group: distributed.ProcessGroup | None = None

    def __len__(self) -> int:
        """How many rows this process keeps."""
        return self.end - self.begin

    def normal(self, width: int, std: float) -> Float[Tensor, "n D"]:
        """This process's rows of a table `[num_rows, width]` of normal numbers with mean 0, drawn from PyTorch's global
        random state as the whole table would be, a block at a time.
        """
        own, block = torch.empty(len(self), width), torch.empty(0)
        for begin, end in self._blocks(width):
            block = block.new_empty(end - begin, width).normal_(0, std)
            first, last = max(begin, self.begin), min(end, self.end)
            if first < last:
                own[first - self.begin : last - self.begin] = block[first - begin : last - begin]
        return own

    def _blocks(self, width: int) -> Iterator[tuple[int, int]]:
        """Blocks of all rows; the last one is up to twice as long, so that none is too short for `ROWS_TOGETHER`."""
        rows = max(VALUES_AT_ONCE // max(width, 1) // ROWS_TOGETHER, 1) * ROWS_TOGETHER
        begins = range(0, max(self.num_rows - rows, 0) + 1, rows)
        yield from zip(begins, [*begins[1:], self.num_rows], strict=True)

    def look_up(self, own: Float[Tensor, "n D"], items: Int[Tensor, "*B"]) -> Float[Tensor, "*B D"]:
        """The rows of items, whoever keeps them. Each process asks for items of its own."""
        if self.size == 1:
            return F.embedding(items, own)
        wanted, places = torch.unique(items, return_inverse=True)  # sorted, hence by the process that keeps them
        rows: Tensor = LookUp.apply(own, wanted, self)  # type: ignore[no-untyped-call]
        return F.embedding(places, rows)

    def columns(self, own: Float[Tensor, "B n"]) -> Float[Tensor, "B N"]:
        """Values for every item, of which each process has those of its rows; all of them for the same B."""
        if self.size == 1:
            return own
        return self.everyone(own.T)[0].T

    def everyone(self, own: Tensor) -> tuple[Tensor, list[int]]:
        """Rows `[n, ...]` of every process, one behind the other, and how many each has."""
        counts = self.stacked(torch.tensor(len(own), device=own.device)).tolist()
        padded = own.new_zeros(max(counts), *own.shape[1:])
        padded[: len(own)] = own
        parts = zip(self.stacked(padded), counts, strict=True)
        return torch.cat([part[:count] for part, count in parts]), counts

    def stacked(self, own: Tensor) -> Tensor:
        """Tensors of one shape of all processes, `[size, ...]`."""
        out = own.new_empty(self.size, *own.shape)
        distributed.all_gather([*out], own.contiguous(), group=self.group)
        return out

    def summed(self, parts: Float[Tensor, "total D"], counts: list[int]) -> Float[Tensor, "n D"]:
        """The sum over all processes of the rows that are meant for this one: `counts[rank]` for each rank, in order.

        The sum is taken in the order of ranks, so that it repeats bit for bit.
        """
        mine = counts[self.rank]
        return self.exchanged(parts, counts, [mine] * self.size).view(self.size, mine, -1).sum(0)

    def exchanged(self, rows: Tensor, given: list[int], taken: list[int]) -> Tensor:
        """Rows that are sent, `given[rank]` to each rank in order; those that come back, `taken[rank]` from each."""
        out = rows.new_empty(sum(taken), *rows.shape[1:])
        distributed.all_to_all_single(out, rows.contiguous(), taken, given, group=self.group)
        return out

    def gathered(self, own: Tensor) -> Iterator[Tensor]:
        """A whole table of which each process has its rows, a block at a time, for the first process; the others send
        their rows and get nothing. All of them go through it to its end.
        """
        rows = max(VALUES_AT_ONCE // max(own[:1].numel(), 1), 1)
        for rank in range(self.size):
            for begin in range(0, self.bounds[rank + 1] - self.bounds[rank], rows):
                count = min(rows, self.bounds[rank + 1] - self.bounds[rank] - begin)
                if rank == self.rank == 0:
                    yield own[begin : begin + count]
                elif rank == self.rank:
                    distributed.send(own[begin : begin + count].contiguous(), group=self.group, group_dst=0)
                elif self.rank == 0:
                    block = own.new_empty(count, *own.shape[1:])
                    distributed.recv(block, group=self.group, group_src=rank)
                    yield block


@dataclass(frozen=True)
class ShardedTable:
    """A table `[N, D]` of which each process holds its own rows `[n, D]`."""

    own: Float[Tensor, "n D"]
    shards: RowShards

    def __len__(self) -> int:
        """N."""
        return self.shards.num_rows

    def __getitem__(self, items: Int[Tensor, "*B"]) -> Float[Tensor, "*B D"]:
        return self.shards.look_up(self.own, items)


class LookUp(torch.autograd.Function):
    """Rows of sorted, different items: everybody is asked for the rows that it keeps, and answers. Backward, the
    gradients of rows go to the processes that keep them.
    """

    @staticmethod
    def forward(ctx: Any, own: Tensor, wanted: Tensor, shards: RowShards) -> Tensor:
        bounds = torch.tensor(shards.bounds, device=wanted.device)
        asks = torch.searchsorted(wanted, bounds).diff()
        ones = [1] * shards.size
        ctx.asks, ctx.answers = asks.tolist(), shards.exchanged(asks, ones, ones).tolist()
        ctx.places = shards.exchanged(wanted, ctx.asks, ctx.answers) - shards.begin
        ctx.shards, ctx.shape = shards, own.shape
        return shards.exchanged(own[ctx.places], ctx.answers, ctx.asks)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        received = ctx.shards.exchanged(grads[0], ctx.asks, ctx.answers)
        return received.new_zeros(ctx.shape).index_add_(0, ctx.places, received), None, None
