"""What does GitHub's specification say of a request and its answer?  Asked of openapi-core.

The specification is a part of GitHub's own OpenAPI description, from ``specs/github``; where it is
not there, nothing is looked at.  ``OUTSIDE`` names the paths that the part does not hold, and why
the fake has them all the same.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

OUTSIDE: Mapping[str, str] = {
    "users": "assignees of a repository, of which the part has no path",
    "account": "an account by its name, likewise",
    "outsiders": "collaborators of a repository, likewise",
    "fields": "issue fields of an organisation, likewise",
    "types": "issue types of an organisation, likewise",
    "remove-label": "one label of an issue, likewise",
    "app": "the App itself and its installation, likewise",
    "read-transferred": "a repository by its number, as redirects name it",
    "list-advisory-notes": "comments on advisories: a public preview, in no specification",
    "create-advisory-note": "likewise",
    "read-advisory-note": "likewise",
    "update-advisory-note": "likewise",
}
"""Kinds of requests that are not looked at."""


def specification() -> Path:
    """Return where the specification is, or would be."""
    checkout = Path(__file__).resolve().parents[2]
    shared = Path(os.environ.get("SECBRIDGE_SHARED", checkout.parent / "shared"))
    return shared / "specs" / "github" / "github-23.0.2-subset.json"


@cache
def _document() -> dict[str, Any] | None:
    file = specification()
    if not file.is_file():
        return None
    document: dict[str, Any] = json.loads(file.read_text(), object_hook=_with_null)
    advisory = document["components"]["schemas"]["repository-advisory"]["properties"]
    for name in ("publisher", "private_fork"):  # openapi-core sees no nullable beside allOf
        advisory[name] = {**_resolved(document, advisory[name]["allOf"][0]), "nullable": True}
    conflict = document["paths"]["/repos/{owner}/{repo}/contents/{path}"]["put"]["responses"]["409"]
    either = conflict["content"]["application/json"]["schema"]
    either["anyOf"] = either.pop("oneOf")  # all of both is optional, so that one alone never fits
    return document


def _with_null(item: dict[str, Any]) -> dict[str, Any]:
    """Return a schema that takes null where it says so: GitHub leaves it out of its enums."""
    if item.get("nullable") is True and None not in item.get("enum", [None]):
        item["enum"].append(None)
    return item


@cache
def _api() -> Any:
    """Return the reader of the specification, which itself is GitHub's and so not checked."""
    from openapi_core import Config, OpenAPI

    document = _document()
    return OpenAPI.from_dict(document, config=Config(spec_validator_cls=None))  # type: ignore[arg-type]  # asked for after _document() only


def warm() -> None:
    """Read the specification now, so that no answer has to wait for it."""
    violations("list-issues", "GET", "/repos/o/r/issues", {}, 200, b"[]")


def violations(
    kind: str, method: str, path: str, given: Mapping[str, Any], status: int, answer: bytes
) -> list[str]:
    """Return what of a request and its answer GitHub's specification does not allow.

    ``given`` is the query of a read or the body of a write; ``path`` begins after the prefix.
    """
    if _document() is None or kind in OUTSIDE:
        return []
    return list(_violations(kind, method, path, json.dumps(given), status, answer))


@lru_cache(maxsize=2_000)
def _violations(
    kind: str, method: str, path: str, written: str, status: int, answer: bytes
) -> Sequence[str]:
    """Look at one request and its answer; the same again is not looked at twice."""
    from openapi_core.exceptions import OpenAPIError
    from openapi_core.testing import MockRequest, MockResponse

    document, given = _document() or {}, json.loads(written)
    reads = method in {"GET", "DELETE"}
    request = MockRequest(
        "https://api.github.com",
        method.lower(),
        _plain(path),
        args={name: str(value) for name, value in given.items()} if reads else {},
        data=None if reads else written.encode(),
        content_type="application/json",
    )
    found = _unknown(document, kind, method, given)
    try:
        _api().validate_request(request)
        if status != 204:
            response = MockResponse(answer, status_code=status, content_type="application/json")
            _api().validate_response(request, response)
    except OpenAPIError as error:
        found.append(f"{kind}: {_told(error)}")
    return found


PATHS: Mapping[str, str] = {
    "list-issues": "/repos/{owner}/{repo}/issues",
    "create-issue": "/repos/{owner}/{repo}/issues",
    "update-issue": "/repos/{owner}/{repo}/issues/{issue_number}",
    "list-notes": "/repos/{owner}/{repo}/issues/{issue_number}/comments",
    "list-all-notes": "/repos/{owner}/{repo}/issues/comments",
    "create-note": "/repos/{owner}/{repo}/issues/{issue_number}/comments",
    "list-advisories": "/repos/{owner}/{repo}/security-advisories",
    "milestones": "/repos/{owner}/{repo}/milestones",
    "create-milestone": "/repos/{owner}/{repo}/milestones",
    "put-file": "/repos/{owner}/{repo}/contents/{path}",
}
"""Where parameters are looked up by name: a schema that is open would let a wrong one pass."""


def _unknown(
    document: Mapping[str, Any], kind: str, method: str, given: Mapping[str, Any]
) -> list[str]:
    """Return the parameters that the specification does not name."""
    if kind not in PATHS:
        return []
    verb = document["paths"][PATHS[kind]][method.lower()]
    if method == "GET":
        named = [_resolved(document, one) for one in verb.get("parameters", [])]
        known = {one["name"] for one in named if one["in"] == "query"}
    else:
        schema = verb["requestBody"]["content"]["application/json"]["schema"]
        known = set(_resolved(document, schema)["properties"])
    return [f"{kind}: no parameter {name}" for name in given if name not in known]


def _resolved(document: Mapping[str, Any], item: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Any = item
    while "$ref" in found:
        target: Any = document
        for step in found["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        found = target
    return dict(found)


def _plain(path: str) -> str:
    """Return a path in which a file's path is one segment, as openapi-core takes parameters."""
    head, contents, file = path.partition("/contents/")
    return f"{head}{contents}{quote(file, safe='%')}" if contents else path


def _told(error: Exception) -> str:
    """Return an error of openapi-core with its reasons, which it keeps apart."""
    reasons: Any = getattr(error.__cause__, "schema_errors", ())
    told = [f"{getattr(one, 'json_path', '')}: {getattr(one, 'message', one)}" for one in reasons]
    return "; ".join(told)[:2_000] or f"{type(error).__name__}: {error}"[:500]
