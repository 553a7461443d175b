"""How would a Jira answer?  A small stateful one over real HTTP, whose faults come from outside.

Started as a process of its own (``python -m tests.support.fake_jira``, see ``fake_server``), it is
a Jira in the cloud, or a Data Center once ``settings(deployment="Server")`` says so.  It knows two
projects, one with security levels; a bot with a token, a few people; issues that can be moved, with
comments, files, links and a workflow; and a search that is behind while ``index_lag`` is set.

What would act in a text is recorded (see ``fake_jira_text``), and each request and answer is held
against Atlassian's specification (see ``fake_jira_spec``): ``violations`` tells what does not fit.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from tests.support import fake_jira_text as markup
from tests.support import fake_server
from tests.support.fake_jira_spec import Exchange, violations

Json = dict[str, Any]

TOKEN = "ATATT-fake-0123456789"
USER = "bot@example.org"
PROJECT, ELSEWHERE = "SEC", "APP"
BOT = "secbridge-bot"
TEAM, MANAGEMENT, OTHERS = "10001", "10002", "10003"
"""Security levels: two of the project, one of the other project."""

BEHAVIOURS: Mapping[str, str] = {
    "security-ignored": "create-issue",
    "security-put-ignored": "update-issue",
    "security-put-forbidden": "update-issue",
    "security-dropped-later": "update-issue",
    "labels-dropped": "create-issue",
    "labels-put-dropped": "update-issue",
    "text-mangled": "update-issue",
    "jsd-public": "create-note",
    "visibility-ignored": "create-note",
    "captcha": "any",
    "logged-out": "any",
}
"""What the tracker may do with what it is told, and the kind of request that each belongs to."""

STATUSES = {"To Do": "new", "In Progress": "indeterminate", "Done": "done"}
SCREEN = ("project", "issuetype", "summary", "description", "labels", "duedate", "security")
RIGHTS = (
    "BROWSE_PROJECTS", "CREATE_ISSUES", "EDIT_ISSUES", "ADD_COMMENTS", "EDIT_OWN_COMMENTS",
    "TRANSITION_ISSUES", "SCHEDULE_ISSUES", "SET_ISSUE_SECURITY", "ASSIGN_ISSUES",
    "CREATE_ATTACHMENTS",
)  # fmt: skip

# ── State ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class World(fake_server.World):
    """All that the fake Jira remembers."""

    deployment: str = "Cloud"
    token: str = TOKEN
    project: str = PROJECT
    bot: str = BOT
    archived: bool = False
    project_type: str = "software"
    users: dict[str, str] = field(
        default_factory=lambda: {
            BOT: "Security Bot", "alex": "Alex", "kim": "Kim", "outsider": "Out Sider",
            "robot": "Automation",
        }
    )  # fmt: skip
    assignable: set[str] = field(default_factory=lambda: {BOT, "alex", "kim"})
    groups: dict[str, list[str]] = field(default_factory=lambda: {"kim": ["responders"]})
    roles: dict[str, list[str]] = field(
        default_factory=lambda: {"Administrators": ["alex"], "Developers": ["group:developers"]}
    )
    roles_hidden: bool = False
    levels: list[list[str]] = field(
        default_factory=lambda: [[TEAM, "Team"], [MANAGEMENT, "Management"]]
    )
    visible: set[str] = field(default_factory=lambda: {TEAM, OTHERS})
    default_level: str = TEAM
    scheme_hidden: bool = False
    rights: list[str] = field(default_factory=lambda: list(RIGHTS))
    screen: list[str] = field(default_factory=lambda: [*SCREEN, "assignee", "priority"])
    required: list[str] = field(default_factory=lambda: ["project", "issuetype", "summary"])
    priorities: list[str] = field(default_factory=lambda: ["High", "Medium", "Low"])
    issue_types: list[str] = field(default_factory=lambda: ["Task", "Bug"])
    transitions: list[str] = field(default_factory=lambda: list(STATUSES))
    link_types: list[str] = field(default_factory=lambda: ["Blocks", "Relates"])
    notified: list[str] = field(default_factory=lambda: ["CurrentAssignee", "AllWatchers"])
    attachment_limit: int = 10 << 20
    index_lag: bool = False
    issues: dict[int, Json] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    exchanges: dict[str, Json] = field(default_factory=dict)

    @property
    def is_cloud(self) -> bool:
        """Whether texts are documents and people account ids."""
        return self.deployment == "Cloud"

    def state(self) -> Json:
        """Return the issues with all that they have, and what else there is."""
        return {
            "issues": [
                {
                    **_issue(self, issue, None),
                    "comments": [_comment(self, one) for one in issue["comments"]],
                    "files": issue["files"],
                    "links": issue["links"],
                }
                for issue in self.issues.values()
            ],
            "exchanges": list(self.exchanges.values()),
        }

    def edit(self, order: Json) -> None:
        """Do what a person would by hand: change, move, comment on or open an issue."""
        number = order.pop("number")
        issue = find(self, f"{self.project}-{number}", all_=True)
        match order:
            case {"open": given}:
                _new_issue(self, {"summary": "By hand", **given}, by=given.pop("by", "alex"))
            case {"move_to": project} if issue:
                _move(self, issue, project, order.get("level"))
            case {"comment": given} if issue:
                _write(self, issue, given)
            case {"edit_comment": given} if issue:
                (comment,) = [one for one in issue["comments"] if one["id"] == given["id"]]
                comment |= {**given, "updated": _now()}
                _touch(self, issue)
            case _ if issue:
                issue["fields"] |= order
                _touch(self, issue)


def find(world: World, name: str, *, all_: bool = False) -> Json | None:
    """Return an issue by its id, its key, or a key that it had before it was moved.

    What the bot does not see is not there for it, unless ``all_`` is asked for.
    """
    for issue in world.issues.values():
        if name in {issue["id"], issue["key"], *issue["old_keys"]}:
            level = issue["fields"]["security"]
            return issue if all_ or level is None or level in world.visible else None
    return None


def _new_issue(world: World, fields: Json, *, by: str, properties: Json | None = None) -> Json:
    number = world.numbers.get(world.project, 0) + 1
    world.numbers[world.project] = number
    identity = world.next_id()
    blank: Json = {
        "summary": "", "description": None, "labels": [], "duedate": None, "security": None,
        "assignee": None, "priority": None, "status": "To Do", "issuetype": "Task",
    }  # fmt: skip
    issue: Json = {
        "id": str(identity),
        "key": f"{world.project}-{number}",
        "old_keys": [],
        "project": world.project,
        "fields": {**blank, **fields},
        "creator": by,
        "created": _now(),
        "updated": _now(),
        "indexed": None if world.index_lag else _now(),
        "properties": properties or {},
        "comments": [],
        "files": [],
        "links": [],
    }
    world.issues[identity] = issue
    return issue


def _move(world: World, issue: Json, project: str, level: str | None) -> None:
    """Move an issue: it keeps its id, and its old key leads to it."""
    number = world.numbers.get(project, 0) + 1
    world.numbers[project] = number
    issue["old_keys"].append(issue["key"])
    issue |= {"key": f"{project}-{number}", "project": project}
    issue["fields"]["security"] = level
    _touch(world, issue)


def _write(world: World, issue: Json, given: Json) -> Json:
    blank: Json = {"by": world.bot, "visibility": None, "public": True, "properties": []}
    times = {"created": _now(), "updated": _now()}
    comment = {"id": str(world.next_id()), **blank, **times, **given}
    issue["comments"].append(comment)
    _touch(world, issue)
    return comment


def _touch(world: World, issue: Json) -> None:
    issue["updated"] = _now()
    if not world.index_lag:
        issue["indexed"] = issue["updated"]


def _now() -> str:
    return fake_server.present().strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "+0000"


# ── Entities ─────────────────────────────────────────────────────────────────────────────────────


def _user(world: World, name: str | None) -> Json | None:
    if name is None:
        return None
    shown = {"displayName": world.users[name], "active": True}
    if world.is_cloud:
        kind = "app" if name == "robot" else "atlassian"
        return {"accountId": name, "accountType": kind, **shown}
    return {"key": f"JIRAUSER-{name}", "name": name, **shown}


def _text(world: World, text: object) -> object:
    """Return a text as this Jira gives it back: changed where no reader sees it."""
    if isinstance(text, str):
        return text.replace("\n", "\r\n")
    return markup.as_the_cloud_shows_it(text)


def _issue(world: World, issue: Json, wanted: str | None, properties: str = "") -> Json:
    fields = issue["fields"]
    status = fields["status"]
    names = {OTHERS: "Team"} | {level[0]: level[1] for level in world.levels}
    level = fields["security"]
    shown = {
        **{name: fields[name] for name in ("summary", "labels", "duedate")},
        "description": _text(world, fields["description"]),
        "project": {"key": issue["project"], "id": "10000"},
        "issuetype": {"name": fields["issuetype"]},
        "priority": {"name": fields["priority"]} if fields["priority"] else None,
        "assignee": _user(world, fields["assignee"]),
        "creator": _user(world, issue["creator"]),
        "reporter": _user(world, issue["creator"]),
        "status": {
            "name": status,
            "statusCategory": {"key": STATUSES[status], "name": status},
        },
        "security": {"id": level, "name": names.get(level, "")} if level else None,
        "created": issue["created"],
        "updated": issue["updated"],
        "attachment": [_file(world, issue, file) for file in issue["files"]],
        "issuelinks": [_link(world, issue, link) for link in issue["links"]],
    }
    if wanted is not None:
        shown = {name: value for name, value in shown.items() if name in wanted.split(",")}
    kept = {
        name: issue["properties"][name]
        for name in properties.split(",")
        if name in issue["properties"]
    }
    return {
        "expand": "",
        "id": issue["id"],
        "key": issue["key"],
        "self": f"{world.base}/rest/api/3/issue/{issue['id']}",
        "fields": shown,
        **({"properties": kept} if properties or wanted is None else {}),
    }


def _comment(world: World, comment: Json, *, expand: str = "properties") -> Json:
    desk = world.project_type == "service_desk"
    public = {"jsdPublic": comment["public"] or not desk} if world.is_cloud else {}
    shown = {"visibility": comment["visibility"]} if comment["visibility"] else {}
    given = {"properties": comment["properties"]} if "properties" in expand else {}
    return {
        "id": comment["id"],
        "author": _user(world, comment["by"]),
        "updateAuthor": _user(world, comment.get("edited_by", comment["by"])),
        "body": _text(world, comment["body"]),
        "created": comment["created"],
        "updated": comment["updated"],
        **public,
        **shown,
        **given,
    }


def _file(world: World, issue: Json, file: Json) -> Json:
    return {
        "id": file["id"],
        "filename": file["name"],
        "size": len(file["content"]),
        "content": f"{world.base}/rest/api/3/attachment/content/{file['id']}",
    }


def _link(world: World, issue: Json, link: Json) -> Json:
    end = "outwardIssue" if link["inward"] == issue["id"] else "inwardIssue"
    other = link["outward"] if link["inward"] == issue["id"] else link["inward"]
    return {"id": link["id"], "type": {"name": link["type"]}, end: {"id": other}}


# ── Verbs: issues ────────────────────────────────────────────────────────────────────────────────

Verb = Callable[[World, Mapping[str, str], Json], Response]


def refused(status: int = 404, **fields: str) -> Response:
    """Return a refusal as Jira words it."""
    messages = [] if fields else ["Issue does not exist or you do not have permission to see it."]
    return JSONResponse({"errorMessages": messages, "errors": fields}, status)


def _hidden(world: World, name: str) -> Response:
    """Refuse what the bot does not see: a Data Center says so, the cloud does not."""
    is_there = find(world, name, all_=True) is not None
    return refused(403 if is_there and not world.is_cloud else 404)


def _take_text(world: World, text: object, where: str) -> str:
    """Record what in a text would act; return what is wrong with its form, or nothing."""
    if isinstance(text, str):
        alive = markup.alive_in_wiki(text)
        wrong = "Operation value must be an Atlassian Document" if world.is_cloud else ""
    else:
        alive = markup.alive_in_document(text)
        wrong = (
            ", ".join(markup.problems_of_document(text)) if world.is_cloud else "string expected"
        )
    world.acts += [{"kind": "alive", "where": where, "what": what} for what in alive]
    size = len(text) if isinstance(text, str) else len(repr(text))
    return wrong or ("CONTENT_LIMIT_EXCEEDED" if size > 40_000 else "")


def _create_issue(world: World, path: Mapping[str, str], body: Json) -> Response:
    fields = body.get("fields", {})
    if wrong := _wrong_fields(world, fields):
        return refused(400, **wrong)
    if wrong_text := _take_text(world, fields["description"], "issue"):
        return refused(400, description=wrong_text)
    properties = {one["key"]: one["value"] for one in body.get("properties", [])}
    issue = _new_issue(world, _kept(world, fields), by=world.bot, properties=properties)
    if "security" not in fields:
        issue["fields"]["security"] = world.default_level or None
    if world.behaves("security-ignored"):
        issue["fields"]["security"] = None
    if world.behaves("labels-dropped"):
        issue["fields"]["labels"] = []
    answer = {"id": issue["id"], "key": issue["key"], "self": f"{world.base}/x/{issue['id']}"}
    return JSONResponse(answer, 201)


def _kept(world: World, fields: Json) -> Json:
    """Return fields as they are stored."""
    kept: Json = {
        name: fields[name]
        for name in ("summary", "description", "labels", "duedate")
        if name in fields
    }
    if "security" in fields:
        kept["security"] = _level(world, fields["security"])
    if "assignee" in fields:
        kept["assignee"] = _person(fields["assignee"])
    for name in ("priority", "issuetype"):
        if name in fields:
            kept[name] = fields[name]["name"]
    return kept


def _level(world: World, given: Json) -> str | None:
    for number, name in world.levels:
        if given in ({"id": number}, {"name": name}):
            return number
    return None


def _person(given: Json | None) -> str | None:
    return None if given is None else given.get("accountId") or given.get("name")


def _wrong_fields(world: World, fields: Json) -> dict[str, str]:
    """Return what Jira says of fields that it does not take, by name; their order is Jira's."""
    unknown = "Field '{}' cannot be set. It is not on the appropriate screen, or unknown."
    wrong = {name: unknown.format(name) for name in fields if name not in world.screen}
    if fields.get("project", {"key": world.project}) != {"key": world.project}:
        wrong["project"] = "valid project is required"
    if fields.get("issuetype", {"name": "Task"})["name"] not in world.issue_types:
        wrong["issuetype"] = "Specify a valid issue type"
    if fields.get("priority", {"name": "High"})["name"] not in world.priorities:
        wrong["priority"] = "Specify a valid 'name' for Priority"
    if "security" in fields and _level(world, fields["security"]) is None:
        wrong["security"] = "Specify a valid security level"
    if _person(fields.get("assignee")) not in {None, *world.assignable}:
        wrong["assignee"] = "User cannot be assigned issues."
    if any(re.search(r"\s", label) for label in fields.get("labels", [])):
        wrong["labels"] = "The label contains spaces which is invalid."
    return wrong


