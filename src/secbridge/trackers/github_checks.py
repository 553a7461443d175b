"""Can this GitHub keep a secret?  Questions that change nothing over there.

Rights are told in part only: a classic token's scopes in a header, an App's permissions to the App
itself, a fine-grained token's to nobody.  What cannot be seen is said to be unseen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from secbridge.errors import Deferral, PermanentFault
from secbridge.model.issue import Finding, Severity
from secbridge.trackers import github_answers as answers
from secbridge.trackers.door import Json, segment
from secbridge.trackers.files import FilePolicy
from secbridge.trackers.github_advisories import AdvisoryDesk
from secbridge.trackers.github_answers import Repository
from secbridge.trackers.github_desk import GitHubDesk
from secbridge.trackers.github_door import GitHubDoor
from secbridge.trackers.github_place import Place
from secbridge.trackers.github_rooms import AdvisoryRoom, CompanionRoom
from secbridge.trackers.registry import TrackerContext

TOKEN_WARNING = timedelta(days=14)
"""How long before the end of a token it is told."""

ISSUE_RIGHTS = ("issues", "metadata")
FILE_RIGHTS = ("contents",)
ADVISORY_RIGHTS = ("repository_advisories", "metadata")

_TALKATIVE = frozenset({"*", "issues", "issue_comment", "push", "repository_advisory"})
"""Events of a webhook that carry what is said of reports to another system."""


class Findings:
    """Findings about one repository, in our words."""

    def __init__(self, name: str, project: str) -> None:
        self.name = name
        self.project = project

    def say(
        self, severity: Severity, text: str, mend: str = "", setting: str = "alias.project"
    ) -> Finding:
        """Return a finding; an OK one has nothing to mend."""
        where = "" if severity is Severity.OK else setting
        if where and not where.startswith("alias"):
            where = f"trackers.{self.name}.{where}"
        return Finding(f"{self.name} {self.project}", severity, text, mend, where)

    def failure(self, error: Deferral) -> Finding:
        """Return a finding of a question that was not answered."""
        subject = f"{self.name} {self.project}"
        if isinstance(error, PermanentFault):
            return Finding(subject, Severity.ERROR, error.sentence, error.mend, error.setting)
        mend = "Try again; see whether GitHub is up, and whether this machine reaches it."
        return replace(self.say(Severity.ERROR, error.sentence, mend, "url"), passing=True)


# ── A private repository ─────────────────────────────────────────────────────────────────────────


class IssueChecks:
    """The questions of ``check()`` for a private repository, also for one beside advisories."""

    def __init__(self, desk: GitHubDesk, context: TrackerContext, *, issue_type: str = "") -> None:
        self._desk = desk
        self._context = context
        self._issue_type = issue_type
        self._place = desk.place
        self._findings = Findings(desk.name, desk.place.project)
        self._rights = Rights(desk.door, self._findings, context)

    async def run(self) -> Sequence[Finding]:
        """Ask all; after a question that everything hangs on, stop."""
        say, findings = self._findings.say, list[Finding]()
        try:
            me = await self._desk.people.myself()
            findings.append(say(Severity.OK, f"We are {me.login}."))
            wanted = ISSUE_RIGHTS if not self._puts_files else (*ISSUE_RIGHTS, *FILE_RIGHTS)
            findings += await self._rights.run(self._place, wanted)
            repository = await self._place.look()
            findings += [*self._secrecy(repository), *self._use(repository)]
            findings += [*await self._labels(), *await self._people(), *await self._dates()]
            findings += await self._type(repository)
            findings += [*await self._outsiders(), await self._hooks()]
        except Deferral as error:
            findings.append(self._findings.failure(error))
        return findings

    @property
    def _puts_files(self) -> bool:
        return self._desk.files.policy in {FilePolicy.SEALED, FilePolicy.UPLOAD}

    def _secrecy(self, repository: Repository) -> Sequence[Finding]:
        say = self._findings.say
        found = [self._visibility(repository)]
        if repository.may_be_forked:
            mend = "Switch off forking in the repository's settings."
            text = "The repository may be forked: who does so keeps a copy of its files."
            found.append(say(Severity.WARNING, text, mend))
        if repository.has_pages and self._puts_files:
            mend = "Switch GitHub Pages off, or take another repository."
            text = "The repository publishes pages, which may show its files to others."
            found.append(say(Severity.WARNING, text, mend))
        watchers = repository.watchers
        text = f"Watched by {watchers}: GitHub mails issues and comments to them in clear."
        return [*found, say(Severity.OK, text)]

    def _visibility(self, repository: Repository) -> Finding:
        say, mend = self._findings.say, "Make the repository private, or name one that is."
        if repository.keeps_secrets(allow_internal=False):
            return say(Severity.OK, "The repository is private.")
        if repository.keeps_secrets(allow_internal=self._place.allow_internal):
            text = "The repository is internal: everybody in the enterprise reads the reports."
            return say(Severity.WARNING, text, "Better a private repository for reports alone.")
        shown = "internal" if repository.visibility == "internal" else "not private"
        text = f"The repository is {shown}, so nothing is filed there."
        return say(Severity.ERROR, text, mend)

    def _use(self, repository: Repository) -> Sequence[Finding]:
        say = self._findings.say
        found: list[Finding] = []
        if repository.archived:
            mend = "Unarchive the repository, or name another."
            found.append(say(Severity.ERROR, "The repository is archived or disabled.", mend))
        if not repository.has_issues:
            mend = "Switch issues on in the repository's settings."
            found.append(say(Severity.ERROR, "The repository has no issues.", mend))
        if not repository.may_push:
            mend = "Give it the role Write in the repository."
            text = "The account may not write, so that labels and people would be dropped."
            return [*found, say(Severity.ERROR, text, mend, self._rights.setting)]
        if repository.is_admin and self._desk.door.app is None:
            mend = "Use an account of its own with the role Write, or a GitHub App."
            text = "The account administers the repository, which is more than is needed."
            return [*found, say(Severity.WARNING, text, mend, self._rights.setting)]
        return [*found, say(Severity.OK, "The account may write.")]

    async def _labels(self) -> Sequence[Finding]:
        items = await self._desk.door.pages("read labels", f"{self._place.path}/labels")
        have = {answers.text(item, "name").casefold() for item in items}
        missing = [label for label in self._context.labels if label.casefold() not in have]
        if not missing:
            return (self._findings.say(Severity.OK, "The repository knows the labels."),)
        text = f"The first issue will make these labels: {', '.join(missing)}."
        return (self._findings.say(Severity.OK, text),)

    async def _people(self) -> Sequence[Finding]:
        say = self._findings.say
        found: list[Finding] = []
        for name in self._context.assignees:
            if await self._desk.people.as_assignee(name):
                found.append(say(Severity.OK, f"Issues can be assigned to {name}."))
                continue
            mend = "Write the login, without @, of somebody who has access to the repository."
            text = f"Issues cannot be assigned to {name}."
            found.append(say(Severity.WARNING, text, mend, "alias.assignees"))
        return found

    async def _dates(self) -> Sequence[Finding]:
        if not self._place.dates.field:
            return ()
        try:
            await self._place.field_id()
        except PermanentFault as error:
            return (self._findings.say(Severity.WARNING, error.sentence, error.mend, "due_field"),)
        return (self._findings.say(Severity.OK, "The organisation has the field for due dates."),)

    async def _type(self, repository: Repository) -> Sequence[Finding]:
        """Look for the issue type, which the organisation has."""
        if not self._issue_type:
            return ()
        wanted, names = self._issue_type.casefold(), set[str]()
        if repository.is_owned_by_organization:
            owner = segment(self._place.project.partition("/")[0])
            try:
                items = await self._desk.door.pages("read types", f"/orgs/{owner}/issue-types")
            except PermanentFault:
                return (self._findings.say(Severity.OK, "Issue types cannot be read."),)
            names = {answers.text(item, "name").casefold() for item in items}
        if wanted in names:
            return (self._findings.say(Severity.OK, "The organisation has the issue type."),)
        mend = "Name a type that the organisation has; others are noted in each issue."
        text = "The repository's owner has no issue type of this name."
        return (self._findings.say(Severity.WARNING, text, mend, "issue_type"),)

    async def _outsiders(self) -> Sequence[Finding]:
        """Count who is no member of the organisation, and reads all the same."""
        try:
            people = await self._desk.door.pages(
                "count outsiders", f"{self._place.path}/collaborators", affiliation="outside"
            )
        except PermanentFault:
            text = "Who else may read here cannot be seen with this account's rights."
            return (self._findings.say(Severity.OK, text),)
        if not people:
            return (self._findings.say(Severity.OK, "No outside collaborators read here."),)
        mend = "See whether each of them is meant to read security reports."
        text = f"{len(people)} outside collaborators read every report."
        return (self._findings.say(Severity.WARNING, text, mend),)

    async def _hooks(self) -> Finding:
        """Look for webhooks that carry reports elsewhere, where we may see them."""
        try:
            hooks = await self._desk.door.pages("read webhooks", f"{self._place.path}/hooks")
        except PermanentFault:
            text = "Webhooks and installed Apps that mirror issues cannot be seen from here."
            return self._findings.say(Severity.OK, text)
        active = [hook for hook in hooks if hook.get("active") is True]
        loud = [hook for hook in active if _TALKATIVE & set(map(str, hook.get("events") or ()))]
        if not loud:
            return self._findings.say(Severity.OK, "No webhook carries issues elsewhere.")
        mend = "See where they lead, and whether reports are meant to go there."
        text = f"{len(loud)} webhooks send issues or files to other systems."
        return self._findings.say(Severity.WARNING, text, mend)


# ── Rights ───────────────────────────────────────────────────────────────────────────────────────


class Rights:
    """What the token or the App may do: enough, and not much more."""

    def __init__(self, door: GitHubDoor, findings: Findings, context: TrackerContext) -> None:
        self._door = door
        self._findings = findings
        self._context = context
        self.setting = "token_credential" if door.app is None else "app_id"

    async def run(self, place: Place, wanted: Sequence[str]) -> Sequence[Finding]:
        """Return what GitHub tells of rights; ``wanted`` are permissions by GitHub's names."""
        if self._door.app is not None:
            path = f"/app/installations/{self._door.app.installation_id}"
            item = answers.as_object(await self._door.get_as_app("read installation", path))
            return self._of_app(answers.inner(item, "permissions"), wanted)
        _, headers = await self._door.get_with_headers("read rights", place.path)
        return [*self._of_token(headers, wanted), *self._end(headers)]

    def _of_app(self, have: Mapping[str, Json], wanted: Sequence[str]) -> Sequence[Finding]:
        say = self._findings.say
        missing = [name for name in wanted if have.get(name) != _need(name)]
        missing = [name for name in missing if not (name == "metadata" and name in have)]
        more = sorted(name for name in have if name not in wanted and have[name] != "read")
        found: list[Finding] = []
        if missing:
            mend = f"Give the App these permissions, and accept them: {_listed(missing)}."
            text = "The App lacks permissions that it needs."
            found.append(say(Severity.ERROR, text, mend, self.setting))
        if more:
            mend = f"Take these permissions away: {', '.join(more)}."
            text = "The App may do more than it needs."
            found.append(say(Severity.WARNING, text, mend, self.setting))
        return found or (say(Severity.OK, "The App's permissions fit."),)

    def _of_token(self, headers: Mapping[str, str], wanted: Sequence[str]) -> Sequence[Finding]:
        """Look at the header that only classic tokens have: one that writes issues writes code."""
        if "x-oauth-scopes" not in headers:
            text = f"A fine-grained token does not tell its rights; it needs {_listed(wanted)}."
            return (self._findings.say(Severity.OK, text),)
        mend = f"Make a fine-grained token for this repository with {_listed(wanted)}."
        text = "The token is a classic one, which reaches all repositories of its account."
        return (self._findings.say(Severity.WARNING, text, mend, self.setting),)

    def _end(self, headers: Mapping[str, str]) -> Sequence[Finding]:
        """Warn before the end of a token, which GitHub tells as "2026-12-01 10:00:00 UTC"."""
        ends = answers.day(headers.get("github-authentication-token-expiration", ""))
        if ends is None or ends - self._context.clock.now().date() >= TOKEN_WARNING:
            return ()
        mend = "Make a new token in time: without one reports wait."
        text = f"The token expires on {ends.isoformat()}."
        return (self._findings.say(Severity.WARNING, text, mend, self.setting),)


