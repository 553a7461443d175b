"""How does the house start and stop?  Its doors open, and work goes on until a signal says stop."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from time import perf_counter

from secbridge import __version__, logs, maillog, systemd
from secbridge.doors import WebDoor, build_listener, open_doors, open_web
from secbridge.errors import Deferral
from secbridge.house import House, SystemClock, build_steps, chores, open_house, role_keys
from secbridge.model.issue import Severity
from secbridge.pipeline.clockwork import Clockwork
from secbridge.pipeline.sending import Sender
from secbridge.pipeline.waiting import RetryPolicy
from secbridge.pipeline.worker import Worker, WorkerLimits, keep_working
from secbridge.settings import Settings
from secbridge.store import Store

POLL = 1.0
"""Seconds that a worker sleeps at most before it asks what is due; a commit wakes it at once."""

BUSY_PAUSE = 1.0
"""Seconds to wait when the store is busy."""

_MALLOPT = {-3: 1 << 20, -1: 4 << 20, -8: 2}
"""M_MMAP_THRESHOLD, M_TRIM_THRESHOLD and M_ARENA_MAX of glibc's mallopt(3)."""

EXIT_KILLED = 128 + signal.SIGTERM
"""Exit status after a second SIGTERM."""


def run(settings: Settings, *, listen: bool = True, work: bool = True) -> int:
    """Run the daemon in the foreground until a signal says stop, and return the exit status."""
    logs.configure(settings.daemon.log_format, settings.daemon.log_level)
    _give_memory_back()
    return asyncio.run(_run(settings, listen=listen, work=work))


def _give_memory_back() -> None:
    """Let glibc return large blocks at once; by itself it keeps those of the largest mail for ever.

    Left alone it raises the size from which it returns them with each that is freed, and has a heap
    for each thread.  What stays is 4 MiB of each heap: without them every chunk that is read from a
    socket or a pipe is given back and faulted in again, which is a tenth of the time of a large
    mail.  With another C library nothing happens.
    """
    with contextlib.suppress(AttributeError, OSError):
        for option, value in _MALLOPT.items():
            ctypes.CDLL(None).mallopt(option, value)


async def _run(settings: Settings, *, listen: bool, work: bool) -> int:
    """Open what the chosen half needs: taking mail needs the store alone, no keys and no tokens."""
    began = perf_counter()
    stopping = asyncio.Event()
    _stop_at_signals(stopping)
    async with contextlib.AsyncExitStack() as stack:
        house = await stack.enter_async_context(open_house(settings)) if work else None
        store = house.store if house else await stack.enter_async_context(_open_store(settings))
        listener = build_listener(settings, store) if listen else None
        endpoints = await open_doors(settings, listener) if listener else ()
        web = await open_web(settings, stack) if house else None
        endpoints = (*endpoints, *(web.server.addresses if web else ()))
        loops = _start_work(house, stopping) if house else ()
        helpers = _start_helpers(house, web, stopping)
        took_ms = round((perf_counter() - began) * 1000)
        maillog.started(__version__, endpoints, len(settings.alias), took_ms)
        systemd.ready(f"endpoints: {len(endpoints)}, aliases: {len(settings.alias)}")
        healthy = await _until_stopped(stopping, loops)
        systemd.stopping()
        patience = settings.daemon.stop_timeout
        async with asyncio.TaskGroup() as ending:
            ending.create_task(_finish(loops, patience))
            if listener is not None:
                ending.create_task(listener.drain(patience.total_seconds()))
        await _dismiss(helpers)
        if work:
            await store.release_leases()
    maillog.stopped()
    return 0 if healthy else 1


@contextlib.asynccontextmanager
async def _open_store(settings: Settings) -> AsyncIterator[Store]:
    store = await Store.open(settings.daemon.database, clock=SystemClock())
    try:
        yield store
    finally:
        await store.aclose()


def _start_helpers(
    house: House | None, web: WebDoor | None, stopping: asyncio.Event
) -> list[asyncio.Task[None]]:
    """Start what goes on beside the mail: the watchdog's sign of life, the clock, the team."""
    helpers = [asyncio.create_task(_show_life(stopping))]
    if house is not None:
        clockwork = Clockwork(chores(house))
        helpers += [asyncio.create_task(_beside(clockwork.run(stopping)))]
        listening = house.conversation.run(stopping, every=house.settings.conversation.every)
        helpers += [asyncio.create_task(_beside(listening))]
        if web is not None:
            helpers += [asyncio.create_task(_beside(web.run(house, stopping)))]
        helpers += [asyncio.create_task(_beside(_look_at_keys(house)))]
        helpers += [asyncio.create_task(_beside(_warm(house)))]
    return helpers


