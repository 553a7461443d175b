"""What happens when the store cannot?  "Not now", with a status, nothing kept, and nothing told."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from tests.support.stores import (
    NOON,
    StillClock,
    a_mail,
    accepted,
    an_envelope,
    database,
    hold,
    in_queue,
    opened,
    queued,
    routed,
    targets,
)

from secbridge.errors import ConfigError, StoreBusy
from secbridge.model.delivery import Attempted
from secbridge.model.issue import Severity
from secbridge.store import Store
from secbridge.store.database import Transaction

SECRET = b"the words of a report "
LARGE = a_mail("large", SECRET * 200_000)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """Return an empty store that waits 50 ms for another process, and keeps no reserve."""
    path = tmp_path / "store" / "store.db"
    wait = timedelta(milliseconds=50)
    store = await Store.open(path, clock=StillClock(), busy_timeout=wait, reserve=0)
    yield store
    await store.aclose()


async def fill(store: Store, pages: int) -> None:
    """Let the file grow by so many pages and no more."""

    def limit(transaction: Transaction) -> None:
        (now,) = transaction.driver.execute("PRAGMA page_count").fetchone()
        transaction.driver.execute(f"PRAGMA max_page_count={now + pages}")

    await database(store).write(limit)


async def rows(store: Store, table: str) -> int:
    """Count the rows of a table."""
    query = text(f"SELECT count(*) FROM {table}")  # noqa: S608 - names of our own tables
    return int(await database(store).read(lambda c: c.execute(query).scalar_one()))


async def test_a_full_database_takes_nothing_and_says_so(store: Store) -> None:
    """No room: 4.3.1, with an alarm, and no row of the mail is kept; a small mail still fits."""
    await accepted(store)
    await fill(store, pages=50)
    with pytest.raises(StoreBusy) as caught:
        await store.accept(an_envelope(), LARGE, targets())
    assert (
        caught.value.status,
        caught.value.code,
        caught.value.alarm,
    ) == ("4.3.1", "store-full", True)
    assert [
        await rows(store, name) for name in ("mails", "mail_chunks", "deliveries", "journal")
    ] == [1, 1, 1, 1]
    await accepted(store, "small")
    assert len(await store.find()) == 2


async def test_a_mail_that_does_not_fit_takes_no_neighbour_with_it(store: Store) -> None:
    """In one shared commit the large mail is refused, and those before and after it are taken."""
    await accepted(store, "0")
    await fill(store, pages=50)
    held, first = await hold(store)
    before = asyncio.create_task(accepted(store, "1"))
    await queued(before)
    large = asyncio.create_task(store.accept(an_envelope(), LARGE, targets()))
    await in_queue(store, 2)
    after = asyncio.create_task(accepted(store, "2"))
    await queued(large, after)
    held.let_go.set()
    await asyncio.gather(first, before, after)
    with pytest.raises(StoreBusy):
        await large
    assert len(await store.find()) == 3
    assert {await before, await after} < {delivery.id for delivery in await store.find()}


async def test_no_text_of_the_database_gets_out(store: Store) -> None:
    """The error holds neither the mail nor SQLite's words, in no chained exception either."""
    await fill(store, pages=10)
    with pytest.raises(StoreBusy) as caught:
        await store.accept(an_envelope(), LARGE, targets())
    error: BaseException | None = caught.value
    assert None is caught.value.__cause__ is caught.value.__context__
    assert str(error) == "store-full: No space is left for mail; try again later."


async def test_the_reserve_is_left_to_what_is_already_here(tmp_path: Path) -> None:
    """With less free than the reserve no mail is taken, and deliveries still move on."""
    path = tmp_path / "store" / "store.db"
    async with opened(path) as store:
        delivery = await routed(store)
    full = await Store.open(path, clock=StillClock(), reserve=1 << 60)
    with pytest.raises(StoreBusy) as caught:
        await accepted(full, "2")
    assert caught.value.status == "4.3.1"
    await full.record(delivery.id, Attempted("file"))
    (finding,) = await full.check()
    assert (finding.severity, finding.mend) == (Severity.ERROR, "make room on this disk")
    await full.aclose()


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """Return a file system of its own with 4 MiB, where we may mount one."""
    place = Path(tempfile.mkdtemp(prefix="sb", dir="/tmp"))
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        place.rmdir()
        pytest.skip("no right to mount a small file system here")
    yield place
    subprocess.run(["umount", str(place)], check=True)  # noqa: S607 - as mount
    place.rmdir()


