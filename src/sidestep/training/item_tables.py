"""A model's tables with a row for every item, of which each process trains its own rows (`layers.item_rows`)."""

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, distributed, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from sidestep.artifact import Array, InParts
from sidestep.layers.item_rows import RowShards
from sidestep.training.processes import PATIENCE


@runtime_checkable
class OfItems(Protocol):
    """A model with such tables. item_tables: the names of these parameters, all of them with a row for every item."""

    shards: RowShards
    item_tables: tuple[str, ...]


class ItemTables:
    """The tables of a model in training. All processes call `of_several`, `clip` and `saved` together.

    names: of the parameters.
    """

    def __init__(self, model: nn.Module, shards: RowShards, names: tuple[str, ...]) -> None:
        self.shards, self.names = shards, names
        self._parameters = [model.get_parameter(name) for name in names]

    @classmethod
    def of_several(cls, model: nn.Module) -> "ItemTables | None":
        """Those that several processes share out; None where each has the whole model."""
        if not isinstance(model, OfItems) or model.shards.size == 1:
            return None
        return cls(model, model.shards, model.item_tables)

    def begin(self) -> ExitStack:
        """Let the processes meet, and every backward pass leave the tables the mean of all processes' gradients, as DDP
        does for other parameters, until the stack is closed.
        """
        self.shards.group = distributed.new_group(timeout=PATIENCE)  # so that DDP's exchanges are none of ours
        hooks = ExitStack()
        for parameter in self._parameters:
            hook = parameter.register_post_accumulate_grad_hook(self._mean)  # type: ignore[no-untyped-call]
            hooks.callback(hook.remove)
        return hooks

    def _mean(self, parameter: Tensor) -> None:
        assert parameter.grad is not None
        parameter.grad /= self.shards.size

    @property
    def num_parameters(self) -> int:
        """Of the whole tables."""
        return sum(each[0].numel() * self.shards.num_rows for each in self._parameters)

    def clip(self, parameters: Iterable[nn.Parameter], most: float) -> None:
        """Scale all gradients so that their norm is at most `most`; each row counts once, whoever keeps it."""
        parameters, tables = list(parameters), {*self._parameters}
        rest = get_total_norm([each.grad for each in parameters if each not in tables and each.grad is not None])
        own = get_total_norm([each.grad for each in self._parameters if each.grad is not None])
        squares = self.shards.stacked(own.square()).sum()
        clip_grads_with_norm_(parameters, most, (rest.square() + squares).sqrt())

    def numbers(self, optimizer: torch.optim.Optimizer) -> list[int]:
        """The numbers of the tables in the optimiser's state."""
        parameters, tables = [each for group in optimizer.param_groups for each in group["params"]], {*self._parameters}
        return [number for number, each in enumerate(parameters) if each in tables]

    def saved(self, tensors: Mapping[str, Tensor], sharded: Iterable[str]) -> dict[str, Array | InParts]:
        """Tensors as the first process writes them: `sharded` whole, a block at a time, in the order of their names.
        The others send their rows meanwhile, and have nothing to write.
        """
        sharded = sorted(sharded)
        if self.shards.rank:
            for name in sharded:
                assert not [*self.shards.gathered(tensors[name])]
            return {}
        arrays: dict[str, Array | InParts] = {name: array(value) for name, value in tensors.items()}
        for name in sharded:
            own = tensors[name]
            shape = (self.shards.num_rows, *own.shape[1:])
            arrays[name] = InParts(shape, array(own).dtype, map(array, self.shards.gathered(own)))
        return arrays

    def own(self, whole: Tensor) -> Tensor:
        """This process's rows of a whole table."""
        return whole[self.shards.begin : self.shards.end]


def array(value: Tensor) -> Array:
    return value.detach().cpu().numpy()


def num_parameters(model: nn.Module) -> int:
    """Of the whole model, wherever the rows of its tables are."""
    tables = ItemTables.of_several(model)
    if tables is None:
        return sum(each.numel() for each in model.parameters())
    rest = sum(each.numel() for name, each in model.named_parameters() if name not in tables.names)
    return rest + tables.num_parameters
