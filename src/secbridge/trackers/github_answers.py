"""What does a GitHub's answer say?  Nothing that was not looked at first.

An answer is a stranger's JSON: what is missing in it, or of another type, counts as absent, and
what would have to be true for a secret to be kept counts as false.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from urllib.parse import unquote, urlsplit

from secbridge.errors import OutcomeUnknown, TransientFault
from secbridge.model.issue import Actor
from secbridge.trackers.door import Json, segment

_REPOSITORY = re.compile(r"/repos/([^/]+/[^/]+)$")
_PAGE = re.compile(r"/([^/]+/[^/]+)/issues/(\d{1,18})")
_ROLES = ("none", "read", "triage", "write", "maintain", "admin")


@dataclass(frozen=True, slots=True)
class Account:
    """The account that we are, by its login: of an App's robot GitHub tells us no number."""

    login: str

    def is_(self, user: Json) -> bool:
        """Return whether a user of an answer is this account."""
        return isinstance(user, dict) and text(user, "login").casefold() == self.login.casefold()


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository as far as a secret depends on it."""

    name: str
    private: bool
    visibility: str
    archived: bool
    has_issues: bool
    may_push: bool
    is_admin: bool
    may_be_forked: bool
    has_pages: bool
    watchers: int
    is_owned_by_organization: bool

    def keeps_secrets(self, *, allow_internal: bool) -> bool:
        """Return whether its issues are seen by its members only (or by the whole enterprise).

        GitHub calls an internal repository private, too, so that the visibility has to be there.
        """
        wanted = {"private", "internal"} if allow_internal else {"private"}
        return self.private and self.visibility in wanted


def text(item: Mapping[str, Json], name: str) -> str:
    """Return a text by its name, or an empty one."""
    value = item.get(name)
    return value if isinstance(value, str) else ""


def inner(item: Mapping[str, Json], name: str) -> Mapping[str, Json]:
    """Return an object within an object, or an empty one."""
    value = item.get(name)
    return value if isinstance(value, dict) else {}


def objects(value: Json) -> Sequence[Mapping[str, Json]]:
    """Return the objects of a list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def as_object(answer: Json) -> Mapping[str, Json]:
    """Return an object, or raise TransientFault."""
    if not isinstance(answer, dict):
        raise TransientFault("tracker-answer-unreadable", "The tracker's answer says nothing.")
    return answer


def without_id() -> OutcomeUnknown:
    """Return the fault of an answer that names nothing."""
    return OutcomeUnknown("tracker-answer-without-id", "The tracker's answer names nothing.")


def is_number(value: Json) -> bool:
    """Return whether a value is a whole number."""
    return isinstance(value, int) and not isinstance(value, bool)


def number(item: Mapping[str, Json], name: str) -> int | None:
    """Return a whole number by its name, or None."""
    return item[name] if is_number(item.get(name)) else None


# ── Repositories and people ──────────────────────────────────────────────────────────────────────


def repository(answer: Json) -> Repository:
    """Return a repository; one of which nothing is known keeps no secret."""
    item = as_object(answer)
    permissions = inner(item, "permissions")
    return Repository(
        name=text(item, "full_name"),
        private=item.get("private") is True,
        visibility=text(item, "visibility"),
        archived=item.get("archived") is True or item.get("disabled") is True,
        has_issues=item.get("has_issues") is not False,
        may_push=permissions.get("push") is True,
        is_admin=permissions.get("admin") is True,
        may_be_forked=item.get("allow_forking") is True,
        has_pages=item.get("has_pages") is True,
        watchers=number(item, "subscribers_count") or 0,
        is_owned_by_organization=text(inner(item, "owner"), "type") == "Organization",
    )


def repository_path(project: str) -> str:
    """Return the path of a repository given as owner/name."""
    return "/repos/" + "/".join(segment(part) for part in project.split("/"))


def project_of(item: Mapping[str, Json], otherwise: str) -> str:
    """Return the repository (owner/name) that an issue says it is in."""
    found = _REPOSITORY.search(urlsplit(text(item, "repository_url")).path)
    return unquote(found[1]) if found else otherwise


def issue_of_url(url: str) -> tuple[str, str] | None:
    """Return (owner/name, number) of the address of an issue as people paste it, or None."""
    found = _PAGE.fullmatch(urlsplit(url.strip()).path.rstrip("/"))
    return (unquote(found[1]), found[2]) if found else None


