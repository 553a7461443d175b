"""How would a GitHub answer?  A small stateful one over real HTTP, whose faults come from outside.

Started as a process of its own (``python -m tests.support.fake_github``, see ``fake_server``), it
knows one private repository and a few around it, a bot with a token, an App with an installation,
people with roles, issues, comments, files and advisories.  It drops what an account may not set,
records what a text would wake (``fake_github_text``), and everything that it is asked and says is
held against GitHub's specification (``fake_github_spec``).  The comments on advisories are in no
specification: they are built from GitHub's announcement of the preview.

``FakeGitHub`` is the handle for tests::

    with FakeGitHub.start() as github:
        github.settings(visibility="public")
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote, urlencode

import jwt
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from tests.support import fake_github_shapes as shapes
from tests.support import fake_server
from tests.support.fake_github_shapes import now
from tests.support.fake_github_spec import violations, warm
from tests.support.fake_github_text import alive

Json = dict[str, Any]

TOKEN = "github_pat_fake0123456789"
PROJECT = "octo/reports"
BOT = "secbridge-bot"
OTHERS = {
    "octo/product": "public",
    "octo/beside": "private",
    "octo/elsewhere": "private",
    "octo/open": "public",
}
"""The other repositories: code with advisories, one beside it, and two to transfer issues to."""

BEHAVIOURS: Mapping[str, str] = {
    "opens-to-public": "create-issue",
    "opens-while-told": "update-issue",
    "opens-while-commented": "create-note",
    "labels-dropped": "create-issue",
    "added-labels-dropped": "add-labels",
    "milestone-dropped": "create-issue",
    "text-mangled": "update-issue",
    "publishes": "update-advisory",
    "collaborators-refused": "update-advisory",
    "conflict": "put-file",
}
"""What GitHub, or somebody there, may do with what it is told."""

LIMITS: Mapping[str, str] = {
    "secondary-limit": "post",
    "primary-limit": "post",
    "message-is-no-text": "post",
    "202-to-a-read": "get",
}
"""Answers that only a GitHub gives; like a fault of transport, they wait for a kind of request."""

# ── State ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class World(fake_server.World):
    """All that the fake GitHub remembers.  Issues stand under ``owner/name#number``."""

    token: str = TOKEN
    project: str = PROJECT
    bot: str = BOT
    visibility: str = "private"
    visibilities: dict[str, str] = field(default_factory=lambda: dict(OTHERS))
    archived: bool = False
    has_issues: bool = True
    push: bool = True
    admin: bool = False
    allow_forking: bool = False
    has_pages: bool = False
    watchers: int = 2
    headers: dict[str, str] = field(default_factory=dict)
    labels: list[str] = field(default_factory=lambda: ["Security"])
    users: dict[str, int] = field(
        default_factory=lambda: {BOT: 42, "alex": 1, "kim": 2, "outsider": 3}
    )
    roles: dict[str, str] = field(
        default_factory=lambda: {BOT: "write", "alex": "maintain", "kim": "triage"}
    )
    outsiders: list[str] = field(default_factory=list)
    hooks: list[Json] | None = None
    fields: list[str] = field(default_factory=list)
    types: list[str] = field(default_factory=list)
    reporting: bool = True
    app_id: str = "77"
    app_key: str = ""
    app_slug: str = "secbridge"
    app_permissions: dict[str, str] = field(
        default_factory=lambda: {"issues": "write", "contents": "write", "metadata": "read"}
    )
    token_life: int = 3600
    leased: list[Json] = field(default_factory=list)
    issues: dict[str, Json] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    notes: list[Json] = field(default_factory=list)
    milestones: dict[str, list[Json]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    advisories: dict[str, Json] = field(default_factory=dict)
    advisory_notes: list[Json] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def state(self) -> Json:
        """Return what the tests may see, issues and advisories as the API shows them."""
        return {
            "issues": [shapes.issue(self.base, one) for one in self.issues.values()],
            "notes": [shapes.comment(self.base, one) for one in self.notes],
            "advisories": [shapes.advisory(self.base, one) for one in self.advisories.values()],
            "advisory_notes": self.advisory_notes,
            "files": self.files,
            "milestones": self.milestones,
            "leased": self.leased,
            "violations": self.violations,
            "visibility": self.visibility,
        }

    def edit(self, order: Json) -> None:
        """Do something as a person would: change an issue, write a comment, transfer."""
        number = str(order.pop("number"))
        if number.startswith("GHSA"):
            self._edit_advisory(number, order)
            return
        name = number if "#" in number else f"{self.project}#{number}"
        if "transfer" in order:
            self._transfer(name, order["transfer"])
        elif "comment" in order:
            self._comment(name, order)
        elif "edit_comment" in order:
            changed = order["edit_comment"]
            (note,) = [one for one in self.notes if one["id"] == changed["id"]]
            note.update(updated_at=now(), **changed)
            self.issues[name]["updated_at"] = now()
        elif "comments" in order:
            self._comments(name, order)
        elif "fill" in order:
            self._fill(order["fill"])
        elif "drafts" in order:
            self._drafts(order["drafts"])
        elif "open" in order:
            self._open(name, order)
        else:
            kept = self.issues[name]
            if all(isinstance(label, str) for label in order.get("labels", [{}])):
                order["labels"] = _labels(self, kept["repository"], order["labels"])
            if "assignees" in order:
                order["assignees"] = [self.person(login) for login in order["assignees"]]
            kept.update({"updated_at": now()} | order)

    def _edit_advisory(self, ghsa: str, order: Json) -> None:
        kept = self.advisories[ghsa]
        if "comment" in order:
            self.advisory_notes.append(_advisory_note(self, ghsa, order["comment"], order["by"]))
        else:
            kept.update({"updated_at": now()} | order)

    def _transfer(self, name: str, project: str) -> None:
        kept = self.issues.pop(name)
        number = _next_number(self, project)
        for note in self.notes:
            if (note["repository"], note["issue"]) == (kept["repository"], kept["number"]):
                note.update(repository=project, issue=number)
        kept.update(repository=project, number=number, id=self.next_id())
        self.issues[f"{project}#{number}"] = kept
        self.moved[name] = f"{project}#{number}"

    def _comment(self, name: str, order: Json) -> None:
        kept = self.issues[name]
        note = _note(self, kept["repository"], kept["number"], order["comment"], order["by"])
        note["updated_at"] = note["created_at"] = order.get("at", note["created_at"])
        kept["updated_at"] = max(kept["updated_at"], note["updated_at"])
        self.notes.append(note)

    def _comments(self, name: str, order: Json) -> None:
        """Let a person write many comments, one each second from now on."""
        began = datetime.now(UTC)
        for number in range(order["comments"]):
            when = (began + timedelta(seconds=number)).strftime("%Y-%m-%dT%H:%M:%SZ")
            self._comment(name, {"comment": f"c{number}", "by": order["by"], "at": when})

    def _fill(self, count: int) -> None:
        """Let there be many more issues of the bot's."""
        for _ in range(count):
            kept = _new_issue(self, self.project, {"title": "x", "body": "y"}, self.bot)
            self.issues[f"{self.project}#{kept['number']}"] = kept

    def _drafts(self, count: int) -> None:
        """Let there be as many drafts like the one that is there, made later than it."""
        (kept,) = self.advisories.values()
        later = {"description": "x", "created_at": "2999-01-01T00:00:00Z"}
        for number in range(count):
            ghsa = f"GHSA-aaaa-bbbb-{number:04d}"
            self.advisories[ghsa] = {**kept, **later, "ghsa_id": ghsa}

    def _open(self, name: str, order: Json) -> None:
        """Let a person open an issue of their own."""
        project, _, number = name.partition("#")
        kept = _new_issue(self, project, {"title": order["open"], "body": ""}, order["by"])
        kept.update(number=int(number), labels=_labels(self, project, order.get("labels", [])))
        self.issues[name] = kept

    # ── Small change ──────────────────────────────────────────────────────────────────────────────

    def seen_as(self, project: str) -> str:
        """Return a repository's visibility."""
        return self.visibility if project == self.project else self.visibilities.get(project, "")

    def person(self, login: str) -> Json:
        """Return an account as answers show it."""
        return shapes.user(self.base, login, self.users.get(login, 800))

    def leases(self, token: str) -> bool:
        """Return whether a token is one of the installation's that has not ended."""
        for lease in self.leased:
            if lease["token"] == token:
                return datetime.fromisoformat(lease["expires_at"]) > datetime.now(UTC)
        return False


# ── Entities ─────────────────────────────────────────────────────────────────────────────────────


def _repository(world: World, project: str) -> Json:
    visibility = world.seen_as(project)
    given = {
        "private": visibility != "public",
        "visibility": visibility,
        "archived": world.archived,
        "has_issues": world.has_issues,
        "allow_forking": world.allow_forking,
        "has_pages": world.has_pages,
        "subscribers_count": world.watchers,
        "permissions": {
            "pull": True,
            "triage": world.push,
            "push": world.push,
            "maintain": world.admin,
            "admin": world.admin,
        },
    }
    return shapes.repository(world.base, project, _number_of(project), given)


def _number_of(project: str) -> int:
    return 100 + [PROJECT, *OTHERS].index(project) if project in {PROJECT, *OTHERS} else 100


def _next_number(world: World, project: str) -> int:
    numbers = [one["number"] for one in world.issues.values() if one["repository"] == project]
    return max(numbers, default=0) + 1


def _labels(world: World, project: str, names: Sequence[str]) -> list[Json]:
    """Return labels; GitHub makes those that there are not, for who may push."""
    for name in names:
        if name not in world.labels:
            world.labels.append(name)
    return [
        shapes.label(world.base, project, 600 + world.labels.index(name), name) for name in names
    ]


def _new_issue(world: World, project: str, body: Json, author: str) -> Json:
    when = now()
    return {
        "id": world.next_id(),
        "repository": project,
        "number": _next_number(world, project),
        "user": world.person(author),
        "title": body["title"],
        "body": body.get("body"),
        "state": "open",
        "labels": [],
        "assignees": [],
        "milestone": None,
        "issue_field_values": [],
        "comments": 0,
        "created_at": when,
        "updated_at": when,
    }


def _note(world: World, project: str, number: int, text: str, author: str) -> Json:
    when = now()
    return {
        "id": world.next_id(),
        "repository": project,
        "issue": number,
        "user": world.person(author),
        "body": text,
        "created_at": when,
        "updated_at": when,
    }


def _take_text(world: World, project: str, text: str, where: str) -> str:
    """Record what a text would wake, and that it stands where everybody reads."""
    world.acts += [
        {"kind": "alive", "where": where, "what": what}
        for what in alive(text, ours=f"{world.base}/")
    ]
    if world.seen_as(project) == "public":
        world.acts.append({"kind": "public", "where": where, "what": text})
    return text


def _set_fields(world: World, kept: Json, body: Json) -> None:
    """Set what only an account may that can push; GitHub drops it else without a word."""
    project = kept["repository"]
    if not world.push:
        return
    if "labels" in body:
        kept["labels"] = _labels(world, project, body["labels"])
    if "assignees" in body:
        kept["assignees"] = [world.person(name) for name in body["assignees"]]
    if "milestone" in body and not world.behaves("milestone-dropped"):
        found = [one for one in world.milestones[project] if one["number"] == body["milestone"]]
        kept["milestone"] = shapes.milestone(world.base, project, found[0], world.person(world.bot))
    if body.get("type") in world.types:
        name = body["type"]
        kept["type"] = {"id": 1, "node_id": "IT_1", "name": name, "description": None}
    if "issue_field_values" in body:
        kept["issue_field_values"] = [
            {
                "issue_field_id": value["field_id"],
                "issue_field_name": world.fields[value["field_id"] - 1],
                "node_id": "IFT_1",
                "data_type": "date",
                "value": value["value"],
            }
            for value in body["issue_field_values"]
        ]


# ── Verbs ────────────────────────────────────────────────────────────────────────────────────────

Verb = Callable[[World, Mapping[str, str], Json], Response]


def _error(status: int, message: object) -> Response:
    return JSONResponse({"message": message, "documentation_url": "https://x"}, status)


def _missing() -> Response:
    return _error(404, "Not Found")


def _invalid(field_name: str, code: str = "invalid") -> Response:
    errors = [{"resource": "Issue", "field": field_name, "code": code}]
    return JSONResponse(
        {"message": "Validation Failed", "documentation_url": "x", "errors": errors}, 422
    )


def _project(path: Mapping[str, str]) -> str:
    return f"{unquote(path['owner'])}/{unquote(path['repo'])}"


def _get_user(world: World, path: Mapping[str, str], body: Json) -> Response:
    return JSONResponse(shapes.me(world.person(world.bot)))


def _get_account(world: World, path: Mapping[str, str], body: Json) -> Response:
    login = unquote(path["login"])
    return JSONResponse(world.person(login)) if login in world.users else _missing()


def _get_repository(world: World, path: Mapping[str, str], body: Json) -> Response:
    return JSONResponse(_repository(world, _project(path)), headers=world.headers)


def _get_assignee(world: World, path: Mapping[str, str], body: Json) -> Response:
    logins = {login.casefold() for login in world.roles}
    return Response(status_code=204) if unquote(path["login"]).casefold() in logins else _missing()


def _get_permission(world: World, path: Mapping[str, str], body: Json) -> Response:
    """Tell a person's role; ``permission`` knows the old names only, as GitHub's does."""
    login = unquote(path["login"])
    if login not in world.users:
        return _missing()
    role = world.roles.get(login, "read" if world.visibility == "public" else "none")
    old = {"maintain": "write", "triage": "read"}.get(role, role)
    user = {**world.person(login), "role_name": role}
    return JSONResponse({"permission": old, "role_name": role, "user": user})


def _get_outsiders(world: World, path: Mapping[str, str], body: Json) -> Response:
    if not world.push:
        return _error(403, "Must have push access to view repository collaborators.")
    return _listed(world, path, body, [world.person(login) for login in world.outsiders])


def _get_hooks(world: World, path: Mapping[str, str], body: Json) -> Response:
    return _missing() if world.hooks is None else _listed(world, path, body, world.hooks)


def _get_labels(world: World, path: Mapping[str, str], body: Json) -> Response:
    return _listed(world, path, body, _labels(world, _project(path), list(world.labels)))


def _get_milestones(world: World, path: Mapping[str, str], body: Json) -> Response:
    project, creator = _project(path), world.person(world.bot)
    kept = world.milestones.get(project, [])
    found = [shapes.milestone(world.base, project, one, creator) for one in kept]
    return _listed(world, path, body, found)


def _create_milestone(world: World, path: Mapping[str, str], body: Json) -> Response:
    project = _project(path)
    kept = world.milestones.setdefault(project, [])
    if not world.push:
        return _missing()
    if any(one["title"] == body["title"] for one in kept):
        return _invalid("title", "already_exists")
    made = {"number": len(kept) + 1, "title": body["title"], "due_on": body.get("due_on")}
    kept.append(made)
    creator = world.person(world.bot)
    return JSONResponse(shapes.milestone(world.base, project, made, creator), 201)


def _get_fields(world: World, path: Mapping[str, str], body: Json) -> Response:
    found = [
        {"id": number, "name": name, "data_type": "date"}
        for number, name in enumerate(world.fields, 1)
    ]
    return _listed(world, path, body, found)


def _get_types(world: World, path: Mapping[str, str], body: Json) -> Response:
    found = [{"id": number, "name": name} for number, name in enumerate(world.types, 1)]
    return _listed(world, path, body, found)


def _get_reporting(world: World, path: Mapping[str, str], body: Json) -> Response:
    return JSONResponse({"enabled": world.reporting})


# ── Issues ───────────────────────────────────────────────────────────────────────────────────────


def _list_issues(world: World, path: Mapping[str, str], body: Json) -> Response:
    project = _project(path)
    found = [one for one in world.issues.values() if one["repository"] == project]
    if "creator" in body:
        found = [one for one in found if one["user"]["login"] == body["creator"]]
    if body.get("state", "open") != "all":
        found = [one for one in found if one["state"] == body.get("state", "open")]
    found = _ordered(found, body)
    return _listed(world, path, body, [shapes.issue(world.base, one) for one in found])


def _create_issue(world: World, path: Mapping[str, str], body: Json) -> Response:
    project = _project(path)
    if not world.has_issues:
        return _error(410, "Issues are disabled for this repo")
    if world.archived:
        return _error(403, "Repository was archived so is read-only.")
    unknown = set(body.get("assignees", [])) - set(world.roles)
    if unknown and world.push:
        return _invalid("assignees")
    kept = _new_issue(world, project, body, world.bot)
    dropped = {"labels"} if world.behaves("labels-dropped") else set()
    _set_fields(world, kept, {name: body[name] for name in body if name not in dropped})
    world.issues[f"{project}#{kept['number']}"] = kept
    where = f"issue {kept['number']}"
    _take_text(world, project, f"{body['title']}\n\n{body.get('body', '')}", where)
    if world.behaves("opens-to-public"):
        world.visibility = "public"
    return JSONResponse(shapes.issue(world.base, kept), 201)


def _read_issue(world: World, path: Mapping[str, str], body: Json) -> Response:
    name = f"{_project(path)}#{path['number']}"
    if (there := world.moved.get(name)) is not None:
        return _elsewhere(world, there)
    if name not in world.issues:
        return _missing()
    return JSONResponse(shapes.issue(world.base, world.issues[name]))


def _read_transferred(world: World, path: Mapping[str, str], body: Json) -> Response:
    """Return an issue of a repository that is named by its number, as a redirect does."""
    project = [PROJECT, *OTHERS][int(path["id"]) - 100]
    names = dict(zip(("owner", "repo"), project.split("/"), strict=True))
    return _read_issue(world, {**names, "number": path["number"]}, body)


def _elsewhere(world: World, there: str) -> Response:
    project, _, number = there.partition("#")
    location = f"{world.base}/api/v3/repositories/{_number_of(project)}/issues/{number}"
    moved = {"message": "Moved Permanently", "url": location, "documentation_url": "x"}
    return JSONResponse(moved, 301, headers={"Location": location})


def _update_issue(world: World, path: Mapping[str, str], body: Json) -> Response:
    project, name = _project(path), f"{_project(path)}#{path['number']}"
    if name in world.moved:
        return _elsewhere(world, world.moved[name])
    if name not in world.issues:
        return _missing()
    kept = world.issues[name]
    _set_fields(world, kept, body)
    if "state" in body:
        kept["state"] = body["state"]
        kept["state_reason"] = body.get("state_reason") or _reason(body["state"])
    if "body" in body:
        kept["body"] = _take_text(world, project, body["body"], f"issue {kept['number']}")
        if world.behaves("text-mangled"):
            kept["body"] = kept["body"].replace("\n ", "\n")
        if world.behaves("opens-while-told"):
            world.visibility = "public"
    kept["updated_at"] = now()
    return JSONResponse(shapes.issue(world.base, kept))


def _reason(state: str) -> str:
    return "reopened" if state == "open" else "completed"


def _add_labels(world: World, path: Mapping[str, str], body: Json) -> Response:
    project, name = _project(path), f"{_project(path)}#{path['number']}"
    if name not in world.issues:
        return _missing()
    kept = world.issues[name]
    if not world.push:
        return _missing()
    if not world.behaves("added-labels-dropped"):
        have = [label["name"] for label in kept["labels"]]
        kept["labels"] = _labels(world, project, list(dict.fromkeys([*have, *body["labels"]])))
    kept["updated_at"] = now()
    return JSONResponse(kept["labels"])


def _remove_label(world: World, path: Mapping[str, str], body: Json) -> Response:
    kept, gone = world.issues[f"{_project(path)}#{path['number']}"], unquote(path["name"])
    left = [label for label in kept["labels"] if label["name"] != gone]
    if len(left) == len(kept["labels"]):
        return _error(404, "Label does not exist")
    kept["labels"] = left
    kept["updated_at"] = now()
    return JSONResponse(left)


# ── Comments ─────────────────────────────────────────────────────────────────────────────────────


def _list_notes(world: World, path: Mapping[str, str], body: Json) -> Response:
    name = f"{_project(path)}#{path['number']}"
    if name in world.moved:
        return _elsewhere(world, world.moved[name])
    found = [one for one in world.notes if f"{one['repository']}#{one['issue']}" == name]
    found = _ordered(found, {"direction": "asc", **body})
    return _listed(world, path, body, [shapes.comment(world.base, one) for one in found])


def _list_all_notes(world: World, path: Mapping[str, str], body: Json) -> Response:
    found = _ordered([one for one in world.notes if one["repository"] == _project(path)], body)
    return _listed(world, path, body, [shapes.comment(world.base, one) for one in found])


def _create_note(world: World, path: Mapping[str, str], body: Json) -> Response:
    project, name = _project(path), f"{_project(path)}#{path['number']}"
    if name in world.moved:
        return _elsewhere(world, world.moved[name])
    if name not in world.issues:
        return _missing()
    text = _take_text(world, project, body["body"], f"note on {path['number']}")
    note = _note(world, project, int(path["number"]), text, world.bot)
    world.notes.append(note)
    world.issues[name]["updated_at"] = note["updated_at"]
    if world.behaves("opens-while-commented"):
        world.visibility = "public"
    return JSONResponse(shapes.comment(world.base, note), 201)


def _note_of(world: World, path: Mapping[str, str]) -> Json | None:
    wanted = (_project(path), int(path["id"]))
    return next((one for one in world.notes if (one["repository"], one["id"]) == wanted), None)


def _read_note(world: World, path: Mapping[str, str], body: Json) -> Response:
    note = _note_of(world, path)
    return _missing() if note is None else JSONResponse(shapes.comment(world.base, note))


def _update_note(world: World, path: Mapping[str, str], body: Json) -> Response:
    note = _note_of(world, path)
    if note is None:
        return _missing()
    note["body"] = _take_text(world, _project(path), body["body"], f"note on {note['issue']}")
    note["updated_at"] = now()
    return JSONResponse(shapes.comment(world.base, note))


# ── Files ────────────────────────────────────────────────────────────────────────────────────────


def _put_file(world: World, path: Mapping[str, str], body: Json) -> Response:
    """Write a file; one that is there is not replaced without its digest."""
    project, file = _project(path), unquote(path["path"])
    name = f"{project}:{file}"
    if world.behaves("conflict"):
        return _error(409, "is at 1234 but expected 5678")
    if name in world.files:
        return _error(422, 'Invalid request.\n\n"sha" wasn\'t supplied.')
    world.files[name] = body["content"]
    world.acts += [{"kind": "public", "where": name}] * (world.seen_as(project) == "public")
    author = {"name": "x", "email": "x@example.org", "date": now()}
    commit = {"sha": "0" * 40, "author": author, "committer": author, "message": body["message"]}
    content = shapes.file(world.base, project, file, body["content"])
    return JSONResponse({"content": content, "commit": commit}, 201)


def _read_file(world: World, path: Mapping[str, str], body: Json) -> Response:
    project, file = _project(path), unquote(path["path"])
    content = world.files.get(f"{project}:{file}")
    if content is None:
        return _missing()
    shape = shapes.file(world.base, project, file, content)
    return JSONResponse({**shape, "content": content, "encoding": "base64"})


# ── Advisories ───────────────────────────────────────────────────────────────────────────────────


def _list_advisories(world: World, path: Mapping[str, str], body: Json) -> Response:
    """List by cursor: this list has no numbered pages."""
    found = [one for one in world.advisories.values() if one["repository"] == _project(path)]
    if "state" in body:
        found = [one for one in found if one["state"] == body["state"]]
    found = _ordered(found, body)
    size, begin = int(body.get("per_page", 30)), int(body.get("after", "0"))
    headers = _link(world, path, "security-advisories", body, {"after": str(begin + size)})
    shown = [shapes.advisory(world.base, one) for one in found[begin : begin + size]]
    return JSONResponse(shown, headers=headers if len(found) > begin + size else {})


def _create_advisory(world: World, path: Mapping[str, str], body: Json) -> Response:
    project = _project(path)
    if world.seen_as(project) != "public":
        return _error(422, "Advisories are not available in private repositories")
    if body.get("severity") and body.get("cvss_vector_string"):
        return _invalid("severity")
    if unknown := [one for one in body.get("credits", []) if one["login"] not in world.users]:
        return _invalid(f"credits {len(unknown)}")
    ghsa, when = f"GHSA-{world.next_id():04d}-aaaa-bbbb", now()
    given = [(world.person(one["login"]), one["type"]) for one in body.get("credits", [])]
    world.advisories[ghsa] = {
        "repository": project,
        "ghsa_id": ghsa,
        "summary": body["summary"],
        "description": _take_text(world, "", body["description"], ghsa),
        "severity": body.get("severity"),
        "cvss": body.get("cvss_vector_string"),
        "author": world.person(world.bot),
        "state": "draft",
        "vulnerabilities": [_vulnerability(one) for one in body["vulnerabilities"]],
        "credits": [{"login": person["login"], "type": kind} for person, kind in given],
        "credits_detailed": [
            {"user": person, "type": kind, "state": "pending"} for person, kind in given
        ],
        "collaborating_users": [],
        "collaborating_teams": [],
        "created_at": when,
        "updated_at": when,
        "published_at": None,
        "closed_at": None,
    }
    return JSONResponse(shapes.advisory(world.base, world.advisories[ghsa]), 201)


def _vulnerability(given: Json) -> Json:
    package = {"name": None, **given["package"]}
    rest = ("vulnerable_version_range", "patched_versions", "vulnerable_functions")
    return {"package": package, **dict.fromkeys(rest)}


def _read_advisory(world: World, path: Mapping[str, str], body: Json) -> Response:
    kept = world.advisories.get(path["ghsa"])
    return _missing() if kept is None else JSONResponse(shapes.advisory(world.base, kept))


def _update_advisory(world: World, path: Mapping[str, str], body: Json) -> Response:
    kept = world.advisories.get(path["ghsa"])
    if kept is None:
        return _missing()
    if "collaborating_users" in body and world.behaves("collaborators-refused"):
        return _invalid("collaborating_users")
    if "description" in body:
        kept["description"] = _take_text(world, "", body["description"], path["ghsa"])
        if world.behaves("publishes"):
            kept.update(state="published", published_at=now())
    if "state" in body:
        if kept["state"] == "published":
            return _error(422, "A published advisory has no other state")
        kept.update(state=body["state"], closed_at=now() if body["state"] == "closed" else None)
    if "collaborating_users" in body:
        kept["collaborating_users"] = [world.person(one) for one in body["collaborating_users"]]
    if "collaborating_teams" in body:
        teams = [shapes.team(world.base, slug) for slug in body["collaborating_teams"]]
        kept["collaborating_teams"] = teams
    kept["updated_at"] = now()
    return JSONResponse(shapes.advisory(world.base, kept))


# The comments on advisories: a preview, built from its announcement; see the head of this page.


def _advisory_note(world: World, ghsa: str, text: str, author: str) -> Json:
    when = now()
    return {
        "id": world.next_id(),
        "ghsa_id": ghsa,
        "user": world.person(author),
        "body": text,
        "created_at": when,
        "updated_at": when,
    }


def _list_advisory_notes(world: World, path: Mapping[str, str], body: Json) -> Response:
    found = [one for one in world.advisory_notes if one["ghsa_id"] == path["ghsa"]]
    return _listed(world, path, body, _ordered(found, {"direction": "asc", **body}))


def _create_advisory_note(world: World, path: Mapping[str, str], body: Json) -> Response:
    if path["ghsa"] not in world.advisories:
        return _missing()
    text = _take_text(world, "", body["body"], f"note on {path['ghsa']}")
    world.advisory_notes.append(_advisory_note(world, path["ghsa"], text, world.bot))
    return JSONResponse(world.advisory_notes[-1], 201)


def _read_advisory_note(world: World, path: Mapping[str, str], body: Json) -> Response:
    for note in world.advisory_notes:
        if (note["ghsa_id"], note["id"]) == (path["ghsa"], int(path["id"])):
            return JSONResponse(note)
    return _missing()


def _update_advisory_note(world: World, path: Mapping[str, str], body: Json) -> Response:
    for note in world.advisory_notes:
        if (note["ghsa_id"], note["id"]) == (path["ghsa"], int(path["id"])):
            text = _take_text(world, "", body["body"], f"note on {path['ghsa']}")
            note.update(body=text, updated_at=now())
            return JSONResponse(note)
    return _missing()


# ── A GitHub App ─────────────────────────────────────────────────────────────────────────────────


def _get_app(world: World, path: Mapping[str, str], body: Json) -> Response:
    return JSONResponse({"id": int(world.app_id), "slug": world.app_slug})


def _get_installation(world: World, path: Mapping[str, str], body: Json) -> Response:
    return JSONResponse({"id": int(path["id"]), "permissions": world.app_permissions})


def _create_token(world: World, path: Mapping[str, str], body: Json) -> Response:
    ends = datetime.now(UTC) + timedelta(seconds=world.token_life)
    lease = {
        "token": f"ghs_{len(world.leased) + 1}",
        "expires_at": ends.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    world.leased.append(lease)
    return JSONResponse({**lease, "permissions": {}, "repository_selection": "selected"}, 201)


# ── Lists ────────────────────────────────────────────────────────────────────────────────────────


def _ordered(items: Sequence[Json], query: Json) -> list[Json]:
    """Return what was changed since the time that is asked for, in the order that is asked for."""
    by = "updated_at" if query.get("sort") == "updated" else "created_at"
    since = query.get("since", "")
    kept = [item for item in items if item["updated_at"] >= since]
    found = sorted(kept, key=lambda item: str(item[by]))
    return found if query.get("direction", "desc") == "asc" else found[::-1]


def _listed(world: World, path: Mapping[str, str], query: Json, items: Sequence[Json]) -> Response:
    """Return one page, with a link to the next where there is one."""
    size, page = int(query.get("per_page", 30)), int(query.get("page", 1))
    shown = list(items[size * (page - 1) : size * page])
    more = len(items) > size * page
    headers = _link(world, path, "list", query, {"page": str(page + 1)}) if more else {}
    return JSONResponse(shown, headers=headers)


def _link(
    world: World, path: Mapping[str, str], name: str, query: Json, then: Json
) -> dict[str, str]:
    target = f"{world.base}/api/v3/{name}?{urlencode({**query, **then})}"
    return {"Link": f'<{target}>; rel="next", <{target}>; rel="last"'}


_REPO = "/repos/{owner}/{repo}"
_ISSUE = f"{_REPO}/issues/{{number}}"
_ADVISORY = f"{_REPO}/security-advisories/{{ghsa}}"

VERBS: Mapping[tuple[str, str], tuple[str, Verb]] = {
    ("GET", "/user"): ("user", _get_user),
    ("GET", "/users/{login}"): ("account", _get_account),
    ("GET", "/app"): ("app", _get_app),
    ("GET", "/app/installations/{id}"): ("app", _get_installation),
    ("POST", "/app/installations/{id}/access_tokens"): ("create-token", _create_token),
    ("GET", "/orgs/{org}/issue-fields"): ("fields", _get_fields),
    ("GET", "/orgs/{org}/issue-types"): ("types", _get_types),
    ("GET", "/repositories/{id}/issues/{number}"): ("read-transferred", _read_transferred),
    ("GET", _REPO): ("repository", _get_repository),
    ("GET", f"{_REPO}/assignees/{{login}}"): ("users", _get_assignee),
    ("GET", f"{_REPO}/collaborators"): ("outsiders", _get_outsiders),
    ("GET", f"{_REPO}/collaborators/{{login}}/permission"): ("permission", _get_permission),
    ("GET", f"{_REPO}/hooks"): ("hooks", _get_hooks),
    ("GET", f"{_REPO}/labels"): ("labels", _get_labels),
    ("GET", f"{_REPO}/milestones"): ("milestones", _get_milestones),
    ("POST", f"{_REPO}/milestones"): ("create-milestone", _create_milestone),
    ("GET", f"{_REPO}/private-vulnerability-reporting"): ("reporting", _get_reporting),
    ("GET", f"{_REPO}/issues"): ("list-issues", _list_issues),
    ("POST", f"{_REPO}/issues"): ("create-issue", _create_issue),
    ("GET", f"{_REPO}/issues/comments"): ("list-all-notes", _list_all_notes),
    ("GET", f"{_REPO}/issues/comments/{{id}}"): ("read-note", _read_note),
    ("PATCH", f"{_REPO}/issues/comments/{{id}}"): ("update-note", _update_note),
    ("GET", _ISSUE): ("read-issue", _read_issue),
    ("PATCH", _ISSUE): ("update-issue", _update_issue),
    ("POST", f"{_ISSUE}/labels"): ("add-labels", _add_labels),
    ("DELETE", f"{_ISSUE}/labels/{{name}}"): ("remove-label", _remove_label),
    ("GET", f"{_ISSUE}/comments"): ("list-notes", _list_notes),
    ("POST", f"{_ISSUE}/comments"): ("create-note", _create_note),
    ("PUT", f"{_REPO}/contents/{{path:path}}"): ("put-file", _put_file),
    ("GET", f"{_REPO}/contents/{{path:path}}"): ("read-file", _read_file),
    ("GET", f"{_REPO}/security-advisories"): ("list-advisories", _list_advisories),
    ("POST", f"{_REPO}/security-advisories"): ("create-advisory", _create_advisory),
    ("GET", _ADVISORY): ("read-advisory", _read_advisory),
    ("PATCH", _ADVISORY): ("update-advisory", _update_advisory),
    ("GET", f"{_ADVISORY}/comments"): ("list-advisory-notes", _list_advisory_notes),
    ("POST", f"{_ADVISORY}/comments"): ("create-advisory-note", _create_advisory_note),
    ("GET", f"{_ADVISORY}/comments/{{id}}"): ("read-advisory-note", _read_advisory_note),
    ("PATCH", f"{_ADVISORY}/comments/{{id}}"): ("update-advisory-note", _update_advisory_note),
}


class Server(fake_server.Server[World]):
    """The fake GitHub behind HTTP, with the prefix of an Enterprise Server."""

    verbs = VERBS
    behaviours = {**BEHAVIOURS, **LIMITS}  # noqa: RUF012 - as in fake_server
    prefix = "/api/v3"

    def new_world(self, base: str) -> World:
        """Return an empty GitHub."""
        return World(base=base)

    def ready(self) -> Json:
        """Return where it is and how one gets in."""
        return {"url": self.world.base, "token": TOKEN, "project": PROJECT}

    def refusal(self, request: Request, kind: str) -> Response | None:
        """Refuse a wrong token, hide what is not there, and ask to wait when told to."""
        if not self._knows(request, kind):
            return _error(401, "Bad credentials")
        params = request.path_params
        if "repo" in params and not self.world.seen_as(_project(params)):
            return _missing()
        for fault in self.world.faults:
            if fault.name in LIMITS and fault.waits_for(kind, request.method):
                return _limit(fault.name)
        return None

    def from_elsewhere(self) -> Json:
        """Return an issue that looks just right."""
        return {"id": 1, "number": 1, "private": True, "visibility": "private", "state": "open"}

    def checked(self, request: Request, kind: str, body: Json, answer: Response) -> Response:
        """Hold request and answer against the specification; 599 says that one does not fit."""
        path = request.scope["path"].removeprefix(self.prefix)
        found = violations(kind, request.method, path, body, answer.status_code, bytes(answer.body))
        if not found:
            return answer
        self.world.violations += found
        return JSONResponse({"message": "not as GitHub specifies"}, 599)

    def _knows(self, request: Request, kind: str) -> bool:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if kind in {"app", "create-token"}:
            return scheme == "Bearer" and self._is_signed(token)
        return token == self.world.token or self.world.leases(token)

    def _is_signed(self, token: str) -> bool:
        try:
            claims = jwt.decode(token, self.world.app_key, algorithms=["RS256"])
        except jwt.PyJWTError:
            return False
        return str(claims["iss"]) == self.world.app_id


def _limit(name: str) -> Response:
    match name:
        case "secondary-limit":
            return _error(403, "You have exceeded a secondary rate limit. Please wait.")
        case "primary-limit":
            reset = int((datetime.now(UTC) + timedelta(minutes=30)).timestamp())
            headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(reset)}
            return JSONResponse({"message": "API rate limit exceeded"}, 403, headers)
        case "message-is-no-text":
            return JSONResponse({"message": {"title": ["is odd"]}}, 422)
        case _:
            return JSONResponse({}, 202)


class FakeGitHub(fake_server.Handle):
    """A fake GitHub in a process of its own."""

    module = "tests.support.fake_github"

    @property
    def api(self) -> str:
        """Return the address of the API."""
        return f"{self.url}/api/v3"

    def state_of_project(self) -> str:
        """Return the visibility of the first repository."""
        return str(self.state()["visibility"])

    def issues(self, project: str = PROJECT) -> list[Json]:
        """Return the issues of a repository, oldest first, as the API shows them."""
        every = self.state()["issues"]
        return [one for one in every if one["repository_url"].endswith(f"/repos/{project}")]

    def notes(self, number: int, project: str = PROJECT) -> list[Json]:
        """Return the comments on an issue, oldest first."""
        end = f"/repos/{project}/issues/{number}"
        return [one for one in self.state()["notes"] if one["issue_url"].endswith(end)]

    def advisories(self) -> list[Json]:
        """Return the advisories, oldest first."""
        return list(self.state()["advisories"])

    def violations(self) -> list[str]:
        """Return what was asked or said against the specification."""
        return list(self.state()["violations"])


if __name__ == "__main__":
    warm()
    fake_server.serve(Server)
