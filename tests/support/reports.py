"""How does a reporter's mail program write?  PGP/MIME by raw gpg, put together by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid

from tests.support.keys import REPORTER, ROLE, Keys, Ring

CANARY = "Zinnobergimpel"
"""A word that stands in no other place of the world than in our reports."""

TEXT = f"""Hello,

the parser of version 2.4.1 reads past its buffer, see src/parse.c:120. A proof of concept:

    printf '%s' {CANARY} | ./parser -

This is exploitable from the network.

Rita
"""


def plain_report(
    *, sender: str = REPORTER, recipient: str = ROLE, subject: str = "A weakness", text: str = TEXT
) -> EmailMessage:
    """Return a report in clear."""
    mail = EmailMessage(policy=SMTP)
    mail["From"] = sender
    mail["To"] = recipient
    mail["Subject"] = subject
    mail["Date"] = format_datetime(datetime.now(UTC))
    mail["Message-ID"] = make_msgid(domain="example.net")
    mail.set_content(text)
    return mail


def encrypted_report(
    ring: Ring, signer: str, to: str, *, mail: EmailMessage | None = None, attach: bytes = b""
) -> bytes:
    """Return the report as PGP/MIME, encrypted and signed (RFC 3156 section 6.2), key attached."""
    mail = mail or plain_report()
    inner = EmailMessage(policy=SMTP)
    inner.set_content(mail.get_content())
    if attach:
        inner.add_attachment(attach, maintype="application", subtype="octet-stream", filename="a")
    inner.add_attachment(
        ring.export(signer), maintype="application", subtype="pgp-keys", filename="key.asc"
    )
    del inner["MIME-Version"]
    armor = ring.encrypt(inner.as_bytes(), to, sign=signer)
    return wrapped(mail, armor)


def wrapped(mail: EmailMessage, armor: bytes) -> bytes:
    """Return the outer mail around a ciphertext (RFC 3156 section 4)."""
    header = "".join(
        f"{name}: {'...' if name == 'Subject' else value}\r\n"
        for name, value in mail.items()
        if name.lower() not in {"content-type", "content-transfer-encoding", "mime-version"}
    )
    body = armor.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return (
        header.encode()
        + b"MIME-Version: 1.0\r\n"
        + b'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted";\r\n'
        + b' boundary="=_outer"\r\n\r\n--=_outer\r\n'
        + b"Content-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n\r\n--=_outer\r\n"
        + b"Content-Type: application/octet-stream\r\n\r\n"
        + body
        + b"\r\n--=_outer--\r\n"
    )


def report_of(keys: Keys, *, attach: bytes = b"") -> bytes:
    """Return the session's standard report: from the reporter, to the role key."""
    return encrypted_report(keys.reporter, keys.reporter_fpr, keys.role_fpr, attach=attach)
