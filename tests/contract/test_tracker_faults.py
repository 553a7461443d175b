"""What if the tracker fails in the middle?  One issue all the same, told once, never in public."""

from __future__ import annotations

import contextlib
import traceback

import pytest
from tests.support.messages import a_message
from tests.support.trackers import (
    CANARY,
    GitLabBench,
    alarms,
    comment_draft,
    log_lines,
    new_key,
    persist,
    persist_comment,
    report_draft,
)

from secbridge.errors import (
    Deferral,
    NotConfidential,
    OutcomeUnknown,
    PermanentFault,
    TransientFault,
)
from secbridge.ports import EffectKey

LOST = (
    "500-before",
    "500-after",
    "503-before",
    "drop-before",
    "drop-after",
    "drop-midbody",
    "html-200",
    "html-200-after",
    "junk-201-after",
    "202-without-id",
    "202-without-id-after",
    "201-empty",
    "slow-before",
    "slow-after",
    "302",
)
"""Faults after which nobody knows whether the request was done."""

REFUSED = ("400", "401", "403", "404", "409", "307", "429")
"""Faults that say that it was not done."""

# ── Every fault, at every request ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("on", ["create-issue", "update-issue"])
@pytest.mark.parametrize("fault", [*LOST, *REFUSED])
async def test_a_write_that_fails_once_leaves_one_issue_told_once(
    gitlab: GitLabBench, fault: str, on: str
) -> None:
    """Whatever becomes of one request, trying as the worker does ends with the one right issue."""
    gitlab.gitlab.fault(fault, on=on)
    key, draft = new_key(), report_draft(gitlab, a_message(text=CANARY))
    with log_lines():
        await persist(gitlab, key.marker, draft)
    (issue,) = await gitlab.issues()
    assert gitlab.told(key, draft) == issue.text
    assert issue.confidential
    assert issue.open
    assert gitlab.gitlab.elsewhere() == []


@pytest.mark.parametrize("skip", [0, 1])
@pytest.mark.parametrize("fault", ["500-before", "drop-before", "html-200", "slow-before", "404"])
async def test_a_read_that_fails_once_leaves_one_issue_told_once(
    gitlab: GitLabBench, fault: str, skip: int
) -> None:
    """When the proof or the comparison cannot be read, the next try finds the same issue."""
    gitlab.gitlab.fault(fault, on="read-issue", skip=skip)
    key, draft = new_key(), report_draft(gitlab, a_message(text=CANARY))
    with log_lines():
        await persist(gitlab, key.marker, draft)
    (issue,) = await gitlab.issues()
    assert gitlab.told(key, draft) == issue.text


@pytest.mark.parametrize("on", ["user", "users", "list-issues"])
async def test_a_question_before_the_create_that_fails_leaves_one_issue(
    gitlab: GitLabBench, on: str
) -> None:
    """Looking for people or for an earlier attempt may fail, and nothing is created on a guess."""
    gitlab.gitlab.fault("500-before", on=on)
    key, draft = new_key(), report_draft(gitlab)
    gitlab.gitlab.fault("drop-after", on="create-issue")  # so that there is something to look for
    await persist(gitlab, key.marker, draft)
    assert len(await gitlab.issues()) == 1


@pytest.mark.parametrize("fault", [*LOST, *REFUSED])
async def test_a_comment_that_fails_once_is_there_once(gitlab: GitLabBench, fault: str) -> None:
    """Whatever becomes of the request for a note, there is one note in the end."""
    ref = await gitlab.tracker.ensure_issue(new_key(), report_draft(gitlab))
    gitlab.gitlab.fault(fault, on="create-note")
    key, draft = new_key(), comment_draft(gitlab, a_message(text=CANARY))
    with log_lines():
        await persist_comment(gitlab, ref, key.marker, draft)
    (issue,) = await gitlab.issues()
    assert (gitlab.told_comment(key, draft),) == issue.comments


