"""What does Atlassian itself say of a request and its answer?  Its OpenAPI specification of v3.

It is ``specs/jira/jira-cloud-v3-subset.json``; where that is not there, nothing is looked at.
There is none for version 2 of a Data Center, which differs in texts and people: its requests are
held against that of v3 all the same, where the two have the same form.  A request and an answer of
a form (all names, all types) that was seen before are not looked at again: that takes 12 ms.

The fake keeps the exchanges, one of each form; the tests look at them, so that no request waits.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

UNSPECIFIED = frozenset(
    {
        "users", "account", "roles", "role", "statuses", "notifications", "link-types",
        "create-link", "attach", "media",
    }
)  # fmt: skip
"""Kinds of requests that the subset does not hold; of files it knows only that there are some."""

_DATE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d)(\d\d)")
_SEEN: set[str] = set()


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and its answer, as the fake heard and said them."""

    kind: str
    method: str
    path: str
    query: Mapping[str, str]
    body: Mapping[str, Any]
    status: int
    answer: str

    @property
    def form(self) -> str:
        """Return the names and types of all that was said."""
        said = (_form(self.body), _form(_json(self.answer)))
        version = "2" if "/rest/api/2/" in self.path else "3"
        return " ".join((self.kind, version, *sorted(self.query), str(self.status), *said))


def specification() -> Path:
    """Return where the specification is, if it is there."""
    checkout = Path(__file__).resolve().parents[2]
    shared = Path(os.environ.get("SECBRIDGE_SHARED", checkout.parent / "shared"))
    return shared / "specs" / "jira" / "jira-cloud-v3-subset.json"


@cache
def _api() -> Any:
    """Return the specification, or None; the library is for the tests, and not for the fake."""
    from openapi_core import OpenAPI

    if not specification().is_file():
        return None
    described = json.loads(specification().read_text())
    return OpenAPI.from_dict({**described, "servers": [{"url": "/"}]})


def violations(exchanges: Iterable[Exchange]) -> list[str]:
    """Return what of requests and answers Atlassian would not know."""
    found: list[str] = []
    for exchange in exchanges:
        if exchange.form not in _SEEN and not (problems := _problems(exchange)):
            _SEEN.add(exchange.form)
        elif exchange.form not in _SEEN:
            found += problems
    return found


def _problems(exchange: Exchange) -> list[str]:
    from openapi_core.testing import MockRequest, MockResponse

    kind, api = exchange.kind, _api()
    differs = "/rest/api/2/" in exchange.path and kind in {"list-issues", "screen"}
    if api is None or kind in UNSPECIFIED or differs:
        return []
    request = MockRequest(
        "http://jira.example",
        exchange.method.lower(),
        exchange.path.replace("/rest/api/2/", "/rest/api/3/"),
        args=dict(exchange.query),
        data=json.dumps(exchange.body).encode() if exchange.method in {"POST", "PUT"} else None,
        headers={"Authorization": "Basic eDp4"},
    )
    found = [_problem(kind, api.validate_request, request)]
    if exchange.answer and exchange.status < 300:
        # Jira writes +0000, and the format of the specification's own dates asks for +00:00
        said = _DATE.sub(r"\1:\2", exchange.answer).encode()
        answer = MockResponse(said, exchange.status)
        found.append(_problem(kind, api.validate_response, request, answer))
    return [problem for problem in found if problem]


def _problem(kind: str, validate: Any, *given: Any) -> str:
    from openapi_core.exceptions import OpenAPIError

    try:
        validate(*given)
    except OpenAPIError as error:
        return f"{kind}: {error!r}: {error.__cause__!r}"[:2000]
    return ""


def _json(content: str) -> object:
    try:
        return json.loads(content)
    except ValueError:
        return None


def _form(value: object) -> str:
    """Return names and types of a JSON value; a list is as long as its forms are many."""
    if isinstance(value, dict):
        return "+".join(("{", *(f"{name}:{_form(value[name])}" for name in sorted(value)), "}"))
    if isinstance(value, list):
        return "+".join(("[", *sorted({_form(one) for one in value}), "]"))
    return type(value).__name__
