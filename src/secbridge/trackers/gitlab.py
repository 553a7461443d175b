"""How does a report get into GitLab?  As a confidential issue of the bot's, proven, then told.

What GitLab does that one would not expect, and what is done about it here: it executes quick
actions in text that comes by API (the text is fenced), it drops what the account may not set
without an error (everything is read back), and it shows uploads to whoever has their address (none
are made).  Reconciliation lists by author and time only, and neither by label nor by secrecy: an
issue that did not become confidential must be found, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from secbridge import maillog
from secbridge.errors import Deferral, OutcomeUnknown, PermanentFault, TransientFault
from secbridge.model.case import CommentRef, IssueRef
from secbridge.model.issue import (
    CommentDraft,
    Finding,
    IssueChange,
    IssueDraft,
    Paragraph,
    Severity,
    TrackerEvent,
)
from secbridge.ports import Clock, EffectKey, Tracker
from secbridge.rules.drafting import markdown
from secbridge.trackers import telling
from secbridge.trackers.gitlab_door import Door, Json, escaped
from secbridge.trackers.registry import Duration, TrackerContext, TrackerSettings
from secbridge.trackers.telling import Seen, SeenComment

DESCRIPTION_LIMIT = 1_048_576
"""Octets of a description; GitLab counts characters, so this is never too much."""

NOTE_LIMIT = 1_000_000
"""Octets of a note."""

LOOKBACKS = (timedelta(hours=1), timedelta(days=90))
"""How long before an attempt an issue with its marker may have been made: usual, and at most."""

GUEST, REPORTER, DEVELOPER, MAINTAINER, OWNER = 10, 20, 30, 40, 50
TOKEN_WARNING = timedelta(days=14)


class GitLabSettings(TrackerSettings):
    """The options of a GitLab."""

    url: str = Field(description="The address of the GitLab, as it calls itself.")
    token_credential: str = Field(
        default="", description="The systemd credential that holds the token of the bot's account."
    )
    token_file: Path | None = Field(
        default=None, description="A file that holds the token, where there is no systemd."
    )
    timeout: Duration = Field(
        default=timedelta(seconds=30),
        gt=timedelta(0),
        le=timedelta(minutes=5),
        description="How long to wait for the tracker to answer.",
    )
    settle: Duration = Field(
        default=timedelta(minutes=4),
        ge=timedelta(0),
        le=timedelta(hours=1),
        description="How much longer a request without an answer may still take effect.",
    )
    ca_file: Path | None = Field(
        default=None, description="Certificates of a private CA, PEM; the system's are used else."
    )
    fallback_assignee: str = Field(
        default="", description="The account that gets issues whose own assignees are unknown."
    )

    @field_validator("url")
    @classmethod
    def _is_safe(cls, url: str) -> str:
        """Refuse a URL that would send the token in clear, or that holds a password."""
        parts = urlsplit(url)
        if not parts.hostname or parts.username or parts.password or parts.query:
            raise ValueError("must be an address like https://gitlab.example.org, without a user")
        if parts.scheme != "https" and not (parts.scheme == "http" and _is_here(parts.hostname)):
            raise ValueError("must begin with https://, since a token goes there")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _has_one_token(self) -> Self:
        if bool(self.token_credential) == bool(self.token_file):
            raise ValueError("needs token_credential or token_file, one of the two")
        return self


class GitLabPlugin:
    """GitLab as a plugin; needs the extra ``gitlab``."""

    name = "gitlab"
    settings_model = GitLabSettings

    def create(self, context: TrackerContext, settings: TrackerSettings, project: str) -> Tracker:
        """Return the tracker for one project, given as its full path or its number."""
        if not isinstance(settings, GitLabSettings):
            raise TypeError("a GitLab needs its own settings")
        door = Door(
            context.name,
            settings.url,
            lambda: context.secret("token"),
            timeout=settings.timeout.total_seconds(),
            ca_file=str(settings.ca_file) if settings.ca_file else None,
        )
        desk = GitLabDesk(context, settings, project, door)
        return GitLabTracker(desk, context, door)


class GitLabTracker:
    """A project in a GitLab; see ``ports.Tracker`` for the promises."""

    def __init__(self, desk: GitLabDesk, context: TrackerContext, door: Door) -> None:
        self.desk = desk
        self._context = context
        self._door = door

    async def check(self) -> Sequence[Finding]:
        """Ask the project whether it can keep a secret, and whether we have just enough rights."""
        return await _Checks(self.desk, self._context).run()

    async def ensure_issue(self, key: EffectKey, draft: IssueDraft) -> IssueRef:
        """Return the one issue with this marker, confidential, labelled and told."""
        return await telling.ensure_issue(self.desk, key, draft, now=self._context.clock.now())

    async def ensure_comment(
        self, ref: IssueRef, key: EffectKey, draft: CommentDraft
    ) -> CommentRef:
        """Return the one note with this marker."""
        return await telling.ensure_comment(
            self.desk, ref, key, draft, now=self._context.clock.now()
        )

    async def update(self, ref: IssueRef, change: IssueChange) -> None:
        """Change assignees, due date, labels or state."""
        await self.desk.change(ref, change)

    async def events(self, cursor: str | None) -> tuple[Sequence[TrackerEvent], str]:
        """Return nothing: what people do in the tracker is not read yet."""
        return (), cursor or ""

    async def aclose(self) -> None:
        """Close connections."""
        await self._door.aclose()


# ── The desk ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Account:
    """A user of the GitLab."""

    id: int
    username: str
    is_admin: bool = False


class GitLabDesk:
    """The verbs of GitLab (see ``telling.Desk``); a body is the Markdown of a description."""

    def __init__(
        self, context: TrackerContext, settings: GitLabSettings, project: str, door: Door
    ) -> None:
        self.name = context.name
        self.project = project
        self.door = door
        self.patience = door.longest + settings.settle
        self._clock: Clock = context.clock
        self._fallback = settings.fallback_assignee
        self._path = f"/projects/{escaped(project)}"
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
            ours = [item for item in items if _author(item) == me.id]
            found = [item for item in ours if markdown.says(_text(item, "description"), line)]
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
        if not _is_number(answer.get("iid")) or not _is_number(answer.get("id")):
            raise _without_id()
        return self._seen(answer).ref

    async def read_issue(self, ref: IssueRef) -> Seen[str]:
        """Return the issue as it is now."""
        answer = await self.door.get("read issue", self._issue(ref))
        return self._seen(_object(answer))

    async def secure(self, ref: IssueRef, draft: IssueDraft) -> None:
        """Ask once more for secrecy and labels."""
        body = {"confidential": True, "add_labels": self._labels(draft.labels)}
        await self.door.put("secure issue", self._issue(ref), body)

    async def compose(self, key: EffectKey, draft: IssueDraft, seen: Seen[str]) -> str:
        """Return the whole description, with what a reader must know of people and files."""
        notes = [*self._unassigned(draft, seen), *_withheld(draft)]
        return markdown.told_issue(draft, key.marker, limit=DESCRIPTION_LIMIT, notes=notes)

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
        ours = [item for item in items if _author(item) == me.id]
        found = [item for item in ours if markdown.says(_text(item, "body"), line)]
        return tuple(self._seen_comment(ref, item) for item in found)

    async def compose_comment(self, key: EffectKey, draft: CommentDraft) -> str:
        """Return the whole note."""
        blocks = (*draft.blocks, *_withheld(draft))
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
        if not _is_number(answer.get("id")):
            raise _without_id()
        return CommentRef(ref, str(answer["id"]))

    async def read_comment(self, ref: CommentRef) -> SeenComment[str]:
        """Return the note as it is now."""
        answer = await self.door.get("read note", f"{self._issue(ref.issue)}/notes/{ref.id}")
        return self._seen_comment(ref.issue, _object(answer))

    async def tell_comment(self, ref: CommentRef, body: str) -> None:
        """Replace a placeholder by the whole text."""
        path = f"{self._issue(ref.issue)}/notes/{ref.id}"
        await self.door.put("tell note", path, {"body": body})

    # ── People ────────────────────────────────────────────────────────────────────────────────────

    async def myself(self) -> Account:
        """Return the account whose token we hold."""
        if self._me is None:
            answer = await self.door.get("who am I", "/user")
            account = _account(answer)
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
                found = _account(item)
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
        text = _text(item, "description")
        labels, people = item.get("labels"), item.get("assignees")
        accounts = [_account(person) for person in people] if isinstance(people, list) else []
        return Seen(
            ref=IssueRef(
                self.name,
                self.project,
                id=str(item.get("id", "")),
                number=str(item.get("iid", "")),
                url=_text(item, "web_url"),
            ),
            confidential=item.get("confidential") is True,
            labels=tuple(map(str, labels)) if isinstance(labels, list) else (),
            assignees=tuple(account.username for account in accounts if account),
            open=item.get("state") == "opened",
            told=markdown.says(text, markdown.TOLD),
            body=text,
        )

    def _seen_comment(self, ref: IssueRef, item: Mapping[str, Json]) -> SeenComment[str]:
        text = _text(item, "body")
        return SeenComment(
            ref=CommentRef(ref, str(item.get("id", ""))),
            internal=item.get("internal") is True or item.get("confidential") is True,
            told=not markdown.is_untold_comment(text),
            body=text,
        )


def _withheld(draft: IssueDraft | CommentDraft) -> Sequence[Paragraph]:
    """Say where the files are: GitLab would show an upload to whoever has its address."""
    if not draft.attachments:
        return ()
    why = "Files are not uploaded, since uploads do not follow the rights of a confidential issue."
    return (Paragraph(f"{why} An operator gets them with {markdown.code(draft.raw_command)}."),)


# ── Can this project keep a secret? ──────────────────────────────────────────────────────────────


class _Checks:
    """The questions of ``check()``; each answers with findings, and a failure is one, too."""

    def __init__(self, desk: GitLabDesk, context: TrackerContext) -> None:
        self._desk = desk
        self._context = context
        self._path = f"/projects/{escaped(desk.project)}"

    async def run(self) -> Sequence[Finding]:
        """Ask all; after a question that everything hangs on, stop."""
        findings: list[Finding] = []
        try:
            me = await self._desk.myself()
            findings.append(self._finding(Severity.OK, f"The token is {me.username}'s."))
            findings += await self._token()
            project = await self._desk.door.get("read project", self._path)
            findings += self._project(project if isinstance(project, dict) else {}, me)
            findings += await self._labels()
            for name in self._context.assignees:
                findings += await self._assignee(name)
        except Deferral as error:
            findings.append(self._failure(error))
        return findings

    async def _token(self) -> Sequence[Finding]:
        """Look at scopes and expiry, where the GitLab tells them."""
        try:
            token = await self._desk.door.get("read token", "/personal_access_tokens/self")
        except PermanentFault:
            return ()  # an OAuth token, or a GitLab that does not tell
        return self._scopes(token) if isinstance(token, dict) else ()

    def _scopes(self, token: Mapping[str, Json]) -> Sequence[Finding]:
        setting, scopes = f"trackers.{self._desk.name}.token_credential", token.get("scopes")
        if isinstance(scopes, list) and "api" not in scopes:
            mend = "Make a token with the scope api, and nothing more."
            return (self._finding(Severity.ERROR, "The token may not write.", mend, setting),)
        ends = _date(token.get("expires_at"))
        if ends and ends - self._context.clock.now().date() < TOKEN_WARNING:
            mend = "Make a new token in time: without one reports wait."
            text = f"The token expires on {ends.isoformat()}."
            return (self._finding(Severity.WARNING, text, mend, setting),)
        return ()

    def _project(self, project: Mapping[str, Json], me: Account) -> Sequence[Finding]:
        findings = [self._visibility(project), *self._rights(project, me)]
        if project.get("archived") is True:
            mend = "Unarchive the project, or name another."
            findings.append(
                self._finding(Severity.ERROR, "The project is archived.", mend, "alias.project")
            )
        disabled = project.get("issues_access_level") == "disabled"
        if disabled or project.get("issues_enabled") is False:
            mend = "Switch issues on in the project's settings."
            findings.append(
                self._finding(Severity.ERROR, "The project has no issues.", mend, "alias.project")
            )
        return findings

    def _visibility(self, project: Mapping[str, Json]) -> Finding:
        visibility = project.get("visibility")
        if visibility == "private":
            return self._finding(Severity.OK, "The project is private.")
        shown = visibility if visibility in {"public", "internal"} else "not private"
        text = (
            f"The project is {shown}: confidential issues hold, but one wrong click opens a report "
            "to others, and whoever has the address of an upload sees it."
        )
        mend = "Better a private project for security reports alone."
        return self._finding(Severity.WARNING, text, mend, "alias.project")

    def _rights(self, project: Mapping[str, Json], me: Account) -> Sequence[Finding]:
        setting, level = f"trackers.{self._desk.name}.token_credential", _access_level(project)
        if me.is_admin:
            text = "The token is an administrator's, which is far too much."
            mend = "Use a project access token with the role Reporter."
            return (self._finding(Severity.WARNING, text, mend, setting),)
        if level < REPORTER:
            text = "The account has not the role Reporter, so labels and people would be dropped."
            mend = "Give it the role Reporter in the project."
            return (self._finding(Severity.ERROR, text, mend, setting),)
        if level >= MAINTAINER:
            text = "The account is Maintainer or Owner; a quick action of its would be one, too."
            mend = "The role Reporter is enough."
            return (self._finding(Severity.WARNING, text, mend, setting),)
        return (self._finding(Severity.OK, "The account's role fits."),)

    async def _labels(self) -> Sequence[Finding]:
        if any("," in label for label in self._context.labels):
            mend = "Rename the label."
            text = "A label has a comma, which GitLab cannot be sent."
            return (self._finding(Severity.ERROR, text, mend, "alias.labels"),)
        items = await self._desk.door.pages("read labels", f"{self._path}/labels")
        have = {_text(item, "name").casefold() for item in items}
        missing = [label for label in self._context.labels if label.casefold() not in have]
        if not missing:
            return (self._finding(Severity.OK, "The project knows the labels."),)
        text = f"The first issue will make these labels: {', '.join(missing)}."
        return (self._finding(Severity.OK, text),)

    async def _assignee(self, name: str) -> Sequence[Finding]:
        setting = "alias.assignees"
        account = await self._desk.account(name)
        if account is None:
            mend = "Write the username, without @; an unknown one is noted in each issue."
            text = f"The account {name} is not known."
            return (self._finding(Severity.WARNING, text, mend, setting),)
        members = await self._desk.door.get(
            "read member", f"{self._path}/members/all", **{"user_ids[]": account.id}
        )
        ids = [item.get("id") for item in members or () if isinstance(item, dict)]
        if account.id in ids:
            return (self._finding(Severity.OK, f"The account {name} is a member."),)
        mend = "Make the account a member: GitLab drops assignees who are none."
        text = f"The account {name} is no member of the project."
        return (self._finding(Severity.WARNING, text, mend, setting),)

    def _finding(self, severity: Severity, text: str, mend: str = "", setting: str = "") -> Finding:
        subject = f"{self._desk.name} {self._desk.project}"
        return Finding(subject, severity, text, mend, setting)

    def _failure(self, error: Deferral) -> Finding:
        if isinstance(error, PermanentFault):
            return self._finding(Severity.ERROR, error.sentence, error.mend, error.setting)
        mend = "Try again; see whether the tracker is up, and whether this machine reaches it."
        setting = f"trackers.{self._desk.name}.url"
        return self._finding(Severity.ERROR, error.sentence, mend, setting)


# ── What an answer holds ─────────────────────────────────────────────────────────────────────────


def _text(item: Mapping[str, Json], name: str) -> str:
    value = item.get(name)
    return value if isinstance(value, str) else ""


def _object(answer: Json) -> Mapping[str, Json]:
    if not isinstance(answer, dict):
        raise TransientFault("tracker-answer-unreadable", "The tracker's answer says nothing.")
    return answer


def _without_id() -> OutcomeUnknown:
    return OutcomeUnknown("tracker-answer-without-id", "The tracker's answer names nothing.")


def _is_number(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _author(item: Mapping[str, Json]) -> int | None:
    account = _account(item.get("author"))
    return account.id if account else None


def _account(item: Json) -> Account | None:
    if not isinstance(item, dict) or not _is_number(item.get("id")):
        return None
    return Account(item["id"], _text(item, "username"), item.get("is_admin") is True)


def _access_level(project: Mapping[str, Json]) -> int:
    """Return the highest of the account's roles in the project and its group."""
    permissions = project.get("permissions")
    shares = permissions.values() if isinstance(permissions, dict) else ()
    levels = [share.get("access_level") for share in shares if isinstance(share, dict)]
    return max((level for level in levels if isinstance(level, int)), default=0)


def _date(value: Json) -> date | None:
    try:
        return datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except (TypeError, ValueError):
        return None


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


plugin = GitLabPlugin()
