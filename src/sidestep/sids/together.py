"""Sums over the processes that train a tokenizer together; of one alone, the values."""

from torch import Tensor, distributed


def together() -> bool:
    """Whether several processes train together."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def summed(value: Tensor) -> Tensor:
    """The sum over the processes, in place. All of them must call it."""
    if together():
        distributed.all_reduce(value)
    return value


def share_of(count: int) -> slice:
    """This process's rows of so many that all processes have, in the order of the ranks; all rows of one alone."""
    if not together():
        return slice(0, count)
    rank, size = distributed.get_rank(), distributed.get_world_size()
    return slice(count * rank // size, count * (rank + 1) // size)


def gathered(share: Tensor, count: int) -> Tensor:
    """All rows, of every process's `share_of(count)`. All of them must call it."""
    if not together():
        return share
    every = share.new_zeros((count, *share.shape[1:]))
    every[share_of(count)] = share
    return summed(every)
