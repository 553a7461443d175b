"""What do the webhooks answer, over real sockets?  204 to a tracker, and 404 to everybody else."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.support import hooking
from tests.support.emulated_github import PROJECT, TOKEN, emulated_github, missing
from tests.support.fake_github import FakeGitHub
from tests.support.fake_gitlab import FakeGitLab
from tests.support.fake_jira import FakeJira
from tests.support.fake_server import Handle
from tests.support.hooking import SECRET, SIGNING_TOKEN, Fields
from tests.support.listening import HeldLoop, run_held, until

from secbridge.model.plaintext import Secret
from secbridge.ports import Hook, Posted, Proven, Unproven
from secbridge.trackers.hooks import BodyHook, GitLabHook, signing_key
from secbridge.web import Callers, HookApp, WebServer
from secbridge.web.server import LIFETIME, MAX_HEAD

NOTHING = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
THANKS = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"
BODY = b'{"action": "created"}'
MAX_BODY = 1000

HOOKS: Mapping[str, Hook] = {
    "github": BodyHook(b"x-hub-signature-256", SECRET.encode()),
    "jira": BodyHook(b"x-hub-signature", SECRET.encode(), dated=True),
    "gitlab": GitLabHook(SECRET.encode()),
}


@dataclass
class Clock:
    """A clock that stands until the test moves it."""

    time: datetime = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

    def now(self) -> datetime:
        """Return the time that the test has set."""
        return self.time


@dataclass
class Door:
    """The webhooks, open; ``nudged`` are the trackers that we were made to look at."""

    port: int
    nudged: list[str]
    clock: Clock
    server: WebServer
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def say(self, octets: bytes, *, end: bool = False) -> bytes:
        """Say something that need not be HTTP, perhaps end, and return all that is answered."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(octets)
        if end:
            writer.write_eof()
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()

    async def post(self, path: str, fields: Fields, body: bytes = BODY) -> bytes:
        """Post a webhook and return the whole answer."""
        return await self.say(request(path, fields, body))


def request(path: str, fields: Fields, body: bytes = BODY, method: str = "POST") -> bytes:
    """Return a request as it stands on the wire."""
    head = [f"{method} {path} HTTP/1.1", "Host: hooks.example.org", f"Content-Length: {len(body)}"]
    head += [f"{name}: {value}" for name, value in fields]
    return "\r\n".join([*head, "", ""]).encode() + body


@asynccontextmanager
async def opened(
    place: Mapping[str, Any] | None = None,
    *,
    hooks: Mapping[str, Hook] = HOOKS,
    per_minute: int = 1000,
    connections: int = 8,
    max_body: int = MAX_BODY,
) -> AsyncIterator[Door]:
    """Serve the webhooks at a free port, or at another place."""
    server = WebServer(connections=connections)
    await server.open(**(place or {"host": "127.0.0.1"}))
    (address,) = server.addresses
    port = int(address.rpartition(":")[2]) if address.startswith("http://") else 0
    door = Door(port, [], Clock(), server)
    app = HookApp(
        hooks,
        door.nudged.append,
        clock=door.clock,
        callers=Callers(proxies=[ip_network("127.0.0.0/8")], per_minute=per_minute),
        max_body=max_body,
    )
    serving = asyncio.create_task(server.run(app, door.stopping))
    try:
        yield door
    finally:
        door.stopping.set()
        await serving
        server.close()


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Return a folder whose path is short enough for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="sb", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


# ── Trackers ─────────────────────────────────────────────────────────────────────────────────────


async def test_each_vendors_webhook_makes_us_look_at_its_tracker_once() -> None:
    """It gets 204 and no word more; a replay gets the same and does nothing, whatever its id."""
    bodies = {"github": BODY, "gitlab": BODY, "jira": b'{"timestamp": 1795348800000}'}
    with capture_logs() as told:
        async with opened() as door:
            for name, body in bodies.items():
                for _ in range(2):
                    fields = hooking.SCHEMES[name](body)
                    assert await door.post(f"/hooks/{name}", fields, body) == THANKS
            old = b'{"timestamp": 1}'
            assert await door.post("/hooks/jira", hooking.jira(old), old) == THANKS
            assert door.nudged == ["github", "gitlab", "jira"]
            door.clock.time += timedelta(days=1)
            assert await door.post("/hooks/github", hooking.github(BODY)) == THANKS
            assert door.nudged == ["github", "gitlab", "jira", "github"]
    outcomes = [(one["tracker"], one["outcome"]) for one in told if one["event"] == "web.hinted"]
    assert outcomes == [
        *[(name, outcome) for name in bodies for outcome in ("looking", "repeated")],
        ("jira", "late"),
        ("github", "looking"),
    ]


