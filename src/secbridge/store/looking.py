"""How does one look into a store without a trace?  By connections that cannot write.

A reader in WAL mode makes ``-wal`` and ``-shm`` files where there are none.  They are there as long
as anybody has the store open; when nobody has, nothing changes either, and the file is read as
immutable (https://www.sqlite.org/c3ref/open.html, the URI parameter ``immutable``).
"""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import create_engine, event, text
from sqlalchemy.engine import Connection
from sqlalchemy.pool import QueuePool

from secbridge.errors import ConfigError
from secbridge.ports import Clock
from secbridge.store import faults
from secbridge.store.database import READERS, Database, Job, Query, T
from secbridge.store.prepared import Prepared, Row, driver_of
from secbridge.store.schema import VERSION
from secbridge.store.store import Store

_VERSION = text("SELECT version_num FROM alembic_version")


async def open_read_only(
    path: Path, *, clock: Clock, busy_timeout: timedelta = timedelta(seconds=5)
) -> Store:
    """Open a store that is there, to ask and never to tell: what would write raises StoreBusy.

    Raises ConfigError for a store of another version, StoreBusy where it cannot be read.
    """
    database = LookingDatabase(path, busy_timeout=busy_timeout)
    try:
        version = await database.read(lambda connection: connection.execute(_VERSION).scalar())
    except BaseException:
        await database.aclose()
        raise
    if version != VERSION:
        await database.aclose()
        raise ConfigError(
            str(path),
            "",
            "the store has another version than this secbridge",
            "start the daemon once: it brings an older store up to date",
        )
    return Store(database, clock=clock, reserve=0, poll=1.0)


class LookingDatabase(Database):
    """A ``Database`` without the one writer."""

    def __init__(self, path: Path, *, busy_timeout: timedelta) -> None:
        self.path = path.absolute()
        self.commits = 0
        self._readers = ThreadPoolExecutor(READERS, "secbridge-looking")
        self._closed = False
        self._reading = create_engine(
            "sqlite://",
            creator=lambda: _connect(self.path, busy_timeout),
            hide_parameters=True,
            poolclass=QueuePool,
            pool_size=READERS,
            max_overflow=0,
        )
        event.listen(self._reading, "begin", _begin)

    async def aclose(self) -> None:
        """Close the connections."""
        if not self._closed:
            self._closed = True
            await asyncio.to_thread(self._readers.shutdown)
            self._reading.dispose()

    async def look(self, query: Query[T]) -> T:
        """Run a query; a command has no loop that must not wait."""
        return await self.read(query)

    async def ask(self, statement: Prepared, wanted: Row) -> list[Any]:
        """Run one statement, as ``look`` runs a query."""
        return await self.read(lambda c: statement.all(driver_of(c), wanted))

    async def write(self, job: Job[T]) -> T:
        """Refuse: there is no writer here."""
        del job
        raise faults.broken("store-read-only")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _connect(path: Path, busy_timeout: timedelta) -> sqlite3.Connection:
    in_use = path.with_name(path.name + "-wal").exists()
    how = "mode=ro" if in_use else "mode=ro&immutable=1"
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?{how}",
        uri=True,
        timeout=busy_timeout.total_seconds(),
        isolation_level=None,
        check_same_thread=False,  # one user at a time, from any thread of the pool
    )
    connection.execute("PRAGMA query_only=ON")
    return connection
