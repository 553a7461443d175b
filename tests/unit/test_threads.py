"""Which case does a mail go on with, and as whose mail?  What names a case, and what proves it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from rich.console import Console
from tests.support.messages import a_case, a_message, encrypted, undecryptable

from secbridge.cli.inspection import row, view
from secbridge.model.alias import Member
from secbridge.model.case import Case, KeyBinding, MailClass, Verdict
from secbridge.model.message import (
    CertificateSource,
    Coverage,
    Headers,
    Message,
    Signature,
    SignatureVerdict,
)
from secbridge.pipeline.examining import Examined, recipients_of
from secbridge.rules.drafting import draft_comment, draft_report, plain, words
from secbridge.rules.replies import LEEWAY
from secbridge.rules.threads import (
    MOST_NAMED,
    Found,
    Mention,
    Participant,
    Thread,
    Tie,
    called,
    cases_in,
    decide,
)
from secbridge.testing.drafts import NOON, REPORTER, a_delivery

ALICE = Member("alice@example.org", account="alice", fingerprint="A" * 40, name="Alice Liddell")
BOB = Member("bob@example.org")
ROSTER = (ALICE, BOB)
COLLEAGUE = "colleague@example.net"
BOUND = KeyBinding(REPORTER, "F" * 40, CertificateSource.INSIDE, NOON)
CASE = a_case(key=BOUND)
OTHER = a_case(id="SB-2026-0002", key=KeyBinding("x@y.z", "E" * 40, CertificateSource.INSIDE, NOON))


def by(author: str | None, *signatures: Signature, **given: Any) -> Message:
    """Return a mail with this one author."""
    return a_message(author=author, signatures=signatures, **given)


def signature(
    fingerprint: str,
    verdict: SignatureVerdict = SignatureVerdict.GOOD,
    covers: Coverage = Coverage.WHOLE,
) -> Signature:
    """Return a signature by this certificate."""
    return Signature(verdict, fingerprint, covers, signer_is_sender=True)


def decided(message: Message, found: Found, *recipients: str) -> Thread | Mention | None:
    """Return what becomes of a mail to an alias with two members."""
    return decide(message, found, roster=ROSTER, recipients=recipients)


def joined(message: Message, *recipients: str, case: Case = CASE) -> Thread:
    """Return the thread of a mail that came to the address of a case."""
    thread = decided(message, Found(token=case), *recipients)
    assert isinstance(thread, Thread)
    return thread


# ── What ties a mail to a case ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (Found(token=CASE), ("thread.token",)),
        (Found(references=CASE), ("thread.references",)),
        (Found(came_in=CASE), ("thread.came-in",)),
        (Found(token=CASE, references=CASE, came_in=CASE), ("thread.token",)),
        (Found(token=CASE, references=OTHER), ("thread.token", "thread.disagree")),
        (Found(token=CASE, came_in=OTHER), ("thread.token", "thread.disagree")),
        (Found(references=CASE, came_in=OTHER), ("thread.references", "thread.disagree")),
    ],
)
def test_the_address_counts_before_our_ids_and_those_before_others(
    found: Found, expected: tuple[str, ...]
) -> None:
    """The case wins that is harder to guess, and the reasons say that there were two."""
    thread = decided(by(REPORTER), found)
    assert isinstance(thread, Thread)
    assert (thread.case_id, thread.ties) == (CASE.id, expected)


def test_a_mail_that_names_no_case_has_no_thread() -> None:
    """It opens its own."""
    assert decided(by(REPORTER), Found()) is None


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (by(REPORTER), Participant.REPORTER),
        (by(REPORTER.title()), Participant.REPORTER),
        (by("else@example.com", signature(BOUND.fingerprint)), Participant.SIGNER),
        (by(None, signature(BOUND.fingerprint)), Participant.SIGNER),
        (by(ALICE.address, signature("a" * 40)), Participant.MEMBER),
    ],
)
def test_reporter_signer_and_member_join_by_an_id_that_came_in(
    message: Message, expected: Participant
) -> None:
    """Anybody may have seen such an id, so it takes an address or a key of the case beside it."""
    thread = decided(message, Found(came_in=CASE))
    assert isinstance(thread, Thread)
    assert (thread.participant, thread.tie) == (expected, Tie.CAME_IN)


@pytest.mark.parametrize(
    "message",
    [
        by(COLLEAGUE),
        by(None),
        by(None, authors=(REPORTER, COLLEAGUE)),
        by("reporter@example.net.evil.example"),
        by(COLLEAGUE, signature("E" * 40)),
        by(COLLEAGUE, signature(BOUND.fingerprint, covers=Coverage.PART)),
        by(COLLEAGUE, signature(BOUND.fingerprint, SignatureVerdict.BAD)),
        by(COLLEAGUE, signature(BOUND.fingerprint, SignatureVerdict.EXPIRED)),
        by(ALICE.address),
        by(ALICE.address, signature("A" * 40, covers=Coverage.PART)),
        by(ALICE.address, signature("A" * 40, SignatureVerdict.UNKNOWN_KEY)),
        by(ALICE.address, signature("B" * 40)),
        by(COLLEAGUE, signature("A" * 40)),
        by(BOB.address, signature("")),
        undecryptable(author=ALICE.address),
    ],
)
def test_anybody_else_only_claims_to_continue_the_case(message: Message) -> None:
    """A forged address of a member, a signature on a part, the key of another case: none counts."""
    assert decided(message, Found(came_in=CASE)) == Mention(CASE.id, Tie.CAME_IN)


def test_a_case_without_reporter_or_key_is_nobodys_by_an_id_that_came_in() -> None:
    """There is nothing that the author could agree with."""
    case = a_case(reporter=None, key=None)
    assert decided(by(None), Found(came_in=case)) == Mention(case.id, Tie.CAME_IN)


def test_a_subject_is_never_more_than_a_claim() -> None:
    """Numbers can be guessed: not even the reporter's own address makes it more."""
    message = by(REPORTER, signature(BOUND.fingerprint))
    assert decided(message, Found(subject=CASE)) == Mention(CASE.id, Tie.SUBJECT)


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ("Re: [SB-2026-0001] your report", ("SB-2026-0001",)),
        ("sb-2026-0001", ("SB-2026-0001",)),
        ("SB-2026-0002 and SB-2026-0001, SB-2026-0002", ("SB-2026-0002", "SB-2026-0001")),
        ("SB-2026-12345", ("SB-2026-12345",)),
        ("USB-2026-0001", ()),
        ("SB-2026-0001-7", ()),
        ("SB-26-0001", ()),
        ("SB-2026-1", ()),
        ("SB-2026-" + "1" * 40, ()),
        ("SB-2026-0003SB-2026-0004", ()),
    ],
)
def test_a_subject_names_cases_by_their_whole_number(
    subject: str, expected: tuple[str, ...]
) -> None:
    """In any case of letters."""
    assert cases_in(subject, "...") == expected


