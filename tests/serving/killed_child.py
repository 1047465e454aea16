"""A process that acknowledges events until it is killed. Run as a program: PLACE NUMBER_OF_THE_ROUND."""

import asyncio
import sys

from sidestep.serving.errors import HistoriesUnavailableError
from sidestep.serving.events import Event
from sidestep.serving.histories import open_histories


async def main(place: str, number: str) -> None:
    histories = open_histories(place, 10_000)

    async def client(name: str) -> None:
        count = 0
        while True:
            event_id = f"{number}-{name}-{count}"
            try:
                await histories.append([Event(f"user {name}", event_id, float(count), event_id)])
            except HistoriesUnavailableError:
                return  # the store was killed, not we
            print(event_id, flush=True)
            count += 1

    await asyncio.gather(*(client(name) for name in "abcd"))


asyncio.run(main(*sys.argv[1:]))
