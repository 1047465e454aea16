"""States of a search: what a generator carries from level to level, W beams a row.

A generator that carries more subclasses a state, adds its own tensors to `_selected` and `_taken`, and names the
subclass in `EncoderDecoder.state_type`.
"""

from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from jaxtyping import Float, Int
from torch import Tensor

from sidestep.layers.state import BeamCache, Memory

S = TypeVar("S", bound="DecodingState")


@dataclass(frozen=True)
class DecodingState:
    """memory: the encoded histories. begin: the decoder's first input. cache: the keys and values of each beam's path.
    level: the level whose code comes next.
    """

    memory: Memory
    begin: Float[Tensor, "B 1 D"]
    cache: BeamCache = field(default_factory=BeamCache)
    level: int = 0

    def select(self: S, parents: Int[Tensor, "B W"]) -> S:
        """The state in which beam w of row b goes on from beam `parents[b, w]`."""
        return replace(self, **self._selected(parents))

    def take(self: S, rows: Int[Tensor, " n"]) -> S:
        """The state of some rows."""
        return replace(self, **self._taken(rows))

    def _selected(self, parents: Int[Tensor, "B W"]) -> dict[str, Any]:
        """The fields that differ from beam to beam, after a selection of beams."""
        return {"cache": self.cache.select(parents)}

    def _taken(self, rows: Int[Tensor, " n"]) -> dict[str, Any]:
        """The fields that differ from row to row, after a selection of rows."""
        return {"memory": self.memory.take(rows), "begin": self.begin[rows], "cache": self.cache.take(rows)}


@dataclass(frozen=True)
class ThinkingState(DecodingState):
    """thoughts: the supervised thought before each code so far, `[B, W, D]` each."""

    thoughts: tuple[Float[Tensor, "B W D"], ...] = ()

    def _selected(self, parents: Int[Tensor, "B W"]) -> dict[str, Any]:
        places = parents[:, :, None]
        thoughts = tuple(thought.gather(1, places.expand(-1, -1, thought.shape[2])) for thought in self.thoughts)
        return {**super()._selected(parents), "thoughts": thoughts}

    def _taken(self, rows: Int[Tensor, " n"]) -> dict[str, Any]:
        return {**super()._taken(rows), "thoughts": tuple(thought[rows] for thought in self.thoughts)}


@dataclass(frozen=True)
class RecallState(ThinkingState):
    """A search that looks back.

    older: the items before the window, -1 as padding; of long histories, those that some beam looks up, once the beams
        have first codes. route: the first code of every beam.
    """

    older: Int[Tensor, "B Tl"] | None = None
    route: Int[Tensor, "B W"] | None = None

    def _selected(self, parents: Int[Tensor, "B W"]) -> dict[str, Any]:
        return {**super()._selected(parents), "route": None if self.route is None else self.route.gather(1, parents)}

    def _taken(self, rows: Int[Tensor, " n"]) -> dict[str, Any]:
        return {
            **super()._taken(rows),
            "older": None if self.older is None else self.older[rows],
            "route": None if self.route is None else self.route[rows],
        }
