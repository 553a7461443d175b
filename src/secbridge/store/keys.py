"""Which certificate answers whom, who said so, and which ones wait for the team's word?

A binding is made once for a case (trust on first use) and replaced by a person alone.  Whatever
binds a certificate makes the answers due that were held for want of one, in the same commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert

from secbridge.errors import IllegalMove
from secbridge.model.case import KeyBinding
from secbridge.model.message import CertificateSource
from secbridge.ports import BoundKey, KeyChange
from secbridge.rules.structure import folded
from secbridge.store import journal
from secbridge.store.database import Transaction
from secbridge.store.deliveries import wake
from secbridge.store.prepared import Prepared
from secbridge.store.room import StoreRoom
from secbridge.store.schema import cases, key_bindings, key_changes

BOUND = (
    key_bindings.c.address,
    key_bindings.c.fingerprint,
    key_bindings.c.source,
    key_bindings.c.bound_at,
    key_bindings.c.accepted_by,
)
"""The columns of which ``binding_of`` makes a KeyBinding."""

_OF_CASE = Prepared(select(*BOUND).where(key_bindings.c.case_id == bindparam("of_case")))
_KEY_FOR = Prepared(
    select(*BOUND)
    .where(
        key_bindings.c.alias == bindparam("for_alias"),
        key_bindings.c.address == bindparam("wanted"),
    )
    .order_by(key_bindings.c.id.desc())
    .limit(1)
)
_ALIAS_OF = Prepared(select(cases.c.alias).where(cases.c.id == bindparam("of_case")))
_BIND = Prepared(
    insert(key_bindings),
    "case_id",
    "alias",
    "address",
    "fingerprint",
    "source",
    "bound_at",
    "accepted_by",
)
_UNBIND = delete(key_bindings).where(key_bindings.c.case_id == bindparam("of_case"))
_FORGET = (
    delete(key_bindings)
    .where(key_bindings.c.fingerprint == bindparam("unwanted"))
    .returning(key_bindings.c.case_id)
)
_REBIND = (
    update(key_bindings)
    .where(
        key_bindings.c.alias == bindparam("for_alias"),
        key_bindings.c.address == bindparam("of_address"),
        key_bindings.c.fingerprint == bindparam("old"),
    )
    .values(
        fingerprint=bindparam("new_fingerprint"),
        source=bindparam("new_source"),
        bound_at=bindparam("now"),
        accepted_by=bindparam("by"),
    )
    .returning(key_bindings.c.case_id)
)
_CHANGE = select(key_changes).where(
    key_changes.c.case_id == bindparam("of_case"),
    key_changes.c.fingerprint == bindparam("wanted"),
)
_CHANGES = Prepared(
    select(key_changes)
    .where(key_changes.c.case_id == bindparam("of_case"))
    .order_by(key_changes.c.id)
)
_PROPOSE = insert(key_changes)
_PROPOSE_AGAIN = (
    update(key_changes)
    .where(key_changes.c.id == bindparam("row"))
    .values(
        source=bindparam("new_source"),
        seen_at=bindparam("new_seen_at"),
        accepted_at=None,
        accepted_by=None,
    )
)
_ACCEPT = (
    update(key_changes)
    .where(
        key_changes.c.address == bindparam("of_address"),
        key_changes.c.fingerprint == bindparam("wanted"),
        key_changes.c.accepted_at.is_(None),
        key_changes.c.case_id.in_(
            select(cases.c.id).where(cases.c.alias == bindparam("for_alias"))
        ),
    )
    .values(accepted_at=bindparam("now"), accepted_by=bindparam("by"))
)


class KeysRoom(StoreRoom):
    """What the port ``Cases`` says of reporters' certificates."""

    async def bind_key(self, case_id: str, binding: KeyBinding) -> None:
        """Bind a certificate to the case and its reporter, unless one is bound already.

        Held answers of the case, and others to the same address, are due then.
        """
        now = self._clock.now()

        def bind(transaction: Transaction) -> bool:
            alias = _alias_of(transaction, case_id)
            if _bound_in(transaction, case_id) is not None:
                return False
            _insert(transaction, case_id, alias, binding)
            facts = {"fingerprint": binding.fingerprint, "source": binding.source.value}
            journal.append(transaction, now, case_id, "case.key-bound", facts)
            return bool(
                wake(transaction, now, case_id=case_id, alias=alias, address=binding.address)
            )

        if await self._db.write(bind):
            self._delivery_bell.set()

    async def key_for(self, alias: str, address: str) -> KeyBinding | None:
        """Return the newest binding of this address under this alias, or None."""
        wanted = {"for_alias": alias, "wanted": folded(address)}
        row = await self._db.ask_one(_KEY_FOR, wanted)
        return None if row is None else binding_of(row)

    async def propose_key(self, change: KeyChange) -> bool:
        """Record that another certificate came for the case; return whether that is news.

        One that was accepted once and is not bound any more is news again.
        """
        now = self._clock.now()

        def propose(transaction: Transaction) -> bool:
            _alias_of(transaction, change.case_id)
            if not _is_news(transaction, change):
                return False
            facts = {"fingerprint": change.fingerprint, "source": change.source.value}
            journal.append(transaction, now, change.case_id, "case.key-proposed", facts)
            return True

        return await self._db.write(propose)

    async def key_changes(self, case_id: str) -> Sequence[KeyChange]:
        """Return the certificates that were proposed for a case, oldest first."""
        wanted = {"of_case": case_id}
        rows = await self._db.ask(_CHANGES, wanted)
        return [_change(row) for row in rows]

    async def waiting_keys(self, *, address: str | None = None) -> Sequence[KeyChange]:
        """Return the certificates that nobody has accepted yet, oldest first.

        Those of all cases and aliases, or those that came for one address.
        """
        waiting = (
            select(key_changes)
            .where(key_changes.c.accepted_at.is_(None))
            .order_by(key_changes.c.id)
        )
        if address is not None:
            waiting = waiting.where(key_changes.c.address == folded(address))
        return await self._db.read(lambda c: [_change(row) for row in c.execute(waiting)])

    async def accept_key(self, case_id: str, fingerprint: str, *, by: str) -> KeyBinding | None:
        """Bind a proposed certificate in place of the bound one, and wake held answers.

        One commit.  It takes the old one's place in the reporter's other cases under the alias as
        well, and wakes the held answers of those.  Return the binding, or None when this
        certificate was never proposed for the case.  Accepting twice changes nothing.
        """
        now = self._clock.now()
        accepted = await self._db.write(lambda t: _accept(t, case_id, fingerprint, by, now))
        self._delivery_bell.set()
        return accepted

    async def bound_keys(
        self, *, alias: str | None = None, address: str | None = None
    ) -> Sequence[BoundKey]:
        """Return bindings with their provenance, newest first."""
        wanted = select(key_bindings).order_by(key_bindings.c.id.desc())
        if alias is not None:
            wanted = wanted.where(key_bindings.c.alias == alias)
        if address is not None:
            wanted = wanted.where(func.lower(key_bindings.c.address) == func.lower(address))
        return await self._db.read(
            lambda c: [
                BoundKey(row.case_id, row.alias, binding_of(row)) for row in c.execute(wanted)
            ]
        )

    async def forget_key(self, fingerprint: str, *, by: str) -> int:
        """Remove every binding of a certificate, with a journal entry each; return how many."""
        now = self._clock.now()

        def forget(transaction: Transaction) -> int:
            rows = transaction.connection.execute(_FORGET, {"unwanted": fingerprint})
            unbound = sorted(rows.scalars())
            for case_id in unbound:
                facts = {"fingerprint": fingerprint, "by": by}
                journal.append(transaction, now, case_id, "case.key-forgotten", facts)
            return len(unbound)

        return await self._db.write(forget)


