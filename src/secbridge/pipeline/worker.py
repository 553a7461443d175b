"""Who carries the deliveries, and what if a step fails?

A worker leases what is due, carries each delivery as far as it goes, and turns every failure into
a listed state: a wait, or a quarantine.  There is one last net, and it quarantines.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from secbridge import maillog
from secbridge.errors import (
    Deferral,
    IllegalMove,
    MessageError,
    OutcomeUnknown,
    Overtook,
    StoreBusy,
)
from secbridge.model.delivery import Deferred, Delivery, Move, Quarantined
from secbridge.pipeline.steps import Steps
from secbridge.pipeline.waiting import SOON, RetryPolicy, outlast
from secbridge.ports import Clock, Deliveries


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """How many deliveries at once, how long a lease lasts, after how many deaths a human looks."""

    concurrency: int = 4
    lease: timedelta = timedelta(minutes=15)
    deaths: int = 3


class Worker:
    """Carries due deliveries, ``concurrency`` at a time."""

    def __init__(
        self,
        steps: Steps,
        deliveries: Deliveries,
        *,
        clock: Clock,
        limits: WorkerLimits,
        retry: RetryPolicy,
    ) -> None:
        self._steps = steps
        self._deliveries = deliveries
        self._clock = clock
        self._limits = limits
        self._retry = retry
        self._crew = Crew(limits.concurrency)

    async def work_once(self) -> int:
        """Lease what is due, as far as hands are free, start carrying it, and return how many."""
        free = self._crew.free
        if free == 0:
            return 0
        due = await self._deliveries.claim(self._clock.now(), limit=free, lease=self._limits.lease)
        self._crew.short = len(due) >= free
        for delivery in due:
            self._crew.start(delivery.id, partial(self.carry, delivery))
        return len(due)

    async def carry(self, delivery: Delivery) -> None:
        """Carry one delivery; whatever fails, it ends in a listed state."""
        try:
            if delivery.attempts > self._limits.deaths:
                await self._quarantine(delivery, f"died-{self._limits.deaths}-times")
                return
            await self._steps.carry(delivery)
        except Deferral as error:
            await self._defer(delivery, error)
        except MessageError as error:
            await self._quarantine(delivery, error.code)
        except Exception as error:  # noqa: BLE001 - the one last net: unknown failures need a human
            maillog.fault("worker", type(error).__name__, delivery=delivery.id)
            await self._quarantine(delivery, f"internal-{type(error).__name__}")

    async def _defer(self, delivery: Delivery, error: Deferral) -> None:
        now = self._clock.now()
        policy = SOON if isinstance(error, Overtook) else self._retry
        wait = policy.delay(delivery.deferrals + 1, at_least=error.retry_after)
        sent = isinstance(error, OutcomeUnknown) and error.sent
        move = Deferred(now + wait, error.code, attempted_at=now if sent else delivery.attempted_at)
        await self._record(delivery, move)
        seconds = round(wait.total_seconds())
        maillog.deferred(delivery.id, error.code, seconds, alarm=error.alarm)

    async def _quarantine(self, delivery: Delivery, why: str) -> None:
        await self._record(delivery, Quarantined(why))
        maillog.quarantined(delivery.id, why)

    async def _record(self, delivery: Delivery, move: Move) -> None:
        """Record how it ended, however long the store is busy, but no longer than the lease."""

        async def record() -> None:
            await self._deliveries.record(delivery.id, move)

        try:
            await outlast(record, patience=self._limits.lease / 2)
        except (StoreBusy, IllegalMove) as error:
            # The lease runs out by itself, and the attempt that has no outcome is counted.
            maillog.fault("worker", type(error).__name__, delivery=delivery.id)

    @property
    def idle(self) -> asyncio.Event:
        """An event that is set whenever a hand becomes free."""
        return self._crew.freed

    @property
    def wanted(self) -> asyncio.Event:
        """An event that is set when a hand becomes free for which there may be work."""
        return self._crew.wanted

    async def finish(self) -> None:
        """Wait for the deliveries under way."""
        await self._crew.finish()

    async def drop(self) -> None:
        """Let go of what is still under way; it is resumed by whoever leases it next."""
        await self._crew.drop()


class Crew:
    """A bounded set of tasks, one for each thing that they carry.

    A lease may run out while its task still works (the machine slept, or the clock was set): what
    is claimed once more is then left to the hand that has it.

    ``short``: when work was last looked for, there may have been more of it than hands.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._tasks: dict[str | int, asyncio.Task[None]] = {}
        self.short = True
        self.freed = asyncio.Event()
        self.wanted = asyncio.Event()

    @property
    def free(self) -> int:
        """How many more tasks may start now."""
        return self._size - len(self._tasks)

    def start(self, name: str | int, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start one task, unless one carries this already."""
        if name in self._tasks:
            return
        task = asyncio.create_task(work())
        self._tasks[name] = task
        task.add_done_callback(lambda _: self._ended(name))

    def _ended(self, name: str | int) -> None:
        del self._tasks[name]
        self.freed.set()
        if self.short:
            self.wanted.set()

    async def finish(self) -> None:
        """Wait until no task is left."""
        while self._tasks:
            await asyncio.wait(self._tasks.values())

    async def drop(self) -> None:
        """Cancel what is left, so that nothing begins once the leases are given up."""
        for task in self._tasks.values():
            task.cancel()
        await self.finish()


async def keep_working(
    work_once: Callable[[], Awaitable[int]],
    *,
    freed: asyncio.Event,
    wait_for_work: Callable[[], Awaitable[bool]],
    stopping: asyncio.Event,
    pause: Callable[[], Awaitable[None]],
) -> None:
    """Call ``work_once`` whenever there may be work, until ``stopping`` is set.

    Wakes for three reasons: the store changed (or a wait is over), a hand became free, or we stop.
    What is due is taken at once, as far as there are hands, so having begun some is no reason.
    A busy store is waited out by ``pause``; it never ends the loop.
    """
    reasons = (wait_for_work, freed.wait, stopping.wait)
    waits = [asyncio.ensure_future(reason()) for reason in reasons]
    try:
        while not stopping.is_set():
            freed.clear()
            try:
                await work_once()
            except StoreBusy:
                maillog.fault("worker", "StoreBusy")
                await pause()
                continue
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for place, reason in enumerate(reasons):
                if waits[place].done():
                    waits[place].exception()  # a busy store, of which ``work_once`` will hear too
                    waits[place] = asyncio.ensure_future(reason())
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
