"""Who knocks, and is it a tracker?  One application with one kind of address.

``POST /hooks/NAME`` is for the tracker of that name.  Everything else, a wrong path, name, method
or signature, too large a body, gets the same 404 without a word, by the same steps and after the
same HMAC: a stranger does not learn which trackers there are, nor that we are here.  The body is
read for its proof alone; what happened is asked of the tracker.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from datetime import datetime
from http import HTTPStatus
from time import perf_counter
from typing import Any, assert_never

from secbridge import maillog
from secbridge.ports import Clock, Hook, Posted, Proven, Unproven
from secbridge.web.callers import Callers
from secbridge.web.memory import Memory

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

PREFIX = "/hooks/"
"""Where the address of a webhook begins; the tracker's name follows."""

_CLOSE = (b"connection", b"close")  # one request for each connection, so each has an end
_EMPTY = (b"content-length", b"0")


class Gone(Exception):  # noqa: N818 - what happened, as in errors.py
    """The client left before its request was whole."""


class HookApp:
    """The ASGI application of the webhooks (ASGI 3, HTTP alone).

    ``hooks`` and ``nudge`` go by the tracker's name; ``nudge`` returns at once.
    """

    def __init__(
        self,
        hooks: Mapping[str, Hook],
        nudge: Callable[[str], None],
        *,
        clock: Clock,
        callers: Callers,
        max_body: int,
        memory: Memory | None = None,
    ) -> None:
        self._hooks = {name: hook for name, hook in hooks.items() if name}
        self._nudge = nudge
        self._clock = clock
        self._callers = callers
        self._max_body = max_body
        self._memory = memory or Memory()
        self._nobody = Nobody()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or nothing where the client has gone."""
        caller = self._callers.name(_peer(scope), _field(scope, b"x-forwarded-for"))
        try:
            status = await self._status(scope, receive, caller)
        except Gone:
            return
        except Exception as error:  # noqa: BLE001 - of a plugin's hook; its text may hold anything
            maillog.fault("web", type(error).__name__)
            status = HTTPStatus.NOT_FOUND
        # A 204 has no Content-Length (RFC 9110 section 8.6).
        fields = [_CLOSE] if status is HTTPStatus.NO_CONTENT else [_EMPTY, _CLOSE]
        await send({"type": "http.response.start", "status": int(status), "headers": fields})
        await send({"type": "http.response.body", "body": b""})

    async def _status(self, scope: Scope, receive: Receive, caller: str) -> HTTPStatus:
        """Count, read, prove: in this order, and each for everybody."""
        began, now = perf_counter(), self._clock.now()
        if above := self._callers.admit(caller, now):
            if above == 1:  # one line for each caller and minute
                maillog.not_let_in("too-many-requests", caller)
            return HTTPStatus.TOO_MANY_REQUESTS
        body = await self._read(scope, receive)
        name = _tracker(scope)
        hook = self._hooks.get(name, self._nobody)
        posted = Posted(tuple(scope["headers"]), body or b"")
        verdict = hook.judge(posted, now=now) if body is not None else Unproven("too-large")
        match verdict:
            case Unproven(reason):
                maillog.not_let_in(reason, caller)
                return HTTPStatus.NOT_FOUND
            case Proven():
                outcome = self._take(name, verdict, now)
                maillog.hinted(name, outcome, round((perf_counter() - began) * 1000))
                return HTTPStatus.NO_CONTENT
            case _:
                assert_never(verdict)

    def _take(self, tracker: str, hint: Proven, now: datetime) -> str:
        """Make us look, unless the hint is old or was here before; return what became of it."""
        if hint.late:
            return "late"
        if not self._memory.is_new(tracker, hint.identity, now):
            return "repeated"
        self._nudge(tracker)
        return "looking"

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        """Return the body, or None for one that is too large, of which no more is read."""
        announced = _field(scope, b"content-length")
        if announced and _number(announced[0]) > self._max_body:
            return None
        parts: list[bytes] = []
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Gone
            part: bytes = message.get("body", b"")
            more, size = message.get("more_body", False), size + len(part)
            if size > self._max_body:
                return None
            parts.append(part)
        return b"".join(parts)


class Nobody:
    """Proves nothing, at the price of a proof: what stands where no tracker does."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def judge(self, posted: Posted, *, now: datetime) -> Proven | Unproven:
        """Make an HMAC and refuse (``ports.Hook``)."""
        hmac.new(self._key, posted.body, hashlib.sha256).hexdigest()
        return Unproven("unknown")


def _tracker(scope: Scope) -> str:
    """Return the tracker whose webhook this address takes, or "" for nobody's."""
    path: str = scope["path"]
    if scope["method"] != "POST" or not path.startswith(PREFIX):
        return ""
    return path.removeprefix(PREFIX)


def _peer(scope: Scope) -> str | None:
    """Return the address of the connection, or None for a unix socket."""
    client = scope.get("client")
    return client[0] if client else None


def _field(scope: Scope, name: bytes) -> list[bytes]:
    return [value for each, value in scope["headers"] if each == name]


def _number(digits: bytes) -> int:
    """Return a Content-Length (RFC 9110 section 8.6), which the server has seen to be a number."""
    return int(digits[:20]) if digits.isdigit() else 0
