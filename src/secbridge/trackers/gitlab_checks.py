"""Can this GitLab project keep a secret?  Questions that change nothing over there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from secbridge.errors import Deferral, PermanentFault
from secbridge.model.issue import Finding, Severity
from secbridge.trackers import gitlab_answers as answers
from secbridge.trackers.door import Json, segment
from secbridge.trackers.files import FilePolicy
from secbridge.trackers.gitlab_answers import MAINTAINER, REPORTER, Account
from secbridge.trackers.gitlab_desk import GitLabDesk
from secbridge.trackers.gitlab_door import PER_PAGE
from secbridge.trackers.gitlab_files import protection
from secbridge.trackers.registry import TrackerContext

TOKEN_WARNING = timedelta(days=14)
"""How long before the end of a token it is told."""

ENOUGH = frozenset({"api", "self_rotate"})
"""The scopes of a token that does its work here; every other one is more than it needs."""

MEMBER_PAGES = 4
"""Pages of members that are counted."""


class Checks:
    """The questions of ``check()``; each answers with findings, and a failure is one, too."""

    def __init__(self, desk: GitLabDesk, context: TrackerContext) -> None:
        self._desk = desk
        self._context = context
        self._path = f"/projects/{segment(desk.project)}"

    async def run(self) -> Sequence[Finding]:
        """Ask all; after a question that everything hangs on, stop."""
        findings: list[Finding] = []
        try:
            me = await self._desk.people.myself()
            findings.append(self._ok(f"The token is {me.username}'s."))
            findings += await self._token()
            project = answers.as_object(await self._desk.door.get("read project", self._path))
            findings += self._project(project, me)
            findings += self._outsiders(project)
            findings += await self._mirrors(answers.access_level(project))
            findings += await self._readers()
            findings += await self._labels()
            for name in self._context.assignees:
                findings += await self._assignee(name)
        except Deferral as error:
            findings.append(self._failure(error))
        return findings

    # ── The token and its account ─────────────────────────────────────────────────────────────────

    async def _token(self) -> Sequence[Finding]:
        """Look at scopes and expiry, where the GitLab tells them."""
        try:
            token = await self._desk.door.get("read token", "/personal_access_tokens/self")
        except PermanentFault:
            return ()  # an OAuth token, or a GitLab that does not tell
        return (*self._scopes(token), *self._expiry(token)) if isinstance(token, dict) else ()

    def _scopes(self, token: Mapping[str, Json]) -> Sequence[Finding]:
        scopes = token.get("scopes")
        if not isinstance(scopes, list):
            return ()
        mend = "Make a token with the scope api, and nothing more."
        if "api" not in scopes:
            return (self._error("The token may not write.", mend, self._token_setting),)
        if more := sorted({str(scope) for scope in scopes} - ENOUGH):
            text = f"The token may more than secbridge needs: {', '.join(more)}."
            return (self._warning(text, mend, self._token_setting),)
        return ()

    def _expiry(self, token: Mapping[str, Json]) -> Sequence[Finding]:
        ends = answers.date_in(token.get("expires_at"))
        if not ends or ends - self._context.clock.now().date() >= TOKEN_WARNING:
            return ()
        mend = "Make a new token in time: without one reports wait."
        text = f"The token expires on {ends.isoformat()}."
        return (self._warning(text, mend, self._token_setting),)

    def _rights(self, project: Mapping[str, Json], me: Account) -> Finding:
        setting, level = self._token_setting, answers.access_level(project)
        if me.is_admin:
            text = "The token is an administrator's, which is far too much."
            mend = "Use a project access token with the role Reporter."
            return self._warning(text, mend, setting)
        if level < REPORTER:
            text = "The account has not the role Reporter, so labels and people would be dropped."
            return self._error(text, "Give it the role Reporter in the project.", setting)
        if level >= MAINTAINER:
            text = "The account is Maintainer or Owner; a quick action of its would be one, too."
            return self._warning(text, "The role Reporter is enough.", setting)
        return self._ok("The account's role fits.")

    # ── The project ───────────────────────────────────────────────────────────────────────────────

    def _project(self, project: Mapping[str, Json], me: Account) -> Sequence[Finding]:
        findings = [self._visibility(project), self._rights(project, me)]
        if project.get("archived") is True:
            mend = "Unarchive the project, or name another."
            findings.append(self._error("The project is archived.", mend, "alias.project"))
        disabled = project.get("issues_access_level") == "disabled"
        if disabled or project.get("issues_enabled") is False:
            mend = "Switch issues on in the project's settings."
            findings.append(self._error("The project has no issues.", mend, "alias.project"))
        return (*findings, *self._uploads(project))

    def _visibility(self, project: Mapping[str, Json]) -> Finding:
        visibility = project.get("visibility")
        if visibility == "private":
            text = "The project is private."
            return self._ok(f"{text} GitLab has no switch that makes each of its issues secret.")
        shown = visibility if visibility in {"public", "internal"} else "not private"
        text = (
            f"The project is {shown}: confidential issues hold, but one wrong click opens a report "
            "to others, and no setting of GitLab's makes each issue confidential from the start."
        )
        mend = "Better a private project for security reports alone."
        return self._warning(text, mend, "alias.project")

    def _uploads(self, project: Mapping[str, Json]) -> Sequence[Finding]:
        """Say whether files may go as they are: a question under that policy alone."""
        if self._desk.files.policy is not FilePolicy.UPLOAD:
            return ()
        shield, setting = protection(project), f"trackers.{self._desk.name}.attachments"
        if not shield.files:
            text = "Whoever has the address of an upload reads it: the project is public."
            return (
                self._error(text, 'Set attachments to "sealed", or close the project.', setting),
            )
        if not shield.media:
            text = "Images are shown to whoever has their address, so these alone are sealed."
            mend = 'Switch on "Require authentication to view media files" in the project.'
            return (self._warning(text, mend, setting),)
        return (self._ok("Uploads are shown to members alone, images too."),)

    # ── Who else hears of a report ────────────────────────────────────────────────────────────────

    def _outsiders(self, project: Mapping[str, Json]) -> Sequence[Finding]:
        findings: list[Finding] = []
        if (
            project.get("emails_enabled") is not False
            and project.get("emails_disabled") is not True
        ):
            text = "GitLab mails the text of issues, in clear, to members who watch the project."
            mend = "Switch the project's e-mail notifications off, or accept that."
            findings.append(self._warning(text, mend, "alias.project"))
        if project.get("service_desk_enabled") is True:
            text = "Service Desk is on: outsiders on an issue are mailed all but internal notes."
            mend = "Switch Service Desk off in a project for security reports."
            findings.append(self._warning(text, mend, "alias.project"))
        return findings

    async def _mirrors(self, level: int) -> Sequence[Finding]:
        """Look for webhooks and integrations that carry confidential issues elsewhere."""
        if level < MAINTAINER:
            text = (
                "Webhooks and integrations are shown to Maintainers alone: have one look for those "
                "that get confidential issues or notes."
            )
            return (self._ok(text),)
        hooks = await self._desk.door.pages("read webhooks", f"{self._path}/hooks")
        others = await self._desk.door.pages("read integrations", f"{self._path}/integrations")
        active = [item for item in others if item.get("active") is True]
        carrying = [item for item in (*hooks, *active) if _carries_secrets(item)]
        if not carrying:
            return (self._ok("No webhook or integration gets confidential issues."),)
        text = f"Webhooks or integrations that get confidential issues or notes: {len(carrying)}."
        mend = "Take those events from each that is not secbridge's own."
        return (self._warning(text, mend, "alias.project"),)

    async def _readers(self) -> Sequence[Finding]:
        """Count the members who see every confidential issue."""
        members: list[Mapping[str, Json]] = []
        for page in range(1, MEMBER_PAGES + 1):
            found = await self._desk.door.page(
                "read members", f"{self._path}/members/all", page=page
            )
            members += found
            if len(found) < PER_PAGE:
                break
        levels = [item.get("access_level") for item in members if item.get("state") == "active"]
        readers = sum(isinstance(level, int) and level >= REPORTER for level in levels)
        more = " or more" if len(members) == MEMBER_PAGES * PER_PAGE else ""
        text = f"Members who see every confidential issue, this account too: {readers}{more}."
        return (self._ok(text),)

    # ── What aliases ask for ──────────────────────────────────────────────────────────────────────

    async def _labels(self) -> Sequence[Finding]:
        if any("," in label for label in self._context.labels):
            text = "A label has a comma, which GitLab cannot be sent."
            return (self._error(text, "Rename the label.", "alias.labels"),)
        items = await self._desk.door.pages("read labels", f"{self._path}/labels")
        have = {answers.text(item, "name").casefold() for item in items}
        missing = [label for label in self._context.labels if label.casefold() not in have]
        if not missing:
            return (self._ok("The project knows the labels."),)
        return (self._ok(f"The first issue will make these labels: {', '.join(missing)}."),)

    async def _assignee(self, name: str) -> Sequence[Finding]:
        setting = "alias.assignees"
        account = await self._desk.people.account(name)
        if account is None:
            mend = "Write the username, without @; an unknown one is noted in each issue."
            return (self._warning(f"The account {name} is not known.", mend, setting),)
        if await self._desk.people.level(str(account.id)):
            return (self._ok(f"The account {name} is a member."),)
        mend = "Make the account a member: GitLab drops assignees who are none."
        text = f"The account {name} is no member of the project."
        return (self._warning(text, mend, setting),)

    # ── Findings ──────────────────────────────────────────────────────────────────────────────────

    @property
    def _token_setting(self) -> str:
        return f"trackers.{self._desk.name}.token_credential"

    def _ok(self, text: str) -> Finding:
        return self._finding(Severity.OK, text)

    def _warning(self, text: str, mend: str, setting: str) -> Finding:
        return self._finding(Severity.WARNING, text, mend, setting)

    def _error(self, text: str, mend: str, setting: str) -> Finding:
        return self._finding(Severity.ERROR, text, mend, setting)

    def _finding(self, severity: Severity, text: str, mend: str = "", setting: str = "") -> Finding:
        subject = f"{self._desk.name} {self._desk.project}"
        return Finding(subject, severity, text, mend, setting)

    def _failure(self, error: Deferral) -> Finding:
        if isinstance(error, PermanentFault):
            return self._error(error.sentence, error.mend, error.setting)
        mend = "Try again; see whether the tracker is up, and whether this machine reaches it."
        found = self._error(error.sentence, mend, f"trackers.{self._desk.name}.url")
        return replace(found, passing=True)


def _carries_secrets(item: Mapping[str, Json]) -> bool:
    """Whether a webhook or an integration is told of confidential issues or notes."""
    events = ("confidential_issues_events", "confidential_note_events")
    return any(item.get(event) is True for event in events)
