"""What must be known of a repository?  Whether it is private now, and how it knows due dates.

Issues of GitHub are as visible as their repository, and so is a file in it.  One click of an
administrator changes that, so it is asked anew before each thing that is put there, and again when
it is read back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from secbridge.errors import OutcomeUnknown, PermanentFault, TransientFault
from secbridge.trackers import github_answers as answers
from secbridge.trackers.door import Json, segment
from secbridge.trackers.github_answers import Repository
from secbridge.trackers.github_door import GitHubDoor


@dataclass(frozen=True, slots=True)
class Dates:
    """How due dates are set: by an organisation's issue field, by milestones, or in the text."""

    field: str = ""
    milestones: bool = True


class Place:
    """One repository (owner/name), asked through one door."""

    def __init__(
        self, door: GitHubDoor, project: str, *, allow_internal: bool, dates: Dates
    ) -> None:
        self.door = door
        self.project = project
        self.path = answers.repository_path(project)
        self.allow_internal = allow_internal
        self.dates = dates
        self._milestones: dict[date, int] = {}
        self._field: int | None = None

    # ── Secrecy ───────────────────────────────────────────────────────────────────────────────────

    async def look(self) -> Repository:
        """Return the repository as it is now."""
        return answers.repository(await self.door.get("read repository", self.path))

    async def keeps_secrets(self) -> bool:
        """Return whether only members see what is put here now."""
        return (await self.look()).keeps_secrets(allow_internal=self.allow_internal)

    async def must_keep_secrets(self) -> None:
        """Raise PermanentFault unless things can be put here now that only members see."""
        repository = await self.look()
        if not repository.keeps_secrets(allow_internal=self.allow_internal):
            raise PermanentFault(
                "repository-not-private",
                "The repository is not private, so nothing is put there.",
                setting="alias.project",
                mend="Make the repository private, or name one that is.",
            )
        if repository.archived:
            raise PermanentFault(
                "repository-archived",
                "The repository is archived or disabled, so nothing can be put there.",
                setting="alias.project",
                mend="Unarchive the repository, or name another.",
            )
        if not repository.has_issues:
            raise self.door.permanent("tracker-issues-off")

    # ── Due dates ─────────────────────────────────────────────────────────────────────────────────

    async def due_fields(self, due: date) -> Mapping[str, Json]:
        """Return what sets an issue's due date; nothing where the account may not make it so.

        What is not set is noticed when the issue is read back.
        """
        try:
            if self.dates.field:
                value = {"field_id": await self.field_id(), "value": due.isoformat()}
                return {"issue_field_values": [value]}
            if self.dates.milestones:
                return {"milestone": await self._milestone(due)}
        except PermanentFault:
            return {}
        return {}

    def forget(self) -> None:
        """Ask again next time: GitHub refused a value, so a milestone may have been deleted."""
        self._milestones.clear()
        self._field = None

    async def field_id(self) -> int:
        """Return the number of the organisation's issue field.  Raises PermanentFault without."""
        if self._field is None:
            path = f"/orgs/{segment(self.project.partition('/')[0])}/issue-fields"
            wanted = self.dates.field.casefold()
            for item in await self.door.pages("read issue fields", path):
                if answers.text(item, "name").casefold() == wanted:
                    self._field = answers.number(item, "id")
        if self._field is None:
            raise PermanentFault(
                "due-field-unknown",
                "The organisation has no issue field of this name.",
                setting=f"trackers.{self.door.name}.due_field",
                mend="Make a date field of this name in the organisation, or name another.",
            )
        return self._field

    async def _milestone(self, due: date) -> int:
        """Return the milestone of a day, made where there is none."""
        if due not in self._milestones:
            found = await self._find_milestone(due)
            self._milestones[due] = found or await self._make_milestone(due)
        return self._milestones[due]

    async def _find_milestone(self, due: date) -> int | None:
        items = await self.door.pages("read milestones", f"{self.path}/milestones", state="all")
        for item in items:
            if answers.text(item, "title") == milestone_title(due):
                return answers.number(item, "number")
        return None

    async def _make_milestone(self, due: date) -> int:
        """Make it; where another worker just did, the title is taken and the milestone found."""
        body = {"title": milestone_title(due), "due_on": f"{due.isoformat()}T12:00:00Z"}
        try:
            made = await self.door.post("make milestone", f"{self.path}/milestones", body)
        except PermanentFault:
            if (found := await self._find_milestone(due)) is None:
                raise
            return found
        except OutcomeUnknown as error:  # of no issue: the title finds it next time
            raise TransientFault(
                error.code, error.sentence, alarm=error.alarm, retry_after=error.retry_after
            ) from None
        if (made_number := answers.number(made, "number")) is None:
            raise answers.without_id()
        return made_number


def milestone_title(due: date) -> str:
    """Return the title of a day's milestone, which says nothing of any report."""
    return f"Security reports due {due.isoformat()}"
