"""May this mail leave?  Attacks on the only door: genuine mails, each with one thing changed.

The attacker here is a bug of ours, or somebody who took over the rooms before the guard: wherever
it matters, the altered mail is encrypted or signed for real.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.answering import SECRET, House, a_house
from tests.support.keys import REPORTER, Keys, Ring, fresh_ring
from tests.support.messages import NOON, a_message, an_alias, encrypted, undecryptable

from secbridge.errors import Refusal
from secbridge.mail import compose
from secbridge.mail.armor import dearmor
from secbridge.model.case import KeyBinding
from secbridge.model.message import CertificateSource, FoundCertificate
from secbridge.model.reply import OutgoingMail, ReplyKind
from secbridge.outbound import MailGuard, TemplateWording
from secbridge.ports import KeyChange

CANARY = b"xylophone-canary"


@pytest.fixture
async def house(keys: Keys, role_ring: Ring, tmp_path: Path) -> AsyncIterator[House]:
    """Return the rooms that answer; the reporter's and the stranger's keys are known."""
    role_ring.take(keys.reporter_cert)
    role_ring.take(keys.stranger.export(keys.stranger_fpr))
    async with a_house(keys, role_ring, tmp_path) as rooms:
        yield rooms


@pytest.fixture
async def secret(house: House) -> OutgoingMail:
    """Return a genuine encrypted answer."""
    return (await house.mails(encrypted()))[0]


@pytest.fixture
async def notice(house: House) -> OutgoingMail:
    """Return a genuine fixed notice of an encrypted thread."""
    return (await house.mails(undecryptable()))[0]


@pytest.fixture
async def clear(house: House) -> OutgoingMail:
    """Return a genuine acknowledgement in clear."""
    return (await house.mails(a_message()))[0]


async def refused(house: House, mail: OutgoingMail) -> str:
    """Return the code with which the guard holds a mail back; it holds nothing of the mail."""
    with pytest.raises(Refusal) as caught:
        await house.guard.allow(mail)
    assert CANARY.decode() not in str(caught.value)
    assert caught.value.status == "5.7.1"
    return caught.value.code


def changed(mail: OutgoingMail, old: bytes, new: bytes) -> OutgoingMail:
    """Return the mail with one place of its content replaced."""
    assert old in mail.content
    return replace(mail, content=mail.content.replace(old, new, 1))


# ── What may leave ───────────────────────────────────────────────────────────────────────────────


async def test_a_genuine_encrypted_answer_leaves_for_both_recipients(house: House) -> None:
    """For the reporter and for the alias."""
    for mail in await house.mails(encrypted()):
        await house.guard.allow(mail)


async def test_every_fixed_notice_leaves_an_encrypted_thread(house: House) -> None:
    """Send a key, use this key, and each reason why a key cannot be used."""
    signs_only = house.keys.stranger.copy()
    try:
        fingerprint = signs_only.make_key(f"Rita <{REPORTER}>", encrypts=False)
        bad = FoundCertificate(CertificateSource.INSIDE, signs_only.export(fingerprint))
    finally:
        signs_only.close()
    lonely = encrypted(author="nobody-knows-me@example.net")
    kinds = set()
    for message in (lonely, undecryptable(), encrypted(certificates=(bad,))):
        for mail in await house.mails(message):
            await house.guard.allow(mail)
            assert mail.must_encrypt
            kinds.add(mail.kind)
    assert kinds == {
        ReplyKind.NOTICE_SEND_KEY,
        ReplyKind.NOTICE_USE_THIS_KEY,
        ReplyKind.NOTICE_KEY_UNUSABLE,
    }


async def test_a_genuine_clear_acknowledgement_leaves_a_clear_thread(house: House) -> None:
    """For both recipients."""
    for mail in await house.mails(a_message()):
        await house.guard.allow(mail)


async def test_a_mail_that_waited_while_our_certificate_was_extended_still_leaves(
    house: House,
) -> None:
    """The old certificate announced in it was ours, and so is the new one in the next mail."""
    case = await house.open_case(must_encrypt=True)
    old, _ = await house.mails(undecryptable(), case=case)
    await house.guard.allow(replace(old, recipient="security@example.org"))
    house.ring.expire(house.keys.role_fpr, "5y")
    house.clock.time = house.clock.time.replace(year=2027)
    new, _ = await house.mails(undecryptable(), case=case)
    assert new.content != old.content
    await house.guard.allow(new)
    await house.guard.allow(old)


# ── Clear text in an encrypted thread ────────────────────────────────────────────────────────────


async def test_a_clear_answer_never_leaves_an_encrypted_thread(
    house: House, clear: OutgoingMail
) -> None:
    """However well-formed it is."""
    mail = replace(clear, must_encrypt=True)
    assert await refused(house, mail) == "guard-clear-in-encrypted-thread"


async def test_a_clear_answer_dressed_as_a_notice_does_not_leave(
    house: House, clear: OutgoingMail
) -> None:
    """The kind of the row is a claim; the text is compared."""
    codes: dict[str, set[ReplyKind]] = {}
    for kind in ReplyKind:
        code = await refused(house, replace(clear, must_encrypt=True, kind=kind))
        codes.setdefault(code, set()).add(kind)
    notices = {kind for kind in ReplyKind if kind.is_fixed_notice} - {ReplyKind.CLAIM}
    assert codes == {
        "guard-kind": notices,
        "guard-not-member": {ReplyKind.CLAIM},
        "guard-clear-in-encrypted-thread": set(ReplyKind) - notices - {ReplyKind.CLAIM},
    }


async def test_clear_mail_dressed_as_ciphertext_does_not_leave(
    house: House, clear: OutgoingMail, secret: OutgoingMail
) -> None:
    """The row says to whom it was encrypted, and it was not: neither there nor in the case."""
    mail = replace(clear, must_encrypt=True, encrypted_to=secret.encrypted_to)
    assert await refused(house, mail) == "guard-not-bound"
    binding = KeyBinding(REPORTER, secret.encrypted_to[0], CertificateSource.INSIDE, NOON)
    await house.store.bind_key(clear.case_id, binding)
    assert await refused(house, mail) == "guard-kind"


def _parts_around(mail: OutgoingMail) -> tuple[bytes, bytes]:
    """Return the boundary line and the closing line of a mail."""
    boundary = mail.content.split(b'boundary="')[1].split(b'"')[0]
    return b"--" + boundary + b"\r\n", b"--" + boundary + b"--\r\n"


async def test_no_clear_part_stands_beside_the_ciphertext(
    house: House, secret: OutgoingMail
) -> None:
    """Neither before nor between nor after the two parts, nor around them."""
    opening, closing = _parts_around(secret)
    extra = opening + b"Content-Type: text/plain\r\n\r\n" + CANARY + b"\r\n"
    content = secret.content
    header, body = content.split(b"\r\n\r\n", 1)
    attacks = [
        content.replace(opening, extra + opening, 1),
        content.replace(closing, extra + closing),
        content.replace(b"Version: 1\r\n\r\n", b"Version: 1\r\n\r\n" + extra),
        header + b"\r\n\r\n" + CANARY + b"\r\n" + body,
        content + CANARY + b"\r\n",
        content.replace(b"\r\n\r\nVersion: 1", b"\r\n\r\nVersion: 1\r\n" + CANARY),
        content.replace(b"\r\n\r\nVersion: 1", b"\r\n\r\n" + CANARY),
    ]
    codes = {await refused(house, replace(secret, content=attack)) for attack in attacks}
    assert codes == {"guard-shape"}


async def test_no_text_stands_around_or_in_the_armor(house: House, secret: OutgoingMail) -> None:
    """Armor headers are comments that anybody can read."""
    begin, end = b"-----BEGIN PGP MESSAGE-----\r\n", b"-----END PGP MESSAGE-----\r\n"
    attacks = [
        changed(secret, begin, begin + b"Comment: " + CANARY + b"\r\n"),
        changed(secret, begin, CANARY + b"\r\n" + begin),
        changed(secret, end, end + CANARY + b"\r\n"),
        changed(secret, end, CANARY + b"\r\n" + end),
        changed(secret, b"MESSAGE", b"SIGNATURE"),
    ]
    codes = {await refused(house, attack) for attack in attacks}
    assert codes <= {"guard-armor", "guard-shape"}


# ── Headers ──────────────────────────────────────────────────────────────────────────────────────


HEADERS = [
    (b"Subject: [...]", b"Subject: " + CANARY, "guard-subject"),
    (b"Subject: [...]", b"Subject: [...] " + CANARY, "guard-subject"),
    (b"Subject: [...]\r\n", b"", "guard-subject"),
    (b"Subject:", b"Comments: " + CANARY + b"\r\nSubject:", "guard-header"),
    (b"Subject:", b"X-Report: " + CANARY + b"\r\nSubject:", "guard-header"),
    (b"Subject:", b"Subject: " + CANARY + b"\r\nSubject:", "guard-header"),
    (b"Subject:", b"Bcc: stranger@example.com\r\nSubject:", "guard-header"),
    (b"Subject:", CANARY + b"\r\nSubject:", "guard-header"),
    (b"Subject: [...]", b"SUBJECT: [...]", "guard-header"),
    (b'"Example Security"', b'"' + CANARY + b'"', "guard-altered"),
    (b"Cc: security@example.org", b"Cc: stranger@example.com", "guard-altered"),
    (b"+0000\r\n", b"+0000 (" + CANARY + b")\r\n", "guard-header"),
    (b"<report-1@example.net>", b"<" + CANARY + b" x@example.net>", "guard-thread"),
    (b"References: <", b"References: " + CANARY + b" <", "guard-thread"),
    (b"keydata=\r\n ", b"keydata=\r\n " + base64.b64encode(CANARY), "guard-altered"),
    (b"addr=security@", b"_note=" + CANARY + b"; addr=security@", "guard-altered"),
    (b"auto-replied", b"auto-replied; " + CANARY, "guard-altered"),
    (b"Origin: v1=", b"Origin: v2=", "guard-altered"),
    (b"Message-ID: <sb.", b"Message-ID: <sc.", "guard-message-id"),
    (b"Reply-To: security+sb-", b"Reply-To: security+sc-", "guard-altered"),
    (b"MIME-Version: 1.0", b"MIME-Version: 1.0 (" + CANARY + b")", "guard-altered"),
    (b"multipart/encrypted", b"multipart/mixed", "guard-shape"),
    (b"pgp-encrypted\";", b"pgp-encrypted\"; x=" + CANARY + b";", "guard-shape"),
    (b'name="encrypted.asc"', b'name="' + CANARY + b'"', "guard-shape"),
    (b"OpenPGP encrypted message", CANARY, "guard-shape"),
]  # fmt: skip
"""What is replaced, by what, and the code with which the guard refuses it."""


async def test_nothing_of_a_report_stands_in_a_header(house: House, secret: OutgoingMail) -> None:
    """Every field is known, there once, and has the value that we would have written."""
    found = [(old, new, await refused(house, changed(secret, old, new))) for old, new, _ in HEADERS]
    assert found == HEADERS


async def test_the_octets_are_those_that_any_relay_keeps(
    house: House, secret: OutgoingMail
) -> None:
    """No bare line end, nothing but ASCII, no NUL, no endless line; and not too much of it."""
    attacks = [
        changed(secret, b"Subject: [...]\r\n", b"Subject: [...]\n"),
        changed(secret, b"Subject: [...]", b"Subject: [...]\xff"),
        changed(secret, b"Subject: [...]", b"Subject: [...]\x00"),
        changed(secret, b"Subject: [...]\r\n", b"Subject: [...]\r"),
        changed(secret, b"Subject: [...]", b"Subject: [...]" + b"x" * 1000),
        replace(secret, content=secret.content.replace(b"\r\n", b"\n")),
        replace(secret, content=b""),
    ]
    codes = [await refused(house, attack) for attack in attacks]
    assert codes[:-1] == ["guard-octets"] * 6
    assert codes[-1] == "guard-header"
    huge = replace(secret, content=secret.content + b"x\r\n" * 400_000)
    assert await refused(house, huge) == "guard-size"


# ── The row ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_mail_goes_only_to_those_whom_it_names(house: House, secret: OutgoingMail) -> None:
    """The recipient of the transaction is its To or its Cc."""
    for recipient in ("stranger@example.com", "", "reporter@example.net.example.com"):
        assert await refused(house, replace(secret, recipient=recipient)) == "guard-recipient"


async def test_the_envelope_sender_is_the_cases_own(house: House, secret: OutgoingMail) -> None:
    """Token and number name what bounced; nothing else is sent under our name."""
    for reverse_path in (
        "",
        "security@example.org",
        "stranger@example.com",
        "security+sb-tok@example.org",
        "security+sb-tok-2@example.org",
        "psirt+sb-tok-1@example.org",
    ):
        mail = replace(secret, reverse_path=reverse_path)
        assert await refused(house, mail) == "guard-reverse-path"


async def test_the_row_and_the_mail_are_of_the_same_case_and_step(
    house: House, secret: OutgoingMail, notice: OutgoingMail
) -> None:
    """The Message-ID is an HMAC over both, made again here."""
    codes = [
        await refused(house, replace(secret, case_id="SB-2026-9999")),
        await refused(house, replace(secret, step="reply-1")),
        await refused(house, replace(secret, step="notice-send-key")),
        await refused(house, replace(secret, message_id="<sb.x@example.org>")),
        await refused(house, replace(notice, case_id="SB-2026-9999")),
    ]
    assert codes == [
        "guard-not-bound",
        "guard-reverse-path",
        "guard-reverse-path",
        "guard-message-id",
        "guard-message-id",
    ]


async def test_a_judgement_is_not_carried_over_to_another_row(
    house: House, secret: OutgoingMail
) -> None:
    """What was allowed once is remembered with all that it rested on."""
    await house.guard.allow(secret)
    await house.guard.allow(replace(secret, recipient="security@example.org"))
    assert await refused(house, replace(secret, recipient="x@y.example")) == "guard-recipient"
    assert await refused(house, replace(secret, encrypted_to=())) != ""
    other = replace(secret, encrypted_to=(house.keys.stranger_fpr, house.keys.role_fpr))
    assert await refused(house, other) == "guard-not-bound"
    assert await refused(house, replace(secret, case_id="SB-2026-9999")) == "guard-not-bound"


async def test_mail_of_an_alias_that_is_not_configured_does_not_leave(
    house: House, secret: OutgoingMail
) -> None:
    """A guard that knows other aliases knows nothing of this one."""
    other = an_alias(house.keys.role_fpr, address="psirt@example.org")
    guard = MailGuard(
        house.openpgp, TemplateWording([other]), [other], secret=SECRET, cases=house.store
    )
    with pytest.raises(Refusal, match="guard-reverse-path"):
        await guard.allow(secret)


# ── Ciphertext ───────────────────────────────────────────────────────────────────────────────────


def with_armor(mail: OutgoingMail, armor: bytes) -> OutgoingMail:
    """Return an encrypted mail with another ciphertext."""
    start = mail.content.index(b"-----BEGIN PGP MESSAGE-----")
    end = mail.content.index(b"-----END PGP MESSAGE-----") + len(b"-----END PGP MESSAGE-----")
    clean = armor.strip().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return replace(mail, content=mail.content[:start] + clean + mail.content[end:])


def armored(packets: bytes) -> bytes:
    """Return packets in armor, as gpg would."""
    text = base64.b64encode(packets)
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return b"\n".join(
        [b"-----BEGIN PGP MESSAGE-----", b"", *lines, b"-----END PGP MESSAGE-----", b""]
    )


async def test_another_ciphertext_to_the_same_people_is_as_good(
    house: House, secret: OutgoingMail
) -> None:
    """So that the refusals below are about what differs, and not about the ciphertext being new."""
    armor = house.ring.encrypt(b"x", house.keys.reporter_fpr, house.keys.role_fpr)
    await house.guard.allow(with_armor(secret, armor))


async def test_a_ciphertext_is_for_the_intended_people_and_nobody_else(
    house: House, secret: OutgoingMail
) -> None:
    """One more, one less, or somebody else: each is refused by the key ids of the packets."""
    reporter, role, stranger = (
        house.keys.reporter_fpr,
        house.keys.role_fpr,
        house.keys.stranger_fpr,
    )
    for recipients in (
        (reporter, role, stranger),
        (role,),
        (reporter,),
        (stranger, role),
        (stranger,),
    ):
        armor = house.ring.encrypt(CANARY, *recipients)
        assert await refused(house, with_armor(secret, armor)) == "guard-recipients"


async def test_a_hidden_recipient_is_refused(house: House, secret: OutgoingMail) -> None:
    """Key id 0 could be anybody."""
    armor = house.ring.encrypt(CANARY, house.keys.reporter_fpr, house.keys.role_fpr, hidden=True)
    assert await refused(house, with_armor(secret, armor)) == "guard-hidden-recipient"
    extra = ("--hidden-recipient", house.keys.stranger_fpr)
    armor = house.ring.encrypt(CANARY, house.keys.reporter_fpr, house.keys.role_fpr, extra=extra)
    assert await refused(house, with_armor(secret, armor)) == "guard-hidden-recipient"


async def test_a_password_beside_the_keys_is_refused(house: House, secret: OutgoingMail) -> None:
    """Whoever guesses it could read the mail."""
    ring = Ring(house.ring.home, passphrase="guess me")
    armor = ring.encrypt(
        CANARY, house.keys.reporter_fpr, house.keys.role_fpr, extra=("--symmetric",)
    )
    assert await refused(house, with_armor(secret, armor)) == "guard-password"


async def test_a_message_that_nobody_encrypted_is_refused(
    house: House, secret: OutgoingMail
) -> None:
    """Signed only, or a literal packet: it is called MESSAGE as well, and anybody can read it."""
    signed = house.ring.sign(CANARY, house.keys.role_fpr)
    literal = armored(b"\xcb" + bytes([6 + len(CANARY)]) + b"b\0\0\0\0\0" + CANARY)
    for armor in (signed, literal):
        assert await refused(house, with_armor(secret, armor)) == "guard-ciphertext"


def _session_keys_and_rest(mail: OutgoingMail) -> tuple[bytes, bytes]:
    """Return the session key packets of a mail's ciphertext, and what follows."""
    packets = dearmor(mail.content)
    at = 0
    while packets[at] == 0x84:  # an old-format packet with one octet of length
        at += 2 + packets[at + 1]
    return packets[:at], packets[at:]


