"""In which order does a tracker learn of a report?  First prove, then tell; for every adapter.

An issue is created with a neutral title, the fixed header and a marker, and nothing else.  It is
read back, and only when it is proven confidential and labelled is it given the report.  What was
told is read back too, and compared: a difference means that the tracker interpreted something.

A crash or a lost answer may come between any two requests.  Then the same call with the same key
finds what is there by its marker and goes on from it, so there is one issue, told once.  Each
adapter brings a ``Desk``, the few verbs of its tracker; the order is here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, Protocol, TypeVar

from secbridge import maillog
from secbridge.errors import Deferral, NotConfidential, OutcomeUnknown
from secbridge.model.case import CommentRef, IssueRef
from secbridge.model.issue import CommentDraft, IssueDraft, Note
from secbridge.ports import EffectKey
from secbridge.trackers.files import withheld

Body = TypeVar("Body")
"""What a tracker keeps as a text and gives back unchanged: ``str``, or sealed ``bytes``."""


@dataclass(frozen=True, slots=True, repr=False)
class Seen(Generic[Body]):
    """An issue as the tracker shows it.  ``told``: it was given the report before."""

    ref: IssueRef
    confidential: bool
    labels: tuple[str, ...]
    assignees: tuple[str, ...]
    open: bool
    told: bool
    body: Body

    def __repr__(self) -> str:
        return f"Seen({self.ref.tracker} {self.ref.number})"


@dataclass(frozen=True, slots=True, repr=False)
class SeenComment(Generic[Body]):
    """A comment as the tracker shows it.  ``told``: it holds the mail, and not its marker alone."""

    ref: CommentRef
    internal: bool
    told: bool
    body: Body

    def __repr__(self) -> str:
        return f"SeenComment({self.ref.id})"


class Desk(Protocol[Body]):
    """The verbs that an adapter brings; each is at most a few requests and raises Deferral.

    ``patience`` is how long an unanswered request may still take effect over there.
    """

    @property
    def name(self) -> str:
        """The tracker's name, for the log."""
        ...

    @property
    def patience(self) -> timedelta:
        """How long after its start an unanswered request may still take effect."""
        ...

    async def find_issues(self, key: EffectKey) -> Sequence[Seen[Body]]:
        """Return our own account's issues with this marker, oldest first, open and closed."""
        ...

    async def create_issue(self, key: EffectKey, draft: IssueDraft) -> IssueRef:
        """Create with neutral title, header and marker only, asking for all that ``draft`` asks."""
        ...

    async def read_issue(self, ref: IssueRef) -> Seen[Body]:
        """Return the issue as it is now."""
        ...

    async def secure(self, ref: IssueRef, draft: IssueDraft) -> None:
        """Ask once more that the issue be confidential and have its labels."""
        ...

    async def attach(self, seen: Seen[Body], draft: IssueDraft | CommentDraft) -> Sequence[Note]:
        """Put the files of a draft beside a proven issue, each once, as the policy allows.

        What is there already under its neutral name is left.  Return what to say of them: where
        each is, or how an operator gets it.  Also asked for a draft without files, since a text
        that does not fit becomes one; never for an issue that others can see.
        """
        ...

    async def compose(
        self, key: EffectKey, draft: IssueDraft, seen: Seen[Body], notes: Sequence[Note]
    ) -> Body:
        """Return the whole text, report and all; ``seen`` is what the tracker made of the rest.

        ``notes``, about files, stand above the report.
        """
        ...

    async def tell(self, ref: IssueRef, body: Body, draft: IssueDraft) -> None:
        """Give a proven issue its whole text."""
        ...

    async def withdraw(self, ref: IssueRef, key: EffectKey, draft: IssueDraft) -> None:
        """Put the text back to header and marker."""
        ...

    async def set_open(self, ref: IssueRef, *, is_open: bool) -> None:
        """Close or reopen."""
        ...

    async def find_comments(self, ref: IssueRef, key: EffectKey) -> Sequence[SeenComment[Body]]:
        """Return the comments of our own account with this marker, oldest first."""
        ...

    async def compose_comment(
        self, key: EffectKey, draft: CommentDraft, notes: Sequence[Note]
    ) -> Body:
        """Return the whole text of a comment; ``notes`` as for ``compose``."""
        ...

    async def create_comment(
        self, ref: IssueRef, key: EffectKey, draft: CommentDraft, body: Body | None
    ) -> CommentRef:
        """Create with this text; None stands for a neutral line and the marker."""
        ...

    async def read_comment(self, ref: CommentRef) -> SeenComment[Body]:
        """Return the comment as it is now."""
        ...

    async def tell_comment(self, ref: CommentRef, body: Body) -> None:
        """Give a proven comment its whole text."""
        ...


