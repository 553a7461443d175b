"""What must every tracker do?  One issue, proven secret, told once; one comment; nothing alive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import TypeVar

import pytest

from secbridge.errors import Deferral, NotConfidential
from secbridge.model.case import IssueRef
from secbridge.model.issue import (
    CommentWritten,
    IssueChange,
    IssueChanged,
    Severity,
    TrackerEvent,
    Untrusted,
)
from secbridge.model.message import Attachment
from secbridge.ports import EffectKey, Tracker
from secbridge.testing.bench import PATIENCE, Bench, alarms, log_lines
from secbridge.testing.drafts import (
    CANARY,
    a_message,
    a_report,
    comment_draft,
    new_key,
    report_draft,
)
from secbridge.testing.payloads import LINES, PAYLOADS, SHAPES

LONG = 1_000
"""Payloads that are longer are tried apart, so that nothing of the others is cut."""

AT_ONCE = 20
"""How many stand in one issue: so many attachments are described one by one, and all fit."""

Item = TypeVar("Item")


class TrackerContract:
    """The promises that every tracker keeps; derive it beside a fixture ``bench``."""

    pytestmark = pytest.mark.asyncio

    # ── One issue ─────────────────────────────────────────────────────────────────────────────────

    async def test_an_issue_is_secret_labelled_assigned_due_and_told(self, bench: Bench) -> None:
        """What the draft asks for is what a person then sees in the tracker."""
        key, draft = new_key(), report_draft(bench, a_message(text=f"It crashes: {CANARY}"))
        with log_lines() as lines:
            await bench.tracker.ensure_issue(key, draft)
        (issue,) = await bench.issues()
        assert issue.title == "Security report SB-2026-0001"
        assert bench.told(key, draft) == issue.text
        assert CANARY in issue.text
        assert issue.confidential
        assert issue.open
        assert issue.labels == ("Security",)
        assert issue.assignees == ("alex",)
        assert date(2026, 11, 27) == issue.due
        assert alarms(lines) == []

    async def test_the_reference_names_the_issue_that_people_see(self, bench: Bench) -> None:
        """Project and number are what a person types to get there."""
        ref = await bench.tracker.ensure_issue(new_key(), report_draft(bench))
        (issue,) = await bench.issues()
        assert (ref.project, ref.number) == (bench.project, issue.number)

    async def test_the_same_key_again_finds_the_same_issue(self, bench: Bench) -> None:
        """A worker that died after the tracker's answer gets the issue that is there."""
        key, draft = new_key(), report_draft(bench)
        first = await bench.tracker.ensure_issue(key, draft)
        again = EffectKey(key.marker, attempted_at=bench.clock.now())
        assert first == await bench.tracker.ensure_issue(again, draft)
        assert len(await bench.issues()) == 1

    async def test_another_key_makes_another_issue(self, bench: Bench) -> None:
        """Two cases with the same words are two cases."""
        draft = report_draft(bench)
        first = await bench.tracker.ensure_issue(new_key(), draft)
        second = await bench.tracker.ensure_issue(new_key(), draft)
        assert first != second
        assert len(await bench.issues()) == 2

    async def test_an_earlier_attempt_that_left_nothing_is_made_good(self, bench: Bench) -> None:
        """When an attempt died before the tracker heard of it, the issue comes after the wait."""
        key = new_key(attempted_at=bench.clock.now())
        bench.clock.advance(PATIENCE)
        await bench.tracker.ensure_issue(key, report_draft(bench))
        assert len(await bench.issues()) == 1

    async def test_a_closed_issue_that_was_told_stays_closed(self, bench: Bench) -> None:
        """What the team did with an issue is not undone by a second call."""
        key, draft = new_key(), report_draft(bench)
        ref = await bench.tracker.ensure_issue(key, draft)
        await bench.tracker.update(ref, IssueChange(open=False))
        await bench.tracker.ensure_issue(EffectKey(key.marker, bench.clock.now()), draft)
        (issue,) = await bench.issues()
        assert not issue.open

    async def test_nothing_waits_when_nothing_was_attempted(self, bench: Bench) -> None:
        """A first attempt is not slowed by looking for an earlier one."""
        began = bench.clock.now()
        await bench.tracker.ensure_issue(new_key(), report_draft(bench))
        assert timedelta(0) == bench.clock.now() - began

    # ── One comment ───────────────────────────────────────────────────────────────────────────────

    async def test_a_comment_is_there_once(self, bench: Bench) -> None:
        """A mail that joins a case is one comment, even when the worker asks twice."""
        ref = await bench.tracker.ensure_issue(new_key(), report_draft(bench))
        key, draft = new_key(), comment_draft(bench, a_message(text=f"More on {CANARY}"))
        first = await bench.tracker.ensure_comment(ref, key, draft)
        again = EffectKey(key.marker, attempted_at=bench.clock.now())
        assert first == await bench.tracker.ensure_comment(ref, again, draft)
        (issue,) = await bench.issues()
        assert (bench.told_comment(key, draft),) == issue.comments

    async def test_an_earlier_comment_that_left_nothing_is_made_good(self, bench: Bench) -> None:
        """A comment whose first attempt died early is written after the wait."""
        ref = await bench.tracker.ensure_issue(new_key(), report_draft(bench))
        key = new_key(attempted_at=bench.clock.now())
        bench.clock.advance(PATIENCE)
        await bench.tracker.ensure_comment(ref, key, comment_draft(bench))
        (issue,) = await bench.issues()
        assert len(issue.comments) == 1

    # ── Looking and changing ──────────────────────────────────────────────────────────────────────

    async def test_an_update_changes_what_it_names_and_nothing_else(self, bench: Bench) -> None:
        """Labels, people, date and state each change when asked."""
        ref = await bench.tracker.ensure_issue(new_key(), report_draft(bench))
        change = IssueChange(
            add_labels=("triaged",), assignees=("kim",), due=date(2026, 12, 24), open=False
        )
        await bench.tracker.update(ref, change)
        (issue,) = await bench.issues()
        assert tuple(sorted(issue.labels)) == ("Security", "triaged")
        assert issue.assignees == ("kim",)
        assert date(2026, 12, 24) == issue.due
        assert not issue.open
        await bench.tracker.update(ref, IssueChange(remove_labels=("triaged",)))
        (issue,) = await bench.issues()
        assert issue.labels == ("Security",)
        assert not issue.open

    async def test_a_look_shows_the_issue_as_it_is_now(self, bench: Bench) -> None:
        """Secrecy, state, labels and people as people see them, also what one did by hand."""
        ref = await bench.tracker.ensure_issue(new_key(), report_draft(bench))
        state = await bench.tracker.look(ref)
        assert (ref, True, True) == (state.ref, state.confidential, state.open)
        assert (state.labels, state.assignees) == (("Security",), ("alex",))
        assert date(2026, 11, 27) == state.due
        await bench.close(ref)
        state = await bench.tracker.look(ref)
        assert (True, False) == (state.confidential, state.open)

    async def test_a_look_at_an_issue_that_is_not_there_is_a_deferral(self, bench: Bench) -> None:
        """A case whose issue was deleted waits, with an alarm; nothing else is raised."""
        ref = await bench.tracker.ensure_issue(new_key(), report_draft(bench))
        gone = IssueRef(ref.tracker, ref.project, id="99999999", number="99999999")
        with pytest.raises(Deferral) as told:
            await bench.tracker.look(gone)
        assert told.value.alarm

    async def test_a_link_is_made_once_or_not_at_all(self, bench: Bench) -> None:
        """Asked twice it says the same; the texts of both issues stay as they were."""
        first = await bench.tracker.ensure_issue(new_key(), report_draft(bench))
        second = await bench.tracker.ensure_issue(new_key(), report_draft(bench))
        texts = [issue.text for issue in await bench.issues()]
        linked = await bench.tracker.link(first, second)
        assert linked is await bench.tracker.link(first, second)
        assert texts == [issue.text for issue in await bench.issues()]

    async def test_a_good_project_has_no_finding_that_refuses(self, bench: Bench) -> None:
        """``check`` of a project that can keep a secret has findings, and none is an error."""
        findings = await bench.tracker.check()
        assert findings
        assert [finding for finding in findings if finding.severity is not Severity.OK] == []

    # ── What people do ────────────────────────────────────────────────────────────────────────────

    async def test_what_was_there_before_the_first_look_does_not_come(self, bench: Bench) -> None:
        """Without a cursor it begins now: a new installation does not run last year's commands."""
        ref = await bench.tracker.ensure_issue(new_key(), report_draft(bench))
        await bench.write(ref, "sb: accept")
        bench.clock.advance(PATIENCE)
        events, cursor = await bench.tracker.events(None)
        assert list(events) == []
        events, _ = await bench.tracker.events(cursor)
        assert _comments(events) == []

    async def test_a_comment_of_a_person_comes_once(self, bench: Bench) -> None:
        """Its words as they were written, of whom and where; the next look has nothing new."""
        ref = await bench.tracker.ensure_issue(new_key(), report_draft(bench))
        reader = _Reader(bench.tracker)
        await reader.read()
        await bench.write(ref, "sb: reply\nThank you, @alex.")
        (comment,) = _comments(await reader.read())
        assert comment.text == "sb: reply\nThank you, @alex."
        assert comment.issue == ref
        assert not comment.author.is_us
        assert not comment.public
        assert _comments(await reader.read()) == []

    async def test_the_same_comment_has_the_same_key(self, bench: Bench) -> None:
        """Who died before the cursor was kept reads again, and knows what was read by its key."""
        ref = await bench.tracker.ensure_issue(new_key(), report_draft(bench))
        _, cursor = await bench.tracker.events(None)
        await bench.write(ref, "sb: take")
        first, _ = await bench.tracker.events(cursor)
        second, _ = await bench.tracker.events(cursor)
        assert _keys(first) == _keys(second)
        assert len(_keys(first)) == 1

    async def test_comments_of_one_instant_all_come_and_none_twice(self, bench: Bench) -> None:
        """A tracker's times may be equal; a look does not skip what the last one did not see."""
        ref = await bench.tracker.ensure_issue(new_key(), report_draft(bench))
        reader = _Reader(bench.tracker)
        await reader.read()
        written, came = [f"comment {number}" for number in range(5)], []
        for text in written:
            await bench.write(ref, text)
            came += _comments(await reader.read())
        assert written == [comment.text for comment in came]
        assert len({comment.key for comment in came}) == len(written)

    async def test_our_own_comments_never_come(self, bench: Bench) -> None:
        """A loop would begin with our own words."""
        ref = await bench.tracker.ensure_issue(new_key(), report_draft(bench))
        reader = _Reader(bench.tracker)
        await reader.read()
        await bench.tracker.ensure_comment(ref, new_key(), comment_draft(bench))
        await bench.tracker.update(ref, IssueChange(add_labels=("triaged",)))
        assert _comments(await reader.read()) == []

    async def test_an_issue_that_a_person_closes_is_a_change(self, bench: Bench) -> None:
        """Its state is what it is now."""
        ref = await bench.tracker.ensure_issue(new_key(), report_draft(bench))
        reader = _Reader(bench.tracker)
        await reader.read()
        await bench.close(ref)
        changes = _changes(await reader.read())
        assert [(ref, False)] == [(change.issue, change.state.open) for change in changes]

    async def test_what_people_change_comes_as_it_is_then(self, bench: Bench) -> None:
        """Labels, people and state, also when two changes follow within one second."""
        ref = await bench.tracker.ensure_issue(new_key(), report_draft(bench))
        reader = _Reader(bench.tracker)
        await reader.read()
        change = IssueChange(add_labels=("triaged",), assignees=("kim",), open=False)
        await bench.change(ref, change)
        state = _changes(await reader.read())[-1].state
        assert ["Security", "triaged"] == sorted(state.labels)
        assert (state.assignees, state.open) == (("kim",), False)
        await bench.change(ref, IssueChange(remove_labels=("triaged",), open=True))
        state = _changes(await reader.read())[-1].state
        assert (state.labels, state.open) == (("Security",), True)

    async def test_what_was_closed_is_opened_again(self, bench: Bench) -> None:
        """A follow-up to a closed issue reopens it, whatever the tracker calls that."""
        ref = await bench.tracker.ensure_issue(new_key(), report_draft(bench))
        await bench.tracker.update(ref, IssueChange(open=False))
        assert not (await bench.tracker.look(ref)).open
        await bench.tracker.update(ref, IssueChange(open=True))
        assert (await bench.tracker.look(ref)).open

    async def test_who_wrote_a_comment_can_be_given_the_issue(self, bench: Bench) -> None:
        """An actor's account is what assignees are called here, or its name is."""
        ref = await bench.tracker.ensure_issue(new_key(), report_draft(bench))
        reader = _Reader(bench.tracker)
        await reader.read()
        await bench.write(ref, "sb: take")
        (comment,) = _comments(await reader.read())
        name = comment.author.account or comment.author.name
        await bench.tracker.update(ref, IssueChange(assignees=(name,)))
        assert (name,) == (await bench.tracker.look(ref)).assignees

    async def test_a_slash_is_left_alone_where_that_is_said(self, bench: Bench) -> None:
        """``/reply`` is a command of ours only where the tracker does nothing with such a line."""
        ref = await bench.tracker.ensure_issue(new_key(), report_draft(bench))
        reader, before = _Reader(bench.tracker), (await bench.issues())[0]
        await reader.read()
        if not bench.tracker.leaves_slashes:
            return
        text = "/reply hello\n/close\n/label ~triaged"
        await bench.write(ref, text)
        assert [text] == [comment.text for comment in _comments(await reader.read())]
        assert before == replace((await bench.issues())[0], comments=())

    # ── Issues that people opened ─────────────────────────────────────────────────────────────────

    async def test_an_issue_of_people_is_worked_on_as_one_of_ours(self, bench: Bench) -> None:
        """Confidential and labelled, it is heard of, looked at, commented on, changed, related."""
        ours = await bench.tracker.ensure_issue(new_key(), report_draft(bench))
        reader = _Reader(bench.tracker)
        await reader.read()
        ref = await bench.open_by_hand(secret=True)
        if ref is None:
            return
        await bench.write(ref, "sb: accept")
        (comment,) = _comments(await reader.read())
        assert (comment.issue, comment.text) == (ref, "sb: accept")
        state = await bench.tracker.look(ref)
        assert (state.confidential, state.open, state.labels) == (True, True, ("Security",))
        key, draft = new_key(), comment_draft(bench, a_message(text=f"More on {CANARY}"))
        first = await bench.tracker.ensure_comment(ref, key, draft)
        again = EffectKey(key.marker, attempted_at=bench.clock.now())
        assert first == await bench.tracker.ensure_comment(ref, again, draft)
        assert bench.told_comment(key, draft) == (await bench.issues())[-1].comments[-1]
        await bench.tracker.update(ref, IssueChange(assignees=("kim",), open=False))
        state = await bench.tracker.look(ref)
        assert (state.assignees, state.open) == (("kim",), False)
        linked = await bench.tracker.link(ref, ours)
        assert linked is await bench.tracker.link(ref, ours)

    async def test_an_issue_of_people_that_others_see_is_not_written_on(self, bench: Bench) -> None:
        """It looks as it is, and a comment that would not be the team's alone is refused."""
        ref = await bench.open_by_hand(secret=False)
        if ref is None:
            return
        assert not (await bench.tracker.look(ref)).confidential
        draft = replace(comment_draft(bench, a_message(text=CANARY)), internal=False)
        with log_lines(), pytest.raises(NotConfidential):
            await bench.tracker.ensure_comment(ref, new_key(), draft)
        assert (await bench.issues())[-1].comments == ()

    # ── Who may command ───────────────────────────────────────────────────────────────────────────

    async def test_those_may_command_who_have_the_role_and_never_we(self, bench: Bench) -> None:
        """A stranger's command counts nothing, nor does one of our own account or a machine."""
        ours = type(bench.commander)(bench.commander.id, bench.commander.name, is_us=True)
        assert await bench.tracker.may_command(bench.commander)
        assert not await bench.tracker.may_command(bench.stranger)
        assert not await bench.tracker.may_command(ours)

    # ── Nothing comes alive ───────────────────────────────────────────────────────────────────────

    async def test_nothing_that_a_mail_says_comes_alive(self, bench: Bench) -> None:
        """Every payload, in an issue and in a comment, is shown as it is and acts nowhere."""
        for blocks in _payloads():
            key, draft = new_key(), report_draft(bench, report=blocks, attachments=())
            ref = await bench.tracker.ensure_issue(key, draft)
            assert bench.told(key, draft) == (await bench.issues())[-1].text
            key, comment = new_key(), comment_draft(bench, blocks=blocks, attachments=())
            await bench.tracker.ensure_comment(ref, key, comment)
            assert (bench.told_comment(key, comment),) == (await bench.issues())[-1].comments
        assert list(await bench.alive()) == []

    async def test_nothing_comes_alive_where_a_text_is_cut(self, bench: Bench) -> None:
        """A fence is closed and nothing is let out, also where a text ends in the middle."""
        for text in SHAPES.values():
            if len(text) > LONG:
                draft = report_draft(bench, report=(Untrusted(text), Untrusted("/close\n@alex")))
                await bench.tracker.ensure_issue(new_key(), replace(draft, attachments=()))
        assert list(await bench.alive()) == []

    async def test_no_name_that_a_mail_gives_comes_alive(self, bench: Bench) -> None:
        """Subject, sender and names of files are a stranger's words, too; the title is ours."""
        for lines in _in_parts(list(LINES.values())):
            files = [Attachment(line, "text/plain", b"x", False, False) for line in lines]
            mail = a_message(subject=lines[0], author=lines[1], attachments=tuple(files))
            draft = report_draft(bench, mail, attachments=())
            await bench.tracker.ensure_issue(new_key(), draft)
        assert {issue.title for issue in await bench.issues()} == {"Security report SB-2026-0001"}
        assert list(await bench.alive()) == []

    # ── What does not fit, and files ──────────────────────────────────────────────────────────────

    async def test_a_text_of_any_length_is_filed_and_nothing_of_it_is_lost(
        self, bench: Bench
    ) -> None:
        """It is there whole, or as a file, or the issue names the command that gives the mail."""
        end = "the last words"
        mail = a_message(text="A long line of a log.\n" * 6_000 + end)
        draft = report_draft(bench, mail)
        ref = await bench.tracker.ensure_issue(new_key(), draft)
        await bench.tracker.ensure_comment(ref, new_key(), comment_draft(bench, mail))
        (issue,) = await bench.issues()
        in_files = any(end.encode() in content for _, content in await bench.files())
        assert end in issue.text or in_files or issue.text.count(draft.raw_command) > 1
        assert issue.confidential
        assert len(issue.comments) == 1

    async def test_a_file_is_there_once_under_our_name_or_its_command_is(
        self, bench: Bench
    ) -> None:
        """Names of a stranger's choosing stand in no list of files, and trying again adds none."""
        file = Attachment("../@alex.png", "image/png", CANARY.encode(), False, False)
        key, draft = new_key(), report_draft(bench, a_report(attachments=(file,)))
        await bench.tracker.ensure_issue(key, draft)
        first = [name for name, _ in await bench.files()]
        await bench.tracker.ensure_issue(EffectKey(key.marker, bench.clock.now()), draft)
        (issue,) = await bench.issues()
        assert sorted(first) == sorted(name for name, _ in await bench.files())
        assert all(name.startswith("SB-2026-0001") for name in first)
        assert len(first) == 1 or draft.files_command in issue.text


class _Reader:
    """Reads events as the pipeline does: from a cursor to the next one."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self.cursor: str | None = None

    async def read(self) -> Sequence[TrackerEvent]:
        """Return what came since the last time."""
        found, self.cursor = await self.tracker.events(self.cursor)
        return found


def _comments(events: Sequence[TrackerEvent]) -> list[CommentWritten]:
    return [event for event in events if isinstance(event, CommentWritten)]


def _changes(events: Sequence[TrackerEvent]) -> list[IssueChanged]:
    return [event for event in events if isinstance(event, IssueChanged)]


def _keys(events: Sequence[TrackerEvent]) -> list[str]:
    return [comment.key for comment in _comments(events)]


def _in_parts(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for first in range(0, len(items), AT_ONCE):
        yield items[first : first + AT_ONCE]


def _payloads() -> Iterator[tuple[Untrusted, ...]]:
    """Return the payloads of a usual length, some in each issue, each under its name."""
    usual = [(name, text) for name, text in PAYLOADS.items() if len(text) <= LONG]
    for chosen in _in_parts(usual):
        yield tuple(Untrusted(text, label=name) for name, text in chosen)
