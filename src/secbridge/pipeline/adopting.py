"""When is an issue that people opened a case?  When a member says so there, and it keeps a secret.

Such an issue is confidential, bears the labels of an alias that files in its project, and was not
opened by us.  The first command on it makes it a case; nobody outside is written to before the team
says who the reporter is.  Everything else is left alone: not even an answer is written there.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC

from secbridge import maillog
from secbridge.errors import PermanentFault
from secbridge.model.alias import Alias
from secbridge.model.case import Case, Route
from secbridge.model.issue import CommentWritten, IssueState
from secbridge.pipeline.following import keep_own
from secbridge.ports import Cases, Clock, Events, Tracker

Place = tuple[str, str]
"""A tracker's name and a project in it."""


class Adopting:
    """Makes cases of issues that were born in a tracker."""

    def __init__(
        self, aliases: Sequence[Alias], *, cases: Cases, events: Events, clock: Clock
    ) -> None:
        self._aliases = aliases
        self._cases = cases
        self._events = events
        self._clock = clock

    async def adopt(self, place: Place, tracker: Tracker, written: CommentWritten) -> Case | None:
        """Return the case of an issue in which a member commands, or None where it is to be none.

        Raises Deferral.
        """
        ours = [alias for alias in self._aliases if (alias.tracker, alias.project) == place]
        if not ours or not await tracker.may_command(written.author):
            return None
        try:
            state = await tracker.look(written.issue)
        except PermanentFault:  # it is gone, or hidden from us, by now
            return None
        alias = next((alias for alias in ours if _bears(state, alias.labels)), None)
        if alias is None or not state.confidential:
            why = "not-labelled" if alias is None else "not-confidential"
            maillog.not_adopted(state.ref.tracker, state.ref.number, why)
            return None
        case = await self._cases.adopt_case(
            self._route(alias, state), state.ref, by=written.author.name
        )
        await keep_own(self._events, case, is_open=state.open)
        return case

    def _route(self, alias: Alias, state: IssueState) -> Route:
        """Return a route that says what the issue is like now: only what changes later counts."""
        due = (self._clock.now().astimezone(UTC) + alias.due_in).date()
        return Route(
            alias=alias.address,
            tracker=alias.tracker,
            project=alias.project,
            labels=state.labels,
            assignees=state.assignees,
            due=state.due or due,
        )


def _bears(state: IssueState, labels: Sequence[str]) -> bool:
    """Whether an issue has all these labels."""
    have = {label.casefold() for label in state.labels}
    return all(label.casefold() in have for label in labels)
