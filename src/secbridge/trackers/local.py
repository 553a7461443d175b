"""Where does a team without a tracker keep its issues?  In our own store, sealed to the role key.

The text of an issue, its comments and its attachments are OpenPGP messages before they are
committed; only the worker and ``secbridge issue show`` open them.  Numbers, labels, people and
dates stay readable, so that a list needs no key.  The order is that of all trackers: an issue is
read back as confidential and labelled, and told once.  What elsewhere is a request each can be one
commit here: an issue without files appears sealed, confidential, labelled and told, or not at all.
With files it stands in the table, empty, until they are sealed and committed with its text.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import uuid4

from secbridge import maillog
from secbridge.errors import Deferral, PermanentFault
from secbridge.model.case import CommentRef, IssueRef
from secbridge.model.issue import (
    Actor,
    CommentDraft,
    CommentWritten,
    DraftAttachment,
    Finding,
    IssueChange,
    IssueChanged,
    IssueDraft,
    IssueState,
    Note,
    Remark,
    Severity,
    TrackerEvent,
)
from secbridge.model.plaintext import Plaintext
from secbridge.ports import (
    Clock,
    EffectKey,
    LocalAttachment,
    LocalComment,
    LocalEvent,
    LocalIssue,
    LocalIssues,
    Tracker,
)
from secbridge.rules.drafting import plain
from secbridge.trackers import telling
from secbridge.trackers.registry import Sealer, TrackerContext, TrackerSettings
from secbridge.trackers.telling import Seen, SeenComment

AUTHOR = "secbridge"
"""The author of comments that came by mail."""

EVENTS_AT_ONCE = 100
"""Events that one call returns at most; what is more comes with the next one."""

UNREADABLE = timedelta(days=1)
"""How long a comment that no key of ours opens is tried again before it is passed over."""

_UNTOLD = b""
"""The body of an issue whose files are not here yet; an OpenPGP message is never empty."""


class LocalSettings(TrackerSettings):
    """The embedded tracker has nothing to set."""


class LocalPlugin:
    """The embedded tracker as a plugin."""

    name = "local"
    settings_model = LocalSettings

    def create(
        self,
        context: TrackerContext,
        settings: TrackerSettings,
        project: str,
    ) -> Tracker:
        """Return the embedded tracker for one project."""
        desk = LocalDesk(
            context.name, project, context.local_issues, context.sealer, clock=context.clock
        )
        return LocalTracker(desk)


class LocalTracker:
    """The embedded tracker; see ``ports.Tracker`` for the promises."""

    def __init__(self, desk: LocalDesk) -> None:
        self.desk = desk

    @property
    def leaves_slashes(self) -> bool:
        """Return True: text is text here."""
        return True

    async def check(self) -> Sequence[Finding]:
        """Seal a word to the role key, open it again, and count the issues."""
        desk, word = self.desk, b"secbridge"
        try:
            opened = await desk.sealer.unseal(await desk.sealer.seal(word))
            held = len(await desk.issues.list_issues(project=desk.project))
        except PermanentFault as error:
            return (self._broken(error.sentence, error.mend, error.setting),)
        except Deferral as error:
            mend = "See what secbridge check says of keys and store."
            return (self._broken(error.sentence, mend, passing=True),)
        if opened.content != word:
            mend = "Look at the alias's role keys: secbridge check tests each of them."
            return (self._broken("A sealed word opens as another.", mend, "role_keys"),)
        text = f"Project {desk.project}: {held} issues, sealed to the role key."
        return (Finding(desk.name, Severity.OK, text),)

    def _broken(self, text: str, mend: str, setting: str = "", *, passing: bool = False) -> Finding:
        return Finding(self.desk.name, Severity.ERROR, text, mend, setting, passing)

    async def ensure_issue(self, key: EffectKey, draft: IssueDraft) -> IssueRef:
        """Return the one issue with this marker, labelled and told."""
        return await telling.ensure_issue(self.desk, key, draft, now=self.desk.clock.now())

    async def ensure_comment(
        self, ref: IssueRef, key: EffectKey, draft: CommentDraft
    ) -> CommentRef:
        """Return the one comment with this marker."""
        return await telling.ensure_comment(self.desk, ref, key, draft, now=self.desk.clock.now())

    async def update(self, ref: IssueRef, change: IssueChange) -> None:
        """Change people, date, labels or state.  Raises PermanentFault without such an issue."""
        await self.desk.issues.change_issue(int(ref.id), change, self.desk.clock.now())

    async def look(self, ref: IssueRef) -> IssueState:
        """Return the issue as it is now."""
        return _state(ref, await self.desk.row(ref))

    async def link(self, ref: IssueRef, other: IssueRef) -> bool:
        """Return False: issues here name each other in their comments alone."""
        return False

    async def events(self, cursor: str | None) -> tuple[Sequence[TrackerEvent], str]:
        """Return what people wrote and changed by command; a cursor counts all that happens."""
        newest = await self.desk.issues.last_event()
        if cursor is None:
            return (), str(newest)
        happened = await self.desk.issues.local_events(
            self.desk.project, after=_counted(cursor), limit=EVENTS_AT_ONCE
        )
        found = [await self._event(event) for event in happened]
        if len(happened) == EVENTS_AT_ONCE:
            newest = happened[-1].number
        return [event for event in found if event is not None], str(newest)

    async def _event(self, event: LocalEvent) -> TrackerEvent | None:
        """Return what a person did, or None for what secbridge did."""
        row = await self.desk.issues.read_issue(event.issue)
        if row is None:
            return None
        ref = self.desk.ref(row)
        if event.comment is not None:
            return await self._written(ref, event.comment)
        if not event.by:
            return None
        return IssueChanged(f"change-{event.number}", ref, event.at, _state(ref, row))

    async def _written(self, ref: IssueRef, number: int) -> CommentWritten | None:
        for row in await self.desk.issues.comments(int(ref.id)):
            if row.id == number and row.author != AUTHOR:
                text = await self._read(row)
                if text is None:
                    return None
                key, written_by = f"comment-{row.id}", _actor(row)
                return CommentWritten(key, ref, written_by, row.created_at, text, str(row.id))
        return None

    async def _read(self, row: LocalComment) -> str | None:
        """Return what a comment says; one that stays unreadable holds nobody else up for ever."""
        try:
            return await _text(self.desk.sealer, row.sealed_body)
        except Deferral as error:
            is_young = self.desk.clock.now() - row.created_at < UNREADABLE
            if is_young or error.code != "sealed-unreadable":
                raise
            maillog.fault("local", error.code, comment=row.id)
            return None

    async def may_command(self, actor: Actor) -> bool:
        """Return whether a person wrote it: who can write here is an operator of this machine."""
        return not actor.is_us

    async def holds(self, key: EffectKey) -> bool:
        """Return whether an issue with this marker is here."""
        return await self.desk.issues.find_issue(key.marker) is not None

    async def text(self, ref: IssueRef) -> str:
        """Return what an issue says."""
        return await _text(self.desk.sealer, (await self.desk.row(ref)).sealed_body)

    async def remarks(self, ref: IssueRef) -> Sequence[Remark]:
        """Return all comments of an issue, by people and by us, oldest first."""
        return [
            Remark(
                row.marker,
                _actor(row),
                row.created_at,
                await _text(self.desk.sealer, row.sealed_body),
            )
            for row in await self.desk.issues.comments(int(ref.id))
        ]

    async def aclose(self) -> None:
        """There is nothing to close: the store is somebody else's."""


