"""What did the store learn with keys that change, and with teams that command from their tracker?

Proposed keys, answers of key servers, how far each tracker was read and which commands were done;
and where an issue really is, which may be another tracker than the route says.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add tables and columns; of what is there, addresses are spelled in lower case alone."""
    op.execute("UPDATE key_bindings SET address = lower(address)")  # of ASCII, as they are compared
    op.add_column("cases", sa.Column("issue_tracker", sa.String(length=64)))
    op.add_column("cases", sa.Column("issue_project", sa.Text()))
    op.add_column("key_bindings", sa.Column("accepted_by", sa.Text()))
    op.create_table(
        "key_changes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("case_id", sa.String(length=20), nullable=False),
        sa.Column("address", sa.String(length=320), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("source", sa.String(length=20), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("accepted_at", sa.BigInteger()),
        sa.Column("accepted_by", sa.Text()),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("case_id", "fingerprint", name="one_change_for_each_key"),
    )
    op.create_table(
        "key_lookups",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(length=20), nullable=False),
        sa.Column("query", sa.String(length=320), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("found", sa.LargeBinary()),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("source", "query", name="one_answer_for_each_question"),
    )
    op.create_index("key_lookups_until", "key_lookups", ["until"])
    op.create_table(
        "issue_watch",
        sa.Column("case_id", sa.String(length=20), nullable=False),
        sa.Column("looked_at", sa.BigInteger(), nullable=False),
        sa.Column("standing", sa.String(length=16), nullable=False),
        sa.Column("open", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"]),
        sa.PrimaryKeyConstraint("case_id"),
    )
    op.create_table(
        "issue_moves",
        sa.Column("case_id", sa.String(length=20), nullable=False),
        sa.Column("begun_at", sa.BigInteger()),
        sa.Column("left_number", sa.Text()),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"]),
        sa.PrimaryKeyConstraint("case_id"),
    )
    op.create_table(
        "project_checks",
        sa.Column("tracker", sa.String(length=64), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("checked_at", sa.BigInteger(), nullable=False),
        sa.Column("refused_since", sa.BigInteger()),
        sa.PrimaryKeyConstraint("tracker", "project"),
    )
    op.create_table(
        "tracker_cursors",
        sa.Column("tracker", sa.String(length=64), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("cursor", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tracker", "project"),
    )
    op.create_table(
        "tracker_events",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("tracker", sa.String(length=64), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("case_id", sa.String(length=20)),
        sa.Column("command", sa.String(length=32)),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("attempted_at", sa.BigInteger()),
        sa.Column("done_at", sa.BigInteger()),
        sa.Column("outcome", sa.String(length=64)),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("tracker", "project", "key", name="each_event_once"),
    )
