"""How does a report get into GitHub?  Into a private repository, or as a draft security advisory.

What GitHub does that one would not expect, and what is done about it here: issues are as visible as
their repository, which one click opens (it is asked before each write and proven after it); labels,
people and dates are dropped without an error where the account may not push (everything is read
back); files cannot be attached (they are committed, sealed); a 403 may only mean "later".

The verbs of issues are in ``github_desk``, those of advisories in ``github_advisories`` with
``github_rooms`` for their comments.  ``github_place`` knows repositories, ``github_people``
accounts, ``github_files`` files; ``github_events`` reads what people did; the requests are in
``github_door``, and the questions of ``check()`` in ``github_checks``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from secbridge.model.case import CommentRef, IssueRef
from secbridge.model.issue import (
    Actor,
    CommentDraft,
    Finding,
    IssueChange,
    IssueDraft,
    IssueState,
    TrackerEvent,
)
from secbridge.model.plaintext import Secret
from secbridge.ports import EffectKey, Hook, Tracker
from secbridge.trackers import telling
from secbridge.trackers.files import FilePolicy, shown
from secbridge.trackers.github_advisories import AdvisoryDesk, AdvisoryOptions
from secbridge.trackers.github_checks import AdvisoryChecks, IssueChecks
from secbridge.trackers.github_desk import GitHubDesk
from secbridge.trackers.github_door import App, GitHubDoor
from secbridge.trackers.github_events import AdvisoryChanges, Changes
from secbridge.trackers.github_files import Files
from secbridge.trackers.github_people import People
from secbridge.trackers.github_place import Dates, Place
from secbridge.trackers.github_rooms import AdvisoryRoom, CompanionRoom, NoRoom, Room
from secbridge.trackers.hooks import BodyHook
from secbridge.trackers.registry import TrackerContext, TrackerSettings
from secbridge.trackers.remote import RemoteSettings

_PROJECT = "[A-Za-z0-9._-]{1,100}/[A-Za-z0-9._-]{1,100}"

CreditType = Literal[
    "analyst",
    "finder",
    "reporter",
    "coordinator",
    "remediation_developer",
    "remediation_reviewer",
    "remediation_verifier",
    "tool",
    "sponsor",
    "other",
]
"""For what somebody is credited in an advisory."""


class Mode(StrEnum):
    """What a report becomes."""

    PRIVATE_REPOSITORY = "private-repository"
    ADVISORY = "advisory"


class GitHubSettings(RemoteSettings):
    """The options of a GitHub."""

    example = "https://api.github.com"

    url: str = Field(
        default="https://api.github.com",
        description="The address of the API; of a GitHub Enterprise Server it ends with /api/v3.",
    )
    mode: Mode = Field(
        default=Mode.PRIVATE_REPOSITORY,
        description="What reports become: private-repository (issues) or advisory (drafts).",
    )
    token_credential: str = Field(
        default="", description="The systemd credential that holds the fine-grained token."
    )
    app_id: str = Field(default="", description="The GitHub App's id, in the place of a token.")
    installation_id: int | None = Field(
        default=None, gt=0, description="The number of the App's installation."
    )
    app_key_credential: str = Field(
        default="", description="The systemd credential that holds the App's private key."
    )
    app_key_file: Path | None = Field(
        default=None, description="A file that holds that key (PEM), where there is no systemd."
    )
    api_version: str = Field(
        default="2022-11-28",
        pattern=r"^\d{4}-\d\d-\d\d$",
        description="The version of the API that is asked for.",
    )
    attachments: FilePolicy = Field(
        default=FilePolicy.SEALED,
        description="What becomes of files: sealed, upload, inline-text or withhold.",
    )
    branch: str = Field(
        default="", description="The branch that files are committed to; the default one else."
    )
    webhook_secret_credential: str = Field(
        default="", description="The systemd credential with the secret of the tracker's webhook."
    )
    webhook_secret_file: Path | None = Field(
        default=None, description="A file that holds that secret, where there is no systemd."
    )
    commanders: Literal["triage", "write", "maintain", "admin"] = Field(
        default="write", description="The least role of those whose commands in comments count."
    )
    allow_internal: bool = Field(
        default=False, description="Whether an internal repository is secret enough, too."
    )
    due_milestones: bool = Field(
        default=True, description="Whether due dates are set by a milestone for each day."
    )
    due_field: str = Field(
        default="", description="The organisation's issue field for due dates, in their place."
    )
    issue_type: str = Field(default="", description="The type of new issues, if they get one.")
    severity: Literal["", "low", "medium", "high", "critical"] = Field(
        default="", description="The severity of new advisories."
    )
    cvss_vector: str = Field(
        default="", description="The CVSS vector of new advisories, in the place of a severity."
    )
    credits: Mapping[str, CreditType] = Field(
        default={}, description="Who is credited in new advisories: login, and for what."
    )
    collaborators: tuple[str, ...] = Field(
        default=(), description="Accounts that may read new advisories beside the administrators."
    )
    collaborating_teams: tuple[str, ...] = Field(default=(), description="Teams that may do so.")
    ecosystem: str = Field(
        default="", description="The ecosystem of the affected package, such as pip or npm."
    )
    package: str = Field(default="", description="The name of that package.")
    advisory_comments: bool = Field(
        default=False,
        description="Whether comments go to the advisory itself; GitHub calls that a preview.",
    )
    companion: str = Field(
        default="",
        pattern=f"^(?:{_PROJECT})?$",
        description="A private repository (owner/name) for comments on advisories, and files.",
    )

    @model_validator(mode="after")
    def _has_one_identity(self) -> Self:
        has_app = bool(self.app_id) and self.installation_id is not None
        has_key = bool(self.app_key_credential) != bool(self.app_key_file)
        has_token = self.has_one_token
        begun = self.app_id or self.installation_id or self.app_key_credential or self.app_key_file
        if begun and not (has_app and has_key):
            raise ValueError("needs app_id, installation_id and app_key_credential (or _file)")
        if bool(begun) == has_token or (self.token_credential and self.token_file):
            raise ValueError("needs token_credential or token_file, or a GitHub App: one of these")
        return self

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.severity and self.cvss_vector:
            raise ValueError("has severity and cvss_vector, and GitHub takes one of them")
        if self.advisory_comments and self.companion:
            raise ValueError("has advisory_comments and companion: comments go to one of them")
        if self.package and not self.ecosystem:
            raise ValueError("has a package without its ecosystem")
        return self

    @property
    def advisory_options(self) -> AdvisoryOptions:
        """What stands in the settings about advisories."""
        return AdvisoryOptions(
            severity=self.severity,
            cvss_vector=self.cvss_vector,
            credits=tuple(self.credits.items()),
            collaborators=self.collaborators,
            collaborating_teams=self.collaborating_teams,
            ecosystem=self.ecosystem,
            package=self.package,
        )


class GitHubPlugin:
    """GitHub as a plugin; needs the extra ``github``."""

    name = "github"
    settings_model = GitHubSettings

    def create(self, context: TrackerContext, settings: TrackerSettings, project: str) -> Tracker:
        """Return the tracker for one repository, given as owner/name."""
        if not isinstance(settings, GitHubSettings):
            raise TypeError("a GitHub needs its own settings")
        builder = _Builder(context, settings)
        match settings.mode:
            case Mode.PRIVATE_REPOSITORY:
                return GitHubTracker(builder.desk(project), builder)
            case Mode.ADVISORY:
                return AdvisoryTracker(builder.advisory_desk(project), builder)

    def hook(self, secret: Callable[[str], Secret], settings: TrackerSettings) -> Hook | None:
        """Return what proves X-Hub-Signature-256; the one of SHA-1 beside it proves nothing."""
        if not isinstance(settings, GitHubSettings):
            raise TypeError("a GitHub needs its own settings")
        if not (settings.webhook_secret_credential or settings.webhook_secret_file):
            return None
        return BodyHook(b"x-hub-signature-256", secret("webhook_secret").reveal().encode())


class _Builder:
    """Joins the parts of a tracker, which share one door."""

    def __init__(self, context: TrackerContext, settings: GitHubSettings) -> None:
        self.context = context
        self.settings = settings
        self.door = GitHubDoor(
            context.name,
            settings.url,
            lambda: context.secret("token"),
            timeout=settings.timeout.total_seconds(),
            api_version=settings.api_version,
            ca_file=str(settings.ca_file) if settings.ca_file else None,
            app=self._app(),
        )

    def _app(self) -> App | None:
        if self.settings.installation_id is None:
            return None
        key = self.context.secret
        return App(self.settings.app_id, self.settings.installation_id, lambda: key("app_key"))

    def place(self, project: str) -> Place:
        """Return a repository."""
        dates = Dates(self.settings.due_field, self.settings.due_milestones)
        allowed = self.settings.allow_internal
        return Place(self.door, project, allow_internal=allowed, dates=dates)

    def people(self, project: str) -> People:
        """Return the people of a repository."""
        fallback = self.settings.fallback_assignee
        return People(self.door, project, clock=self.context.clock, fallback=fallback)

    def desk(self, project: str) -> GitHubDesk:
        """Return the desk of a private repository."""
        place, settings = self.place(project), self.settings
        return GitHubDesk(
            self.context.name,
            place,
            self.people(project),
            Files(place, settings.attachments, self.context.team, branch=settings.branch),
            clock=self.context.clock,
            settle=settings.settle,
            issue_type=settings.issue_type,
        )

    def advisory_desk(self, project: str) -> AdvisoryDesk:
        """Return the desk of a repository's advisories."""
        place, people = self.place(project), self.people(project)
        room = self._room(place, people)
        return AdvisoryDesk(
            self.context.name,
            place,
            people,
            self.settings.advisory_options,
            room=room,
            files=room.desk.files if isinstance(room, CompanionRoom) else None,
            clock=self.context.clock,
            settle=self.settings.settle,
        )

    def _room(self, place: Place, people: People) -> Room:
        if self.settings.companion:
            return CompanionRoom(self.desk(self.settings.companion), clock=self.context.clock)
        if self.settings.advisory_comments:
            return AdvisoryRoom(place, people)
        return NoRoom(self.context.name)