async def test_a_real_client_may_send_the_body_in_pieces_and_wait_for_the_word_to() -> None:
    """Chunked as well as with a length, and after 100 Continue, as proxies and curl do."""
    async with opened() as door:
        url = f"http://127.0.0.1:{door.port}/hooks/github"
        assert await asyncio.to_thread(hooking.knock, url, hooking.github(BODY), BODY) == 204
        other = b'{"action": "edited"}'
        fields = [*hooking.github(other), ("Transfer-Encoding", "chunked")]
        chunks = b"".join(b"1\r\n%c\r\n" % octet for octet in other) + b"0\r\n\r\n"
        head = request("/hooks/github", fields, b"").replace(b"Content-Length: 0\r\n", b"")
        assert await door.say(head + chunks) == THANKS
        body = b'{"action": "deleted"}'
        asking = request("/hooks/github", [*hooking.github(body), ("Expect", "100-continue")], body)
        answer = await door.say(asking)
        assert answer.endswith(THANKS)
        assert door.nudged == ["github"] * 3


@pytest.mark.parametrize(
    ("start", "schemes", "order"),
    [
        (FakeGitLab.start, ("gitlab", "gitlab-signed"), {"number": 0, "open": {}}),
        (FakeGitHub.start, ("github",), {"number": 1, "open": "By hand", "by": "alex"}),
        (FakeJira.start, ("jira",), {"number": 0, "open": {}}),
    ],
    ids=["gitlab", "github", "jira"],
)
async def test_what_people_do_in_a_tracker_makes_us_look_there(
    start: Callable[[], AbstractContextManager[Handle]], schemes: Sequence[str], order: Any
) -> None:
    """Each of the fakes tells it as its vendor does, and we look at the tracker by its name."""
    key = signing_key(Secret(SIGNING_TOKEN), setting="webhook_signing_token")
    hooks = {**HOOKS, "gitlab-signed": GitLabHook(None, key)}
    async with opened(hooks=hooks) as door:
        door.clock.time = datetime.now(UTC)
        with start() as fake:
            for scheme in schemes:
                url = f"http://127.0.0.1:{door.port}/hooks/{scheme}"
                await asyncio.to_thread(fake.hook_to, url, scheme)
                await asyncio.to_thread(fake.edit, **order)
            assert await asyncio.to_thread(fake.hooked) == [204] * len(schemes)
        assert tuple(door.nudged) == tuple(schemes)


async def test_the_emulators_own_signature_is_proven(tmp_path: Path) -> None:
    """A GitHub that others wrote signs and sends, when a person comments."""
    if lacking := missing():
        pytest.skip(lacking)
    async with opened(max_body=100_000) as door:
        with emulated_github(tmp_path) as api:
            repo = f"{api}/repos/{PROJECT}"
            config = {
                "url": f"http://127.0.0.1:{door.port}/hooks/github",
                "secret": SECRET,
                "content_type": "json",
            }
            hook = {"name": "web", "events": ["issues"], "active": True, "config": config}
            for path, body in (("hooks", hook), ("issues", {"title": "By hand"})):
                await asyncio.to_thread(_call, f"{repo}/{path}", body)
            await until(lambda: "github" in door.nudged)


def _call(url: str, body: Mapping[str, Any]) -> None:
    import json
    import urllib.request

    asking = urllib.request.Request(url, json.dumps(body).encode())  # noqa: S310 - our own loopback
    asking.add_header("Authorization", f"token {TOKEN}")
    asking.add_header("Content-Type", "application/json")
    urllib.request.urlopen(asking, timeout=60).close()  # noqa: S310 - our own loopback


# ── Strangers ────────────────────────────────────────────────────────────────────────────────────


