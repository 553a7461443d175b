"""How do we speak to a GitLab so that nothing is sent twice, leaks, or hangs?  Through one door.

python-gitlab re-sends, follows redirects with the token in hand, and waits for ever, unless told
otherwise; here it is told otherwise.  Its calls block, so they run in a few threads, each with a
client of its own.  Every exception of it and of requests ends here and becomes one of ours, without
its text: that may hold what we sent.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

from secbridge import __version__, maillog
from secbridge.errors import (
    ConfigError,
    Deferral,
    OutcomeUnknown,
    PermanentFault,
    TransientFault,
)
from secbridge.model.plaintext import Secret
from secbridge.trackers.registry import library

Json = Any
"""What a JSON answer holds; the desk looks at each value before it believes it."""

PER_PAGE = 50
MAX_PAGES = 200
WORKERS = 4
LONGEST_WAIT = timedelta(hours=1)
"""The longest ``Retry-After`` that we believe."""


@dataclass(frozen=True, slots=True, repr=False)
class Ask:
    """One request; ``what`` says in our words what it is for."""

    what: str
    verb: str
    path: str
    query: Mapping[str, Json] = field(default_factory=dict)
    body: Mapping[str, Json] | None = None

    @property
    def writes(self) -> bool:
        """Whether an unanswered request may have changed something."""
        return self.verb != "get"


class Door:
    """Requests to one GitLab.  ``timeout`` in seconds, for connecting and between octets.

    A whole request takes ``longest`` at most; what comes after that is not waited for.
    """

    def __init__(
        self,
        name: str,
        url: str,
        token: Callable[[], Secret],
        *,
        timeout: float,
        ca_file: str | None = None,
    ) -> None:
        self._gitlab = library("gitlab", extra="gitlab")
        self._requests = library("requests", extra="gitlab")
        self._name = name
        self._url = url
        self._token = token
        self._timeout = timeout
        self._verify: bool | str = ca_file or True
        self._threads = ThreadPoolExecutor(WORKERS, thread_name_prefix=f"tracker-{name}")
        self._mine = threading.local()
        self._lock = threading.Lock()
        self._clients: list[Json] = []
        self._generation = 0

    @property
    def longest(self) -> timedelta:
        """How long one request may take before we stop waiting for it."""
        return timedelta(seconds=2 * self._timeout + 1)

    async def get(self, what: str, path: str, **query: Json) -> Json:
        """Return the answer to a GET."""
        return await self._send(Ask(what, "get", path, query))

    async def pages(self, what: str, path: str, **query: Json) -> Sequence[Mapping[str, Json]]:
        """Return all items of a list, page by page, at most ``MAX_PAGES`` pages."""
        items: list[Mapping[str, Json]] = []
        for page in range(1, MAX_PAGES + 1):
            answer = await self.get(what, path, **query, page=page, per_page=PER_PAGE)
            if not isinstance(answer, list):
                raise TransientFault("tracker-answer-unreadable", "The tracker sent no list.")
            items += [item for item in answer if isinstance(item, dict)]
            if len(answer) < PER_PAGE:
                return items
        raise TransientFault(
            "tracker-list-endless", "A list of the tracker does not end.", alarm=True
        )

    async def post(self, what: str, path: str, body: Mapping[str, Json]) -> Mapping[str, Json]:
        """Return the answer to one POST, which is sent once.  Raises OutcomeUnknown."""
        return self._object(await self._send(Ask(what, "post", path, body=body)), what)

    async def put(self, what: str, path: str, body: Mapping[str, Json]) -> Mapping[str, Json]:
        """Return the answer to one PUT, which is sent once.  Raises OutcomeUnknown."""
        return self._object(await self._send(Ask(what, "put", path, body=body)), what)

    async def aclose(self) -> None:
        """Close connections; a request that still hangs in its thread is left to its timeout."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._close_clients)

    def _object(self, answer: Json, what: str) -> Mapping[str, Json]:
        if not isinstance(answer, dict):
            maillog.tracker_failed(
                self._name, what, "tracker-answer-unreadable",
                kind=type(answer).__name__, status=200, request_id="", mend="",
            )  # fmt: skip
            raise OutcomeUnknown("tracker-answer-unreadable", "The tracker's answer says nothing.")
        return answer

    # ── In a thread ───────────────────────────────────────────────────────────────────────────────

    async def _send(self, ask: Ask) -> Json:
        loop = asyncio.get_running_loop()
        try:
            return await asyncio.wait_for(
                loop.run_in_executor(self._threads, self._blocking, ask),
                self.longest.total_seconds(),
            )
        except TimeoutError:
            raise self._told(ask, "TimeoutError", 0, _no_answer(ask)) from None

    def _blocking(self, ask: Ask) -> Json:
        """Send one request and return its JSON; the libraries' exceptions end here."""
        self._mine.headers = {}
        try:
            response = self._client().http_request(
                ask.verb,
                ask.path,
                query_data=dict(ask.query),
                post_data=None if ask.body is None else dict(ask.body),
                obey_rate_limit=False,
                retry_transient_errors=False,
                max_retries=0,
            )
            return response.json()
        except Deferral:
            raise
        except Exception as error:  # noqa: BLE001 - these libraries raise what they like; see _mapped
            status = _status(error)
            raise self._told(ask, type(error).__name__, status, self._mapped(error, ask)) from None

    def _client(self) -> Json:
        """Return this thread's client; after a refused token one with the token read again."""
        if getattr(self._mine, "generation", None) != self._generation:
            self._forget(getattr(self._mine, "client", None))
            session = self._requests.Session()
            session.max_redirects = 0
            session.trust_env = False
            session.hooks["response"].append(self._keep_headers)
            client = self._gitlab.Gitlab(
                self._url,
                private_token=self._reveal(),
                session=session,
                timeout=self._timeout,
                ssl_verify=self._verify,
                retry_transient_errors=False,
                keep_base_url=True,
                user_agent=f"secbridge/{__version__}",
            )
            with self._lock:
                self._clients.append(client)
            self._mine.client, self._mine.generation = client, self._generation
        return self._mine.client

    def _forget(self, client: Json) -> None:
        """Close a client whose token was refused."""
        if client is not None:
            with self._lock:
                self._clients = [other for other in self._clients if other is not client]
            client.session.close()

    def _reveal(self) -> str:
        try:
            return self._token().reveal()
        except ConfigError:
            raise self._permanent("tracker-token-missing") from None

    def _keep_headers(self, response: Json, *_: Json, **__: Json) -> None:
        self._mine.headers = dict(response.headers.lower_items())

    def _close_clients(self) -> None:
        with self._lock:
            clients, self._clients = self._clients, []
        for client in clients:
            client.session.close()

    # ── What an exception means ───────────────────────────────────────────────────────────────────

    def _mapped(self, error: Exception, ask: Ask) -> Deferral:
        """Return what it says of the effect, and who can mend it."""
        mistakes = self._requests.exceptions
        if isinstance(error, self._gitlab.exceptions.GitlabError):
            return self._answered(_status(error), ask)
        if isinstance(error, mistakes.TooManyRedirects):
            return self._redirected(_status(error), ask)
        if isinstance(error, mistakes.SSLError) and _is_certificate(error):
            return self._permanent("tracker-tls")
        if isinstance(error, mistakes.ConnectionError) and _never_connected(error):
            return TransientFault("tracker-unreachable", "The tracker cannot be reached.")
        if isinstance(error, (mistakes.InvalidURL, mistakes.MissingSchema, mistakes.InvalidSchema)):
            return self._permanent("tracker-url")
        if isinstance(error, ValueError) and not isinstance(error, UnicodeError):
            return _unreadable(ask)
        return _no_answer(ask)

    def _answered(self, status: int, ask: Ask) -> Deferral:
        """Sort an answer that is not 2xx."""
        match status:
            case 401:
                self._generation += 1
                return self._permanent("tracker-token-refused")
            case 403:
                return self._permanent("tracker-forbidden")
            case 404 | 410:
                return self._permanent("tracker-not-found")
            case 429:
                return TransientFault(
                    "tracker-busy", "The tracker asks us to wait.", retry_after=self._retry_after()
                )
            case 408:
                return _no_answer(ask)
            case _ if 300 <= status < 400:
                return self._redirected(status, ask)
            case _ if 400 <= status < 500:
                return self._permanent("tracker-refused")
            case _ if ask.writes:
                return OutcomeUnknown(
                    "tracker-failed", "The tracker failed.", retry_after=self._retry_after()
                )
            case _:
                return TransientFault(
                    "tracker-failed", "The tracker failed.", retry_after=self._retry_after()
                )

    def _redirected(self, status: int, ask: Ask) -> Deferral:
        """Sort a redirect, which nobody followed.

        301, 307 and 308 say that the request belongs elsewhere and was not done here; after 302 and
        303 it may have been (RFC 9110 section 15.4).
        """
        if ask.writes and status in {302, 303}:
            return OutcomeUnknown("tracker-redirects", "The tracker points elsewhere.", alarm=True)
        return self._permanent("tracker-redirects")

    def _permanent(self, code: str) -> PermanentFault:
        sentence, setting, mend = _REFUSALS[code]
        where = setting if setting.startswith("alias") else f"trackers.{self._name}.{setting}"
        return PermanentFault(code, sentence, setting=where, mend=mend)

    def _told(self, ask: Ask, kind: str, status: int, error: Deferral) -> Deferral:
        headers: Mapping[str, str] = getattr(self._mine, "headers", {})
        maillog.tracker_failed(
            self._name,
            ask.what,
            error.code,
            kind=kind,
            status=status,
            request_id=_request_id(headers),
            mend=error.mend if isinstance(error, PermanentFault) else "",
        )
        return error

    def _retry_after(self) -> timedelta | None:
        """Return what ``Retry-After`` asks for: seconds or a date (RFC 9110 section 10.2.3)."""
        value: str = getattr(self._mine, "headers", {}).get("retry-after", "")
        if value.isascii() and value.isdigit():
            return min(timedelta(seconds=int(value[:9])), LONGEST_WAIT)
        try:
            rest = parsedate_to_datetime(value) - datetime.now(UTC)
        except (TypeError, ValueError):
            return None
        return max(timedelta(0), min(rest, LONGEST_WAIT))


