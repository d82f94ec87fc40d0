"""Connections of the database's pool that somebody else seems to have."""

import asyncio
import math
from random import Random

from shared.chassis.database import Database, DatabaseUnavailable
from shared.chassis.faults.active import Active, Kind
from shared.chassis.faults.requests import PoolFault

_ASK_AGAIN_SECONDS = 0.05
_CLOSE_SECONDS = 0.5


class PoolFaults(Kind[PoolFault]):
    """Takes connections as they become free, in turn with everybody else, and gives them back at the end."""

    name = "pool"

    def __init__(self, random: Random, database: Database) -> None:
        super().__init__(random)
        self._database = database
        self._holders: set[asyncio.Task[None]] = set()

    def begin(self, fault: Active[PoolFault]) -> None:
        """Begin to take; more than the pool has are not taken."""
        _, most = self._database.pools()[fault.request.pool]
        for _ in range(min(fault.request.connections, most)):
            holder = asyncio.create_task(self._hold(fault), name=f"fault {fault.id}")
            self._holders.add(holder)
            holder.add_done_callback(self._holders.discard)

    async def _hold(self, fault: Active[PoolFault]) -> None:
        while fault.runs:
            try:
                async with self._database.connected(fault.request.pool):
                    if fault.runs:
                        fault.strike()
                        await fault.pause(math.inf)
            except DatabaseUnavailable:  # others were faster, or the database is away as well
                await fault.pause(_ASK_AGAIN_SECONDS)

    async def close(self) -> None:
        """Wait for the connections; who still queues for one after a moment is told to stop."""
        if not self._holders:
            return
        _, queueing = await asyncio.wait(self._holders, timeout=_CLOSE_SECONDS)
        for holder in queueing:
            holder.cancel()
        await asyncio.gather(*queueing, return_exceptions=True)
