"""Does the intake hold what it promises?  Real sockets, real clients, real TLS."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import smtplib
import socket
import stat
import struct
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import aiosmtplib
import pytest
from structlog.testing import capture_logs
from tests.support.listening import (
    FixedClock,
    HeldLoop,
    client_context,
    run_held,
    server_context,
    until,
)
from tests.support.memory_spool import MemorySpool

from secbridge.errors import StoreBusy
from secbridge.intake import Endpoint, IntakeLimits, Listener, MailProtocol
from secbridge.model.delivery import State
from secbridge.ports import Spool
from secbridge.store import Store

ALIAS = "security@example.org"
TEAM = "team@example.org"
_ACCEPTED = "250 2.0.0 Ok: accepted as "
MAIL = b"Subject: canary-subject\r\n\r\ncanary-body\r\n"
LOCAL = Endpoint(MailProtocol.SMTP, "127.0.0.1")


@asynccontextmanager
async def listening(
    spool: Spool, endpoint: Endpoint = LOCAL, **options: Any
) -> AsyncIterator[Listener]:
    """Open a listener at one endpoint."""
    options.setdefault("limits", IntakeLimits())
    listener = Listener(
        spool, [ALIAS, TEAM], hostname="mx.example.org", clock=FixedClock(), **options
    )
    await listener.start([endpoint])
    try:
        yield listener
    finally:
        if isinstance(spool, MemorySpool):
            spool.opened.set()
        await listener.drain(5)


class Client:
    """A client that says lines and reads replies."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def to(cls, listener: Listener) -> Client:
        """Connect and read the greeting."""
        bound = listener.addresses[0]
        if bound.path:
            client = cls(*await asyncio.open_unix_connection(bound.path))
        else:
            client = cls(*await asyncio.open_connection(bound.host, bound.port))
        assert (await client.line()).startswith("220 ")
        return client

    async def line(self) -> str:
        """Return the next line of the server, "" at the end."""
        return (await self.reader.readline()).decode().rstrip("\r\n")

    async def say(self, line: str) -> str:
        """Send a line and return the last line of the reply."""
        self.writer.write(line.encode() + b"\r\n")
        reply = await self.line()
        while reply[3:4] == "-":
            reply = await self.line()
        return reply

    async def up_to_data(self, recipients: Sequence[str] = (ALIAS,), hello: str = "HELO") -> None:
        """Go as far as 354."""
        await self.say(f"{hello} client.example")
        await self.say("MAIL FROM:<alice@example.com>")
        for recipient in recipients:
            await self.say(f"RCPT TO:<{recipient}>")
        assert (await self.say("DATA")).startswith("354")

    async def close(self) -> None:
        """Go away."""
        self.writer.close()
        await self.writer.wait_closed()

    def cut(self) -> None:
        """Break the connection, with a reset."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def quit(self, listener: Listener) -> None:
        """Go away in order, and wait until the server has noticed."""
        assert await self.say("QUIT") == "221 2.0.0 Bye"
        await self.close()
        await until(lambda: listener.connections == 0)


# ── Clients that people use ──────────────────────────────────────────────────────────────────────


async def test_smtplib_delivers_and_is_told_the_id() -> None:
    """The client of the standard library delivers a mail, and its octets arrive as they were."""
    spool = MemorySpool()
    async with listening(spool) as listener:
        port = listener.addresses[0].port

        def deliver() -> tuple[int, bytes]:
            with smtplib.SMTP("127.0.0.1", port) as client:
                client.ehlo()
                client.mail("alice@example.com")
                client.rcpt(ALIAS)
                return client.data(MAIL)

        reply = await asyncio.to_thread(deliver)
    assert reply == (250, b"2.0.0 Ok: accepted as D00001")
    assert [kept.content for kept in spool.kept] == [MAIL]
    envelope = spool.kept[0].envelope
    assert envelope.reverse_path == "alice@example.com"
    assert envelope.recipients == (ALIAS,)
    assert envelope.peer == "127.0.0.1"
    assert envelope.received_at == FixedClock().now()


async def test_smtplib_delivers_by_lmtp_on_a_unix_socket(short_folder: Path) -> None:
    """LMTP on a unix socket answers for each recipient, and smtplib reads both answers."""
    spool = MemorySpool()
    endpoint = Endpoint(MailProtocol.LMTP, path=str(short_folder / "lmtp"))
    async with listening(spool, endpoint):

        def deliver() -> list[tuple[int, bytes]]:
            with smtplib.LMTP(endpoint.path) as client:
                client.ehlo()  # smtplib says LHLO here
                client.mail("alice@example.com")
                client.rcpt(ALIAS)
                client.rcpt(TEAM)
                return [client.data(MAIL), client.getreply()]

        replies = await asyncio.to_thread(deliver)
    assert replies == [
        (250, b"2.0.0 Ok: accepted as D00001"),
        (250, b"2.0.0 Ok: accepted as D00002"),
    ]
    assert {kept.envelope.peer for kept in spool.kept} == {"unix"}


async def test_aiosmtplib_delivers_under_tls() -> None:
    """A client that insists on STARTTLS and checks the certificate delivers ten mails at once."""
    spool = MemorySpool()
    async with listening(spool, tls=server_context(), require_tls=True) as listener:
        bound = listener.addresses[0]

        async def deliver(number: int) -> None:
            client = aiosmtplib.SMTP(
                hostname=bound.host, port=bound.port, start_tls=False, timeout=30
            )
            async with client:
                await client.starttls(tls_context=client_context(), server_hostname="localhost")
                mail = b"Subject: %d\r\n\r\n" % number + b"x" * 300_000 + b"\r\n"
                await client.sendmail("alice@example.com", [ALIAS], mail)

        await asyncio.gather(*(deliver(number) for number in range(10)))
    assert len(spool.kept) == 10
    assert {len(kept.content) for kept in spool.kept} == {300_016}


async def test_a_client_that_speaks_no_tls_after_starttls_is_forgotten() -> None:
    """A handshake that fails, or is never finished, leaves no connection behind."""
    async with listening(MemorySpool(), tls=server_context()) as listener:
        for nonsense in (b"this is no TLS\r\n" * 10, b"\x16\x03\x01"):
            client = await Client.to(listener)
            await client.say("EHLO client.example")
            assert (await client.say("STARTTLS")).startswith("220 ")
            client.writer.write(nonsense)
            client.writer.write_eof()
            await until(lambda: listener.connections == 0)
            client.writer.close()


def test_a_client_that_never_begins_its_handshake_is_forgotten() -> None:
    """Between STARTTLS and the handshake, time and a stop end the conversation like anywhere."""

    async def story(loop: HeldLoop) -> None:
        async with listening(MemorySpool(), tls=server_context()) as listener:
            for ending in ("time", "stop"):
                client = await Client.to(listener)
                await client.say("EHLO client.example")
                assert (await client.say("STARTTLS")).startswith("220 ")
                if ending == "time":
                    loop.let_pass(6 * 60)
                    await until(lambda: listener.connections == 0)
                else:
                    await listener.drain(5)
                    assert listener.connections == 0
                client.writer.close()

    run_held(story)


# ── Durability ───────────────────────────────────────────────────────────────────────────────────


async def test_a_client_that_goes_away_during_the_commit_does_not_undo_it() -> None:
    """Once the commit has begun, the mail is kept, whoever is still there to hear of it."""
    spool = MemorySpool()
    spool.opened.clear()
    async with listening(spool) as listener:
        client = await Client.to(listener)
        await client.up_to_data()
        client.writer.write(MAIL + b".\r\n")
        await spool.begun.wait()
        client.cut()
        await until(lambda: listener.connections == 0)
        assert spool.kept == []
        assert listener.memory_held > 0
        spool.opened.set()
        await until(lambda: spool.kept)
        await until(lambda: listener.memory_held == 0)


async def test_no_250_before_the_commit() -> None:
    """While the spool works, the client hears nothing; then it hears 250."""
    spool = MemorySpool()
    spool.opened.clear()
    async with listening(spool) as listener:
        client = await Client.to(listener)
        await client.up_to_data()
        client.writer.write(MAIL + b".\r\n")
        await spool.begun.wait()
        reply = asyncio.create_task(client.line())
        for _ in range(20):
            await asyncio.sleep(0)
        assert not reply.done()
        spool.opened.set()
        assert (await reply).startswith("250 2.0.0 ")
        await client.close()


def test_a_commit_that_takes_too_long_is_451_and_goes_on() -> None:
    """A client does not wait for ever: it hears 451 and comes again; the commit is not undone."""

    async def story(loop: HeldLoop) -> None:
        spool = MemorySpool()
        spool.opened.clear()
        limits = IntakeLimits(commit_time=timedelta(minutes=10), idle=timedelta(minutes=5))
        async with listening(spool, limits=limits) as listener:
            client = await Client.to(listener)
            await client.up_to_data()
            client.writer.write(MAIL + b".\r\n")
            await spool.begun.wait()
            loop.let_pass(9 * 60)
            assert listener.connections == 1
            loop.let_pass(2 * 60)
            assert await client.line() == "451 4.3.0 Try again later"
            spool.opened.set()
            await until(lambda: spool.kept)
            assert await client.say("NOOP") == "250 2.0.0 Ok"
            await client.close()

    run_held(story)


async def test_the_durable_store_knows_a_second_hand_over(short_folder: Path) -> None:
    """With the real store, twenty clients at once hand over mails, each of them twice."""
    store = await Store.open(short_folder / "store.sqlite3", clock=FixedClock(), reserve=0)
    replies: list[tuple[str, str]] = []

    async def deliver(listener: Listener, number: int) -> None:
        client = await Client.to(listener)
        text = f"Message-ID: <{number}@example.com>\r\n\r\n{number}\r\n."
        told = []
        for _ in range(2):
            await client.up_to_data([ALIAS, TEAM])
            told.append(await client.say(text))
        replies.append((told[0], told[1]))
        await client.close()

    async with listening(store) as listener:
        await asyncio.gather(*(deliver(listener, number) for number in range(20)))
    assert all(first == second for first, second in replies)
    told = {told for pair in replies for told in pair}
    ids = {one for line in told for one in line.removeprefix(_ACCEPTED).split(",")}
    kept = await store.find(state=State.RECEIVED)
    assert {delivery.id for delivery in kept} == ids
    assert len(ids) == 40
    await store.aclose()


# ── Time ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_slow_mail_may_take_longer_than_the_idle_time() -> None:
    """A mail that comes in slowly but steadily is not cut."""

    async def story(loop: HeldLoop) -> None:
        spool = MemorySpool()
        async with listening(spool) as listener:
            client = await Client.to(listener)
            await client.up_to_data()
            for _ in range(3):
                before = listener.memory_held
                client.writer.write(b"line\r\n")
                await until(partial(_more_held, listener, before))
                loop.let_pass(3 * 60)
            client.writer.write(b".\r\n")
            assert (await client.line()).startswith("250 2.0.0 ")
            assert [kept.content for kept in spool.kept] == [b"line\r\n" * 3]
            await client.close()

    run_held(story)


def test_a_mail_that_drips_is_cut_in_the_end() -> None:
    """A client that sends an octet now and then, to hold its place, is cut after ten minutes."""

    async def story(loop: HeldLoop) -> None:
        spool = MemorySpool()
        async with listening(spool) as listener:
            client = await Client.to(listener)
            await client.up_to_data()
            for _ in range(3):
                before = listener.memory_held
                client.writer.write(b"x")
                await until(partial(_more_held, listener, before))
                loop.let_pass(4 * 60)
            assert await client.line() == "421 4.4.2 Timeout"
            await until(lambda: listener.connections == 0)
            assert listener.memory_held == 0
            assert spool.kept == []
            await client.close()

    run_held(story)


def _more_held(listener: Listener, before: int) -> bool:
    return listener.memory_held > before


def test_a_client_that_never_reads_is_cut() -> None:
    """Answers that nobody reads end the connection, and hold no more than their buffer."""

    async def story(loop: HeldLoop) -> None:
        limits = IntakeLimits(commands=10**9)
        async with listening(MemorySpool(), limits=limits) as listener:
            bound = listener.addresses[0]
            deaf = socket.socket()
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect((bound.host, bound.port))
            deaf.setblocking(False)
            await until(lambda: listener.connections == 1)
            turns_without_room = 0
            while turns_without_room < 1000:  # then the buffers of both sides are full
                turns_without_room = 0 if _sent(deaf) else turns_without_room + 1
                await asyncio.sleep(0)
            loop.let_pass(6 * 60)
            await asyncio.sleep(0)
            loop.let_pass(60)
            await until(lambda: listener.connections == 0)
            deaf.close()

    run_held(story)


def _sent(client: socket.socket) -> int:
    """Send what the system takes; return how much that was."""
    try:
        return client.send(b"EHLO a\r\n" * 10_000)
    except BlockingIOError:
        return 0


# ── Stopping ─────────────────────────────────────────────────────────────────────────────────────


async def test_stopping_waits_for_a_commit() -> None:
    """A mail that is being committed when the stop comes gets its 250 before its 421."""
    spool = MemorySpool()
    spool.opened.clear()
    async with listening(spool) as listener:
        client = await Client.to(listener)
        await client.up_to_data()
        client.writer.write(MAIL + b".\r\n")
        await spool.begun.wait()
        drained = asyncio.create_task(listener.drain(30))
        await asyncio.sleep(0)
        spool.opened.set()
        assert (await client.line()).startswith("250 2.0.0 ")
        assert await client.line() == "421 4.3.2 Stopping, come again"
        assert await client.line() == ""
        await drained
        assert listener.connections == 0
        await client.close()


def test_stopping_does_not_wait_for_ever() -> None:
    """A client in the middle of a mail that says nothing more is cut when the time is over."""

    async def story(loop: HeldLoop) -> None:
        async with listening(MemorySpool()) as listener:
            client = await Client.to(listener)
            await client.up_to_data()
            drained = asyncio.create_task(listener.drain(30))
            await asyncio.sleep(0)
            assert not drained.done()
            loop.let_pass(31)
            await drained
            await until(lambda: listener.connections == 0)
            client.writer.close()

    run_held(story)


async def test_after_a_stop_nobody_comes_in() -> None:
    """The doors are closed first."""
    async with listening(MemorySpool()) as listener:
        bound = listener.addresses[0]
        await listener.drain(5)
        assert listener.addresses == ()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(bound.host, bound.port)


async def test_abort_cuts_everybody() -> None:
    """The second signal leaves at once."""
    async with listening(MemorySpool()) as listener:
        client = await Client.to(listener)
        listener.abort()
        with contextlib.suppress(ConnectionError):  # a reset is as good as a close
            assert await client.line() == ""
        await until(lambda: listener.connections == 0)
        client.writer.close()


# ── Doors ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Make a folder whose name is short enough for a unix socket."""
    with tempfile.TemporaryDirectory(prefix="sb", dir="/tmp") as folder:
        yield Path(folder)


