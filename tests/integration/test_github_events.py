"""What does the team do in GitHub?  Comments and changes of ours, each told once, none lost."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from tests.support.bench_github import GitHubBench
from tests.support.fake_github import FakeGitHub
from tests.support.trackers import comment_draft, new_key, report_draft

from secbridge.errors import TransientFault
from secbridge.model.issue import Actor, CommentWritten, IssueChanged
from secbridge.trackers.github import GitHubTracker
from secbridge.trackers.github_events import Changes


async def now_on(bench: GitHubBench) -> str:
    """Return the cursor of a first look, which tells of nothing."""
    events, cursor = await bench.tracker.events(None)
    assert events == ()
    return cursor


def comments(events: object) -> list[str]:
    """Return the texts of the comments among events."""
    assert isinstance(events, (list, tuple))
    return [event.text for event in events if isinstance(event, CommentWritten)]


async def test_what_a_person_writes_is_told_with_who_and_where(github: GitHubBench) -> None:
    """The text is handed up as it was written, with the account's number and the issue."""
    cursor = await now_on(github)
    ref = await github.tracker.ensure_issue(new_key(), report_draft(github))
    github.github.edit(1, comment="sb: reply\nThank you!", by="kim")
    events, _ = await github.tracker.events(cursor)
    (comment,) = [event for event in events if isinstance(event, CommentWritten)]
    (change,) = [event for event in events if isinstance(event, IssueChanged)]
    assert comment.text == "sb: reply\nThank you!"
    assert comment.author == Actor("2", "kim")
    assert comment.issue == ref
    assert change.state.confidential
    assert (change.issue, change.state.labels) == (ref, ("Security",))


async def test_our_own_comments_never_come(github: GitHubBench) -> None:
    """What we wrote is no event, or we would answer ourselves."""
    cursor = await now_on(github)
    ref = await github.tracker.ensure_issue(new_key(), report_draft(github))
    await github.tracker.ensure_comment(ref, new_key(), comment_draft(github))
    events, _ = await github.tracker.events(cursor)
    assert comments(events) == []


async def test_a_robots_comment_is_marked_as_a_machines(github: GitHubBench) -> None:
    """Other robots write, too; nobody takes commands from them."""
    cursor = await now_on(github)
    await github.tracker.ensure_issue(new_key(), report_draft(github))
    github.github.edit(1, comment="sb: accept", by="actions[bot]")
    events, _ = await github.tracker.events(cursor)
    (comment,) = [event for event in events if isinstance(event, CommentWritten)]
    assert comment.author.is_us


