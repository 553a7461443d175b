"""How does a mail of ours become bytes that survive the way?  Read back by others' parsers."""

from __future__ import annotations

import base64
import email
import email.policy
from dataclasses import replace
from datetime import UTC, datetime
from email.message import EmailMessage

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.support.keys import Keys

from secbridge.mail import compose
from secbridge.mail.compose import Letterhead, encrypted_mail, payload, signed_mail, thread_of
from secbridge.model.reply import Submitted

TEXT = "Hello,\n\nFrom here on, lines end with blanks  \nand a dot:\n.\nGrüße, 漢字\n"
ARMOR = b"-----BEGIN PGP MESSAGE-----\n\n" + b"QUJD" * 16 + b"\n-----END PGP MESSAGE-----\n"


def a_head(**given: object) -> Letterhead:
    """Return the header of an answer."""
    plain = Letterhead(
        author_name="Example Security",
        author="security@example.org",
        to="reporter@example.net",
        cc="security@example.org",
        reply_to="security+sb-abcdefghijklmnopqrst@example.org",
        subject="We have received your message (SB-2026-0001)",
        date=datetime(2026, 11, 20, 12, 0, tzinfo=UTC),
        message_id="<sb.abcdefghijklmnopqrstuvwxyz@example.org>",
        origin="v1=abcdefghijklmnopqrstuvwxyz",
        in_reply_to="<report-1@example.net>",
        references=("<first@example.net>", "<report-1@example.net>"),
        certificate=b"\x98certificate" * 40,
        fingerprint="A" * 40,
    )
    return replace(plain, **given)  # type: ignore[arg-type]  # names are checked by the dataclass


def parsed(content: bytes) -> EmailMessage:
    """Return the mail as Python's own parser sees it, which finds no defect."""
    mail = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(mail, EmailMessage)
    assert [defect for part in mail.walk() for defect in part.defects] == []
    return mail


def assert_survives(content: bytes) -> None:
    """Nothing in it would be changed by a relay or a mailbox."""
    assert content.isascii()
    assert content.endswith(b"\r\n")
    assert content.count(b"\r\n") == content.count(b"\n") == content.count(b"\r")
    for line in content.split(b"\r\n"):
        assert len(line) <= 998
        assert line == line.rstrip(b" \t")
        assert not line.startswith(b"From ")


def test_an_encrypted_mail_shows_nothing_but_the_envelope() -> None:
    """Outside stand addresses, ids and a subject of three dots; two parts and no more."""
    content = encrypted_mail(a_head(), ARMOR)
    mail = parsed(content)
    assert_survives(content)
    assert mail["Subject"] == "[...]"
    assert mail.get_content_type() == "multipart/encrypted"
    assert mail.get_param("protocol") == "application/pgp-encrypted"
    kinds = [part.get_content_type() for part in mail.iter_parts()]
    assert kinds == ["application/pgp-encrypted", "application/octet-stream"]
    assert b"SB-2026-0001" not in content


def test_the_header_says_who_writes_to_whom_and_in_which_thread() -> None:
    """From and Cc are the alias, To is one address, answers go to the case's own address."""
    mail = parsed(encrypted_mail(a_head(), ARMOR))
    expected = {
        "From": "Example Security <security@example.org>",
        "To": "reporter@example.net",
        "Cc": "security@example.org",
        "Reply-To": "security+sb-abcdefghijklmnopqrst@example.org",
        "Date": "Fri, 20 Nov 2026 12:00:00 +0000",
        "Message-ID": "<sb.abcdefghijklmnopqrstuvwxyz@example.org>",
        "In-Reply-To": "<report-1@example.net>",
        "References": "<first@example.net> <report-1@example.net>",
        "Auto-Submitted": "auto-replied",
        "X-Auto-Response-Suppress": "All",
        "X-Secbridge-Origin": "v1=abcdefghijklmnopqrstuvwxyz",
        "MIME-Version": "1.0",
    }
    assert expected == {name: str(mail[name]) for name in expected}


