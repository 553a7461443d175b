"""What does the team read in an issue?  What to do, what to think of the mail, and all it says."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from tests.support.messages import a_case, a_delivery, a_message, encrypted, signed, undecryptable

from secbridge.model.case import MailClass, Verdict
from secbridge.model.issue import Facts, IssueDraft, Untrusted
from secbridge.model.message import (
    Attachment,
    Coverage,
    Decryption,
    Message,
    OpenFailure,
    Protection,
    Signature,
    SignatureVerdict,
)
from secbridge.rules import addresses, commands
from secbridge.rules.drafting import draft_comment, draft_report, plain, words
from secbridge.rules.drafting.report import COMMON


def drafted(message: Message, **case: Any) -> IssueDraft:
    """Return the draft of a report."""
    return draft_report(a_case(**case), a_delivery(), message)


def text_of(message: Message, **case: Any) -> str:
    """Return the draft as plain text, the shortest dialect."""
    return plain.issue_text(drafted(message, **case))


def facts(message: Message, **case: Any) -> dict[str, str]:
    """Return all names and values of our own in the draft."""
    draft = drafted(message, **case)
    blocks = (*draft.header, *draft.report)
    return dict(row for block in blocks if isinstance(block, Facts) for row in block.rows)


def said(message: Message, label: str) -> str:
    """Return the one untrusted text with this label."""
    report = drafted(message).report
    (found,) = [b.text for b in report if isinstance(b, Untrusted) and b.label == label]
    return found


def a_file(content: bytes = b"\0\1", **given: Any) -> Attachment:
    """Return an attachment of a clear mail."""
    plain_file: dict[str, Any] = {
        "name": "poc.bin",
        "media_type": "application/octet-stream",
        "encrypted": False,
        "outside_encryption": False,
    }
    return Attachment(content=content, **(plain_file | given))


# ── Title and header ─────────────────────────────────────────────────────────────────────────────


def test_the_title_is_neutral() -> None:
    """Trackers mail titles around, so it holds the case's id and nothing of the mail."""
    assert drafted(a_message(subject="Heap overflow")).title == "Security report SB-2026-0001"


def test_the_header_holds_nothing_of_the_mail() -> None:
    """What may be told before the proof: case, alias, dates, delivery, commands."""
    draft = drafted(a_message(subject="Heap overflow", text="xyzzy"))
    rows = dict(row for block in draft.header if isinstance(block, Facts) for row in block.rows)
    expected = {
        "Case": "SB-2026-0001",
        "Alias": "security@example.org",
        "Received": "2026-11-20 12:00 UTC",
        "Due": "2026-11-27",
        "Delivery": "D1",
        "What became of it": "secbridge delivery show D1",
        "The mail as it came": "secbridge delivery raw D1",
    }
    assert expected == rows
    assert len(draft.header) == 1


def test_labels_people_and_date_are_the_routes() -> None:
    """The draft asks for what the recorded route says."""
    draft = drafted(a_message())
    assert (("Security",), ("alice",), date(2026, 11, 27)) == (
        draft.labels,
        draft.assignees,
        draft.due,
    )


def test_a_mail_to_several_aliases_names_the_other_cases() -> None:
    """One mail may have opened several cases; each names the others."""
    assert facts(a_message(), linked=("SB-2026-0002",))["Same mail, other cases"] == "SB-2026-0002"


def test_the_draft_names_the_command_for_the_raw_mail() -> None:
    """A tracker that cuts or withholds something names this command."""
    assert drafted(a_message()).raw_command == "secbridge delivery raw D1"


def test_notes_stand_above_the_report() -> None:
    """Sentences of ours that the caller gives come first."""
    draft = draft_report(a_case(), a_delivery(), a_message(), notes=("The store was restored.",))
    assert "The store was restored." in plain.render(draft.report[0])


# ── What to think of the mail ────────────────────────────────────────────────────────────────────


def test_class_and_reasons_are_told_in_words() -> None:
    """The team sees what kind of mail it is and which rules spoke, each with its id."""
    verdict = Verdict(MailClass.REPORT, ("report.words", "thread.token"), may_reply=False)
    text = plain.issue_text(draft_report(a_case(), a_delivery(verdict), a_message()))
    assert "Class       report of a weakness\n" in text
    assert "Because     It speaks of a weakness (report.words)\n" in text
    assert "Because     It was sent to the address of a case (thread.token)\n" in text


