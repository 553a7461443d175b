"""How do we talk to systemd?  A datagram says how we are (``sd_notify(3)``, without a library).

Elsewhere these functions do nothing.  Sockets that systemd opened are endpoints ``fd:3`` and on.
"""

from __future__ import annotations

import os
import socket
from datetime import timedelta


def notify(*assignments: str) -> bool:
    """Send lines such as ``READY=1`` to the manager; return whether one listens (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    address = "\0" + address[1:] if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
        try:
            manager.sendto("\n".join(assignments).encode(), address)
        except OSError:
            return False  # the manager is gone or busy: no reason to stop taking mail
    return True


def ready(status: str) -> bool:
    """Tell that mail is taken now."""
    return notify("READY=1", f"STATUS={status}")


def stopping(status: str = "finishing the rooms in use") -> bool:
    """Tell that the end has begun."""
    return notify("STOPPING=1", f"STATUS={status}")


def status(text: str) -> bool:
    """Tell in one line what we do; ``systemctl status`` shows it."""
    return notify(f"STATUS={text}")


def watchdog() -> bool:
    """Tell that we live."""
    return notify("WATCHDOG=1")


def watchdog_interval() -> timedelta | None:
    """Return how often to call ``watchdog``: half the time that the unit allows, or None."""
    try:
        usec = int(os.environ.get("WATCHDOG_USEC", "0"))
        pid = int(os.environ.get("WATCHDOG_PID") or os.getpid())
    except ValueError:
        return None
    return timedelta(microseconds=usec / 2) if usec > 0 and pid == os.getpid() else None
