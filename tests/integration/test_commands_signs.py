"""Do labels, states and people of an issue command, once for each time, and never by our hand?"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.keys import Keys, Ring
from tests.support.messages import an_alias
from tests.support.talking import TEAM, Talk, a_talk

from secbridge.model.case import CaseStatus
from secbridge.model.issue import IssueChange
from secbridge.pipeline.conversation import Habits
from secbridge.pipeline.following import Signs
from secbridge.rules.commands import Command, sign


def command(line: str) -> Command:
    """Return what a label stands for."""
    found = sign(line)
    assert isinstance(found, Command)
    return found


SIGNS = Signs(
    labels={
        "needs-info": command("need-info Please send the version."),
        "wontfix": command("reject out-of-scope We do not maintain this."),
    },
    states={"closed": command("normal-bug"), "open": command("accept We look at it again.")},
)

NEEDED, REJECTED, CLOSED, OPENED = "send the version", "do not maintain", "bug", "look at it again"


@pytest.fixture
async def talk(keys: Keys, role_ring: Ring, tmp_path: Path) -> AsyncIterator[Talk]:
    """Return an office in which labels and states command."""
    alias = an_alias(members=TEAM, assignees=())
    async with a_talk(keys, role_ring, tmp_path, alias=alias, habits=Habits(signs=SIGNS)) as talk:
        yield talk


async def test_a_label_commands_once_each_time_that_it_is_set(talk: Talk) -> None:
    """It is said in the issue what was done; a change of something else does not repeat it."""
    case = await talk.report()
    await talk.change(IssueChange(add_labels=("Needs-Info",)))
    assert CaseStatus.NEEDS_INFO is (await talk.case(case)).status
    assert "This goes to the reporter now." in (await talk.comments())[-1]
    await talk.change(IssueChange(add_labels=("urgent",)))
    assert [True] == [NEEDED in text for text in talk.letters()[1:]]
    await talk.change(IssueChange(remove_labels=("Needs-Info",)))
    await talk.change(IssueChange(add_labels=("needs-info",)))
    assert [True, True] == [NEEDED in text for text in talk.letters()[1:]]


async def test_a_state_commands_when_people_change_it_and_not_when_we_do(talk: Talk) -> None:
    """What a command closes is not closed by the team; what the team opens again then is opened."""
    await talk.report()
    await talk.change(IssueChange(open=False))
    assert CLOSED in talk.letters()[-1]
    await talk.change(IssueChange(open=True))
    assert OPENED in talk.letters()[-1]
    await talk.change(IssueChange(add_labels=("wontfix",)))
    assert REJECTED in talk.letters()[-1]
    assert not (await talk.issue()).open
    await talk.change(IssueChange(add_labels=("urgent",)))
    assert 1 + 3 == len(talk.letters())
    await talk.change(IssueChange(open=True))
    assert OPENED in talk.letters()[-1]
    assert 1 + 4 == len(talk.letters())


async def test_the_first_person_who_gets_the_issue_handles_the_case(talk: Talk) -> None:
    """The team is told once, by mail and in the issue; whoever comes next is told of as well."""
    case = await talk.report()
    await talk.change(IssueChange(assignees=("bob",)))
    assert "Bob Example" == (await talk.case(case)).handler
    assert "Bob Example" in (await talk.comments())[-1]
    await talk.change(IssueChange(add_labels=("urgent",)))
    assert [1, 1] == [len(talk.office.sent(member.address)) for member in TEAM]
    await talk.change(IssueChange(assignees=("bob", "alice")))
    assert "Alice Example" == (await talk.case(case)).handler
    assert [2, 2] == [len(talk.office.sent(member.address)) for member in TEAM]