async def test_a_unix_socket_is_for_owner_and_group_only(short_folder: Path) -> None:
    """The socket has mode 0660 whatever the umask, and goes when the listener stops."""
    path = short_folder / "smtp"
    before = os.umask(0o077)
    try:
        async with listening(MemorySpool(), Endpoint(MailProtocol.SMTP, path=str(path))):
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
    finally:
        os.umask(before)
    assert not path.exists()


async def test_a_socket_of_a_dead_process_is_replaced(short_folder: Path) -> None:
    """After a crash the daemon starts again without help."""
    path = short_folder / "smtp"
    dead = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    dead.bind(str(path))
    dead.close()
    async with listening(MemorySpool(), Endpoint(MailProtocol.SMTP, path=str(path))) as listener:
        client = await Client.to(listener)
        assert await client.say("NOOP") == "250 2.0.0 Ok"
        await client.close()


async def test_a_socket_at_which_somebody_listens_is_left_alone(short_folder: Path) -> None:
    """A second daemon does not take the first one's place, and does not remove its socket."""
    endpoint = Endpoint(MailProtocol.SMTP, path=str(short_folder / "smtp"))
    async with listening(MemorySpool(), endpoint) as first:
        second = Listener(MemorySpool(), [ALIAS], hostname="mx.example.org", clock=FixedClock())
        with pytest.raises(OSError, match="somebody listens") as refused:
            await second.start([endpoint])
        assert refused.value.errno == errno.EADDRINUSE
        client = await Client.to(first)
        await client.close()


