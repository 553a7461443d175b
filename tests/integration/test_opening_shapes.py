"""Encrypted mail of every shape is opened, and what stood outside is said to have stood there."""

from __future__ import annotations

import base64

import pytest
from tests.support.keys import Keys
from tests.support.mails import (
    CONTROL,
    crlf,
    encrypted,
    entity,
    file,
    mail,
    multipart,
    signed,
    text,
)
from tests.support.opening import Desk, told, verdicts

from secbridge.model.message import OpenFailure, Protection
from secbridge.model.part import OpeningLimits

WORDS = "The proof of concept.\n"
INNER = text(WORDS)


@pytest.fixture(scope="module")
def armored(keys: Keys) -> bytes:
    """Return one ciphertext to the role key that holds a MIME entity."""
    return keys.reporter.encrypt(INNER, keys.role_fpr)


@pytest.fixture(scope="module")
def elsewhere(keys: Keys) -> bytes:
    """Return a ciphertext that the role key cannot open."""
    return keys.stranger.encrypt(INNER, keys.stranger_fpr)


async def test_pgp_mime_is_opened(stranger_desk: Desk, keys: Keys, armored: bytes) -> None:
    """The text comes from inside, and there is nothing outside."""
    message = await stranger_desk.open(mail(encrypted(armored)))
    assert message.protection is Protection.ENCRYPTED
    assert (message.decryption.ok, message.decryption.reason) == (True, None)
    assert told(message) == ["encrypted pgp-mime 0 ok"]
    assert message.layers[0].fingerprints == (keys.role_fpr,)
    assert (message.text, message.outside_encryption, message.attachments) == (
        WORDS, "", (),
    )  # fmt: skip


async def test_plain_mail_is_read(stranger_desk: Desk) -> None:
    """Without ciphertext nothing is inside and nothing outside."""
    message = await stranger_desk.open(
        mail(text("Hello.\n"), subject="=?utf-8?q?Gr=C3=BC=C3=9Fe?=")
    )
    assert (message.protection, message.decryption.ok) == (Protection.NONE, None)
    assert (message.text, message.outside_encryption) == ("Hello.\n", "")
    assert (message.subject, message.outer_subject) == ("Grüße", "Grüße")
    assert (message.authors, message.error) == (("reporter@example.net",), None)


CIPHER = "application/octet-stream"
LIST_FOOTER = text("_______\nThe list.\n")


def mangled(armored: bytes) -> dict[str, tuple[bytes, str]]:
    """Return the shapes that gateways and mail programs make of multipart/encrypted."""
    control = entity("application/pgp-encrypted; name=attachment", "Version: 1\n")
    cipher = entity(f'{CIPHER}; name="encrypted.asc"', armored)
    odd_name = entity(f'{CIPHER}; name="attachment.pgp"', armored)
    real = text("A real first part.\n")
    exchange = "X-MS-Exchange-Organization-SCL: 1\n"
    encoded = entity(
        CIPHER, base64.encodebytes(armored), extra="Content-Transfer-Encoding: base64\n"
    )
    return {
        "exchange": (
            crlf(exchange) + multipart("mixed", [text("\n"), control, cipher, LIST_FOOTER]),
            "_______\nThe list.\n",
        ),
        "exchange without its headers": (
            multipart("mixed", [text(""), control, cipher]), "",
        ),
        "proton bridge": (
            multipart("mixed", [text("Empty Message\n"), control, odd_name]), "Empty Message\n",
        ),
        "wrapped by a gateway": (
            multipart("mixed", [encrypted(armored), LIST_FOOTER]), "_______\nThe list.\n",
        ),
        "beside a real first part": (
            multipart("mixed", [real, control, cipher]), "A real first part.\n",
        ),
        "apple": (multipart("mixed", [text(" \n"), control, encoded]), ""),
        "without a protocol": (
            multipart("encrypted", [CONTROL, cipher]), "",
        ),
        "in the other order": (
            multipart("encrypted", [cipher, CONTROL]), "",
        ),
        "ciphertext called text": (
            multipart("encrypted", [CONTROL, entity("text/plain", armored)]), "",
        ),
        "with a blank html part": (
            multipart("mixed", [entity("text/html", "<p>&nbsp;</p>\n"), control, cipher]), "",
        ),
        "with a picture": (
            multipart("mixed", [encrypted(armored), file(b"\x89PNG", "x", media_type="image/png")]),
            "[image/png]",
        ),
        "with words in its control part": (
            multipart("encrypted", [entity("application/pgp-encrypted", "Pay here\n"), cipher]),
            "Pay here\n",
        ),
        "within half a picture": (
            multipart("mixed", [
                entity("text/html", '<img src="https://evil.example/'), encrypted(armored),
                entity("text/html", '">'),
            ]),
            '[text/html]\n\n">\n',
        ),
    }  # fmt: skip


