"""What stands around the daemon that is measured?  Throw-away keys, mails, a configuration."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from bench.wire import PATIENCE, BenchError
from secbridge.openpgp.home import stop_daemons
from secbridge.openpgp.keygen import make_key

ALIAS = "security@example.org"
REPORTER = "reporter@example.net"
CORES = os.cpu_count() or 1
GPG = ("gpg", "--batch", "--quiet", "--no-tty", "--trust-model", "always", "--homedir")

_WORDS = ("overflow", "header", "parser", "request", "length", "token", "session", "buffer")
_STARTED = b'"daemon.started"'


@dataclass(frozen=True, slots=True)
class Scene:
    """A temporary directory with two key rings: the team's, which the daemon uses, and Rita's."""

    folder: Path
    role_key: str
    reporter_key: str

    @property
    def team(self) -> Path:
        """The key ring with the role key and the reporter's certificate."""
        return self.folder / "team"

    @property
    def reporter(self) -> Path:
        """The key ring of the reporter."""
        return self.folder / "rita"

    def gpg(self, home: Path, *args: str, stdin: bytes = b"") -> bytes:
        """Run gpg and return what it writes."""
        done = subprocess.run(
            [*GPG, str(home), *args],
            input=stdin,
            capture_output=True,
            check=False,
            timeout=PATIENCE,
        )
        if done.returncode != 0:
            raise BenchError(f"gpg {args[0]} ended with {done.returncode}")
        return done.stdout

    def encrypted(self, inner: bytes) -> bytes:
        """Return an armored message from the reporter, encrypted to the alias and signed."""
        to, by = ("--recipient", self.role_key), ("--local-user", self.reporter_key)
        return self.gpg(self.reporter, *to, *by, "--armor", "--sign", "--encrypt", stdin=inner)

    def mails(self, count: int) -> list[Mail]:
        """Prepare distinct mails of 2 kB, encrypted and signed (RFC 3156 section 6.2)."""
        with ThreadPoolExecutor(CORES) as pool:
            return list(pool.map(self._mail, range(count)))

    def _mail(self, _number: int) -> Mail:
        text = " ".join(random.choices(_WORDS, k=60)) + "\r\n"  # noqa: S311 - filler, no secret
        inner = f"Content-Type: text/plain; charset=utf-8\r\n\r\n{text}{_filler(450)}".encode()
        return mail_of(self.encrypted(inner))

    def large_mail(self, size: int) -> Mail:
        """Prepare a mail with an attachment of random octets, as mail programs make it."""
        attachment = base64.encodebytes(os.urandom(size)).replace(b"\n", b"\r\n")
        inner = b"\r\n".join([
            b'Content-Type: multipart/mixed; boundary="mixed"', b"",
            b"--mixed", b"Content-Type: text/plain", b"", b"The proof is attached.",
            b"--mixed", b'Content-Type: application/octet-stream; name="proof.bin"',
            b"Content-Disposition: attachment; filename=proof.bin",
            b"Content-Transfer-Encoding: base64", b"", attachment + b"--mixed--", b"",
        ])  # fmt: skip
        return mail_of(self.encrypted(inner))

    def bomb(self, size: int) -> Mail:
        """Prepare a mail whose ciphertext is so many zeros, compressed by gpg."""
        args = [*GPG, str(self.reporter), "--recipient", self.role_key, "--armor", "--encrypt"]
        with subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as gpg:
            feeder = ThreadPoolExecutor(1).submit(_feed_zeros, gpg, size)
            armor = gpg.stdout.read() if gpg.stdout is not None else b""
            feeder.result()
        return mail_of(armor)


def _feed_zeros(gpg: subprocess.Popen[bytes], size: int) -> None:
    if gpg.stdin is None:
        return
    block = bytes(1 << 20)
    for _ in range(size >> 20):
        gpg.stdin.write(block)
    gpg.stdin.close()


@dataclass(frozen=True, slots=True, repr=False)
class Mail:
    """A prepared mail, and its ciphertext alone for the floor."""

    content: bytes
    armor: bytes


