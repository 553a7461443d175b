"""A mail of ours did not arrive: what does its issue say?"""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support.fake_gitlab_text import alive, extract
from tests.support.messages import NOON, a_case, a_delivery, a_message
from tests.support.payloads import MARKER

from secbridge.model.issue import CommentDraft, Untrusted
from secbridge.model.message import DeliveryReport, Message
from secbridge.model.reply import OwnMail, ReplyKind
from secbridge.rules import replies
from secbridge.rules.drafting import markdown, plain, words
from secbridge.rules.drafting.bounces import SHOWN, draft_bounce

REPORTER, ALIAS = "reporter@example.net", "security@example.org"
ACK = OwnMail("SB-2026-0001", "ack", "h", ReplyKind.ACKNOWLEDGEMENT, REPORTER, NOON)
FAILED = DeliveryReport("failed", "5.1.1", recipients=(REPORTER,), diagnostic="550 no such user")


def draft(
    report: DeliveryReport | None = FAILED, sent: OwnMail | None = ACK, text: str = ""
) -> CommentDraft | None:
    """Return what an issue is told of a bounce."""
    message = a_message(report=report, author="mailer-daemon@mx.example", text=text)
    outgoing = replies.number_of(sent.step) if sent else None
    return draft_bounce(a_case(), a_delivery(id="D2", outgoing=outgoing), message, sent)


def told(report: DeliveryReport | None = FAILED, sent: OwnMail | None = ACK, text: str = "") -> str:
    """Return it as plain text, its columns closed up."""
    made = draft(report, sent, text)
    assert made is not None
    assert made.internal
    return " ".join(plain.comment_text(made).split())


def test_a_bounce_says_which_mail_to_whom_why_and_what_to_do() -> None:
    """In our own words; those of the mail system stand apart."""
    text = told()
    assert text.startswith("The reporter did not get this mail of ours.")
    for said in (
        "the acknowledgement",
        "2026-11-20 12:00 UTC",
        "the reporter",
        "there is no such mailbox",
        "5.1.1",
        "sb: reporter ADDRESS",
        "secbridge delivery raw D2",
        "550 no such user",
    ):
        assert said in text


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("5.1.1", "there is no such mailbox"),
        ("5.1.2", "there is no such domain"),
        ("5.1.10", "the domain takes no mail at all"),
        ("5.1.9", "something is wrong with an address"),
        ("5.2.2", "the mailbox is full"),
        ("5.3.4", "the mail is too large for their mail system"),
        ("5.4.1", "their mail system could not be reached"),
        ("4.4.1", "Because their mail system could not be reached"),
        ("4.4.7", "Because it could not be delivered for so long"),
        ("4.2.2", "gave up, after a fault that should have passed: the mailbox is full"),
        ("5.5.0", "did not understand each other"),
        ("5.6.1", "cannot take this kind of content"),
        ("5.7.1", "refuses it: its policy"),
        ("5.7.26", "did not pass their check of the sender"),
        ("5.7.999", "refuses it: its policy"),
        ("5.0.0", "gives no reason that we know"),
        ("5.99.99", "gives no reason that we know"),
        ("nonsense", "gives no reason that we know"),
        (None, "gives no reason that we know"),
    ],
)
def test_a_status_becomes_words(status: str | None, said: str) -> None:
    """Subject and detail of RFC 3463; an unknown detail is said as its subject is."""
    assert said in told(replace(FAILED, status=status, diagnostic=None))


def test_a_vague_status_is_made_exact_by_what_was_said() -> None:
    """Many mail systems report 5.0.0 and leave the code to the diagnostic."""
    vague = replace(FAILED, status="5.0.0", diagnostic="550-5.2.2 over quota (192.5.1.1)")
    assert "the mailbox is full" in told(vague)
    assert "Status 5.2.2" in told(vague)


@pytest.mark.parametrize("action", ["delayed", "delivered", "relayed", "expanded"])
def test_what_is_no_failure_is_for_the_journal_alone(action: str) -> None:
    """A mail that is late, or went on, wakes nobody."""
    assert draft(DeliveryReport(action, "5.1.1")) is None
    assert draft(DeliveryReport(None, "4.4.1")) is None
    assert draft(DeliveryReport(None, "2.1.5")) is None


