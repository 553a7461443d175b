"""What does a GitLab's answer say?  Nothing that was not looked at first.

An answer is a stranger's JSON: what is missing in it, or of another type, counts as absent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import assert_never
from urllib.parse import urlsplit

from secbridge.errors import OutcomeUnknown, TransientFault
from secbridge.trackers.door import Json

REPORTER, DEVELOPER, MAINTAINER, OWNER = 20, 30, 40, 50
"""GitLab's numbers of the roles."""

_ISSUE_PATH = re.compile(
    r"/(?P<project>\w[\w.-]*(?:/\w[\w.-]*)+?)(?:/-)?/(?:issues(?:/incident)?|work_items)"
    r"/(?P<number>[0-9]{1,18})/?",
    re.ASCII,
)


class Role(StrEnum):
    """The roles of members who see confidential issues; each may do what the ones before it may."""

    REPORTER = "reporter"
    DEVELOPER = "developer"
    MAINTAINER = "maintainer"
    OWNER = "owner"

    @property
    def level(self) -> int:
        """GitLab's number of the role."""
        match self:
            case Role.REPORTER:
                return REPORTER
            case Role.DEVELOPER:
                return DEVELOPER
            case Role.MAINTAINER:
                return MAINTAINER
            case Role.OWNER:
                return OWNER
            case _:
                assert_never(self)


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


def project_path(item: Mapping[str, Json]) -> str:
    """Return the full path of the project that an issue is in, or an empty text."""
    references = item.get("references")
    full = text(references, "full") if isinstance(references, dict) else ""
    path = full.rpartition("#")[0]
    if path or not (parts := urlsplit(text(item, "web_url"))).hostname:
        return path
    found = parse_issue_url(parts.geturl(), f"{parts.scheme}://{parts.netloc}")
    return found[0] if found else ""


def parse_issue_url(url: str, base: str) -> tuple[str, str] | None:
    """Return (project, number) of an issue's address at the GitLab at ``base``, else None.

    Understands what a person may paste: issues, incidents, and work items, which issues are being
    folded into; with or without the ``/-/`` of newer versions, a query, and a note's anchor.
    """
    given, ours = urlsplit(url.strip()), urlsplit(base)
    root = ours.path.rstrip("/")
    if given.netloc.lower() != ours.netloc.lower() or given.scheme not in {"http", "https"}:
        return None
    if not given.path.startswith(f"{root}/"):
        return None
    match = _ISSUE_PATH.fullmatch(given.path.removeprefix(root))
    if match is None or match["project"].startswith("groups/"):
        return None  # a work item of a group is in no project
    return match["project"], match["number"]


def moment(item: Mapping[str, Json], name: str) -> datetime | None:
    """Return a time by its name, in UTC, or None."""
    try:
        found = datetime.fromisoformat(text(item, name))
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def date_in(value: Json) -> date | None:
    """Return a date as GitLab writes it, or None."""
    try:
        return datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except (TypeError, ValueError):
        return None
