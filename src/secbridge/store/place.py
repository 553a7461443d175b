"""Where does the database lie, who else may look at it, and is there room?

The file is 0600 in a directory of 0700, made so before SQLite sees it; its -wal and -shm files
inherit the mode (https://www.sqlite.org/src/file/src/os_unix.c, findCreateFileMode).
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from secbridge.errors import ConfigError
from secbridge.store import faults

_POLL = 0.02


@dataclass(frozen=True, slots=True)
class Room:
    """Octets on the disk of the database: free for us, and in all."""

    free: int
    total: int


def room(path: Path) -> Room:
    """Ask how much space is left beside the database.  Raises StoreBusy."""
    try:
        disk = os.statvfs(path.parent)
    except OSError:
        raise faults.broken("store-io") from None
    return Room(disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize)


def make(path: Path) -> None:
    """Make the directory and an empty file where they are missing.  Raises ConfigError."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            _sync(path.parent)
    except OSError as exc:
        raise unusable(path, os.strerror(exc.errno or 0)) from None


def unusable(path: Path, problem: str) -> ConfigError:
    """Say that there can be no database at this path."""
    mend = "name a file in a directory that the user of secbridge owns, and that is a disk's own"
    return ConfigError(str(path), "", f"the store cannot be opened: {problem}", mend)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_to_others(path: Path) -> list[Path]:
    """Return the database's files and its directory as far as group or others have any right."""
    files = [path, *(path.with_name(path.name + end) for end in ("-wal", "-shm")), path.parent]
    others = stat.S_IRWXG | stat.S_IRWXO
    return [file for file in files if file.exists() and file.stat().st_mode & others]


@contextmanager
def set_up_alone(path: Path, *, wait: timedelta) -> Iterator[None]:
    """Hold the directory's lock, so that of several processes one sets up at a time.

    Raises StoreBusy when another one has not finished within ``wait``.
    """
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _lock(descriptor, time.monotonic() + wait.total_seconds())
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise faults.busy() from None
            time.sleep(_POLL)
        else:
            return
