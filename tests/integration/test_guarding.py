"""Is anything filed where no secret can be kept, and is it seen when one is opened to others?"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.support.fake_gitlab import FakeGitLab
from tests.support.guarded import Installation, gitlab_config, installation
from tests.support.keys import Keys, Ring
from tests.support.reports import CANARY, plain_report
from tests.support.trackers import log_lines

from secbridge.cli.checks import check_everything
from secbridge.errors import PermanentFault, TransientFault
from secbridge.model.delivery import State
from secbridge.model.issue import Finding, Severity
from secbridge.pipeline.guarding import Guarding
from secbridge.pipeline.watching import Watching


@pytest.fixture(scope="module")
def gitlab_server() -> Iterator[FakeGitLab]:
    """Return the fake GitLab of this page."""
    with FakeGitLab.start() as gitlab:
        yield gitlab


@pytest.fixture
def gitlab(gitlab_server: FakeGitLab) -> FakeGitLab:
    """Return the fake GitLab, empty."""
    gitlab_server.reset()
    return gitlab_server


@pytest.fixture
async def here(
    tmp_path: Path, gitlab: FakeGitLab, role_ring: Ring, keys: Keys
) -> AsyncIterator[Installation]:
    """Return an installation that files into the GitLab, without a fallback."""
    config = gitlab_config(tmp_path / "home", gitlab, role_ring, keys.role_fpr)
    async with installation(config, keys) as opened:
        yield opened


def report() -> bytes:
    """Return a report in clear."""
    return plain_report().as_bytes()


def findings(lines: list[Any]) -> list[Any]:
    """Return the findings of a log that ask for a person."""
    return [line for line in lines if line["event"] == "check.finding" and line["alarm"]]


# ── A project that cannot keep a secret ──────────────────────────────────────────────────────────


async def test_a_refused_project_gets_nothing_and_the_report_waits(
    here: Installation, gitlab: FakeGitLab
) -> None:
    """Not even the neutral issue is made; the delivery is listed, and the log names the mend."""
    gitlab.settings(archived=True)
    delivery = await here.receive(report())
    with log_lines() as lines:
        await here.work()
    waiting = await here.delivery(delivery)
    assert (State.DEFERRED, "project-refused") == (waiting.state, waiting.why)
    assert [] == gitlab.requests("create-issue")
    (told,) = findings(lines)
    assert told["subject"] == f"tracker main {gitlab.project}"
    assert told["text"] == "The project is archived."
    assert told["setting"] == "alias.project"
    assert told["mend"]
    assert any(line["event"] == "deferred" and line["alarm"] for line in lines)


async def test_a_mended_project_gets_the_report_when_it_is_tried_again(
    here: Installation, gitlab: FakeGitLab
) -> None:
    """Nobody has to tell secbridge: the next try looks again, and the mail drains."""
    gitlab.settings(archived=True)
    delivery = await here.receive(report())
    await here.work()
    gitlab.settings(archived=False)
    here.clock.advance(minutes=1)
    with log_lines() as lines:
        await here.work()
    assert (await here.delivery(delivery)).state is State.ANSWERED
    assert ["tracker.project_mended"] == [
        line["event"] for line in lines if line["event"].startswith("tracker.project")
    ]
    (issue,) = gitlab.issues()
    assert CANARY in issue["description"]


async def test_a_refused_project_is_not_asked_at_every_try(
    here: Installation, gitlab: FakeGitLab
) -> None:
    """Within the time that a refusal holds, a hundred waiting mails cost one check."""
    gitlab.settings(archived=True)
    guarding = Guarding(here.house.trackers, here.house.store, clock=here.clock)
    for _ in range(3):
        with pytest.raises(PermanentFault):
            await guarding.tracker("main", gitlab.project)
    asked = len(gitlab.requests("project"))
    here.clock.advance(seconds=61)
    with pytest.raises(PermanentFault) as told:
        await guarding.tracker("main", gitlab.project)
    assert (1, 2) == (asked, len(gitlab.requests("project")))
    assert ("alias.project", "project-refused") == (told.value.setting, told.value.code)
    assert told.value.mend


async def test_a_good_project_is_not_asked_for_each_mail(
    here: Installation, gitlab: FakeGitLab
) -> None:
    """One check at the start is enough; proof comes before each report in any case."""
    for _ in range(2):
        await here.receive(report())
        await here.work()
        here.clock.advance(minutes=10)
    assert len(gitlab.requests("project")) == 1
    assert len(gitlab.issues()) == 2


async def test_a_comment_waits_as_well(here: Installation, gitlab: FakeGitLab) -> None:
    """A follow-up holds as much of the secret as the report does."""
    first = await here.receive(report())
    await here.work()
    case = await here.case(first)
    gitlab.settings(archived=True)
    await here.strike("guarding")
    second = await here.receive(report(), to="security+x@example.org", token=case.token)
    await here.work()
    assert "project-refused" == (await here.delivery(second)).why
    assert [] == gitlab.requests("create-note")


# ── A tracker that is away says nothing of its project ───────────────────────────────────────────


async def test_a_tracker_that_is_away_is_not_refused(
    here: Installation, gitlab: FakeGitLab
) -> None:
    """The mail waits without an alarm, as for any tracker that is away."""
    gitlab.fault("503-before", count=100, on="any")
    delivery = await here.receive(report())
    with log_lines() as lines:
        await here.work()
    waiting = await here.delivery(delivery)
    assert waiting.state is State.DEFERRED
    assert waiting.why != "project-refused"
    assert [] == findings(lines)
    assert not here.house.guarding.refuses("main", gitlab.project)


async def test_a_refusal_outlives_a_tracker_that_goes_away(
    here: Installation, gitlab: FakeGitLab
) -> None:
    """What was found wrong is wrong until the opposite is seen."""
    gitlab.settings(archived=True)
    await here.strike("guarding")
    gitlab.fault("503-before", count=100, on="any")
    here.clock.advance(hours=1)
    await here.strike("guarding")
    assert here.house.guarding.refuses("main", gitlab.project)
    with pytest.raises(PermanentFault):
        await here.house.guarding.tracker("main", gitlab.project)


class _Breaks:
    """A third party's tracker whose check has a bug."""

    async def check(self) -> list[Finding]:
        raise ZeroDivisionError


