"""One value of the training log for every level."""

from torch import Tensor


def by_level(name: str, values: Tensor) -> dict[str, Tensor]:
    return {f"{name}_{level + 1}": value.detach() for level, value in enumerate(values)}