def test_the_autocrypt_header_holds_our_certificate() -> None:
    """Autocrypt 1.1: addr, prefer-encrypt, and keydata as the last attribute."""
    head = a_head()
    value = str(parsed(encrypted_mail(head, ARMOR))["Autocrypt"])
    attributes = dict(part.strip().split("=", 1) for part in value.split(";"))
    assert attributes["addr"] == "security@example.org"
    assert attributes["prefer-encrypt"] == "mutual"
    assert head.certificate == base64.b64decode(attributes["keydata"].replace(" ", ""))
    assert list(attributes) == ["addr", "prefer-encrypt", "keydata"]


def test_a_certificate_too_large_for_a_header_is_only_attached() -> None:
    """Autocrypt asks for at most 10 KiB."""
    head = a_head(certificate=b"x" * 9000)
    assert b"Autocrypt" not in encrypted_mail(head, ARMOR)
    assert b"application/pgp-keys" in payload(head, TEXT, encrypted=True)


def test_a_mail_that_a_person_sent_is_not_called_automatic() -> None:
    """Auto-Submitted and the request for silence stand on automatic mail only."""
    content = encrypted_mail(a_head(submitted=Submitted.BY_PERSON), ARMOR)
    assert b"Auto-Submitted" not in content
    assert b"X-Auto-Response-Suppress" not in content


def test_the_real_header_stands_inside_the_encryption() -> None:
    """RFC 9788: hp="cipher", every field repeated inside, and HP-Outer says what stands outside."""
    inside = payload(a_head(), TEXT, encrypted=True)
    mail = parsed(inside)
    assert_survives(inside)
    assert mail.get_param("hp") == "cipher"
    assert mail.get_param("protected-headers") == "v1"
    assert mail["Subject"] == "We have received your message (SB-2026-0001)"
    outer = dict(str(value).split(": ", 1) for value in mail.get_all("HP-Outer", []))
    assert outer.pop("Subject") == "[...]"
    raw = email.message_from_bytes(inside, policy=email.policy.compat32)
    assert {name: " ".join(raw[name].split()) for name in outer} == outer
    assert {"From", "To", "Cc", "Reply-To", "Date", "Message-ID", "Auto-Submitted"} <= set(outer)


def test_a_signed_mail_protects_its_header_without_hiding_it() -> None:
    """RFC 9788: hp="clear", no HP-Outer, the same subject outside."""
    head = a_head()
    inside = parsed(payload(head, TEXT, encrypted=False))
    assert inside.get_param("hp") == "clear"
    assert None is inside["HP-Outer"]
    content = signed_mail(
        head,
        payload(head, TEXT, encrypted=False),
        ARMOR.replace(b"MESSAGE", b"SIGNATURE"),
        "pgp-sha512",
    )
    assert_survives(content)
    mail = parsed(content)
    assert str(inside["Subject"]) == str(mail["Subject"])
    assert mail.get_param("micalg") == "pgp-sha512"
    kinds = [part.get_content_type() for part in mail.iter_parts()]
    assert kinds == ["multipart/mixed", "application/pgp-signature"]


def test_the_text_comes_out_as_it_went_in() -> None:
    """Umlauts, trailing blanks, a lone dot and "From " at the beginning of a line."""
    mail = parsed(payload(a_head(), TEXT, encrypted=True))
    text = next(mail.iter_parts())
    assert isinstance(text, EmailMessage)
    assert TEXT.rstrip("\n") == text.get_content().replace("\r\n", "\n").rstrip("\n")


