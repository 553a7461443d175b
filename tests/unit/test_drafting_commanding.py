"""What does an issue say of a command?  The text that left, in a fence, and our own words."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.support.messages import NOON, a_case

from secbridge.model.case import CaseStatus, KeyBinding
from secbridge.model.delivery import Outgoing, OutgoingState
from secbridge.model.issue import Block, Facts, Paragraph, Untrusted
from secbridge.model.message import CertificateSource
from secbridge.model.reply import NotSaid, OutgoingMail, ReplyKind, Said
from secbridge.rules.commands import CommandName, Mistake, MistakeKind
from secbridge.rules.drafting import commanding
from secbridge.rules.drafting.commanding import Effects, Sent
from secbridge.rules.letters import NOT_SAID
from secbridge.rules.replies import KEY_PROBLEMS, KEY_UNUSABLE

KEY = "A" * 40
SAID = Said("About your report", "Hello @all /close", KEY, removed=("1 mention",))


def words_of(blocks: tuple[Block, ...]) -> str:
    """Return what stands outside of fences."""
    texts = [block.text for block in blocks if isinstance(block, Paragraph)]
    rows = [" ".join(row) for block in blocks if isinstance(block, Facts) for row in block.rows]
    return "\n".join([*texts, *rows])


def test_the_text_of_a_letter_stands_only_inside_a_fence() -> None:
    """It was a command once; shown again it must not act."""
    for blocks in (
        commanding.letter(SAID, Effects(), mark="sb:"),
        commanding.previewed(SAID),
    ):
        fences = [block.text for block in blocks if isinstance(block, Untrusted)]
        assert [SAID.text] == fences
        assert SAID.text not in words_of(blocks)
        assert KEY in words_of(blocks)
        assert "1 mention" in words_of(blocks)


def test_a_letter_says_what_else_was_done() -> None:
    """Status, closing and links, each with what the tracker refused."""
    done = Effects(CaseStatus.DUPLICATE, closed=True, duplicate_of="SB-2026-0001", linked=True)
    said = words_of(commanding.letter(SAID, done, mark="sb:"))
    for part in ("a duplicate", "Issue closed", "SB-2026-0001, the issues are linked"):
        assert part in said
    refused = Effects(CaseStatus.DUPLICATE, closed=False, duplicate_of="SB-2026-0001")
    said = words_of(commanding.letter(SAID, refused, mark="sb:"))
    for part in ("refused to close it", "could not be linked"):
        assert part in said


def test_a_letter_in_clear_and_one_that_waits_say_so() -> None:
    """Nobody has to guess whether it was encrypted, or whether it has left."""
    clear = Said("Subject", "Text", None, waits=True)
    said = words_of(commanding.letter(clear, Effects(), mark="robot:"))
    assert "in clear, signed" in said
    assert "robot: release lets it go" in said


@pytest.mark.parametrize(
    "code",
    [
        *(f"{code}expired" if code == KEY_UNUSABLE else code for code in NOT_SAID),
        *(f"{KEY_UNUSABLE}{code}" for code in KEY_PROBLEMS),
    ],
)
def test_every_reason_for_not_sending_has_words_and_a_way_out(code: str) -> None:
    """A code is for the journal; a person reads why, and what to do."""
    said = words_of(commanding.not_said(NotSaid(code, KEY), "SB-2026-0001", mark="sb:"))
    assert code not in said
    assert "Nothing was sent, and nothing else was done: " in said
    assert "What to do" in said


@pytest.mark.parametrize("kind", MistakeKind)
def test_every_mistake_is_explained(kind: MistakeKind) -> None:
    """With the form of the command, or all commands where nobody knows which was meant."""
    said = words_of(commanding.explained(Mistake(kind, CommandName.REJECT), mark="sb:"))
    assert "Nothing was done: " in said
    assert "sb: reject CLASS REASON" in said
    assert "not-reproducible" in said
    said = words_of(commanding.explained(Mistake(kind), mark="sb:"))
    assert "sb: take" in said


def test_the_status_tells_where_everything_stands_and_no_address() -> None:
    """Case, people, key and each mail of ours with what became of it."""
    binding = KeyBinding("rita@example.net", KEY, CertificateSource.WKD, NOON)
    case = a_case(
        reporter="rita@example.net",
        key=binding,
        on_hold=True,
        handler="Alice",
        contacted_at=NOON,
        contacted_by="Bob",
        status=CaseStatus.ACCEPTED,
    )
    sent = [Sent(a_mail(state), NOON + timedelta(minutes=1)) for state in OutgoingState]
    said = words_of(commanding.standing(case, sent))
    for part in (
        "accepted",
        "Alice",
        "12:00 UTC, Bob",
        KEY,
        "WKD",
        "on hold",
        "waits to go out",
        "12:01 UTC",
        "refused by the relay (550 5.1.1)",
        "kept back by our guard",
        "another took its place",
    ):
        assert part in said
    assert "rita" not in said
    assert "No mail of ours yet." in words_of(commanding.standing(a_case(), []))


def a_mail(state: OutgoingState) -> Outgoing:
    """Return a mail of ours in a state."""
    mail = OutgoingMail(
        "SB-2026-0001", "ack", ReplyKind.ACKNOWLEDGEMENT, "rita@example.net", "a@example.org",
        "<a@example.org>", b"", "", must_encrypt=False,
    )  # fmt: skip
    return Outgoing(1, None, mail, state, attempts=1, deferrals=0, last_status="550 5.1.1")
