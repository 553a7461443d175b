"""What do all conversations of a listener share?  Limits, aliases, and the way to the spool."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from ssl import SSLContext
from typing import TYPE_CHECKING

from secbridge import maillog
from secbridge.errors import Deferral
from secbridge.intake import replies
from secbridge.intake.limits import Doors, IntakeLimits, Memory, Reservation
from secbridge.intake.replies import Reply
from secbridge.model.envelope import Envelope, Target
from secbridge.ports import Clock, Spool
from secbridge.rules.addresses import AliasBook, Mailbox

if TYPE_CHECKING:
    from secbridge.intake.connection import Connection

Network = IPv4Network | IPv6Network
_DISK_FULL = "4.3.1"


@dataclass(frozen=True, slots=True, repr=False)
class Mail:
    """One whole mail on its way into the spool, and the memory that it holds until it is there."""

    envelope: Envelope
    content: bytes
    targets: Sequence[Target]
    reservation: Reservation


class Desk:
    """The state behind the conversations of one listener."""

    def __init__(
        self,
        spool: Spool,
        aliases: AliasBook,
        *,
        hostname: str,
        limits: IntakeLimits,
        tls: SSLContext | None,
        require_tls: bool,
        networks: Sequence[Network],
        clock: Clock,
    ) -> None:
        self.limits = limits
        self.hostname = hostname
        self.tls = tls
        self.require_tls = require_tls
        self.clock = clock
        self.doors = Doors(limits)
        self.memory = Memory(limits.memory)
        self.conversations: set[Connection] = set()
        self.commits: set[asyncio.Task[Sequence[str] | Reply]] = set()
        self._spool = spool
        self._aliases = aliases
        self._networks = tuple(networks)

    def allows(self, peer: str) -> bool:
        """Return whether a client with this IP address may speak to us."""
        address = ip_address(peer.partition("%")[0])
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)

    async def find(self, recipient: Mailbox) -> Target | Reply:
        """Return whom a recipient stands for, or why we do not take it."""
        target = self._aliases.match(recipient)
        if target is None or target.token is None:
            return target or replies.UNKNOWN_RECIPIENT
        try:
            known = await self._spool.knows_token(target.alias, target.token)
        except Exception as exc:  # noqa: BLE001 - whatever it is, the client keeps the mail
            return _failure(exc)
        return target if known else replies.UNKNOWN_RECIPIENT

    async def commit(self, mail: Mail) -> Sequence[str] | Reply:
        """Hand a mail to the spool; return an id for each target, or what the client hears instead.

        The commit is a task of its own, so a client that goes away does not undo it half way, and
        one that has waited long enough hears 451 while it goes on; the spool knows a second
        hand-over for what it is.
        """
        task = asyncio.create_task(self._accept(mail), name="intake-commit")
        self.commits.add(task)
        task.add_done_callback(self.commits.discard)
        await asyncio.wait((task,), timeout=self.limits.commit_time.total_seconds())
        if task.done():
            return task.result()
        maillog.fault("intake", "commit-timeout")
        return replies.STORE_BUSY

    async def _accept(self, mail: Mail) -> Sequence[str] | Reply:
        """Commit, and turn every failure into a reply that tells nothing."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            ids = await self._spool.accept(mail.envelope, mail.content, mail.targets)
        except Exception as exc:  # noqa: BLE001 - whatever it is, the client keeps the mail
            return _failure(exc)
        finally:
            mail.reservation.release()
        took = round((loop.time() - began) * 1000)
        maillog.accepted(ids, len(mail.content), mail.envelope.peer, took)
        return ids


def _failure(exc: Exception) -> Reply:
    """Return what the client hears of a failure of ours: only that it must come again."""
    if isinstance(exc, Deferral):
        return replies.DISK_FULL if exc.status == _DISK_FULL else replies.STORE_BUSY
    maillog.fault("intake", type(exc).__name__)
    return replies.FAULT