# ── What a failure is called ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fault", LOST)
async def test_a_lost_answer_to_a_create_is_an_unknown_outcome(
    gitlab: GitLabBench, fault: str
) -> None:
    """A create is sent once; without a clear answer it is reconciled and never repeated blindly."""
    gitlab.gitlab.fault(fault, on="create-issue")
    with pytest.raises(OutcomeUnknown) as told:
        await gitlab.tracker.ensure_issue(new_key(), report_draft(gitlab))
    assert told.value.sent
    assert len(gitlab.gitlab.requests("create-issue")) == 1


@pytest.mark.parametrize("fault", ["400", "401", "403", "404", "409", "307"])
async def test_a_refusal_names_the_setting_and_the_mend(gitlab: GitLabBench, fault: str) -> None:
    """What a person has to mend is an alarm with the setting and how to mend it."""
    gitlab.gitlab.fault(fault, on="create-issue")
    with pytest.raises(PermanentFault) as told:
        await gitlab.tracker.ensure_issue(new_key(), report_draft(gitlab))
    assert told.value.alarm
    assert told.value.setting
    assert told.value.mend


async def test_too_many_requests_waits_as_long_as_the_tracker_asks(gitlab: GitLabBench) -> None:
    """``Retry-After`` becomes our own wait; nothing sleeps in a library."""
    gitlab.gitlab.fault("429", on="create-issue", retry_after="77")
    with pytest.raises(TransientFault) as told:
        await gitlab.tracker.ensure_issue(new_key(), report_draft(gitlab))
    assert told.value.retry_after is not None
    assert told.value.retry_after.total_seconds() == 77
    assert len(gitlab.gitlab.requests("create-issue")) == 1


async def test_a_failure_after_the_create_says_that_something_is_there(
    gitlab: GitLabBench,
) -> None:
    """A refusal of the read-back does not count as "nothing was done": the issue exists."""
    gitlab.gitlab.fault("403", on="read-issue")
    with pytest.raises(OutcomeUnknown) as told:
        await gitlab.tracker.ensure_issue(new_key(), report_draft(gitlab))
    assert told.value.alarm
    assert told.value.sent


# ── Waiting for what may still happen ────────────────────────────────────────────────────────────


async def test_a_request_that_takes_effect_late_makes_no_second_issue(
    gitlab: GitLabBench,
) -> None:
    """A create that hung is waited for: when it takes effect after all, it is found."""
    gitlab.gitlab.fault("late", on="create-issue")
    key, draft = new_key(), report_draft(gitlab)
    with pytest.raises(OutcomeUnknown):
        await gitlab.tracker.ensure_issue(key, draft)
    attempted = EffectKey(key.marker, attempted_at=gitlab.clock.now())
    with pytest.raises(OutcomeUnknown) as waiting:
        await gitlab.tracker.ensure_issue(attempted, draft)
    assert not waiting.value.sent
    assert waiting.value.retry_after is not None
    assert gitlab.gitlab.release() == 1
    await gitlab.tracker.ensure_issue(attempted, draft)
    (issue,) = await gitlab.issues()
    assert CANARY in issue.text


async def test_two_issues_of_one_key_become_one(gitlab: GitLabBench) -> None:
    """When two attempts took effect after all, the first stays, the other is closed, it alarms."""
    gitlab.gitlab.fault("drop-after", count=2, on="create-issue")
    key, draft = new_key(), report_draft(gitlab)
    for _ in range(2):
        with pytest.raises(OutcomeUnknown):
            await gitlab.tracker.ensure_issue(key, draft)
    with log_lines() as lines:
        ref = await gitlab.tracker.ensure_issue(
            EffectKey(key.marker, attempted_at=gitlab.clock.now()), draft
        )
    first, second = await gitlab.issues()
    assert ref.number == "1"
    assert (first.open, second.open) == (True, False)
    assert CANARY in first.text
    assert CANARY not in second.text
    assert alarms(lines) == ["tracker.duplicate_closed"]


async def test_an_issue_with_our_marker_by_somebody_else_is_not_ours(gitlab: GitLabBench) -> None:
    """Who pastes a marker into an issue of their own does not get the report."""
    gitlab.gitlab.fault("drop-after", on="create-issue")
    key, draft = new_key(), report_draft(gitlab)
    with pytest.raises(OutcomeUnknown):
        await gitlab.tracker.ensure_issue(key, draft)
    gitlab.gitlab.settings(bot=1)  # from now on the token is another account's
    await gitlab.tracker.aclose()
    other = GitLabBench(gitlab.gitlab)
    await persist(other, key.marker, draft)
    await other.tracker.aclose()
    theirs, ours = await other.issues()
    assert CANARY not in theirs.text
    assert CANARY in ours.text