async def test_a_file_that_is_no_socket_is_left_alone(short_folder: Path) -> None:
    """A path that was mistyped costs nobody a file, nor where a link points to one."""
    precious = short_folder / "precious"
    precious.write_text("text")
    link = short_folder / "link"
    link.symlink_to(precious)
    for path in (precious, link):
        listener = Listener(MemorySpool(), [ALIAS], hostname="mx.example.org", clock=FixedClock())
        with pytest.raises(FileExistsError):
            await listener.start([Endpoint(MailProtocol.SMTP, path=str(path))])
    assert precious.read_text() == "text"


async def test_a_socket_that_another_put_there_meanwhile_is_left_alone(short_folder: Path) -> None:
    """At the stop we remove our own socket only."""
    path = short_folder / "smtp"
    async with listening(MemorySpool(), Endpoint(MailProtocol.SMTP, path=str(path))):
        path.unlink()
        path.write_text("something else")
    assert path.read_text() == "something else"


async def test_all_doors_open_or_none() -> None:
    """When one endpoint cannot be had, none stays open."""
    taken = socket.create_server(("127.0.0.1", 0))
    busy = Endpoint(MailProtocol.SMTP, "127.0.0.1", taken.getsockname()[1])
    listener = Listener(MemorySpool(), [ALIAS], hostname="mx.example.org", clock=FixedClock())
    with pytest.raises(OSError, match="address already in use"):
        await listener.start([LOCAL, busy])
    assert listener.addresses == ()
    taken.close()


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
async def test_an_inherited_socket_is_served_and_its_file_stays(
    family: socket.AddressFamily, short_folder: Path
) -> None:
    """A socket that systemd opened is taken as it is; its file is systemd's to remove."""
    parent = socket.socket(family, socket.SOCK_STREAM)
    parent.bind(str(short_folder / "smtp") if family == socket.AF_UNIX else ("127.0.0.1", 0))
    parent.listen()
    endpoint = Endpoint(MailProtocol.SMTP, fd=os.dup(parent.fileno()))
    async with listening(MemorySpool(), endpoint) as listener:
        client = await Client.to(listener)
        assert await client.say("NOOP") == "250 2.0.0 Ok"
        await client.close()
    if family == socket.AF_UNIX:
        assert (short_folder / "smtp").is_socket()
    parent.close()


