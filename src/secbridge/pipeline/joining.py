"""What does a mail do to the case that it is part of?  It is told on the issue, once.

A follow-up becomes a comment; the reporter's may open a closed issue again, and one of the team to
the reporter counts as an answer.  A bounce is told where it says that something did not arrive.
Joining is harmless when it is done twice: the comment is found by its marker, and all else is a
question first.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from secbridge import maillog
from secbridge.errors import Deferral, NotConfidential, OutcomeUnknown, PermanentFault
from secbridge.model.case import Case, CaseStatus, IssueRef
from secbridge.model.delivery import Commented, Delivery, Incoming
from secbridge.model.issue import CommentDraft, IssueChange, Paragraph
from secbridge.model.message import Message
from secbridge.model.reply import OwnMail
from secbridge.pipeline.examining import Examined
from secbridge.pipeline.following import keep_own
from secbridge.pipeline.guarding import Guarding
from secbridge.ports import Cases, EffectKey, Events, Tracker
from secbridge.rules import commands, loops
from secbridge.rules.drafting import draft_comment, draft_mentioned, words
from secbridge.rules.drafting.bounces import draft_bounce
from secbridge.rules.threads import Mention, Participant, Thread, called

JOURNAL = "journal"
"""The comment of a mail that is only noted."""


class Joining:
    """Tells the issues of cases what their mails say.

    ``reopens``: a mail of the reporter opens a closed issue again.  ``mark`` is what a comment for
    secbridge begins with.
    """

    def __init__(
        self,
        cases: Cases,
        events: Events,
        guarding: Guarding,
        *,
        reopens: bool = True,
        mark: str = commands.MARK,
    ) -> None:
        self._cases = cases
        self._events = events
        self._guarding = guarding
        self._reopens = reopens
        self._mark = mark

    async def follow_up(
        self, case: Case, delivery: Delivery, examined: Examined, *, earlier: datetime | None
    ) -> Commented:
        """Comment with a mail of a case, and do what follows from who wrote it.

        ``earlier`` is when an attempt began whose outcome nobody knows.  Raises Deferral.
        """
        message, thread, issue = examined.message, examined.thread, filed_issue(case)
        tracker = await self._guarding.tracker(*case.place)
        closed = not (await tracker.look(issue)).open
        may_reopen = self._may_reopen(case, thread, delivery)
        reopens = closed and may_reopen
        notes = (words.WAS_REOPENED if reopens else words.STAYS_CLOSED,) if closed else ()
        comment = await tracker.ensure_comment(
            issue,
            EffectKey(case.marker_of(delivery.id), attempted_at=earlier),
            draft_comment(case, delivery, message, thread=thread, notes=notes),
        )
        with _comment_is_there():
            if reopens:
                await self._reopen(case, issue, tracker, delivery)
            elif earlier is not None and not closed and may_reopen:
                await keep_own(self._events, case, is_open=True)  # it may have been that attempt
            if thread is not None:
                await self._count_as_contact(case, thread, delivery)
        is_reporters = thread is not None and thread.is_reporters
        return Commented(case.id, comment.id, incoming_of(message, by_reporter=is_reporters))

    async def bounce(
        self, case: Case, delivery: Delivery, examined: Examined, *, earlier: datetime | None
    ) -> Commented:
        """Tell the issue that a mail of ours did not arrive; of good news the journal alone hears.

        Raises Deferral.
        """
        sent = await sent_mail(self._cases, case, delivery, examined.message)
        draft = draft_bounce(case, delivery, examined.message, sent, mark=self._mark)
        if draft is None:
            return Commented(case.id, JOURNAL)
        issue = filed_issue(case)
        tracker = await self._guarding.tracker(*case.place)
        key = EffectKey(case.marker_of(delivery.id), attempted_at=earlier)
        return Commented(case.id, (await tracker.ensure_comment(issue, key, draft)).id)

    async def show_mention(self, case: Case, mention: Mention) -> None:
        """Show that a case was opened by a mail that claims to continue an earlier one.

        The tracker links the two issues; where it cannot, the earlier one is told in a comment.
        The later one says so itself, so an earlier one that is gone, public or locked by now holds
        up nobody's answer.  Raises Deferral.
        """
        earlier = await self._cases.get_case(mention.case_id)
        if earlier is None or earlier.id == case.id:
            return
        try:
            await self._show_mention(case, earlier, mention)
        except (PermanentFault, NotConfidential) as error:  # gone, or published by now
            maillog.not_linked(case.id, earlier.id, error.code)

    async def _show_mention(self, case: Case, earlier: Case, mention: Mention) -> None:
        if earlier.issue is None or case.issue is None:
            return
        if case.issue.tracker == earlier.issue.tracker:
            tracker = await self._guarding.tracker(*case.place)
            if await tracker.link(case.issue, earlier.issue):
                return
        tracker = await self._guarding.tracker(*earlier.place)
        key = EffectKey(earlier.marker_of(f"mention {case.id}"), attempted_at=case.opened_at)
        await tracker.ensure_comment(earlier.issue, key, draft_mentioned(earlier, mention, case))

    # ── What follows from who wrote ───────────────────────────────────────────────────────────────

    def _may_reopen(self, case: Case, thread: Thread | None, delivery: Delivery) -> bool:
        """Return whether a mail opens the issue again: one that the reporter wrote, and no spam's.

        A machine of the reporter's, which answers our last letter, opens nothing.
        """
        if thread is None or not self._reopens or case.status is CaseStatus.SPAM:
            return False
        verdict = delivery.verdict
        by_machine = verdict is not None and verdict.reply_refused_because in loops.BY_MACHINE
        return thread.is_reporters and not by_machine

    async def _reopen(
        self, case: Case, issue: IssueRef, tracker: Tracker, delivery: Delivery
    ) -> None:
        """Open the issue again; where the tracker does not let us, a person is asked to."""
        try:
            await tracker.update(issue, IssueChange(open=True))
        except PermanentFault as error:
            maillog.not_reopened(delivery.id, case.id, error.code)
            marker = case.marker_of(f"not-reopened {delivery.id}")
            told = CommentDraft(case.id, (Paragraph(words.CANNOT_REOPEN),))
            await tracker.ensure_comment(issue, EffectKey(marker, delivery.received_at), told)
            return
        await keep_own(self._events, case, is_open=True)  # it stands for no command of a person
        await self._cases.note(case.id, "case.reopened", {"delivery": delivery.id})
        maillog.reopened(delivery.id, case.id)

    async def _count_as_contact(self, case: Case, thread: Thread, delivery: Delivery) -> None:
        """Record who of the team answered the reporter, so that nobody answers twice."""
        if thread.participant is Participant.MEMBER and thread.directly and thread.member:
            await self._cases.record_contact(
                case.id, by=called(thread.member), at=delivery.received_at
            )


@contextmanager
def _comment_is_there() -> Iterator[None]:
    """Turn every deferral into OutcomeUnknown: the comment is made, so it is looked for next."""
    try:
        yield
    except OutcomeUnknown:
        raise
    except Deferral as error:
        raise OutcomeUnknown(
            error.code, error.sentence, alarm=error.alarm, retry_after=error.retry_after
        ) from error


def filed_issue(case: Case) -> IssueRef:
    """Return the issue of a case, or wait: its first mail may still be on its way there."""
    if case.issue is None:
        raise Deferral("case-not-filed", "The case has no issue yet.")
    return case.issue


def incoming_of(message: Message, *, by_reporter: bool) -> Incoming | None:
    """Return the mail as later ones may name it, or None where it has no Message-ID."""
    message_id = message.headers.message_id
    return None if message_id is None else Incoming(message_id, by_reporter)


async def sent_mail(
    cases: Cases, case: Case, delivery: Delivery, message: Message
) -> OwnMail | None:
    """Return which mail of ours in a case a bounce is about, or None where it does not say.

    The envelope sender that it came back to names it; else the Message-ID of what it returns.
    """
    if delivery.outgoing is not None:
        sent = await cases.mail_sent_as(case.id, delivery.recipient.lower())
        if sent is not None:
            return sent
    returned = message.report.original_message_ids if message.report is not None else ()
    for message_id in returned:
        sent = await cases.own_mail(message_id)
        if sent is not None and sent.case_id == case.id:
            return sent
    return None
