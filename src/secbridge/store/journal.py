"""What happened, in what order, and has anybody changed the record since?

The journal is one chain for the installation: each entry's hash is sha256 over the hash before it
and the canonical JSON of ``[seq, at, subject, event, facts]``.  A changed, inserted or removed
entry breaks the chain; a removed last one is missed by the table's own counter.  Triggers refuse
UPDATE and DELETE, so that an honest bug cannot do it either.  Facts are ids, codes and sizes: a
value that does not look like one is replaced by its length.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, text

from secbridge.store.database import Transaction
from secbridge.store.prepared import Prepared
from secbridge.store.schema import deliveries, journal

Facts = Mapping[str, str | int]

GENESIS = b"\0" * 32
"""The hash before the first entry."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CODE = re.compile(r"[\x21-\x7e]{0,200}\Z")
_PAGE = 5000

_TAIL = Prepared(select(journal.c.seq, journal.c.hash).order_by(journal.c.seq.desc()).limit(1))
_INSERT = Prepared(insert(journal), "seq", "at", "subject", "event", "facts", "hash")
_COLUMNS = (
    journal.c.seq,
    journal.c.at,
    journal.c.subject,
    journal.c.event,
    journal.c.facts,
    journal.c.hash,
)
_AFTER = (
    select(*_COLUMNS).where(journal.c.seq > bindparam("seen")).order_by(journal.c.seq).limit(_PAGE)
)
_OF_SUBJECT = (
    select(*_COLUMNS).where(journal.c.subject == bindparam("name")).order_by(journal.c.seq)
)
_OF_CASE = (
    select(*_COLUMNS)
    .where(
        (journal.c.subject == bindparam("name"))
        | journal.c.subject.in_(
            select(deliveries.c.id).where(deliveries.c.case_id == bindparam("name"))
        )
    )
    .order_by(journal.c.seq)
)
_LAST_GIVEN = text("SELECT seq FROM sqlite_sequence WHERE name = 'journal'")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the journal; ``subject`` is a delivery, a case or an issue."""

    seq: int
    at: datetime
    subject: str
    event: str
    facts: Facts
    hash: bytes


def append(transaction: Transaction, at: datetime, subject: str, event: str, facts: Facts) -> None:
    """Add an entry to the end of the chain, in this transaction."""
    if transaction.tail is None:
        transaction.tail = _TAIL.run(transaction.driver, {}).fetchone() or (0, GENESIS)
    seq, previous = transaction.tail
    written = _written(facts)
    digest = entry_hash(previous, seq + 1, at, subject, event, written)
    row = {
        "seq": seq + 1,
        "at": at,
        "subject": subject,
        "event": event,
        "facts": written,
        "hash": digest,
    }
    _INSERT.run(transaction.driver, row)
    transaction.tail = (seq + 1, digest)


def _written(facts: Facts) -> str:
    return _canonical({name: _fact(value) for name, value in facts.items()})


_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def _fact(value: str | int) -> str | int:
    """Let through what looks like an id or a code; of anything else keep the length."""
    if isinstance(value, int) or _CODE.match(value):
        return value
    return f"({len(value)} characters)"


def entry_hash(
    previous: bytes, seq: int, at: datetime, subject: str, event: str, facts: str
) -> bytes:
    """Return the hash of one entry; ``facts`` is the stored, canonical JSON text."""
    microseconds = (at - _EPOCH) // timedelta(microseconds=1)
    line = _canonical([seq, microseconds, subject, event, facts])
    return hashlib.sha256(previous + line.encode("ascii")).digest()


def entries(connection: Connection, name: str) -> list[Entry]:
    """Return the entries of a delivery or an issue, or those of a case and all its deliveries."""
    statement = _OF_CASE if name.startswith("SB-") else _OF_SUBJECT
    return [_entry(row) for row in connection.execute(statement, {"name": name})]


def first_broken(connection: Connection) -> int | None:
    """Verify the whole chain; return the seq of the first entry that does not fit, else None."""
    seq, previous = 0, GENESIS
    for row in _all_rows(connection):
        right = entry_hash(previous, row.seq, row.at, row.subject, row.event, row.facts)
        if row.seq != seq + 1 or row.hash != right:
            return seq + 1
        seq, previous = row.seq, right
    given = connection.execute(_LAST_GIVEN).scalar() or 0
    return None if given == seq else seq + 1


def _all_rows(connection: Connection) -> Iterator[Any]:
    seen = 0
    while rows := connection.execute(_AFTER, {"seen": seen}).all():
        yield from rows
        seen = rows[-1].seq


def _entry(row: Any) -> Entry:
    return Entry(row.seq, row.at, row.subject, row.event, json.loads(row.facts), row.hash)
