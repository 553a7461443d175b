"""How much may a client ask of us?  Every wait and every amount of the intake has its limit."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class IntakeLimits:
    """Limits of one listener.  Sizes are octets.

    ``connections``          at once, in total; the next one gets 421 4.7.0
    ``connections_per_peer`` at once from one address (unix sockets count in the total only)
    ``commands``             since the connect or the last accepted mail
    ``errors``               5yz answers since the connect or the last accepted mail
    ``recipients``           in one transaction (RFC 5321 section 4.5.3.1.8 asks for 100)
    ``message_size``         told as SIZE (RFC 1870)
    ``memory``               of all mails being received or committed; the next one is told 452
    ``idle``                 without a whole command, or without a byte while a mail comes in
    ``data_time``            for one mail to come in, however busily
    ``commit_time``          until a client that waits for the 250 is told to come again
    """

    connections: int = 100
    connections_per_peer: int = 20
    commands: int = 500
    errors: int = 20
    recipients: int = 100
    message_size: int = 50 * _MIB
    memory: int = 256 * _MIB
    idle: timedelta = timedelta(minutes=5)
    data_time: timedelta = timedelta(minutes=10)
    commit_time: timedelta = timedelta(minutes=2)

    def __post_init__(self) -> None:
        if self.memory < self.message_size:
            raise ValueError("memory must hold at least one mail of message_size")
        if min(self.connections, self.connections_per_peer, self.recipients, self.commands) < 1:
            raise ValueError("a limit below 1 refuses everybody")


class Doors:
    """Counts who is inside."""

    def __init__(self, limits: IntakeLimits) -> None:
        self._limits = limits
        self._peers: Counter[str] = Counter()
        self._total = 0

    def enter(self, peer: str, *, counted: bool) -> bool:
        """Let a client in unless there are too many; ``counted``: its address has a limit too."""
        full = self._total >= self._limits.connections
        if full or (counted and self._peers[peer] >= self._limits.connections_per_peer):
            return False
        self._total += 1
        self._peers[peer] += 1
        return True

    def leave(self, peer: str) -> None:
        """Forget a client that was let in."""
        self._total -= 1
        self._peers[peer] -= 1
        if not self._peers[peer]:
            del self._peers[peer]


class Memory:
    """The octets that all mails on their way in may hold together."""

    def __init__(self, total: int) -> None:
        self._total = total
        self.held = 0

    def reserve(self, size: int) -> Reservation | None:
        """Return a reservation of ``size`` octets, or None when there is no room."""
        reservation = Reservation(self)
        return reservation if reservation.grow_to(size) else None

    def take(self, size: int) -> bool:
        """Hold ``size`` more octets if there is room."""
        if self.held + size > self._total:
            return False
        self.held += size
        return True

    def give_back(self, size: int) -> None:
        """Hold ``size`` octets less."""
        self.held -= size


class Reservation:
    """The share of one mail in the memory; it is given back once, whoever does it first."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._size = 0

    def grow_to(self, size: int) -> bool:
        """Make the share at least ``size`` octets; return whether there was room."""
        missing = size - self._size
        if missing <= 0:
            return True
        if not self._memory.take(missing):
            return False
        self._size = size
        return True

    def release(self) -> None:
        """Give the share back."""
        self._memory.give_back(self._size)
        self._size = 0
