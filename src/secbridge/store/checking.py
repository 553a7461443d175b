"""Does the store keep what it promises?  Asked of the file itself, not of the configuration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection

from secbridge.errors import StoreBusy
from secbridge.model.issue import Finding, Severity
from secbridge.store import journal, place
from secbridge.store.room import StoreRoom
from secbridge.store.schema import JOURNAL_TRIGGERS

_SCARCE = 1 << 30
"""Free octets under which we warn; under the reserve nothing is accepted."""

_DURABLE = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
"""What the writer's connection must answer (synchronous: 2 is FULL)."""


class CheckingRoom(StoreRoom):
    """``check`` and the reading of the journal, for operators."""

    async def check(self) -> Sequence[Finding]:
        """Return what is wrong with the store, or one finding that says that nothing is."""
        findings = [*_place(self), *await self._durable(), *await self._contents()]
        return findings or [_finding(Severity.OK, "the store is whole, durable and private")]

    async def journal(self, name: str) -> Sequence[journal.Entry]:
        """Return the journal of a delivery, an issue (``issue-N``), or a case and its mails."""
        return await self._db.read(lambda c: journal.entries(c, name))

    async def _durable(self) -> list[Finding]:
        try:
            answers = await self._db.write(lambda t: _answers(t.connection))
        except StoreBusy as exc:
            return [_finding(Severity.ERROR, f"nothing can be committed: {exc.code}")]
        return [
            _finding(Severity.ERROR, f"{name} is {answers[name]} and must be {right}")
            for name, right in _DURABLE.items()
            if answers[name] != right
        ]

    async def _contents(self) -> list[Finding]:
        try:
            return await self._db.read(lambda c: list(_damage(c)))
        except StoreBusy as exc:
            mend = "stop the daemon, keep the file, and restore the newest backup beside it"
            return [_finding(Severity.ERROR, f"the store cannot be read: {exc.code}", mend)]


def _place(store: CheckingRoom) -> Iterator[Finding]:
    path = store._db.path
    for file in place.open_to_others(path):
        mend = f"chmod go= {file}"
        yield _finding(Severity.ERROR, f"{file} is open to other users", mend)
    space = place.room(path)
    left = f"{space.free >> 20} MiB are free beside the store"
    if space.free < store._reserve:
        yield _finding(Severity.ERROR, f"{left}: no mail is accepted", "make room on this disk")
    elif space.free < _SCARCE:
        yield _finding(Severity.WARNING, left, "make room on this disk")


def _answers(connection: Connection) -> dict[str, object]:
    return {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in _DURABLE}


def _damage(connection: Connection) -> Iterator[Finding]:
    keep = "stop the daemon, keep the file, and restore the newest backup beside it"
    if connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one() != "ok":
        yield _finding(Severity.ERROR, "the database file is damaged", keep)
    if connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
        yield _finding(Severity.ERROR, "a row names another that is missing", keep)
    if (seq := journal.first_broken(connection)) is not None:
        text = f"the journal was changed at entry {seq}"
        yield _finding(Severity.ERROR, text, "compare it with a backup; do not trust this one")
    if missing := sorted(set(JOURNAL_TRIGGERS) - _triggers(connection)):
        text = f"the journal is not guarded: {', '.join(missing)}"
        yield _finding(Severity.ERROR, text, "somebody removed the triggers; find out who")


def _triggers(connection: Connection) -> set[str]:
    query = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
    return set(connection.exec_driver_sql(query).scalars())


def _finding(severity: Severity, text: str, mend: str = "") -> Finding:
    return Finding("store", severity, text, mend)
