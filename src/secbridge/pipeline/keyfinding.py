"""Which certificate answers this reporter?  The first place that has one decides.

First the one bound to the case or the reporter; then, in the order that the operator chose, that of
a verified signature of the mail, one attached inside the encryption, one attached outside, the
Autocrypt header, our own ring, and last those whom one has to ask (WKD, keyservers).  Nobody is
asked while an earlier place has one: a question tells others who writes to us.

Only a certificate with the very address that we answer as a valid user ID counts.  One that is
expired, revoked or unfit is told to its owner; it is never passed over for the next best.  What
nobody can read names nobody, and what names another address may be somebody else's, so both are
told only where there is nothing better, and only where the reporter sent it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import assert_never

from secbridge.model.case import Case, KeyBinding
from secbridge.model.message import CertificateSource, FoundCertificate, Message, SignatureVerdict
from secbridge.ports import Cases, Certificate, KeyFinder, OpenPGP
from secbridge.rules.replies import (
    KeyChanged,
    KeyFound,
    KeyProblem,
    KeySearch,
    NoKey,
    endorsement,
)
from secbridge.rules.structure import same_address

_ATTACHED = (CertificateSource.INSIDE, CertificateSource.OUTSIDE, CertificateSource.AUTOCRYPT)

BROUGHT = (CertificateSource.SIGNATURE, *_ATTACHED)
"""Ways in which a mail itself says which key is its writer's."""

ASKED = (CertificateSource.WKD, CertificateSource.VKS, CertificateSource.HKP)
"""Places outside of this house; each question there tells somebody who writes to us."""

SOURCES = (CertificateSource.SIGNATURE, *_ATTACHED, CertificateSource.KEYRING, *ASKED)
"""Where a certificate is looked for when none is bound, unless the operator chose otherwise."""


async def find_key(  # the mail, and the rooms that are asked
    message: Message,
    address: str,
    case: Case,
    cases: Cases,
    openpgp: OpenPGP,
    *,
    finder: KeyFinder | None = None,
    sources: Sequence[CertificateSource] = SOURCES,
    received_at: datetime | None = None,
) -> KeySearch:
    """Return the certificate for an answer to ``address``, or why there is none to be used.

    Certificates that name the address are imported on the way, from the mail and from others.
    Without a ``finder`` nobody outside is asked.  ``received_at`` is when the mail came: what a
    person decided since then stands against all that it brings.
    """
    bound = await _bound(
        message, address, case, cases, openpgp, sources=sources, received_at=received_at
    )
    if bound is not None:
        return bound
    unreadable: KeyProblem | None = None
    for source in sources:
        found = await _found(source, message, address, openpgp, finder)
        match found:
            case KeyProblem(fingerprint=""):
                unreadable = unreadable or found
            case NoKey():
                continue
            case KeyFound():
                return await _unless_proposed(found, address, cases)
            case _:
                return found
    return unreadable or NoKey()


async def _found(
    source: CertificateSource,
    message: Message,
    address: str,
    openpgp: OpenPGP,
    finder: KeyFinder | None,
) -> KeySearch:
    """Return what one place has."""
    match source:
        case CertificateSource.SIGNATURE:
            return await _signer(message, address, openpgp) or NoKey()
        case CertificateSource.INSIDE | CertificateSource.OUTSIDE | CertificateSource.AUTOCRYPT:
            return await _attached(source, message, address, openpgp)
        case CertificateSource.KEYRING:
            in_ring = await openpgp.certificates_for(address)
            return _judged(in_ring, source) if in_ring else NoKey()
        case CertificateSource.WKD | CertificateSource.VKS | CertificateSource.HKP:
            return await _asked(source, message, address, openpgp, finder)
        case CertificateSource.PERSON:  # who binds one; nothing to look at
            return NoKey()
        case _:
            assert_never(source)


async def _attached(
    source: CertificateSource, message: Message, address: str, openpgp: OpenPGP
) -> KeySearch:
    """Return what came with the mail in one way.

    What cannot be read, or names another address, is a problem without a fingerprint.
    """
    attached = [found for found in message.certificates if found.source is source]
    offered = await _imported(attached, address, openpgp)
    if certificates := [certificate for certificate in offered if certificate.fingerprint]:
        return _judged(certificates, source)
    if offered:
        return KeyProblem(offered[0].problem or "malformed", "")
    return KeyProblem("no-user-id", "") if attached else NoKey()


