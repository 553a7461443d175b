"""A mail is opened in a process that can be killed, and nothing that happens to it is a loss."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.support.apart import (
    Remembering,
    an_opener,
    children_of,
    command_of,
    fork_server,
    kill,
    runs,
)
from tests.support.hostile import specimens
from tests.support.keys import REPORTER, Keys, Ring
from tests.support.mails import crlf, encrypted, entity, file, header, mail, multipart, signed, text
from tests.support.opening import told, verdicts

from secbridge.errors import Deferral
from secbridge.mail.text import decode
from secbridge.model.message import OpenFailure, Protection
from secbridge.model.part import OpeningLimits
from secbridge.openpgp import GnuPG
from secbridge.pipeline import opener_child, opener_crew
from secbridge.pipeline.opening import InProcessOpener, too_complex
from secbridge.ports import CannotOpen, Decrypted

PLAIN = mail(text("A few words.\n"))
PATIENCE = 90.0
ENDLESS = OpeningLimits(max_parts=10_000_000)
"""Limits under which a mail of many parts is work for a long time."""


@pytest.fixture
async def gpg(role_ring: Ring, keys: Keys) -> AsyncIterator[Remembering]:
    """Return a real gpg that knows the role key and the reporter's certificate."""
    role_ring.take(keys.reporter_cert)
    made = Remembering(role_ring.home)
    yield made
    await made.aclose()


@pytest.fixture
def ciphertext(keys: Keys) -> bytes:
    """Return an encrypted and signed mail."""
    armored = keys.reporter.encrypt(text("Words.\n"), keys.role_fpr, sign=keys.reporter_fpr)
    return mail(encrypted(armored))


