"""How do we speak to a Jira?  With the session of the ``jira`` package, one request at a time.

The package builds the addresses, logs in, and tells refusals apart.  Its own verbs are left alone:
they prefetch, ask twice, and turn an answer into an object that hides what came (see ``door``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from secbridge.errors import Deferral, PermanentFault, TransientFault
from secbridge.model.plaintext import Secret
from secbridge.trackers.door import USER_AGENT, Ask, Door, Json, Refusals, segment
from secbridge.trackers.registry import library

PER_PAGE = 50
MAX_PAGES = 200


class Deployment(StrEnum):
    """Which Jira it is: the cloud speaks version 3 of the API, Data Center version 2."""

    CLOUD = "cloud"
    DATA_CENTER = "data-center"


@dataclass(frozen=True, slots=True, repr=False)
class Look(Ask):
    """A question whether something is there: that it is not is an answer, and None."""


_REFUSALS: Refusals = {
    "tracker-token-missing": (
        "The token cannot be read.",
        "token_credential",
        "Give secbridge the credential or file that the setting names.",
    ),
    "tracker-token-refused": (
        "The tracker refuses the token.",
        "token_credential",
        "Give secbridge a valid token of the bot's account, and in the cloud its address as user.",
    ),
    "tracker-captcha": (
        "The tracker refuses the account until a person has logged in and solved a captcha.",
        "token_credential",
        "Log in to the bot's account with a browser, then give secbridge a valid token.",
    ),
    "tracker-forbidden": (
        "The tracker says that the bot's account may not do this.",
        "token_credential",
        "Give the account the permissions that the documentation lists for the project.",
    ),
    "tracker-not-found": (
        "The tracker knows no such project or issue, or does not show it to the bot's account.",
        "alias.project",
        "See whether the project's key is spelled right, and the account may browse it.",
    ),
    "tracker-hides-issue": (
        "The tracker does not show the bot's account the issue that it has just created.",
        "security_level",
        "Make the bot's account a member of the security level, by name, role or group.",
    ),
    "tracker-refused": (
        "The tracker refuses a value.",
        "issue_type",
        "See which fields the issue type asks for beyond summary and description.",
    ),
    "tracker-security-level": (
        "The tracker does not let the bot's account set this security level.",
        "security_level",
        (
            "Give the project an issue security scheme with this level, put the field Security "
            "Level on the create and edit screens, and give the account Set Issue Security."
        ),
    ),
    "tracker-labels": (
        "The tracker does not take the labels.",
        "alias.labels",
        "Put the field Labels on the create and edit screens; a label has no blanks.",
    ),
    "tracker-assignee": (
        "The tracker does not let the bot's account assign the issue.",
        "alias.assignees",
        "Put Assignee on the create screen, and give the account Assign Issues.",
    ),
    "tracker-priority": (
        "The tracker does not take the priority.",
        "priority",
        "Name a priority of the project's scheme, and put Priority on the create screen.",
    ),
    "tracker-due-date": (
        "The tracker does not take the due date.",
        "alias.due_days",
        "Put Due date on the create screen, and give the account Schedule Issues.",
    ),
    "tracker-issue-type": (
        "The project has no such issue type.",
        "issue_type",
        "Name an issue type of the project, as Jira writes it.",
    ),
    "tracker-project": (
        "The tracker does not let the bot's account create issues in this project.",
        "alias.project",
        "See whether the project's key is right, and give the account Create Issues.",
    ),
    "tracker-visibility": (
        "The tracker does not take the role or group to which comments are shown.",
        "comment_role",
        "Name a role of the project, or a group, to which the bot's account belongs.",
    ),
    "tracker-file-too-large": (
        "A file is larger than the tracker takes.",
        "attachments",
        'Raise the limit in Jira, or set attachments = "withhold".',
    ),
    "tracker-transition": (
        "The workflow has no way for the bot's account to close or reopen the issue.",
        "closed_transition",
        "Name a transition without a screen that it may use, and give it Transition Issues.",
    ),
    "tracker-redirects": (
        "The tracker points to another address, and no redirect is followed.",
        "url",
        "Write the base URL that Jira itself shows, with its context path.",
    ),
    "tracker-url": (
        "The tracker's address cannot be used.",
        "url",
        "Write it as https://example.atlassian.net or https://jira.example.org.",
    ),
    "tracker-tls": (
        "The tracker's certificate cannot be verified.",
        "ca_file",
        "Name the CA in ca_file, or renew the certificate.",
    ),
}

_FIELDS: Mapping[str, str] = {
    "security": "tracker-security-level",
    "labels": "tracker-labels",
    "assignee": "tracker-assignee",
    "priority": "tracker-priority",
    "duedate": "tracker-due-date",
    "issuetype": "tracker-issue-type",
    "project": "tracker-project",
    "pid": "tracker-project",
    "visibility": "tracker-visibility",
    "commentLevel": "tracker-visibility",
}
"""What it means when Jira names a field in a refusal; its own words may quote ours."""

_LOGIN_REASON = "x-seraph-loginreason"
_LOGIN_REFUSED = ("AUTHENTICATED_FAILED", "AUTHENTICATION_DENIED")


class JiraDoor(Door):
    """Requests to one Jira, by its REST API v3 or v2 (see ``door.Door``)."""

    refusals = _REFUSALS

    def __init__(
        self,
        name: str,
        url: str,
        token: Callable[[], Secret],
        *,
        deployment: Deployment,
        user: str,
        timeout: float,
        ca_file: str | None = None,
    ) -> None:
        self._jira = library("jira", extra="jira")
        self.url = url
        self.deployment = deployment
        self._user = user
        super().__init__(name, token, timeout=timeout, ca_file=ca_file, extra="jira")

    @property
    def is_cloud(self) -> bool:
        """Whether it is the cloud, where texts are documents and people are account ids."""
        return self.deployment is Deployment.CLOUD

    # ── Lists ─────────────────────────────────────────────────────────────────────────────────────

    async def look(self, what: str, path: str, **query: Json) -> Mapping[str, Json] | None:
        """Return what is there, or None where Jira says that nothing is, or shows it to others."""
        answer = await self.send(Look(what, "get", path, query))
        return answer if isinstance(answer, dict) else None

    async def search(
        self, what: str, jql: str, *, fields: str, properties: str, most: int
    ) -> Sequence[Mapping[str, Json]]:
        """Return up to ``most`` issues by the index, which may be minutes behind."""
        found: list[Mapping[str, Json]] = []
        query = {"jql": jql, "fields": fields, "properties": properties}
        place: dict[str, Json] = {}
        while len(found) < most:
            size = min(PER_PAGE, most - len(found))
            answer = await self._page(what, {**query, **place, "maxResults": size})
            items = _list(answer, "issues")
            found += [item for item in items if isinstance(item, dict)]
            place = self._next_page(answer, len(found))
            if not items or not place:
                break
        return found

    async def pages(self, what: str, path: str, name: str, **query: Json) -> Sequence[Json]:
        """Return all items of a list that tells its total, at most ``MAX_PAGES`` pages."""
        found: list[Json] = []
        for _ in range(MAX_PAGES):
            answer = await self.get(what, path, **query, startAt=len(found), maxResults=100)
            items = _list(answer, name)
            found += items
            total = answer.get("total")
            if not items or (isinstance(total, int) and len(found) >= total):
                return found
        raise TransientFault(
            "tracker-list-endless", "A list of the tracker does not end.", alarm=True
        )

    async def _page(self, what: str, query: Mapping[str, Json]) -> Mapping[str, Json]:
        answer = await self.get(what, "search/jql" if self.is_cloud else "search", **query)
        if not isinstance(answer, dict):
            raise TransientFault("tracker-answer-unreadable", "The tracker sent no list.")
        return answer

    def _next_page(self, answer: Mapping[str, Json], count: int) -> dict[str, Json]:
        """Return what asks for the page after this one, or nothing when it was the last."""
        if self.is_cloud:
            token = answer.get("nextPageToken")
            return {"nextPageToken": token} if token and answer.get("isLast") is not True else {}
        total = answer.get("total")
        return {"startAt": count} if isinstance(total, int) and count < total else {}

    def expect_object(self, answer: Json, what: str) -> Mapping[str, Json]:
        """Return an answer that is an object; to most writes Jira answers with nothing at all."""
        return {} if answer is None else super().expect_object(answer, what)

    # ── One request ───────────────────────────────────────────────────────────────────────────────

    def make_client(self) -> Json:
        """Return a client with the token as it is now; nothing is asked of Jira."""
        token = self.reveal()
        login = {"basic_auth": (self._user, token)} if self.is_cloud else {"token_auth": token}
        client = self._jira.JIRA(
            self.url,
            options={
                "rest_api_version": "3" if self.is_cloud else "2",
                "verify": self.verify,
                "check_update": False,
                "headers": {"User-Agent": USER_AGENT},
            },
            **login,
            timeout=(self.timeout, self.timeout),
            max_retries=0,
            get_server_info=False,
            validate=False,
            logging=False,
        )
        self.tame(client._session)
        return client

    def close_client(self, client: Json) -> None:
        """Close a client's connections."""
        client.close()

    def request(self, client: Json, ask: Ask) -> Json:
        """Send one request, once, and return its JSON; None for an answer without content."""
        url, given = client._get_url(ask.path), _arguments(ask)
        try:
            response = client._session.request(ask.verb, url, **given)
        except self._jira.JIRAError as error:
            if isinstance(ask, Look) and error.status_code in {403, 404} and not self._logged_out():
                return None
            raise
        if self._logged_out():
            raise self._told(ask, "LoginRefused", response.status_code, self._refused_login())
        return response.json() if response.content else None

    def status_of(self, error: Exception) -> int | None:
        """Return the status of the package's own errors."""
        if not isinstance(error, self._jira.JIRAError):
            return None
        status = error.status_code
        return status if isinstance(status, int) else 0

    def keep_headers(self, response: Json, *_: Json, **__: Json) -> None:
        """Remember an answer's headers, and which fields a refusal names."""
        super().keep_headers(response)
        self._mine.refused = _refused_fields(response) if response.status_code == 400 else ()

    def answered(self, status: int, ask: Ask) -> Deferral:
        """Sort by the login that Jira tells of, then by the field that it refuses."""
        if self._logged_out():
            return self._refused_login()
        if status == 413:
            return self.permanent("tracker-file-too-large")
        if status == 400 and not ask.writes:
            return self.permanent("tracker-not-found")
        if status == 400:
            refused: Sequence[str] = getattr(self._mine, "refused", ())
            codes = [_FIELDS[name] for name in refused if name in _FIELDS]
            return self.permanent(codes[0] if codes else "tracker-refused")
        return super().answered(status, ask)

    def _logged_out(self) -> bool:
        """Whether Jira treats us as a stranger, whatever the status: it may well say 200 or 404."""
        reason = self.headers.get(_LOGIN_REASON, "").upper()
        return any(word in reason for word in _LOGIN_REFUSED)

    def _refused_login(self) -> PermanentFault:
        self.renew()
        denied = "AUTHENTICATION_DENIED" in self.headers.get(_LOGIN_REASON, "").upper()
        return self.permanent("tracker-captcha" if denied else "tracker-token-refused")


def issue_path(issue_id: str) -> str:
    """Return the path of an issue, by its id or its key."""
    return f"issue/{segment(issue_id)}"


def _arguments(ask: Ask) -> dict[str, Json]:
    """Return what requests needs for a request."""
    if ask.upload is not None:
        file = (ask.upload.name, ask.upload.content, ask.upload.media_type)
        headers = {"Content-Type": None, "X-Atlassian-Token": "no-check"}
        return {"files": {ask.upload.field: file}, "headers": headers}
    given: dict[str, Json] = {"params": dict(ask.query)}
    if ask.body is not None:
        given["data"] = json.dumps(ask.body)
    return given


def _list(answer: Json, name: str) -> Sequence[Json]:
    items = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(items, list):
        raise TransientFault("tracker-answer-unreadable", "The tracker sent no list.")
    return items


def _refused_fields(response: Json) -> Sequence[str]:
    """Return the names of the fields that a 400 complains of."""
    try:
        answer = response.json()
    except ValueError:
        return ()
    errors = answer.get("errors") if isinstance(answer, dict) else None
    return tuple(errors) if isinstance(errors, dict) else ()
