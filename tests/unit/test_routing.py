"""Where does a case go?  To the alias's own project, people and due date."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

from tests.support.messages import an_alias

from secbridge.model.case import MailClass, Route, Verdict
from secbridge.rules.routing import route

REPORT = Verdict(MailClass.REPORT, ("report.words",), may_reply=True)


def test_a_case_goes_to_the_aliass_project_and_people() -> None:
    """Tracker, project, labels, assignees and due date all come from the alias."""
    alias = an_alias(due_in=timedelta(days=3), labels=("Security", "intake"))
    received = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
    expected = Route(
        "security@example.org",
        "local",
        "security",
        ("Security", "intake"),
        ("alice",),
        date(2026, 11, 23),
    )
    assert expected == route(alias, REPORT, received)


def test_the_due_date_counts_in_utc_from_acceptance() -> None:
    """A clock of another zone does not move the day."""
    received = datetime(2026, 11, 20, 23, 30, tzinfo=timezone(timedelta(hours=-5)))
    assert date(2026, 11, 28) == route(an_alias(), REPORT, received).due


def test_all_classes_go_to_the_same_place() -> None:
    """Report and other are filed alike: unsure means issue."""
    other = Verdict(MailClass.OTHER, ("other.no-sign",), may_reply=True)
    received = datetime(2026, 11, 20, tzinfo=UTC)
    assert route(an_alias(), REPORT, received) == route(an_alias(), other, received)
