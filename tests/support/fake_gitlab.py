"""How would a GitLab answer?  A small stateful one over real HTTP, whose faults come from outside.

Started as a process of its own (``python -m tests.support.fake_gitlab``), it knows one project, a
bot with a token, a few people, issues, notes and labels.  It executes quick actions and records
what a text would wake (see ``fake_gitlab_text``).  ``POST /_control`` arms a fault for the next
requests of a kind; ``GET /_state`` tells all that happened, with every body that anybody sent.

``FakeGitLab`` is the handle for tests::

    with FakeGitLab.start() as gitlab:
        gitlab.fault("drop-after", on="create-issue")
        ...
        assert [issue["title"] for issue in gitlab.issues()] == ["Security report SB-2026-0001"]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from tests.support.fake_gitlab_text import QuickAction, alive, extract
from uvicorn.protocols.http.h11_impl import H11Protocol

Json = dict[str, Any]

TOKEN = "glpat-fake-0123456789"
PROJECT = "group/security"
BOT = 42

FAULTS: Mapping[str, str] = {
    # what the tracker does with what it is told; `on` is fixed by the fault
    "confidential-ignored": "create-issue",
    "confidential-put-ignored": "update-issue",
    "confidential-put-forbidden": "update-issue",
    "labels-dropped": "create-issue",
    "labels-put-dropped": "update-issue",
    "assignees-dropped": "create-issue",
    "internal-ignored": "create-note",
    "text-mangled": "update-issue",
    "opens-to-public": "update-issue",
    # how it answers; `on` is the kind of request, `post` unless told otherwise
    "202-without-id": "post",
    "202-without-id-after": "post",
    "201-empty": "post",
    "307": "post",
    "302": "post",
    "500-before": "post",
    "500-after": "post",
    "503-before": "post",
    "drop-before": "post",
    "drop-after": "post",
    "drop-midbody": "post",
    "429": "post",
    "html-200": "post",
    "html-200-after": "post",
    "junk-201-after": "post",
    "slow-before": "post",
    "slow-after": "post",
    "late": "post",
    "400": "post",
    "401": "any",
    "403": "any",
    "404": "any",
    "409": "post",
}
"""Each fault with the kind of request that it waits for."""

# ── State ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class Fault:
    """A fault that is armed; ``on`` is a kind of request, or post, put, get, any."""

    name: str
    on: str
    count: int
    skip: int = 0
    retry_after: str = "7"

    def waits_for(self, kind: str, method: str) -> bool:
        """Return whether this request is one that the fault waits for, and count it."""
        if self.count <= 0 or self.on not in {kind, method.lower(), "any"}:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.count -= 1
        return True


@dataclass(slots=True)
class World:
    """All that the fake GitLab remembers."""

    base: str = ""
    token: str = TOKEN
    project: str = PROJECT
    bot: int = BOT
    visibility: str = "private"
    access_level: int = 20
    issues_enabled: bool = True
    archived: bool = False
    bot_is_admin: bool = False
    several_assignees: bool = True
    scopes: list[str] = field(default_factory=lambda: ["api"])
    expires_at: str | None = None
    labels: list[str] = field(default_factory=lambda: ["Security"])
    users: dict[int, str] = field(
        default_factory=lambda: {BOT: "secbridge-bot", 1: "alex", 2: "kim", 3: "outsider"}
    )
    members: set[int] = field(default_factory=lambda: {BOT, 1, 2})
    issues: dict[int, Json] = field(default_factory=dict)
    notes: dict[int, list[Json]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    requests: list[Json] = field(default_factory=list)
    acts: list[Json] = field(default_factory=list)
    elsewhere: list[Json] = field(default_factory=list)
    late: list[Callable[[], Response]] = field(default_factory=list)
    ids: int = 1000

    def next_id(self) -> int:
        """Return a number that was not used before."""
        self.ids += 1
        return self.ids

    def behaves(self, name: str) -> bool:
        """Return whether a fault of behaviour is armed, and use it up once."""
        for fault in self.faults:
            if fault.name == name and fault.count > 0:
                fault.count -= 1
                return True
        return False

    def transport_fault(self, kind: str, method: str) -> Fault | None:
        """Return the armed fault of transport for this request."""
        for fault in self.faults:
            if _is_transport(fault.name) and fault.waits_for(kind, method):
                return fault
        return None


def _is_transport(name: str) -> bool:
    return FAULTS[name] in {"post", "any"}


# ── Entities, in the shape of lib/api/entities ───────────────────────────────────────────────────


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _user(world: World, number: int) -> Json:
    name = world.users[number]
    return {
        "id": number,
        "username": name,
        "name": name.title(),
        "state": "active",
        "avatar_url": None,
        "web_url": f"{world.base}/{name}",
    }


def _issue(world: World, issue: Json) -> Json:
    people = [_user(world, number) for number in issue["assignee_ids"]]
    url = f"{world.base}/{world.project}/-/issues/{issue['iid']}"
    return {
        **{key: value for key, value in issue.items() if key != "assignee_ids"},
        "project_id": 7,
        "milestone": None,
        "author": _user(world, issue["author_id"]),
        "assignees": people,
        "assignee": people[0] if people else None,
        "user_notes_count": len(world.notes.get(issue["iid"], [])),
        "upvotes": 0,
        "downvotes": 0,
        "type": "ISSUE",
        "issue_type": "issue",
        "severity": "UNKNOWN",
        "moved_to_id": None,
        "discussion_locked": None,
        "web_url": url,
        "references": {"full": f"{world.project}#{issue['iid']}"},
        "_links": {"self": url},
    }


def _note(world: World, note: Json) -> Json:
    return {
        **note,
        "type": None,
        "attachment": None,
        "author": _user(world, note["author_id"]),
        "system": False,
        "noteable_type": "Issue",
        "resolvable": False,
        "confidential": note["internal"],
    }


# ── Acting on text ───────────────────────────────────────────────────────────────────────────────


def _take_text(world: World, issue: Json, text: str, where: str) -> str:
    """Execute the quick actions of a text, record what it would wake, and return what is left."""
    kept, actions = extract(text)
    for action in actions:
        world.acts.append(
            {"kind": "quick-action", "where": where, "what": f"{action.name} {action.argument}"}
        )
        _act(world, issue, action)
    world.acts += [{"kind": "alive", "where": where, "what": what} for what in alive(text)]
    return kept


def _act(world: World, issue: Json, action: QuickAction) -> None:
    names = [name.strip('~" ') for name in action.argument.split("~") if name.strip('~" ')]
    match action.name:
        case "confidential":
            issue["confidential"] = not issue["confidential"]
        case "close":
            issue["state"] = "closed"
        case "reopen":
            issue["state"] = "opened"
        case "label":
            issue["labels"] = sorted({*issue["labels"], *names})
        case "unlabel":
            issue["labels"] = [name for name in issue["labels"] if names and name not in names]
        case "relabel":
            issue["labels"] = names
        case "title":
            issue["title"] = action.argument
        case "due":
            issue["due_date"] = action.argument
        case "remove_due_date":
            issue["due_date"] = None
        case "assign" | "unassign":
            named = {number for number, name in world.users.items() if name in action.argument}
            have = set(issue["assignee_ids"])
            left = have | named if action.name == "assign" else have - named
            issue["assignee_ids"] = sorted(left)
        case _:
            pass  # recorded by the caller; what it would do is elsewhere


# ── Verbs ────────────────────────────────────────────────────────────────────────────────────────

Verb = Callable[[World, Mapping[str, str], Json], Response]


def _get_user(world: World, path: Mapping[str, str], body: Json) -> Response:
    return JSONResponse({**_user(world, world.bot), "is_admin": world.bot_is_admin})


def _get_token(world: World, path: Mapping[str, str], body: Json) -> Response:
    token = {"id": 1, "name": "secbridge", "scopes": world.scopes, "active": True, "revoked": False}
    return JSONResponse({**token, "expires_at": world.expires_at})


def _find_users(world: World, path: Mapping[str, str], body: Json) -> Response:
    wanted = body.get("username", "").lower()
    found = [number for number, name in world.users.items() if name.lower() == wanted]
    return JSONResponse([_user(world, number) for number in found])


def _get_project(world: World, path: Mapping[str, str], body: Json) -> Response:
    access = {"access_level": world.access_level, "notification_level": 3}
    return JSONResponse(
        {
            "id": 7,
            "path_with_namespace": world.project,
            "visibility": world.visibility,
            "archived": world.archived,
            "issues_enabled": world.issues_enabled,
            "issues_access_level": "enabled" if world.issues_enabled else "disabled",
            "permissions": {
                "project_access": access if world.access_level else None,
                "group_access": None,
            },
        }
    )


def _get_labels(world: World, path: Mapping[str, str], body: Json) -> Response:
    labels = [{"id": number, "name": name} for number, name in enumerate(world.labels, start=1)]
    return JSONResponse(_page(labels, body))


def _get_members(world: World, path: Mapping[str, str], body: Json) -> Response:
    wanted = {int(body["user_ids[]"])} if "user_ids[]" in body else world.members
    return JSONResponse([_user(world, number) for number in sorted(wanted & world.members)])


def _list_issues(world: World, path: Mapping[str, str], body: Json) -> Response:
    found = sorted(world.issues.values(), key=lambda issue: issue["iid"])
    if "author_id" in body:
        found = [issue for issue in found if issue["author_id"] == int(body["author_id"])]
    if "created_after" in body:
        after = datetime.fromisoformat(body["created_after"])
        found = [one for one in found if datetime.fromisoformat(one["created_at"]) > after]
    if body.get("state") in {"opened", "closed"}:
        found = [issue for issue in found if issue["state"] == body["state"]]
    if "confidential" in body:
        wanted = body["confidential"] == "true"
        found = [issue for issue in found if issue["confidential"] is wanted]
    if body.get("sort", "desc") == "desc":
        found.reverse()
    return JSONResponse([_issue(world, issue) for issue in _page(found, body)])


def _create_issue(world: World, path: Mapping[str, str], body: Json) -> Response:
    if not body.get("title"):
        return JSONResponse({"message": {"title": ["can't be blank"]}}, 400)
    iid = len(world.issues) + 1
    issue: Json = {
        "id": world.next_id(),
        "iid": iid,
        "author_id": world.bot,
        "title": body["title"],
        "description": None,
        "state": "opened",
        "created_at": _now(),
        "updated_at": _now(),
        "closed_at": None,
        "labels": [] if world.behaves("labels-dropped") else _labels(body.get("labels", "")),
        "due_date": body.get("due_date"),
        "confidential": bool(body.get("confidential"))
        and not world.behaves("confidential-ignored"),
        "assignee_ids": []
        if world.behaves("assignees-dropped")
        else _assignable(world, body.get("assignee_ids", [])),
    }
    world.issues[iid], world.notes[iid] = issue, []
    issue["description"] = _take_text(world, issue, body.get("description", ""), f"issue {iid}")
    return JSONResponse(_issue(world, issue), 201)


def _read_issue(world: World, path: Mapping[str, str], body: Json) -> Response:
    issue = world.issues.get(int(path["iid"]))
    if issue is None:
        return JSONResponse({"message": "404 Issue Not Found"}, 404)
    return JSONResponse(_issue(world, issue))


def _update_issue(world: World, path: Mapping[str, str], body: Json) -> Response:
    issue = world.issues.get(int(path["iid"]))
    if issue is None:
        return JSONResponse({"message": "404 Issue Not Found"}, 404)
    if "confidential" in body:
        if world.behaves("confidential-put-forbidden"):
            return JSONResponse({"message": "403 Forbidden"}, 403)
        if not world.behaves("confidential-put-ignored"):
            issue["confidential"] = body["confidential"]
    _update_labels(world, issue, body)
    if "assignee_ids" in body:
        issue["assignee_ids"] = _assignable(world, body["assignee_ids"])
    issue["due_date"] = body.get("due_date", issue["due_date"])
    if "state_event" in body:
        issue["state"] = "closed" if body["state_event"] == "close" else "opened"
    if "description" in body:
        _update_text(world, issue, body["description"])
    issue["updated_at"] = _now()
    return JSONResponse(_issue(world, issue))


def _update_labels(world: World, issue: Json, body: Json) -> None:
    if "add_labels" in body and not world.behaves("labels-put-dropped"):
        issue["labels"] = sorted({*issue["labels"], *_labels(body["add_labels"])})
    gone = _labels(body.get("remove_labels", ""))
    issue["labels"] = [name for name in issue["labels"] if name not in gone]


def _update_text(world: World, issue: Json, text: str) -> None:
    issue["description"] = _take_text(world, issue, text, f"issue {issue['iid']}")
    if world.behaves("text-mangled"):
        issue["description"] = issue["description"].replace("\n ", "\n")
    if world.behaves("opens-to-public"):
        issue["confidential"] = False


def _list_notes(world: World, path: Mapping[str, str], body: Json) -> Response:
    notes = list(world.notes.get(int(path["iid"]), []))
    if body.get("sort", "desc") == "desc":
        notes.reverse()
    return JSONResponse([_note(world, note) for note in _page(notes, body)])


def _create_note(world: World, path: Mapping[str, str], body: Json) -> Response:
    issue = world.issues.get(int(path["iid"]))
    if issue is None:
        return JSONResponse({"message": "404 Issue Not Found"}, 404)
    text = _take_text(world, issue, body.get("body", ""), f"note on {issue['iid']}")
    if not text:
        return JSONResponse({"commands_changes": {}, "summary": ["Commands applied."]}, 202)
    note = {
        "id": world.next_id(),
        "body": text,
        "author_id": world.bot,
        "created_at": _now(),
        "updated_at": _now(),
        "noteable_id": issue["id"],
        "noteable_iid": issue["iid"],
        "internal": bool(body.get("internal")) and not world.behaves("internal-ignored"),
    }
    world.notes[issue["iid"]].append(note)
    return JSONResponse(_note(world, note), 201)


def _read_note(world: World, path: Mapping[str, str], body: Json) -> Response:
    for note in world.notes.get(int(path["iid"]), []):
        if note["id"] == int(path["note"]):
            return JSONResponse(_note(world, note))
    return JSONResponse({"message": "404 Note Not Found"}, 404)


def _update_note(world: World, path: Mapping[str, str], body: Json) -> Response:
    issue = world.issues[int(path["iid"])]
    for note in world.notes.get(int(path["iid"]), []):
        if note["id"] == int(path["note"]):
            note["body"] = _take_text(world, issue, body["body"], f"note on {issue['iid']}")
            return JSONResponse(_note(world, note))
    return JSONResponse({"message": "404 Note Not Found"}, 404)


def _page(items: Sequence[Json], query: Json) -> list[Json]:
    size, page = int(query.get("per_page", 20)), int(query.get("page", 1))
    return list(items[size * (page - 1) : size * page])


def _labels(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def _assignable(world: World, wanted: Sequence[int]) -> list[int]:
    """Return who may be assigned; GitLab drops the others without a word."""
    people = [number for number in wanted if number in world.members]
    return people if world.several_assignees else people[:1]


VERBS: Mapping[tuple[str, str], tuple[str, Verb]] = {
    ("GET", "/user"): ("user", _get_user),
    ("GET", "/personal_access_tokens/self"): ("token", _get_token),
    ("GET", "/users"): ("users", _find_users),
    ("GET", "/projects/{project}"): ("project", _get_project),
    ("GET", "/projects/{project}/labels"): ("labels", _get_labels),
    ("GET", "/projects/{project}/members/all"): ("members", _get_members),
    ("GET", "/projects/{project}/issues"): ("list-issues", _list_issues),
    ("POST", "/projects/{project}/issues"): ("create-issue", _create_issue),
    ("GET", "/projects/{project}/issues/{iid}"): ("read-issue", _read_issue),
    ("PUT", "/projects/{project}/issues/{iid}"): ("update-issue", _update_issue),
    ("GET", "/projects/{project}/issues/{iid}/notes"): ("list-notes", _list_notes),
    ("POST", "/projects/{project}/issues/{iid}/notes"): ("create-note", _create_note),
    ("GET", "/projects/{project}/issues/{iid}/notes/{note}"): ("read-note", _read_note),
    ("PUT", "/projects/{project}/issues/{iid}/notes/{note}"): ("update-note", _update_note),
}


# ── Serving, with faults ─────────────────────────────────────────────────────────────────────────


class Dropped(Exception):  # noqa: N818 - what happened, not an error
    """The connection goes down now, without another octet."""


class Server:
    """The ASGI application around a World."""

    def __init__(self) -> None:
        self.world = World()
        self.freed = asyncio.Event()
        self.transports: dict[tuple[str, int], asyncio.Transport] = {}

    def app(self) -> ASGIApp:
        """Return the application; paths stay percent-encoded, because a project has a slash."""
        routes = [
            Route("/_control", self._control, methods=["POST"]),
            Route("/_settings", self._settings, methods=["POST"]),
            Route("/_edit", self._edit, methods=["POST"]),
            Route("/_reset", self._reset, methods=["POST"]),
            Route("/_release", self._release, methods=["POST"]),
            Route("/_state", self._state),
            Route("/_elsewhere/{rest:path}", self._elsewhere, methods=["GET", "POST", "PUT"]),
        ]
        for (method, path), (kind, verb) in VERBS.items():
            endpoint = self._endpoint(kind, verb)
            routes.append(Route(f"/api/v4{path}", endpoint, methods=[method]))
        inner = Starlette(routes=routes)

        async def encoded(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                scope = {**scope, "path": scope["raw_path"].decode()}
            with contextlib.suppress(Dropped):
                await inner(scope, receive, send)

        return encoded

    def _endpoint(self, kind: str, verb: Verb) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            return await self._answer(request, kind, verb)

        return endpoint

    async def _answer(self, request: Request, kind: str, verb: Verb) -> Response:
        body = await _body(request)
        allowed = self._knows_token(request)
        self.world.requests.append(
            {"kind": kind, "method": request.method, "token": allowed, "body": body}
        )
        if not allowed:
            return JSONResponse({"message": "401 Unauthorized"}, 401)
        project = unquote(request.path_params.get("project", self.world.project))
        if project not in {self.world.project, "7"}:
            return JSONResponse({"message": "404 Project Not Found"}, 404)

        def act() -> Response:
            return verb(self.world, request.path_params, body)

        fault = self.world.transport_fault(kind, request.method)
        return act() if fault is None else await self._fail(fault, request, act)

    def _knows_token(self, request: Request) -> bool:
        private, bearer = request.headers.get("private-token"), request.headers.get("authorization")
        return private == self.world.token or bearer == f"Bearer {self.world.token}"

    async def _fail(  # noqa: C901 - a table of faults, one line each
        self, fault: Fault, request: Request, act: Callable[[], Response]
    ) -> Response:
        commands = {"commands_changes": {}, "summary": ["Commands applied."]}
        match fault.name:
            case "202-without-id":
                return JSONResponse(commands, 202)
            case "202-without-id-after":
                act()
                return JSONResponse(commands, 202)
            case "201-empty":
                return JSONResponse({}, 201)
            case "307" | "302":
                return self._redirect(int(fault.name), request)
            case "500-before":
                return JSONResponse({"message": "500 Internal Server Error"}, 500)
            case "500-after":
                act()
                return JSONResponse({"message": "500 Internal Server Error"}, 500)
            case "503-before" | "429":
                headers = {"Retry-After": fault.retry_after}
                return JSONResponse({"message": "later"}, int(fault.name[:3]), headers)
            case "drop-before":
                await self._drop(request)
            case "drop-after":
                act()
                await self._drop(request)
            case "drop-midbody":
                return _HalfAnswer(act())
            case "html-200":
                return HTMLResponse("<html><body>Please sign in</body></html>")
            case "html-200-after":
                act()
                return HTMLResponse("<html><body>Please sign in</body></html>")
            case "junk-201-after":
                act()
                return Response(b'{"id": 1, "iid', 201, media_type="application/json")
            case "slow-before":
                await self._hang(request)
            case "slow-after":
                act()
                await self._hang(request)
            case "late":
                self.world.late.append(act)
                await self._hang(request)
            case _:
                return JSONResponse({"message": f"{fault.name} as ordered"}, int(fault.name))
        raise Dropped

    def _redirect(self, status: int, request: Request) -> Response:
        other = self.world.base.replace("127.0.0.1", "localhost")
        location = f"{other}/_elsewhere{request.url.path}"
        return Response(status_code=status, headers={"Location": location})

    async def _drop(self, request: Request) -> None:
        client = request.scope["client"]
        self.transports[client].abort()
        await asyncio.sleep(0)
        raise Dropped

    async def _hang(self, request: Request) -> None:
        """Hold the answer back until the client has gone or the test lets go."""
        release = asyncio.ensure_future(self.freed.wait())
        gone = asyncio.ensure_future(_until_gone(request))
        await asyncio.wait({release, gone}, return_when=asyncio.FIRST_COMPLETED)
        for task in (release, gone):
            task.cancel()
        await self._drop(request)

    # ── From outside ──────────────────────────────────────────────────────────────────────────────

    async def _control(self, request: Request) -> Response:
        order = await request.json()
        name = order["fault"]
        if name not in FAULTS:
            return JSONResponse({"error": f"no such fault: {name}"}, 400)
        self.world.faults.append(
            Fault(
                name,
                order.get("on") or FAULTS[name],
                int(order.get("count", 1)),
                int(order.get("skip", 0)),
                str(order.get("retry_after", "7")),
            )
        )
        return JSONResponse({})

    async def _settings(self, request: Request) -> Response:
        for name, value in (await request.json()).items():
            kept = getattr(self.world, name)
            if isinstance(kept, set):
                value = set(value)
            if isinstance(kept, dict):
                value = {int(number): one for number, one in value.items()}
            setattr(self.world, name, value)
        return JSONResponse({})

    async def _edit(self, request: Request) -> Response:
        """Change an issue as a person would, by hand."""
        order = await request.json()
        self.world.issues[order.pop("iid")].update(order)
        return JSONResponse({})

    async def _reset(self, request: Request) -> Response:
        self.freed.set()
        self.freed = asyncio.Event()
        self.world = World(base=self.world.base)
        return JSONResponse({})

    async def _release(self, request: Request) -> Response:
        """Let what was late take effect now."""
        late, self.world.late = self.world.late, []
        for act in late:
            act()
        return JSONResponse({"acted": len(late)})

    async def _state(self, request: Request) -> Response:
        world = self.world
        return JSONResponse(
            {
                "issues": [_issue(world, issue) for issue in world.issues.values()],
                "notes": {
                    str(iid): [_note(world, note) for note in notes]
                    for iid, notes in world.notes.items()
                },
                "requests": world.requests,
                "acts": world.acts,
                "elsewhere": world.elsewhere,
            }
        )

    async def _elsewhere(self, request: Request) -> Response:
        """Be the other host to which a redirect leads, and remember what it was given."""
        self.world.elsewhere.append(
            {
                "token": "private-token" in request.headers or "authorization" in request.headers,
                "body": bool(await request.body()),
            }
        )
        return JSONResponse({"id": 1, "iid": 1, "confidential": True, "labels": ["Security"]}, 201)


class _HalfAnswer(Response):
    """An answer of which the second half never comes."""

    def __init__(self, whole: Response) -> None:
        super().__init__(bytes(whole.body), whole.status_code, media_type="application/json")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        content = bytes(self.body)
        await send(
            {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        )
        half = content[: len(content) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})
        raise Dropped


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _body(request: Request) -> Json:
    """Return the JSON of a write, or the query of a read."""
    if request.method == "GET":
        query = parse_qs(request.url.query)
        return {name: values[-1] for name, values in query.items()}
    content = await request.body()
    return dict(json.loads(content)) if content else {}


def _protocol(server: Server) -> type[H11Protocol]:
    class Remembering(H11Protocol):
        """Keeps each connection's transport, so that a fault can cut it."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
            super().connection_made(transport)
            if self.client is not None:
                server.transports[self.client] = transport

    return Remembering


