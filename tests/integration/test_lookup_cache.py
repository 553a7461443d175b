"""Is nobody told twice who writes to us?  Answers are remembered, over restarts, for a time."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.support.fake_keyservers import (
    ADVANCED,
    DIRECT,
    KEYSERVER,
    FakeKeyServers,
    Fault,
    Names,
    all_names,
    key_servers_in_thread,
)
from tests.support.keys import REPORTER, Keys
from tests.support.stores import StillClock

from secbridge.model.message import CertificateSource
from secbridge.openpgp.discovery import FAULT_KEPT, Discovery, KeyServers, Memory
from secbridge.openpgp.fetching import Fetcher
from secbridge.openpgp.wkd import directory_urls
from secbridge.pipeline.clockwork import Tidying
from secbridge.ports import Remembered
from secbridge.store import Store

WKD, VKS, HKP = CertificateSource.WKD, CertificateSource.VKS, CertificateSource.HKP
KEPT, MISS_KEPT = timedelta(days=2), timedelta(hours=3)


@pytest.fixture(scope="module")
def running() -> Iterator[FakeKeyServers]:
    """Start the servers once for all tests of this page."""
    with key_servers_in_thread() as servers:
        yield servers


class Place:
    """A finder with its store and its clock, which can be closed and opened again."""

    def __init__(self, servers: FakeKeyServers, path: Path) -> None:
        self.servers = servers
        self.path = path
        self.clock = StillClock()
        self.names = all_names(servers)

    @asynccontextmanager
    async def finder(self, **given: Any) -> AsyncIterator[Discovery]:
        """Open the store and give a finder before it."""
        async with self.store() as store:
            options: dict[str, Any] = {
                "timeout": 5.0,
                "max_size": 256 << 10,
                "tls": self.servers.tls(),
                "private_networks": True,
                "resolve": self.names,
            }
            door = Fetcher(**(options | given))
            server = f"https://{KEYSERVER}"
            yield Discovery(
                door,
                store,
                clock=self.clock,
                servers=KeyServers(server, server),
                memory=Memory(KEPT, MISS_KEPT),
            )

    @asynccontextmanager
    async def store(self) -> AsyncIterator[Store]:
        """Open the store alone."""
        store = await Store.open(self.path, clock=self.clock)
        try:
            yield store
        finally:
            await store.aclose()

    def publish(self, content: bytes) -> None:
        """Give out a certificate for the reporter, by WKD."""
        urls = directory_urls(REPORTER)
        assert urls is not None
        self.servers.publish(urls.advanced, content)

    def rows(self) -> list[tuple[Any, ...]]:
        """Return what the file holds of look-ups."""
        with closing(sqlite3.connect(self.path)) as raw:
            return raw.execute("SELECT source, query, found FROM key_lookups").fetchall()


@pytest.fixture
def place(running: FakeKeyServers, tmp_path: Path) -> Iterator[Place]:
    """Return a place with an empty store and servers that remember nothing."""
    running.reset()
    yield Place(running, tmp_path / "store.sqlite")
    running.reset()


async def wkd(finder: Discovery, address: str = REPORTER) -> list[bytes]:
    """Return what the directory of the reporter's domain has."""
    return [found.content for found in await finder.find(WKD, address)]


async def test_an_answer_is_used_again(place: Place, keys: Keys) -> None:
    """The second time nobody is asked, however the address is written."""
    place.publish(keys.reporter_cert)
    async with place.finder() as finder:
        first = await wkd(finder)
        again = await wkd(finder, "Reporter@Example.NET")
    assert first == again == [keys.reporter_cert]
    assert place.servers.hosts() == [ADVANCED]


async def test_an_answer_outlives_a_restart(place: Place, keys: Keys) -> None:
    """It lies in the store, not in memory."""
    place.publish(keys.reporter_cert)
    async with place.finder() as finder:
        await wkd(finder)
    async with place.finder() as finder:
        assert await wkd(finder) == [keys.reporter_cert]
    assert place.servers.hosts() == [ADVANCED]


async def test_an_answer_is_asked_again_when_its_time_is_over(place: Place, keys: Keys) -> None:
    """And the newer one takes its place."""
    place.publish(keys.reporter_cert)
    async with place.finder() as finder:
        await wkd(finder)
        place.publish(keys.stranger_cert)
        place.clock.advance(seconds=KEPT.total_seconds() - 1)
        assert await wkd(finder) == [keys.reporter_cert]
        place.clock.advance(seconds=1)
        assert await wkd(finder) == [keys.stranger_cert]
        assert await wkd(finder) == [keys.stranger_cert]
    assert place.servers.hosts() == [ADVANCED, ADVANCED]


async def test_a_miss_is_remembered_for_its_own_time(place: Place, keys: Keys) -> None:
    """A key that is published meanwhile is found when the miss is over, not before."""
    async with place.finder() as finder:
        assert await wkd(finder) == []
        place.publish(keys.reporter_cert)
        place.clock.advance(seconds=MISS_KEPT.total_seconds() - 1)
        assert await wkd(finder) == []
        place.clock.advance(seconds=1)
        assert await wkd(finder) == [keys.reporter_cert]


