"""How does a test name a port before anybody listens there?  It keeps it to itself."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


def reserve() -> socket.socket:
    """Return a socket that is bound to a port of loopback, and does not listen.

    Who connects is refused, and the kernel gives the port to nobody who asks for any.  Who asks for
    this one with SO_REUSEADDR gets it, as Postfix, asyncio and Node.js do.
    """
    kept = socket.socket()
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    kept.bind(("127.0.0.1", 0))
    return kept


@contextmanager
def reserved_port() -> Iterator[int]:
    """Give a port of loopback that is nobody else's for the length of a block."""
    with reserve() as kept:
        port: int = kept.getsockname()[1]
        yield port
