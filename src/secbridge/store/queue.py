"""Which rows does an answer put into the outbox, and what do leases and holds mean for them?

A row of a case on hold is never due.  One that was leased when the hold began leaves if it can;
meanwhile ``wait_until`` keeps the end of its lease, for the case that the hold ends before.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, case, exists, func, select, update
from sqlalchemy.dialects.sqlite import insert

from secbridge.model.delivery import OutgoingState
from secbridge.model.reply import OutgoingMail
from secbridge.store.database import Transaction
from secbridge.store.prepared import Prepared
from secbridge.store.schema import Instant, cases, outgoing

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
    "automatic",
    "queued_at",
)
_OPEN = Prepared(
    select(
        exists().where(
            outgoing.c.delivery_id == bindparam("delivery"),
            outgoing.c.state == OutgoingState.QUEUED.value,
        )
    )
)
_ON_HOLD = Prepared(select(cases.c.on_hold).where(cases.c.id == bindparam("of_case")))
IS_ON_HOLD = exists().where(cases.c.id == outgoing.c.case_id, cases.c.on_hold)
"""Whether the case of a row is on hold."""

_FREED = {
    "owner": None,
    "wait_until": None,
    "due_at": case((IS_ON_HOLD, None), else_=bindparam("now", type_=Instant)),
}
_RELEASE = (
    update(outgoing)
    .where(outgoing.c.owner == bindparam("mine"))
    .values(
        attempts=case((outgoing.c.attempts > 0, outgoing.c.attempts - 1), else_=0),
        **_FREED,
    )
)
_FREE = update(outgoing).where(outgoing.c.owner == bindparam("mine")).values(_FREED)
_OF_CASE = (
    outgoing.c.case_id == bindparam("of_case"),
    outgoing.c.state == OutgoingState.QUEUED.value,
)
_LEASED = outgoing.c.owner.is_not(None)
_HOLD = (
    update(outgoing)
    .where(*_OF_CASE, outgoing.c.due_at.is_not(None))
    .values(wait_until=case((_LEASED, outgoing.c.due_at), else_=None), due_at=None)
)
_LET_GO = (
    update(outgoing)
    .where(*_OF_CASE, outgoing.c.due_at.is_(None))
    .values(
        due_at=case(
            (_LEASED, func.coalesce(outgoing.c.wait_until, bindparam("now", type_=Instant))),
            else_=bindparam("now", type_=Instant),
        ),
        wait_until=None,
    )
)
_WAITING = select(func.count(outgoing.c.message_id.distinct())).where(
    *_OF_CASE, outgoing.c.due_at.is_(None), outgoing.c.owner.is_(None)
)
_FORGET = (
    update(outgoing)
    .where(
        outgoing.c.id.in_(
            select(outgoing.c.id)
            .where(
                outgoing.c.state != OutgoingState.QUEUED.value,
                func.coalesce(outgoing.c.sent_at, outgoing.c.queued_at) < bindparam("before"),
                func.length(outgoing.c.content) > 0,
            )
            .limit(bindparam("most"))
        )
    )
    .values(content=b"")
)


def add(
    transaction: Transaction, delivery_id: str | None, mails: Iterable[OutgoingMail], now: datetime
) -> int:
    """Queue mails and return how many are new; a row that is there already stays as it is."""
    rows = [_row(delivery_id, mail, now) for mail in mails]
    for case_id in {row["case_id"] for row in rows}:
        if _ON_HOLD.scalar(transaction.driver, {"of_case": case_id}):
            rows = [row | {"due_at": None} if row["case_id"] == case_id else row for row in rows]
    added = [_INSERT.scalar(transaction.driver, row) for row in rows]
    return sum(number is not None for number in added)


def has_open(transaction: Transaction, delivery_id: str) -> bool:
    """Return whether a mail of this delivery is still queued."""
    return bool(_OPEN.scalar(transaction.driver, {"delivery": delivery_id}))


def hold(transaction: Transaction, case_id: str) -> int:
    """Let no mail of a case be due; return how many wait, a mail and its copies being one."""
    transaction.connection.execute(_HOLD, {"of_case": case_id})
    return waiting(transaction, case_id)


def let_go(transaction: Transaction, case_id: str, now: datetime) -> int:
    """Make the mails of a case due that a hold has kept; return how many they are."""
    waited = waiting(transaction, case_id)
    transaction.connection.execute(_LET_GO, {"of_case": case_id, "now": now})
    return waited


def waiting(transaction: Transaction, case_id: str) -> int:
    """Return how many mails of a case are not due for a hold, those under way not counted."""
    return int(transaction.connection.execute(_WAITING, {"of_case": case_id}).scalar_one())


def forget_contents(transaction: Transaction, before: datetime, *, most: int) -> int:
    """Delete the bytes of mails that left, or never will, before then; return of how many."""
    return transaction.connection.execute(_FORGET, {"before": before, "most": most}).rowcount


def release(transaction: Transaction, owner: str, now: datetime) -> None:
    """Give back what a living owner has leased and not sent; that was no death."""
    transaction.connection.execute(_RELEASE, {"mine": owner, "now": now})


def free(transaction: Transaction, owner: str, now: datetime) -> None:
    """Give back what a dead owner had leased; the attempt counts."""
    transaction.connection.execute(_FREE, {"mine": owner, "now": now})


def _row(delivery_id: str | None, mail: OutgoingMail, now: datetime) -> dict[str, Any]:
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
        "automatic": mail.automatic,
        "queued_at": now,
    }
