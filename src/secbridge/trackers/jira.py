"""How does a report get into Jira?  As an issue with a security level, proven, then told.

What Jira does that one would not expect, and what is done about it here: it has no list that is
read from its database (an issue of ours is looked for by keys, see ``jira_finding``), it takes a
stranger's braces for macros (texts are documents in the cloud, and sleep in ``{noformat}``
elsewhere), a security level may shut out the very account that set it, and closing is whatever the
workflow calls so.  The verbs are in ``jira_desk``, the requests in ``jira_door``, the questions of
``check()`` in ``jira_checks``, what people do in ``jira_events``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

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
from secbridge.trackers.files import FilePolicy
from secbridge.trackers.hooks import BodyHook
from secbridge.trackers.jira_checks import Checks
from secbridge.trackers.jira_desk import JiraDesk, Wishes
from secbridge.trackers.jira_door import Deployment, JiraDoor
from secbridge.trackers.jira_events import Events
from secbridge.trackers.jira_people import People
from secbridge.trackers.registry import TrackerContext, TrackerSettings
from secbridge.trackers.remote import RemoteSettings


class JiraSettings(RemoteSettings):
    """The options of a Jira."""

    example = "https://jira.example.org"

    url: str = Field(description="The address of the Jira, with its context path.")
    deployment: Deployment = Field(
        default=Deployment.CLOUD, description='Which Jira it is: "cloud" or "data-center".'
    )
    user: str = Field(
        default="", description="The mail address of the bot's account; needed in the cloud alone."
    )
    token_credential: str = Field(
        default="", description="The systemd credential with the API token or access token."
    )
    security_level: str = Field(
        default="",
        description="The security level of new issues, by name or id; else the project's default.",
    )
    issue_type: str = Field(default="Task", description="The issue type of new issues.")
    priority: str = Field(default="", description="The priority of new issues, by name.")
    comment_role: str = Field(
        default="", description="The project role to which comments are shown, where not to all."
    )
    comment_group: str = Field(
        default="", description="The group to which comments are shown, where not to all."
    )
    service_desk: bool = Field(
        default=False, description="Whether it is a service desk, where comments are made internal."
    )
    closed_transition: str = Field(
        default="", description="The transition that closes; else any to a status that is done."
    )
    reopened_transition: str = Field(
        default="", description="The transition that reopens; else any to a status not done."
    )
    link_type: str = Field(default="Relates", description="The type of links between issues.")
    attachments: FilePolicy = Field(
        default=FilePolicy.UPLOAD,
        description='What becomes of files, which follow the issue; on a service desk "sealed".',
    )
    webhook_secret_credential: str = Field(
        default="", description="The systemd credential with the secret of the tracker's webhook."
    )
    webhook_secret_file: Path | None = Field(
        default=None, description="A file that holds that secret, where there is no systemd."
    )
    commanders: tuple[str, ...] = Field(
        default=("Administrators", "Developers"),
        description="Project roles, or groups, whose members may command secbridge in comments.",
    )

    @model_validator(mode="after")
    def _can_log_in(self) -> Self:
        if not self.has_one_token:
            raise ValueError("needs token_credential or token_file, one of the two")
        if self.deployment is Deployment.CLOUD and not self.user:
            raise ValueError("needs user, the mail address of the bot's account, in the cloud")
        if self.comment_role and self.comment_group:
            raise ValueError("takes comment_role or comment_group, not both")
        return self

    def wishes(self) -> Wishes:
        """Return what concerns issues and comments.

        Whether the customers of a service desk see an issue's files is not ours to know, so there
        they are sealed unless the operator says otherwise.
        """
        is_told = "attachments" in self.model_fields_set or not self.service_desk
        return Wishes(
            issue_type=self.issue_type,
            priority=self.priority,
            security_level=self.security_level,
            comment_role=self.comment_role,
            comment_group=self.comment_group,
            service_desk=self.service_desk,
            closed_transition=self.closed_transition,
            reopened_transition=self.reopened_transition,
            link_type=self.link_type,
            attachments=self.attachments if is_told else FilePolicy.SEALED,
            fallback_assignee=self.fallback_assignee,
        )


class JiraPlugin:
    """Jira as a plugin; needs the extra ``jira``."""

    name = "jira"
    settings_model = JiraSettings

    def create(self, context: TrackerContext, settings: TrackerSettings, project: str) -> Tracker:
        """Return the tracker for one project, given by its key."""
        if not isinstance(settings, JiraSettings):
            raise TypeError("a Jira needs its own settings")
        door = JiraDoor(
            context.name,
            settings.url,
            lambda: context.secret("token"),
            deployment=settings.deployment,
            user=settings.user,
            timeout=settings.timeout.total_seconds(),
            ca_file=str(settings.ca_file) if settings.ca_file else None,
        )
        people = People(door, project, clock=context.clock, commanders=settings.commanders)
        desk = JiraDesk(
            context.name,
            project,
            door,
            people,
            settings.wishes(),
            clock=context.clock,
            settle=settings.settle,
            team=context.team,
        )
        return JiraTracker(desk, context)

    def hook(self, secret: Callable[[str], Secret], settings: TrackerSettings) -> Hook | None:
        """Return what proves X-Hub-Signature, and that the webhook is not an old one."""
        if not isinstance(settings, JiraSettings):
            raise TypeError("a Jira needs its own settings")
        if not (settings.webhook_secret_credential or settings.webhook_secret_file):
            return None
        key = secret("webhook_secret").reveal().encode()
        return BodyHook(b"x-hub-signature", key, dated=True)


class JiraTracker:
    """A project in a Jira; see ``ports.Tracker`` for the promises."""

    def __init__(self, desk: JiraDesk, context: TrackerContext) -> None:
        self.desk = desk
        self._context = context
        self._events = Events(desk, context.clock, context.labels)

    @property
    def leaves_slashes(self) -> bool:
        """Return True: its editor knows slashes, the API does not."""
        return True

    async def check(self) -> Sequence[Finding]:
        """Ask the project whether it can keep a secret, and whether we have just enough rights."""
        return await Checks(self.desk, self._context).run()

    async def ensure_issue(self, key: EffectKey, draft: IssueDraft) -> IssueRef:
        """Return the one issue with this marker, with its level, labelled and told."""
        return await telling.ensure_issue(self.desk, key, draft, now=self._context.clock.now())

    async def ensure_comment(
        self, ref: IssueRef, key: EffectKey, draft: CommentDraft
    ) -> CommentRef:
        """Return the one comment with this marker."""
        return await telling.ensure_comment(
            self.desk, ref, key, draft, now=self._context.clock.now()
        )

    async def update(self, ref: IssueRef, change: IssueChange) -> None:
        """Change assignee, due date, labels or state."""
        await self.desk.change(ref, change)

    async def look(self, ref: IssueRef) -> IssueState:
        """Return the issue as it is now, found by its id wherever it was moved."""
        return await self.desk.look(ref)

    async def link(self, ref: IssueRef, other: IssueRef) -> bool:
        """Link two issues, once."""
        return await self.desk.link(ref, other)

    async def may_command(self, actor: Actor) -> bool:
        """Return whether a person has one of the roles that ``commanders`` names."""
        return await self.desk.people.may_command(actor)

    async def events(self, cursor: str | None) -> tuple[Sequence[TrackerEvent], str]:
        """Return what people did since a cursor, oldest first, and the next cursor."""
        return await self._events.since(cursor)

    async def aclose(self) -> None:
        """Close connections."""
        await self.desk.door.aclose()


plugin = JiraPlugin()
