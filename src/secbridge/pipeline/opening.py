"""What is this mail?  Any bytes become a Message.

The rooms *openpgp* and *mail* take turns (``pipeline.walking``).  What a mail is like is never an
exception; a fault of ours comes out of the OpenPGP port as a Deferral and passes through.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from secbridge.mail import parse
from secbridge.mail.headers import (
    Authors,
    HeaderBlock,
    authors,
    autocrypt,
    header_facts,
    media_type,
    split_header,
    unstructured,
)
from secbridge.mail.reading import LARGEST_CERTIFICATE, Reading
from secbridge.mail.slices import slice_entity
from secbridge.model.message import (
    CertificateSource,
    DeliveryReport,
    Headers,
    LayerForm,
    Message,
    OpenFailure,
)
from secbridge.model.part import OpeningLimits
from secbridge.pipeline.rawmail import octets_of
from secbridge.pipeline.walking import Place, Reader, Whole
from secbridge.ports import OpenPGP, RawMail

__all__ = ["InProcessOpener", "OpeningLimits", "Outside", "open_mail", "outside_of", "too_complex"]


class InProcessOpener:
    """The port ``Opener`` right here: for mails that were made to harm nobody."""

    def __init__(self, openpgp: OpenPGP, limits: OpeningLimits) -> None:
        self._openpgp = openpgp
        self._limits = limits

    async def open(self, raw: bytes | RawMail) -> Message:
        """Return the mail, opened as far as we can."""
        return await open_mail(await octets_of(raw), self._openpgp, self._limits)


async def open_mail(raw: bytes, openpgp: OpenPGP, limits: OpeningLimits) -> Message:
    """Return the mail, opened as far as we can.

    Bytes that are no mail, or that go beyond a bound, have an ``error`` and all else that could be
    read.  A signature by an unknown key is judged again when the author's own certificate came
    with the mail.  Raises only Deferral, for faults of ours.
    """
    return await open_whole(Whole(raw), openpgp, limits)


async def open_whole(
    whole: Whole,
    openpgp: OpenPGP,
    limits: OpeningLimits,
    again: Callable[[], Awaitable[bytes]] | None = None,
) -> Message:
    """Do as ``open_mail`` does; a mail that was taken back comes ``again`` to be read twice."""
    mended = _with_line_ends(whole.content)
    if mended is not whole.content:
        whole = Whole(mended)  # places in it are not those in the mail
    mail = _Mail(mended, limits)
    del mended
    reading = await mail.read(whole, openpgp)
    if reading.unknown_signers and await _import_certificates(mail, reading, openpgp):
        reading.pieces.clear()  # large attachments need not be there twice
        if again is not None and not whole.content:
            whole.content, whole.wanted = await again(), True
        reading = await mail.read(whole, openpgp)
    return mail.message(reading)


def too_complex(raw: bytes, limits: OpeningLimits) -> Message:
    """Return what can be said of a mail that nobody could open within the bounds: its header.

    Nothing of its body is told, not even as an attachment: the raw mail is kept.
    """
    mended = _with_line_ends(raw)
    return _Mail(mended, limits).unread(mended)


@dataclass(frozen=True, slots=True, repr=False)
class Outside:
    """What the outer header alone says of a mail: whom it names, and which thread it goes on."""

    author: str | None
    authors: tuple[str, ...]
    headers: Headers
    subject: str

    @classmethod
    def of(cls, message: Message) -> Outside:
        """Return what was found on the outside of an opened mail."""
        return cls(message.author, message.authors, message.headers, message.outer_subject)


def outside_of(raw: bytes, limits: OpeningLimits) -> Outside:
    """Return the outside of a mail, as ``open_mail`` finds it."""
    return Outside.of(_Mail(_with_line_ends(raw), limits).message(Reading()))


def _with_line_ends(raw: bytes) -> bytes:
    """Return the mail with LF where bare CR ends its lines; SMTP adds a CRLF behind the last."""
    alone = raw.find(b"\n") in {-1, len(raw) - 1} and raw.find(b"\r", 0, len(raw) - 2) >= 0
    return raw.replace(b"\r", b"\n") if alone else raw


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
    """The outside of one mail: its size, its header, and how it becomes a Message."""

    def __init__(self, raw: bytes, limits: OpeningLimits) -> None:
        self._size = len(raw)
        self._is_empty = not raw or raw.isspace()
        self._limits = limits
        self._header: HeaderBlock = split_header(raw, 0, len(raw), most=limits.max_header)
        self.authors: Authors = authors(self._header)
        self._report: DeliveryReport | None = None

    async def read(self, whole: Whole, openpgp: OpenPGP) -> Reading:
        """Read all of it, asking ``openpgp`` for what is shut or signed."""
        reader = Reader(openpgp, self._limits)
        reading = reader.reading
        reading.error = self._error()
        if self._header.cut:
            reading.too_complex()
        if whole.content:
            root = slice_entity(whole.content, reader.budget, header=self._header)
            self._report = parse.delivery_report(whole.content, root)
            await reader.read(root, Place(whole, root=True))
        self._add_autocrypt(reading)
        return reading

    def unread(self, raw: bytes) -> Message:
        """Return a Message of the header alone.

        It counts as undecryptable, so that its thread stays encrypted, unless it can hold no
        ciphertext.
        """
        reading = Reading()
        reading.too_complex()
        if not _is_bare_text(raw, self._header):
            reading.add_shut(LayerForm.ATTACHMENT, 0, OpenFailure.TOO_COMPLEX)
        self._add_autocrypt(reading)
        return self.message(reading)

    def _add_autocrypt(self, reading: Reading) -> None:
        author = self.authors.single
        key = autocrypt(self._header, author, most=LARGEST_CERTIFICATE) if author else None
        if key is not None:
            reading.add_certificate(CertificateSource.AUTOCRYPT, key)

    def message(self, reading: Reading) -> Message:
        """Return what was read as a Message."""
        subjects = self._header.all("subject")
        return reading.message(
            size=self._size,
            headers=header_facts(self._header, more_fields=self._limits.more_fields),
            outer_subject=unstructured(subjects[0]) if subjects else "",
            authors=self.authors,
            report=self._report,
        )

    def _error(self) -> str | None:
        if self._is_empty:
            return "empty"
        return None if self._header.fields else "no-header"


_AS_IT_IS = frozenset({"", "7bit", "8bit", "binary"})


def _is_bare_text(raw: bytes, header: HeaderBlock) -> bool:
    """Whether a mail holds no ciphertext for sure, told without reading it.

    That takes a single plain text in no encoding, without octets beyond ASCII and without the word
    PGP.  Everything else has ways to hide one.
    """
    kind, _ = media_type(header.first("content-type"), "text/plain")
    encoding = header.first("content-transfer-encoding").strip().lower()
    plain = kind == "text/plain" and encoding in _AS_IT_IS and not header.cut
    return plain and not parse.may_hide_ciphertext(raw, header.body, len(raw))
