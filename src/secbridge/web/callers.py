"""Who is asking, and how often?  An address, told by a proxy that we believe, and a count.

``X-Forwarded-For`` is a list that every proxy adds to at its right end, and whose left part a
client may invent.  So it is read from the right, and only as far as proxies of ours wrote it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MOST = 4096
"""So many callers are counted at once; the one who began first makes room."""

MINUTE = timedelta(minutes=1)

LOCAL = "local"
"""The name of those behind a unix socket, where no proxy says who they are."""

_HOPS = 16


class Callers:
    """Counts the requests of each caller.

    ``proxies`` are believed when they say for whom they ask; so is whoever may open a unix socket,
    which its mode guards.  Callers by IPv6 are counted by their /64, which one household has.
    """

    def __init__(self, *, proxies: Sequence[Network], per_minute: int, most: int = MOST) -> None:
        self._proxies = tuple(proxies)
        self._per_minute = per_minute
        self._most = most
        self._counts: dict[str, tuple[datetime, int]] = {}

    def name(self, peer: str | None, forwarded: Sequence[bytes]) -> str:
        """Return who asks: ``peer`` is the address of the connection, None for a unix socket."""
        connected = _address(peer) if peer else None
        if peer and (connected is None or not self._is_proxy(connected)):
            return str(connected or peer)
        told = b",".join(forwarded).decode("latin-1").split(",")
        nearest = connected
        for hop in reversed(told[-_HOPS:]):
            found = _address(hop.strip())
            if found is None:
                break
            nearest = found
            if not self._is_proxy(found):
                break
        return str(nearest) if nearest else LOCAL

    def admit(self, caller: str, now: datetime) -> int:
        """Count a request and return by how many the caller is above the limit, 0 for within."""
        group = _group(caller)
        began, count = self._counts.get(group, (now, 0))
        if not timedelta(0) <= now - began < MINUTE:
            self._counts.pop(group, None)
            began, count = now, 0
        if group not in self._counts and len(self._counts) >= self._most:
            del self._counts[next(iter(self._counts))]
        self._counts[group] = (began, count + 1)
        return max(0, count + 1 - self._per_minute)

    def _is_proxy(self, address: Address) -> bool:
        return any(address in network for network in self._proxies)


def _address(text: str) -> Address | None:
    """Return an address; an IPv4 one that stands in an IPv6 one is itself again.

    One with a zone (RFC 4007 section 11) is none: the zone may be any text.
    """
    try:
        found = ip_address(text)
    except ValueError:
        return None
    if isinstance(found, IPv4Address):
        return found
    return None if found.scope_id is not None else found.ipv4_mapped or found


def _group(caller: str) -> str:
    found = _address(caller)
    if isinstance(found, IPv6Address):
        return str(ip_network((int(found), 64), strict=False))
    return caller
