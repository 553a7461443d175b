"""What did a key directory say, and until when is it not asked again?

An answer is a public certificate; that somebody was looked for is not public.  So rows go when
their time is over: with the next one that is written, and by the clock.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects.sqlite import insert

from secbridge.model.message import CertificateSource
from secbridge.ports import Remembered
from secbridge.store.database import Transaction
from secbridge.store.prepared import Prepared
from secbridge.store.room import StoreRoom
from secbridge.store.schema import key_lookups

_RECALL = Prepared(
    select(key_lookups.c.found).where(
        key_lookups.c.source == bindparam("at_source"),
        key_lookups.c.query == bindparam("asked"),
        key_lookups.c.until > bindparam("now"),
    )
)
_INSERT = insert(key_lookups)
_REMEMBER = _INSERT.on_conflict_do_update(
    index_elements=["source", "query"],
    set_={"until": _INSERT.excluded.until, "found": _INSERT.excluded.found},
)
_FORGET = delete(key_lookups).where(key_lookups.c.until <= bindparam("now"))


class LookupsRoom(StoreRoom):
    """The port ``Lookups``."""

    async def recall_lookup(self, source: CertificateSource, query: str) -> Remembered | None:
        """Return what this place said to this question, or None when it is to be asked."""
        wanted = {"at_source": source.value, "asked": query, "now": self._clock.now()}
        row = await self._db.ask_one(_RECALL, wanted)
        return None if row is None else Remembered(row.found)

    async def remember_lookup(
        self, source: CertificateSource, query: str, found: bytes | None, *, until: datetime
    ) -> None:
        """Keep an answer, or None for a miss, in place of an earlier one."""
        now = self._clock.now()
        row = {"source": source.value, "query": query, "until": until, "found": found}

        def remember(transaction: Transaction) -> None:
            _forget(transaction, now)
            transaction.connection.execute(_REMEMBER, row)

        await self._db.write(remember)

    async def forget_lookups(self) -> int:
        """Delete what is not used again, and return how many answers that were."""
        now = self._clock.now()
        return await self._db.write(lambda transaction: _forget(transaction, now))


def _forget(transaction: Transaction, now: datetime) -> int:
    return transaction.connection.execute(_FORGET, {"now": now}).rowcount