def _read_issue(world: World, path: Mapping[str, str], body: Json) -> Response:
    issue = find(world, path["issue"])
    if issue is None:
        return _hidden(world, path["issue"])
    shown = _issue(world, issue, body.get("fields"), body.get("properties", ""))
    return JSONResponse(shown)


def _update_issue(world: World, path: Mapping[str, str], body: Json) -> Response:
    issue = find(world, path["issue"])
    if issue is None:
        return _hidden(world, path["issue"])
    fields = body.get("fields", {})
    if "security" in fields and world.behaves("security-put-forbidden"):
        return refused(400, security="Field 'security' cannot be set.")
    if wrong := _wrong_fields(world, fields):
        return refused(400, **wrong)
    if "description" in fields:
        if wrong_text := _take_text(world, fields["description"], f"issue {issue['key']}"):
            return refused(400, description=wrong_text)
        if world.behaves("security-dropped-later"):
            issue["fields"]["security"] = None
    kept = _kept(world, fields)
    if "security" in kept and world.behaves("security-put-ignored"):
        del kept["security"]
    if "description" in kept and world.behaves("text-mangled"):
        kept["description"] = _mangled(kept["description"])
    issue["fields"] |= kept
    _update_labels(world, issue, body.get("update", {}).get("labels", []))
    _touch(world, issue)
    return Response(status_code=204)