async def test_every_mangled_shape_is_opened(stranger_desk: Desk, armored: bytes) -> None:
    """Shapes are known by what the parts hold, and the rest is kept as outside the encryption."""
    for name, (content, outside) in mangled(armored).items():
        message = await stranger_desk.open(mail(content))
        found = (name, message.text, told(message), message.outside_encryption)
        assert (name, WORDS, ["encrypted pgp-mime 0 ok"], outside) == found


async def test_binary_ciphertext_is_known_by_its_packets(stranger_desk: Desk, keys: Keys) -> None:
    """The second part need not be armored."""
    binary = keys.reporter.encrypt(INNER, keys.role_fpr, armor=False)
    content = multipart(
        "mixed", [entity("application/pgp-encrypted", "Version: 1"), file(binary, "x")]
    )
    message = await stranger_desk.open(mail(content))
    assert (message.text, told(message)) == (WORDS, ["encrypted pgp-mime 0 ok"])


async def test_inline_blocks_are_opened_where_they_stand(
    stranger_desk: Desk, keys: Keys, elsewhere: bytes
) -> None:
    """Several blocks in one text each get their entry; words between them stood outside."""
    one = keys.reporter.encrypt("eins ü\n".encode(), keys.role_fpr)
    two = keys.reporter.encrypt(b"zwei\n", keys.role_fpr)
    body = b"before\n" + one + b"between\n" + elsewhere + two + b"after\n"
    message = await stranger_desk.open(
        mail(text("").replace(b"\r\n\r\n", b"\r\n\r\n" + crlf(body)))
    )
    assert told(message) == [
        "encrypted inline 0 ok",
        "encrypted inline 0 no-secret-key",
        "encrypted inline 0 ok",
    ]
    assert (message.decryption.ok, message.decryption.reason) == (False, OpenFailure.NO_SECRET_KEY)
    assert message.protection is Protection.ENCRYPTED
    assert message.text == "eins ü\n\nzwei\n"
    assert message.outside_encryption.split() == ["before", "between", "after"]


async def test_inline_in_html_is_opened(stranger_desk: Desk, keys: Keys) -> None:
    """Armor in an HTML part is found in its text."""
    armored = keys.reporter.encrypt(b"inside\n", keys.role_fpr).decode().replace("\n", "<br>\n")
    message = await stranger_desk.open(mail(entity("text/html", f"<p>outside</p><p>{armored}</p>")))
    assert (message.text, message.outside_encryption.strip()) == ("inside\n", "outside")
    assert told(message) == ["encrypted inline 0 ok"]


async def test_the_same_ciphertext_in_two_alternatives_is_one(
    stranger_desk: Desk, keys: Keys
) -> None:
    """The HTML copy of an inline message is no second message."""
    armored = keys.reporter.encrypt(b"inside\n", keys.role_fpr).decode()
    marked = armored.replace("\n", "<br>\n")
    content = multipart("alternative", [text(armored), entity("text/html", marked)])
    message = await stranger_desk.open(mail(content))
    assert (message.text, message.outside_encryption) == ("inside\n", "")
    assert told(message) == ["encrypted inline 0 ok"]


async def test_an_html_alternative_of_clear_words_is_outside(
    stranger_desk: Desk, keys: Keys
) -> None:
    """What a mail says in clear beside its ciphertext is told, HTML too."""
    armored = keys.reporter.encrypt(b"inside\n", keys.role_fpr).decode()
    content = multipart(
        "alternative", [text(armored), entity("text/html", "<p>inside, in clear</p>")]
    )
    message = await stranger_desk.open(mail(content))
    assert (message.text, message.outside_encryption) == ("inside\n", "inside, in clear\n")


async def test_an_encrypted_attachment_is_known_by_content(stranger_desk: Desk, keys: Keys) -> None:
    """Whatever it is called, it is opened; what it holds is an attachment from inside."""
    packed = keys.reporter.encrypt(b"%PDF-1.7 \x00\x01", keys.role_fpr, armor=False)
    content = multipart("mixed", [text("See the file.\n"), file(packed, "report.pdf.gpg")])
    message = await stranger_desk.open(mail(content))
    assert told(message) == ["encrypted attachment 0 ok"]
    (attachment,) = message.attachments
    assert (attachment.name, attachment.content) == ("report.pdf", b"%PDF-1.7 \x00\x01")
    assert (attachment.encrypted, attachment.outside_encryption) == (True, False)
    assert (message.text, message.outside_encryption) == ("", "See the file.\n")