class _IsAway:
    """A third party's tracker whose check raises instead of telling."""

    async def check(self) -> list[Finding]:
        raise TransientFault("tracker-unreachable", "The tracker cannot be reached.")


@pytest.mark.parametrize("tracker", [_Breaks(), _IsAway()])
async def test_a_plugin_whose_check_breaks_is_not_refused(here: Installation, tracker: Any) -> None:
    """A bug there stops neither the daemon nor the mail; telling still proves first."""
    guarding = Guarding({("x", "y"): tracker}, here.house.store, clock=here.clock)
    await guarding.check_all()
    assert await guarding.tracker("x", "y") is tracker


async def test_a_tracker_that_is_not_configured_is_named(here: Installation) -> None:
    """A case of a tracker that was taken out of the configuration waits for it."""
    with pytest.raises(PermanentFault) as told:
        await here.house.guarding.tracker("gone", "project")
    assert ("tracker-not-configured", "alias.tracker") == (told.value.code, told.value.setting)


async def test_how_the_last_check_ended_is_kept(here: Installation, gitlab: FakeGitLab) -> None:
    """The first of several refusals is remembered, so that ``check`` can say since when."""
    store = here.house.store
    await here.strike("guarding")
    assert [None] == [check.refused_since for check in await store.project_checks()]
    gitlab.settings(archived=True)
    began = here.clock.advance(hours=1)
    await here.strike("guarding")
    again = here.clock.advance(hours=1)
    await here.strike("guarding")
    (kept,) = await store.project_checks()
    assert (began, again) == (kept.refused_since, kept.checked_at)
    gitlab.settings(archived=False)
    await here.strike("guarding")
    assert [None] == [check.refused_since for check in await store.project_checks()]


# ── Issues that were secret once ─────────────────────────────────────────────────────────────────


async def filed(here: Installation) -> str:
    """File a report and return the id of its case."""
    delivery = await here.receive(report())
    await here.work()
    return (await here.case(delivery)).id


