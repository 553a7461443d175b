"""What do people do in a Jira, and who of them may command?  Read from a search that is behind."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import pytest
from tests.support.bench_jira import JiraBench
from tests.support.fake_jira import BOT, ELSEWHERE, TEAM, FakeJira
from tests.support.messages import a_message
from tests.support.trackers import comment_draft, new_key, report_draft

from secbridge.errors import PermanentFault, TransientFault
from secbridge.model.case import IssueRef
from secbridge.model.issue import Actor, CommentWritten, IssueChanged, TrackerEvent
from secbridge.trackers import jira_events
from secbridge.trackers.jira import JiraTracker


@pytest.fixture(scope="module")
def server() -> Iterator[FakeJira]:
    """Return the fake Jira of this module."""
    with FakeJira.start() as jira:
        yield jira


@pytest.fixture(autouse=True)
def _specified(server: FakeJira) -> Iterator[None]:
    """See that all that was said to the fake, and by it, is what Atlassian specifies."""
    yield
    assert server.violations() == []


@pytest.fixture(params=["cloud", "data-center"])
async def both(server: FakeJira, request: pytest.FixtureRequest) -> AsyncIterator[JiraBench]:
    """Return the adapter before an empty Jira of each deployment."""
    server.reset()
    bench = JiraBench(server, deployment=request.param)
    yield bench
    await bench.tracker.aclose()


@pytest.fixture
async def jira(server: FakeJira) -> AsyncIterator[JiraBench]:
    """Return the adapter before an empty Jira in the cloud."""
    server.reset()
    bench = JiraBench(server)
    yield bench
    await bench.tracker.aclose()


async def an_issue(bench: JiraBench) -> IssueRef:
    """Return a told issue."""
    return await bench.tracker.ensure_issue(new_key(), report_draft(bench, a_message()))


def body(bench: JiraBench, *lines: str) -> object:
    """Return a comment as people write it in this Jira."""
    if bench.deployment != "cloud":
        return "\n".join(lines)
    paragraphs = [
        {"type": "paragraph", "content": [{"type": "text", "text": line}] if line else []}
        for line in lines
    ]
    return {"type": "doc", "version": 1, "content": paragraphs}


def written(events: object) -> list[CommentWritten]:
    """Return the comments among some events."""
    assert isinstance(events, (list, tuple))
    return [event for event in events if isinstance(event, CommentWritten)]


def changed(events: object) -> list[IssueChanged]:
    """Return the changes among some events."""
    assert isinstance(events, (list, tuple))
    return [event for event in events if isinstance(event, IssueChanged)]


# ── Comments ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_persons_comment_comes_once_with_its_words(both: JiraBench) -> None:
    """Author, words line by line, the comment's id as its key; the next call has nothing new."""
    ref = await an_issue(both)
    _, cursor = await both.tracker.events(None)
    number = both.jira.write(1, body(both, "sb: reply", "Dear reporter,", "", "thanks."))
    events, cursor = await both.tracker.events(cursor)
    (comment,) = written(events)
    assert comment.text == "sb: reply\nDear reporter,\n\nthanks."
    assert (comment.key, comment.comment_id) == (number, number)
    assert comment.author == Actor("alex", "Alex", account="alex")
    assert comment.issue == ref
    assert not comment.public
    events, _ = await both.tracker.events(cursor)
    assert events == []


async def test_from_now_on_means_that_nothing_older_comes(jira: JiraBench) -> None:
    """A first call has no events, and a comment from before it does not come when one is added."""
    await an_issue(jira)
    jira.jira.write(1, body(jira, "sb: reply", "old"))
    events, cursor = await jira.tracker.events(None)
    assert list(events) == []
    jira.jira.write(1, body(jira, "sb: reply", "new"))
    events, _ = await jira.tracker.events(cursor)
    assert [comment.text for comment in written(events)] == ["sb: reply\nnew"]