@pytest.mark.parametrize(
    ("recipients", "sent", "said"),
    [
        (("Reporter@Example.net",), ACK, "The reporter did not get this"),
        ((REPORTER, "rita@home.example"), ACK, "The reporter did not get this"),
        ((ALIAS, "alice@home.example"), ACK, "The alias's copy of a mail of ours did not arrive"),
        (("rita@home.example",), ACK, "at an address that is not the reporter's own"),
        ((), ACK, "The reporter did not get this"),
        ((), None, "which one of ours is not known"),
        (
            ("alice@example.org",),
            replace(ACK, step="claim-7", kind=ReplyKind.CLAIM),
            "A member of the team did not get this",
        ),
    ],
)
def test_it_says_who_did_not_get_it(
    recipients: tuple[str, ...], sent: OwnMail | None, said: str
) -> None:
    """Reporter and alias get the same mail, so the report has to tell them apart."""
    assert said in told(replace(FAILED, recipients=recipients), sent)


def test_an_address_that_is_not_the_reporters_is_a_strangers_word() -> None:
    """It stands in the fence, as what a mail system says does."""
    made = draft(replace(FAILED, recipients=("@alice@evil.example",), diagnostic="@bob /close"))
    assert made is not None
    fenced = [block.text for block in made.blocks if isinstance(block, Untrusted)]
    assert fenced == ["@alice@evil.example", "@bob /close"]
    others = repr([block for block in made.blocks if not isinstance(block, Untrusted)])
    assert "evil" not in others
    assert "/close" not in others


QMAIL = (
    "Hi. This is the qmail-send program at mx.example.\n"
    "<reporter@example.net>:\nSorry, no mailbox here by that name. (#5.1.1)\n\n"
    "--- Below this line is a copy of the message.\n\nSubject: ...\n"
)


@pytest.mark.parametrize("report", [None, DeliveryReport()])
def test_a_bounce_without_a_report_is_told_as_what_it_seems_to_be(
    report: DeliveryReport | None,
) -> None:
    """Old mail systems write to people only; a code in their text is believed that far."""
    text = told(report, text=QMAIL)
    assert text.startswith("It seems that the reporter did not get this mail of ours.")
    assert ("it seems that there is no such mailbox" in text) == (report is None)
    assert "Sorry, no mailbox here by that name" in text


@pytest.mark.parametrize("outgoing", [None, 7])
def test_a_bounce_that_came_another_way_is_not_taken_for_certain(outgoing: int | None) -> None:
    """Whoever was written to knows our Message-ID, and may want us to think that nobody got it."""
    message = a_message(report=FAILED, author="mailer-daemon@mx.example")
    made = draft_bounce(a_case(), a_delivery(outgoing=outgoing), message, ACK)
    assert made is not None
    text = " ".join(plain.comment_text(made).split())
    assert text.startswith("It seems that the reporter did not get this mail of ours.")
    assert "anybody may have made it" in text


def test_no_more_of_a_bounce_is_shown_than_its_beginning() -> None:
    """It may hold the whole of our mail again, and is whatever a stranger put there."""
    made = draft(None, text="x" * SHOWN + "our own words")
    assert made is not None
    (fenced,) = [block for block in made.blocks if isinstance(block, Untrusted)]
    assert fenced.text == "x" * SHOWN
    assert "our own words" not in plain.comment_text(made)


def test_nothing_in_a_bounce_comes_alive_in_a_tracker() -> None:
    """The text of a mail system is a stranger's text."""
    hostile = replace(FAILED, status="5.1.1\n/close", diagnostic="```\n/close\n@alex ![x](y)\u202e")
    made = draft(hostile)
    assert made is not None
    text = markdown.told_comment(made, MARKER, limit=100_000)
    assert extract(text) == (text, [])
    assert alive(text) == []
    assert "⟦U+202E⟧" in text


def test_every_mail_of_ours_has_a_name_for_people() -> None:
    """A bounce of any of them can be told, and no two are told alike."""
    names = [words.notice(kind) for kind in ReplyKind]
    assert len(set(names)) == len(names)
    assert names[-1] in told(sent=replace(ACK, kind=list(ReplyKind)[-1]))


def test_text_made_to_be_slow_is_searched_all_the_same() -> None:
    """The pattern is linear, and only a beginning is searched."""
    message: Message = a_message(text="5.1." * 100_000)
    assert draft_bounce(a_case(), a_delivery(), message, None) is not None
