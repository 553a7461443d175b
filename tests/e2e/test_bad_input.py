"""Does the daemon outlive everything that an enemy can write?  All of it, to one real daemon.

Each mail gets a clear status; each accepted one ends in a listed state, and as an issue that can
be shown; nothing of a mail is told to the log or to a stranger; and afterwards a good report goes
its way as though nothing had been.
"""

from __future__ import annotations

import json
import re
import smtplib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from tests.support.commands import Done, secbridge
from tests.support.hostile import CANARY, DOMAIN, Specimen, specimens
from tests.support.keys import REPORTER, ROLE, Keys, copied_ring
from tests.support.relay import Relay, Taken, relay_in_thread
from tests.support.reports import CANARY as GOOD_CANARY
from tests.support.reports import report_of
from tests.support.running import PATIENCE, RunningDaemon, command, lines_of_json, write_config
from tests.support.typist import Typed, type_all
from tests.support.village import states, wait_until

SCHEMA = json.loads(
    (Path(__file__).resolve().parents[2] / "docs" / "inspect.schema.json").read_text()
)
pytestmark = pytest.mark.timeout(900)  # the first test does all the work

ENDED = {"done", "answer-held", "set-aside"}
"""Where a mail may end when all is well on our side."""

ACCEPTED = re.compile(r"2\.0\.0 Ok: accepted as (\S+)")
STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3} ")
STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200b\ufeff]")
"""What moves a terminal's cursor or the order of its letters, line ends and tabs apart."""


@dataclass
class Aftermath:
    """What was sent, what was answered, and what is left of it."""

    sent: list[Specimen] = field(default_factory=list)
    replies: dict[str, tuple[int, str]] = field(default_factory=dict)
    deliveries: dict[str, dict[str, Any]] = field(default_factory=dict)
    answers: list[Taken] = field(default_factory=list)
    log: str = ""
    exit_status: int = -1
    good: str = ""
    issues: list[Typed] = field(default_factory=list)
    inspected: list[Done] = field(default_factory=list)

    def accepted(self) -> Iterator[tuple[Specimen, dict[str, Any]]]:
        """Yield each mail that we took with its delivery."""
        for specimen in self.sent:
            if found := ACCEPTED.match(self.replies[specimen.name][1]):
                yield specimen, self.deliveries[found[1]]


@pytest.fixture(scope="module")
def aftermath(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aftermath]:
    """Send everything to one daemon, then a good report; stop it; look at all that is left."""
    folder = tmp_path_factory.mktemp("bad")
    with relay_in_thread() as relay, copied_ring(keys.role) as role:
        config = write_config(
            folder, role_home=role.home, role_key=keys.role_fpr, relay_port=relay.port
        )
        after = Aftermath(sent=list(specimens(keys)))
        _attack(after, config, relay, keys)
        _look(after, config, folder)
        yield after


def _attack(after: Aftermath, config: Path, relay: Relay, keys: Keys) -> None:
    with RunningDaemon(config) as daemon:
        with smtplib.SMTP("127.0.0.1", daemon.port, timeout=PATIENCE) as client:
            client.ehlo()
            for specimen in after.sent:
                after.replies[specimen.name] = _hand_in(client, specimen)
        wait_until(lambda: _all_ended(config), "some do not end", beside=[daemon])
        with smtplib.SMTP("127.0.0.1", daemon.port, timeout=PATIENCE) as client:
            client.ehlo()
            good = Specimen("good", report_of(keys), REPORTER)
            after.good = _hand_in(client, good)[1]
        wait_until(lambda: _all_ended(config), "the good report does not end", beside=[daemon])
        after.exit_status = daemon.terminate()
    after.log = "".join(daemon.raw_log)
    after.answers = list(relay.taken)


def _hand_in(client: smtplib.SMTP, specimen: Specimen) -> tuple[int, str]:
    """Return the first refusal, or what was said to the whole mail."""
    options = ["SMTPUTF8"] if specimen.smtputf8 else []
    client.command_encoding = "utf-8"
    code, text = client.mail(specimen.reverse_path, options)
    if code == 250:
        code, text = client.rcpt(ROLE)
    if code == 250:
        code, text = client.data(specimen.content)
    if code != 250:
        client.rset()
    return code, text.decode()


def _all_ended(config: Path) -> bool:
    return set(states(config)) <= ENDED | {"quarantined"}


def _look(after: Aftermath, config: Path, folder: Path) -> None:
    listed = command(config, "delivery", "list", "--limit", "1000", "--json")
    after.deliveries = {row["id"]: row for row in lines_of_json(listed)}
    numbers = [
        row["number"] for row in lines_of_json(command(config, "issue", "list", "--all", "--json"))
    ]
    after.issues = type_all(
        [["issue", "show", str(number), "--config", str(config)] for number in numbers]
    )
    files = []
    for specimen in after.sent:
        files.append(folder / f"{specimen.name}.eml")
        files[-1].write_bytes(specimen.content)
    with ThreadPoolExecutor() as both:
        inspected = both.map(
            lambda how: secbridge("inspect", *how, *files, config=config), (["--json"], [])
        )
    after.inspected = list(inspected)


