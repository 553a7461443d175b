"""By which mails is a case known?  By those that we sent, and by those that came in with it.

Message-IDs of ours cannot be guessed, so whoever names one has read a mail of the case.  Those that
came in anybody may have seen, and anybody may name; rules decide whom they let in.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Text, bindparam, func, select

from secbridge.errors import Overtook
from secbridge.model.case import Case
from secbridge.model.delivery import State
from secbridge.model.reply import OwnMail, ReplyKind
from secbridge.ports import Ahead
from secbridge.store import incoming
from secbridge.store.cases import OF_ALIAS, SELECT, case_by
from secbridge.store.prepared import Prepared
from secbridge.store.room import StoreRoom
from secbridge.store.schema import Instant, case_mails, cases, deliveries, outgoing
from secbridge.store.spool import raw

_MOST_INCOMING = 10
"""Mails of the reporter that an answer may refer to."""

_NAMES = func.json_each(bindparam("wanted", type_=Text)).table_valued("value")
_NAMED = select(_NAMES.c.value)
"""Any number of Message-IDs in one value, so that the statement stays the same."""

_BY_MESSAGE_IDS = Prepared(
    SELECT.join(outgoing, outgoing.c.case_id == cases.c.id)
    .where(outgoing.c.message_id.in_(_NAMED), OF_ALIAS)
    .order_by(outgoing.c.id.desc())
    .limit(1)
)
_BY_INCOMING_IDS = Prepared(
    SELECT.join(case_mails, case_mails.c.case_id == cases.c.id)
    .where(case_mails.c.message_id.in_(_NAMED), OF_ALIAS)
    .order_by(
        (func.lower(func.coalesce(cases.c.reporter, "")) == func.lower(bindparam("author"))).desc(),
        cases.c.opened_at.desc(),
        case_mails.c.id.desc(),
    )
    .limit(1)
)
_INCOMING = (
    select(case_mails.c.message_id)
    .where(case_mails.c.case_id == bindparam("of_case"), case_mails.c.by_reporter)
    .order_by(case_mails.c.received_at.desc(), case_mails.c.id.desc())
    .limit(_MOST_INCOMING)
)
_MOST_AHEAD = 50
"""Mails before and mails behind one that names others whose beginning is read."""

_BEGINNING = 64 << 10
"""Octets of a mail in which its Message-ID is looked for."""

_BEFORE_A_CASE = tuple(
    state.value for state in (State.RECEIVED, State.OPENED, State.JUDGED, State.ROUTED)
)
_BEHIND = deliveries.alias("behind")
_IS_PUT_OFF = (deliveries.c.state == State.DEFERRED.value) & (deliveries.c.why != Overtook.CODE)
_HAS_PATIENCE = _BEHIND.c.received_at > bindparam("since", type_=Instant)
_ON_ITS_WAY = (
    select(deliveries.c.id, deliveries.c.mail_id)
    .join(_BEHIND, _BEHIND.c.id == bindparam("this"))
    .where(
        deliveries.c.state.in_((*_BEFORE_A_CASE, State.DEFERRED.value)),
        deliveries.c.alias == _BEHIND.c.alias,
        deliveries.c.case_id.is_(None),
    )
    .limit(_MOST_AHEAD)
)
_EARLIER = _ON_ITS_WAY.where(deliveries.c.id < _BEHIND.c.id, ~_IS_PUT_OFF | _HAS_PATIENCE).order_by(
    _IS_PUT_OFF, deliveries.c.id.desc()
)
_LATER = _ON_ITS_WAY.where(deliveries.c.id > _BEHIND.c.id, _HAS_PATIENCE).order_by(deliveries.c.id)
_SENT = (
    select(
        outgoing.c.case_id,
        outgoing.c.step,
        outgoing.c.body_hash,
        outgoing.c.kind,
        outgoing.c.recipient,
        outgoing.c.sent_at,
    )
    .join(cases, cases.c.id == outgoing.c.case_id)
    .order_by(outgoing.c.recipient == cases.c.alias, outgoing.c.id)  # the alias has a copy only
    .limit(1)
)
_OWN = Prepared(_SENT.where(outgoing.c.message_id.in_((bindparam("bare"), bindparam("bracketed")))))
_SENT_AS = Prepared(
    _SENT.where(
        outgoing.c.case_id == bindparam("of_case"),
        func.lower(outgoing.c.reverse_path) == func.lower(bindparam("wanted")),
    )
)


class ThreadsRoom(StoreRoom):
    """What the port ``Cases`` says of mails that refer to others."""

    async def case_by_message_ids(self, alias: str, message_ids: Sequence[str]) -> Case | None:
        """Return the case for which we issued one of these Message-IDs, or None.

        With and without angle brackets they are the same; of several the newest of ours counts.
        """
        wanted = [form for name in incoming.bare(message_ids) for form in (name, f"<{name}>")]
        names = json.dumps(wanted)
        return await self._db.look(
            lambda c: case_by(c, _BY_MESSAGE_IDS, for_alias=alias, wanted=names)
        )

    async def case_by_incoming_ids(
        self, alias: str, message_ids: Sequence[str], *, author: str | None = None
    ) -> Case | None:
        """Return the case with which one of these Message-IDs came in, or None.

        With and without angle brackets they are the same.  Of several cases those of which
        ``author`` is the reporter come first, and of these the newest counts.
        """
        names = json.dumps(incoming.bare(message_ids))
        given = {"for_alias": alias, "wanted": names, "author": author or "@"}
        return await self._db.look(lambda c: case_by(c, _BY_INCOMING_IDS, **given))

    async def ahead_of(self, delivery_id: str, *, patience: timedelta) -> Sequence[Ahead]:
        """Return other deliveries to the same alias that are in no case yet.

        Earlier ones that a worker has or will take at once; as long as this one came in less than
        ``patience`` ago, those that were put off and later ones, too.  Fifty at most of each, the
        earlier ones first, of these those at work first, the nearest first.
        """
        wanted = {"this": delivery_id, "since": self._clock.now() - patience}

        def query(connection: Connection) -> list[Ahead]:
            return [
                Ahead(row.id, raw.beginning(connection, row.mail_id, _BEGINNING))
                for statement in (_EARLIER, _LATER)
                for row in connection.execute(statement, wanted).all()
            ]

        return await self._db.read(query)

    async def incoming_ids(self, case_id: str) -> Sequence[str]:
        """Return the Message-IDs of the reporter's newest mails in a case, oldest first.

        Ten at most, with their angle brackets.
        """
        rows = await self._db.read(
            lambda c: c.execute(_INCOMING, {"of_case": case_id}).scalars().all()
        )
        return [f"<{message_id}>" for message_id in reversed(rows)]

    async def own_mail(self, message_id: str) -> OwnMail | None:
        """Return what we sent under this Message-ID, or None."""
        bare = message_id.strip().strip("<>")
        return await self._sent(_OWN, bare=bare, bracketed=f"<{bare}>")

    async def mail_sent_as(self, case_id: str, reverse_path: str) -> OwnMail | None:
        """Return which mail of ours in a case had this envelope sender, or None."""
        return await self._sent(_SENT_AS, of_case=case_id, wanted=reverse_path)

    async def _sent(self, statement: Prepared, **wanted: Any) -> OwnMail | None:
        row = await self._db.ask_one(statement, wanted)
        if row is None:
            return None
        kind = ReplyKind(row.kind)
        return OwnMail(row.case_id, row.step, row.body_hash, kind, row.recipient, row.sent_at)
