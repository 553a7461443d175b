"""Which part of a mail is what?  The shapes of RFC 3156 and their ruins, decided on a part tree.

No file name and no comment of a mailer is believed: a part is ciphertext because it holds an
OpenPGP message, and a multipart is an encrypted mail because it holds such a part beside the
control part, whatever a gateway has made of its type.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum

from secbridge.model.message import (
    Coverage,
    Decryption,
    Layer,
    LayerKind,
    OpenFailure,
    Protection,
    SignatureFact,
    SignatureVerdict,
)
from secbridge.model.part import Part

Holds = Callable[[Part], bool]
"""Whether a leaf holds something, told by its octets."""

CONTROL_TYPE = "application/pgp-encrypted"
SIGNATURE_TYPE = "application/pgp-signature"
_CMS_TYPES = frozenset({"application/pkcs7-mime", "application/x-pkcs7-mime"})
_CMS_SIGNATURE_TYPES = frozenset({"application/pkcs7-signature", "application/x-pkcs7-signature"})


class Role(StrEnum):
    """What a child is within its multipart."""

    CONTENT = "content"
    CONTROL = "control"
    CIPHERTEXT = "ciphertext"
    SIGNED = "signed"
    SIGNATURE = "signature"


def roles(part: Part, holds_message: Holds, holds_signature: Holds) -> tuple[Role, ...]:
    """Return the role of each child of a multipart, in order."""
    if part.media_type == "multipart/signed" and not is_cms_signed(part):
        return _signed_roles(part, holds_signature)
    if part.media_type == "multipart/encrypted" or any(map(is_control, part.children)):
        return _encrypted_roles(part, holds_message)
    return (Role.CONTENT,) * len(part.children)


def is_control(part: Part) -> bool:
    """Whether this is the control part of an encrypted mail (RFC 3156 section 4)."""
    return part.media_type == CONTROL_TYPE


def is_cms_signed(part: Part) -> bool:
    """Whether a multipart/signed is one of S/MIME (RFC 8551 section 3.5.3)."""
    protocol = part.params.get("protocol", "").lower()
    return protocol in _CMS_SIGNATURE_TYPES or any(
        child.media_type in _CMS_SIGNATURE_TYPES for child in part.children
    )


def is_cms_opaque(part: Part) -> bool:
    """Whether S/MIME hides the content of this part; a bag of certificates hides none."""
    return part.media_type in _CMS_TYPES and part.params.get("smime-type") != "certs-only"


def _signed_roles(part: Part, holds_signature: Holds) -> tuple[Role, ...]:
    """Give the last signature to the first other part (RFC 1847 section 2.1)."""
    found = [Role.CONTENT] * len(part.children)
    signatures = [
        index
        for index, child in enumerate(part.children)
        if not child.children and (child.media_type == SIGNATURE_TYPE or holds_signature(child))
    ]
    others = [index for index in range(len(found)) if index not in signatures[-1:]]
    if signatures and others:
        found[others[0]] = Role.SIGNED
        found[signatures[-1]] = Role.SIGNATURE
    return tuple(found)


def _encrypted_roles(part: Part, holds_message: Holds) -> tuple[Role, ...]:
    """Every leaf that is an OpenPGP message is ciphertext, in any order and number.

    A multipart/encrypted without one has its first other leaf tried all the same, so that damage
    is reported as damage.
    """
    children = part.children
    found = [Role.CONTROL if is_control(child) else Role.CONTENT for child in children]
    messages = [
        index for index, child in enumerate(children) if _is_leaf(child) and holds_message(child)
    ]
    if not messages and part.media_type == "multipart/encrypted":
        messages = [
            index
            for index, child in enumerate(children)
            if _is_leaf(child) and not is_control(child) and child.media_type != "text/plain"
        ][:1]
    for index in messages:
        found[index] = Role.CIPHERTEXT
    return tuple(found)


def lacks_ciphertext(part: Part, found: Sequence[Role]) -> bool:
    """Whether a multipart claims to be encrypted and none of its children is the ciphertext.

    Unless one turns up further down, it was lost on the way.
    """
    claims = part.media_type == "multipart/encrypted" or Role.CONTROL in found
    return claims and Role.CIPHERTEXT not in found


def _is_leaf(part: Part) -> bool:
    return not part.children


def by_preference(alternatives: Sequence[Part]) -> tuple[Part, ...]:
    """Return the parts of a multipart/alternative in the order in which to read them.

    Plain text is first: RFC 2046 section 5.1.4 puts the richest last, a tracker wants the plainest.
    """
    return tuple(sorted(alternatives, key=lambda part: not any(map(_is_plain_text, part.walk()))))


def _is_plain_text(part: Part) -> bool:
    return part.media_type == "text/plain" and part.disposition != "attachment"


# ── What it comes to ─────────────────────────────────────────────────────────────────────────────

_MOST_TELLING = (
    OpenFailure.NO_SECRET_KEY,
    OpenFailure.UNSUPPORTED_VERSION,
    OpenFailure.SYMMETRIC_ONLY,
    OpenFailure.SMIME,
    OpenFailure.NO_INTEGRITY_PROTECTION,
    OpenFailure.CORRUPT,
    OpenFailure.TOO_LARGE,
    OpenFailure.TOO_COMPLEX,
)
"""Reasons in the order in which a reporter can do something about them."""


def decryption(layers: Sequence[Layer]) -> Decryption:
    """Return what became of all ciphertexts together; of several reasons the most telling."""
    wrapped = [layer for layer in layers if _hides(layer)]
    if not wrapped:
        return Decryption(None)
    reasons = {layer.reason for layer in wrapped if not layer.ok}
    if not reasons:
        return Decryption(True)
    return Decryption(False, next((why for why in _MOST_TELLING if why in reasons), None))


def protection(layers: Sequence[Layer]) -> Protection:
    """Return how the mail as a whole was protected; a signature counts whatever it is worth."""
    wrapped = [layer for layer in layers if _hides(layer)]
    signed = any(layer.kind is LayerKind.SIGNED and layer.reason is None for layer in layers)
    if wrapped and not any(layer.ok for layer in wrapped):
        return Protection.UNDECRYPTABLE
    if wrapped:
        return Protection.ENCRYPTED_SIGNED if signed else Protection.ENCRYPTED
    return Protection.SIGNED if signed else Protection.NONE


def _hides(layer: Layer) -> bool:
    """Whether a layer keeps its content from those without the key, or without S/MIME."""
    return layer.kind is LayerKind.ENCRYPTED or layer.reason is OpenFailure.SMIME


def coverage(first: int, last: int, items: int, *, attached: bool) -> Coverage:
    """Return whether a signature over the items ``first`` to ``last`` (exclusive) covers the mail.

    Items are all that a reader sees, in order: texts, attachments, and what could not be opened.
    A signature within an attached message speaks for that message alone.
    """
    whole = not attached and first == 0 and last == items
    return Coverage.WHOLE if whole else Coverage.PART


def signer_is_sender(author: str | None, fact: SignatureFact) -> bool:
    """Whether the author's one address is that of a valid user ID of the signing certificate.

    A bad signature has no signer: anybody can copy one onto any text.
    """
    if author is None or fact.verdict in {SignatureVerdict.BAD, SignatureVerdict.ABSENT}:
        return False
    return any(same_address(author, address) for address in fact.addresses)


def same_address(one: str, other: str) -> bool:
    """Whether two addr-specs name one mailbox; ASCII case does not tell them apart.

    RFC 5321 section 2.4 leaves the case of a local part to its own domain and says not to exploit
    it; GnuPG, Autocrypt and Web Key Directory all compare without it.  Other scripts are compared
    as they are, so that no look-alike is folded into somebody's address.
    """
    return folded(one) == folded(other)


def folded(address: str) -> str:
    """Return the one spelling of an addr-spec by which ``same_address`` compares."""
    if address.isascii():
        return address.lower()
    return "".join(char.lower() if char.isascii() else char for char in address)
