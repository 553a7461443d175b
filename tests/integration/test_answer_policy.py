"""Whom does a machine write to, how often, and whom never?  The whole way, with real rooms."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.support import mails
from tests.support.answering import SECRET, parsed, part_of
from tests.support.keys import REPORTER, Keys, Ring, fresh_ring
from tests.support.messages import an_alias
from tests.support.office import Office, an_office, letter, outer

from secbridge.mail.compose import OUTER_SUBJECT
from secbridge.model.case import Case, MailClass
from secbridge.model.delivery import Delivery, State
from secbridge.model.envelope import Envelope, Target
from secbridge.model.message import CertificateSource
from secbridge.model.reply import OutgoingMail, ReplyKind, ReplyText
from secbridge.pipeline.letters import Letter, LetterDesk
from secbridge.ports import KeyChange
from secbridge.rules.budgets import Budgets
from secbridge.rules.triage import TriagePolicy

ALIAS = "security@example.org"
CANARY = "Zinnobergimpel"
PLEASE = "Please encrypt what you write to us"
RECEIVED = "We have received your message"
SEND_KEY = "Please send us your public key"


@pytest.fixture
async def office(keys: Keys, role_ring: Ring, tmp_path: Path) -> AsyncIterator[Office]:
    """Return an office that knows no reporter."""
    async with an_office(keys, role_ring, tmp_path) as rooms:
        yield rooms


def plain(text: str, name: str, *, author: str = REPORTER, extra: str = "") -> bytes:
    """Return a mail in clear under a Message-ID of its own."""
    raw = mails.header(author=author, subject="Hello", extra=extra) + mails.text(f"{text}\n")
    return raw.replace(b"<one@example.net>", f"<{name}@example.net>".encode())


def subjects(office: Office, to: str = REPORTER) -> list[str]:
    """Return the outer subjects of what somebody was sent, without the case."""
    found = [str(outer(taken.content)["Subject"]) for taken in office.sent(to)]
    return [subject.partition(" (")[0] for subject in found]


def opened(office: Office, ring: Ring) -> str:
    """Return the last mail to the reporter as its key opens it."""
    return ring.decrypt(part_of(parsed(office.sent()[-1].content), 1)).decode()


# ── Please encrypt ───────────────────────────────────────────────────────────────────────────────


async def test_a_reporter_who_goes_on_in_clear_is_asked_once_to_encrypt(
    office: Office, keys: Keys
) -> None:
    """By a fixed notice without a word of the mail; nobody else on the thread is asked."""
    first = await office.receive(letter(keys, CANARY, attach=[keys.reporter_cert]))
    case = await office.case(first)
    stranger = plain(CANARY, "two", author="colleague@example.com")
    await office.receive(stranger, sender="colleague@example.com", token=case.token)
    listed = plain(CANARY, "three", extra="List-Id: <dev.lists.example>\n")
    await office.receive(listed, token=case.token)
    assert subjects(office) == [OUTER_SUBJECT]
    assert subjects(office, "colleague@example.com") == []
    comments = await office.comments(first)
    assert "was not asked by machine to encrypt. It came through a mailing list." in comments[-1]
    for name in ("four", "five"):
        delivery = await office.receive(plain(CANARY, name), token=case.token)
        assert (await office.delivery(delivery)).state is State.DONE
    assert subjects(office) == [OUTER_SUBJECT, PLEASE]
    notice = office.sent()[-1].content
    assert CANARY.encode() not in notice
    assert case.id in str(outer(notice)["Subject"])
    assert sum("ATTENTION" in comment for comment in await office.comments(first)) == 4
    assert "notice-please-encrypt" in await office.store.answers_of(case.id)


async def test_who_sends_the_key_that_we_asked_for_is_not_told_to_encrypt(
    office: Office, keys: Keys
) -> None:
    """The first mail cannot be answered without it, and how it comes is the reporter's business."""
    first = await office.receive(letter(keys, CANARY))
    raw = mails.mail(
        mails.multipart(
            "mixed",
            [
                mails.text("Here it is.\n"),
                mails.file(keys.reporter_cert, "key.asc", media_type="application/pgp-keys"),
            ],
        )
    ).replace(b"<one@example.net>", b"<two@example.net>")
    await office.receive(raw, token=(await office.case(first)).token)
    assert subjects(office) == [SEND_KEY, OUTER_SUBJECT]


# ── A paused intake ──────────────────────────────────────────────────────────────────────────────