# ── Issues ───────────────────────────────────────────────────────────────────────────────────────


async def ensure_issue(
    desk: Desk[Body], key: EffectKey, draft: IssueDraft, *, now: datetime
) -> IssueRef:
    """Return the one issue with this marker: confidential, labelled, told.

    Without an earlier attempt nothing can be there, so nothing is searched.  Raises NotConfidential
    when the tracker does not keep it secret: then it was told nothing, and is closed.
    """
    ref = await _known_issue(desk, key, draft)
    if ref is None:
        _wait_for_earlier(desk, key, now)
        ref = await desk.create_issue(key, draft)
    with _found_again_later():
        return await _prove_then_tell(desk, ref, key, draft)


async def _known_issue(desk: Desk[Body], key: EffectKey, draft: IssueDraft) -> IssueRef | None:
    """Return the issue of an earlier attempt; of several the told one or the oldest stays open."""
    if key.attempted_at is None:
        return None
    found = await desk.find_issues(key)
    if not found:
        return None
    kept = next((seen for seen in found if seen.told), found[0])
    maillog.reconciled(draft.case_id, desk.name, kept.ref.number)
    with _found_again_later():
        for other in found:
            if other.ref != kept.ref:
                maillog.duplicate_closed(draft.case_id, desk.name, other.ref.number)
                await desk.set_open(other.ref, is_open=False)
    return kept.ref


async def _prove_then_tell(
    desk: Desk[Body], ref: IssueRef, key: EffectKey, draft: IssueDraft
) -> IssueRef:
    seen = await _proven(desk, ref, key, draft)
    if seen.told:
        return seen.ref
    if not seen.open:
        await desk.set_open(ref, is_open=True)  # before the report: told and closed would be unseen
    notes = await _attached(desk, seen, draft)
    body = await desk.compose(key, draft, seen, notes)
    await desk.tell(ref, body, draft)
    after = await desk.read_issue(ref)
    if not after.told:
        raise OutcomeUnknown("not-told", "The tracker took the report and does not show it.")
    if after.body != body:
        maillog.interpreted(draft.case_id, desk.name, ref.number)
    if lacking(after, draft):
        after = await _proven(desk, ref, key, draft)
    return after.ref


async def _proven(desk: Desk[Body], ref: IssueRef, key: EffectKey, draft: IssueDraft) -> Seen[Body]:
    """Return the issue as proven secret; ask for it once more; else take it out of sight."""
    seen = await desk.read_issue(ref)
    if not lacking(seen, draft):
        return seen
    with suppress(Deferral):  # a refusal shows in what we read next
        await desk.secure(ref, draft)
    seen = await desk.read_issue(ref)
    if not (missing := lacking(seen, draft)):
        return seen
    maillog.not_confidential(draft.case_id, desk.name, ref.number, missing)
    await _take_out_of_sight(desk, seen, key, draft)
    raise NotConfidential("not-confidential", "The tracker does not keep the issue secret.")


def lacking(seen: Seen[Body], draft: IssueDraft) -> tuple[str, ...]:
    """Return what is missing until an issue may be told: ``confidential``, and labels by name."""
    have = {label.casefold() for label in seen.labels}
    labels = tuple(label for label in draft.labels if label.casefold() not in have)
    return labels if seen.confidential else ("confidential", *labels)


async def _take_out_of_sight(
    desk: Desk[Body], seen: Seen[Body], key: EffectKey, draft: IssueDraft
) -> None:
    """Close, after taking back a report that is there; what fails is tried again later."""
    if seen.told:
        with suppress(Deferral):
            await desk.withdraw(seen.ref, key, draft)
    with suppress(Deferral):
        await desk.set_open(seen.ref, is_open=False)