def _accept(
    transaction: Transaction, case_id: str, fingerprint: str, by: str, now: datetime
) -> KeyBinding | None:
    wanted = {"of_case": case_id, "wanted": fingerprint}
    change = transaction.connection.execute(_CHANGE, wanted).one_or_none()
    if change is None:
        return None
    alias, own = _alias_of(transaction, case_id), _bound_in(transaction, case_id)
    if own is not None and own.fingerprint == fingerprint and change.accepted_at is not None:
        return own
    old = own or _newest(transaction, alias, change.address)
    source = CertificateSource(change.source)
    binding = KeyBinding(change.address, fingerprint, source, now, accepted_by=by)
    transaction.connection.execute(_UNBIND, {"of_case": case_id})
    others = _rebind(transaction, alias, old, binding) if old is not None else []
    _insert(transaction, case_id, alias, binding)
    asked = {"of_address": change.address, "wanted": fingerprint, "for_alias": alias}
    transaction.connection.execute(_ACCEPT, {**asked, "now": now, "by": by})
    for changed in (case_id, *others):
        facts = {
            "fingerprint": fingerprint,
            "source": source.value,
            "replaced": old.fingerprint if old else "",
            "by": by,
        }
        journal.append(transaction, now, changed, "case.key-accepted", facts)
    wake(transaction, now, case_id=case_id, alias=alias, address=change.address)
    return binding