async def test_while_the_intake_is_paused_the_answer_says_so(
    keys: Keys, role_ring: Ring, tmp_path: Path
) -> None:
    """In clear, encrypted, held for want of a key and built anew, as the acknowledgement is."""
    alias = replace(an_alias(), paused=True)
    async with an_office(keys, role_ring, tmp_path, alias=alias) as office:
        clear = await office.receive(plain("It crashes: exploit.", "clear"))
        assert "our intake is paused" in office.sent()[-1].content.decode()
        case = await office.case(clear)
        await office.receive(plain("More.", "more"), token=case.token)
        assert frozenset({"paused"}) == await office.store.answers_of(case.id)
        held = await office.receive(letter(keys, CANARY, name="held"))
        assert (await office.delivery(held)).state is State.HELD
        office.house.ring.take(keys.reporter_cert)
        await office.pass_time(timedelta(hours=6))
        assert "our intake is paused" in opened(office, keys.reporter)
        assert subjects(office) == [RECEIVED, SEND_KEY, OUTER_SUBJECT]
        with fresh_ring() as ring:
            new = ring.make_key(f"Rita <{REPORTER}>")
            late = await office.accept(letter(keys, CANARY, name="late"))
            await office.worker.work_once()
            await office.worker.finish()
            case = await office.case(late)
            await office.house.openpgp.import_certificate(ring.export(new), address=REPORTER)
            now = office.house.clock.now()
            change = KeyChange(case.id, REPORTER, new, CertificateSource.INSIDE, now)
            await office.store.propose_key(change)
            await office.changes.accept(case.id, new, by="alice")
            await office.work()
            assert "our intake is paused" in opened(office, ring)
        assert frozenset({"paused-2"}) == await office.store.answers_of(case.id)


# ── Budgets ──────────────────────────────────────────────────────────────────────────────────────

ROBOT = "helpdesk@example.net"


async def test_two_machines_that_answer_each_other_come_to_an_end(
    keys: Keys, role_ring: Ring, tmp_path: Path
) -> None:
    """A robot without any mark answers each answer with a new ticket, which is filed every time."""
    budgets = Budgets(per_sender=3, per_case=2, total=5, within=timedelta(hours=1))
    async with an_office(keys, role_ring, tmp_path, budgets=budgets) as office:
        deliveries: list[str] = []
        with capture_logs() as log:
            while len(office.sent(ROBOT)) == len(deliveries):
                name = f"ticket-{len(deliveries)}"
                raw = plain("We have your request.", name, author=ROBOT)
                deliveries.append(await office.receive(raw, sender=ROBOT))
        assert len(deliveries) == 4
        assert subjects(office, ROBOT) == [RECEIVED] * 3
        assert len({(await office.case(each)).id for each in deliveries}) == 4
        assert (await office.delivery(deliveries[-1])).why == "over-budget-sender"
        (told,) = await office.comments(deliveries[-1])
        assert "Nobody was answered by machine. Its sender has had as many" in told
        (alarm,) = [line for line in log if line["event"] == "case.over_budget"]
        assert (alarm["why"], alarm["alarm"]) == ("over-budget-sender", True)

        for name in ("a", "b", "c"):  # everybody together
            await office.receive(plain("Hi.", name, author=f"{name}@x.example"))
        assert [len(office.sent(f"{name}@x.example")) for name in "abc"] == [1, 1, 0]
        await office.pass_time(timedelta(hours=1, seconds=1))
        again = await office.receive(plain("A new day.", "day", author=ROBOT), sender=ROBOT)
        assert len(office.sent(ROBOT)) == 4
        assert (await office.delivery(again)).state is State.DONE


async def test_a_case_has_a_budget_of_its_own_for_ever(
    keys: Keys, role_ring: Ring, tmp_path: Path
) -> None:
    """What is not sent is told on the issue, and the mail is there all the same."""
    budgets = Budgets(per_case=1)
    async with an_office(keys, role_ring, tmp_path, budgets=budgets) as office:
        first = await office.receive(letter(keys, CANARY))
        assert subjects(office) == [SEND_KEY]
        office.house.ring.take(keys.reporter_cert)
        await office.pass_time(timedelta(days=30))
        assert subjects(office) == [SEND_KEY]
        assert (await office.delivery(first)).why == "over-budget-case"
        comments = await office.comments(first)
        assert "This case has had as many answers by machine as one may have." in comments[-1]


# ── Who is not proven ────────────────────────────────────────────────────────────────────────────

