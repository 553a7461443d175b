"""Which verbs does a GitLab have?  The desk that ``telling`` works at, one request or two each.

Reconciliation lists by author and time only, and neither by label nor by secrecy: an issue that did
not become confidential must be found, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, timedelta

from secbridge import maillog
from secbridge.errors import PermanentFault, TransientFault
from secbridge.model.case import CommentRef, IssueRef
from secbridge.model.issue import CommentDraft, IssueChange, IssueDraft, Paragraph
from secbridge.ports import Clock, EffectKey
from secbridge.rules.drafting import markdown
from secbridge.trackers import gitlab_answers as answers
from secbridge.trackers.door import Json, segment
from secbridge.trackers.files import withheld
from secbridge.trackers.gitlab_answers import Account
from secbridge.trackers.gitlab_door import GitLabDoor
from secbridge.trackers.telling import Seen, SeenComment

DESCRIPTION_LIMIT = 1_048_576
"""Octets of a description; GitLab counts characters, so this is never too much."""

NOTE_LIMIT = 1_000_000
"""Octets of a note."""

LOOKBACKS = (timedelta(hours=1), timedelta(days=90))
"""How long before an attempt an issue with its marker may have been made: usual, and at most."""


class GitLabDesk:
    """The verbs of GitLab (see ``telling.Desk``); a body is the Markdown of a description.

    ``settle`` is how long after its timeout an unanswered request may still take effect;
    ``fallback`` the account that gets an issue whose own assignees are all unknown.
    """

    def __init__(
        self,
        name: str,
        project: str,
        door: GitLabDoor,
        *,
        clock: Clock,
        settle: timedelta,
        fallback: str = "",
    ) -> None:
        self.name = name
        self.project = project
        self.door = door
        self.patience = door.longest + settle
        self._clock = clock
        self._fallback = fallback
        self._path = f"/projects/{segment(project)}"
        self._me: Account | None = None
        self._accounts: dict[str, Account] = {}

    # ── Issues ────────────────────────────────────────────────────────────────────────────────────

    async def find_issues(self, key: EffectKey) -> Sequence[Seen[str]]:
        """Return our own issues with this marker; one that somebody else pasted is not ours."""
        line, me = markdown.issue_marker(key.marker), await self.myself()
        began = key.attempted_at or self._clock.now()
        for lookback in LOOKBACKS:
            items = await self.door.pages(
                "find issue",
                f"{self._path}/issues",
                author_id=me.id,
                created_after=(began - lookback).astimezone(UTC).isoformat(),
                scope="all",
                state="all",
                order_by="created_at",
                sort="asc",
            )
            ours = [item for item in items if answers.author_id(item) == me.id]
            found = [
                item for item in ours if markdown.says(answers.text(item, "description"), line)
            ]
            if found:
                return tuple(self._seen(item) for item in found)
        return ()

    async def create_issue(self, key: EffectKey, draft: IssueDraft) -> IssueRef:
        """Create confidential, with people and date, but without a word of the report."""
        body: dict[str, Json] = {
            "title": draft.title,
            "description": markdown.untold_issue(draft, key.marker),
            "confidential": True,
            "labels": self._labels(draft.labels),
            "due_date": draft.due.isoformat(),
        }
        if people := await self._people(draft.assignees):
            body["assignee_ids"] = [account.id for account in people]
        answer = await self.door.post("create issue", f"{self._path}/issues", body)
        if not answers.is_number(answer.get("iid")) or not answers.is_number(answer.get("id")):
            raise answers.without_id()
        return self._seen(answer).ref

    async def read_issue(self, ref: IssueRef) -> Seen[str]:
        """Return the issue as it is now."""
        answer = await self.door.get("read issue", self._issue(ref))
        return self._seen(answers.as_object(answer))

    async def secure(self, ref: IssueRef, draft: IssueDraft) -> None:
        """Ask once more for secrecy and labels."""
        body = {"confidential": True, "add_labels": self._labels(draft.labels)}
        await self.door.put("secure issue", self._issue(ref), body)

    async def attach(
        self, seen: Seen[str], draft: IssueDraft | CommentDraft
    ) -> Sequence[Paragraph]:
        """Say where the files are: GitLab would show an upload to whoever has its address."""
        why = "Uploads do not follow the rights of a confidential issue, so files are not put here."
        return withheld(why, draft)

    async def compose(
        self, key: EffectKey, draft: IssueDraft, seen: Seen[str], notes: Sequence[Paragraph]
    ) -> str:
        """Return the whole description, with what a reader must know of people and files."""
        told = [*self._unassigned(draft, seen), *notes]
        return markdown.told_issue(draft, key.marker, limit=DESCRIPTION_LIMIT, notes=told)

    async def tell(self, ref: IssueRef, body: str, draft: IssueDraft) -> None:
        """Give the issue its whole description."""
        await self.door.put("tell issue", self._issue(ref), {"description": body})

    async def withdraw(self, ref: IssueRef, key: EffectKey, draft: IssueDraft) -> None:
        """Put the description back to header and marker."""
        body = {"description": markdown.untold_issue(draft, key.marker)}
        await self.door.put("withdraw report", self._issue(ref), body)

    async def set_open(self, ref: IssueRef, *, is_open: bool) -> None:
        """Close or reopen."""
        event = "reopen" if is_open else "close"
        await self.door.put(f"{event} issue", self._issue(ref), {"state_event": event})

    async def change(self, ref: IssueRef, change: IssueChange) -> None:
        """Change what is named, in one request."""
        body: dict[str, Json] = {}
        if change.add_labels:
            body["add_labels"] = self._labels(change.add_labels)
        if change.remove_labels:
            body["remove_labels"] = self._labels(change.remove_labels)
        if change.assignees is not None:
            body["assignee_ids"] = [person.id for person in await self._people(change.assignees)]
        if change.due is not None:
            body["due_date"] = change.due.isoformat()
        if change.open is not None:
            body["state_event"] = "reopen" if change.open else "close"
        if body:
            await self.door.put("change issue", self._issue(ref), body)

    # ── Notes ─────────────────────────────────────────────────────────────────────────────────────

    async def find_comments(self, ref: IssueRef, key: EffectKey) -> Sequence[SeenComment[str]]:
        """Return our own notes with this marker."""
        line, me = markdown.comment_marker(key.marker), await self.myself()
        items = await self.door.pages(
            "find note", f"{self._issue(ref)}/notes", order_by="created_at", sort="asc"
        )
        ours = [item for item in items if answers.author_id(item) == me.id]
        found = [item for item in ours if markdown.says(answers.text(item, "body"), line)]
        return tuple(self._seen_comment(ref, item) for item in found)

    async def compose_comment(
        self, key: EffectKey, draft: CommentDraft, notes: Sequence[Paragraph]
    ) -> str:
        """Return the whole note."""
        blocks = (*draft.blocks, *notes)
        return markdown.told_comment(
            CommentDraft(draft.case_id, blocks, draft.internal, (), draft.raw_command),
            key.marker,
            limit=NOTE_LIMIT,
        )

    async def create_comment(
        self, ref: IssueRef, key: EffectKey, draft: CommentDraft, body: str | None
    ) -> CommentRef:
        """Create a note; an answer without an id says that GitLab took the text for commands."""
        text = body if body is not None else markdown.untold_comment(key.marker)
        answer = await self.door.post(
            "create note", f"{self._issue(ref)}/notes", {"body": text, "internal": draft.internal}
        )
        if not answers.is_number(answer.get("id")):
            raise answers.without_id()
        return CommentRef(ref, str(answer["id"]))

    async def read_comment(self, ref: CommentRef) -> SeenComment[str]:
        """Return the note as it is now."""
        answer = await self.door.get("read note", f"{self._issue(ref.issue)}/notes/{ref.id}")
        return self._seen_comment(ref.issue, answers.as_object(answer))

    async def tell_comment(self, ref: CommentRef, body: str) -> None:
        """Give a proven note its whole text."""
        path = f"{self._issue(ref.issue)}/notes/{ref.id}"
        await self.door.put("tell note", path, {"body": body})

    # ── People ────────────────────────────────────────────────────────────────────────────────────

    async def myself(self) -> Account:
        """Return the account whose token we hold."""
        if self._me is None:
            answer = await self.door.get("who am I", "/user")
            account = answers.account_in(answer)
            if account is None:
                raise TransientFault("tracker-answer-unreadable", "The tracker names no account.")
            self._me = account
        return self._me

    async def account(self, username: str) -> Account | None:
        """Return an account by its exact name, or None; only what was found is remembered."""
        wanted = username.removeprefix("@").casefold()
        if wanted not in self._accounts:
            answer = await self.door.get("find account", "/users", username=wanted)
            for item in answer if isinstance(answer, list) else ():
                found = answers.account_in(item)
                if found and found.username.casefold() == wanted:
                    self._accounts[wanted] = found
        return self._accounts.get(wanted)

    async def _people(self, usernames: Sequence[str]) -> Sequence[Account]:
        """Return the accounts that there are; when none is, the one that steps in."""
        known = [account for name in usernames if (account := await self.account(name))]
        if not known and self._fallback and (account := await self.account(self._fallback)):
            return (account,)
        return known

    def _unassigned(self, draft: IssueDraft, seen: Seen[str]) -> Sequence[Paragraph]:
        """Say who should have the issue and does not, so that nobody is forgotten."""
        have = {name.casefold() for name in seen.assignees}
        wanted = [name.removeprefix("@") for name in draft.assignees]
        missing = [name for name in wanted if name.casefold() not in have]
        unknown = [name for name in missing if name.casefold() not in self._accounts]
        if unknown or (wanted and not have):
            maillog.not_assigned(draft.case_id, self.name, seen.ref.number, missing)
        if not missing:
            return ()
        names = ", ".join(markdown.code(name) for name in missing)
        return (Paragraph(f"Not assigned, though the alias asks for it: {names}."),)

    # ── Small change ──────────────────────────────────────────────────────────────────────────────

    def _issue(self, ref: IssueRef) -> str:
        return f"{self._path}/issues/{ref.number}"

    def _labels(self, labels: Sequence[str]) -> str:
        """Return labels as GitLab takes them; a comma cannot be sent."""
        if any("," in label for label in labels):
            raise PermanentFault(
                "label-with-comma",
                "A label has a comma, which GitLab cannot be sent.",
                setting="alias.labels",
                mend="Rename the label.",
            )
        return ",".join(labels)

    def _seen(self, item: Mapping[str, Json]) -> Seen[str]:
        """Return an issue of an answer; what is missing there counts as not confidential."""
        text = answers.text(item, "description")
        labels, people = item.get("labels"), item.get("assignees")
        accounts = (
            [answers.account_in(person) for person in people] if isinstance(people, list) else []
        )
        return Seen(
            ref=IssueRef(
                self.name,
                self.project,
                id=str(item.get("id", "")),
                number=str(item.get("iid", "")),
                url=answers.text(item, "web_url"),
            ),
            confidential=item.get("confidential") is True,
            labels=tuple(map(str, labels)) if isinstance(labels, list) else (),
            assignees=tuple(account.username for account in accounts if account),
            open=item.get("state") == "opened",
            told=markdown.says(text, markdown.TOLD),
            body=text,
        )

    def _seen_comment(self, ref: IssueRef, item: Mapping[str, Json]) -> SeenComment[str]:
        text = answers.text(item, "body")
        return SeenComment(
            ref=CommentRef(ref, str(item.get("id", ""))),
            internal=item.get("internal") is True or item.get("confidential") is True,
            told=not markdown.is_untold_comment(text),
            body=text,
        )
