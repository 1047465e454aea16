"""Where users' events are kept."""

from pathlib import Path

from sidestep.errors import ConfigError, MissingExtraError
from sidestep.serving.events import Histories
from sidestep.serving.histories_sqlite import SqliteHistories


def open_histories(place: str, max_length: int) -> Histories:
    """A SQLite file (a path, or sqlite:PATH), or Redis (redis://, rediss://, unix://).

    max_length: the latest events of a user that are kept.

    Raises:
        ConfigError: no such kind of place. DataError: a file that is no store of histories. MissingExtraError.
    """
    scheme, colon, _ = place.partition("://")
    if colon and scheme in ("redis", "rediss", "unix"):
        try:
            from sidestep.serving.histories_redis import RedisHistories
        except ImportError:
            raise MissingExtraError(f"{place!r} needs `pip install 'sidestep[redis]'`") from None
        return RedisHistories(place, max_length)
    if colon:
        raise ConfigError(f"Cannot keep histories in {place!r}; expected a path, sqlite:PATH or redis://HOST")
    return SqliteHistories(Path(place.removeprefix("sqlite:")), max_length)
