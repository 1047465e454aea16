"""Every error, in two trees. What a user can mend derives from `SidestepError` and stands in this file; what goes wrong
inside a server, where no client can mend it, derives from `ServerError` and stands in `serving/errors.py`.

    SidestepError                       the user can mend it
    |-- ConfigError                     a recipe, an override or an option
    |   `-- UnknownModelError           a model that a server does not serve
    |-- DataError                       a file, a table, a vector or an interaction
    |   |-- UnclearTimesError           moments that can be read in two ways; `data.time_unit` decides
    |   |-- MixedTimesError             moments of two kinds in one column
    |   `-- UnknownItemError            an item id that the catalogue does not hold
    |-- ArtifactError                   a saved noun: missing, altered, of another kind or configuration
    |   `-- LockedError                 a folder or file that another process is writing
    |-- TrainingError                   a training that cannot go on
    |-- EngineError                     workers, or a cluster, that ended before their work
    |-- MissingExtraError               an optional library that is not installed
    |-- TeacherError                    a language model that is asked for traces and does not answer
    `-- NotKeptError                    a user's history, asked of a server that keeps none

    ServerError                         something inside the server
    |-- UnavailableError                not now: the same request can be answered later
    |   |-- OverloadedError             more requests than can be answered in time
    |   |-- ProcessEndedError           the model's process is gone
    |   `-- HistoriesUnavailableError   the store of histories does not answer
    |-- FailedError                     a bug of ours
    `-- StoppedError                    a request's body is too long, or too slow

A message says what was wrong, the value met, what was expected, and the way out. The command line prints a
`SidestepError` on one line and exits with code 2, the server answers 404 or 422; anything else that reaches the command
line is a bug of ours and keeps its traceback.
"""

import difflib
from collections.abc import Iterable


class SidestepError(ValueError):
    """Something the user can mend."""


class ConfigError(SidestepError):
    """A recipe, an override or an option is wrong."""


class UnknownModelError(ConfigError):
    """A server serves no model of that name."""


class DataError(SidestepError):
    """A file, a table, a vector or an interaction is wrong."""


class UnclearTimesError(DataError):
    """Moments that can be read in two ways; `data.time_unit` decides."""


class MixedTimesError(DataError):
    """Moments of two kinds in one column."""


class UnknownItemError(DataError):
    """An item id that the catalogue does not hold."""


class ArtifactError(SidestepError):
    """A saved noun is missing, altered, of another kind, or made by another configuration."""


class LockedError(ArtifactError):
    """Another process is writing the same folder or file."""


class TrainingError(SidestepError):
    """A training cannot go on: its loss is no number, or a cell of a study failed."""


class EngineError(SidestepError):
    """Workers, or a cluster, ended before their work; what is done stays."""


class MissingExtraError(SidestepError):
    """An optional library is not installed."""


class TeacherError(SidestepError):
    """A language model that is asked for traces does not answer."""


class NotKeptError(SidestepError):
    """A server that keeps no histories is asked for one, or for an event to be kept."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the nearest known word, or an empty string when nothing is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


LONGEST_VALUE = 80
MOST_NAMES = 8


def brief(value: object, longest: int = LONGEST_VALUE) -> str:
    """A value's spelling as an error line can bear it: its first line, cut in the middle where it is long."""
    text = " ".join(str(value).splitlines()[:1])
    half = (longest - 5) // 2
    return text if len(text) <= longest else f"{text[:half]} ... {text[-half:]}"


def listed(names: Iterable[object], most: int = MOST_NAMES) -> str:
    """The first names with commas, and the number of all where there are more."""
    every = [brief(name, 40) for name in names]
    shown = ", ".join(every[:most])
    return shown if len(every) <= most else f"{shown}, ... ({len(every):,} in all)"


LONGEST_LINE = 1_200


def one_line(error: Exception) -> str:
    """An error's message as one line that a terminal can bear, whatever value it quotes: no control characters, and
    its middle left out where it is long.
    """
    text = " ".join(str(error).split("\n"))
    text = "".join(mark if mark.isprintable() else ascii(mark)[1:-1] for mark in text)
    half = LONGEST_LINE // 2
    return text if len(text) <= LONGEST_LINE else f"{text[:half]} ... {text[-half:]}"
