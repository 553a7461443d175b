"""Can this Jira project keep a secret?  Questions that change nothing over there.

What Jira does not tell an account without an administrator's rights (the default of the security
scheme, the notification scheme, the project's roles) is looked at where it is told, and left out
where it is not: then each issue is proven by itself all the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from secbridge.errors import Deferral, PermanentFault
from secbridge.model.issue import Finding, Severity
from secbridge.trackers import jira_answers as answers
from secbridge.trackers.door import Json, segment
from secbridge.trackers.files import FilePolicy
from secbridge.trackers.jira_desk import JiraDesk, has_blank
from secbridge.trackers.jira_door import Deployment
from secbridge.trackers.registry import TrackerContext

NEEDED: Mapping[str, str] = {
    "BROWSE_PROJECTS": "Browse Projects",
    "CREATE_ISSUES": "Create Issues",
    "EDIT_ISSUES": "Edit Issues",
    "ADD_COMMENTS": "Add Comments",
    "EDIT_OWN_COMMENTS": "Edit Own Comments",
    "TRANSITION_ISSUES": "Transition Issues",
}
"""What filing needs, by the keys and the names of Jira."""

WIDE: Mapping[str, str] = {"ADMINISTER": "Administer Jira", "SYSTEM_ADMIN": "Jira System Admin"}

OUTSIDERS = frozenset({"Group", "ProjectRole", "User", "EmailAddress", "GroupCustomField"})
"""Whom a notification scheme may mail beyond those who have to do with the issue."""


class Checks:
    """The questions of ``check()``; each answers with findings, and a failure is one, too."""

    def __init__(self, desk: JiraDesk, context: TrackerContext) -> None:
        self._desk = desk
        self._door = desk.door
        self._context = context
        self._path = f"project/{segment(desk.project)}"

    async def run(self) -> Sequence[Finding]:
        """Ask all; after a question that everything hangs on, stop."""
        findings: list[Finding] = []
        try:
            findings += await self._server()
            me = await self._desk.people.myself(again=True)
            findings.append(self._ok(f"The token is that of {me.name or me.id}."))
            project = answers.as_object(await self._door.get("read project", self._path))
            findings += self._project(project)
            findings += await self._rights()
            findings += await self._screen(project)
            findings += await self._level()
            findings += self._labels()
            for name in self._context.assignees:
                findings.append(await self._assignee(name))
            for ask in (self._default_level, self._roles, self._notifications, self._statuses):
                findings += await self._where_told(ask)
        except Deferral as error:
            findings.append(self._failure(error))
        return findings

    # ── The Jira and the project ──────────────────────────────────────────────────────────────────

    async def _server(self) -> Sequence[Finding]:
        info = answers.as_object(await self._door.get("read server", "serverInfo"))
        is_cloud = answers.text(info, "deploymentType") == "Cloud"
        if is_cloud == self._door.is_cloud:
            return ()
        right = Deployment.CLOUD if is_cloud else Deployment.DATA_CENTER
        text = f"This Jira says that it is {right.value}."
        return (self._error(text, f'Set deployment = "{right.value}".', "deployment"),)

    def _project(self, project: Mapping[str, Json]) -> Sequence[Finding]:
        findings = []
        if project.get("archived") is True:
            mend = "Restore the project, or name another."
            findings.append(self._error("The project is archived.", mend, "alias.project"))
        if answers.text(project, "key") not in {"", self._desk.project}:
            text = f"The project has the key {answers.text(project, 'key')} by now."
            mend = "Write the present key: issues are looked for by it."
            findings.append(self._error(text, mend, "alias.project"))
        return [*findings, *self._service_desk(project)]

    def _service_desk(self, project: Mapping[str, Json]) -> Sequence[Finding]:
        is_desk = answers.text(project, "projectTypeKey") == "service_desk"
        if is_desk and not self._desk.wishes.service_desk:
            text = "The project is a service desk, which shows comments to its customers."
            return (self._error(text, "Set service_desk = true.", "service_desk"),)
        if self._desk.wishes.service_desk and not is_desk:
            text = "The project is no service desk, and knows no comments that are internal."
            return (self._error(text, "Set service_desk = false.", "service_desk"),)
        if is_desk and self._desk.wishes.attachments is FilePolicy.UPLOAD:
            text = "A service desk may show an issue's files to its customers."
            mend = 'Set attachments = "sealed" where customers can open the issues.'
            return (self._warning(text, mend, "attachments"),)
        return ()

    async def _rights(self) -> Sequence[Finding]:
        wanted = {**NEEDED, **self._wanted()}
        keys = ",".join([*wanted, *WIDE])
        answer = await self._door.get(
            "read permissions", "mypermissions", projectKey=self._desk.project, permissions=keys
        )
        told = answers.part(answers.as_object(answer), "permissions")
        have = {
            key
            for key, item in told.items()
            if isinstance(item, dict) and item.get("havePermission") is True
        }
        missing = [name for key, name in wanted.items() if key not in have]
        wide = [name for key, name in WIDE.items() if key in have]
        return self._too_few(missing) + self._too_many(wide) or (
            self._ok("The account's permissions fit."),
        )

    def _wanted(self) -> Mapping[str, str]:
        """Return the permissions that the settings ask for."""
        wishes, wanted = self._desk.wishes, {"SCHEDULE_ISSUES": "Schedule Issues"}
        if wishes.security_level:
            wanted["SET_ISSUE_SECURITY"] = "Set Issue Security"
        if self._context.assignees:
            wanted["ASSIGN_ISSUES"] = "Assign Issues"
        if wishes.attachments in {FilePolicy.UPLOAD, FilePolicy.SEALED}:
            wanted["CREATE_ATTACHMENTS"] = "Create Attachments"
        return wanted

    def _too_few(self, missing: Sequence[str]) -> tuple[Finding, ...]:
        if not missing:
            return ()
        text = f"The account lacks permissions in the project: {', '.join(missing)}."
        return (self._error(text, "Give it these permissions.", "token_credential"),)

    def _too_many(self, wide: Sequence[str]) -> tuple[Finding, ...]:
        if not wide:
            return ()
        text = f"The account is an administrator ({', '.join(wide)}), which is far too much."
        mend = "Use an account that has rights in this project alone."
        return (self._warning(text, mend, "token_credential"),)

    # ── The create screen ─────────────────────────────────────────────────────────────────────────

    async def _screen(self, project: Mapping[str, Json]) -> Sequence[Finding]:
        wanted = self._desk.wishes.issue_type
        kinds = answers.items(project, "issueTypes")
        number = next(
            (answers.text(kind, "id") for kind in kinds if answers.text(kind, "name") == wanted), ""
        )
        if not number:
            names = ", ".join(answers.text(kind, "name") for kind in kinds)
            mend = f"The project has: {names}."
            return (self._error(f"There is no issue type {wanted}.", mend, "issue_type"),)
        path = f"issue/createmeta/{segment(self._desk.project)}/issuetypes/{segment(number)}"
        answer = await self._door.get("read create screen", path, maxResults=200)
        found = answers.items(answer, "fields") or answers.items(answer, "values")
        screen = {answers.text(item, "fieldId"): item for item in found}
        return [*self._fields(screen), *self._required(screen), *self._priority(screen)]

    def _fields(self, screen: Mapping[str, Mapping[str, Json]]) -> Sequence[Finding]:
        wishes, findings, mend = self._desk.wishes, [], "Put it on the create and edit screens."
        if wishes.security_level and "security" not in screen:
            text = "Security Level is not on the create screen, or the account may not set it."
            findings.append(self._error(text, mend, "security_level"))
        if self._context.labels and "labels" not in screen:
            text = "Labels is not on the create screen."
            findings.append(self._error(text, mend, "alias.labels"))
        optional = {"duedate": ("Due date", "alias.due_days")}
        if self._context.assignees:
            optional["assignee"] = ("Assignee", "alias.assignees")
        for name, (title, setting) in optional.items():
            if name not in screen:
                text = f"{title} is not on the create screen; each issue says what it lacks."
                findings.append(self._warning(text, mend, setting))
        return findings

    def _required(self, screen: Mapping[str, Mapping[str, Json]]) -> Sequence[Finding]:
        """Return the fields that Jira insists on and that we do not fill."""
        filled = {"project", "issuetype", "summary", "description", "labels", "duedate", "reporter"}
        filled |= {"security", "priority", "assignee"}
        names = [
            answers.text(item, "name")
            for name, item in screen.items()
            if item.get("required") is True
            and item.get("hasDefaultValue") is not True
            and name not in filled
        ]
        if not names:
            return ()
        text = f"The issue type asks for fields that nobody fills: {', '.join(names)}."
        mend = "Make them optional, or name another issue type."
        return (self._error(text, mend, "issue_type"),)

    def _priority(self, screen: Mapping[str, Mapping[str, Json]]) -> Sequence[Finding]:
        wanted = self._desk.wishes.priority
        if not wanted:
            return ()
        if "priority" not in screen:
            text = "Priority is not on the create screen; each issue says what it lacks."
            return (self._warning(text, "Put it on the create screen.", "priority"),)
        values = answers.items(screen["priority"], "allowedValues")
        names = [answers.text(item, "name") for item in values]
        if not names or wanted in names:
            return ()
        text = f"There is no priority {wanted}."
        return (self._warning(text, f"The project has: {', '.join(names)}.", "priority"),)

    # ── Secrecy ───────────────────────────────────────────────────────────────────────────────────

    async def _level(self) -> Sequence[Finding]:
        levels, wanted = await self._desk.levels(), self._desk.wishes.security_level
        if not levels:
            text = "The project has no issue security level that includes the bot's account."
            mend = "Give it an issue security scheme with a level for the team and for the account."
            return (self._error(text, mend, "security_level"),)
        if not any(self._desk.is_wanted(level) for level in levels):
            text = f"There is no security level {wanted} that includes the bot's account."
            mend = f"Its levels are: {', '.join(level.name for level in levels)}."
            return (self._error(text, mend, "security_level"),)
        return (self._ok(f"The security level {wanted} is there."),) if wanted else ()

    async def _default_level(self) -> Sequence[Finding]:
        path = f"{self._path}/issuesecuritylevelscheme"
        scheme = answers.as_object(await self._door.get("read security scheme", path))
        if scheme.get("defaultSecurityLevelId"):
            return (self._ok("New issues have a security level by default."),)
        if not self._desk.wishes.security_level:
            text = "No security level is configured, and the project gives none by default."
            mend = "Set security_level, or give the project's security scheme a default level."
            return (self._error(text, mend, "security_level"),)
        text = "An issue that somebody opens here by hand has no security level by default."
        mend = "Give the project's security scheme a default level."
        return (self._warning(text, mend, "security_level"),)

    async def _notifications(self) -> Sequence[Finding]:
        path = f"{self._path}/notificationscheme"
        scheme = answers.as_object(
            await self._door.get("read notification scheme", path, expand="all")
        )
        kinds = {
            answers.text(one, "notificationType")
            for event in answers.items(scheme, "notificationSchemeEvents")
            for one in answers.items(event, "notifications")
        }
        if kinds & OUTSIDERS:
            text = "The notification scheme mails the text of issues in clear, to groups or people."
            mend = "Let it mail only who has to do with an issue, or give the project its own."
            return (self._warning(text, mend, "alias.project"),)
        text = "Jira mails the text of issues in clear to assignees and watchers." if kinds else ""
        return (self._ok(text or "Jira mails nobody."),)

    # ── People and ways ───────────────────────────────────────────────────────────────────────────

    def _labels(self) -> Sequence[Finding]:
        if not any(has_blank(label) for label in self._context.labels):
            return ()
        text = "A label has a blank, which Jira does not take."
        return (self._error(text, "Rename it, with a hyphen for the blank.", "alias.labels"),)

    async def _assignee(self, name: str) -> Finding:
        if await self._desk.people.assignable(name):
            return self._ok(f"Issues can be assigned to {name}.")
        form = "account id" if self._door.is_cloud else "user name"
        mend = f"Write the {form}, and give it the permission Assignable User in the project."
        return self._warning(f"No issue can be assigned to {name}.", mend, "alias.assignees")

    async def _roles(self) -> Sequence[Finding]:
        try:
            roles = await self._desk.people.roles()
        except PermanentFault:
            text = "The account may not read the project's roles, so nobody's commands count."
            mend = "Give it Administer Projects in this project, if comments shall command."
            return (self._warning(text, mend, "commanders"),)
        wanted = self._desk.wishes.comment_role
        if not wanted or wanted in roles:
            return ()
        text = f"The project has no role {wanted}, so no comment can be written."
        return (self._error(text, f"It has: {', '.join(roles)}.", "comment_role"),)

    async def _statuses(self) -> Sequence[Finding]:
        answer = await self._door.get("read statuses", f"{self._path}/statuses")
        categories = {
            answers.text(category, "key")
            for kind in answers.items(answer, "")
            if answers.text(kind, "name") == self._desk.wishes.issue_type
            for status in answers.items(kind, "statuses")
            if isinstance(category := status.get("statusCategory"), dict)
        }
        if not categories or "done" in categories:
            return ()
        text = "The workflow has no status that is done, so no issue can be closed."
        return (self._warning(text, "Add one to the workflow.", "closed_transition"),)

    async def _where_told(
        self, ask: Callable[[], Awaitable[Sequence[Finding]]]
    ) -> Sequence[Finding]:
        """Ask what Jira may keep to its administrators; then there is nothing to say."""
        try:
            return await ask()
        except PermanentFault as error:
            untold = {"tracker-forbidden", "tracker-not-found"}
            return () if error.code in untold else (self._failure(error),)

    # ── Findings ──────────────────────────────────────────────────────────────────────────────────

    def _ok(self, text: str) -> Finding:
        return self._finding(Severity.OK, text)

    def _warning(self, text: str, mend: str, setting: str) -> Finding:
        return self._finding(Severity.WARNING, text, mend, self._named(setting))

    def _error(self, text: str, mend: str, setting: str) -> Finding:
        return self._finding(Severity.ERROR, text, mend, self._named(setting))

    def _named(self, setting: str) -> str:
        is_alias = setting.startswith("alias")
        return setting if is_alias else f"trackers.{self._desk.name}.{setting}"

    def _finding(self, severity: Severity, text: str, mend: str = "", setting: str = "") -> Finding:
        subject = f"{self._desk.name} {self._desk.project}"
        return Finding(subject, severity, text, mend, setting)

    def _failure(self, error: Deferral) -> Finding:
        if isinstance(error, PermanentFault):
            return self._finding(Severity.ERROR, error.sentence, error.mend, error.setting)
        mend = "Try again; see whether the tracker is up, and whether this machine reaches it."
        return replace(self._error(error.sentence, mend, "url"), passing=True)
