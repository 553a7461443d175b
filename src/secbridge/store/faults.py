"""What does a failure of the database mean for the message?

Every one means "not now": a StoreBusy whose code says which (and whose alarm calls a person where
waiting does not help).  The text of the database's own exception stays here: it can quote what was
to be stored.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from secbridge.errors import StoreBusy

_ROOM = 1 << 20
"""Free octets under which an I/O error is taken for a full disk (a quota or the -shm file)."""

_PASSING = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_INTERRUPT}


def full() -> StoreBusy:
    """Say that there is no room (RFC 3463: X.3.1, mail system full)."""
    return StoreBusy(
        "store-full", "No space is left for mail; try again later.", status="4.3.1", alarm=True
    )


def busy() -> StoreBusy:
    """Say that somebody else is writing and the wait was over."""
    return StoreBusy("store-busy", "The mail store is busy; try again later.")


def broken(code: str) -> StoreBusy:
    """Say that a person has to look at the store."""
    return StoreBusy(code, "The mail store cannot take this now; try again later.", alarm=True)


def stored(exc: SQLAlchemyError | sqlite3.Error, path: Path) -> StoreBusy:
    """Return what this failure of the database under ``path`` means, in our words alone."""
    match primary_code(exc):
        case sqlite3.SQLITE_FULL:
            return full()
        case code if code in _PASSING:
            return busy()
        case sqlite3.SQLITE_IOERR if _no_room(path):
            return full()
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return broken("store-damaged")
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY:
            return broken("store-io")
        case _:
            return broken("store-fault")


def primary_code(exc: SQLAlchemyError | sqlite3.Error) -> int | None:
    """Return SQLite's primary result code, without the extension in its upper bits."""
    origin = exc.orig if isinstance(exc, DBAPIError) else exc
    code = getattr(origin, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _no_room(path: Path) -> bool:
    try:
        disk = os.statvfs(path.parent)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < _ROOM
