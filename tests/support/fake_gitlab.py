"""How would a GitLab answer?  A small stateful one over real HTTP, whose faults come from outside.

Started as a process of its own (``python -m tests.support.fake_gitlab``, see ``fake_server``), it
knows the project that reports go to, one to which people move issues, and one that the bot does not
see; a bot with a token, a few people, issues, notes, links, uploads and labels.  It executes quick
actions and records what a text would wake (see ``fake_gitlab_text``), and which upload shows what.

Answers are held against GitLab's own schemas where they are there, requests against the parameters
that GitLab documents: ``FakeGitLab.violations`` tells what does not fit.

``FakeGitLab`` is the handle for tests::

    with FakeGitLab.start() as gitlab:
        gitlab.fault("drop-after", on="create-issue")
        ...
        assert [issue["title"] for issue in gitlab.issues()] == ["Security report SB-2026-0001"]
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from tests.support import fake_server
from tests.support.fake_gitlab_spec import violations
from tests.support.fake_gitlab_text import QuickAction, alive, extract

Json = dict[str, Any]

TOKEN = "glpat-fake-0123456789"
PROJECT = "group/security"
HOME, PRODUCT, HIDDEN = 7, 9, 10
"""Where reports go; where people move issues; what the bot does not see."""

BOT = 42

BEHAVIOURS: Mapping[str, str] = {
    "confidential-ignored": "create-issue",
    "confidential-put-ignored": "update-issue",
    "confidential-put-forbidden": "update-issue",
    "labels-dropped": "create-issue",
    "labels-put-dropped": "update-issue",
    "assignees-dropped": "create-issue",
    "due-dropped": "create-issue",
    "type-ignored": "create-issue",
    "severity-ignored": "graphql",
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
    emails_enabled: bool = False
    service_desk: bool = False
    media_protected: bool = False
    max_upload: int = 10 << 20
    frozen: str = ""
    scopes: list[str] = field(default_factory=lambda: ["api"])
    expires_at: str | None = None
    labels: list[str] = field(default_factory=lambda: ["Security"])
    issue_types: list[str] = field(default_factory=lambda: ["issue", "incident"])
    users: dict[int, str] = field(
        default_factory=lambda: {
            BOT: "secbridge-bot", 1: "alex", 2: "kim", 3: "outsider", 4: "support-bot",
        }
    )  # fmt: skip
    members: set[int] = field(default_factory=lambda: {BOT, 1, 2})
    levels: dict[int, int] = field(default_factory=lambda: {1: 30, 2: 20})
    blocked: set[int] = field(default_factory=set)
    hooks: list[Json] = field(default_factory=list)
    integrations: list[Json] = field(default_factory=list)
    issues: dict[str, Json] = field(default_factory=dict)
    notes: dict[str, list[Json]] = field(default_factory=dict)
    links: list[list[int]] = field(default_factory=list)
    uploads: list[Json] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    token_forms: set[str] = field(default_factory=set)

    def projects(self) -> dict[int, str]:
        """Return the full path of each project that there is."""
        return {HOME: self.project, PRODUCT: "group/product", HIDDEN: "group/hidden"}

    def now(self) -> str:
        """Return the time as GitLab writes it; ``frozen`` stops it."""
        if self.frozen:
            return self.frozen
        now = fake_server.present().isoformat(timespec="milliseconds")
        return now.replace("+00:00", "Z")

    def state(self) -> Json:
        """Return issues and notes as the API shows them, and what else there is."""
        return {
            "issues": [_issue(self, issue) for issue in self.issues.values()],
            "notes": {
                place: [_note(self, note) for note in notes] for place, notes in self.notes.items()
            },
            "links": self.links,
            "uploads": self.uploads,
            "violations": self.violations,
            "token_forms": sorted(self.token_forms),
        }

    def edit(self, order: Json) -> None:
        """Do what a person would by hand: change, move, write or open an issue."""
        place = str(order.pop("number"))
        match order:
            case {"move_to": target}:
                _move(self, self.issues[place], target)
            case {"note": note}:
                _write_note(self, place, note)
            case {"edit_note": changed}:
                (note,) = [one for one in self.notes[place] if one["id"] == changed["id"]]
                note |= {**changed, "updated_at": _touch(self, self.issues[place])}
            case {"open": given}:
                _open_issue(self, given)
            case _:
                self.issues[place].update({"updated_at": self.now(), **order})


def _write_note(world: World, place: str, given: Json) -> None:
    issue = world.issues[place]
    text, actions = (given["body"], []) if given.get("system") else extract(given["body"])
    for action in actions:
        _act(world, issue, action)
    if not text:
        return  # a note of quick actions alone is none
    note = _new_note(world, issue, text, internal=given.get("internal", False))
    note |= {"author_id": given.get("author", 1), "system": given.get("system", False)}
    world.notes[place].append(note)


def _open_issue(world: World, given: Json) -> None:
    """Open an issue as a person would; it has no due date, and is nobody's."""
    blank = {"title": "By hand", "description": "", "labels": [], "confidential": False}
    issue = _new_issue(world, HOME, {**blank, "author_id": 1, **given})
    world.notes[_place(issue)] = []


