"""Every error a user can cause, in one tree.

A message says what was wrong, the value met, what was expected, and the way out. The command line prints it
on one line and exits with code 2; anything that is not a `SidestepError` is a bug of ours and keeps its traceback.
"""

import difflib
from collections.abc import Iterable


class SidestepError(ValueError):
    """Something the user can mend."""


class ConfigError(SidestepError):
    """A recipe, an override or an option is wrong."""


class DataError(SidestepError):
    """A file, a table, a vector or an interaction is wrong."""


class UnknownItemError(DataError):
    """An item id that the catalogue does not hold."""


class ArtifactError(SidestepError):
    """A saved noun is missing, altered, of another kind, or made by another configuration."""


class TrainingError(SidestepError):
    """Training went where it cannot come back from."""


class MissingExtraError(SidestepError):
    """An optional library is not installed."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the nearest known word, or an empty string when nothing is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
