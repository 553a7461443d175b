"""Where does a case go, and who has it until when?  The alias says both."""

from __future__ import annotations

from datetime import UTC, datetime

from secbridge.model.alias import Alias
from secbridge.model.case import Route, Verdict


def route(alias: Alias, verdict: Verdict, received_at: datetime) -> Route:
    """Return tracker, project, labels, people and due date (a day, in UTC) of a mail to ``alias``.

    The due date counts from when we took the mail, not from when somebody looked at it.
    """
    del (
        verdict
    )  # every class that is filed goes to the alias's own project; its lane is no other route
    return Route(
        alias=alias.address,
        tracker=alias.tracker,
        project=alias.project,
        labels=alias.labels,
        assignees=alias.assignees,
        due=(received_at.astimezone(UTC) + alias.due_in).date(),
    )
