"""A mail of ours will not leave: does its issue learn of it, once, whatever happens in between?"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.fake_gitlab import FakeGitLab
from tests.support.guarded import Installation, gitlab_config, installation
from tests.support.keys import REPORTER, ROLE, Keys, Ring
from tests.support.reports import plain_report
from tests.support.stores import LEASE, an_answer
from tests.support.trackers import log_lines

from secbridge.model.case import Case
from secbridge.model.delivery import OutgoingState
from secbridge.model.reply import ReplyKind

GETS_NOTHING = "The reporter did not get this mail of ours"


@pytest.fixture(scope="module")
def gitlab_server() -> Iterator[FakeGitLab]:
    """Return the fake GitLab of this page."""
    with FakeGitLab.start() as gitlab:
        yield gitlab


@pytest.fixture
def gitlab(gitlab_server: FakeGitLab) -> FakeGitLab:
    """Return the fake GitLab, empty."""
    gitlab_server.reset()
    return gitlab_server


@pytest.fixture
async def here(
    tmp_path: Path, gitlab: FakeGitLab, role_ring: Ring, keys: Keys
) -> AsyncIterator[Installation]:
    """Return an installation that files into the GitLab."""
    config = gitlab_config(tmp_path / "home", gitlab, role_ring, keys.role_fpr)
    async with installation(config, keys) as opened:
        yield opened


async def a_case(here: Installation) -> Case:
    """Return the case of a report, its acknowledgement sent."""
    delivery = await here.receive(plain_report().as_bytes())
    await here.work()
    store = here.house.store
    for row in await store.claim_outgoing(here.clock.now(), limit=9, lease=LEASE):
        await store.outgoing_sent(row.id, "250 2.0.0")
    return await here.case(delivery)


async def lose(here: Installation, case: Case, *outcomes: tuple[str, str], number: int = 1) -> None:
    """Post a letter to the reporter and the alias, and let each copy have its outcome."""
    letter = an_answer(case.id, REPORTER, step=f"letter-{1000 + number}")
    letter = replace(letter, kind=ReplyKind.REPLY, automatic=False)
    store = here.house.store
    await store.post([letter, replace(letter, recipient=ROLE)])
    rows = await store.claim_outgoing(here.clock.now(), limit=9, lease=LEASE)
    for row, (state, status) in zip(rows, outcomes, strict=True):
        if state == OutgoingState.SENT:
            await store.outgoing_sent(row.id, status)
        else:
            quarantine = state == OutgoingState.QUARANTINED
            await store.outgoing_refused(row.id, status, quarantine=quarantine)


def told(gitlab: FakeGitLab) -> list[str]:
    """Return what the notes of the issue begin with, those that tell of troubles."""
    notes = [str(note["body"]) for note in gitlab.notes(1)]
    return [body for body in notes if "did not leave" in body]


async def test_a_mail_that_nobody_got_is_one_comment(
    here: Installation, gitlab: FakeGitLab
) -> None:
    """Both copies are refused alike, and the issue hears of it once, for ever."""
    case = await a_case(here)
    await here.strike("troubles")
    assert [] == told(gitlab)
    await lose(here, case, ("refused", "5.1.1"), ("refused", "5.1.1"))
    with log_lines() as lines:
        for _ in range(2):
            await here.strike("troubles")
    (body,) = told(gitlab)
    assert GETS_NOTHING in body
    assert "there is no such mailbox" in body
    assert ["mail.trouble-told"] == [line["event"] for line in lines]
    assert () == tuple(await here.house.store.untold(limit=9))


async def test_a_copy_is_told_when_it_alone_is_lost(here: Installation, gitlab: FakeGitLab) -> None:
    """And a mail that our own guard keeps is told like one that the relay refuses."""
    case = await a_case(here)
    await lose(here, case, ("sent", "250"), ("refused", "5.2.2"))
    await lose(here, case, ("quarantined", "guard-altered"), ("sent", "250"), number=2)
    await here.strike("troubles")
    copy, own = told(gitlab)
    assert "The alias's copy" in copy
    assert GETS_NOTHING in own
    assert "guard-altered" in own


async def test_a_tracker_that_is_away_is_told_the_next_time(
    here: Installation, gitlab: FakeGitLab
) -> None:
    """Nothing is lost and nobody is alarmed; of an away tracker nothing more is asked."""
    case = await a_case(here)
    for number in (1, 2):
        await lose(here, case, ("refused", "5.1.1"), ("sent", "250"), number=number)
    gitlab.fault("503-before", on="any")
    with log_lines() as lines:
        await here.strike("troubles")
    assert [("troubles", False)] == [
        (line["subject"], line["alarm"]) for line in lines if line["event"] == "deferred"
    ]
    assert [] == told(gitlab)
    await here.strike("troubles")
    assert 2 == len(told(gitlab))


async def test_a_comment_whose_answer_was_lost_is_found_again(
    here: Installation, gitlab: FakeGitLab
) -> None:
    """The attempt is known from before, so the marker is looked for; nothing is told twice."""
    case = await a_case(here)
    await lose(here, case, ("refused", "5.1.1"), ("sent", "250"))
    gitlab.fault("drop-after", on="create-note")
    await here.strike("troubles")
    (row,) = await here.house.store.untold(limit=9)
    assert here.clock.now() == row.telling_at
    here.clock.advance(minutes=5)
    await here.strike("troubles")
    assert 1 == len(told(gitlab))
    assert () == tuple(await here.house.store.untold(limit=9))


async def test_an_issue_that_refuses_for_good_keeps_nobody_waiting(
    here: Installation, gitlab: FakeGitLab
) -> None:
    """It is not asked again before the next start, and the other issues are told."""
    first, second = await a_case(here), await a_case(here)
    await lose(here, first, ("refused", "5.1.1"), ("sent", "250"))
    await lose(here, second, ("refused", "5.1.1"), ("sent", "250"))
    (troubles,) = [chore.do for chore in here.chores() if chore.name == "troubles"]
    gitlab.fault("403", on="create-note")
    await troubles()
    (left,) = await here.house.store.untold(limit=9)
    assert first.id == left.mail.case_id
    before = len(gitlab.requests())
    await troubles()
    assert before == len(gitlab.requests())
    await here.strike("troubles")  # another clock, as after a start
    assert () == tuple(await here.house.store.untold(limit=9))
