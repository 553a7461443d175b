"""What does the demo need around the real daemon?  Throw-away keys, a relay, and a place to stand.

Everything lives in one temporary directory and on free loopback ports, and is gone at the end.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid
from pathlib import Path
from typing import Any

import aiosmtplib
from aiosmtpd import smtp

from secbridge.house import SystemClock
from secbridge.openpgp.gnupg import GnuPG
from secbridge.openpgp.home import stop_daemons
from secbridge.openpgp.keygen import make_key

ALIAS = "security@example.org"
REPORTER = "alice@example.net"
PATIENCE = 60.0
"""Seconds that the demo waits for any one thing before it says that it did not happen."""


class DemoError(Exception):
    """Something that the demo shows did not hold; the text says what."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """A mail that our relay took from the daemon."""

    recipient: str
    content: bytes


@dataclass
class Relay:
    """A relay that keeps what it is given: in memory, and as files for a look afterwards.

    Without slots: aiosmtpd looks through its handler's members, and inspect stumbles over slots on
    Python 3.11.2.
    """

    folder: Path
    mails: list[Delivered] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name and shape
        """Keep the mail."""
        for recipient in envelope.rcpt_tos:
            self.mails.append(Delivered(recipient, envelope.content))
            name = f"{len(self.mails):02}-{recipient.partition('@')[0]}.eml"
            (self.folder / name).write_bytes(envelope.content)
        self.arrived.set()
        return "250 2.0.0 Ok"

    async def take(self, recipient: str) -> bytes:
        """Wait for the next mail to ``recipient`` and take it."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not (waiting := [it for it in self.mails if it.recipient == recipient]):
                    self.arrived.clear()
                    await self.arrived.wait()
        except TimeoutError:
            raise DemoError(f"no mail to {recipient} came out in time") from None
        self.mails.remove(waiting[0])
        return waiting[0].content


@dataclass(slots=True)
class Daemon:
    """The real daemon in a process of its own; we follow its log."""

    process: asyncio.subprocess.Process
    events: list[dict[str, Any]] = field(default_factory=list)
    told: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def follow(self) -> None:
        """Read the log, one JSON object a line, until the daemon ends."""
        if self.process.stdout is None:
            return
        async for line in self.process.stdout:
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                async with self.told:
                    self.events.append(event)
                    self.told.notify_all()
        async with self.told:
            self.events.append({"event": "daemon.gone"})
            self.told.notify_all()

    async def tells(self, event: str, **facts: str) -> dict[str, Any]:
        """Wait until the log tells an event with these facts, and return it."""

        def wanted() -> dict[str, Any] | None:
            for told in self.events:
                if told.get("event") == event and facts.items() <= told.items():
                    return told
                if told.get("event") == "daemon.gone":
                    raise DemoError("the daemon ended before its time")
            return None

        try:
            async with asyncio.timeout(PATIENCE), self.told:
                await self.told.wait_for(wanted)
        except TimeoutError:
            raise DemoError(f"the daemon did not tell {event} in time") from None
        found = wanted()
        if found is None:
            raise DemoError(f"the daemon did not tell {event}")
        return found


