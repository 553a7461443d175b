"""How is text kept at rest?  Encrypted in-process to a role key; only gpg opens it again.

pysequoia encrypts in a millisecond where a gpg process takes six; it holds no secret of ours.
"""

from __future__ import annotations

from collections.abc import Sequence

from pysequoia import Cert, encrypt

from secbridge.mail.packets import Container, describe

_HEADERS = 64 * 1024
"""Octets that hold the session keys of any message that we make."""


def seal(content: bytes, certificates: Sequence[bytes], key_ids: Sequence[str]) -> bytes | None:
    """Encrypt, binary, to every encryption subkey of these certificates: they must be ``key_ids``.

    Neither expiry nor revocation is looked at here (pysequoia 0.1.35 does not): the caller cuts the
    certificates down to the subkeys that it means.  Returns None when the library will not, or
    would write a form that gpg cannot read (SEIPDv2, RFC 9580 section 5.13.2): then gpg has to do
    it.  Peak memory is about three times the content.
    """
    try:
        certs = [Cert.from_bytes(certificate) for certificate in certificates]
        sealed: bytes = encrypt(bytes=content, recipients=certs, armor=False)
    except RuntimeError:
        return None
    return sealed if addressed_exactly(sealed, key_ids) else None


def addressed_exactly(message: bytes, key_ids: Sequence[str]) -> bool:
    """Whether a binary message is encrypted, integrity-protected, to exactly these key ids."""
    facts = describe(message[:_HEADERS])
    return (
        sorted(facts.recipients) == sorted(key_ids)
        and facts.passwords == 0
        and facts.container in (Container.SEIPD1, Container.OCB)
    )