async def test_an_edited_comment_comes_again_under_the_same_key(jira: JiraBench) -> None:
    """The key names the comment and not its versions."""
    await an_issue(jira)
    _, cursor = await jira.tracker.events(None)
    number = jira.jira.write(1, body(jira, "one"))
    first, cursor = await jira.tracker.events(cursor)
    jira.jira.edit(1, edit_comment={"id": number, "body": body(jira, "two")})
    second, _ = await jira.tracker.events(cursor)
    comments = [*written(first), *written(second)]
    assert [comment.text for comment in comments] == ["one", "two"]
    assert {comment.key for comment in comments} == {number}


async def test_a_flood_of_mails_does_not_bury_what_the_team_says(jira: JiraBench) -> None:
    """Who is in a case may send a hundred mails between two looks; each is a comment of ours."""
    await an_issue(jira)
    _, cursor = await jira.tracker.events(None)
    jira.jira.write(1, body(jira, "sb: reply", "heard"))
    for _ in range(jira_events.COMMENTS + 1):
        jira.jira.write(1, body(jira, "A mail."), by=BOT)
    events, _ = await jira.tracker.events(cursor)
    assert [comment.text for comment in written(events)] == ["sb: reply\nheard"]


async def test_our_own_comments_and_those_of_machines_do_not_come(jira: JiraBench) -> None:
    """Neither the account of ours nor an app of Jira is a person."""
    ref = await an_issue(jira)
    _, cursor = await jira.tracker.events(None)
    await jira.tracker.ensure_comment(ref, new_key(), comment_draft(jira, a_message()))
    jira.jira.write(1, body(jira, "sb: reply"), by="robot")
    events, _ = await jira.tracker.events(cursor)
    assert written(events) == []


async def test_comments_come_in_the_order_in_which_they_were_written(jira: JiraBench) -> None:
    """Over several issues, too."""
    for _ in range(2):
        await an_issue(jira)
    _, cursor = await jira.tracker.events(None)
    for number, text in ((2, "one"), (1, "two"), (2, "three")):
        jira.jira.write(number, body(jira, text))
    events, _ = await jira.tracker.events(cursor)
    assert [comment.text for comment in written(events)] == ["one", "two", "three"]
    assert sorted(events, key=lambda event: event.at) == list(events)


async def test_what_the_index_learns_late_is_not_lost(jira: JiraBench) -> None:
    """A call while the search is behind finds nothing; the one after it does."""
    await an_issue(jira)
    _, cursor = await jira.tracker.events(None)
    jira.jira.settings(index_lag=True)
    jira.jira.write(1, body(jira, "late"))
    for _ in range(3):
        events, cursor = await jira.tracker.events(cursor)
        assert list(events) == []
        jira.clock.advance(timedelta(minutes=2))
    jira.jira.settings(index_lag=False)
    events, _ = await jira.tracker.events(cursor)
    assert [comment.text for comment in written(events)] == ["late"]


async def test_a_call_that_fails_loses_nothing(jira: JiraBench) -> None:
    """The cursor moves only with what was handed over."""
    await an_issue(jira)
    _, cursor = await jira.tracker.events(None)
    jira.jira.write(1, body(jira, "kept"))
    jira.jira.fault("500-before", on="list-notes")
    with pytest.raises(TransientFault):
        await jira.tracker.events(cursor)
    events, _ = await jira.tracker.events(cursor)
    assert [comment.text for comment in written(events)] == ["kept"]


async def test_a_token_that_is_refused_half_way_loses_nothing(jira: JiraBench) -> None:
    """An issue that is gone is passed over; a login that fails is not taken for that."""
    await an_issue(jira)
    _, cursor = await jira.tracker.events(None)
    jira.jira.write(1, body(jira, "kept"))
    jira.jira.fault("401", on="list-notes")
    with pytest.raises(PermanentFault):
        await jira.tracker.events(cursor)
    events, _ = await jira.tracker.events(cursor)
    assert [comment.text for comment in written(events)] == ["kept"]


async def test_an_issue_that_is_hidden_by_now_is_passed_over(both: JiraBench) -> None:
    """Its level may shut us out between the search and the look; the others come."""
    for _ in range(2):
        await an_issue(both)
    _, cursor = await both.tracker.events(None)
    both.jira.write(1, body(both, "hidden"))
    both.jira.write(2, body(both, "shown"))
    both.jira.fault("404", on="read-issue")
    events, _ = await both.tracker.events(cursor)
    assert [comment.text for comment in written(events)] == ["shown"]


