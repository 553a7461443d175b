"""How do we say a verdict to a person who reads it at three at night?  In words, not codes."""

from __future__ import annotations

import re
from typing import assert_never

from secbridge.model.message import (
    Coverage,
    DeliveryReport,
    OpenFailure,
    Protection,
    Signature,
    SignatureVerdict,
)

_STATUS = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")
_HEX = re.compile(r"[0-9A-Fa-f]{8,64}")


def protection(value: Protection) -> str:
    """Say how the mail as a whole was protected."""
    match value:
        case Protection.NONE:
            return "none, the mail came in clear"
        case Protection.SIGNED:
            return "signed, not encrypted"
        case Protection.ENCRYPTED:
            return "encrypted, not signed"
        case Protection.ENCRYPTED_SIGNED:
            return "encrypted and signed"
        case Protection.UNDECRYPTABLE:
            return "encrypted, and we cannot open it"
        case _:
            assert_never(value)


def failure(value: OpenFailure | None) -> str:
    """Say why a ciphertext could not be opened, as the end of "It could not be opened: …"."""
    match value:
        case None:
            return "the reason is not known"
        case OpenFailure.NO_SECRET_KEY:
            return "it is not encrypted to a key of this alias"
        case OpenFailure.CORRUPT:
            return "the encrypted data is damaged or incomplete"
        case OpenFailure.NO_INTEGRITY_PROTECTION:
            return "it has no integrity protection, so anybody on the way could have changed it"
        case OpenFailure.SYMMETRIC_ONLY:
            return "it is encrypted with a password only, not to a key"
        case OpenFailure.UNSUPPORTED_VERSION:
            return "it uses a newer form of OpenPGP that our GnuPG cannot read"
        case OpenFailure.TOO_LARGE:
            return "it unpacks to more than the limit"
        case OpenFailure.TOO_COMPLEX:
            return "it is nested too deeply or has too many parts"
        case OpenFailure.SMIME:
            return "it is S/MIME, which we recognise and do not open"
        case _:
            assert_never(value)


def signature(value: Signature) -> str:
    """Say what a signature is worth: verdict, whose, over what, and by which key."""
    words = [_verdict(value.verdict)]
    if value.verdict is SignatureVerdict.GOOD:
        words.append(
            "by the sender" if value.signer_is_sender else "NOT by the sender of this mail"
        )
        words.append(_known(value.signer_is_known))
    match value.covers:
        case Coverage.WHOLE:
            words.append("covers the whole mail")
        case Coverage.PART:
            words.append("covers ONLY A PART of the mail")
        case _:
            assert_never(value.covers)
    return ", ".join(word for word in words if word)


def delivery_report(value: DeliveryReport) -> str:
    """Say what a delivery status notification says of a mail of ours (RFC 3464 section 2.3)."""
    match (value.action or "").lower():
        case "failed":
            said = "the mail was NOT delivered"
        case "delayed":
            said = "the mail is delayed, and is tried again"
        case "delivered" | "relayed" | "expanded":
            said = "the mail went on"
        case _:
            said = "the mail may not have arrived"
    status = value.status or ""
    return f"{said} (status {status})" if _STATUS.fullmatch(status) else said


def fingerprint(value: str) -> str:
    """Return a fingerprint or key id in upper case, or say that the signature names none."""
    return value.upper() if _HEX.fullmatch(value) else "names no key"


def _verdict(value: SignatureVerdict) -> str:
    match value:
        case SignatureVerdict.GOOD:
            return "good"
        case SignatureVerdict.BAD:
            return "BAD, the mail was changed or the signature is of something else"
        case SignatureVerdict.EXPIRED:
            return "expired signature"
        case SignatureVerdict.EXPIRED_KEY:
            return "made by a key that has expired"
        case SignatureVerdict.REVOKED_KEY:
            return "made by a key that was REVOKED"
        case SignatureVerdict.UNKNOWN_KEY:
            return "made by a key that we do not have, so it proves nothing"
        case SignatureVerdict.ABSENT:
            return "absent"
        case _:
            assert_never(value)


def _known(known: bool | None) -> str:
    if known is None:
        return ""
    return "same key as before" if known else "key not seen from this reporter before"
