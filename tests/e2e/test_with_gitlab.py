"""Does the whole path hold before a GitLab?  Real daemon, real HTTP, faults from outside."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.fake_gitlab import FakeGitLab
from tests.support.keys import REPORTER, ROLE, Keys, Ring, copied_ring
from tests.support.mortal import Story
from tests.support.relay import Relay, relay_in_thread
from tests.support.reports import CANARY, encrypted_report, plain_report
from tests.support.running import PATIENCE, RunningDaemon, command, lines_of_json, write_config
from tests.support.village import states, wait_until

_MEMBER = """
[[alias.member]]
address = "member@example.org"
fingerprint = "{}"
"""


@dataclass
class Place:
    """A GitLab, a relay, the role's ring, and a folder for installations."""

    gitlab: FakeGitLab
    relay: Relay
    role: Ring
    keys: Keys
    folder: Path

    def config(self, name: str, *, member: str = "") -> Path:
        """Write the configuration of a new installation that files into the GitLab.

        ``member`` is the fingerprint of somebody behind the alias.
        """
        home = self.folder / name
        home.mkdir()
        token = home / "token"
        token.write_text(self.gitlab.token)
        token.chmod(0o600)
        return write_config(
            home,
            role_home=self.role.home,
            role_key=self.keys.role_fpr,
            relay_port=self.relay.port,
            more=f"""[trackers.main]
kind = "gitlab"
url = "{self.gitlab.url}"
token_file = "{token}"
timeout = "8s"
settle = "0s"
""",
            alias=f'tracker = "main"\nproject = "{self.gitlab.project}"'
            + (_MEMBER.format(member) if member else ""),
        )

    def report(self, *, attach: bytes = b"") -> bytes:
        """Return an encrypted and signed report."""
        keys = self.keys
        return encrypted_report(
            keys.reporter, keys.reporter_fpr, keys.role_fpr, mail=plain_report(), attach=attach
        )

    def answers(self) -> set[str]:
        """Return the recipients to whom something went."""
        return {recipient for mail in self.relay.taken for recipient in mail.recipients}


