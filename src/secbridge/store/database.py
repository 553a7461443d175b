"""How do many small commits become few, and why does no reader wait for a writer?

One thread writes.  Jobs queue for it; all that are queued when it begins, and those that come
while it works, share one transaction and so one fsync (group commit).  Each job but the first has
its own savepoint: one that fails is undone alone.  Nobody is told anything before the COMMIT has
returned.
If the shared transaction itself is lost (the disk is full, say), each of its jobs is run again on
its own, so that one mail that does not fit takes no neighbour with it; jobs touch nothing but the
database, which is why they can be run again.

Two threads read, each on a connection that cannot write; in WAL mode they see the last commit and
are never blocked by the writer.  What a few pages answer is looked up in the caller's own thread:
to hand it to another costs several times what it takes.

SQLite moves what is committed from its log to the file (a checkpoint) within a COMMIT, as soon as
the log has 4 MB.  After a large mail that would be as long as the commit itself, and the 250 and
the worker would wait for it: so it is put off until the writer has had nothing to do for a moment.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any, TypeVar
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool, QueuePool

from secbridge import maillog
from secbridge.errors import StoreBusy
from secbridge.store import faults
from secbridge.store.prepared import Prepared, Row, driver_of

T = TypeVar("T")

MOST_TOGETHER = 128
"""Jobs that may share one commit; bounds what the first of them waits for."""

READERS = 2

LULL = 0.1
"""Seconds without a job after which a checkpoint that was put off is made up for."""

_LARGE = 1 << 20
"""Octets of contents in a transaction from which its checkpoint is put off."""

_PAGES = 1000
"""Pages in the log from which a COMMIT is followed by a checkpoint (SQLite's own number)."""

_MOST_PAGES = 16_000
"""As many where it was put off: 64 MB, the size from which the log is cut again."""

_READING = ("PRAGMA query_only=ON", "PRAGMA cache_size=-256")
"""Of a connection that reads.  SQLite would keep 2 MB of pages in each, and empties them whenever
somebody has committed; a mail that was read would fill them for nothing."""


@dataclass(slots=True)
class Transaction:
    """What a job may use: a connection inside a transaction, and the end of the journal's chain.

    ``driver`` is the same connection beneath Core, for ``Prepared``.  ``tail`` is (seq, hash) of
    the newest entry once somebody asked; nobody else can append while the transaction lasts.
    ``octets``: how much of contents was written.
    """

    connection: Connection
    driver: sqlite3.Connection
    tail: tuple[int, bytes] | None = None
    octets: int = 0


Job = Callable[[Transaction], T]
Query = Callable[[Connection], T]


@dataclass(slots=True, eq=False)
class _Task:
    """A job in the queue, who waits for it, and what came of it."""

    job: Job[Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    result: Any = None
    error: Exception | None = None

    def settle(self) -> None:
        """Tell the waiter; runs in its event loop."""
        if self.future.done():  # cancelled: the commit stands, and nobody waits for it
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class _NotBegunError(Exception):
    """No transaction could begin; its cause says why."""


class _TransactionLostError(Exception):
    """The whole transaction is rolled back, not only a statement or a job."""


class Database:
    """One SQLite file with one writer and some readers."""

    def __init__(self, path: Path, *, busy_timeout: timedelta) -> None:
        self.path = path
        self.commits = 0
        self._queue: SimpleQueue[_Task | None] = SimpleQueue()
        self._writing = writing_engine(path, busy_timeout=busy_timeout, begin=None)
        self._reading = _reading_engine(path, busy_timeout=busy_timeout)
        self._looking = _Looking(path)
        self._readers = ThreadPoolExecutor(READERS, "secbridge-reader")
        self._writer = Thread(target=self._serve, name="secbridge-writer", daemon=True)
        self._ready: Future[None] = Future()
        self._closed = False
        self._watch = Lock()
        self._watching: sqlite3.Connection | None = None
        self._version: int | None = None
        self._put_off = False

    def open(self) -> None:
        """Start the writer and return when its connection stands.  Raises StoreBusy."""
        self._writer.start()
        self._ready.result()

    async def aclose(self) -> None:
        """Let the queued jobs commit, then close every connection."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        await asyncio.to_thread(self._writer.join)
        await asyncio.to_thread(self._readers.shutdown)
        if self._watching is not None:
            self._watching.close()
        self._looking.close()
        self._reading.dispose()
        self._writing.dispose()

    async def write(self, job: Job[T]) -> T:
        """Run a job in a transaction and return its result once the commit is on the disk.

        A cancelled caller does not undo the job.  Raises what the job raises, or StoreBusy; then
        nothing of the job was kept.
        """
        if self._closed:
            raise faults.broken("store-closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._queue.put(_Task(job, loop, future))
        return await future

    async def read(self, query: Query[T]) -> T:
        """Run a query on one snapshot of what is committed.  Raises StoreBusy."""
        if self._closed:
            raise faults.broken("store-closed")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, self._query, query)

    async def look(self, query: Query[T]) -> T:
        """Run a query that a few pages answer, here and now.  Raises StoreBusy.

        Where it would have to wait (another process recovers the file) it waits in a thread.
        """
        if self._closed:
            raise faults.broken("store-closed")
        with suppress(SQLAlchemyError, sqlite3.Error):
            return self._looking.run(query)
        return await self.read(query)  # it says what is wrong, or succeeds

    async def ask(self, statement: Prepared, wanted: Row) -> list[Any]:
        """Run one statement as ``look`` runs a query, and return its rows.  Raises StoreBusy.

        A statement sees one snapshot by itself, so nothing is begun or committed around it.
        """
        if self._closed:
            raise faults.broken("store-closed")
        with suppress(SQLAlchemyError, sqlite3.Error):
            return self._looking.ask(statement, wanted)
        return await self.read(lambda c: statement.all(driver_of(c), wanted))

    async def ask_one(self, statement: Prepared, wanted: Row) -> Any | None:
        """Return the first row of ``ask``, or None."""
        found = await self.ask(statement, wanted)
        return found[0] if found else None

    async def changed_elsewhere(self) -> bool:
        """Return whether anybody has committed since this was last asked (PRAGMA data_version).

        Our own commits count too: they ring their bells themselves, and once more does no harm.
        """
        if self._closed:
            raise faults.broken("store-closed")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, self._look)

    def _look(self) -> bool:
        try:
            with self._watch:
                if self._watching is None:
                    self._watching = connect_raw(self.path, "ro", timedelta())
                (version,) = self._watching.execute("PRAGMA data_version").fetchone()
                seen, self._version = self._version, version
        except sqlite3.Error as exc:
            fault = self._told(exc)
        else:
            return seen not in {None, version}
        raise fault  # outside of the except block, so that it carries no context

    def _query(self, query: Query[T]) -> T:
        try:
            with self._reading.connect() as connection, connection.begin():
                return query(connection)
        except (SQLAlchemyError, sqlite3.Error) as exc:
            fault = self._told(exc)
        raise fault  # outside of the except block, so that it carries no context

    # ── The writer's thread ──────────────────────────────────────────────────────────────────────

    def _serve(self) -> None:
        try:
            connection = self._writing.connect()
        except (SQLAlchemyError, sqlite3.Error) as exc:
            self._ready.set_exception(self._told(exc))
            return
        self._ready.set_result(None)
        with connection, connection.begin():  # for Core alone: BEGIN and COMMIT are written below
            while (task := self._awaited(driver_of(connection))) is not None:
                self._commit_together(connection, task)

    def _awaited(self, driver: sqlite3.Connection) -> _Task | None:
        """Wait for the next job, None at the end; in a lull, make up for a checkpoint."""
        if self._put_off:
            with suppress(Empty):
                return self._queue.get(timeout=LULL)
            with suppress(sqlite3.Error):  # as after a COMMIT: the next one tries again
                driver.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            self._checkpoint_at(driver, _PAGES)
        return self._queue.get()

    def _checkpoint_at(self, driver: sqlite3.Connection, pages: int) -> None:
        """Let a COMMIT be followed by a checkpoint from so many pages on."""
        driver.execute(f"PRAGMA wal_autocheckpoint={pages}")
        self._put_off = pages > _PAGES

    def _commit_together(self, connection: Connection, first: _Task) -> None:
        tasks = [first]
        try:
            with self._committing(connection) as transaction:
                self._run_queued(transaction, tasks)
        except Exception as exc:  # noqa: BLE001 - the writer outlives whatever happens
            self._recover(connection, tasks, exc)
        _settle(tasks)

    @contextmanager
    def _committing(self, connection: Connection) -> Iterator[Transaction]:
        """Begin, and commit at the end, or leave nothing."""
        driver = driver_of(connection)
        try:
            driver.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as exc:
            raise _NotBegunError from exc
        try:
            transaction = Transaction(connection, driver)
            yield transaction
            if transaction.octets >= _LARGE:
                self._checkpoint_at(driver, _MOST_PAGES)
            driver.execute("COMMIT")
        except BaseException:
            if driver.in_transaction:
                driver.execute("ROLLBACK")
            raise
        self.commits += 1

    def _run_queued(self, transaction: Transaction, tasks: list[_Task]) -> None:
        """Run the first task, then whatever has queued up meanwhile, adding it to ``tasks``.

        Where the first fails there is nothing else to keep, so it needs no savepoint.
        """
        try:
            tasks[0].result = tasks[0].job(transaction)
        except Exception as exc:  # whatever it was, whoever asked is told of it (_outcome)
            raise _TransactionLostError from exc
        while len(tasks) < MOST_TOGETHER and (task := self._next()) is not None:
            tasks.append(task)
            self._run(transaction, task)

    def _next(self) -> _Task | None:
        try:
            task = self._queue.get_nowait()
        except Empty:
            return None
        if task is None:
            self._queue.put(None)  # the end comes after this commit
        return task

    def _run(self, transaction: Transaction, task: _Task) -> None:
        """Run one job in its savepoint; a failing one is undone alone."""
        driver, tail = transaction.driver, transaction.tail
        driver.execute("SAVEPOINT job")
        try:
            task.result = task.job(transaction)
        except Exception as exc:
            if not driver.in_transaction:
                raise _TransactionLostError from exc
            transaction.tail = tail
            driver.execute("ROLLBACK TO job")
            task.error = self._outcome(exc)
        driver.execute("RELEASE job")

    def _recover(self, connection: Connection, tasks: list[_Task], exc: Exception) -> None:
        """Nothing was kept: say so where there is nothing to try again, else run each job alone."""
        if isinstance(exc, _NotBegunError):
            while len(tasks) < MOST_TOGETHER and (task := self._next()) is not None:
                tasks.append(task)  # they waited meanwhile, and their wait is over too
        elif len(tasks) > 1:
            for task in tasks:
                self._commit_alone(connection, task)
            return
        for task in tasks:
            task.error = self._outcome(exc)

    def _commit_alone(self, connection: Connection, task: _Task) -> None:
        task.result = task.error = None
        try:
            with self._committing(connection) as transaction:
                task.result = task.job(transaction)
        except Exception as exc:  # noqa: BLE001 - whatever a job raises is its caller's
            task.error = self._outcome(exc)

    def _outcome(self, exc: Exception) -> Exception:
        """Return what the caller is told: its own exception, or what the database's one means."""
        if isinstance(exc, _NotBegunError | _TransactionLostError) and exc.__cause__:
            exc = exc.__cause__ if isinstance(exc.__cause__, Exception) else exc
        return self._told(exc) if isinstance(exc, SQLAlchemyError | sqlite3.Error) else exc

    def _told(self, exc: SQLAlchemyError | sqlite3.Error) -> StoreBusy:
        fault = faults.stored(exc, self.path)
        if fault.alarm:
            code = faults.primary_code(exc)
            maillog.fault("store", fault.code, error=type(exc).__name__, sqlite=code or 0)
        return fault


def _settle(tasks: list[_Task]) -> None:
    """Wake the waiters, each loop once."""
    for loop in {task.loop for task in tasks}:
        mine = [task for task in tasks if task.loop is loop]
        try:
            loop.call_soon_threadsafe(_settle_here, mine)
        except RuntimeError:  # the loop is closed: what was committed stays committed
            continue


def _settle_here(tasks: list[_Task]) -> None:
    for task in tasks:
        task.settle()


class _Looking:
    """One connection for point queries, which waits for nobody; opened by the first one.

    Core is told of one transaction that never ends; BEGIN and COMMIT are written here, so that each
    query sees one snapshot.  A single statement does so without them.
    """

    def __init__(self, path: Path) -> None:
        self._engine = create_engine(
            "sqlite://",
            creator=lambda: connect_raw(path, "ro", timedelta(), _READING),
            poolclass=NullPool,
            hide_parameters=True,
        )
        self._lock = Lock()
        self._connection: tuple[Connection, sqlite3.Connection] | None = None

    def run(self, query: Query[T]) -> T:
        """Run a query.  Raises SQLAlchemyError or sqlite3.Error."""
        with self._lock:
            connection, driver = self._opened()
            driver.execute("BEGIN")
            try:
                return query(connection)
            finally:
                driver.execute("COMMIT")

    def ask(self, statement: Prepared, wanted: Row) -> list[Any]:
        """Run one statement.  Raises as ``run``."""
        with self._lock:
            return statement.all(self._opened()[1], wanted)

    def _opened(self) -> tuple[Connection, sqlite3.Connection]:
        if self._connection is None:
            connection = self._engine.connect()
            connection.begin()
            self._connection = connection, driver_of(connection)
        return self._connection

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection[0].close()
        self._engine.dispose()


# ── Engines ──────────────────────────────────────────────────────────────────────────────────────


def writing_engine(
    path: Path,
    *,
    busy_timeout: timedelta,
    begin: str | None = "BEGIN IMMEDIATE",
    foreign_keys: bool = True,
) -> Engine:
    """Return an engine whose commits are on the disk; ``begin`` None leaves transactions to others.

    synchronous=FULL: each COMMIT fsyncs the WAL (https://www.sqlite.org/pragma.html#pragma_synchronous).
    secure_delete: purged mail is overwritten, not only unlinked.
    """
    pragmas = (
        "PRAGMA synchronous=FULL",
        f"PRAGMA foreign_keys={'ON' if foreign_keys else 'OFF'}",
        "PRAGMA secure_delete=ON",
        "PRAGMA journal_size_limit=67108864",
        "PRAGMA cache_size=-2000",
    )
    engine = create_engine(
        "sqlite://",
        creator=lambda: connect_raw(path, "rw", busy_timeout, pragmas),
        poolclass=NullPool,
        hide_parameters=True,
    )
    _begin_with(engine, begin)
    return engine


def _reading_engine(path: Path, *, busy_timeout: timedelta) -> Engine:
    engine = create_engine(
        "sqlite://",
        creator=lambda: connect_raw(path, "ro", busy_timeout, _READING),
        poolclass=QueuePool,
        pool_size=READERS,
        max_overflow=0,
        hide_parameters=True,
    )
    _begin_with(engine, "BEGIN")
    return engine


def _begin_with(engine: Engine, statement: str | None) -> None:
    """Begin Core's transactions with a statement; the driver itself begins none."""
    if statement is not None:
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(statement))


def connect_raw(
    path: Path, mode: str, busy_timeout: timedelta, pragmas: tuple[str, ...] = ()
) -> sqlite3.Connection:
    """Open the file (never creating it), in the driver's autocommit: transactions are ours.

    temp_store=MEMORY: what SQLite notes down on its way goes into no temporary file, which nobody
    would overwrite, and for which there need not be any room.
    """
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode={mode}",
        uri=True,
        timeout=busy_timeout.total_seconds(),
        isolation_level=None,
        check_same_thread=False,  # SQLite is built serialized, and each connection has one user
    )
    for pragma in ("PRAGMA temp_store=MEMORY", *pragmas):
        connection.execute(pragma)
    return connection
