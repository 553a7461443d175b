"""What if a tracker, its people or a plugin do their worst?  Nothing is lost or given away."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.bench_github import GitHubBench
from tests.support.bench_gitlab import GitLabBench
from tests.support.bench_jira import JiraBench
from tests.support.fake_gitlab import HOME, FakeGitLab
from tests.support.fake_jira import FakeJira
from tests.support.guarded import Installation, gitlab_config, installation
from tests.support.keys import Keys, Ring
from tests.support.messages import a_message
from tests.support.office import an_office, letter
from tests.support.reports import plain_report
from tests.support.running import write_config
from tests.support.trackers import (
    alarms,
    comment_draft,
    log_lines,
    new_key,
    persist,
    report_draft,
)

from secbridge.cli.checks import check_everything
from secbridge.errors import PermanentFault
from secbridge.model.case import IssueRef
from secbridge.model.issue import CommentWritten, IssueState, Severity
from secbridge.pipeline.guarding import Guarding
from secbridge.pipeline.watching import Watching
from secbridge.settings import load
from secbridge.trackers import registry
from secbridge.trackers.local import write_comment


async def filed(here: Installation) -> str:
    """Take a report as far as it goes, and return its delivery."""
    delivery = await here.receive(plain_report().as_bytes())
    await here.work()
    return delivery


# ── Two chores at once ───────────────────────────────────────────────────────────────────────────


class _SlowToAnswer:
    """The embedded tracker, while whose answer something else happens."""

    def __init__(self, tracker: Any, meanwhile: Callable[[], Awaitable[None]]) -> None:
        self._tracker = tracker
        self._meanwhile = meanwhile

    async def look(self, ref: IssueRef) -> IssueState:
        state: IssueState = await self._tracker.look(ref)
        await self._meanwhile()
        return state


async def test_a_case_that_comes_home_while_its_old_issue_is_looked_at_stays_at_home(
    tmp_path: Path, gitlab_server: FakeGitLab, role_ring: Ring, keys: Keys
) -> None:
    """What the look saw is of an issue that the case has left; later mails go to the new one."""
    gitlab_server.reset()
    gitlab_server.settings(archived=True)
    alias = 'fallback = "local"'
    config = gitlab_config(tmp_path / "home", gitlab_server, role_ring, keys.role_fpr, alias=alias)
    async with installation(config, keys) as here:
        delivery = await filed(here)
        assert (await here.case(delivery)).place == ("local", "security")

        async def go_home() -> None:
            gitlab_server.settings(archived=False)
            here.clock.advance(hours=1)
            await here.strike("guarding")
            await here.strike("returning")

        place, house = ("local", "security"), here.house
        slow: Any = _SlowToAnswer(house.trackers[place], go_home)
        await Watching(
            house.store, Guarding({place: slow}, house.store, clock=here.clock)
        ).look_around()
        issue = (await here.case(delivery)).issue
        assert issue is not None
        assert ("main", gitlab_server.project) == (issue.tracker, issue.project)


# ── A clumsy operator ────────────────────────────────────────────────────────────────────────────


async def test_an_issue_of_a_project_that_is_not_configured_any_more_hides_no_other(
    tmp_path: Path, gitlab_server: FakeGitLab, role_ring: Ring, keys: Keys
) -> None:
    """Nobody can look at it; that others were opened to the public is alarmed all the same.

    ``HOME`` is the number of the same project, by which it may be configured, too.
    """
    gitlab_server.reset()
    config = gitlab_config(tmp_path / "home", gitlab_server, role_ring, keys.role_fpr)
    async with installation(config, keys) as here:
        await filed(here)
    text, project = config.read_text(), f'project = "{gitlab_server.project}"'
    config.write_text(text.replace(project, f'project = "{HOME}"'))
    async with installation(config, keys) as here:
        case = await here.case(await filed(here))
        assert ("main", str(HOME)) == case.place
        for issue in gitlab_server.issues():
            gitlab_server.edit(issue["iid"], confidential=False)
        with log_lines() as lines:
            await here.strike("watching")
        exposed = [line["case"] for line in lines if line["event"] == "tracker.issue_standing"]
        assert [case.id] == exposed


async def test_cases_in_the_embedded_tracker_whose_alias_is_gone_are_named_by_check(
    tmp_path: Path, gitlab_server: FakeGitLab, role_ring: Ring, keys: Keys
) -> None:
    """Nothing takes them home any more, and nobody else would tell of them."""
    gitlab_server.reset()
    gitlab_server.settings(archived=True)
    alias = 'fallback = "local"'
    config = gitlab_config(tmp_path / "home", gitlab_server, role_ring, keys.role_fpr, alias=alias)
    async with installation(config, keys) as here:
        case = await here.case(await filed(here))
    config.write_text(config.read_text().replace("security@example.org", "other@example.org"))
    findings = await check_everything(load(config))
    (told,) = [one for one in findings if one.subject == "fallback"]
    assert (Severity.ERROR, "alias") == (told.severity, told.setting)
    assert case.id in told.text


async def test_a_token_of_another_account_makes_no_second_issue(gitlab: GitLabBench) -> None:
    """What the new account made is looked for under its own name, without a restart."""
    await gitlab.tracker.ensure_issue(new_key(), report_draft(gitlab))
    await gitlab.tracker.events(None)  # it knows by now who we are
    gitlab.gitlab.settings(token="glpat-of-kim", bot=2)
    with pytest.raises(PermanentFault):  # the old one is refused; that is when it is read again
        await gitlab.tracker.ensure_issue(new_key(), report_draft(gitlab))
    gitlab.token = "glpat-of-kim"
    gitlab.gitlab.fault("drop-after", on="create-issue")
    await persist(gitlab, new_key().marker, report_draft(gitlab))
    assert 2 == len(await gitlab.issues())


# ── A tracker that opens up between two requests ─────────────────────────────────────────────────


async def test_a_repository_that_is_opened_while_a_comment_is_written_is_alarmed_at_once(
    github: GitHubBench,
) -> None:
    """The proof before it was true; the look behind it sees that it is not any more."""
    ref = await github.tracker.ensure_issue(new_key(), report_draft(github))
    github.github.fault("opens-while-commented")
    with log_lines() as lines:
        await github.tracker.ensure_comment(ref, new_key(), comment_draft(github))
    assert ["tracker.not_confidential"] == alarms(lines)


# ── Who commands ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def jira_server() -> Iterator[FakeJira]:
    """Return the fake Jira of this page."""
    with FakeJira.start() as jira:
        yield jira


@pytest.fixture
async def jira(jira_server: FakeJira) -> AsyncIterator[JiraBench]:
    """Return the adapter before an empty Jira."""
    jira_server.reset()
    bench = JiraBench(jira_server)
    yield bench
    await bench.tracker.aclose()
    assert jira_server.violations() == []


async def test_who_edits_a_commanders_comment_does_not_command_in_their_name(
    jira: JiraBench,
) -> None:
    """A Jira lets some people edit everybody's comments: the words count as the editor's own."""

    def body(text: str) -> object:
        said = [{"type": "text", "text": text}]
        return {"type": "doc", "version": 1, "content": [{"type": "paragraph", "content": said}]}

    await jira.tracker.ensure_issue(new_key(), report_draft(jira, a_message()))
    _, cursor = await jira.tracker.events(None)
    number = jira.jira.write(1, body("Looks real."), by="alex")
    events, cursor = await jira.tracker.events(cursor)
    assert [True] == [await jira.tracker.may_command(one.author) for one in _comments(events)]
    edit = {"id": number, "body": body("sb: key accept"), "edited_by": "outsider"}
    jira.jira.edit(1, edit_comment=edit)
    events, _ = await jira.tracker.events(cursor)
    (written,) = _comments(events)
    assert "sb: key accept" == written.text
    assert not await jira.tracker.may_command(written.author)


def _comments(events: object) -> list[CommentWritten]:
    assert isinstance(events, (list, tuple))
    return [event for event in events if isinstance(event, CommentWritten)]


async def test_a_command_that_two_projects_hear_is_answered_once(
    keys: Keys, role_ring: Ring, tmp_path: Path
) -> None:
    """An issue that was moved between two projects of ours is listened to from both."""
    async with an_office(keys, role_ring, tmp_path) as office:
        here, there = ("local", "security"), ("local", "elsewhere")
        tracker = office.trackers[here]
        trackers = {here: tracker, there: tracker}
        conversation = office.conversation(trackers=trackers)
        delivery = await office.receive(letter(keys, "first", attach=[keys.reporter_cert]))
        for place in trackers:
            await conversation.listen(place)
        await write_comment(
            office.store, office.sealer, 1, author="alice", text="sb: help",
            clock=office.house.clock,
        )  # fmt: skip
        with log_lines() as lines:
            for place in trackers:
                await conversation.listen(place)
        assert ["case.commanded"] == [one["event"] for one in lines if "command" in one]
        said = [text for text in await office.comments(delivery) if "What can be asked" in text]
        assert 1 == len(said)


# ── A plugin that raises whatever it likes ───────────────────────────────────────────────────────

SECRET = "the-password-in-an-exception"

BREAKING = f'''
class Tracker:
    def __getattr__(self, verb):
        async def breaks(*given):
            raise LookupError("{SECRET}")
        return breaks

    async def aclose(self):
        pass


class Plugin:
    name = "breaking"

    @property
    def settings_model(self):
        from secbridge.trackers.registry import TrackerSettings
        return TrackerSettings

    def create(self, context, settings, project):
        return Tracker()


plugin = Plugin()
'''


@pytest.fixture
def breaking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a plugin whose every verb raises, and return where it is."""
    site = tmp_path / "site"
    about = site / "breaking-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: breaking\nVersion: 1\n")
    (about / "entry_points.txt").write_text(
        "[secbridge.trackers]\nbreaking = breaking_tracker:plugin\n"
    )
    (site / "breaking_tracker.py").write_text(BREAKING)
    monkeypatch.syspath_prepend(str(site))
    return site


