"""Does the store keep its promises when many ask at once, and in the real file?"""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text
from tests.support.listening import until
from tests.support.stores import (
    ALIAS,
    LEASE,
    NOON,
    OTHER_ALIAS,
    StillClock,
    a_mail,
    accepted,
    an_envelope,
    database,
    hold,
    opened,
    queued,
    routed,
    run_python,
    targets,
)

from secbridge.errors import IllegalMove, StoreBusy
from secbridge.model.delivery import Attempted, Finished, State
from secbridge.model.issue import Severity
from secbridge.store import Store
from secbridge.store.database import Transaction


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """Return an empty store."""
    store = await Store.open(tmp_path / "store" / "store.db", clock=StillClock())
    yield store
    await store.aclose()


async def test_twenty_tasks_accepting_one_mail_make_one_delivery(store: Store) -> None:
    """A mail handed over on twenty connections at once is one delivery, and each is told its id."""
    wanted = [
        store.accept(an_envelope(), a_mail(trace=b"Received: %d\r\n" % number), targets())
        for number in range(20)
    ]
    ids = {ids[0] for ids in await asyncio.gather(*wanted)}
    assert 1 == len(ids) == len(await store.find())


async def test_twenty_tasks_accepting_different_mails_make_one_delivery_each(
    store: Store,
) -> None:
    """Nothing is lost or doubled when different mails arrive together, twice each."""
    aliases = (ALIAS, OTHER_ALIAS)
    wanted = [
        store.accept(an_envelope(), a_mail(str(number % 20)), targets(*aliases))
        for number in range(40)
    ]
    ids = {delivery_id for ids in await asyncio.gather(*wanted) for delivery_id in ids}
    assert 40 == len(ids) == len(await store.find())
    assert len({delivery.mail_id for delivery in await store.find()}) == 20


@pytest.mark.parametrize(("lull", "moved"), [(3600.0, False), (0.0, True)])
async def test_a_large_mail_is_moved_into_the_file_when_nothing_else_is_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lull: float, moved: bool
) -> None:
    """A commit of many pages is no longer than its own fsync; a lull moves them to the file."""
    monkeypatch.setattr("secbridge.store.database.LULL", lull)
    path, content = tmp_path / "store.db", a_mail("large", b"A line of a report.\r\n" * 250_000)
    store = await Store.open(path, clock=StillClock())
    await store.accept(an_envelope(), content, targets())
    if moved:
        await until(lambda: path.stat().st_size > len(content))
    assert moved == (path.stat().st_size > len(content))
    await store.aclose()


async def test_two_workers_never_claim_the_same(store: Store) -> None:
    """Claims at the same time share the deliveries out."""
    ids = [await accepted(store, str(number)) for number in range(30)]
    claims = [store.claim(NOON, limit=4, lease=LEASE) for _ in range(10)]
    claimed = [delivery.id for found in await asyncio.gather(*claims) for delivery in found]
    assert sorted(ids) == sorted(claimed)


async def test_jobs_that_wait_share_a_commit(store: Store) -> None:
    """What queues up behind a slow commit is committed together, with one fsync."""
    before = database(store).commits
    held, first = await hold(store)
    tasks = [asyncio.create_task(accepted(store, str(number))) for number in range(20)]
    await queued(*tasks)
    held.let_go.set()
    await asyncio.gather(first, *tasks)
    assert len(await store.find()) == 20
    assert database(store).commits - before == 1


async def test_under_load_there_are_fewer_commits_than_jobs(store: Store) -> None:
    """Twenty callers that accept without a pause share commits by themselves."""
    before = database(store).commits

    async def caller(name: int) -> None:
        for number in range(10):
            await accepted(store, f"{name}-{number}")

    await asyncio.gather(*(caller(name) for name in range(20)))
    assert len(await store.find()) == 200
    assert database(store).commits - before < 200


async def test_a_failing_job_leaves_its_neighbours(store: Store) -> None:
    """One illegal move among others in a shared commit is undone alone, journal and all."""
    delivery_id = await accepted(store, "0")
    held, first = await hold(store)
    before = asyncio.create_task(accepted(store, "1"))
    bad = asyncio.create_task(store.record(delivery_id, Attempted("x"), Finished()))
    after = asyncio.create_task(accepted(store, "2"))
    await queued(before, bad, after)
    held.let_go.set()
    await first
    with pytest.raises(IllegalMove):
        await bad
    assert len(await store.find()) == 3
    assert {await before, await after} < {delivery.id for delivery in await store.find()}
    assert [entry.event for entry in await store.journal(delivery_id)] == ["delivery.accepted"]
    assert [finding.severity for finding in await store.check()] == [Severity.OK]


