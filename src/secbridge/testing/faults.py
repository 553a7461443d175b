"""What if the tracker fails in the middle?  One issue all the same, told once, never in public."""

from __future__ import annotations

import contextlib
import traceback

import pytest

from secbridge.errors import Deferral, OutcomeUnknown, PermanentFault, TransientFault
from secbridge.ports import EffectKey
from secbridge.testing.bench import RemoteBench, alarms, log_lines, persist, persist_comment
from secbridge.testing.drafts import (
    CANARY,
    REPORTER,
    a_message,
    comment_draft,
    new_key,
    report_draft,
)

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


class FaultContract:
    """What a tracker behind HTTP keeps in every fault; derive it beside a fixture ``bench``."""

    pytestmark = pytest.mark.asyncio

    # ── Every fault, at every request ─────────────────────────────────────────────────────────────

    @pytest.mark.parametrize("on", ["create-issue", "update-issue"])
    @pytest.mark.parametrize("fault", [*LOST, *REFUSED])
    async def test_a_write_that_fails_once_leaves_one_issue_told_once(
        self, bench: RemoteBench, fault: str, on: str
    ) -> None:
        """Whatever becomes of a request, trying as the worker does ends with one right issue."""
        bench.fake.fault(fault, on=on)
        key, draft = new_key(), report_draft(bench, a_message(text=CANARY))
        with log_lines():
            await persist(bench, key.marker, draft)
        (issue,) = await bench.issues()
        assert bench.told(key, draft) == issue.text
        assert issue.confidential
        assert issue.open
        assert bench.fake.elsewhere() == []

    @pytest.mark.parametrize("skip", [0, 1])
    @pytest.mark.parametrize(
        "fault", ["500-before", "drop-before", "html-200", "slow-before", "404"]
    )
    async def test_a_read_that_fails_once_leaves_one_issue_told_once(
        self, bench: RemoteBench, fault: str, skip: int
    ) -> None:
        """When the proof or the comparison cannot be read, the next try finds the same issue."""
        bench.fake.fault(fault, on="read-issue", skip=skip)
        key, draft = new_key(), report_draft(bench, a_message(text=CANARY))
        with log_lines():
            await persist(bench, key.marker, draft)
        (issue,) = await bench.issues()
        assert bench.told(key, draft) == issue.text

    async def test_a_question_before_the_create_that_fails_leaves_one_issue(
        self, bench: RemoteBench
    ) -> None:
        """Looking for people or an earlier attempt may fail; nothing is created on a guess."""
        for number, question in enumerate(bench.questions, start=1):
            bench.fake.fault("500-before", on=question)
            # so that there is something to look for
            bench.fake.fault("drop-after", on="create-issue")
            await persist(bench, new_key().marker, report_draft(bench))
            assert number == len(await bench.issues())

    @pytest.mark.parametrize("fault", [*LOST, *REFUSED])
    async def test_a_comment_that_fails_once_is_there_once(
        self, bench: RemoteBench, fault: str
    ) -> None:
        """Whatever becomes of the request for a note, there is one note in the end."""
        ref = await bench.tracker.ensure_issue(new_key(), report_draft(bench))
        bench.fake.fault(fault, on="create-note")
        key, draft = new_key(), comment_draft(bench, a_message(text=CANARY))
        with log_lines():
            await persist_comment(bench, ref, key.marker, draft)
        (issue,) = await bench.issues()
        assert (bench.told_comment(key, draft),) == issue.comments

    @pytest.mark.parametrize("fault", ["500-before", "drop-after"])
    async def test_a_file_is_there_once_when_it_is_told_again(
        self, bench: RemoteBench, fault: str
    ) -> None:
        """A worker that tries again finds the file that it put there before."""
        bench.fake.fault(fault, on="update-issue")
        with log_lines():
            await persist(bench, new_key().marker, report_draft(bench))
        names = [name for name, _ in await bench.files()]
        assert len(set(names)) == len(names)

    # ── What a failure is called ──────────────────────────────────────────────────────────────────

    @pytest.mark.parametrize("fault", LOST)
    async def test_a_lost_answer_to_a_create_is_an_unknown_outcome(
        self, bench: RemoteBench, fault: str
    ) -> None:
        """A create is sent once; without a clear answer it is reconciled, never repeated."""
        bench.fake.fault(fault, on="create-issue")
        with pytest.raises(OutcomeUnknown) as told:
            await bench.tracker.ensure_issue(new_key(), report_draft(bench))
        assert told.value.sent
        assert len(bench.fake.requests("create-issue")) == 1

    @pytest.mark.parametrize("fault", ["400", "401", "403", "404", "409", "307"])
    async def test_a_refusal_names_the_setting_and_the_mend(
        self, bench: RemoteBench, fault: str
    ) -> None:
        """What a person has to mend is an alarm with the setting and how to mend it."""
        bench.fake.fault(fault, on="create-issue")
        with pytest.raises(PermanentFault) as told:
            await bench.tracker.ensure_issue(new_key(), report_draft(bench))
        assert told.value.alarm
        assert told.value.setting
        assert told.value.mend

    async def test_too_many_requests_waits_as_long_as_the_tracker_asks(
        self, bench: RemoteBench
    ) -> None:
        """``Retry-After`` becomes our own wait; nothing sleeps in a library."""
        bench.fake.fault("429", on="create-issue", retry_after="77")
        with pytest.raises(TransientFault) as told:
            await bench.tracker.ensure_issue(new_key(), report_draft(bench))
        assert told.value.retry_after is not None
        assert told.value.retry_after.total_seconds() == 77
        assert len(bench.fake.requests("create-issue")) == 1

    async def test_a_failure_after_the_create_says_that_something_is_there(
        self, bench: RemoteBench
    ) -> None:
        """A refusal of the read-back does not count as "nothing was done": the issue exists."""
        bench.fake.fault("403", on="read-issue")
        with pytest.raises(OutcomeUnknown) as told:
            await bench.tracker.ensure_issue(new_key(), report_draft(bench))
        assert told.value.alarm
        assert told.value.sent

    # ── Waiting for what may still happen ─────────────────────────────────────────────────────────

    async def test_a_request_that_takes_effect_late_makes_no_second_issue(
        self, bench: RemoteBench
    ) -> None:
        """A create that hung is waited for: when it takes effect after all, it is found."""
        bench.fake.fault("late", on="create-issue")
        key, draft = new_key(), report_draft(bench)
        with pytest.raises(OutcomeUnknown):
            await bench.tracker.ensure_issue(key, draft)
        attempted = EffectKey(key.marker, attempted_at=bench.clock.now())
        with pytest.raises(OutcomeUnknown) as waiting:
            await bench.tracker.ensure_issue(attempted, draft)
        assert not waiting.value.sent
        assert waiting.value.retry_after is not None
        assert bench.fake.release() == 1
        await bench.tracker.ensure_issue(attempted, draft)
        (issue,) = await bench.issues()
        assert CANARY in issue.text

    async def test_two_issues_of_one_key_become_one(self, bench: RemoteBench) -> None:
        """When two attempts took effect, the first stays, the other is closed, it alarms."""
        bench.fake.fault("drop-after", count=2, on="create-issue")
        key, draft = new_key(), report_draft(bench)
        for _ in range(2):
            with pytest.raises(OutcomeUnknown):
                await bench.tracker.ensure_issue(key, draft)
        with log_lines() as lines:
            ref = await bench.tracker.ensure_issue(
                EffectKey(key.marker, attempted_at=bench.clock.now()), draft
            )
        first, second = await bench.issues()
        assert ref.number == first.number
        assert (first.open, second.open) == (True, False)
        assert CANARY in first.text
        assert CANARY not in second.text
        assert alarms(lines) == ["tracker.duplicate_closed"]

    async def test_an_issue_with_our_marker_by_somebody_else_is_not_ours(
        self, bench: RemoteBench
    ) -> None:
        """Who pastes a marker into an issue of their own does not get the report."""
        bench.fake.fault("drop-after", on="create-issue")
        key, draft = new_key(), report_draft(bench)
        with pytest.raises(OutcomeUnknown):
            await bench.tracker.ensure_issue(key, draft)
        await bench.tracker.aclose()
        other = bench.another_account()
        await persist(other, key.marker, draft)
        await other.tracker.aclose()
        theirs, ours = await other.issues()
        assert CANARY not in theirs.text
        assert CANARY in ours.text

    # ── Prove, then tell ──────────────────────────────────────────────────────────────────────────

    async def test_nothing_of_the_mail_is_told_before_the_proof(self, bench: RemoteBench) -> None:
        """Neither words nor sender are sent before the issue was created and read back."""
        await bench.tracker.ensure_issue(new_key(), report_draft(bench))
        sent = bench.fake.requests()
        told = next(number for number, one in enumerate(sent) if CANARY in repr(one))
        before = [one["kind"] for one in sent[:told]]
        assert REPORTER not in repr(sent[:told])
        assert before.index("create-issue") < before.index("read-issue")

    async def test_no_failure_tells_what_was_sent(self, bench: RemoteBench) -> None:
        """The libraries' exceptions quote the request; ours hold our own sentences only."""
        for fault in (*LOST, *REFUSED):
            bench.fake.fault(fault, on="update-issue")
            with log_lines() as lines, contextlib.suppress(Deferral):
                await bench.tracker.ensure_issue(new_key(), report_draft(bench))
            for secret in (CANARY, bench.token, REPORTER):
                assert secret not in repr(lines)

    @pytest.mark.parametrize("fault", [*LOST, *REFUSED])
    async def test_no_exception_quotes_what_was_sent(self, bench: RemoteBench, fault: str) -> None:
        """An exception with its causes, as a traceback prints it, holds nothing of the report."""
        bench.fake.fault(fault, on="create-note")
        ref = await bench.tracker.ensure_issue(new_key(), report_draft(bench))
        with pytest.raises(Deferral) as told:
            await bench.tracker.ensure_comment(ref, new_key(), comment_draft(bench))
        printed = "".join(traceback.format_exception(told.value))
        for secret in (CANARY, bench.token, REPORTER):
            assert secret not in printed