async def test_more_changes_than_one_call_reads_come_with_the_next(
    jira: JiraBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call is bounded, and what it leaves is not lost."""
    monkeypatch.setattr(jira_events, "READ", 2)
    monkeypatch.setattr(jira_events, "LISTED", 3)
    for _ in range(5):
        await an_issue(jira)
    _, cursor = await jira.tracker.events(None)
    cursor = json.dumps({**json.loads(cursor), "seen": []})
    for number in range(1, 6):
        jira.jira.write(number, body(jira, f"comment {number}"))
    found: list[TrackerEvent] = []
    for _ in range(4):
        events, cursor = await jira.tracker.events(cursor)
        found += events
    texts = {comment.text for comment in written(found)}
    assert texts == {f"comment {number}" for number in range(1, 6)}


@pytest.mark.parametrize("deployment", ["cloud", "data-center"])
async def test_a_comment_for_customers_is_known_as_such(server: FakeJira, deployment: str) -> None:
    """On a service desk a comment is public or it is not; elsewhere there is no such thing."""
    server.reset()
    server.settings(project_type="service_desk")
    bench = JiraBench(server, deployment=deployment, service_desk=True)
    internal = [{"key": "sd.public.comment", "value": {"internal": True}}]
    await an_issue(bench)
    _, cursor = await bench.tracker.events(None)
    server.write(1, body(bench, "for customers"), public=True)
    server.write(1, body(bench, "for us"), public=False, properties=internal)
    events, _ = await bench.tracker.events(cursor)
    await bench.tracker.aclose()
    assert [(one.text, one.public) for one in written(events)] == [
        ("for customers", True),
        ("for us", False),
    ]


# ── Changes ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_change_of_an_issue_comes_with_its_state(both: JiraBench) -> None:
    """Who assigns, labels or closes is not asked; what came of it is read."""
    ref = await an_issue(both)
    _, cursor = await both.tracker.events(None)
    both.jira.edit(1, status="Done", assignee="kim", labels=["Security", "sb-fixed"])
    events, _ = await both.tracker.events(cursor)
    (change,) = changed(events)
    assert change.issue == ref
    assert (change.state.open, change.state.assignees) == (False, ("kim",))
    assert change.state.labels == ("Security", "sb-fixed")
    assert change.state.confidential


async def test_a_moved_issue_is_heard_of_where_it_is_now(both: JiraBench) -> None:
    """An issue of ours is ours in another project, too, and one that opened itself is seen."""
    ref = await an_issue(both)
    _, cursor = await both.tracker.events(None)
    both.jira.edit(1, move_to=ELSEWHERE)
    events, _ = await both.tracker.events(cursor)
    (change,) = changed(events)
    assert (change.issue.id, change.issue.number) == (ref.id, "APP-1")
    assert not change.state.confidential


@pytest.mark.parametrize(
    ("given", "comes"),
    [
        ({"security": TEAM, "labels": ["Security"]}, True),
        ({"security": TEAM, "labels": []}, False),
        ({"security": None, "labels": ["Security"]}, False),
    ],
    ids=["secret and labelled", "not labelled", "not secret"],
)
async def test_an_issue_that_was_born_in_jira_comes_when_it_looks_like_a_report(
    jira: JiraBench, given: dict[str, Any], comes: bool
) -> None:
    """With the alias's labels and a security level it can be adopted; nothing else is ours."""
    _, cursor = await jira.tracker.events(None)
    jira.jira.edit(0, open=given)
    events, _ = await jira.tracker.events(cursor)
    assert bool(changed(events)) is comes


async def test_an_issue_with_the_label_of_one_alias_comes_though_another_files_here(
    jira: JiraBench,
) -> None:
    """Two aliases share a project: what bears the label of either can be adopted."""
    assert isinstance(jira.tracker, JiraTracker)
    events = jira_events.Events(jira.tracker.desk, jira.clock, ("Mobile", "Security"))
    _, cursor = await events.since(None)
    for label in ("Security", "Mobile", "urgent"):
        jira.jira.edit(0, open={"security": TEAM, "labels": [label]})
    told, _ = await events.since(cursor)
    assert [("Security",), ("Mobile",)] == [one.state.labels for one in changed(told)]


async def test_issues_that_we_made_for_another_project_do_not_come(both: JiraBench) -> None:
    """The same account may work for several aliases; each hears of its own project."""
    _, cursor = await both.tracker.events(None)
    both.jira.edit(0, open={"by": BOT, "security": TEAM})
    both.jira.edit(1, move_to=ELSEWHERE, level=TEAM)
    both.jira.edit(0, open={"by": BOT, "security": TEAM})
    events, _ = await both.tracker.events(cursor)
    assert [change.issue.number for change in changed(events)] == ["SEC-2"]


@pytest.mark.parametrize("cursor", ["", "{}", "nonsense", "[]", '{"since": "x", "seen": 1}'])
async def test_a_cursor_that_nobody_wrote_here_is_from_now_on(jira: JiraBench, cursor: str) -> None:
    """A broken cursor loses what was before, and is no reason to stand still."""
    _, then = await jira.tracker.events(cursor)
    await an_issue(jira)
    events, _ = await jira.tracker.events(then)
    assert changed(events)


async def test_a_quiet_call_is_one_request(jira: JiraBench) -> None:
    """When nothing changed, the search is all that is asked."""
    await an_issue(jira)
    _, cursor = await jira.tracker.events(None)
    before = len(jira.jira.requests())
    await jira.tracker.events(cursor)
    assert [one["kind"] for one in jira.jira.requests()[before:]] == ["list-issues"]


# ── Who may command ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("actor", "may"),
    [
        (Actor("alex", "Alex"), True),  # is an administrator of the project
        (Actor("kim", "Kim"), False),
        (Actor("outsider", "Out Sider"), False),
        (Actor(BOT, "Security Bot", is_us=True), False),
        (Actor("", ""), False),
    ],
    ids=lambda value: value.id if isinstance(value, Actor) else "",
)
async def test_a_role_of_the_project_may_command(both: JiraBench, actor: Actor, may: bool) -> None:
    """Named by account, in the cloud and elsewhere; we ourselves never."""
    assert await both.tracker.may_command(actor) is may


