"""What do people do in a GitLab?  Each comment and change comes once, however it is timed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta

import pytest
from tests.support.bench_gitlab import GitLabBench
from tests.support.fake_gitlab import BOT, HIDDEN, PRODUCT, FakeGitLab
from tests.support.messages import a_message
from tests.support.trackers import CANARY, alarms, comment_draft, log_lines, new_key, report_draft

from secbridge.errors import TransientFault
from secbridge.model.case import IssueRef
from secbridge.model.issue import Actor, CommentWritten, IssueChange, IssueChanged, TrackerEvent

ALEX, KIM, OUTSIDER = Actor("1", "alex"), Actor("2", "kim"), Actor("3", "outsider")


class Reader:
    """Reads events as the pipeline does: from a cursor to the next one."""

    def __init__(self, bench: GitLabBench) -> None:
        self.bench = bench
        self.cursor: str | None = None

    async def read(self) -> Sequence[TrackerEvent]:
        """Return what came since the last time."""
        found, self.cursor = await self.bench.tracker.events(self.cursor)
        return found

    async def written(self) -> list[CommentWritten]:
        """Return the comments that came since the last time."""
        return [event for event in await self.read() if isinstance(event, CommentWritten)]

    async def comments(self) -> list[str]:
        """Return the texts of the comments that came since the last time."""
        return [event.text for event in await self.written()]


async def filed(bench: GitLabBench) -> IssueRef:
    """File a report and return its issue."""
    return await bench.tracker.ensure_issue(new_key(), report_draft(bench, a_message(text=CANARY)))


@pytest.fixture
async def reader(gitlab: GitLabBench) -> Reader:
    """Return a reader that begins now, behind one filed issue."""
    await filed(gitlab)
    reader = Reader(gitlab)
    assert await reader.read() == ()
    return reader


async def test_a_comment_of_a_person_comes_once(reader: Reader) -> None:
    """Raw text, author, issue and time, as the pipeline needs them to look for a command."""
    gitlab = reader.bench.gitlab
    written = gitlab.write(1, "sb: reply\nThank you.", author=2, internal=True)
    (event,) = await reader.written()
    assert (event.key, event.comment_id) == (f"note-{written}", written)
    assert (event.author, event.text) == (KIM, "sb: reply\nThank you.")
    assert (event.issue.project, event.issue.number) == (reader.bench.project, "1")
    assert not event.public
    assert await reader.read() == []


async def test_what_was_there_before_the_first_look_does_not_come(gitlab: GitLabBench) -> None:
    """A new installation does not run the commands of last year."""
    await filed(gitlab)
    gitlab.gitlab.write(1, "sb: accept")
    reader = Reader(gitlab)
    assert await reader.read() == ()
    assert await reader.read() == []


async def test_an_empty_project_begins_with_its_first_issue(gitlab: GitLabBench) -> None:
    """Nothing is there to measure the tracker's clock by, and yet nothing is missed."""
    reader = Reader(gitlab)
    assert await reader.read() == ()
    await filed(gitlab)
    gitlab.gitlab.write(1, "sb: take")
    assert await reader.comments() == ["sb: take"]


async def test_neither_our_own_comments_nor_system_notes_come(reader: Reader) -> None:
    """A loop would begin with our own words."""
    gitlab = reader.bench.gitlab
    ref = (await reader.bench.tracker.look(await filed(reader.bench))).ref
    await reader.bench.tracker.ensure_comment(ref, new_key(), comment_draft(reader.bench))
    gitlab.write(1, "changed the description", system=True)
    gitlab.write(1, "sb: reply", author=BOT)
    assert await reader.comments() == []


async def test_the_trackers_own_account_is_marked(reader: Reader) -> None:
    """What Service Desk writes for an outsider is no person of the team."""
    reader.bench.gitlab.write(1, "A mail came in.", author=4)
    (event,) = await reader.written()
    assert event.author.is_us
    assert not await reader.bench.tracker.may_command(event.author)


async def test_a_line_with_a_slash_may_be_gone_and_done(reader: Reader) -> None:
    """GitLab takes quick actions out of a comment and does them: no slash is a command of ours."""
    reader.bench.gitlab.write(1, "/reply hello\n/close", author=2)
    assert await reader.comments() == ["/reply hello"]
    assert reader.bench.gitlab.issues()[0]["state"] == "closed"
    assert not reader.bench.tracker.leaves_slashes


