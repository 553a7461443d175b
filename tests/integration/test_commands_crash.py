"""Does a command that dies at any point, and is done again, send one mail and answer once?"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.keys import REPORTER, Keys, Ring
from tests.support.messages import an_alias
from tests.support.talking import PLACE, TEAM, Talk, a_talk, an_issue_of_people

from secbridge.model.case import CaseStatus, IssueRef, Route
from secbridge.model.issue import IssueChange
from secbridge.pipeline.conversation import Habits
from secbridge.pipeline.following import Signs
from secbridge.rules.commands import Command, sign
from secbridge.store import Store

DURABLE = (
    "hear",
    "post",
    "set_status",
    "record_contact",
    "change_issue",
    "keep_state",
    "take_case",
    "add_comment",
    "heard",
    "move_cursor",
)
"""What lasts of a command: the store's side, and that of the embedded tracker."""

LABELLED = sign("reject out-of-scope We do not maintain this.")


class Death(BaseException):
    """The power goes; nothing of ours catches it."""


class Power:
    """Counts what was made durable, and goes behind the call that is asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.last: int | None = None
        for name in DURABLE:
            monkeypatch.setattr(Store, name, self._mortal(getattr(Store, name), name))

    def _mortal(
        self, method: Callable[..., Awaitable[Any]], name: str
    ) -> Callable[..., Awaitable[Any]]:
        @functools.wraps(method)
        async def mortal(*args: Any, **given: Any) -> Any:
            result = await method(*args, **given)
            self.calls.append(name)
            if len(self.calls) == self.last:
                raise Death
            return result

        return mortal

    def on(self, last: int | None) -> None:
        """Begin to count; die behind the ``last`` call."""
        self.calls.clear()
        self.last = last


async def a_case(talk: Talk) -> str:
    """Return the id of a new case with a reporter; no mail opened it, so nothing else goes on."""
    number, store = str(await an_issue_of_people(talk)), talk.office.store
    due = talk.office.house.clock.now().date()
    route = Route("security@example.org", *PLACE, labels=(), assignees=(), due=due)
    case = await store.adopt_case(route, IssueRef(*PLACE, number, number), by="alice")
    await store.attach_reporter(case.id, REPORTER, by="alice")
    return case.id


async def listen_until(talk: Talk, power: Power, last: int | None) -> bool:
    """Listen with the power going behind one call, then again after the start; tell if it went."""
    power.on(last)
    died = False
    try:
        await talk.conversation.listen(PLACE)
    except Death:
        died = True
    power.on(None)
    talk.conversation = talk.office.conversation(habits=HABITS)
    await talk.listen()
    return died


assert isinstance(LABELLED, Command)
HABITS = Habits(signs=Signs(labels={"wontfix": LABELLED}))

ORDERS = {
    "reply": ("sb: reply Thank you.", None, CaseStatus.NEW, True),
    "reject": ("sb: reject out-of-scope Not ours.", None, CaseStatus.REJECTED, False),
    "take": ("sb: take", None, CaseStatus.NEW, True),
    "label": (None, IssueChange(add_labels=("wontfix",)), CaseStatus.REJECTED, False),
}
"""What is typed or changed, where the case stands then, and whether its issue is open."""


@pytest.mark.parametrize("name", ORDERS)
async def test_a_command_that_died_anywhere_is_done_once(
    keys: Keys, role_ring: Ring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The power goes behind each durable call in turn: one mail, one answer, the case as asked."""
    typed, change, status, is_open = ORDERS[name]
    power, alias = Power(monkeypatch), an_alias(members=TEAM, assignees=())
    async with a_talk(keys, role_ring, tmp_path, alias=alias, habits=HABITS) as talk:
        store, clock = talk.office.store, talk.office.house.clock
        last, died = 0, True
        while died:
            last += 1
            case = await a_case(talk)
            if typed is not None:
                await talk.write(typed, issue=last)
            if change is not None:
                await store.change_issue(last, change, clock.now(), by="alice")
            died = await listen_until(talk, power, last)
            sent = len(talk.office.sent()) + len(talk.office.sent("bob@example.org"))
            assert last == sent, (last, power.calls)
            answers = [row.author for row in await store.comments(last)].count("secbridge")
            issue, now = await talk.issue(last), await store.get_case(case)
            assert now is not None
            assert (1, status, is_open) == (answers, now.status, issue.open), last
        assert last > len({"hear", "post", "add_comment", "heard", "move_cursor"})
