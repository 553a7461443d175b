"""What does the reporter hear, and in which bytes?  Real gpg on both sides."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.answering import SECRET, House, a_house, parsed, part_of, text_of
from tests.support.keys import REPORTER, Keys, Ring, fresh_ring
from tests.support.messages import (
    NOON,
    a_case,
    a_delivery,
    a_message,
    encrypted,
    undecryptable,
)

from secbridge.errors import Deferral
from secbridge.mail.parse import canonical_body_hash
from secbridge.model.case import IssueRef, KeyBinding, MailClass, Verdict
from secbridge.model.delivery import Answered, Attempted, Filed, Judged, Opened, Routed
from secbridge.model.message import (
    CertificateSource,
    Coverage,
    FoundCertificate,
    Message,
    Protection,
    Signature,
    SignatureVerdict,
)
from secbridge.model.reply import OutgoingMail, ReplyKind
from secbridge.pipeline.keyfinding import find_key
from secbridge.pipeline.replying import NoAnswer
from secbridge.rules import identity
from secbridge.rules.replies import KeyChanged, KeyFound, KeyProblem, NoKey

CANARY = "xylophone-canary"


@pytest.fixture
async def house(keys: Keys, role_ring: Ring, tmp_path: Path) -> AsyncIterator[House]:
    """Return the rooms that answer; the ring knows the role key and nobody else."""
    async with a_house(keys, role_ring, tmp_path) as rooms:
        yield rooms


def attached(content: bytes, source: CertificateSource = CertificateSource.INSIDE) -> Message:
    """Return an encrypted mail that brought a certificate."""
    return encrypted(certificates=(FoundCertificate(source, content),))


def loud(message: Message) -> Message:
    """Return the mail with the canary in everything that a reporter wrote."""
    return replace(
        message,
        subject=CANARY,
        outer_subject=CANARY,
        text=f"{CANARY} {message.text}",
        outside_encryption=CANARY,
    )


# ── Encrypted threads ────────────────────────────────────────────────────────────────────────────


async def test_the_reporter_opens_and_verifies_the_answer_with_plain_gpg(house: House) -> None:
    """After a relay that changed the line ends: decrypts, good signature of the role key."""
    mail, _ = await house.mails(attached(house.keys.reporter_cert))
    stored = parsed(mail.content.replace(b"\r\n", b"\n"))
    inside = house.keys.reporter.gpg("--status-fd", "2", "--decrypt", stdin=part_of(stored, 1))
    entity = parsed(inside)
    assert entity["Subject"] == f"We have received your message ({mail.case_id})"
    assert "Your encrypted message has arrived" in text_of(entity)
    assert mail.case_id in text_of(entity)
    signed = house.keys.reporter.gpg(
        "--status-fd", "1", "--output", "/dev/null", "--decrypt", stdin=part_of(stored, 1)
    )
    assert f"VALIDSIG {house.keys.role_fpr}".encode() in signed
    assert b"GOODMDC" in signed


async def test_the_team_opens_the_aliass_copy_with_the_role_key(house: House) -> None:
    """The alias is on CC, and the answer is encrypted to the role key as well."""
    _, copy = await house.mails(attached(house.keys.reporter_cert))
    assert copy.recipient == "security@example.org"
    assert parsed(copy.content)["Cc"] == "security@example.org"
    inside = house.ring.decrypt(part_of(parsed(copy.content), 1))
    assert copy.case_id in text_of(parsed(inside))


async def test_outside_the_encryption_stands_nothing_of_the_case(house: House) -> None:
    """Three dots for a subject, and no case id; the thread is held by ids alone."""
    mail, _ = await house.mails(loud(attached(house.keys.reporter_cert)))
    outer = parsed(mail.content)
    assert outer["Subject"] == "[...]"
    assert mail.case_id.encode() not in mail.content
    assert CANARY.encode() not in mail.content
    assert outer["In-Reply-To"] == "<report-1@example.net>"


async def test_our_certificate_is_in_the_first_answer(house: House) -> None:
    """As an attachment inside, and in the Autocrypt header outside."""
    mail, _ = await house.mails(attached(house.keys.reporter_cert))
    inside = parsed(house.ring.decrypt(part_of(parsed(mail.content), 1)))
    listed = house.keys.stranger.gpg("--with-colons", "--show-keys", stdin=part_of(inside, 1))
    assert house.keys.role_fpr.encode() in listed
    assert "addr=security@example.org" in str(parsed(mail.content)["Autocrypt"])


async def test_reporter_and_alias_get_the_same_octets_under_one_message_id(house: House) -> None:
    """Two rows of the outbox, encrypted once."""
    mail, copy = await house.mails(attached(house.keys.reporter_cert))
    assert (mail.recipient, copy.recipient) == (REPORTER, "security@example.org")
    assert replace(copy, recipient=mail.recipient) == mail


async def test_the_envelope_and_the_ids_are_those_of_the_case(house: House) -> None:
    """Envelope sender with token and number, Reply-To with the token, Message-ID by HMAC."""
    case = await house.open_case(must_encrypt=True)
    mail, _ = await house.mails(attached(house.keys.reporter_cert), case=case)
    outer = parsed(mail.content)
    assert mail.reverse_path == f"security+sb-{case.token}-1@example.org"
    assert outer["Reply-To"] == f"security+sb-{case.token}@example.org"
    expected = identity.message_id(SECRET, case.id, "ack", "example.org")
    assert (mail.message_id, outer["Message-ID"]) == (expected, expected)
    assert identity.verify_origin(
        SECRET, outer[identity.ORIGIN_HEADER], case_id=case.id, step="ack", message_id=expected
    )
    assert mail.body_hash == canonical_body_hash(mail.content)
    assert mail.body_hash == canonical_body_hash(mail.content.replace(b"\r\n", b"\n"))


async def test_the_mail_says_that_a_machine_wrote_it(house: House) -> None:
    """RFC 3834: so that no other machine answers it."""
    mail, _ = await house.mails(attached(house.keys.reporter_cert))
    outer = parsed(mail.content)
    assert outer["Auto-Submitted"] == "auto-replied"
    assert outer["X-Auto-Response-Suppress"] == "All"


async def test_the_key_is_bound_to_the_reporter_on_first_use(house: House) -> None:
    """With where it came from and when."""
    case = await house.open_case(must_encrypt=True)
    await house.mails(attached(house.keys.reporter_cert), case=case)
    binding = await house.store.key_for("security@example.org", REPORTER)
    expected = KeyBinding(REPORTER, house.keys.reporter_fpr, CertificateSource.INSIDE, NOON)
    assert binding == expected
    again = await house.store.get_case(case.id)
    assert again is not None
    assert again.key == expected


async def test_a_key_that_vanished_meanwhile_becomes_a_notice(house: House) -> None:
    """Even if the finding of keys was happy, what cannot be encrypted never leaves in clear."""
    case = await house.open_case(must_encrypt=True)
    house.ring.take(house.keys.reporter_cert)
    found = await find_key(encrypted(), REPORTER, case, house.store, house.openpgp)
    assert isinstance(found, KeyFound)
    house.ring.gpg("--yes", "--delete-keys", house.keys.reporter_fpr)
    mail, _ = await house.mails(encrypted(), case=case)
    assert mail.kind is ReplyKind.NOTICE_SEND_KEY


async def test_a_role_key_that_cannot_encrypt_is_a_fault_of_ours(house: House) -> None:
    """The answer waits with an alarm; the reporter hears nothing of it."""
    house.ring.take(house.keys.reporter_cert)
    lost = replace(house.alias, role_keys=("0" * 40,))
    case = await house.open_case(must_encrypt=True)
    with pytest.raises(Deferral) as caught:
        await house.answering.answer(
            delivery=a_delivery(), case=case, message=encrypted(), alias=lost
        )
    assert caught.value.alarm


# ── Fixed notices ────────────────────────────────────────────────────────────────────────────────


async def signed_text(house: House, mail: OutgoingMail) -> str:
    """Return the text of a clear mail whose signature plain gpg verifies."""
    stored = mail.content.replace(b"\r\n", b"\n")
    boundary = parsed(stored).get_boundary()
    assert boundary is not None
    _, first, second, _ = stored.split(b"--" + boundary.encode())
    raw = first[1:-1].replace(b"\n", b"\r\n")
    status = house.keys.reporter.verify_detached(second[second.index(b"-----BEGIN") :], raw)
    assert f"VALIDSIG {house.keys.role_fpr}".encode() in status
    return text_of(parsed(raw))


async def test_without_a_key_the_reporter_is_asked_for_one_in_clear(house: House) -> None:
    """A fixed notice, signed, with nothing of the mail in it."""
    mail, copy = await house.mails(loud(encrypted()))
    text = await signed_text(house, mail)
    assert mail.kind is ReplyKind.NOTICE_SEND_KEY
    assert mail.encrypted_to == ()
    assert mail.must_encrypt
    assert "attach your public key" in text
    assert CANARY.encode() not in mail.content
    assert copy.content == mail.content


async def test_what_cannot_be_opened_is_answered_with_the_key_to_use(house: House) -> None:
    """The notice names our fingerprint, says how, and brings the certificate."""
    mail, _ = await house.mails(loud(undecryptable()))
    text = await signed_text(house, mail)
    assert mail.kind is ReplyKind.NOTICE_USE_THIS_KEY
    bare = re.sub(r"\s", "", text)
    assert house.keys.role_fpr in bare
    assert "gpg --import" in text
    assert CANARY.encode() not in mail.content
    signed = next(parsed(mail.content).iter_parts())
    listed = house.keys.stranger.gpg(
        "--with-colons",
        "--show-keys",
        stdin=part_of(signed, 1),  # type: ignore[arg-type]  # a part is an EmailMessage under policy.default
    )
    assert house.keys.role_fpr.encode() in listed


async def test_an_expired_key_is_explained_and_never_used(house: House) -> None:
    """A key of yesterday: the notice gives the code, the words and the mend."""
    with fresh_ring() as ring:
        fingerprint = ring.make_key(
            f"Rita <{REPORTER}>", expire="seconds=86400", at="20260101T000000"
        )
        mail, _ = await house.mails(attached(ring.export(fingerprint)))
    text = await signed_text(house, mail)
    assert mail.kind is ReplyKind.NOTICE_KEY_UNUSABLE
    assert "(expired)" in text
    assert "it has expired." in text
    assert "--quick-set-expire" in text


async def test_a_revoked_key_and_one_that_only_signs_are_explained(house: House) -> None:
    """Each with its own code."""
    with fresh_ring() as ring:
        revoked = ring.make_key(f"Rita <{REPORTER}>")
        signs = ring.make_key(f"Rita the Signer <{REPORTER}>", encrypts=False)
        found = [
            await house.mails(attached(ring.revoke(revoked))),
            await house.mails(attached(ring.export(signs))),
        ]
    texts = [await signed_text(house, mails[0]) for mails in found]
    assert "(revoked)" in texts[0]
    assert "(no-encryption-subkey)" in texts[1]


async def test_a_bound_key_that_expired_is_not_replaced_by_another(house: House) -> None:
    """A different key never takes its place by itself: that may be an attack."""
    with fresh_ring() as ring:
        old = ring.make_key(f"Rita <{REPORTER}>", expire="seconds=86400", at="20260101T000000")
        house.ring.take(ring.export(old))
        other = ring.make_key(f"Somebody <{REPORTER}>")
        case = await house.open_case(must_encrypt=True)
        binding = KeyBinding(REPORTER, old, CertificateSource.INSIDE, NOON)
        await house.store.bind_key(case.id, binding)
        bound = await house.store.get_case(case.id)
        assert bound is not None
        mail, _ = await house.mails(attached(ring.export(other)), case=bound)
        assert mail.kind is ReplyKind.NOTICE_KEY_UNUSABLE
        ring.expire(old, "0")
        ring.expire(old, "0", *ring.subkeys(old))
        mended, _ = await house.mails(attached(ring.export(old)), case=bound)
    assert mended.kind is ReplyKind.ACKNOWLEDGEMENT
    assert mended.encrypted_to == (old, house.keys.role_fpr)


# ── Clear threads ────────────────────────────────────────────────────────────────────────────────


async def test_a_clear_mail_is_acknowledged_in_clear_and_signed(house: House) -> None:
    """Case id and what happens next; encryption is offered; nothing of the report is in it."""
    mail, copy = await house.mails(loud(a_message()))
    text = await signed_text(house, mail)
    assert mail.kind is ReplyKind.ACKNOWLEDGEMENT
    assert not mail.must_encrypt
    assert mail.case_id in text
    assert "What happens next" in text
    assert "You need not encrypt anything" in text
    assert CANARY.encode() not in mail.content
    assert parsed(mail.content)["Subject"] == f"We have received your message ({mail.case_id})"
    assert copy.recipient == "security@example.org"


async def test_a_clear_mail_in_an_encrypted_thread_is_not_acknowledged_in_clear(
    house: House,
) -> None:
    """Must-encrypt is a rule of the thread, not of the mail."""
    case = await house.open_case(must_encrypt=True)
    mail, _ = await house.mails(a_message(), case=case)
    assert mail.kind is ReplyKind.NOTICE_SEND_KEY


async def test_the_answer_goes_to_the_author_and_never_to_reply_to(house: House) -> None:
    """Whoever can write a Reply-To could aim our mail at others."""
    message = a_message(fields={"Reply-To": "victim@example.com"})
    mail, _ = await house.mails(message)
    assert parsed(mail.content)["To"] == REPORTER
    assert b"victim" not in mail.content


# ── No answer ────────────────────────────────────────────────────────────────────────────────────


async def test_what_the_verdict_forbids_is_not_answered(house: House) -> None:
    """The reason is the verdict's own code."""
    case = await house.open_case(must_encrypt=False)
    verdict = Verdict(MailClass.REPORT, ("report.words",), False, "list")
    answer = await house.answering.answer(
        delivery=a_delivery(verdict), case=case, message=a_message(), alias=house.alias
    )
    assert answer == NoAnswer("list")