def _need(name: str) -> str:
    return "read" if name == "metadata" else "write"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"{name}: {_need(name)}" for name in names)


# ── Advisories ───────────────────────────────────────────────────────────────────────────────────


class AdvisoryChecks:
    """The questions of ``check()`` where reports become draft advisories."""

    def __init__(self, desk: AdvisoryDesk, context: TrackerContext) -> None:
        self._desk = desk
        self._context = context
        self._place = desk.place
        self._findings = Findings(desk.name, desk.place.project)
        self._rights = Rights(desk.door, self._findings, context)

    async def run(self) -> Sequence[Finding]:
        """Ask all; the repository beside it is asked as one of its own."""
        say, findings = self._findings.say, list[Finding]()
        try:
            me = await self._desk.people.myself()
            findings.append(say(Severity.OK, f"We are {me.login}."))
            findings += await self._rights.run(self._place, ADVISORY_RIGHTS)
            findings += self._repository(await self._place.look())
            findings += [await self._access(), await self._reporting(), self._comments()]
            findings += await self._people()
        except Deferral as error:
            findings.append(self._findings.failure(error))
        if isinstance(room := self._desk.room, CompanionRoom):
            findings += await IssueChecks(room.desk, self._context).run()
        return findings

    def _repository(self, repository: Repository) -> Sequence[Finding]:
        say = self._findings.say
        if repository.archived:
            mend = "Unarchive the repository, or name another."
            return (say(Severity.ERROR, "The repository is archived or disabled.", mend),)
        if repository.private:
            mend = 'Use mode = "private-repository" for it, or name the public repository.'
            text = "The repository is private, and GitHub makes no advisories in private ones."
            return (say(Severity.ERROR, text, mend),)
        return (say(Severity.OK, "The repository is public, as one with advisories has to be."),)

    async def _access(self) -> Finding:
        """See whether drafts can be listed at all: only then are they found again."""
        await self._desk.door.some_pages("list advisories", self._desk.path, most=1, state="draft")
        text = "Drafts are read by its administrators, security managers and collaborators."
        return self._findings.say(Severity.OK, text)

    async def _reporting(self) -> Finding:
        """Say whether strangers can report by GitHub itself: such drafts do not come by mail."""
        path = f"{self._place.path}/private-vulnerability-reporting"
        try:
            answer = answers.as_object(await self._desk.door.get("read reporting", path))
        except PermanentFault:
            text = "Whether GitHub takes reports privately cannot be seen."
            return self._findings.say(Severity.OK, text)
        state = "on" if answer.get("enabled") is True else "off"
        return self._findings.say(Severity.OK, f"Private vulnerability reporting is {state}.")

    def _comments(self) -> Finding:
        if isinstance(self._desk.room, CompanionRoom):
            project = self._desk.room.desk.place.project
            return self._findings.say(Severity.OK, f"Comments and files go to {project}.")
        if isinstance(self._desk.room, AdvisoryRoom):
            text = "Comments go to the advisory by an interface that GitHub calls a preview."
            return self._findings.say(Severity.OK, text)
        mend = "Name a private repository as companion, or set advisory_comments = true."
        text = "Nothing says where comments on an advisory go: follow-ups would wait."
        return self._findings.say(Severity.WARNING, text, mend, "companion")

    async def _people(self) -> Sequence[Finding]:
        say, found = self._findings.say, list[Finding]()
        for name in self._desk.options.collaborators:
            if not await self._desk.door.exists("find account", f"/users/{segment(name)}"):
                mend = "Write the login of an account that there is."
                text = f"The account {name} is not known."
                found.append(say(Severity.WARNING, text, mend, "collaborators"))
        return found
