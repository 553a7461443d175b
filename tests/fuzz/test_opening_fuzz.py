"""Any bytes become a Message, within the bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.keys import Keys, copied_ring
from tests.support.mails import (
    CONTROL,
    encrypted,
    entity,
    file,
    header,
    mail,
    multipart,
    signed,
    text,
)

from secbridge.mail.headers import authors, header_facts, split_header
from secbridge.mail.text import decode, html_to_text
from secbridge.model.message import Message
from secbridge.openpgp import GnuPG
from secbridge.pipeline.opening import OpeningLimits, open_mail

LIMITS = OpeningLimits(max_ciphertexts=2, max_signatures=2)
TUNED = settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def openpgp(keys: Keys) -> Iterator[GnuPG]:
    """Return the port over a ring with the role key."""
    with copied_ring(keys.role) as ring:
        yield GnuPG(ring.home)


@pytest.fixture(scope="module")
def seeds(keys: Keys) -> list[bytes]:
    """Return sound mails of many shapes, to be broken."""
    inner = text("Words.\n")
    armored = keys.reporter.encrypt(inner, keys.role_fpr, sign=keys.reporter_fpr)
    signature = keys.reporter.sign_detached(inner, keys.reporter_fpr)
    return [
        mail(inner),
        mail(encrypted(armored)),
        mail(signed(inner, signature)),
        mail(text(armored.decode())),
        mail(multipart("mixed", [inner, CONTROL, file(armored, "a.asc")])),
        mail(multipart("alternative", [inner, entity("text/html", "<p>Words <a href=x>y</a>")])),
        mail(entity("message/rfc822", mail(signed(inner, signature)))),
        mail(text(keys.reporter.clearsign(b"words\n", keys.reporter_fpr).decode())),
        mail(file(keys.reporter_cert, "key.asc"), subject="=?utf-8?q?a?= =?utf-8?b?YQ==?="),
    ]


def opened(raw: bytes, openpgp: GnuPG) -> Message:
    """Open a mail and check what always holds."""
    message = asyncio.run(open_mail(raw, openpgp, LIMITS))
    assert message.size == len(raw)
    assert len(message.attachments) <= 2 * LIMITS.max_parts
    assert len(message.certificates) <= 10
    assert (message.decryption.ok is None) <= (message.outside_encryption == "")
    assert all(len(one.fingerprint) <= 64 for one in message.signatures)
    message.text.encode()
    message.subject.encode()
    return message


@TUNED
@given(raw=st.binary(max_size=2000))
def test_any_bytes_become_a_message(openpgp: GnuPG, raw: bytes) -> None:
    """Noise is a Message."""
    opened(raw, openpgp)


PIECES = st.sampled_from(
    [
        b"Content-Type: multipart/mixed; boundary=b\n", b"Content-Type: multipart/encrypted\n",
        b"Content-Type: multipart/signed; boundary=b; protocol=application/pgp-signature\n",
        b"Content-Type: message/rfc822\n", b"Content-Type: text/html; charset=utf-16\n",
        b"Content-Type: application/pgp-encrypted\n",
        b"Content-Type: multipart/alternative; boundary=c\n",
        b"Content-Transfer-Encoding: base64\n", b"Content-Transfer-Encoding: x-uuencode\n",
        b"Content-Disposition: attachment; filename*=utf-8''%C3%A4\n",
        b"\n", b"\r\n", b"\r", b" ",
        b"--b\n", b"--b--\n", b"--c\n", b"--c--\n", b"From: a@example.net\n", b"From: <b@c>, d\n",
        b"Subject: =?utf-8?q?x?=\n", b"-----BEGIN PGP MESSAGE-----\n",
        b"-----END PGP MESSAGE-----\n",
        b"-----BEGIN PGP SIGNED MESSAGE-----\n", b"-----BEGIN PGP SIGNATURE-----\n", b"=abcd\n",
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n", b"hQEMAwzOQ1qnzNo7AQf7\n",
        b"begin 600 x\n", b"\xff\0",
        b"<div><a href=", b"Version: 1\n", b"words and more words\n", b'"',
        b"(", b"\x85\x01\x0c\x03",
    ]
)  # fmt: skip


@TUNED
@given(pieces=st.lists(PIECES, max_size=40))
def test_any_heap_of_pieces_becomes_a_message(openpgp: GnuPG, pieces: list[bytes]) -> None:
    """Fragments of mails in any order are a Message."""
    opened(b"".join(pieces), openpgp)


@TUNED
@given(data=st.data())
def test_any_damage_leaves_a_message(
    openpgp: GnuPG, seeds: list[bytes], data: st.DataObject
) -> None:
    """A sound mail with octets changed, cut out, doubled or mixed with another is a Message."""
    raw = data.draw(st.sampled_from(seeds))
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(raw)))
        size = data.draw(st.integers(0, 40))
        other = data.draw(st.sampled_from(seeds))
        new = data.draw(st.one_of(st.binary(max_size=20), PIECES, st.just(other[at : at + 100])))
        raw = raw[:at] + new + raw[at + size :]
    opened(raw, openpgp)


@TUNED
@given(raw=st.binary(max_size=500))
def test_any_header_is_read(raw: bytes) -> None:
    """Header facts of any bytes are values without control characters."""
    block = split_header(header() + raw, 0, len(header() + raw), most=1 << 18)
    facts = header_facts(block)
    values = [value for values in facts.fields.values() for value in values]
    assert all(char.isprintable() or not char.isascii() for value in values for char in value)
    assert len(authors(block).addresses) <= 1000


CHARSETS = st.one_of(
    st.none(),
    st.text(max_size=20),
    st.sampled_from(["utf-16", "iso-2022-jp", "hz", "gb18030", "utf-7", "idna", "cp037"]),
)


@TUNED
@given(octets=st.binary(max_size=300), charset=CHARSETS)
def test_any_octets_in_any_charset_are_text(octets: bytes, charset: str | None) -> None:
    """Decoding gives a text that can be encoded again, or a replacement."""
    decode(octets, charset)[0].encode("utf-8", "surrogatepass")


@TUNED
@given(markup=st.text(alphabet="<>/abp=\"'& ;!-\n", max_size=400))
def test_any_markup_is_text(markup: str) -> None:
    """HTML to text takes anything."""
    html_to_text(markup)
