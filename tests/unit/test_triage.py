"""Which lane does a mail take?  Each class, with the rules that speak for it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.messages import a_message, encrypted, signed, undecryptable

from secbridge.model.alias import Member
from secbridge.model.case import MailClass, Verdict
from secbridge.model.envelope import Target
from secbridge.model.message import DeliveryReport, Message, SignatureVerdict
from secbridge.rules import triage
from secbridge.rules.threads import Mention, Participant, Thread, Tie
from secbridge.rules.triage import RULES, Known, TriagePolicy, header_fields, judge

ALIAS = Target("security@example.org", "security@example.org")
CASE = Target("security+sb-tok@example.org", "security@example.org", token="tok")
BOUNCE = Target("security+sb-tok-1@example.org", "security@example.org", token="tok", outgoing=1)
POLICY = TriagePolicy(aliases=frozenset({"security@example.org"}))
UNKNOWN = Known()
MARKED = {"X-Spam-Flag": "YES"}


def judged(
    message: Message,
    *,
    reverse_path: str = "reporter@example.net",
    target: Target = ALIAS,
    known: Known = UNKNOWN,
) -> Verdict:
    """Return the verdict; its reasons always stand in the table."""
    verdict = judge(message, reverse_path=reverse_path, target=target, known=known, policy=POLICY)
    assert set() == set(verdict.reasons) - set(RULES)
    assert verdict.reasons
    return verdict


def test_a_mail_about_a_weakness_is_a_report() -> None:
    """The words of a vulnerability report make the class, and the rule that found them is named."""
    verdict = judged(a_message(text="There is an SQL injection in the login form."))
    assert verdict.mail_class == MailClass.REPORT
    assert verdict.reasons == ("report.words",)
    assert verdict.may_reply


def test_a_mail_that_no_rule_knows_is_other_and_may_be_answered() -> None:
    """Unsure means issue: such a mail is filed and acknowledged like a report."""
    verdict = judged(a_message(text="Please have a look at the attached file."))
    assert Verdict(MailClass.OTHER, ("other.no-sign",), may_reply=True) == verdict


def test_one_weak_sign_alone_does_not_make_a_report() -> None:
    """A version number stands in many mails; the rule is listed all the same."""
    verdict = judged(a_message(text="We run version 1.2.3 of it."))
    assert Verdict(MailClass.OTHER, ("report.version",), may_reply=True) == verdict


def test_two_weak_signs_make_a_report() -> None:
    """A version and a line of a file together are how people describe a bug."""
    verdict = judged(a_message(text="In 1.2.3, see parser.c:120."))
    assert verdict.mail_class == MailClass.REPORT
    assert verdict.reasons == ("report.version", "report.file-line")


def test_what_was_encrypted_to_us_is_a_report_whatever_it_says() -> None:
    """Who takes the trouble to encrypt to a security address reports something."""
    verdict = judged(encrypted(text="Hi."))
    assert verdict.mail_class == MailClass.REPORT
    assert verdict.reasons == ("encrypted.to-us",)


def test_a_mail_that_cannot_be_opened_is_undecryptable_and_may_be_answered() -> None:
    """The reporter has to hear which key to use."""
    verdict = judged(undecryptable())
    assert Verdict(MailClass.UNDECRYPTABLE, ("encrypted.undecryptable",), may_reply=True) == verdict


def test_a_mail_that_could_not_be_parsed_is_filed_as_other() -> None:
    """Nothing is lost because it is strange."""
    verdict = judged(a_message(error="no-header", author=None, authors=()))
    assert verdict.mail_class == MailClass.OTHER
    assert verdict.reasons == ("other.unreadable",)


@pytest.mark.parametrize(
    "fields",
    [
        {"X-Spam-Flag": "YES"},
        {"X-Spam": "Yes"},
        {"X-Spam-Status": "Yes, score=12.0 required=5.0"},
        {"X-Spam-Flag": " yes "},
    ],
)
def test_the_mark_of_the_mta_sets_a_plain_mail_aside(fields: dict[str, str]) -> None:
    """SpamAssassin's and rspamd's marks count, in any case of letters."""
    verdict = judged(a_message(fields=fields, text="vulnerability"))
    assert Verdict(MailClass.SPAM, ("spam.mta-flag",), False, "set-aside") == verdict


@pytest.mark.parametrize(
    "fields", [{"X-Spam-Flag": "NO"}, {"X-Spam-Status": "No, score=1"}, {"X-Spam-Score": "YES"}, {}]
)
def test_other_headers_of_a_spam_filter_set_nothing_aside(fields: dict[str, str]) -> None:
    """A filter that says no, or only a score, has not marked the mail."""
    assert judged(a_message(fields=fields)).mail_class == MailClass.OTHER


def test_words_of_spam_set_nothing_aside() -> None:
    """There is no spam filter of our own: only the mark counts."""
    assert judged(a_message(text="Buy cheap pills, win 5000 USD!")).mail_class != MailClass.SPAM


def test_an_encrypted_mail_is_never_set_aside() -> None:
    """Spam filters cannot read it, so their guess is worth nothing here."""
    verdict = judged(_marked(encrypted()))
    assert verdict.mail_class == MailClass.REPORT
    assert verdict.reasons == ("encrypted.to-us", "spam.overruled")


def test_an_undecryptable_mail_is_never_set_aside() -> None:
    """It was encrypted, even if not to a key that we have."""
    verdict = judged(_marked(undecryptable()))
    assert verdict.mail_class == MailClass.UNDECRYPTABLE
    assert "spam.overruled" in verdict.reasons


@pytest.mark.parametrize("verdict", list(SignatureVerdict))
def test_a_signed_mail_is_never_set_aside_whatever_its_signature_is_worth(
    verdict: SignatureVerdict,
) -> None:
    """We may not know the key yet."""
    assert judged(_marked(signed(verdict))).mail_class == MailClass.OTHER


def test_a_mail_of_a_thread_is_never_set_aside() -> None:
    """A reporter's second mail with three links must not vanish."""
    verdict = judged(_marked(a_message()), target=CASE, known=Known(case_id="SB-1"))
    assert verdict.mail_class == MailClass.FOLLOW_UP
    assert verdict.reasons == ("thread.token", "spam.overruled")


