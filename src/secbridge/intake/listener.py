"""Who opens the doors, and how do they close in order?  The listener; the daemon tells it when."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_network
from ssl import SSLContext
from typing import Any, assert_never

from secbridge.intake.desk import Desk, Network
from secbridge.intake.endpoints import Endpoint, MailProtocol
from secbridge.intake.limits import IntakeLimits
from secbridge.intake.protocol import Conversation, LMTPConversation
from secbridge.ports import Clock, Spool
from secbridge.rules.addresses import AliasBook
from secbridge.sockets import bind_unix, identity, inherited_socket, remove_unix

LOOPBACK: tuple[Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
_BACKLOG = 128


@dataclass(frozen=True, slots=True)
class _Door:
    """One open server with its endpoint; ``file`` says which unix socket is ours to remove."""

    server: asyncio.Server
    endpoint: Endpoint
    file: tuple[int, int] | None = None


class Listener:
    """Takes mail by SMTP and LMTP and hands it to the spool; 250 only after the commit.

    ``aliases`` are addr-specs; BadPath is raised for one that is none.  ``networks`` are those that
    may connect by TCP, an empty sequence lets nobody in; a unix socket is guarded by its mode.
    ``require_tls`` asks for STARTTLS on TCP, and needs ``tls``.  ``postmaster`` is the alias that
    gets the mail to postmaster (RFC 5321 section 4.5.1); see AliasBook.
    """

    def __init__(
        self,
        spool: Spool,
        aliases: Sequence[str],
        *,
        hostname: str,
        clock: Clock,
        limits: IntakeLimits | None = None,
        tls: SSLContext | None = None,
        require_tls: bool = False,
        networks: Sequence[Network] = LOOPBACK,
        postmaster: str | None = None,
    ) -> None:
        if require_tls and tls is None:
            raise ValueError("TLS cannot be required without a certificate")
        self._desk = Desk(
            spool,
            AliasBook(aliases, postmaster),
            hostname=hostname,
            limits=limits or IntakeLimits(),
            tls=tls,
            require_tls=require_tls,
            networks=networks,
            clock=clock,
        )
        self._doors: list[_Door] = []

    @property
    def addresses(self) -> tuple[Endpoint, ...]:
        """The bound endpoints, with the ports that the system chose."""
        return tuple(door.endpoint for door in self._doors)

    @property
    def connections(self) -> int:
        """How many clients are inside now."""
        return len(self._desk.conversations)

    @property
    def memory_held(self) -> int:
        """Octets of all mails that are coming in or being committed now."""
        return self._desk.memory.held

    async def start(self, endpoints: Sequence[Endpoint]) -> None:
        """Open all endpoints, or none.  Raises OSError, with the path where there is one."""
        # Its INFO and DEBUG lines hold addresses, commands and content.
        logging.getLogger("mail.log").setLevel(logging.WARNING)
        try:
            for endpoint in endpoints:
                self._doors += await self._open(endpoint)
        except BaseException:
            self._close_doors()
            raise

    async def drain(self, timeout: float) -> None:  # noqa: ASYNC109 - a limit in seconds, not a scope
        """Stop in order: no new clients, 421 to idle ones, and mails that are coming in may finish.

        What is not over after ``timeout`` seconds is cut; a commit under way is left to the spool.
        """
        self._close_doors()
        for conversation in tuple(self._desk.conversations):
            conversation.stop()
        end = asyncio.get_running_loop().time() + timeout
        while waiting := self._unfinished():
            left = end - asyncio.get_running_loop().time()
            if left <= 0:
                break
            await asyncio.wait(waiting, timeout=left)
        self.abort()

    def abort(self) -> None:
        """Leave at once: close everything without a word."""
        self._close_doors()
        for conversation in tuple(self._desk.conversations):
            conversation.abort()

    def _unfinished(self) -> list[asyncio.Future[Any]]:
        """Return what a drain waits for: commits, and conversations until their connection ends."""
        return [*self._desk.commits, *(each.closed for each in self._desk.conversations)]

    # ── Doors ────────────────────────────────────────────────────────────────────────────────────

    def _conversation(self, protocol: MailProtocol) -> Conversation:
        match protocol:
            case MailProtocol.SMTP:
                return Conversation(self._desk)
            case MailProtocol.LMTP:
                return LMTPConversation(self._desk)
            case _:
                assert_never(protocol)

    async def _open(self, endpoint: Endpoint) -> list[_Door]:
        """Open one endpoint; a host name may stand for several addresses."""
        if endpoint.path:
            bound = bind_unix(endpoint.path)
            file = identity(endpoint.path)
            return [_Door(await self._serve(endpoint, bound), endpoint, file)]
        if endpoint.fd is not None:
            inherited = inherited_socket(endpoint.fd)
            server = await self._serve(endpoint, inherited)
            return [_Door(server, _name(endpoint, inherited))]
        server = await asyncio.get_running_loop().create_server(
            lambda: self._conversation(endpoint.protocol),
            endpoint.host,
            endpoint.port,
            backlog=_BACKLOG,
        )
        return [_Door(server, _name(endpoint, sock)) for sock in server.sockets]

    async def _serve(self, endpoint: Endpoint, bound: socket.socket) -> asyncio.Server:
        """Serve a socket that is bound already, and let nobody but us remove its file."""
        loop = asyncio.get_running_loop()
        if bound.family != socket.AF_UNIX:
            return await loop.create_server(
                lambda: self._conversation(endpoint.protocol), sock=bound, backlog=_BACKLOG
            )
        keep_file: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
        return await loop.create_unix_server(
            lambda: self._conversation(endpoint.protocol), sock=bound, backlog=_BACKLOG, **keep_file
        )

    def _close_doors(self) -> None:
        """Accept nobody any more, and remove the unix sockets that we made."""
        while self._doors:
            door = self._doors.pop()
            door.server.close()
            remove_unix(door.endpoint.path, door.file)


def _name(endpoint: Endpoint, sock: socket.socket) -> Endpoint:
    """Return the endpoint with the address that the socket really has."""
    name = sock.getsockname()
    if isinstance(name, tuple):
        return replace(endpoint, host=name[0], port=name[1], fd=None)
    return replace(endpoint, path=str(name), fd=None) if name else endpoint
