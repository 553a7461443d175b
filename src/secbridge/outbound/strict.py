"""Is this a mail of exactly the shape that we send?  A reader that knows two shapes and no mercy.

It is not the composer's, and not the one for strangers' mail: what is merely unusual is refused.
Nothing is skipped, so no octet of a mail goes unseen: each belongs to a known header field, to one
of two parts, or to their frame.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.header import decode_header, make_header

from secbridge.errors import Refusal
from secbridge.mail.armor import OpenPGPKind
from secbridge.model.reply import ReplyText

_CLEAN = re.compile(rb"(?:[\x20-\x7e\t]{0,998}\r\n)*")
_FIELD = re.compile(r"([A-Z][A-Za-z-]{1,40}): ?(\S.*)")
_ENCRYPTED = re.compile(
    r'multipart/encrypted; protocol="application/pgp-encrypted"; boundary="(=_sb_[0-9a-f]{24})"'
)
_SIGNED = re.compile(
    r'multipart/signed; micalg=pgp-sha(?:256|384|512); protocol="application/pgp-signature"; '
    r'boundary="(=_sb_[0-9a-f]{24})"'
)
_ARMOR = re.compile(
    rb"-----BEGIN PGP (MESSAGE|SIGNATURE)-----\r\n\r\n"
    rb"((?:[A-Za-z0-9+/]{1,76}={0,2}\r\n)+)(?:=[A-Za-z0-9+/]{4}\r\n)?"
    rb"-----END PGP \1-----"
)
_TEXT = re.compile(
    rb"\r\n\r\n--(=_sb_[0-9a-f]{24})\r\nContent-Type: text/plain; charset=utf-8\r\n"
    rb"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
)
_KINDS = {b"MESSAGE": OpenPGPKind.MESSAGE, b"SIGNATURE": OpenPGPKind.SIGNATURE}

FIELDS = frozenset(
    {
        "From", "To", "Cc", "Reply-To", "Subject", "Date", "Message-ID", "In-Reply-To",
        "References", "Auto-Submitted", "X-Auto-Response-Suppress", "X-Secbridge-Origin",
        "Autocrypt", "MIME-Version", "Content-Type",
    }
)  # fmt: skip
"""Every header field that a mail of ours may have, once."""

VERSION_PART = (
    b"Content-Type: application/pgp-encrypted\r\n"
    b"Content-Description: PGP/MIME version identification\r\n\r\n"
    b"Version: 1\r\n"
)
"""The whole first part of an encrypted mail (RFC 3156 section 4)."""

CIPHERTEXT_FRAME = (
    b'Content-Type: application/octet-stream; name="encrypted.asc"\r\n'
    b"Content-Description: OpenPGP encrypted message\r\n"
    b'Content-Disposition: inline; filename="encrypted.asc"\r\n\r\n'
)
"""What stands before the ciphertext in the second part."""

SIGNATURE_FRAME = (
    b'Content-Type: application/pgp-signature; name="signature.asc"\r\n'
    b"Content-Description: OpenPGP digital signature\r\n\r\n"
)
"""What stands before the signature (RFC 3156 section 5)."""


@dataclass(frozen=True, slots=True, repr=False)
class StrictMail:
    """A mail of ours in its pieces.

    ``signed`` are the octets under the signature, None for encrypted mail; ``armor`` is the
    ciphertext or the signature as it stands, ``packets`` what is in it.
    """

    fields: dict[str, str]
    signed: bytes | None
    armor: bytes
    packets: bytes

    def __repr__(self) -> str:
        return "StrictMail(…)"


def refusal(code: str) -> Refusal:
    """Return the refusal with this code; a stranger is told nothing more."""
    return Refusal(code, "This mail of ours must not leave as it is.", status="5.7.1")


def read(content: bytes, *, limit: int) -> StrictMail:
    """Take a finished mail apart.  Raises Refusal for anything that we would not have written."""
    if len(content) > limit:
        raise refusal("guard-size")
    if not _CLEAN.fullmatch(content):
        raise refusal("guard-octets")
    header, empty_line, body = content.partition(b"\r\n\r\n")
    fields = _fields(header.decode("ascii"))
    media = fields.get("Content-Type", "")
    if empty_line and (found := _ENCRYPTED.fullmatch(media)):
        return _encrypted(fields, body, found[1].encode())
    if empty_line and (found := _SIGNED.fullmatch(media)):
        return _signed(fields, body, found[1].encode())
    raise refusal("guard-shape")


def _fields(header: str) -> dict[str, str]:
    """Return the header fields, unfolded: each one known and there once."""
    fields: dict[str, str] = {}
    for line in re.sub(r"\r\n(?=[ \t])", "", header).split("\r\n"):
        field = _FIELD.fullmatch(line)
        if field is None or field[1] not in FIELDS or field[1] in fields:
            raise refusal("guard-header")
        fields[field[1]] = field[2]
    return fields


def _encrypted(fields: dict[str, str], body: bytes, boundary: bytes) -> StrictMail:
    version, ciphertext = _two_parts(body, boundary)
    if version != VERSION_PART or not ciphertext.startswith(CIPHERTEXT_FRAME):
        raise refusal("guard-shape")
    armor = ciphertext.removeprefix(CIPHERTEXT_FRAME)
    return StrictMail(fields, None, armor, _dearmored(armor, OpenPGPKind.MESSAGE))


def _signed(fields: dict[str, str], body: bytes, boundary: bytes) -> StrictMail:
    signed, signature = _two_parts(body, boundary)
    if not signature.startswith(SIGNATURE_FRAME):
        raise refusal("guard-shape")
    armor = signature.removeprefix(SIGNATURE_FRAME)
    return StrictMail(fields, signed, armor, _dearmored(armor, OpenPGPKind.SIGNATURE))


def read_text(mail: StrictMail) -> ReplyText:
    """Return the subject and the text of a signed mail.  Raises Refusal where there is none.

    Where the text begins and ends is looked for and not proven: whoever asks builds the whole mail
    again from what is returned, and compares.
    """
    signed = mail.signed or b""
    beginning = _TEXT.search(signed)
    if beginning is None:
        raise refusal("guard-shape")
    text, boundary, _ = signed[beginning.end() :].partition(b"\r\n--" + beginning[1])
    if not boundary:
        raise refusal("guard-shape")
    try:
        subject = str(make_header(decode_header(mail.fields.get("Subject", ""))))
        return ReplyText(subject, binascii.a2b_qp(text).decode().replace("\r\n", "\n"))
    except (ValueError, LookupError, HeaderParseError):
        raise refusal("guard-text") from None


def _two_parts(body: bytes, boundary: bytes) -> tuple[bytes, bytes]:
    """Return the two parts of a multipart without anything around them (RFC 2046)."""
    opening, closing = b"--" + boundary + b"\r\n", b"\r\n--" + boundary + b"--\r\n"
    if not body.startswith(opening) or not body.endswith(closing):
        raise refusal("guard-shape")
    parts = body[len(opening) : -len(closing)].split(b"\r\n" + opening)
    if len(parts) != 2 or any(boundary in part for part in parts):
        raise refusal("guard-shape")
    return parts[0], parts[1]


def _dearmored(armor: bytes, kind: OpenPGPKind) -> bytes:
    """Return what is in armor that has no header lines and nothing around it."""
    found = _ARMOR.fullmatch(armor)
    if found is None or _KINDS[found[1]] is not kind:
        raise refusal("guard-armor")
    try:
        return binascii.a2b_base64(found[2].replace(b"\r\n", b""), strict_mode=True)
    except binascii.Error:
        raise refusal("guard-armor") from None
