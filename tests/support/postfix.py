"""How does secbridge live behind a real MTA?  A Postfix of the test's own, on loopback.

``Postfix`` has its own configuration, queue, log and ports, so it never meets a Postfix of the
machine, and several can run at once.  It is what an operator sets up by ``docs/postfix.md``: the
alias and its ``+sb-…`` addresses go by LMTP to the daemon, people have maildirs, everything else
has no route and bounces, and nobody asks a name server.

    with Postfix(aliases={"security@example.org": "inet:127.0.0.1:2424"},
                 mailboxes=["reporter@example.net"]) as postfix:
        smtplib.SMTP("127.0.0.1", postfix.smtp_port)…    # mail from the world
        …                                # the daemon's smarthost is postfix.submission_port
        (answer,) = postfix.wait_for_mail("reporter@example.net")

Postfix wants to be started by root and to own its queue; ``why_not()`` says what is missing.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.ports import reserve

_POSTFIX = shutil.which("postfix", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
_LIMIT = 90.0
_Done = subprocess.CompletedProcess[str]
# Nothing of ours: MAIL_CONFIG would name the machine's own Postfix.
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
_MAILBOX_OWNER = "nobody"

_MAIN = """
compatibility_level = 3.6
config_directory = {home}/etc
queue_directory = {home}/queue
data_directory = {home}/data
maillog_file = {home}/mail.log
maillog_file_prefixes = {home}
syslog_name = postfix

# On loopback, without DNS, for nobody else.
myhostname = mail.example.org
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtp_dns_support_level = disabled
lmtp_dns_support_level = disabled
smtp_host_lookup = native
default_transport = error:5.4.4 no route out of this test
local_transport = error:5.1.1 no local users
alias_maps =
alias_database =
biff = no

# The alias and its tagged addresses go to secbridge, and are known to exist.
recipient_delimiter = +
relay_domains = {relay_domains}
relay_recipient_maps = texthash:{home}/etc/relay_recipients
transport_maps = texthash:{home}/etc/transport
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_recipient_restrictions = reject_unlisted_recipient

# Copies for the members: of the plain alias only, never of an address with a tag.
virtual_alias_maps = regexp:{home}/etc/copies

# People.
virtual_mailbox_domains = {mailbox_domains}
virtual_mailbox_maps = texthash:{home}/etc/mailboxes
virtual_mailbox_base = {home}/mailboxes
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_minimum_uid = {uid}

# What waits is tried again soon: a test has no hours.
queue_run_delay = 1s
minimal_backoff_time = 1s
maximal_backoff_time = 1s
lmtp_connect_timeout = 5s
# A daemon that was killed is tried again with the next mail, not a minute later.
default_destination_concurrency_failed_cohort_limit = 0
destination_concurrency_feedback_debug = no
message_size_limit = 0
mailbox_size_limit = 0
virtual_mailbox_limit = 0
{extra}
"""

_MASTER = """
127.0.0.1:{smtp_port}        inet  n - n - - smtpd
127.0.0.1:{submission_port}  inet  n - n - - smtpd
    -o syslog_name=postfix/submission
    -o smtpd_relay_restrictions=permit_mynetworks,reject
    -o smtpd_recipient_restrictions=
    -o smtpd_reject_unlisted_recipient=no