async def test_ciphertext_without_integrity_protection_is_refused(
    house: House, secret: OutgoingMail
) -> None:
    """The old packet (tag 9) can be altered on the way."""
    keys, rest = _session_keys_and_rest(secret)
    assert rest[0] == 0xD2
    assert await refused(house, with_armor(secret, armored(keys + b"\xc9" + rest[1:]))) == (
        "guard-ciphertext"
    )


async def test_nothing_stands_behind_the_ciphertext_or_is_cut_from_it(
    house: House, secret: OutgoingMail
) -> None:
    """A packet in clear after the encrypted one would be read by anybody."""
    keys, rest = _session_keys_and_rest(secret)
    literal = b"\xcb" + bytes([6 + len(CANARY)]) + b"b\0\0\0\0\0" + CANARY
    for packets in (keys + rest + literal, keys + literal + rest, keys + rest + CANARY, keys):
        assert await refused(house, with_armor(secret, armored(packets))) == "guard-ciphertext"
    assert (
        await refused(house, with_armor(secret, armored(keys + rest[:-10]))) == "guard-ciphertext"
    )


async def test_base64_with_something_between_is_refused(house: House, secret: OutgoingMail) -> None:
    """Lenient decoders skip what is no base64, so words could hide there."""
    body = base64.b64encode(dearmor(secret.content))
    with pytest.raises(binascii.Error):
        binascii.a2b_base64(body + b"=xyz", strict_mode=True)
    end = b"\r\n-----END PGP MESSAGE-----"
    assert await refused(house, changed(secret, end, b"\r\nAA==" + b"AAAA" + end)) == "guard-armor"


