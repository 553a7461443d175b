"""May a machine decide to send one more mail?  A bound that holds whatever else goes wrong.

No rule sees every robot: one that bears no mark of a machine answers our answer, and we would
answer his, for ever.  So what machines decide to send is counted: to one address, in one case, and
altogether.  Beyond that a mail is filed as ever, and nobody is answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

OVER_BUDGET: dict[str, str] = {
    "over-budget-case": "This case has had as many answers by machine as one may have.",
    "over-budget-sender": "Its sender has had as many answers by machine as one address may have "
    "in this time.",
    "over-budget-total": "So many answers by machine went out in this time that no more may leave.",
}
"""Every code with its meaning, in the order in which they are tried."""


@dataclass(frozen=True, slots=True)
class Budgets:
    """How many answers by machine may leave: ``per_case`` ever, the others ``within`` a time."""

    per_sender: int = 10
    per_case: int = 6
    total: int = 500
    within: timedelta = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Spent:
    """How many were queued: in the case, and within the time to the address and altogether."""

    in_case: int
    to_sender: int
    in_total: int


def over_budget(spent: Spent, budgets: Budgets) -> str | None:
    """Return which budget has nothing left for one more, a code of ``OVER_BUDGET``, or None."""
    if spent.in_case >= budgets.per_case:
        return "over-budget-case"
    if spent.to_sender >= budgets.per_sender:
        return "over-budget-sender"
    return "over-budget-total" if spent.in_total >= budgets.total else None
