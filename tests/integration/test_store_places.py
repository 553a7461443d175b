"""What does the store keep of where issues are?  Only what is true, and each change once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.support import stores
from tests.support.stores import (
    ALIAS,
    OTHER_ALIAS,
    a_route,
    accepted,
    an_envelope,
    opened,
    opened_case,
    targets,
)

from secbridge.errors import IllegalMove
from secbridge.model.case import Case, IssueRef
from secbridge.model.delivery import Filed, Judged, Opened, Routed
from secbridge.model.issue import IssueState, Standing
from secbridge.model.message import Protection
from secbridge.store import Store

ISSUE = IssueRef("main", "group/security", "71", "1", "https://gitlab.test/1")
HOME = a_route(tracker="main", project="group/security")


async def a_case(store: Store, name: str = "1", *, issue: IssueRef | None = None) -> Case:
    """Open a case on the home route, and file it when it has an issue."""
    delivery = await accepted(store, name)
    moves = (Opened(Protection.NONE), Judged(stores.REPORT), Routed(HOME))
    await store.record(delivery, *moves)
    case = await opened_case(store, delivery, HOME, reporter="r@example.net", must_encrypt=False)
    if issue is not None:
        await store.record(delivery, Filed(case.id, issue))
    found = await store.get_case(case.id)
    assert found is not None
    return found


async def test_a_case_without_an_issue_can_go_elsewhere(tmp_path: Path) -> None:
    """It keeps its id, its marker and its address; the journal has where it went."""
    async with opened(tmp_path / "store.db") as store:
        case = await a_case(store)
        route = replace(HOME, project="group/other", labels=("Security", "new"))
        assert await store.reroute(case.id, route)
        found = await store.get_case(case.id)
        assert found is not None
        assert (route, case.marker, case.token) == (found.route, found.marker, found.token)
        assert await store.reroute(case.id, route)
        events = [entry.event for entry in await store.journal(case.id)]
        assert 1 == events.count("case.rerouted")


async def test_a_case_with_an_issue_stays_where_it_is(tmp_path: Path) -> None:
    """A changed configuration moves nothing that somebody may be working on."""
    async with opened(tmp_path / "store.db") as store:
        case = await a_case(store, issue=ISSUE)
        assert not await store.reroute(case.id, replace(HOME, project="group/other"))
        found = await store.get_case(case.id)
        assert found is not None
        assert HOME == found.route


async def test_two_cases_of_one_mail_never_share_a_place(tmp_path: Path) -> None:
    """One mail has one case in a project; the second stays, and a person has to look."""
    async with opened(tmp_path / "store.db") as store:
        both = targets(ALIAS, OTHER_ALIAS)
        ids = await store.accept(an_envelope(ALIAS, OTHER_ALIAS), stores.a_mail("1"), both)
        other = a_route(OTHER_ALIAS, tracker="main", project="group/board")
        cases = [
            await opened_case(store, one, route, reporter=None, must_encrypt=False)
            for one, route in zip(ids, (HOME, other), strict=True)
        ]
        assert not await store.reroute(cases[1].id, replace(other, project=HOME.project))


async def test_only_what_changes_is_news(tmp_path: Path) -> None:
    """A first look that finds the secret kept is none, nor is the same thing seen twice."""
    async with opened(tmp_path / "store.db") as store:
        case = await a_case(store, issue=ISSUE)
        state = IssueState(ISSUE, confidential=True, open=True)
        seen = [Standing.KEPT, Standing.EXPOSED, Standing.EXPOSED, Standing.GONE, Standing.KEPT]
        news = [await store.looked(case.id, standing, state=state) for standing in seen]
        assert [False, True, False, True, True] == news


async def test_open_issues_come_before_closed_ones(tmp_path: Path) -> None:
    """A closed issue is looked at when there is time."""
    async with opened(tmp_path / "store.db") as store:
        first = await a_case(store, "1", issue=ISSUE)
        second = await a_case(store, "2", issue=replace(ISSUE, id="72", number="2"))
        closed = IssueState(ISSUE, confidential=True, open=False)
        await store.looked(first.id, Standing.KEPT, state=closed)
        assert second.issue is not None
        still_open = IssueState(second.issue, confidential=True, open=True)
        await store.looked(second.id, Standing.KEPT, state=still_open)
        watched = await store.issues_to_look_at(limit=9)
        assert [second.id, first.id] == [one.case.id for one in watched]


async def test_an_issue_elsewhere_is_away_until_the_move_is_settled(tmp_path: Path) -> None:
    """Filed in the embedded tracker, begun to move, moved, settled: each is durable."""
    async with opened(tmp_path / "store.db") as store:
        case = await a_case(store, issue=IssueRef("local", "security", "1", "1"))
        await a_case(store, "2", issue=ISSUE)
        (away,) = await store.away_from_home("local")
        assert (case.id, None, None) == (away.case.id, away.begun_at, away.left)
        await store.begin_move(case.id)
        (away,) = await store.away_from_home("local")
        assert away.begun_at is not None
        await store.undo_begin(case.id, None)
        await store.move_issue(case.id, ISSUE)
        (away,) = await store.away_from_home("local")
        assert (ISSUE, "1") == (away.case.issue, away.left)
        await store.settle_move(case.id)
        assert [] == await store.away_from_home("local")


async def test_what_has_no_case_cannot_be_looked_at_or_moved(tmp_path: Path) -> None:
    """A name that nobody knows changes nothing."""
    async with opened(tmp_path / "store.db") as store:
        with pytest.raises(IllegalMove):
            await store.looked("SB-1999-0001", Standing.KEPT, state=None)
        with pytest.raises(IllegalMove):
            await store.move_issue("SB-1999-0001", ISSUE)
        case = await a_case(store)
        with pytest.raises(IllegalMove):
            await store.move_issue(case.id, ISSUE)