async def test_the_intended_people_are_the_reporter_and_the_role(
    house: House, secret: OutgoingMail
) -> None:
    """A row that intends a stranger is refused, even if the ciphertext agrees with it."""
    reporter, role, stranger = (
        house.keys.reporter_fpr,
        house.keys.role_fpr,
        house.keys.stranger_fpr,
    )
    codes = {
        (stranger, role): "guard-not-bound",
        (role, reporter): "guard-not-bound",
        (reporter, role, stranger): "guard-intended",
        (reporter, stranger): "guard-intended",
        (reporter,): "guard-intended",
        (reporter, "0" * 40): "guard-intended",
    }
    for intended, code in codes.items():
        known = [fingerprint for fingerprint in intended if fingerprint != "0" * 40]
        mail = with_armor(secret, house.ring.encrypt(CANARY, *known))
        assert await refused(house, replace(mail, encrypted_to=intended)) == code


async def test_a_bound_key_of_somebody_else_is_refused(house: House) -> None:
    """Even where the store names it: the certificate must name the address in To."""
    case = await house.open_case(must_encrypt=True)
    secret, _ = await house.mails(encrypted(), case=case)
    stranger = house.keys.stranger_fpr
    await house.store.propose_key(
        KeyChange(case.id, REPORTER, stranger, CertificateSource.INSIDE, NOON)
    )
    await house.store.accept_key(case.id, stranger, by="mallory")
    mail = with_armor(secret, house.ring.encrypt(CANARY, stranger, house.keys.role_fpr))
    intended = (stranger, house.keys.role_fpr)
    assert await refused(house, replace(mail, encrypted_to=intended)) == "guard-intended"