def _mangled(text: Any) -> Any:
    """Return a text from which something was taken, as by a macro that ran."""
    if isinstance(text, str):
        return text.replace("a", "", 1)
    return {**text, "content": text["content"][1:]}


def _update_labels(world: World, issue: Json, orders: Sequence[Json]) -> None:
    have = list(issue["fields"]["labels"])
    if orders and world.behaves("labels-put-dropped"):
        return
    for order in orders:
        if "add" in order and order["add"] not in have:
            have.append(order["add"])
        if order.get("remove") in have:
            have.remove(order["remove"])
    issue["fields"]["labels"] = have


# ── Verbs: search ────────────────────────────────────────────────────────────────────────────────


def _search(world: World, path: Mapping[str, str], body: Json) -> Response:
    """Answer from the index: only what it knows by now."""
    wanted, _, order = body["jql"].partition(" ORDER BY ")
    for issue in world.issues.values():
        if not world.index_lag:
            issue["indexed"] = issue["updated"]
    found = [
        issue
        for issue in world.issues.values()
        if issue["indexed"] and find(world, issue["id"]) and _matches(world, issue, wanted)
    ]
    name, _, direction = order.partition(" ")
    found.sort(key=lambda issue: str(issue["indexed" if name == "updated" else name]))
    if direction == "DESC":
        found.reverse()
    start = int(body.get("nextPageToken") or body.get("startAt") or 0)
    size = min(int(body.get("maxResults", 50)), 100)
    page = found[start : start + size]
    shown = [_as_indexed(world, issue, body) for issue in page]
    more = start + size < len(found)
    if world.is_cloud:
        token = {"nextPageToken": str(start + size)} if more else {}
        return JSONResponse({"issues": shown, "isLast": not more, **token})
    return JSONResponse({"issues": shown, "startAt": start, "total": len(found)})


