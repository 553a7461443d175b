"""What does a move change?  State by the table of rules.lifecycle, facts by this page.

``record`` is the one door through which a delivery changes: it applies moves to the row, writes
each into the journal, queues the mails of an answer and gives leases back, in its caller's
transaction.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, datetime
from functools import cache, lru_cache
from typing import Any, assert_never

from sqlalchemy import bindparam, select, update

from secbridge.errors import IllegalMove
from secbridge.model.case import IssueRef, MailClass, Route, Verdict
from secbridge.model.delivery import (
    Answered,
    Attempted,
    Commented,
    Deferred,
    Delivery,
    Filed,
    Finished,
    Held,
    Judged,
    Move,
    Opened,
    Quarantined,
    Released,
    Retried,
    Routed,
    SetAside,
    State,
    Withheld,
)
from secbridge.model.message import Protection
from secbridge.rules.lifecycle import WORKING, after
from secbridge.store import incoming, journal, queue
from secbridge.store.database import Transaction
from secbridge.store.prepared import Prepared
from secbridge.store.schema import cases, deliveries, mails

RELEASED = "released-by-operator"
"""The reason that a release adds to the verdict."""

_KEPT = 128
"""Verdicts and routes that are not read again: a row is read ten times, and most are alike."""

_COME_BACK = frozenset({State.DEFERRED, State.HELD})
"""Waits that are over by themselves."""

SELECT = select(*deliveries.c, mails.c.size).join(mails, deliveries.c.mail_id == mails.c.id)
"""Rows from which ``delivery_of`` makes a Delivery."""

_GET = Prepared(SELECT.where(deliveries.c.id == bindparam("wanted")))
_CHANGING = (
    "state",
    "resume",
    "why",
    "wait_until",
    "attempts",
    "begun",
    "attempted_at",
    "deferrals",
    "protection",
    "verdict",
    "route",
    "case_id",
    "comment",
    "changed_at",
    "due_at",
    "owner",
)
_SET_ISSUE = Prepared(
    update(cases)
    .where(cases.c.id == bindparam("wanted"))
    .values(
        issue_id=bindparam("new_id"),
        issue_number=bindparam("new_number"),
        issue_url=bindparam("new_url"),
        issue_tracker=bindparam("new_tracker"),
        issue_project=bindparam("new_project"),
    )
)


@cache
def _updating(names: tuple[str, ...]) -> Prepared:
    """Return the statement that changes these columns alone: an index of others stays untouched."""
    return Prepared(
        update(deliveries)
        .where(deliveries.c.id == bindparam("wanted"))
        .values({name: bindparam(f"new_{name}") for name in names})
    )


_CASE_EXISTS = select(cases.c.id).where(cases.c.id == bindparam("wanted"))


def find(transaction: Transaction, delivery_id: str) -> Delivery:
    """Return a delivery as this transaction sees it.  Raises IllegalMove when there is none."""
    row = _GET.one(transaction.driver, {"wanted": delivery_id})
    if row is None:
        raise IllegalMove("there is no such delivery")
    return delivery_of(row._asdict())


def record(
    transaction: Transaction, delivery_id: str, moves: tuple[Move, ...], now: datetime
) -> Delivery:
    """Apply moves to a delivery and return it.  Raises IllegalMove; the caller rolls back."""
    return record_and_tell(transaction, delivery_id, moves, now)[0]


def record_and_tell(
    transaction: Transaction, delivery_id: str, moves: tuple[Move, ...], now: datetime
) -> tuple[Delivery, bool]:
    """Do as ``record``; return also whether the delivery now waits for a hand to claim it."""
    row = _GET.one(transaction.driver, {"wanted": delivery_id})
    if row is None:
        raise IllegalMove("there is no such delivery")
    recording = Recording(transaction, row, now)
    return recording.apply(moves), recording.is_free


class Recording:
    """One delivery's row while moves are applied to it."""

    def __init__(self, transaction: Transaction, row: Any, now: datetime) -> None:
        self._transaction = transaction
        self._now = now
        self._row: dict[str, Any] = row._asdict()
        self._before = dict(self._row)

    @property
    def is_free(self) -> bool:
        """Whether it may be claimed, now or later."""
        return self._row["due_at"] is not None and self._row["owner"] is None

    @property
    def _id(self) -> str:
        return str(self._row["id"])

    @property
    def _state(self) -> State:
        return State(self._row["state"])

    def apply(self, moves: tuple[Move, ...]) -> Delivery:
        """Apply the moves in order, write the row once, and return the delivery."""
        for move in moves:
            self._move(move)
        if self._state is State.ANSWERED and not self._has_mail_waiting():
            self._move(Finished())  # every answer is out, or was another delivery's mail already
        self._schedule()
        return self.write()

    def lease(self, owner: str, until: datetime) -> Delivery | None:
        """Lease the delivery, counting the attempt; None when there is nothing to do after all."""
        if self._state in _COME_BACK:
            self.apply((Retried(),))
        if self._row["due_at"] is None:
            return None
        self._row |= {"owner": owner, "due_at": until, "begun": False}
        self._row["attempts"] += 1
        return self.write()

    def write(self) -> Delivery:
        """Write what changed of the row and return the delivery."""
        row, before = self._row, self._before
        if names := tuple(name for name in _CHANGING if row[name] != before[name]):
            new = {f"new_{name}": row[name] for name in names}
            _updating(names).run(self._transaction.driver, {"wanted": self._id, **new})
            self._before = dict(row)
        return delivery_of(row)

    def _move(self, move: Move) -> None:
        resume = State(self._row["resume"]) if self._row["resume"] else None
        state, resume = after(self._state, resume, move)
        self._row |= {
            "state": state.value,
            "resume": resume.value if resume else None,
            "changed_at": self._now,
        }
        self._count(move)
        facts = self._keep(move)
        name = f"delivery.{_EVENTS[type(move)]}"
        journal.append(self._transaction, self._now, self._id, name, facts)

    def _count(self, move: Move) -> None:
        """Keep attempts, deferrals and the wait, as the port says."""
        row = self._row
        match move:
            case Attempted():
                row["attempts"] = max(row["attempts"], 1)
                row["attempted_at"] = self._now
                row["begun"] = True
                return
            case Deferred():
                row["deferrals"] += 1
                row["attempted_at"] = move.attempted_at
            case Retried() | Quarantined() | Released():
                pass  # no outcome: whether an earlier effect happened is as unknown as before
            case Filed() | Commented() | Answered() | Withheld() | Held():
                row["deferrals"] = 0
                row["attempted_at"] = None
            case Opened() | Judged() | Routed() | SetAside() | Finished():
                row["attempted_at"] = None
            case _:
                assert_never(move)
        row["attempts"] = 0
        row["wait_until"] = move.until if isinstance(move, Deferred | Held) else None

    def _keep(self, move: Move) -> journal.Facts:
        """Put the facts of a move into the row; return those for the journal."""
        row = self._row
        match move:
            case Opened(protection):
                row["protection"] = protection.value
                return {"protection": protection.value}
            case Judged(verdict):
                row["verdict"] = _verdict_text(verdict)
                return _verdict_facts(verdict)
            case Routed(route):
                row["route"] = route_text(route)
                return {"tracker": route.tracker, "project": route.project}
            case Attempted(step):
                return {"step": step}
            case Filed(case_id, issue, mail):
                self._file(case_id, issue)
                incoming.keep(self._transaction, case_id, mail, row["received_at"])
                return {"case": case_id, "tracker": issue.tracker, "issue": issue.id}
            case Commented(case_id, comment, mail):
                self._join(case_id, comment)
                incoming.keep(self._transaction, case_id, mail, row["received_at"])
                return {"case": case_id, "comment": comment}
            case SetAside(why) | Withheld(why) | Quarantined(why) | Deferred(why=why):
                row["why"] = why
                return {"why": why}
            case Released(by):
                row["why"] = None
                row["verdict"] = self._released_verdict()
                return {"by": by}
            case Retried(by):
                row["why"] = None
                return {"by": by}
            case Answered() | Held():
                return self._queue(move)
            case Finished():
                return {}
            case _:
                assert_never(move)

    def _queue(self, move: Answered | Held) -> journal.Facts:
        new = queue.add(self._transaction, self._id, move.mails, self._now)
        facts: journal.Facts = {"mails": len(move.mails), "new": new}
        if isinstance(move, Answered):
            return facts
        self._row["why"] = move.why
        return {"why": move.why, **facts}

    def _file(self, case_id: str, issue: IssueRef) -> None:
        wanted = {
            "wanted": case_id,
            "new_id": issue.id,
            "new_number": issue.number,
            "new_url": issue.url,
            "new_tracker": issue.tracker,
            "new_project": issue.project,
        }
        if _SET_ISSUE.run(self._transaction.driver, wanted).rowcount != 1:
            raise IllegalMove("a delivery cannot be filed under a case that does not exist")
        self._row["case_id"] = case_id

    def _join(self, case_id: str, comment: str) -> None:
        found = self._transaction.connection.execute(_CASE_EXISTS, {"wanted": case_id})
        if found.one_or_none() is None:
            raise IllegalMove("a delivery cannot join a case that does not exist")
        self._row |= {"case_id": case_id, "comment": comment}

    def _released_verdict(self) -> str | None:
        verdict = verdict_of(self._row["verdict"])
        if verdict is None:
            return None
        released = replace(
            verdict, mail_class=MailClass.OTHER, reasons=(*verdict.reasons, RELEASED)
        )
        if verdict.reply_refused_because == "set-aside":  # then nothing else spoke against it
            released = replace(released, may_reply=True, reply_refused_because=None)
        return _verdict_text(released)

    def _has_mail_waiting(self) -> bool:
        return queue.has_open(self._transaction, self._id)

    def _schedule(self) -> None:
        """Say when a worker may come: now, after the wait, when the lease is over, or never."""
        row, state = self._row, self._state
        if state in _COME_BACK:
            row |= {"due_at": row["wait_until"], "owner": None}
        elif state not in WORKING or state is State.ANSWERED:
            row |= {"due_at": None, "owner": None}  # the outbox goes on from ``answered``
        elif row["owner"] is None:
            row["due_at"] = self._now


