"""What if the tracker shows an issue to others?  Then it never hears a word of the report."""

from __future__ import annotations

import pytest

from secbridge.errors import NotConfidential
from secbridge.ports import EffectKey
from secbridge.testing.bench import OpenableBench, alarms, log_lines
from secbridge.testing.drafts import CANARY, REPORTER, a_message, new_key, report_draft


class SecrecyContract:
    """First prove, then tell; derive it beside a fixture ``bench``."""

    pytestmark = pytest.mark.asyncio

    async def test_an_issue_that_stays_public_never_gets_a_word_and_is_closed(
        self, bench: OpenableBench
    ) -> None:
        """Without proof of secrecy there are a neutral title and a header, and an alarm."""
        bench.keep_no_secret()
        key, draft = new_key(), report_draft(bench)
        with log_lines() as lines, pytest.raises(NotConfidential) as told:
            await bench.tracker.ensure_issue(key, draft)
        (issue,) = await bench.issues()
        assert told.value.alarm
        assert issue.title == "Security report SB-2026-0001"
        assert (issue.confidential, issue.open) == (False, False)
        assert CANARY not in bench.bodies()
        assert REPORTER not in bench.bodies()
        assert alarms(lines) == ["tracker.not_confidential"]
        assert list(await bench.files()) == []

    async def test_once_the_tracker_can_keep_a_secret_the_same_issue_is_told(
        self, bench: OpenableBench
    ) -> None:
        """The delivery drains when mended: the closed issue is opened again and gets the report."""
        bench.keep_no_secret()
        key, draft = new_key(), report_draft(bench, a_message(text=CANARY))
        with pytest.raises(NotConfidential):
            await bench.tracker.ensure_issue(key, draft)
        bench.keep_secrets_again()
        attempted = EffectKey(key.marker, attempted_at=bench.clock.now())
        await bench.tracker.ensure_issue(attempted, draft)
        (issue,) = await bench.issues()
        assert (issue.confidential, issue.open) == (True, True)
        assert bench.told(key, draft) == issue.text