@dataclass(frozen=True, slots=True)
class LocalDesk:
    """The verbs of the embedded tracker (see ``telling.Desk``); a body is a sealed text."""

    name: str
    project: str
    issues: LocalIssues
    sealer: Sealer
    clock: Clock
    patience: timedelta = timedelta(0)
    attaching: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def find_issues(self, key: EffectKey) -> Sequence[Seen[bytes]]:
        """Return the issue with this marker; the store lets there be one at most."""
        row = await self.issues.find_issue(key.marker)
        return (self._seen(row),) if row else ()

    async def create_issue(self, key: EffectKey, draft: IssueDraft) -> IssueRef:
        """Create the issue, sealed and whole unless it has files, or return the one that is there.

        Nobody sees it before the commit, and from then on it is confidential: there is no moment in
        which a proof could come before the text.
        """
        text = _UNTOLD if draft.attachments else await self._sealed(draft)
        row = await self.issues.create_issue(
            project=self.project,
            marker=key.marker,
            title=draft.title,
            sealed_body=text,
            labels=draft.labels,
            assignees=draft.assignees,
            due=draft.due,
            now=self.clock.now(),
        )
        return self.ref(row)

    async def read_issue(self, ref: IssueRef) -> Seen[bytes]:
        """Return the issue as it is now."""
        return self._seen(await self.row(ref))

    async def secure(self, ref: IssueRef, draft: IssueDraft) -> None:
        """Add labels that somebody took away; confidential is every issue here."""
        change = IssueChange(add_labels=draft.labels)
        await self.issues.change_issue(int(ref.id), change, self.clock.now())

    async def attach(self, seen: Seen[bytes], draft: IssueDraft | CommentDraft) -> Sequence[Note]:
        """Say nothing: files are committed with the text that they belong to."""
        return ()

    async def compose(
        self, key: EffectKey, draft: IssueDraft, seen: Seen[bytes], notes: Sequence[Note]
    ) -> bytes:
        """Return the sealed text."""
        return await self._sealed(draft)

    async def _sealed(self, draft: IssueDraft) -> bytes:
        return await self.sealer.seal(plain.issue_text(draft).encode())

    async def tell(self, ref: IssueRef, body: bytes, draft: IssueDraft) -> None:
        """Commit the sealed text and the sealed attachments together."""
        sealed = await self._seal_all(ref, draft.attachments)
        await self.issues.tell_issue(int(ref.id), body, sealed, self.clock.now())

    async def withdraw(self, ref: IssueRef, key: EffectKey, draft: IssueDraft) -> None:
        """Empty the issue again."""
        await self.issues.tell_issue(int(ref.id), _UNTOLD, (), self.clock.now())

    async def set_open(self, ref: IssueRef, *, is_open: bool) -> None:
        """Close or reopen."""
        await self.issues.change_issue(int(ref.id), IssueChange(open=is_open), self.clock.now())

    async def find_comments(self, ref: IssueRef, key: EffectKey) -> Sequence[SeenComment[bytes]]:
        """Return the comment with this marker; the store lets there be one at most."""
        rows = await self.issues.comments(int(ref.id))
        return tuple(self._seen_comment(ref, row) for row in rows if row.marker == key.marker)

    async def compose_comment(
        self, key: EffectKey, draft: CommentDraft, notes: Sequence[Note]
    ) -> bytes:
        """Return the sealed text."""
        return await self.sealer.seal(plain.comment_text(draft).encode())

    async def create_comment(
        self, ref: IssueRef, key: EffectKey, draft: CommentDraft, body: bytes | None
    ) -> CommentRef:
        """Add attachments, then the comment, so that a comment is never without its files."""
        if draft.attachments:
            await self._attach(ref, draft.attachments)
        row = await self.issues.add_comment(
            int(ref.id),
            marker=key.marker,
            author=AUTHOR,
            sealed_body=body or _UNTOLD,
            now=self.clock.now(),
        )
        return CommentRef(ref, str(row.id))

    async def read_comment(self, ref: CommentRef) -> SeenComment[bytes]:
        """Return the comment as it is now."""
        for row in await self.issues.comments(int(ref.issue.id)):
            if str(row.id) == ref.id:
                return self._seen_comment(ref.issue, row)
        raise _gone("comment")

    async def tell_comment(self, ref: CommentRef, body: bytes) -> None:
        """Never needed: an issue here is confidential, so its comments are written at once."""
        raise _gone("untold-comment")

    # ── Rows ──────────────────────────────────────────────────────────────────────────────────────

    async def row(self, ref: IssueRef) -> LocalIssue:
        """Return the row of an issue.  Raises PermanentFault when there is none."""
        row = await self.issues.read_issue(int(ref.id))
        if row is None:
            raise _gone("issue")
        return row

    def ref(self, row: LocalIssue) -> IssueRef:
        """Return the name of an issue for others."""
        return IssueRef(self.name, row.project, id=str(row.number), number=str(row.number))

    def _seen(self, row: LocalIssue) -> Seen[bytes]:
        return Seen(
            ref=self.ref(row),
            confidential=row.confidential,
            labels=row.labels,
            assignees=row.assignees,
            open=row.open,
            told=row.sealed_body != _UNTOLD,
            body=row.sealed_body,
        )

    def _seen_comment(self, ref: IssueRef, row: LocalComment) -> SeenComment[bytes]:
        return SeenComment(
            ref=CommentRef(ref, str(row.id)), internal=True, told=True, body=row.sealed_body
        )

    async def _attach(self, ref: IssueRef, files: Sequence[DraftAttachment]) -> None:
        """Add the files whose names the issue does not have; a second call adds nothing."""
        number = int(ref.id)
        async with self.attaching:  # the store replaces all attachments of an issue at once
            row, held = await self.row(ref), await self.issues.attachments(number)
            names = {attachment.name for attachment in held}
            sealed = await self._seal_all(ref, [file for file in files if file.name not in names])
            await self.issues.tell_issue(
                number, row.sealed_body, (*held, *sealed), self.clock.now()
            )

    async def _seal_all(
        self, ref: IssueRef, files: Sequence[DraftAttachment]
    ) -> tuple[LocalAttachment, ...]:
        return tuple([await self._seal_one(ref, file) for file in files])

    async def _seal_one(self, ref: IssueRef, file: DraftAttachment) -> LocalAttachment:
        return LocalAttachment(
            id=0,
            number=int(ref.id),
            name=file.name,
            media_type=file.media_type,
            size=len(file.content),
            sealed=await self.sealer.seal(file.content),
        )