@pytest.mark.parametrize(("internal", "public"), [(True, False), (False, True)])
async def test_a_note_that_service_desk_mails_out_is_public(
    reader: Reader, internal: bool, public: bool
) -> None:
    """On an issue with an outside participant, GitLab itself mails what is not internal."""
    reader.bench.gitlab.edit(1, service_desk_reply_to="reporter@example.net")
    reader.bench.gitlab.write(1, "Thank you.", internal=internal)
    (event,) = await reader.written()
    assert event.public is public


async def test_comments_in_one_instant_all_come_and_none_twice(reader: Reader) -> None:
    """GitLab's times may be equal; then the next look must not skip what it did not see."""
    gitlab = reader.bench.gitlab
    gitlab.settings(frozen="2099-01-01T00:00:00.000Z")
    got = []
    for number in range(4):
        gitlab.write(1, f"comment {number}")
        got += await reader.comments()
    assert got == ["comment 0", "comment 1", "comment 2", "comment 3"]
    assert await reader.comments() == []


async def test_a_change_in_the_same_instant_comes(reader: Reader) -> None:
    """Two states that bear one time are two events."""
    gitlab = reader.bench.gitlab
    gitlab.settings(frozen="2099-01-01T00:00:00.000Z")
    gitlab.edit(1, labels=["Security", "a"])
    (first,) = await reader.read()
    gitlab.edit(1, labels=["Security", "b"])
    (second,) = await reader.read()
    assert isinstance(first, IssueChanged)
    assert isinstance(second, IssueChanged)
    assert (first.state.labels[1], second.state.labels[1]) == ("a", "b")
    assert first.key != second.key


async def test_what_was_committed_late_comes(reader: Reader) -> None:
    """A note whose time lies before the end of the last look is not left out."""
    gitlab = reader.bench.gitlab
    gitlab.settings(frozen="2099-01-01T00:00:05.000Z")
    gitlab.write(1, "second")
    assert await reader.comments() == ["second"]
    gitlab.settings(frozen="2099-01-01T00:00:01.000Z")
    gitlab.write(1, "first, but late")
    assert await reader.comments() == ["first, but late"]


async def test_a_comment_that_did_not_move_its_issues_time_comes(reader: Reader) -> None:
    """GitLab touches an issue once a minute; meanwhile others may have gone far ahead of it."""
    gitlab = reader.bench.gitlab
    await filed(reader.bench)
    gitlab.settings(frozen="2099-01-01T00:00:00.000Z")
    gitlab.edit(1, labels=["Security", "a"])
    gitlab.settings(frozen="2099-01-01T00:00:58.000Z")
    gitlab.edit(2, labels=["Security", "b"])
    await reader.read()
    gitlab.settings(frozen="2099-01-01T00:00:59.000Z")
    gitlab.write(1, "sb: accept")
    assert await reader.comments() == ["sb: accept"]
    assert await reader.comments() == []


async def test_an_edited_comment_comes_again_under_its_key(reader: Reader) -> None:
    """The key names the comment, so that an edit does not send twice."""
    gitlab = reader.bench.gitlab
    written = gitlab.write(1, "sb: reply")
    (first,) = await reader.written()
    gitlab.edit(1, edit_note={"id": int(written), "body": "sb: reply, edited"})
    (second,) = await reader.written()
    assert (first.key, second.text) == (second.key, "sb: reply, edited")


async def test_events_come_in_the_order_of_their_times(reader: Reader) -> None:
    """Also over several issues."""
    gitlab = reader.bench.gitlab
    await filed(reader.bench)
    await reader.read()
    for second, number in ((1, 2), (2, 1), (3, 2)):
        gitlab.settings(frozen=f"2099-01-01T00:00:0{second}.000Z")
        gitlab.write(number, f"comment {second}")
    assert await reader.comments() == ["comment 1", "comment 2", "comment 3"]