def burning(parts: int = 1_000_000) -> bytes:
    """Return a mail whose parts take long to count."""
    return header() + b'Content-Type: multipart/mixed; boundary="b"\n\n' + b"--b\n\nx\n" * parts


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds that only the kernel knows."""
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - nobody tells us of a process that is not our child
            await asyncio.sleep(0.005)


# ── It makes no difference ───────────────────────────────────────────────────────────────────────


def shapes(keys: Keys) -> Iterator[tuple[str, bytes]]:
    """Yield mails of every shape that the OpenPGP room is asked about."""
    inner = text("Words.\n")
    armored = keys.reporter.encrypt(inner, keys.role_fpr, sign=keys.reporter_fpr)
    signature = keys.reporter.sign_detached(inner, keys.reporter_fpr)
    stranger = keys.stranger.sign_detached(inner, keys.stranger_fpr)
    yield "plain", PLAIN
    yield "nothing", b""
    yield "bare CR", b"Subject: x\r\rbody\r"
    yield "encrypted", mail(encrypted(armored))
    yield (
        "encrypted twice",
        mail(encrypted(keys.reporter.encrypt(encrypted(armored), keys.role_fpr))),
    )
    yield "signed", mail(signed(inner, signature))
    yield "signed by nobody we know", mail(signed(inner, stranger))
    yield "inline", mail(text(armored.decode()))
    yield "clear-signed", mail(text(keys.reporter.clearsign(b"x\n", keys.reporter_fpr).decode()))
    yield "opaque", mail(file(keys.reporter.sign(b"x\n", keys.reporter_fpr), "a.gpg"))
    yield "quoted", mail(text("> " + armored.decode().replace("\n", "\n> ")))
    yield "attached", mail(multipart("mixed", [inner, file(armored, "a.txt")]))
    yield "forwarded", mail(entity("message/rfc822", mail(signed(inner, signature))))
    yield (
        "to somebody else",
        mail(encrypted(keys.stranger.encrypt(inner, keys.stranger_fpr)), extra="List-Id: <a>\n"),
    )
    yield (
        "with a key",
        mail(multipart("mixed", [signed(inner, signature), file(keys.reporter_cert, "key.asc")])),
    )


async def test_every_mail_is_the_same_message_as_without_a_process(
    gpg: Remembering, keys: Keys
) -> None:
    """All shapes and all hostile mails: the very same Message comes out."""
    limits = OpeningLimits(max_ciphertexts=4, max_signatures=4)
    here = InProcessOpener(gpg, limits)  # type: ignore[arg-type] # the part that opening needs
    mails = dict(shapes(keys))
    mails |= {one.name: one.content for one in specimens(keys)}
    async with an_opener(gpg, limits=limits, processes=2) as opener:
        for name, raw in mails.items():
            assert (name, await here.open(raw)) == (name, await opener.open(raw))


CHARSETS = (
    "big5", "cp037", "cp1251", "cp949", "euc-jp", "euc-kr", "gb18030", "gb2312", "hz", "idna",
    "iso-2022-jp", "iso-2022-kr", "iso-8859-15", "iso-8859-8-i", "johab", "koi8-r", "macintosh",
    "ptcp154", "shift_jis", "tis-620", "utf-16", "utf-32", "utf-7", "windows-1252", "x-unknown",
)  # fmt: skip


async def test_every_charset_is_read_by_a_process_that_can_open_no_file(gpg: Remembering) -> None:
    """What decodes a charset is in memory before the mail comes."""
    octets = bytes(range(32, 127)) + bytes(range(160, 255))
    async with an_opener(gpg) as opener:
        for charset in CHARSETS:
            raw = crlf(f"Content-Type: text/plain; charset={charset}\n\n") + octets
            expected, guessed = decode(octets, charset)
            message = await opener.open(raw)
            assert (charset, message.text) == (charset, expected.replace("\r\n", "\n"))
            assert (charset, guessed) == (charset, "charset-guessed" in message.notes)


async def test_large_contents_come_out_whole(gpg: Remembering, keys: Keys) -> None:
    """Ten mebibytes, in base64 within a ciphertext, arrive octet by octet."""
    content = os.urandom(10 << 20)
    inner = multipart("mixed", [text("See.\n"), file(content, "dump.bin")])
    raw = mail(encrypted(keys.reporter.encrypt(inner, keys.role_fpr)))
    async with an_opener(gpg) as opener:
        message = await opener.open(raw)
    assert (["encrypted pgp-mime 0 ok"], [content]) == (
        told(message),
        [one.content for one in message.attachments],
    )


class _Elsewhere:
    """A mail that is kept elsewhere; counts how often it was read."""

    def __init__(self, content: bytes) -> None:
        self.reads = 0
        self._content = content

    async def read(self) -> bytes:
        self.reads += 1
        return self._content


async def test_a_large_mail_is_given_up_with_its_ciphertext(gpg: Remembering, keys: Keys) -> None:
    """Nobody holds the mail while its plaintext is read; for a second ciphertext it comes anew."""
    inner = [text("x" * (1 << 19)), text("y" * (1 << 19))]
    shut = [encrypted(keys.reporter.encrypt(one, keys.role_fpr)) for one in inner]
    one, two = _Elsewhere(mail(shut[0])), _Elsewhere(mail(multipart("mixed", shut)))
    async with an_opener(gpg) as opener:
        layers = [told(await opener.open(raw)) for raw in (one, two)]
    assert [["encrypted pgp-mime 0 ok"], ["encrypted pgp-mime 0 ok"] * 2] == layers
    assert (1, 2) == (one.reads, two.reads)


async def test_a_large_mail_that_brings_its_signer_s_key_is_read_twice(
    role_ring: Ring, keys: Keys
) -> None:
    """Its process gave it up, is given it once more, and finds the signature good."""
    inner = multipart("mixed", [text("x" * (3 << 20)), file(keys.reporter_cert, "key.asc")])
    armored = keys.reporter.encrypt(inner, keys.role_fpr, sign=keys.reporter_fpr)
    kept, gpg = _Elsewhere(mail(encrypted(armored))), GnuPG(role_ring.home)
    async with an_opener(gpg) as opener:
        message = await opener.open(kept)
    here = InProcessOpener(gpg, OpeningLimits())
    assert (message, 2) == (await here.open(kept), kept.reads - 1)
    assert ["good whole sender"] == verdicts(message)
    await gpg.aclose()


# ── Time and memory ──────────────────────────────────────────────────────────────────────────────


async def test_a_mail_that_takes_too_long_is_too_complex(gpg: Remembering) -> None:
    """Its process is killed once and not tried again; what its header says is kept."""
    raw = burning()
    async with an_opener(gpg, limits=ENDLESS, max_time=timedelta(seconds=1)) as opener:
        with capture_logs() as log:
            message = await opener.open(raw)
        assert message == too_complex(raw, ENDLESS)
        assert ("too-complex", REPORTER, "<one@example.net>") == (
            message.error,
            message.author,
            message.headers.message_id,
        )
        deaths = [line for line in log if line["event"] == "opener.died"]
        assert [("time", len(raw), False)] == [
            (one["why"], one["size"], one["alarm"]) for one in deaths
        ]
        assert "A few words.\n" == (await opener.open(PLAIN)).text


async def test_a_mail_that_takes_too_much_memory_is_too_complex(gpg: Remembering) -> None:
    """The kernel refuses the memory, the process says so, and the next mail finds another one."""
    raw = burning(parts=100_000)
    async with an_opener(gpg, limits=ENDLESS, max_memory=48 << 20) as opener:
        with capture_logs() as log:
            message = await opener.open(raw)
        assert ("too-complex", "") == (message.error, message.text)
        deaths = [line for line in log if line["event"] == "opener.died"]
        assert ["memory"] == [one["why"] for one in deaths]
        assert "A few words.\n" == (await opener.open(PLAIN)).text


class Slow:
    """A gpg that takes its time for a ciphertext, and opens none."""

    async def decrypt(self, _: bytes, *, limit: int) -> CannotOpen:
        """Wait longer than a mail may take."""
        assert limit > 0
        await asyncio.sleep(1.0)
        return CannotOpen(OpenFailure.NO_SECRET_KEY)


async def test_the_time_that_gpg_takes_is_not_the_mail_s(ciphertext: bytes) -> None:
    """A slow smart card makes no mail too complex."""
    async with an_opener(Slow(), max_time=timedelta(seconds=0.9)) as opener:
        await opener.warm()
        message = await opener.open(ciphertext)
    assert (None, OpenFailure.NO_SECRET_KEY) == (message.error, message.decryption.reason)


# ── Deaths ───────────────────────────────────────────────────────────────────────────────────────


class Deadly:
    """A gpg during whose first calls somebody kills all that open mails."""

    def __init__(self, gpg: Remembering, kills: int, victims: Callable[[], list[int]]) -> None:
        self._gpg = gpg
        self._victims = victims
        self.kills = kills

    async def decrypt(self, ciphertext: bytes, *, limit: int) -> Decrypted | CannotOpen:
        """Decrypt, after a murder."""
        if self.kills:
            self.kills -= 1
            kill(*self._victims())
        return await self._gpg.decrypt(ciphertext, limit=limit)


def _has_fork_server() -> bool:
    """Whether it runs; in the instant before its program begins a child has our own name."""
    return any(b"opener_child" in command_of(one) for one in children_of(os.getpid()))


def _openers() -> list[int]:
    return children_of(fork_server())


def _everybody() -> list[int]:
    return [fork_server()]


@pytest.mark.parametrize("victims", [_openers, _everybody])
async def test_a_mail_whose_process_is_killed_is_opened_by_another(
    gpg: Remembering, ciphertext: bytes, victims: Callable[[], list[int]]
) -> None:
    """Once may be somebody else's fault, also when the fork server dies with it."""
    async with an_opener(Deadly(gpg, 1, victims)) as opener:
        with capture_logs() as log:
            message = await opener.open(ciphertext)
    assert (None, "Words.\n") == (message.error, message.text)
    deaths = [line for line in log if line["event"] == "opener.died"]
    assert ["died"] == [one["why"] for one in deaths]


