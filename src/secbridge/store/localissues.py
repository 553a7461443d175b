"""Where are the embedded tracker's issues?  In tables whose texts come here sealed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, String, bindparam, cast, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert

from secbridge.errors import PermanentFault
from secbridge.model.issue import IssueChange
from secbridge.ports import LocalAttachment, LocalComment, LocalEvent, LocalIssue
from secbridge.store import journal
from secbridge.store.blobs import Blobs
from secbridge.store.database import Transaction
from secbridge.store.prepared import Prepared, driver_of
from secbridge.store.room import StoreRoom
from secbridge.store.schema import journal as entries
from secbridge.store.schema import (
    local_attachment_chunks,
    local_attachments,
    local_comments,
    local_issues,
)

sealed_files = Blobs(local_attachment_chunks)

_ISSUE = "issue-"
"""What the journal calls an issue, before its number."""

_SELECT = select(local_issues)
_BY_MARKER = Prepared(_SELECT.where(local_issues.c.marker == bindparam("wanted")))
_BY_NUMBER = Prepared(_SELECT.where(local_issues.c.number == bindparam("wanted")))
_INSERT = Prepared(
    insert(local_issues).returning(local_issues.c.number),
    "project",
    "marker",
    "title",
    "sealed_body",
    "confidential",
    "open",
    "labels",
    "assignees",
    "due",
    "created_at",
    "updated_at",
)
_TELL = Prepared(
    update(local_issues)
    .where(local_issues.c.number == bindparam("wanted"))
    .values(sealed_body=bindparam("new_body"), updated_at=bindparam("now"))
)
_CHANGE = (
    update(local_issues)
    .where(local_issues.c.number == bindparam("wanted"))
    .values(
        labels=bindparam("new_labels"),
        assignees=bindparam("new_assignees"),
        due=bindparam("new_due"),
        open=bindparam("new_open"),
        updated_at=bindparam("now"),
    )
)
_TOUCH = (
    update(local_issues)
    .where(local_issues.c.number == bindparam("wanted"))
    .values(updated_at=bindparam("now"))
)
_INSERT_COMMENT = (
    insert(local_comments)
    .on_conflict_do_nothing(index_elements=["marker"])
    .returning(local_comments.c.id)
)
_COMMENT = select(local_comments).where(local_comments.c.marker == bindparam("wanted"))
_COMMENTS = (
    select(local_comments)
    .where(local_comments.c.number == bindparam("wanted"))
    .order_by(local_comments.c.id)
)
_INSERT_FILE = insert(local_attachments).returning(local_attachments.c.id)
_FILES = Prepared(
    select(local_attachments)
    .where(local_attachments.c.number == bindparam("wanted"))
    .order_by(local_attachments.c.id)
)
_LAST_ENTRY = select(func.max(entries.c.seq))
_EVENTS = (
    select(entries.c.seq, entries.c.at, entries.c.facts, local_issues.c.number)
    .join(local_issues, entries.c.subject == _ISSUE + cast(local_issues.c.number, String))
    .where(
        entries.c.seq > bindparam("after"),
        entries.c.event.in_(("issue.commented", "issue.changed")),
        local_issues.c.project == bindparam("in_project"),
    )
    .order_by(entries.c.seq)
    .limit(bindparam("most"))
)
_FORGET_FILE = delete(local_attachments).where(local_attachments.c.id == bindparam("wanted"))


class LocalIssuesRoom(StoreRoom):
    """The port ``LocalIssues``."""

    async def create_issue(
        self,
        *,
        project: str,
        marker: str,
        title: str,
        sealed_body: bytes,
        labels: Sequence[str],
        assignees: Sequence[str],
        due: date | None,
        now: datetime,
    ) -> LocalIssue:
        """Create, or return the issue that has this marker already."""
        row = {
            "project": project,
            "marker": marker,
            "title": title,
            "sealed_body": sealed_body,
            "confidential": True,
            "open": True,
            "labels": json.dumps(list(labels)),
            "assignees": json.dumps(list(assignees)),
            "due": due,
            "created_at": now,
            "updated_at": now,
        }

        def create(transaction: Transaction) -> LocalIssue:
            connection = transaction.connection
            if (found := _found(connection, _BY_MARKER, marker)) is not None:
                return found
            number = int(_INSERT.scalar(transaction.driver, row) or 0)
            facts: journal.Facts = {"marker": marker, "size": len(sealed_body)}
            _journal(transaction, now, number, "created", facts)
            return _required(connection, number)

        return await self._db.write(create)

    async def find_issue(self, marker: str) -> LocalIssue | None:
        """Return the issue with this marker, or None."""
        row = await self._db.ask_one(_BY_MARKER, {"wanted": marker})
        return None if row is None else _issue(row)

    async def read_issue(self, number: int) -> LocalIssue | None:
        """Return an issue, or None."""
        row = await self._db.ask_one(_BY_NUMBER, {"wanted": number})
        return None if row is None else _issue(row)

    async def tell_issue(
        self, number: int, sealed_body: bytes, attachments: Sequence[LocalAttachment], now: datetime
    ) -> None:
        """Replace the body and the attachments in one commit.

        The ``id`` and ``number`` of the attachments given are not looked at.  Raises
        PermanentFault when there is no such issue.
        """

        def tell(transaction: Transaction) -> None:
            connection = transaction.connection
            _required(connection, number)
            wanted = {"wanted": number, "new_body": sealed_body, "now": now}
            _TELL.run(transaction.driver, wanted)
            _forget_files(connection, number)
            for attachment in attachments:
                _keep_file(transaction, number, attachment)
            facts = {"size": len(sealed_body), "attachments": len(attachments)}
            _journal(transaction, now, number, "told", facts)

        await self._db.write(tell)

    async def change_issue(
        self, number: int, change: IssueChange, now: datetime, *, by: str = ""
    ) -> LocalIssue:
        """Change labels, people, date or state; ``by`` is a person, or "" for secbridge itself.

        Raises PermanentFault for no such issue.
        """

        def apply(transaction: Transaction) -> LocalIssue:
            connection = transaction.connection
            before = _required(connection, number)
            wanted = {"wanted": number, "now": now, **_changed(before, change)}
            connection.execute(_CHANGE, wanted)
            facts = _facts(change) | ({"by": by} if by else {})
            _journal(transaction, now, number, "changed", facts)
            return _required(connection, number)

        return await self._db.write(apply)

    async def list_issues(
        self, *, project: str | None = None, open_only: bool = False
    ) -> Sequence[LocalIssue]:
        """Return issues, newest first."""
        statement = _SELECT.order_by(local_issues.c.number.desc())
        if project is not None:
            statement = statement.where(local_issues.c.project == project)
        if open_only:
            statement = statement.where(local_issues.c.open)
        return await self._db.read(lambda c: [_issue(row) for row in c.execute(statement)])

    async def add_comment(
        self, number: int, *, marker: str, author: str, sealed_body: bytes, now: datetime
    ) -> LocalComment:
        """Add, or return the comment that has this marker already.

        Raises PermanentFault when there is no such issue.
        """
        row = {
            "number": number,
            "marker": marker,
            "author": author,
            "sealed_body": sealed_body,
            "created_at": now,
        }

        def add(transaction: Transaction) -> LocalComment:
            connection = transaction.connection
            _required(connection, number)
            comment = connection.execute(_INSERT_COMMENT, row).scalar()
            if comment is not None:
                connection.execute(_TOUCH, {"wanted": number, "now": now})
                facts = {"comment": comment, "size": len(sealed_body)}
                _journal(transaction, now, number, "commented", facts)
            return _comment(connection.execute(_COMMENT, {"wanted": marker}).one())

        return await self._db.write(add)

    async def comments(self, number: int) -> Sequence[LocalComment]:
        """Return the comments of an issue, oldest first."""
        wanted = {"wanted": number}
        return await self._db.read(
            lambda c: [_comment(row) for row in c.execute(_COMMENTS, wanted)]
        )

    async def attachments(self, number: int) -> Sequence[LocalAttachment]:
        """Return the attachments of an issue, in the order in which they were told."""
        wanted = {"wanted": number}
        return await self._db.read(
            lambda c: [_file(c, row) for row in _FILES.all(driver_of(c), wanted)]
        )

    async def last_event(self) -> int:
        """Return the number of the newest entry of the journal, or 0."""
        return await self._db.read(lambda c: c.execute(_LAST_ENTRY).scalar() or 0)

    async def local_events(self, project: str, *, after: int, limit: int) -> Sequence[LocalEvent]:
        """Return comments and changes of a project's issues since a number, oldest first."""
        wanted = {"in_project": project, "after": after, "most": limit}
        return await self._db.read(lambda c: [_event(row) for row in c.execute(_EVENTS, wanted)])


