"""Who is who in a GitHub?  Our own account, those whom issues go to, and those who may command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from secbridge import maillog
from secbridge.errors import PermanentFault, TransientFault
from secbridge.model.issue import Actor, IssueDraft, Paragraph
from secbridge.ports import Clock
from secbridge.rules.drafting import markdown
from secbridge.trackers import github_answers as answers
from secbridge.trackers.door import Json, segment
from secbridge.trackers.github_answers import Account
from secbridge.trackers.github_door import GitHubDoor
from secbridge.trackers.telling import Seen

REMEMBERED = timedelta(minutes=1)
"""How long a person's role is believed: short, so that one who left commands no more."""


class People:
    """The accounts of a GitHub as one repository knows them.

    ``fallback`` is the account that gets an issue whose own assignees are all unknown.
    """

    def __init__(self, door: GitHubDoor, project: str, *, clock: Clock, fallback: str = "") -> None:
        self._door = door
        self._path = answers.repository_path(project)
        self._clock = clock
        self._fallback = fallback
        self._me: Account | None = None
        self._asked_at = 0
        self._assignable: dict[str, str] = {}
        self._roles: dict[tuple[str, str, str], tuple[datetime, bool]] = {}

    async def myself(self) -> Account:
        """Return the account that we are: the token's, or the robot of the App."""
        if self._me is None or self._asked_at != self._door.generation:
            self._asked_at = self._door.generation
            self._me = await (self._token_owner() if self._door.app is None else self._robot())
        return self._me

    async def _token_owner(self) -> Account:
        item = answers.as_object(await self._door.get("who am I", "/user"))
        return Account(_named(item, "login"))

    async def _robot(self) -> Account:
        item = answers.as_object(await self._door.get_as_app("who am I", "/app"))
        return Account(f"{_named(item, 'slug')}[bot]")

    # ── Assignees ─────────────────────────────────────────────────────────────────────────────────

    async def assignable(self, names: Sequence[str]) -> Sequence[str]:
        """Return the accounts that issues here can go to; when none can, the one that steps in."""
        known = [name for given in names if (name := await self.as_assignee(given))]
        if not known and self._fallback and (name := await self.as_assignee(self._fallback)):
            return (name,)
        return known

    async def as_assignee(self, given: str) -> str:
        """Return an account that issues here can go to, or ""; only who can is remembered."""
        name = given.removeprefix("@")
        wanted = name.casefold()
        if wanted not in self._assignable:
            if not await self._door.exists(
                "find account", f"{self._path}/assignees/{segment(name)}"
            ):
                return ""
            self._assignable[wanted] = name
        return self._assignable[wanted]

    def forget(self) -> None:
        """Ask again next time: GitHub refused a value, so somebody may have left."""
        self._assignable.clear()

    def unassigned(self, draft: IssueDraft, seen: Seen[str]) -> Sequence[Paragraph]:
        """Say who should have the issue and does not, so that nobody is forgotten."""
        have = {name.casefold() for name in seen.assignees}
        wanted = [name.removeprefix("@") for name in draft.assignees]
        missing = [name for name in wanted if name.casefold() not in have]
        if not missing:
            return ()
        maillog.not_assigned(draft.case_id, seen.ref.tracker, seen.ref.number, missing)
        names = ", ".join(markdown.code(name) for name in missing)
        return (Paragraph(f"Not assigned, though the alias asks for it: {names}."),)

    # ── Commanders ────────────────────────────────────────────────────────────────────────────────

    async def has_role(self, actor: Actor, wanted: str) -> bool:
        """Return whether a person has at least a role here; nobody has whom GitHub does not know.

        What cannot be asked raises TransientFault: nobody may anything by default.
        """
        now, key = self._clock.now(), (actor.id, actor.name, wanted)
        asked, answer = self._roles.get(key, (now, False))
        if key not in self._roles or now - asked > REMEMBERED:
            answer = await self._asked(actor, wanted)
            self._roles[key] = (now, answer)
        return answer

    async def _asked(self, actor: Actor, wanted: str) -> bool:
        """Ask by the name, and believe it for the account's own number only: names change hands."""
        path = f"{self._path}/collaborators/{segment(actor.name)}/permission"
        try:
            answer = answers.as_object(await self._door.get("read permission", path))
        except PermanentFault:
            return False
        user = answers.inner(answer, "user")
        return str(user.get("id")) == actor.id and answers.reaches(answer, wanted)


def _named(item: Mapping[str, Json], name: str) -> str:
    """Return a name without which nothing of ours could be told from what is others'."""
    if not (found := answers.text(item, name)):
        raise TransientFault("tracker-answer-unreadable", "The tracker names no account.")
    return found