_EVENTS: dict[type[Move], str] = {
    Opened: "opened",
    Judged: "judged",
    Routed: "routed",
    Attempted: "attempted",
    Filed: "filed",
    Commented: "commented",
    SetAside: "set-aside",
    Released: "released",
    Answered: "answered",
    Withheld: "answer-withheld",
    Held: "answer-held",
    Finished: "done",
    Deferred: "deferred",
    Quarantined: "quarantined",
    Retried: "retried",
}


def delivery_of(row: Any) -> Delivery:
    """Make the model's value of a row of ``SELECT``."""
    return Delivery(
        id=row["id"],
        mail_id=row["mail_id"],
        alias=row["alias"],
        recipient=row["recipient"],
        token=row["token"],
        outgoing=row["outgoing"],
        reverse_path=row["reverse_path"],
        size=row["size"],
        received_at=row["received_at"],
        state=State(row["state"]),
        resume=State(row["resume"]) if row["resume"] else None,
        why=row["why"],
        wait_until=row["wait_until"],
        attempts=row["attempts"],
        deferrals=row["deferrals"],
        attempted_at=row["attempted_at"],
        protection=Protection(row["protection"]) if row["protection"] else None,
        verdict=verdict_of(row["verdict"]),
        route=route_of(row["route"]) if row["route"] else None,
        case_id=row["case_id"],
    )


