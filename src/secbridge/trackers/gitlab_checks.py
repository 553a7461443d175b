"""Can this GitLab project keep a secret?  Questions that change nothing over there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from secbridge.errors import Deferral, PermanentFault
from secbridge.model.issue import Finding, Severity
from secbridge.trackers import gitlab_answers as answers
from secbridge.trackers.door import Json, segment
from secbridge.trackers.gitlab_answers import Account
from secbridge.trackers.gitlab_desk import GitLabDesk
from secbridge.trackers.registry import TrackerContext

REPORTER, MAINTAINER = 20, 40
"""Roles by their number: the least that files and labels, and the first that is too much."""

TOKEN_WARNING = timedelta(days=14)
"""How long before the end of a token it is told."""


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
        ends = answers.date_in(token.get("expires_at"))
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
        setting, level = (
            f"trackers.{self._desk.name}.token_credential",
            answers.access_level(project),
        )
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
        have = {answers.text(item, "name").casefold() for item in items}
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