async def test_strangers_get_one_answer_to_everything() -> None:
    """Wrong path, name, method, proof, size, or no HTTP at all: the same octets, and no name."""
    right, forged = hooking.github(BODY), hooking.github(BODY, "another secret")
    large = b"x" * (MAX_BODY + 1)
    chunk = b"%x\r\n" % len(large) + large + b"\r\n0\r\n\r\n"
    chunked = request("/hooks/github", [("Transfer-Encoding", "chunked")], b"")
    with capture_logs() as told:
        async with opened() as door:
            asked = {
                "unknown": [
                    request("/hooks/nobody", right),
                    request("/hooks/", right),
                    request("/hooks/github/", right),
                    request("/hooks//github", right),
                    request("/", right),
                    request("*", [], b"", "OPTIONS"),
                    request("/hooks/github", right, method="PUT"),
                    request("/hooks/github", [], b"", "GET"),
                    request("/hooks/github", [], b"", "HEAD"),
                    request("/hooks/github?x=1", right, method="get"),
                    request("/%00%ff%0a", right),
                    request("/hooks/github", [("Connection", "upgrade"), ("Upgrade", "websocket")],
                            b"", "GET"),
                ],
                "bad-signature": [
                    request("/hooks/github", forged),
                    request("/hooks/github", right, BODY.replace(b"a", b"b")),
                ],
                "no-signature": [
                    request("/hooks/github", []),
                    request("/hooks/github", right[:3]),
                ],
                "several-signatures": [request("/hooks/github", [*right, right[3]])],
                "bad-token": [request("/hooks/gitlab", hooking.gitlab(BODY, SECRET[:-1]))],
                "too-large": [
                    request("/hooks/github", hooking.github(large), large),
                    request("/hooks/nobody", [], large),
                    chunked.replace(b"Content-Length: 0\r\n", b"") + chunk,
                ],
                "malformed": [
                    b"hello\r\n\r\n",
                    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
                    b"POST /hooks/github HTTP/1.1\r\n\r\n",
                    request("/hooks/github", [*right, ("Content-Length", "3")]),
                    request("/hooks/github", right, b"").replace(b"h: 0", b"h: -1"),
                    request("/hooks/github", [("X-Long", "x" * MAX_HEAD)], b"")[:-4],
                    request("/hooks/github", [("Transfer-Encoding", "gzip, chunked")], b""),
                    chunked.replace(b"Content-Length: 0\r\n", b"") + b"zz\r\n",
                ],
            }  # fmt: skip
            for reason, requests in asked.items():
                for octets in requests:
                    assert (reason, octets[:60], await door.say(octets)) == (
                        reason, octets[:60], NOTHING,
                    )  # fmt: skip
            assert door.nudged == []
    refused = [one["reason"] for one in told if one["event"] == "web.refused"]
    assert refused == [reason for reason, requests in asked.items() for _ in requests]
    assert {one["event"] for one in told} == {"web.refused"}


async def test_a_path_is_read_as_it_is_meant() -> None:
    """A name may be percent-encoded; the query belongs to nobody."""
    async with opened(hooks={"two words": HOOKS["github"], "": HOOKS["github"]}) as door:
        right = hooking.github(BODY)
        assert await door.post("/hooks/two%20words?a=b", right) == THANKS
        assert await door.post("/hooks/", right) == NOTHING
        assert await door.post("/anything", right) == NOTHING
        assert door.nudged == ["two words"]


async def test_who_asks_too_often_waits_a_minute_and_the_others_do_not() -> None:
    """Counted by the address that our proxy tells, and told once in the log."""
    busy = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    with capture_logs() as told:
        async with opened(per_minute=2) as door:
            loud, calm = [("X-Forwarded-For", "1.2.3.4, 192.0.2.66")], ("X-Forwarded-For", "::2")
            answers = [await door.post("/hooks/github", loud) for _ in range(5)]
            assert answers == [NOTHING, NOTHING, busy, busy, busy]
            fields = [*hooking.github(BODY), calm]
            assert await door.post("/hooks/github", fields) == THANKS
            door.clock.time += timedelta(minutes=1)
            assert await door.post("/hooks/github", loud) == NOTHING
    refused = [one for one in told if one.get("reason") == "too-many-requests"]
    assert [one["peer"] for one in refused] == ["192.0.2.66"]


async def test_one_connection_has_one_request() -> None:
    """What stands behind it is not read, so nothing can be smuggled past a proxy."""
    async with opened() as door:
        other = b"{}"
        both = request("/hooks/github", hooking.github(BODY))
        both += request("/hooks/gitlab", hooking.gitlab(other), other)
        assert await door.say(both) == THANKS
        assert door.nudged == ["github"]


async def test_a_client_that_leaves_is_no_matter() -> None:
    """In the head, in the body, or before the answer: nothing is done, and nothing breaks."""
    whole = request("/hooks/github", hooking.github(BODY))
    with capture_logs() as told:
        async with opened() as door:
            for octets in (b"", whole[:40], whole[:-5]):
                _, writer = await asyncio.open_connection("127.0.0.1", door.port)
                writer.write(octets)
                await writer.drain()
                writer.transport.abort()
            assert await door.post("/hooks/github", hooking.github(BODY)) == THANKS
            assert door.nudged == ["github"]
    assert [one for one in told if one["event"] != "web.hinted"] == []


def test_a_slow_client_is_cut_and_the_others_are_served() -> None:
    """An octet now and then keeps nobody inside, in the head as in the body."""

    async def main(loop: HeldLoop) -> None:
        whole = request("/hooks/github", hooking.github(BODY))
        async with opened() as door:
            slow = [await asyncio.open_connection("127.0.0.1", door.port) for _ in range(2)]
            for (_, writer), octets in zip(slow, (whole[:40], whole[:-5]), strict=True):
                writer.write(octets)
                await writer.drain()
            assert await door.post("/hooks/github", hooking.github(BODY)) == THANKS
            loop.let_pass(LIFETIME / 2)
            for _, writer in slow:
                writer.write(b"x")
                await writer.drain()
            loop.let_pass(LIFETIME)
            for reader, writer in slow:
                assert await reader.read() == b""
                writer.close()
            assert door.nudged == ["github"]

    with capture_logs() as told:
        run_held(main)
    assert [one["reason"] for one in told if one["event"] == "web.refused"] == ["too-slow"] * 2