async def test_a_group_that_has_the_role_may_command(both: JiraBench) -> None:
    """Who is in a group that is an actor of the role has it."""
    both.jira.settings(groups={"kim": ["developers"]})
    assert await both.tracker.may_command(Actor("kim", "Kim"))


async def test_a_commander_that_is_no_role_is_a_group(server: FakeJira) -> None:
    """Where roles are not used, a group is named instead."""
    server.reset()
    bench = JiraBench(server, commanders=["responders"])
    assert await bench.tracker.may_command(Actor("kim", "Kim"))
    assert not await bench.tracker.may_command(Actor("alex", "Alex"))
    await bench.tracker.aclose()


async def test_roles_that_cannot_be_read_let_nobody_command(jira: JiraBench) -> None:
    """A missing right of ours counts as no; a Jira that is away is asked again later."""
    jira.jira.settings(roles_hidden=True)
    assert not await jira.tracker.may_command(Actor("alex", "Alex"))
    jira.jira.settings(roles_hidden=False)
    jira.jira.fault("500-before", on="roles")
    with pytest.raises(TransientFault):
        await jira.tracker.may_command(Actor("alex", "Alex"))
    assert await jira.tracker.may_command(Actor("alex", "Alex"))


async def test_who_may_command_is_remembered_for_a_short_time(jira: JiraBench) -> None:
    """A role that is taken away counts for minutes more, and not for hours."""
    assert await jira.tracker.may_command(Actor("alex", "Alex"))
    asked = len(jira.jira.requests())
    jira.jira.settings(roles={"Administrators": []})
    assert await jira.tracker.may_command(Actor("alex", "Alex"))
    assert len(jira.jira.requests()) == asked
    jira.clock.advance(timedelta(minutes=6))
    assert not await jira.tracker.may_command(Actor("alex", "Alex"))
