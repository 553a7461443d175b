"""Do machines that answer each other come to an end?  Two rude ones, behind a real Postfix.

The alias is on CC of our mails, its members get copies of what it gets, and both the reporter and a
member are away: their mail programs answer whatever we send, and say nowhere that no person did.
"""

from __future__ import annotations

import smtplib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP, default
from pathlib import Path
from typing import Any

import pytest
from tests.support.keys import REPORTER, ROLE, Keys
from tests.support.postfix import why_not
from tests.support.reports import CANARY, encrypted_report
from tests.support.running import PATIENCE, RunningDaemon, command, lines_of_json
from tests.support.village import Village, states, village, wait_until

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

KIM = "kim@example.com"

ROUNDS = 8
"""How often everybody looks into the mailbox; it is quiet long before, or it never will be."""


@dataclass
class Away:
    """Somebody whose mail program answers all our mails; ``answered``: how many so far."""

    address: str
    here: Village
    answered: int = 0
    _seen: set[bytes] = field(default_factory=set)

    def answer(self) -> int:
        """Answer what is new from us, and return how much that was."""
        new = [mail for mail in self.mails() if mail not in self._seen]
        self._seen |= set(new)
        for mail in new:
            self._reply(message_from_bytes(mail, policy=default))
        self.answered += len(new)
        return len(new)

    def mails(self) -> Sequence[bytes]:
        """Return the mails of ours in the mailbox."""
        box = self.here.postfix.mail(self.address)
        return [mail for mail in box if ROLE in str(message_from_bytes(mail)["From"])]

    def _reply(self, mail: Any) -> None:
        reply = EmailMessage(policy=SMTP)
        reply["From"], reply["To"] = self.address, mail["Reply-To"]
        reply["Subject"] = f"Away: {mail['Subject']}"
        reply["Message-ID"] = f"<away-{len(self._seen)}-{self.address}>"
        reply["In-Reply-To"] = reply["References"] = mail["Message-ID"]
        reply.set_content(f"I am away, and cannot read number {len(self._seen)}.\n")
        with smtplib.SMTP("127.0.0.1", self.here.postfix.smtp_port, timeout=PATIENCE) as client:
            client.sendmail(self.address, [str(reply["To"])], reply.as_bytes())


@pytest.fixture(scope="module")
def here(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Village]:
    """Return Postfix with a member who gets copies of the alias's mail."""
    with village(keys, tmp_path_factory.mktemp("village"), members=[KIM]) as made:
        yield made


def test_two_machines_that_answer_everything_come_to_an_end(here: Village, keys: Keys) -> None:
    """One answer and one notice leave, each mail is in the issue, and then there is silence."""
    config = here.config("away")
    rita, kim = Away(REPORTER, here), Away(KIM, here)
    with RunningDaemon(config) as daemon:
        here.send(encrypted_report(keys.reporter, keys.reporter_fpr, keys.role_fpr))
        for _ in range(ROUNDS):
            _wait_for_silence(here, config, daemon)
            if rita.answer() + kim.answer() == 0:
                break
        assert daemon.terminate() == 0
    subjects = [str(message_from_bytes(mail, policy=default)["Subject"]) for mail in rita.mails()]
    assert ["[...]", "Please encrypt what you write to us"] == [
        subject.partition(" (")[0] for subject in subjects
    ]
    deliveries = lines_of_json(command(config, "delivery", "list", "--json"))
    assert {"report": 1, "own": 2, "follow-up": 4} == Counter(row["class"] for row in deliveries)
    assert {"done"} == set(states(config))
    (issue,) = lines_of_json(command(config, "issue", "show", "1", "--json"))
    assert 4 == len(issue["comments"])
    assert (2, 2) == (rita.answered, kim.answered)
    assert not [mail for mail in rita.mails() if CANARY.encode() in mail]


def _wait_for_silence(here: Village, config: Path, daemon: RunningDaemon) -> None:
    """Return when all mails are done, and none is on its way.

    What was in Postfix at the first look is either there at the second, or with us at the third.
    """

    def is_silent() -> bool:
        before = states(config)
        queue = here.postfix.queue() or here.postfix.queue()
        return not queue and set(before) == {"done"} and before == states(config)

    wait_until(is_silent, "it is never silent", beside=[daemon])