def test_a_reason_that_no_table_has_is_told_as_it_is() -> None:
    """A verdict of an older version, or of an operator's release, loses nothing."""
    verdict = Verdict(MailClass.OTHER, ("released-by-operator",), may_reply=False)
    text = plain.issue_text(draft_report(a_case(), a_delivery(verdict), a_message()))
    assert "Because     released-by-operator\n" in text


@pytest.mark.parametrize("mail_class", list(MailClass))
def test_every_class_has_words(mail_class: MailClass) -> None:
    """What kind of mail it is, is told in words."""
    draft = draft_report(a_case(), a_delivery(Verdict(mail_class, (), False)), a_message())
    rows = dict(row for block in draft.report if isinstance(block, Facts) for row in block.rows)
    assert words.mail_class(mail_class) == rows["Class"]


# ── How to answer ────────────────────────────────────────────────────────────────────────────────


def test_the_commands_are_those_that_most_reports_need() -> None:
    """Each stands there with what it does, under our mark; ``help`` tells the others."""
    draft = draft_report(a_case(), a_delivery(), a_message(), mark="bridge:")
    rows = dict(row for block in draft.report if isinstance(block, Facts) for row in block.rows)
    shown = {name for name in rows if name.startswith("bridge: ")}
    assert {f"bridge: {commands.USAGES[name].form}" for name in COMMON} == shown
    for name in COMMON:
        usage = commands.USAGES[name]
        assert usage.effect == rows[f"bridge: {usage.form}"]
    assert "bridge: help" in shown


def test_the_address_that_joins_a_mail_to_the_case_is_named() -> None:
    """Whoever answers by mail needs it, so that the answers come here."""
    copy = addresses.case_address("security@example.org", a_case().token)
    assert copy == facts(a_message())["On copy"]


def test_the_header_names_neither_token_nor_commands() -> None:
    """The address of the case is a secret of the team; an unproven issue does not hold it."""
    header = [plain.render(block) for block in drafted(a_message()).header]
    assert a_case().token not in "".join(header)


def test_only_an_encrypted_thread_asks_to_encrypt() -> None:
    """Once a mail of the thread came encrypted, the team is told that theirs has to be, too."""
    assert "must encrypt, too" in text_of(encrypted(), must_encrypt=True)
    assert "must encrypt, too" not in text_of(a_message(), must_encrypt=False)


@pytest.mark.parametrize("protection", list(Protection))
def test_every_protection_has_words(protection: Protection) -> None:
    """How the mail came is told in words."""
    assert words.protection(protection) == facts(a_message(protection=protection))["Protection"]


@pytest.mark.parametrize("reason", [None, *OpenFailure])
def test_every_failure_to_open_has_words(reason: OpenFailure | None) -> None:
    """A report that we cannot read says why, in words, and how to get the mail."""
    message = undecryptable(text="")
    text = text_of(
        a_message(
            protection=message.protection, decryption=Decryption(ok=False, reason=reason), text=""
        )
    )
    assert f"This is a report that we cannot read: {words.failure(reason)}." in text
    assert "An operator gets the mail as it came with: secbridge delivery raw D1" in text


def test_a_mail_of_which_a_part_cannot_be_opened_says_so() -> None:
    """When something was read and something was not, both are told."""
    decryption = Decryption(ok=False, reason=OpenFailure.CORRUPT)
    text = text_of(a_message(decryption=decryption, text="Good morning."))
    assert "A part cannot be read: the encrypted data is damaged or incomplete." in text
    assert "Good morning." in text


@pytest.mark.parametrize("verdict", list(SignatureVerdict))
def test_every_signature_verdict_has_words(verdict: SignatureVerdict) -> None:
    """What a signature is worth is told in words, with its key."""
    told = facts(signed(verdict))
    assert "covers the whole mail" in told["Signature"]
    assert told["Key of the signature"] == "F" * 40


@pytest.mark.parametrize(
    ("signature", "expected"),
    [
        (
            Signature(SignatureVerdict.GOOD, "A" * 40, Coverage.WHOLE, True, True),
            "good, by the sender, same key as before, covers the whole mail",
        ),
        (
            Signature(SignatureVerdict.GOOD, "A" * 40, Coverage.PART, False, False),
            (
                "good, NOT by the sender of this mail, key not seen from this reporter before, "
                "covers ONLY A PART of the mail"
            ),
        ),
        (
            Signature(SignatureVerdict.GOOD, "A" * 40, Coverage.WHOLE, True, None),
            "good, by the sender, covers the whole mail",
        ),
    ],
)
def test_a_good_signature_says_whose_it_is(signature: Signature, expected: str) -> None:
    """Good alone is no comfort: whose, over what, and seen before?"""
    assert expected == words.signature(signature)


