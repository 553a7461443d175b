"""Is this database ours, and as new as this code?

The cheap question is one SELECT.  A new file gets the tables as they are now.  Only where an older
version left some alembic is imported, 12 MB that a process never gives back.  What is made or
migrated is so in one transaction that either stands whole or not at all.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from secbridge.errors import ConfigError
from secbridge.store import place
from secbridge.store.database import connect_raw, writing_engine
from secbridge.store.schema import JOURNAL_TRIGGERS, KNOWN_VERSIONS, VERSION, metadata

MIGRATIONS = Path(__file__).with_name("migrations")

_VERSION_TABLE = (
    "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
    "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
)
"""In alembic's own words (alembic.runtime.migration)."""

SET_UP_WAIT = timedelta(minutes=1)
"""How long a process waits while another one makes or migrates the tables."""


def prepare(path: Path, *, busy_timeout: timedelta) -> None:
    """Bring the file at ``path`` to WAL and to ``VERSION``.  Raises ConfigError, StoreBusy."""
    with place.set_up_alone(path, wait=SET_UP_WAIT):
        version = _look(path, busy_timeout)
        if version is None:
            _make(path, busy_timeout)
        elif version not in KNOWN_VERSIONS:
            raise _newer(path, version)
        elif version != VERSION:
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
        if "alembic_version" in tables:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            if row is not None:
                return str(row[0])
        raise place.unusable(path, "it is a database of something else")


def _newer(path: Path, version: str) -> ConfigError:
    return ConfigError(
        str(path),
        "",
        f"the store is at version {version}, and this secbridge knows versions up to {VERSION}",
        "install the newer secbridge again; a store never goes back",
    )


def _make(path: Path, busy_timeout: timedelta) -> None:
    """Make the tables of ``VERSION``, and say so where alembic will look."""
    engine = writing_engine(path, busy_timeout=busy_timeout)
    with engine.begin() as connection:
        connection.exec_driver_sql(_VERSION_TABLE)
        connection.exec_driver_sql("INSERT INTO alembic_version VALUES (?)", (VERSION,))
        metadata.create_all(connection, checkfirst=False)  # what is there already is not ours
        for trigger in JOURNAL_TRIGGERS.values():
            connection.exec_driver_sql(trigger)
    engine.dispose()


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