async def test_a_mail_over_which_two_processes_die_is_too_complex(
    gpg: Remembering, ciphertext: bytes
) -> None:
    """Twice is the mail's; its thread stays encrypted, and the log asks for a person."""
    async with an_opener(Deadly(gpg, 2, _openers)) as opener:
        with capture_logs() as log:
            message = await opener.open(ciphertext)
        assert (Protection.UNDECRYPTABLE, OpenFailure.TOO_COMPLEX, "too-complex") == (
            message.protection,
            message.decryption.reason,
            message.error,
        )
        deaths = [line for line in log if line["event"] == "opener.died"]
        assert [("died", signal.SIGKILL, True)] * 2 == [
            (one["why"], one["signal"], one["alarm"]) for one in deaths
        ]
        assert "A few words.\n" == (await opener.open(PLAIN)).text


@pytest.mark.parametrize("victims", [_openers, _everybody])
async def test_processes_that_die_while_they_wait_are_nobody_s_fault(
    gpg: Remembering, victims: Callable[[], list[int]]
) -> None:
    """They are found out before they are given a mail."""
    async with an_opener(gpg, processes=2) as opener:
        await opener.warm()
        doomed = _openers()
        kill(*victims())
        await until(lambda: not any(map(runs, doomed)))
        with capture_logs() as log:
            assert "A few words.\n" == (await opener.open(PLAIN)).text
        assert [] == [line for line in log if line["event"] == "opener.died"]


