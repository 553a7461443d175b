"""Does the whole path hold behind a real MTA?  Postfix in front, Postfix behind, a real maildir."""

from __future__ import annotations

import json
from collections.abc import Iterator
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from tests.support.keys import REPORTER, ROLE, Keys, copied_ring
from tests.support.mortal import Story
from tests.support.postfix import why_not
from tests.support.reports import CANARY, encrypted_report, plain_report, wrapped
from tests.support.running import RunningDaemon, command, lines_of_json
from tests.support.village import Village, issue_numbers, states, village, wait_until

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


@pytest.fixture(scope="module")
def here(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Village]:
    """Return Postfix with a place for daemons behind it."""
    with village(keys, tmp_path_factory.mktemp("village")) as made:
        yield made


def test_a_report_comes_in_by_lmtp_and_its_answer_reaches_the_reporters_maildir(
    here: Village, keys: Keys
) -> None:
    """PGP/MIME through Postfix to the daemon; the encrypted answer through Postfix to a maildir."""
    config = here.config("path")
    mail = plain_report()
    report = encrypted_report(keys.reporter, keys.reporter_fpr, keys.role_fpr, mail=mail)
    with RunningDaemon(config) as daemon:
        here.send(report)
        (answer,) = here.wait_for_answers(mail["Message-ID"])
        wait_until(lambda: states(config) == ["done"] * 2, "the copy is not filed", beside=[daemon])
        assert daemon.terminate() == 0

    issues = lines_of_json(command(config, "issue", "list", "--json"))
    assert [issue["confidential"] for issue in issues] == [True]
    assert [issue["labels"] for issue in issues] == [["Security"]]
    assert CANARY in command(config, "issue", "show", "1")

    received = message_from_bytes(answer, policy=default)
    assert received["Cc"] == ROLE
    assert received["Subject"] == "[...]"
    assert received.get_content_type() == "multipart/encrypted"
    assert CANARY.encode() not in answer
    armor = answer[answer.index(b"-----BEGIN PGP MESSAGE") :]
    with copied_ring(keys.reporter) as ring:
        opened = ring.decrypt(armor)
    assert b"SB-" in opened
    assert CANARY.encode() not in opened


def test_our_own_answer_comes_back_through_the_alias_and_is_filed_silently(
    here: Village, keys: Keys
) -> None:
    """The alias on CC brings our own mail back: one case, nothing answered, nothing new."""
    config = here.config("loop")
    mail = plain_report()
    with RunningDaemon(config) as daemon:
        here.send(mail.as_bytes())
        here.wait_for_answers(mail["Message-ID"])
        wait_until(lambda: states(config) == ["done"] * 2, "the copy is not filed", beside=[daemon])
        here.postfix.wait_until_queue_is_empty()
        assert daemon.terminate() == 0
    deliveries = lines_of_json(command(config, "delivery", "list", "--json"))
    assert {"own", "report"} == {delivery["class"] for delivery in deliveries}
    assert 1 == len(lines_of_json(command(config, "issue", "list", "--json")))
    assert 1 == len(here.answers(mail["Message-ID"]))


def test_a_mail_for_a_wrong_key_becomes_an_issue_and_the_reporter_is_told_our_key(
    here: Village, keys: Keys
) -> None:
    """What nobody can read is listed, and the notice that leaves in clear holds nothing of it."""
    config = here.config("wrong")
    mail = plain_report()
    armor = keys.stranger.encrypt(b"hidden", keys.stranger_fpr)
    with RunningDaemon(config) as daemon:
        here.send(wrapped(mail, armor))
        (answer,) = here.wait_for_answers(mail["Message-ID"])
        wait_until(lambda: states(config) == ["done"] * 2, "not done", beside=[daemon])
    assert "secbridge delivery raw" in command(config, "issue", "show", "1")
    body = message_from_bytes(answer, policy=default).get_body(("plain",))
    assert body is not None
    assert keys.role_fpr in body.get_content().replace(" ", "")


def test_inspect_agrees_with_what_the_daemon_did(here: Village, keys: Keys, tmp_path: Path) -> None:
    """The same raw mail, looked at without side effects, gets the same class, reasons and route."""
    config = here.config("inspect")
    mails: list[bytes] = [
        encrypted_report(keys.reporter, keys.reporter_fpr, keys.role_fpr),
        plain_report().as_bytes(),
        wrapped(plain_report(), keys.stranger.encrypt(b"hidden", keys.stranger_fpr)),
        _automatic().as_bytes(),
    ]
    with RunningDaemon(config) as daemon:
        for mail in mails:
            here.send(mail)
        wait_until(
            lambda: states(config).count("done") >= len(mails) + 3, "not done", beside=[daemon]
        )
        daemon.terminate()
    listed = lines_of_json(command(config, "delivery", "list", "--json"))
    done = [row for row in listed if row["class"] != "own"]
    assert len(mails) == len(done)
    for row in done:
        shown = json.loads(command(config, "delivery", "show", row["id"], "--json"))
        file = tmp_path / f"{row['id']}.eml"
        raw = command(config, "delivery", "raw", row["id"])
        file.write_bytes(raw.encode())
        (seen,) = lines_of_json(
            command(config, "inspect", str(file), "--json", "--recipient", ROLE)
        )
        assert _told(shown) == _told(seen)