def _state(ref: IssueRef, row: LocalIssue) -> IssueState:
    return IssueState(ref, row.confidential, row.open, row.labels, row.assignees, row.due)


def _actor(row: LocalComment) -> Actor:
    return Actor(id=row.author, name=row.author, is_us=row.author == AUTHOR)


def _counted(cursor: str) -> int:
    """Return the number in a cursor; one that is not ours reads everything again."""
    return int(cursor) if cursor.isdecimal() else 0


def _gone(what: str) -> PermanentFault:
    return PermanentFault(
        f"local-{what}-missing",
        f"The embedded tracker has no such {what}.",
        setting="daemon.state_dir",
        mend="See whether the store is the one that the case was filed in.",
    )


# ── For the command line: what a person sees and writes ──────────────────────────────────────────


@dataclass(frozen=True, slots=True, repr=False)
class OpenedComment:
    """A comment with its text."""

    comment: LocalComment
    text: str

    def __repr__(self) -> str:
        return f"OpenedComment({self.comment.id})"


@dataclass(frozen=True, slots=True, repr=False)
class OpenedIssue:
    """An issue with its text and comments; attachments stay sealed until one is asked for."""

    issue: LocalIssue
    text: str
    comments: tuple[OpenedComment, ...]
    attachments: tuple[LocalAttachment, ...]

    def __repr__(self) -> str:
        return f"OpenedIssue({self.issue.number})"


