"""Does an installation become what the code expects, and never less?"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from tests.support.stores import StillClock, accepted, opened

from secbridge.errors import ConfigError
from secbridge.store import Store
from secbridge.store.migrating import MIGRATIONS
from secbridge.store.schema import JOURNAL_TRIGGERS, KNOWN_VERSIONS, VERSION, metadata


def scripts() -> ScriptDirectory:
    """Return alembic's view of our migrations."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return ScriptDirectory.from_config(config)


def test_the_version_of_the_code_is_the_head_of_the_migrations() -> None:
    """The cheap check at start compares with the right number, and knows all that came before."""
    steps = [script.revision for script in scripts().walk_revisions()]
    assert scripts().get_heads() == [VERSION]
    assert list(KNOWN_VERSIONS) == steps[::-1]


async def test_the_migrations_make_what_the_code_describes(tmp_path: Path) -> None:
    """A migrated file and the tables of the code differ in nothing."""
    path = tmp_path / "store.db"
    async with opened(path):
        pass
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


async def test_the_migrations_make_the_very_same_schema(tmp_path: Path) -> None:
    """Each table and index that the code would make stands in the file in the same words."""
    path = tmp_path / "store.db"
    async with opened(path):
        pass
    engine = create_engine(f"sqlite:///{tmp_path / 'made.db'}")
    metadata.create_all(engine)
    engine.dispose()
    migrated, made = schema_of(path), schema_of(tmp_path / "made.db")
    assert set(JOURNAL_TRIGGERS) | {"alembic_version"} == set(migrated) - set(made)
    assert made == {name: migrated[name] for name in made}
    assert {name: migrated[name] for name in JOURNAL_TRIGGERS} == JOURNAL_TRIGGERS


def schema_of(path: Path) -> dict[str, str]:
    """Return the words with which each named thing was made, whatever their order and case."""
    with closing(sqlite3.connect(path)) as raw:
        rows = raw.execute("SELECT name, type, sql FROM sqlite_master WHERE sql IS NOT NULL")
        return {name: sql if kind == "trigger" else _words(sql) for name, kind, sql in rows}


def _words(sql: str) -> str:
    return " ".join(sorted(sql.replace(",", " , ").replace("(", " ( ").replace(")", " ) ").split()))


async def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    """After a downgrade the daemon says which version it met, and touches nothing."""
    path = tmp_path / "store.db"
    async with opened(path) as store:
        await accepted(store)
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ConfigError, match=f"version 9999.*up to {VERSION}"):
        await Store.open(path, clock=StillClock())


async def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    """A store that is up to date is opened as it is, with all that it holds."""
    path = tmp_path / "store.db"
    async with opened(path) as store:
        delivery_id = await accepted(store)
    before = schema_of(path)
    async with opened(path) as store:
        assert [delivery_id] == [delivery.id for delivery in await store.find()]
    assert before == schema_of(path)


async def test_a_migration_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """All steps stand or fall together: a file that could not be set up is as empty as before."""
    path = tmp_path / "store.db"
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("CREATE VIEW journal AS SELECT 1")
    with pytest.raises(Exception, match="store"):
        await Store.open(path, clock=StillClock())
    assert {"journal"} == set(schema_of(path))


def test_a_start_without_a_migration_does_not_load_alembic(tmp_path: Path) -> None:
    """Alembic costs time and memory, and is loaded only when there is something to migrate."""
    script = """
import asyncio, sys
from pathlib import Path
from secbridge.store import Store
from tests.support.stores import StillClock
async def main():
    store = await Store.open(Path(sys.argv[1]), clock=StillClock())
    await store.aclose()
asyncio.run(main())
print("alembic" in sys.modules)
"""
    run = [sys.executable, "-c", script, str(tmp_path / "store.db")]
    checkout = Path(__file__).parents[2]
    said = [
        subprocess.run(run, cwd=checkout, check=True, capture_output=True, text=True).stdout
        for _ in range(2)
    ]
    assert said == ["True\n", "False\n"]
