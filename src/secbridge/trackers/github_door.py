"""How do we speak to a GitHub?  With PyGithub's requester, one request at a time (see ``door``).

PyGithub would sleep between requests, re-send them, follow a redirect with the body in hand, wait
for a 202 without end, and call a login page a success: its requester is built without all of that,
and each answer is looked at before the library sees it.  A GitHub App signs for a token of its
installation, which lasts an hour; that request goes through this door as all others do, and the
token is shared by all threads.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from secbridge.errors import ConfigError, Deferral, PermanentFault, TransientFault
from secbridge.model.plaintext import Secret
from secbridge.trackers.door import (
    LONGEST_WAIT,
    USER_AGENT,
    Ask,
    Door,
    Json,
    Refusals,
)
from secbridge.trackers.registry import library

PER_PAGE = 100
MAX_PAGES = 100

LIMITED = timedelta(minutes=1)
"""How long to wait where GitHub limits us and does not say for how long: what its page asks for."""

RENEW_BEFORE = timedelta(minutes=5)
"""How long before its end an installation's token is fetched anew."""

_REFUSALS: Refusals = {
    "tracker-token-missing": (
        "The token cannot be read.",
        "token_credential",
        "Give secbridge the credential or file that the setting names.",
    ),
    "tracker-token-refused": (
        "GitHub refuses the token.",
        "token_credential",
        "Give secbridge a valid fine-grained token of the bot's account.",
    ),
    "tracker-app-key-unusable": (
        "The App's private key cannot be used.",
        "app_key_credential",
        "Give secbridge the PEM file that GitHub made for the App.",
    ),
    "tracker-app-refused": (
        "GitHub knows no such App or installation, or refuses the App's key.",
        "installation_id",
        "See whether app_id, installation_id and key belong together, and the App is installed.",
    ),
    "tracker-forbidden": (
        "GitHub says that the account may not do this.",
        "token_credential",
        "Give it write access to the repository, and the token what `secbridge check` names.",
    ),
    "tracker-not-found": (
        "GitHub knows no such repository or item, or does not show it to the account.",
        "alias.project",
        "See whether the repository is spelled owner/name, and the token has access to it.",
    ),
    "tracker-issues-off": (
        "The repository has no issues.",
        "alias.project",
        "Switch issues on in the repository's settings.",
    ),
    "tracker-blocked": (
        "GitHub has blocked the repository for legal reasons.",
        "alias.project",
        "Name another repository.",
    ),
    "tracker-conflict": (
        "Something else is there already.",
        "alias.project",
        "Try again; see who else writes to this repository.",
    ),
    "tracker-refused": (
        "GitHub refuses a value.",
        "alias.labels",
        "See whether the repository knows the labels, people and types that are configured.",
    ),
    "advisory-refused": (
        "GitHub refuses a value of the advisory.",
        "severity",
        "See whether severity, cvss_vector, credits, package and ecosystem are as GitHub has them.",
    ),
    "tracker-redirects": (
        "GitHub points to another address, and no redirect is followed.",
        "alias.project",
        "Write the repository's present owner and name, and in url the address of the API itself.",
    ),
    "tracker-url": (
        "The tracker's address cannot be used.",
        "url",
        "Write it as https://ghe.example.org/api/v3.",
    ),
    "tracker-tls": (
        "The tracker's certificate cannot be verified.",
        "ca_file",
        "Name the CA in ca_file, or renew the certificate.",
    ),
}