async def test_a_domain_without_a_directory_is_a_miss(place: Place) -> None:
    """Neither name exists: the resolver is not asked again, either."""
    place.names = Names()
    async with place.finder() as finder:
        assert await wkd(finder) == []
        assert await wkd(finder) == []
    assert place.names.asked == [f"{ADVANCED}.", f"{DIRECT}."]


@pytest.mark.parametrize("fault", [Fault.SILENT, Fault.BROKEN, Fault.BUSY])
async def test_a_fault_is_a_miss_for_a_short_time(place: Place, keys: Keys, fault: Fault) -> None:
    """A server that is out of order is left alone for minutes, and then asked again."""
    place.publish(keys.reporter_cert)
    place.servers.fault = fault
    async with place.finder(timeout=0.3) as finder:
        assert await wkd(finder) == []
    place.servers.fault = None
    async with place.finder() as finder:
        place.clock.advance(seconds=FAULT_KEPT.total_seconds() - 1)
        assert await wkd(finder) == []
        place.clock.advance(seconds=1)
        assert await wkd(finder) == [keys.reporter_cert]


async def test_each_place_is_remembered_for_itself(place: Place, keys: Keys) -> None:
    """That the directory has nothing says nothing of the keyserver."""
    address = REPORTER.replace("@", "%40")
    place.servers.publish(f"https://{KEYSERVER}/vks/v1/by-email/{address}", keys.reporter_cert)
    async with place.finder() as finder:
        assert await finder.find(WKD, REPORTER) == []
        assert [one.content for one in await finder.find(VKS, REPORTER)] == [keys.reporter_cert]
    assert {("wkd", None), ("vks", keys.reporter_cert)} == {
        (source, found) for source, _, found in place.rows()
    }


async def test_of_many_who_want_the_same_one_asks(place: Place, keys: Keys) -> None:
    """The others wait for the answer; a mail to two aliases is such a case."""
    place.publish(keys.reporter_cert)
    async with place.finder() as finder:
        answers = await asyncio.gather(*(wkd(finder) for _ in range(8)))
    assert answers == [[keys.reporter_cert]] * 8
    assert place.servers.hosts() == [ADVANCED]


async def test_who_gives_up_waiting_does_not_keep_the_others_from_asking(
    place: Place, keys: Keys
) -> None:
    """A delivery that is cancelled while it asks leaves no lock behind."""
    place.publish(keys.reporter_cert)
    hanging = asyncio.Event()

    async def first_one_hangs(host: str, port: int) -> Sequence[tuple[str, int]]:
        if not hanging.is_set():
            hanging.set()
            await asyncio.Event().wait()
        return await place.names(host, port)

    async with place.finder(resolve=first_one_hangs) as finder:
        asking = asyncio.create_task(wkd(finder))
        waiting = asyncio.create_task(wkd(finder))
        await hanging.wait()
        asking.cancel()
        assert await waiting == [keys.reporter_cert]


async def test_what_is_over_leaves_the_store(place: Place) -> None:
    """With the next answer that is written: whom we looked for is nobody's business for longer."""
    async with place.finder() as finder:
        await wkd(finder)
        place.clock.advance(seconds=MISS_KEPT.total_seconds())
        await wkd(finder, "somebody@example.com")
    assert [query for _, query, _ in place.rows()] == ["somebody@example.com"]


async def test_what_is_over_leaves_the_store_by_the_clock_too(place: Place) -> None:
    """Where nobody is looked for any more."""
    async with place.finder() as finder:
        await wkd(finder)
    async with place.store() as store:
        tidying = Tidying(store, clock=place.clock, retention=timedelta(days=90))
        await tidying.tidy()
        assert len(place.rows()) == 1
        place.clock.advance(seconds=MISS_KEPT.total_seconds())
        await tidying.tidy()
    assert place.rows() == []


async def test_a_miss_is_not_the_same_as_never_asked(place: Place) -> None:
    """The memory tells nothing found from nothing known."""
    async with place.store() as store:
        assert await store.recall_lookup(WKD, "a@example.net") is None
        until = place.clock.now() + MISS_KEPT
        await store.remember_lookup(WKD, "a@example.net", None, until=until)
        assert await store.recall_lookup(WKD, "a@example.net") == Remembered(None)
        assert await store.recall_lookup(VKS, "a@example.net") is None


async def test_the_log_tells_what_came_of_it_and_never_for_whom(place: Place, keys: Keys) -> None:
    """Source, outcome and milliseconds; no address, no domain; nothing where nobody was asked."""
    place.publish(keys.reporter_cert)
    with capture_logs() as lines:
        async with place.finder() as finder:
            await wkd(finder)
            await wkd(finder)
            await finder.find(VKS, REPORTER)
    told = [(line["event"], line["source"], line["outcome"]) for line in lines]
    assert told == [("lookup.asked", "wkd", "found"), ("lookup.asked", "vks", "absent")]
    assert "example.net" not in repr(lines)
