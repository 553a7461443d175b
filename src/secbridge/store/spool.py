"""How does a mail become ours?  One row for the mail, one delivery for each alias, one commit.

The raw content is kept once for each mail, however many aliases it came for.  The key of a mail is
``rules.trace.content_key``; the pair (mail, alias) is unique, so a second hand-over after a lost
250 finds the first delivery.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, exists, select, update
from sqlalchemy.dialects.sqlite import insert

from secbridge.model.delivery import State
from secbridge.model.envelope import Envelope, Target
from secbridge.rules.trace import content_key
from secbridge.store import faults, journal, place
from secbridge.store.blobs import Blobs
from secbridge.store.database import Transaction
from secbridge.store.prepared import Prepared
from secbridge.store.room import StoreRoom
from secbridge.store.schema import cases, deliveries, mail_chunks, mails

_HASH_ELSEWHERE = 1 << 18
"""Octets from which hashing goes to a thread, so that the loop answers others meanwhile."""

raw = Blobs(mail_chunks)

_INSERT_MAIL = Prepared(
    insert(mails).on_conflict_do_nothing(index_elements=["key"]).returning(mails.c.id),
    "key",
    "size",
    "received_at",
)
_FIND_MAIL = select(mails.c.id, mails.c.purged_at).where(mails.c.key == bindparam("key"))
_INSERT_DELIVERY = Prepared(
    insert(deliveries)
    .on_conflict_do_nothing(index_elements=["mail_id", "alias"])
    .returning(deliveries.c.id),
    "id",
    "mail_id",
    "alias",
    "recipient",
    "token",
    "outgoing",
    "reverse_path",
    "received_at",
    "state",
    "attempts",
    "begun",
    "deferrals",
    "changed_at",
    "due_at",
)
_FIND_DELIVERY = select(deliveries.c.id).where(
    deliveries.c.mail_id == bindparam("mail"), deliveries.c.alias == bindparam("alias")
)
_KEPT_AGAIN = update(mails).where(mails.c.id == bindparam("mail")).values(purged_at=None)
_TOKEN_OF = select(
    exists().where(
        cases.c.token == bindparam("token"),
        (cases.c.alias == bindparam("alias"))
        | exists().where(
            deliveries.c.case_id == cases.c.id, deliveries.c.alias == bindparam("alias")
        ),
    )
)


@dataclass(frozen=True, slots=True)
class _Accepting:
    """A mail on its way into the store."""

    key: bytes
    envelope: Envelope
    content: bytes
    targets: Sequence[Target]
    ids: Sequence[str]
    now: datetime

    def __call__(self, transaction: Transaction) -> list[str]:
        """Return the id of each target's delivery, new or old."""
        mail_id = self._keep(transaction)
        return [
            self._deliver(transaction, mail_id, target, delivery_id)
            for target, delivery_id in zip(self.targets, self.ids, strict=True)
        ]

    def _keep(self, transaction: Transaction) -> int:
        row = {
            "key": self.key,
            "size": len(self.content),
            "received_at": self.envelope.received_at,
        }
        new = _INSERT_MAIL.run(transaction.driver, row).fetchone()
        if new is None:
            return self._kept(transaction)
        mail_id: int = new[0]
        raw.write(transaction, mail_id, self.content)
        return mail_id

    def _kept(self, transaction: Transaction) -> int:
        """Return the mail that is here already, with its content again if that was purged."""
        connection = transaction.connection
        found = connection.execute(_FIND_MAIL, {"key": self.key}).one()
        if found.purged_at is not None:
            raw.write(transaction, found.id, self.content)
            connection.execute(_KEPT_AGAIN, {"mail": found.id})
        mail_id: int = found.id
        return mail_id

    def _deliver(
        self, transaction: Transaction, mail_id: int, target: Target, delivery_id: str
    ) -> str:
        row = self._row(mail_id, target, delivery_id)
        if _INSERT_DELIVERY.run(transaction.driver, row).fetchone() is None:
            wanted = {"mail": mail_id, "alias": target.alias}
            return str(transaction.connection.execute(_FIND_DELIVERY, wanted).scalar_one())
        facts = {"mail": mail_id, "size": len(self.content)}
        journal.append(transaction, self.now, delivery_id, "delivery.accepted", facts)
        return delivery_id

    def _row(self, mail_id: int, target: Target, delivery_id: str) -> dict[str, Any]:
        return {
            "id": delivery_id,
            "mail_id": mail_id,
            "alias": target.alias,
            "recipient": target.recipient,
            "token": target.token,
            "outgoing": target.outgoing,
            "reverse_path": self.envelope.reverse_path,
            "received_at": self.envelope.received_at,
            "state": State.RECEIVED.value,
            "attempts": 0,
            "begun": False,
            "deferrals": 0,
            "changed_at": self.now,
            "due_at": self.now,
        }


class SpoolRoom(StoreRoom):
    """The port ``Spool``."""

    async def accept(
        self, envelope: Envelope, content: bytes, targets: Sequence[Target]
    ) -> Sequence[str]:
        """Commit one delivery for each target and return their ids, in order.

        Raises StoreBusy; then nothing was kept.  It refuses while less than the reserve would stay
        free, so that what is already here can still move on.
        """
        if place.room(self._db.path).free < self._reserve + 2 * len(content):
            raise faults.full()
        key = await _key(content)
        now = self._clock.now()
        ids = [self._ids.new(now) for _ in targets]
        accepting = _Accepting(key, envelope, content, targets, ids, now)
        accepted = await self._db.write(accepting)
        self._signal()
        return accepted

    async def knows_token(self, alias: str, token: str) -> bool:
        """Return whether ``token`` is the address token of a case of ``alias``."""
        wanted = {"alias": alias, "token": token}
        return await self._db.read(lambda c: bool(c.execute(_TOKEN_OF, wanted).scalar()))


async def _key(content: bytes) -> bytes:
    if len(content) < _HASH_ELSEWHERE:
        return content_key(content)
    return await asyncio.to_thread(content_key, content)
