"""Does a reporter who sent no key hear from us encrypted, and is nobody else ever looked up?"""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.answering import parsed, part_of
from tests.support.fake_keyservers import ADVANCED, FakeKeyServers, key_servers_in_thread
from tests.support.keys import REPORTER, ROLE, Keys, Ring
from tests.support.relay import Relay, relay_in_thread
from tests.support.reports import plain_report, wrapped
from tests.support.running import (
    PATIENCE,
    RunningDaemon,
    command,
    lines_of_json,
    write_config,
)
from tests.support.village import states, wait_until

from secbridge.openpgp.wkd import directory_urls


@dataclass
class Place:
    """A key directory behind a proxy, a relay, and a folder for one installation."""

    servers: FakeKeyServers
    relay: Relay
    role: Ring
    keys: Keys
    folder: Path

    def config(self, *, lookup: str = "") -> Path:
        """Write the configuration of an installation that looks up through the proxy."""
        return write_config(
            self.folder,
            role_home=self.role.home,
            role_key=self.keys.role_fpr,
            relay_port=self.relay.port,
            more=f"""[lookup]
proxy = "{self.servers.proxy}"
ca_file = "{self.servers.ca_file}"
{lookup}
""",
        )

    def report(self, *, sender: str = REPORTER, header: tuple[str, str] | None = None) -> bytes:
        """Return an encrypted report by somebody whose key is not in the mail."""
        mail = plain_report(sender=sender)
        if header is not None:
            mail[header[0]] = header[1]
        inside = b'Content-Type: text/plain; charset="utf-8"\r\n\r\nA weakness.\r\n'
        signer = self.keys.reporter_fpr
        return wrapped(mail, self.keys.reporter.encrypt(inside, self.keys.role_fpr, sign=signer))

    def publish(self) -> None:
        """Let the reporter's domain give out the reporter's key."""
        urls = directory_urls(REPORTER)
        assert urls is not None
        self.servers.publish(urls.advanced, self.keys.reporter_cert)


@pytest.fixture(scope="module")
def servers() -> Iterator[FakeKeyServers]:
    """Start the directory and the proxy once for all tests of this page."""
    with key_servers_in_thread() as running:
        yield running


@pytest.fixture
def place(servers: FakeKeyServers, role_ring: Ring, keys: Keys, tmp_path: Path) -> Iterator[Place]:
    """Return a place where nobody was looked up, and whose ring knows the role key alone."""
    servers.reset()
    with relay_in_thread() as relay:
        yield Place(servers, relay, role_ring, keys, tmp_path)


def hand_in(daemon: RunningDaemon, content: bytes, *, sender: str = REPORTER) -> None:
    """Hand a mail to the daemon."""
    with smtplib.SMTP("127.0.0.1", daemon.port, timeout=PATIENCE) as client:
        client.sendmail(sender, [ROLE], content)


def test_a_key_from_the_reporters_domain_encrypts_the_answer(place: Place) -> None:
    """Found by WKD through the proxy, inspected, bound; the reporter opens the answer with it."""
    place.publish()
    config = place.config()
    with RunningDaemon(config) as daemon:
        hand_in(daemon, place.report())
        wait_until(lambda: states(config) == ["done"], "not done", beside=[daemon])
        asked = daemon.wait_for("lookup.asked")
        daemon.terminate()
    assert (asked["source"], asked["outcome"]) == ("wkd", "found")
    assert place.servers.tunnelled == [ADVANCED]
    assert {recipient for mail in place.relay.taken for recipient in mail.recipients} == {
        REPORTER,
        ROLE,
    }
    answer = parsed(place.relay.taken[0].content)
    assert answer.get_content_type() == "multipart/encrypted"
    assert b"has arrived" in place.keys.reporter.decrypt(part_of(answer, 1))
    assert REPORTER not in "".join(daemon.raw_log)


MAILS = {
    "list": ("List-Id", "<all.example.net>"),
    "bulk": ("Precedence", "bulk"),
    "auto-reply": ("Auto-Submitted", "auto-replied"),
}
"""Mails that no machine may answer, by the header field that says so."""


def test_nobody_is_looked_up_whom_we_do_not_answer(place: Place) -> None:
    """Mail of lists, robots and the null sender, though each is encrypted; and spam in clear."""
    config = place.config()
    with RunningDaemon(config) as daemon:
        for name, header in MAILS.items():
            sender = f"{name}@example.net"
            hand_in(daemon, place.report(sender=sender, header=header), sender=sender)
        hand_in(daemon, place.report(sender="robot@example.net"), sender="")
        spam = plain_report(sender="spam@example.net")
        spam["X-Spam-Flag"] = "YES"
        hand_in(daemon, spam.as_bytes(), sender="spam@example.net")
        expected = sorted([*["done"] * (len(MAILS) + 1), "set-aside"])
        wait_until(lambda: sorted(states(config)) == expected, "not done", beside=[daemon])
        daemon.terminate()
    assert place.servers.tunnelled == []
    assert place.relay.taken == []


def test_nobody_is_looked_up_where_the_network_is_switched_off(place: Place) -> None:
    """The reporter is asked for a key instead."""
    place.publish()
    config = place.config(lookup="network = false")
    with RunningDaemon(config) as daemon:
        hand_in(daemon, place.report())
        wait_until(lambda: len(place.relay.taken) >= 2, "no notice", beside=[daemon])
        daemon.terminate()
    assert place.servers.tunnelled == []
    assert b"multipart/signed" in place.relay.taken[0].content


def test_looking_at_a_mail_by_hand_looks_nobody_up(place: Place) -> None:
    """`secbridge inspect` tells what would happen, and tells it to no one else."""
    place.publish()
    config = place.config()
    mail = place.folder / "report.eml"
    mail.write_bytes(place.report())
    (row,) = lines_of_json(command(config, "inspect", "--json", str(mail)))
    assert row["protection"] == "encrypted+signed" or row["protection"] == "encrypted"
    assert place.servers.tunnelled == []


def test_a_ca_file_that_cannot_be_read_is_told_before_anything_is_opened(place: Place) -> None:
    """The operator sees the setting and the mend, and no store was made."""
    config = place.config()
    config.write_text(config.read_text().replace(str(place.servers.ca_file), "no-such-file.pem"))
    told = lines_of_json(command(config, "check", "--json", status=2))[0]["findings"]
    assert "lookup.ca_file" in {finding["setting"] for finding in told}
    assert not (config.parent / "state" / "secbridge.sqlite").exists()


def test_check_says_where_keys_are_looked_for(place: Place) -> None:
    """An operator sees who would be asked outside, without anybody being asked."""
    config = place.config(lookup='vks_server = "keys.example.org"')
    told = lines_of_json(command(config, "check", "--json"))[0]["findings"]
    (finding,) = [one for one in told if one["subject"] == "key look-up"]
    assert finding["severity"] == "ok"
    assert "wkd, vks (keys.example.org)" in finding["text"]
    assert "proxy" in finding["text"]
    assert place.servers.tunnelled == []