async def _asked(
    source: CertificateSource,
    message: Message,
    address: str,
    openpgp: OpenPGP,
    finder: KeyFinder | None,
) -> KeySearch:
    """Return what others have.  What cannot be read, or has no user ID, is nobody's: not found.

    The keyserver by fingerprint is asked for those who signed the mail and are not known to us.
    """
    if finder is None:
        return NoKey()
    signers = [
        signature.fingerprint
        for signature in message.signatures
        if signature.verdict is SignatureVerdict.UNKNOWN_KEY
    ]
    found = await finder.find(source, address, fingerprints=signers)
    offered = await _imported(found, address, openpgp)
    certificates = [certificate for certificate in offered if certificate.fingerprint]
    return _judged(certificates, source) if certificates else NoKey()


# ── The certificate that is bound ────────────────────────────────────────────────────────────────


async def _bound(
    message: Message,
    address: str,
    case: Case,
    cases: Cases,
    openpgp: OpenPGP,
    *,
    sources: Sequence[CertificateSource],
    received_at: datetime | None,
) -> KeySearch | None:
    """Return what the bound certificate says, or None when none is bound to this address.

    What came with the mail may mend the bound certificate (a new expiry date, a new subkey) or
    revoke it, so it is imported first.  Another certificate never takes its place here: it makes a
    KeyChanged, which a person decides.
    """
    binding = case.key or await cases.key_for(case.route.alias, address)
    if binding is None:
        return None
    brought = await _brought(message, address, openpgp, sources)
    offered = None if _is_decided(binding, received_at) else _another(binding, brought)
    found = await still_usable(binding, address, openpgp)
    if offered is None:
        if is_anothers(binding, case) and not any(_is(binding, one) for one, _ in brought):
            return KeyChanged(None, binding.fingerprint, binding.source)
        return found
    certificate, source = offered
    return KeyChanged(
        binding.fingerprint,
        certificate.fingerprint,
        source,
        code=found.code if isinstance(found, KeyProblem) else None,
        endorsement=_endorsement(message, binding, source),
    )


async def _unless_proposed(found: KeyFound, address: str, cases: Cases) -> KeyFound | KeyChanged:
    """Return a certificate that nothing binds, unless a team was asked of it and did not agree.

    That happens where somebody forgot the bound one since, and under another alias; such a
    certificate stays in the ring, to tell whose signatures are.
    """
    for change in await cases.waiting_keys(address=address):
        if change.fingerprint == found.fingerprint:
            return KeyChanged(None, found.fingerprint, found.source)
    return found


async def still_usable(
    binding: KeyBinding, address: str, openpgp: OpenPGP
) -> KeyFound | KeyProblem:
    """Return the bound certificate as the ring has it now."""
    certificate = await openpgp.certificate(binding.fingerprint)
    if certificate is None:
        return KeyProblem("unknown-key", binding.fingerprint)
    if certificate.problem is not None:
        return KeyProblem(certificate.problem, certificate.fingerprint)
    if not names(certificate, address):
        return KeyProblem("no-user-id", certificate.fingerprint)
    return KeyFound(
        certificate.fingerprint, binding.source, binding=binding, warnings=certificate.warnings
    )


def is_anothers(binding: KeyBinding, case: Case) -> bool:
    """Whether a later case made a binding, which so says nothing about who wrote this one.

    Anybody can write under the same address and bring a key of his own; the word of a person of the
    team makes the difference.
    """
    return case.key is None and not _is_vouched(binding) and binding.bound_at > case.opened_at


def _is_decided(binding: KeyBinding, received_at: datetime | None) -> bool:
    """Whether a person chose this certificate when the mail was there already, whatever it brings.

    So a mail that is signed with the old key and brings the new one asks once, not for ever.
    """
    return _is_vouched(binding) and received_at is not None and received_at <= binding.bound_at


def _is_vouched(binding: KeyBinding) -> bool:
    return binding.accepted_by is not None or binding.source is CertificateSource.PERSON