async def test_a_proposed_key_gets_nothing_until_it_is_accepted(house: House) -> None:
    """A bug upstream that encrypts to it is stopped here: the store says who is bound."""
    case = await house.open_case(must_encrypt=True)
    secret, _ = await house.mails(encrypted(), case=case)
    with fresh_ring() as ring:
        new = ring.make_key(f"Rita Reporter <{REPORTER}>")
        house.ring.take(ring.export(new))
    mail = with_armor(secret, house.ring.encrypt(CANARY, new, house.keys.role_fpr))
    mail = replace(mail, encrypted_to=(new, house.keys.role_fpr))
    await house.store.propose_key(KeyChange(case.id, REPORTER, new, CertificateSource.INSIDE, NOON))
    assert await refused(house, mail) == "guard-not-bound"
    await house.store.accept_key(case.id, new, by="alice")
    await house.guard.allow(mail)
    assert await refused(house, secret) == "guard-not-bound"


async def test_a_clear_answer_stays_when_its_thread_became_an_encrypted_one(
    house: House, clear: OutgoingMail
) -> None:
    """It was built before, and waited for the relay: the rule of the thread counts when it goes."""
    await house.guard.allow(clear)
    await house.store.require_encryption(clear.case_id)
    assert await refused(house, clear) == "guard-clear-in-encrypted-thread"


