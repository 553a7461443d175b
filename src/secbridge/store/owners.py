"""Is the process that holds a lease still alive?

Each process keeps a file under its owner name in ``<database>-owners`` and locks it for as long as
it lives; the kernel drops the lock with the process, however it ends.  Whoever opens the store
frees the leases of owners whose file can be locked: after a SIGKILL no restart waits for a lease.
A missing file proves nothing: then the lease runs out by itself.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from secbridge.store import ids


class Ownership:
    """The name of this process, alive while the object is open."""

    def __init__(self, path: Path) -> None:
        self._directory = _directory(path)
        self._directory.mkdir(mode=0o700, exist_ok=True)
        self.name = ids.new_owner()
        self._file = self._directory / self.name
        self._descriptor = os.open(self._file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def close(self) -> None:
        """Give the name up."""
        self._file.unlink(missing_ok=True)
        os.close(self._descriptor)


def dead(path: Path) -> Iterator[str]:
    """Name the owners that have died; the file of each goes once the caller is done with it."""
    with suppress(FileNotFoundError):
        for file in sorted(_directory(path).iterdir()):
            yield from _if_dead(file)


def _if_dead(file: Path) -> Iterator[str]:
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # gone meanwhile, or another user's: then the lease runs out by itself
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield file.name
        file.unlink(missing_ok=True)
    except BlockingIOError:
        return
    finally:
        os.close(descriptor)


def _directory(path: Path) -> Path:
    return path.with_name(path.name + "-owners")