def test_a_follow_up_says_what_ties_it_and_who_is_new() -> None:
    """How it joined and who wrote it are reasons of their own, in this order."""
    thread = Thread("SB-1", Participant.NEW, tie=Tie.REFERENCES, disagrees=True)
    verdict = judged(encrypted(), known=Known(case_id="SB-1", thread=thread))
    assert verdict.mail_class == MailClass.FOLLOW_UP
    assert verdict.reasons == (
        "thread.references",
        "thread.disagree",
        "thread.participant-new",
        "encrypted.to-us",
    )


def test_a_mail_of_a_member_is_a_follow_up_that_is_not_answered() -> None:
    """One of the team needs no acknowledgement."""
    member = Member("alice@example.org")
    thread = Thread("SB-1", Participant.MEMBER, member=member, directly=True)
    verdict = judged(signed(), known=Known(case_id="SB-1", thread=thread))
    reasons = ("thread.token", "thread.member")
    assert Verdict(MailClass.FOLLOW_UP, reasons, False, "not-a-new-case") == verdict


def test_a_machine_of_a_thread_is_no_participant() -> None:
    """A mail system is always new in a thread, which says nothing."""
    thread = Thread("SB-1", Participant.NEW)
    fields = {"Content-Type": "multipart/report; report-type=delivery-status"}
    message = a_message(report=DeliveryReport(action="failed"), fields=fields)
    verdict = judged(message, known=Known(case_id="SB-1", thread=thread))
    assert verdict.reasons == ("bounce.delivery-status", "thread.token")


def test_a_claim_is_a_new_report_and_named_among_the_reasons() -> None:
    """It is filed and acknowledged like any other; and marked as spam it is still spam."""
    known = Known(mention=Mention("SB-1", Tie.SUBJECT))
    verdict = judged(a_message(text="An SQL injection."), known=known)
    reasons = ("report.words", "thread.claims-case")
    assert Verdict(MailClass.REPORT, reasons, may_reply=True) == verdict
    assert judged(_marked(a_message()), known=known).mail_class == MailClass.SPAM


def test_an_operator_may_name_other_marks() -> None:
    """Some filters write headers of their own."""
    policy = TriagePolicy(spam_headers=("X-Verdict: junk",))
    message = a_message(fields={"X-Verdict": "Junk (high)"})
    verdict = judge(message, reverse_path="a@b.example", target=ALIAS, known=Known(), policy=policy)
    assert verdict.mail_class == MailClass.SPAM
    assert "x-verdict" in header_fields(policy)


def test_a_mail_to_the_address_of_a_case_is_a_follow_up() -> None:
    """The unguessable tag joins the thread, and nothing is acknowledged twice."""
    verdict = judged(a_message(), target=CASE, known=Known(case_id="SB-1"))
    assert Verdict(MailClass.FOLLOW_UP, ("thread.token",), False, "not-a-new-case") == verdict


