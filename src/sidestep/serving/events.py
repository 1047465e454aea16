"""Users' events, and the interface of their stores."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from sidestep.data.times import read_time
from sidestep.errors import DataError

REMEMBERED = 10
"""Number of event ids that are stored per stored event, so that a repeated event is recognised even after later events
have replaced it.
"""


@dataclass(frozen=True)
class Event:
    """An interaction of a user with an item. time: seconds since the epoch. event_id: identifies repeated events."""

    user_id: str
    item_id: str
    time: float
    event_id: str | None = None


@runtime_checkable
class Histories(Protocol):
    """A store of the latest events of every user.

    Every method raises HistoriesUnavailableError if the store does not answer.
    """

    async def append(self, events: Sequence[Event]) -> int:
        """Store events, all or none, and return the number of new ones. On return they are on the disk.

        Raises:
            DataError: text that cannot be stored, or a time that is not finite.
        """
        ...

    async def history(self, user_id: str, limit: int) -> list[Event]:
        """A user's latest events, oldest first, by time and then by arrival; empty for an unknown user."""
        ...

    async def forget(self, user_id: str) -> int:
        """Delete a user's events and their ids, and return the number of events."""
        ...

    async def ready(self) -> bool:
        """Whether the store answers."""
        ...

    async def close(self) -> None: ...


def seconds(value: float | str, what: str) -> float:
    """The time of an event or of a history's item, in seconds since 1970.

    value: the same, or ISO 8601 text. what: what the value is called.

    Raises:
        DataError: text that is no ISO 8601, such as a number in quotes.
    """
    if not isinstance(value, str):
        return value
    if value.strip().lstrip("+-").isdecimal():
        raise DataError(
            f"Cannot read {what} = {value!r} as a time; expected ISO 8601, or seconds since 1970 as a number"
        )
    return read_time(value, what) / 1_000


def check_text(*texts: str) -> None:
    """Raises: DataError: text that a store cannot hold."""
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise DataError(f"Cannot store {ascii(text)[:60]}: a lone surrogate; send valid Unicode") from None
        if "\0" in text:
            raise DataError(f"Cannot store {ascii(text)[:60]}: it contains a NUL; leave it out")


def check_events(events: Sequence[Event]) -> None:
    """Raises: DataError: an event that a store cannot hold."""
    for event in events:
        check_text(event.user_id, event.item_id, event.event_id or "")
        if not math.isfinite(event.time):
            raise DataError(f"Cannot store an event with time {event.time}; expected seconds since the epoch")
