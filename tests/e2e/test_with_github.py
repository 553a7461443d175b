"""Does the whole path hold before a GitHub?  The daemon before ours, the adapter before another's.

The emulator that others wrote is fetched by ``make test-deps``; without it one test is skipped.
Its Apps are not tried: it checks a signature with the private key, which its own library refuses.
"""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.emulated_github import PROJECT, TOKEN, emulated_github, missing
from tests.support.fake_github import FakeGitHub
from tests.support.keys import REPORTER, ROLE, Keys, Ring, copied_ring
from tests.support.messages import a_message
from tests.support.mortal import Story
from tests.support.relay import Relay, relay_in_thread
from tests.support.reports import CANARY, encrypted_report, plain_report
from tests.support.running import PATIENCE, RunningDaemon, command, write_config
from tests.support.trackers import HeldClock, comment_draft, new_key, report_draft
from tests.support.village import states, the_one_that_waits, wait_until

from secbridge.model.issue import Actor, IssueChange, Severity
from secbridge.model.plaintext import Secret
from secbridge.ports import EffectKey, Tracker
from secbridge.trackers import registry
from secbridge.trackers.registry import TrackerContext

# ── The daemon before the fake ───────────────────────────────────────────────────────────────────


@dataclass
class Place:
    """A GitHub, a relay, the role's ring, and a folder for installations."""

    github: FakeGitHub
    relay: Relay
    role: Ring
    keys: Keys
    folder: Path

    def config(self, name: str) -> Path:
        """Write the configuration of a new installation that files into the GitHub."""
        home = self.folder / name
        home.mkdir()
        token = home / "token"
        token.write_text(self.github.token)
        token.chmod(0o600)
        return write_config(
            home,
            role_home=self.role.home,
            role_key=self.keys.role_fpr,
            relay_port=self.relay.port,
            more=f"""[trackers.main]
kind = "github"
url = "{self.github.api}"
token_file = "{token}"
timeout = "20s"
settle = "0s"
""",
            alias=f'tracker = "main"\nproject = "{self.github.project}"',
        )

    def report(self) -> bytes:
        """Return an encrypted and signed report."""
        return encrypted_report(
            self.keys.reporter, self.keys.reporter_fpr, self.keys.role_fpr, mail=plain_report()
        )

    def told(self) -> list[dict[str, Any]]:
        """Return the issues that hold the report."""
        return [issue for issue in self.github.issues() if CANARY in issue["body"]]


