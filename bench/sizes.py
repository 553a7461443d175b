"""What do a large mail and a bomb cost, and what does the daemon cost that does nothing?

Memory is that of the daemon, of every gpg that it runs and of its gpg-agent together.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from statistics import median

from bench import memory
from bench.result import Measure, Section
from bench.scene import ALIAS, REPORTER, Mail, Running, Scene, a_daemon
from bench.wire import Sink, a_sink, clients, dotted, send_all

MIB = 1 << 20
ATTACHMENT = 10 * MIB
BOMB = 1024 * MIB
SETTLING = 1.0
"""Seconds after its start in which a daemon comes to rest."""

Step = Callable[[str], None]


async def measure(scene: Scene, *, tries: int, bomb: int, step: Step) -> Section:
    """Measure time and peak memory for a large attachment and for a bomb, and the daemon idle."""
    step("idle")
    idle = await _idle(scene, tries)
    step("preparing a large mail and a bomb")
    large, bombs = await asyncio.gather(
        asyncio.to_thread(lambda: [scene.large_mail(ATTACHMENT) for _ in range(tries)]),
        asyncio.to_thread(lambda: [scene.bomb(bomb)]),
    )
    found: list[Measure] = []
    step("a large attachment")
    found += _measures("attachment", "10 MiB attachment", await _costs(scene, large), (0.8, 160))
    step("a bomb")
    found += _measures("bomb", f"{bomb // MIB} MiB bomb", await _costs(scene, bombs), (0.3, 120))
    note = f"memory: PSS of daemon, gpgs and gpg-agent, every {1000 * memory.INTERVAL:.0f} ms"
    return Section("Size", (*found, *idle), note)


async def _idle(scene: Scene, tries: int) -> list[Measure]:
    starts, sizes, work = [], [], []
    for _ in range(tries):
        async with a_daemon(scene, 9) as daemon:
            await asyncio.sleep(SETTLING)
            began = memory.processor_time([daemon.pid])
            await asyncio.sleep(SETTLING)
            starts.append(daemon.start_seconds)
            work.append((memory.processor_time([daemon.pid]) - began) / SETTLING)
            sizes.append(memory.pss(memory.family(daemon.pid)))
    busy = f"{1000 * median(work):.0f} ms of processor time a second"
    return [
        Measure("idle_memory_mb", "idle: memory", median(sizes) / 1e6, "MB", note=busy),
        Measure("start_seconds", "start, until mail is taken", median(starts), "s"),
    ]


async def _costs(scene: Scene, mails: list[Mail]) -> list[tuple[float, float, memory.Peak]]:
    """Return (seconds, seconds of the transfer, peak) for each mail.

    Time and memory are measured apart, each in a fresh daemon: to look at the memory every few
    milliseconds takes a core of its own, and the daemon waits for it.
    """
    costs = []
    for mail in mails:
        async with a_sink(REPORTER) as sink, _warm_daemon(scene, sink) as daemon:
            times = await _through(daemon, sink, mail)
        async with a_sink(REPORTER) as sink, _warm_daemon(scene, sink) as daemon:
            with memory.peak_of(daemon.pid, scene.team) as peak:
                await _through(daemon, sink, mail)
        costs.append((*times, peak))
    return costs


@asynccontextmanager
async def _warm_daemon(scene: Scene, sink: Sink) -> AsyncIterator[Running]:
    """Run a daemon that has opened and answered a small mail."""
    async with a_daemon(scene, sink.port) as daemon:
        await _through(daemon, sink, (await asyncio.to_thread(scene.mails, 1))[0])
        yield daemon


async def _through(daemon: Running, sink: Sink, mail: Mail) -> tuple[float, float]:
    """Send a mail; return the seconds from MAIL to the answer, and to the 250."""
    answers, copies = sink.count + 1, sink.others + 1
    async with clients(daemon.port, 1, sender=REPORTER, recipient=ALIAS) as (client,):
        took = await send_all([client], [dotted(mail.content)])
        answered_at = await sink.reach(answers, copies)
    return answered_at - client.began_at, took


def _measures(
    name: str,
    what: str,
    costs: list[tuple[float, float, memory.Peak]],
    aims: tuple[float, float],
) -> list[Measure]:
    seconds, transfer = median(one[0] for one in costs), median(one[1] for one in costs)
    peak = max((one[2] for one in costs), key=lambda one: one.octets)
    return [
        Measure(
            f"{name}_seconds", f"{what}: time", seconds, "s", at_most=aims[0],
            note=f"MAIL to answer, {transfer:.2f} s of it until 250",
        ),
        Measure(
            f"{name}_memory_mb", f"{what}: peak memory", peak.octets / 1e6, "MB", at_most=aims[1],
            note=f"{peak.daemon / 1e6:.0f} MB of it the daemon itself",
        ),
    ]  # fmt: skip
