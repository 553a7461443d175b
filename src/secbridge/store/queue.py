"""Which rows does an answer put into the outbox, and what do leases on them mean?"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, case, exists, select, update
from sqlalchemy.dialects.sqlite import insert

from secbridge.model.delivery import OutgoingState
from secbridge.model.reply import OutgoingMail
from secbridge.store.database import Transaction
from secbridge.store.prepared import Prepared
from secbridge.store.schema import outgoing

_INSERT = Prepared(
    insert(outgoing)
    .on_conflict_do_nothing(index_elements=["message_id", "recipient"])
    .returning(outgoing.c.id),
    "delivery_id",
    "case_id",
    "step",
    "kind",
    "recipient",
    "reverse_path",
    "message_id",
    "content",
    "body_hash",
    "must_encrypt",
    "encrypted_to",
    "state",
    "attempts",
    "deferrals",
    "due_at",
)
_OPEN = Prepared(
    select(
        exists().where(
            outgoing.c.delivery_id == bindparam("delivery"),
            outgoing.c.state == OutgoingState.QUEUED.value,
        )
    )
)
_RELEASE = (
    update(outgoing)
    .where(outgoing.c.owner == bindparam("mine"))
    .values(
        owner=None,
        due_at=bindparam("now"),
        attempts=case((outgoing.c.attempts > 0, outgoing.c.attempts - 1), else_=0),
    )
)
_FREE = (
    update(outgoing)
    .where(outgoing.c.owner == bindparam("mine"))
    .values(owner=None, due_at=bindparam("now"))
)


def add(
    transaction: Transaction, delivery_id: str, mails: Iterable[OutgoingMail], now: datetime
) -> int:
    """Queue mails and return how many are new; a row that is there already stays as it is."""
    rows = [_row(delivery_id, mail, now) for mail in mails]
    added = [_INSERT.scalar(transaction.driver, row) for row in rows]
    return sum(number is not None for number in added)


def has_open(transaction: Transaction, delivery_id: str) -> bool:
    """Return whether a mail of this delivery is still queued."""
    return bool(_OPEN.scalar(transaction.driver, {"delivery": delivery_id}))


def release(transaction: Transaction, owner: str, now: datetime) -> None:
    """Give back what a living owner has leased and not sent; that was no death."""
    transaction.connection.execute(_RELEASE, {"mine": owner, "now": now})


def free(transaction: Transaction, owner: str, now: datetime) -> None:
    """Give back what a dead owner had leased; the attempt counts."""
    transaction.connection.execute(_FREE, {"mine": owner, "now": now})


def _row(delivery_id: str, mail: OutgoingMail, now: datetime) -> dict[str, Any]:
    return {
        "delivery_id": delivery_id,
        "case_id": mail.case_id,
        "step": mail.step,
        "kind": mail.kind.value,
        "recipient": mail.recipient,
        "reverse_path": mail.reverse_path,
        "message_id": mail.message_id,
        "content": mail.content,
        "body_hash": mail.body_hash,
        "must_encrypt": mail.must_encrypt,
        "encrypted_to": json.dumps(mail.encrypted_to),
        "state": OutgoingState.QUEUED.value,
        "attempts": 0,
        "deferrals": 0,
        "due_at": now,
    }
