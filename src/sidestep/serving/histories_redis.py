"""Histories in Redis, for several servers."""

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
"""Events of one call in one script, so that all are kept or none is. A user's events are sorted by time, those of one
time by the number that stands before each; the ids that were seen, by the order in which they came.
"""


class RedisHistories:
    """Every server that names the same Redis sees the same histories.

    What Redis acknowledges is as safe as Redis is: with `appendonly yes` and `appendfsync always` it is on the disk,
    with `everysec`, Redis' default, the last second may be lost where the machine fails. One Redis with its replicas,
    not a cluster: a call's users are written together.
    """

    def __init__(self, url: str, max_length: int) -> None:
        """Nothing is asked of Redis yet. Raises: ConfigError: an address that cannot be read."""
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
            place = url.rsplit("@", 1)[-1]  # what stands before it may be a password
            raise ConfigError(f"Cannot read --histories ...{place!r}: {error}") from None
        self._redis = Redis(connection_pool=pool)
        self._append = self._redis.register_script(APPEND)

    async def append(self, events: Sequence[Event]) -> int:
        """See `Histories.append`."""
        check_events(events)
        texts = [_text(event) for event in events]
        arguments: list[str | int] = [self._max_length, REMEMBERED * self._max_length, *texts]
        return await _answered(self._append(keys=[PREFIX], args=arguments))

    async def history(self, user_id: str, limit: int) -> list[Event]:
        """See `Histories.history`."""
        check_text(user_id)
        limit = min(limit, self._max_length)
        found = await _answered(self._redis.zrange(f"{PREFIX}events:{user_id}", -limit, -1, withscores=True))
        return [_event(text, time) for text, time in found]

    async def forget(self, user_id: str) -> int:
        """See `Histories.forget`."""
        check_text(user_id)
        events, ids = f"{PREFIX}events:{user_id}", f"{PREFIX}ids:{user_id}"
        together = self._redis.pipeline(transaction=True)
        together.zcard(events)
        together.delete(events, ids)
        return (await _answered(together.execute()))[0]

    async def ready(self) -> bool:
        """See `Histories.ready`."""
        try:
            return bool(await _answered(cast(Awaitable[Any], self._redis.ping())))
        except HistoriesUnavailableError:
            return False

    async def close(self) -> None:
        await self._redis.aclose(close_connection_pool=True)


async def _answered(asked: Awaitable[Any]) -> Any:
    try:
        return await asked
    except (RedisError, OSError) as error:
        raise HistoriesUnavailableError(f"The histories in Redis do not answer: {error}") from None


def _text(event: Event) -> str:
    return json.dumps({"user": event.user_id, "item": event.item_id, "time": event.time, "id": event.event_id})


def _event(text: str, time: float) -> Event:
    content = json.loads(text[16:])
    return Event(content["user"], content["item"], time, content["id"])