def test_of_a_subject_that_names_many_cases_the_first_few_count() -> None:
    """Each costs a look into the store."""
    subject = " ".join(f"SB-2026-{number:04d}" for number in range(999))
    assert cases_in(subject) == ("SB-2026-0000", "SB-2026-0001", "SB-2026-0002")
    assert MOST_NAMED == 3


# ── Who wrote ────────────────────────────────────────────────────────────────────────────────────


def test_a_stranger_who_holds_the_address_is_a_new_participant() -> None:
    """A colleague on copy joins, and is neither the reporter nor one of the team."""
    thread = joined(by(COLLEAGUE), REPORTER)
    assert thread == Thread(CASE.id, Participant.NEW)
    assert thread.sender == ("thread.participant-new",)
    assert not thread.is_reporters


def test_the_reporters_own_address_is_no_reason_of_its_own() -> None:
    """It is what one expects."""
    thread = joined(by(REPORTER))
    assert thread.sender == ()
    assert thread.is_reporters


def test_a_forged_address_of_a_member_is_a_new_participant_who_pretends() -> None:
    """The comment names the member, and says that the signature is missing."""
    thread = joined(by(ALICE.address), REPORTER)
    assert thread == Thread(CASE.id, Participant.NEW, pretended=ALICE)
    assert thread.sender == ("thread.participant-new", "thread.member-unproven")
    said = words.author_of(thread, by(ALICE.address))
    assert said.startswith("new participant")
    assert "claims to be by Alice Liddell, and is not signed with Alice Liddell's key" in said


