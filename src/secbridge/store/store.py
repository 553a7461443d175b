"""What does the daemon know of all that happened?  One Store, five ports, one file."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Self

from sqlalchemy.exc import SQLAlchemyError

from secbridge.errors import StoreBusy
from secbridge.ports import Clock
from secbridge.store import faults, migrating, owners, place
from secbridge.store.cases import CasesRoom
from secbridge.store.checking import CheckingRoom
from secbridge.store.database import Database, T
from secbridge.store.decisions import DecisionsRoom
from secbridge.store.deliveries import DeliveriesRoom, free_leases
from secbridge.store.events import EventsRoom
from secbridge.store.keys import KeysRoom
from secbridge.store.localissues import LocalIssuesRoom
from secbridge.store.lookups import LookupsRoom
from secbridge.store.outbox import OutboxRoom
from secbridge.store.places import PlacesRoom
from secbridge.store.spool import SpoolRoom
from secbridge.store.threads import ThreadsRoom

RESERVE = 32 << 20
"""Octets of disk that accept leaves to the moves of what is already here."""


class Store(
    SpoolRoom,
    DeliveriesRoom,
    CasesRoom,
    ThreadsRoom,
    DecisionsRoom,
    KeysRoom,
    OutboxRoom,
    PlacesRoom,
    EventsRoom,
    LookupsRoom,
    LocalIssuesRoom,
    CheckingRoom,
):
    """The ports Spool, Deliveries, Cases, Outbox and LocalIssues over one SQLite file.

    Every method that changes something commits, with fsync, before it returns; the failures of the
    database are StoreBusy, and then nothing was kept.  Several processes may have one file open.
    """

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        clock: Clock,
        busy_timeout: timedelta = timedelta(seconds=5),
        reserve: int = RESERVE,
        poll: float = 0.25,
    ) -> Self:
        """Open the store, making or migrating it first, and free the leases of dead processes.

        ``busy_timeout`` is how long a writer waits for another process; ``poll`` the seconds after
        which other processes' commits are noticed.  Raises ConfigError (a place that cannot be
        used, a newer version) or StoreBusy.
        """
        database = await asyncio.to_thread(_opened, path, busy_timeout)
        store = cls(database, clock=clock, reserve=reserve, poll=poll)
        try:
            await store._free_the_dead()
        except BaseException:
            await store.aclose()
            raise
        return store

    async def aclose(self) -> None:
        """Commit what is queued and close every connection.

        Leases that were not given up are freed by the next process that opens the store.
        """
        await self._db.aclose()
        if self._ownership is not None:
            self._ownership.close()

    async def _free_the_dead(self) -> None:
        now = self._clock.now()
        for owner in owners.dead(self._db.path):
            await self._db.write(partial(free_leases, owner=owner, now=now))


def _opened(path: Path, busy_timeout: timedelta) -> Database:
    path = path.absolute()
    place.make(path)
    _told(path, lambda: migrating.prepare(path, busy_timeout=busy_timeout))
    database = Database(path, busy_timeout=busy_timeout)
    database.open()
    return database


def _told(path: Path, action: Callable[[], T]) -> T:
    """Run a part of opening; say in our words what SQLite says in its own."""
    try:
        return action()
    except (SQLAlchemyError, sqlite3.Error) as exc:
        fault: StoreBusy = faults.stored(exc, path)
        code = faults.primary_code(exc)
    match code:
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM | sqlite3.SQLITE_READONLY:
            raise place.unusable(path, "its file cannot be opened for writing")
        case sqlite3.SQLITE_NOTADB:
            raise place.unusable(path, "its file is no database")
        case _:
            raise fault
