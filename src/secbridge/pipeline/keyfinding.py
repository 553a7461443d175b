"""Which certificate answers this reporter?  The first place that has one decides.

In order: the one bound to the case or the reporter, that of a verified signature of the mail, one
attached inside the encryption, one attached outside, the Autocrypt header, our own ring.  Only a
certificate with the very address that we answer as a valid user ID counts.  One that is expired,
revoked or unfit is told to its owner; it is never passed over for the next best.  What nobody can
read names nobody, so it is told only where there is nothing better.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from secbridge.model.case import Case
from secbridge.model.message import CertificateSource, FoundCertificate, Message, SignatureVerdict
from secbridge.ports import Cases, Certificate, OpenPGP
from secbridge.rules.replies import KeyFound, KeyProblem, KeySearch, NoKey

_ATTACHED = (CertificateSource.INSIDE, CertificateSource.OUTSIDE, CertificateSource.AUTOCRYPT)


async def find_key(
    message: Message, address: str, case: Case, cases: Cases, openpgp: OpenPGP
) -> KeySearch:
    """Return the certificate for an answer to ``address``, or why there is none to be used.

    Certificates that came with the mail and name the address are imported on the way.
    """
    bound = await _bound(message, address, case, cases, openpgp)
    if bound is not None:
        return bound
    signer = await _signer(message, address, openpgp)
    if signer is not None:
        return signer
    unreadable: KeyProblem | None = None
    for source in _ATTACHED:
        attached = [found for found in message.certificates if found.source is source]
        offered = await _imported(attached, address, openpgp)
        certificates = [certificate for certificate in offered if certificate.fingerprint]
        if certificates:
            return _judged(certificates, source)
        if offered and unreadable is None:
            unreadable = KeyProblem(offered[0].problem or "malformed", "")
    in_ring = await openpgp.certificates_for(address)
    if in_ring:
        return _judged(in_ring, CertificateSource.KEYRING)
    return unreadable or NoKey()


async def _bound(
    message: Message, address: str, case: Case, cases: Cases, openpgp: OpenPGP
) -> KeySearch | None:
    """Return what the bound certificate says, or None when none is bound to this address.

    What was attached to the mail may mend the bound certificate (a new expiry date, a new subkey)
    or revoke it, so it is imported first; another certificate never takes its place here.
    """
    binding = case.key
    if binding is None or not same_address(binding.address, address):
        binding = await cases.key_for(case.route.alias, address)
    if binding is None:
        return None
    attached = [c for c in message.certificates if c.source is not CertificateSource.AUTOCRYPT]
    await _imported(attached, address, openpgp)
    certificate = await openpgp.certificate(binding.fingerprint)
    if certificate is None or certificate.problem is not None:
        await _imported(message.certificates, address, openpgp)
        certificate = await openpgp.certificate(binding.fingerprint)
    if certificate is None:
        return KeyProblem("unknown-key", binding.fingerprint)
    if certificate.problem is not None:
        return KeyProblem(certificate.problem, certificate.fingerprint)
    if not names(certificate, address):
        return KeyProblem("no-user-id", certificate.fingerprint)
    return KeyFound(certificate.fingerprint, binding.source, bound=True)


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
            return KeyFound(certificate.fingerprint, source)
    first = certificates[0]
    return KeyProblem(first.problem or "malformed", first.fingerprint)


def names(certificate: Certificate, address: str) -> bool:
    """Return whether the address is among the certificate's valid user IDs."""
    return any(same_address(named, address) for named in certificate.addresses)


def same_address(one: str, other: str) -> bool:
    """Return whether two addr-specs are the same mailbox for a user ID: case never counts there."""
    return one.casefold() == other.casefold()
