"""Which gpg is there when a mail comes?  One that has started already and waits for its input.

To start takes gpg about a quarter of the time in which it opens a small mail.  So one is started
when the last ciphertext was opened, with the same command line, and takes exactly one input, as any
other.  Where anybody has written to the ring since it started, another one starts: gpg tries its
key boxes when it begins, and does without one that cannot be read at that moment.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from secbridge.openpgp.process import Started
from secbridge.openpgp.watch import Stamp, Watch


class Standby:
    """At most one child that waits.  All methods may be called from any thread."""

    def __init__(self, ring: Watch) -> None:
        self._ring = ring
        self._lock = threading.Lock()
        self._waiting: tuple[Started, Stamp] | None = None
        self._closed = False

    def take(self) -> Started | None:
        """Return the child that waits, if there is one and it is good; it is the caller's then."""
        with self._lock:
            waiting, self._waiting = self._waiting, None
        if waiting is None:
            return None
        started, stamp = waiting
        if started.lives and stamp == self._ring.stamp():
            return started
        started.leave()
        return None

    def prepare(self, start: Callable[[], Started]) -> None:
        """Start a child unless one waits already.  What ``start`` raises passes through."""
        with self._lock:
            if self._waiting is None and not self._closed:
                stamp = self._ring.stamp()  # before it starts: what is written meanwhile counts
                self._waiting = start(), stamp

    def close(self) -> None:
        """Send the child away, and let no other begin."""
        with self._lock:
            self._closed = True
            waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting[0].leave()