def mail_of(armor: bytes) -> Mail:
    """Put an armored message into a PGP/MIME mail (RFC 3156 section 4)."""
    armor = armor.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    head = headers("Subject: ...\r\n") + (
        'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted";\r\n'
        ' boundary="enc"\r\n\r\n'
        "--enc\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n\r\n"
        "--enc\r\nContent-Type: application/octet-stream\r\n\r\n"
    )
    return Mail(head.encode() + armor + b"\r\n--enc--\r\n", armor)


def plain_mails(count: int) -> list[bytes]:
    """Return distinct mails of 2 kB in clear, for measures that open nothing."""
    return [(headers("Subject: hello\r\n") + "\r\n" + _filler(1250)).encode() for _ in range(count)]


def headers(more: str) -> str:
    """Return header fields with a Message-ID of their own."""
    return (
        f"From: Rita Reporter <{REPORTER}>\r\nTo: {ALIAS}\r\n{more}"
        "Date: Mon, 01 Jun 2026 10:00:00 +0000\r\n"
        f"Message-ID: <{random.getrandbits(96):x}@example.net>\r\nMIME-Version: 1.0\r\n"
    )


def _filler(octets: int) -> str:
    return base64.encodebytes(os.urandom(octets)).decode().replace("\n", "\r\n")


@contextlib.contextmanager
def a_scene() -> Iterator[Scene]:
    """Make keys in a temporary directory, and take everything away at the end."""
    folder = Path(tempfile.mkdtemp(prefix="sbbench-"))  # short: agents' sockets lie in it
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        for name in ("team", "rita"):
            (folder / name).mkdir(mode=0o700)
            stack.callback(stop_daemons, folder / name)
        role_key = make_key(folder / "team", f"Example Security <{ALIAS}>")
        reporter_key = make_key(folder / "rita", f"Rita Reporter <{REPORTER}>")
        scene = Scene(folder, role_key, reporter_key)
        for source, target in ((scene.team, scene.reporter), (scene.reporter, scene.team)):
            scene.gpg(target, "--import", stdin=scene.gpg(source, "--export"))
        yield scene


# ── The daemon ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Running:
    """A daemon in a process of its own.  ``start_seconds``: from exec to taking mail."""

    pid: int
    port: int
    start_seconds: float
    state: Path


@contextlib.asynccontextmanager
async def a_daemon(
    scene: Scene, sink_port: int, command: Sequence[str] = ("run",)
) -> AsyncIterator[Running]:
    """Run the real daemon, with default settings but for budgets, until the block ends."""
    state = Path(tempfile.mkdtemp(prefix="d", dir=scene.folder))
    config = state / "secbridge.toml"
    config.write_text(
        _CONFIG.format(state=state, home=scene.team, key=scene.role_key, port=sink_port)
    )
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    began = perf_counter()
    with (state / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "secbridge", *command, "--config", str(config),
            stdout=log, env=environment,
        )  # fmt: skip
    try:
        started = await _started(process, state / "log")
        yield Running(
            process.pid,
            int(str(started["listeners"][0]).rpartition(":")[2]),
            perf_counter() - began,
            state,
        )
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
        shutil.rmtree(state, ignore_errors=True)


async def _started(process: asyncio.subprocess.Process, log: Path) -> dict[str, list[str]]:
    """Wait until the log says that mail is taken."""
    end = perf_counter() + PATIENCE
    while perf_counter() < end and process.returncode is None:
        lines = log.read_bytes().splitlines()  # noqa: ASYNC240 - nothing else runs yet
        line = next((one for one in lines if _STARTED in one), None)
        if line is not None:
            told: dict[str, list[str]] = json.loads(line)
            return told
        await asyncio.sleep(0.005)
    raise BenchError("the daemon did not start")


_CONFIG = """[daemon]
state_dir = "{state}"
log_format = "json"

[answers]
per_sender = 1000000
total = 1000000

[intake]
hostname = "mail.example.org"
smtp = ["127.0.0.1:0"]
lmtp = []

[openpgp]
home = "{home}"

[submission]
host = "127.0.0.1"
port = {port}

[[alias]]
address = "security@example.org"
name = "Example Security"
role_keys = ["{key}"]
assignees = ["alex"]
"""