def issue_number(comment: Mapping[str, Json]) -> str:
    """Return the number of the issue that a comment says it is on, or an empty text."""
    return urlsplit(text(comment, "issue_url")).path.rpartition("/")[2]


def logins(value: Json) -> tuple[str, ...]:
    """Return the login names of a list of users."""
    return tuple(login for user in objects(value) if (login := text(user, "login")))


def writer(item: Mapping[str, Json]) -> Json:
    """Return who wrote a comment; that of an advisory may call it author, as the advisory does."""
    return item.get("user") or item.get("author")


def actor(user: Json, me: Account) -> Actor:
    """Return who did something; a bot counts as a machine, and so never commands."""
    person = user if isinstance(user, dict) else {}
    is_us = me.is_(user) or text(person, "type") == "Bot"
    return Actor(str(number(person, "id") or ""), text(person, "login"), is_us)


def reaches(answer: Json, wanted: str) -> bool:
    """Return whether a permission is at least ``wanted``.

    A custom role is measured by the one that GitHub says it stands on.
    """
    item = answer if isinstance(answer, dict) else {}
    name = text(item, "role_name")
    have = name if name in _ROLES else text(item, "permission")
    return have in _ROLES and _ROLES.index(have) >= _ROLES.index(wanted) > 0


# ── Issues ───────────────────────────────────────────────────────────────────────────────────────


def label_names(item: Mapping[str, Json]) -> tuple[str, ...]:
    """Return the names of an issue's labels; GitHub gives objects, and old ones gave texts."""
    labels = item.get("labels")
    found = [
        text(label, "name") if isinstance(label, dict) else str(label)
        for label in (labels if isinstance(labels, list) else [])
    ]
    return tuple(name for name in found if name)


def is_issue(item: Mapping[str, Json]) -> bool:
    """Return whether an item of a list of issues is one: pull requests stand there as well."""
    return "pull_request" not in item and is_number(item.get("number"))


def moment(value: Json) -> datetime | None:
    """Return a time as GitHub writes it, or None."""
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def day(value: Json) -> date | None:
    """Return a date, of a date or a time, or None."""
    try:
        return date.fromisoformat(value[:10])
    except (TypeError, ValueError):
        return None


def stamp(when: datetime) -> str:
    """Return a time as GitHub reads it, to the second."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def due_in(item: Mapping[str, Json], field: str) -> date | None:
    """Return an issue's due date: the issue field of this name, or without one the milestone's."""
    if not field:
        return day(inner(item, "milestone").get("due_on"))
    for value in objects(item.get("issue_field_values")):
        if text(value, "issue_field_name").casefold() == field.casefold():
            return day(value.get("value"))
    return None


# ── What stands in the text of an advisory ───────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Record:
    """What an advisory has no fields for: labels, people, date, and the issue with the comments."""

    labels: tuple[str, ...] = ()
    assignees: tuple[str, ...] = ()
    due: date | None = None
    companion: str = ""

    @property
    def line(self) -> str:
        """The record as one line of the text, for us to read back; nothing in it ends a comment."""
        due = self.due.isoformat() if self.due else ""
        kept = {"labels": self.labels, "assignees": self.assignees, "due": due}
        if self.companion:
            kept["companion"] = self.companion
        said = json.dumps(kept, sort_keys=True)
        for letter in "<>-&":
            said = said.replace(letter, f"\\u{ord(letter):04x}")
        return f"{_RECORD[0]}{said}{_RECORD[1]}"


_RECORD = ("<!-- secbridge:record=", " -->")


def record_in(body: str) -> Record | None:
    """Return the record of a text: the last line of that form, at the left margin, or None."""
    for line in reversed(body.replace("\r\n", "\n").split("\n")):
        if line.startswith(_RECORD[0]) and line.endswith(_RECORD[1]):
            return _record(line[len(_RECORD[0]) : -len(_RECORD[1])])
    return None


def _record(said: str) -> Record | None:
    try:
        kept = json.loads(said)
    except ValueError:
        return None
    if not isinstance(kept, dict):
        return None
    return Record(
        labels=_texts(kept.get("labels")),
        assignees=_texts(kept.get("assignees")),
        due=day(kept.get("due")),
        companion=text(kept, "companion"),
    )


def _texts(value: Json) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()