# ── Prove, then tell ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("second", ["confidential-put-ignored", "confidential-put-forbidden"])
async def test_an_issue_that_stays_public_never_gets_a_word_and_is_closed(
    gitlab: GitLabBench, second: str
) -> None:
    """Without proof of secrecy the tracker holds a neutral title and a header, and it alarms."""
    gitlab.gitlab.fault("confidential-ignored")
    gitlab.gitlab.fault(second, count=9)
    key, draft = new_key(), report_draft(gitlab)
    with log_lines() as lines, pytest.raises(NotConfidential) as told:
        await gitlab.tracker.ensure_issue(key, draft)
    (issue,) = await gitlab.issues()
    assert told.value.alarm
    assert issue.title == "Security report SB-2026-0001"
    assert (issue.confidential, issue.open) == (False, False)
    assert CANARY not in gitlab.bodies()
    assert "reporter@example.net" not in gitlab.bodies()
    assert alarms(lines) == ["tracker.not_confidential"]


async def test_once_the_tracker_can_keep_a_secret_the_same_issue_is_told(
    gitlab: GitLabBench,
) -> None:
    """The delivery drains when mended: the closed issue is opened again and gets the report."""
    gitlab.gitlab.fault("confidential-ignored")
    gitlab.gitlab.fault("confidential-put-ignored", count=3)
    key, draft = new_key(), report_draft(gitlab, a_message(text=CANARY))
    await persist(gitlab, key.marker, draft)
    (issue,) = await gitlab.issues()
    assert (issue.confidential, issue.open) == (True, True)
    assert gitlab.told(key, draft) == issue.text


async def test_a_secret_that_is_had_at_the_second_request_is_good(gitlab: GitLabBench) -> None:
    """A tracker that ignored ``confidential`` once is asked once more before anything is told."""
    gitlab.gitlab.fault("confidential-ignored")
    await gitlab.tracker.ensure_issue(new_key(), report_draft(gitlab))
    (issue,) = await gitlab.issues()
    assert issue.confidential
    told = [one["body"] for one in gitlab.gitlab.requests("update-issue")]
    assert told[:1] == [{"confidential": True, "add_labels": "Security"}]


async def test_a_dropped_label_is_asked_for_again(gitlab: GitLabBench) -> None:
    """Labels that the tracker dropped silently are noticed and added before the report is told."""
    gitlab.gitlab.fault("labels-dropped")
    await gitlab.tracker.ensure_issue(new_key(), report_draft(gitlab))
    (issue,) = await gitlab.issues()
    assert issue.labels == ("Security",)


async def test_an_issue_that_cannot_be_labelled_never_gets_a_word(gitlab: GitLabBench) -> None:
    """The label belongs to the proof: people find security reports by it."""
    gitlab.gitlab.fault("labels-dropped")
    gitlab.gitlab.fault("labels-put-dropped", count=9)
    with log_lines() as lines, pytest.raises(NotConfidential):
        await gitlab.tracker.ensure_issue(new_key(), report_draft(gitlab))
    (issue,) = await gitlab.issues()
    assert not issue.open
    assert CANARY not in gitlab.bodies()
    assert lines[0]["missing"] == ["Security"]


async def test_nothing_of_the_mail_is_told_before_the_proof(gitlab: GitLabBench) -> None:
    """The create holds neither words nor sender of the mail; they come with the first update."""
    await gitlab.tracker.ensure_issue(new_key(), report_draft(gitlab))
    (create,) = gitlab.gitlab.requests("create-issue")
    assert CANARY not in repr(create)
    assert "reporter@example.net" not in repr(create)
    kinds = [one["kind"] for one in gitlab.gitlab.requests()]
    assert kinds == ["users", "create-issue", "read-issue", "update-issue", "read-issue"]