# ── Comments ─────────────────────────────────────────────────────────────────────────────────────


async def ensure_comment(
    desk: Desk[Body], ref: IssueRef, key: EffectKey, draft: CommentDraft, *, now: datetime
) -> CommentRef:
    """Return the one comment with this marker, seen by nobody who does not see the issue.

    On an issue that is no longer confidential only an internal comment is written, and it is proven
    internal before it holds anything.  Raises NotConfidential where that cannot be had.
    """
    found = await desk.find_comments(ref, key) if key.attempted_at else ()
    if any(comment.told for comment in found):
        return next(comment.ref for comment in found if comment.told)
    if not found:
        _wait_for_earlier(desk, key, now)
    issue = await desk.read_issue(ref)
    if found or not issue.confidential:
        return await _comment_in_two_steps(desk, issue, key, draft, found)
    body = await desk.compose_comment(key, draft, await _attached(desk, issue, draft))
    comment = await desk.create_comment(ref, key, draft, body)
    with _found_again_later():
        await _compare(desk, comment, body, draft)
    return comment


async def _comment_in_two_steps(
    desk: Desk[Body],
    issue: Seen[Body],
    key: EffectKey,
    draft: CommentDraft,
    found: Sequence[SeenComment[Body]],
) -> CommentRef:
    if not (issue.confidential or draft.internal):
        raise _comment_refused(desk, issue.ref, draft)
    comment = found[0].ref if found else await desk.create_comment(issue.ref, key, draft, None)
    with _found_again_later():
        seen = await desk.read_comment(comment)
        if not (issue.confidential or seen.internal):
            raise _comment_refused(desk, issue.ref, draft)
        notes = await _attached(desk, issue, draft)
        body = await desk.compose_comment(key, draft, notes)
        await desk.tell_comment(comment, body)
        await _compare(desk, comment, body, draft)
    return comment


async def _attached(
    desk: Desk[Body], issue: Seen[Body], draft: IssueDraft | CommentDraft
) -> Sequence[Note]:
    """Put the files beside an issue that keeps them secret, else say how to get them."""
    if not issue.confidential:
        return withheld("The issue is open to others, so files are not put here.", draft)
    return await desk.attach(issue, draft)


async def _compare(desk: Desk[Body], comment: CommentRef, body: Body, draft: CommentDraft) -> None:
    """Read back what was told, and whether others see it who did not a moment ago: an alarm."""
    seen = await desk.read_comment(comment)
    if not (seen.internal or (await desk.read_issue(comment.issue)).confidential):
        maillog.not_confidential(draft.case_id, desk.name, comment.issue.number, ("internal",))
    if not seen.told:
        raise OutcomeUnknown("not-told", "The tracker took the mail and does not show it.")
    if seen.body != body:
        maillog.interpreted(draft.case_id, desk.name, comment.issue.number)


def _comment_refused(desk: Desk[Body], ref: IssueRef, draft: CommentDraft) -> NotConfidential:
    maillog.not_confidential(draft.case_id, desk.name, ref.number, ("internal",))
    return NotConfidential("comment-not-confidential", "The issue is open to others.")


# ── What may have happened before ────────────────────────────────────────────────────────────────


def _wait_for_earlier(desk: Desk[Body], key: EffectKey, now: datetime) -> None:
    """Raise OutcomeUnknown while a request of an earlier attempt may still take effect."""
    if key.attempted_at is None:
        return
    rest = key.attempted_at + desk.patience - now
    if rest > timedelta(0):
        raise OutcomeUnknown(
            "outcome-unknown",
            "An earlier request may still take effect.",
            sent=False,
            retry_after=rest,
        )


@contextmanager
def _found_again_later() -> Iterator[None]:
    """Turn every failure into OutcomeUnknown: something of ours is there, look for it next time."""
    try:
        yield
    except OutcomeUnknown:
        raise
    except Deferral as error:
        raise OutcomeUnknown(
            error.code, error.sentence, alarm=error.alarm, retry_after=error.retry_after
        ) from None
