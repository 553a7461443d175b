"""What happens to one delivery, room by room?  Read aloud, this file is the story of the map.

Each step takes the delivery from one listed state to the next and records it before it returns.
All that is plaintext lives in the ``Trip`` in memory; after a restart it is derived again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from time import perf_counter
from typing import assert_never
from weakref import WeakValueDictionary

from secbridge import maillog
from secbridge.errors import Deferral, OutcomeUnknown, Overtook, StoreBusy
from secbridge.model.alias import Alias
from secbridge.model.case import Case, IssueRef, KeyBinding, MailClass, Route, Verdict
from secbridge.model.delivery import (
    Answered,
    Attempted,
    Commented,
    Delivery,
    Filed,
    Finished,
    Held,
    Judged,
    Move,
    Opened,
    Routed,
    SetAside,
    State,
    Withheld,
)
from secbridge.model.envelope import Target
from secbridge.model.issue import CommentDraft, Paragraph
from secbridge.model.reply import OutgoingMail
from secbridge.pipeline.examining import Examined, Examiner
from secbridge.pipeline.filing import Filing
from secbridge.pipeline.guarding import Guarding
from secbridge.pipeline.joining import JOURNAL, Joining, filed_issue, incoming_of
from secbridge.pipeline.rawmail import KeptMail
from secbridge.pipeline.replying import Answering, Letters, News, NoAnswer, Waits
from secbridge.ports import Cases, Deliveries, EffectKey, Events, Places
from secbridge.rules import commands
from secbridge.rules.language import language_of
from secbridge.rules.routing import route

_NO_ISSUE = frozenset({MailClass.SPAM})
"""What opens no issue although it is in no case."""


@dataclass(slots=True, repr=False)
class Trip:
    """A delivery under way, with what was derived from its bytes and is never stored.

    ``earlier`` is when an attempt of an earlier trip began whose outcome nobody knows.
    """

    delivery: Delivery
    alias: Alias
    earlier: datetime | None
    examined: Examined | None = None
    attempted: bool = False


class Steps:
    """One coroutine for each room.

    ``reopens``: a mail of its reporter opens a closed issue again.  ``mark`` is what a comment for
    secbridge begins with.
    """

    def __init__(
        self,
        *,
        deliveries: Deliveries,
        cases: Cases,
        events: Events,
        examiner: Examiner,
        answering: Answering,
        aliases: Mapping[str, Alias],
        places: Places,
        guarding: Guarding,
        filing: Filing,
        reopens: bool = True,
        mark: str = commands.MARK,
    ) -> None:
        self._deliveries = deliveries
        self._cases = cases
        self._examiner = examiner
        self._answering = answering
        self._aliases = aliases
        self._places = places
        self._guarding = guarding
        self._filing = filing
        self._joining = Joining(cases, events, guarding, reopens=reopens, mark=mark)
        self._opening: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()
        self._replying: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def carry(self, delivery: Delivery) -> Delivery:
        """Carry a delivery as far as it goes: to an answer that waits, or to its end."""
        trip = Trip(delivery, self._alias(delivery.alias), earlier=delivery.attempted_at)
        while (step := self._next(trip.delivery.state)) is not None:
            await step(trip)
        return trip.delivery

    def _next(self, state: State) -> Callable[[Trip], Awaitable[None]] | None:
        match state:
            case State.RECEIVED | State.OPENED | State.JUDGED:
                return self._open_and_judge
            case State.ROUTED:
                return self._file
            case State.FILED | State.COMMENTED:
                return self._answer
            case State.WITHHELD:
                return self._finish
            case (
                State.ANSWERED
                | State.HELD
                | State.SET_ASIDE
                | State.DONE
                | State.DEFERRED
                | State.QUARANTINED
            ):
                return None
            case _:
                assert_never(state)

    # ── openpgp, mail, triage, routing ────────────────────────────────────────────────────────────

    async def _open_and_judge(self, trip: Trip) -> None:
        """Open the mail, give it a class and a route, and record all three in one commit.

        Not before the mail that it goes on with is in its case: else it would open its own.
        What surely opens an issue has its case opened in that commit, and is filed at once.
        """
        examined = await self._examined(trip)
        if examined.overtook is not None:
            maillog.overtook(trip.delivery.id, examined.overtook)
            raise Overtook
        began = perf_counter()
        chosen = route(trip.alias, examined.verdict, trip.delivery.received_at)
        state = trip.delivery.state
        moves: list[Move] = []
        if state is State.RECEIVED:
            moves.append(Opened(examined.message.protection))
        if state in {State.RECEIVED, State.OPENED}:
            moves.append(Judged(examined.verdict))
        judged = state is State.JUDGED  # then what was recorded counts
        moves += [Routed(chosen), Attempted("file")]
        trip.attempted = True
        if not judged and examined.case is None and examined.verdict.mail_class not in _NO_ISSUE:
            await self._open_issue(trip, chosen, moves)
            return
        trip.delivery = await self._deliveries.record(trip.delivery.id, *moves)
        _tell_route(trip.delivery, examined.verdict, chosen, began)

    async def _examined(self, trip: Trip) -> Examined:
        """Return message, verdict and thread, derived from the raw bytes once a trip."""
        if trip.examined is not None:
            return trip.examined
        began = perf_counter()
        delivery = trip.delivery
        examined = await self._examiner.examine(
            KeptMail(self._deliveries, delivery.id),
            alias=trip.alias,
            reverse_path=delivery.reverse_path,
            target=Target(
                recipient=delivery.recipient,
                alias=delivery.alias,
                token=delivery.token,
                outgoing=delivery.outgoing,
            ),
            behind=delivery.id,
        )
        message = examined.message
        maillog.opened(delivery.id, message.protection, len(message.layers), took_ms=_ms(began))
        trip.examined = examined
        return examined

    # ── trackers ──────────────────────────────────────────────────────────────────────────────────

    async def _file(self, trip: Trip) -> None:
        """Make the mail an issue, a comment, a silent entry of its case, or set it aside."""
        examined = await self._examined(trip)
        if not trip.attempted:
            trip.delivery = await self._deliveries.record(trip.delivery.id, Attempted("file"))
        verdict, case = trip.delivery.verdict or examined.verdict, examined.case
        match verdict.mail_class:
            case MailClass.SPAM:
                await self._set_aside(trip, verdict.reasons[0])
            case MailClass.OWN | MailClass.AUTO_REPLY if case is not None:
                await self._note(trip, case)
            case MailClass.FOLLOW_UP | MailClass.BOUNCE if case is not None:
                await self._join(trip, case, verdict.mail_class)
            case (
                MailClass.REPORT
                | MailClass.OTHER
                | MailClass.UNDECRYPTABLE
                | MailClass.OWN
                | MailClass.FOLLOW_UP
                | MailClass.BOUNCE
                | MailClass.AUTO_REPLY
            ):
                await self._open_issue(trip, trip.delivery.route)
            case _:
                assert_never(verdict.mail_class)

    async def _open_issue(
        self, trip: Trip, chosen: Route | None, moves: Sequence[Move] = ()
    ) -> None:
        """Open a case and its confidential issue, once: the aliases of one mail take turns.

        ``moves`` are recorded with the case: what the mail is, and that we are about to file it.
        """
        if chosen is None:
            raise Deferral("no-route", "The delivery has no recorded route.", alarm=True)
        async with self._opening.setdefault(trip.delivery.mail_id, asyncio.Lock()):
            await self._open_issue_alone(trip, chosen, moves)

    async def _open_issue_alone(self, trip: Trip, chosen: Route, moves: Sequence[Move]) -> None:
        began = perf_counter()
        examined = await self._examined(trip)
        message = examined.message
        delivery, case = await self._cases.open_case(
            trip.delivery.id,
            await self._present_route(trip, chosen),
            reporter=message.author,
            must_encrypt=message.was_encrypted,
            language=language_of(message),
            incoming=incoming_of(message, by_reporter=message.author is not None),
            moves=moves,
        )
        trip.delivery = delivery
        if moves:
            _tell_route(delivery, examined.verdict, chosen, began)
        attempts = [at for at in (trip.earlier, case.attempted_at) if at is not None]
        # The latest: an unanswered request is waited for from when the last one began.
        key = EffectKey(case.marker, attempted_at=max(attempts, default=None))
        issue = case.issue or await self._filing.file(
            case, key, delivery, message, mention=examined.mention
        )
        delivery = await self._outcome(delivery, Filed(case.id, issue))
        maillog.filed(delivery.id, case.id, issue.tracker, issue.number, took_ms=_ms(began))
        trip.delivery = delivery

    async def _present_route(self, trip: Trip, recorded: Route) -> Route:
        """Return the recorded route, mended where the configuration was.

        While there is no issue, labels and people are the present ones; and a place that is not
        configured any more gives way to the alias's present one, unless a request to it has an
        outcome that nobody knows.
        """
        alias, place = trip.alias, (recorded.tracker, recorded.project)
        if not self._guarding.knows(*place):
            if trip.earlier is not None:
                return recorded
            place = (alias.tracker, alias.project)
        tracker, project = place
        present = replace(
            recorded,
            tracker=tracker,
            project=project,
            labels=alias.labels,
            assignees=alias.assignees,
        )
        case_id = trip.delivery.case_id
        if present == recorded or case_id is None:
            return present
        return present if await self._places.reroute(case_id, present) else recorded

    async def _join(self, trip: Trip, case: Case, mail_class: MailClass) -> None:
        """Tell the issue of its case what the mail says, once."""
        began = perf_counter()
        delivery, examined = trip.delivery, await self._examined(trip)
        if examined.message.was_encrypted and not case.must_encrypt:
            await self._cases.require_encryption(case.id)
        case = await self._cases.get_case(case.id) or case  # its issue may have moved meanwhile
        joining = self._joining
        join = joining.bounce if mail_class is MailClass.BOUNCE else joining.follow_up
        commented = await join(case, delivery, examined, earlier=trip.earlier)
        delivery = await self._outcome(delivery, commented)
        maillog.commented(delivery.id, case.id, took_ms=_ms(began))
        trip.delivery = delivery

    async def _note(self, trip: Trip, case: Case) -> None:
        """Note silently, in the journal of its case, what a machine sent or what was our own."""
        began = perf_counter()
        delivery = await self._deliveries.record(trip.delivery.id, Commented(case.id, JOURNAL))
        maillog.commented(delivery.id, case.id, took_ms=_ms(began))
        trip.delivery = delivery

    async def _set_aside(self, trip: Trip, why: str) -> None:
        """List the mail, and wait for a person."""
        delivery = await self._deliveries.record(trip.delivery.id, SetAside(why))
        maillog.set_aside(delivery.id, why)
        trip.delivery = delivery

    # ── reply ─────────────────────────────────────────────────────────────────────────────────────

    async def _answer(self, trip: Trip) -> None:
        """Answer the reporter, hold the answer, or record why there is none.

        The mails of one case take turns, so that each sees what another has answered.
        """
        case_id = trip.delivery.case_id or ""
        async with self._replying.setdefault(case_id, asyncio.Lock()):
            await self._answer_alone(trip)

    async def _answer_alone(self, trip: Trip) -> None:
        began = perf_counter()
        examined, delivery = await self._examined(trip), trip.delivery
        case = await self._case_of(delivery)
        bound = await self._key_of(case)
        await self._show_links(case)
        if examined.mention is not None and delivery.state is State.FILED:
            await self._joining.show_mention(case, examined.mention)
        answer = await self._answering.answer(
            delivery=delivery,
            case=case,
            message=examined.message,
            alias=self._alias(case.route.alias),
            participant=examined.thread.participant if examined.thread else None,
        )
        await self._tell(delivery, case, answer.news)
        match answer:
            case Letters(mails=mails):
                trip.delivery = await self._outcome(delivery, Answered(mails))
                maillog.answered(delivery.id, case.id, _kinds(mails), took_ms=_ms(began))
            case Waits():
                await self._hold(trip, answer, bound)
                maillog.held(
                    delivery.id, case.id, answer.why, _kinds(answer.mails), took_ms=_ms(began)
                )
            case NoAnswer(why=why):
                trip.delivery = await self._outcome(delivery, Withheld(why), Finished())
                maillog.withheld(delivery.id, case.id, why)
                maillog.done(delivery.id)
            case _:
                assert_never(answer)

    async def _hold(self, trip: Trip, answer: Waits, bound: KeyBinding | None) -> None:
        """Let the answer wait; wake it at once if a key was bound while we decided that."""
        held = Held(answer.why, answer.until, answer.mails)
        trip.delivery = await self._outcome(trip.delivery, held)
        case = await self._case_of(trip.delivery)
        if await self._key_of(case) != bound:
            await self._deliveries.wake_held(case_id=case.id)

    async def _key_of(self, case: Case) -> KeyBinding | None:
        """Return which certificate the reporter of a case is answered with, whoever bound it."""
        if case.key is not None or case.reporter is None:
            return case.key
        return await self._cases.key_for(case.route.alias, case.reporter)

    async def _tell(self, delivery: Delivery, case: Case, news: News | None) -> None:
        """Tell the team what there is to know of the reporter's key and answer, once.

        What was attempted before may have happened, be it for another mail of the case, so then it
        is looked for first.
        """
        if news is None:
            return
        attempted_at = await self._cases.telling_since(case.id)
        await self._deliveries.record(delivery.id, Attempted("tell"))
        issue = filed_issue(case)
        tracker = await self._guarding.tracker(*case.place)
        key = EffectKey(_marker(case, news.effect), attempted_at=attempted_at)
        await tracker.ensure_comment(issue, key, news.draft)
        if news.proposal is not None:
            with _known_to_have_happened():
                await self._cases.propose_key(news.proposal)
        maillog.told(delivery.id, case.id, news.effect.partition(" ")[0])

    async def _finish(self, trip: Trip) -> None:
        """Nothing is left to do."""
        delivery = await self._deliveries.record(trip.delivery.id, Finished())
        maillog.done(delivery.id)
        trip.delivery = delivery

    async def _show_links(self, case: Case) -> None:
        """Tell the team of other cases of the same mail: the tracker links the two issues.

        Where it cannot, the earlier issue names the later case in a comment; the later one names
        the earlier case in its own header, which was drafted after it.
        """
        for other_id in case.linked:
            earlier, later = case, await self._cases.get_case(other_id)
            if later is None:
                continue
            if later.opened_at < case.opened_at or later.id < case.id:
                earlier, later = later, case
            if earlier.issue is not None and later.issue is not None:
                await self._show_link(earlier, earlier.issue, later, later.issue)
            # Else the one that is filed last finds the other when it comes to this step.

    async def _show_link(
        self, earlier: Case, issue: IssueRef, later: Case, other: IssueRef
    ) -> None:
        tracker = await self._guarding.tracker(*earlier.place)
        if issue.tracker == other.tracker and await tracker.link(issue, other):
            return
        told = f"The same mail also opened case {later.id} ({later.route.alias})."
        await tracker.ensure_comment(
            issue,
            EffectKey(_marker(earlier, later.id), attempted_at=earlier.opened_at),
            CommentDraft(earlier.id, (Paragraph(told),)),
        )

    # ── small change ──────────────────────────────────────────────────────────────────────────────

    def _alias(self, address: str) -> Alias:
        alias = self._aliases.get(address)
        if alias is None:
            raise Deferral(
                "alias-not-configured",
                "The alias of this delivery is not in the configuration.",
                alarm=True,
            )
        return alias

    async def _outcome(self, delivery: Delivery, *moves: Move) -> Delivery:
        """Record what an effect came to."""
        with _known_to_have_happened():
            return await self._deliveries.record(delivery.id, *moves)

    async def _case_of(self, delivery: Delivery) -> Case:
        case = await self._cases.get_case(delivery.case_id) if delivery.case_id else None
        if case is None:
            raise Deferral("no-case", "The delivery has no recorded case.", alarm=True)
        return case


@contextmanager
def _known_to_have_happened() -> Iterator[None]:
    """Turn a busy store into OutcomeUnknown: the effect is out there, so it is looked for next."""
    try:
        yield
    except StoreBusy as error:
        raise OutcomeUnknown(error.code, error.sentence, alarm=error.alarm) from error


def _marker(case: Case, effect: str) -> str:
    """Return the marker of a comment, derived: the same effect has the same name for ever."""
    return case.marker_of(effect)


def _kinds(mails: Sequence[OutgoingMail]) -> list[str]:
    return [mail.kind.value for mail in mails]


def _tell_route(delivery: Delivery, verdict: Verdict, chosen: Route, began: float) -> None:
    """Say which class and route a delivery was given, in one commit."""
    took_ms = _ms(began)
    maillog.judged(delivery.id, verdict.mail_class, verdict.reasons, took_ms)
    maillog.routed(delivery.id, chosen.tracker, chosen.project, took_ms)


def _ms(began: float) -> int:
    return round((perf_counter() - began) * 1000)
