"""Signatures are believed for what they cover and for whom they name, and for nothing else."""

from __future__ import annotations

import base64

import pytest
from tests.support.keys import REPORTER, Keys, Ring, copied_ring
from tests.support.mails import encrypted, entity, file, mail, multipart, signed, text
from tests.support.opening import Desk, desk, told, verdicts

from secbridge.model.message import CertificateSource, Protection

INNER = text("The report.\n")


@pytest.fixture(scope="module")
def signature(keys: Keys) -> bytes:
    """Return the reporter's detached signature over the entity."""
    return keys.reporter.sign_detached(INNER, keys.reporter_fpr)


@pytest.fixture(scope="module")
def combined(keys: Keys) -> bytes:
    """Return the entity, encrypted and signed in one message."""
    return keys.reporter.encrypt(INNER, keys.role_fpr, sign=keys.reporter_fpr)


async def test_a_signed_mail_is_verified_over_its_raw_octets(
    known_desk: Desk, keys: Keys, signature: bytes
) -> None:
    """The whole mail is signed by its sender."""
    message = await known_desk.open(mail(signed(INNER, signature)))
    assert message.protection is Protection.SIGNED
    assert (told(message), verdicts(message)) == (["signed pgp-mime 0 ok"], ["good whole sender"])
    assert message.signatures[0].fingerprint == keys.reporter_fpr
    assert message.signatures[0].signer_is_known is None
    assert (message.text, message.decryption.ok) == ("The report.\n", None)


async def test_line_ends_that_the_way_changed_are_mended(
    known_desk: Desk, signature: bytes
) -> None:
    """A mail without any CR, or with LF in some lines only, verifies as it was sent."""
    raw = mail(signed(INNER, signature))
    bare = raw.replace(b"\r\n", b"\n")
    mixed = raw.replace(b"The report.\r\n", b"The report.\n")
    for changed in (bare, mixed):
        assert verdicts(await known_desk.open(changed)) == ["good whole sender"]


async def test_line_ends_within_ciphertext_are_mended(
    known_desk: Desk, keys: Keys, signature: bytes
) -> None:
    """The same rule holds for the bytes that came out of a ciphertext."""
    inner = signed(INNER, signature).replace(b"\r\n", b"\n")
    message = await known_desk.open(mail(encrypted(keys.reporter.encrypt(inner, keys.role_fpr))))
    assert verdicts(message) == ["good whole sender"]


async def test_combined_encryption_and_signature(
    known_desk: Desk, stranger_desk: Desk, combined: bytes, keys: Keys
) -> None:
    """One OpenPGP message that is both has a layer for each."""
    message = await known_desk.open(mail(encrypted(combined)))
    assert message.protection is Protection.ENCRYPTED_SIGNED
    assert told(message) == ["encrypted pgp-mime 0 ok", "signed pgp-mime 1 ok"]
    assert verdicts(message) == ["good whole sender"]
    assert [layer.fingerprints for layer in message.layers] == [
        (keys.role_fpr,), (keys.reporter_fpr,),
    ]  # fmt: skip


async def test_a_signature_around_a_ciphertext(known_desk: Desk, keys: Keys) -> None:
    """Encrypted, then signed: the signature is the outer layer and covers all."""
    ciphertext = encrypted(keys.reporter.encrypt(INNER, keys.role_fpr))
    outer = signed(ciphertext, keys.reporter.sign_detached(ciphertext, keys.reporter_fpr))
    message = await known_desk.open(mail(outer))
    assert told(message) == ["signed pgp-mime 0 ok", "encrypted pgp-mime 1 ok"]
    assert (verdicts(message), message.text) == (["good whole sender"], "The report.\n")


async def test_a_changed_text_is_bad(known_desk: Desk, signature: bytes) -> None:
    """One changed letter, or an old signature over another text, is bad and has no sender."""
    for changed in (INNER.replace(b"report", b"rebort"), text("Something else.\n")):
        message = await known_desk.open(mail(signed(changed, signature)))
        assert (told(message), verdicts(message)) == (
            ["signed pgp-mime 0 not ok"],
            ["bad whole other"],
        )


