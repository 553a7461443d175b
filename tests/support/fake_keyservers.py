"""Where do people publish their keys?  A web server with many names, and a SOCKS5 proxy before it.

Both run in a thread of their own, on loopback, for as long as a block lasts.  The server speaks
HTTPS with one throw-away certificate for ``NAMES``, gives out what ``publish`` put under a URL, and
writes down what it was asked.  ``fault`` makes all its answers go wrong in one way.  The proxy
knows those names and no others, so a test sees that a name was resolved there.

``Names`` is what a test hands to the code in the place of the system's resolver.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

ADVANCED = "openpgpkey.example.net"
DIRECT = "example.net"
KEYSERVER = "keys.example.org"
ELSEWHERE = "elsewhere.example.org"
NAMES = (ADVANCED, DIRECT, KEYSERVER, ELSEWHERE, "openpgpkey.example.com", "example.com")

UNCERTIFIED = "openpgpkey.example.edu"
"""A name that leads here, and that our certificate does not hold."""


class Fault(StrEnum):
    """How every answer goes wrong."""

    SILENT = "silent"
    STALLED = "stalled"
    DRIPPING = "dripping"
    HUGE = "huge"
    ENDLESS = "endless"
    ELSEWHERE = "elsewhere"
    ITSELF = "itself"
    HTML = "html"
    NOT_FOUND = "not-found"
    BROKEN = "broken"
    BUSY = "busy"
    GARBAGE = "garbage"
    COMPRESSED = "compressed"
    EMPTY = "empty"


@dataclass(frozen=True)
class Asked:
    """One request: whom, for what, and with which headers."""

    host: str
    path: str
    headers: dict[str, str]


@dataclass
class FakeKeyServers:
    """The handle of the tests."""

    ca_file: Path
    port: int = 0
    plain_port: int = 0
    socks_port: int = 0
    fault: Fault | None = None
    asked: list[Asked] = field(default_factory=list)
    tunnelled: list[str] = field(default_factory=list)
    dripped: int = 0
    _pages: dict[str, bytes] = field(default_factory=dict)

    @property
    def proxy(self) -> str:
        """The URL of the proxy."""
        return f"socks5h://127.0.0.1:{self.socks_port}"

    def publish(self, url: str, content: bytes) -> None:
        """Give out octets under an https URL, its query included."""
        self._pages[url] = content

    def hosts(self) -> list[str]:
        """Return whom the requests so far were for, in order."""
        return [asked.host for asked in self.asked]

    def reset(self) -> None:
        """Forget everything but the ports."""
        self.fault = None
        self.asked.clear()
        self.tunnelled.clear()
        self.dripped = 0
        self._pages.clear()

    def tls(self) -> ssl.SSLContext:
        """Return a client's context that believes in the throw-away certificate."""
        return ssl.create_default_context(cafile=str(self.ca_file))

    # ── Answers ───────────────────────────────────────────────────────────────────────────────────

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        request = Request(scope, receive)
        host = request.headers["host"].partition(":")[0]
        path = scope["raw_path"].decode()
        if query := scope["query_string"].decode():
            path = f"{path}?{query}"
        self.asked.append(Asked(host, path, dict(request.headers)))
        response = self._failure(request) if self.fault else self._page(f"https://{host}{path}")
        with contextlib.suppress(OSError):
            await response(scope, receive, send)

    def _page(self, url: str) -> Response:
        content = self._pages.get(url)
        if content is None:
            return Response("nothing here", 404)
        return Response(content, media_type="application/octet-stream")

    def _failure(self, request: Request) -> Response:  # noqa: C901 - a table of faults
        certificate = next(iter(self._pages.values()), b"")
        match self.fault:
            case Fault.SILENT:
                return _Silent()
            case Fault.STALLED:
                return StreamingResponse(_stalled(request, certificate))
            case Fault.DRIPPING:
                return StreamingResponse(self._dripping(certificate))
            case Fault.HUGE:
                return Response(certificate + bytes(4 << 20))
            case Fault.ENDLESS:
                return StreamingResponse(_endless(request, certificate))
            case Fault.ELSEWHERE:
                return RedirectResponse(f"https://{ELSEWHERE}{request.url.path}", 302)
            case Fault.ITSELF:
                return RedirectResponse(str(request.url), 301)
            case Fault.HTML:
                return HTMLResponse("<html><body>Please sign in</body></html>")
            case Fault.NOT_FOUND:
                return Response("nothing here", 404)
            case Fault.BROKEN:
                return Response("oops", 500)
            case Fault.BUSY:
                return Response("later", 429, {"Retry-After": "60"})
            case Fault.GARBAGE:
                return Response(b"\x99\xff\xff" + bytes(range(256)))
            case Fault.COMPRESSED:
                return Response(certificate, headers={"Content-Encoding": "gzip"})
            case _:
                return Response(b"")

    async def _dripping(self, content: bytes) -> AsyncIterator[bytes]:
        """Say a little again and again, so that no wait for the next octet is ever long."""
        for octet in content:
            yield bytes([octet])
            self.dripped += 1
            await asyncio.sleep(0.05)