async def test_without_an_author_to_write_to_there_is_no_answer(house: House) -> None:
    """Whatever the verdict said: this is looked at again where the header is made."""
    hostile = "a@b.example\r\nBcc: c@d.example"
    assert await house.answer(a_message(author=None)) == NoAnswer("no-single-author")
    assert await house.answer(a_message(author=hostile)) == NoAnswer("author-unusable")


async def test_a_case_is_answered_once(house: House) -> None:
    """A mail to two aliases with one case, or a second worker, sends nothing twice."""
    case = await house.open_case(must_encrypt=False)
    mails = await house.mails(a_message(), case=case)
    (delivery, *_) = await house.store.find(limit=1)
    verdict = Verdict(MailClass.REPORT, ("report.words",), may_reply=True)
    await house.store.record(
        delivery.id,
        Opened(Protection.NONE),
        Judged(verdict),
        Routed(case.route),
        Attempted("file"),
        Filed(case.id, IssueRef("local", "security", "1", "1")),
        Answered(mails),
    )
    assert await house.answer(a_message(), case=case) == NoAnswer("answered-already")


# ── Finding the key ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "source", [CertificateSource.INSIDE, CertificateSource.OUTSIDE, CertificateSource.AUTOCRYPT]
)
async def test_a_certificate_that_came_with_the_mail_is_found(
    house: House, source: CertificateSource
) -> None:
    """Attached inside, attached outside, or in the Autocrypt header."""
    found = await find_key(
        attached(house.keys.reporter_cert, source), REPORTER, a_case(), house.store, house.openpgp
    )
    assert found == KeyFound(house.keys.reporter_fpr, source)


