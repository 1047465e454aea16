"""Histories in Redis, shared by several servers: in one Redis, or in the nodes of a Redis Cluster."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Awaitable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, cast

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.exceptions import RedisClusterException, RedisError

from sidestep.errors import ConfigError
from sidestep.serving.errors import HistoriesUnavailableError
from sidestep.serving.events import REMEMBERED, Event, check_events, check_text

PREFIX = "sidestep:"
CLUSTER = "-cluster"
"""Of the schemes `redis-cluster://` and `rediss-cluster://`."""
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
FORGET = """
local stored = redis.call('ZCARD', KEYS[1])
redis.call('DEL', KEYS[1], KEYS[2])
return stored
"""


class RedisHistories:
    """All servers that use the same Redis have the same histories.

    Durability is that of Redis: with `appendonly yes` and `appendfsync always`, acknowledged events are on the disk;
    with `everysec`, the default of Redis, the last second may be lost if the machine fails.

    A cluster keeps every user's events on one of its nodes. A call's events are then stored all or none for each user,
    and not for all users of the call: one that is repeated after an error doubles no event with an event id.
    """

    def __init__(self, url: str, max_length: int) -> None:
        """Does not connect yet. Raises: ConfigError: an invalid address."""
        self._max_length = max_length
        scheme, colon, place = url.partition("://")
        self._in_cluster = scheme.endswith(CLUSTER)
        try:
            self._redis = _cluster(scheme.removesuffix(CLUSTER) + colon + place) if self._in_cluster else _single(url)
        except ValueError as error:
            place = url.rsplit("@", 1)[-1]  # the part before it may contain a password
            raise ConfigError(f"Cannot read --histories ...{place!r}: {error}") from None
        self._turn: AbstractAsyncContextManager[None] = asyncio.Lock() if self._in_cluster else nullcontext()
        self._append, self._forget = (self._redis.register_script(script) for script in (APPEND, FORGET))

    def _prefix(self, user_id: str) -> str:
        """Of all keys of a user. The part in braces chooses the node of a cluster; it is the same for all of them."""
        return f"{PREFIX}{{user:{user_id}}}:" if self._in_cluster else PREFIX

    async def append(self, events: Sequence[Event]) -> int:
        """See `Histories.append`."""
        check_events(events)
        texts: dict[str, list[str]] = defaultdict(list)
        for event in events:
            texts[self._prefix(event.user_id)].append(_text(event))
        limits = self._max_length, REMEMBERED * self._max_length
        return sum([
            await self._result(self._append(keys=[prefix], args=[*limits, *some])) for prefix, some in texts.items()
        ])  # fmt: skip

    async def history(self, user_id: str, limit: int) -> list[Event]:
        """See `Histories.history`."""
        check_text(user_id)
        limit = min(limit, self._max_length)
        rows = await self._result(
            self._redis.zrange(f"{self._prefix(user_id)}events:{user_id}", -limit, -1, withscores=True)
        )
        return [_event(text, time) for text, time in rows]

    async def forget(self, user_id: str) -> int:
        """See `Histories.forget`."""
        check_text(user_id)
        keys = [f"{self._prefix(user_id)}{name}:{user_id}" for name in ("events", "ids")]
        return int(await self._result(self._forget(keys=keys)))

    async def ready(self) -> bool:
        """See `Histories.ready`."""
        try:
            return bool(await self._result(cast(Awaitable[Any], self._redis.ping())))
        except HistoriesUnavailableError:
            return False

    async def _result(self, command: Awaitable[Any]) -> Any:
        """What a command gives. In a cluster one is under way at a time: with several, the client (redis 8.1) takes a
        connection away from a task that is still connecting.
        """
        try:
            async with self._turn:
                return await command
        except (RedisError, RedisClusterException, OSError) as error:
            raise HistoriesUnavailableError(
                f"The histories in Redis do not answer: {str(error) or type(error).__name__}"
            ) from None

    async def close(self) -> None:
        if isinstance(self._redis, RedisCluster):
            await self._redis.aclose()
        else:
            await self._redis.aclose(close_connection_pool=True)


def _single(url: str) -> Redis:
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS,
        timeout=WAIT_SECONDS,
        socket_timeout=WAIT_SECONDS,
        socket_connect_timeout=WAIT_SECONDS,
        decode_responses=True,
    )
    return Redis(connection_pool=pool)


def _cluster(url: str) -> RedisCluster:
    return RedisCluster.from_url(
        url,
        max_connections=CONNECTIONS,
        socket_timeout=WAIT_SECONDS,
        socket_connect_timeout=WAIT_SECONDS,
        decode_responses=True,
    )


def _text(event: Event) -> str:
    return json.dumps({"user": event.user_id, "item": event.item_id, "time": event.time, "id": event.event_id})


def _event(text: str, time: float) -> Event:
    content = json.loads(text[16:])
    return Event(content["user"], content["item"], time, content["id"])
