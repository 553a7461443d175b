"""How does a report get into GitLab?  As a confidential issue of the bot's, proven, then told.

What GitLab does that one would not expect, and what is done about it here: it executes quick
actions in text that comes by API (the text is fenced), it drops what the account may not set
without an error (everything is read back), it shows uploads to whoever has their address (they are
sealed), and it leaves a closed issue behind where one was moved away (we go after it).

The verbs are in ``gitlab_desk``, the requests in ``gitlab_door``; ``gitlab_places`` follows moves,
``gitlab_people`` knows accounts and roles, ``gitlab_files`` uploads, ``gitlab_events`` reads what
people did, and the questions of ``check()`` are in ``gitlab_checks``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from secbridge.trackers.gitlab_answers import Role
from secbridge.trackers.gitlab_checks import Checks
from secbridge.trackers.gitlab_desk import GitLabDesk, Wishes
from secbridge.trackers.gitlab_door import GitLabDoor
from secbridge.trackers.gitlab_events import Events
from secbridge.trackers.gitlab_files import Files
from secbridge.trackers.gitlab_people import People
from secbridge.trackers.gitlab_places import Places
from secbridge.trackers.hooks import GitLabHook, signing_key
from secbridge.trackers.registry import TrackerContext, TrackerSettings
from secbridge.trackers.remote import RemoteSettings


class GitLabSettings(RemoteSettings):
    """The options of a GitLab."""

    example = "https://gitlab.example.org"

    url: str = Field(description="The address of the GitLab, as it calls itself.")
    issue_type: str = Field(
        default="issue",
        pattern=r"^[a-z_]{1,40}$",
        description="The type of new issues: issue, incident, or another that the GitLab has.",
    )
    severity: Literal["", "unknown", "low", "medium", "high", "critical"] = Field(
        default="", description="The severity of new incidents; GitLab knows it for these alone."
    )
    attachments: FilePolicy = Field(
        default=FilePolicy.SEALED,
        description="What becomes of files: sealed, upload, inline-text or withhold.",
    )
    webhook_token_credential: str = Field(
        default="", description="The systemd credential with the secret token of the webhook."
    )
    webhook_token_file: Path | None = Field(
        default=None, description="A file that holds that token, where there is no systemd."
    )
    webhook_signing_token_credential: str = Field(
        default="", description="The systemd credential with the webhook's signing token (whsec_)."
    )
    webhook_signing_token_file: Path | None = Field(
        default=None, description="A file that holds the signing token, where there is no systemd."
    )
    commanders: Role = Field(
        default=Role.DEVELOPER,
        description="The least role of members whose commands in comments count.",
    )

    @model_validator(mode="after")
    def _has_one_token(self) -> Self:
        if not self.has_one_token:
            raise ValueError("needs token_credential or token_file, one of the two")
        return self

    @model_validator(mode="after")
    def _has_a_severity_for_incidents_alone(self) -> Self:
        if self.severity and self.issue_type != "incident":
            raise ValueError('has a severity, which needs issue_type = "incident"')
        return self


class GitLabPlugin:
    """GitLab as a plugin; needs the extra ``gitlab``."""

    name = "gitlab"
    settings_model = GitLabSettings

    def create(self, context: TrackerContext, settings: TrackerSettings, project: str) -> Tracker:
        """Return the tracker for one project, given as its full path or its number."""
        if not isinstance(settings, GitLabSettings):
            raise TypeError("a GitLab needs its own settings")
        door = GitLabDoor(
            context.name,
            settings.url,
            lambda: context.secret("token"),
            timeout=settings.timeout.total_seconds(),
            ca_file=str(settings.ca_file) if settings.ca_file else None,
        )
        places = Places(context.name, project, door)
        people = People(door, places.root, clock=context.clock, fallback=settings.fallback_assignee)
        desk = GitLabDesk(
            door,
            places,
            people,
            Files(door, settings.attachments, context.team),
            clock=context.clock,
            settle=settings.settle,
            wishes=Wishes(settings.issue_type, settings.severity),
        )
        return GitLabTracker(desk, context, settings)

    def hook(self, secret: Callable[[str], Secret], settings: TrackerSettings) -> Hook | None:
        """Return what proves a signature, and a token where none is sent."""
        if not isinstance(settings, GitLabSettings):
            raise TypeError("a GitLab needs its own settings")
        token = key = None
        if settings.webhook_token_credential or settings.webhook_token_file:
            token = secret("webhook_token").reveal().encode()
        if settings.webhook_signing_token_credential or settings.webhook_signing_token_file:
            stem = "webhook_signing_token"
            key = signing_key(secret(stem), setting=stem)
        return GitLabHook(token, key) if token or key else None


class GitLabTracker:
    """A project in a GitLab; see ``ports.Tracker`` for the promises."""

    def __init__(self, desk: GitLabDesk, context: TrackerContext, settings: GitLabSettings) -> None:
        self.desk = desk
        self._context = context
        self._settings = settings
        self._events = Events(desk, context.labels, context.clock)

    @property
    def leaves_slashes(self) -> bool:
        """Return False: any release may execute a word that the one before it left alone."""
        return False

    async def check(self) -> Sequence[Finding]:
        """Ask the project whether it can keep a secret, and whether we have just enough rights."""
        return await Checks(self.desk, self._context).run()

    async def ensure_issue(self, key: EffectKey, draft: IssueDraft) -> IssueRef:
        """Return the one issue with this marker, confidential, labelled and told."""
        return await telling.ensure_issue(
            self.desk,
            key,
            shown(draft, self._settings.attachments),
            now=self._context.clock.now(),
        )

    async def ensure_comment(
        self, ref: IssueRef, key: EffectKey, draft: CommentDraft
    ) -> CommentRef:
        """Return the one note with this marker, on the issue where it is by now."""
        return await telling.ensure_comment(
            self.desk,
            ref,
            key,
            shown(draft, self._settings.attachments),
            now=self._context.clock.now(),
        )

    async def update(self, ref: IssueRef, change: IssueChange) -> None:
        """Change assignees, due date, labels or state."""
        await self.desk.change(ref, change)

    async def look(self, ref: IssueRef) -> IssueState:
        """Return the issue as it is now, followed to where it was moved."""
        return self.desk.state(await self.desk.places.read(ref))

    async def link(self, ref: IssueRef, other: IssueRef) -> bool:
        """Relate two issues, once; return False where this GitLab does not let us."""
        return await self.desk.link(ref, other)

    async def may_command(self, actor: Actor) -> bool:
        """Return whether a person is a member with the role that the settings name, or a higher."""
        return not actor.is_us and await self.desk.people.has_role(actor, self._settings.commanders)

    async def events(self, cursor: str | None) -> tuple[Sequence[TrackerEvent], str]:
        """Return what people did in issues of ours and in marked ones, and the next cursor."""
        return await self._events.since(cursor)

    async def aclose(self) -> None:
        """Close connections."""
        await self.desk.door.aclose()


plugin = GitLabPlugin()