def _verdict_text(verdict: Verdict) -> str:
    kept = {
        "class": verdict.mail_class.value,
        "reasons": verdict.reasons,
        "may_reply": verdict.may_reply,
        "refused": verdict.reply_refused_because,
    }
    return json.dumps(kept)


def _verdict_facts(verdict: Verdict) -> journal.Facts:
    return {
        "class": verdict.mail_class.value,
        "reasons": ",".join(verdict.reasons),
        "may-reply": int(verdict.may_reply),
        "refused": verdict.reply_refused_because or "",
    }


@lru_cache(_KEPT)
def verdict_of(text: str | None) -> Verdict | None:
    """Read back a verdict."""
    if text is None:
        return None
    kept = json.loads(text)
    reasons = tuple(kept["reasons"])
    return Verdict(MailClass(kept["class"]), reasons, kept["may_reply"], kept["refused"])


def route_text(route: Route) -> str:
    """Write a route as JSON."""
    kept = {
        "alias": route.alias,
        "tracker": route.tracker,
        "project": route.project,
        "labels": route.labels,
        "assignees": route.assignees,
        "due": route.due.isoformat(),
    }
    return json.dumps(kept)


@lru_cache(_KEPT)
def route_of(text: str) -> Route:
    """Read back a route."""
    kept = json.loads(text)
    return Route(
        alias=kept["alias"],
        tracker=kept["tracker"],
        project=kept["project"],
        labels=tuple(kept["labels"]),
        assignees=tuple(kept["assignees"]),
        due=date.fromisoformat(kept["due"]),
    )
