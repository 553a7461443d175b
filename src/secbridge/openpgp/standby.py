"""Which gpg is there when a mail comes?  One that has started already and waits for its input.

To start takes gpg about a quarter of the time in which it opens a small mail.  So one is started
when the last ciphertext was opened, with the same command line, and takes exactly one input, as any
other.  It looks into the ring only then, and so knows every key that came or went in the meantime.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from secbridge.openpgp.process import Started


class Standby:
    """At most one child that waits.  All methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: Started | None = None
        self._closed = False

    def take(self) -> Started | None:
        """Return the child that waits, if there is one and it lives; it is the caller's then."""
        with self._lock:
            waiting, self._waiting = self._waiting, None
        if waiting is None or waiting.lives:
            return waiting
        waiting.leave()
        return None

    def prepare(self, start: Callable[[], Started]) -> None:
        """Start a child unless one waits already.  What ``start`` raises passes through."""
        with self._lock:
            if self._waiting is None and not self._closed:
                self._waiting = start()

    def close(self) -> None:
        """Send the child away, and let no other begin."""
        with self._lock:
            self._closed = True
            waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.leave()
