"""Does the whole path hold before a Jira?  Real daemon, real HTTP, both deployments."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.fake_jira import USER, FakeJira
from tests.support.keys import REPORTER, ROLE, Keys, Ring, copied_ring
from tests.support.mortal import Story
from tests.support.relay import Relay, relay_in_thread
from tests.support.reports import CANARY, encrypted_report, plain_report
from tests.support.running import PATIENCE, RunningDaemon, command, write_config
from tests.support.village import states, the_one_that_waits, wait_until

CLOUD = f'deployment = "cloud"\nuser = "{USER}"'
DATA_CENTER = 'deployment = "data-center"'


@dataclass
class Place:
    """A Jira, a relay, the role's ring, and a folder for installations."""

    jira: FakeJira
    relay: Relay
    role: Ring
    keys: Keys
    folder: Path

    def config(self, name: str, *, deployment: str = CLOUD) -> Path:
        """Write the configuration of a new installation that files into the Jira."""
        home = self.folder / name
        home.mkdir()
        token = home / "token"
        token.write_text(self.jira.token)
        token.chmod(0o600)
        return write_config(
            home,
            role_home=self.role.home,
            role_key=self.keys.role_fpr,
            relay_port=self.relay.port,
            more=f"""[trackers.main]
kind = "jira"
url = "{self.jira.url}"
{deployment}
token_file = "{token}"
security_level = "Team"
timeout = "20s"
settle = "0s"
""",
            alias=f'tracker = "main"\nproject = "{self.jira.project}"',
        )

    def report(self) -> bytes:
        """Return an encrypted and signed report."""
        keys = self.keys
        return encrypted_report(
            keys.reporter, keys.reporter_fpr, keys.role_fpr, mail=plain_report()
        )

    def answers(self) -> set[str]:
        """Return the recipients to whom something went."""
        return {recipient for mail in self.relay.taken for recipient in mail.recipients}


@pytest.fixture(scope="module")
def place(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Start the Jira and the relay once for all tests of this page."""
    with (
        FakeJira.start() as jira,
        relay_in_thread() as relay,
        copied_ring(keys.role) as role,
    ):
        yield Place(jira, relay, role, keys, tmp_path_factory.mktemp("place"))


@pytest.fixture(autouse=True)
def _fresh(place: Place) -> None:
    place.jira.reset()
    place.relay.taken.clear()


def hand_in(port: int, content: bytes) -> None:
    """Hand a mail to the daemon, which takes it."""
    with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE) as client:
        client.ehlo()
        client.mail(REPORTER)
        client.rcpt(ROLE)
        assert client.data(content)[0] == 250


@pytest.mark.parametrize("deployment", [CLOUD, DATA_CENTER], ids=["cloud", "data-center"])
def test_an_encrypted_report_becomes_a_secret_issue_in_jira(place: Place, deployment: str) -> None:
    """With its level, labelled, assigned, due and told; nothing of the report comes alive."""
    place.jira.settings(deployment="Cloud" if deployment == CLOUD else "Server")
    config = place.config(f"path-{len(deployment)}", deployment=deployment)
    with RunningDaemon(config) as daemon:
        hand_in(daemon.port, place.report())
        wait_until(lambda: states(config) == ["done"], "not done", beside=[daemon])
        assert daemon.terminate() == 0
    (issue,) = place.jira.issues()
    fields = issue["fields"]
    assert (fields["security"]["name"], fields["labels"]) == ("Team", ["Security"])
    assert "alex" in fields["assignee"].values()
    assert fields["duedate"] is not None
    assert CANARY in str(fields["description"])
    assert place.jira.events() == []
    assert place.jira.violations() == []
    assert place.answers() == {REPORTER, ROLE}
    assert CANARY not in str(place.jira.requests("create-issue"))


def test_a_jira_that_is_behind_and_loses_answers_gets_one_issue(place: Place) -> None:
    """The answer to the create is lost, the search knows nothing: it is found by its key, told."""
    config = place.config("behind")
    place.jira.settings(index_lag=True)
    place.jira.fault("drop-after", on="create-issue")
    with RunningDaemon(config) as daemon:
        hand_in(daemon.port, place.report())
        wait_until(lambda: states(config) == ["done"], "not done", beside=[daemon])
        daemon.terminate()
    (issue,) = place.jira.issues()
    assert CANARY in str(issue["fields"]["description"])
    assert {REPORTER, ROLE} == place.answers()


def test_a_jira_that_keeps_no_secret_gets_no_word_and_the_report_waits(place: Place) -> None:
    """No level to be had: nothing told, closed, alarmed, listed; once it is, the report drains."""
    config = place.config("leaky")
    place.jira.fault("security-ignored", count=99)
    place.jira.fault("security-put-ignored", count=99)
    with RunningDaemon(config) as daemon:
        hand_in(daemon.port, place.report())
        daemon.wait_for("deferred", alarm=True)
        (issue,) = place.jira.issues()
        assert CANARY not in str(place.jira.requests())
        assert issue["fields"]["status"]["name"] == "Done"
        assert the_one_that_waits(config, daemon)["why"]
        place.jira.settings(faults=[])
        wait_until(lambda: states(config) == ["done"], "it does not drain", beside=[daemon])
        daemon.terminate()
    (issue,) = place.jira.issues()
    assert CANARY in str(issue["fields"]["description"])
    assert issue["fields"]["status"]["name"] != "Done"


def test_check_names_what_is_wrong_and_ends_with_2(place: Place) -> None:
    """A level that Jira does not have is named by its setting, with the mend."""
    config = place.config("check")
    place.jira.settings(levels=[["10009", "Other"]], visible=["10009"])
    findings = command(config, "check", "--json", status=2)
    assert "trackers.main.security_level" in findings
    assert "Its levels are: Other." in findings


@pytest.mark.timeout(1800)
def test_a_power_cut_around_each_request_leaves_one_issue(place: Place) -> None:
    """SIGKILL after each request that changed something, then a restart: it is found again."""
    rehearsal = _play(place, "rehearsal", None)
    points = [point for point in rehearsal.points if point.startswith(("after post", "after put"))]
    assert ["after post create issue #1", "after put tell issue #1"] == points
    broken = []
    for number, point in enumerate(points):
        place.jira.reset()
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
    issues = place.jira.issues()
    to_reporter = [mail for mail in place.relay.taken if mail.recipients == (REPORTER,)]
    return Story(
        points=file.read_text().splitlines(),
        issues=len(issues),
        told=all(CANARY in str(issue["fields"]["description"]) for issue in issues),
        answers=[_message_id(mail.content) for mail in to_reporter],
    )


def _message_id(content: bytes) -> str:
    head = content.split(b"\r\n\r\n")[0].split(b"\r\n")
    (found,) = [line for line in head if line[:11] == b"Message-ID:"]
    return found.decode()