def test_every_mail_gets_a_clear_status(aftermath: Aftermath) -> None:
    """2yz, 4yz or 5yz, each with its enhanced status of the same class (RFC 2034)."""
    unclear = {
        name: (code, text)
        for name, (code, text) in aftermath.replies.items()
        if not STATUS.match(text) or text[0] != str(code)[0]
    }
    assert {} == unclear
    assert {250} == {code for code, _ in aftermath.replies.values()}


def test_every_accepted_mail_ends_in_a_listed_state(aftermath: Aftermath) -> None:
    """Filed, commented or set aside: none waits for a human because of what somebody wrote."""
    left = {
        specimen.name: (row["state"], row["why"])
        for specimen, row in aftermath.accepted()
        if row["state"] not in ENDED
    }
    assert {} == left


def test_every_filed_mail_has_an_issue_that_can_be_shown(aftermath: Aftermath) -> None:
    """``issue show`` prints each of them, with nothing in it that moves a terminal."""
    assert {(0, "")} == {(shown.status, shown.err) for shown in aftermath.issues}
    steered = [shown.arguments[2] for shown in aftermath.issues if STEERING.search(shown.out)]
    assert [] == steered
    cases = {row["case"] for _, row in aftermath.accepted() if row["case"]}
    assert len(cases) + 1 == len(aftermath.issues)


def test_the_daemon_lives_and_files_a_good_report(aftermath: Aftermath, keys: Keys) -> None:
    """After all that a report is opened, filed and answered, and SIGTERM ends in order."""
    found = ACCEPTED.match(aftermath.good)
    assert found is not None
    row = aftermath.deliveries[found[1]]
    assert ("done", "report", "encrypted+signed") == (row["state"], row["class"], row["protection"])
    assert any(GOOD_CANARY in shown.out for shown in aftermath.issues)
    last = [mail for mail in aftermath.answers if mail.recipients == (REPORTER,)][-1]
    assert row["case"].encode() in keys.reporter.decrypt(_ciphertext(last.content))
    assert 0 == aftermath.exit_status


def test_nothing_of_a_mail_is_in_the_log(aftermath: Aftermath) -> None:
    """No word of subject, body, names or files, and no address of a reporter."""
    log = aftermath.log.lower()
    assert [] == [word for word in (CANARY.lower(), DOMAIN, REPORTER, "traceback") if word in log]
    assert "fault" not in {event["event"] for event in lines_of_json(aftermath.log)}


def test_no_answer_repeats_anything_of_a_mail(aftermath: Aftermath, keys: Keys) -> None:
    """Nothing of the report, no injected field, and one plain address for each mail."""
    for taken in aftermath.answers:
        mail = message_from_bytes(taken.content, policy=policy.SMTP)
        assert isinstance(mail, EmailMessage)
        assert "bcc" not in {name.lower() for name in mail.keys()}  # noqa: SIM118 - no mapping
        assert ([], 1) == (mail.defects, len(mail.get_all("To", [])))
        assert CANARY.encode() not in taken.content
        assert all(CANARY not in part for part in _texts(mail))
        assert "victim" not in "".join(taken.recipients)
        if mail.get_content_type() == "multipart/encrypted":
            assert CANARY.encode() not in keys.reporter.decrypt(_ciphertext(taken.content))


def _texts(mail: EmailMessage) -> list[str]:
    return [part.get_content() for part in mail.walk() if part.get_content_type() == "text/plain"]


def _ciphertext(content: bytes) -> bytes:
    begin = content.index(b"-----BEGIN PGP MESSAGE")
    return content[begin : content.index(b"-----END PGP MESSAGE-----") + 25]


def test_inspect_tells_of_every_mail_in_one_line(aftermath: Aftermath) -> None:
    """Exit status 0, a line of JSON for each file that keeps to the schema, and no traceback."""
    done = aftermath.inspected[0]
    assert (0, "") == (done.status, done.err)
    assert len(aftermath.sent) == len(done.rows)
    validator = Draft202012Validator(SCHEMA)
    assert [] == [error.message for row in done.rows for error in validator.iter_errors(row)]


def test_inspect_agrees_with_what_the_daemon_did(aftermath: Aftermath) -> None:
    """Protection and class are the same for each of them."""
    rows = {Path(row["file"]).stem: row for row in aftermath.inspected[0].rows}
    differing = {
        specimen.name: (row["protection"], row["class"])
        for specimen, row in aftermath.accepted()
        if (row["protection"], row["class"])
        != (rows[specimen.name]["protection"], rows[specimen.name]["class"])
    }
    assert {} == differing


def test_inspect_for_people_moves_no_terminal(aftermath: Aftermath) -> None:
    """The same for a person: exit status 0, each file named, no control character, no bidi."""
    done = aftermath.inspected[1]
    assert (0, "") == (done.status, done.err)
    assert [] == [one.name for one in aftermath.sent if f"{one.name}.eml" not in done.text]
    assert None is STEERING.search(done.text)
