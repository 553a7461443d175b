"""How would a GitLab answer?  A small stateful one over real HTTP, whose faults come from outside.

Started as a process of its own (``python -m tests.support.fake_gitlab``, see ``fake_server``), it
knows one project, a bot with a token, a few people, issues, notes and labels.  It executes quick
actions and records what a text would wake (see ``fake_gitlab_text``).

``FakeGitLab`` is the handle for tests::

    with FakeGitLab.start() as gitlab:
        gitlab.fault("drop-after", on="create-issue")
        ...
        assert [issue["title"] for issue in gitlab.issues()] == ["Security report SB-2026-0001"]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from tests.support import fake_server
from tests.support.fake_gitlab_text import QuickAction, alive, extract

Json = dict[str, Any]

TOKEN = "glpat-fake-0123456789"
PROJECT = "group/security"
BOT = 42

BEHAVIOURS: Mapping[str, str] = {
    "confidential-ignored": "create-issue",
    "confidential-put-ignored": "update-issue",
    "confidential-put-forbidden": "update-issue",
    "labels-dropped": "create-issue",
    "labels-put-dropped": "update-issue",
    "assignees-dropped": "create-issue",
    "internal-ignored": "create-note",
    "text-mangled": "update-issue",
    "opens-to-public": "update-issue",
}
"""What the tracker may do with what it is told, and the kind of request that each belongs to."""

# ── State ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class World(fake_server.World):
    """All that the fake GitLab remembers."""

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

    def state(self) -> Json:
        """Return issues and notes as the API shows them."""
        return {
            "issues": [_issue(self, issue) for issue in self.issues.values()],
            "notes": {
                str(iid): [_note(self, note) for note in notes] for iid, notes in self.notes.items()
            },
        }

    def edit(self, order: Json) -> None:
        """Change an issue as a person would, by hand."""
        self.issues[order.pop("number")].update(order)


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


class Server(fake_server.Server[World]):
    """The fake GitLab behind HTTP."""

    verbs = VERBS
    behaviours = BEHAVIOURS
    prefix = "/api/v4"

    def new_world(self, base: str) -> World:
        """Return an empty GitLab."""
        return World(base=base)

    def ready(self) -> Json:
        """Return where it is and how one gets in."""
        return {"url": self.world.base, "token": TOKEN, "project": PROJECT}

    def refusal(self, request: Request, kind: str) -> Response | None:
        """Refuse a wrong token, and know one project only."""
        if not self._knows_token(request):
            return JSONResponse({"message": "401 Unauthorized"}, 401)
        project = unquote(request.path_params.get("project", self.world.project))
        if project not in {self.world.project, "7"}:
            return JSONResponse({"message": "404 Project Not Found"}, 404)
        return None

    def from_elsewhere(self) -> Json:
        """Return an issue that looks just right."""
        return {"id": 1, "iid": 1, "confidential": True, "labels": ["Security"]}

    def without_id(self) -> Response:
        """Return what a note of quick actions alone is answered with."""
        return JSONResponse({"commands_changes": {}, "summary": ["Commands applied."]}, 202)

    def _knows_token(self, request: Request) -> bool:
        private, bearer = request.headers.get("private-token"), request.headers.get("authorization")
        return private == self.world.token or bearer == f"Bearer {self.world.token}"


class FakeGitLab(fake_server.Handle):
    """A fake GitLab in a process of its own."""

    module = "tests.support.fake_gitlab"

    def issues(self) -> list[Json]:
        """Return all issues, oldest first, as the API shows them."""
        return list(self.state()["issues"])

    def notes(self, iid: int) -> list[Json]:
        """Return the notes of an issue, oldest first."""
        return list(self.state()["notes"][str(iid)])


if __name__ == "__main__":
    fake_server.serve(Server)
