"""Under which Message-IDs did mails of a case come in?  Later mails may refer to them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.dialects.sqlite import insert

from secbridge.model.delivery import Incoming
from secbridge.store.database import Transaction
from secbridge.store.prepared import Prepared
from secbridge.store.schema import case_mails

_MOST = 1000
"""Message-IDs looked up for one mail; a References field beyond this is no thread of ours."""

_LONGEST = 998
"""Octets of a Message-ID that is known: no line of a mail is longer (RFC 5322 section 2.1.1)."""

_NEW = insert(case_mails)
_KEEP = Prepared(
    _NEW.on_conflict_do_update(
        index_elements=["case_id", "message_id"],
        set_={"by_reporter": case_mails.c.by_reporter | _NEW.excluded.by_reporter},
    ),
    "case_id",
    "message_id",
    "by_reporter",
    "received_at",
)


def keep(
    transaction: Transaction, case_id: str, incoming: Incoming | None, received_at: datetime
) -> None:
    """Record with which case a mail came in; one without a Message-ID is passed over.

    Once it is known to be the reporter's it stays so.
    """
    if incoming is None:
        return
    for message_id in bare([incoming.message_id]):
        row = {
            "case_id": case_id,
            "message_id": message_id,
            "by_reporter": incoming.by_reporter,
            "received_at": received_at,
        }
        _KEEP.run(transaction.driver, row)


def bare(message_ids: Sequence[str]) -> list[str]:
    """Return Message-IDs without their angle brackets, each once, sorted; not those too long."""
    found = {message_id.strip().strip("<>") for message_id in message_ids[-_MOST:]}
    return sorted(name for name in found if 0 < len(name.encode(errors="replace")) <= _LONGEST)
