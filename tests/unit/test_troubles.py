"""A mail of ours will not leave: what does its issue say?"""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support.messages import NOON, a_case
from tests.support.stores import ALIAS, an_answer

from secbridge.model.delivery import Outgoing, OutgoingState
from secbridge.model.reply import ReplyKind
from secbridge.rules.drafting import plain
from secbridge.rules.drafting.troubles import draft_trouble
from secbridge.rules.replies import OUTDATES

REPORTER = "reporter@example.net"


def a_row(
    status: str,
    state: OutgoingState = OutgoingState.REFUSED,
    *,
    kind: ReplyKind = ReplyKind.REPLY,
    to: str = REPORTER,
) -> Outgoing:
    """Return a mail that will not leave."""
    mail = replace(an_answer("SB-2026-0001", to, step="letter-1000"), kind=kind)
    return Outgoing(
        7, None, mail, state, attempts=1, deferrals=0, last_status=status, queued_at=NOON
    )


def told(row: Outgoing) -> str:
    """Return what the issue is told, its columns closed up."""
    draft = draft_trouble(a_case(), row)
    assert draft.internal
    return " ".join(plain.comment_text(draft).split())


def test_a_refused_letter_says_which_why_and_what_to_do() -> None:
    """All of it in words, with the relay's status, and with nobody's address."""
    text = told(a_row("5.1.1"))
    assert text.startswith("The reporter did not get this mail of ours")
    for said in (
        "a reply of the team",
        "2026-11-20 12:00 UTC",
        "our mail relay refuses it: there is no such mailbox",
        "5.1.1",
        "sb: reporter ADDRESS",
        "secbridge mail show 7",
    ):
        assert said in text
    assert "@" not in text


@pytest.mark.parametrize(
    ("status", "said", "advised"),
    [
        ("5.2.2", "the mailbox is full", "in some days (sb: reply)"),
        ("5.3.4", "too large", "shorter (sb: reply)"),
        ("5.7.1", "its policy, or what it thinks of our mail", "your postmaster"),
        ("5.9.9", "gives no reason that we know", "ask your postmaster why"),
        ("", "gives no reason that we know", "ask your postmaster why"),
    ],
)
def test_what_the_relay_says_is_put_into_words(status: str, said: str, advised: str) -> None:
    """An enhanced status means the same here as in a bounce."""
    text = told(a_row(status))
    assert said in text
    assert advised in text


@pytest.mark.parametrize(
    ("status", "said", "advised"),
    [
        ("guard-not-bound", "another key is the reporter's by now", "say it again"),
        ("guard-clear-in-encrypted-thread", "has to be encrypted by now", "say it again"),
        ("guard-not-reporter", "another reporter by now", "say it again"),
        ("guard-altered", "not exactly what we would have written", "an operator has to look"),
        ("died-3-times", "we ended, again and again", "an operator has to look"),
        ("internal-KeyError", "something broke in us", "an operator has to look"),
    ],
)
def test_what_our_guard_keeps_is_put_into_words(status: str, said: str, advised: str) -> None:
    """Its code stands beside, for the operator; how to say it again, for the team."""
    text = told(a_row(status, OutgoingState.QUARANTINED))
    assert said in text
    assert advised in text
    assert f"Code {status}" in text.replace(":", "")
    assert "sb: reply" in text


def test_a_change_meanwhile_is_told_as_one() -> None:
    """Whatever would have an acknowledgement built anew says that something changed."""
    for status in OUTDATES:
        assert "by now" in told(a_row(status, OutgoingState.QUARANTINED))


def test_a_copy_and_a_claim_are_told_as_what_they_are() -> None:
    """Nobody shall think that the reporter heard nothing when a colleague's mailbox is full."""
    copy = told(a_row("5.2.2", to=ALIAS))
    assert copy.startswith("The alias's copy of a mail of ours did not leave")
    assert "where mail to the alias goes" in copy
    claim = told(a_row("5.2.2", kind=ReplyKind.CLAIM, to="alice@example.org"))
    assert claim.startswith("A member of the team did not get this mail")
    assert "roster" in claim