@pytest.fixture(scope="module")
def place(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Start the GitHub and the relay once for all tests of this page."""
    with (
        FakeGitHub.start() as github,
        relay_in_thread() as relay,
        copied_ring(keys.role) as role,
    ):
        yield Place(github, relay, role, keys, tmp_path_factory.mktemp("place"))


@pytest.fixture
def fresh(place: Place) -> Iterator[Place]:
    """Return the place with an empty GitHub, and see that nothing was said that is unknown."""
    place.github.reset()
    place.relay.taken.clear()
    yield place
    assert place.github.violations() == []


def hand_in(port: int, content: bytes) -> None:
    """Hand a mail to the daemon, which takes it."""
    with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE) as client:
        client.ehlo()
        client.mail(REPORTER)
        client.rcpt(ROLE)
        code, _ = client.data(content)
        assert code == 250


def test_an_encrypted_report_becomes_an_issue_in_the_private_repository(fresh: Place) -> None:
    """Labelled, assigned, due and told, while the create held nothing of the mail."""
    config = fresh.config("path")
    with RunningDaemon(config) as daemon:
        hand_in(daemon.port, fresh.report())
        wait_until(lambda: states(config) == ["done"], "not done", beside=[daemon])
        assert daemon.terminate() == 0
    (issue,) = fresh.told()
    assert [label["name"] for label in issue["labels"]] == ["Security"]
    assert [person["login"] for person in issue["assignees"]] == ["alex"]
    assert issue["milestone"]["due_on"] is not None
    assert {one for mail in fresh.relay.taken for one in mail.recipients} == {REPORTER, ROLE}
    (create,) = fresh.github.requests("create-issue")
    assert CANARY not in str(create)
    assert fresh.github.events() == []


def test_answers_that_are_lost_leave_one_issue_and_it_is_told(fresh: Place) -> None:
    """A milestone, an issue and a text whose answers never came: it comes out right."""
    config = fresh.config("lost")
    fresh.github.fault("500-after", on="create-milestone")
    fresh.github.fault("drop-after", on="create-issue")
    fresh.github.fault("html-200-after", on="update-issue")
    with RunningDaemon(config) as daemon:
        hand_in(daemon.port, fresh.report())
        wait_until(lambda: states(config) == ["done"], "not done", beside=[daemon])
        daemon.terminate()
    assert len(fresh.github.issues()) == len(fresh.told()) == 1


def test_a_limit_is_waited_for_and_not_slept_through(fresh: Place) -> None:
    """A secondary limit asks for a minute: the delivery waits so long, listed."""
    config = fresh.config("limit")
    fresh.github.fault("secondary-limit", on="create-issue")
    with RunningDaemon(config) as daemon:
        hand_in(daemon.port, fresh.report())
        assert 55 <= daemon.wait_for("deferred")["seconds"] <= 90
        assert daemon.terminate() == 0
    assert states(config) == ["deferred"]


def test_a_repository_that_was_opened_gets_nothing_and_the_report_waits(fresh: Place) -> None:
    """Public: not even an empty issue, an alarm, a listed delivery; private again: it drains."""
    config = fresh.config("public")
    fresh.github.settings(visibility="public")
    with RunningDaemon(config) as daemon:
        hand_in(daemon.port, fresh.report())
        daemon.wait_for("deferred", alarm=True)
        assert fresh.github.issues() == []
        assert the_one_that_waits(config, daemon)["why"]
        fresh.github.settings(visibility="private")
        wait_until(lambda: states(config) == ["done"], "it does not drain", beside=[daemon])
        daemon.terminate()
    assert len(fresh.told()) == 1


def test_check_names_what_is_wrong_and_ends_with_2(fresh: Place) -> None:
    """A token that GitHub does not know is named by its setting, and not shown."""
    config = fresh.config("check")
    (config.parent / "token").write_text("github_pat_wrong")
    findings = command(config, "check", "--json", status=2)
    assert "trackers.main.token_credential" in findings
    assert "github_pat_wrong" not in findings


@pytest.mark.timeout(1800)
def test_a_power_cut_around_the_requests_leaves_one_issue(place: Place) -> None:
    """SIGKILL after the create and after the telling, then a restart."""
    broken = []
    for point in ("after post create issue #1", "after patch tell issue #1"):
        place.github.reset()
        place.relay.taken.clear()
        story = _play(place, point)
        broken += [f"{point}: {complaint}" for complaint in story.complaints()]
    assert [] == broken


def _play(place: Place, die: str) -> Story:
    config = place.config(die.replace(" ", "-").replace("#", ""))
    file = config.parent / "points"
    options = ["--points", str(file), "--die", die]
    mortal = RunningDaemon(config, argv=("-m", "tests.support.mortal"), options=options)
    with mortal:
        hand_in(mortal.port, place.report())
        assert -9 == mortal.wait(), f"{die} was not reached"
    with RunningDaemon(config) as again:
        wait_until(lambda: states(config) == ["done"], "not done", beside=[mortal, again])
        again.terminate()
    issues = place.github.issues()
    to_reporter = [mail for mail in place.relay.taken if mail.recipients == (REPORTER,)]
    return Story(
        points=file.read_text().splitlines(),
        issues=len(issues),
        told=all(CANARY in issue["body"] for issue in issues),
        answers=[_message_id(mail.content) for mail in to_reporter],
    )


def _message_id(content: bytes) -> str:
    (found,) = [
        line for line in content.split(b"\r\n\r\n")[0].split(b"\r\n") if line[:11] == b"Message-ID:"
    ]
    return found.decode()


# ── The adapter before a GitHub that others wrote ────────────────────────────────────────────────


@dataclass
class Emulated:
    """The adapter before the emulator, as the drafts of the contract suite need it."""

    url: str
    project: str = PROJECT

    def __post_init__(self) -> None:
        self.clock = HeldClock()

    def tracker_of(self, secrets: dict[str, str], **settings: Any) -> Tracker:
        """Return the adapter with these settings."""
        nobody_asks: Any = None  # a GitHub needs neither the store nor the role key
        context = TrackerContext(
            "t", lambda name: Secret(secrets[name]), nobody_asks, nobody_asks, self.clock
        )
        plugin = registry.plugin("github")
        given = {"url": self.url, "timeout": 20, "settle": 0}
        return plugin.create(context, plugin.settings_model(**(given | settings)), self.project)


async def test_the_adapter_works_with_the_emulator(tmp_path: Path) -> None:
    """One issue, told, found again, commented once, changed: by PyGithub, before strange code.

    It has no path for who may be assigned, so that nobody is, which the issue says.
    """
    if lacking := missing():
        pytest.skip(lacking)
    with emulated_github(tmp_path) as url:
        bench: Any = Emulated(url)
        tracker = bench.tracker = bench.tracker_of({"token": TOKEN}, token_credential="t")
        key, draft = new_key(), report_draft(bench, a_message(text=CANARY))
        ref = await tracker.ensure_issue(key, draft)
        again = EffectKey(key.marker, bench.clock.now())
        assert ref == await tracker.ensure_issue(again, draft)
        note, told = new_key(), comment_draft(bench, a_message(text=CANARY))
        comment = await tracker.ensure_comment(ref, note, told)
        again = EffectKey(note.marker, bench.clock.now())
        assert comment == await tracker.ensure_comment(ref, again, told)
        change = IssueChange(add_labels=("triaged",), remove_labels=("none",), open=False)
        await tracker.update(ref, change)
        state = await tracker.look(ref)
        findings = await tracker.check()
        may = await tracker.may_command(Actor("1", "secbridge-bot"))
        await tracker.aclose()
    assert (ref.project, ref.number) == (PROJECT, "1")
    assert (state.confidential, state.open) == (True, False)
    assert (sorted(state.labels), state.due) == (["Security", "triaged"], draft.due)
    assert [one for one in findings if one.severity is Severity.ERROR] == []
    assert not may  # the account has another number there