def _required(connection: Connection, number: int) -> LocalIssue:
    issue = _found(connection, _BY_NUMBER, number)
    if issue is None:
        raise PermanentFault("no-such-issue", "There is no issue with this number.")
    return issue


def _found(connection: Connection, statement: Prepared, wanted: str | int) -> LocalIssue | None:
    row = statement.one(driver_of(connection), {"wanted": wanted})
    return None if row is None else _issue(row)


def _changed(issue: LocalIssue, change: IssueChange) -> dict[str, Any]:
    labels = [label for label in issue.labels if label not in change.remove_labels]
    labels += [label for label in dict.fromkeys(change.add_labels) if label not in labels]
    assignees = issue.assignees if change.assignees is None else change.assignees
    return {
        "new_labels": json.dumps(labels),
        "new_assignees": json.dumps(list(assignees)),
        "new_due": issue.due if change.due is None else change.due,
        "new_open": issue.open if change.open is None else change.open,
    }


def _facts(change: IssueChange) -> dict[str, str | int]:
    facts: dict[str, str | int] = {}
    if change.add_labels:
        facts["labelled"] = ",".join(change.add_labels)
    if change.remove_labels:
        facts["unlabelled"] = ",".join(change.remove_labels)
    if change.assignees is not None:
        facts["assignees"] = len(change.assignees)
    if change.due is not None:
        facts["due"] = change.due.isoformat()
    if change.open is not None:
        facts["open"] = int(change.open)
    return facts


