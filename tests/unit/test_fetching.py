"""To which addresses may a stranger's mail make us connect?  A table, and the system's resolver."""

from __future__ import annotations

import socket

import pytest

from secbridge.openpgp.fetching import may_be_asked, resolve_by_system

PUBLIC = [
    "9.9.9.9",
    "193.0.6.139",
    "2001:67c:2e8:22::c100:68b",
    "2a00:1450:4001:81b::200e",
    "::ffff:9.9.9.9",
    "64:ff9b::909:909",
]
PRIVATE = [
    "127.0.0.1",
    "127.8.8.8",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "::1",
    "fd00::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "2001:0:909:909:0:0:f5ff:fffe",
]
NEVER = [
    "0.0.0.0",  # noqa: S104 - to be refused
    "::",
    "169.254.169.254",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "fe80::1",
    "fe80::1%lo",
    "224.0.0.1",
    "ff02::1",
    "240.0.0.1",
    "255.255.255.255",
    "::127.0.0.1",
    "64:ff9b:1::1",
    "2002:a9fe:a9fe::",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_asked(address: str) -> None:
    """Whatever the setting is."""
    assert may_be_asked(address, private=False)
    assert may_be_asked(address, private=True)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_may_be_asked_only_if_the_operator_says_so(address: str) -> None:
    """Private networks, shared ones and this machine, in every spelling that leads there."""
    assert not may_be_asked(address, private=False)
    assert may_be_asked(address, private=True)


@pytest.mark.parametrize("address", NEVER)
def test_some_addresses_are_never_asked(address: str) -> None:
    """Link-local, multicast, reserved and unspecified: no directory of keys lives there."""
    assert not may_be_asked(address, private=False)
    assert not may_be_asked(address, private=True)


@pytest.mark.parametrize("address", ["192.0.2.1", "198.51.100.7", "2001:db8::1", "3fff::1"])
def test_addresses_of_documentation_are_not_public(address: str) -> None:
    """They lead nowhere in the world, so where they lead at all it is in somebody's own house."""
    assert not may_be_asked(address, private=False)


async def test_the_system_resolves_a_name_to_addresses_with_the_port() -> None:
    """As (address, port) pairs, which is what the door connects to."""
    assert ("127.0.0.1", 443) in await resolve_by_system("localhost", 443)


@pytest.mark.parametrize("name", ["no-such-host.invalid.", "a..b", "x" * 300])
async def test_a_name_that_is_none_is_an_error_of_the_resolver(name: str) -> None:
    """Always the one class that callers know, whatever Python's own encoder thinks of the name."""
    with pytest.raises(socket.gaierror):
        await resolve_by_system(name, 443)