async def test_a_descriptor_that_is_no_listening_socket_is_refused() -> None:
    """A descriptor that is something else is neither served nor closed."""
    connected, other = socket.socketpair()
    listener = Listener(MemorySpool(), [ALIAS], hostname="mx.example.org", clock=FixedClock())
    with pytest.raises(OSError, match="no listening stream socket"):
        await listener.start([Endpoint(MailProtocol.SMTP, fd=connected.fileno())])
    other.send(b"x")
    assert connected.recv(1) == b"x"
    connected.close()
    other.close()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"host": "127.0.0.1", "port": 25}, "port 25"),
        ({"host": "127.0.0.1", "path": "/run/x"}, "or a path"),
        ({}, "or a path"),
    ],
)
def test_an_endpoint_is_one_thing(options: dict[str, Any], reason: str) -> None:
    """An endpoint that is two things or none is refused, and so is LMTP on port 25 (RFC 2033)."""
    with pytest.raises(ValueError, match=reason):
        Endpoint(MailProtocol.LMTP, **options)


def test_endpoints_are_told_as_people_write_them() -> None:
    """The log names the doors."""
    names = [
        str(Endpoint(MailProtocol.SMTP, "127.0.0.1", 25)),
        str(Endpoint(MailProtocol.LMTP, "::1", 24)),
        str(Endpoint(MailProtocol.LMTP, path="/run/secbridge/lmtp")),
        str(Endpoint(MailProtocol.SMTP, fd=3)),
    ]
    assert names == [
        "smtp://127.0.0.1:25",
        "lmtp://[::1]:24",
        "lmtp+unix:/run/secbridge/lmtp",
        "smtp+fd:3",
    ]