def test_what_we_cannot_open_only_claims_to_be_by_a_member() -> None:
    """Encrypted to the reporter alone, it shows no signature; so it is said, not believed."""
    message = undecryptable(author=ALICE.address)
    thread = joined(message, REPORTER)
    assert thread.participant is Participant.NEW
    assert "claims to be by Alice Liddell, and we cannot open it" in words.author_of(
        thread, message
    )


def test_the_bound_key_under_a_members_address_is_the_reporter_who_pretends() -> None:
    """Key and address contradict each other, and both are told."""
    thread = joined(by(ALICE.address, signature(BOUND.fingerprint)))
    assert (thread.participant, thread.pretended) == (Participant.SIGNER, ALICE)


def test_a_member_who_is_the_reporter_is_the_reporter() -> None:
    """People of the team report, too; then the answers are theirs."""
    case = a_case(reporter=ALICE.address)
    thread = joined(by(ALICE.address, signature("A" * 40)), ALICE.address, case=case)
    assert thread == Thread(case.id, Participant.REPORTER)


def test_a_member_without_a_fingerprint_is_never_proven() -> None:
    """An empty fingerprint equals no signature's, not even one that names no key."""
    assert joined(by(BOB.address, signature(""))).participant is Participant.NEW


@pytest.mark.parametrize(
    ("recipients", "expected"),
    [((REPORTER,), True), (("security@example.org", REPORTER.upper()), True), ((), False),
     (("security@example.org",), False)],
)  # fmt: skip
def test_a_member_answered_directly_where_the_reporter_is_a_recipient(
    recipients: tuple[str, ...], expected: bool
) -> None:
    """A note to the alias alone is no answer."""
    thread = joined(by(ALICE.address, signature("A" * 40)), *recipients)
    assert thread == Thread(CASE.id, Participant.MEMBER, member=ALICE, directly=expected)


def test_a_signature_of_before_the_case_makes_nobody_its_author() -> None:
    """An old signed mail can be sent again by anybody, under any address and in any thread."""
    oldest = CASE.opened_at - LEEWAY
    for made, expected in ((oldest - timedelta(seconds=1), False), (oldest, True)):
        of_alice = replace(signature("A" * 40), signed_at=made)
        member = joined(by("alice@example.org", of_alice), REPORTER)
        assert (member.participant is Participant.MEMBER, member.directly) == (expected, expected)
        of_reporter = replace(signature("F" * 40), signed_at=made)
        signer = joined(by(COLLEAGUE, of_reporter))
        assert (signer.participant is Participant.SIGNER, signer.replayed) == (
            expected, not expected,
        )  # fmt: skip


def test_an_address_that_the_relay_doubts_is_not_the_reporters() -> None:
    """The bound key's signature proves more; a member's counts, and yet as no answer to anybody."""
    doubted = _doubted(by(REPORTER), Found(references=CASE))
    assert isinstance(doubted, Thread)
    assert doubted.sender == ("thread.participant-new", "thread.reporter-unproven")
    assert _doubted(by(REPORTER), Found(came_in=CASE)) == Mention(CASE.id, Tie.CAME_IN)
    signed = _doubted(by(REPORTER, signature("F" * 40)), Found(came_in=CASE))
    assert isinstance(signed, Thread)
    assert signed.participant is Participant.REPORTER
    member = _doubted(by("alice@example.org", signature("A" * 40)), Found(token=CASE))
    assert isinstance(member, Thread)
    assert (member.participant, member.directly) == (Participant.MEMBER, False)


