"""How does a report get into a folder?  As Markdown that nobody outside the team can open."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

from pydantic import Field, field_validator

from secbridge.model.case import CommentRef, IssueRef
from secbridge.model.issue import (
    Actor,
    CommentDraft,
    CommentWritten,
    Finding,
    IssueChange,
    IssueChanged,
    IssueDraft,
    IssueState,
    Severity,
    TrackerEvent,
)
from secbridge.ports import EffectKey, Tracker
from secbridge.trackers import telling
from secbridge.trackers.files import FilePolicy, shown
from secbridge.trackers.registry import Duration, TrackerContext, TrackerSettings
from secbridge_folder.desk import FolderDesk
from secbridge_folder.shelf import OTHERS, OUR_COMMENT, Folder, Remark, Shelf, account

PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

Snapshot = Mapping[str, Mapping[str, str]]
"""For each issue the digest of its record, and of each comment: what was heard of so far."""


class FolderSettings(TrackerSettings):
    """The options of a folder."""

    root: Path = Field(description="The folder that holds a folder for each project.")
    attachments: FilePolicy = Field(
        default=FilePolicy.UPLOAD,
        description="What becomes of files: upload, sealed, inline-text or withhold.",
    )
    commanders: tuple[str, ...] = Field(
        default=(), description="Accounts that may command; empty for all who can write there."
    )
    timeout: Duration = Field(
        default=timedelta(seconds=30),
        gt=timedelta(0),
        le=timedelta(minutes=5),
        description="How long to wait for the disk.",
    )

    @field_validator("root")
    @classmethod
    def _is_absolute(cls, root: Path) -> Path:
        if not root.is_absolute():
            raise ValueError("must be an absolute path, such as /srv/security")
        return root


class FolderPlugin:
    """A folder as a plugin."""

    name = "folder"
    settings_model = FolderSettings

    def create(self, context: TrackerContext, settings: TrackerSettings, project: str) -> Tracker:
        """Return the tracker for one project, the name of a folder in ``root``."""
        if not isinstance(settings, FolderSettings):
            raise TypeError("a folder needs its own settings")
        path = settings.root / project
        shelf = Shelf(context.name, path, settings.timeout.total_seconds())
        return FolderTracker(FolderDesk(context, settings.attachments, shelf), context, settings)


class FolderTracker:
    """A project in a folder; see ``secbridge.ports.Tracker`` for the promises."""

    def __init__(self, desk: FolderDesk, context: TrackerContext, settings: FolderSettings) -> None:
        self.desk = desk
        self._context = context
        self._settings = settings

    @property
    def leaves_slashes(self) -> bool:
        """Return True: a file says what was written."""
        return True

    async def ensure_issue(self, key: EffectKey, draft: IssueDraft) -> IssueRef:
        """Return the one issue with this marker, closed to others, labelled and told."""
        draft = shown(draft, self._settings.attachments)
        return await telling.ensure_issue(self.desk, key, draft, now=self._context.clock.now())

    async def ensure_comment(
        self, ref: IssueRef, key: EffectKey, draft: CommentDraft
    ) -> CommentRef:
        """Return the one comment with this marker."""
        draft = shown(draft, self._settings.attachments)
        now = self._context.clock.now()
        return await telling.ensure_comment(self.desk, ref, key, draft, now=now)

    async def update(self, ref: IssueRef, change: IssueChange) -> None:
        """Change assignees, due date, labels or state."""
        have = (await self.desk.folder(ref)).record.labels
        gone = {label.casefold() for label in change.remove_labels}
        kept = tuple(label for label in have if label.casefold() not in gone)
        values: dict[str, object] = {"labels": tuple(dict.fromkeys((*kept, *change.add_labels)))}
        if change.assignees is not None:
            values["assignees"] = change.assignees
        if change.due is not None:
            values["due"] = change.due.isoformat()
        if change.open is not None:
            values["open"] = change.open
        await self.desk.change(ref, **values)

    async def look(self, ref: IssueRef) -> IssueState:
        """Return the issue as it is now."""
        return self.desk.state(await self.desk.folder(ref))

    async def link(self, ref: IssueRef, other: IssueRef) -> bool:
        """Return False: a folder knows no links."""
        return False

    async def may_command(self, actor: Actor) -> bool:
        """Return whether a person is named as one, or nobody is and who writes there may."""
        return not actor.is_us and actor.name in (self._settings.commanders or (actor.name,))

    async def aclose(self) -> None:
        """Do nothing: no file stays open."""

    # ── What people do ────────────────────────────────────────────────────────────────────────────

    async def events(self, cursor: str | None) -> tuple[Sequence[TrackerEvent], str]:
        """Return comments and changes since a cursor, which is what was there then.

        Times of files say little: clocks of several machines write them, and people can.
        """
        shelf = self.desk.shelf
        folders = await shelf.do(lambda: list(shelf.folders()))
        now = {folder.number: _digests(folder) for folder in folders}
        if cursor is None:
            return (), json.dumps(now)
        before: Snapshot = json.loads(cursor)
        found = [event for folder in folders for event in self._since(folder, before)]
        return found, json.dumps(now)

    def _since(self, folder: Folder, before: Snapshot) -> Iterator[TrackerEvent]:
        known, now = before.get(folder.number, {}), _digests(folder)
        issue, at = self.desk.ref(folder.number), self._context.clock.now()
        if known.get("") != now[""]:
            state = self.desk.state(folder)
            yield IssueChanged(f"{folder.number}/{now['']}", issue, at, state)
        for remark in folder.remarks:
            if not _is_ours(remark) and known.get(remark.name) != now[remark.name]:
                yield CommentWritten(
                    key=f"{folder.number}/{remark.name}",
                    issue=issue,
                    author=Actor(str(remark.owner), account(remark.owner)),
                    at=at,
                    text=remark.text,
                    comment_id=remark.name,
                )

    # ── Can it keep a secret? ─────────────────────────────────────────────────────────────────────

    async def check(self) -> Sequence[Finding]:
        """Ask who gets into the folder, and whether we can write there."""
        path = self.desk.shelf.path
        if not PROJECT.fullmatch(path.name) or path.parent != self._settings.root:
            mend = "Name a folder in root by letters, digits, dots, dashes and underscores."
            text = "The project is no name of a folder."
            return (Finding(self._subject, Severity.ERROR, text, mend, "alias.project"),)
        return await self.desk.shelf.do(lambda: list(self._look(path)))

    def _look(self, path: Path) -> Iterator[Finding]:
        if path.is_symlink() or not path.is_dir():
            mend = "Make the folder, with the team's group and mode 2770."
            yield self._finding(Severity.ERROR, "There is no such folder.", mend)
            return
        if path.stat().st_mode & OTHERS:
            mend = "Take the rights of others away: chmod o= on the folder."
            yield self._finding(Severity.ERROR, "Others can get into the folder.", mend)
        if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            mend = "Put the account of secbridge into the group of the folder."
            yield self._finding(Severity.ERROR, "We cannot write there.", mend)
        if any((place / ".git").exists() for place in (path, path.parent)):
            mend = "Keep reports out of it, or see who reads every copy of the repository."
            yield self._finding(Severity.WARNING, "The folder is a Git work tree.", mend)
        yield self._finding(Severity.OK, "The folder is there.", "")

    def _finding(self, severity: Severity, text: str, mend: str) -> Finding:
        setting = f"trackers.{self._context.name}.root"
        return Finding(self._subject, severity, text, mend, setting)

    @property
    def _subject(self) -> str:
        return f"tracker {self._context.name} {self.desk.shelf.path.name}"


def _digests(folder: Folder) -> dict[str, str]:
    """Return digests of the record, under "", and of the comments by name."""
    state = f"{folder.record.written()}{folder.closed}"
    remarks = {remark.name: _digest(remark.text) for remark in folder.remarks}
    return {"": _digest(state), **remarks}


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:16]


def _is_ours(remark: Remark) -> bool:
    """Return whether we wrote a comment: by its name, and the account that owns it."""
    return bool(OUR_COMMENT.fullmatch(remark.name)) and remark.owner == os.geteuid()


plugin = FolderPlugin()