def _automatic() -> EmailMessage:
    mail = plain_report(subject="Out of office", text="I am away.")
    mail["Auto-Submitted"] = "auto-replied"
    return mail


def _told(row: dict[str, Any]) -> dict[str, Any]:
    """Return what ``delivery show`` and ``inspect`` both tell."""
    names = ("class", "reasons", "protection", "may_reply", "reply_refused_because")
    return {name: row[name] for name in names} | {"tracker": (row["route"] or {}).get("tracker")}


def test_a_word_of_an_encrypted_report_is_nowhere_but_in_memory(
    here: Village, keys: Keys, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The canary is afterwards in no file of the state, no log and no temporary file."""
    config = here.config("canary")
    mail = plain_report()
    temporary = tmp_path_factory.mktemp("tmp")
    daemon = RunningDaemon(config, environment={"TMPDIR": str(temporary)})
    with daemon:
        here.send(encrypted_report(keys.reporter, keys.reporter_fpr, keys.role_fpr, mail=mail))
        here.wait_for_answers(mail["Message-ID"])
        wait_until(lambda: states(config) == ["done"] * 2, "not done", beside=[daemon])
        places = [config.parent, here.role.home, temporary]
        found = [
            str(file)
            for place in places
            for file in place.rglob("*")
            if file.is_file() and CANARY.encode() in file.read_bytes()
        ]
        assert [] == found
        daemon.terminate()
    assert CANARY not in "".join(daemon.raw_log)
    assert REPORTER not in "".join(daemon.raw_log)
    assert CANARY in command(config, "issue", "show", "1")


@pytest.mark.timeout(1800)
def test_a_power_cut_at_any_step_leaves_one_issue_and_one_answer(here: Village, keys: Keys) -> None:
    """SIGKILL after everything that lasts or leaves, and before the first of it, then a restart.

    Before one is after the one before it: nothing that lasts lies between.  Each time the issue
    exists once and is told, and the reporter got the answer once or twice, under one Message-ID.
    """
    rehearsal = _play(here, keys, "rehearsal", None)
    points = rehearsal.points
    assert len(points) > 16, points
    points = [points[0], *(point for point in points if point.startswith("after"))]
    assert len(points) > 8, points
    broken: list[str] = []
    for number, point in enumerate(points):
        story = _play(here, keys, f"cut-{number}", point)
        broken += [f"{point}: {complaint}" for complaint in story.complaints()]
    assert [] == broken


def _play(here: Village, keys: Keys, name: str, die: str | None) -> Story:
    """Send a report to a daemon that dies at a point, start it again, tell what came of it."""
    config = here.config(name)
    file = config.parent / "points"
    mail = plain_report()
    report = encrypted_report(keys.reporter, keys.reporter_fpr, keys.role_fpr, mail=mail)
    options = ["--points", str(file), *(["--die", die] if die else [])]
    mortal = RunningDaemon(config, argv=("-m", "tests.support.mortal"), options=options)
    daemons = [mortal]
    with mortal:
        here.send(report)
        if die is None:
            _settled(here, config, mail, daemons)
            mortal.terminate()
        else:
            assert mortal.wait() == -9, f"{die} was not reached"
    if die is not None:
        again = RunningDaemon(config)
        daemons.append(again)
        with again:
            here.postfix.flush()
            _settled(here, config, mail, daemons)
            again.terminate()
    return Story(
        points=file.read_text().splitlines(),
        issues=len(issue_numbers(config)),
        told=CANARY in command(config, "issue", "show", "1"),
        answers=[message_from_bytes(one)["Message-ID"] for one in here.answers(mail["Message-ID"])],
    )


def _settled(here: Village, config: Path, mail: EmailMessage, daemons: list[RunningDaemon]) -> None:
    """Wait until the report and the alias's copy of the answer are done.

    What the relay took when the power went goes to it again: there may be two copies.
    """
    here.wait_for_answers(mail["Message-ID"])

    def done() -> bool:
        found = states(config)
        return set(found) == {"done"} and len(found) >= 2

    wait_until(done, "not everything is done", beside=daemons)
    here.postfix.wait_until_queue_is_empty()
    wait_until(done, "not everything is done", beside=daemons)