def _as_indexed(world: World, issue: Json, body: Json) -> Json:
    properties = body.get("properties", "") if world.is_cloud else ""
    shown = _issue(world, issue, body.get("fields", "id"), properties)
    if "updated" in shown["fields"]:
        shown["fields"]["updated"] = issue["indexed"]
    return shown


def _matches(world: World, issue: Json, jql: str) -> bool:
    """Judge the JQL that an adapter may ask: clauses, AND before OR, one level of brackets."""
    if match := re.fullmatch(r"\((.*?)\) AND (.*)", jql):
        return _matches(world, issue, match[1]) and _matches(world, issue, match[2])
    if " OR " in jql:
        return any(_matches(world, issue, part) for part in jql.split(" OR "))
    return all(_clause(world, issue, clause) for clause in jql.split(" AND "))


def _clause(world: World, issue: Json, clause: str) -> bool:
    match clause.split(" ", 2):
        case ["project", "=", name]:
            return bool(issue["project"] == name.strip('"'))
        case ["creator", "=", "currentUser()"]:
            return bool(issue["creator"] == world.bot)
        case ["labels", "in", names]:
            return not set(json.loads(f"[{names[1:-1]}]")).isdisjoint(issue["fields"]["labels"])
        case ["level", "is", "not EMPTY"]:
            return issue["fields"]["security"] is not None
        case [("created" | "updated") as name, (">=" | "<") as sign, span]:
            minutes = re.fullmatch(r'"-(\d+)m"', span)
            assert minutes is not None, clause
            then = fake_server.present() - timedelta(minutes=int(minutes[1]))
            value = issue["indexed" if name == "updated" else name]
            is_since = datetime.strptime(value, "%Y-%m-%dT%H:%M:%S.%f%z") >= then
            return is_since is (sign == ">=")
        case _:
            raise AssertionError(f"no such JQL: {clause}")


