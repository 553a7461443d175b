"""What does a test of the store need?  A clock in the hand, a writer on hold, mails in one line."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from secbridge.model.case import Case, Route, Verdict
from secbridge.model.case import MailClass as Class
from secbridge.model.delivery import Delivery, Judged, Opened, Routed
from secbridge.model.envelope import Envelope, Target
from secbridge.model.message import Protection
from secbridge.model.reply import OutgoingMail, ReplyKind
from secbridge.store import Store
from secbridge.store.database import Database, Transaction

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
ALIAS = "security@example.org"
OTHER_ALIAS = "board@example.org"
LEASE = timedelta(minutes=5)


class StillClock:
    """A clock that moves only when the test moves it."""

    def __init__(self, now: datetime = NOON) -> None:
        self._now = now

    def now(self) -> datetime:
        """Return the time that the test set."""
        return self._now

    def advance(self, **step: float) -> datetime:
        """Let so much time pass at once, and return the new present."""
        self._now += timedelta(**step)
        return self._now


class HeldStore(Store):
    """A store with the clock that the test holds."""

    clock: StillClock


async def _sqlite(path: Path, clock: StillClock) -> HeldStore:
    store = await HeldStore.open(path / "store.db", clock=clock)
    store.clock = clock
    return store


STORES: dict[str, Callable[[Path, StillClock], Awaitable[HeldStore]]] = {"sqlite": _sqlite}
"""Every store that has to keep the promises; a second dialect is a second line here."""


def a_mail(name: str = "1", body: bytes = b"hello", *, trace: bytes = b"") -> bytes:
    """Return a small mail whose Message-ID is made of ``name``."""
    return trace + f"Message-ID: <{name}@example.net>\r\n\r\n".encode() + body


def an_envelope(*recipients: str, at: datetime = NOON) -> Envelope:
    """Return an envelope of the reporter."""
    return Envelope("reporter@example.net", recipients or (ALIAS,), "192.0.2.1", at)


def targets(*aliases: str) -> list[Target]:
    """Return a target for each alias."""
    return [Target(alias, alias) for alias in aliases or (ALIAS,)]


async def accepted(store: Store, name: str = "1", *aliases: str) -> str:
    """Accept a mail, and return the id of its (last) delivery."""
    content, wanted = a_mail(name), targets(*aliases)
    return (await store.accept(an_envelope(*aliases), content, wanted))[-1]


def a_route(alias: str = ALIAS, *, tracker: str = "local", project: str = "security") -> Route:
    """Return a route with people and a date."""
    return Route(alias, tracker, project, ("Security",), ("alice",), date(2026, 11, 27))


REPORT = Verdict(Class.REPORT, ("report.words",), may_reply=True)
SPAM = Verdict(Class.SPAM, ("spam.mark",), may_reply=False, reply_refused_because="spam")


async def opened_case(store: Store, delivery_id: str, route: Route, **given: Any) -> Case:
    """Return the case of a delivery's mail, opened with nothing else to record."""
    return (await store.open_case(delivery_id, route, **given))[1]


async def routed(store: Store, name: str = "1", verdict: Verdict = REPORT) -> Delivery:
    """Accept a mail and take it as far as ``routed``."""
    delivery_id = await accepted(store, name)
    moves = (Opened(Protection.NONE), Judged(verdict), Routed(a_route()))
    return await store.record(delivery_id, *moves)


def an_answer(
    case_id: str, recipient: str = "reporter@example.net", *, step: str = "ack", name: str = ""
) -> OutgoingMail:
    """Return a finished mail of ours."""
    return OutgoingMail(
        case_id=case_id,
        step=step,
        kind=ReplyKind.ACKNOWLEDGEMENT,
        recipient=recipient,
        reverse_path="security+sb@example.org",
        message_id=f"<{name or case_id}.{step}@example.org>",
        content=b"Subject: Re\r\n\r\nWe have it.\r\n",
        body_hash="0123abcd",
        must_encrypt=True,
        encrypted_to=("A" * 40, "B" * 40),
    )


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Store]:
    """Return a store for the length of a block."""
    store = await Store.open(path, clock=StillClock())
    yield store
    await store.aclose()


def database(store: Store) -> Database:
    """Return the database beneath, to see its commits and to hold its writer."""
    return store._db


class Held:
    """A writer that waits in the middle of a transaction until it is let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.let_go = threading.Event()

    def __call__(self, transaction: Transaction) -> None:
        """Wait, inside the transaction."""
        self.begun.set()
        self.let_go.wait(30)


async def hold(store: Store) -> tuple[Held, asyncio.Task[None]]:
    """Stop the writer inside a transaction, so that what comes next shares its commit."""
    held = Held()
    task = asyncio.create_task(database(store).write(held))
    await asyncio.to_thread(held.begun.wait, 30)
    return held, task


async def queued(*tasks: asyncio.Task[Any]) -> None:
    """Let tasks run until they wait for the writer."""
    for _ in range(20):
        await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)


async def in_queue(store: Store, jobs: int) -> None:
    """Wait until so many jobs wait for a writer on hold (a thread hashes large mails first)."""
    while database(store)._queue.qsize() < jobs:  # noqa: ASYNC110 - a queue has no event
        await asyncio.sleep(0)


_SCRIPT = """
import asyncio, os, signal, sys
from pathlib import Path
from secbridge.store import Store
from tests.support.stores import *
path = Path(sys.argv[1])
async def main():
{body}
asyncio.run(main())
"""


async def run_python(tmp_path: Path, body: str, *, killed: bool = False) -> None:
    """Run ``body`` as a process of its own with the store's path, and wait for its end."""
    lines = [line[4:] for line in body.splitlines()]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _SCRIPT.format(body="\n".join(_indented(lines))),
        str(tmp_path / "store" / "store.db"),
        cwd=Path(__file__).parents[2],
    )
    code = await process.wait()
    assert (-9 if killed else 0) == code


def _indented(lines: list[str]) -> list[str]:
    margin = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
    return ["    " + line[margin:] for line in lines]