async def _serve(port: int, *, until_orphaned: bool) -> None:
    server = Server()
    config = uvicorn.Config(
        server.app(), http=_protocol(server), ws="none", lifespan="off", log_level="critical",
        access_log=False, timeout_graceful_shutdown=1,
    )  # fmt: skip
    with socket.create_server(("127.0.0.1", port)) as listening:
        host, real_port = listening.getsockname()[:2]
        server.world.base = f"http://{host}:{real_port}"
        ready = {"url": server.world.base, "token": TOKEN, "project": PROJECT}
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        running = uvicorn.Server(config)
        watching = asyncio.ensure_future(_stop_at_eof(running)) if until_orphaned else None
        await running.serve(sockets=[listening])
        if watching is not None:
            watching.cancel()


async def _stop_at_eof(running: uvicorn.Server) -> None:
    """Stop when stdin ends: then the tests that started us are gone, however they went."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()
    running.should_exit = True


# ── The handle for tests ─────────────────────────────────────────────────────────────────────────


class FakeGitLab:
    """A fake GitLab in a process of its own; ``url``, ``token``, ``project`` go into settings."""

    def __init__(self, process: subprocess.Popen[str], url: str, token: str, project: str) -> None:
        self._process = process
        self.url = url
        self.token = token
        self.project = project

    @classmethod
    @contextmanager
    def start(cls, *, port: int = 0) -> Iterator[Self]:
        """Start one on a free loopback port, and stop it afterwards."""
        command = [sys.executable, "-m", "tests.support.fake_gitlab", "--port", str(port)]
        root, pipe = Path(__file__).resolve().parents[2], subprocess.PIPE
        with subprocess.Popen(
            [*command, "--until-orphaned"], cwd=root, stdin=pipe, stdout=pipe, text=True
        ) as process:
            try:
                assert process.stdout is not None
                ready = json.loads(process.stdout.readline())
                yield cls(process, ready["url"], ready["token"], ready["project"])
            finally:
                process.terminate()
                process.wait(10)

    def fault(self, name: str, count: int = 1, *, on: str = "", skip: int = 0, **more: str) -> None:
        """Arm a fault for the next ``count`` requests of kind ``on``, after ``skip`` of them."""
        order = {"fault": name, "count": count, "on": on, "skip": skip, **more}
        self._call("/_control", order)

    def settings(self, **values: object) -> None:
        """Change the project, the account or the people: see ``World``."""
        self._call("/_settings", values)

    def edit(self, iid: int, **values: object) -> None:
        """Change fields of an issue, as a person of the team would by hand."""
        self._call("/_edit", {"iid": iid, **values})

    def reset(self) -> None:
        """Forget everything."""
        self._call("/_reset", {})

    def release(self) -> int:
        """Let requests that hung as ``late`` take effect now, and return how many did."""
        return int(self._call("/_release", {})["acted"])

    def issues(self) -> list[Json]:
        """Return all issues, oldest first, as the API shows them."""
        return list(self._state()["issues"])

    def notes(self, iid: int) -> list[Json]:
        """Return the notes of an issue, oldest first."""
        return list(self._state()["notes"][str(iid)])

    def requests(self, kind: str = "") -> list[Json]:
        """Return the requests that came, with their bodies, all or those of one kind."""
        return [one for one in self._state()["requests"] if kind in {"", one["kind"]}]

    def events(self) -> list[Json]:
        """Return what texts did: quick actions that acted, and what was alive in them."""
        return list(self._state()["acts"])

    def elsewhere(self) -> list[Json]:
        """Return what the other host, to which redirects lead, was given."""
        return list(self._state()["elsewhere"])

    def _state(self) -> Json:
        return self._call("/_state", None)

    def _call(self, path: str, order: Mapping[str, object] | None) -> Json:
        data = None if order is None else json.dumps(order).encode()
        request = urllib.request.Request(self.url + path, data=data)  # noqa: S310 - our own loopback
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - our own loopback
            return dict(json.load(answer))


def main() -> None:
    """Serve until a signal says stop; the first line of stdout tells the address as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--until-orphaned", action="store_true", help="stop when stdin ends")
    given = parser.parse_args()
    asyncio.run(_serve(given.port, until_orphaned=given.until_orphaned))


if __name__ == "__main__":
    main()
