"""What does a Jira's answer say?  Nothing that was not looked at first.

An answer is a stranger's JSON: what is missing in it, or of another type, counts as absent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from secbridge.errors import OutcomeUnknown, TransientFault
from secbridge.trackers.door import Json

PROPERTY = "secbridge"
"""The entity property that holds our marker, on issues and on comments."""

SERVICE_DESK = "sd.public.comment"
"""The entity property by which a comment of a service desk is kept from its customers."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user: ``id`` is the account id in the cloud and the user name in a Data Center."""

    id: str
    name: str
    is_machine: bool = False


@dataclass(frozen=True, slots=True)
class Level:
    """A security level."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What an answer says of an issue, texts apart."""

    id: str
    key: str
    project: str
    level: Level | None
    labels: tuple[str, ...]
    assignee: Account | None
    creator: Account | None
    due: date | None
    priority: str
    is_open: bool
    updated: datetime | None
    marker: str
    filed_in: str


def facts(item: Mapping[str, Json]) -> Facts:
    """Return what an issue of an answer says."""
    fields = part(item, "fields")
    labels = fields.get("labels")
    ours = part(part(item, "properties"), PROPERTY)
    status = part(part(fields, "status"), "statusCategory")
    return Facts(
        id=text(item, "id"),
        key=text(item, "key"),
        project=text(part(fields, "project"), "key"),
        level=level(fields.get("security")),
        labels=tuple(map(str, labels)) if isinstance(labels, list) else (),
        assignee=account(fields.get("assignee")),
        creator=account(fields.get("creator")),
        due=date_in(fields.get("duedate")),
        priority=text(part(fields, "priority"), "name"),
        is_open=text(status, "key") != "done",
        updated=moment(fields.get("updated")),
        marker=text(ours, "marker"),
        filed_in=text(ours, "project"),
    )


def text(item: Mapping[str, Json], name: str) -> str:
    """Return a text by its name, or an empty one."""
    value = item.get(name)
    return value if isinstance(value, str) else ""


def part(item: Mapping[str, Json], name: str) -> Mapping[str, Json]:
    """Return an object by its name, or an empty one."""
    value = item.get(name)
    return value if isinstance(value, dict) else {}


def items(answer: Json, name: str) -> Sequence[Mapping[str, Json]]:
    """Return the objects of a list in an answer; what is none is left out."""
    found = answer.get(name) if isinstance(answer, dict) else answer
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def as_object(answer: Json) -> Mapping[str, Json]:
    """Return an object, or raise TransientFault."""
    if not isinstance(answer, dict):
        raise unreadable()
    return answer


def unreadable() -> TransientFault:
    """Return the fault of a read whose answer is not of the form that we need."""
    return TransientFault("tracker-answer-unreadable", "The tracker's answer says nothing.")


def without_id() -> OutcomeUnknown:
    """Return the fault of an answer that names nothing."""
    return OutcomeUnknown("tracker-answer-without-id", "The tracker's answer names nothing.")


def is_id(value: Json) -> bool:
    """Return whether a value is an id as Jira writes it: digits in a text."""
    return isinstance(value, str) and value.isascii() and value.isdigit()


def account(value: Json) -> Account | None:
    """Return the account that a value describes, or None."""
    if not isinstance(value, dict):
        return None
    identity = text(value, "accountId") or text(value, "name")
    machine = text(value, "accountType") == "app"
    return Account(identity, text(value, "displayName"), machine) if identity else None


def is_by(author: Account | None, account: Account) -> bool:
    """Return whether an account wrote something: names may differ, the id does not."""
    return author is not None and author.id == account.id


def level(value: Json) -> Level | None:
    """Return a security level, or None."""
    if not isinstance(value, dict) or not is_id(value.get("id")):
        return None
    return Level(value["id"], text(value, "name"))


def marker_of(comment: Mapping[str, Json]) -> str:
    """Return our marker on a comment, or an empty text."""
    return text(_property(comment, PROPERTY), "marker")


def is_public(comment: Mapping[str, Json]) -> bool:
    """Return whether a service desk shows a comment to its customers.

    The cloud says so itself; a Data Center may leave it to the property that makes it internal.
    """
    shown = comment.get("jsdPublic")
    if isinstance(shown, bool):
        return shown
    return _property(comment, SERVICE_DESK).get("internal") is not True


def _property(comment: Mapping[str, Json], key: str) -> Mapping[str, Json]:
    for item in items(comment, "properties"):
        if item.get("key") == key:
            return part(item, "value")
    return {}


def date_in(value: Json) -> date | None:
    """Return a date as Jira writes it, or None."""
    try:
        return datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except (TypeError, ValueError):
        return None


def moment(value: Json) -> datetime | None:
    """Return a point of time as Jira writes it, or None."""
    try:
        return datetime.strptime(value, "%Y-%m-%dT%H:%M:%S.%f%z").astimezone(UTC)
    except (TypeError, ValueError):
        return None