# ── Verbs: comments, files, links, workflow ──────────────────────────────────────────────────────


def _list_comments(world: World, path: Mapping[str, str], body: Json) -> Response:
    issue = find(world, path["issue"])
    if issue is None:
        return _hidden(world, path["issue"])
    found = list(issue["comments"])
    if body.get("orderBy") == "-created":
        found.reverse()
    start, size = int(body.get("startAt", 0)), int(body.get("maxResults", 100))
    expand = body.get("expand", "")
    page = [_comment(world, one, expand=expand) for one in found[start : start + size]]
    return JSONResponse({"comments": page, "startAt": start, "total": len(found)})


def _create_comment(world: World, path: Mapping[str, str], body: Json) -> Response:
    issue = find(world, path["issue"])
    if issue is None:
        return _hidden(world, path["issue"])
    if wrong := _take_text(world, body["body"], f"comment on {issue['key']}"):
        return refused(400, comment=wrong)
    visibility = body.get("visibility")
    if visibility and visibility["value"] not in {*world.roles, "responders"}:
        return refused(400, commentLevel="Role or group does not exist.")
    properties = body.get("properties", [])
    if world.behaves("jsd-public"):
        properties = [one for one in properties if one["key"] != "sd.public.comment"]
    internal = {"key": "sd.public.comment", "value": {"internal": True}} in properties
    comment = _write(
        world,
        issue,
        {
            "body": body["body"],
            "properties": properties,
            "visibility": None if world.behaves("visibility-ignored") else visibility,
            "public": not internal,
        },
    )
    return JSONResponse(_comment(world, comment), 201)