_REFUSALS = {
    "tracker-token-missing": (
        "The token cannot be read.",
        "token_credential",
        "Give secbridge the credential or file that the setting names.",
    ),
    "tracker-token-refused": (
        "The tracker refuses the token.",
        "token_credential",
        "Give secbridge a valid token of the bot's account, with the scope api.",
    ),
    "tracker-forbidden": (
        "The tracker says that the bot's account may not do this.",
        "token_credential",
        "Give the account the role Reporter in the project, and its token the scope api.",
    ),
    "tracker-not-found": (
        "The tracker knows no such project, or does not show it to the bot's account.",
        "alias.project",
        "See whether the project is spelled right, and the account is a member of it.",
    ),
    "tracker-refused": (
        "The tracker refuses a value.",
        "alias.labels",
        "See whether the project knows the labels and people that the alias asks for.",
    ),
    "tracker-redirects": (
        "The tracker points to another address, and no redirect is followed.",
        "url",
        "Write the address that the tracker itself uses, and the project's present path.",
    ),
    "tracker-url": (
        "The tracker's address cannot be used.",
        "url",
        "Write it as https://gitlab.example.org.",
    ),
    "tracker-tls": (
        "The tracker's certificate cannot be verified.",
        "ca_file",
        "Name the CA in ca_file, or renew the certificate.",
    ),
}
"""What to say of each refusal, which setting it is about, and how to mend it."""


