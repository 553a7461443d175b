"""How does a mail of ours become bytes that survive the way?  By concatenation, once.

Every line is ASCII, ends with CRLF, has no trailing blank and no ``From `` at its beginning, so
that what was signed is still the same after any relay (RFC 3156 section 3).  Python's own
generator is not asked: it folds again what was signed.  Only values of ours, plain addresses and
well-formed message ids enter a header; anything else is refused here or dropped.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.header import Header
from email.utils import format_datetime
from functools import lru_cache

from secbridge.model.reply import Submitted
from secbridge.rules.identity import ORIGIN_HEADER
from secbridge.rules.loops import is_plain_address

OUTER_SUBJECT = "[...]"
"""The subject outside the encryption (RFC 9788 section 3.2.2)."""

_LINE = 76
_LONGEST_LINE = 998
_MOST_REFERENCES = 10
_LARGEST_AUTOCRYPT = 8 * 1024

_MESSAGE_ID = re.compile(r"<[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,180}@[A-Za-z0-9.:\[\]_-]{1,120}>")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_PLAIN = bytes(range(0x20, 0x7F)) + b"\t\r\n"


@dataclass(frozen=True, slots=True, repr=False)
class Letterhead:
    """Who writes to whom, and in which thread.

    ``subject`` is the real one: of an encrypted mail it stands inside only.  ``certificate`` is our
    own, binary and minimal; it is announced in the Autocrypt header and attached.  ``cc`` is
    "" for nobody.  ``submitted``: what a person wrote says nothing of it (RFC 3834 section 5.1).
    """

    author_name: str
    author: str
    to: str
    cc: str
    reply_to: str
    subject: str
    date: datetime
    message_id: str
    origin: str
    in_reply_to: str | None = None
    references: tuple[str, ...] = ()
    submitted: Submitted = Submitted.REPLIED
    certificate: bytes = b""
    fingerprint: str = ""

    def __repr__(self) -> str:
        return f"Letterhead({self.message_id})"


def thread_of(message_id: str | None, references: tuple[str, ...]) -> tuple[str, ...]:
    """Return the References of an answer: the thread's beginning and its last ids, bounded.

    What is not a well-formed message id (RFC 5322 section 3.6.4) is dropped: it is a stranger's
    text, and would stand in our header.
    """
    known = (*references, *((message_id,) if message_id else ()))
    ids = tuple(dict.fromkeys(found for found in known if is_message_id(found)))
    return ids if len(ids) <= _MOST_REFERENCES else (ids[0], *ids[1 - _MOST_REFERENCES :])


def is_message_id(text: str) -> bool:
    """Return whether ``text`` is a message id, with its angle brackets, that we would repeat."""
    return bool(_MESSAGE_ID.fullmatch(text))


# ── Three finished things ────────────────────────────────────────────────────────────────────────


def payload(head: Letterhead, text: str, *, encrypted: bool) -> bytes:
    """Return the MIME entity that is signed, or encrypted: header fields, text, our certificate.

    The header fields of the mail are repeated inside, so that they are protected too; where the
    mail is encrypted, ``HP-Outer`` says what stands outside (RFC 9788 sections 2.1 and 2.2).
    """
    hp = "cipher" if encrypted else "clear"
    boundary = _boundary(head, "payload")
    lines = [
        f'Content-Type: multipart/mixed; boundary="{boundary}";',
        f' protected-headers="v1"; hp="{hp}"',
        *_fields(head, head.subject),
        *(_outer_fields(head) if encrypted else ()),
        "",
        f"--{boundary}",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: quoted-printable",
        "",
        quoted_printable(text),
        *_certificate_part(head, boundary),
        f"--{boundary}--",
        "",
    ]
    return _checked("\r\n".join(lines))


def encrypted_mail(head: Letterhead, armor: bytes) -> bytes:
    """Return the PGP/MIME mail around one armored message (RFC 3156 section 4)."""
    boundary = _boundary(head, "mail")
    lines = [
        *_fields(head, OUTER_SUBJECT),
        *_unprotected_fields(head),
        'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted";',
        f' boundary="{boundary}"',
        "",
        f"--{boundary}",
        "Content-Type: application/pgp-encrypted",
        "Content-Description: PGP/MIME version identification",
        "",
        "Version: 1",
        "",
        f"--{boundary}",
        'Content-Type: application/octet-stream; name="encrypted.asc"',
        "Content-Description: OpenPGP encrypted message",
        'Content-Disposition: inline; filename="encrypted.asc"',
        "",
        _armor_lines(armor, "MESSAGE"),
        f"--{boundary}--",
        "",
    ]
    return _checked("\r\n".join(lines))


def signed_mail(head: Letterhead, signed: bytes, signature: bytes, micalg: str) -> bytes:
    """Return the multipart/signed mail around an entity and its signature (RFC 3156 section 5)."""
    boundary = _boundary(head, "mail")
    before = [
        *_fields(head, head.subject),
        *_unprotected_fields(head),
        f"Content-Type: multipart/signed; micalg={micalg};",
        f' protocol="application/pgp-signature"; boundary="{boundary}"',
        "",
        f"--{boundary}",
        "",
    ]
    after = [
        "",
        f"--{boundary}",
        'Content-Type: application/pgp-signature; name="signature.asc"',
        "Content-Description: OpenPGP digital signature",
        "",
        _armor_lines(signature, "SIGNATURE"),
        f"--{boundary}--",
        "",
    ]
    return _checked("\r\n".join(before) + signed.decode("ascii") + "\r\n".join(after))


# ── Header fields ────────────────────────────────────────────────────────────────────────────────


def _fields(head: Letterhead, subject: str) -> list[str]:
    """Return the fields that stand outside and, protected, inside."""
    values = {
        "From": f"{_phrase(head.author_name)} <{_address(head.author)}>",
        "To": _address(head.to),
        "Cc": _address(head.cc) if head.cc else None,
        "Reply-To": _address(head.reply_to),
        "Subject": _unstructured(subject),
        "Date": format_datetime(head.date.astimezone(UTC)),
        "Message-ID": _own_message_id(head.message_id),
        "In-Reply-To": head.in_reply_to if is_message_id(head.in_reply_to or "") else None,
        "References": " ".join(found for found in head.references if is_message_id(found)),
        "Auto-Submitted": head.submitted.value if _is_automatic(head) else None,
    }
    return [_folded(name, value) for name, value in values.items() if value]


def _outer_fields(head: Letterhead) -> list[str]:
    return [_folded("HP-Outer", " ".join(field.split())) for field in _fields(head, OUTER_SUBJECT)]


def _unprotected_fields(head: Letterhead) -> list[str]:
    fields = [
        "X-Auto-Response-Suppress: All",
        _folded(ORIGIN_HEADER, head.origin),
        *_autocrypt(head),
        "MIME-Version: 1.0",
    ]
    return fields if _is_automatic(head) else fields[1:]


def _is_automatic(head: Letterhead) -> bool:
    return head.submitted is not Submitted.BY_PERSON


def _autocrypt(head: Letterhead) -> list[str]:
    """Return our Autocrypt field (Autocrypt 1.1), or none where the certificate is too large."""
    if not head.certificate or len(head.certificate) > _LARGEST_AUTOCRYPT:
        return []
    keydata = "\r\n ".join(_base64_lines(head.certificate))
    address = _address(head.author)
    return [f"Autocrypt: addr={address}; prefer-encrypt=mutual;\r\n keydata=\r\n {keydata}"]


def _address(address: str) -> str:
    if not is_plain_address(address):
        raise ValueError("an address that cannot stand in a header")
    return address


def _own_message_id(message_id: str) -> str:
    if not is_message_id(message_id):
        raise ValueError("a Message-ID that cannot stand in a header")
    return message_id


def _phrase(name: str) -> str:
    """Return a display name as a quoted string, or encoded (RFC 5322 section 3.4, RFC 2047)."""
    clean = " ".join(_CONTROLS.sub(" ", name).split())[:80]
    if clean.isascii() and "=?" not in clean:
        escaped = clean.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return _encoded(clean)


def _unstructured(value: str) -> str:
    clean = " ".join(_CONTROLS.sub(" ", value).split())
    return clean if clean.isascii() and "=?" not in clean else _encoded(clean)


def _encoded(text: str) -> str:
    return " ".join(Header(text, "utf-8", maxlinelen=60).encode().split())


def _folded(name: str, value: str) -> str:
    """Fold at blanks, so that lines stay below 78 characters where the value has blanks."""
    words = value.split()
    whole = f"{name}: {' '.join(words)}"
    if words and len(whole) <= _LINE:
        return whole
    lines, line = [], f"{name}:"
    for number, word in enumerate(words):
        if number and len(line) + 1 + len(word) > _LINE:
            lines.append(line)
            line = ""
        line += f" {word}"
    return "\r\n".join([*lines, line])


# ── Bodies ───────────────────────────────────────────────────────────────────────────────────────


def quoted_printable(text: str) -> str:
    """Return a text in quoted-printable, without a ``From `` that a mailbox would change.

    Some put a ``>`` before it, others take one away again (mboxo and mboxrd, RFC 4155).
    """
    plain = "\n".join(text.splitlines()).encode()
    coded = binascii.b2a_qp(plain + b"\n", quotetabs=False, istext=True, header=False)
    safe = re.sub(rb"^(>*)From ", rb"\1=46rom ", coded, flags=re.MULTILINE)
    return safe.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n").decode("ascii").removesuffix("\r\n")


def _certificate_part(head: Letterhead, boundary: str) -> list[str]:
    """Return our certificate as an attachment (RFC 3156 section 7)."""
    if not head.certificate:
        return []
    name = f"OpenPGP_0x{head.fingerprint[-16:]}.asc"
    return [
        f"--{boundary}",
        f'Content-Type: application/pgp-keys; name="{name}"',
        f'Content-Disposition: attachment; filename="{name}"',
        "",
        armored_certificate(head.certificate),
    ]


@lru_cache(maxsize=16)
def armored_certificate(certificate: bytes) -> str:
    """Return a binary certificate in ASCII armor, with its checksum (RFC 9580 section 6.1, 6.2)."""
    checksum = base64.b64encode(_crc24(certificate).to_bytes(3, "big")).decode()
    lines = [
        "-----BEGIN PGP PUBLIC KEY BLOCK-----",
        "",
        *_base64_lines(certificate),
        f"={checksum}",
        "-----END PGP PUBLIC KEY BLOCK-----",
    ]
    return "\r\n".join(lines)


def _crc24(content: bytes) -> int:
    crc = 0xB704CE
    for octet in content:
        crc ^= octet << 16
        for _ in range(8):
            crc <<= 1
            if crc & 0x1000000:
                crc ^= 0x1864CFB
    return crc & 0xFFFFFF


@lru_cache(maxsize=16)
def _base64_lines(content: bytes) -> tuple[str, ...]:
    text = base64.b64encode(content).decode()
    return tuple(text[start : start + 72] for start in range(0, len(text), 72))


def _armor_lines(armor: bytes, label: str) -> str:
    """Return armor as gpg made it, with CRLF and nothing around it."""
    text = armor.decode("ascii").strip()
    if not text.startswith(f"-----BEGIN PGP {label}-----") or not text.endswith(
        f"-----END PGP {label}-----"
    ):
        raise ValueError("not the armor that was asked for")
    return "\r\n".join(text.splitlines())


def _boundary(head: Letterhead, part: str) -> str:
    """Return a boundary that no body of ours can hold: neither coding ever has ``=_`` in it.

    It follows from the Message-ID, so that the same mail is always the same bytes.
    """
    digest = hashlib.sha256(f"{part}\0{head.message_id}".encode()).hexdigest()[:24]
    return f"=_sb_{digest}"


def _checked(text: str) -> bytes:
    """Return the octets, or raise ValueError where a relay would have to change them."""
    content = text.encode("ascii")
    line_ends = {content.count(end) for end in (b"\r\n", b"\r", b"\n")}
    lines = content.split(b"\r\n")
    if (
        content.translate(None, _PLAIN)
        or len(line_ends) > 1
        or any(blank in content for blank in (b" \r\n", b"\t\r\n", b"\nFrom "))
        or content.startswith(b"From ")
        or max(map(len, lines)) > _LONGEST_LINE
    ):
        raise ValueError("a line that would not survive the way")
    return content