async def test_a_certificate_of_the_ring_is_found_last(house: House) -> None:
    """When nothing came with the mail."""
    house.ring.take(house.keys.reporter_cert)
    found = await find_key(encrypted(), REPORTER, a_case(), house.store, house.openpgp)
    assert found == KeyFound(house.keys.reporter_fpr, CertificateSource.KEYRING)


async def test_inside_comes_before_outside_before_autocrypt(house: House) -> None:
    """What was protected on its way is believed first."""
    with fresh_ring() as ring:
        first = ring.make_key(f"Rita <{REPORTER}>")
        second = ring.make_key(f"Second <{REPORTER}>")
        certificates = (
            FoundCertificate(CertificateSource.AUTOCRYPT, house.keys.reporter_cert),
            FoundCertificate(CertificateSource.OUTSIDE, ring.export(second)),
            FoundCertificate(CertificateSource.INSIDE, ring.export(first)),
        )
    found = await find_key(
        encrypted(certificates=certificates), REPORTER, a_case(), house.store, house.openpgp
    )
    assert found == KeyFound(first, CertificateSource.INSIDE)


async def test_the_signer_comes_before_what_is_attached(house: House) -> None:
    """A verified signature proves who holds the key."""
    house.ring.take(house.keys.reporter_cert)
    with fresh_ring() as ring:
        other = ring.export(ring.make_key(f"Rita <{REPORTER}>"))
    signature = Signature(
        SignatureVerdict.GOOD, house.keys.reporter_fpr, Coverage.WHOLE, signer_is_sender=True
    )
    message = replace(attached(other), signatures=(signature,))
    found = await find_key(message, REPORTER, a_case(), house.store, house.openpgp)
    assert isinstance(found, KeyFound)
    assert found.fingerprint == house.keys.reporter_fpr


