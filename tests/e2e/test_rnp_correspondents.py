"""Can reporters with Thunderbird's OpenPGP have a conversation with us?  RNP's keys, both ways.

Each kind of key that RNP makes writes one report through a real Postfix to the real daemon, as
Thunderbird would: encrypted and signed in one, header fields and certificate inside.  What comes
back to the maildir is read by RNP again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from email import message_from_bytes
from email.policy import default

import pytest
from tests.support import mails
from tests.support.keys import ROLE, Keys
from tests.support.postfix import why_not
from tests.support.reports import plain_report, wrapped
from tests.support.rnp import Kind, Rnp, fresh_rnp
from tests.support.rnp import why_not as why_no_rnp
from tests.support.running import RunningDaemon, command
from tests.support.village import Village, issue_numbers, states, village, wait_until

WHY_NOT = why_not() or why_no_rnp()
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))


@dataclass(frozen=True)
class Reporter:
    """Somebody with a mailbox, a keyring of his own, one key in it, and something to say."""

    address: str
    rnp: Rnp
    fingerprint: str
    text: str


@dataclass(frozen=True)
class Correspondence:
    """What came back to a reporter, and what the team sees of what he wrote."""

    reporter: Reporter
    answer: bytes
    issue: str


@pytest.fixture(scope="module")
def letters(
    keys: Keys, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[Kind, Correspondence]]:
    """Return the correspondence of one reporter for each kind of key."""
    with ExitStack() as stack:
        people = {
            kind: _reporter(kind, stack.enter_context(fresh_rnp(keys.role_cert))) for kind in Kind
        }
        here = stack.enter_context(village(keys, tmp_path_factory.mktemp("rnp")))
        yield _corresponded(here, people, keys.role_fpr)


def _reporter(kind: Kind, rnp: Rnp) -> Reporter:
    address = f"reporter+{kind}@example.net"  # Postfix puts it into the one mailbox of all
    fingerprint = rnp.make_key(f"Rita <{address}>", kind)
    return Reporter(address, rnp, fingerprint, f"It reads past its buffer, says Grünling {kind}.")


def _corresponded(
    here: Village, people: Mapping[Kind, Reporter], role_key: str
) -> Mapping[Kind, Correspondence]:
    config = here.config("rnp")
    outside = {kind: plain_report(sender=one.address) for kind, one in people.items()}
    with RunningDaemon(config) as daemon:
        for kind, one in people.items():
            here.send(wrapped(outside[kind], _sealed(one, role_key)), sender=one.address)
        answers = {kind: here.wait_for_answers(outside[kind]["Message-ID"])[0] for kind in people}
        wait_until(lambda: set(states(config)) == {"done"}, "not done", beside=[daemon])
        daemon.terminate()
    shown = [command(config, "issue", "show", str(number)) for number in issue_numbers(config)]
    issues = {kind: [each for each in shown if one.text in each] for kind, one in people.items()}
    assert [1, 1, 1] == [len(found) for found in issues.values()]
    return {
        kind: Correspondence(one, answers[kind], issues[kind][0]) for kind, one in people.items()
    }


def _sealed(reporter: Reporter, role_key: str) -> bytes:
    """Return the message that Thunderbird would send: its header fields and certificate inside."""
    certificate = reporter.rnp.export(reporter.fingerprint)
    inside = mails.multipart(
        "mixed",
        [
            mails.text(f"{reporter.text}\n"),
            mails.file(certificate, "OpenPGP_key.asc", media_type="application/pgp-keys"),
        ],
        params='; protected-headers="v1"',
        extra=f"From: {reporter.address}\nTo: {ROLE}\nSubject: A weakness\n",
    )
    return reporter.rnp.encrypt(inside, role_key, sign=reporter.fingerprint)


@pytest.mark.parametrize("kind", Kind)
def test_a_report_by_rnp_is_filed_with_a_good_signature(
    letters: Mapping[Kind, Correspondence], kind: Kind
) -> None:
    """The team reads the subject from inside, and which key of the sender signed the whole mail."""
    issue = letters[kind].issue
    about_the_mail, _, _ = issue.partition("Reporter:")
    rows = dict(re.findall(r"^([A-Z][a-z ]+?)  +(.+)$", about_the_mail, re.MULTILINE))
    assert "encrypted and signed" == rows["Protection"]
    verdict, who, *_, covers = rows["Signature"].split(", ")
    assert ("good", "by the sender", "covers the whole mail") == (verdict, who, covers)
    assert letters[kind].reporter.fingerprint == rows["Key of the signature"]
    assert "| A weakness" in issue


@pytest.mark.parametrize("kind", Kind)
def test_the_answer_to_the_certificate_of_rnp_is_read_by_rnp(
    letters: Mapping[Kind, Correspondence], keys: Keys, kind: Kind
) -> None:
    """Encrypted to the key that came with the report, signed by the role key, subject inside."""
    outer = message_from_bytes(letters[kind].answer, policy=default)
    assert "[...]" == outer["Subject"]
    assert b"SB-" not in letters[kind].answer
    _, cipher = outer.iter_parts()
    read = letters[kind].reporter.rnp.read(cipher.get_content())
    assert (True, (("Good", keys.role_fpr),)) == (read.ok, read.signatures)
    inner = message_from_bytes(read.content, policy=default)
    assert [] == [part.defects for part in (*outer.walk(), *inner.walk()) if part.defects]
    assert re.fullmatch(r"We have received your message \(SB-\d{4}-\d{4}\)", inner["Subject"])
    text, attached = inner.iter_parts()
    assert "Your encrypted message has arrived" in text.get_content()
    assert "application/pgp-keys" == attached.get_content_type()
