"""Did an earlier attempt make the issue?  Told by keys, because Jira's search may be behind.

Jira has no list that is read from its database: every search is an index, which may not know an
issue of a minute ago.  An issue by its key *is* read from the database, and keys are numbers that
are given out one after the other.  So the index is asked only for what it may well know: which
issues were made since the attempt began (those are looked at), and which were made just before.
Every key above those that the index did not name is then looked up one by one, until a run of
``RUN`` keys in a row names nothing.  With an index that is behind, even by hours, that is more
requests and the same answer.

That is two searches, one look for each key that the index left out, and ``RUN`` looks past the
end: 12 requests after a usual lost answer.  It happens after an unknown outcome only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Container, Mapping, Sequence
from datetime import datetime, timedelta

from secbridge.errors import TransientFault
from secbridge.trackers import jira_answers as answers
from secbridge.trackers.door import Json
from secbridge.trackers.jira_answers import PROPERTY, Account
from secbridge.trackers.jira_door import JiraDoor, issue_path

RUN = 10
"""So many keys in a row without an issue mean the end: deleted, moved or hidden issues leave gaps.

An issue of ours is missed only when the index does not know it and more than these stand before it.
"""

BEFORE = 5
"""So many issues from before the attempt are asked for: the lowest of their keys is the beginning.

One alone may have been moved here since, and then has an old date and a new key.
"""

MOST = 500
"""Issues and keys that are looked at; where they are not enough, it waits with an alarm."""

SLACK = timedelta(hours=1)
"""How much earlier than our clock says the attempt may have begun by Jira's clock."""


class Finder:
    """Looks for issues with a marker; ``fields`` are what each is read with."""

    def __init__(self, door: JiraDoor, project: str, fields: str) -> None:
        self._door = door
        self._project = project
        self._fields = fields

    async def find(
        self, marker: str, me: Account, *, began: datetime, now: datetime
    ) -> Sequence[Mapping[str, Json]]:
        """Return the issues with this marker that we made since ``began``, oldest first."""
        minutes = math.ceil((now - began + SLACK) / timedelta(minutes=1))
        project = f"project = {json.dumps(self._project)}"
        since = await self._search(f'{project} AND created >= "-{minutes}m"', "ASC", MOST)
        before = await self._search(f'{project} AND created < "-{minutes}m"', "DESC", BEFORE)
        named = {number: item for item in (*since, *before) if (number := self._number(item))}
        first = 1 + min((self._number(item) for item in before), default=0)
        known = {number: item for number, item in named.items() if _is_known(item, me)}
        looked_up = await self._look_up(first, max(named, default=0), known)
        items = [item for item in (*known.values(), *looked_up) if _made_by(item, me)]
        found = [item for item in items if answers.facts(item).marker == marker]
        return sorted(found, key=lambda item: int(answers.text(item, "id") or 0))

    async def _search(self, jql: str, order: str, most: int) -> Sequence[Mapping[str, Json]]:
        return await self._door.search(
            "find issue",
            f"{jql} ORDER BY created {order}",
            fields=self._fields,
            properties=PROPERTY,
            most=most,
        )

    async def _look_up(
        self, first: int, last: int, known: Container[int]
    ) -> Sequence[Mapping[str, Json]]:
        """Look up the keys from ``first`` on that are not known, to the last one and beyond."""
        found: list[Mapping[str, Json]] = []
        number, looks = first, 0
        while number <= last + RUN:
            if number not in known:
                looks += 1
                if looks > MOST:
                    raise _endless()
                if (item := await self._at(number)) is not None:
                    found.append(item)
                    last = max(last, number)
            number += 1
        return found

    async def _at(self, number: int) -> Mapping[str, Json] | None:
        """Return the issue with this key, if Jira shows us one; it may have been moved away."""
        path = issue_path(f"{self._project}-{number}")
        return await self._door.look("find issue", path, fields=self._fields, properties=PROPERTY)

    def _number(self, item: Mapping[str, Json]) -> int:
        """Return the number of a key of our project, or 0."""
        project, _, number = answers.text(item, "key").rpartition("-")
        ours = project == self._project and number.isascii() and number.isdigit()
        return int(number) if ours else 0


def _endless() -> TransientFault:
    return TransientFault(
        "tracker-list-endless", "Too many issues may be the one that we look for.", alarm=True
    )


def _is_known(item: Mapping[str, Json], me: Account) -> bool:
    """Whether the index said enough: a Data Center's tells no properties, so ours are looked up."""
    return "properties" in item or not _made_by(item, me)


def _made_by(item: Mapping[str, Json], me: Account) -> bool:
    return answers.is_by(answers.facts(item).creator, me)