@pytest.mark.parametrize("verdict", [SignatureVerdict.BAD, SignatureVerdict.UNKNOWN_KEY])
async def test_a_signature_that_proves_nothing_chooses_no_key(
    house: House, verdict: SignatureVerdict
) -> None:
    """Anybody can name a fingerprint in a broken signature."""
    with fresh_ring() as ring:
        named = ring.make_key("Mallory <mallory@example.com>")
        house.ring.take(ring.export(named))
    signature = Signature(verdict, named, Coverage.WHOLE, signer_is_sender=True)
    message = encrypted(signatures=(signature,))
    assert NoKey() == await find_key(message, REPORTER, a_case(), house.store, house.openpgp)


async def test_a_certificate_of_another_address_is_not_for_this_reporter(house: House) -> None:
    """Only user IDs equal to the address that we answer count, wherever it came from."""
    stranger = house.keys.stranger.export(house.keys.stranger_fpr)
    signature = Signature(
        SignatureVerdict.GOOD, house.keys.stranger_fpr, Coverage.WHOLE, signer_is_sender=False
    )
    house.ring.take(stranger)
    signed_by_it = encrypted(signatures=(signature,))
    assert NoKey() == await find_key(signed_by_it, REPORTER, a_case(), house.store, house.openpgp)
    message = replace(attached(stranger), signatures=(signature,))
    found = await find_key(message, REPORTER, a_case(), house.store, house.openpgp)
    assert found == KeyProblem("no-user-id", ""), "who sent it should hear that it will not do"