def _doubted(message: Message, found: Found) -> Thread | Mention | None:
    return decide(message, found, roster=ROSTER, recipients=[REPORTER], proven=False)


def test_a_member_is_called_by_name_else_by_the_local_part() -> None:
    """An operator need not write names into the roster."""
    assert ("Alice Liddell", "bob") == (called(ALICE), called(BOB))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"to": ("A <a@X.example>, b@y.example",), "cc": ("c@z.example",)},
         ("a@x.example", "b@y.example", "c@z.example")),
        ({"to": ('"reporter@example.net" <x@y.example>',)}, ("x@y.example",)),
        ({"to": ("(reporter@example.net) x@y.example",)}, ("x@y.example",)),
        ({"to": ("undisclosed-recipients:;",)}, ()),
        ({"bcc": ("a@x.example",)}, ()),
        ({}, ()),
    ],
)  # fmt: skip
def test_recipients_are_the_addresses_and_never_the_names(
    fields: dict[str, tuple[str, ...]], expected: tuple[str, ...]
) -> None:
    """A display name or a comment says whatever its author likes."""
    assert recipients_of(a_message(headers=Headers(fields=fields))) == expected


# ── What the team reads ──────────────────────────────────────────────────────────────────────────


def comment_on(message: Message, thread: Thread, *notes: str) -> str:
    """Return the comment for a mail as plain text."""
    draft = draft_comment(
        a_case(must_encrypt=True), a_delivery(id="D2"), message, thread=thread, notes=notes
    )
    return plain.comment_text(draft)


def test_a_comment_begins_with_who_wrote() -> None:
    """Whoever reads it knows first whether it is the reporter, one of the team, or somebody new."""
    direct = Thread("SB-2026-0001", Participant.MEMBER, member=ALICE, directly=True)
    wrote = Thread("SB-2026-0001", Participant.MEMBER, member=ALICE)
    new = Thread("SB-2026-0001", Participant.NEW)
    firsts = [
        comment_on(encrypted(), each).split("\n")[0].split(None, 2) for each in (direct, wrote, new)
    ]
    assert firsts == [
        ["Answered", "by", "Alice Liddell, directly by mail"],
        ["Written", "by", "Alice Liddell, a member of the team"],
        ["Written", "by", words.author_of(new, encrypted())],
    ]


def test_only_the_reporters_address_is_called_the_reporters() -> None:
    """The address of a new participant must not be taken for the one that is answered."""
    new = comment_on(by(COLLEAGUE), Thread("SB-2026-0001", Participant.NEW))
    assert f"Sender:\n| {COLLEAGUE}" in new
    assert "Reporter:" not in new
    own = comment_on(by(REPORTER), Thread("SB-2026-0001", Participant.REPORTER))
    assert f"Reporter:\n| {REPORTER}" in own


def test_a_clear_mail_in_an_encrypted_thread_is_marked_whoever_wrote() -> None:
    """One of the team forgets to encrypt as easily as a reporter does."""
    member = Thread("SB-2026-0001", Participant.MEMBER, member=ALICE, directly=True)
    assert "ATTENTION: this mail came in clear" in comment_on(a_message(), member)
    assert "ATTENTION" not in comment_on(encrypted(), member)


def test_notes_of_ours_stand_above_what_the_mail_says() -> None:
    """That the issue was closed is what the reader has to know first."""
    text = comment_on(encrypted(), Thread("x", Participant.REPORTER), words.WAS_REOPENED)
    assert text.index(words.WAS_REOPENED) < text.index("Protection")