async def test_a_signature_that_is_none_is_bad(known_desk: Desk) -> None:
    """multipart/signed promises a signature; garbage in its place does not verify."""
    message = await known_desk.open(mail(signed(INNER, b"garbage")))
    assert (verdicts(message), message.protection) == (["bad whole other"], Protection.SIGNED)


async def test_a_stranger_is_unknown(stranger_desk: Desk, keys: Keys, signature: bytes) -> None:
    """Without the certificate the verdict is unknown_key, with what the signature names."""
    message = await stranger_desk.open(mail(signed(INNER, signature)))
    assert verdicts(message) == ["unknown_key whole other"]
    assert message.signatures[0].fingerprint == keys.reporter_fpr


@pytest.mark.parametrize(
    "author",
    [
        '"reporter@example.net" <mallory@evil.example>',
        "mallory@evil.example (reporter@example.net)",
        "=?utf-8?q?reporter=40example=2Enet?= <mallory@evil.example>",
        "reporter@example.net, mallory@evil.example",
        "people: reporter@example.net;",
        "mallory@evil.example\nSender: reporter@example.net\nReply-To: reporter@example.net",
        "reporter@example.net\nFrom: mallory@evil.example",
        "reporter@example.net\nFrom: reporter@example.net",
        "reporter@example.net.evil.example",
        "reportеr@example.net",  # noqa: RUF001 - a Cyrillic letter that looks like a Latin one
    ],
)
async def test_only_one_clear_from_mailbox_is_the_sender(
    known_desk: Desk, signature: bytes, author: str
) -> None:
    """Names, comments, other fields, lists, groups, second fields and look-alikes never count."""
    message = await known_desk.open(mail(signed(INNER, signature), author=author))
    assert verdicts(message) == ["good whole other"]


@pytest.mark.parametrize("author", ["Reporter <reporter@EXAMPLE.net>", "Reporter@example.net"])
async def test_case_does_not_tell_senders_apart(
    known_desk: Desk, signature: bytes, author: str
) -> None:
    """Neither the domain's case nor the local part's makes another mailbox."""
    message = await known_desk.open(mail(signed(INNER, signature), author=author))
    assert verdicts(message) == ["good whole sender"]


async def test_a_mailing_list_footer_stands_outside_the_signature(
    known_desk: Desk, signature: bytes
) -> None:
    """A signed part within a list's wrapping covers that part alone."""
    wrapped = multipart("mixed", [signed(INNER, signature), text("____\nThe list.\n")])
    message = await known_desk.open(mail(wrapped))
    assert (verdicts(message), message.text) == (
        ["good part sender"], "The report.\n\n____\nThe list.\n",
    )  # fmt: skip


async def test_a_blank_part_beside_the_signature_does_not_count(
    known_desk: Desk, signature: bytes
) -> None:
    """What nobody sees takes nothing from the signature."""
    wrapped = multipart("mixed", [text(" \n"), signed(INNER, signature)])
    assert verdicts(await known_desk.open(mail(wrapped))) == ["good whole sender"]


async def test_an_unsigned_attachment_makes_it_a_part(known_desk: Desk, signature: bytes) -> None:
    """An attachment is something that a reader sees."""
    wrapped = multipart("mixed", [signed(INNER, signature), file(b"x", "poc.bin")])
    assert verdicts(await known_desk.open(mail(wrapped))) == ["good part sender"]


async def test_a_signature_on_an_attached_message_covers_that_message(
    known_desk: Desk, signature: bytes
) -> None:
    """Even when nothing else is in the mail, an attached message speaks for itself alone."""
    attached = entity("message/rfc822", mail(signed(INNER, signature)))
    for content in (multipart("mixed", [attached]), attached):
        message = await known_desk.open(mail(content, author="mallory@evil.example"))
        assert verdicts(message) == ["good part other"]


