"""What becomes of mail after the first report?  Short stories through the real daemon."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from tests.support.keys import REPORTER, ROLE, Keys, Ring, copied_ring
from tests.support.relay import Relay, relay_in_thread
from tests.support.reports import CANARY, encrypted_report, plain_report
from tests.support.running import PATIENCE, RunningDaemon, command, lines_of_json, write_config
from tests.support.village import states, wait_until

OTHER = "abuse@example.org"


@dataclass
class Home:
    """A daemon with a relay, and the mails that went through it."""

    config: Path
    daemon: RunningDaemon
    relay: Relay

    def hand_in(
        self, mail: EmailMessage | bytes, *, to: tuple[str, ...] = (ROLE,), sender: str = REPORTER
    ) -> str:
        """Hand a mail in and return the text of the 250."""
        content = mail if isinstance(mail, bytes) else mail.as_bytes()
        with smtplib.SMTP("127.0.0.1", self.daemon.port, timeout=PATIENCE) as client:
            client.ehlo()
            client.mail(sender)
            for recipient in to:
                assert client.rcpt(recipient)[0] == 250
            code, text = client.data(content)
            assert code == 250
            return text.decode()

    def settled(self, *expected: str) -> None:
        """Wait until the deliveries are in these states, in any order."""
        wait_until(
            lambda: sorted(states(self.config)) == sorted(expected),
            f"the deliveries are not {expected}",
            beside=[self.daemon],
        )

    def rows(self, *arguments: str) -> list[dict[str, Any]]:
        """Return what a command prints as JSON."""
        return lines_of_json(command(self.config, *arguments, "--json"))

    def answer(self) -> bytes:
        """Return the last mail that went to the reporter."""
        return [mail.content for mail in self.relay.taken if mail.recipients == (REPORTER,)][-1]


@pytest.fixture
def role(keys: Keys) -> Iterator[Ring]:
    """Return a ring with the role key for one daemon."""
    with copied_ring(keys.role) as ring:
        yield ring


def _home(role: Ring, keys: Keys, folder: Path, relay: Relay, alias: str) -> Path:
    return write_config(
        folder, role_home=role.home, role_key=keys.role_fpr, relay_port=relay.port, alias=alias
    )


@pytest.fixture
def home(role: Ring, keys: Keys, tmp_path: Path) -> Iterator[Home]:
    """Return a running daemon with one alias."""
    with relay_in_thread() as relay:
        config = _home(role, keys, tmp_path, relay, "")
        with RunningDaemon(config) as daemon:
            yield Home(config, daemon, relay)


def two_aliases(keys: Keys, project: str) -> str:
    """Return the second alias of a configuration, which files into this project."""
    return f"""project = "security"

[[alias]]
address = "{OTHER}"
role_keys = ["{keys.role_fpr}"]
assignees = ["kim"]
project = "{project}"
"""


def test_one_mail_to_two_aliases_of_different_projects_opens_two_linked_cases(
    role: Ring, keys: Keys, tmp_path: Path
) -> None:
    """Two deliveries, two cases, each naming the other, and one answer for each."""
    with relay_in_thread() as relay:
        config = _home(role, keys, tmp_path, relay, two_aliases(keys, "abuse"))
        with RunningDaemon(config) as daemon:
            house = Home(config, daemon, relay)
            text = house.hand_in(plain_report(), to=(ROLE, OTHER))
            assert 2 == len(text.rpartition(" ")[2].split(","))
            house.settled("done", "done")
            daemon.terminate()
        cases = {row["case"] for row in house.rows("delivery", "list")}
        assert len(cases) == 2
        assert {"security", "abuse"} == {row["project"] for row in house.rows("issue", "list")}
        for issue in house.rows("issue", "list"):
            shown = command(config, "issue", "show", str(issue["number"]))
            assert all(case in shown for case in cases)


def test_one_mail_to_two_aliases_of_one_project_opens_one_case(
    role: Ring, keys: Keys, tmp_path: Path
) -> None:
    """Two deliveries, one case, one answer."""
    with relay_in_thread() as relay:
        config = _home(role, keys, tmp_path, relay, two_aliases(keys, "security"))
        with RunningDaemon(config) as daemon:
            house = Home(config, daemon, relay)
            house.hand_in(plain_report(), to=(ROLE, OTHER))
            house.settled("done", "done")
            daemon.terminate()
        assert 1 == len(house.rows("issue", "list"))
        assert 1 == len({row["case"] for row in house.rows("delivery", "list")})
        assert 1 == [mail.recipients for mail in relay.taken].count((REPORTER,))


def test_a_repeated_hand_over_is_the_same_delivery(home: Home) -> None:
    """After a lost 250 the MTA comes again, with another Received: line; nothing happens twice."""
    mail = plain_report().as_bytes()
    first = home.hand_in(mail)
    home.settled("done")
    again = home.hand_in(b"Received: from a by b; Sun, 22 Nov 2026 08:00:00 +0000\r\n" + mail)
    assert first == again
    assert 1 == len(home.rows("issue", "list"))


def test_an_answer_to_our_answer_joins_its_case(home: Home) -> None:
    """In-Reply-To names our Message-ID: a comment on the issue, and no second acknowledgement."""
    home.hand_in(plain_report())
    home.settled("done")
    ours = message_from_bytes(home.answer())
    mail = plain_report(subject="Re: again", text=f"More: {CANARY}-follows")
    mail["In-Reply-To"] = ours["Message-ID"]
    home.hand_in(mail)
    home.settled("done", "done")
    (issue,) = home.rows("issue", "list")
    assert f"{CANARY}-follows" in command(home.config, "issue", "show", str(issue["number"]))
    assert 1 == [mail.recipients for mail in home.relay.taken].count((REPORTER,))


def test_mail_to_the_cases_own_address_joins_it(home: Home) -> None:
    """Reply-To is the case's address; a mail there is a comment, even without In-Reply-To."""
    home.hand_in(plain_report())
    home.settled("done")
    address = message_from_bytes(home.answer())["Reply-To"]
    home.hand_in(plain_report(text=f"Also {CANARY}-by-token"), to=(address,))
    home.settled("done", "done")
    assert 1 == len(home.rows("issue", "list"))
    assert f"{CANARY}-by-token" in command(home.config, "issue", "show", "1")


