"""Users' events, kept between requests."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from sidestep.errors import DataError

REMEMBERED = 10
"""Event ids that are remembered for every event that is kept: an event that comes again counts once, even after it
was pushed out by later ones.
"""


@dataclass(frozen=True)
class Event:
    """A user took an item. time: seconds since the epoch. event_id: the same one twice is one event."""

    user_id: str
    item_id: str
    time: float
    event_id: str | None = None


@runtime_checkable
class Histories(Protocol):
    """Keeps the latest events of every user.

    Every method raises HistoriesUnavailableError where the store does not answer.
    """

    async def append(self, events: Sequence[Event]) -> int:
        """Keep events, all of them or none; how many of them were new. What has returned is on the disk.

        Raises:
            DataError: text that cannot be kept, or a time that is no number of seconds.
        """
        ...

    async def history(self, user_id: str, limit: int) -> list[Event]:
        """A user's latest events, oldest first: by time, and by arrival among equal times. Nothing for a stranger."""
        ...

    async def forget(self, user_id: str) -> int:
        """Forget a user's events, and their ids; how many events there were."""
        ...

    async def ready(self) -> bool:
        """Whether the store answers."""
        ...

    async def close(self) -> None: ...


def check_text(*texts: str) -> None:
    """Raises: DataError: text that no store can keep."""
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise DataError(f"Cannot keep {ascii(text)[:60]}: it holds half a character; send valid Unicode") from None
        if "\0" in text:
            raise DataError(f"Cannot keep {ascii(text)[:60]}: it holds a NUL; leave it out")


def check_events(events: Sequence[Event]) -> None:
    """Raises: DataError: what no store can keep."""
    for event in events:
        check_text(event.user_id, event.item_id, event.event_id or "")
        if not math.isfinite(event.time):
            raise DataError(f"Cannot keep an event of time {event.time}; expected seconds since the epoch")