async def test_a_fault_of_the_database_in_one_job_leaves_its_neighbours(store: Store) -> None:
    """A statement that fails is a StoreBusy without its text, and others in the commit stay."""
    secret = "the words of a report"

    def broken(transaction: Transaction) -> None:
        transaction.connection.execute(
            text("INSERT INTO mails (id, size) VALUES (:a, 1)"), {"a": secret}
        )

    held, first = await hold(store)
    good = asyncio.create_task(accepted(store))
    bad = asyncio.create_task(database(store).write(broken))
    await queued(good, bad)
    held.let_go.set()
    await asyncio.gather(first, good)
    with pytest.raises(StoreBusy) as caught:
        await bad
    assert (caught.value.code, caught.value.alarm) == ("store-fault", True)
    assert None is caught.value.__cause__ is caught.value.__context__
    assert secret not in repr(caught.value)
    assert len(await store.find()) == 1


async def test_a_reader_is_not_held_up_by_a_writer(store: Store) -> None:
    """While a transaction is open, reads answer, with what was committed before."""
    delivery_id = await accepted(store)
    held, first = await hold(store)
    pending = asyncio.create_task(accepted(store, "2"))
    await queued(pending)
    assert [delivery_id] == [delivery.id for delivery in await store.find()]
    held.let_go.set()
    await asyncio.gather(first, pending)
    assert len(await store.find()) == 2


async def test_a_reader_cannot_write(store: Store) -> None:
    """The reading connections refuse to change anything."""
    with pytest.raises(StoreBusy):
        await database(store).read(lambda c: c.execute(text("DELETE FROM deliveries")))


async def test_a_caller_that_goes_away_does_not_undo_the_commit(store: Store) -> None:
    """A client that hangs up while we commit may find its mail accepted; nothing else breaks."""
    held, first = await hold(store)
    task = asyncio.create_task(accepted(store))
    await queued(task)
    task.cancel()
    held.let_go.set()
    await first
    with pytest.raises(asyncio.CancelledError):
        await task
    await accepted(store, "2")
    assert len(await store.find()) == 2


async def test_closing_commits_what_is_queued(tmp_path: Path) -> None:
    """An orderly stop loses nothing that was asked before it."""
    store = await Store.open(tmp_path / "store.db", clock=StillClock())
    held, first = await hold(store)
    task = asyncio.create_task(accepted(store))
    await queued(task)
    closing_store = asyncio.create_task(store.aclose())
    await queued(closing_store)
    held.let_go.set()
    await asyncio.gather(first, task, closing_store)
    with pytest.raises(StoreBusy, match="store-closed"):
        await store.find()
    async with opened(tmp_path / "store.db") as again:
        assert len(await again.find()) == 1


async def test_the_files_are_for_us_alone(store: Store, tmp_path: Path) -> None:
    """Directory 0700, database and its companions 0600, from the first moment."""
    await accepted(store)
    directory = tmp_path / "store"
    modes = {file.name: oct(stat.S_IMODE(file.stat().st_mode)) for file in directory.iterdir()}
    assert oct(stat.S_IMODE(directory.stat().st_mode)) == "0o700"
    assert modes == {"store.db": "0o600", "store.db-wal": "0o600", "store.db-shm": "0o600"}


@pytest.mark.parametrize("name", ["store.db", "store.db-wal", "."])
async def test_a_file_open_to_others_is_found(store: Store, tmp_path: Path, name: str) -> None:
    """Somebody who loosens a mode is told by check, with the mend."""
    file = tmp_path / "store" / name
    file.chmod(file.stat().st_mode | 0o040)
    (finding,) = await store.check()
    assert (Severity.ERROR, f"chmod go= {file}") == (finding.severity, finding.mend)


async def test_commits_are_durable_in_the_real_connection(store: Store) -> None:
    """The writer's own connection answers WAL, FULL and foreign keys; no temporary file is made."""
    names = ("journal_mode", "synchronous", "foreign_keys", "secure_delete", "temp_store")
    answers = await database(store).write(
        lambda t: [t.connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in names]
    )
    assert answers == ["wal", 2, 1, 1, 2]


async def test_purged_bytes_are_not_in_the_file(tmp_path: Path) -> None:
    """After the purge and a checkpoint the words of the mail are nowhere on the disk."""
    words = b"a heap overflow in the parser"
    path = tmp_path / "store" / "store.db"
    clock = StillClock()
    store = await Store.open(path, clock=clock)
    await store.accept(an_envelope(), a_mail(body=words * 1000), targets())
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute("UPDATE deliveries SET state = 'done', due_at = NULL")
    assert await store.purge(clock.advance(days=1)) == 1
    await store.aclose()
    files = [file for file in path.parent.iterdir() if file.is_file()]
    assert [file.name for file in files if words in file.read_bytes()] == []


async def test_another_process_wakes_the_worker(store: Store, tmp_path: Path) -> None:
    """A mail accepted by ``listen`` is noticed by ``work``, by a look at the file's version."""
    assert tuple(await store.claim(NOON, limit=9, lease=LEASE)) == ()
    assert not await store.wait_for_work(0)
    waiting = asyncio.create_task(store.wait_for_work(60))
    await run_python(
        tmp_path,
        """
        store = await Store.open(path, clock=StillClock())
        await accepted(store)
        await store.aclose()
        """,
    )
    while not (await store.claim(NOON, limit=9, lease=LEASE)):
        assert await waiting
        waiting = asyncio.create_task(store.wait_for_work(60))
    waiting.cancel()