async def test_a_mapped_address_is_the_address_behind_it() -> None:
    """An IPv4 client on a dual-stack socket is judged by its IPv4 address."""
    spool = MemorySpool()
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as dual:
        endpoint = Endpoint(MailProtocol.SMTP, fd=os.dup(dual.fileno()))
        async with listening(spool, endpoint):
            reader, writer = await asyncio.open_connection("127.0.0.1", dual.getsockname()[1])
            assert (await reader.readline()).startswith(b"220 ")
            writer.close()


# ── Logs ─────────────────────────────────────────────────────────────────────────────────────────


async def test_nothing_of_a_mail_or_an_address_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Through accepted, refused and failed mails, no log line holds an address or content."""
    caplog.set_level(logging.DEBUG)
    spool = MemorySpool()
    with capture_logs() as events:
        async with listening(spool) as listener:
            client = await Client.to(listener)
            await client.up_to_data()
            assert (await client.say(MAIL.decode() + ".")).startswith("250")
            await client.say("RCPT TO:<canary-recipient@example.org>")
            await client.say("CANARY-COMMAND")
            await client.say("RSET")
            spool.fault = RuntimeError("canary-detail")
            await client.up_to_data()
            assert (await client.say(MAIL.decode() + ".")).startswith("451")
            await client.quit(listener)
    told = caplog.text + repr(events)
    for word in ("canary", "CANARY", "alice", "example.com", ALIAS):
        assert word not in told, word
    assert [e["event"] for e in events] == [
        "delivery.accepted",
        "intake.refused",
        "intake.refused",
        "fault",
        "intake.refused",
    ]
    assert events[3] == {
        "event": "fault",
        "log_level": "error",
        "alarm": True,
        "where": "intake",
        "kind": "RuntimeError",
    }
    assert events[0]["deliveries"] == ["D00001"]
    assert events[0]["size"] == len(MAIL)


async def test_a_refusal_is_logged_with_its_status_and_reason() -> None:
    """An operator sees why a client was sent away, and from where it came."""
    spool = MemorySpool()
    spool.fault = StoreBusy("disk-full", "no words of ours", status="4.3.1")
    with capture_logs() as events:
        async with listening(spool) as listener:
            client = await Client.to(listener)
            await client.up_to_data()
            assert await client.say("x\r\n.") == "452 4.3.1 No storage at the moment"
            await client.quit(listener)
    assert events == [
        {
            "event": "intake.refused",
            "log_level": "info",
            "status": "452 4.3.1",
            "reason": "disk-full",
            "peer": "127.0.0.1",
        }
    ]


class StoppedClock:
    """A clock that fails, as a thing of ours that may fail at any place does."""

    def now(self) -> datetime:
        """Raise."""
        raise OverflowError("canary-detail")


async def test_a_fault_behind_the_final_dot_is_told_for_each_recipient() -> None:
    """Whatever fails before the commit, LMTP answers for everybody, and nothing stays reserved."""
    listener = Listener(
        MemorySpool(), [ALIAS, TEAM], hostname="mx.example.org", clock=StoppedClock()
    )
    await listener.start([Endpoint(MailProtocol.LMTP, "127.0.0.1")])
    client = await Client.to(listener)
    await client.up_to_data([ALIAS, TEAM], hello="LHLO")
    assert await client.say("x\r\n.") == "451 4.3.0 Try again later"
    assert await client.line() == "451 4.3.0 Try again later"
    assert await client.say("NOOP") == "250 2.0.0 Ok"
    assert listener.memory_held == 0
    await client.quit(listener)
    await listener.drain(5)


# ── Limits ───────────────────────────────────────────────────────────────────────────────────────


async def test_memory_comes_back_after_every_ending() -> None:
    """Accepted, refused, too large or broken off: nothing stays reserved, nobody stays counted."""
    spool = MemorySpool()
    limits = IntakeLimits(message_size=1000, memory=4000, connections=3)
    async with listening(spool, limits=limits) as listener:
        for ending in (b"x\r\n.\r\n", b"x" * 3000 + b"\r\n.\r\n", b"half a mail"):
            for fault in (None, StoreBusy("store-busy", "busy")):
                spool.fault = fault
                client = await Client.to(listener)
                await client.up_to_data()
                client.writer.write(ending)
                if ending.endswith(b".\r\n"):
                    await client.line()
                await client.close()
                await until(lambda: listener.connections == 0)
                assert listener.memory_held == 0
    assert len(spool.kept) == 1


@pytest.mark.parametrize(
    "limits",
    [{"message_size": 10, "memory": 9}, {"connections": 0}, {"recipients": 0}, {"commands": 0}],
)
def test_limits_that_refuse_everybody_are_refused(limits: dict[str, Any]) -> None:
    """A limit that no mail could pass is a mistake of the configuration."""
    with pytest.raises(ValueError, match=r"limit|memory"):
        IntakeLimits(**limits)


def test_tls_cannot_be_required_without_a_certificate() -> None:
    """Nobody could ever deliver."""
    with pytest.raises(ValueError, match="certificate"):
        Listener(
            MemorySpool(), [ALIAS], hostname="mx.example.org", clock=FixedClock(), require_tls=True
        )


async def test_a_large_mail_is_held_once() -> None:
    """While a mail of 40 MiB waits for its commit, its octets are in memory once, not twice.

    What is above once is the client of this test, which lives in the same process.
    """
    spool = MemorySpool()
    spool.opened.clear()
    async with listening(spool) as listener:
        client = await Client.to(listener)
        await client.up_to_data()
        block = (b"y" * 78 + b"\r\n") * 13_107
        before = _resident()
        for _ in range(40):
            client.writer.write(block)
            await client.writer.drain()
        client.writer.write(b".\r\n")
        await spool.begun.wait()
        grown = _resident() - before
        spool.opened.set()
        assert (await client.line()).startswith("250 2.0.0 ")
        await client.close()
    assert grown < 1.95 * 40 * len(block)


def _resident() -> int:
    """Return the resident memory of this process in octets."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