async def test_a_key_that_was_revoked_since_is_refused(house: House, secret: OutgoingMail) -> None:
    """The mail was built in good faith; it waits for a person now."""
    owner = house.keys.reporter.copy()
    try:
        house.ring.take(owner.revoke(house.keys.reporter_fpr))
    finally:
        owner.close()
    assert await refused(house, secret) == "guard-intended"


async def test_a_notice_is_never_ciphertext(house: House, secret: OutgoingMail) -> None:
    """Its whole point is that it can be read and compared."""
    mail = replace(secret, kind=ReplyKind.NOTICE_SEND_KEY)
    assert await refused(house, mail) == "guard-kind"


# ── Notices ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_notice_altered_by_one_octet_does_not_leave(
    house: House, notice: OutgoingMail
) -> None:
    """Every third octet in turn, and some of the signature."""
    await house.guard.allow(notice)
    signature = notice.content.index(b"-----BEGIN PGP SIGNATURE-----")
    places = [*range(0, signature, 3), *range(signature, len(notice.content), 16)]
    let_through = []
    for place in places:
        octet = notice.content[place] ^ 1
        content = notice.content[:place] + bytes([octet]) + notice.content[place + 1 :]
        try:
            await house.guard.allow(replace(notice, content=content))
        except Refusal:
            continue
        let_through.append(place)
    assert let_through == []