def _move(world: World, issue: Json, target: int) -> None:
    """Copy an issue to another project, as GitLab does, and close the one that stays behind."""
    gone = {"id", "iid", "project_id", "updated_at", "moved_to_id"}
    copy = {name: value for name, value in issue.items() if name not in gone}
    moved = _new_issue(world, target, copy)
    moved["description"] = _copy_uploads(world, issue["description"], target)
    world.notes[_place(moved)] = [
        {**note, "id": world.next_id(), "noteable_id": moved["id"], "noteable_iid": moved["iid"]}
        for note in world.notes[_place(issue)]
    ]
    issue |= {"state": "closed", "moved_to_id": moved["id"], "updated_at": world.now()}
    said = {"body": f"moved to {world.projects()[target]}#{moved['iid']}", "system": True}
    _write_note(world, _place(issue), said)


def _copy_uploads(world: World, text: str, target: int) -> str:
    """Copy the uploads that a text links to, and return the text with the new addresses."""
    for upload in [one for one in world.uploads if one["url"] in text]:
        secret = sha256(upload["url"].encode()).hexdigest()[:32]
        copy = {**upload, "project": target, "url": f"/uploads/{secret}/{upload['name']}"}
        world.uploads.append(copy)
        text = text.replace(upload["url"], copy["url"])
    return text


# ── Entities, in the shape of lib/api/entities ───────────────────────────────────────────────────


def _user(world: World, number: int) -> Json:
    name = world.users[number]
    return {
        "id": number,
        "username": name,
        "name": name.title(),
        "state": "blocked" if number in world.blocked else "active",
        "avatar_url": None,
        "web_url": f"{world.base}/{name}",
    }


def _member(world: World, number: int) -> Json:
    level = world.access_level if number == world.bot else world.levels.get(number, 10)
    return {**_user(world, number), "access_level": level, "membership_state": "active"}


def _place(issue: Json) -> str:
    """Return by which name tests know an issue: its number, elsewhere with the project's before."""
    iid, project = issue["iid"], issue["project_id"]
    return str(iid) if project == HOME else f"{project}/{iid}"


def _new_issue(world: World, project: int, given: Json) -> Json:
    """Add an issue to a project."""
    iid = sum(issue["project_id"] == project for issue in world.issues.values()) + 1
    issue: Json = {
        "id": world.next_id(),
        "iid": iid,
        "project_id": project,
        "author_id": world.bot,
        "state": "opened",
        "created_at": world.now(),
        "updated_at": world.now(),
        "closed_at": None,
        "due_date": None,
        "issue_type": "issue",
        "severity": "UNKNOWN",
        "moved_to_id": None,
        "service_desk_reply_to": None,
        "assignee_ids": [],
        **given,
    }
    world.issues[_place(issue)] = issue
    return issue


def _issue(world: World, issue: Json) -> Json:
    people = [_user(world, number) for number in issue["assignee_ids"]]
    path, kind = world.projects()[issue["project_id"]], issue["issue_type"]
    folder = "issues/incident" if kind == "incident" else "issues"
    url = f"{world.base}/{path}/-/{folder}/{issue['iid']}"
    return {
        **{key: value for key, value in issue.items() if key != "assignee_ids"},
        "milestone": None,
        "author": _user(world, issue["author_id"]),
        "assignees": people,
        "assignee": people[0] if people else None,
        "user_notes_count": sum(not one["system"] for one in world.notes.get(_place(issue), [])),
        "upvotes": 0,
        "downvotes": 0,
        "type": kind.upper(),
        "discussion_locked": None,
        "web_url": url,
        "references": {"full": f"{path}#{issue['iid']}"},
        "_links": {"self": url},
    }