pickup     unix      n - n 60 1 pickup
cleanup    unix      n - n - 0 cleanup
qmgr       unix      n - n 300 1 qmgr
rewrite    unix      - - n - - trivial-rewrite
bounce     unix      - - n - 0 bounce
defer      unix      - - n - 0 bounce
trace      unix      - - n - 0 bounce
verify     unix      - - n - 1 verify
flush      unix      n - n 1000? 0 flush
proxymap   unix      - - n - - proxymap
proxywrite unix      - - n - 1 proxymap
smtp       unix      - - n - - smtp
relay      unix      - - n - - smtp
showq      unix      n - n - - showq
error      unix      - - n - - error
retry      unix      - - n - - error
discard    unix      - - n - - discard
virtual    unix      - n n - - virtual
lmtp       unix      - - n - - lmtp
anvil      unix      - - n - 1 anvil
scache     unix      - - n - 1 scache
postlog    unix-dgram n - n - 1 postlogd
"""


def why_not() -> str | None:
    """Return why no Postfix can run here, or None when one can."""
    if _POSTFIX is None:
        return "postfix is not installed: sudo make test-deps"
    if os.geteuid() != 0:
        return "postfix can be started by root only"
    return None


class Postfix:
    """A running Postfix; a context manager that leaves nothing behind.

    ``aliases``: address → LMTP destination as in transport(5) without its first word:
    ``inet:127.0.0.1:2424`` or ``unix:/run/secbridge/lmtp``.  ``mailboxes``: addresses with a
    maildir, in domains other than the aliases'.  ``copies``: alias → people who get a copy.
    ``settings``: more lines of main.cf.
    """

    def __init__(
        self,
        *,
        aliases: Mapping[str, str],
        mailboxes: Sequence[str] = (),
        copies: Mapping[str, Sequence[str]] | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.aliases = dict(aliases)
        self.mailboxes = tuple(mailboxes)
        self.copies = dict(copies or {})
        self.settings = dict(settings or {})
        self._ports = [reserve(), reserve()]
        self.smtp_port, self.submission_port = (kept.getsockname()[1] for kept in self._ports)
        self.home = Path()
        self._master: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """What Postfix has logged so far."""
        file = self.home / "mail.log"
        return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""

    def start(self) -> Self:
        """Write the configuration, start, and return once both ports greet."""
        self.home = Path(tempfile.mkdtemp(prefix="sbpf", dir="/tmp"))
        self.home.chmod(0o755)
        try:
            self._configure()
            self._master = subprocess.Popen(
                [_program("postfix"), "-c", self.home / "etc", "start-fg"],
                env=_ENVIRONMENT,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # at its end it signals its whole process group
            )
            self._wait(self._greets, "does not greet")
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop at once and remove every file; harmless when it never ran."""
        for kept in self._ports:
            kept.close()
        if self.home == Path():
            return
        if self._master is not None:
            self._postfix("abort", check=False)
            self._master.wait(_LIMIT)
            self._master = None
        shutil.rmtree(self.home)
        self.home = Path()

    def flush(self) -> None:
        """Try everything that waits in the queue now."""
        self._postfix("flush")

    def queue(self) -> list[dict[str, Any]]:
        """Return the queue as ``postqueue -j`` tells it: one dict for each mail.

        A mail that moves within the queue meanwhile is told twice there, and once here.
        """
        listed = self._run("postqueue", "-c", str(self.home / "etc"), "-j").stdout
        mails = [json.loads(line) for line in listed.splitlines()]
        return list({str(mail["queue_id"]): mail for mail in mails}.values())

    def wait_until_queue_is_empty(self) -> None:
        """Return once Postfix has got rid of every mail."""
        # Asked twice: a mail that moves within the queue can be missed by one look.
        self._wait(lambda: not self.queue() and not self.queue(), "still has mail in its queue")

    def mail(self, address: str) -> list[bytes]:
        """Return the mails in a mailbox, as delivered, oldest first."""
        arrived = (self.home / "mailboxes" / address / "new").glob("*")
        return [
            file.read_bytes() for file in sorted(arrived, key=lambda file: file.stat().st_mtime_ns)
        ]

    def wait_for_mail(self, address: str, count: int = 1) -> list[bytes]:
        """Return the mails in a mailbox once there are at least ``count``."""
        self._wait(lambda: len(self.mail(address)) >= count, f"has not {count} mails for {address}")
        return self.mail(address)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # ── inside ───────────────────────────────────────────────────────────────────────────────────

    def _configure(self) -> None:
        etc = self.home / "etc"
        owner = pwd.getpwnam(_MAILBOX_OWNER)
        for folder, user in (("etc", "root"), ("queue", "root"), ("data", "postfix"),
                             ("mailboxes", _MAILBOX_OWNER)):  # fmt: skip
            (self.home / folder).mkdir()
            shutil.chown(self.home / folder, user)
        _write(etc / "transport", (f"{address} lmtp:{to}" for address, to in self.aliases.items()))
        _write(etc / "relay_recipients", (f"{address} OK" for address in self.aliases))
        _write(etc / "mailboxes", (f"{address} {address}/" for address in self.mailboxes))
        _write(etc / "copies", (_copy_rule(alias, people) for alias, people in self.copies.items()))
        main = _MAIN.format(
            home=self.home,
            relay_domains=", ".join(sorted(_domains(self.aliases))),
            mailbox_domains=", ".join(sorted(_domains(self.mailboxes))),
            uid=owner.pw_uid,
            gid=owner.pw_gid,
            extra="\n".join(f"{name} = {value}" for name, value in self.settings.items()),
        )
        ports = {"smtp_port": self.smtp_port, "submission_port": self.submission_port}
        _write(etc / "main.cf", [main])
        _write(etc / "master.cf", [_MASTER.format(**ports)])

    def _greets(self) -> bool:
        if self._master is not None and self._master.poll() is not None:
            raise AssertionError(f"Postfix did not start; its log:\n{self.log}")
        return all(_greets(port) for port in (self.smtp_port, self.submission_port))

    def _postfix(self, verb: str, *, check: bool = True) -> _Done:
        return self._run("postfix", "-c", str(self.home / "etc"), verb, check=check)

    def _run(
        self, program: str, *args: str, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [_program(program), *args],
            env=_ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
            timeout=_LIMIT,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{program} {' '.join(args)}: {done.stderr}{self.log}")
        return done

    def _wait(self, holds: Callable[[], bool], complaint: str) -> None:
        end = time.monotonic() + _LIMIT
        while not holds():
            if time.monotonic() > end:
                raise AssertionError(f"Postfix {complaint}; its log:\n{self.log}")
            time.sleep(0.02)


def _program(name: str) -> Path:
    return Path(_POSTFIX or "postfix").with_name(name)


def _greets(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            return connection.recv(4) == b"220 "
    except OSError:
        return False


def _domains(addresses: Iterable[str]) -> set[str]:
    return {address.rpartition("@")[2] for address in addresses}


def _copy_rule(alias: str, people: Sequence[str]) -> str:
    pattern = "".join(char if char.isalnum() or char == "@" else f"\\{char}" for char in alias)
    return f"/^{pattern}$/ {', '.join([alias, *people])}"


def _write(file: Path, lines: Iterable[str]) -> None:
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
