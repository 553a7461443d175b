"""Into which tracker does a report go?  Where its route leads, or into the embedded one meanwhile.

A project that cannot keep a secret is refused (``guarding``), and one that did not keep a new issue
secret has refused itself.  Where the alias has a fallback, the report is then filed at once in the
embedded tracker, with an alarm, and ``returning`` takes it home later.  Elsewhere it waits.
"""

from __future__ import annotations

from collections.abc import Mapping

from secbridge import maillog
from secbridge.errors import NotConfidential, PermanentFault
from secbridge.model.case import Case, IssueRef
from secbridge.model.delivery import Delivery
from secbridge.model.message import Message
from secbridge.pipeline.guarding import Guarding
from secbridge.ports import EffectKey, Shelter
from secbridge.rules import commands
from secbridge.rules.drafting import draft_report

WHY_HERE = (
    "This issue is in the embedded tracker because its own project cannot keep a secret now. "
    "It goes there by itself as soon as it can; secbridge check says what is to be mended."
)


class Filing:
    """Files reports.  ``shelters``: the embedded tracker of each alias that has a fallback."""

    def __init__(
        self, guarding: Guarding, shelters: Mapping[str, Shelter], *, mark: str = commands.MARK
    ) -> None:
        self._guarding = guarding
        self._shelters = shelters
        self._mark = mark

    async def file(
        self, case: Case, key: EffectKey, delivery: Delivery, message: Message
    ) -> IssueRef:
        """Return the one issue of a case, wherever it is.  Raises Deferral.

        A tracker that is away is waited for: the fallback is for one that cannot keep a secret.
        """
        route = case.route
        draft = draft_report(case, delivery, message, mark=self._mark)
        try:
            tracker = await self._guarding.tracker(route.tracker, route.project)
            return await tracker.ensure_issue(key, draft)
        except (PermanentFault, NotConfidential) as error:
            if (shelter := self._shelters.get(route.alias)) is None:
                raise
            maillog.filed_in_fallback(case.id, route.tracker, route.project, error.code)
        draft = draft_report(case, delivery, message, notes=(WHY_HERE,), mark=self._mark)
        return await shelter.ensure_issue(key, draft)
