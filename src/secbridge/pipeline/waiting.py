"""How long do we wait before the next try?  Longer each time, never for ever.

The arithmetic is tenacity's; what is durable is only how often we tried.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_delay,
    wait_exponential,
    wait_random_exponential,
)

from secbridge.errors import StoreBusy

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Bounds of the wait: about ``first`` after the first failure, never over ``maximum``."""

    first: timedelta = timedelta(seconds=15)
    maximum: timedelta = timedelta(hours=1)

    def delay(self, failures: int, *, at_least: timedelta | None = None) -> timedelta:
        """Return the wait after ``failures`` failures in a row (from 1), with jitter.

        ``at_least`` is what the other side asked for (Retry-After); it is honoured up to a day.
        """
        state = RetryCallState(Retrying(), None, (), {})
        state.attempt_number = max(1, min(failures, 64))
        wait = wait_random_exponential(
            multiplier=self.first.total_seconds(),
            max=self.maximum.total_seconds(),
            min=self.first.total_seconds() / 2,
        )
        delay = timedelta(seconds=wait(state))
        if at_least is not None:
            delay = max(delay, min(at_least, timedelta(days=1)))
        return delay


SOON = RetryPolicy(first=timedelta(seconds=1), maximum=timedelta(minutes=1))
"""For what waits for another mail and for nothing that is out of order: often, then seldom."""


async def outlast(record: Callable[[], Awaitable[T]], *, patience: timedelta) -> T:
    """Record something once the store can commit again.  Raises StoreBusy after ``patience``."""
    with suppress(StoreBusy):
        return await record()
    async for attempt in AsyncRetrying(
        retry=retry_if_exception_type(StoreBusy),
        wait=wait_exponential(multiplier=0.5, max=10),
        stop=stop_after_delay(patience),
        reraise=True,
    ):
        with attempt:
            return await record()
    raise AssertionError("tenacity either returns or raises")  # pragma: no cover
