"""Who learns that a mail of ours will not leave?  The team, on the issue of its case, once.

The relay may refuse a mail for good, and our own guard may keep one here.  The log raises an alarm
then, which operators read; whoever wrote the answer reads the issue.  So now and then every such
mail is told there.  A tracker that is away is told the next time.
"""

from __future__ import annotations

from secbridge import maillog
from secbridge.errors import Deferral, NotConfidential, OutcomeUnknown, PermanentFault
from secbridge.model.case import Case, IssueRef
from secbridge.model.delivery import Outgoing, OutgoingState
from secbridge.pipeline.guarding import Guarding
from secbridge.ports import Cases, Clock, EffectKey, Outbox
from secbridge.rules import commands
from secbridge.rules.drafting.troubles import Whom, draft_trouble, whom

AT_ONCE = 50
"""Mails that one round tells of."""

_PASSING = frozenset({"project-refused", "tracker-not-configured"})
"""What a person mends: then the issue is told after all."""

_LOST = frozenset({OutgoingState.REFUSED, OutgoingState.QUARANTINED})


class Troubles:
    """Tells issues of mails that will not leave."""

    def __init__(
        self,
        outbox: Outbox,
        cases: Cases,
        guarding: Guarding,
        *,
        clock: Clock,
        mark: str = commands.MARK,
    ) -> None:
        self._outbox = outbox
        self._cases = cases
        self._guarding = guarding
        self._clock = clock
        self._mark = mark
        self._in_vain: set[int] = set()

    async def tell(self, *, limit: int = AT_ONCE) -> None:
        """Tell of what did not leave.  A tracker that is away is left alone for this round.

        What an issue refuses for good is not tried again before the next start, and keeps nobody
        else waiting.
        """
        away: set[tuple[str, str]] = set()
        for outgoing in await self._outbox.untold(limit=limit + len(self._in_vain)):
            case = await self._cases.get_case(outgoing.mail.case_id)
            if case is None or case.place in away or outgoing.id in self._in_vain:
                continue
            try:
                await self._tell(case, outgoing)
            except Deferral as error:
                if _is_for_good(error):
                    self._in_vain.add(outgoing.id)
                else:
                    away.add(case.place)
                maillog.deferred("troubles", error.code, 0, alarm=False)
            except Exception as error:  # noqa: BLE001 - of a plugin; the other issues are told
                self._in_vain.add(outgoing.id)
                maillog.fault("troubles", type(error).__name__)

    async def _tell(self, case: Case, outgoing: Outgoing) -> None:
        if case.issue is not None and not await self._is_told_by_another(case, outgoing):
            await self._comment(case, case.issue, outgoing)
        await self._outbox.told(outgoing.id)

    async def _is_told_by_another(self, case: Case, outgoing: Outgoing) -> bool:
        """Whether it is the alias's copy of a mail that did not reach the reporter either."""
        if whom(case, outgoing) is not Whom.COPY:
            return False
        mail = await self._outbox.posted(case.id, outgoing.mail.step)
        return mail is not None and mail.id != outgoing.id and mail.state in _LOST

    async def _comment(self, case: Case, issue: IssueRef, outgoing: Outgoing) -> None:
        """Tell the issue, recording before that we are about to."""
        tracker = await self._guarding.tracker(*case.place)
        earlier = outgoing.telling_at
        await self._outbox.telling(outgoing.id, self._clock.now())
        key = EffectKey(case.marker_of(f"trouble {outgoing.id}"), attempted_at=earlier)
        draft = draft_trouble(case, outgoing, mark=self._mark)
        try:
            await tracker.ensure_comment(issue, key, draft)
        except Deferral as error:
            if not (isinstance(error, OutcomeUnknown) and error.sent):
                await self._outbox.telling(outgoing.id, earlier)  # nothing happened this time
            raise
        maillog.trouble_told(outgoing.id, case.id, issue.tracker, issue.number)


def _is_for_good(error: Deferral) -> bool:
    """Whether an issue takes no comment: it is locked, gone, or public by now."""
    if isinstance(error, NotConfidential):
        return True
    return isinstance(error, PermanentFault) and error.code not in _PASSING
