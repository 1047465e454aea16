"""Histories in Redis, shared by several servers."""

import json
from collections.abc import Awaitable, Sequence
from typing import Any, cast

from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError

from sidestep.errors import ConfigError
from sidestep.serving.errors import HistoriesUnavailableError
from sidestep.serving.events import REMEMBERED, Event, check_events, check_text

PREFIX = "sidestep:"
CONNECTIONS, WAIT_SECONDS = 32, 5.0

APPEND = """
local new = 0
local kept, remembered = tonumber(ARGV[1]), tonumber(ARGV[2])
for place, text in ipairs(ARGV) do
  if place > 2 then
    local event = cjson.decode(text)
    local events, ids = KEYS[1] .. 'events:' .. event.user, KEYS[1] .. 'ids:' .. event.user
    local number = redis.call('INCR', KEYS[1] .. 'number')
    if event.id == cjson.null or redis.call('ZADD', ids, 'NX', number, event.id) == 1 then
      redis.call('ZADD', events, event.time, string.format('%016d', number) .. text)
      redis.call('ZREMRANGEBYRANK', events, 0, -kept - 1)
      redis.call('ZREMRANGEBYRANK', ids, 0, -remembered - 1)
      new = new + 1
    end
  end
end
return new
"""
"""The events of one call in one script, so that either all are stored or none. A user's events are sorted by time, and
those with the same time by the number in front of each; event ids are sorted by arrival.
"""


class RedisHistories:
    """All servers that use the same Redis have the same histories.

    Durability is that of Redis: with `appendonly yes` and `appendfsync always`, acknowledged events are on the disk;
    with `everysec`, the default of Redis, the last second may be lost if the machine fails. One Redis with its
    replicas, not a cluster: the users of a call are written together.
    """

    def __init__(self, url: str, max_length: int) -> None:
        """Does not connect yet. Raises: ConfigError: an invalid address."""
        self._max_length = max_length
        try:
            pool = BlockingConnectionPool.from_url(
                url,
                max_connections=CONNECTIONS,
                timeout=WAIT_SECONDS,
                socket_timeout=WAIT_SECONDS,
                socket_connect_timeout=WAIT_SECONDS,
                decode_responses=True,
            )
        except ValueError as error:
            place = url.rsplit("@", 1)[-1]  # the part before it may contain a password
            raise ConfigError(f"Cannot read --histories ...{place!r}: {error}") from None
        self._redis = Redis(connection_pool=pool)
        self._append = self._redis.register_script(APPEND)

    async def append(self, events: Sequence[Event]) -> int:
        """See `Histories.append`."""
        check_events(events)
        texts = [_text(event) for event in events]
        arguments: list[str | int] = [self._max_length, REMEMBERED * self._max_length, *texts]
        return await _result(self._append(keys=[PREFIX], args=arguments))

    async def history(self, user_id: str, limit: int) -> list[Event]:
        """See `Histories.history`."""
        check_text(user_id)
        limit = min(limit, self._max_length)
        rows = await _result(self._redis.zrange(f"{PREFIX}events:{user_id}", -limit, -1, withscores=True))
        return [_event(text, time) for text, time in rows]

    async def forget(self, user_id: str) -> int:
        """See `Histories.forget`."""
        check_text(user_id)
        events, ids = f"{PREFIX}events:{user_id}", f"{PREFIX}ids:{user_id}"
        transaction = self._redis.pipeline(transaction=True)
        transaction.zcard(events)
        transaction.delete(events, ids)
        return (await _result(transaction.execute()))[0]

    async def ready(self) -> bool:
        """See `Histories.ready`."""
        try:
            return bool(await _result(cast(Awaitable[Any], self._redis.ping())))
        except HistoriesUnavailableError:
            return False

    async def close(self) -> None:
        await self._redis.aclose(close_connection_pool=True)


async def _result(command: Awaitable[Any]) -> Any:
    try:
        return await command
    except (RedisError, OSError) as error:
        raise HistoriesUnavailableError(f"The histories in Redis do not answer: {error}") from None


def _text(event: Event) -> str:
    return json.dumps({"user": event.user_id, "item": event.item_id, "time": event.time, "id": event.event_id})


def _event(text: str, time: float) -> Event:
    content = json.loads(text[16:])
    return Event(content["user"], content["item"], time, content["id"])