def _journal(
    transaction: Transaction, now: datetime, number: int, event: str, facts: journal.Facts
) -> None:
    journal.append(transaction, now, f"{_ISSUE}{number}", f"issue.{event}", facts)


def _forget_files(connection: Connection, number: int) -> None:
    for row in _FILES.all(driver_of(connection), {"wanted": number}):
        sealed_files.delete(connection, row.id)
        connection.execute(_FORGET_FILE, {"wanted": row.id})


def _keep_file(transaction: Transaction, number: int, attachment: LocalAttachment) -> None:
    row = {
        "number": number,
        "name": attachment.name,
        "media_type": attachment.media_type,
        "size": attachment.size,
    }
    file_id = transaction.connection.execute(_INSERT_FILE, row).scalar_one()
    sealed_files.write(transaction, file_id, attachment.sealed)


def _issue(row: Any) -> LocalIssue:
    return LocalIssue(
        number=row.number,
        project=row.project,
        marker=row.marker,
        title=row.title,
        sealed_body=row.sealed_body,
        confidential=row.confidential,
        open=row.open,
        labels=tuple(json.loads(row.labels)),
        assignees=tuple(json.loads(row.assignees)),
        due=row.due,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _comment(row: Any) -> LocalComment:
    return LocalComment(
        id=row.id,
        number=row.number,
        marker=row.marker,
        author=row.author,
        sealed_body=row.sealed_body,
        created_at=row.created_at,
    )


def _event(row: Any) -> LocalEvent:
    facts = json.loads(row.facts)
    return LocalEvent(row.seq, row.number, row.at, facts.get("comment"), facts.get("by", ""))


def _file(connection: Connection, row: Any) -> LocalAttachment:
    return LocalAttachment(
        id=row.id,
        number=row.number,
        name=row.name,
        media_type=row.media_type,
        size=row.size,
        sealed=sealed_files.read(connection, row.id),
    )
