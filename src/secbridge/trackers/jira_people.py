"""Who is who in a Jira?  Ourselves, who can be assigned, and who may command.

An account is named by its account id in the cloud, where names are not unique, and by its user name
in a Data Center.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from secbridge.errors import PermanentFault
from secbridge.model.issue import Actor
from secbridge.ports import Clock
from secbridge.trackers import jira_answers as answers
from secbridge.trackers.door import Json, segment
from secbridge.trackers.jira_answers import Account
from secbridge.trackers.jira_door import JiraDoor

REMEMBERED = timedelta(minutes=5)
"""How long it is remembered who may command."""


@dataclass(frozen=True, slots=True)
class Members:
    """Who is meant by the roles of ``commanders``: accounts by id, groups by name and id."""

    accounts: frozenset[str]
    groups: frozenset[str]
    until: datetime


class People:
    """The accounts of a Jira, as far as one project needs them.

    ``commanders`` are roles of the project; a name that is none is taken for a group.
    """

    def __init__(
        self, door: JiraDoor, project: str, *, clock: Clock, commanders: Sequence[str]
    ) -> None:
        self._door = door
        self._project = project
        self._clock = clock
        self._commanders = tuple(commanders)
        self._me: Account | None = None
        self._asked_at = 0
        self._found: dict[str, Account] = {}
        self._members: Members | None = None
        self._groups: dict[str, tuple[frozenset[str], datetime]] = {}

    async def myself(self, *, again: bool = False) -> Account:
        """Return the account whose token we hold; ``again`` asks although it is known."""
        if self._me is None or again or self._asked_at != self._door.generation:
            self._asked_at = self._door.generation
            account = answers.account(await self._door.get("who am I", "myself"))
            if account is None:
                raise answers.unreadable()
            self._me = account
        return self._me

    @property
    def my_id(self) -> str:
        """Return the id of our account, once ``myself`` was asked."""
        return self._me.id if self._me else ""

    async def assignable(self, name: str) -> Account | None:
        """Return who can be assigned by this name, or None; only what was found is remembered."""
        wanted = name.removeprefix("@")
        if wanted.casefold() not in self._found:
            asked = {"accountId" if self._door.is_cloud else "username": wanted}
            answer = await self._door.get(
                "find account", "user/assignable/search", project=self._project, **asked
            )
            for item in answers.items(answer, ""):
                account = answers.account(item)
                if account and account.id.casefold() == wanted.casefold():
                    self._found[wanted.casefold()] = account
        return self._found.get(wanted.casefold())

    def was_found(self, name: str) -> bool:
        """Whether ``assignable`` found this name before."""
        return name.removeprefix("@").casefold() in self._found

    async def may_command(self, actor: Actor) -> bool:
        """Return whether a person has one of the roles, or is in one of the groups.

        What cannot be read counts as no.
        """
        if actor.is_us or not actor.id:
            return False
        try:
            members = await self._of_roles()
            if actor.id in members.accounts:
                return True
            return bool(members.groups) and bool(members.groups & await self._groups_of(actor.id))
        except PermanentFault:
            return False

    async def roles(self) -> Mapping[str, str]:
        """Return the ids of the project's roles by their names, as far as Jira tells."""
        answer = await self._door.get("read roles", f"project/{segment(self._project)}/role")
        pairs = answers.as_object(answer).items()
        ids = {name: str(url).rpartition("/")[2] for name, url in pairs}
        return {name: number for name, number in ids.items() if answers.is_id(number)}

    async def _of_roles(self) -> Members:
        """Return who the commanders are, read again when it was remembered for long enough."""
        if self._members is None or self._members.until <= self._clock.now():
            roles = await self.roles()
            actors = [
                actor
                for name in self._commanders
                if name in roles
                for actor in await self._actors(roles[name])
            ]
            groups = {name for name in self._commanders if name not in roles}
            self._members = Members(
                accounts=frozenset(filter(None, map(_account_of, actors))),
                groups=frozenset(groups | {name for actor in actors for name in _group_of(actor)}),
                until=self._clock.now() + REMEMBERED,
            )
        return self._members

    async def _actors(self, role: str) -> Sequence[Mapping[str, Json]]:
        path = f"project/{segment(self._project)}/role/{segment(role)}"
        return answers.items(await self._door.get("read role", path), "actors")

    async def _groups_of(self, account: str) -> frozenset[str]:
        """Return the names and ids of the groups that somebody is in."""
        known = self._groups.get(account)
        if known is None or known[1] <= self._clock.now():
            asked = {"accountId" if self._door.is_cloud else "username": account}
            answer = await self._door.get("read account", "user", expand="groups", **asked)
            groups = answers.part(answers.as_object(answer), "groups")
            names = {
                answers.text(group, part)
                for group in answers.items(groups, "items")
                for part in ("name", "groupId")
            }
            known = frozenset(names - {""}), self._clock.now() + REMEMBERED
            self._groups[account] = known
        return known[0]


def _account_of(actor: Mapping[str, Json]) -> str:
    """Return the account of a role's actor: named apart in the cloud, in place elsewhere."""
    if answers.text(actor, "type") != "atlassian-user-role-actor":
        return ""
    return answers.text(answers.part(actor, "actorUser"), "accountId") or answers.text(
        actor, "name"
    )


def _group_of(actor: Mapping[str, Json]) -> set[str]:
    """Return the name and the id of a role's group."""
    if answers.text(actor, "type") != "atlassian-group-role-actor":
        return set()
    named = answers.part(actor, "actorGroup") or actor
    return {answers.text(named, part) for part in ("name", "groupId")} - {""}