def _comment_named(world: World, path: Mapping[str, str]) -> tuple[Json, Json] | None:
    issue = find(world, path["issue"])
    for comment in issue["comments"] if issue else ():
        if issue and comment["id"] == path["comment"]:
            return issue, comment
    return None


def _read_comment(world: World, path: Mapping[str, str], body: Json) -> Response:
    found = _comment_named(world, path)
    if found is None:
        return refused()
    return JSONResponse(_comment(world, found[1], expand=body.get("expand", "")))


def _update_comment(world: World, path: Mapping[str, str], body: Json) -> Response:
    """Update; a restriction that is not named again is gone, as Jira is known to do it."""
    found = _comment_named(world, path)
    if found is None:
        return refused()
    issue, comment = found
    if wrong := _take_text(world, body["body"], f"comment on {issue['key']}"):
        return refused(400, comment=wrong)
    comment |= {"body": body["body"], "visibility": body.get("visibility"), "updated": _now()}
    given = {one["key"]: one for one in [*comment["properties"], *body.get("properties", [])]}
    comment["properties"] = list(given.values())
    _touch(world, issue)
    return JSONResponse(_comment(world, comment))


def _attach(world: World, path: Mapping[str, str], body: Json) -> Response:
    issue = find(world, path["issue"])
    if issue is None:
        return _hidden(world, path["issue"])
    part = re.search(
        r'name="file"; filename="([^"]+)"\r\n(?:[^\r\n]+\r\n)*\r\n(.*)\r\n--',
        body["octets"],
        re.DOTALL,
    )
    assert part is not None, "no file"
    if len(part[2]) > world.attachment_limit:
        return refused(413)
    file = {"id": str(world.next_id()), "name": part[1], "content": part[2]}
    issue["files"].append(file)
    _touch(world, issue)
    return JSONResponse([_file(world, issue, file)])


def _media(world: World, path: Mapping[str, str], body: Json) -> Response:
    """Point to another host, as the cloud does for the content of files."""
    other = world.base.replace("127.0.0.1", "localhost")
    return RedirectResponse(f"{other}/_elsewhere/media/{path['file']}", 303)


def _list_transitions(world: World, path: Mapping[str, str], body: Json) -> Response:
    ways = [
        {
            "id": str(number),
            "name": f"Go to {name}",
            "to": {"name": name, "statusCategory": {"key": STATUSES[name], "name": name}},
        }
        for number, name in enumerate(STATUSES, start=11)
        if name in world.transitions
    ]
    return JSONResponse({"expand": "transitions", "transitions": ways})


def _transition(world: World, path: Mapping[str, str], body: Json) -> Response:
    issue = find(world, path["issue"])
    if issue is None:
        return _hidden(world, path["issue"])
    issue["fields"]["status"] = list(STATUSES)[int(body["transition"]["id"]) - 11]
    _touch(world, issue)
    return Response(status_code=204)


def _link_types(world: World, path: Mapping[str, str], body: Json) -> Response:
    return JSONResponse(
        {"issueLinkTypes": [{"id": "1", "name": name} for name in world.link_types]}
    )


def _create_link(world: World, path: Mapping[str, str], body: Json) -> Response:
    ends = {"inward": body["inwardIssue"]["id"], "outward": body["outwardIssue"]["id"]}
    link = {"id": str(world.next_id()), "type": body["type"]["name"], **ends}
    for number in ends.values():
        world.issues[int(number)]["links"].append(link)
    return Response(status_code=201)


# ── Verbs: the project and its people ────────────────────────────────────────────────────────────


def _myself(world: World, path: Mapping[str, str], body: Json) -> Response:
    return JSONResponse(_user(world, world.bot))


def _server_info(world: World, path: Mapping[str, str], body: Json) -> Response:
    info = {"baseUrl": world.base, "deploymentType": world.deployment, "version": "1001.0.0"}
    return JSONResponse(info)


def _permissions(world: World, path: Mapping[str, str], body: Json) -> Response:
    told = {
        key: {"key": key, "name": key, "havePermission": key in world.rights}
        for key in body["permissions"].split(",")
    }
    return JSONResponse({"permissions": told})


def _project(world: World, path: Mapping[str, str], body: Json) -> Response:
    kinds = [{"id": str(n), "name": name} for n, name in enumerate(world.issue_types, start=1)]
    return JSONResponse(
        {
            "id": "10000",
            "key": world.project,
            "name": "Security",
            "archived": world.archived,
            "projectTypeKey": world.project_type,
            "issueTypes": kinds,
        }
    )