async def test_two_processes_write_one_store(store: Store, tmp_path: Path) -> None:
    """Listener and worker may be two processes: writers wait for each other, and none is lost."""
    other = asyncio.create_task(
        run_python(
            tmp_path,
            """
            store = await Store.open(path, clock=StillClock())
            for number in range(50):
                await accepted(store, f"theirs-{number}")
            await store.aclose()
            """,
        )
    )
    for number in range(50):
        await accepted(store, f"ours-{number}")
    await other
    assert len(await store.find()) == 100
    assert [finding.severity for finding in await store.check()] == [Severity.OK]


async def test_processes_that_start_together_make_one_store(tmp_path: Path) -> None:
    """Whoever comes first sets up; the others wait for it and find all tables there."""
    script = """
        store = await Store.open(path, clock=StillClock())
        await accepted(store, str(os.getpid()))
        await store.aclose()
        """
    await asyncio.gather(*(run_python(tmp_path, script) for _ in range(3)))
    async with opened(tmp_path / "store" / "store.db") as store:
        assert len(await store.find()) == 3


async def test_the_leases_of_a_killed_process_are_free_at_the_next_start(tmp_path: Path) -> None:
    """After a SIGKILL nobody waits for a lease, and the death is counted."""
    await run_python(
        tmp_path,
        """
        store = await Store.open(path, clock=StillClock())
        await accepted(store)
        await store.claim(NOON, limit=9, lease=LEASE)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        killed=True,
    )
    async with opened(tmp_path / "store" / "store.db") as store:
        (delivery,) = await store.claim(NOON, limit=9, lease=LEASE)
        assert delivery.attempts == 2


async def test_the_leases_of_a_living_process_stay(store: Store, tmp_path: Path) -> None:
    """An operator's command that opens the store takes nothing from the worker."""
    await accepted(store)
    await store.claim(NOON, limit=9, lease=LEASE)
    async with opened(tmp_path / "store" / "store.db") as other:
        assert tuple(await other.claim(NOON, limit=9, lease=LEASE)) == ()
        assert await other.next_due() == NOON + LEASE


async def test_leases_that_a_stop_left_are_free_at_the_next_start(tmp_path: Path) -> None:
    """A stop that was cut short leaves leases, and the next start frees them; no files pile up."""
    path = tmp_path / "store" / "store.db"
    for attempts in (1, 2, 3):
        async with opened(path) as store:
            await accepted(store)
            (delivery,) = await store.claim(NOON, limit=9, lease=LEASE)
            assert attempts == delivery.attempts
            assert 1 == len(list(path.with_name("store.db-owners").iterdir()))


async def test_a_mail_is_there_when_the_process_is_killed_after_accept(tmp_path: Path) -> None:
    """SIGKILL right after accept returned: the mail is ours and whole."""
    await run_python(
        tmp_path,
        """
        store = await Store.open(path, clock=StillClock())
        await store.accept(an_envelope(), a_mail(body=b"x" * 3_000_000), targets())
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        killed=True,
    )
    async with opened(tmp_path / "store" / "store.db") as store:
        (delivery,) = await store.find()
        assert a_mail(body=b"x" * 3_000_000) == await store.content(delivery.id)
        assert [finding.severity for finding in await store.check()] == [Severity.OK]


async def test_nothing_is_there_when_the_process_is_killed_before_the_commit(
    tmp_path: Path,
) -> None:
    """SIGKILL after the rows were written and before the COMMIT: no part of the mail is kept."""
    await run_python(
        tmp_path,
        """
        store = await Store.open(path, clock=StillClock())
        await accepted(store, "kept")
        held, first = await hold(store)
        lost = asyncio.create_task(
            store.accept(an_envelope(), a_mail("lost", b"x" * 30_000_000), targets())
        )
        await queued(lost)
        await in_queue(store, 1)
        die = asyncio.create_task(
            database(store).write(lambda t: os.kill(os.getpid(), signal.SIGKILL))
        )
        await queued(lost, die)
        held.let_go.set()
        await lost
        """,
        killed=True,
    )
    async with opened(tmp_path / "store" / "store.db") as store:
        (delivery,) = await store.find()
        assert a_mail("kept") == await store.content(delivery.id)
        assert (
            await database(store).read(
                lambda c: c.execute(text("SELECT count(*) FROM mail_chunks")).scalar()
            )
            == 1
        )
        assert [finding.severity for finding in await store.check()] == [Severity.OK]


async def test_the_journal_of_a_delivery_survives(store: Store) -> None:
    """The whole life is told in order."""
    delivery = await routed(store)
    events = [entry.event for entry in await store.journal(delivery.id)]
    assert events == [
        "delivery.accepted",
        "delivery.opened",
        "delivery.judged",
        "delivery.routed",
    ]
    assert State.ROUTED is delivery.state