@pytest.fixture(scope="module")
def place(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Start the GitLab and the relay once for all tests of this page."""
    with (
        FakeGitLab.start() as gitlab,
        relay_in_thread() as relay,
        copied_ring(keys.role) as role,
    ):
        yield Place(gitlab, relay, role, keys, tmp_path_factory.mktemp("place"))


@pytest.fixture(autouse=True)
def _fresh(place: Place) -> None:
    place.gitlab.reset()
    place.relay.taken.clear()


def hand_in(port: int, content: bytes) -> str:
    """Hand a mail to the daemon and return the text of its 250."""
    with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE) as client:
        client.ehlo()
        client.mail(REPORTER)
        client.rcpt(ROLE)
        code, text = client.data(content)
        assert code == 250
        return text.decode()


def test_an_encrypted_report_becomes_a_confidential_issue_in_gitlab(place: Place) -> None:
    """Confidential, labelled, assigned, due and told; the quick action in the report stays text."""
    config = place.config("path")
    with RunningDaemon(config) as daemon:
        hand_in(daemon.port, place.report())
        wait_until(lambda: states(config) == ["done"], "not done", beside=[daemon])
        assert daemon.terminate() == 0
    (issue,) = place.gitlab.issues()
    assert issue["confidential"] is True
    assert issue["labels"] == ["Security"]
    assert issue["assignees"][0]["username"] == "alex"
    assert issue["due_date"] is not None
    assert CANARY in issue["description"]
    assert [] == place.gitlab.events()
    assert place.answers() == {REPORTER, ROLE}
    first = place.gitlab.requests("create-issue")[0]
    assert CANARY not in str(first)


def test_a_file_of_a_report_reaches_a_member_sealed(place: Place) -> None:
    """What GitLab holds is ciphertext under a neutral name, and the member's own gpg opens it."""
    member, content = place.keys.stranger, f"\0proof: {CANARY}".encode()
    place.role.take(place.keys.stranger_cert)
    config = place.config("sealed", member=place.keys.stranger_fpr)
    with RunningDaemon(config) as daemon:
        hand_in(daemon.port, place.report(attach=content))
        wait_until(lambda: states(config) == ["done"], "not done", beside=[daemon])
        assert daemon.terminate() == 0
    (issue,), uploads = place.gitlab.issues(), place.gitlab.uploads()
    assert content in [member.decrypt(one["content"].encode("latin-1")) for one in uploads]
    assert [one["name"] for one in uploads if CANARY in one["content"]] == []
    assert all(f"[{one['name']}]({one['url']})" in issue["description"] for one in uploads)
    assert [] == place.gitlab.events()
    assert [] == place.gitlab.violations()


@pytest.mark.parametrize(
    ("fault", "on"),
    [
        ("drop-after", "create-issue"),
        ("drop-before", "create-issue"),
        ("drop-midbody", "create-issue"),
        ("202-without-id", "create-issue"),
        ("202-without-id-after", "create-issue"),
        ("500-after", "create-issue"),
        ("html-200-after", "create-issue"),
        ("429", "create-issue"),
        ("drop-before", "update-issue"),
        ("labels-dropped", ""),
        ("confidential-ignored", ""),
    ],
)
def test_whatever_gitlab_answers_there_is_one_issue_and_it_is_told(
    place: Place, fault: str, on: str
) -> None:
    """Answers lost, empty or wrong, labels and confidentiality dropped once: it comes out right."""
    config = place.config(f"fault-{fault}-{on}")
    place.gitlab.fault(fault, on=on, retry_after="1")
    with RunningDaemon(config) as daemon:
        hand_in(daemon.port, place.report())
        wait_until(lambda: states(config) == ["done"], "not done", beside=[daemon])
        daemon.terminate()
    (issue,) = place.gitlab.issues()
    assert (True, ["Security"], "opened") == (
        issue["confidential"],
        issue["labels"],
        issue["state"],
    )
    assert CANARY in issue["description"]
    assert {REPORTER, ROLE} == place.answers()


def test_a_gitlab_that_keeps_no_secret_gets_no_word_and_the_report_waits(place: Place) -> None:
    """Not to be made confidential: nothing told, closed, alarmed, listed; later it drains."""
    config = place.config("leaky")
    place.gitlab.fault("confidential-ignored", count=1)
    place.gitlab.fault("confidential-put-forbidden", count=1)
    with RunningDaemon(config) as daemon:
        hand_in(daemon.port, place.report())
        waiting = daemon.wait_for("deferred", alarm=True)
        (leaky,) = [issue for issue in place.gitlab.issues() if not issue["confidential"]]
        assert CANARY not in leaky["description"]
        assert leaky["state"] == "closed"
        wait_until(lambda: states(config) == ["done"], "it does not drain", beside=[daemon])
        daemon.terminate()
    told = [issue for issue in place.gitlab.issues() if CANARY in issue["description"]]
    assert [True] == [issue["confidential"] for issue in told]
    assert waiting["why"]


def test_a_redirect_takes_neither_the_token_nor_the_report_elsewhere(place: Place) -> None:
    """307 to another host: the host gets nothing, and the report waits for the operator."""
    config = place.config("redirect")
    place.gitlab.fault("307", count=1000, on="any")
    with RunningDaemon(config) as daemon:
        hand_in(daemon.port, place.report())
        daemon.wait_for("deferred", alarm=True)
        daemon.terminate()
    assert [] == place.gitlab.elsewhere()
    (row,) = lines_of_json(command(config, "delivery", "list", "--state", "deferred", "--json"))
    assert row["why"]


def test_check_names_what_is_wrong_and_ends_with_2(place: Place) -> None:
    """A token that GitLab does not know is named by its setting, with the mend."""
    config = place.config("check")
    (config.parent / "token").write_text("glpat-wrong")
    findings = command(config, "check", "--json", status=2)
    assert "token" in findings
    assert "glpat-wrong" not in findings


@pytest.mark.timeout(1800)
def test_a_power_cut_around_each_request_leaves_one_issue(place: Place) -> None:
    """SIGKILL before and after each request that changes something, then a restart."""
    rehearsal = _play(place, "rehearsal", None)
    points = [point for point in rehearsal.points if " post " in point or " put " in point]
    assert len(points) >= 4, rehearsal.points
    points = [points[0], *(point for point in points if point.startswith("after"))]
    broken = []
    for number, point in enumerate(points):
        place.gitlab.reset()
        story = _play(place, f"cut-{number}", point)
        broken += [f"{point}: {complaint}" for complaint in story.complaints()]
    assert [] == broken


def _play(place: Place, name: str, die: str | None) -> Story:
    config = place.config(name)
    place.relay.taken.clear()
    file = config.parent / "points"
    options = ["--points", str(file), *(["--die", die] if die else [])]
    mortal = RunningDaemon(config, argv=("-m", "tests.support.mortal"), options=options)
    with mortal:
        hand_in(mortal.port, place.report())
        if die is None:
            wait_until(lambda: states(config) == ["done"], "not done", beside=[mortal])
            mortal.terminate()
        else:
            assert -9 == mortal.wait(), f"{die} was not reached"
    if die is not None:
        with RunningDaemon(config) as again:
            wait_until(lambda: states(config) == ["done"], "not done", beside=[mortal, again])
            again.terminate()
    issues: list[dict[str, Any]] = place.gitlab.issues()
    to_reporter = [mail for mail in place.relay.taken if mail.recipients == (REPORTER,)]
    return Story(
        points=file.read_text().splitlines(),
        issues=len(issues),
        told=all(CANARY in issue["description"] for issue in issues),
        answers=[_message_id(mail.content) for mail in to_reporter],
    )


def _message_id(content: bytes) -> str:
    (found,) = [
        line for line in content.split(b"\r\n\r\n")[0].split(b"\r\n") if line[:11] == b"Message-ID:"
    ]
    return found.decode()