async def test_a_change_by_hand_comes_with_the_new_state(reader: Reader) -> None:
    """Labels, people, date, state, and an issue that somebody opened to others."""
    gitlab = reader.bench.gitlab
    gitlab.edit(1, confidential=False, labels=["Security", "fixed"], assignee_ids=[2])
    (event,) = await reader.read()
    assert isinstance(event, IssueChanged)
    state = event.state
    assert not state.confidential
    assert (state.labels, state.assignees) == (("Security", "fixed"), ("kim",))
    assert state.due is not None
    await reader.bench.tracker.update(event.issue, IssueChange(open=False))
    (closed,) = await reader.read()
    assert isinstance(closed, IssueChanged)
    assert not closed.state.open


async def test_a_report_that_was_born_in_the_tracker_comes(reader: Reader) -> None:
    """A confidential issue with the alias's labels can be adopted; any other is not ours."""
    gitlab = reader.bench.gitlab
    gitlab.open_by_hand(title="Found it ourselves", labels=["Security"], confidential=True)
    gitlab.open_by_hand(title="Not secret", labels=["Security"])
    gitlab.open_by_hand(title="Not marked", labels=["Other"], confidential=True)
    gitlab.write(2, "sb: reporter")
    events = await reader.read()
    assert {event.issue.number for event in events} == {"2"}
    assert {type(event) for event in events} == {CommentWritten, IssueChanged}


async def test_very_many_changes_come_over_several_looks(reader: Reader) -> None:
    """Each look is bounded, and the next one goes on where it stopped, without a gap."""
    gitlab = reader.bench.gitlab
    for number in range(130):
        gitlab.open_by_hand(title=str(number), labels=["Security"], confidential=True)
    gitlab.write(77, "sb: accept")
    read = [event for _ in range(4) for event in await reader.read()]
    changed = {event.issue.number for event in read if isinstance(event, IssueChanged)}
    assert changed >= {str(number) for number in range(2, 132)}
    assert [event.text for event in read if isinstance(event, CommentWritten)] == ["sb: accept"]
    assert await reader.read() == []


async def test_more_changes_in_one_instant_than_a_page_holds_all_come(reader: Reader) -> None:
    """When a whole page bears one time, the list is read on by page."""
    gitlab = reader.bench.gitlab
    gitlab.settings(frozen="2099-01-01T00:00:00.000Z")
    for number in range(120):
        gitlab.open_by_hand(title=str(number), labels=["Security"], confidential=True)
    assert len(await reader.read()) == 120
    assert await reader.read() == []


async def test_a_look_that_fails_loses_nothing(reader: Reader) -> None:
    """The cursor stays where it was, and the next look brings everything."""
    gitlab = reader.bench.gitlab
    gitlab.write(1, "sb: accept")
    for fault in ("500-before", "drop-before", "html-200"):
        gitlab.fault(fault, on="list-notes")
        with pytest.raises(TransientFault):
            await reader.read()
    assert await reader.comments() == ["sb: accept"]


async def test_a_cursor_that_nobody_can_read_begins_anew(reader: Reader) -> None:
    """Nothing can be made up for, and nothing stops."""
    reader.cursor = '{"since": 7}'
    assert await reader.read() == ()
    reader.bench.gitlab.write(1, "sb: help")
    assert await reader.comments() == ["sb: help"]


# ── Moves ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_move_is_a_change_that_names_the_new_place(reader: Reader) -> None:
    """The event is known by the old reference, its state by the new one, for the caller to keep."""
    reader.bench.gitlab.move(1, PRODUCT)
    (event,) = await reader.read()
    assert isinstance(event, IssueChanged)
    assert (event.issue.project, event.issue.number) == (reader.bench.project, "1")
    assert (event.state.ref.project, event.state.ref.number) == ("group/product", "1")
    assert event.state.open
    (again,) = await reader.read()
    assert isinstance(again, IssueChanged)
    assert (again.issue, again.state) == (event.state.ref, event.state)
    assert await reader.read() == []


async def test_comments_in_the_new_place_come(reader: Reader) -> None:
    """Both those that were written before we learned of the move and later ones."""
    gitlab = reader.bench.gitlab
    gitlab.move(1, PRODUCT)
    gitlab.write("9/1", "sb: accept")
    assert await reader.comments() == ["sb: accept"]
    assert await reader.comments() == []
    gitlab.write("9/1", "sb: fixed 1.2")
    (event,) = await reader.written()
    assert (event.issue.project, event.text) == ("group/product", "sb: fixed 1.2")
    assert await reader.comments() == []


