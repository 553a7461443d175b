"""How do we speak to a tracker so that nothing is sent twice, leaks, or hangs?  Through one door.

The client libraries re-send, follow redirects with the token in hand, and wait for ever, unless
told otherwise; a door tells them otherwise.  Their calls block, so they run in a few threads, each
with a client of its own.  Every exception of a library and of requests ends here and becomes one of
ours, without its text: that may hold what we sent.

An adapter derives its door, makes a client (``make_client``), sends one request (``request``) and
says which exceptions are answers (``status_of``); what an answer means for the mail is said here.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from abc import ABC, abstractmethod
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

Refusals = Mapping[str, tuple[str, str, str]]
"""For each code what to say of it, which setting it is about, and how to mend it."""

USER_AGENT = f"secbridge/{__version__}"

WORKERS = 4
LONGEST_WAIT = timedelta(hours=1)
"""The longest ``Retry-After`` that we believe."""


@dataclass(frozen=True, slots=True, repr=False)
class Upload:
    """A file to send as multipart/form-data, under a name of ours."""

    name: str
    content: bytes
    media_type: str = "application/octet-stream"
    field: str = "file"


@dataclass(frozen=True, slots=True, repr=False)
class Ask:
    """One request; ``what`` says in our words what it is for."""

    what: str
    verb: str
    path: str
    query: Mapping[str, Json] = field(default_factory=dict)
    body: Json = None
    upload: Upload | None = None

    @property
    def writes(self) -> bool:
        """Whether an unanswered request may have changed something."""
        return self.verb != "get"


class Door(ABC):
    """Requests to one tracker.  ``timeout`` in seconds, for connecting and between octets.

    A whole request takes ``longest`` at most; what comes after that is not waited for.  ``extra``
    names the extra that brings the client library.
    """

    refusals: Refusals

    def __init__(
        self,
        name: str,
        token: Callable[[], Secret],
        *,
        timeout: float,
        ca_file: str | None,
        extra: str,
    ) -> None:
        self.requests = library("requests", extra=extra)
        self.name = name
        self.timeout = timeout
        self.verify: bool | str = ca_file or True
        self._token = token
        self._threads = ThreadPoolExecutor(WORKERS, thread_name_prefix=f"tracker-{name}")
        self._mine = threading.local()
        self._lock = threading.Lock()
        self._clients: list[Json] = []
        self._generation = 0

    # ── What an adapter brings ────────────────────────────────────────────────────────────────────

    @abstractmethod
    def make_client(self) -> Json:
        """Return a client of the library, without redirects, retries, waits and environment."""

    @abstractmethod
    def close_client(self, client: Json) -> None:
        """Close a client's connections."""

    @abstractmethod
    def request(self, client: Json, ask: Ask) -> Json:
        """Send one request, once, and return its JSON (None for an empty answer); may raise all."""

    @abstractmethod
    def status_of(self, error: Exception) -> int | None:
        """Return the status when an exception of the library says that the answer is not 2xx."""

    # ── Asking ────────────────────────────────────────────────────────────────────────────────────

    @property
    def longest(self) -> timedelta:
        """How long one request may take before we stop waiting for it."""
        return timedelta(seconds=2 * self.timeout + 1)

    async def get(self, what: str, path: str, **query: Json) -> Json:
        """Return the answer to a GET."""
        return await self.send(Ask(what, "get", path, query))

    async def post(self, what: str, path: str, body: Json) -> Mapping[str, Json]:
        """Return the answer to one POST, which is sent once.  Raises OutcomeUnknown."""
        return self.expect_object(await self.send(Ask(what, "post", path, body=body)), what)

    async def put(self, what: str, path: str, body: Json) -> Mapping[str, Json]:
        """Return the answer to one PUT, which is sent once.  Raises OutcomeUnknown."""
        return self.expect_object(await self.send(Ask(what, "put", path, body=body)), what)

    async def patch(self, what: str, path: str, body: Json) -> Mapping[str, Json]:
        """Return the answer to one PATCH, which is sent once.  Raises OutcomeUnknown."""
        return self.expect_object(await self.send(Ask(what, "patch", path, body=body)), what)

    async def aclose(self) -> None:
        """Close connections; a request that still hangs in its thread is left to its timeout."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._close_clients)

    def expect_object(self, answer: Json, what: str) -> Mapping[str, Json]:
        """Return an answer that is an object; any other says nothing of what was done."""
        if not isinstance(answer, dict):
            maillog.tracker_failed(
                self.name, what, "tracker-answer-unreadable",
                kind=type(answer).__name__, status=200, request_id="", mend="",
            )  # fmt: skip
            raise OutcomeUnknown("tracker-answer-unreadable", "The tracker's answer says nothing.")
        return answer

    async def send(self, ask: Ask) -> Json:
        """Send one request in a thread and return its JSON.  Raises Deferral, and nothing else."""
        loop = asyncio.get_running_loop()
        try:
            return await asyncio.wait_for(
                loop.run_in_executor(self._threads, self._blocking, ask),
                self.longest.total_seconds(),
            )
        except TimeoutError:
            raise self._told(ask, "TimeoutError", 0, no_answer(ask)) from None

    # ── In a thread ───────────────────────────────────────────────────────────────────────────────

    def session(self) -> Json:
        """Return a session of requests that follows nothing and reads no environment."""
        session = self.requests.Session()
        self.tame(session)
        return session

    def tame(self, session: Json) -> None:
        """Switch off a session's redirects and environment, and keep the headers of answers."""
        session.max_redirects = 0
        session.trust_env = False
        session.hooks["response"].append(self.keep_headers)

    def keep_headers(self, response: Json, *_: Json, **__: Json) -> None:
        """Remember an answer's headers for ``headers``: a hook of requests."""
        self._mine.headers = dict(response.headers.lower_items())

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of this thread's last answer, names in lower case."""
        kept: Mapping[str, str] = getattr(self._mine, "headers", {})
        return kept

    def reveal(self) -> str:
        """Return the token, read again each time.  Raises PermanentFault when it cannot be had."""
        try:
            return self._token().reveal()
        except ConfigError:
            raise self.permanent("tracker-token-missing") from None

    def renew(self) -> None:
        """Let every thread make a new client, with the token read again, for its next request."""
        self._generation += 1

    @property
    def generation(self) -> int:
        """How often the token was read again: who we are is to be asked again, too."""
        return self._generation

    def _blocking(self, ask: Ask) -> Json:
        """Send one request and return its JSON; the libraries' exceptions end here."""
        self._mine.headers = {}
        try:
            return self.request(self._client(), ask)
        except Deferral:
            raise
        except Exception as error:  # noqa: BLE001 - these libraries raise what they like; see _mapped
            status = self._any_status(error)
            raise self._told(ask, type(error).__name__, status, self._mapped(error, ask)) from None

    def _client(self) -> Json:
        """Return this thread's client; after a refused token a new one."""
        generation = self._generation
        if getattr(self._mine, "generation", None) != generation:
            self._forget(getattr(self._mine, "client", None))
            self._mine.client = None
            client = self.make_client()
            with self._lock:
                self._clients.append(client)
            self._mine.client, self._mine.generation = client, generation
        return self._mine.client

    def _forget(self, client: Json) -> None:
        """Close a client whose token was refused."""
        if client is not None:
            with self._lock:
                self._clients = [other for other in self._clients if other is not client]
            self.close_client(client)

    def _close_clients(self) -> None:
        with self._lock:
            clients, self._clients = self._clients, []
        for client in clients:
            self.close_client(client)

    # ── What an exception means ───────────────────────────────────────────────────────────────────

    def _mapped(self, error: Exception, ask: Ask) -> Deferral:
        """Return what it says of the effect, and who can mend it."""
        mistakes = self.requests.exceptions
        if (status := self.status_of(error)) is not None:
            return self.answered(status, ask)
        if isinstance(error, mistakes.TooManyRedirects):
            return self.redirected(self._any_status(error), ask)
        if isinstance(error, mistakes.SSLError) and _is_certificate(error):
            return self.permanent("tracker-tls")
        if isinstance(error, mistakes.ConnectionError) and _never_connected(error):
            return TransientFault("tracker-unreachable", "The tracker cannot be reached.")
        if isinstance(error, (mistakes.InvalidURL, mistakes.MissingSchema, mistakes.InvalidSchema)):
            return self.permanent("tracker-url")
        if isinstance(error, ValueError) and not isinstance(error, UnicodeError):
            return unreadable(ask)
        return no_answer(ask)

    def answered(self, status: int, ask: Ask) -> Deferral:
        """Sort an answer that is not 2xx; an adapter sorts first what only its tracker says."""
        match status:
            case 401:
                self.renew()
                return self.permanent("tracker-token-refused")
            case 403:
                return self.permanent("tracker-forbidden")
            case 404 | 410:
                return self.permanent("tracker-not-found")
            case 429:
                return self.busy()
            case 408:
                return no_answer(ask)
            case _ if 300 <= status < 400:
                return self.redirected(status, ask)
            case _ if 400 <= status < 500:
                return self.permanent("tracker-refused")
            case _ if ask.writes:
                return OutcomeUnknown(
                    "tracker-failed", "The tracker failed.", retry_after=self.retry_after()
                )
            case _:
                return TransientFault(
                    "tracker-failed", "The tracker failed.", retry_after=self.retry_after()
                )

    def busy(self, wait: timedelta | None = None) -> TransientFault:
        """Return that nothing was done and we shall wait, as long as the answer says if it does."""
        return TransientFault(
            "tracker-busy",
            "The tracker asks us to wait.",
            retry_after=self.retry_after() or wait,
        )

    def redirected(self, status: int, ask: Ask) -> Deferral:
        """Sort a redirect, which nobody followed.

        301, 307 and 308 say that the request belongs elsewhere and was not done here; after 302 and
        303 it may have been (RFC 9110 section 15.4).
        """
        if ask.writes and status in {302, 303}:
            return OutcomeUnknown("tracker-redirects", "The tracker points elsewhere.", alarm=True)
        return self.permanent("tracker-redirects")

    def permanent(self, code: str) -> PermanentFault:
        """Return a refusal that a person can mend, in the words of ``refusals``."""
        sentence, setting, mend = self.refusals[code]
        where = setting if setting.startswith("alias") else f"trackers.{self.name}.{setting}"
        return PermanentFault(code, sentence, setting=where, mend=mend)

    def retry_after(self) -> timedelta | None:
        """Return what ``Retry-After`` asks for: seconds or a date (RFC 9110 section 10.2.3)."""
        value = self.headers.get("retry-after", "")
        if value.isascii() and value.isdigit():
            return min(timedelta(seconds=int(value[:9])), LONGEST_WAIT)
        try:
            rest = parsedate_to_datetime(value) - datetime.now(UTC)
        except (TypeError, ValueError):
            return None
        return max(timedelta(0), min(rest, LONGEST_WAIT))

    def _any_status(self, error: Exception) -> int:
        """Return the HTTP status that an exception of either library carries, or 0."""
        known = self.status_of(error)
        status = getattr(getattr(error, "response", None), "status_code", known)
        return status if isinstance(status, int) else 0

    def _told(self, ask: Ask, kind: str, status: int, error: Deferral) -> Deferral:
        maillog.tracker_failed(
            self.name,
            ask.what,
            error.code,
            kind=kind,
            status=status,
            request_id=_request_id(self.headers),
            mend=error.mend if isinstance(error, PermanentFault) else "",
        )
        return error


def segment(text: str) -> str:
    """Return a text as one segment of a URL's path."""
    return quote(text, safe="")


def no_answer(ask: Ask) -> Deferral:
    """Return what a request without an answer leaves behind."""
    if ask.writes:
        return OutcomeUnknown("tracker-no-answer", "The tracker did not answer.")
    return TransientFault("tracker-no-answer", "The tracker did not answer.")


def unreadable(ask: Ask) -> Deferral:
    """Return what an answer leaves behind that is no JSON, or not of the form that we need."""
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
