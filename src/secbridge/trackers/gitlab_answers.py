"""What does a GitLab's answer say?  Nothing that was not looked at first.

An answer is a stranger's JSON: what is missing in it, or of another type, counts as absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime

from secbridge.errors import OutcomeUnknown, TransientFault
from secbridge.trackers.door import Json


@dataclass(frozen=True, slots=True)
class Account:
    """A user of the GitLab."""

    id: int
    username: str
    is_admin: bool = False


def text(item: Mapping[str, Json], name: str) -> str:
    """Return a text by its name, or an empty one."""
    value = item.get(name)
    return value if isinstance(value, str) else ""


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


def author_id(item: Mapping[str, Json]) -> int | None:
    """Return the id of an item's author, or None."""
    account = account_in(item.get("author"))
    return account.id if account else None


def account_in(item: Json) -> Account | None:
    """Return the account that a value describes, or None."""
    if not isinstance(item, dict) or not is_number(item.get("id")):
        return None
    return Account(item["id"], text(item, "username"), item.get("is_admin") is True)


def access_level(project: Mapping[str, Json]) -> int:
    """Return the highest of the account's roles in the project and its group."""
    permissions = project.get("permissions")
    shares = permissions.values() if isinstance(permissions, dict) else ()
    levels = [share.get("access_level") for share in shares if isinstance(share, dict)]
    return max((level for level in levels if isinstance(level, int)), default=0)


def date_in(value: Json) -> date | None:
    """Return a date as GitLab writes it, or None."""
    try:
        return datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except (TypeError, ValueError):
        return None
