"""inspect and the daemon say the same of a mail, because they ask the same examiner."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import mails
from tests.support.commands import secbridge
from tests.support.keys import REPORTER, ROLE, Keys, copied_ring
from tests.support.reports import encrypted_report, plain_report, report_of
from tests.support.running import PATIENCE, RunningDaemon, write_config
from tests.support.village import wait_until

SETTLED = {"done", "answered", "answer-held", "set-aside", "quarantined"}


def the_mails(keys: Keys) -> dict[str, tuple[str, bytes]]:
    """Return mails of every kind, each with its reverse-path."""
    text = mails.text("The parser of version 2.4.1 can be crashed, see CVE-2026-0001.\n")
    detached = keys.reporter.sign_detached(text, keys.reporter_fpr)
    status = mails.entity(
        "multipart/report; report-type=delivery-status; boundary=b",
        "--b\nContent-Type: text/plain\n\nNot delivered.\n\n--b\n"
        "Content-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.net\n\n"
        "Final-Recipient: rfc822; nobody@example.net\nAction: failed\nStatus: 5.1.1\n--b--\n",
    )
    return {
        "encrypted": (REPORTER, report_of(keys)),
        "wrong-key": (
            REPORTER,
            encrypted_report(keys.stranger, keys.stranger_fpr, keys.stranger_fpr),
        ),
        "clear": (REPORTER, plain_report().as_bytes()),
        "signed": (REPORTER, mails.mail(mails.signed(text, detached), subject="Signed")),
        "spam": (REPORTER, mails.mail(mails.text("Buy.\n"), extra="X-Spam-Flag: YES\n")),
        "list": (REPORTER, mails.mail(text, subject="List", extra="List-Id: <l.example.net>\n")),
        "vacation": (
            REPORTER,
            mails.mail(mails.text("Away.\n"), extra="Auto-Submitted: auto-replied\n"),
        ),
        "bounce": ("", mails.mail(status, subject="Undelivered")),
        "nothing": (REPORTER, b"\r\n"),
    }


@pytest.fixture(scope="module")
def told(
    keys: Keys, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, tuple[Any, Any]]]:
    """Return what both say of each mail: (row of inspect before, delivery of the daemon after)."""
    folder = tmp_path_factory.mktemp("agreement")
    with copied_ring(keys.role) as ring:
        config = write_config(folder, role_home=ring.home, role_key=keys.role_fpr, relay_port=1)
        mailed = the_mails(keys)
        inspected = {
            name: _inspected(folder / f"{name}.eml", config, *mail) for name, mail in mailed.items()
        }
        with RunningDaemon(config) as daemon:
            delivered = {name: _delivered(daemon, *mail) for name, mail in mailed.items()}
            wait_until(lambda: _settled(config), "some mail never settled", beside=[daemon])
            daemon.terminate()
        rows = {row["id"]: row for row in _list(config)}
        yield {name: (inspected[name], rows[delivered[name]]) for name in inspected}


def _inspected(path: Path, config: Path, sender: str, content: bytes) -> Any:
    path.write_bytes(content)
    done = secbridge(
        "inspect", path, "--json", "--sender", sender, "--recipient", ROLE, config=config
    )
    assert done.status == 0, done.err
    return done.row


def _delivered(daemon: RunningDaemon, sender: str, content: bytes) -> str:
    with smtplib.SMTP("127.0.0.1", daemon.port, timeout=PATIENCE) as client:
        client.ehlo("relay.example.net")
        client.mail(sender)
        client.rcpt(ROLE)
        code, answer = client.data(content)
    assert code == 250, answer
    return answer.decode().split()[-1]


def _list(config: Path) -> list[Any]:
    return secbridge("delivery", "list", "--json", config=config).rows


def _settled(config: Path) -> bool:
    return {row["state"] for row in _list(config)} <= SETTLED


@pytest.mark.parametrize(
    "name",
    ["encrypted", "wrong-key", "clear", "signed", "spam", "list", "vacation", "bounce", "nothing"],
)
def test_inspect_foretells_what_the_daemon_does(
    told: dict[str, tuple[Any, Any]], name: str
) -> None:
    """Protection, class, rules, answer and route are the same, mail by mail."""
    inspected, delivery = told[name]
    keys = ("protection", "class", "reasons", "may_reply", "reply_refused_because", "route")
    assert {key: delivery[key] for key in keys} == {key: inspected[key] for key in keys}
