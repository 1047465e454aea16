"""One value of the training log for every level."""

from collections.abc import Sequence

from torch import Tensor


def by_level(name: str, values: Tensor, levels: Sequence[int] | None = None) -> dict[str, Tensor]:
    """levels: those that the values are of, from 0; all from the first one on by default."""
    numbers = range(len(values)) if levels is None else levels
    return {f"{name}_{level + 1}": value.detach() for level, value in zip(numbers, values, strict=True)}
