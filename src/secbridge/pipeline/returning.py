"""How does a report come home that was filed in the embedded tracker?  Told again, then let go.

As soon as the project of its route can keep a secret, its issue is made there under the marker of
the case, as any issue is: proven, then told.  The report is derived again from the raw mail, and so
is every mail that joined meanwhile; what people wrote is copied, with their names.  Then, in one
commit, the case's issue is the new one.  The old one is told where the new one is, and closed.

A crash may come anywhere.  Before the commit everything is found again by its marker; after it the
store says which issue was left, and that one is gone through until nothing new has come to it for
a while: a mail or a person may have been writing there at that very moment.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from time import perf_counter

from secbridge import maillog
from secbridge.errors import Deferral, OutcomeUnknown, PermanentFault, Refusal
from secbridge.model.alias import Alias
from secbridge.model.case import Case, IssueRef, MailClass
from secbridge.model.delivery import Delivery
from secbridge.model.envelope import Target
from secbridge.model.issue import (
    CommentDraft,
    IssueChange,
    IssueDraft,
    IssueState,
    Remark,
)
from secbridge.pipeline.examining import Examined, Examiner
from secbridge.pipeline.guarding import Guarding
from secbridge.ports import Clock, Deliveries, EffectKey, Leaving, Places, Shelter, Tracker
from secbridge.rules import commands
from secbridge.rules.drafting import (
    draft_comment,
    draft_copy,
    draft_farewell,
    draft_remark,
    draft_report,
)

SETTLED = timedelta(minutes=10)
"""How long an issue that was left is gone through for comments that came to it late."""

FAREWELL = "moved-home"
"""The effect whose comment tells an issue where its case has gone."""


@dataclass(slots=True, repr=False)
class _Journey:
    """One case on its way: ``leaving`` as the store knows it; ``old`` is the issue that it leaves.

    ``mails``: the deliveries of the case by the markers that their comments bear.  ``told``: the
    markers of the comments that this journey has told already.
    """

    leaving: Leaving
    old: IssueRef
    alias: Alias
    shelter: Shelter
    home: Tracker
    mails: Mapping[str, Delivery]
    told: set[str] = field(default_factory=set)

    @property
    def case(self) -> Case:
        """The case, with the issue that it has by now."""
        return self.leaving.case


class Returning:
    """Takes issues home from ``shelters``, one for each alias; ``name`` is theirs as a tracker."""

    def __init__(  # guard, store and examiner: a report is derived again, and filed again
        self,
        guarding: Guarding,
        shelters: Mapping[str, Shelter],
        name: str,
        *,
        places: Places,
        deliveries: Deliveries,
        examiner: Examiner,
        aliases: Mapping[str, Alias],
        clock: Clock,
        mark: str = commands.MARK,
    ) -> None:
        self._guarding = guarding
        self._shelters = shelters
        self._name = name
        self._places = places
        self._deliveries = deliveries
        self._examiner = examiner
        self._aliases = aliases
        self._clock = clock
        self._mark = mark

    async def take_all_home(self) -> None:
        """Take home what can go home now; what cannot is tried again the next time."""
        for leaving in await self._places.away_from_home(self._name):
            try:
                await self._take_home(leaving)
            except Deferral as error:
                alarm = error.alarm and error.code != "project-refused"  # guarding told of that
                maillog.deferred(leaving.case.id, error.code, 0, alarm=alarm)
            except Exception as error:  # noqa: BLE001 - of a plugin; it keeps no other case away
                maillog.fault("returning", type(error).__name__)

    async def _take_home(self, leaving: Leaving) -> None:
        """Go as far as possible with one case; the next journey goes on from there."""
        began = perf_counter()
        journey = await self._prepared(leaving)
        if journey is None:
            return
        if leaving.left is None:
            new = await self._move(journey)
            took_ms = round((perf_counter() - began) * 1000)
            maillog.moved_home(journey.case.id, new.tracker, new.number, took_ms)
            moved = replace(journey.case, issue=new)
            journey.leaving = Leaving(moved, begun_at=None, left=journey.old.number)
        await self._settle(journey)

    async def _prepared(self, leaving: Leaving) -> _Journey | None:
        """Return a journey, or None for an alias that has no fallback any more: ``check`` tells."""
        case = leaving.case
        alias, shelter = self._aliases.get(case.route.alias), self._shelters.get(case.route.alias)
        if case.issue is None or alias is None or shelter is None:
            return None
        old = case.issue
        if leaving.left is not None:
            old = IssueRef(self._name, alias.local_part, leaving.left, leaving.left)
        home = await self._guarding.tracker(case.route.tracker, case.route.project)
        mails = await self._places.mails_of(case.id)
        by_marker = {case.marker_of(mail.id): mail for mail in mails}
        return _Journey(leaving, old, alias, shelter, home, by_marker)

    async def _move(self, journey: _Journey) -> IssueRef:
        """Make the issue at home, with all comments, and record that it is the case's issue now."""
        case, home = journey.case, journey.home
        draft = await self._report(journey)
        async with self._begun(journey.leaving):
            # An issue of before the fallback may be there, closed and empty: it is looked for.
            earlier = journey.leaving.begun_at or case.opened_at
            new = await home.ensure_issue(EffectKey(case.marker, attempted_at=earlier), draft)
            await self._copy(journey, new)
            change = _changes(case, await journey.shelter.look(journey.old))
            if change != IssueChange():
                with suppress(PermanentFault):  # told by the log; an unknown person stops nobody
                    await home.update(new, change)
        await self._places.move_issue(case.id, new)
        return new

    async def _copy(self, journey: _Journey, new: IssueRef) -> None:
        """Tell the new issue each comment of the old one, once."""
        farewell = journey.case.marker_of(FAREWELL)
        for remark in await journey.shelter.remarks(journey.old):
            if remark.marker in journey.told or remark.marker == farewell:
                continue
            draft = await self._comment(journey, remark)
            key = EffectKey(remark.marker, attempted_at=journey.leaving.begun_at)
            await journey.home.ensure_comment(new, key, draft)
            journey.told.add(remark.marker)

    async def _settle(self, journey: _Journey) -> None:
        """Copy what came late to the issue that was left, tell it where the case is, close it."""
        case, shelter, old = journey.case, journey.shelter, journey.old
        if case.issue is None:
            return
        async with self._begun(journey.leaving):
            await self._copy(journey, case.issue)
            farewell = EffectKey(case.marker_of(FAREWELL), attempted_at=case.opened_at)
            await shelter.ensure_comment(old, farewell, draft_farewell(case, case.issue))
            if (await shelter.look(old)).open:
                await shelter.update(old, IssueChange(open=False))
        begun_at = journey.leaving.begun_at
        if begun_at is not None and self._clock.now() - begun_at >= SETTLED:
            await self._places.settle_move(case.id)

    @asynccontextmanager
    async def _begun(self, leaving: Leaving) -> AsyncIterator[None]:
        """Record the intent before effects, and put it back when no outcome is unknown after all.

        A try that only waits for an earlier one keeps that one's time, so that the wait ends.
        """
        case_id, earlier = leaving.case.id, leaving.begun_at
        await self._places.begin_move(case_id)
        try:
            yield
        except OutcomeUnknown as error:
            if not error.sent:
                await self._places.undo_begin(case_id, earlier)
            raise
        if earlier is not None:
            await self._places.undo_begin(case_id, earlier)

    # ── What is told again ────────────────────────────────────────────────────────────────────────

    async def _report(self, journey: _Journey) -> IssueDraft:
        """Return the draft of a case, from its first mail or else from the text of the issue."""
        first = None if journey.case.adopted else next(iter(journey.mails.values()), None)
        examined = await self._examined(first, journey.alias) if first else None
        if first is None or examined is None:
            text = await journey.shelter.text(journey.old)
            return draft_copy(journey.case, text, mark=self._mark)
        return draft_report(
            journey.case, first, examined.message, mark=self._mark, mention=examined.mention
        )

    async def _comment(self, journey: _Journey, remark: Remark) -> CommentDraft:
        """Return the draft of a comment, from the mail that made it, else from its text.

        Of a bounce the text is all that is worth telling.
        """
        delivery = journey.mails.get(remark.marker)
        if delivery is None or _is_bounce(delivery):
            return draft_remark(journey.case, remark)
        examined = await self._examined(delivery, journey.alias)
        if examined is None:
            return draft_remark(journey.case, remark)
        return draft_comment(journey.case, delivery, examined.message, thread=examined.thread)

    async def _examined(self, delivery: Delivery, alias: Alias) -> Examined | None:
        """Return a mail, opened again, or None when its raw bytes went after the retention time."""
        try:
            raw = await self._deliveries.content(delivery.id)
        except Refusal:
            return None
        target = Target(delivery.recipient, delivery.alias, delivery.token, delivery.outgoing)
        return await self._examiner.examine(
            raw, alias=alias, reverse_path=delivery.reverse_path, target=target
        )


def _is_bounce(delivery: Delivery) -> bool:
    return delivery.verdict is not None and delivery.verdict.mail_class is MailClass.BOUNCE


def _changes(case: Case, was: IssueState) -> IssueChange:
    """Return what people changed on the old issue and the new one does not have by itself."""
    route = case.route
    return IssueChange(
        add_labels=tuple(label for label in was.labels if label not in route.labels),
        assignees=was.assignees if was.assignees != route.assignees else None,
        due=was.due if was.due != route.due else None,
        open=None if was.open else False,
    )