@pytest.mark.parametrize(
    ("tie", "expected"),
    [
        (Tie.SUBJECT, "by its subject alone."),
        (
            Tie.CAME_IN,
            "by the Message-ID of a mail in it, which others may know, too.",
        ),
    ],
)
def test_a_claim_is_told_with_the_report_and_not_before_the_proof(tie: Tie, expected: str) -> None:
    """The header is told before anybody knows that the issue is confidential."""
    draft = draft_report(a_case(), a_delivery(), a_message(), mention=Mention("SB-2026-0007", tie))
    assert f"This mail claims to continue SB-2026-0007, {expected}\n" in plain.issue_text(draft)
    assert "SB-2026-0007" not in "".join(plain.render(block) for block in draft.header)


OUTLOOK = """Yes, that is it.

________________________________
From: Example Security <security@example.org>
Sent: Friday, 20 November 2026 13:00
To: Rita <reporter@example.net>
Subject: Re: [...]

Is it this file?
"""
GERMAN = """Ja, genau.

-----Ursprüngliche Nachricht-----
Von: Example Security <security@example.org>
Gesendet: Freitag, 20. November 2026 13:00
An: Rita <reporter@example.net>
Cc: security@example.org
Betreff: AW: [...]

Ist es diese Datei?
"""


@pytest.mark.parametrize(
    ("text", "own", "quoted"),
    [
        ("New.\n\nOn 2026-11-20 somebody wrote:\n> Old.\n", "New.", "> Old."),
        ("> Old.\n\nNew below.\n", "New below.", None),
        ("New.\n> Old.\nMore that is new.\n> Older.\nThe end.\n", "The end.", None),
        (OUTLOOK, "Yes, that is it.", "Is it this file?"),
        (GERMAN, "Ja, genau.", "Ist es diese Datei?"),
        ("From: a@b\nTo: c@d\nSubject: x\n\nA header that is evidence.", "evidence.", None),
    ],
)
def test_only_the_new_text_of_a_follow_up_stands_open(
    text: str, own: str, quoted: str | None
) -> None:
    """A quote that ends the mail is folded; one that the new text stands below is left whole."""
    thread = Thread("SB-2026-0001", Participant.REPORTER)
    said = comment_on(encrypted(text=text), thread)
    shown, _, folded = said.partition("Quoted below it:\n")
    assert own in shown
    if quoted is None:
        assert folded == ""
    else:
        assert quoted in folded
        assert quoted not in shown
        assert own not in folded


def test_a_forwarded_report_is_never_folded() -> None:
    """Below the header of a first mail stands what it is about."""
    said = plain.issue_text(draft_report(a_case(), a_delivery(), a_message(text=OUTLOOK)))
    assert "Quoted below it" not in said


# ── What inspect shows ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("tied", "expected", "said"),
    [
        (
            {"thread": Thread(CASE.id, Participant.MEMBER, member=ALICE, tie=Tie.REFERENCES)},
            (CASE.id, "references", "member", "Alice Liddell"),
            f"{CASE.id}, by references   written by: member Alice Liddell",
        ),
        (
            {"thread": Thread(CASE.id, Participant.NEW, pretended=ALICE)},
            (CASE.id, "token", "new", None),
            f"{CASE.id}, by token   written by: new",
        ),
        (
            {"mention": Mention(CASE.id, Tie.SUBJECT)},
            (CASE.id, "subject", None, None),
            f"claims to continue {CASE.id}, by subject: a new case",
        ),
    ],
)
def test_inspect_shows_how_a_mail_is_tied_to_a_case_and_who_wrote(
    tied: dict[str, Any], expected: tuple[str | None, ...], said: str
) -> None:
    """In the row and in the line for a person; who only pretends has no name there."""
    verdict = Verdict(MailClass.FOLLOW_UP, ("thread.token",), may_reply=False)
    examined = Examined(a_message(), verdict, **tied)
    shown = row("a.eml", examined, None)
    assert tuple(shown["thread"].values()) == expected
    assert list(shown["thread"]) == ["case", "by", "participant", "member"]
    console = Console(file=StringIO(), width=200)
    console.print(view(shown, examined.message))
    assert isinstance(console.file, StringIO)
    assert said in console.file.getvalue()