async def test_an_encrypted_attachment_that_is_an_entity_is_read(
    stranger_desk: Desk, armored: bytes
) -> None:
    """A whole MIME entity in an encrypted file is read as one."""
    content = multipart("mixed", [text(""), file(armored, "mail.asc")])
    message = await stranger_desk.open(mail(content))
    assert (message.text, told(message)) == (WORDS, ["encrypted attachment 0 ok"])


async def test_an_attachment_that_stays_shut_is_kept(stranger_desk: Desk, elsewhere: bytes) -> None:
    """Nothing is lost: the shut file is an attachment, and nothing else stood beside it."""
    message = await stranger_desk.open(mail(multipart("mixed", [file(elsewhere, "a.asc")])))
    assert (message.protection, message.decryption.reason) == (
        Protection.UNDECRYPTABLE, OpenFailure.NO_SECRET_KEY,
    )  # fmt: skip
    assert [one.content for one in message.attachments] == [elsewhere]
    assert (message.text, message.outside_encryption) == ("", "")


async def test_double_encryption_is_opened(stranger_desk: Desk, keys: Keys, armored: bytes) -> None:
    """A provider that encrypts what is encrypted already adds a layer, in MIME or bare."""
    for inner in (encrypted(armored), armored):
        outer = keys.reporter.encrypt(inner, keys.role_fpr)
        message = await stranger_desk.open(mail(encrypted(outer)))
        assert told(message) == ["encrypted pgp-mime 0 ok", "encrypted pgp-mime 1 ok"]
        assert (message.text, message.outside_encryption) == (WORDS, "")


async def test_layers_stop_at_the_bound(stranger_desk: Desk, keys: Keys, armored: bytes) -> None:
    """A ciphertext beyond the depth stays shut, and it is said."""
    message = await stranger_desk.open(
        mail(encrypted(keys.reporter.encrypt(armored, keys.role_fpr))), OpeningLimits(max_layers=1)
    )
    assert told(message) == ["encrypted pgp-mime 0 ok", "encrypted pgp-mime 1 too-complex"]
    assert (message.error, message.decryption.reason) == ("too-complex", OpenFailure.TOO_COMPLEX)


async def test_a_forwarded_encrypted_mail_is_opened(stranger_desk: Desk, armored: bytes) -> None:
    """A ciphertext within an attached message is opened; the message stays a file, too."""
    inner = entity("message/rfc822", mail(encrypted(armored), subject="inner"))
    message = await stranger_desk.open(mail(multipart("mixed", [text("Look:\n"), inner])))
    assert (message.text, told(message)) == (WORDS, ["encrypted pgp-mime 0 ok"])
    assert message.outside_encryption.startswith("Look:\n")
    assert "Subject: inner" in message.outside_encryption
    assert [one.media_type for one in message.attachments] == ["message/rfc822"]


async def test_a_mail_that_only_forwards_is_read(stranger_desk: Desk) -> None:
    """A forwarded report without a word of its own says what the report says."""
    inner = entity("message/rfc822", mail(text("A weakness.\n"), subject="Found"))
    message = await stranger_desk.open(mail(multipart("mixed", [text("\n"), inner])))
    assert "Subject: Found" in message.text
    assert "A weakness." in message.text
    assert [one.name for one in message.attachments] == ["message.eml"]


async def test_a_lost_ciphertext_is_damage(stranger_desk: Desk) -> None:
    """multipart/encrypted without its second part was encrypted, and cannot be opened."""
    for content in (
        multipart("encrypted", [CONTROL]),
        multipart("encrypted", [CONTROL, entity(CIPHER, "garbage")]),
        multipart("mixed", [text(""), CONTROL]),
    ):
        message = await stranger_desk.open(mail(content))
        assert told(message) == ["encrypted pgp-mime 0 corrupt"]
        assert message.protection is Protection.UNDECRYPTABLE