async def test_there_are_so_many_connections_and_no_more() -> None:
    """One above is cut at once; when one ends there is room again."""
    async with opened(connections=2) as door:
        held = [await asyncio.open_connection("127.0.0.1", door.port) for _ in range(2)]
        assert await door.say(b"") == b""
        held[0][1].close()
        await held[0][1].wait_closed()
        await until_answered(door)
        held[1][1].close()


async def until_answered(door: Door) -> None:
    """Ask until there is room: the server hears of an end a turn or two later."""
    while await door.post("/hooks/github", hooking.github(BODY)) != THANKS:  # noqa: ASYNC110 - of no event
        await asyncio.sleep(0)


async def test_whatever_is_said_the_answer_is_one_of_two_or_none() -> None:
    """A webhook with octets changed, cut out or put in: proven, or nothing; and nothing breaks."""
    dice = random.Random(5)  # noqa: S311 - the same octets every time
    good = request("/hooks/github", hooking.github(BODY))
    odd = [b"\r\n", b"\0", b"\xff", b" ", b":", b"Transfer-Encoding: chunked\r\n", b"9" * 30]
    answers = set()
    with capture_logs() as told:
        async with opened() as door:
            for _ in range(200):
                at = dice.randrange(len(good))
                cut = dice.choice([0, 1, 1, 2, 40])
                changed = good[:at] + dice.choice([b"", *odd]) + good[at + cut :]
                answers.add(await door.say(changed, end=True))
            assert answers <= {NOTHING, THANKS, b""}
            assert {NOTHING, THANKS} <= answers
            assert door.nudged in ([], ["github"])
    assert {one["event"] for one in told} == {"web.refused", "web.hinted"}


class Broken:
    """A plugin's hook with a fault."""

    def judge(self, posted: Posted, *, now: datetime) -> Proven | Unproven:
        """Raise what holds the body in its text."""
        raise ValueError(posted.body.decode())


async def test_a_hook_that_breaks_is_alarmed_and_shows_nothing() -> None:
    """A stranger gets what strangers get; the log has the class of the fault alone."""
    with capture_logs() as told:
        async with opened(hooks={"broken": Broken()}) as door:
            assert await door.post("/hooks/broken", []) == NOTHING
    assert [(one["event"], one["kind"]) for one in told] == [("fault", "ValueError")]


# ── Places, and the end ──────────────────────────────────────────────────────────────────────────


async def test_a_unix_socket_is_for_the_group_and_goes_with_us(short_folder: Path) -> None:
    """Its mode is 0660; whoever may open it is believed to be a proxy."""
    path = short_folder / "hooks.sock"
    async with opened({"path": str(path)}, per_minute=1) as door:
        assert path.stat().st_mode & 0o777 == 0o660
        for caller in ("192.0.2.1", "192.0.2.2"):
            fields = [*hooking.github(BODY), ("X-Forwarded-For", caller)]
            octets = request("/hooks/github", fields)
            assert await asyncio.to_thread(hooking.say, str(path), octets) == THANKS
        assert door.server.addresses == [f"http+unix:{path}"]
    assert not path.exists()


async def test_an_inherited_socket_is_served() -> None:
    """As systemd passes them."""
    with socket.create_server(("127.0.0.1", 0)) as parent:
        async with opened({"fd": os.dup(parent.fileno())}) as door:
            assert await door.post("/hooks/github", hooking.github(BODY)) == THANKS


async def test_a_port_in_use_is_told_and_nothing_stays_open() -> None:
    """The daemon makes a message of it that names the setting."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = WebServer()
        with pytest.raises(OSError, match="in use"):
            await server.open(host="127.0.0.1", port=taken.getsockname()[1])
        assert server.addresses == []


async def test_stopping_ends_those_who_are_inside_and_leaves_signals_alone() -> None:
    """A half request does not hold up the end; the daemon's own handlers stay what they were."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with capture_logs() as told:
        async with opened() as door:
            assert await door.post("/hooks/github", hooking.github(BODY)) == THANKS
            during = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
            reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
            writer.write(request("/hooks/github", hooking.github(BODY))[:-1])
            await writer.drain()
            await until(_waiting)
        assert await reader.read() == b""
        writer.close()
    assert during == before
    assert [one["event"] for one in told] == ["web.hinted"]


def _waiting() -> list[asyncio.Task[Any]]:
    """Return the requests inside of which the body is not whole."""
    return [task for task in asyncio.all_tasks() if "run_asgi" in repr(task)]