def _screen(world: World, path: Mapping[str, str], body: Json) -> Response:
    fields = [
        {
            "fieldId": name,
            "key": name,
            "name": name.title(),
            "required": name in world.required,
            "hasDefaultValue": False,
            "operations": ["set"],
            "schema": {"type": "string"},
            **(
                {"allowedValues": [{"name": one} for one in world.priorities]}
                if name == "priority"
                else {}
            ),
        }
        for name in world.screen
    ]
    name = "fields" if world.is_cloud else "values"
    return JSONResponse({name: fields, "startAt": 0, "total": len(fields)})


def _levels(world: World, path: Mapping[str, str], body: Json) -> Response:
    """Tell the levels that include the bot."""
    shown = [{"id": one, "name": name} for one, name in world.levels if one in world.visible]
    return JSONResponse({"levels": shown})


def _scheme(world: World, path: Mapping[str, str], body: Json) -> Response:
    if world.scheme_hidden:
        return refused(403)
    default = {"defaultSecurityLevelId": int(world.default_level)} if world.default_level else {}
    return JSONResponse({"id": 10, "name": "Security", **default})


def _assignable(world: World, path: Mapping[str, str], body: Json) -> Response:
    wanted = body.get("accountId" if world.is_cloud else "username", "").lower()
    found = [name for name in sorted(world.assignable) if name.startswith(wanted)]
    return JSONResponse([_user(world, name) for name in found if name in world.users])


def _account(world: World, path: Mapping[str, str], body: Json) -> Response:
    name = body.get("accountId" if world.is_cloud else "username", "")
    groups = [{"name": group, "groupId": f"id-of-{group}"} for group in world.groups.get(name, [])]
    return JSONResponse({**(_user(world, name) or {}), "groups": {"items": groups}})


def _roles(world: World, path: Mapping[str, str], body: Json) -> Response:
    if world.roles_hidden:
        return refused(403)
    where = f"{world.base}/rest/api/3/project/{world.project}/role"
    return JSONResponse({name: f"{where}/{n}" for n, name in enumerate(world.roles, start=100)})


def _role(world: World, path: Mapping[str, str], body: Json) -> Response:
    name = list(world.roles)[int(path["role"]) - 100]
    return JSONResponse({"name": name, "actors": [_actor(world, one) for one in world.roles[name]]})


def _actor(world: World, name: str) -> Json:
    is_group, name = name.startswith("group:"), name.removeprefix("group:")
    kind = {"type": f"atlassian-{'group' if is_group else 'user'}-role-actor"}
    if not world.is_cloud:
        return {**kind, "name": name}
    if is_group:
        return {**kind, "actorGroup": {"name": name, "groupId": f"id-of-{name}"}}
    return {**kind, "actorUser": {"accountId": name}}


def _statuses(world: World, path: Mapping[str, str], body: Json) -> Response:
    statuses = [
        {"name": name, "statusCategory": {"key": STATUSES[name]}} for name in world.transitions
    ]
    return JSONResponse([{"name": kind, "statuses": statuses} for kind in world.issue_types])


def _notifications(world: World, path: Mapping[str, str], body: Json) -> Response:
    told = [{"notificationType": name} for name in world.notified]
    event = {"event": {"name": "Issue created"}, "notifications": told}
    return JSONResponse({"id": 1, "notificationSchemeEvents": [event]})


VERBS: Mapping[tuple[str, str], tuple[str, Verb]] = {
    ("GET", "/myself"): ("user", _myself),
    ("GET", "/serverInfo"): ("server", _server_info),
    ("GET", "/mypermissions"): ("permissions", _permissions),
    ("GET", "/user"): ("account", _account),
    ("GET", "/user/assignable/search"): ("users", _assignable),
    ("GET", "/project/{project}"): ("project", _project),
    ("GET", "/project/{project}/securitylevel"): ("levels", _levels),
    ("GET", "/project/{project}/issuesecuritylevelscheme"): ("scheme", _scheme),
    ("GET", "/project/{project}/notificationscheme"): ("notifications", _notifications),
    ("GET", "/project/{project}/statuses"): ("statuses", _statuses),
    ("GET", "/project/{project}/role"): ("roles", _roles),
    ("GET", "/project/{project}/role/{role}"): ("role", _role),
    ("GET", "/issue/createmeta/{project}/issuetypes/{kind}"): ("screen", _screen),
    ("GET", "/search/jql"): ("list-issues", _search),
    ("GET", "/search"): ("list-issues", _search),
    ("POST", "/issue"): ("create-issue", _create_issue),
    ("GET", "/issue/{issue}"): ("read-issue", _read_issue),
    ("PUT", "/issue/{issue}"): ("update-issue", _update_issue),
    ("GET", "/issue/{issue}/comment"): ("list-notes", _list_comments),
    ("POST", "/issue/{issue}/comment"): ("create-note", _create_comment),
    ("GET", "/issue/{issue}/comment/{comment}"): ("read-note", _read_comment),
    ("PUT", "/issue/{issue}/comment/{comment}"): ("update-note", _update_comment),
    ("POST", "/issue/{issue}/attachments"): ("attach", _attach),
    ("GET", "/attachment/content/{file}"): ("media", _media),
    ("GET", "/issue/{issue}/transitions"): ("transitions", _list_transitions),
    ("POST", "/issue/{issue}/transitions"): ("transition", _transition),
    ("GET", "/issueLinkType"): ("link-types", _link_types),
    ("POST", "/issueLink"): ("create-link", _create_link),
}


