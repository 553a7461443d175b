"""Can anybody change the record of what happened, and nobody notice?"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from tests.support.stores import NOON, StillClock, accepted, routed

from secbridge.model.issue import Finding, Severity
from secbridge.store import Entry, Store
from secbridge.store.journal import GENESIS


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """Return a store whose journal has some entries."""
    store = await Store.open(tmp_path / "store" / "store.db", clock=StillClock())
    for number in range(3):
        await accepted(store, str(number))
    await routed(store, "4")
    yield store
    await store.aclose()


def tamper(tmp_path: Path, *statements: str) -> None:
    """Change the file as somebody with a root shell would, the guards taken off first."""
    with closing(sqlite3.connect(tmp_path / "store" / "store.db", isolation_level=None)) as raw:
        guards = raw.execute("SELECT name, sql FROM sqlite_master WHERE type='trigger'").fetchall()
        for name, _ in guards:
            raw.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            raw.execute(statement)
        for _, sql in guards:
            raw.execute(sql)


def errors(findings: Sequence[Finding]) -> list[str]:
    """Return the texts of the errors, without those about the disk."""
    return [finding.text for finding in findings if finding.severity is Severity.ERROR]


async def test_an_untouched_journal_is_whole(store: Store) -> None:
    """Nobody changed anything, and the check says so."""
    assert errors(await store.check()) == []


@pytest.mark.parametrize("verb", ["UPDATE journal SET event = 'x'", "DELETE FROM journal"])
async def test_the_database_refuses_to_change_an_entry(
    store: Store, tmp_path: Path, verb: str
) -> None:
    """A bug of ours cannot rewrite history: the triggers stop it."""
    with (
        closing(sqlite3.connect(tmp_path / "store" / "store.db")) as raw,
        pytest.raises(sqlite3.IntegrityError, match="append-only"),
    ):
        raw.execute(verb)
    assert errors(await store.check()) == []


@pytest.mark.parametrize(
    ("statement", "seq"),
    [
        ("UPDATE journal SET facts = '{}' WHERE seq = 2", 2),
        ("UPDATE journal SET at = at + 1 WHERE seq = 4", 4),
        ("UPDATE journal SET subject = 'd-x' WHERE seq = 1", 1),
        ("UPDATE journal SET event = 'x' WHERE seq = 7", 7),
        ("UPDATE journal SET hash = zeroblob(32) WHERE seq = 3", 3),
        ("DELETE FROM journal WHERE seq = 1", 1),
        ("DELETE FROM journal WHERE seq = 3", 3),
        ("DELETE FROM journal WHERE seq >= 6", 6),
        ("DELETE FROM journal", 1),
        ("INSERT INTO journal SELECT 8, at, subject, event, facts, hash FROM journal LIMIT 1", 8),
        ("UPDATE journal SET seq = 9 WHERE seq = 7", 7),
    ],
)
async def test_a_change_is_found_where_it_begins(
    store: Store, tmp_path: Path, statement: str, seq: int
) -> None:
    """A changed, removed (the last ones too) or inserted entry is named by the check."""
    tamper(tmp_path, statement)
    assert [f"the journal was changed at entry {seq}"] == errors(await store.check())


async def test_two_entries_cannot_change_places(store: Store, tmp_path: Path) -> None:
    """The order is part of the chain."""
    tamper(
        tmp_path,
        "UPDATE journal SET seq = -1 WHERE seq = 2",
        "UPDATE journal SET seq = 2 WHERE seq = 3",
        "UPDATE journal SET seq = 3 WHERE seq = -1",
    )
    assert errors(await store.check()) == ["the journal was changed at entry 2"]


async def test_a_missing_guard_is_found(store: Store, tmp_path: Path) -> None:
    """Somebody who drops a trigger leaves a trace."""
    with closing(sqlite3.connect(tmp_path / "store" / "store.db")) as raw:
        raw.execute("DROP TRIGGER journal_no_delete")
    assert errors(await store.check()) == ["the journal is not guarded: journal_no_delete"]


async def test_the_chain_goes_on_after_a_restart(store: Store, tmp_path: Path) -> None:
    """The next entry of the next process hangs on the last one of this."""
    again = await Store.open(tmp_path / "store" / "store.db", clock=StillClock())
    await accepted(again, "5")
    await accepted(store, "6")
    assert errors(await again.check()) == []
    await again.aclose()


async def test_anybody_can_verify_the_chain_with_a_few_lines(store: Store) -> None:
    """The format is what the documentation says: sha256(previous + canonical JSON)."""
    found = [entry for delivery in await store.find() for entry in await store.journal(delivery.id)]
    previous = GENESIS
    for entry in sorted(found, key=lambda entry: entry.seq):
        previous = hashlib.sha256(previous + _line(entry)).digest()
        assert entry.hash == previous
    assert len(found) == 7


def _line(entry: Entry) -> bytes:
    facts = json.dumps(entry.facts, sort_keys=True, separators=(",", ":"))
    microseconds = round(entry.at.timestamp() * 1_000_000)
    parts = [entry.seq, microseconds, entry.subject, entry.event, facts]
    return json.dumps(parts, separators=(",", ":")).encode()


async def test_facts_are_ids_codes_and_sizes(store: Store, tmp_path: Path) -> None:
    """A text that gets among the facts is kept as its length alone, and nowhere in the file."""
    words = "Heap overflow in the parser"
    await store.note("SB-2026-0001", "case.noted", {"subject": words, "size": 7, "id": "d-1"})
    (entry,) = await store.journal("SB-2026-0001")
    assert entry.facts == {"subject": "(27 characters)", "size": 7, "id": "d-1"}
    assert entry.at == NOON
    files = (tmp_path / "store").glob("store.db*")
    assert not any(words.encode() in file.read_bytes() for file in files if file.is_file())