async def test_a_ciphertext_beside_the_signature_makes_it_a_part(
    known_desk: Desk, keys: Keys, signature: bytes
) -> None:
    """Opened or not, what lies beside the signed part is not covered."""
    for to in (keys.role_fpr, keys.stranger_fpr):
        ring = keys.reporter if to == keys.role_fpr else keys.stranger
        other = encrypted(ring.encrypt(INNER, to))
        wrapped = multipart("mixed", [signed(INNER, signature), other])
        assert verdicts(await known_desk.open(mail(wrapped))) == ["good part sender"]


async def test_text_outside_the_ciphertext_makes_it_a_part(
    known_desk: Desk, combined: bytes
) -> None:
    """A signature within a ciphertext covers the whole only with nothing outside."""
    wrapped = multipart("mixed", [text("outside\n"), encrypted(combined)])
    assert verdicts(await known_desk.open(mail(wrapped))) == ["good part sender"]


async def test_clear_signed_text(known_desk: Desk, keys: Keys) -> None:
    """A clear-signed text is covered; what stands around it is not."""
    armored = keys.reporter.clearsign(b"- dashed\nwords\n", keys.reporter_fpr).decode()
    message = await known_desk.open(mail(text(armored)))
    assert (told(message), verdicts(message)) == (["signed inline 0 ok"], ["good whole sender"])
    assert message.text == "- dashed\nwords\n"
    message = await known_desk.open(mail(text(f"before\n{armored}after\n")))
    assert verdicts(message) == ["good part sender"]
    assert message.text.split() == ["before", "-", "dashed", "words", "after"]


async def test_a_changed_clear_signed_text_is_bad_and_kept(known_desk: Desk, keys: Keys) -> None:
    """The words are still told."""
    armored = keys.reporter.clearsign(b"words\n", keys.reporter_fpr).replace(b"words", b"worms")
    message = await known_desk.open(mail(text(armored.decode())))
    assert (verdicts(message), "worms" in message.text) == (["bad whole other"], True)


async def test_inline_encrypted_and_signed(known_desk: Desk, keys: Keys) -> None:
    """An inline message that is both has both layers."""
    armored = keys.reporter.encrypt(b"words\n", keys.role_fpr, sign=keys.reporter_fpr).decode()
    message = await known_desk.open(mail(text(armored)))
    assert told(message) == ["encrypted inline 0 ok", "signed inline 1 ok"]
    assert (verdicts(message), message.text) == (["good whole sender"], "words\n")


async def test_a_signed_message_in_armor_is_no_ciphertext(known_desk: Desk, keys: Keys) -> None:
    """``BEGIN PGP MESSAGE`` over signed, packed data is signed and not encrypted."""
    armored = keys.reporter.sign(b"words\n", keys.reporter_fpr).decode()
    message = await known_desk.open(mail(text(armored)))
    assert (message.protection, message.decryption.ok) == (Protection.SIGNED, None)
    assert (told(message), verdicts(message)) == (["signed inline 0 ok"], ["good whole sender"])
    assert message.text == "words\n"


async def test_the_signature_need_not_be_announced(known_desk: Desk, signature: bytes) -> None:
    """Without a protocol, and with any type, a signature is known by its octets."""
    for kind in ("application/octet-stream", "text/plain"):
        content = multipart("signed", [INNER, entity(kind, signature)])
        assert verdicts(await known_desk.open(mail(content))) == ["good whole sender"]


async def test_more_parts_than_two_are_not_covered(known_desk: Desk, signature: bytes) -> None:
    """A third part in multipart/signed is read, and stands outside the signature."""
    part = entity("application/pgp-signature", signature)
    content = multipart("signed", [INNER, part, text("smuggled\n")])
    message = await known_desk.open(mail(content))
    assert (verdicts(message), message.text) == (["good part sender"], "The report.\n\nsmuggled\n")