def _rebind(transaction: Transaction, alias: str, old: KeyBinding, new: KeyBinding) -> list[str]:
    """Put a certificate in another's place in the reporter's other cases; return these."""
    wanted = {
        "for_alias": alias,
        "of_address": new.address,
        "old": old.fingerprint,
        "new_fingerprint": new.fingerprint,
        "new_source": new.source.value,
        "now": new.bound_at,
        "by": new.accepted_by,
    }
    return sorted(transaction.connection.execute(_REBIND, wanted).scalars())


def _is_news(transaction: Transaction, change: KeyChange) -> bool:
    """Write a proposal down unless it is there and still waits, or is bound."""
    connection = transaction.connection
    wanted = {"of_case": change.case_id, "wanted": change.fingerprint}
    known = connection.execute(_CHANGE, wanted).one_or_none()
    if known is None:
        row = {
            "case_id": change.case_id,
            "address": folded(change.address),
            "fingerprint": change.fingerprint,
            "source": change.source.value,
            "seen_at": change.seen_at,
        }
        connection.execute(_PROPOSE, row)
        return True
    bound = _bound_in(transaction, change.case_id)
    if known.accepted_at is None or (bound and bound.fingerprint == change.fingerprint):
        return False
    again = {
        "row": known.id,
        "new_source": change.source.value,
        "new_seen_at": change.seen_at,
    }
    connection.execute(_PROPOSE_AGAIN, again)
    return True


def _insert(transaction: Transaction, case_id: str, alias: str, binding: KeyBinding) -> None:
    row = {
        "case_id": case_id,
        "alias": alias,
        "address": folded(binding.address),
        "fingerprint": binding.fingerprint,
        "source": binding.source.value,
        "bound_at": binding.bound_at,
        "accepted_by": binding.accepted_by,
    }
    _BIND.run(transaction.driver, row)


def _alias_of(transaction: Transaction, case_id: str) -> str:
    alias = _ALIAS_OF.scalar(transaction.driver, {"of_case": case_id})
    if alias is None:
        raise IllegalMove("there is no such case")
    return str(alias)


def _bound_in(transaction: Transaction, case_id: str) -> KeyBinding | None:
    row = _OF_CASE.one(transaction.driver, {"of_case": case_id})
    return None if row is None else binding_of(row)


def _newest(transaction: Transaction, alias: str, address: str) -> KeyBinding | None:
    row = _KEY_FOR.one(transaction.driver, {"for_alias": alias, "wanted": address})
    return None if row is None else binding_of(row)


def binding_of(row: Any) -> KeyBinding:
    """Make the model's value of a row that has the columns ``BOUND``."""
    source = CertificateSource(row.source)
    return KeyBinding(row.address, row.fingerprint, source, row.bound_at, row.accepted_by)


def _change(row: Any) -> KeyChange:
    return KeyChange(
        case_id=row.case_id,
        address=row.address,
        fingerprint=row.fingerprint,
        source=CertificateSource(row.source),
        seen_at=row.seen_at,
        accepted_at=row.accepted_at,
        accepted_by=row.accepted_by,
    )
