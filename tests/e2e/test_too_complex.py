"""What does a team see of a mail that nobody could open?  An issue that says so, and the way to it.

The real daemon, with bounds that one mail exceeds; then the next mail goes its way.
"""

from __future__ import annotations

import smtplib
from email import message_from_bytes
from pathlib import Path

from tests.support.commands import secbridge
from tests.support.keys import REPORTER, ROLE, Keys, copied_ring
from tests.support.mails import header
from tests.support.relay import relay_in_thread
from tests.support.reports import CANARY, plain_report
from tests.support.running import PATIENCE, RunningDaemon, command, lines_of_json, write_config
from tests.support.village import states, wait_until

BOUNDS = '[opening]\nmax_parts = 10000000\nmax_time = "2s"\nprocesses = 1'


def burning() -> bytes:
    """Return a mail whose parts take long to count, with words in it that may not be told."""
    head = header('Content-Type: multipart/mixed; boundary="b"\n\n', subject="Slowly")
    return head + b"--b\r\n\r\n" + CANARY.encode() + b"\r\n" + b"--b\r\n\r\nx\r\n" * 700_000


def test_a_mail_that_takes_too_long_becomes_an_issue_that_says_so(
    keys: Keys, tmp_path: Path
) -> None:
    """It names the command for the raw mail, its reporter is answered, and the daemon goes on."""
    raw = burning()
    with relay_in_thread() as relay, copied_ring(keys.role) as role:
        config = write_config(
            tmp_path,
            role_home=role.home,
            role_key=keys.role_fpr,
            relay_port=relay.port,
            more=BOUNDS,
        )
        with RunningDaemon(config) as daemon:
            with smtplib.SMTP("127.0.0.1", daemon.port, timeout=PATIENCE) as client:
                client.sendmail(REPORTER, [ROLE], raw)
                daemon.wait_for("opener.died", why="time", alarm=False)
                client.sendmail(REPORTER, [ROLE], plain_report().as_bytes())
            wait_until(lambda: len(relay.taken) >= 2, "nobody was answered", beside=[daemon])
            wait_until(lambda: len(states(config)) == 2, "a mail is lost", beside=[daemon])
            rows = lines_of_json(command(config, "delivery", "list", "--json"))
            issues = [command(config, "issue", "show", number) for number in ("1", "2")]
            assert 0 == daemon.terminate()
        (unread,) = [row["id"] for row in rows if row["size"] > 1_000_000]
        kept = secbridge("delivery", "raw", unread, config=config).out
    (shown,) = [text for text in issues if f"secbridge delivery raw {unread}" in text]
    assert (True, True, False) == (
        "too complex to open" in shown,
        REPORTER in shown,
        CANARY in shown,
    )
    assert raw.replace(b"\r\n", b"\n") in kept.replace(b"\r\n", b"\n")
    answered = [message_from_bytes(one.content)["In-Reply-To"] for one in relay.taken]
    assert "<one@example.net>" in answered