def test_a_mail_that_answers_a_mail_of_ours_is_a_follow_up() -> None:
    """By Message-IDs that we issued."""
    verdict = judged(a_message(), known=Known(case_id="SB-1"))
    assert Verdict(MailClass.FOLLOW_UP, ("thread.references",), False, "not-a-new-case") == verdict


def test_an_undecryptable_mail_of_a_thread_joins_the_thread() -> None:
    """The team sees it where it belongs, with both reasons."""
    verdict = judged(undecryptable(), target=CASE, known=Known(case_id="SB-1"))
    assert verdict.mail_class == MailClass.FOLLOW_UP
    assert verdict.reasons == ("thread.token", "encrypted.undecryptable")


def test_our_own_mail_is_own_even_if_it_looks_like_something_else() -> None:
    """The alias's copy of an answer carries Auto-Submitted, and perhaps a spam mark."""
    message = a_message(fields={"Auto-Submitted": "auto-replied", "X-Spam-Flag": "YES"})
    verdict = judged(message, known=Known(own=True, case_id="SB-1"))
    assert Verdict(MailClass.OWN, ("own.message-id+hmac+body",), False, "own-mail") == verdict


def test_a_delivery_status_is_a_bounce() -> None:
    """A parsed report needs no sign of a mail system besides."""
    message = a_message(report=DeliveryReport("failed", "5.1.1"), author="x@y.example")
    verdict = judged(message, target=BOUNCE, known=Known(case_id="SB-1"))
    assert verdict.mail_class == MailClass.BOUNCE
    assert verdict.reasons == ("bounce.delivery-status", "thread.token")


def test_two_signs_make_a_bounce() -> None:
    """An old mail system writes no status report."""
    message = a_message(author="MAILER-DAEMON@mx.example")
    verdict = judged(message, reverse_path="")
    assert verdict.mail_class == MailClass.BOUNCE
    assert verdict.reasons == ("bounce.daemon-author", "bounce.null-reverse-path")
    assert verdict.reply_refused_because == "null-sender"


@pytest.mark.parametrize(
    ("message", "reverse_path"),
    [
        (a_message(author="postmaster@mx.example"), ""),
        (a_message(author="mailer-daemon@mx.example"), "MAILER-DAEMON@mx.example"),
        (a_message(author=None, fields={"From": "Mail System <MAILER-DAEMON>"}), ""),
        (a_message(author=None, fields={"From": "MAILER-DAEMON <>"}), "<>"),
    ],
)
def test_mail_systems_have_many_names(message: Message, reverse_path: str) -> None:
    """Some write as postmaster, without any domain, or with an own address instead of none."""
    verdict = judged(message, reverse_path=reverse_path)
    assert verdict.mail_class == MailClass.BOUNCE
    assert verdict.reasons == ("bounce.daemon-author", "bounce.null-reverse-path")


def test_a_name_beside_an_address_is_no_mail_system() -> None:
    """A display name never counts, here as elsewhere."""
    fields = {"From": '"MAILER-DAEMON" <a@b.example>, c@d.example'}
    message = a_message(author=None, fields=fields)
    assert judged(message, reverse_path="").mail_class == MailClass.OTHER


def test_a_receipt_is_an_auto_reply() -> None:
    """That somebody has seen our answer is no failure to deliver it (RFC 8098)."""
    fields = {"Content-Type": "multipart/report; report-type=disposition-notification"}
    verdict = judged(
        a_message(fields=fields), reverse_path="", target=BOUNCE, known=Known(case_id="SB-1")
    )
    assert verdict.mail_class == MailClass.AUTO_REPLY
    assert verdict.reasons == ("auto-reply.receipt", "thread.token")


@pytest.mark.parametrize(
    ("message", "reverse_path"),
    [
        (a_message(), ""),
        (a_message(author="postmaster@mx.example"), "a@b.example"),
        (a_message(author="mailer-daemon@mx.example"), "a@b.example"),
        (a_message(fields={"X-Failed-Recipients": "x@y.example"}), "a@b.example"),
        (a_message(fields={"Content-Type": "multipart/report; x=y"}), "a@b.example"),
    ],
)
def test_one_sign_alone_is_no_bounce(message: Message, reverse_path: str) -> None:
    """One sign also hits other mail, so it stays an issue; answering is another question."""
    assert judged(message, reverse_path=reverse_path).mail_class == MailClass.OTHER