async def open_issue(issues: LocalIssues, sealer: Sealer, number: int) -> OpenedIssue | None:
    """Return an issue as the team may read it, or None.  Raises Deferral."""
    row = await issues.read_issue(number)
    if row is None:
        return None
    return OpenedIssue(
        issue=row,
        text=await _text(sealer, row.sealed_body),
        comments=tuple(
            [
                OpenedComment(comment, await _text(sealer, comment.sealed_body))
                for comment in await issues.comments(number)
            ]
        ),
        attachments=tuple(await issues.attachments(number)),
    )


async def open_attachment(sealer: Sealer, attachment: LocalAttachment) -> Plaintext:
    """Return the octets of an attachment."""
    return await sealer.unseal(attachment.sealed)


async def write_comment(
    issues: LocalIssues, sealer: Sealer, number: int, *, author: str, text: str, clock: Clock
) -> LocalComment:
    """Add what a person of the team wrote.  Raises Deferral.

    Whoever works under the daemon's own account is an operator, and not the daemon.
    """
    sealed = await sealer.seal(text.encode())
    return await issues.add_comment(
        number,
        marker=str(uuid4()),
        author="operator" if author == AUTHOR else author,
        sealed_body=sealed,
        now=clock.now(),
    )


async def _text(sealer: Sealer, sealed: bytes) -> str:
    if sealed == _UNTOLD:
        return "(The report is not here yet: the issue is being filed.)\n"
    return (await sealer.unseal(sealed)).content.decode("utf-8", "replace")


plugin = LocalPlugin()
