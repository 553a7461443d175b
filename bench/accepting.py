"""How many mails a second are safely ours?  Against a server that promises nothing, and Postfix.

``secbridge listen`` answers 250 after the commit is on the disk.  A bare aiosmtpd stores nothing;
Postfix stores with the same promise, and holds the mail.  All get the same mails from the same
client, in turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Mapping

from tests.support import postfix

from bench.result import Measure, Section
from bench.scene import ALIAS, REPORTER, Scene, a_daemon, plain_mails
from bench.wire import clients, dotted, send_all

CONNECTIONS = (1, 20)
WARM_UP = 40

Step = Callable[[str], None]
Rates = dict[tuple[str, int], float]


async def measure(scene: Scene, *, mails: int, rounds: int, step: Step) -> Section:
    """Measure durable accepts a second with one connection and with many."""
    async with contextlib.AsyncExitStack() as stack:
        ours = await stack.enter_async_context(a_daemon(scene, 9, ("listen",)))
        ports = {"secbridge": ours.port, "bare": await stack.enter_async_context(_bare())}
        why_not = postfix.why_not()
        if why_not is None:
            ports["postfix"] = await stack.enter_async_context(_holding_postfix())
        rates = await _in_turns(ports, mails, rounds, step)
    measures = [one for count in CONNECTIONS for one in _of(count, rates, why_not)]
    return Section("Durable accepts: 2 kB, each connection kept open", tuple(measures))


async def _in_turns(ports: Mapping[str, int], mails: int, rounds: int, step: Step) -> Rates:
    """Return accepts a second for each server and number of connections."""
    seconds: Rates = {}
    for count in CONNECTIONS:
        for port in ports.values():
            await _seconds(port, count, WARM_UP)
        for number in range(rounds):
            for name, port in ports.items():
                step(f"{name}, {count} connections, round {number + 1} of {rounds}")
                spent = await _seconds(port, count, mails)
                seconds[name, count] = seconds.get((name, count), 0.0) + spent
    return {which: mails * rounds / spent for which, spent in seconds.items()}


async def _seconds(port: int, connections: int, mails: int) -> float:
    wire = [dotted(mail) for mail in plain_mails(mails)]
    async with clients(port, connections, sender=REPORTER, recipient=ALIAS) as using:
        return await send_all(using, wire)


def _of(count: int, rates: Rates, why_not: str | None) -> list[Measure]:
    """Return the measures for one number of connections."""
    ours, bare = rates["secbridge", count], rates["bare", count]
    theirs = rates.get(("postfix", count))
    one = "1 connection" if count == 1 else f"{count} connections"
    least = 1.5 if count == 1 else 1.0
    return [
        Measure(f"accepts_{count}", f"{one}: secbridge", ours, "/s"),
        Measure(f"bare_accepts_{count}", "bare aiosmtpd, stores nothing", bare, "/s"),
        Measure(f"accepts_{count}_to_bare", "of bare aiosmtpd", ours / bare, "", at_least=0.7),
        Measure(
            f"postfix_accepts_{count}", "Postfix, in hold", theirs, "/s", note=why_not or ""
        ),
        Measure(
            f"accepts_{count}_to_postfix", "times Postfix",
            ours / theirs if theirs else None, "", at_least=least,
        ),
    ]  # fmt: skip


# ── The others ───────────────────────────────────────────────────────────────────────────────────


@contextlib.asynccontextmanager
async def _bare() -> AsyncIterator[int]:
    """Run the bare server and give its port."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.bare", stdout=asyncio.subprocess.PIPE
    )
    try:
        line = await process.stdout.readline() if process.stdout is not None else b""
        yield int(line)
    finally:
        process.kill()
        await process.wait()


@contextlib.asynccontextmanager
async def _holding_postfix() -> AsyncIterator[int]:
    """Run a Postfix of our own that holds every mail and give its port."""
    server = postfix.Postfix(
        aliases={ALIAS: "inet:127.0.0.1:9"},
        settings={"smtpd_recipient_restrictions": "check_recipient_access static:hold"},
    )
    await asyncio.to_thread(server.start)
    try:
        yield server.smtp_port
    finally:
        await asyncio.to_thread(server.stop)
