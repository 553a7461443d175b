"""Who carries what?  One hand for each delivery, and none goes on once it was let go."""

from __future__ import annotations

import asyncio

from secbridge.pipeline.worker import Crew


async def test_what_is_carried_already_is_not_started_again() -> None:
    """A lease that ran out while its hand still works starts no second hand beside it."""
    crew, begun, gate = Crew(2), [], asyncio.Event()

    async def carry() -> None:
        begun.append("d-1")
        await gate.wait()

    crew.start("d-1", carry)
    crew.start("d-1", carry)
    await asyncio.sleep(0)
    assert (["d-1"], 1) == (begun, crew.free)
    gate.set()
    await crew.finish()
    assert crew.free == 2


async def test_a_hand_that_was_dropped_has_ended() -> None:
    """After ``drop`` nothing is under way, so that leases can be given up safely."""
    crew, ended = Crew(1), []

    async def carry() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("d-1")

    crew.start("d-1", carry)
    await asyncio.sleep(0)
    await crew.drop()
    assert (["d-1"], 1) == (ended, crew.free)
    assert crew.freed.is_set()


async def test_a_hand_that_nothing_waits_for_wakes_nobody() -> None:
    """Where all that was due was taken, a hand that becomes free is no reason to look again."""
    crew = Crew(2)

    async def carry() -> None:
        return None

    crew.short = False
    crew.start("d-1", carry)
    await crew.finish()
    await asyncio.sleep(0)
    assert (True, False) == (crew.freed.is_set(), crew.wanted.is_set())