class _Silent(Response):
    """Says nothing until the other side has gone."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            continue


async def _stalled(request: Request, content: bytes) -> AsyncIterator[bytes]:
    yield content[: len(content) // 2]
    while (await request.receive())["type"] != "http.disconnect":
        continue


async def _endless(request: Request, content: bytes) -> AsyncIterator[bytes]:
    yield content
    while not await request.is_disconnected():
        yield bytes(65536)


# ── Running ──────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def key_servers_in_thread() -> Iterator[FakeKeyServers]:
    """Run the server and the proxy in a loop of their own."""
    folder = Path(tempfile.mkdtemp(prefix="sbf", dir="/tmp"))
    ready: Future[tuple[FakeKeyServers, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        over = asyncio.Event()
        async with _serving(FakeKeyServers(_certificate(folder)), folder) as servers:
            ready.set_result((servers, asyncio.get_running_loop(), over))
            await over.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:  # the test is told, instead of waiting
            if not ready.done():
                ready.set_exception(error)
            raise

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        servers, loop, over = ready.result(timeout=90)
        yield servers
        loop.call_soon_threadsafe(over.set)
        thread.join(timeout=90)
    finally:
        shutil.rmtree(folder)


@contextlib.asynccontextmanager
async def _serving(servers: FakeKeyServers, folder: Path) -> AsyncIterator[FakeKeyServers]:
    key, certificate = str(folder / "key.pem"), str(servers.ca_file)
    secure = _web_server(servers.app, ssl_keyfile=key, ssl_certfile=certificate)
    plain = _web_server(servers.app)
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    servers.port, servers.plain_port = (one.getsockname()[1] for one in listeners)
    running = [
        asyncio.create_task(server.serve(sockets=[listener]))
        for server, listener in zip((secure, plain), listeners, strict=True)
    ]
    proxy = await asyncio.start_server(_Proxy(servers).connected, "127.0.0.1", 0)
    servers.socks_port = proxy.sockets[0].getsockname()[1]
    try:
        yield servers
    finally:
        proxy.close()
        secure.should_exit = plain.should_exit = True
        secure.force_exit = plain.force_exit = True
        await asyncio.gather(*running)
        for listener in listeners:
            listener.close()


def _web_server(app: Any, **options: Any) -> uvicorn.Server:
    """Return a server for HTTP/1.1 that logs nothing."""
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        interface="asgi3",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        **options,
    )
    return uvicorn.Server(config)


def _certificate(folder: Path) -> Path:
    """Make a key and a self-signed certificate for all names."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("the openssl command makes the certificate of this test, and it is not here")
    names = ",".join(f"DNS:{name}" for name in NAMES)
    command = (
        f"{openssl} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
        f" -subj /CN=keys -addext subjectAltName={names}"
        f" -keyout {folder}/key.pem -out {folder}/certificate.pem"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    return folder / "certificate.pem"


# ── The proxy ────────────────────────────────────────────────────────────────────────────────────

_BY_NAME = 3
_HOST_UNREACHABLE = b"\x05\x04\x00\x01\x00\x00\x00\x00\x00\x00"
_CONNECTED = b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"


class _Proxy:
    """SOCKS5 without a login (RFC 1928): CONNECT to a name that we know, and nothing else."""

    def __init__(self, servers: FakeKeyServers) -> None:
        self._servers = servers

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            host = await self._destination(reader, writer)
            self._servers.tunnelled.append(host)
            if host not in {*NAMES, UNCERTIFIED}:
                writer.write(_HOST_UNREACHABLE)
                await writer.drain()
            else:
                await self._tunnel(reader, writer)
        writer.close()

    async def _destination(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        _, methods = await reader.readexactly(2)
        await reader.readexactly(methods)
        writer.write(b"\x05\x00")
        *_, kind = await reader.readexactly(4)
        if kind != _BY_NAME:
            return f"an address of kind {kind}"
        (length,) = await reader.readexactly(1)
        host = (await reader.readexactly(length)).decode()
        await reader.readexactly(2)
        return host

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._servers.port)
        writer.write(_CONNECTED)
        try:
            await asyncio.gather(_pour(reader, there_writer), _pour(there_reader, writer))
        finally:
            there_writer.close()


async def _pour(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while octets := await source.read(65536):
            target.write(octets)
            await target.drain()
    target.close()


# ── Names ────────────────────────────────────────────────────────────────────────────────────────


class Names:
    """A resolver whose whole world the test says: names with their (address, port) pairs."""

    def __init__(self, **known: Sequence[tuple[str, int]]) -> None:
        self.known: dict[str, Sequence[tuple[str, int]]] = dict(known)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[tuple[str, int]]:
        """Return what the test said; a name of which it said nothing does not exist."""
        self.asked.append(host)
        try:
            return self.known[host.removesuffix(".")]
        except KeyError:
            raise socket.gaierror(socket.EAI_NONAME, "no such host") from None


def all_names(servers: FakeKeyServers) -> Names:
    """Return a resolver by which every name of ours leads to the server."""
    here = [("127.0.0.1", servers.port)]
    names = Names()
    names.known = dict.fromkeys((*NAMES, UNCERTIFIED), here)
    return names
