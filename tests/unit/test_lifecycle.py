"""Which moves may a delivery make?  Every one, legal and illegal."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secbridge.errors import IllegalMove
from secbridge.model.case import IssueRef, MailClass, Route, Verdict
from secbridge.model.delivery import (
    Answered,
    Attempted,
    Commented,
    Deferred,
    Filed,
    Finished,
    Held,
    Judged,
    Move,
    Opened,
    Quarantined,
    Released,
    Retried,
    Routed,
    SetAside,
    State,
    Withheld,
)
from secbridge.model.message import Protection
from secbridge.rules.lifecycle import TRANSITIONS, WAITING, WORKING, after, mermaid

MOVES: dict[str, Move] = {
    "opened": Opened(Protection.NONE),
    "judged": Judged(Verdict(MailClass.REPORT, ("x",), may_reply=True)),
    "routed": Routed(Route("a@b", "local", "p", (), (), date(2026, 11, 27))),
    "attempted": Attempted("file"),
    "filed": Filed("SB-2026-0001", IssueRef("local", "p", "1", "1")),
    "commented": Commented("SB-2026-0001", "1"),
    "set aside": SetAside("spam"),
    "released": Released("operator"),
    "answered": Answered(()),
    "withheld": Withheld("bounce"),
    "held": Held("no-key", datetime(2026, 11, 20, tzinfo=UTC)),
    "finished": Finished(),
    "deferred": Deferred(datetime(2026, 11, 20, tzinfo=UTC), "busy"),
    "quarantined": Quarantined("died"),
    "retried": Retried(),
}
ANY_WORK = {"attempted": "itself", "deferred": "deferred", "quarantined": "quarantined"}
LEGAL: dict[str, dict[str, str]] = {
    "received": {"opened": "opened", **ANY_WORK},
    "opened": {"judged": "judged", **ANY_WORK},
    "judged": {"routed": "routed", **ANY_WORK},
    "routed": {"filed": "filed", "commented": "commented", "set aside": "set-aside", **ANY_WORK},
    "filed": {
        "answered": "answered",
        "withheld": "answer-withheld",
        "held": "answer-held",
        **ANY_WORK,
    },
    "commented": {
        "answered": "answered",
        "withheld": "answer-withheld",
        "held": "answer-held",
        **ANY_WORK,
    },
    "set-aside": {"released": "routed"},
    "answered": {"finished": "done", "held": "answer-held", **ANY_WORK},
    "answer-withheld": {"finished": "done", **ANY_WORK},
    "answer-held": {
        "retried": "where it was",
        "quarantined": "quarantined",
        "withheld": "answer-withheld",
    },
    "done": {},
    "deferred": {"retried": "where it was", "quarantined": "quarantined"},
    "quarantined": {"retried": "where it was"},
}
"""The page of the design, in words; everything that is not here is illegal."""


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("state", State)
def test_a_move_leads_where_the_page_says_or_nowhere(state: State, name: str) -> None:
    """Each of the 13 states with each of the 15 moves either leads to the named state or raises."""
    resume = State.ROUTED if state in WAITING else None
    target = LEGAL[state.value].get(name)
    if target is None:
        with pytest.raises(IllegalMove):
            after(state, resume, MOVES[name])
        return
    named = {"itself": state, "where it was": resume}.get(target) or State(target)
    assert named == after(state, resume, MOVES[name])[0]


@pytest.mark.parametrize("state", sorted(WORKING))
@pytest.mark.parametrize("name", ["deferred", "quarantined"])
def test_a_wait_goes_back_to_where_it_was(state: State, name: str) -> None:
    """Deferred or quarantined and then retried, a delivery stands in the state that it left."""
    waiting, resume = after(state, None, MOVES[name])
    assert (state, None) == after(waiting, resume, MOVES["retried"])


def test_an_answer_that_did_not_leave_is_built_anew() -> None:
    """What the guard holds back goes on from where answers are built, and not from the outbox."""
    waiting, resume = after(State.ANSWERED, None, MOVES["held"])
    assert (State.FILED, None) == after(waiting, resume, MOVES["retried"])


@pytest.mark.parametrize("state", [State.FILED, State.COMMENTED])
def test_a_held_answer_goes_back_to_where_it_was(state: State) -> None:
    """Whether the mail opened the case or joined it: the answer is decided again from there."""
    held = after(state, None, MOVES["held"])
    assert held == (State.HELD, state)
    assert after(*held, MOVES["retried"]) == (state, None)
    assert after(*after(*held, MOVES["quarantined"]), MOVES["retried"]) == (state, None)


def test_quarantined_while_deferred_it_still_knows_where_it_was() -> None:
    """A quarantine during a wait keeps the state before the wait."""
    deferred = after(State.FILED, None, MOVES["deferred"])
    quarantined = after(*deferred, MOVES["quarantined"])
    assert after(*quarantined, MOVES["retried"]) == (State.FILED, None)


@pytest.mark.parametrize("state", sorted(WAITING))
def test_a_wait_that_forgot_where_it_was_is_not_retried(state: State) -> None:
    """A waiting row without its state is damage, and moves nowhere."""
    with pytest.raises(IllegalMove):
        after(state, None, MOVES["retried"])


def test_an_illegal_move_names_state_and_move_and_no_content() -> None:
    """The text of the error is the state and the kind of the move, never its facts."""
    with pytest.raises(IllegalMove) as caught:
        after(State.DONE, None, SetAside("a secret reason"))
    assert str(caught.value) == "a delivery that is done cannot be setaside"


def test_every_state_leads_to_done() -> None:
    """From each state there is a way to ``done``: nothing is caught for ever."""
    leads: dict[State, set[State]] = {state: set() for state in State}
    for (source, _), target in TRANSITIONS.items():
        leads[source].add(target)
    for waiting in WAITING:
        leads[waiting] |= WORKING
    arrived = {State.DONE}
    while more := {state for state in State if leads[state] & arrived} - arrived:
        arrived |= more
    assert set(State) == arrived


@given(st.lists(st.sampled_from(sorted(MOVES)), max_size=40))
def test_no_sequence_of_moves_leaves_the_table(names: list[str]) -> None:
    """Whatever is asked, a delivery is in a listed state, and knows its way back when it waits."""
    state, resume = State.RECEIVED, None
    for name in names:
        try:
            state, resume = after(state, resume, MOVES[name])
        except IllegalMove:
            continue
        assert state in State
        assert (state in WAITING) == (resume is not None)
        assert resume is None or resume in WORKING


def test_the_diagram_shows_every_row_of_the_table() -> None:
    """The picture in the docs is drawn from the table, so no move is missing in it."""
    drawn = mermaid()
    for (source, move), target in TRANSITIONS.items():
        line = f"{source.replace('-', '_')} --> {target.replace('-', '_')}: {move.__name__.lower()}"
        assert line in drawn
