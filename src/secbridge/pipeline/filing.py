"""Into which tracker does a report go?  Where its route leads, or into the embedded one meanwhile.

A project that cannot keep a secret is refused (``guarding``), and one that did not keep a new issue
secret has refused itself.  Where the alias has a fallback, the report is then filed at once in the
embedded tracker, with an alarm, and ``returning`` takes it home later.  Elsewhere it waits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from secbridge import maillog
from secbridge.errors import NotConfidential, PermanentFault
from secbridge.model.case import Case, IssueRef
from secbridge.model.delivery import Delivery
from secbridge.model.issue import IssueDraft, Paragraph
from secbridge.model.message import Message
from secbridge.pipeline.guarding import Guarding
from secbridge.ports import EffectKey, Shelter
from secbridge.rules import commands
from secbridge.rules.drafting import draft_report
from secbridge.rules.threads import Mention

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
        self,
        case: Case,
        key: EffectKey,
        delivery: Delivery,
        message: Message,
        *,
        mention: Mention | None = None,
    ) -> IssueRef:
        """Return the one issue of a case, wherever it is.  Raises Deferral.

        A tracker that is away is waited for: the fallback is for one that cannot keep a secret.
        ``mention`` is the earlier case that the mail says it continues.
        """
        route = case.route
        draft = draft_report(case, delivery, message, mark=self._mark, mention=mention)
        if key.attempted_at is not None and await self._began_in_shelter(route.alias, key):
            return await self._file_in_shelter(case, key, draft)
        try:
            tracker = await self._guarding.tracker(route.tracker, route.project)
            return await tracker.ensure_issue(key, draft)
        except (PermanentFault, NotConfidential) as error:
            if route.alias not in self._shelters:
                raise
            maillog.filed_in_fallback(case.id, route.tracker, route.project, error.code)
        return await self._file_in_shelter(case, key, draft)

    async def _began_in_shelter(self, alias: str, key: EffectKey) -> bool:
        """Whether an attempt that died had begun in the embedded tracker.

        The project may be mended by now; the issue that is here goes home as every other does.
        """
        shelter = self._shelters.get(alias)
        return shelter is not None and await shelter.holds(key)

    async def _file_in_shelter(self, case: Case, key: EffectKey, draft: IssueDraft) -> IssueRef:
        """File the report in the embedded tracker, which says first why it is there."""
        draft = replace(draft, report=(Paragraph(WHY_HERE), *draft.report))
        return await self._shelters[case.route.alias].ensure_issue(key, draft)
