"""The bench shows what it measured; how fast anything is, no test says."""

from __future__ import annotations

import asyncio
import json

from bench.result import Measure, Section, as_json, table
from bench.wire import a_sink, clients, dotted, send_all
from rich.console import Console

_SECTION = Section(
    "End to end",
    (
        Measure("ratio", "of the floor", 0.75, "", at_least=0.7),
        Measure("latency", "one mail", 81.25, "ms", at_most=60, note="30 mails"),
        Measure("mails", "mails", 1234.5, "/s"),
        Measure("postfix", "Postfix, in hold", None, "/s", at_least=1.5, note="not installed"),
    ),
    "they share the cores",
)


def test_the_table_shows_each_value_beside_its_aim() -> None:
    """A met aim has a tick, a missed one a cross, and what has no aim or no value neither."""
    console = Console(width=120, no_color=True)
    with console.capture() as captured:
        console.print(table([_SECTION]))
    lines = [" ".join(line.split()) for line in captured.get().splitlines()]
    shown = [line for line in lines if line and "─" not in line and line != "measured aim"]
    expected = [
        "End to end",
        "of the floor 0.75 ≥ 0.70 ✓",
        "one mail 81.2 ms ≤ 60.0 ms ✗ 30 mails",
        "mails 1,234 /s",
        "Postfix, in hold - /s ≥ 1.50 /s not installed",
        "they share the cores",
    ]
    assert expected == shown


def test_json_holds_each_measure_with_its_aim() -> None:
    """A program reads the value, the aim, and whether it was met, which is null without either."""
    told = json.loads(as_json([_SECTION], {"cores": 2}))
    assert {"cores": 2} == told["machine"]
    assert {"ratio": True, "latency": False, "mails": None, "postfix": None} == {
        measure["name"]: measure["met"] for measure in told["measures"]
    }


async def test_the_load_and_the_sink_understand_each_other() -> None:
    """Mails go over several connections, dots and all, and the sink counts by recipient."""
    mails = [dotted(f"Subject: {number}\r\n\r\n.\r\n..\r\nend".encode()) for number in range(9)]
    async with a_sink("rita@example.net") as sink:
        async with clients(
            sink.port, 3, sender="a@b.example", recipient="rita@example.net"
        ) as them:
            await send_all(them, mails[:6])
            assert 6 == sum(client.accepted for client in them)
        async with clients(
            sink.port, 1, sender="a@b.example", recipient="else@example.net"
        ) as them:
            await send_all(them, mails[6:])
        await asyncio.wait_for(sink.reach(6, 3), 10)
    assert (6, 3) == (sink.count, sink.others)
