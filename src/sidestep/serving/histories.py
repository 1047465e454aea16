"""The choice of a store for users' events."""

from pathlib import Path

from sidestep.errors import ConfigError, MissingExtraError
from sidestep.serving.events import Histories
from sidestep.serving.histories_sqlite import SqliteHistories

SHARED = ("redis", "rediss", "redis-cluster", "rediss-cluster")
"""Schemes of the stores that several machines can share."""


def open_histories(place: str, max_length: int) -> Histories:
    """Open a SQLite file (a path, or sqlite:PATH), or Redis (redis://, rediss://, unix://), or a Redis Cluster
    by one of its nodes (redis-cluster://, rediss-cluster://).

    max_length: number of latest events that are stored per user.

    Raises:
        ConfigError: an unknown kind of store. DataError: a file that is not a store of histories. MissingExtraError.
    """
    scheme, colon, _ = place.partition("://")
    if colon and scheme in (*SHARED, "unix"):
        try:
            from sidestep.serving.histories_redis import RedisHistories
        except ImportError:
            raise MissingExtraError(f"{place!r} needs `pip install 'sidestep[redis]'`") from None
        return RedisHistories(place, max_length)
    if colon:
        raise ConfigError(f"Cannot store histories in {place!r}; expected a path, sqlite:PATH or redis://HOST")
    return SqliteHistories(Path(place.removeprefix("sqlite:")), max_length)