async def test_what_was_told_is_not_told_again_and_an_edit_is(github: GitHubBench) -> None:
    """A look overlaps with the last one; a comment that was changed since comes under its key."""
    cursor = await now_on(github)
    await github.tracker.ensure_issue(new_key(), report_draft(github))
    github.github.edit(1, comment="first", by="kim")
    first, cursor = await github.tracker.events(cursor)
    again, cursor = await github.tracker.events(cursor)
    later = (datetime.now(UTC) + timedelta(seconds=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
    github.github.edit(1, comment="second", by="kim", at=later)
    third, _ = await github.tracker.events(cursor)
    assert (comments(first), again, comments(third)) == (["first"], [], ["second"])


async def test_two_comments_of_one_second_both_come(github: GitHubBench) -> None:
    """The second time is not a name: what is told is known by its own."""
    cursor = await now_on(github)
    await github.tracker.ensure_issue(new_key(), report_draft(github))
    when = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    github.github.edit(1, comment="one", by="kim", at=when)
    _, cursor = await github.tracker.events(cursor)
    github.github.edit(1, comment="two", by="kim", at=when)
    events, _ = await github.tracker.events(cursor)
    assert comments(events) == ["two"]


async def test_an_issue_of_the_team_with_the_labels_is_one_of_ours(github: GitHubBench) -> None:
    """It can be adopted later; one without the labels is none of our business."""
    cursor = await now_on(github)
    github.github.edit("octo/reports#7", open="Found by us", by="alex", labels=["Security"])
    github.github.edit("octo/reports#8", open="Lunch", by="alex")
    for number in (7, 8):
        github.github.edit(number, comment=f"on {number}", by="kim")
    events, _ = await github.tracker.events(cursor)
    assert {event.issue.number for event in events} == {"7"}
    assert comments(events) == ["on 7"]


async def test_an_issue_with_the_label_of_one_alias_comes_though_another_files_here(
    github: GitHubBench,
) -> None:
    """Two aliases share a repository: what bears the label of either can be adopted."""
    assert isinstance(github.tracker, GitHubTracker)
    changes = Changes(github.tracker.desk, ("Mobile", "Security"), clock=github.clock)
    _, cursor = await changes.since(None)
    for number, label in ((7, "Security"), (8, "Mobile"), (9, "urgent")):
        github.github.edit(f"octo/reports#{number}", open="By us", by="alex", labels=[label])
    events, _ = await changes.since(cursor)
    assert {"7", "8"} == {event.issue.number for event in events}


async def test_many_changes_are_read_in_bounded_looks(github_server: FakeGitHub) -> None:
    """A look ends where its pages end, and the next one goes on: each comment comes once."""
    github_server.reset()
    bench = GitHubBench(github_server, timeout=10)
    cursor = await now_on(bench)
    await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    github_server.edit(1, comments=620, by="kim")
    first, cursor = await bench.tracker.events(cursor)
    second, _ = await bench.tracker.events(cursor)
    await bench.tracker.aclose()
    assert len(comments(first)) == 500
    assert comments(first) + comments(second) == [f"c{number}" for number in range(620)]


async def test_a_change_of_state_and_labels_is_told(github: GitHubBench) -> None:
    """Closing, labels and people are the tracker's own business, and followed."""
    ref = await github.tracker.ensure_issue(new_key(), report_draft(github))
    cursor = await now_on(github)
    github.github.edit(1, state="closed", state_reason="completed")
    events, _ = await github.tracker.events(cursor)
    (change,) = [event for event in events if isinstance(event, IssueChanged)]
    assert (change.issue, change.state.open) == (ref, False)


async def test_an_exposed_repository_is_seen_in_each_change(github: GitHubBench) -> None:
    """The state of an issue says whether its repository is private now."""
    await github.tracker.ensure_issue(new_key(), report_draft(github))
    cursor = await now_on(github)
    github.github.settings(visibility="public")
    github.github.edit(1, title="x")
    events, _ = await github.tracker.events(cursor)
    (change,) = [event for event in events if isinstance(event, IssueChanged)]
    assert not change.state.confidential


@pytest.mark.parametrize("cursor", ["", "nonsense", "[]", '{"since": 1}'])
async def test_a_cursor_that_is_none_of_ours_means_from_now_on(
    github: GitHubBench, cursor: str
) -> None:
    """A damaged cursor loses what was before it, and stops nothing."""
    _, following = await github.tracker.events(cursor)
    assert set(json.loads(following)) == {"since", "told"}


# ── Who may command ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("least", "allowed"),
    [
        ("triage", {"alex", "kim", "secbridge-bot"}),
        ("write", {"alex", "secbridge-bot"}),
        ("maintain", {"alex"}),
        ("admin", set()),
    ],
)
async def test_roles_decide_who_commands(
    github_server: FakeGitHub, least: str, allowed: set[str]
) -> None:
    """The role in the repository counts, from the configured one upwards."""
    github_server.reset()
    bench = GitHubBench(github_server, commanders=least)
    people = {"alex": "1", "kim": "2", "outsider": "3", "secbridge-bot": "42", "gone": "9"}
    may = {
        name
        for name, number in people.items()
        if await bench.tracker.may_command(Actor(number, name))
    }
    await bench.tracker.aclose()
    assert may == allowed
    assert github_server.violations() == []


async def test_a_name_that_changed_hands_commands_nothing(github: GitHubBench) -> None:
    """The account's number has to be that of the comment's author."""
    assert not await github.tracker.may_command(Actor("77", "alex"))


async def test_a_role_is_believed_for_a_minute(github: GitHubBench) -> None:
    """Who lost the role commands no more, a minute later at the latest."""
    actor = Actor("1", "alex")
    assert await github.tracker.may_command(actor)
    github.github.settings(roles={})
    assert await github.tracker.may_command(actor)
    github.clock.advance(timedelta(seconds=61))
    assert not await github.tracker.may_command(actor)


async def test_what_cannot_be_asked_is_no_yes(github: GitHubBench) -> None:
    """A GitHub that is away answers neither way: the command waits."""
    github.github.fault("500-before", on="permission")
    with pytest.raises(TransientFault):
        await github.tracker.may_command(Actor("1", "alex"))


async def test_links_between_issues_are_not_made(github: GitHubBench) -> None:
    """GitHub knows no relation of issues but a mention in a text."""
    ref = await github.tracker.ensure_issue(new_key(), report_draft(github))
    assert not await github.tracker.link(ref, ref)
