"""How is an issue made, proven and told in a folder?  The verbs that secbridge asks for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

from secbridge.model.case import CommentRef, IssueRef
from secbridge.model.issue import CommentDraft, IssueDraft, IssueState, Note, Paragraph
from secbridge.ports import EffectKey
from secbridge.rules.drafting import markdown
from secbridge.trackers.files import FilePolicy, plan_files, whole_text
from secbridge.trackers.registry import TrackerContext
from secbridge.trackers.telling import Seen, SeenComment
from secbridge_folder.shelf import OUR_COMMENT, Folder, Record, Remark, Shelf

LIMIT = 1_000_000
"""Octets of a text; editors become slow with more, and the rest is a file of its own."""


class FolderDesk:
    """The verbs of a folder; each is a few files, and raises Deferral."""

    def __init__(self, context: TrackerContext, policy: FilePolicy, shelf: Shelf) -> None:
        self.shelf = shelf
        self._context = context
        self._policy = policy

    @property
    def name(self) -> str:
        """The tracker's name."""
        return self._context.name

    @property
    def patience(self) -> timedelta:
        """How long a write for which nobody waited any more may still take effect."""
        return timedelta(seconds=2 * self.shelf.timeout)

    # ── Issues ────────────────────────────────────────────────────────────────────────────────────

    async def find_issues(self, key: EffectKey) -> Sequence[Seen[str]]:
        """Return the issues with this marker that our account made, oldest first."""
        folders = await self.shelf.do(lambda: list(self.shelf.folders()))
        found = [one for one in folders if one.ours and one.record.marker == key.marker]
        return [self.seen(folder) for folder in found]

    async def create_issue(self, key: EffectKey, draft: IssueDraft) -> IssueRef:
        """Create with neutral title, header and marker."""
        record = Record(
            title=draft.title,
            marker=key.marker,
            labels=draft.labels,
            assignees=draft.assignees,
            due=draft.due.isoformat(),
        )
        text = markdown.untold_issue(draft, key.marker)
        return self.ref(await self.shelf.do(lambda: self.shelf.create(record, text), writes=True))

    async def read_issue(self, ref: IssueRef) -> Seen[str]:
        """Return the issue as it lies there."""
        return self.seen(await self.folder(ref))

    async def folder(self, ref: IssueRef) -> Folder:
        """Return the folder of an issue.  Raises PermanentFault when it is gone."""
        return await self.shelf.do(lambda: self.shelf.read(ref.id))

    async def secure(self, ref: IssueRef, draft: IssueDraft) -> None:
        """Close the folder to others, and give the issue its labels."""
        await self.shelf.do(lambda: self.shelf.close_to_others(ref.id), writes=True)
        have = (await self.folder(ref)).record.labels
        known = {label.casefold() for label in have}
        missing = tuple(label for label in draft.labels if label.casefold() not in known)
        await self.change(ref, labels=(*have, *missing))

    async def attach(self, seen: Seen[str], draft: IssueDraft | CommentDraft) -> Sequence[Note]:
        """Put the files into the folder ``files`` of the issue."""
        whole = None if markdown.fits(draft, limit=LIMIT) else whole_text(draft)
        plan = await plan_files(draft, self._policy, self._context.team, whole=whole)
        for file in plan.files:
            await self.shelf.do(
                lambda file=file: self.shelf.put(seen.ref.id, file.name, file.content),  # type: ignore[misc]
                writes=True,
            )
        names = ", ".join(file.name for file in plan.files)
        return (*plan.notes, Paragraph(f"In the folder files: {names}")) if names else plan.notes

    async def compose(
        self, key: EffectKey, draft: IssueDraft, seen: Seen[str], notes: Sequence[Note]
    ) -> str:
        """Return the whole text."""
        return markdown.told_issue(draft, key.marker, limit=LIMIT, notes=notes)

    async def tell(self, ref: IssueRef, body: str, draft: IssueDraft) -> None:
        """Put the whole text there."""
        await self.shelf.do(lambda: self.shelf.tell(ref.id, body), writes=True)

    async def withdraw(self, ref: IssueRef, key: EffectKey, draft: IssueDraft) -> None:
        """Put the text back to header and marker."""
        text = markdown.untold_issue(draft, key.marker)
        await self.shelf.do(lambda: self.shelf.tell(ref.id, text), writes=True)

    async def set_open(self, ref: IssueRef, *, is_open: bool) -> None:
        """Close or reopen."""
        await self.change(ref, open=is_open)

    async def change(self, ref: IssueRef, **values: object) -> None:
        """Change fields of the record."""
        await self.shelf.do(lambda: self.shelf.change(ref.id, **values), writes=True)

    # ── Comments ──────────────────────────────────────────────────────────────────────────────────

    async def find_comments(self, ref: IssueRef, key: EffectKey) -> Sequence[SeenComment[str]]:
        """Return our comment with this marker, of which there is one at most: a file has a name."""
        name = f"secbridge-{key.marker}.md"
        folder = await self.folder(ref)
        return [self._seen_comment(ref, one) for one in folder.remarks if one.name == name]

    async def compose_comment(
        self, key: EffectKey, draft: CommentDraft, notes: Sequence[Note]
    ) -> str:
        """Return the whole text of a comment."""
        blocks = (*notes, *draft.blocks)
        whole = CommentDraft(draft.case_id, blocks, raw_command=draft.raw_command)
        return markdown.told_comment(whole, key.marker, limit=LIMIT)

    async def create_comment(
        self, ref: IssueRef, key: EffectKey, draft: CommentDraft, body: str | None
    ) -> CommentRef:
        """Write a comment; whoever gets into the folder reads it, so it is as secret as that."""
        text = markdown.untold_comment(key.marker) if body is None else body
        await self.shelf.do(lambda: self.shelf.comment(ref.id, key.marker, text), writes=True)
        return CommentRef(ref, f"secbridge-{key.marker}.md")

    async def read_comment(self, ref: CommentRef) -> SeenComment[str]:
        """Return a comment as it lies there.  Raises PermanentFault when it is gone."""
        folder = await self.folder(ref.issue)
        for remark in folder.remarks:
            if remark.name == ref.id:
                return self._seen_comment(ref.issue, remark)
        raise self.shelf.missing()

    async def tell_comment(self, ref: CommentRef, body: str) -> None:
        """Put the whole text there."""
        marker = OUR_COMMENT.fullmatch(ref.id)
        if marker is None:
            raise self.shelf.missing()
        await self.shelf.do(lambda: self.shelf.comment(ref.issue.id, marker[1], body), writes=True)

    # ── What secbridge calls things ───────────────────────────────────────────────────────────────

    def ref(self, number: str) -> IssueRef:
        """Return the reference of an issue."""
        return IssueRef(self.name, self.shelf.path.name, id=number, number=number)

    def seen(self, folder: Folder) -> Seen[str]:
        """Return an issue as it lies there."""
        return Seen(
            ref=self.ref(folder.number),
            confidential=folder.closed,
            labels=folder.record.labels,
            assignees=folder.record.assignees,
            open=folder.record.open,
            told=markdown.says(folder.text, markdown.TOLD),
            body=folder.text,
        )

    def state(self, folder: Folder) -> IssueState:
        """Return an issue as it is now; a date that is none counts as absent."""
        try:
            due = date.fromisoformat(folder.record.due)
        except ValueError:
            due = None
        record = folder.record
        return IssueState(
            self.ref(folder.number),
            folder.closed,
            record.open,
            record.labels,
            record.assignees,
            due,
        )

    def _seen_comment(self, ref: IssueRef, remark: Remark) -> SeenComment[str]:
        told = not markdown.is_untold_comment(remark.text)
        return SeenComment(
            CommentRef(ref, remark.name), internal=False, told=told, body=remark.text
        )
