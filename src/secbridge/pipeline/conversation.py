"""What does the team say to us, in its own tracker?  It is heard, done, and answered, once.

Each project is asked from time to time what happened there, and at once when a webhook hints at it.
Only a marked comment is a command (``rules.commands``), and what the operator lets a label or a
state stand for (``following``).  Only a member with the right role may command, and every command
gets its answer in the issue: what was done, or why not and what to do.  An event has a key, and the
cursor moves on when all before it have an outcome, so that a crash loses and repeats nothing.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from time import perf_counter
from typing import assert_never
from weakref import WeakValueDictionary

from secbridge import maillog
from secbridge.errors import Deferral, NotConfidential, OutcomeUnknown, PermanentFault
from secbridge.model.case import Case, IssueRef
from secbridge.model.issue import Actor, CommentDraft, CommentWritten, IssueChanged, TrackerEvent
from secbridge.pipeline.adopting import Adopting
from secbridge.pipeline.commanding import REPORTER_SET, THE_TRACKER, Commanding, Order, Outcome
from secbridge.pipeline.following import (
    Assigned,
    Sign,
    Signs,
    as_filed,
    differs,
    keep_followed,
    signs_of,
)
from secbridge.pipeline.watching import keep_seen
from secbridge.ports import Cases, Clock, EffectKey, Events, Places, Tracker
from secbridge.rules import commands, identity
from secbridge.rules.commands import Command, CommandName, Mistake
from secbridge.rules.drafting import commanding

Place = tuple[str, str]
"""A tracker's name and a project in it."""

TRIES = 5
"""How often we try what a tracker refuses for good, or what breaks in us, before we go on."""

PATIENCE = timedelta(days=1)
"""How long we try what only waits.  A cursor that stood still for ever would hear of nobody: what
is read of a tracker at once has an end.
"""

NOT_ALLOWED = "not-allowed"
"""The outcome of a command of somebody who may not; anybody can have it as often as they like."""


@dataclass(frozen=True, slots=True)
class Habits:
    """How the team talks to us.

    ``slash``: ``/reply`` counts as well, where the tracker leaves such lines alone.
    ``public_replies``: a member's comment that the tracker shows to outsiders is a reply.
    """

    mark: str = commands.MARK
    slash: bool = True
    public_replies: bool = False
    signs: Signs = field(default_factory=Signs)


