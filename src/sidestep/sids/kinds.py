"""The kinds of tokenizers: ours, and those of other distributions, entry points of the group `sidestep.tokenizers`.

    [project.entry-points."sidestep.tokenizers"]
    my-kind = "my_package.tokenizers:levels"

names a function under the name by which `tokenizer.kind` chooses it. It makes the levels of the residual loop, which
are then fitted to the items' vectors one after the other, as those of rq-kmeans are:

    def levels(width: int, sizes: Sequence[int]) -> Sequence[nn.Module]

returns a `Level` (`sids/residual.py`) of `sizes[l]` codewords of `width` dimensions for each level l. Whatever a level
needs to assign codes is a parameter or a buffer of it, so that a run folder holds it.
"""

from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from typing import Annotated, Any

from pydantic import AfterValidator
from torch import nn

from sidestep import plugins
from sidestep.errors import ConfigError, brief, did_you_mean
from sidestep.sids.residual import Level

GROUP = "sidestep.tokenizers"
LevelsOf = Callable[[int, Sequence[int]], Sequence[nn.Module]]


def checked(made: Any) -> LevelsOf:
    """Raises:
    ConfigError: what was loaded makes nothing.
    """
    if not callable(made):
        raise ConfigError(f"it is {brief(repr(made), 60)}, expected a function of a width and the sizes of the levels")
    return made


TRAINED, END_TO_END = ("rq-vae", "coba-rq-vae"), "unisid"
OWN = (*TRAINED, END_TO_END, "rq-kmeans", "res-kmeans-fsq", "pq", "opq")
PLUGINS, PROBLEMS = plugins.load(entry_points(group=GROUP), OWN, "tokenizer", checked)
"""What installed distributions add, and a sentence for each that cannot be used."""


def _known(kind: str) -> str:
    if kind in PROBLEMS:
        raise ValueError(PROBLEMS[kind])
    known = [*OWN, *PLUGINS]
    if kind not in known:
        raise ValueError(f"there is no such tokenizer{did_you_mean(kind, known)}; there are {', '.join(known)}")
    return kind


Kind = Annotated[str, AfterValidator(_known)]


def plugin_levels(kind: str, width: int, sizes: Sequence[int]) -> list[nn.Module]:
    """The levels of a plug-in.

    Raises:
        ConfigError: they are no levels, or of other sizes.
    """
    made = list(PLUGINS[kind](width, sizes))
    for level in made:
        if not (isinstance(level, nn.Module) and isinstance(level, Level) and hasattr(level, "codewords")):
            raise ConfigError(
                f"The plug-in tokenizer {kind!r} makes {brief(repr(level), 60)}, expected an nn.Module that is a "
                "sidestep.sids.residual.Level"
            )
    shapes = [tuple(level.codewords.shape) for level in made if isinstance(level, Level)]
    expected = [(size, width) for size in sizes]
    if shapes != expected:
        raise ConfigError(f"The plug-in tokenizer {kind!r} makes levels with codewords {shapes}, expected {expected}")
    return made