def test_our_certificate_is_attached_as_armor_that_gpg_reads(keys: Keys) -> None:
    """RFC 3156 section 7, with a checksum for old readers."""
    head = a_head(certificate=keys.role_cert, fingerprint=keys.role_fpr)
    part = list(parsed(payload(head, TEXT, encrypted=True)).iter_parts())[1]
    assert part.get_content_type() == "application/pgp-keys"
    assert f"OpenPGP_0x{keys.role_fpr[-16:]}.asc" == part.get_filename()
    armor = part.get_payload(decode=True)
    assert isinstance(armor, bytes)
    listed = keys.stranger.gpg("--with-colons", "--show-keys", stdin=armor)
    assert keys.role_fpr.encode() in listed
    assert keys.role_cert == keys.stranger.gpg("--dearmor", stdin=armor)


def test_an_encrypted_mail_is_opened_and_verified_by_plain_gpg(keys: Keys) -> None:
    """The reporter's own gpg decrypts what came through a relay that changed the line ends."""
    head = a_head()
    inside = payload(head, TEXT, encrypted=True)
    armor = keys.reporter.encrypt(inside, keys.reporter_fpr, sign=keys.reporter_fpr)
    carried = encrypted_mail(head, armor).replace(b"\r\n", b"\n")
    part = list(parsed(carried).iter_parts())[1]
    ciphertext = part.get_payload(decode=True)
    assert isinstance(ciphertext, bytes)
    assert inside == keys.reporter.decrypt(ciphertext)


def test_a_signature_holds_after_a_relay_changed_the_line_ends(keys: Keys) -> None:
    """RFC 3156 section 5: converted back to CRLF, the signed part verifies."""
    head = a_head()
    signed = payload(head, TEXT, encrypted=False)
    signature = keys.role.sign_detached(signed, keys.role_fpr)
    stored = signed_mail(head, signed, signature, "pgp-sha512").replace(b"\r\n", b"\n")
    boundary = parsed(stored).get_boundary()
    assert boundary is not None
    _, first, second, _ = stored.split(b"--" + boundary.encode())
    raw = first[1:-1].replace(b"\n", b"\r\n")
    assert b"GOODSIG" in keys.role.verify_detached(second[second.index(b"-----BEGIN") :], raw)


def test_the_same_mail_is_always_the_same_bytes() -> None:
    """So the guard can build it again and compare."""
    assert encrypted_mail(a_head(), ARMOR) == encrypted_mail(a_head(), ARMOR)
    assert payload(a_head(), TEXT, encrypted=False) == payload(a_head(), TEXT, encrypted=False)


@pytest.mark.parametrize(
    "message_id",
    [
        "<a@b>\r\nBcc: x@y.example",
        "<a b@c>",
        "no brackets",
        "<<a@b>>",
        "<a@b><c@d>",
        "<" + "a" * 400 + "@b>",
        "<ä@b>",
        "<a@b>\n",
        "<>",
        '<"quoted words"@b>',
    ],
)
def test_a_hostile_message_id_of_a_reporter_is_dropped(message_id: str) -> None:
    """It is a stranger's text and would stand in our header."""
    head = a_head(in_reply_to=message_id, references=thread_of(message_id, ("<ok@b>", message_id)))
    mail = parsed(encrypted_mail(head, ARMOR))
    assert None is mail["In-Reply-To"]
    assert mail["References"] == "<ok@b>"
    assert None is mail["Bcc"]


def test_references_are_bounded_and_keep_beginning_and_end() -> None:
    """A thread of a thousand mails does not make a header of a thousand ids."""
    ids = tuple(f"<{number}@example.net>" for number in range(1000))
    kept = thread_of("<last@example.net>", ids)
    assert len(kept) == 10
    assert kept[:2] == ("<0@example.net>", "<992@example.net>")
    assert kept[-1] == "<last@example.net>"


def test_references_name_each_mail_once() -> None:
    """In-Reply-To is often the last of the References as well."""
    assert thread_of("<a@b>", ("<a@b>", "<c@d>")) == ("<a@b>", "<c@d>")


