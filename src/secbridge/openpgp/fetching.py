"""How is one small file fetched from a stranger's server?  Through a door that trusts nothing.

This is the one module that knows httpcore, the part of httpx below its client: a client would
follow redirects, keep cookies, and log the URL, in which an address stands.  HTTPS only, nothing
from the environment, one time limit and one size limit for the whole answer, and bytes as they are
on the wire.  Each question has a connection of its own, which is closed whatever happens.

The name comes from a mail, so a stranger chooses whom we connect to (server-side request forgery).
It is resolved here, its addresses are looked at, and the connection goes to the very address that
was looked at, so that the name cannot mean another machine a moment later; the certificate must be
one for the name.  Through a proxy the name is resolved there, and nothing of it here.

Every exception of httpcore, ssl and the system ends here and becomes "nothing found".
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any
from urllib.parse import urlsplit

import httpcore

USER_AGENT = "secbridge"
"""Without a version: who is asked need not learn how old we are."""

AT_ONCE = 4
"""Answers that are waited for at the same time; others take their turn."""

MOST_ADDRESSES = 3
"""Addresses of one name that are tried, each for its share of the time."""

_HEADERS = [("User-Agent", USER_AGENT), ("Accept", "*/*"), ("Accept-Encoding", "identity")]
_TRY_LATER = frozenset({408, 425, 429})
_NOT_FOUND = frozenset(
    code for name in ("EAI_NONAME", "EAI_NODATA") if (code := getattr(socket, name, None))
)

Resolve = Callable[[str, int], Awaitable[Sequence[tuple[str, int]]]]
"""Return the (address, port) pairs behind a name and a port.  Raises OSError, as getaddrinfo."""


class Outcome(StrEnum):
    """What became of a question."""

    FOUND = "found"
    ABSENT = "absent"
    """The server has nothing for us: it says so, or gives another thing than what was asked."""
    NO_SUCH_HOST = "no-such-host"
    UNREACHABLE = "unreachable"
    """The proxy could not connect, and cannot tell whether there is such a host."""
    FAILED = "failed"
    """No answer that can be used came in time; another try may be luckier."""


@dataclass(frozen=True, slots=True, repr=False)
class Fetched:
    """An outcome, with the octets of what was found.  ``detail`` is a status or a class name."""

    outcome: Outcome
    content: bytes = b""
    detail: str = ""

    def __repr__(self) -> str:
        return f"Fetched({self.outcome}, {len(self.content)} bytes)"


class Fetcher:
    """Asks servers that a stranger or the operator named.

    ``timeout`` is seconds for a whole answer, ``max_size`` its octets.  ``tls`` is the context that
    judges certificates.  ``proxy`` is a SOCKS5 URL.  ``private_networks`` lets a stranger's name
    lead to private and loopback addresses, too.
    """

    def __init__(
        self,
        *,
        timeout: float,
        max_size: int,
        tls: ssl.SSLContext,
        proxy: str | None = None,
        private_networks: bool = False,
        resolve: Resolve | None = None,
    ) -> None:
        self._timeout = timeout
        self._max_size = max_size
        self._tls = tls
        self._proxy = proxy
        self._private = private_networks
        self._resolve = resolve or resolve_by_system
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def get(self, url: str, *, ours: bool = False) -> Fetched:
        """Return what lies under an https URL; nothing raises.

        ``ours``: the operator named this server, so it may have any address.
        """
        async with self._turns:
            try:
                async with asyncio.timeout(self._timeout), self._pool(ours=ours) as pool:
                    return await self._ask(pool, url)
            except Exception as error:  # noqa: BLE001 - whatever a stranger's server provokes
                return Fetched(_outcome_of(error), detail=type(error).__name__)

    @asynccontextmanager
    async def _pool(self, *, ours: bool) -> AsyncIterator[httpcore.AsyncConnectionPool]:
        """Give what makes one connection, and close all that it opened.

        The library itself leaves the connection to a proxy open where the proxy fails.
        """
        if self._proxy is None:
            wires = _Wires(self._timeout, self._addresses_of(ours=ours))
            pool = httpcore.AsyncConnectionPool(self._tls, network_backend=wires)
        else:
            wires = _Wires(self._timeout, None)
            pool = httpcore.AsyncSOCKSProxy(
                self._proxy, ssl_context=self._tls, network_backend=wires
            )
        try:
            async with pool:
                yield pool
        finally:
            await wires.aclose()

    def _addresses_of(self, *, ours: bool) -> Resolve:
        """Return a resolver that gives the addresses to which we may connect, and no other."""

        async def allowed(host: str, port: int) -> Sequence[tuple[str, int]]:
            if ours:
                return await self._resolve(host, port)
            # The final dot keeps the resolver from trying the name below domains of our own.
            found = await self._resolve(f"{host}.", port)
            return [place for place in found if may_be_asked(place[0], private=self._private)]

        return allowed

    async def _ask(self, pool: httpcore.AsyncConnectionPool, url: str) -> Fetched:
        if urlsplit(url).scheme != "https":
            raise ValueError("only https is asked")
        async with pool.stream("GET", url, headers=_HEADERS) as response:
            status = response.status
            if status >= 500 or status in _TRY_LATER:
                return Fetched(Outcome.FAILED, detail=str(status))
            if status != 200 or _is_coded(response):
                return Fetched(Outcome.ABSENT, detail=str(status))
            content = bytearray()
            async for piece in response.aiter_stream():
                content += piece
                if len(content) > self._max_size:
                    return Fetched(Outcome.ABSENT, detail="too-large")
        return Fetched(Outcome.FOUND, bytes(content), str(status))


def _is_coded(response: httpcore.Response) -> bool:
    """Return whether the octets are compressed, though we said that we take no such thing."""
    return any(
        name.lower() == b"content-encoding" and value.lower() != b"identity"
        for name, value in response.headers
    )


def _outcome_of(error: Exception) -> Outcome:
    if isinstance(error, httpcore.ProxyError):
        return Outcome.UNREACHABLE
    if isinstance(error, socket.gaierror) and error.errno in _NOT_FOUND:
        return Outcome.NO_SUCH_HOST
    return Outcome.FAILED


class AddressRefused(OSError):  # noqa: N818 - it names what happened
    """A name leads only to addresses that a stranger may not make us connect to."""


class _Wires(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were looked at, and remembers what it opened.

    Without ``addresses`` the name is that of the operator's proxy, and is left to the library.
    """

    def __init__(self, timeout: float, addresses: Resolve | None) -> None:
        self._library = httpcore.AnyIOBackend()
        self._timeout = timeout
        self._addresses = addresses
        self._opened: list[httpcore.AsyncNetworkStream] = []

    async def connect_tcp(  # the library's own shape
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Return a connection to the first address that takes one."""
        del timeout, local_address, socket_options  # nobody gives any
        if self._addresses is None:
            return await self._connect(host, port)
        places = (await self._addresses(host, port))[:MOST_ADDRESSES]
        if not places:
            raise AddressRefused
        for place in places[:-1]:
            with suppress(httpcore.ConnectError, TimeoutError):
                async with asyncio.timeout(self._timeout / len(places)):
                    return await self._connect(*place)
        return await self._connect(*places[-1])

    async def _connect(self, address: str, port: int) -> httpcore.AsyncNetworkStream:
        stream = await self._library.connect_tcp(address, port)
        self._opened.append(stream)
        return stream

    async def aclose(self) -> None:
        """Close every connection."""
        for stream in self._opened:
            await stream.aclose()


# ── Addresses ────────────────────────────────────────────────────────────────────────────────────

_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_DOCUMENTATION = IPv6Network("3fff::/20")  # RFC 9637; older Pythons do not know it


def may_be_asked(address: str, *, private: bool) -> bool:
    """Return whether a stranger may make us connect to an IP address.

    Public ones, and with ``private`` those of private networks and of this machine.  Never a
    link-local one (clouds serve the machine's own credentials there), nor multicast, reserved and
    unspecified ones.  An IPv4 address in the clothes of IPv6 counts as what it is.
    """
    found = _undressed(ip_address(address))
    if found.is_link_local or found.is_multicast or found.is_unspecified:
        return False
    if _is_public(found):
        return True
    return private and (found.is_loopback or not found.is_reserved)


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv4Address):
        return address.is_global and not address.is_reserved
    return address.is_global and address in _UNICAST and address not in _DOCUMENTATION


def _undressed(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that an IPv6 address leads to: mapped, 6to4, Teredo or NAT64."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo[1] if address.teredo else None
    return address.ipv4_mapped or address.sixtofour or teredo or address


async def resolve_by_system(host: str, port: int) -> Sequence[tuple[str, int]]:
    """Ask the system, in a thread that nobody waits for: a stranger's name server may be slow.

    The threads of the loop are few, and the daemon waits for them when it ends.  One of ours lasts
    as long as the resolver's own time limit says, and ``AT_ONCE`` limits how many there are.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Sequence[tuple[str, int]]] = loop.create_future()

    def settle(found: Sequence[tuple[str, int]] | OSError) -> None:
        if answer.done():  # nobody waits any more
            return
        if isinstance(found, OSError):
            answer.set_exception(found)
        else:
            answer.set_result(found)

    def ask() -> None:
        found = _getaddrinfo(host, port)
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, found)

    threading.Thread(target=ask, name="lookup-dns", daemon=True).start()
    return await answer


def _getaddrinfo(host: str, port: int) -> Sequence[tuple[str, int]] | OSError:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        return error
    except UnicodeError:  # Python encodes names itself, and refuses some
        return socket.gaierror(socket.EAI_NONAME, "no name")
    return [(str(address[0]), int(address[1])) for *_, address in found]