class Away:
    """A gpg that is not there."""

    def __init__(self) -> None:
        self.fault = Deferral("gpg-away", "Later.", status="4.3.5", alarm=True)
        self.fault.retry_after = timedelta(seconds=7)

    async def decrypt(self, _: bytes, *, limit: int) -> Decrypted:
        """Fail."""
        assert limit > 0
        raise self.fault


async def test_a_fault_of_ours_is_no_verdict_on_the_mail(ciphertext: bytes) -> None:
    """The Deferral of a gpg call comes out as it is, and costs no second try."""
    away = Away()
    async with an_opener(away) as opener:
        with capture_logs() as log, pytest.raises(Deferral) as raised:
            await opener.open(ciphertext)
        assert raised.value is away.fault
        assert [] == [line for line in log if line["event"] == "opener.died"]
        assert "A few words.\n" == (await opener.open(PLAIN)).text


class Waiting:
    """A gpg that waits until it is told to go on."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def decrypt(self, _: bytes, *, limit: int) -> Decrypted:
        """Wait for ever."""
        assert limit > 0
        self.asked.set()
        await asyncio.Event().wait()
        raise AssertionError


async def test_work_that_is_dropped_leaves_no_process(ciphertext: bytes) -> None:
    """A worker that stops cancels what it does: the process ends with it."""
    waiting = Waiting()
    async with an_opener(waiting) as opener:
        work = asyncio.create_task(opener.open(ciphertext))
        await waiting.asked.wait()
        (busy,) = _openers()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        await until(lambda: not runs(busy))


async def test_what_is_opened_while_we_stop_waits_for_the_next_start(gpg: Remembering) -> None:
    """That its process was ended is no verdict on the mail."""
    async with an_opener(gpg, limits=ENDLESS) as opener:
        work = asyncio.create_task(opener.open(burning()))
        await until(lambda: _has_fork_server() and bool(_openers()))
        await opener.aclose()
        with pytest.raises(Deferral) as raised:
            await work
        assert "opener-stopped" == raised.value.code
        assert [] == [one for one in children_of(os.getpid()) if b"opener" in command_of(one)]


async def test_a_program_that_cannot_be_started_is_a_fault_of_ours(
    gpg: Remembering, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mail waits, with an alarm."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    async with an_opener(gpg) as opener:
        with pytest.raises(Deferral) as raised:
            await opener.open(PLAIN)
    assert ("opener-missing", True) == (raised.value.code, raised.value.alarm)


async def test_a_program_of_another_version_is_not_talked_to(
    gpg: Remembering, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an upgrade beneath a running daemon mails wait for its restart."""
    monkeypatch.setattr(opener_crew, "__version__", "0.0.0")
    async with an_opener(gpg) as opener:
        with pytest.raises(Deferral) as raised:
            await opener.open(PLAIN)
    assert "opener-other-version" == raised.value.code


# ── Whose process ────────────────────────────────────────────────────────────────────────────────


class Seen:
    """A gpg that sees who asks."""

    def __init__(self) -> None:
        self.busy: list[set[int]] = []

    async def decrypt(self, _: bytes, *, limit: int) -> CannotOpen:
        """Look who is there."""
        assert limit > 0
        self.busy.append(set(_openers()))
        await asyncio.sleep(0)
        return CannotOpen(OpenFailure.NO_SECRET_KEY)