class _Common:
    """What both modes do alike; see ``ports.Tracker`` for the promises."""

    desk: GitHubDesk | AdvisoryDesk

    def __init__(self, builder: _Builder) -> None:
        self._context = builder.context
        self._settings = builder.settings
        self._door = builder.door

    @property
    def leaves_slashes(self) -> bool:
        """Return True: its editor knows slashes, the API does not."""
        return True

    async def ensure_issue(self, key: EffectKey, draft: IssueDraft) -> IssueRef:
        """Return the one issue or advisory with this marker, secret, labelled and told."""
        draft, now = shown(draft, self._settings.attachments), self._context.clock.now()
        return await telling.ensure_issue(self.desk, key, draft, now=now)

    async def ensure_comment(
        self, ref: IssueRef, key: EffectKey, draft: CommentDraft
    ) -> CommentRef:
        """Return the one comment with this marker."""
        draft, now = shown(draft, self._settings.attachments), self._context.clock.now()
        return await telling.ensure_comment(self.desk, ref, key, draft, now=now)

    async def update(self, ref: IssueRef, change: IssueChange) -> None:
        """Change assignees, due date, labels or state."""
        await self.desk.change(ref, change)

    async def look(self, ref: IssueRef) -> IssueState:
        """Return the issue as it is now, followed to the repository where it is."""
        return await self.desk.look(ref)

    async def link(self, ref: IssueRef, other: IssueRef) -> bool:
        """Return False: GitHub relates issues by mentioning one in the other's text only."""
        return False

    async def aclose(self) -> None:
        """Close connections."""
        await self._door.aclose()


