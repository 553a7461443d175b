"""Does a held answer survive the death of the real daemon?  Killed where it matters most."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from email import message_from_bytes
from email.message import EmailMessage
from pathlib import Path

import pytest
from tests.support.keys import REPORTER, ROLE, Keys, Ring, copied_ring
from tests.support.office import letter
from tests.support.relay import Relay, relay_in_thread
from tests.support.reports import CANARY
from tests.support.running import PATIENCE, RunningDaemon, command, write_config
from tests.support.village import issue_numbers, states, wait_until


@pytest.fixture
def role(keys: Keys) -> Iterator[Ring]:
    """Return a ring with the role key for one installation."""
    with copied_ring(keys.role) as ring:
        yield ring


def hand_in(daemon: RunningDaemon, content: bytes, to: str = ROLE) -> None:
    """Hand a mail of the reporter in."""
    with smtplib.SMTP("127.0.0.1", daemon.port, timeout=PATIENCE) as client:
        assert client.sendmail(REPORTER, [to], content) == {}


def heard(relay: Relay) -> list[EmailMessage]:
    """Return the mails to the reporter, each Message-ID once."""
    mails = [message_from_bytes(it.content) for it in relay.taken if it.recipients == (REPORTER,)]
    return list({str(mail["Message-ID"]): mail for mail in mails}.values())  # type: ignore[arg-type]  # both have fields


@pytest.mark.parametrize(
    "die", ["after add_comment #1", "before record Held #1", "after bind_key #1"]
)
def test_a_held_answer_goes_out_once_the_key_is_there_whenever_the_daemon_died(
    role: Ring, keys: Keys, tmp_path: Path, die: str
) -> None:
    """The notice, then the acknowledgement to the key of the reporter's answer; each issue once."""
    with relay_in_thread() as relay:
        config = write_config(
            tmp_path, role_home=role.home, role_key=keys.role_fpr, relay_port=relay.port,
            more="[lookup]\nnetwork = false\n",
        )  # fmt: skip
        options = ["--points", str(tmp_path / "points"), "--die", die]
        mortal = RunningDaemon(config, argv=("-m", "tests.support.mortal"), options=options)
        again = RunningDaemon(config)
        with mortal:
            hand_in(mortal, letter(keys, CANARY))
            if "bind_key" in die:
                _answer_with_the_key(mortal, relay, keys, config)
            assert mortal.wait() == -9, f"{die} was not reached"
        with again:
            if "bind_key" not in die:
                _answer_with_the_key(again, relay, keys, config)
            wait_until(lambda: set(states(config)) == {"done"}, "not done", beside=[mortal, again])
            again.terminate()
        notice, answer = heard(relay)
        assert str(notice["Subject"]).startswith("Please send us your public key")
        assert answer.get_content_type() == "multipart/encrypted"
        assert b"has arrived" in keys.reporter.decrypt(answer.as_bytes())
        assert not any(CANARY.encode() in taken.content for taken in relay.taken)
        assert issue_numbers(config) == [1]
        shown = command(config, "issue", "show", "1")
        assert [shown.count(said) for said in ("so it is held", "goes out now")] == [1, 1]


def _answer_with_the_key(daemon: RunningDaemon, relay: Relay, keys: Keys, config: Path) -> None:
    """Answer the notice as a mail program does, the key attached."""
    wait_until(lambda: states(config) == ["answer-held"], "not held", beside=[daemon])
    wait_until(lambda: heard(relay), "no notice", beside=[daemon])
    case_address = str(heard(relay)[0]["Reply-To"])
    mail = letter(keys, CANARY, name="two", attach=[keys.reporter_cert])
    hand_in(daemon, mail, to=case_address)
