"""How does a fake tracker serve, and fail when told to?  The part that all fakes share.

A fake is a process of its own (``python -m tests.support.fake_…``) around a ``World`` that it
derives, with a table of verbs.  ``POST /_control`` arms a fault for the next requests of a kind;
``GET /_state`` tells all that happened, with every body that anybody sent.  Requests and answers
go through ``Server.checked``, so that a fake cannot say what the vendor's own schema forbids.

``Handle`` is the side of the tests::

    with FakeGitLab.start() as gitlab:
        gitlab.fault("drop-after", on="create-issue")
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
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar
from urllib.parse import parse_qs

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from tests.support import hooking
from uvicorn.protocols.http.h11_impl import H11Protocol

Json = dict[str, Any]

_PATIENCE = 60.0
"""Seconds that a fake may take to answer a test, or to end."""

TRANSPORT_FAULTS: Mapping[str, str] = {
    # how it answers; `on` is the kind of request, `post` unless told otherwise
    "202-without-id": "post",
    "202-without-id-after": "post",
    "201-empty": "post",
    "301": "post",
    "302": "post",
    "307": "post",
    "308": "post",
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
    "410": "any",
    "422": "post",
}
"""Each fault with the kind of request that it waits for."""

# ── Time ─────────────────────────────────────────────────────────────────────────────────────────

_stopped_at: list[datetime] = []
"""The time at which a test holds the clock of this process, if it does."""


def present() -> datetime:
    """Return the fake's present: the machine's, or the one that a test holds in its hand."""
    return _stopped_at[-1] if _stopped_at else datetime.now(UTC)


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
    """What every fake remembers; each derives its own."""

    base: str = ""
    faults: list[Fault] = field(default_factory=list)
    requests: list[Json] = field(default_factory=list)
    acts: list[Json] = field(default_factory=list)
    elsewhere: list[Json] = field(default_factory=list)
    late: list[Callable[[], Response]] = field(default_factory=list)
    hook: Json = field(default_factory=dict)
    hooked: list[int] = field(default_factory=list)
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
            if fault.name in TRANSPORT_FAULTS and fault.waits_for(kind, method):
                return fault
        return None

    def state(self) -> Json:
        """Return what the tests may see beyond requests, acts and elsewhere."""
        raise NotImplementedError

    def edit(self, order: Json) -> None:
        """Change something as a person would, by hand."""
        raise NotImplementedError


AnyWorld = TypeVar("AnyWorld", bound=World)


# ── Serving, with faults ─────────────────────────────────────────────────────────────────────────


class Dropped(Exception):  # noqa: N818 - what happened, not an error
    """The connection goes down now, without another octet."""


class Server(Generic[AnyWorld]):
    """The ASGI application around a World; a fake derives it with its verbs.

    ``verbs``: (method, path) → (kind, function of world, path parameters and body).  ``behaviours``
    are the fake's own faults with the kind of request that each belongs to; ``verbs`` paths begin
    behind ``prefix``.
    """

    verbs: ClassVar[Mapping[tuple[str, str], tuple[str, Callable[..., Response]]]]
    behaviours: ClassVar[Mapping[str, str]] = {}
    prefix: ClassVar[str] = ""

    def __init__(self) -> None:
        self.world = self.new_world("")
        self.freed = asyncio.Event()
        self.transports: dict[tuple[str, int], asyncio.Transport] = {}

    # ── What a fake brings ────────────────────────────────────────────────────────────────────────

    def new_world(self, base: str) -> AnyWorld:
        """Return an empty world."""
        raise NotImplementedError

    def ready(self) -> Json:
        """Return what the handle is started with: url, token, project."""
        raise NotImplementedError

    def refusal(self, request: Request, kind: str) -> Response | None:
        """Return the answer to a request without the right token or project, or None."""
        raise NotImplementedError

    def error(self, status: int, message: str, headers: Mapping[str, str]) -> Response:
        """Return an error in the tracker's own form."""
        return JSONResponse({"message": message}, status, dict(headers))

    def without_id(self) -> Response:
        """Return a 202 that names nothing."""
        return JSONResponse({}, 202)

    def from_elsewhere(self) -> Json:
        """Return what the other host says to which a redirect leads."""
        return {"id": 1}

    def checked(self, request: Request, kind: str, body: Json, answer: Response) -> Response:
        """Return the answer, once request and answer are seen to be what the vendor specifies."""
        return answer

    # ── Serving ───────────────────────────────────────────────────────────────────────────────────

    def app(self) -> ASGIApp:
        """Return the application; paths stay percent-encoded, because a project has a slash."""
        routes = [
            Route("/_control", self._control, methods=["POST"]),
            Route("/_settings", self._settings, methods=["POST"]),
            Route("/_edit", self._edit, methods=["POST"]),
            Route("/_reset", self._reset, methods=["POST"]),
            Route("/_time", self._time, methods=["POST"]),
            Route("/_release", self._release, methods=["POST"]),
            Route("/_state", self._state),
            Route("/_elsewhere/{rest:path}", self._elsewhere, methods=["GET", "POST", "PUT"]),
        ]
        for (method, path), (kind, verb) in self.verbs.items():
            endpoint = self._endpoint(kind, verb)
            routes.append(Route(f"{self.prefix}{path}", endpoint, methods=[method]))
        inner = Starlette(routes=routes)

        async def encoded(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                scope = {**scope, "path": scope["raw_path"].decode()}
            with contextlib.suppress(Dropped):
                await inner(scope, receive, send)

        return encoded

    def _endpoint(
        self, kind: str, verb: Callable[..., Response]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            return await self._answer(request, kind, verb)

        return endpoint

    async def _answer(self, request: Request, kind: str, verb: Callable[..., Response]) -> Response:
        body = await _body(request)
        refused = self.refusal(request, kind)
        self.world.requests.append(
            {"kind": kind, "method": request.method, "token": refused is None, "body": body}
        )
        if refused is not None:
            return refused

        def act() -> Response:
            answer = verb(self.world, request.path_params, body)
            return self.checked(request, kind, body, answer)

        fault = self.world.transport_fault(kind, request.method)
        return act() if fault is None else await self._fail(fault, request, act)

    async def _fail(  # noqa: C901 - a table of faults, one line each
        self, fault: Fault, request: Request, act: Callable[[], Response]
    ) -> Response:
        match fault.name:
            case "202-without-id":
                return self.without_id()
            case "202-without-id-after":
                act()
                return self.without_id()
            case "201-empty":
                return JSONResponse({}, 201)
            case "301" | "302" | "307" | "308":
                return self._redirect(int(fault.name), request)
            case "500-before":
                return self.error(500, "500 Internal Server Error", {})
            case "500-after":
                act()
                return self.error(500, "500 Internal Server Error", {})
            case "503-before" | "429":
                headers = {"Retry-After": fault.retry_after}
                return self.error(int(fault.name[:3]), "later", headers)
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
                return self.error(int(fault.name), f"{fault.name} as ordered", {})
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
        name, known = order["fault"], {**TRANSPORT_FAULTS, **self.behaviours}
        if name not in known:
            return JSONResponse({"error": f"no such fault: {name}"}, 400)
        self.world.faults.append(
            Fault(
                name,
                order.get("on") or known[name],
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
                value = {_key(number): one for number, one in value.items()}
            setattr(self.world, name, value)
        return JSONResponse({})

    async def _edit(self, request: Request) -> Response:
        """Do what a person does, and tell it by webhook, where there is one."""
        order, world = await request.json(), self.world
        world.edit(dict(order))
        for _ in range(world.hook.get("times", 1) if world.hook else 0):
            world.hooked.append(await asyncio.to_thread(hooking.send, world.hook, order))
        return JSONResponse({})

    async def _reset(self, request: Request) -> Response:
        self.freed.set()
        self.freed = asyncio.Event()
        self.world = self.new_world(self.world.base)
        _stopped_at.clear()
        return JSONResponse({})

    async def _time(self, request: Request) -> Response:
        """Hold the clock at a time."""
        _stopped_at[:] = [datetime.fromisoformat((await request.json())["at"])]
        return JSONResponse({})

    async def _release(self, request: Request) -> Response:
        """Let what was late take effect now."""
        late, self.world.late = self.world.late, []
        for act in late:
            act()
        return JSONResponse({"acted": len(late)})

    async def _state(self, request: Request) -> Response:
        world = self.world
        shared = {
            "requests": world.requests,
            "acts": world.acts,
            "elsewhere": world.elsewhere,
            "hooked": world.hooked,
        }
        return JSONResponse(world.state() | shared)

    async def _elsewhere(self, request: Request) -> Response:
        """Be the other host to which a redirect leads, and remember what it was given."""
        self.world.elsewhere.append(
            {
                "token": "private-token" in request.headers or "authorization" in request.headers,
                "body": bool(await request.body()),
            }
        )
        return JSONResponse(self.from_elsewhere(), 201)


def _key(name: str) -> int | str:
    """Return a number as one: JSON makes texts of a dict's numbers."""
    return int(name) if name.isdigit() else name


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
    """Return the JSON of a write, the query of a read, or the octets of anything else.

    JSON that is no object stands under ``json``, other content under ``octets``.  A name of the
    query that ends with ``[]`` has a list.
    """
    if request.method == "GET":
        query = parse_qs(request.url.query)
        return {
            name: values if name.endswith("[]") else values[-1] for name, values in query.items()
        }
    content = await request.body()
    if not content:
        return {}
    if "json" not in request.headers.get("content-type", ""):
        return {"octets": content.decode("latin-1")}
    given = json.loads(content)
    return dict(given) if isinstance(given, dict) else {"json": given}


def _protocol(server: Server[Any]) -> type[H11Protocol]:
    class Remembering(H11Protocol):
        """Keeps each connection's transport, so that a fault can cut it."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
            super().connection_made(transport)
            # Nagle's wait for the client's delayed ACK costs 40 ms for each answer.
            accepted = transport.get_extra_info("socket")
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.client is not None:
                server.transports[self.client] = transport

    return Remembering


async def _serve(server: Server[Any], port: int, *, until_orphaned: bool) -> None:
    # An idle connection stays open: one that ends while it is used again fails a request by chance.
    config = uvicorn.Config(
        server.app(), http=_protocol(server), ws="none", lifespan="off", log_level="critical",
        access_log=False, timeout_keep_alive=3600, timeout_graceful_shutdown=1,
    )  # fmt: skip
    with socket.create_server(("127.0.0.1", port)) as listening:
        host, real_port = listening.getsockname()[:2]
        server.world.base = f"http://{host}:{real_port}"
        sys.stdout.write(json.dumps(server.ready()) + "\n")
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


def serve(make: Callable[[], Server[Any]]) -> None:
    """Serve until a signal says stop; the first line of stdout tells the address as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--until-orphaned", action="store_true", help="stop when stdin ends")
    given = parser.parse_args()

    async def run() -> None:
        await _serve(make(), given.port, until_orphaned=given.until_orphaned)

    asyncio.run(run())


# ── The handle for tests ─────────────────────────────────────────────────────────────────────────


class Handle:
    """A fake in a process of its own; ``url``, ``token``, ``project`` go into settings."""

    module: ClassVar[str]
    """The module that is run."""

    def __init__(self, process: subprocess.Popen[str], ready: Json) -> None:
        self._process = process
        self.url: str = ready["url"]
        self.token: str = ready["token"]
        self.project: str = ready["project"]

    @classmethod
    @contextmanager
    def start(cls, *, port: int = 0) -> Iterator[Self]:
        """Start one on a free loopback port, and stop it afterwards."""
        command = [sys.executable, "-m", cls.module, "--port", str(port)]
        root, pipe = Path(__file__).resolve().parents[2], subprocess.PIPE
        with subprocess.Popen(
            [*command, "--until-orphaned"], cwd=root, stdin=pipe, stdout=pipe, text=True
        ) as process:
            try:
                assert process.stdout is not None
                yield cls(process, json.loads(process.stdout.readline()))
            finally:
                process.terminate()
                process.wait(_PATIENCE)

    def fault(self, name: str, count: int = 1, *, on: str = "", skip: int = 0, **more: str) -> None:
        """Arm a fault for the next ``count`` requests of kind ``on``, after ``skip`` of them."""
        order = {"fault": name, "count": count, "on": on, "skip": skip, **more}
        self._call("/_control", order)

    def settings(self, **values: object) -> None:
        """Change the project, the account or the people: see the fake's ``World``."""
        self._call("/_settings", values)

    def edit(self, number: int | str, **values: object) -> None:
        """Change fields of an issue, as a person of the team would by hand."""
        self._call("/_edit", {"number": number, **values})

    def reset(self) -> None:
        """Forget everything."""
        self._call("/_reset", {})

    def hold_time(self, at: datetime) -> None:
        """Let it be this time there, and stay so, until ``reset``."""
        self._call("/_time", {"at": at.isoformat()})

    def release(self) -> int:
        """Let requests that hung as ``late`` take effect now, and return how many did."""
        return int(self._call("/_release", {})["acted"])

    def hook_to(self, url: str, scheme: str, **more: object) -> None:
        """Tell by webhook what people do from now on: how it is proven, perhaps how many times."""
        self.settings(hook={"url": url, "scheme": scheme, **more})

    def hooked(self) -> list[int]:
        """Return how each webhook was answered."""
        return list(self.state()["hooked"])

    def requests(self, kind: str = "") -> list[Json]:
        """Return the requests that came, with their bodies, all or those of one kind."""
        return [one for one in self.state()["requests"] if kind in {"", one["kind"]}]

    def events(self) -> list[Json]:
        """Return what texts did: what acted, and what was alive in them."""
        return list(self.state()["acts"])

    def elsewhere(self) -> list[Json]:
        """Return what the other host, to which redirects lead, was given."""
        return list(self.state()["elsewhere"])

    def state(self) -> Json:
        """Return all that the fake tells."""
        return self._call("/_state", None)

    def _call(self, path: str, order: Mapping[str, object] | None) -> Json:
        data = None if order is None else json.dumps(order).encode()
        request = urllib.request.Request(self.url + path, data=data)  # noqa: S310 - our own loopback
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:  # noqa: S310 - our own loopback
            return dict(json.load(answer))