@pytest.mark.usefixtures("breaking")
async def test_a_plugin_that_raises_anything_is_one_finding_among_the_others(
    tmp_path: Path, role_ring: Ring, keys: Keys
) -> None:
    """Check goes on to what comes behind it, and shows nothing of what the exception says."""
    config = write_config(
        tmp_path, role_home=role_ring.home, role_key=keys.role_fpr, relay_port=1,
        more='[trackers.main]\nkind = "breaking"', alias='tracker = "main"\nproject = "x"',
    )  # fmt: skip
    findings = await check_everything(load(config))
    broken = [one for one in findings if one.subject == "tracker main x"]
    assert Severity.ERROR is broken[0].severity
    assert "LookupError" in broken[0].text
    assert broken[0].mend
    assert SECRET not in repr(findings)
    assert "The daemon has not checked it yet." == broken[-1].text


@pytest.mark.usefixtures("breaking")
async def test_a_plugin_that_raises_anything_hides_no_issue_of_another_tracker(
    tmp_path: Path, gitlab_server: FakeGitLab, role_ring: Ring, keys: Keys
) -> None:
    """Its own issue cannot be looked at; the one behind it is, in the same round."""
    gitlab_server.reset()
    config = gitlab_config(tmp_path / "home", gitlab_server, role_ring, keys.role_fpr)
    async with installation(config, keys) as here:
        first, second = [await here.case(await filed(here)) for _ in range(2)]
        assert first.issue is not None
        await here.house.store.move_issue(first.id, replace(first.issue, tracker="bad"))
        trackers: dict[tuple[str, str], Any] = dict(here.house.trackers)
        nothing: Any = None  # the plugin asks for none of it
        trackers["bad", gitlab_server.project] = registry.plugin("breaking").create(
            nothing, nothing, ""
        )
        for issue in gitlab_server.issues():
            gitlab_server.edit(issue["iid"], confidential=False)
        guarding = Guarding(trackers, here.house.store, clock=here.clock)
        with log_lines() as lines:
            await Watching(here.house.store, guarding).look_around()
        exposed = [line["case"] for line in lines if line["event"] == "tracker.issue_standing"]
        assert [second.id] == exposed
        assert SECRET not in repr(lines)