async def test_a_really_full_disk_takes_nothing_and_says_so(small_disk: Path) -> None:
    """On a disk of 4 MiB mails are taken until it is full; then 4.3.1, and all taken are there."""
    store = await Store.open(small_disk / "store.db", clock=StillClock(), reserve=0)
    ids: list[str] = []
    refused = None
    body = bytes(range(256)) * 400
    while refused is None:
        try:
            ids += await store.accept(an_envelope(), a_mail(str(len(ids)), body), targets())
        except StoreBusy as error:
            refused = error
    assert refused.status == "4.3.1"
    assert len(ids) == len(await store.find())
    assert a_mail("0", body) == await store.content(ids[0])
    await store.aclose()


async def test_a_disk_that_fills_under_a_commit_loses_nothing(small_disk: Path) -> None:
    """Another program fills the disk to its last octet: 4.3.1, then room, then all goes on."""
    store = await Store.open(small_disk / "store.db", clock=StillClock(), reserve=0)
    first = await accepted(store, "first")
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file:
        while _write(file.fileno(), b"x" * 4096):
            pass
    with pytest.raises(StoreBusy) as caught:
        await database(store).write(lambda t: _insert_much(t))
    assert caught.value.status == "4.3.1"
    filler.unlink()
    assert a_mail("first") == await store.content(first)
    await accepted(store, "second")
    assert [Severity.OK, Severity.WARNING].count((await store.check())[0].severity) == 1
    await store.aclose()


def _write(descriptor: int, data: bytes) -> bool:
    try:
        return os.write(descriptor, data) == len(data)
    except OSError:
        return False


def _insert_much(transaction: Transaction) -> None:
    for number in range(50):
        transaction.driver.execute(
            "INSERT INTO mails (key, size, received_at) VALUES (?, 1, 1)", (b"%032d" % number,)
        )
        transaction.driver.execute("INSERT INTO mail_chunks (content) VALUES (zeroblob(100000))")


LOCKER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
"""


async def test_a_store_locked_by_another_process_is_busy_and_then_not(
    store: Store, tmp_path: Path
) -> None:
    """While another process writes, 4.3.0 after the wait, for all who waited; reads go on."""
    delivery_id = await accepted(store, "before")
    other = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        LOCKER,
        str(tmp_path / "store" / "store.db"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert other.stdout is not None
    assert await other.stdout.readline() == b"locked\n"
    tasks = [accepted(store, str(number)) for number in range(5)]
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert [StoreBusy] * 5 == [type(error) for error in errors]
    assert {("4.3.0", "store-busy", False)} == {
        (error.status, error.code, error.alarm) for error in errors if isinstance(error, StoreBusy)
    }
    assert [delivery_id] == [delivery.id for delivery in await store.find()]
    (finding,) = [found for found in await store.check() if found.severity is Severity.ERROR]
    assert finding.text == "nothing can be committed: store-busy"
    await other.communicate(b"\n")
    await accepted(store, "after")
    assert len(await store.find()) == 2


async def test_a_damaged_file_is_found_by_check(tmp_path: Path) -> None:
    """Octets that rot on the disk are an error with a mend, not a traceback."""
    path = tmp_path / "store" / "store.db"
    async with opened(path) as store:
        for number in range(200):
            await accepted(store, str(number))
    with path.open("r+b") as file:
        file.seek(60 * 4096)
        file.write(b"\xff" * 4096 * 30)
    async with opened(path) as store:
        errors = [found for found in await store.check() if found.severity is Severity.ERROR]
    assert errors
    assert all("restore" in found.mend or "backup" in found.mend for found in errors)


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """The daemon does not begin over somebody's file."""
    path = tmp_path / "store.db"
    path.write_bytes(b"Dear diary, " * 100)
    with pytest.raises(ConfigError, match="its file is no database"):
        await Store.open(path, clock=StillClock())
    assert path.read_bytes() == b"Dear diary, " * 100


async def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    """Nor in somebody else's database."""
    path = tmp_path / "store.db"
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("CREATE TABLE recipes (name TEXT)")
    with pytest.raises(ConfigError, match="a database of something else"):
        await Store.open(path, clock=StillClock())


@pytest.mark.parametrize("place", ["file/store.db", "."])
async def test_a_place_where_no_file_can_be_is_refused(tmp_path: Path, place: str) -> None:
    """A path below a file, or of a directory, is a fault of the configuration, in our words."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="the store cannot be opened"):
        await Store.open(tmp_path / place, clock=StillClock())


async def test_naive_times_are_refused_before_they_reach_the_disk(store: Store) -> None:
    """A clock without a time zone is a bug, and is told as our fault without its values."""
    envelope = an_envelope(at=NOON.replace(tzinfo=None))
    with pytest.raises(TypeError):
        await store.accept(envelope, a_mail(), targets())
    assert await rows(store, "mails") == 0
