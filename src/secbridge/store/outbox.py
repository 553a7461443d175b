"""Which mails of ours still have to leave, and what did the relay say?

Rows appear in the same commit as the delivery's ``Answered`` or ``Held``, or by themselves when a
person had something said.  The last row of an answered delivery that is closed carries the
delivery's ``Finished`` with it; one whose answer is held goes on waiting.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, case, func, literal_column, select, update

from secbridge.errors import IllegalMove
from secbridge.model.delivery import Held, Outgoing, OutgoingState, State
from secbridge.model.reply import OutgoingMail, ReplyKind
from secbridge.rules.loops import without_tag
from secbridge.store import journal, moves, queue
from secbridge.store.database import Transaction
from secbridge.store.prepared import Prepared
from secbridge.store.room import StoreRoom
from secbridge.store.schema import Instant, cases, outgoing

_DUE = (
    select(outgoing.c.id)
    .where(outgoing.c.due_at <= bindparam("now"))
    .order_by(outgoing.c.due_at, outgoing.c.id)
    .limit(bindparam("most"))
)
_ANY_DUE = Prepared(select(outgoing.c.id).where(outgoing.c.due_at <= bindparam("now")).limit(1))
_CLAIM = Prepared(
    update(outgoing)
    .where(outgoing.c.id.in_(_DUE))
    .values(
        attempts=outgoing.c.attempts + 1,
        owner=bindparam("new_owner"),
        due_at=bindparam("until"),
        wait_until=None,
    )
    .returning(*outgoing.c)
)
_GET = Prepared(select(outgoing).where(outgoing.c.id == bindparam("row")))
_NAMED = (outgoing.c.id, outgoing.c.delivery_id, outgoing.c.case_id, outgoing.c.kind)
"""What is told of a row that changed; its content is not read again."""
_CLOSE = Prepared(
    update(outgoing)
    .where(outgoing.c.id == bindparam("row"), outgoing.c.state == OutgoingState.QUEUED.value)
    .values(
        state=bindparam("new_state"),
        last_status=bindparam("status"),
        sent_at=bindparam("new_sent_at"),
        wait_until=None,
        due_at=None,
        owner=None,
    )
    .returning(*_NAMED)
)
_UNLESS_ON_HOLD = case((queue.IS_ON_HOLD, None), else_=bindparam("until", type_=Instant))
_DEFER = Prepared(
    update(outgoing)
    .where(outgoing.c.id == bindparam("row"), outgoing.c.state == OutgoingState.QUEUED.value)
    .values(
        attempts=0,
        deferrals=outgoing.c.deferrals + 1,
        last_status=bindparam("status"),
        wait_until=_UNLESS_ON_HOLD,
        due_at=_UNLESS_ON_HOLD,
        owner=None,
    )
    .returning(*_NAMED)
)
_OF_DELIVERY = (
    select(outgoing).where(outgoing.c.delivery_id == bindparam("delivery")).order_by(outgoing.c.id)
)
_OF_CASE = select(outgoing).where(outgoing.c.case_id == bindparam("case")).order_by(outgoing.c.id)
_POSTED = (
    select(outgoing)
    .join(cases, cases.c.id == outgoing.c.case_id)
    .where(outgoing.c.case_id == bindparam("case"), outgoing.c.step == bindparam("of_step"))
    .order_by(outgoing.c.recipient == cases.c.alias, outgoing.c.id)  # the alias has a copy only
    .limit(1)
)
_NEWEST = select(outgoing).order_by(outgoing.c.id.desc()).limit(bindparam("most"))
_BY_STATE = _NEWEST.where(outgoing.c.state == bindparam("wanted"))
_UNTOLD = (
    select(outgoing)
    .join(cases, cases.c.id == outgoing.c.case_id)
    .where(
        outgoing.c.state.in_([OutgoingState.REFUSED.value, OutgoingState.QUARANTINED.value]),
        outgoing.c.told_at.is_(None),
        cases.c.issue_id.is_not(None),
    )
    .order_by(outgoing.c.id)
    .limit(bindparam("most"))
)
_TELL = (
    update(outgoing)
    .where(outgoing.c.id == bindparam("row"), outgoing.c.told_at.is_(None))
    .values(told_at=bindparam("now"))
)
_TELLING = (
    update(outgoing).where(outgoing.c.id == bindparam("row")).values(telling_at=bindparam("at"))
)
_MAILS = select(func.count(outgoing.c.message_id.distinct()))
_AUTOMATIC = _MAILS.where(outgoing.c.automatic, outgoing.c.queued_at >= bindparam("since"))
_IN_CASE = _MAILS.where(
    outgoing.c.case_id == bindparam("case"),
    literal_column("+outgoing.automatic"),  # with a plus, SQLite looks for the case's rows alone
    literal_column("+outgoing.queued_at", Instant()) >= bindparam("since"),
)
_RECIPIENT = func.lower(outgoing.c.recipient)
_TO_RECIPIENT = (bindparam("untagged") == _RECIPIENT) | _RECIPIENT.like(
    bindparam("tagged"), escape="\\"
)
_COUNTS = {
    (False, False): Prepared(_AUTOMATIC),
    (True, False): Prepared(_AUTOMATIC.where(_TO_RECIPIENT)),
    (False, True): Prepared(_IN_CASE),
    (True, True): Prepared(_IN_CASE.where(_TO_RECIPIENT)),
}
"""How mails by machine are counted: to one recipient or to all, in one case or in all."""
_BOTH = Prepared(
    select(
        func.count(case((_TO_RECIPIENT, outgoing.c.message_id)).distinct()),
        func.count(outgoing.c.message_id.distinct()),
    ).where(outgoing.c.automatic, outgoing.c.queued_at >= bindparam("since"))
)
"""The same to one recipient and to all, in one walk through the index."""
_NOT_COUNTED = update(outgoing).where(outgoing.c.id == bindparam("row")).values(automatic=False)
_QUEUED, _OUTDATED = OutgoingState.QUEUED.value, OutgoingState.OUTDATED.value
_SAME_MAIL = Prepared(select(outgoing).where(outgoing.c.message_id == bindparam("mail")))
_ALIAS = Prepared(select(cases.c.alias).where(cases.c.id == bindparam("case")))
_NEXT = select(func.min(outgoing.c.due_at)).where(outgoing.c.due_at.is_not(None))


class OutboxRoom(StoreRoom):
    """The port ``Outbox``."""

    async def claim_outgoing(
        self, now: datetime, *, limit: int, lease: timedelta
    ) -> Sequence[Outgoing]:
        """Lease rows that are due and add one to ``attempts`` of each, in one commit."""
        self._outgoing_bell.clear()
        wanted = {"now": now, "most": limit}
        if not await self._db.ask(_ANY_DUE, {"now": now}):
            return ()
        wanted |= {"new_owner": self._owner, "until": now + lease}
        rows = await self._db.write(lambda t: _CLAIM.all(t.driver, wanted))
        return sorted(map(_outgoing, rows), key=lambda row: row.id)

    async def outgoing_sent(self, outgoing_id: int, status: str) -> bool:
        """Record that the relay took it; return whether its delivery is done now."""
        return await self._closed(outgoing_id, OutgoingState.SENT, status)

    async def outgoing_refused(self, outgoing_id: int, status: str, *, quarantine: bool) -> bool:
        """Record that it will not go; return as ``outgoing_sent``."""
        state = OutgoingState.QUARANTINED if quarantine else OutgoingState.REFUSED
        return await self._closed(outgoing_id, state, status)

    async def _closed(self, outgoing_id: int, state: OutgoingState, status: str) -> bool:
        now = self._clock.now()

        def close(transaction: Transaction) -> bool:
            wanted = {
                "row": outgoing_id,
                "new_state": state.value,
                "status": status,
                "new_sent_at": now if state is OutgoingState.SENT else None,
            }
            row, changed = _changed(transaction, _CLOSE, wanted)
            if changed:
                _journal(transaction, now, row, f"mail.{state.value}", status)
            if row.delivery_id is None:
                return False
            if not changed:
                return moves.find(transaction, row.delivery_id).state is State.DONE
            delivery = moves.record(transaction, row.delivery_id, (), now)  # the last finishes it
            return delivery.state is State.DONE

        return await self._db.write(close)  # what has left gives nobody anything to do

    async def outgoing_outdated(self, outgoing_id: int, status: str) -> bool:
        """Record that an answer must be built anew; return False when it has left already.

        Its copies for others do not leave either, and its delivery is due to be answered again.
        False, too, for what no delivery caused: nobody would build that again.
        """
        now = self._clock.now()

        def give_up(transaction: Transaction) -> bool:
            row = _GET.one(transaction.driver, {"row": outgoing_id})
            if row is None:
                raise IllegalMove("there is no such outgoing mail")
            if row.state == _OUTDATED:
                return True
            if row.delivery_id is None:
                return False
            delivery = moves.find(transaction, row.delivery_id)
            alias = _ALIAS.scalar(transaction.driver, {"case": row.case_id})
            same = _SAME_MAIL.all(transaction.driver, {"mail": row.message_id})
            left = [one for one in same if one.recipient != alias and one.state != _QUEUED]
            if delivery.state is not State.ANSWERED or left or row.state != _QUEUED:
                return False
            for copy in [one for one in same if one.state == _QUEUED]:
                closed = {"row": copy.id, "new_state": _OUTDATED, "status": status}
                _changed(transaction, _CLOSE, closed | {"new_sent_at": None})
                transaction.connection.execute(_NOT_COUNTED, {"row": copy.id})
                _journal(transaction, now, copy, "mail.outdated", status)
            moves.record(transaction, row.delivery_id, (Held(status, now),), now)
            return True

        given_up = await self._db.write(give_up)
        self._delivery_bell.set()
        return given_up

    async def outgoing_deferred(self, outgoing_id: int, until: datetime, status: str) -> None:
        """Record a passing failure; the attempt had an outcome, so ``attempts`` goes back to 0."""
        now = self._clock.now()

        def defer(transaction: Transaction) -> None:
            wanted = {"row": outgoing_id, "until": until, "status": status}
            row, changed = _changed(transaction, _DEFER, wanted)
            if changed:
                _journal(transaction, now, row, "mail.deferred", status)

        await self._db.write(defer)
        self._outgoing_bell.set()

    async def find_outgoing(self, delivery_id: str) -> Sequence[Outgoing]:
        """Return the outgoing mails that a delivery caused, oldest first."""
        return await self._find(_OF_DELIVERY, delivery=delivery_id)

    async def mails_of_case(self, case_id: str) -> Sequence[Outgoing]:
        """Return all mails of ours in a case, oldest first."""
        return await self._find(_OF_CASE, case=case_id)

    async def find_outgoing_by_state(
        self, state: OutgoingState | None = None, *, limit: int = 1000
    ) -> Sequence[Outgoing]:
        """Return outgoing mails in a state, or in any, newest first."""
        if state is None:
            return await self._find(_NEWEST, most=limit)
        return await self._find(_BY_STATE, wanted=state.value, most=limit)

    async def get_outgoing(self, outgoing_id: int) -> Outgoing | None:
        """Return one mail of ours, or None."""
        row = await self._db.ask_one(_GET, {"row": outgoing_id})
        return None if row is None else _outgoing(row)

    # ── What a person had said ────────────────────────────────────────────────────────────────────

    async def post(self, mails: Sequence[OutgoingMail]) -> bool:
        """Queue mails that a person brought about; return whether any of them is new.

        A Message-ID that is known for a recipient is not queued again, whatever its bytes are.
        """
        now = self._clock.now()

        def post(transaction: Transaction) -> bool:
            new = [mail for mail in mails if queue.add(transaction, None, (mail,), now)]
            letters = {mail.message_id: mail for mail in new}
            for mail in letters.values():
                facts: journal.Facts = {"step": mail.step, "kind": mail.kind.value}
                journal.append(transaction, now, mail.case_id, "mail.posted", facts)
            return bool(new)

        posted = await self._db.write(post)
        self._outgoing_bell.set()
        return posted

    async def posted(self, case_id: str, step: str) -> Outgoing | None:
        """Return the reporter's copy (or the only one) of a mail by its step, or None."""
        found = await self._find(_POSTED, case=case_id, of_step=step)
        return found[0] if found else None

    # ── How much leaves, and what does not ────────────────────────────────────────────────────────

    async def automatic_since(
        self, since: datetime, *, recipient: str | None = None, case_id: str | None = None
    ) -> int:
        """Count the mails that machines decided to send since then.

        A mail and the alias's copy of it are one; one that was outdated, and built anew, is none.
        An address is the same with any tag (``name+tag@…``): it is one mailbox that they fill.
        """
        statement = _COUNTS[recipient is not None, case_id is not None]
        wanted: dict[str, Any] = {"since": since}
        if case_id is not None:
            wanted["case"] = case_id
        if recipient is not None:
            wanted |= _addressed(recipient)
        found = await self._db.ask_one(statement, wanted)
        return 0 if found is None else int(found[0])

    async def automatic_to(self, recipient: str, since: datetime) -> tuple[int, int]:
        """Count as ``automatic_since`` does: those to a recipient, and those to all."""
        row = await self._db.ask_one(_BOTH, {"since": since, **_addressed(recipient)})
        return (0, 0) if row is None else (int(row[0]), int(row[1]))

    async def untold(self, *, limit: int) -> Sequence[Outgoing]:
        """Return mails that will not leave, and of which their issue was not told, oldest first.

        Where a case has no issue there is nobody to be told.
        """
        return await self._find(_UNTOLD, most=limit)

    async def telling(self, outgoing_id: int, at: datetime | None) -> None:
        """Record that its issue is about to be told, or (None) that nothing came of it for sure."""

        def tell(transaction: Transaction) -> None:
            transaction.connection.execute(_TELLING, {"row": outgoing_id, "at": at})

        await self._db.write(tell)

    async def told(self, outgoing_id: int) -> None:
        """Record that the issue knows what became of a mail."""
        now = self._clock.now()

        def tell(transaction: Transaction) -> None:
            transaction.connection.execute(_TELL, {"row": outgoing_id, "now": now})

        await self._db.write(tell)

    async def _find(self, statement: Any, **wanted: Any) -> Sequence[Outgoing]:
        return await self._db.read(
            lambda c: [_outgoing(row) for row in c.execute(statement, wanted)]
        )

    async def next_outgoing_due(self) -> datetime | None:
        """Return when ``claim_outgoing`` will next find something, or None for never."""
        return await self._db.read(lambda c: c.execute(_NEXT).scalar())

    async def wait_for_outgoing(self, timeout: float) -> bool:  # noqa: ASYNC109 - a sleep to be woken
        """Return True as soon as something changed since the last ``claim_outgoing`` began."""
        return await self._rung(self._outgoing_bell, timeout)


