"""What does the store keep?  The tables, in words of the model.

Content stands in three places only: the raw mail (``mail_chunks``), the finished mails of ours
(``outgoing.content``) and the sealed issues of the embedded tracker (``local_*``).  No subject and
no text of a mail has a column.

Two columns carry the whole schedule: ``due_at`` says when a row may be claimed next (NULL: never
by itself) and ``owner`` which process has it until then.  So "what is due", "what is leased until
when" and "when is the next" are one index.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

VERSION = "0003"
"""The migration that this code needs: the head of ``migrations/versions``, as a test compares."""

KNOWN_VERSIONS = ("0001", "0002", "0003")
"""Every migration from the first to ``VERSION``; any other version is newer than this code."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Instant(TypeDecorator[datetime]):
    """A point in time as whole microseconds since 1970 in UTC; naive times are refused.

    A number compares the same in every database and in the journal's hash.
    """

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Turn an aware time into microseconds."""
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        """Turn microseconds into an aware time in UTC."""
        return None if value is None else _EPOCH + timedelta(microseconds=value)


metadata = MetaData()

mails = Table(
    "mails",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key", LargeBinary(32), nullable=False, unique=True),
    Column("size", Integer, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("purged_at", Instant),
)

mail_chunks = Table(
    "mail_chunks",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("content", LargeBinary, nullable=False),
)
"""See ``blobs``: the number of a piece says whose it is, so no index has to be written for it."""

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("mail_id", ForeignKey("mails.id"), nullable=False),
    Column("alias", String(320), nullable=False),
    Column("recipient", String(320), nullable=False),
    Column("token", String(26)),
    Column("outgoing", Integer),
    Column("reverse_path", String(320), nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("state", String(20), nullable=False),
    Column("resume", String(20)),
    Column("why", Text),
    Column("wait_until", Instant),
    Column("attempts", Integer, nullable=False),
    Column("begun", Boolean, nullable=False),
    Column("attempted_at", Instant),
    Column("deferrals", Integer, nullable=False),
    Column("protection", String(20)),
    Column("verdict", Text),
    Column("route", Text),
    Column("case_id", ForeignKey("cases.id")),
    Column("comment", Text),
    Column("changed_at", Instant, nullable=False),
    Column("due_at", Instant),
    Column("owner", String(32)),
    UniqueConstraint("mail_id", "alias", name="one_delivery_for_each_alias"),
    sqlite_with_rowid=False,  # the id is the place: one B-tree to write instead of two
)
Index(
    "deliveries_due",
    deliveries.c.due_at,
    deliveries.c.id,
    sqlite_where=deliveries.c.due_at.is_not(None),
)
Index("deliveries_state", deliveries.c.state, deliveries.c.id)
Index("deliveries_case", deliveries.c.case_id, sqlite_where=deliveries.c.case_id.is_not(None))

cases = Table(
    "cases",
    metadata,
    Column("id", String(20), primary_key=True),
    Column("mail_id", ForeignKey("mails.id")),
    Column("token", String(26), nullable=False, unique=True),
    Column("marker", String(36), nullable=False, unique=True),
    Column("alias", String(320), nullable=False),
    Column("tracker", String(64), nullable=False),
    Column("project", Text, nullable=False),
    Column("route", Text, nullable=False),
    Column("reporter", String(320)),
    Column("must_encrypt", Boolean, nullable=False),
    Column("opened_at", Instant, nullable=False),
    Column("issue_id", Text),
    Column("issue_number", Text),
    Column("issue_url", Text),
    Column("issue_tracker", String(64)),
    Column("issue_project", Text),
    Column("language", String(35), nullable=False),
    Column("status", String(16), nullable=False),
    Column("on_hold", Boolean, nullable=False),
    Column("handler", Text, nullable=False),
    Column("contacted_at", Instant),
    Column("contacted_by", Text, nullable=False),
    UniqueConstraint("mail_id", "tracker", "project", name="one_case_for_each_route"),
)
Index("cases_issue", cases.c.tracker, cases.c.project, cases.c.issue_id)

case_years = Table(
    "case_years",
    metadata,
    Column("year", Integer, primary_key=True, autoincrement=False),
    Column("last", Integer, nullable=False),
)

case_mails = Table(
    "case_mails",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("case_id", ForeignKey("cases.id"), nullable=False),
    Column("message_id", Text, nullable=False),
    Column("by_reporter", Boolean, nullable=False),
    Column("received_at", Instant, nullable=False),
    UniqueConstraint("case_id", "message_id", name="one_row_for_each_mail"),
)
Index("case_mails_message_id", case_mails.c.message_id)
"""The Message-IDs of mails that came in with a case: later ones may refer to them."""

key_bindings = Table(
    "key_bindings",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("case_id", ForeignKey("cases.id"), nullable=False, unique=True),
    Column("alias", String(320), nullable=False),
    Column("address", String(320), nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("source", String(20), nullable=False),
    Column("bound_at", Instant, nullable=False),
    Column("accepted_by", Text),
)
Index("key_bindings_address", key_bindings.c.alias, key_bindings.c.address, key_bindings.c.id)

key_changes = Table(
    "key_changes",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("case_id", ForeignKey("cases.id"), nullable=False),
    Column("address", String(320), nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("source", String(20), nullable=False),
    Column("seen_at", Instant, nullable=False),
    Column("accepted_at", Instant),
    Column("accepted_by", Text),
    UniqueConstraint("case_id", "fingerprint", name="one_change_for_each_key"),
)
"""Certificates that came for a reporter who has another one: the team says whether they count."""

key_lookups = Table(
    "key_lookups",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("source", String(20), nullable=False),
    Column("query", String(320), nullable=False),
    Column("until", Instant, nullable=False),
    Column("found", LargeBinary),
    UniqueConstraint("source", "query", name="one_answer_for_each_question"),
)
Index("key_lookups_until", key_lookups.c.until)
"""What WKD and keyservers said, so that they are not told twice who writes to us; NULL: nothing."""

tracker_cursors = Table(
    "tracker_cursors",
    metadata,
    Column("tracker", String(64), primary_key=True),
    Column("project", Text, primary_key=True),
    Column("cursor", Text, nullable=False),
    Column("changed_at", Instant, nullable=False),
)
"""How far what people did in each project was read."""

tracker_events = Table(
    "tracker_events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("tracker", String(64), nullable=False),
    Column("project", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("case_id", ForeignKey("cases.id")),
    Column("command", String(32)),
    Column("seen_at", Instant, nullable=False),
    Column("attempted_at", Instant),
    Column("done_at", Instant),
    Column("outcome", String(64)),
    Column("digest", LargeBinary(32)),
    UniqueConstraint("tracker", "project", "key", name="each_event_once"),
)
"""Comments that are commands, and what became of each; their text is never kept."""

issue_states = Table(
    "issue_states",
    metadata,
    Column("case_id", ForeignKey("cases.id"), primary_key=True),
    Column("open", Boolean, nullable=False),
    Column("labels", Text, nullable=False),
    Column("assignees", Text, nullable=False),
    Column("turn", Integer, nullable=False),
    Column("heard_at", Instant, nullable=False),
)
"""What each issue was like when we last heard of it: what changes since may stand for a command."""

issue_watch = Table(
    "issue_watch",
    metadata,
    Column("case_id", ForeignKey("cases.id"), primary_key=True),
    Column("looked_at", Instant, nullable=False),
    Column("standing", String(16), nullable=False),
    Column("open", Boolean, nullable=False),
)
"""What the last look at an issue saw: who opens a secret to others is told of once."""

issue_moves = Table(
    "issue_moves",
    metadata,
    Column("case_id", ForeignKey("cases.id"), primary_key=True),
    Column("begun_at", Instant),
    Column("left_number", Text),
)
"""Issues on their way from the embedded tracker to where their route leads."""

project_checks = Table(
    "project_checks",
    metadata,
    Column("tracker", String(64), primary_key=True),
    Column("project", Text, primary_key=True),
    Column("checked_at", Instant, nullable=False),
    Column("refused_since", Instant),
)
"""How the last check of each project ended; NULL: something may be filed there."""

outgoing = Table(
    "outgoing",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("delivery_id", ForeignKey("deliveries.id")),
    Column("case_id", ForeignKey("cases.id"), nullable=False),
    Column("step", String(64), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("recipient", String(320), nullable=False),
    Column("reverse_path", String(320), nullable=False),
    Column("message_id", Text, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("body_hash", Text, nullable=False),
    Column("must_encrypt", Boolean, nullable=False),
    Column("encrypted_to", Text, nullable=False),
    Column("state", String(20), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("deferrals", Integer, nullable=False),
    Column("wait_until", Instant),
    Column("last_status", Text),
    Column("due_at", Instant),
    Column("owner", String(32)),
    Column("automatic", Boolean, nullable=False),
    Column("queued_at", Instant, nullable=False),
    Column("sent_at", Instant),
    Column("telling_at", Instant),
    Column("told_at", Instant),
    UniqueConstraint("message_id", "recipient", name="one_row_for_each_recipient"),
    sqlite_autoincrement=True,
)
Index("outgoing_due", outgoing.c.due_at, outgoing.c.id, sqlite_where=outgoing.c.due_at.is_not(None))
Index("outgoing_delivery", outgoing.c.delivery_id)
Index("outgoing_state", outgoing.c.state, outgoing.c.id)
Index("outgoing_case", outgoing.c.case_id)
Index(
    "outgoing_automatic",
    outgoing.c.automatic,
    outgoing.c.queued_at,
    outgoing.c.recipient,
    outgoing.c.message_id,
)
"""The budgets are counted within this index alone: the rows hold whole mails."""

journal = Table(
    "journal",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("subject", String(32), nullable=False),
    Column("event", String(64), nullable=False),
    Column("facts", Text, nullable=False),
    Column("hash", LargeBinary(32), nullable=False),
    sqlite_autoincrement=True,
)
Index("journal_subject", journal.c.subject, journal.c.seq)

JOURNAL_TRIGGERS = {
    f"journal_no_{verb.lower()}": (
        f"CREATE TRIGGER journal_no_{verb.lower()} BEFORE {verb} ON journal "
        "BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END"
    )
    for verb in ("UPDATE", "DELETE")
}
"""The guards of the journal by name; ``check`` asks whether both are there."""

local_issues = Table(
    "local_issues",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("project", Text, nullable=False),
    Column("marker", String(64), nullable=False, unique=True),
    Column("title", Text, nullable=False),
    Column("sealed_body", LargeBinary, nullable=False),
    Column("confidential", Boolean, nullable=False),
    Column("open", Boolean, nullable=False),
    Column("labels", Text, nullable=False),
    Column("assignees", Text, nullable=False),
    Column("due", Date),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    CheckConstraint("confidential", name="local_issues_are_confidential"),
    sqlite_autoincrement=True,
)

local_comments = Table(
    "local_comments",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("number", ForeignKey("local_issues.number"), nullable=False),
    Column("marker", String(64), nullable=False, unique=True),
    Column("author", String(320), nullable=False),
    Column("sealed_body", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False),
)
Index("local_comments_number", local_comments.c.number, local_comments.c.id)

local_attachments = Table(
    "local_attachments",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("number", ForeignKey("local_issues.number"), nullable=False),
    Column("name", Text, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("size", Integer, nullable=False),
)
Index("local_attachments_number", local_attachments.c.number, local_attachments.c.id)

local_attachment_chunks = Table(
    "local_attachment_chunks",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("content", LargeBinary, nullable=False),
)
