"""Who may look into a key ring while somebody writes it?  Many look at once, or one writes.

GnuPG replaces its ring in two steps: the old file is moved away, then the new one takes its place.
What looks takes no lock, and may come between the two.  Then a message that we can open is damaged
to it, a good signature is by an unknown key, and a full ring has no keys.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from secbridge.openpgp.faults import Fault, fault


class Turns:
    """The turns at one ring.  All methods may be called from any thread.

    Both wait at most ``patience`` seconds and raise Deferral then.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._looking = 0
        self._to_write = 0
        self._writing = False

    @contextmanager
    def looking(self, patience: float) -> Iterator[None]:
        """Look while nobody writes, and after those who wanted to write before."""
        with self._changed:
            self._wait(lambda: not self._writing and not self._to_write, patience)
            self._looking += 1
        try:
            yield
        finally:
            with self._changed:
                self._looking -= 1
                self._changed.notify_all()

    @contextmanager
    def writing(self, patience: float) -> Iterator[None]:
        """Write while nobody else looks or writes."""
        with self._changed:
            self._to_write += 1
            try:
                self._wait(lambda: not self._writing and not self._looking, patience)
                self._writing = True
            finally:
                self._to_write -= 1
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._writing = False
                self._changed.notify_all()

    def _wait(self, free: Callable[[], bool], patience: float) -> None:
        if not self._changed.wait_for(free, patience):
            raise fault(Fault.TIMEOUT)