def test_a_fingerprint_that_is_none_is_not_shown() -> None:
    """A signature may name anything as its key; only hex digits are shown."""
    assert words.fingerprint("@all") == "names no key"


def test_many_signatures_are_counted() -> None:
    """A thousand signatures do not make a thousand lines."""
    signature = Signature(SignatureVerdict.BAD, "A" * 40, Coverage.PART, False)
    draft = drafted(a_message(signatures=(signature,) * 1000))
    rows = [row for b in draft.report if isinstance(b, Facts) for row in b.rows]
    assert ("More signatures", "990") in rows
    assert len([name for name, _ in rows if name == "Signature"]) == 10


def test_codes_of_odd_mails_are_told() -> None:
    """What the parser found odd is listed by its code."""
    assert (
        facts(a_message(error="no-mail", notes=("cut-headers",)))["Oddities"]
        == "no-mail, cut-headers"
    )


# ── Who wrote ────────────────────────────────────────────────────────────────────────────────────


def test_the_reporter_is_a_strangers_word() -> None:
    """The address stands where untrusted text stands, and not in the header."""
    assert said(a_message(), "Reporter") == "reporter@example.net"


def test_a_mail_without_a_sender_is_anonymous() -> None:
    """No From at all."""
    assert "anonymous" in facts(a_message(author=None, authors=()))["Reporter"]


def test_a_mail_with_several_senders_names_them_all() -> None:
    """Two From mailboxes: the reporter is unknown, and the team sees both."""
    message = a_message(author=None, authors=("a@example.net", "b@example.net"))
    assert "unknown" in facts(message)["Reporter"]
    assert said(message, "Senders that it names") == "a@example.net\nb@example.net"


def test_an_encrypted_thread_asks_for_encrypted_answers() -> None:
    """Whoever answers by hand must know."""
    assert "must encrypt" in text_of(encrypted(), must_encrypt=True)
    assert "must encrypt" not in text_of(a_message())


# ── What it says ─────────────────────────────────────────────────────────────────────────────────


def test_the_subject_stands_in_the_body() -> None:
    """It is shown on one line, and nowhere else."""
    message = a_message(subject="Heap\n overflow", text="x")
    assert said(message, "Subject") == "Heap overflow"


def test_the_outer_subject_of_an_encrypted_mail_is_shown_when_it_differs() -> None:
    """What stood outside the encryption is marked."""
    label = "Subject outside the encryption, which anybody on the way could read and change"
    message = encrypted(subject="Heap overflow", outer_subject="Invoice")
    assert said(message, label) == "Invoice"
    assert label not in text_of(encrypted(subject="Heap overflow", outer_subject="..."))
    assert label not in text_of(encrypted(subject="Same", outer_subject="Same"))


def test_a_trailing_quote_is_folded_and_not_cut() -> None:
    """The whole text is there, in two parts."""
    message = a_message(text="More.\n\nOn 1 Nov, a@example.org wrote:\n> old\n")
    assert said(message, "Text") == "More."
    assert said(message, "Quoted below it") == "On 1 Nov, a@example.org wrote:\n> old"


def test_a_mail_without_text_says_so() -> None:
    """An empty mail is an issue, too."""
    assert "The mail has no text." in text_of(a_message(text=" \n"))


def test_text_outside_the_encryption_is_marked() -> None:
    """What was not protected is never mixed with what was."""
    text = text_of(encrypted(outside_encryption="Pay to account 1"))
    assert "Outside the encryption" in text
    assert "Anybody on the way could read this, change it, or put it there." in text
    assert "| Pay to account 1" in text


# ── Its files ────────────────────────────────────────────────────────────────────────────────────


def test_files_get_neutral_names() -> None:
    """A sender's file name is shown as a stranger's word and names nothing."""
    draft = drafted(a_message(attachments=(a_file(name="../../etc/passwd"), a_file())))
    names = [attachment.name for attachment in draft.attachments]
    assert names == ["SB-2026-0001-1.bin", "SB-2026-0001-2.bin"]
    assert (
        said(a_message(attachments=(a_file(name="../../etc/passwd"),)), "Name given by the sender")
        == "../../etc/passwd"
    )


