"""How many mails may machines decide to send?"""

from __future__ import annotations

from dataclasses import replace

import pytest

from secbridge.rules.budgets import OVER_BUDGET, Budgets, Spent, over_budget
from secbridge.rules.drafting import plain, unanswered

BUDGETS = Budgets(per_sender=3, per_case=2, total=5)
NOTHING = Spent(0, 0, 0)


def test_within_all_budgets_one_more_may_leave() -> None:
    """The last one of each budget, too."""
    assert over_budget(NOTHING, BUDGETS) is None
    assert over_budget(Spent(in_case=1, to_sender=2, in_total=4), BUDGETS) is None


@pytest.mark.parametrize(
    ("spent", "code"),
    [
        (replace(NOTHING, in_case=2), "over-budget-case"),
        (replace(NOTHING, to_sender=3), "over-budget-sender"),
        (replace(NOTHING, in_total=5), "over-budget-total"),
        (Spent(in_case=9, to_sender=9, in_total=9), "over-budget-case"),
        (Spent(in_case=0, to_sender=9, in_total=9), "over-budget-sender"),
    ],
)
def test_a_budget_that_is_spent_forbids_one_more(spent: Spent, code: str) -> None:
    """The narrowest one is named: it says the most."""
    assert code == over_budget(spent, BUDGETS)
    assert code in OVER_BUDGET


def test_one_case_cannot_need_more_than_its_budget() -> None:
    """An acknowledgement, our key, theirs, what is wrong with it, please encrypt: and one more."""
    assert Budgets().per_case > 5


@pytest.mark.parametrize("code", list(OVER_BUDGET))
def test_the_issue_says_why_nobody_was_answered(code: str) -> None:
    """And how a person answers all the same."""
    draft = unanswered.draft_unanswered("SB-2026-0001", code, mark="sb:")
    text = " ".join(plain.comment_text(draft).split())
    assert draft.internal
    assert f"Nobody was answered by machine. {OVER_BUDGET[code]}" in text
    assert "sb: reply" in text