async def test_an_issue_that_is_opened_to_others_raises_one_alarm(
    here: Installation, gitlab: FakeGitLab
) -> None:
    """Seen at the next round, told once, kept in the journal; and told when it is secret again."""
    case = await filed(here)
    (issue,) = gitlab.issues()
    await here.strike("watching")
    gitlab.edit(issue["iid"], confidential=False)
    seen: list[tuple[str, bool]] = []
    for confidential in (False, False, True, True):
        gitlab.edit(issue["iid"], confidential=confidential)
        with log_lines() as lines:
            await here.strike("watching")
        seen += [
            (line["standing"], line["alarm"])
            for line in lines
            if line["event"] == "tracker.issue_standing"
        ]
    assert [("exposed", True), ("kept", False)] == seen
    events = [event for event, _ in await here.journal(case) if "issue-" in event]
    assert ["case.issue-exposed", "case.issue-kept"] == events


async def test_an_issue_that_is_gone_raises_one_alarm(
    here: Installation, gitlab: FakeGitLab
) -> None:
    """Moved to where the bot sees nothing, nobody can say any more who reads it."""
    case = await filed(here)
    (issue,) = gitlab.issues()
    gitlab.move(issue["iid"], 10)
    alarms = []
    for _ in range(2):
        with log_lines() as lines:
            await here.strike("watching")
        alarms += [line["standing"] for line in lines if line["event"] == "tracker.issue_standing"]
    assert ["gone"] == alarms
    assert "case.issue-gone" in [event for event, _ in await here.journal(case)]


async def test_an_issue_that_was_moved_is_kept_where_it_is(
    here: Installation, gitlab: FakeGitLab
) -> None:
    """The next comment goes to the issue's new place, and the journal knows it."""
    case_id = await filed(here)
    (issue,) = gitlab.issues()
    gitlab.move(issue["iid"], 9)
    await here.strike("watching")
    case = await here.house.store.get_case(case_id)
    assert case is not None
    assert case.issue is not None
    assert ("main", "group/product") == (case.issue.tracker, case.issue.project)
    assert ("main", gitlab.project) == case.place
    follow_up = await here.receive(report(), to="security+x@example.org", token=case.token)
    await here.work()
    assert (await here.delivery(follow_up)).state is not State.DEFERRED
    assert "case.issue-moved" in [event for event, _ in await here.journal(case_id)]


async def test_a_round_is_bounded_and_takes_the_longest_unseen_first(
    here: Installation, gitlab: FakeGitLab
) -> None:
    """With more issues than one round may look at, each has its turn."""
    for _ in range(3):
        await filed(here)
    watching = Watching(here.house.store, here.house.guarding)
    for issue in gitlab.issues():
        gitlab.edit(issue["iid"], confidential=False)
    alarms: list[str] = []
    for _ in range(3):
        here.clock.advance(minutes=1)
        with log_lines() as lines:
            await watching.look_around(limit=1)
        alarms += [line["case"] for line in lines if line["event"] == "tracker.issue_standing"]
    assert 3 == len(set(alarms)) == len(alarms)


async def test_a_tracker_that_is_away_is_left_alone_for_the_round(
    here: Installation, gitlab: FakeGitLab
) -> None:
    """One question that is not answered is enough, and no issue counts as gone."""
    for _ in range(3):
        await filed(here)
    before = len(gitlab.requests("read-issue"))
    gitlab.fault("503-before", count=100, on="any")
    with log_lines() as lines:
        await here.strike("watching")
    assert len(gitlab.requests("read-issue")) - before == 1
    assert [] == [line for line in lines if line.get("alarm")]


# ── What ``secbridge check`` says of it ──────────────────────────────────────────────────────────


def told(findings: Sequence[Finding], subject: str) -> list[tuple[Severity, str]]:
    """Return what is said of a subject."""
    return [(one.severity, one.text) for one in findings if one.subject == subject]


async def test_check_says_what_the_daemon_thinks_of_each_project(
    here: Installation, gitlab: FakeGitLab
) -> None:
    """A project that is mended a minute ago may still be refused, and that is told."""
    place = f"tracker main {gitlab.project}"
    findings = await check_everything(here.house.settings)
    assert (Severity.OK, "The daemon has not checked it yet.") in told(findings, place)
    gitlab.settings(archived=True)
    await here.strike("guarding")
    gitlab.settings(archived=False)
    findings = await check_everything(here.house.settings)
    (warning,) = [text for severity, text in told(findings, place) if severity is Severity.WARNING]
    assert "The daemon files nothing there since" in warning
    await here.strike("guarding")
    findings = await check_everything(here.house.settings)
    assert any("The daemon files there" in text for _, text in told(findings, place))