async def test_comments_in_both_places_while_nobody_looked_all_come(reader: Reader) -> None:
    """Also where somebody went on in the place that the issue had left."""
    gitlab = reader.bench.gitlab
    for minute, number, text in ((0, 1, "before"), (5, "9/1", "behind"), (9, 1, "left")):
        gitlab.settings(frozen=f"2099-01-01T00:0{minute}:00.000Z")
        if text == "behind":
            gitlab.move(1, PRODUCT)
        gitlab.write(number, text)
    assert await reader.comments() == ["before", "behind", "left"]
    assert await reader.comments() == []


async def test_a_comment_that_moved_along_does_not_come_a_second_time(reader: Reader) -> None:
    """A move copies notes under new numbers and with their old times; a command runs once."""
    gitlab = reader.bench.gitlab
    gitlab.write(1, "sb: reply")
    assert await reader.comments() == ["sb: reply"]
    gitlab.write(1, "sb: accept")
    gitlab.move(1, PRODUCT)
    assert await reader.comments() == ["sb: accept"]
    gitlab.write("9/1", "sb: take")
    assert await reader.comments() == ["sb: take"]


async def test_an_issue_that_went_out_of_sight_is_alarmed_once(reader: Reader) -> None:
    """The others are read on."""
    gitlab = reader.bench.gitlab
    await filed(reader.bench)
    gitlab.move(1, HIDDEN)
    gitlab.write(2, "sb: accept")
    with log_lines() as lines:
        assert await reader.comments() == ["sb: accept"]
        assert await reader.comments() == []
    assert alarms(lines) == ["tracker.out_of_sight"]


async def test_a_project_that_we_must_not_see_any_more_hides_no_other(reader: Reader) -> None:
    """An issue went to it once; that we are no member there by now stops nobody here."""
    gitlab = reader.bench.gitlab
    await filed(reader.bench)
    gitlab.move(1, PRODUCT)
    await reader.read()
    kept = json.loads(reader.cursor or "")
    reader.cursor = json.dumps({**kept, "moved": [[HIDDEN, 1, kept["moved"][0][2]]]})
    gitlab.write(2, "sb: accept")
    with log_lines() as lines:
        assert await reader.comments() == ["sb: accept"]
        assert await reader.comments() == []
    assert alarms(lines) == ["tracker.out_of_sight"]


# ── Who may command ──────────────────────────────────────────────────────────────────────────────


async def test_members_with_the_role_may_command(gitlab: GitLabBench) -> None:
    """Developers by default; Reporters, outsiders and our own account may not."""
    tracker = gitlab.tracker
    assert await tracker.may_command(ALEX)
    assert not await tracker.may_command(KIM)
    assert not await tracker.may_command(OUTSIDER)
    assert not await tracker.may_command(Actor(str(BOT), "secbridge-bot", is_us=True))


async def test_the_role_is_a_setting(gitlab_server: FakeGitLab) -> None:
    """A team may let its Reporters command, or its Maintainers alone."""
    gitlab_server.reset()
    for role, expected in (("reporter", [True, True]), ("maintainer", [False, False])):
        bench = GitLabBench(gitlab_server, commanders=role)
        assert expected == [await bench.tracker.may_command(who) for who in (ALEX, KIM)]
        await bench.tracker.aclose()


async def test_who_was_blocked_or_left_commands_no_more(gitlab: GitLabBench) -> None:
    """A role is believed for a minute and no longer."""
    assert await gitlab.tracker.may_command(ALEX)
    gitlab.gitlab.settings(blocked=[1])
    assert await gitlab.tracker.may_command(ALEX)
    assert len(gitlab.gitlab.requests("members")) == 1
    gitlab.clock.advance(timedelta(minutes=2))
    assert not await gitlab.tracker.may_command(ALEX)
    gitlab.gitlab.settings(blocked=[], members=[BOT])
    gitlab.clock.advance(timedelta(minutes=2))
    assert not await gitlab.tracker.may_command(ALEX)


async def test_a_role_that_cannot_be_asked_is_no_permission(gitlab: GitLabBench) -> None:
    """Nothing is believed that was not answered."""
    gitlab.gitlab.fault("500-before", on="members")
    with pytest.raises(TransientFault):
        await gitlab.tracker.may_command(ALEX)
    assert await gitlab.tracker.may_command(ALEX)
