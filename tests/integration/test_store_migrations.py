"""Does an installation become what the code expects, and never less?"""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from tests.support.stores import ALIAS, LEASE, NOON, StillClock, a_route, accepted, opened

from secbridge.errors import ConfigError
from secbridge.model.case import CaseStatus, IssueRef
from secbridge.model.delivery import OutgoingState
from secbridge.ports import HeardState
from secbridge.store import Store, journal
from secbridge.store.database import Transaction, writing_engine
from secbridge.store.migrating import MIGRATIONS
from secbridge.store.moves import route_text
from secbridge.store.prepared import driver_of
from secbridge.store.schema import KNOWN_VERSIONS, VERSION, metadata


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


def test_the_migrations_make_what_the_code_describes(tmp_path: Path) -> None:
    """A migrated file and the tables of the code differ in nothing."""
    path = tmp_path / "store.db"
    migrated(path, VERSION)
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


async def test_the_migrations_make_the_very_same_schema(tmp_path: Path) -> None:
    """Each table, index and trigger of a new file stands in a migrated one in the same words."""
    migrated(tmp_path / "old.db", VERSION)
    async with opened(tmp_path / "new.db"):
        pass
    assert schema_of(tmp_path / "new.db") == schema_of(tmp_path / "old.db")


def schema_of(path: Path) -> dict[str, str]:
    """Return the words with which each named thing was made, whatever their order and case."""
    with closing(sqlite3.connect(path)) as raw:
        rows = raw.execute("SELECT name, type, sql FROM sqlite_master WHERE sql IS NOT NULL")
        return {name: sql if kind == "trigger" else _words(sql) for name, kind, sql in rows}


def _words(sql: str) -> str:
    bare = sql.replace('"', "")  # a table that was copied has quotes around its name
    return " ".join(sorted(re.sub(r"([,()])", r" \1 ", bare).split()))


async def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    """After a downgrade the daemon says which version it met, and touches nothing."""
    path = tmp_path / "store.db"
    async with opened(path) as store:
        await accepted(store)
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ConfigError, match=f"version 9999.*up to {VERSION}"):
        await Store.open(path, clock=StillClock())


@pytest.mark.parametrize("version", KNOWN_VERSIONS[:-1])
async def test_what_an_older_version_kept_is_there_in_the_new_one(
    tmp_path: Path, version: str
) -> None:
    """Cases and mails of ours come over with what they would have had, and go on from there."""
    path = tmp_path / "store.db"
    older(path, version)
    async with opened(path) as store:
        case = await store.get_case("SB-2026-0001")
        assert case is not None
        assert (CaseStatus.NEW, False, "", None, False) == (
            case.status,
            case.on_hold,
            case.language,
            case.contacted_at,
            case.adopted,
        )
        unheard = HeardState(open=True, labels=(), assignees=(), turn=-1)
        assert unheard == await store.heard_state(case.id)
        queued, sent, refused = await store.mails_of_case(case.id)
        assert [True, True, True] == [row.mail.automatic for row in (queued, sent, refused)]
        assert [NOON, NOON, NOON] == [row.queued_at for row in (queued, sent, refused)]
        assert [None, NOON + LEASE, None] == [row.sent_at for row in (queued, sent, refused)]
        assert () == tuple(await store.untold(limit=9))
        assert [queued] == [
            replace(row, attempts=0)
            for row in await store.claim_outgoing(NOON, limit=9, lease=LEASE)
        ]
        await store.post([replace(queued.mail, step="letter-1000", message_id="<l@example.org>")])
        assert refused.id + 1 == (await store.mails_of_case(case.id))[-1].id
        issue = IssueRef("local", "security", id="9", number="9")
        adopted = await store.adopt_case(case.route, issue, by="alice")
        assert "SB-2026-0002" == adopted.id
        problems = [finding.text for finding in await store.check() if finding.severity != "ok"]
        assert [] == problems


def migrated(path: Path, version: str) -> None:
    """Make an empty store of that version by the migrations alone."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    path.touch(0o600)
    engine = writing_engine(path, busy_timeout=LEASE, foreign_keys=False)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, version)
    engine.dispose()


def older(path: Path, version: str) -> None:
    """Make a store as that version left it, with one case and three mails of ours."""
    migrated(path, version)
    engine = writing_engine(path, busy_timeout=LEASE, foreign_keys=False)
    with engine.begin() as connection:
        for table, rows in OLD_ROWS.items():
            for row in rows:
                names = ", ".join(row)
                marks = ", ".join("?" for _ in row)
                connection.exec_driver_sql(
                    f"INSERT INTO {table} ({names}) VALUES ({marks})",  # noqa: S608 - words of ours
                    tuple(row.values()),
                )
        now = NOON
        transaction = Transaction(connection, driver_of(connection))
        journal.append(transaction, now, "d-1", "delivery.answered", {"mails": 3, "new": 3})
        facts: journal.Facts = {
            "outgoing": 2,
            "kind": "acknowledgement",
            "status": "250",
            "delivery": "d-1",
        }
        journal.append(transaction, now + LEASE, "SB-2026-0001", "mail.sent", facts)
    engine.dispose()


def _old_mail(number: int, state: OutgoingState) -> dict[str, object]:
    return {
        "id": number,
        "delivery_id": "d-1",
        "case_id": "SB-2026-0001",
        "step": "ack",
        "kind": "acknowledgement",
        "recipient": f"{number}@example.net",
        "reverse_path": "security+sb@example.org",
        "message_id": "<a@example.org>",
        "content": b"We have it.",
        "body_hash": "0123abcd",
        "must_encrypt": 0,
        "encrypted_to": "[]",
        "state": state.value,
        "attempts": 0,
        "deferrals": 0,
        "due_at": 0 if state is OutgoingState.QUEUED else None,
    }


OLD_ROWS: dict[str, list[dict[str, object]]] = {
    "mails": [{"id": 1, "key": b"k" * 32, "size": 9, "received_at": 0}],
    "cases": [
        {
            "id": "SB-2026-0001",
            "mail_id": 1,
            "token": "t" * 26,
            "marker": "m" * 36,
            "alias": ALIAS,
            "tracker": "local",
            "project": "security",
            "route": route_text(a_route()),
            "reporter": "reporter@example.net",
            "must_encrypt": 0,
            "opened_at": 0,
            "issue_id": "7",
            "issue_number": "7",
            "issue_url": "",
        }
    ],
    "case_years": [{"year": 2026, "last": 1}],
    "deliveries": [
        {
            "id": "d-1",
            "mail_id": 1,
            "alias": ALIAS,
            "recipient": ALIAS,
            "reverse_path": "reporter@example.net",
            "received_at": 0,
            "state": "answered",
            "attempts": 0,
            "begun": 0,
            "deferrals": 0,
            "case_id": "SB-2026-0001",
            "changed_at": 0,
        }
    ],
    "outgoing": [
        _old_mail(1, OutgoingState.QUEUED),
        _old_mail(2, OutgoingState.SENT),
        _old_mail(3, OutgoingState.REFUSED),
    ],
}
"""What the first version could hold already."""


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


def test_only_a_migration_loads_alembic(tmp_path: Path) -> None:
    """It costs time, and memory for as long as the process lives; most starts do without."""
    migrated(tmp_path / "old.db", KNOWN_VERSIONS[0])
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
    said = [
        subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / name)],
            cwd=Path(__file__).parents[2],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for name in ("new.db", "new.db", "old.db", "old.db")
    ]
    assert ["False\n", "False\n", "True\n", "False\n"] == said
