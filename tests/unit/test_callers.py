"""Who asks the webhooks, how often, and was it here before?  What is counted cannot be invented."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from secbridge.web.callers import Callers
from secbridge.web.memory import Memory
from secbridge.web.server import LINES, TurnedAway

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
PROXIES = [ip_network("127.0.0.0/8"), ip_network("::1/128"), ip_network("10.0.0.0/8")]


def callers(per_minute: int = 3, most: int = 4) -> Callers:
    """Return a count with small bounds."""
    return Callers(proxies=PROXIES, per_minute=per_minute, most=most)


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.7"], "192.0.2.1"),
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("127.0.0.1", ["192.0.2.66, 198.51.100.7"], "198.51.100.7"),
        ("127.0.0.1", ["192.0.2.66", "198.51.100.7"], "198.51.100.7"),
        ("127.0.0.1", ["192.0.2.66, 198.51.100.7, 10.1.1.1,10.0.0.1"], "198.51.100.7"),
        ("127.0.0.1", ["10.1.1.1, 10.0.0.1"], "10.1.1.1"),
        ("127.0.0.1", ["192.0.2.66, nobody"], "127.0.0.1"),
        ("127.0.0.1", ["192.0.2.66, nobody, 10.0.0.1"], "10.0.0.1"),
        ("127.0.0.1", [""], "127.0.0.1"),
        ("127.0.0.1", ["2001:db8::1"], "2001:db8::1"),
        ("::ffff:127.0.0.1", ["::ffff:198.51.100.7"], "198.51.100.7"),
        ("127.0.0.1", ["fe80::1%\x1b[31m"], "127.0.0.1"),
        (None, ["198.51.100.7"], "198.51.100.7"),
        (None, [], "local"),
        (None, ["nobody"], "local"),
    ],
)
def test_a_caller_is_whom_a_proxy_of_ours_names(
    peer: str | None, forwarded: list[str], expected: str
) -> None:
    """What stands left of the first stranger in the list was written by the stranger."""
    assert callers().name(peer, [one.encode() for one in forwarded]) == expected


def test_only_the_end_of_a_long_list_is_read() -> None:
    """A list of a thousand proxies costs as much as one of sixteen."""
    told = ", ".join(["192.0.2.1"] + ["10.0.0.1"] * 1000)
    assert callers().name("127.0.0.1", [told.encode()]) == "10.0.0.1"


def test_each_caller_has_so_many_requests_a_minute() -> None:
    """The others go on; the next minute is a new one."""
    count = callers()
    assert [count.admit("192.0.2.1", NOW) for _ in range(5)] == [0, 0, 0, 1, 2]
    assert count.admit("192.0.2.2", NOW) == 0
    assert count.admit("192.0.2.1", NOW + timedelta(seconds=59)) == 3
    assert count.admit("192.0.2.1", NOW + timedelta(seconds=60)) == 0
    assert count.admit("192.0.2.1", NOW - timedelta(hours=1)) == 0  # a clock that was set back


def test_a_household_with_ipv6_is_one_caller() -> None:
    """It has 2^64 addresses, and would else have as many requests."""
    count = callers(per_minute=1)
    assert count.admit("2001:db8:0:1::1", NOW) == 0
    assert count.admit("2001:db8:0:1:ffff::2", NOW) == 1
    assert count.admit("2001:db8:0:2::1", NOW) == 0


def test_the_count_itself_has_an_end() -> None:
    """With more callers than places the first one is forgotten, and memory stays what it was."""
    count = callers(per_minute=1, most=2)
    assert [count.admit(f"192.0.2.{n}", NOW) for n in (1, 2, 3)] == [0, 0, 0]
    assert [count.admit(f"192.0.2.{n}", NOW) for n in (3, 2, 1)] == [1, 1, 0]
    assert len(count._counts) == 2


def test_a_webhook_is_new_once() -> None:
    """For each tracker; after a day, or many others, it would be again."""
    memory = Memory(most=3)
    day = timedelta(days=1)
    assert [memory.is_new("main", b"a", NOW) for _ in range(2)] == [True, False]
    assert memory.is_new("other", b"a", NOW)
    assert not memory.is_new("main", b"a", NOW + day - timedelta(seconds=1))
    assert memory.is_new("main", b"a", NOW + day)
    assert [memory.is_new("main", name, NOW + day) for name in (b"b", b"c", b"d")] == [True] * 3
    assert memory.is_new("main", b"a", NOW + day)
    assert len(memory._seen) == 3


@given(st.lists(st.binary(max_size=60), max_size=4), st.sampled_from(["127.0.0.1", None, "x"]))
def test_any_octets_name_somebody(forwarded: list[bytes], peer: str | None) -> None:
    """Whatever a client writes into the field, there is a name that can be counted and logged."""
    name = callers().name(peer, forwarded)
    assert name
    assert name.isascii()
    assert name.isprintable()


def test_a_flood_of_connections_does_not_fill_the_log() -> None:
    """Who never gets as far as a request is not counted as a caller, and yet told of."""
    turned_away = TurnedAway()
    with capture_logs() as told:
        for _ in range(LINES + 5):
            turned_away.tell("malformed", "192.0.2.1", 7.0)
        assert len(told) == LINES
        turned_away.tell("too-slow", "192.0.2.1", 67.0)
    assert len(told) == LINES + 1
