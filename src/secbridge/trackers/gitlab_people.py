"""Who is who in a GitLab?  Our own account, the people of an alias, and those who may command."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from secbridge.errors import TransientFault
from secbridge.model.issue import Actor
from secbridge.ports import Clock
from secbridge.trackers import gitlab_answers as answers
from secbridge.trackers.door import Json
from secbridge.trackers.gitlab_answers import Account, Role
from secbridge.trackers.gitlab_door import GitLabDoor

REMEMBERED = timedelta(minutes=1)
"""How long a person's role is believed: short, so that one who left commands no more."""

_MACHINE = re.compile(
    r"(?:(?:support|alert|security|automation|migration)-bot|ghost)\d*|(?:project|group)_\d+_bot.*",
    re.IGNORECASE,
)
"""Accounts by which GitLab itself writes, and those of access tokens: they may echo a stranger."""


class People:
    """The accounts of a GitLab.  ``root`` is the project's path in the API.

    ``fallback`` is the account that gets an issue whose own assignees are all unknown.
    """

    def __init__(self, door: GitLabDoor, root: str, *, clock: Clock, fallback: str = "") -> None:
        self._door = door
        self._root = root
        self._clock = clock
        self._fallback = fallback
        self._me: Account | None = None
        self._asked_at = 0
        self._accounts: dict[str, Account] = {}
        self._levels: dict[str, tuple[datetime, int]] = {}

    async def myself(self) -> Account:
        """Return the account whose token we hold."""
        if self._me is None or self._asked_at != self._door.generation:
            self._asked_at = self._door.generation
            answer = await self._door.get("who am I", "/user")
            account = answers.account_in(answer)
            if account is None:
                raise TransientFault("tracker-answer-unreadable", "The tracker names no account.")
            self._me = account
        return self._me

    async def account(self, username: str) -> Account | None:
        """Return an account by its exact name, or None; only what was found is remembered."""
        wanted = username.removeprefix("@").casefold()
        if wanted not in self._accounts:
            answer = await self._door.get("find account", "/users", username=wanted)
            for item in answer if isinstance(answer, list) else ():
                found = answers.account_in(item)
                if found and found.username.casefold() == wanted:
                    self._accounts[wanted] = found
        return self._accounts.get(wanted)

    async def assignable(self, usernames: Sequence[str]) -> Sequence[Account]:
        """Return the accounts that there are; when none is, the one that steps in."""
        known = [account for name in usernames if (account := await self.account(name))]
        if not known and self._fallback and (account := await self.account(self._fallback)):
            return (account,)
        return known

    def is_known(self, username: str) -> bool:
        """Return whether an account of this name was found before."""
        return username.removeprefix("@").casefold() in self._accounts

    def actor(self, item: Mapping[str, Json], me: Account) -> Actor | None:
        """Return who wrote an item; None when the answer does not tell."""
        author = answers.account_in(item.get("author"))
        if author is None:
            return None
        is_us = author.id == me.id or bool(_MACHINE.fullmatch(author.username))
        return Actor(str(author.id), author.username, is_us=is_us)

    async def has_role(self, actor: Actor, role: Role) -> bool:
        """Return whether a person has at least this role, in the project or by its groups.

        What cannot be asked raises Deferral: nobody may anything by default.
        """
        now = self._clock.now()
        until, level = self._levels.get(actor.id, (now, 0))
        if until <= now:
            level = await self.level(actor.id)
            self._levels[actor.id] = (now + REMEMBERED, level)
        return level >= role.level

    async def level(self, account_id: str) -> int:
        """Return a person's highest role as GitLab's number; 0 for who is no active member."""
        found = await self._door.page(
            "read member", f"{self._root}/members/all", **{"user_ids[]": account_id}
        )
        levels = [item.get("access_level") for item in found if _is_active(item, account_id)]
        return max((level for level in levels if isinstance(level, int)), default=0)


def _is_active(item: Mapping[str, Json], account_id: str) -> bool:
    """Whether a member's entry is this person's, and the person is neither blocked nor invited."""
    if str(item.get("id")) != account_id or item.get("state") != "active":
        return False
    return bool(item.get("membership_state", "active") == "active")
