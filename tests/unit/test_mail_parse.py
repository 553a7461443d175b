"""Transfer encodings are undone, contents known by their octets, reports read."""

from __future__ import annotations

import base64

import pytest
from tests.support.mails import crlf, entity, mail, multipart, text

from secbridge.mail.parse import (
    canonical_body_hash,
    decoded,
    delivery_report,
    is_entity,
    is_enveloped,
    may_hide_ciphertext,
)
from secbridge.mail.slices import Budget, slice_entity
from secbridge.model.message import DeliveryReport
from secbridge.model.part import OpeningLimits, Part


def cut(raw: bytes) -> Part:
    """Return the part tree of a mail."""
    return slice_entity(raw, Budget(OpeningLimits()))


def undone(encoding: str, body: bytes) -> bytes:
    """Return a body with its transfer encoding undone."""
    raw = b"Content-Transfer-Encoding: " + encoding.encode() + b"\n\n" + body
    return decoded(raw, cut(raw))


ALL = bytes(range(256)) * 40


@pytest.mark.parametrize("size", [0, 1, 2, 3, 57, 58, 59, 1000])
def test_base64_is_undone_with_any_line_ends_and_without_padding(size: int) -> None:
    """Lines of LF or CRLF, missing padding and blanks at the end of lines do no harm."""
    encoded = base64.encodebytes(ALL[:size])
    for form in (
        encoded,
        crlf(encoded),
        encoded.rstrip(b"=\n"),
        encoded.replace(b"\n", b" \n"),
        encoded + b"\n\n",
    ):
        assert undone("base64", form) == ALL[:size]


def test_a_stray_octet_in_base64_is_passed_over() -> None:
    """One foreign octet in a line does not cost the line."""
    encoded = base64.encodebytes(ALL)
    assert undone("base64", encoded[:30] + b"!" + encoded[30:]) == ALL


@pytest.mark.parametrize("words", [b"text", b"text."])
def test_a_footer_behind_base64_is_kept(words: bytes) -> None:
    """Mailing lists append text to base64 bodies; a decoder that stops would hide it."""
    footer = b"_______________\nThe list adds\na footer\n"
    octets = undone("base64", base64.encodebytes(words) + footer)
    assert octets == words + b"\n" + footer


def test_two_base64_bodies_in_a_row_are_both_read() -> None:
    """Padding in the middle does not end the content."""
    one, two = base64.encodebytes(b"first part."), base64.encodebytes(b"second part of it")
    assert undone("base64", one + two) == b"first part.second part of it"


def test_text_that_only_claims_to_be_base64_is_kept_as_it_is() -> None:
    """What is not base64 at all is read as it stands."""
    assert undone("base64", b"hello, this is plain\ntext\n") == b"hello, this is plain\ntext\n"


def test_quoted_printable_and_uuencode_are_undone() -> None:
    """The other encodings that mail has seen."""
    assert undone("quoted-printable", b"a=3Db=\nc=E4") == b"a=bc\xe4"
    assert undone("x-uuencode", b"begin 600 x\n#0V%T\n \nend\n") == b"Cat"
    assert undone("no-such-encoding", b"as it is") == b"as it is"


def test_an_entity_has_a_mime_field_in_its_header() -> None:
    """A text that begins with a word and a colon is no entity."""
    assert is_entity(text("x"))
    assert not is_entity(b"Note: this is text\n\nmore")
    assert not is_entity(b"Host: x.org\nContent-Type: text/html\n\n<script>")
    assert not is_entity(b"\n\ntext")


def test_smime_is_known_by_its_octets() -> None:
    """Enveloped CMS data is recognised whatever its type says; a detached signature is none."""
    oid = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07"
    for kind, known in ((b"\x03", True), (b"\x02", False)):
        octets = base64.encodebytes(b"\x30\x80" + oid + kind + b"\xa0\x80")
        raw = entity(
            "application/octet-stream", octets, extra="Content-Transfer-Encoding: base64\n"
        )
        assert is_enveloped(raw, cut(raw)) is known


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"just words\n" * 10, False),
        (b"x" * (1 << 20) + b"-----BEGIN PGP MESSAGE-----", True),
        (b"Content-Transfer-Encoding: BASE64\n", True),
        (b"\x85\x01\x0c", True),
    ],
)
def test_unread_octets_are_suspected_of_ciphertext(octets: bytes, expected: bool) -> None:
    """Armor, base64 and binary may hide a ciphertext; plain words do not."""
    assert may_hide_ciphertext(octets, 0, len(octets)) is expected


BODY = crlf("Line one  \nline two\t\n\nlast\n\n\n")


@pytest.mark.parametrize(
    "changed",
    [
        BODY,
        BODY.replace(b"\r\n", b"\n"),
        BODY.rstrip(),
        BODY + b"\r\n \r\n",
        BODY.replace(b"  \r\n", b"\r\n"),
    ],
)
def test_the_body_hash_survives_transport(changed: bytes) -> None:
    """Line ends, blanks at line ends and empty lines at the end do not count."""
    assert canonical_body_hash(mail(b"\r\n" + BODY)) == canonical_body_hash(
        b"Received: somewhere\n" + mail(b"\r\n" + changed)
    )


@pytest.mark.parametrize("changed", [BODY.replace(b"one", b"won"), b" " + BODY, BODY + b"more"])
def test_the_body_hash_tells_another_text(changed: bytes) -> None:
    """Any other change gives another hash."""
    assert canonical_body_hash(mail(b"\r\n" + BODY)) != canonical_body_hash(mail(b"\r\n" + changed))


def test_the_body_hash_is_the_same_across_chunks() -> None:
    """A large body is hashed piece by piece with the same result."""
    large = b"word \r\n" * 400_000
    assert canonical_body_hash(mail(b"\r\n" + large)) == canonical_body_hash(
        mail(b"\r\n" + large.replace(b" \r\n", b"\n"))
    )


def report(status: str, returned: bytes, kind: str = "delivery-status") -> bytes:
    """Return a mail that reports on a delivery."""
    parts = [text("It failed."), entity("message/delivery-status", status), returned]
    return mail(multipart("report", parts, params=f"; report-type={kind}"))


def test_a_delivery_report_tells_the_worst_action_and_the_mail_it_is_about() -> None:
    """Of several recipients the failed one counts (RFC 3464)."""
    status = (
        "Reporting-MTA: dns; mx.example.org\n\n"
        "Final-Recipient: rfc822; a@x.org\nAction: delayed\nStatus: 4.4.1\n\n"
        "Original-Recipient: rfc822;reporter@x.org\nFinal-Recipient: RFC822; <b@x.org>\n"
        "Action: FAILED (no such user)\nStatus: 5.1.1 (x)\n"
        "Diagnostic-Code: smtp; 550 5.1.1 no\n  such user; sorry\n"
    )
    for returned in (
        entity("message/rfc822", "Message-ID: <sent@example.org>\n\nbody"),
        entity("text/rfc822-headers", "Message-ID: <sent@example.org>\n"),
    ):
        raw = report(status, returned)
        expected = DeliveryReport(
            "failed",
            "5.1.1",
            ("<sent@example.org>",),
            ("reporter@x.org", "b@x.org"),
            "550 5.1.1 no  such user; sorry",
        )
        assert delivery_report(raw, cut(raw)) == expected


def test_an_ordinary_mail_is_no_delivery_report() -> None:
    """Without a report part there is none."""
    raw = mail(text("Action: failed\nStatus: 5.0.0\n"))
    assert delivery_report(raw, cut(raw)) is None
