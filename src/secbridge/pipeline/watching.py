"""Does each issue still keep its secret?  Somebody may open it to others, long after we proved it.

Now and then every issue is looked at, open ones first and the longest unseen first, so many in a
round.  One that others can see raises an alarm, once, and so does one that is gone; both stand in
the journal of the case.  An issue that was moved is found where it is by now, and that is kept.
"""

from __future__ import annotations

from secbridge import maillog
from secbridge.errors import Deferral, PermanentFault
from secbridge.model.case import Case, IssueRef
from secbridge.model.issue import IssueState, Standing
from secbridge.pipeline.guarding import Guarding
from secbridge.ports import Places, Watched

AT_ONCE = 100
"""Issues that one round looks at; each is a request or two to its tracker."""


class Watching:
    """Looks at the issues of one installation."""

    def __init__(self, places: Places, guarding: Guarding) -> None:
        self._places = places
        self._guarding = guarding

    async def look_around(self, *, limit: int = AT_ONCE) -> None:
        """Look at up to ``limit`` issues.  A tracker that is away is left alone for this round.

        An issue that cannot be looked at hides no other: it has had its turn, and the next comes.
        """
        away: set[str] = set()
        for watched in await self._places.issues_to_look_at(limit=limit):
            name, _ = watched.case.place
            if name in away:
                continue
            try:
                await self._look(watched)
                continue
            except PermanentFault as error:
                maillog.deferred("watching", error.code, 0, alarm=False)
            except Deferral as error:
                away.add(name)
                maillog.deferred("watching", error.code, 0, alarm=False)
            except Exception as error:  # noqa: BLE001 - of a plugin; the other issues are looked at
                maillog.fault("watching", type(error).__name__)
            await self._places.passed_over(watched.case.id)

    async def _look(self, watched: Watched) -> None:
        """Look at one issue and keep what is seen.  Raises Deferral when nothing can be seen."""
        case = watched.case
        if case.issue is None:
            return
        state = await self._state(case)
        await keep_seen(self._places, case.id, case.issue, state)

    async def _state(self, case: Case) -> IssueState | None:
        """Return the issue as its tracker shows it, or None when it shows us none."""
        if case.issue is None:
            return None
        tracker = self._guarding.known(*case.place)
        try:
            return await tracker.look(case.issue)
        except PermanentFault as error:
            if error.code not in OUT_OF_SIGHT or self._guarding.refuses(*case.place):
                raise  # it says nothing of this one issue; the check of the project tells of it
            return None


async def keep_seen(
    places: Places, case_id: str, issue: IssueRef, state: IssueState | None
) -> None:
    """Record what was seen of a case's issue, and where it is by now; tell what is news."""
    standing = _standing(state)
    if await places.looked(case_id, standing, state=state):
        issue = state.ref if state else issue
        alarm = standing is not Standing.KEPT
        maillog.issue_standing(case_id, issue.tracker, issue.number, standing.value, alarm=alarm)


OUT_OF_SIGHT = frozenset(
    {
        "tracker-not-found",
        "tracker-forbidden",
        "tracker-moved-away",
        "tracker-hides-issue",
        "tracker-issues-off",  # GitHub's 410, which it also says of an issue that was deleted
        "local-issue-missing",
    }
)
"""The codes by which a tracker says that it does not show us an issue."""


def _standing(state: IssueState | None) -> Standing:
    if state is None:
        return Standing.GONE
    return Standing.KEPT if state.confidential else Standing.EXPOSED
