"""Is this database ours, and as new as this code?

The cheap question is one SELECT.  Only when its answer differs from ``schema.VERSION`` alembic is
imported, and all missing migrations run in one transaction that either stands whole or not at all.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from secbridge.errors import ConfigError
from secbridge.store import place
from secbridge.store.database import connect_raw, writing_engine
from secbridge.store.schema import KNOWN_VERSIONS, VERSION

MIGRATIONS = Path(__file__).with_name("migrations")

SET_UP_WAIT = timedelta(minutes=1)
"""How long a process waits while another one makes or migrates the tables."""


def prepare(path: Path, *, busy_timeout: timedelta) -> None:
    """Bring the file at ``path`` to WAL and to ``VERSION``.  Raises ConfigError, StoreBusy."""
    with place.set_up_alone(path, wait=SET_UP_WAIT):
        version = _look(path, busy_timeout)
        if version == VERSION:
            return
        if version is not None and version not in KNOWN_VERSIONS:
            raise _newer(path, version)
        _upgrade(path, busy_timeout)


def _look(path: Path, busy_timeout: timedelta) -> str | None:
    """Return the database's version, None for an empty one, and make sure that it is in WAL."""
    with closing(connect_raw(path, "rw", busy_timeout)) as connection:
        if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            connection.execute("PRAGMA journal_mode=WAL")
        tables = {
            name
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")
        }
        if not tables:
            return None
        if "alembic_version" not in tables:
            raise place.unusable(path, "it is a database of something else")
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        return None if row is None else str(row[0])


def _newer(path: Path, version: str) -> ConfigError:
    return ConfigError(
        str(path),
        "",
        f"the store is at version {version}, and this secbridge knows versions up to {VERSION}",
        "install the newer secbridge again; a store never goes back",
    )


def _upgrade(path: Path, busy_timeout: timedelta) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    engine = writing_engine(path, busy_timeout=busy_timeout, foreign_keys=False)
    with engine.begin() as connection:  # foreign keys are off: SQLite alters a table by copying it
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        if connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
            raise sqlite3.IntegrityError("a migration left a dangling reference")
    engine.dispose()