async def forged(
    house: House,
    notice: OutgoingMail,
    text: str,
    *,
    subject: str | None = None,
    ring: Ring | None = None,
) -> OutgoingMail:
    """Return a mail that says ``text`` where the notice stands, signed for real."""
    alias = house.alias
    token = notice.reverse_path.split("+sb-")[1].split("-")[0]
    words = house.wording.write(notice.kind, alias=alias, case_id=notice.case_id, encrypted=False)
    head = compose.Letterhead(
        author_name=alias.name,
        author=alias.address,
        to=REPORTER,
        cc=alias.address,
        reply_to=f"security+sb-{token}@example.org",
        subject=subject or words.subject,
        date=house.clock.now(),
        message_id=notice.message_id,
        origin=notice.content.split(b"Origin: ")[1].split(b"\r\n")[0].decode(),
        in_reply_to="<report-1@example.net>",
        references=("<report-1@example.net>",),
        certificate=await house.openpgp.export(alias.signing_key),
        fingerprint=alias.signing_key,
    )
    payload = compose.payload(head, text, encrypted=False)
    if ring is None:
        signature = house.ring.sign_detached(
            payload, alias.signing_key, extra=("--digest-algo", "SHA512")
        )
    else:
        (signer, *_) = [one for one in ring.fingerprints() if one != alias.signing_key]
        signature = ring.sign_detached(payload, signer, extra=("--digest-algo", "SHA512"))
    return replace(notice, content=compose.signed_mail(head, payload, signature, "pgp-sha512"))


