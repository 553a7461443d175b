"""What does a command of the team do?  One case changes, and its issue is told what was done.

Every effect may be done twice: letters and claims have names of their own, a status is what it is,
an issue that is closed stays closed.  So a command in the middle of which we died is done again
from its beginning.  A letter that cannot be sent changes nothing else, and the issue is told why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from secbridge.errors import NotConfidential, PermanentFault
from secbridge.model.alias import Alias
from secbridge.model.case import Case, CaseStatus, IssueRef
from secbridge.model.delivery import OutgoingState
from secbridge.model.issue import Block, CommentDraft, IssueChange
from secbridge.model.reply import NotSaid, Saying
from secbridge.pipeline.claiming import Claiming
from secbridge.pipeline.following import Assigned, keep_own
from secbridge.pipeline.keychanges import Accepted, KeyChanges, Refused
from secbridge.pipeline.speaking import Speaking
from secbridge.ports import Cases, Clock, EffectKey, Events, Outbox, Tracker
from secbridge.rules import commands, identity, letters, replies
from secbridge.rules.commands import Command, CommandName, Mistake
from secbridge.rules.drafting import commanding
from secbridge.rules.drafting.commanding import Effects, Sent

Place = tuple[str, str]
"""A tracker's name and a project in it."""

THE_TRACKER = "the tracker"
"""Who commands by a label, a state or an assignment: whose hand it was we are not told."""

REPORTER_SET = "reporter-set"
"""The outcome after which there is somebody who can be written to."""