def escaped(project: str) -> str:
    """Return a project's path as one segment of a URL."""
    return quote(project, safe="")


def _status(error: Exception) -> int:
    """Return the HTTP status that an exception of either library carries, or 0."""
    response = getattr(error, "response", None)
    status = getattr(error, "response_code", None) or getattr(response, "status_code", None)
    return status if isinstance(status, int) else 0


def _no_answer(ask: Ask) -> Deferral:
    if ask.writes:
        return OutcomeUnknown("tracker-no-answer", "The tracker did not answer.")
    return TransientFault("tracker-no-answer", "The tracker did not answer.")


def _unreadable(ask: Ask) -> Deferral:
    if ask.writes:
        return OutcomeUnknown("tracker-answer-unreadable", "The tracker's answer says nothing.")
    return TransientFault(
        "tracker-answer-unreadable", "The tracker's answer says nothing.", alarm=True
    )


def _never_connected(error: Exception) -> bool:
    """Whether a ConnectionError of requests came before anything was sent."""
    names = {type(link).__name__ for link in _links(error)}
    return bool(names & {"NewConnectionError", "NameResolutionError", "ConnectTimeoutError"})


def _is_certificate(error: Exception) -> bool:
    return any(isinstance(link, ssl.SSLCertVerificationError) for link in _links(error))


def _links(error: BaseException) -> Sequence[object]:
    """Return an exception with what it wraps: urllib3 hides reasons in arguments and attributes."""
    found: list[object] = []
    waiting: list[object] = [error]
    while waiting and len(found) < 20:
        link = waiting.pop()
        found.append(link)
        if isinstance(link, BaseException):
            inner = [*link.args, getattr(link, "reason", None)]
            waiting += [item for item in inner if isinstance(item, BaseException)]
    return found


def _request_id(headers: Mapping[str, str]) -> str:
    """Return the tracker's id of a request, if it looks like one: it goes to the log."""
    value = headers.get("x-request-id", "")[:64]
    return value if value.replace("-", "").isalnum() else ""
