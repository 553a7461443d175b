"""What did the store learn when the team began to answer from its tracker?

Letters that no mail brought about, where a case stands and who has it, by which mails of others a
case is known, and what each issue was like when we last heard of it.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_KEPT: tuple[tuple[str, sa.types.TypeEngine[Any]], ...] = (
    ("language", sa.String(length=35)),
    ("status", sa.String(length=16)),
    ("on_hold", sa.Boolean()),
    ("handler", sa.Text()),
    ("contacted_by", sa.Text()),
)


def upgrade() -> None:
    """Add tables and columns; what is there gets the values that it would have had."""
    op.create_table(
        "case_mails",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("case_id", sa.String(length=20), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("by_reporter", sa.Boolean(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("case_id", "message_id", name="one_row_for_each_mail"),
    )
    op.create_index("case_mails_message_id", "case_mails", ["message_id"])
    op.create_table(
        "issue_states",
        sa.Column("case_id", sa.String(length=20), nullable=False),
        sa.Column("open", sa.Boolean(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("assignees", sa.Text(), nullable=False),
        sa.Column("turn", sa.Integer(), nullable=False),
        sa.Column("heard_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"]),
        sa.PrimaryKeyConstraint("case_id"),
    )
    op.execute(
        "INSERT INTO issue_states (case_id, open, labels, assignees, turn, heard_at)"
        " SELECT id, 1, '[]', '[]', -1, 0 FROM cases WHERE issue_id IS NOT NULL"
    )  # what these are like by now is old news, and stands for no command
    op.add_column("tracker_events", sa.Column("digest", sa.LargeBinary(length=32)))
    _upgrade_cases()
    _upgrade_outgoing()


def _upgrade_cases() -> None:
    for name, kind in _KEPT:
        op.add_column("cases", sa.Column(name, kind))
    op.add_column("cases", sa.Column("contacted_at", sa.BigInteger()))
    op.execute(
        "UPDATE cases SET language = '', status = 'new', on_hold = 0, handler = '',"
        " contacted_by = ''"
    )
    with op.batch_alter_table("cases") as cases:
        cases.alter_column("mail_id", existing_type=sa.Integer(), nullable=True)
        for name, kind in _KEPT:
            cases.alter_column(name, existing_type=kind, nullable=False)


def _upgrade_outgoing() -> None:
    """Say of mails that are there when they were queued and left, as the journal has it.

    Of those that did not leave their issues are not told now, long after.
    """
    op.add_column("outgoing", sa.Column("automatic", sa.Boolean()))
    for name in ("queued_at", "sent_at", "telling_at", "told_at"):
        op.add_column("outgoing", sa.Column(name, sa.BigInteger()))
    op.execute(
        "UPDATE outgoing SET automatic = 1, queued_at = coalesce((SELECT min(at) FROM journal"
        " WHERE subject = outgoing.delivery_id"
        " AND event IN ('delivery.answered', 'delivery.answer-held')), 0)"
    )
    op.execute(
        "UPDATE outgoing SET sent_at = (SELECT min(at) FROM journal"
        " WHERE subject = outgoing.case_id AND event = 'mail.sent'"
        " AND json_extract(facts, '$.outgoing') = outgoing.id) WHERE state = 'sent'"
    )
    op.execute(
        "UPDATE outgoing SET told_at = CAST(strftime('%s', 'now') AS INTEGER) * 1000000"
        " WHERE state IN ('refused', 'quarantined')"
    )
    with op.batch_alter_table("outgoing", table_kwargs={"sqlite_autoincrement": True}) as outgoing:
        outgoing.alter_column("delivery_id", existing_type=sa.String(length=32), nullable=True)
        outgoing.alter_column("automatic", existing_type=sa.Boolean(), nullable=False)
        outgoing.alter_column("queued_at", existing_type=sa.BigInteger(), nullable=False)
    op.create_index("outgoing_case", "outgoing", ["case_id"])
    op.create_index(
        "outgoing_automatic",
        "outgoing",
        ["automatic", "queued_at", "recipient", "message_id"],
    )
