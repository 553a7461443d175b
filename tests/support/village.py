"""Where does secbridge live?  Behind a real Postfix, with a reporter who has a mailbox there."""

from __future__ import annotations

import smtplib
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from email import message_from_bytes
from pathlib import Path
from typing import Any

from tests.support.keys import REPORTER, ROLE, Keys, Ring, copied_ring
from tests.support.ports import reserved_port
from tests.support.postfix import Postfix
from tests.support.running import PATIENCE, RunningDaemon, command, lines_of_json, write_config


@dataclass
class Village:
    """A Postfix, the role's ring, and the place where one daemon after the other lives."""

    postfix: Postfix
    role: Ring
    keys: Keys
    lmtp_port: int
    folder: Path

    def config(self, name: str, *, alias: str = "", more: str = "") -> Path:
        """Write the configuration of a new installation and return its file."""
        home = self.folder / name
        home.mkdir()
        return write_config(
            home,
            role_home=self.role.home,
            role_key=self.keys.role_fpr,
            relay_port=self.postfix.submission_port,
            intake=f'smtp = []\nlmtp = ["127.0.0.1:{self.lmtp_port}"]',
            alias=alias,
            more=more,
        )

    def send(self, content: bytes, *, sender: str = REPORTER, to: str = ROLE) -> None:
        """Hand a mail to Postfix as the world does."""
        with smtplib.SMTP("127.0.0.1", self.postfix.smtp_port, timeout=PATIENCE) as client:
            client.sendmail(sender, [to], content)

    def answers(self, message_id: str) -> list[bytes]:
        """Return what lies in the reporter's mailbox in reply to a mail."""
        return [
            mail
            for mail in self.postfix.mail(REPORTER)
            if message_from_bytes(mail)["In-Reply-To"] == message_id
        ]

    def wait_for_answers(self, message_id: str, count: int = 1) -> list[bytes]:
        """Return the answers once there are ``count`` of them."""
        wait_until(lambda: len(self.answers(message_id)) >= count, "the reporter has no answer")
        return self.answers(message_id)


@contextmanager
def village(keys: Keys, folder: Path, *, members: Sequence[str] = ()) -> Iterator[Village]:
    """Start Postfix with the alias going to a port where a daemon will listen.

    ``members`` have mailboxes, and get a copy of what is sent to the alias.
    """
    with (
        reserved_port() as port,
        copied_ring(keys.role) as role,
        Postfix(
            aliases={ROLE: f"inet:127.0.0.1:{port}"},
            mailboxes=[REPORTER, *members],
            copies={ROLE: members} if members else None,
        ) as postfix,
    ):
        yield Village(postfix, role, keys, port, folder)


def wait_until(holds: Any, complaint: str, *, beside: Sequence[RunningDaemon] = ()) -> None:
    """Return as soon as something holds; fail with the daemons' logs when it does not."""
    end = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > end:
            logs = "".join("".join(daemon.raw_log) for daemon in beside)
            raise AssertionError(f"{complaint}; log:\n{logs}")
        time.sleep(0.02)


def states(config: Path) -> list[str]:
    """Return the states of all deliveries, by a look into the file that disturbs nobody."""
    return [row[0] for row in _select(config, "SELECT state FROM deliveries ORDER BY id")]


def the_one_that_waits(config: Path, daemon: RunningDaemon) -> dict[str, Any]:
    """Return the delivery that waits, as an operator lists it.

    While it is tried again, every second or two, it is listed as what it was before.
    """
    listed: list[dict[str, Any]] = []

    def waits() -> bool:
        command_line = ("delivery", "list", "--state", "deferred", "--json")
        listed[:] = lines_of_json(command(config, *command_line))
        return listed != []

    wait_until(waits, "nothing waits", beside=[daemon])
    (row,) = listed
    return row


def in_hand(config: Path, database: Path | None = None) -> int:
    """Return how many deliveries a worker has claimed and not let go, in the same way."""
    query = "SELECT id FROM deliveries WHERE owner IS NOT NULL"
    return len(_select(config, query, database=database))


def issue_numbers(config: Path) -> list[int]:
    """Return the numbers of all issues of the embedded tracker, in the same way."""
    return [row[0] for row in _select(config, "SELECT number FROM local_issues ORDER BY number")]


def _select(config: Path, query: str, *, database: Path | None = None) -> list[Any]:
    database = database or config.parent / "state" / "secbridge.sqlite"
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()