@pytest.mark.parametrize(
    "given",
    [
        {"to": "a@b.example\r\nBcc: c@d.example"},
        {"to": "a@b.example, c@d.example"},
        {"to": ""},
        {"cc": "x <a@b.example>"},
        {"author": "a@b.example\n"},
        {"reply_to": "a b@c.example"},
        {"message_id": "<a@b>\r\nX: y"},
        {"message_id": ""},
    ],
)
def test_a_header_that_would_not_be_ours_is_not_built(given: dict[str, str]) -> None:
    """Nothing is repaired here: a value that cannot stand in a header is a bug."""
    with pytest.raises(ValueError, match="cannot stand in a header"):
        encrypted_mail(a_head(**given), ARMOR)


@pytest.mark.parametrize(
    "name",
    ['Team "Red" \\ Blue', "Sicherheit Köln", "a\r\nBcc: x@y.example", "=?utf-8?q?x?=", "x" * 300],
)
def test_any_name_of_a_team_stays_within_its_field(name: str) -> None:
    """Quotes, umlauts, line ends, encoded words, too much of it."""
    mail = parsed(encrypted_mail(a_head(author_name=name), ARMOR))
    (author,) = mail["From"].addresses
    assert author.addr_spec == "security@example.org"
    assert " ".join(name.split())[:80] == author.display_name
    assert None is mail["Bcc"]


@pytest.mark.parametrize(
    "subject", ["Grüße " * 20, "x" * 300, "a\r\nBcc: x@y.example", "long " * 60]
)
def test_any_subject_stays_within_its_field(subject: str) -> None:
    """An operator's template may say what it likes."""
    head = a_head(subject=subject)
    inside = payload(head, TEXT, encrypted=True)
    assert_survives(inside)
    assert " ".join(subject.split()) == " ".join(str(parsed(inside)["Subject"]).split())
    assert None is parsed(inside)["Bcc"]


def test_what_is_no_armor_is_not_wrapped() -> None:
    """An empty or foreign answer of gpg must not become a mail."""
    with pytest.raises(ValueError, match="not the armor"):
        encrypted_mail(a_head(), b"")
    with pytest.raises(ValueError, match="not the armor"):
        encrypted_mail(a_head(), b"secret text" + ARMOR)


@example("\r\r")
@given(st.text(max_size=400))
def test_any_text_survives_the_way(text: str) -> None:
    """Any text becomes clean lines, and the same text again, line ends and final ones apart."""
    head = a_head()
    inside = payload(head, text, encrypted=False)
    assert_survives(inside)
    part = next(parsed(inside).iter_parts())
    came_out = part.get_payload(decode=True)
    assert isinstance(came_out, bytes)
    expected = "\n".join(text.splitlines()).encode("utf-8", "replace")
    assert expected.rstrip(b"\n").split(b"\n") == came_out.rstrip(b"\r\n").split(b"\r\n")


def test_no_line_looks_like_the_one_that_a_mailbox_changes() -> None:
    """A ``>`` is put before "From ", or taken from ">From ", so neither stands there."""
    coded = compose.quoted_printable("From a\n>From b\n>>From c\nFrome d\n")
    assert coded == "=46rom a\r\n>=46rom b\r\n>>=46rom c\r\nFrome d"


def test_our_names_for_the_boundary_cannot_stand_in_a_body() -> None:
    """Quoted-printable never has "=_", and armor has no underscore."""
    text = "--=_sb_0123456789abcdef01234567--\n"
    assert "=_sb_" not in compose.quoted_printable(text)


def test_a_mail_to_one_member_is_generated_and_has_no_copy() -> None:
    """RFC 3834: auto-generated answers nothing, and asks for no answer."""
    head = a_head(submitted=Submitted.GENERATED, cc="", in_reply_to=None, references=())
    mail = parsed(encrypted_mail(head, ARMOR))
    fields = ("Auto-Submitted", "X-Auto-Response-Suppress", "Cc", "In-Reply-To", "References")
    assert ["auto-generated", "All", None, None, None] == [mail[name] for name in fields]
