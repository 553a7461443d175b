"""What is this mail?  Any bytes become a Message.

The rooms *openpgp* and *mail* take turns (``pipeline.walking``).  What a mail is like is never an
exception; a fault of ours comes out of the OpenPGP port as a Deferral and passes through.
"""

from __future__ import annotations

from secbridge.mail import parse
from secbridge.mail.headers import (
    Authors,
    HeaderBlock,
    authors,
    autocrypt,
    header_facts,
    split_header,
    unstructured,
)
from secbridge.mail.reading import LARGEST_CERTIFICATE, Reading
from secbridge.mail.slices import slice_entity
from secbridge.model.message import CertificateSource, DeliveryReport, Message
from secbridge.model.part import OpeningLimits
from secbridge.pipeline.walking import Place, Reader
from secbridge.ports import OpenPGP

__all__ = ["OpeningLimits", "open_mail"]


async def open_mail(raw: bytes, openpgp: OpenPGP, limits: OpeningLimits) -> Message:
    """Return the mail, opened as far as we can.

    Bytes that are no mail, or that go beyond a bound, have an ``error`` and all else that could be
    read.  A signature by an unknown key is judged again when the author's own certificate came
    with the mail.  Raises only Deferral, for faults of ours.
    """
    if _has_bare_cr_alone(raw):
        raw = raw.replace(b"\r", b"\n")
    mail = _Mail(raw, limits)
    reading = await mail.read(openpgp)
    if reading.unknown_signers and await _import_certificates(mail, reading, openpgp):
        reading.pieces.clear()  # large attachments need not be there twice
        reading = await mail.read(openpgp)
    return mail.message(reading)


def _has_bare_cr_alone(raw: bytes) -> bool:
    """Return whether bare CR ends its lines; SMTP adds a CRLF behind the last one."""
    return raw.find(b"\n") in {-1, len(raw) - 1} and raw.find(b"\r", 0, len(raw) - 2) >= 0


async def _import_certificates(mail: _Mail, reading: Reading, openpgp: OpenPGP) -> bool:
    """Offer the certificates that came along to the ring; True when it took one of the author's."""
    author = mail.authors.single
    if author is None:
        return False
    taken = False
    for found in reading.found_certificates:
        offered = await openpgp.import_certificate(found.content, address=author)
        if offered is not None and offered.fingerprint and not taken:
            taken = await openpgp.certificate(offered.fingerprint) is not None
    return taken


class _Mail:
    """The outside of one mail: its bytes, its header, and how it becomes a Message."""

    def __init__(self, raw: bytes, limits: OpeningLimits) -> None:
        self._raw = raw
        self._limits = limits
        self._header: HeaderBlock = split_header(raw, 0, len(raw), most=limits.max_header)
        self.authors: Authors = authors(self._header)
        self._report: DeliveryReport | None = None

    async def read(self, openpgp: OpenPGP) -> Reading:
        """Read all of it, asking ``openpgp`` for what is shut or signed."""
        reader = Reader(openpgp, self._limits)
        reading = reader.reading
        reading.error = self._error()
        if self._header.cut:
            reading.too_complex()
        if self._raw:
            root = slice_entity(self._raw, reader.budget, header=self._header)
            self._report = parse.delivery_report(self._raw, root)
            await reader.read(root, Place(self._raw, root=True))
        if self.authors.single is not None:
            key = autocrypt(self._header, self.authors.single, most=LARGEST_CERTIFICATE)
            if key is not None:
                reading.add_certificate(CertificateSource.AUTOCRYPT, key)
        return reading

    def message(self, reading: Reading) -> Message:
        """Return what was read as a Message."""
        subjects = self._header.all("subject")
        return reading.message(
            size=len(self._raw),
            headers=header_facts(self._header, more_fields=self._limits.more_fields),
            outer_subject=unstructured(subjects[0]) if subjects else "",
            authors=self.authors,
            report=self._report,
        )

    def _error(self) -> str | None:
        if not self._raw or self._raw.isspace():
            return "empty"
        return None if self._header.fields else "no-header"