MX = "Authentication-Results: mx.example.org; dmarc={0} header.from=example.net\n"


@pytest.mark.parametrize(("answers", "expected"), [(False, 0), (True, 1)])
async def test_a_forged_sender_gets_no_mail_of_ours(
    keys: Keys, role_ring: Ring, tmp_path: Path, answers: bool, expected: int
) -> None:
    """The mail is filed, and its issue says why nobody was answered; the operator may differ."""
    policy = TriagePolicy(frozenset({ALIAS}), (), "mx.example.org", answers)
    async with an_office(keys, role_ring, tmp_path, policy=policy) as office:
        forged = await office.receive(plain("exploit", "forged", extra=MX.format("fail")))
        assert len(office.sent()) == expected
        said = "Nobody was answered by machine. Its sender is not proven" in (
            await office.report(forged)
        )
        assert said is not answers
        await office.receive(plain("exploit", "proven", extra=MX.format("pass")))
        assert len(office.sent()) == expected + 1


async def test_a_good_signature_of_the_bound_key_proves_more_than_dmarc(
    keys: Keys, role_ring: Ring, tmp_path: Path
) -> None:
    """A key that comes with a forged mail binds nothing; one that is bound speaks for its owner."""
    policy = TriagePolicy(frozenset({ALIAS}), (), "mx.example.org")
    fails, sign = MX.format("fail"), (keys.reporter, keys.reporter_fpr)
    async with an_office(keys, role_ring, tmp_path, policy=policy) as office:
        cert = [keys.reporter_cert]
        unknown = letter(keys, CANARY, attach=cert, sign=sign, extra=fails)
        forged = await office.receive(unknown)
        assert (await office.delivery(forged)).why == "unauthenticated"
        assert (await office.case(forged)).key is None
        await office.receive(letter(keys, CANARY, attach=cert, sign=sign, name="two"))
        assert len(office.sent()) == 1
        await office.receive(letter(keys, CANARY, sign=sign, name="three", extra=fails))
        assert len(office.sent()) == 2


# ── Our own mail comes back ──────────────────────────────────────────────────────────────────────


async def _judged(office: Office, delivery_id: str) -> tuple[MailClass, Delivery]:
    delivery = await office.delivery(delivery_id)
    assert delivery.verdict is not None
    return delivery.verdict.mail_class, delivery


async def _posted(office: Office, case: Case, kind: ReplyKind, step: str) -> OutgoingMail:
    """Queue a mail that a person brought about, and return it."""
    desk = LetterDesk(office.house.openpgp, secret=SECRET, clock=office.house.clock)
    claim = kind is ReplyKind.CLAIM
    mail, *copies = await desk.finish(
        Letter(
            case=case,
            alias=office.house.alias,
            kind=kind,
            step=step,
            to="alice@example.org" if claim else REPORTER,
            text=ReplyText("About your case", "Thank you.\n"),
            must_encrypt=False,
            automatic=False,
            copy=not claim,
        )
    )
    assert await office.store.post((mail, *copies))
    return mail


async def test_our_own_mail_is_known_again_and_never_a_new_issue(office: Office) -> None:
    """The alias's copy of an acknowledgement, of a letter, and a claim that a member sent on."""
    first = await office.receive(plain("It crashes: exploit.", "first"))
    case = await office.case(first)
    letter_ = await _posted(office, case, ReplyKind.REPLY, "letter-5000")
    claim = await _posted(office, case, ReplyKind.CLAIM, "claim-5001")
    copies = [office.sent()[0].content, letter_.content, claim.content]
    for content in copies:
        for sender in (f"security+sb-{case.token}-1@example.org", ""):
            received = b"Received: from mx.example.org\r\nX-Spam-Flag: YES\r\n" + content
            delivery_id = await office.accept(received, sender=sender)
            await office.worker.work_once()
            await office.worker.finish()
            mail_class, delivery = await _judged(office, delivery_id)
            assert (mail_class, delivery.case_id) == (MailClass.OWN, case.id)
            assert delivery.state is State.DONE
    assert await office.comments(first) == []
    assert {delivery.case_id for delivery in await office.store.find(limit=50)} == {case.id}


def _with_body(content: bytes, body: bytes) -> bytes:
    """Return a mail with its header as it is, and more text behind its body."""
    return content.rstrip(b"\r\n") + b"\r\n" + body


