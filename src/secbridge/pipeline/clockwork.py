"""What happens by the clock and not by a mail?  Raw mails go when their time is over."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from secbridge import maillog
from secbridge.errors import Deferral
from secbridge.ports import Clock, Retention

EVERY = timedelta(hours=1)
"""How often the clock strikes."""


class Clockwork:
    """Strikes at the start and every hour."""

    def __init__(self, store: Retention, *, clock: Clock, retention: timedelta) -> None:
        self._store = store
        self._clock = clock
        self._retention = retention

    async def run(self, stopping: asyncio.Event) -> None:
        """Strike until we stop; a store that is busy is asked again at the next hour."""
        while not stopping.is_set():
            await self.strike()
            try:
                async with asyncio.timeout(EVERY.total_seconds()):
                    await stopping.wait()
            except TimeoutError:
                continue

    async def strike(self) -> None:
        """Delete the raw bytes of mails that are done and older than the retention time."""
        try:
            purged = await self._store.purge(self._clock.now() - self._retention)
        except Deferral as error:
            maillog.deferred("clockwork", error.code, round(EVERY.total_seconds()), alarm=False)
        else:
            if purged:
                maillog.purged(purged)