def _addressed(recipient: str) -> dict[str, str]:
    """Return how a mailbox is looked for: without a tag, and as a pattern of LIKE with any."""
    untagged = without_tag(recipient)
    literal = re.sub(r"([\\%_])", r"\\\1", untagged)
    local, _, domain = literal.rpartition("@")
    return {"untagged": untagged, "tagged": f"{local}+%@{domain}"}


def _changed(
    transaction: Transaction, statement: Prepared, wanted: dict[str, Any]
) -> tuple[Any, bool]:
    """Change a queued row; return the row and whether it changed.  Raises IllegalMove for no row.

    A second outcome of a closed row changes nothing: it comes when a lease ran out before the
    relay answered, and what was recorded first stands.
    """
    row = statement.one(transaction.driver, wanted)
    if row is not None:
        return row, True
    row = _GET.one(transaction.driver, {"row": wanted["row"]})
    if row is None:
        raise IllegalMove("there is no such outgoing mail")
    return row, False


def _journal(transaction: Transaction, now: datetime, row: Any, event: str, status: str) -> None:
    said = status.replace(" ", "/")  # "250 2.0.0"; the journal takes words without blanks only
    facts = {"outgoing": row.id, "kind": row.kind, "status": said}
    if row.delivery_id is not None:
        facts["delivery"] = row.delivery_id
    journal.append(transaction, now, row.case_id, event, facts)


def _outgoing(row: Any) -> Outgoing:
    mail = OutgoingMail(
        case_id=row.case_id,
        step=row.step,
        kind=ReplyKind(row.kind),
        recipient=row.recipient,
        reverse_path=row.reverse_path,
        message_id=row.message_id,
        content=row.content,
        body_hash=row.body_hash,
        must_encrypt=row.must_encrypt,
        encrypted_to=tuple(json.loads(row.encrypted_to)),
        automatic=row.automatic,
    )
    return Outgoing(
        id=row.id,
        delivery_id=row.delivery_id,
        mail=mail,
        state=OutgoingState(row.state),
        attempts=row.attempts,
        deferrals=row.deferrals,
        wait_until=row.wait_until,
        last_status=row.last_status,
        queued_at=row.queued_at,
        sent_at=row.sent_at,
        telling_at=row.telling_at,
        told_at=row.told_at,
    )