@dataclass(frozen=True, slots=True, repr=False)
class Order:
    """Something to be done for a case.

    ``key`` names the event for ever.  ``by`` is the name of who asked, ``account`` what assignees
    are called, "" where nobody is known.  ``issue`` is where it was asked.  ``edited``: it was
    begun before, with another text than it has now; ``attempted_at`` is when that was.
    """

    case: Case
    asked: Command | Mistake | Assigned
    key: str
    issue: IssueRef
    by: str = THE_TRACKER
    account: str = ""
    edited: bool = False
    attempted_at: datetime | None = None

    def __repr__(self) -> str:
        return f"Order({self.case.id}, {self.asked!r})"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an order: a code for the journal, and what the issue is told."""

    code: str
    blocks: tuple[Block, ...]


class Commanding:
    """Does what the team asks."""

    def __init__(
        self,
        *,
        cases: Cases,
        events: Events,
        outbox: Outbox,
        speaking: Speaking,
        claiming: Claiming,
        changes: KeyChanges,
        trackers: Mapping[Place, Tracker],
        aliases: Mapping[str, Alias],
        secret: bytes,
        clock: Clock,
        mark: str = commands.MARK,
    ) -> None:
        self._cases = cases
        self._events = events
        self._outbox = outbox
        self._speaking = speaking
        self._claiming = claiming
        self._changes = changes
        self._trackers = trackers
        self._aliases = aliases
        self._secret = secret
        self._clock = clock
        self._mark = mark

    async def do(self, tracker: Tracker, order: Order) -> Outcome:
        """Do what is asked and return what came of it; doing it again is harmless.

        Raises Deferral where a fault of ours or a tracker's absence stands in the way.
        """
        if order.edited and await self.has_written(order):
            return Outcome("edited", commanding.edited())
        match order.asked:
            case Command():
                return await self._commanded(tracker, order, order.asked)
            case Mistake(kind=kind):
                return Outcome(kind.value, commanding.explained(order.asked, mark=self._mark))
            case Assigned(account=account):
                return await self._assigned(order, account)
            case _:
                assert_never(order.asked)

    async def _commanded(self, tracker: Tracker, order: Order, asked: Command) -> Outcome:
        match asked.name:
            case (
                CommandName.REPLY
                | CommandName.ACCEPT
                | CommandName.REJECT
                | CommandName.NEED_INFO
                | CommandName.FIXED
                | CommandName.DISCLOSED
                | CommandName.NORMAL_BUG
            ):
                return await self._write(tracker, order, asked)
            case CommandName.DUPLICATE_OF:
                return await self._duplicate(tracker, order, asked)
            case CommandName.SPAM:
                return await self._spam(tracker, order)
            case CommandName.TAKE:
                return await self._take(tracker, order)
            case CommandName.KEY_ACCEPT:
                return await self._accept_key(order, asked.argument)
            case CommandName.REPORTER:
                return await self._reporter(order, asked.argument)
            case CommandName.HOLD:
                return await self._hold(order)
            case CommandName.RELEASE:
                return await self._release(order)
            case CommandName.STATUS:
                return await self._status(order)
            case CommandName.PREVIEW:
                return await self._preview(order, asked)
            case CommandName.HELP:
                return Outcome("helped", commanding.usage(mark=self._mark))
            case _:
                assert_never(asked.name)

    # ── Letters ──────────────────────────────────────────────────────────────────────────────────

    async def _write(
        self, tracker: Tracker, order: Order, asked: Command, other: Case | None = None
    ) -> Outcome:
        """Have a letter sent, and do what else belongs to its command."""
        said = await self._speaking.say(order.case, _saying(order, asked))
        if isinstance(said, NotSaid):
            return self._not_said(order, said)
        status = commands.STATUSES.get(asked.name)
        if status is not None:
            await self._cases.set_status(order.case.id, status, by=order.by)
        if not said.waits:
            await self._record_contact(order)
        linked = await self._linked(tracker, order, other) if other else False
        closed = await self._closed(tracker, order) if asked.name in commands.CLOSING else None
        effects = Effects(status, closed, other.id if other else "", linked)
        blocks = commanding.letter(said, effects, mark=self._mark)
        return Outcome("waits" if said.waits else "sent", blocks)

    async def _preview(self, order: Order, asked: Command) -> Outcome:
        said = await self._speaking.preview(order.case, _saying(order, asked.previewed or asked))
        if isinstance(said, NotSaid):
            return self._not_said(order, said)
        return Outcome("previewed", commanding.previewed(said))

    def _not_said(self, order: Order, said: NotSaid) -> Outcome:
        return Outcome(said.code, commanding.not_said(said, order.case.id, mark=self._mark))

    async def has_written(self, order: Order) -> bool:
        """Return whether a letter of this event is on its way, whatever its text is by now."""
        number = identity.letter_number(self._secret, order.case.id, order.key)
        step = f"{replies.LETTER}{number}"
        return await self._outbox.posted(order.case.id, step) is not None

    async def _record_contact(self, order: Order) -> None:
        await self._cases.record_contact(order.case.id, by=order.by, at=self._clock.now())

    # ── Duplicates, spam ─────────────────────────────────────────────────────────────────────────

    async def _duplicate(self, tracker: Tracker, order: Order, asked: Command) -> Outcome:
        """Tell the reporter that it is known; which case it is stays here."""
        other = await self._named(order, asked.argument)
        if other is None or other.id == order.case.id:
            return Outcome("no-such-case", commanding.not_found(same=other is not None))
        return await self._write(tracker, order, asked, other)

    async def _named(self, order: Order, name: str) -> Case | None:
        """Return the case that is called so: by its id, its issue's number, or its address."""
        if (found := await self._cases.get_case(name.upper())) is not None:
            return found
        here, issue = order.issue, name.rstrip("/")
        if "://" in issue:
            folder, _, issue = issue.rpartition("/")
            if folder != here.url.rstrip("/").rpartition("/")[0]:
                return None
        case_id = await self._events.case_of_number(here.tracker, here.project, issue)
        return await self._cases.get_case(case_id) if case_id else None

    async def _linked(self, tracker: Tracker, order: Order, other: Case) -> bool:
        """Link two issues; where the tracker has no links, the one that was first is told."""
        if other.issue is None:
            return False
        try:
            if other.issue.tracker == order.issue.tracker and await tracker.link(
                order.issue, other.issue
            ):
                return True
            return await self._told_other(order, other, other.issue)
        except (PermanentFault, NotConfidential):  # the other one may be public by now
            return False

    async def _told_other(self, order: Order, other: Case, issue: IssueRef) -> bool:
        keeper = self._trackers.get(other.place)
        if keeper is None:
            return False
        marker = other.marker_of(f"duplicate {order.case.id}")
        draft = CommentDraft(other.id, commanding.original(order.case.id))
        await keeper.ensure_comment(issue, EffectKey(marker, order.attempted_at), draft)
        return True

    async def _spam(self, tracker: Tracker, order: Order) -> Outcome:
        await self._cases.set_status(order.case.id, CaseStatus.SPAM, by=order.by)
        closed = await self._closed(tracker, order)
        return Outcome("spam", commanding.closed_as_spam(closed=closed))

    async def _closed(self, tracker: Tracker, order: Order) -> bool:
        """Close the issue; return False where the tracker refuses for good."""
        try:
            await tracker.update(order.issue, IssueChange(open=False))
        except PermanentFault:
            return False
        await keep_own(self._events, order.case, is_open=False)
        return True

    # ── Who handles it ───────────────────────────────────────────────────────────────────────────

    async def _take(self, tracker: Tracker, order: Order) -> Outcome:
        assigned = True
        try:
            await tracker.update(order.issue, IssueChange(assignees=(order.account,)))
            await keep_own(self._events, order.case, assignees=(order.account,))
        except PermanentFault:
            assigned = False
        return await self._handled(order, order.by, assigned=assigned)

    async def _assigned(self, order: Order, account: str) -> Outcome:
        return await self._handled(order, self.name_of(order.case, account), assigned=None)

    async def _handled(self, order: Order, handler: str, *, assigned: bool | None) -> Outcome:
        """Record who has the case, and tell the others behind the alias."""
        await self._cases.take_case(order.case.id, handler, by=order.by)
        await self._claiming.announce(order.case, handler, by=order.by)
        return Outcome("taken", commanding.taken(order.case, handler, assigned=assigned))

    def name_of(self, case: Case, account: str, name: str = "") -> str:
        """Return how the roster calls an account, else its own name, else the account.

        Names are what people call themselves: nobody gets that of somebody else in the roster.
        """
        alias = self._aliases.get(case.route.alias)
        return letters.called(alias.members if alias else (), account, name)

    # ── Keys, reporters, mail that waits ─────────────────────────────────────────────────────────

    async def _accept_key(self, order: Order, argument: str) -> Outcome:
        match await self._changes.accept(order.case.id, argument, by=order.by):
            case Accepted(binding=binding):
                return Outcome("accepted", commanding.key_accepted(binding.fingerprint))
            case Refused(code=code):
                return Outcome(code, commanding.key_refused(code))

    async def _reporter(self, order: Order, address: str) -> Outcome:
        """Say to whom answers go; the key of another address stays behind.

        An encrypted thread stays one: nothing leaves for it before the new address has a key.
        """
        case = order.case
        if (why := letters.refused_address(address, self._aliases)) is not None:
            return self._not_said(order, NotSaid(why))
        await self._cases.attach_reporter(case.id, address, by=order.by)
        return Outcome(REPORTER_SET, commanding.reporter_set(case.id))

    async def _hold(self, order: Order) -> Outcome:
        waiting = await self._cases.hold_mail(order.case.id, hold=True, by=order.by)
        return Outcome("on-hold", commanding.held(waiting, mark=self._mark))

    async def _release(self, order: Order) -> Outcome:
        """Let mail go; a letter that waited answers the reporter now."""
        mails = await self._outbox.mails_of_case(order.case.id)
        await self._cases.hold_mail(order.case.id, hold=False, by=order.by)
        if any(row.mail.kind.is_letter and row.state in _LEAVING for row in mails):
            await self._record_contact(order)
        return Outcome("released", commanding.released())

    async def _status(self, order: Order) -> Outcome:
        case = order.case
        sent = []
        for row in await self._outbox.mails_of_case(case.id):
            if row.mail.recipient != case.route.alias:
                own = await self._cases.own_mail(row.mail.message_id)
                sent.append(Sent(row, own.sent_at if own else None))
        return Outcome("shown", commanding.standing(case, sent))


_LEAVING = frozenset({OutgoingState.QUEUED, OutgoingState.SENT})


def _saying(order: Order, asked: Command) -> Saying:
    """Return what a command has said to the reporter."""
    argument = asked.argument
    return Saying(
        kind=commands.LETTERS[asked.name],
        key=order.key,
        by=order.by,
        text=asked.text,
        reason_class=argument if asked.name is CommandName.REJECT else "",
        version=argument if asked.name is CommandName.FIXED else "",
        url=argument if asked.name is CommandName.DISCLOSED else "",
    )
