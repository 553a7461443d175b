"""How many mails a second go the whole way, how long does one take, and what would gpg alone need?

Mail comes in by SMTP, becomes an issue of the embedded tracker, and its encrypted answer is counted
at a sink.  The floor of raw gpg is measured in turns with it, so that whatever else the machine
does meets both alike.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable, Sequence
from statistics import median, quantiles
from time import perf_counter

from bench import memory
from bench.floor import gpg_floor
from bench.result import Measure, Section
from bench.scene import ALIAS, CORES, REPORTER, Mail, Running, Scene, a_daemon
from bench.wire import Client, Sink, a_sink, clients, dotted, send_all

CONNECTIONS = 4
WARM_UP = 8

Step = Callable[[str], None]


async def measure(scene: Scene, *, mails: int, rounds: int, singles: int, step: Step) -> Section:
    """Measure throughput, its ratio to the floor, and the latency of single mails."""
    step(f"preparing {rounds * mails + singles + WARM_UP} encrypted mails")
    prepared = await asyncio.to_thread(scene.mails, rounds * mails + singles + WARM_UP)
    async with a_sink(REPORTER) as sink, a_daemon(scene, sink.port) as daemon:
        address = {"sender": REPORTER, "recipient": ALIAS}
        async with clients(daemon.port, CONNECTIONS, **address) as using:
            await _whole_way(using, sink, prepared[:WARM_UP])
            rest = prepared[WARM_UP:]
            step("latency of single mails")
            latencies = await _latencies(using[0], sink, rest[:singles])
            meter = _Meter(daemon, scene)
            ours = floor = 0.0
            for number in range(rounds):
                batch = rest[singles + number * mails :][:mails]
                step(f"gpg alone, round {number + 1} of {rounds}")
                meter.begin_floor()
                floor += await asyncio.to_thread(gpg_floor, scene, batch)
                meter.end_floor()
                step(f"the whole way, round {number + 1} of {rounds}")
                meter.begin()
                ours += await _whole_way(using, sink, batch)
                meter.end()
    return _section(rounds * mails, ours, floor, latencies, meter)


async def _whole_way(using: Sequence[Client], sink: Sink, mails: Sequence[Mail]) -> float:
    """Send mails and return the seconds until the reporter has the last answer."""
    answers, copies = sink.count + len(mails), sink.others + len(mails)
    began = perf_counter()
    await send_all(using, [dotted(mail.content) for mail in mails])
    await sink.reach(answers, copies)
    return sink.last_at - began


async def _latencies(client: Client, sink: Sink, mails: Sequence[Mail]) -> list[float]:
    """Send mails one by one; return the seconds from the end of DATA to each answer."""
    found = []
    for mail in mails:
        answers, copies = sink.count + 1, sink.others + 1
        await send_all([client], [dotted(mail.content)])
        found.append(await sink.reach(answers, copies) - client.sent_at)
    return found


class _Meter:
    """Processor time during the rounds: of the daemon, of its gpgs and agent, and of ours."""

    def __init__(self, daemon: Running, scene: Scene) -> None:
        self._agents = memory.agents(scene.team)
        self._pids = [daemon.pid, *memory.helpers(daemon.pid), *self._agents]
        self.daemon = self.bench = self.floor = 0.0

    def begin(self) -> None:
        """Begin a round."""
        self.daemon -= memory.processor_time(self._pids)
        self.bench -= _spent(resource.RUSAGE_SELF)

    def end(self) -> None:
        """End the round."""
        self.daemon += memory.processor_time(self._pids)
        self.bench += _spent(resource.RUSAGE_SELF)

    def begin_floor(self) -> None:
        """Begin a round of gpg alone."""
        self.floor -= memory.processor_time(self._agents) + _spent(resource.RUSAGE_CHILDREN)

    def end_floor(self) -> None:
        """End the round of gpg alone."""
        self.floor += memory.processor_time(self._agents) + _spent(resource.RUSAGE_CHILDREN)


def _spent(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def _section(
    mails: int, ours: float, floor: float, latencies: Sequence[float], meter: _Meter
) -> Section:
    costs = (
        f"processor time a mail: secbridge with its gpgs {1000 * meter.daemon / mails:.1f} ms, "
        f"gpg alone {1000 * meter.floor / mails:.1f} ms, "
        f"load and sink {1000 * meter.bench / mails:.1f} ms (they share the {CORES} cores)"
    )
    p95 = quantiles(latencies, n=20)[-1]
    return Section(
        "End to end: 2 kB, encrypted and signed, to issue and encrypted answer",
        (
            Measure("mails_per_second", "mails", mails / ours, "/s", note=f"{mails} mails"),
            Measure(
                "gpg_floor_per_second", "gpg alone", mails / floor, "/s",
                note=f"1 decrypt, 1 encrypt+sign a mail; {CORES} at once",
            ),
            Measure("ratio_to_gpg", "of the floor", floor / ours, "", at_least=0.7),
            Measure(
                "latency_median_ms", "one mail, median", 1000 * median(latencies), "ms",
                at_most=60, note=f"end of DATA to the answer; {len(latencies)} mails",
            ),
            Measure("latency_p95_ms", "one mail, 95 of 100", 1000 * p95, "ms", at_most=60),
        ),
        costs,
    )  # fmt: skip
