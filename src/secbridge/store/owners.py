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
        directory = _directory(path)
        directory.mkdir(mode=0o700, exist_ok=True)
        self.name = ids.new_owner()
        unlocked = directory / f".{self.name}"
        self._descriptor = os.open(unlocked, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        unlocked.rename(directory / self.name)  # nobody ever sees it without its lock

    def close(self) -> None:
        """Let go; the file stays, so that the next process finds what we had leased."""
        os.close(self._descriptor)


def dead(path: Path) -> Iterator[str]:
    """Name the owners that are gone; the file of each goes once the caller is done with it."""
    with suppress(FileNotFoundError):
        for file in sorted(_directory(path).glob("[!.]*")):
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