async def test_a_truncated_ciphertext_is_never_used(stranger_desk: Desk, keys: Keys) -> None:
    """Half a ciphertext gives no text at all."""
    armored = keys.reporter.encrypt(text("secret\n" * 400), keys.role_fpr)
    lines = armored.split(b"\n")
    cut = b"\n".join(lines[: len(lines) // 2] + lines[-2:])
    message = await stranger_desk.open(mail(encrypted(cut)))
    assert (message.text, message.decryption.reason) == ("", OpenFailure.CORRUPT)


async def test_a_bomb_is_stopped(stranger_desk: Desk, keys: Keys) -> None:
    """A plaintext far larger than its ciphertext is too large, and gives no text."""
    bomb = keys.reporter.encrypt(b"\0" * (32 << 20), keys.role_fpr, compress=True, armor=False)
    message = await stranger_desk.open(mail(encrypted(base64.encodebytes(bomb))))
    content = multipart("encrypted", [CONTROL, file(bomb, "x")])
    message = await stranger_desk.open(mail(content))
    assert (message.text, message.decryption.reason) == ("", OpenFailure.TOO_LARGE)


async def test_all_plaintexts_of_a_mail_share_one_bound(stranger_desk: Desk, keys: Keys) -> None:
    """Many ciphertexts cannot open to more than one may."""
    one = keys.reporter.encrypt(b"x" * 600_000, keys.role_fpr, armor=False, compress=True)
    parts = [file(one, f"{number}.gpg") for number in range(3)]
    message = await stranger_desk.open(
        mail(multipart("mixed", parts)), OpeningLimits(max_plaintext=1_000_000)
    )
    assert told(message) == [
        "encrypted attachment 0 ok",
        "encrypted attachment 0 too-large",
        "encrypted attachment 0 too-large",
    ]


async def test_the_number_of_ciphertexts_is_bounded(stranger_desk: Desk, armored: bytes) -> None:
    """What comes after the last that we try is named as too complex, one by one."""
    parts = [file(armored, "a.asc") for _ in range(4)]
    message = await stranger_desk.open(
        mail(multipart("mixed", parts)), OpeningLimits(max_ciphertexts=2)
    )
    assert told(message)[2:] == ["encrypted attachment 0 too-complex"] * 2
    assert message.error == "too-complex"


async def test_smime_is_recognised_and_not_opened(stranger_desk: Desk) -> None:
    """S/MIME has its own reason, by type and by content; a detached signature hides nothing."""
    der = b"\x30\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03\xa0\x80" + b"\0" * 40
    for media_type in ("application/pkcs7-mime; smime-type=enveloped-data", CIPHER):
        message = await stranger_desk.open(mail(file(der, "smime.p7m", media_type=media_type)))
        assert (message.protection, message.decryption.reason) == (
            Protection.UNDECRYPTABLE, OpenFailure.SMIME,
        )  # fmt: skip
    signature = file(
        der.replace(b"\x07\x03", b"\x07\x02"), "s", media_type="application/pkcs7-signature"
    )
    message = await stranger_desk.open(mail(multipart("signed", [text("Hi.\n"), signature])))
    assert (message.protection, message.text) == (Protection.NONE, "Hi.\n")
    assert message.notes == ("smime-signature",)


async def test_a_password_is_no_key(stranger_desk: Desk, keys: Keys) -> None:
    """A message that only a password opens is told apart."""
    armored = keys.stranger.encrypt_with_password(INNER, "hunter2")
    message = await stranger_desk.open(mail(encrypted(armored)))
    assert message.decryption.reason is OpenFailure.SYMMETRIC_ONLY


async def test_a_hidden_recipient_is_opened(stranger_desk: Desk, keys: Keys) -> None:
    """A ciphertext that names nobody is tried with the role key."""
    armored = keys.reporter.encrypt(INNER, keys.role_fpr, hidden=True)
    message = await stranger_desk.open(mail(encrypted(armored)))
    assert message.text == WORDS


async def test_a_file_that_hides_the_whole_mail_is_read(
    stranger_desk: Desk, armored: bytes
) -> None:
    """Outlook's plug-in sends the encrypted mail as an attachment with a structure of its own."""
    hidden = file(b"MIME-Version: 1.0\r\n" + encrypted(armored), "GpgOL_MIME_structure.mime")
    message = await stranger_desk.open(mail(multipart("mixed", [text("\n"), hidden])))
    assert (message.text, told(message)) == (WORDS, ["encrypted pgp-mime 0 ok"])


async def test_a_signed_mail_within_an_encrypted_one_is_read(known_desk: Desk, keys: Keys) -> None:
    """RFC 1847 encapsulation: the signature within covers all there is."""
    inner = signed(INNER, keys.reporter.sign_detached(INNER, keys.reporter_fpr))
    message = await known_desk.open(mail(encrypted(keys.reporter.encrypt(inner, keys.role_fpr))))
    assert told(message) == ["encrypted pgp-mime 0 ok", "signed pgp-mime 1 ok"]
    assert verdicts(message) == ["good whole sender"]
    assert message.protection is Protection.ENCRYPTED_SIGNED