class Server(fake_server.Server[World]):
    """The fake Jira behind HTTP."""

    verbs = VERBS
    behaviours = BEHAVIOURS
    prefix = "/rest/api/{api}"

    def new_world(self, base: str) -> World:
        """Return an empty Jira."""
        return World(base=base)

    def ready(self) -> Json:
        """Return where it is and how one gets in."""
        return {"url": self.world.base, "token": TOKEN, "project": PROJECT}

    def refusal(self, request: Request, kind: str) -> Response | None:
        """Refuse a wrong login, the other version of the API, and projects that there are not."""
        world = self.world
        if world.behaves("captcha"):
            return _login("AUTHENTICATION_DENIED", 403)
        if request.headers.get("authorization") != _authorization(world):
            return _login("AUTHENTICATED_FAILED", 401)
        if world.behaves("logged-out"):
            return _login("AUTHENTICATED_FAILED", 404)
        if request.path_params["api"] != ("3" if world.is_cloud else "2"):
            return refused(404)
        if unquote(request.path_params.get("project", world.project)) != world.project:
            return refused(404)
        if kind == "attach" and request.headers.get("x-atlassian-token") != "no-check":
            return refused(403)
        return None

    def checked(self, request: Request, kind: str, body: Json, answer: Response) -> Response:
        """Return the answer, and keep one exchange of each form for ``violations``."""
        is_get = request.method == "GET"
        exchange = Exchange(
            kind=kind,
            method=request.method,
            path=request.url.path,
            query=body if is_get else dict(request.query_params),
            body={} if is_get else body,
            status=answer.status_code,
            answer=bytes(answer.body).decode(),
        )
        self.world.exchanges.setdefault(exchange.form, asdict(exchange))
        return answer

    def error(self, status: int, message: str, headers: Mapping[str, str]) -> Response:
        """Return an error as Jira words it."""
        return JSONResponse({"errorMessages": [message], "errors": {}}, status, dict(headers))

    def from_elsewhere(self) -> Json:
        """Return an issue that looks just right."""
        return {"id": "1", "key": "SEC-1", "fields": {"security": {"id": TEAM, "name": "Team"}}}


def _authorization(world: World) -> str:
    if not world.is_cloud:
        return f"Bearer {world.token}"
    return f"Basic {base64.b64encode(f'{USER}:{world.token}'.encode()).decode()}"


def _login(reason: str, status: int) -> Response:
    return JSONResponse(
        {"errorMessages": [], "errors": {}}, status, {"X-Seraph-LoginReason": reason}
    )


class FakeJira(fake_server.Handle):
    """A fake Jira in a process of its own."""

    module = "tests.support.fake_jira"

    def issues(self) -> list[Json]:
        """Return all issues, oldest first, with comments, files and links."""
        return list(self.state()["issues"])

    def violations(self) -> list[str]:
        """Return what Atlassian would not have known of requests and answers."""
        return violations(Exchange(**one) for one in self.state()["exchanges"])

    def write(self, number: int, body: object, *, by: str = "alex", **more: object) -> str:
        """Write a comment as a person, and return its id."""
        self.edit(number, comment={"body": body, "by": by, **more})
        (issue,) = [one for one in self.issues() if one["key"].endswith(f"-{number}")]
        return str(issue["comments"][-1]["id"])


if __name__ == "__main__":
    fake_server.serve(Server)