def test_a_follow_up_keeps_its_class_encrypted_or_not(home: Home, keys: Keys) -> None:
    """An encrypted follow-up makes the thread one that must stay encrypted."""
    home.hand_in(plain_report())
    home.settled("done")
    mail = plain_report(text=f"{CANARY}-secret")
    mail["In-Reply-To"] = message_from_bytes(home.answer())["Message-ID"]
    report = encrypted_report(keys.reporter, keys.reporter_fpr, keys.role_fpr, mail=mail)
    outer = f"In-Reply-To: {mail['In-Reply-To']}\r\n".encode()
    home.hand_in(report if b"In-Reply-To" in report else outer + report)
    home.settled("done", "done")
    classes = [row["class"] for row in home.rows("delivery", "list")]
    assert ["follow-up", "report"] == sorted(classes)
    assert f"{CANARY}-secret" in command(home.config, "issue", "show", "1")


def test_marked_spam_is_set_aside_listed_and_released(home: Home) -> None:
    """Only the MTA's mark sets a mail aside; an operator's word makes it an issue."""
    mail = plain_report(subject="Buy", text="Cheap words.")
    mail["X-Spam-Flag"] = "YES"
    home.hand_in(mail)
    home.settled("set-aside")
    (row,) = home.rows("delivery", "list", "--state", "set-aside")
    assert [] == home.rows("issue", "list")
    assert [] == home.relay.taken
    command(home.config, "delivery", "release", row["id"])
    home.settled("done")
    assert 1 == len(home.rows("issue", "list"))
    assert 1 == [mail.recipients for mail in home.relay.taken].count((REPORTER,))


def test_a_bounce_of_our_answer_is_told_on_its_issue(home: Home) -> None:
    """A delivery report to the envelope sender of our answer becomes a comment on the case."""
    home.hand_in(plain_report())
    home.settled("done")
    sent = [mail for mail in home.relay.taken if mail.recipients == (REPORTER,)][-1]
    bounce = (
        "From: MAILER-DAEMON@mail.example.net\r\n"
        f"To: {sent.reverse_path}\r\nSubject: Undelivered\r\nMessage-ID: <b1@mail.example.net>\r\n"
        "Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
        "--b\r\n\r\nNot delivered.\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n"
        "Reporting-MTA: dns; mail.example.net\r\n\r\nFinal-Recipient: rfc822; "
        f"{REPORTER}\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n--b--\r\n"
    )
    home.hand_in(bounce.encode(), to=(sent.reverse_path,), sender="")
    home.settled("done", "done")
    assert {"bounce", "report"} == {row["class"] for row in home.rows("delivery", "list")}
    assert "5.1.1" in command(home.config, "issue", "show", "1")
    assert 2 == len(home.relay.taken)


def test_an_automatic_mail_is_filed_and_not_answered(home: Home) -> None:
    """Unsure means issue; but a machine does not answer a machine (RFC 3834)."""
    mail = plain_report()
    mail["Auto-Submitted"] = "auto-generated"
    home.hand_in(mail)
    home.settled("done")
    assert 1 == len(home.rows("issue", "list"))
    assert [] == home.relay.taken
    (row,) = home.rows("delivery", "list")
    shown = home.rows("delivery", "show", row["id"])[0]
    assert "auto-submitted" == shown["reply_refused_because"]


def test_an_answer_that_the_relay_refuses_is_told_in_the_list(home: Home) -> None:
    """The case is filed and done; that its reporter heard nothing stands below the list."""
    home.relay.on["RCPT"] = "550 5.1.1 no such user"
    home.hand_in(plain_report())
    home.settled("done")
    (row,) = home.rows("delivery", "list")
    below = command(home.config, "delivery", "list").rpartition("did not go out")[2]
    assert row["id"] in below