@dataclass(slots=True)
class Stage:
    """Everything that stands around the daemon while the demo plays."""

    folder: Path
    config: Path
    port: int
    daemon: Daemon
    relay: Relay
    team: GnuPG
    reporter: GnuPG
    role_key: str
    reporter_key: str
    stranger_key: str

    async def send(self, content: bytes, *, sender: str = REPORTER) -> str:
        """Hand a mail to the daemon by SMTP and return the text after its 250."""
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=self.port, use_tls=False) as client:
            _, answer = await client.sendmail(sender, [ALIAS], content)
        return answer

    async def command(self, *arguments: str) -> str:
        """Run a secbridge command as an operator would type it, and return what it prints."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "secbridge",
            *arguments,
            "--config",
            str(self.config),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, said = await process.communicate()
        if process.returncode != 0:
            raise DemoError(
                f"secbridge {' '.join(arguments)} ended with {process.returncode}: {said.decode()}"
            )
        return out.decode()

    def report(self, subject: str, text: str, *, sender: str = REPORTER) -> EmailMessage:
        """Return a mail to the alias, not yet protected."""
        mail = EmailMessage(policy=SMTP)
        mail["From"] = sender
        mail["To"] = ALIAS
        mail["Subject"] = subject
        mail["Date"] = format_datetime(SystemClock().now())
        mail["Message-ID"] = make_msgid(domain="example.net")
        mail.set_content(text)
        return mail

    async def encrypted(self, mail: EmailMessage, to: str) -> bytes:
        """Return the mail encrypted to a key and signed by the reporter (RFC 3156 section 6.2)."""
        headers, inner = _split(mail)
        armor = await self.reporter.encrypt_and_sign(
            inner, recipients=[to], signer=self.reporter_key
        )
        public = await self.reporter.export(self.reporter_key)
        return headers + _pgp_mime(armor, keydata=public)


# ── Setting and striking the stage ───────────────────────────────────────────────────────────────


@contextlib.asynccontextmanager
async def set_stage() -> AsyncIterator[Stage]:
    """Make keys, start the relay and the real daemon, and take everything away at the end."""
    folder = Path(
        tempfile.mkdtemp(prefix="sbdemo-")
    )  # 0700; short, since agents' sockets lie in it
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        homes = [folder / name for name in ("team", "reporter")]
        for home in homes:
            home.mkdir(mode=0o700)
            stack.callback(stop_daemons, home)
        role_key, reporter_key, stranger_key = (
            make_key(homes[0], f"Example Security <{ALIAS}>"),
            make_key(homes[1], f"Alice Reporter <{REPORTER}>"),
            make_key(homes[1], "Somebody Else <else@example.com>"),
        )
        team, reporter = (GnuPG(home, role_keys=()) for home in homes)
        stack.push_async_callback(team.aclose)
        stack.push_async_callback(reporter.aclose)
        public = await team.export(role_key)
        (folder / "security.asc").write_bytes(public)
        await reporter.import_certificate(public, address=ALIAS)
        relay, relay_port = await _start_relay(folder, stack)
        config = _write_config(folder, role_key, relay_port)
        daemon, port = await _start_daemon(config, stack)
        yield Stage(
            folder,
            config,
            port,
            daemon,
            relay,
            team,
            reporter,
            role_key,
            reporter_key,
            stranger_key,
        )


async def _start_relay(folder: Path, stack: contextlib.AsyncExitStack) -> tuple[Relay, int]:
    mails = folder / "answers"
    mails.mkdir()
    relay = Relay(mails)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: smtp.SMTP(relay, hostname="relay.demo", loop=loop), "127.0.0.1", 0
    )
    stack.callback(server.close)
    return relay, int(server.sockets[0].getsockname()[1])


def _write_config(folder: Path, role_key: str, relay_port: int) -> Path:
    config = folder / "secbridge.toml"
    config.write_text(
        f"""[daemon]
state_dir = "{folder}"
log_format = "json"

[intake]
hostname = "secbridge.demo"
smtp = ["127.0.0.1:0"]
lmtp = []

[openpgp]
home = "{folder}/team"

[submission]
host = "127.0.0.1"
port = {relay_port}

[[alias]]
address = "{ALIAS}"
name = "Example Security"
role_keys = ["{role_key}"]
assignees = ["alex"]
"""
    )
    return config


async def _start_daemon(config: Path, stack: contextlib.AsyncExitStack) -> tuple[Daemon, int]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "secbridge",
        "run",
        "--config",
        str(config),
        stdout=asyncio.subprocess.PIPE,
    )
    daemon = Daemon(process)
    stack.push_async_callback(_stop_daemon, process)
    reader = asyncio.create_task(daemon.follow())
    stack.callback(reader.cancel)
    started = await daemon.tells("daemon.started")
    return daemon, int(str(started["listeners"][0]).rpartition(":")[2])


async def _stop_daemon(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
        await process.wait()


def _split(mail: EmailMessage) -> tuple[bytes, bytes]:
    """Return (header fields that stay outside with a hidden subject, the MIME entity inside)."""
    outer = b"".join(
        f"{name}: {'...' if name == 'Subject' else value}\r\n".encode()
        for name, value in mail.items()
        if not name.lower().startswith(("content-", "mime-"))
    )
    inner = EmailMessage(policy=SMTP)
    inner["Subject"] = mail["Subject"]
    inner.set_content(mail.get_content())
    inner.set_param("protected-headers", "v1")
    del inner["MIME-Version"]
    return outer, inner.as_bytes()


def _pgp_mime(armor: bytes, *, keydata: bytes) -> bytes:
    key = b"\r\n ".join(_pieces(base64.b64encode(keydata), 70))
    return b"\r\n".join(
        [
            f"Autocrypt: addr={REPORTER}; keydata=".encode(),
            b" " + key,
            b"MIME-Version: 1.0",
            b'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted";',
            b' boundary="demo"',
            b"",
            b"--demo",
            b"Content-Type: application/pgp-encrypted",
            b"",
            b"Version: 1",
            b"",
            b"--demo",
            b"Content-Type: application/octet-stream",
            b"",
            armor.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"),
            b"--demo--",
            b"",
        ]
    )


def _pieces(value: bytes, length: int) -> list[bytes]:
    return [value[i : i + length] for i in range(0, len(value), length)]
