"""What a search needs of a generator: a state to start from, and a step to the next level."""

from typing import Protocol, TypeVar, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from sidestep.data.sequences import SequenceBatch

T = TypeVar("T")


@runtime_checkable
class SearchState(Protocol):
    """What a generator carries from level to level."""

    def select(self: T, parents: Int[Tensor, "B W"]) -> T:
        """The state in which beam w of row b goes on from beam `parents[b, w]`."""
        ...

    def take(self: T, rows: Int[Tensor, " n"]) -> T:
        """The state of some rows."""
        ...


S = TypeVar("S", bound=SearchState)


@runtime_checkable
class Steppable(Protocol[S]):
    """A generator as a search uses it. Thinking, if any, happens inside `step`.

    over_children: whether the probability of a code is its share among the codes that exist behind the same prefix,
        which the search knows; else `step` gives finished log-probabilities.
    """

    @property
    def over_children(self) -> bool: ...

    def start(self, batch: SequenceBatch) -> S: ...

    def step(self, state: S, codes: Int[Tensor, "B W"] | None) -> tuple[Float[Tensor, "B W K"], S]:
        """Log-probabilities of the next level's codes (logits, where the softmax is over children), with `codes` as the
        last code of each beam; None (and one beam) before the first level.
        """
        ...