def _another(
    binding: KeyBinding, brought: Iterable[tuple[Certificate, CertificateSource]]
) -> tuple[Certificate, CertificateSource] | None:
    """Return the first usable certificate that is not the bound one."""
    others = (
        (certificate, source)
        for certificate, source in brought
        if certificate.problem is None and not _is(binding, certificate)
    )
    return next(others, None)


def _is(binding: KeyBinding, certificate: Certificate) -> bool:
    return binding.fingerprint == certificate.fingerprint


def _endorsement(
    message: Message, binding: KeyBinding, source: CertificateSource
) -> SignatureVerdict:
    """Return what the bound key's signature says of a certificate: it covers no outer header.

    So an old signed mail that is sent again, with an Autocrypt header of somebody else's, vouches
    for nothing; nor does what stands inside an encryption for what stands outside.
    """
    covered = {CertificateSource.INSIDE} if message.was_encrypted else {CertificateSource.OUTSIDE}
    return endorsement(message, binding) if source in covered else SignatureVerdict.ABSENT


async def _brought(
    message: Message, address: str, openpgp: OpenPGP, sources: Sequence[CertificateSource]
) -> list[tuple[Certificate, CertificateSource]]:
    """Return the certificates by which a mail says whose it is, and import them.

    Those of verified signatures, then the attached ones, then that of the Autocrypt header; what
    the operator does not look at does not count here either.
    """
    attached = [
        (certificate, source)
        for source in _ATTACHED
        if source in sources
        for certificate in await _imported(
            [found for found in message.certificates if found.source is source], address, openpgp
        )
    ]
    came_as = {certificate.fingerprint: source for certificate, source in reversed(attached)}
    signers: list[tuple[Certificate, CertificateSource]] = []
    for signature in message.signatures if CertificateSource.SIGNATURE in sources else ():
        if signature.verdict is SignatureVerdict.GOOD:
            certificate = await openpgp.certificate(signature.fingerprint)
            if certificate is not None and names(certificate, address):
                source = came_as.get(certificate.fingerprint, CertificateSource.KEYRING)
                signers.append((certificate, source))
    return [*signers, *((one, source) for one, source in attached if one.fingerprint)]


# ── Where else a certificate may be ──────────────────────────────────────────────────────────────


async def _signer(message: Message, address: str, openpgp: OpenPGP) -> KeySearch | None:
    """Return what the certificate of a verified signature says, if it names the address.

    A signature by a certificate that is expired or revoked by now names its owner as well, so that
    one is told and not passed over; what was attached may have mended it.
    """
    named = {SignatureVerdict.GOOD, SignatureVerdict.EXPIRED_KEY, SignatureVerdict.REVOKED_KEY}
    for signature in message.signatures:
        if signature.verdict not in named:
            continue
        certificate = await openpgp.certificate(signature.fingerprint)
        if certificate is None or not names(certificate, address):
            continue
        if certificate.problem is not None:
            await _imported(message.certificates, address, openpgp)
            certificate = await openpgp.certificate(signature.fingerprint) or certificate
        return _judged([certificate], _came_by(message))
    return None


def _came_by(message: Message) -> CertificateSource:
    """Return how a signer's certificate came, as far as this mail tells: else from our ring."""
    sources = {found.source for found in message.certificates}
    return next((source for source in _ATTACHED if source in sources), CertificateSource.KEYRING)


async def _imported(
    found: Iterable[FoundCertificate], address: str, openpgp: OpenPGP
) -> list[Certificate]:
    """Import what names the address, and return it, unusable ones too."""
    offered = [await openpgp.import_certificate(one.content, address=address) for one in found]
    return [certificate for certificate in offered if certificate is not None]


def _judged(certificates: Sequence[Certificate], source: CertificateSource) -> KeySearch:
    """Return the first usable one, else what is wrong with the first."""
    for certificate in certificates:
        if certificate.problem is None:
            return KeyFound(certificate.fingerprint, source, warnings=certificate.warnings)
    first = certificates[0]
    return KeyProblem(first.problem or "malformed", first.fingerprint)


def names(certificate: Certificate, address: str) -> bool:
    """Return whether the address is among the certificate's valid user IDs."""
    return any(same_address(named, address) for named in certificate.addresses)
