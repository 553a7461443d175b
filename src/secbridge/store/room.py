"""What do all parts of the store share?  The database, the clock, and the bell for the workers."""

from __future__ import annotations

import asyncio

from secbridge.ports import Clock
from secbridge.store import faults
from secbridge.store.database import Database
from secbridge.store.ids import DeliveryIds
from secbridge.store.owners import Ownership


class StoreRoom:
    """The common ground of the rooms that together are the ``Store``."""

    def __init__(self, database: Database, *, clock: Clock, reserve: int, poll: float) -> None:
        self._db = database
        self._clock = clock
        self._reserve = reserve
        self._poll = poll
        self._ids = DeliveryIds()
        self._ownership: Ownership | None = None
        self._delivery_bell = asyncio.Event()
        self._outgoing_bell = asyncio.Event()

    @property
    def _owner(self) -> str:
        """The name of this process on its leases, taken with the first one."""
        if self._ownership is None:
            try:
                self._ownership = Ownership(self._db.path)
            except OSError:
                raise faults.broken("store-io") from None
        return self._ownership.name

    def _signal(self) -> None:
        """Ring both bells: something may be due that was not."""
        self._delivery_bell.set()
        self._outgoing_bell.set()

    async def _rung(self, bell: asyncio.Event, seconds: float) -> bool:
        """Wait for a bell, ringing it ourselves when another process has committed."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while (left := deadline - loop.time()) > 0 and not bell.is_set():
            await _first_of(bell, min(left, self._poll))
            if not bell.is_set() and await self._db.changed_elsewhere():
                self._signal()
        rang = bell.is_set()
        bell.clear()
        return rang


async def _first_of(bell: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await bell.wait()
    except TimeoutError:
        return
