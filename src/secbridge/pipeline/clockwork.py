"""What happens by the clock and not by a mail?  A few chores, each with its own time.

A chore is done at the start and then once in its time, whatever became of it: what failed is tried
the next time.  Chores do not wait for each other, so that a tracker which does not answer keeps no
raw mail beyond its time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from secbridge import maillog
from secbridge.errors import Deferral
from secbridge.ports import Clock, Retention

HOURLY = timedelta(hours=1)
EACH_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Chore:
    """Something to be done now and then; ``name`` is for the log."""

    name: str
    every: timedelta
    do: Callable[[], Awaitable[None]]


class Clockwork:
    """Strikes for each chore at the start and whenever its time is over."""

    def __init__(self, chores: Sequence[Chore]) -> None:
        self._chores = tuple(chores)

    async def run(self, stopping: asyncio.Event) -> None:
        """Strike until we stop."""
        async with asyncio.TaskGroup() as group:
            for chore in self._chores:
                group.create_task(_keep_doing(chore, stopping))


async def _keep_doing(chore: Chore, stopping: asyncio.Event) -> None:
    while not stopping.is_set():
        await strike(chore)
        try:
            async with asyncio.timeout(chore.every.total_seconds()):
                await stopping.wait()
        except TimeoutError:
            continue


async def strike(chore: Chore) -> None:
    """Do a chore once; what it cannot do is told, and never ends the clock."""
    try:
        await chore.do()
    except Deferral as error:
        seconds = round(chore.every.total_seconds())
        maillog.deferred(chore.name, error.code, seconds, alarm=error.alarm)
    except Exception as error:  # noqa: BLE001 - the last net, as in the worker
        maillog.fault(chore.name, type(error).__name__)


class Tidying:
    """Raw mails and look-ups go when their time is over."""

    def __init__(self, store: Retention, *, clock: Clock, retention: timedelta) -> None:
        self._store = store
        self._clock = clock
        self._retention = retention

    async def tidy(self) -> None:
        """Delete raw mails that are done and past the retention time, and look-ups past theirs."""
        await self._store.forget_lookups()
        if purged := await self._store.purge(self._clock.now() - self._retention):
            maillog.purged(purged)