class Conversation:
    """Listens to the trackers of one installation and has done what the team asks.

    Without ``adopting`` an issue that people opened is never a case.  ``secret`` is the
    installation's.
    """

    def __init__(
        self,
        trackers: Mapping[Place, Tracker],
        *,
        events: Events,
        cases: Cases,
        places: Places,
        commanding: Commanding,
        secret: bytes,
        clock: Clock,
        adopting: Adopting | None = None,
        habits: Habits | None = None,
    ) -> None:
        self._trackers = trackers
        self._events = events
        self._cases = cases
        self._places = places
        self._commanding = commanding
        self._secret = secret
        self._clock = clock
        self._adopting = adopting
        self._habits = habits or Habits()
        self._hints = {place: asyncio.Event() for place in trackers}
        self._reading = {place: asyncio.Lock() for place in trackers}
        self._doing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._tries: Counter[str] = Counter()
        self._waiting: dict[str, datetime] = {}

    # ── When ─────────────────────────────────────────────────────────────────────────────────────

    def nudge(self, tracker: str) -> None:
        """Look at all projects of a tracker now; many hints at once are one look."""
        for place, hint in self._hints.items():
            if place[0] == tracker:
                hint.set()

    async def catch_up(self, tracker: str) -> None:
        """Hear what was said in all projects of a tracker until now, as far as that can be done."""
        for place in self._trackers:
            if place[0] == tracker:
                await self._listened(place)

    async def run(self, stopping: asyncio.Event, *, every: timedelta) -> None:
        """Listen to every project until we stop; one that does not answer holds up no other."""
        async with asyncio.TaskGroup() as group:
            for place in self._trackers:
                group.create_task(self._attend(place, stopping, every))

    async def _attend(self, place: Place, stopping: asyncio.Event, every: timedelta) -> None:
        hint = self._hints[place]
        while not stopping.is_set():
            hint.clear()  # before we look: what happens from now on may be missed
            await self._listened(place)
            await _first_of(hint, stopping, within=every)

    async def _listened(self, place: Place) -> None:
        try:
            await self.listen(place)
        except Deferral as error:
            seconds = round((error.retry_after or timedelta(0)).total_seconds())
            maillog.deferred("conversation", error.code, seconds, alarm=error.alarm)
        except Exception as error:  # noqa: BLE001 - the last net: the other projects go on
            maillog.fault("conversation", type(error).__name__)

    async def listen(self, place: Place) -> None:
        """Read what is new in one project and do what is asked there.

        What cannot be done or answered now holds up what came after it in the same issue, and
        nothing else, and not for ever.  Raises its error then; what has its outcome is not done
        again, the rest is read again.
        """
        async with self._reading[place]:
            tracker, known = self._trackers[place], await self._events.cursor(*place)
            events, cursor = await tracker.events(known)
            for event in events:
                await self._keep_move(place, event)
            failures: dict[str, Exception] = {}
            for event in sorted(events, key=_is_change):
                if event.issue.id in failures:
                    continue
                try:
                    await self._hear(place, tracker, event)
                except Exception as error:  # noqa: BLE001 - the other issues go on
                    if not self._is_passed_over(event, error):
                        failures[event.issue.id] = error
                        continue
                self._forget(_known(event.issue, event.key), _as_event(event))
            for failure in failures.values():
                raise failure
            if cursor != known:
                await self._events.move_cursor(*place, cursor)

    async def _keep_move(self, place: Place, event: TrackerEvent) -> None:
        """Record where an issue was moved to, before we hear what is said there.

        Where a move gives it another id, it would look like one that people opened.
        """
        if not isinstance(event, IssueChanged) or event.state.ref.project == place[1]:
            return
        case_id = await self._case_of(place, event.issue)
        if case_id is not None and (await self._case(case_id)).issue != event.state.ref:
            await keep_seen(self._places, case_id, event.issue, event.state)

    def _is_passed_over(self, event: TrackerEvent, error: Exception) -> bool:
        """Whether we go on without an event of which nothing could be made again and again."""
        name = _as_event(event)
        if isinstance(error, Deferral):
            if not self._is_in_vain(name):
                return False
        elif not self._is_last_try(name):
            return False
        maillog.fault("conversation", type(error).__name__, issue=event.issue.number)
        return True

    async def _hear(self, place: Place, tracker: Tracker, event: TrackerEvent) -> None:
        match event:
            case CommentWritten():
                await self._comment(place, tracker, event)
            case IssueChanged():
                await self._change(place, tracker, event)
            case _:
                assert_never(event)

    # ── What is asked ────────────────────────────────────────────────────────────────────────────

    async def _comment(self, place: Place, tracker: Tracker, written: CommentWritten) -> None:
        """Do the command of a comment, if it is one and we have not done it before."""
        asked = await self._asked(tracker, written)
        if asked is None:
            return
        case_id = await self._case_of(place, written.issue)
        case_id = case_id or await self._adopted(place, tracker, written)
        if case_id is None:
            return
        async with self._lock(case_id):
            case, author = await self._case(case_id), written.author
            account = author.account or author.name
            order = Order(
                case=case,
                asked=asked,
                key=written.key,
                issue=written.issue,
                by=self._commanding.name_of(case, account, author.name),
                account=account,
            )
            digest = identity.text_digest(self._secret, written.text)
            await self._settle(tracker, order, digest=digest, author=author)

    async def _asked(self, tracker: Tracker, written: CommentWritten) -> Command | Mistake | None:
        """Return what a comment asks for, None where it is the team's own conversation."""
        if written.author.is_us:
            return None
        slash = self._habits.slash and tracker.leaves_slashes
        asked = commands.parse(written.text, mark=self._habits.mark, slash=slash)
        if asked is not None or not (self._habits.public_replies and written.public):
            return asked
        if not written.text.strip() or not await tracker.may_command(written.author):
            return None
        return Command(CommandName.REPLY, text=written.text)

    async def _adopted(self, place: Place, tracker: Tracker, written: CommentWritten) -> str | None:
        """Return the id of a new case, where a marked command is on an issue without one."""
        if self._adopting is None:
            return None
        if not isinstance(commands.parse(written.text, mark=self._habits.mark), Command):
            return None
        case = await self._adopting.adopt(place, tracker, written)
        return case.id if case else None

    async def _change(self, place: Place, tracker: Tracker, changed: IssueChanged) -> None:
        """Do what labels, states and people stand for that are new since we heard of the issue.

        What the event says may be older than what we did to the issue: it is read again.
        """
        case_id = await self._case_of(place, changed.issue)
        case_id = case_id or await self._case_of(place, changed.state.ref)
        if case_id is None:
            return
        async with self._lock(case_id):
            case = await self._case(case_id)
            before = await self._events.heard_state(case.id) or as_filed(case)
            if before.turn >= 0 and not differs(before, changed.state):
                return
            try:
                now = await tracker.look(changed.issue)
            except PermanentFault:  # gone, or hidden from us, by now: others watch for that
                return
            if before.turn < 0:
                await keep_followed(self._events, case, before, now)
                return
            if not differs(before, now):
                return
            signs = tuple(signs_of(case, before, now, self._habits.signs))
            for sign in signs:
                await self._follow(tracker, await self._case(case.id), sign, now.ref)
            if any(sign.closes for sign in signs):  # what people had opened we may have closed
                now = replace(now, open=(await tracker.look(now.ref)).open)
            await keep_followed(self._events, case, before, now)

    async def _follow(self, tracker: Tracker, case: Case, sign: Sign, issue: IssueRef) -> None:
        order = Order(case, sign.asked, sign.key, issue)
        if isinstance(sign.asked, Assigned) and await self._is_handled(order, sign.asked):
            return
        await self._settle(tracker, order)

    async def _is_handled(self, order: Order, asked: Assigned) -> bool:
        """Whether a person who was given the issue has the case already, and the others know it.

        Where we died over this very order, the person has it and the others may not know.
        """
        case = order.case
        if self._commanding.name_of(case, asked.account) != case.handler:
            return False
        return not await self._events.is_begun(*case.place, order.key)

    async def _case_of(self, place: Place, issue: IssueRef) -> str | None:
        """Return the id of the case of an issue that was heard of through a project of ours.

        It may have been moved elsewhere, and we may not have looked at it there.
        """
        case_id = await self._events.case_of_issue(issue.tracker, issue.project, issue.id)
        if case_id is None and issue.project != place[1]:
            case_id = await self._events.case_of_issue(*place, issue.id)
        return case_id

    async def _case(self, case_id: str) -> Case:
        case = await self._cases.get_case(case_id)
        if case is None:
            raise LookupError("a case that an issue belongs to is not in the store")
        return case

    def _lock(self, case_id: str) -> asyncio.Lock:
        """Return the lock of a case: its issue may be listened to from two projects at once."""
        return self._doing.setdefault(case_id, asyncio.Lock())

    # ── Once ─────────────────────────────────────────────────────────────────────────────────────

    async def _settle(
        self, tracker: Tracker, order: Order, *, digest: bytes = b"", author: Actor | None = None
    ) -> None:
        """Do an order, answer it in the issue and record its outcome, unless that is done.

        It is known by the place of its case: an issue that was moved to another project of ours is
        listened to from both.
        """
        case, began, name = order.case, perf_counter(), _code(order.asked)
        before = await self._events.hear(
            *case.place, order.key, case_id=case.id, command=name, digest=digest
        )
        if before.done:
            return
        order = replace(order, edited=before.changed, attempted_at=before.attempted_at)
        try:
            outcome = await self._outcome(tracker, order, author)
            code = await self._answered(tracker, order, outcome)
        except Deferral as error:
            await self._wait_no_longer(order, error)
            if not self._is_in_vain(_tried(order)):
                raise
            code = "given-up"
            maillog.unanswered(case.id, code, error.code)
        by = author.name if author else THE_TRACKER
        await self._events.heard(*case.place, order.key, case_id=case.id, by=by, outcome=code)
        self._forget(_tried(order))
        maillog.commanded(case.id, name, code, round((perf_counter() - began) * 1000))

    async def _wait_no_longer(self, order: Order, error: Deferral) -> None:
        """Let the wait for an earlier try go on, where this one left nothing that is not known.

        Otherwise each look at the tracker would begin it anew, and it would never be over.
        """
        sent = isinstance(error, OutcomeUnknown) and error.sent
        if order.attempted_at is not None and not sent:
            await self._events.undo_hear(*order.case.place, order.key, order.attempted_at)

    async def _outcome(self, tracker: Tracker, order: Order, author: Actor | None) -> Outcome:
        """Do what is asked by somebody who may; what fails again and again is given up.

        Who lost the role when the mail was on its way already is told that it is.
        """
        try:
            if await self._may_command(tracker, order, author):
                return await self._commanding.do(tracker, order)
            return Outcome(NOT_ALLOWED, commanding.not_allowed())
        except Exception as error:
            waits = isinstance(error, Deferral)
            if not (self._is_in_vain if waits else self._is_last_try)(_tried(order)):
                raise
            maillog.fault("conversation", type(error).__name__, case=order.case.id)
            return Outcome("failed", commanding.failed(mark=self._habits.mark))

    async def _may_command(self, tracker: Tracker, order: Order, author: Actor | None) -> bool:
        """Whether somebody's word counts, or did; whose hand set a label we are not told."""
        if author is None or await tracker.may_command(author):
            return True
        return await self._commanding.has_written(order)

    async def _answered(self, tracker: Tracker, order: Order, outcome: Outcome) -> str:
        """Tell the issue what became of an order, once, and return the code to record.

        An issue that takes no comment (it is locked, gone, or public by now) holds up its cursor
        only for a while, and not at all for somebody who may not command.
        """
        case, blocks = order.case, outcome.blocks
        known = outcome.code == REPORTER_SET  # also where it was before we died
        if case.adopted and (known or case.reporter is None):
            blocks = (*commanding.adopted(case.id, known=known, mark=self._habits.mark), *blocks)
        key = EffectKey(case.marker_of(f"answer {order.key}"), order.attempted_at)
        try:
            await tracker.ensure_comment(order.issue, key, CommentDraft(case.id, blocks))
        except (PermanentFault, NotConfidential) as error:
            if outcome.code != NOT_ALLOWED and not self._is_last_try(_tried(order)):
                raise
            maillog.unanswered(case.id, outcome.code, error.code)
            return "unanswered"
        return outcome.code

    def _forget(self, *names: str) -> None:
        """Begin anew: what failed came to its end, and may come again, edited."""
        for name in names:
            self._tries.pop(name, None)
            self._waiting.pop(name, None)

    def _is_last_try(self, name: str) -> bool:
        self._tries[name] += 1
        return self._tries[name] >= TRIES

    def _is_in_vain(self, name: str) -> bool:
        """Whether we have waited for long enough; the first question begins to count."""
        now = self._clock.now()
        return now - self._waiting.setdefault(name, now) >= PATIENCE


async def _first_of(hint: asyncio.Event, stopping: asyncio.Event, *, within: timedelta) -> None:
    """Wait until somebody hints, we stop, or the time is over."""
    waits = [asyncio.create_task(event.wait()) for event in (hint, stopping)]
    try:
        await asyncio.wait(
            waits, timeout=within.total_seconds(), return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        for wait in waits:
            wait.cancel()


def _is_change(event: TrackerEvent) -> bool:
    """Whether an event comes behind the comments: what a command does to an issue is not news."""
    return isinstance(event, IssueChanged)


def _known(issue: IssueRef, key: str) -> str:
    return f"{issue.tracker} {key}"


def _as_event(event: TrackerEvent) -> str:
    """Return the name of an event that nobody came to do anything about."""
    return f"event {_known(event.issue, event.key)}"


def _tried(order: Order) -> str:
    return _known(order.issue, order.key)


def _code(asked: Command | Mistake | Assigned) -> str:
    """Return what is asked as one word, for the journal and the log."""
    if isinstance(asked, Assigned):
        return "assigned"
    return asked.name.value.replace(" ", "-") if asked.name else "unknown"