async def test_a_file_that_is_no_certificate_is_told_where_nothing_better_is(house: House) -> None:
    """The reporter meant to send a key, and should hear that it could not be read."""
    message = attached(
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n-----END PGP PUBLIC KEY BLOCK-----\n"
    )
    found = await find_key(message, REPORTER, a_case(), house.store, house.openpgp)
    assert isinstance(found, KeyProblem)
    house.ring.take(house.keys.reporter_cert)
    better = await find_key(message, REPORTER, a_case(), house.store, house.openpgp)
    assert better == KeyFound(house.keys.reporter_fpr, CertificateSource.KEYRING)


async def test_a_bound_key_is_never_replaced_by_what_else_is_offered(house: House) -> None:
    """Trust on first use, for later cases of the same reporter, too: the team is asked."""
    house.ring.take(house.keys.reporter_cert)
    first = await house.open_case(must_encrypt=True)
    binding = KeyBinding(REPORTER, house.keys.reporter_fpr, CertificateSource.INSIDE, NOON)
    await house.store.bind_key(first.id, binding)
    later = await house.open_case(must_encrypt=True)
    with fresh_ring() as ring:
        offered = ring.make_key(f"Rita <{REPORTER}>")
        other = ring.export(offered)
    found = await find_key(attached(other), REPORTER, later, house.store, house.openpgp)
    assert found == KeyChanged(house.keys.reporter_fpr, offered, CertificateSource.INSIDE)
    found = await find_key(encrypted(), REPORTER, later, house.store, house.openpgp)
    assert found == KeyFound(house.keys.reporter_fpr, CertificateSource.INSIDE, binding)