@dataclass(frozen=True, slots=True)
class App:
    """A GitHub App's installation; ``key`` gives its private key as PEM."""

    app_id: str
    installation_id: int
    key: Callable[[], Secret]


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list; ``more`` is the query of the next one, None at the end."""

    items: Sequence[Json]
    more: Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class Moved:
    """Where an issue went, as a path of the same API."""

    path: str


@dataclass(frozen=True, slots=True, repr=False)
class _AskForPage(Ask):
    """A request for a page of a list, answered with a ``Page``."""


@dataclass(frozen=True, slots=True, repr=False)
class _AskWhere(Ask):
    """A read that may be answered with ``Moved``."""


@dataclass(frozen=True, slots=True, repr=False)
class _AskWhether(Ask):
    """A read of which a 404 is the answer "no", and not a failure."""


@dataclass(frozen=True, slots=True, repr=False)
class _AskForHeaders(Ask):
    """A read that is answered with the headers beside the JSON."""


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class _AskAsApp(Ask):
    """A request in the name of the App itself, not of its installation."""

    app: App


class _Answered(Exception):  # noqa: N818 - an answer that is not 2xx; it never leaves this module
    """GitHub's status; a 403 that means a limit is told as the 429 that it is."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class GitHubDoor(Door):
    """Requests to one GitHub, by its REST API (see ``door.Door``).

    ``url`` is the API's own address; with ``app`` the token is that of the App's installation, and
    ``token`` is not asked.
    """

    refusals = _REFUSALS

    def __init__(
        self,
        name: str,
        url: str,
        token: Callable[[], Secret],
        *,
        timeout: float,
        api_version: str,
        ca_file: str | None = None,
        app: App | None = None,
    ) -> None:
        self._github = library("github", extra="github")
        self._requester = library("github.Requester", extra="github")
        self._url = url.rstrip("/")
        self._api_version = api_version
        self.app = app
        self._lease = threading.Lock()
        self._leased: tuple[str, datetime] | None = None
        super().__init__(name, token, timeout=timeout, ca_file=ca_file, extra="github")

    # ── Asking ────────────────────────────────────────────────────────────────────────────────────

    async def pages(
        self, what: str, path: str, *, most: int = MAX_PAGES, **query: Json
    ) -> Sequence[Mapping[str, Json]]:
        """Return all items of a list, page by page; one of more than ``most`` pages is a fault."""
        items, more = await self.some_pages(what, path, most=most, **query)
        if more:
            raise TransientFault(
                "tracker-list-endless", "A list of the tracker does not end.", alarm=True
            )
        return items

    async def some_pages(
        self, what: str, path: str, *, most: int, **query: Json
    ) -> tuple[Sequence[Mapping[str, Json]], bool]:
        """Return the items of the first ``most`` pages of a list, and whether there are more."""
        items: list[Mapping[str, Json]] = []
        asked: dict[str, Json] = {**query, "per_page": PER_PAGE}
        for _ in range(most):
            page: Page = await self.send(_AskForPage(what, "get", path, asked))
            items += [item for item in page.items if isinstance(item, dict)]
            if page.more is None:
                return items, False
            asked = dict(page.more)
        return items, True

    async def get_or_moved(self, what: str, path: str) -> Json | Moved:
        """Return the answer to a GET, or where the thing went within this very API."""
        return await self.send(_AskWhere(what, "get", path))

    async def get_with_headers(self, what: str, path: str) -> tuple[Json, Mapping[str, str]]:
        """Return the answer to a GET with its headers, names in lower case."""
        answer: tuple[Json, Mapping[str, str]] = await self.send(_AskForHeaders(what, "get", path))
        return answer

    async def get_as_app(self, what: str, path: str) -> Json:
        """Return the answer to a GET in the name of the App itself."""
        if self.app is None:
            raise ValueError("a token speaks for no App")
        return await self.send(_AskAsApp(what, "get", path, app=self.app))

    async def exists(self, what: str, path: str) -> bool:
        """Return whether a GET finds something (GitHub says 204, or 404)."""
        found: bool = await self.send(_AskWhether(what, "get", path))
        return found

    # ── In a thread ───────────────────────────────────────────────────────────────────────────────

    def make_client(self) -> Json:
        """Return a requester with the token as it is now."""
        if self.app is not None:
            token = partial(self._installation_token, self.app)
            return self._tamed(_asking_auth(self._github.Auth.Auth, token))
        if not (secret := self.reveal()):
            raise self.permanent("tracker-token-missing")
        return self._tamed(self._github.Auth.Token(secret))

    def close_client(self, client: Json) -> None:
        """Close a client's connections."""
        client.close()

    def request(self, client: Json, ask: Ask) -> Json:
        """Send one request, once, and return its JSON."""
        if isinstance(ask, _AskAsApp):
            return self._send_as_app(ask.app, ask)
        try:
            answer = self._send(client, ask)
            return True if isinstance(ask, _AskWhether) else answer
        except _Answered as error:
            if isinstance(ask, _AskWhether) and error.status == 404:
                return False
            raise
        except self.requests.exceptions.TooManyRedirects as error:
            if isinstance(ask, _AskWhere) and (path := self._moved_to(error)):
                return Moved(path)
            raise

    def status_of(self, error: Exception) -> int | None:
        """Return the status of an answer that is not 2xx."""
        return error.status if isinstance(error, _Answered) else None

    def answered(self, status: int, ask: Ask) -> Deferral:
        """Sort what only GitHub says, and the rest as ``Door`` does."""
        if isinstance(ask, _AskAsApp) and status in {401, 403, 404, 422}:
            return self.permanent("tracker-app-refused")
        match status:
            case 401:
                self._leased = None
            case 429:
                return self.busy(self._limited_for())
            case 400 | 422 if "/security-advisories" in ask.path:
                return self.permanent("advisory-refused")
            case 409:
                return self.permanent("tracker-conflict")
            case 410:
                return self.permanent("tracker-issues-off")
            case 451:
                return self.permanent("tracker-blocked")
        return super().answered(status, ask)

    def permanent(self, code: str) -> PermanentFault:
        """Return a refusal that a person can mend; an App has no token to mend."""
        error = super().permanent(code)
        if self.app is not None:
            error.setting = error.setting.replace("token_credential", "app_id")
        return error

    def _send(self, client: Json, ask: Ask) -> Json:
        status, _, output = client.requestJson(
            ask.verb.upper(),
            ask.path,
            parameters=dict(ask.query),
            headers={"Accept": "application/vnd.github+json"},
            input=None if ask.body is None else dict(ask.body),
        )
        if status >= 400:
            raise _Answered(429 if status == 403 and self._is_limit(output) else status)
        answer = json.loads(output) if output else None
        if isinstance(ask, _AskForPage):
            if not isinstance(answer, list):
                raise ValueError("not a list")  # noqa: TRY004 - an answer that cannot be read
            return Page(answer, self._next_page())
        return (answer, self.headers) if isinstance(ask, _AskForHeaders) else answer

    def _tamed(self, auth: Json) -> Json:
        """Return a requester whose one connection follows our rules.

        PyGithub makes the connection at the first request and keeps it; there is no public way to
        its session, so it is made now.
        """
        requester = self._requester.Requester(
            auth,
            self._url,
            self.timeout,
            USER_AGENT,
            PER_PAGE,
            self.verify,
            retry=None,
            pool_size=None,
            seconds_between_requests=None,
            seconds_between_writes=None,
            lazy=True,
            api_version=self._api_version,
        )
        connection = requester._Requester__createConnection()
        self.tame(connection.session)
        connection.session.hooks["response"].append(self._look_at)
        return requester

    def _look_at(self, response: Json, *_: Json, **__: Json) -> None:
        """Stop what PyGithub would follow, wait for or take for a success: a hook of requests."""
        content = response.content  # read whole, so that the connection can be used again
        response.encoding = "utf-8"  # as all JSON is; requests would guess where nothing says so
        if 300 <= response.status_code < 400:
            raise self.requests.exceptions.TooManyRedirects(response=response)
        if response.status_code == 202 and response.request.method == "GET":
            raise ValueError("an answer that is not there yet")
        if response.status_code < 300 and content:
            json.loads(content)

    def _moved_to(self, error: Any) -> str | None:
        """Return the path of a permanent redirect that stays within this API."""
        response = error.response
        there = urlsplit(response.headers.get("location", ""))
        here = urlsplit(self._url)
        same = (there.scheme, there.netloc) == (here.scheme, here.netloc)
        inside = there.path.startswith(f"{here.path}/") and ".." not in there.path
        if response.status_code not in {301, 308} or not (same and inside) or there.query:
            return None
        return str(there.path).removeprefix(here.path)

    def _next_page(self) -> Mapping[str, str] | None:
        """Return the query of the next page, as the ``Link`` header says (RFC 8288)."""
        for link in self.headers.get("link", "").split(","):
            target, _, parameters = link.partition(";")
            if 'rel="next"' in parameters:
                return dict(parse_qsl(urlsplit(target.strip(" <>")).query))
        return None

    # ── Limits ────────────────────────────────────────────────────────────────────────────────────

    def _is_limit(self, output: str) -> bool:
        """Return whether a 403 only asks us to wait, as GitHub's page on rate limits says."""
        headers = self.headers
        if "retry-after" in headers or headers.get("x-ratelimit-remaining") == "0":
            return True
        try:
            said = json.loads(output)
        except ValueError:
            return False
        message = said.get("message") if isinstance(said, dict) else None
        return isinstance(message, str) and self._requester.Requester.isRateLimitError(message)

    def _limited_for(self) -> timedelta:
        """Return until when the limit lasts where no ``Retry-After`` says it: a minute at least."""
        reset = self.headers.get("x-ratelimit-reset", "")
        if self.headers.get("x-ratelimit-remaining") != "0" or not reset.isdigit():
            return LIMITED
        rest = datetime.fromtimestamp(int(reset[:11]), UTC) - datetime.now(UTC)
        return max(LIMITED, min(rest, LONGEST_WAIT))

    # ── A GitHub App ──────────────────────────────────────────────────────────────────────────────

    def _installation_token(self, app: App) -> str:
        """Return the installation's token, fetched anew before it ends; one thread asks for all."""
        with self._lease:
            if self._leased is None or self._leased[1] - datetime.now(UTC) < RENEW_BEFORE:
                self._leased = self._fetch_token(app)
            return self._leased[0]

    def _fetch_token(self, app: App) -> tuple[str, datetime]:
        """Ask for a token; when that fails, nothing of what it was for has been sent."""
        path = f"/app/installations/{app.installation_id}/access_tokens"
        answer = self._send_as_app(app, _AskAsApp("fetch token", "post", path, body={}, app=app))
        try:
            ends = datetime.fromisoformat(answer["expires_at"])
            return str(answer["token"]), ends if ends.tzinfo else ends.replace(tzinfo=UTC)
        except (KeyError, TypeError, ValueError):
            raise TransientFault(
                "tracker-answer-unreadable", "GitHub's answer holds no token.", alarm=True
            ) from None

    def _send_as_app(self, app: App, ask: Ask) -> Json:
        """Send one request signed with the App's key, over a connection of its own.

        Its failures are told here: to the request that needs a token, they are no answers.
        """
        client = self._tamed(self._signing_auth(app))
        try:
            return self._send(client, ask)
        except Exception as error:  # noqa: BLE001 - as in Door; the request itself was not sent
            status = self._any_status(error)
            told = self._told(ask, type(error).__name__, status, self._mapped(error, ask))
            raise _nothing_sent(told) from None
        finally:
            client.close()

    def _signing_auth(self, app: App) -> Json:
        """Return the App's own authentication; a key that cannot sign is told beforehand."""
        try:
            key = app.key().reveal()
        except ConfigError:
            raise self.permanent("tracker-token-missing") from None
        try:
            auth = self._github.Auth.AppAuth(app.app_id, key)
            auth.create_jwt()
        except Exception:  # noqa: BLE001 - whatever PyJWT and cryptography say of a key
            raise self.permanent("tracker-app-key-unusable") from None
        return auth


def _nothing_sent(error: Deferral) -> Deferral:
    """Return the failure of a request whose effect nobody waits for as a passing one."""
    if isinstance(error, PermanentFault):
        return error
    return TransientFault(
        error.code, error.sentence, alarm=error.alarm, retry_after=error.retry_after
    )


def _asking_auth(base: type, token: Callable[[], str]) -> Json:
    """Return an authentication of PyGithub's kind that asks for the token at each request."""

    def authentication(self: Any, headers: dict[str, str]) -> None:
        headers["Authorization"] = f"token {token()}"

    attributes = {"token_type": "token", "token": "", "authentication": authentication}
    return type("InstallationToken", (base,), attributes)()
