"""What is a mail, once it was opened as far as we can?

A ``Message`` is the result of the rooms *openpgp* and *mail*: what was written, how it was
protected, and what stood outside the protection.  It holds plaintext and is never stored.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class LayerKind(StrEnum):
    """Two things can be wrapped around a part of a mail."""

    ENCRYPTED = "encrypted"
    SIGNED = "signed"


class LayerForm(StrEnum):
    """How a layer is carried: RFC 3156 parts, armor within a text, or an attached file."""

    PGP_MIME = "pgp-mime"
    INLINE = "inline"
    ATTACHMENT = "attachment"


class SignatureVerdict(StrEnum):
    """What the signature is worth, from the status stream alone."""

    GOOD = "good"
    BAD = "bad"
    EXPIRED = "expired"
    EXPIRED_KEY = "expired_key"
    REVOKED_KEY = "revoked_key"
    UNKNOWN_KEY = "unknown_key"
    ABSENT = "absent"


class Coverage(StrEnum):
    """Whether a signature speaks for the whole mail or for a part of it."""

    WHOLE = "whole"
    PART = "part"


class OpenFailure(StrEnum):
    """Why a ciphertext could not be opened: a fact about the mail, never a fault of ours."""

    NO_SECRET_KEY = "no-secret-key"  # noqa: S105 - a reason code, no password
    CORRUPT = "corrupt"
    NO_INTEGRITY_PROTECTION = "no-integrity-protection"
    SYMMETRIC_ONLY = "symmetric-only"
    UNSUPPORTED_VERSION = "unsupported-version"
    TOO_LARGE = "too-large"
    TOO_COMPLEX = "too-complex"
    SMIME = "smime"


class Protection(StrEnum):
    """How a mail as a whole was protected on its way."""

    NONE = "none"
    SIGNED = "signed"
    ENCRYPTED = "encrypted"
    ENCRYPTED_SIGNED = "encrypted+signed"
    UNDECRYPTABLE = "undecryptable"


@dataclass(frozen=True, slots=True)
class SignatureFact:
    """One signature as gpg judged it, before anybody asks whose mail it stands on.

    ``fingerprint`` is the primary key's 40 hex digits, or what the signature names (issuer
    fingerprint or key id) when the key is unknown.  ``addresses`` are the addr-specs of the valid
    user IDs of the signing certificate (domain lower-cased).
    """

    verdict: SignatureVerdict
    fingerprint: str
    addresses: tuple[str, ...] = ()
    signed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature in its place; ``signer_is_known`` is None where nobody keeps bindings.

    ``signed_at`` is when it was made, as it says itself under its own proof.
    """

    verdict: SignatureVerdict
    fingerprint: str
    covers: Coverage
    signer_is_sender: bool
    signer_is_known: bool | None = None
    signed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Layer:
    """One ciphertext or one signature, in mail order; ``depth`` counts the layers around it from 0.

    ``fingerprints`` are primaries: of our key that opened it, or of the signers.
    """

    kind: LayerKind
    form: LayerForm
    depth: int
    ok: bool
    fingerprints: tuple[str, ...] = ()
    reason: OpenFailure | None = None


@dataclass(frozen=True, slots=True)
class Decryption:
    """``ok``: True when all ciphertexts opened, False when one did not, None without any."""

    ok: bool | None
    reason: OpenFailure | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Attachment:
    """A part that is not the text.  ``encrypted``: came out of ciphertext."""

    name: str
    media_type: str
    content: bytes
    encrypted: bool
    outside_encryption: bool

    @property
    def size(self) -> int:
        """Decoded size in octets."""
        return len(self.content)

    def __repr__(self) -> str:
        return f"Attachment({self.size} bytes)"


class CertificateSource(StrEnum):
    """Where a certificate was found, in the order in which we look.

    ``PERSON``: a member of the team brought or accepted it.
    """

    PERSON = "person"
    SIGNATURE = "signature"
    INSIDE = "attached-inside"
    OUTSIDE = "attached-outside"
    AUTOCRYPT = "autocrypt"
    KEYRING = "keyring"
    WKD = "wkd"
    VKS = "vks"
    HKP = "hkp"


@dataclass(frozen=True, slots=True, repr=False)
class FoundCertificate:
    """A transferable public key that came with the mail, armored or binary, not yet inspected."""

    source: CertificateSource
    content: bytes

    def __repr__(self) -> str:
        return f"FoundCertificate({self.source}, {len(self.content)} bytes)"


@dataclass(frozen=True, slots=True, repr=False)
class Headers:
    """Header facts that rules ask for; values are cut, unfolded, free of control characters.

    ``fields`` keeps the outer header fields that rules name, lower-cased name → values in order;
    nothing else of the header is kept.
    """

    message_id: str | None = None
    in_reply_to: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    fields: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def first(self, name: str) -> str | None:
        """Return the first value of a field that rules may ask for, or None."""
        values = self.fields.get(name.lower(), ())
        return values[0] if values else None

    def __repr__(self) -> str:
        return "Headers(…)"


@dataclass(frozen=True, slots=True, repr=False)
class DeliveryReport:
    """What a delivery status notification says (RFC 3464), or ``None`` fields where it does not.

    ``original_message_ids`` are the Message-IDs of the returned mail or header part.
    ``recipients`` are the addresses that it gives the one recipient whom it is about, as it was
    written to first and as it was in the end; ``diagnostic`` is what a mail system said of it.
    """

    action: str | None = None
    status: str | None = None
    original_message_ids: tuple[str, ...] = ()
    recipients: tuple[str, ...] = ()
    diagnostic: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Message:
    """A mail, opened.  Never stored, never logged; ``repr`` tells its size and protection."""

    size: int
    protection: Protection
    decryption: Decryption
    layers: tuple[Layer, ...]
    signatures: tuple[Signature, ...]
    headers: Headers
    subject: str
    outer_subject: str
    authors: tuple[str, ...]
    author: str | None
    text: str
    outside_encryption: str
    attachments: tuple[Attachment, ...]
    certificates: tuple[FoundCertificate, ...] = ()
    report: DeliveryReport | None = None
    notes: tuple[str, ...] = ()
    error: str | None = None

    @property
    def was_encrypted(self) -> bool:
        """Whether the mail held ciphertext, opened or not: then its thread must stay encrypted."""
        return self.decryption.ok is not None

    def __repr__(self) -> str:
        return f"Message({self.size} bytes, {self.protection})"
