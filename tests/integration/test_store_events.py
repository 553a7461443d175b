"""Is a command of the team done once, whatever happens in between?"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from tests.support.stores import NOON, a_route, opened, opened_case, routed

from secbridge.model.case import IssueRef
from secbridge.model.delivery import Filed
from secbridge.ports import HeardBefore
from secbridge.store import Store

PLACE = ("local", "security")
KEY = "comment:7"


async def a_filed_case(store: Store) -> str:
    """Return the id of a case whose issue is number 7."""
    delivery = await routed(store)
    case = await opened_case(
        store, delivery.id, a_route(), reporter="reporter@example.net", must_encrypt=False
    )
    await store.record(delivery.id, Filed(case.id, IssueRef(*PLACE, id="7", number="7")))
    return case.id


async def test_a_project_that_was_never_read_has_no_cursor(tmp_path: Path) -> None:
    """The first look begins now, and not with the history of the project."""
    async with opened(tmp_path / "store.db") as store:
        assert await store.cursor(*PLACE) is None


async def test_a_cursor_is_kept_for_each_project(tmp_path: Path) -> None:
    """After a restart each project is read on from where it was left."""
    async with opened(tmp_path / "store.db") as store:
        await store.move_cursor("local", "security", "a")
        await store.move_cursor("local", "board", "b")
        await store.move_cursor("local", "security", "c")
    async with opened(tmp_path / "store.db") as store:
        assert "c" == await store.cursor("local", "security")
        assert "b" == await store.cursor("local", "board")


async def test_an_issue_leads_to_its_case(tmp_path: Path) -> None:
    """What somebody writes on an issue belongs to the case that was filed there."""
    async with opened(tmp_path / "store.db") as store:
        case_id = await a_filed_case(store)
        assert case_id == await store.case_of_issue(*PLACE, "7")
        assert await store.case_of_issue(*PLACE, "8") is None
        assert await store.case_of_issue("local", "board", "7") is None


async def test_a_command_is_new_once(tmp_path: Path) -> None:
    """Heard for the first time it was never begun, and done it stays done."""
    async with opened(tmp_path / "store.db") as store:
        case_id = await a_filed_case(store)
        first = await store.hear(*PLACE, KEY, case_id=case_id, command="help")
        assert HeardBefore(None, done=False) == first
        await store.heard(*PLACE, KEY, case_id=case_id, by="alice", outcome="helped")
        again = await store.hear(*PLACE, KEY, case_id=case_id, command="help")
        assert HeardBefore(NOON, done=True) == again


async def test_a_command_in_the_middle_of_which_we_died_is_begun_again(tmp_path: Path) -> None:
    """The next try knows when the earlier one began, and looks for what that one left behind."""
    path = tmp_path / "store.db"
    async with opened(path) as store:
        case_id = await a_filed_case(store)
        await store.hear(*PLACE, KEY, case_id=case_id, command="help")
    async with opened(path) as store:
        again = await store.hear(*PLACE, KEY, case_id=case_id, command="help")
        assert HeardBefore(NOON, done=False) == again


async def test_a_try_that_left_nothing_does_not_begin_the_wait_anew(tmp_path: Path) -> None:
    """Who looks every minute would else never see the end of a wait of four."""
    async with opened(tmp_path / "store.db") as store:
        case_id = await a_filed_case(store)
        await store.hear(*PLACE, KEY, case_id=case_id, command="help")
        earlier = NOON - timedelta(minutes=3)
        await store.undo_hear(*PLACE, KEY, earlier)
        again = await store.hear(*PLACE, KEY, case_id=case_id, command="help")
        assert HeardBefore(earlier, done=False) == again


async def test_a_command_is_begun_until_it_has_an_outcome(tmp_path: Path) -> None:
    """What was begun and not done may have been done by half."""
    async with opened(tmp_path / "store.db") as store:
        case_id = await a_filed_case(store)
        assert not await store.is_begun(*PLACE, KEY)
        await store.hear(*PLACE, KEY, case_id=case_id, command="help")
        assert await store.is_begun(*PLACE, KEY)
        assert not await store.is_begun("local", "board", KEY)
        await store.heard(*PLACE, KEY, case_id=case_id, by="alice", outcome="helped")
        assert not await store.is_begun(*PLACE, KEY)


async def test_the_same_key_in_another_project_is_another_command(tmp_path: Path) -> None:
    """Trackers number their comments each for itself."""
    async with opened(tmp_path / "store.db") as store:
        case_id = await a_filed_case(store)
        await store.hear(*PLACE, KEY, case_id=case_id, command="help")
        await store.heard(*PLACE, KEY, case_id=case_id, by="alice", outcome="helped")
        other = await store.hear("local", "board", KEY, case_id=case_id, command="help")
        assert HeardBefore(None, done=False) == other


async def test_the_journal_tells_who_asked_and_what_came_of_it(tmp_path: Path) -> None:
    """One entry for a command, however often its outcome is recorded; no word of its text."""
    async with opened(tmp_path / "store.db") as store:
        case_id = await a_filed_case(store)
        await store.hear(*PLACE, KEY, case_id=case_id, command="key-accept")
        for _ in range(2):
            await store.heard(*PLACE, KEY, case_id=case_id, by="alice", outcome="accepted")
        told = [entry for entry in await store.journal(case_id) if entry.event == "case.command"]
        assert [{"command": "key-accept", "by": "alice", "outcome": "accepted"}] == [
            dict(entry.facts) for entry in told
        ]
        assert [NOON] == [entry.at for entry in told]