async def _beside(helper: Awaitable[None]) -> None:
    """Let a helper work beside the mail: what breaks in it is told at once, and stops nothing."""
    try:
        await helper
    except Exception as error:  # noqa: BLE001 - the last net, as in the worker
        maillog.fault("daemon", type(error).__name__)


async def _show_life(stopping: asyncio.Event) -> None:
    """Tell systemd's watchdog that the loop turns, as often as the unit asks."""
    interval = systemd.watchdog_interval()
    while interval is not None and not stopping.is_set():
        systemd.watchdog()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(interval.total_seconds()):
                await stopping.wait()


async def _look_at_keys(house: House) -> None:
    """Try each role key once at the start: an operator learns of a dead key before a reporter does.

    Mail is taken all the same, and waits: it is safer here than in the queue of somebody else.
    """
    for fingerprint in role_keys(tuple(house.aliases.values())):
        try:
            findings = await house.openpgp.self_test(fingerprint)
        except Deferral as error:
            maillog.finding(f"role key {fingerprint}", error.code, alarm=True)
            continue
        for finding in findings:
            if finding.severity is not Severity.OK:
                alarm = finding.severity is Severity.ERROR
                maillog.finding(f"role key {fingerprint}", finding.text, alarm=alarm)


async def _warm(house: House) -> None:
    """Start the processes that open mails: the first mail finds them, and a fault is told now."""
    try:
        await house.opener.warm()
    except Deferral as error:
        maillog.finding("opening", error.code, alarm=True)


def _stop_at_signals(stopping: asyncio.Event) -> None:
    """Stop in order at the first signal, and leave at once at the second."""

    def stop(number: signal.Signals) -> None:
        if stopping.is_set():
            os._exit(EXIT_KILLED)
        maillog.stopping(number.name)
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)


@dataclass(frozen=True, slots=True)
class _Loop:
    """A loop of work and how to let its hands finish."""

    task: asyncio.Task[None]
    crew: Worker | Sender


def _start_work(house: House, stopping: asyncio.Event) -> Sequence[_Loop]:
    """Start the loop that carries deliveries and the loop that sends mail."""
    settings, store = house.settings, house.store
    worker = Worker(
        build_steps(house),
        store,
        clock=house.clock,
        limits=WorkerLimits(settings.daemon.workers, deaths=settings.retry.quarantine_after),
        retry=RetryPolicy(settings.retry.first, settings.retry.maximum),
    )
    sender = Sender(
        store,
        house.guard,
        house.submission,
        clock=house.clock,
        retry=RetryPolicy(settings.submission.retry_first, settings.submission.retry_maximum),
        concurrency=settings.daemon.workers,
        deaths=settings.retry.quarantine_after,
    )
    return [
        _Loop(asyncio.create_task(_keep_working(worker, store.wait_for_work, stopping)), worker),
        _Loop(
            asyncio.create_task(_keep_working(sender, store.wait_for_outgoing, stopping)), sender
        ),
    ]


async def _keep_working(
    crew: Worker | Sender,
    wait_for_work: Callable[[float], Awaitable[bool]],
    stopping: asyncio.Event,
) -> None:
    await keep_working(
        crew.work_once,
        freed=crew.wanted,
        wait_for_work=lambda: wait_for_work(POLL),
        stopping=stopping,
        pause=lambda: asyncio.sleep(BUSY_PAUSE),
    )


async def _until_stopped(stopping: asyncio.Event, loops: Sequence[_Loop]) -> bool:
    """Wait for a signal, or for a loop that ended by itself; return whether it was the signal."""
    signalled = asyncio.create_task(stopping.wait())
    done, _ = await asyncio.wait(
        {signalled, *(loop.task for loop in loops)}, return_when=asyncio.FIRST_COMPLETED
    )
    signalled.cancel()
    for task in done - {signalled}:
        error = task.exception()
        maillog.fault("daemon", type(error).__name__ if error else "loop-ended")
    healthy = stopping.is_set()
    stopping.set()
    return healthy


async def _finish(loops: Sequence[_Loop], patience: timedelta) -> None:
    """Let the rooms in use finish; what is not over in time is resumed after the next start."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(patience.total_seconds()):
            await asyncio.gather(*(loop.task for loop in loops), return_exceptions=True)
            for loop in loops:
                await loop.crew.finish()
    for loop in loops:
        await loop.crew.drop()


async def _dismiss(helpers: Sequence[asyncio.Task[None]]) -> None:
    """End what went on beside the mail: a look at a key may wait for gpg longer than we may."""
    for helper in helpers:
        helper.cancel()
    await asyncio.gather(*helpers, return_exceptions=True)