def test_words_of_a_bounce_are_no_sign() -> None:
    """A report may well say "access denied" or "user unknown"."""
    message = a_message(
        text="Instead of 'access denied: user unknown' the server returns the file."
    )
    assert judged(message).mail_class != MailClass.BOUNCE


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"Auto-Submitted": "auto-replied (vacation)"}, "auto-reply.auto-submitted"),
        ({"X-Autoreply": "yes"}, "auto-reply.header"),
        ({"Precedence": "auto_reply"}, "auto-reply.header"),
    ],
)
def test_an_autoresponder_is_an_auto_reply(fields: dict[str, str], reason: str) -> None:
    """By the headers that such programs set."""
    verdict = judged(a_message(fields=fields))
    assert Verdict(MailClass.AUTO_REPLY, (reason,), False, "auto-submitted") == verdict


def test_an_absence_note_to_our_bounce_address_is_an_auto_reply_and_no_bounce() -> None:
    """Null reverse-path and our envelope sender are what RFC 3834 asks of any autoresponder."""
    message = a_message(fields={"Auto-Submitted": "auto-replied"})
    verdict = judged(message, reverse_path="", target=BOUNCE, known=Known(case_id="SB-1"))
    assert verdict.mail_class == MailClass.AUTO_REPLY


def test_a_scanner_that_reports_by_machine_is_a_report_without_an_answer() -> None:
    """auto-generated says that no person sent it, not that there is nothing in it."""
    message = a_message(fields={"Auto-Submitted": "auto-generated"}, text="CVE-2026-12345 found")
    verdict = judged(message)
    assert verdict.mail_class == MailClass.REPORT
    assert verdict.reply_refused_because == "auto-submitted"


def test_an_encrypted_mail_that_calls_itself_automatic_is_still_a_report() -> None:
    """Outside a thread, a header must not hide what somebody encrypted to us."""
    message = encrypted(headers=a_message(fields={"Auto-Submitted": "auto-replied"}).headers)
    assert judged(message).mail_class == MailClass.REPORT


def test_signs_are_searched_in_a_bounded_beginning() -> None:
    """A mail of many megabytes costs no more than its first part."""
    text = "x" * triage.LOOKED_AT + " vulnerability"
    assert judged(a_message(text=text)).mail_class == MailClass.OTHER


@pytest.mark.parametrize("report", [DeliveryReport("failed", "5.1.1"), DeliveryReport("delayed")])
def test_a_person_who_sends_a_bounce_on_is_no_mail_system(report: DeliveryReport) -> None:
    """A bounce is cut to its beginning, or not told at all: what a person says never is."""
    verdict = judged(a_message(report=report), known=Known(case_id="SB-1"))
    assert verdict.mail_class == MailClass.FOLLOW_UP


def test_what_was_encrypted_to_us_is_never_only_noted() -> None:
    """In a thread neither; but our own ciphertext that a machine sends back says nothing."""
    headers = a_message(fields={"Auto-Submitted": "auto-replied"}).headers
    known = Known(case_id="SB-1")
    assert judged(encrypted(headers=headers), known=known).mail_class == MailClass.FOLLOW_UP
    assert judged(undecryptable(headers=headers), known=known).mail_class == MailClass.AUTO_REPLY


@pytest.mark.parametrize(
    "text",
    [
        "a.c" * 30000, "version" * 9000, "commit " * 9000, "#1 " * 20000, "\n" * 65536,
        " \n" * 32768,
    ],
)  # fmt: skip
def test_text_made_to_be_slow_is_judged_all_the_same(text: str) -> None:
    """The patterns are linear, so the time limit of the tests is never near."""
    assert judged(a_message(text=text)).mail_class in {MailClass.OTHER, MailClass.REPORT}


REPORTS = ("case-1", "case-2", "case-6", "case-7", "case-8", "case-9")


def test_labelled_intake_mails_get_their_class(shared: Path) -> None:
    """Of nine labelled mails all reports are called reports, and none is set aside."""
    found: dict[str, MailClass] = {}
    for folder in sorted((shared / "corpus" / "intake").iterdir()):
        text = (folder / "report.md").read_text(encoding="utf-8")
        json.loads((folder / "expected.json").read_text(encoding="utf-8"))
        subject = next(line for line in text.splitlines() if line.startswith("Subject:"))
        body = text.partition(subject)[2]
        message = a_message(subject=subject.removeprefix("Subject:"), text=body)
        found[folder.name[:6]] = judged(message).mail_class
    assert {MailClass.REPORT} == {found[name] for name in REPORTS}
    assert set() == set(found.values()) - {MailClass.REPORT, MailClass.OTHER}


def _marked(message: Message) -> Message:
    """Return the same mail with the mark of a spam filter."""
    return replace(message, headers=a_message(fields=MARKED).headers)