async def test_a_mail_that_comes_later_has_another_process(
    ciphertext: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What took one over is gone when nobody has written for a while."""
    monkeypatch.setattr(opener_crew, "REST", 0.0)
    seen = Seen()
    async with an_opener(seen) as opener:
        for _ in range(3):
            await opener.open(ciphertext)
            await until(lambda: not seen.busy[-1] & set(_openers()))
    assert not set.intersection(*seen.busy)


async def test_a_large_mail_is_the_last_of_its_process(gpg: Remembering) -> None:
    """What it left in memory goes with the process."""
    async with an_opener(gpg) as opener:
        await opener.warm()
        before = set(_openers())
        await opener.open(mail(text("x" * (1 << 20))))
        await until(lambda: not before & set(_openers()))


async def test_mails_in_a_row_share_a_process_up_to_a_bound(
    ciphertext: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first sixteen are opened by one, and the rest by another one."""
    monkeypatch.setattr(opener_crew, "REST", 3600.0)
    seen = Seen()
    async with an_opener(seen) as opener:
        await opener.warm()
        await asyncio.gather(*(opener.open(ciphertext) for _ in range(20)))
    assert [seen.busy[0]] * 16 == seen.busy[:16]
    assert seen.busy[0] != seen.busy[-1]


class Together:
    """A gpg that answers when two mails have asked, and counts who opens mails meanwhile."""

    def __init__(self) -> None:
        self.openers: list[int] = []
        self._asked = asyncio.Barrier(2)

    async def decrypt(self, _: bytes, *, limit: int) -> CannotOpen:
        """Wait for the other mail."""
        assert limit > 0
        await self._asked.wait()
        self.openers.append(len(_openers()))
        return CannotOpen(OpenFailure.NO_SECRET_KEY)


async def test_one_process_waits_and_mails_that_come_at_once_have_one_each(
    ciphertext: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that waits costs memory at all times; the others are made when they are needed."""
    monkeypatch.setattr(opener_crew, "REST", 0.0)
    gpg = Together()
    async with an_opener(gpg, processes=2) as opener:
        await opener.warm()
        assert 1 == len(_openers())
        await asyncio.gather(opener.open(ciphertext), opener.open(ciphertext))
        assert 2 == gpg.openers[0]
        await until(lambda: len(_openers()) == 1)


# ── Nothing is within its reach ──────────────────────────────────────────────────────────────────


async def test_a_process_holds_one_socket_and_nothing_else(gpg: Remembering) -> None:
    """No environment, no file, no standard stream, no secret in its arguments."""
    os.environ["SECBRIDGE_CANARY"] = "Kanariengirlitz"
    try:
        async with an_opener(gpg) as opener:
            await opener.warm()
            (pid,) = _openers()
            folder = Path(f"/proc/{pid}")
            held = [str(one.readlink()) for one in (folder / "fd").iterdir()]
            environment = (folder / "environ").read_bytes()
            limits = (folder / "limits").read_text()
            status = (folder / "status").read_text()
            score = (folder / "oom_score_adj").read_text()
            arguments = command_of(pid)
    finally:
        del os.environ["SECBRIDGE_CANARY"]
    assert [True] == [one.startswith("socket:") for one in held]
    assert (b"", False) == (environment, b"gnupg" in arguments)
    lines = {line[:26].strip(): line[26:].split()[:2] for line in limits.splitlines()}
    assert [["0", "0"]] * 3 == [
        lines[name] for name in ("Max open files", "Max file size", "Max core file size")
    ]
    assert [str(512 << 20)] * 2 == lines["Max data size"]
    assert (True, "1000\n") == ("NoNewPrivs:\t1" in status, score)


PRISONER = f"""
import ctypes, os, socket, subprocess, sys
from secbridge.pipeline.opener_bounds import close_off
parent, secret, taken = os.getppid(), sys.argv[1], os.dup(1)
filtered = close_off({1 << 30})
libc = ctypes.CDLL(None, use_errno=True)
def refused(attempt):
    try:
        return attempt() == -1
    except OSError:
        return True
attempts = [
    lambda: os.open(secret, os.O_RDONLY), lambda: os.listdir("/"), lambda: os.stat(secret),
    lambda: socket.socket(), lambda: os.fork(), lambda: os.execv("/bin/true", ["true"]),
    lambda: os.kill(parent, 0), lambda: os.dup(1), lambda: os.pipe(),
    lambda: libc.ptrace(16, parent, 0, 0), lambda: os.unlink(secret),
    lambda: libc.process_vm_readv(parent, 0, 0, 0, 0, 0),
]
os.write(1, repr((filtered, [refused(one) for one in attempts])).encode())
os._exit(0)
"""


def test_a_process_that_was_taken_over_can_open_nothing(tmp_path: Path) -> None:
    """It reaches no file, no socket, no program and no other process, whoever commands it."""
    secret = tmp_path / "secret"
    secret.write_text("key")
    done = subprocess.run(
        [sys.executable, "-c", PRISONER, str(secret)], capture_output=True, text=True, check=True
    )
    filtered, refusals = eval(done.stdout)  # noqa: S307 - what we printed ourselves
    assert (True, [True] * 12) == (filtered, refusals)
    assert secret.exists()


# ── Their end ────────────────────────────────────────────────────────────────────────────────────


async def test_nothing_is_left_after_the_end(gpg: Remembering) -> None:
    """Neither the fork server nor a process of it."""
    async with an_opener(gpg, processes=2) as opener:
        await opener.warm()
        await opener.open(PLAIN)
        server = fork_server()
        made = children_of(server)
    assert ([], False) == ([one for one in made if runs(one)], runs(server))


async def test_a_process_may_come_to_its_rest_while_all_end(
    gpg: Remembering, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop just after a mail ends in order, whichever of the two ends the process."""
    monkeypatch.setattr(opener_crew, "REST", 0.0)
    async with an_opener(gpg, processes=2) as opener:
        await opener.warm()
        server = fork_server()
        made = children_of(server)
        await opener.open(PLAIN)
    assert ([], False) == ([one for one in made if runs(one)], runs(server))


ORPHANS = """
import asyncio
from datetime import timedelta
from secbridge.model.part import OpeningLimits
from secbridge.pipeline.opener import ProcessOpener
from tests.integration.test_opener import burning
from tests.support.apart import children_of, fork_server

async def main():
    limits = OpeningLimits(max_parts=10_000_000)
    opener = ProcessOpener(None, limits=limits, processes=2, max_time=timedelta(seconds=60))
    await opener.warm()
    work = asyncio.create_task(opener.open(burning()))
    await asyncio.sleep(0)
    print("pids", fork_server(), *children_of(fork_server()), flush=True)
    await work

asyncio.run(main())
"""


async def test_nothing_outlives_a_daemon_that_is_killed() -> None:
    """SIGKILL leaves us no time to tidy up: the kernel does it, in the middle of a mail."""
    daemon = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ORPHANS, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert daemon.stdout is not None
    line = b""
    while not line.startswith(b"pids "):
        line = await daemon.stdout.readline()
    left = [int(word) for word in line.split()[1:]]
    assert [True] * 2 == [runs(pid) for pid in left]
    daemon.kill()
    await daemon.wait()
    await until(lambda: not any(map(runs, left)))


FORK_SERVER = "from secbridge.pipeline.opener_child import main; main()"


def test_a_process_does_not_stop_at_the_signals_of_a_terminal() -> None:
    """Ctrl-C goes to all of them: what is being opened is finished, or ended by us."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server = subprocess.Popen(
        [sys.executable, "-c", FORK_SERVER, "1", str(os.getpid())],
        stdin=theirs.fileno(),
        env={},
    )
    theirs.close()
    with ours:
        ours.recv(100)
        server.send_signal(signal.SIGINT)
        server.send_signal(signal.SIGTERM)
        ours.send(opener_child.ORDER.pack(opener_child.END, 1))
        assert opener_child.REPLY.pack(-1) == ours.recv(100)
    assert 0 == server.wait(PATIENCE)
