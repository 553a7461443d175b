"""What does GitLab itself say of a request and its answer?  Schemas, and parameters by name.

The schemas are GitLab's own, from ``specs/gitlab/schemas``; where they are not there, answers are
not looked at.  For requests there are none: the parameters are those of its documentation.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

_LIST = "page per_page"
_CHANGES = "confidential labels assignee_ids due_date description title milestone_id issue_type"

PARAMETERS: Mapping[str, str] = {
    "create-issue": _CHANGES,
    "update-issue": f"{_CHANGES} add_labels remove_labels state_event discussion_locked",
    "list-issues": f"author_id created_after updated_after scope state order_by sort labels "
    f"confidential iids[] {_LIST}",
    "create-note": "body internal created_at",
    "update-note": "body",
    "list-notes": f"order_by sort {_LIST}",
    "create-link": "target_project_id target_issue_iid link_type",
    "members": f"user_ids[] {_LIST}",
    "users": f"username {_LIST}",
    "graphql": "query variables",
    "upload": "octets",
}
"""The parameters that a kind of request may have; one that is not named here may have pages."""

ANSWERS: Mapping[str, str] = {
    "create-issue": "issue",
    "read-issue": "issue",
    "update-issue": "issue",
    "list-issues": "issue",
    "create-note": "note",
    "read-note": "note",
    "update-note": "note",
    "list-notes": "note",
    "upload": "upload",
}
"""The schema of each kind of answer, or of its items."""


@cache
def _validator(name: str) -> jsonschema.Draft202012Validator | None:
    """Return GitLab's own schema of an answer, or None where it is not there."""
    checkout = Path(__file__).resolve().parents[2]
    shared = Path(os.environ.get("SECBRIDGE_SHARED", checkout.parent / "shared"))
    file = shared / "specs" / "gitlab" / "schemas" / f"{name}.json"
    if not file.is_file():
        return None
    return jsonschema.Draft202012Validator(json.loads(file.read_text()))


def violations(kind: str, body: Mapping[str, Any], status: int, answer: object) -> list[str]:
    """Return what of a request and its answer GitLab would not know."""
    known = set(PARAMETERS.get(kind, _LIST).split())
    found = [f"{kind}: no parameter {name}" for name in body if name not in known]
    schema = "note_commands_only" if status == 202 else ANSWERS.get(kind)
    validator = _validator(schema) if schema and status < 300 else None
    if validator is None:
        return found
    items = answer if isinstance(answer, list) else [answer]
    errors = [error for item in items for error in validator.iter_errors(item)]
    return [*found, *(f"{kind}: {error.json_path}: {error.message}" for error in errors)]
