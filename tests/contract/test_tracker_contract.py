"""What must every tracker do?  One issue, proven secret, told once; one comment; nothing else."""

from __future__ import annotations

from datetime import date, timedelta

from tests.support.messages import a_message
from tests.support.trackers import (
    CANARY,
    PATIENCE,
    Bench,
    alarms,
    comment_draft,
    log_lines,
    new_key,
    report_draft,
)

from secbridge.model.issue import IssueChange, Severity
from secbridge.ports import EffectKey


async def test_an_issue_is_secret_labelled_assigned_due_and_told(bench: Bench) -> None:
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


async def test_the_reference_names_the_issue_that_people_see(bench: Bench) -> None:
    """Tracker, project and number are what a person types to get there."""
    ref = await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    assert (bench.project, "1") == (ref.project, ref.number)


async def test_the_same_key_again_finds_the_same_issue(bench: Bench) -> None:
    """A worker that died after the tracker's answer gets the issue that is there."""
    key, draft = new_key(), report_draft(bench)
    first = await bench.tracker.ensure_issue(key, draft)
    again = EffectKey(key.marker, attempted_at=bench.clock.now())
    assert first == await bench.tracker.ensure_issue(again, draft)
    assert len(await bench.issues()) == 1


async def test_another_key_makes_another_issue(bench: Bench) -> None:
    """Two cases with the same words are two cases."""
    draft = report_draft(bench)
    first = await bench.tracker.ensure_issue(new_key(), draft)
    second = await bench.tracker.ensure_issue(new_key(), draft)
    assert first != second
    assert len(await bench.issues()) == 2


async def test_an_earlier_attempt_that_left_nothing_is_made_good(bench: Bench) -> None:
    """When an attempt died before the tracker heard of it, the issue is created after the wait."""
    key = new_key(attempted_at=bench.clock.now())
    bench.clock.advance(PATIENCE)
    await bench.tracker.ensure_issue(key, report_draft(bench))
    assert len(await bench.issues()) == 1


async def test_a_closed_issue_that_was_told_stays_closed(bench: Bench) -> None:
    """What the team did with an issue is not undone by a second call."""
    key, draft = new_key(), report_draft(bench)
    ref = await bench.tracker.ensure_issue(key, draft)
    await bench.tracker.update(ref, IssueChange(open=False))
    await bench.tracker.ensure_issue(EffectKey(key.marker, bench.clock.now()), draft)
    (issue,) = await bench.issues()
    assert not issue.open


async def test_a_comment_is_there_once(bench: Bench) -> None:
    """A mail that joins a case is one comment, even when the worker asks twice."""
    ref = await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    key, draft = new_key(), comment_draft(bench, a_message(text=f"More on {CANARY}"))
    first = await bench.tracker.ensure_comment(ref, key, draft)
    again = EffectKey(key.marker, attempted_at=bench.clock.now())
    assert first == await bench.tracker.ensure_comment(ref, again, draft)
    (issue,) = await bench.issues()
    assert (bench.told_comment(key, draft),) == issue.comments


async def test_an_earlier_comment_that_left_nothing_is_made_good(bench: Bench) -> None:
    """A comment whose first attempt died early is written after the wait."""
    ref = await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    key = new_key(attempted_at=bench.clock.now())
    bench.clock.advance(PATIENCE)
    await bench.tracker.ensure_comment(ref, key, comment_draft(bench))
    (issue,) = await bench.issues()
    assert len(issue.comments) == 1


async def test_an_update_changes_what_it_names_and_nothing_else(bench: Bench) -> None:
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


async def test_a_good_project_has_no_finding_that_refuses(bench: Bench) -> None:
    """``check`` of a project that can keep a secret has findings, and none is an error."""
    findings = await bench.tracker.check()
    assert findings
    assert [finding for finding in findings if finding.severity is not Severity.OK] == []


async def test_nothing_waits_when_nothing_was_attempted(bench: Bench) -> None:
    """A first attempt is not slowed by looking for an earlier one."""
    began = bench.clock.now()
    await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    assert timedelta(0) == bench.clock.now() - began