async def test_a_copied_header_on_another_text_is_an_ordinary_mail(office: Office) -> None:
    """Whoever has a mail of ours can copy all of its header: it joins, as whoever wrote it."""
    first = await office.receive(plain("It crashes: exploit.", "first"))
    case, ours = await office.case(first), office.sent()[0].content
    head = ours[: ours.index(b"\r\nMIME-Version")]
    kept = [
        line
        for line in head.split(b"\r\n")
        if line.startswith((b"Message-ID", b"X-Secbridge-Origin", b" ", b"In-Reply-To"))
    ]
    copied = b"\r\n".join(kept).decode()
    assert "X-Secbridge-Origin: v1=" in copied
    attack = (
        f"From: mallory@example.com\nTo: {ALIAS}\nSubject: Hi\n{copied}\n\nThis is not yours.\n"
    )
    delivery_id = await office.receive(mails.crlf(attack), sender="mallory@example.com")
    mail_class, delivery = await _judged(office, delivery_id)
    assert (mail_class, delivery.case_id) == (MailClass.FOLLOW_UP, case.id)
    (comment,) = await office.comments(first)
    assert "This is not yours." in comment
    assert "new participant" in comment
    assert subjects(office, "mallory@example.com") == []


async def test_our_own_mail_with_a_footer_of_a_list_is_not_a_new_issue(office: Office) -> None:
    """It is not ours any more, and yet a part of its case; nobody is answered."""
    first = await office.receive(plain("It crashes: exploit.", "first"))
    case, ours = await office.case(first), office.sent()[0].content
    footer = b"_____\r\nsecurity mailing list\r\n"
    through_list = b"List-Id: <security.example.org>\r\n" + _with_body(ours, footer)
    delivery_id = await office.receive(through_list, sender="security-bounces@example.org")
    mail_class, delivery = await _judged(office, delivery_id)
    assert (mail_class, delivery.case_id) == (MailClass.AUTO_REPLY, case.id)
    assert len(office.sent()) == 1


async def test_our_own_mail_that_a_member_forwards_is_the_members_mail(office: Office) -> None:
    """As an attachment it is a file of an ordinary mail, whose author is answered as anybody is."""
    first = await office.receive(plain("It crashes: exploit.", "first"))
    ours = office.sent()[0].content
    entity = b"Content-Type: message/rfc822\r\n\r\n" + ours
    forward = mails.mail(
        mails.multipart("mixed", [mails.text("Who answers that?\n"), entity], boundary="f"),
        author="alice@example.org",
        subject="Fwd: We have received your message",
    ).replace(b"<one@example.net>", b"<forward@example.org>")
    delivery_id = await office.receive(forward, sender="alice@example.org")
    mail_class, delivery = await _judged(office, delivery_id)
    assert mail_class is MailClass.OTHER
    assert delivery.case_id != (await office.case(first)).id
    assert subjects(office, "alice@example.org") == [RECEIVED]


# ── Bounces ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_bounce_of_an_answer_is_raised_on_its_issue_in_words(office: Office) -> None:
    """Matched by the envelope sender of the very mail; what only waits is noted in the journal."""
    first = await office.receive(plain("It crashes: exploit.", "first"))
    sent = office.sent()[0]
    token, number = (await office.case(first)).token, 1
    assert sent.reverse_path == f"security+sb-{token}-{number}@example.org"
    for name, action, status in (("d1", "delayed", "4.4.1"), ("d2", "failed", "5.0.0")):
        report = (
            f"Reporting-MTA: dns; mx.example.net\n\nFinal-Recipient: rfc822; {REPORTER}\n"
            f"Action: {action}\nStatus: {status}\nDiagnostic-Code: smtp; 552 5.2.2 @all full\n"
        )
        parts = [mails.text("It failed.\n"), mails.entity("message/delivery-status", report)]
        bounce = mails.mail(
            mails.multipart("report", parts, params="; report-type=delivery-status"),
            author="MAILER-DAEMON@mx.example.net",
        ).replace(b"<one@example.net>", f"<{name}@mx.example.net>".encode())
        envelope = Envelope("", (sent.reverse_path,), "127.0.0.1", office.house.clock.now())
        target = Target(sent.reverse_path, ALIAS, token, number)
        await office.store.accept(envelope, bounce, [target])
        await office.work()
    (comment,) = await office.comments(first)
    assert "The reporter did not get this mail of ours." in comment
    assert "the mailbox is full" in comment
    assert "the acknowledgement" in comment
    assert len(office.relay.taken) == 2