async def test_the_same_notice_made_elsewhere_is_as_good(
    house: House, notice: OutgoingMail
) -> None:
    """So that the refusals below are about what differs."""
    words = house.wording.write(
        notice.kind, alias=house.alias, case_id=notice.case_id, encrypted=False
    )
    await house.guard.allow(await forged(house, notice, words.body))


async def test_a_notice_with_words_of_the_report_does_not_leave(
    house: House, notice: OutgoingMail
) -> None:
    """Signed by the role key, well-formed, and yet not one of our texts."""
    words = house.wording.write(
        notice.kind, alias=house.alias, case_id=notice.case_id, encrypted=False
    )
    canary = CANARY.decode()
    for mail in (
        await forged(house, notice, f"{words.body}\n> {canary}\n"),
        await forged(house, notice, canary),
        await forged(house, notice, words.body, subject=f"Re: {canary}"),
    ):
        assert await refused(house, mail) == "guard-altered"


async def test_a_notice_of_another_kind_does_not_leave(house: House, notice: OutgoingMail) -> None:
    """The kind says which text it is, for the log and for the guard."""
    for kind in (ReplyKind.NOTICE_SEND_KEY, ReplyKind.NOTICE_KEY_UNUSABLE):
        assert await refused(house, replace(notice, kind=kind)) == "guard-kind"


async def test_a_notice_signed_by_another_key_does_not_leave(
    house: House, notice: OutgoingMail
) -> None:
    """The signature of the reporter, or of anyone else, is not the role's."""
    words = house.wording.write(
        notice.kind, alias=house.alias, case_id=notice.case_id, encrypted=False
    )
    mail = await forged(house, notice, words.body, ring=house.keys.reporter)
    assert await refused(house, mail) == "guard-signature"


async def test_a_notice_has_exactly_one_signature_in_its_armor(
    house: House, notice: OutgoingMail
) -> None:
    """A second packet could hold words; so could an armor header."""
    begin, end = b"-----BEGIN PGP SIGNATURE-----", b"-----END PGP SIGNATURE-----"
    start = notice.content.index(begin)
    packets = dearmor(notice.content[start:])
    literal = b"\xcb" + bytes([6 + len(CANARY)]) + b"b\0\0\0\0\0" + CANARY
    codes = []
    for inside in (packets + packets, packets + literal, literal, packets[:-1], b"\x88\x00"):
        armor = armored(inside).replace(b"MESSAGE", b"SIGNATURE").strip().replace(b"\n", b"\r\n")
        tail = notice.content[notice.content.index(end) + len(end) :]
        codes.append(
            await refused(house, replace(notice, content=notice.content[:start] + armor + tail))
        )
    assert set(codes) == {"guard-signature"}
    commented = changed(notice, begin + b"\r\n", begin + b"\r\nComment: " + CANARY + b"\r\n")
    assert await refused(house, commented) == "guard-armor"


async def test_a_clear_acknowledgement_is_held_to_its_text_as_well(
    house: House, clear: OutgoingMail
) -> None:
    """Nothing of a report is in any clear mail, of a clear thread neither."""
    await house.guard.allow(clear)
    words = house.wording.write(
        ReplyKind.ACKNOWLEDGEMENT, alias=house.alias, case_id=clear.case_id, encrypted=False
    )
    mail = await forged(house, clear, f"{words.body}\n> {CANARY.decode()}\n")
    assert await refused(house, mail) == "guard-altered"
