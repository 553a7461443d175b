"""Mails built octet by octet, as strangers' programs build them; never with our own composer."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from tests.support.keys import REPORTER, ROLE

CRLF = b"\r\n"


def crlf(text: str | bytes) -> bytes:
    """Return a text with lines ended by CRLF."""
    octets = text.encode() if isinstance(text, str) else text
    return octets.replace(b"\r\n", b"\n").replace(b"\n", CRLF)


def header(
    content: str = "", *, subject: str = "[...]", author: str = REPORTER, extra: str = ""
) -> bytes:
    """Return an outer header up to where Content-Type stands, then ``content``."""
    return crlf(
        f"From: {author}\nTo: {ROLE}\nSubject: {subject}\nMessage-ID: <one@example.net>\n"
        f"Date: Fri, 20 Nov 2026 12:00:00 +0000\n{extra}MIME-Version: 1.0\n{content}"
    )


def entity(content_type: str, body: str | bytes, *, extra: str = "") -> bytes:
    """Return a MIME entity."""
    return crlf(f"Content-Type: {content_type}\n{extra}\n") + crlf(body)


def text(words: str, *, extra: str = "", charset: str = "utf-8", params: str = "") -> bytes:
    """Return a text/plain entity."""
    return entity(f"text/plain; charset={charset}{params}", words, extra=extra)


def file(content: bytes, name: str, *, media_type: str = "application/octet-stream") -> bytes:
    """Return an attachment in base64."""
    encoded = base64.encodebytes(content)
    return entity(
        f'{media_type}; name="{name}"',
        encoded,
        extra=f'Content-Transfer-Encoding: base64\nContent-Disposition: attachment; '
        f'filename="{name}"\n',
    )  # fmt: skip


def multipart(
    kind: str, parts: Sequence[bytes], *, boundary: str = "bound", params: str = "", extra: str = ""
) -> bytes:
    """Return a multipart entity of these entities."""
    mark = f"--{boundary}".encode()
    body = b"".join(mark + CRLF + part + CRLF for part in parts) + mark + b"--" + CRLF
    head = crlf(f'Content-Type: multipart/{kind}; boundary="{boundary}"{params}\n{extra}\n')
    return head + body


def mail(content: bytes, **given: str) -> bytes:
    """Return a mail with this entity as its content."""
    return header(**given) + content


CONTROL = entity("application/pgp-encrypted", "Version: 1\n")


def encrypted(armored: bytes, *, boundary: str = "outer", name: str = "encrypted.asc") -> bytes:
    """Return a multipart/encrypted entity (RFC 3156 section 4)."""
    ciphertext = entity(f'application/octet-stream; name="{name}"', armored)
    params = '; protocol="application/pgp-encrypted"'
    return multipart("encrypted", [CONTROL, ciphertext], boundary=boundary, params=params)


def signed(content: bytes, signature: bytes, *, boundary: str = "signed") -> bytes:
    """Return a multipart/signed entity (RFC 3156 section 5) over this very entity."""
    params = '; micalg=pgp-sha512; protocol="application/pgp-signature"'
    part = entity('application/pgp-signature; name="signature.asc"', signature)
    return multipart("signed", [content, part], boundary=boundary, params=params)