async def test_keys_past_their_time(keys: Keys, role_ring: Ring) -> None:
    """Expired and revoked keys have verdicts of their own."""
    with copied_ring(keys.reporter) as ring:
        old = ring.make_key(
            "Old <reporter@example.net>",
            expire="20200301T000000",
            at="20200101T000000",
            encrypts=False,
        )
        by_old = ring.sign_detached(INNER, old, at="20200201T000000")
        by_reporter = ring.sign_detached(INNER, keys.reporter_fpr)
        role_ring.take(ring.export(old))
        role_ring.take(ring.revoke(keys.reporter_fpr))
    async with desk(role_ring.home) as made:
        for signature, verdict in ((by_old, "expired_key"), (by_reporter, "revoked_key")):
            message = await made.open(mail(signed(INNER, signature)))
            assert message.signatures[0].verdict == verdict
            assert not message.layers[0].ok


# ── Certificates that came with the mail ─────────────────────────────────────────────────────────


def keydata(cert: bytes) -> str:
    """Return an Autocrypt field with this certificate."""
    return f"Autocrypt: addr={REPORTER}; keydata={base64.b64encode(cert).decode()}\n"


async def test_a_certificate_inside_settles_who_signed(stranger_desk: Desk, keys: Keys) -> None:
    """The first mail of a reporter brings its key within: the signature is judged again."""
    inner = multipart(
        "mixed", [INNER, file(keys.reporter_cert, "key.asc", media_type="application/pgp-keys")]
    )
    armored = keys.reporter.encrypt(inner, keys.role_fpr, sign=keys.reporter_fpr)
    message = await stranger_desk.open(mail(encrypted(armored)))
    assert verdicts(message) == ["good whole sender"]
    (found,) = message.certificates
    assert (found.source, found.content) == (CertificateSource.INSIDE, keys.reporter_cert)


async def test_certificates_outside_and_in_the_header_settle_it_too(
    keys: Keys, combined: bytes
) -> None:
    """An attached key, a key block in a text and an Autocrypt header are all found by content."""
    armored = keys.reporter.export(keys.reporter_fpr, armor=True)
    ways = {
        "attached-outside": mail(multipart("mixed", [encrypted(combined), file(armored, "x.bin")])),
        "autocrypt": mail(encrypted(combined), extra=keydata(keys.reporter_cert)),
    }
    for source, raw in ways.items():
        with copied_ring(keys.role) as ring:
            async with desk(ring.home) as made:
                message = await made.open(raw)
        assert message.signatures[0].verdict == "good"
        assert [found.source for found in message.certificates] == [source]


async def test_somebody_elses_certificate_settles_nothing(
    stranger_desk: Desk, keys: Keys, combined: bytes
) -> None:
    """A key that does not name the author is listed, and not believed."""
    stranger = keys.stranger.export(keys.stranger_fpr, armor=True).decode()
    content = multipart("mixed", [encrypted(combined), text(f"my key\n{stranger}")])
    message = await stranger_desk.open(mail(content))
    assert verdicts(message) == ["unknown_key part other"]
    assert len(message.certificates) == 1


async def test_no_author_no_certificate_is_taken(
    stranger_desk: Desk, keys: Keys, combined: bytes
) -> None:
    """With two authors nobody's key is imported."""
    author = f"{REPORTER}, mallory@evil.example"
    raw = mail(encrypted(combined), extra=keydata(keys.reporter_cert), author=author)
    message = await stranger_desk.open(raw)
    assert verdicts(message) == ["unknown_key whole other"]


async def test_the_number_of_certificates_is_bounded(stranger_desk: Desk, keys: Keys) -> None:
    """Ten certificates are kept, best first; of a larger one just enough to say that it is."""
    cert = keys.reporter_cert
    certs = [file(cert + bytes([0xB4, 1, number]), "k") for number in range(12)]
    large = file(cert + b"\0" * (257 << 10), "large")
    message = await stranger_desk.open(mail(multipart("mixed", [large, *certs])))
    assert len(message.certificates) == 10
    assert max(len(found.content) for found in message.certificates) == (256 << 10) + 1
