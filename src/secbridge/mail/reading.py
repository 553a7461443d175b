"""What have we read so far?  Everything found in a mail, in mail order, until it is a Message.

A *piece* is one thing that a reader sees: a text, an attachment, or a ciphertext that stayed shut.
Signatures remember which pieces they cover, so whether one covers the whole mail is known at the
end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from secbridge.mail.headers import Authors
from secbridge.mail.text import decode, html_to_text, readable
from secbridge.model.message import (
    Attachment,
    CertificateSource,
    DeliveryReport,
    FoundCertificate,
    Headers,
    Layer,
    LayerForm,
    LayerKind,
    Message,
    OpenFailure,
    Signature,
    SignatureFact,
    SignatureVerdict,
)
from secbridge.rules import structure

MOST_CERTIFICATES = 10
LARGEST_CERTIFICATE = 256 << 10

_WORDS = re.compile(r"\w{2,}")
_PICTURE = re.compile(r"(?:\[[^\[\]\n]{0,200}\] )?<cid:[^<>\s]*>|\[cid:[^\[\]\s]*\]")


class Sense(StrEnum):
    """What a piece of text is to a reader.

    ``FORWARDED`` stands in an attached message; ``REPEATED`` is an alternative that says no more
    than the one that was read; ``FILE`` is an attachment; ``SHUT`` a ciphertext that stayed shut.
    """

    BODY = "body"
    FORWARDED = "forwarded"
    REPEATED = "repeated"
    FILE = "file"
    SHUT = "shut"


@dataclass(slots=True, repr=False)
class Piece:
    """One thing that a reader sees.  ``opened``: it came out of ciphertext."""

    sense: Sense
    opened: bool
    text: str = ""
    file: Attachment | None = None


@dataclass(slots=True)
class Signed:
    """A signature with the pieces it covers; ``attached``: within an attached message."""

    fact: SignatureFact
    first: int
    last: int
    attached: bool


@dataclass(slots=True, repr=False)
class Reading:
    """Collects what is found; ``message`` makes the Message of it.

    ``subject`` is one that says of itself that it is protected; ``hidden_subject`` one that was
    encrypted with the mail by a program that does not say so.
    """

    layers: list[Layer] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    certificates: dict[CertificateSource, list[bytes]] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)
    subject: str | None = None
    hidden_subject: str | None = None
    error: str | None = None
    _signed: list[Signed] = field(default_factory=list)

    def add_text(self, text: str, *, sense: Sense, opened: bool) -> None:
        """Add a text, unless it is blank."""
        if text and not text.isspace():
            self.pieces.append(Piece(sense, opened, text))

    def add_file(
        self, name: str, media_type: str, content: bytes, *, opened: bool, text: str = ""
    ) -> None:
        """Add an attachment; ``text`` is what it shows of itself, if it does."""
        file = Attachment(name, media_type, content, encrypted=opened, outside_encryption=False)
        self.pieces.append(Piece(Sense.FILE, opened, text, file))

    def add_opened(self, form: LayerForm, depth: int, key: str) -> None:
        """Add a ciphertext that we opened with ``key``."""
        self.layers.append(Layer(LayerKind.ENCRYPTED, form, depth, ok=True, fingerprints=(key,)))

    def add_shut(
        self, form: LayerForm, depth: int, reason: OpenFailure, file: Attachment | None = None
    ) -> None:
        """Add a ciphertext that stayed shut, with the file that it is, if it is one."""
        kind = LayerKind.ENCRYPTED
        self.layers.append(Layer(kind, form, depth, ok=False, reason=reason))
        self.pieces.append(Piece(Sense.SHUT, file is not None and file.encrypted, file=file))

    def begin_signed(
        self, facts: Iterable[SignatureFact], form: LayerForm, depth: int, *, attached: bool
    ) -> list[Signed]:
        """Add signatures, with a layer for each; what is read until ``end_signed`` is covered."""
        begun = []
        for fact in facts:
            ok = fact.verdict is SignatureVerdict.GOOD
            named = (fact.fingerprint,) if fact.fingerprint else ()
            self.layers.append(Layer(LayerKind.SIGNED, form, depth, ok=ok, fingerprints=named))
            begun.append(Signed(fact, len(self.pieces), len(self.pieces), attached))
        self._signed.extend(begun)
        return begun

    def end_signed(self, begun: list[Signed]) -> None:
        """Say that what these signatures cover ends here."""
        for one in begun:
            one.last = len(self.pieces)

    def add_certificate(self, source: CertificateSource, content: bytes) -> None:
        """Keep a certificate that came with the mail, unless it is one too many.

        Of one that is too large the beginning is kept: enough to tell its owner that it is.
        """
        kept = self.certificates.setdefault(source, [])
        content = content[: LARGEST_CERTIFICATE + 1]
        if len(kept) < MOST_CERTIFICATES and content not in kept:
            kept.append(content)

    def note(self, code: str) -> None:
        """Remember something that is worth saying, once."""
        self.notes[code] = None

    def too_complex(self) -> None:
        """Say that a bound was hit and that something was not read."""
        self.error = "too-complex"

    @property
    def unknown_signers(self) -> bool:
        """Whether a certificate that came with the mail might yet tell who signed."""
        return any(one.fact.verdict is SignatureVerdict.UNKNOWN_KEY for one in self._signed)

    @property
    def found_certificates(self) -> tuple[FoundCertificate, ...]:
        """The certificates that came with the mail, best first."""
        found = [
            FoundCertificate(source, content)
            for source in CertificateSource
            for content in self.certificates.get(source, ())
        ]
        return tuple(found[:MOST_CERTIFICATES])

    # ── The message ──────────────────────────────────────────────────────────────────────────────

    def message(
        self,
        *,
        size: int,
        headers: Headers,
        outer_subject: str,
        authors: Authors,
        report: DeliveryReport | None,
    ) -> Message:
        """Return what was read as one value."""
        decryption = structure.decryption(self.layers)
        inner_subject = self.hidden_subject if self.subject is None else self.subject
        hidden = decryption.ok is not None
        return Message(
            size=size,
            protection=structure.protection(self.layers),
            decryption=decryption,
            layers=tuple(self.layers),
            signatures=self._signatures(authors.single),
            headers=headers,
            subject=outer_subject if inner_subject is None else inner_subject,
            outer_subject=outer_subject,
            authors=authors.addresses,
            author=authors.single,
            text=_text([piece for piece in self.pieces if piece.opened or not hidden]),
            outside_encryption=self._outside() if hidden else "",
            attachments=tuple(
                replace(piece.file, outside_encryption=hidden and not piece.opened)
                for piece in self.pieces
                if piece.file is not None
            ),
            certificates=self.found_certificates,
            report=report,
            notes=tuple(self.notes),
            error=self.error,
        )

    def _signatures(self, author: str | None) -> tuple[Signature, ...]:
        items = len(self.pieces)
        return tuple(
            Signature(
                verdict=one.fact.verdict,
                fingerprint=one.fact.fingerprint,
                covers=structure.coverage(one.first, one.last, items, attached=one.attached),
                signer_is_sender=structure.signer_is_sender(author, one.fact),
                signed_at=one.fact.signed_at,
            )
            for one in self._signed
        )

    def _outside(self) -> str:
        """Return the words of all that was in clear, files without words by type in brackets."""
        return _joined(
            _words_of(piece)
            for piece in self.pieces
            if not piece.opened and piece.sense not in {Sense.REPEATED, Sense.SHUT}
        )


def _text(pieces: list[Piece]) -> str:
    """Return the words of the body; of a mail that only forwards, those of what it forwards."""
    for senses in ({Sense.BODY}, {Sense.FORWARDED, Sense.FILE}):
        text = _joined(piece.text for piece in pieces if piece.sense in senses)
        if text:
            return text
    return ""


def _joined(texts: Iterable[str]) -> str:
    kept = [text for text in texts if text]
    if len(kept) < 2:
        return "".join(kept)
    return "\n".join(text if text.endswith("\n") else f"{text}\n" for text in kept)


def _words_of(piece: Piece) -> str:
    if piece.file is None or piece.text:
        return piece.text
    content, media_type = piece.file.content, piece.file.media_type
    if media_type in {"text/plain", "text/html"} and len(content) <= 1 << 20:
        words = readable(decode(content, None)[0])
        words = html_to_text(words) if media_type == "text/html" else words
        if words.strip():
            return words
    return f"[{media_type}]"


def unsaid(main: str, other: str) -> str:
    """Return what an alternative says that the one that was read does not.

    That is nothing when it has no other words, the lines with other words when they are few, and
    all of it when they are many.
    """
    known = set(_WORDS.findall(main.lower()))
    lines = [line for line in other.split("\n") if line and not line.isspace()]
    new = [line for line in lines if not known.issuperset(_said(line))]
    return other if len(new) * 5 > len(lines) else "".join(f"{line}\n" for line in new)


def _said(line: str) -> list[str]:
    return _WORDS.findall(_PICTURE.sub("", line).lower())