async def test_an_issue_that_opens_while_it_is_told_is_made_secret_again(
    gitlab: GitLabBench,
) -> None:
    """When telling itself makes the issue public, that is seen at once and undone."""
    gitlab.gitlab.fault("opens-to-public")
    await gitlab.tracker.ensure_issue(new_key(), report_draft(gitlab))
    (issue,) = await gitlab.issues()
    assert issue.confidential
    assert CANARY in issue.text


async def test_a_report_that_cannot_be_kept_secret_any_more_is_taken_back(
    gitlab: GitLabBench,
) -> None:
    """When telling makes the issue public for good, the text goes back to the header."""
    gitlab.gitlab.fault("opens-to-public")
    gitlab.gitlab.fault("confidential-put-ignored", count=9)
    with log_lines() as lines, pytest.raises(NotConfidential):
        await gitlab.tracker.ensure_issue(new_key(), report_draft(gitlab))
    (issue,) = await gitlab.issues()
    assert CANARY not in issue.text
    assert not issue.open
    assert alarms(lines) == ["tracker.not_confidential"]


async def test_a_text_that_the_tracker_changed_raises_an_alarm(gitlab: GitLabBench) -> None:
    """What was told is compared with what is there: a difference means that something acted."""
    gitlab.gitlab.fault("text-mangled")
    with log_lines() as lines:
        await gitlab.tracker.ensure_issue(new_key(), report_draft(gitlab))
    assert alarms(lines) == ["tracker.interpreted"]


async def test_a_comment_on_an_issue_that_was_opened_is_proven_internal_first(
    gitlab: GitLabBench,
) -> None:
    """On an issue that the team made public a mail becomes an internal note, proven, then told."""
    ref = await gitlab.tracker.ensure_issue(new_key(), report_draft(gitlab))
    gitlab.gitlab.edit(1, confidential=False)
    key, draft = new_key(), comment_draft(gitlab, a_message(text=CANARY))
    await gitlab.tracker.ensure_comment(ref, key, draft)
    (note,) = gitlab.gitlab.notes(1)
    assert note["internal"]
    assert gitlab.told_comment(key, draft) == note["body"]
    (create,) = gitlab.gitlab.requests("create-note")
    assert CANARY not in repr(create)


async def test_a_comment_that_would_be_public_is_not_written(gitlab: GitLabBench) -> None:
    """When an opened issue drops the internal flag, the note never gets a word, and it alarms."""
    ref = await gitlab.tracker.ensure_issue(new_key(), report_draft(gitlab, a_message()))
    gitlab.gitlab.edit(1, confidential=False)
    gitlab.gitlab.fault("internal-ignored", count=9)
    with log_lines() as lines, pytest.raises(NotConfidential):
        await gitlab.tracker.ensure_comment(ref, new_key(), comment_draft(gitlab))
    assert CANARY not in gitlab.bodies()
    assert alarms(lines) == ["tracker.not_confidential"]


async def test_no_failure_tells_what_was_sent(gitlab: GitLabBench) -> None:
    """The libraries' exceptions quote the request; ours hold our own sentences only."""
    for fault in (*LOST, *REFUSED):
        gitlab.gitlab.fault(fault, on="update-issue")
        with log_lines() as lines, contextlib.suppress(Deferral):
            await gitlab.tracker.ensure_issue(new_key(), report_draft(gitlab))
        for secret in (CANARY, gitlab.token, "reporter@example.net"):
            assert secret not in repr(lines)


@pytest.mark.parametrize("fault", [*LOST, *REFUSED])
async def test_no_exception_quotes_what_was_sent(gitlab: GitLabBench, fault: str) -> None:
    """An exception with its causes, as a traceback would print it, holds nothing of the report."""
    gitlab.gitlab.fault(fault, on="create-note")
    ref = await gitlab.tracker.ensure_issue(new_key(), report_draft(gitlab))
    with pytest.raises(Deferral) as told:
        await gitlab.tracker.ensure_comment(ref, new_key(), comment_draft(gitlab))
    printed = "".join(traceback.format_exception(told.value))
    for secret in (CANARY, gitlab.token, "reporter@example.net"):
        assert secret not in printed