def _new_note(world: World, issue: Json, text: str, *, internal: bool) -> Json:
    """Return a note of our account's."""
    now = _touch(world, issue)
    return {
        "id": world.next_id(),
        "body": text,
        "author_id": world.bot,
        "created_at": now,
        "updated_at": now,
        "noteable_id": issue["id"],
        "noteable_iid": issue["iid"],
        "internal": internal,
        "system": False,
    }


def _touch(world: World, issue: Json) -> str:
    """Return the time; what is done to a note moves the issue's once a minute, and no more often.

    So does GitLab (``ThrottledTouch``), and who lists issues by that time has to know it.
    """
    now = world.now()
    if _time(now) - _time(issue["updated_at"]) > timedelta(minutes=1):
        issue["updated_at"] = now
    return now


def _note(world: World, note: Json) -> Json:
    return {
        **note,
        "type": None,
        "attachment": None,
        "author": _user(world, note["author_id"]),
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
    _wake(world, text, where)
    return kept


def _wake(world: World, text: str, where: str) -> None:
    """Record what a text would notify, link, load or draw; links to our own uploads are wanted."""
    ours = {f"link {upload['url']}" for upload in world.uploads}
    found = [what for what in alive(text) if what not in ours]
    world.acts += [{"kind": "alive", "where": where, "what": what} for what in found]


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
    number = _project(world, path)
    return JSONResponse(
        {
            "id": number,
            "path_with_namespace": world.projects()[number],
            "visibility": world.visibility,
            "archived": world.archived,
            "issues_enabled": world.issues_enabled,
            "issues_access_level": "enabled" if world.issues_enabled else "disabled",
            "emails_enabled": world.emails_enabled,
            "emails_disabled": not world.emails_enabled,
            "service_desk_enabled": world.service_desk,
            "enforce_auth_checks_on_uploads": world.media_protected,
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
    wanted = {int(number) for number in body.get("user_ids[]", world.members)}
    found = [_member(world, one) for one in sorted(wanted & world.members & world.users.keys())]
    return JSONResponse(_page(found, body))


def _get_hooks(world: World, path: Mapping[str, str], body: Json) -> Response:
    return _for_maintainers(world, world.hooks, body)


def _get_integrations(world: World, path: Mapping[str, str], body: Json) -> Response:
    return _for_maintainers(world, world.integrations, body)


def _for_maintainers(world: World, items: Sequence[Json], body: Json) -> Response:
    if world.access_level < 40:
        return JSONResponse({"message": "403 Forbidden"}, 403)
    return JSONResponse(_page(items, body))


def _list_issues(world: World, path: Mapping[str, str], body: Json) -> Response:
    project = _project(world, path)
    found = [issue for issue in world.issues.values() if issue["project_id"] == project]
    kept = [issue for issue in found if _is_wanted(issue, body)]
    order = body.get("order_by", "created_at")
    kept.sort(key=lambda one: (one[order], one["id"]), reverse=body.get("sort", "desc") == "desc")
    return JSONResponse([_issue(world, issue) for issue in _page(kept, body)])


def _is_wanted(issue: Json, body: Json) -> bool:
    """Whether an issue passes all filters of a list."""
    wanted: Mapping[str, Callable[[Any], bool]] = {
        "author_id": lambda value: issue["author_id"] == int(value),
        "created_after": lambda value: _time(issue["created_at"]) >= _time(value),
        "updated_after": lambda value: _time(issue["updated_at"]) >= _time(value),
        "state": lambda value: value == "all" or issue["state"] == value,
        "confidential": lambda value: issue["confidential"] is (value == "true"),
        "labels": lambda value: set(_labels(value)) <= set(issue["labels"]),
        "iids[]": lambda value: str(issue["iid"]) in value,
    }
    return all(wanted[name](value) for name, value in body.items() if name in wanted)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _create_issue(world: World, path: Mapping[str, str], body: Json) -> Response:
    if not body.get("title"):
        return JSONResponse({"message": {"title": ["can't be blank"]}}, 400)
    kind = "issue" if world.behaves("type-ignored") else body.get("issue_type", "issue")
    if kind not in world.issue_types:
        return JSONResponse({"error": "issue_type does not have a valid value"}, 400)
    if world.archived:
        return JSONResponse({"message": "403 Forbidden"}, 403)
    given = {
        "title": body["title"],
        "description": None,
        "issue_type": kind,
        "labels": [] if world.behaves("labels-dropped") else _labels(body.get("labels", "")),
        "due_date": None if world.behaves("due-dropped") else body.get("due_date"),
        "confidential": bool(body.get("confidential"))
        and not world.behaves("confidential-ignored"),
        "assignee_ids": []
        if world.behaves("assignees-dropped")
        else _assignable(world, body.get("assignee_ids", [])),
    }
    issue = _new_issue(world, _project(world, path), given)
    world.notes[_place(issue)] = []
    where = f"issue {_place(issue)}"
    _wake(world, issue["title"], f"title of {where}")
    issue["description"] = _take_text(world, issue, body.get("description", ""), where)
    return JSONResponse(_issue(world, issue), 201)


def _read_issue(world: World, path: Mapping[str, str], body: Json) -> Response:
    issue = world.issues.get(_named(world, path))
    if issue is None:
        return JSONResponse({"message": "404 Issue Not Found"}, 404)
    return JSONResponse(_issue(world, issue))


def _update_issue(world: World, path: Mapping[str, str], body: Json) -> Response:
    issue = world.issues.get(_named(world, path))
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
    issue["updated_at"] = world.now()
    return JSONResponse(_issue(world, issue))


def _update_labels(world: World, issue: Json, body: Json) -> None:
    if "add_labels" in body and not world.behaves("labels-put-dropped"):
        issue["labels"] = sorted({*issue["labels"], *_labels(body["add_labels"])})
    gone = _labels(body.get("remove_labels", ""))
    issue["labels"] = [name for name in issue["labels"] if name not in gone]


def _update_text(world: World, issue: Json, text: str) -> None:
    issue["description"] = _take_text(world, issue, text, f"issue {_place(issue)}")
    if world.behaves("text-mangled"):
        issue["description"] = issue["description"].replace("\n ", "\n")
    if world.behaves("opens-to-public"):
        issue["confidential"] = False


def _list_notes(world: World, path: Mapping[str, str], body: Json) -> Response:
    notes = list(world.notes.get(_named(world, path), []))
    order = body.get("order_by", "created_at")
    notes.sort(key=lambda one: (one[order], one["id"]), reverse=body.get("sort", "desc") == "desc")
    return JSONResponse([_note(world, note) for note in _page(notes, body)])


def _create_note(world: World, path: Mapping[str, str], body: Json) -> Response:
    issue = world.issues.get(place := _named(world, path))
    if issue is None:
        return JSONResponse({"message": "404 Issue Not Found"}, 404)
    text = _take_text(world, issue, body.get("body", ""), f"note on {place}")
    if not text:
        return JSONResponse({"commands_changes": {}, "summary": ["Commands applied."]}, 202)
    internal = bool(body.get("internal")) and not world.behaves("internal-ignored")
    note = _new_note(world, issue, text, internal=internal)
    world.notes[place].append(note)
    return JSONResponse(_note(world, note), 201)


def _read_note(world: World, path: Mapping[str, str], body: Json) -> Response:
    for note in world.notes.get(_named(world, path), []):
        if note["id"] == int(path["note"]):
            return JSONResponse(_note(world, note))
    return JSONResponse({"message": "404 Note Not Found"}, 404)


def _update_note(world: World, path: Mapping[str, str], body: Json) -> Response:
    place = _named(world, path)
    for note in world.notes.get(place, []):
        if note["id"] == int(path["note"]):
            issue = world.issues[place]
            note["body"] = _take_text(world, issue, body["body"], f"note on {place}")
            note["updated_at"] = _touch(world, issue)
            return JSONResponse(_note(world, note))
    return JSONResponse({"message": "404 Note Not Found"}, 404)


def _list_links(world: World, path: Mapping[str, str], body: Json) -> Response:
    here = world.issues[_named(world, path)]["id"]
    others = {other for pair in world.links if here in pair for other in pair} - {here}
    found = [_issue(world, one) for one in world.issues.values() if one["id"] in others]
    return JSONResponse(_page(found, body))


def _create_link(world: World, path: Mapping[str, str], body: Json) -> Response:
    """Relate two issues; who asks for it again is told so (409)."""
    target = {"project": str(body["target_project_id"]), "iid": str(body["target_issue_iid"])}
    here, there = world.issues[_named(world, path)], world.issues.get(_named(world, target))
    if there is None:
        return JSONResponse({"message": "No matching issue found."}, 404)
    pair = sorted([here["id"], there["id"]])
    if pair in world.links:
        return JSONResponse({"message": "Issue(s) already assigned"}, 409)
    world.links.append(pair)
    both = {"source_issue": _issue(world, here), "target_issue": _issue(world, there)}
    return JSONResponse({**both, "link_type": "relates_to"}, 201)


def _upload(world: World, path: Mapping[str, str], body: Json) -> Response:
    """Keep a file, and record what becomes visible to outsiders by it."""
    name, content = _file_in(body["octets"])
    if len(content) > world.max_upload:
        return JSONResponse({"error": "File is too large"}, 413)
    secret = sha256(f"{name}{world.next_id()}".encode()).hexdigest()[:32]
    url = f"/uploads/{secret}/{name}"
    project = _project(world, path)
    world.uploads.append({"project": project, "name": name, "url": url, "content": content})
    is_media = name.lower().endswith((".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp"))
    open_to_all = world.visibility == "public" or (is_media and not world.media_protected)
    if open_to_all and not _is_ciphertext(content):
        world.acts.append({"kind": "exposed", "where": f"upload {name}", "what": name})
    full = f"/-/project/{project}{url}"
    answer = {"id": world.next_id(), "alt": name, "url": url, "full_path": full}
    return JSONResponse({**answer, "markdown": f"[{name}]({url})"}, 201)


def _file_in(form: str) -> tuple[str, str]:
    """Return name and content of the one file of a multipart form (RFC 7578)."""
    boundary = form.split("\r\n", 1)[0]
    head, _, rest = form.partition("\r\n\r\n")
    name = re.search(r'filename="([^"]*)"', head)
    assert name is not None, "a form without a file"
    return name[1], rest.partition(f"\r\n{boundary}")[0]


def _is_ciphertext(content: str) -> bool:
    """Whether a file begins as an encrypted OpenPGP message does (RFC 9580 section 4.2)."""
    armored = content.startswith("-----BEGIN PGP MESSAGE-----")
    return armored or content[:1] in {"\x84", "\x85", "\xc1"}


def _graphql(world: World, path: Mapping[str, str], body: Json) -> Response:
    """Answer the two questions that secbridge has."""
    query, given = body["query"], body["variables"]
    if "issueSetSeverity(input:" in query:
        return _set_severity(world, given)
    assert "issue(id: $id)" in query, "an unknown query"
    wanted = int(given["id"].removeprefix("gid://gitlab/Issue/"))
    for issue in world.issues.values():
        if issue["id"] == wanted and issue["project_id"] != HIDDEN:
            shown = _issue(world, issue)
            found = {
                "iid": str(issue["iid"]),
                "projectId": issue["project_id"],
                "reference": shown["references"]["full"],
                "webUrl": shown["web_url"],
            }
            return JSONResponse({"data": {"issue": found}})
    return JSONResponse({"data": {"issue": None}})


def _set_severity(world: World, given: Json) -> Response:
    place = _named(world, {"project": given["path"], "iid": given["iid"]})
    issue = world.issues[place]
    if issue["issue_type"] == "incident" and not world.behaves("severity-ignored"):
        issue["severity"] = given["severity"]
    done = {"errors": [], "issue": {"severity": issue["severity"]}}
    return JSONResponse({"data": {"issueSetSeverity": done}})


def _project(world: World, path: Mapping[str, str]) -> int:
    """Return the number of the project that a path names, by number or by full path."""
    named = unquote(path["project"])
    return next(number for number, name in world.projects().items() if named in {str(number), name})


def _named(world: World, path: Mapping[str, str]) -> str:
    """Return the place of the issue that a path names."""
    return _place({"project_id": _project(world, path), "iid": path["iid"]})


def _page(items: Sequence[Json], query: Json) -> list[Json]:
    size, page = int(query.get("per_page", 20)), int(query.get("page", 1))
    return list(items[size * (page - 1) : size * page])


def _labels(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def _assignable(world: World, wanted: Sequence[int]) -> list[int]:
    """Return who may be assigned; GitLab drops the others without a word."""
    people = [number for number in wanted if number in world.members]
    return people if world.several_assignees else people[:1]


_PROJECT = "/v4/projects/{project}"
_ISSUE = f"{_PROJECT}/issues/{{iid}}"

VERBS: Mapping[tuple[str, str], tuple[str, Verb]] = {
    ("GET", "/v4/user"): ("user", _get_user),
    ("GET", "/v4/personal_access_tokens/self"): ("token", _get_token),
    ("GET", "/v4/users"): ("users", _find_users),
    ("GET", _PROJECT): ("project", _get_project),
    ("GET", f"{_PROJECT}/labels"): ("labels", _get_labels),
    ("GET", f"{_PROJECT}/members/all"): ("members", _get_members),
    ("GET", f"{_PROJECT}/hooks"): ("hooks", _get_hooks),
    ("GET", f"{_PROJECT}/integrations"): ("integrations", _get_integrations),
    ("POST", f"{_PROJECT}/uploads"): ("upload", _upload),
    ("GET", f"{_PROJECT}/issues"): ("list-issues", _list_issues),
    ("POST", f"{_PROJECT}/issues"): ("create-issue", _create_issue),
    ("GET", _ISSUE): ("read-issue", _read_issue),
    ("PUT", _ISSUE): ("update-issue", _update_issue),
    ("GET", f"{_ISSUE}/links"): ("list-links", _list_links),
    ("POST", f"{_ISSUE}/links"): ("create-link", _create_link),
    ("GET", f"{_ISSUE}/notes"): ("list-notes", _list_notes),
    ("POST", f"{_ISSUE}/notes"): ("create-note", _create_note),
    ("GET", f"{_ISSUE}/notes/{{note}}"): ("read-note", _read_note),
    ("PUT", f"{_ISSUE}/notes/{{note}}"): ("update-note", _update_note),
    ("POST", "/graphql"): ("graphql", _graphql),
}


class Server(fake_server.Server[World]):
    """The fake GitLab behind HTTP."""

    verbs = VERBS
    behaviours = BEHAVIOURS
    prefix = "/api"

    def new_world(self, base: str) -> World:
        """Return an empty GitLab."""
        return World(base=base)

    def ready(self) -> Json:
        """Return where it is and how one gets in."""
        return {"url": self.world.base, "token": TOKEN, "project": PROJECT}

    def refusal(self, request: Request, kind: str) -> Response | None:
        """Refuse a wrong token, and what the bot does not see."""
        if not self._knows_token(request):
            return JSONResponse({"message": "401 Unauthorized"}, 401)
        named = unquote(request.path_params.get("project", self.world.project))
        seen = {number: path for number, path in self.world.projects().items() if number != HIDDEN}
        if named not in {*seen.values(), *map(str, seen)}:
            return JSONResponse({"message": "404 Project Not Found"}, 404)
        return None

    def checked(self, request: Request, kind: str, body: Json, answer: Response) -> Response:
        """Return the answer, and record what GitLab would not know of it or of the request."""
        said = json.loads(bytes(answer.body))
        self.world.violations += violations(kind, body, answer.status_code, said)
        return answer

    def from_elsewhere(self) -> Json:
        """Return an issue that looks just right."""
        return {"id": 1, "iid": 1, "confidential": True, "labels": ["Security"]}

    def without_id(self) -> Response:
        """Return what a note of quick actions alone is answered with."""
        return JSONResponse({"commands_changes": {}, "summary": ["Commands applied."]}, 202)

    def _knows_token(self, request: Request) -> bool:
        """Whether a request holds the token in one of GitLab's two forms; which one is kept."""
        forms = {
            "private-token": request.headers.get("private-token"),
            "bearer": (request.headers.get("authorization") or "").removeprefix("Bearer "),
        }
        held = {name for name, token in forms.items() if token == self.world.token}
        self.world.token_forms |= held
        return bool(held)


class FakeGitLab(fake_server.Handle):
    """A fake GitLab in a process of its own."""

    module = "tests.support.fake_gitlab"

    def issues(self) -> list[Json]:
        """Return all issues, oldest first, as the API shows them."""
        return list(self.state()["issues"])

    def notes(self, number: int | str) -> list[Json]:
        """Return the notes of an issue, oldest first; elsewhere it is named ``9/1``."""
        return list(self.state()["notes"][str(number)])

    def uploads(self) -> list[Json]:
        """Return the files that are there, each with its content as Latin-1."""
        return list(self.state()["uploads"])

    def violations(self) -> list[str]:
        """Return what GitLab would not have known of requests and answers."""
        return list(self.state()["violations"])

    def write(self, number: int | str, text: str, **more: object) -> str:
        """Write a note as a person, and return its id; ``author``, ``internal``, ``system``."""
        self.edit(number, note={"body": text, **more})
        return str(self.notes(number)[-1]["id"])

    def move(self, number: int | str, project: int) -> None:
        """Move an issue to another project, as a person would."""
        self.edit(number, move_to=project)

    def open_by_hand(self, **issue: object) -> None:
        """Open an issue as a person would: ``labels``, ``confidential``, ``title``, …."""
        self.edit(0, open=issue)


if __name__ == "__main__":
    fake_server.serve(Server)