class GitHubTracker(_Common):
    """Issues in a private repository."""

    desk: GitHubDesk

    def __init__(self, desk: GitHubDesk, builder: _Builder) -> None:
        super().__init__(builder)
        self.desk = desk
        self._changes = Changes(desk, self._context.labels, clock=self._context.clock)

    async def check(self) -> Sequence[Finding]:
        """Ask the repository whether it can keep a secret, and whether our rights just fit."""
        kind = self._settings.issue_type
        return await IssueChecks(self.desk, self._context, issue_type=kind).run()

    async def events(self, cursor: str | None) -> tuple[Sequence[TrackerEvent], str]:
        """Return what people did in our issues since a cursor."""
        return await self._changes.since(cursor)

    async def may_command(self, actor: Actor) -> bool:
        """Return whether a person has the role that commands."""
        people = self.desk.people
        return not actor.is_us and await people.has_role(actor, self._settings.commanders)


class AdvisoryTracker(_Common):
    """Draft security advisories of a public repository."""

    desk: AdvisoryDesk

    def __init__(self, desk: AdvisoryDesk, builder: _Builder) -> None:
        super().__init__(builder)
        self.desk = desk
        self._changes = AdvisoryChanges(desk, clock=self._context.clock)

    async def check(self) -> Sequence[Finding]:
        """Ask whether drafts can be made, and the private repository beside all that it must be."""
        return await AdvisoryChecks(self.desk, self._context).run()

    async def events(self, cursor: str | None) -> tuple[Sequence[TrackerEvent], str]:
        """Return what people did in our advisories, and beside them, since a cursor."""
        return await self._changes.since(cursor)

    async def may_command(self, actor: Actor) -> bool:
        """Return whether a person has the role that commands where comments are written."""
        room = self.desk.room
        people = room.desk.people if isinstance(room, CompanionRoom) else self.desk.people
        return not actor.is_us and await people.has_role(actor, self._settings.commanders)


plugin = GitHubPlugin()