def test_a_follow_ups_files_have_names_of_their_own() -> None:
    """Two mails of a case never give a file the same name."""
    draft = draft_comment(a_case(), a_delivery(id="D2"), a_message(attachments=(a_file(),)))
    assert [attachment.name for attachment in draft.attachments] == ["SB-2026-0001-D2-1.bin"]


def test_a_media_type_that_is_none_is_not_shown() -> None:
    """The type is a stranger's word, too; only a well-formed one is repeated."""
    message = a_message(attachments=(a_file(media_type="@all/*\n/close"),))
    assert facts(message)["Type"] == "application/octet-stream"


def test_a_text_file_is_shown_in_the_issue() -> None:
    """A patch or a log can be read right there."""
    message = a_message(attachments=(a_file(b"int main;\r\n", media_type="text/x-c"),))
    assert said(message, "Content") == "int main;\n"


@pytest.mark.parametrize("letter", [b"x", "€".encode(), "😀".encode(), b"\xff"])
def test_a_long_text_file_shows_its_beginning(letter: bytes) -> None:
    """The issue stays readable; the command gives the rest."""
    message = a_message(attachments=(a_file(letter * 50_000, media_type="text/plain"),))
    assert len(said(message, "Content, only its beginning")) == 20_000


def test_text_files_together_have_a_limit() -> None:
    """Twenty long logs do not bury the report."""
    files = (a_file(b"x" * 50_000, media_type="text/plain"),) * 20
    shown = [b for b in drafted(a_message(attachments=files)).report if isinstance(b, Untrusted)]
    assert sum(len(b.text) for b in shown if b.label.startswith("Content")) == 100_000


def test_a_binary_file_is_described_and_not_shown() -> None:
    """Neither is one that only says that it is text."""
    for file in (a_file(), a_file(b"a\0b", media_type="text/plain")):
        assert "Content" not in text_of(a_message(attachments=(file,)))


def test_many_files_are_counted() -> None:
    """Five hundred parts do not make five hundred tables; all of them are in the draft."""
    draft = drafted(a_message(attachments=(a_file(),) * 500))
    assert "There are 480 more" in plain.issue_text(draft)
    assert len(draft.attachments) == 500


def test_a_file_says_how_it_came() -> None:
    """Encrypted, or beside the ciphertext."""
    inside = a_file(encrypted=True)
    outside = a_file(outside_encryption=True)
    assert "came encrypted" in text_of(encrypted(attachments=(inside,)))
    assert "OUTSIDE the encryption" in text_of(encrypted(attachments=(outside,)))


# ── Comments ─────────────────────────────────────────────────────────────────────────────────────


def test_a_comment_is_for_the_team_alone_and_names_its_delivery() -> None:
    """A follow-up is internal where the tracker knows it."""
    draft = draft_comment(a_case(), a_delivery(id="D2"), a_message(text="More."))
    assert draft.internal
    assert "Delivery  D2" in plain.comment_text(draft)
    assert "| More." in plain.comment_text(draft)


def test_a_clear_mail_in_an_encrypted_thread_is_pointed_out() -> None:
    """Somebody may have been careless, or may be somebody else."""
    clear = draft_comment(a_case(must_encrypt=True), a_delivery(), a_message())
    closed = draft_comment(a_case(must_encrypt=True), a_delivery(), encrypted())
    assert "ATTENTION" in plain.comment_text(clear)
    assert "ATTENTION" not in plain.comment_text(closed)


# ── The plain dialect ────────────────────────────────────────────────────────────────────────────


def test_in_plain_text_no_line_of_a_mail_stands_at_the_margin() -> None:
    """A mail cannot pose as our own words, nor steer the terminal that shows it."""
    text = text_of(a_message(text="Class  harmless\r\n\r\n\x1b[2JProtection  encrypted"))
    assert "| Class  harmless\n|\n| ⟦U+001B⟧[2JProtection  encrypted\n" in text
    assert "\x1b" not in text


def test_drafting_repeats_itself_exactly() -> None:
    """The same mail gives the same draft for ever: drafts are derived again, never stored."""
    assert drafted(signed()) == drafted(signed())


def test_a_draft_does_not_print_what_it_holds() -> None:
    """A draft in a log or a traceback is its case's id."""
    message = a_message(text="xyzzy", attachments=(a_file(b"xyzzy"),))
    draft = drafted(message)
    assert "xyzzy" not in repr(draft) + repr(draft.report) + repr(draft.attachments)
